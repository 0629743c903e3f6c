//! The side that is asked.

use std::collections::BTreeMap;
use std::fmt;

use crate::core::name::Name;
use crate::core::receive::Stamp;
use crate::tsig::wire::{self, Malformed, Tsig, Unsignable};
use crate::tsig::{BADKEY, BADSIG, BADTIME, BADTRUNC, Key, MAC_BYTES_MIN, is_mac};

/// RFC 1035 section 4.1.1.
const FORMERR: u8 = 1;
/// RFC 8945 section 3.
const NOTAUTH: u8 = 9;
/// RFC 1035 section 4.1.1: the last four bits of this byte of the header.
const RCODE_AT: usize = 3;

/// The keys that a server knows.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<Name, Key>);

/// Two keys have one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are two keys with the name {0}; a new key needs a new name")]
pub struct DuplicateKey(
    /// The name.
    pub Name,
);

/// What a request proves.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing: it has no TSIG record. Answer it unsigned.
    Unsigned,
    /// It comes from somebody who has the key.
    Signed {
        /// The name of the key.
        key: Name,
        /// The request without its TSIG record.
        message: Vec<u8>,
        /// Signs the answers.
        signing: Signing,
    },
}

/// Signs the messages of the answer to one request, in the order in which they are sent.
pub struct Signing {
    key: Key,
    original_id: u16,
    /// When the request was signed, and for how long that is good: seconds since 1970, and seconds.
    signed: (u64, u16),
    /// The MAC of the message before: the request's, then that of the last answer.
    prior: Vec<u8>,
    is_first: bool,
}

/// A request that must not be carried out, and what is answered to it.
#[derive(Debug)]
pub struct Refusal {
    reason: Reason,
    answer: Box<Answer>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// FORMERR.
    #[error("the request is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// BADKEY.
    #[error("key {key} with algorithm {algorithm} is not known here; configure the same on both sides")]
    UnknownKey {
        /// What the client calls it.
        key: Name,
        /// What the client signs with.
        algorithm: Name,
    },
    /// BADSIG.
    #[error("the MAC does not fit key {key}; the secrets of both sides differ, or the request was changed")]
    WrongMac {
        /// The key.
        key: Name,
    },
    /// BADTIME.
    #[error(
        "the request of key {key} was signed at {signed} and it is {now} here, more than {fudge} s apart; set both clocks, e.g. by NTP"
    )]
    Time {
        /// The key.
        key: Name,
        /// The client's time, seconds since 1970.
        signed: u64,
        /// Our time, seconds since 1970.
        now: u64,
        /// What the client allows, seconds.
        fudge: u16,
    },
    /// BADTRUNC.
    #[error("the MAC of key {key} is cut to {bytes} bytes; let the client send it whole")]
    ShortMac {
        /// The key.
        key: Name,
        /// What is left of it.
        bytes: usize,
    },
}

/// What is added to the answer to a refused request.
enum Answer {
    /// There was no TSIG record that could be answered to.
    Nothing,
    /// The client has not proven to have the key: a MAC would tell an attacker something.
    Unsigned(Tsig),
    /// The client has proven it.
    Signed(Signing, Tsig),
}

impl Keys {
    /// The set of these keys.
    ///
    /// # Errors
    /// Two of them have one name.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, DuplicateKey> {
        let mut map = BTreeMap::new();
        for key in keys {
            if let Some(key) = map.insert(key.name.clone(), key) {
                return Err(DuplicateKey(key.name));
            }
        }
        Ok(Self(map))
    }

    /// The key of this name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Key> {
        self.0.get(name)
    }

    /// Verifies a request that arrived at `now` (RFC 8945 section 5.2), in the order of checks
    /// that the RFC demands.
    ///
    /// # Errors
    /// It is malformed, or signed and not proven. What is too malformed to be a message is refused
    /// also when nothing in it shows a signature.
    pub fn verify(&self, message: &[u8], now: u64) -> Result<Verdict, Refusal> {
        let split = wire::split(message).map_err(Refusal::malformed)?;
        let Some((message, tsig)) = split else { return Ok(Verdict::Unsigned) };
        let known = self.0.get(&tsig.owner);
        let Some(key) = known.filter(|key| key.algorithm.name() == tsig.algorithm) else {
            let reason = Reason::UnknownKey { key: tsig.owner.clone(), algorithm: tsig.algorithm.clone() };
            return Err(Refusal::unproven(reason, BADKEY, tsig, now));
        };
        let whole = key.algorithm.mac_bytes();
        if !(MAC_BYTES_MIN.max(whole / 2)..=whole).contains(&tsig.mac.len()) {
            return Err(Refusal::malformed(Malformed::MacSize));
        }
        let mut context = key.context(None);
        wire::digest_message(&mut context, tsig.original_id, &message);
        context.update(&tsig.variables());
        if !is_mac(context, &tsig.mac) {
            return Err(Refusal::unproven(Reason::WrongMac { key: tsig.owner.clone() }, BADSIG, tsig, now));
        }
        let signing = Signing {
            key: key.clone(),
            original_id: tsig.original_id,
            signed: (tsig.time, tsig.fudge),
            prior: tsig.mac.clone(),
            is_first: true,
        };
        if now.abs_diff(tsig.time) > u64::from(tsig.fudge) {
            return Err(Refusal::late(signing, tsig, now));
        }
        if tsig.mac.len() < whole {
            return Err(Refusal::short(signing, &tsig, now));
        }
        Ok(Verdict::Signed { key: tsig.owner, message, signing })
    }
}

