//! The side that asks.

use std::fmt;
use std::mem;

use ring::hmac;

use crate::core::name::Name;
use crate::tsig::wire::{self, Malformed, Tsig};
use crate::tsig::{Algorithm, BADKEY, BADSIG, BADTIME, Key, is_mac};

/// RFC 8945 section 5.3.1: how many messages in a row a server may leave unsigned. With 64 KiB
/// each, no more than 6.5 MB are held for an answer.
const UNSIGNED_MAX: usize = 99;

/// Verifies the messages of the answer to one signed request, in the order in which they arrive.
pub struct Checking {
    key: Key,
    id: u16,
    /// Has digested the last MAC and the unsigned messages since.
    context: hmac::Context,
    /// Those messages.
    held: Vec<Vec<u8>>,
    is_first: bool,
}

/// Why an answer is not taken.
///
/// Anybody on the way can send an answer that fails, so none of these proves anything: a client
/// that asks by UDP waits on for a better one until its patience ends (RFC 8945 section 5.4), and
/// tells then what it saw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It cannot be interpreted.
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It is the answer to something else.
    #[error("the answer has another id than the request")]
    AnotherId,
    /// It has no TSIG record where there must be one.
    #[error(
        "the answer (response code {code}) is not signed; configure key {key} at the server, for this zone and our address"
    )]
    Unsigned {
        /// The key of the request.
        key: Name,
        /// The response code in the header.
        code: u8,
    },
    /// More unsigned messages follow each other than RFC 8945 section 5.3.1 allows.
    #[error("more than {UNSIGNED_MAX} messages in a row are not signed")]
    TooManyUnsigned,
    /// It is signed with something else than the request.
    #[error("the answer is signed with key {key} and algorithm {algorithm}, other than the request")]
    AnotherKey {
        /// The key of the answer.
        key: Name,
        /// The algorithm of the answer.
        algorithm: Name,
    },
    /// The server answered BADKEY.
    #[error(
        "the server does not know key {key} with algorithm {algorithm}; configure the same on both sides"
    )]
    UnknownKey {
        /// The key of the request.
        key: Name,
        /// Its algorithm.
        algorithm: Algorithm,
    },
    /// The server answered BADSIG.
    #[error("the server found the MAC of key {key} wrong; configure the same secret on both sides")]
    AnotherSecret {
        /// The key of the request.
        key: Name,
    },
    /// The MAC of the answer is wrong or cut.
    #[error(
        "the MAC of the answer does not fit key {key}: the answer was changed, lacks a message, or is made with another secret"
    )]
    WrongMac {
        /// The key.
        key: Name,
    },
    /// The server answered BADTIME, or its answer is late or from the future.
    #[error(
        "clocks differ by {} s, the server's is {}; set both, e.g. by NTP",
        .server.abs_diff(*.now),
        if .server > .now { "ahead" } else { "behind" }
    )]
    Clocks {
        /// The server's time, seconds since 1970.
        server: u64,
        /// Ours.
        now: u64,
    },
    /// The server answered another error (RFC 8945 section 3: BADTRUNC is 22).
    #[error("the server refuses our signature with TSIG error {error}; its log says why")]
    Refused {
        /// The error.
        error: u16,
    },
}

impl Checking {
    pub(super) fn new(key: Key, id: u16, request_mac: &[u8]) -> Self {
        let context = key.context(Some(request_mac));
        Self { key, id, context, held: Vec::new(), is_first: true }
    }

    /// Verifies the next message of the answer, which arrived at `now` (RFC 8945 sections 5.4 and
    /// 5.3.1), and returns the messages that are proven now, without their TSIG records.
    ///
    /// Where every message is signed that is always the one that came. A server may leave up to 99
    /// in a row unsigned, but not the first: nothing is returned for those, and all of them with
    /// the next signed one. So an answer whose last message is not signed never becomes whole.
    ///
    /// # Errors
    /// The message is not taken. Nothing has changed then: the right one may still come.
    pub fn verify(&mut self, answer: &[u8], now: u64) -> Result<Vec<Vec<u8>>, Mismatch> {
        if wire::id(answer).is_some_and(|id| id != self.id) {
            return Err(Mismatch::AnotherId);
        }
        match wire::split(answer)? {
            Some((message, tsig)) => self.signed(message, &tsig, now),
            None => self.unsigned(answer),
        }
    }

    fn unsigned(&mut self, answer: &[u8]) -> Result<Vec<Vec<u8>>, Mismatch> {
        if self.is_first {
            let code = wire::rcode(answer).unwrap_or_default();
            return Err(Mismatch::Unsigned { key: self.key.name.clone(), code });
        }
        if self.held.len() == UNSIGNED_MAX {
            return Err(Mismatch::TooManyUnsigned);
        }
        self.context.update(answer);
        self.held.push(answer.to_vec());
        Ok(Vec::new())
    }

    fn signed(&mut self, message: Vec<u8>, tsig: &Tsig, now: u64) -> Result<Vec<Vec<u8>>, Mismatch> {
        let key = &self.key;
        if tsig.mac.is_empty() && tsig.error != 0 {
            return Err(self.refused(tsig, now));
        }
        if tsig.owner != key.name || tsig.algorithm != key.algorithm.name() {
            return Err(Mismatch::AnotherKey { key: tsig.owner.clone(), algorithm: tsig.algorithm.clone() });
        }
        let mut context = self.context.clone();
        wire::digest_message(&mut context, tsig.original_id, &message);
        if self.is_first {
            context.update(&tsig.variables());
        } else {
            context.update(&tsig.timers());
        }
        if tsig.mac.len() != key.algorithm.mac_bytes() || !is_mac(context, &tsig.mac) {
            return Err(Mismatch::WrongMac { key: key.name.clone() });
        }
        if tsig.error != 0 {
            return Err(self.refused(tsig, now));
        }
        if now.abs_diff(tsig.time) > u64::from(tsig.fudge) {
            return Err(Mismatch::Clocks { server: tsig.time, now });
        }
        self.context = key.context(Some(&tsig.mac));
        self.is_first = false;
        let mut proven = mem::take(&mut self.held);
        proven.push(message);
        Ok(proven)
    }

    /// What the error of an answer means; without a MAC unless the server found our MAC right.
    fn refused(&self, tsig: &Tsig, now: u64) -> Mismatch {
        let key = self.key.name.clone();
        match (tsig.error, tsig.server_time()) {
            (BADKEY, _) => Mismatch::UnknownKey { key, algorithm: self.key.algorithm },
            (BADSIG, _) => Mismatch::AnotherSecret { key },
            (BADTIME, Some(server)) => Mismatch::Clocks { server, now },
            (error, _) => Mismatch::Refused { error },
        }
    }
}

impl fmt::Debug for Checking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checking").field("key", &self.key).field("id", &self.id).finish_non_exhaustive()
    }
}