impl Signing {
    /// What tells the request from all others of its key, and until when it is good, seconds since 1970.
    /// `None` once something was signed.
    #[must_use]
    pub fn stamp(&self) -> Option<(Stamp, u64)> {
        let (time, fudge) = self.signed;
        let mac = self.prior.first_chunk().filter(|_| self.is_first)?;
        Some((Stamp { time, mac: *mac }, time.saturating_add(fudge.into())))
    }

    /// Signs the next message of the answer, which leaves at `now`: the first one together with
    /// the request's MAC and the whole record (RFC 8945 section 5.3), each further one together
    /// with the MAC before it and the record's times (section 5.3.1). Every message is signed.
    ///
    /// # Errors
    /// `message` is no DNS message, or has no room for a TSIG record; nothing is changed then, and
    /// a shorter one can be signed in its place.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) -> Result<(), Unsignable> {
        let tsig = self.key.record(self.original_id, now);
        self.sign_with(message, tsig)
    }

    /// The bytes that signing adds to a message: an answer has to be that much shorter than what
    /// the client takes. Where it cannot, the question alone is sent, signed and with TC (RFC 8945
    /// section 5.3).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.record(0, 0).record().len() + self.key.algorithm.mac_bytes()
    }

    fn sign_with(&mut self, message: &mut Vec<u8>, mut tsig: Tsig) -> Result<(), Unsignable> {
        let mut context = self.key.context(Some(&self.prior));
        wire::digest_message(&mut context, tsig.original_id, message);
        if self.is_first {
            context.update(&tsig.variables());
        } else {
            context.update(&tsig.timers());
        }
        tsig.mac = context.sign().as_ref().to_vec();
        tsig.append(message)?;
        self.prior = tsig.mac;
        self.is_first = false;
        Ok(())
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Refusal {
    /// Why, for the log.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Makes `response`, the header and the question of an answer to the request, into the one
    /// that RFC 8945 section 5.2 demands: sets its response code and adds the TSIG record, if
    /// there is one to add.
    ///
    /// # Errors
    /// `response` is no DNS message, or has no room for a TSIG record.
    pub fn answer(self, response: &mut Vec<u8>) -> Result<(), Unsignable> {
        let code = if matches!(*self.answer, Answer::Nothing) { FORMERR } else { NOTAUTH };
        let byte = response.get_mut(RCODE_AT).ok_or(Unsignable::NoHeader)?;
        *byte = (*byte & 0xf0) | code;
        match *self.answer {
            Answer::Nothing => Ok(()),
            Answer::Unsigned(tsig) => tsig.append(response),
            Answer::Signed(mut signing, tsig) => signing.sign_with(response, tsig),
        }
    }

    fn malformed(reason: Malformed) -> Self {
        Self { reason: reason.into(), answer: Box::new(Answer::Nothing) }
    }

    fn unproven(reason: Reason, error: u16, request: Tsig, now: u64) -> Self {
        let tsig = Tsig { time: now, mac: Vec::new(), error, other: Vec::new(), ..request };
        Self { reason, answer: Box::new(Answer::Unsigned(tsig)) }
    }

    /// RFC 8945 section 5.2.3: with the client's times in their fields, so that the client does not
    /// refuse the answer for its time, and with ours where the client can read it.
    fn late(signing: Signing, request: Tsig, now: u64) -> Self {
        let reason =
            Reason::Time { key: request.owner.clone(), signed: request.time, now, fudge: request.fudge };
        let [_, _, other @ ..] = now.to_be_bytes();
        let tsig = Tsig { mac: Vec::new(), error: BADTIME, other: other.to_vec(), ..request };
        Self { reason, answer: Box::new(Answer::Signed(signing, tsig)) }
    }

    fn short(signing: Signing, request: &Tsig, now: u64) -> Self {
        let reason = Reason::ShortMac { key: request.owner.clone(), bytes: request.mac.len() };
        let tsig = Tsig { error: BADTRUNC, ..signing.key.record(request.original_id, now) };
        Self { reason, answer: Box::new(Answer::Signed(signing, tsig)) }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Unsigned(_) => "Unsigned",
            Self::Signed(..) => "Signed",
        })
    }
}
