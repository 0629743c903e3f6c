//! TSIG (RFC 8945): messages between name servers that share a key, proven to be whole, fresh and
//! from the other.
//!
//! A server holds [`Keys`], verifies what it is asked, and signs what it answers with the
//! [`Signing`] that it got; or answers what the [`Refusal`] says. A client signs its question with
//! [`Key::sign_request`] and verifies the answers with the [`Checking`] that it got. Both go through
//! answers of many messages (AXFR over TCP, section 5.3.1). It promises:
//!
//! - A MAC is compared in constant time, and never one that was cut: a truncated MAC that is right
//!   is refused with BADTRUNC, one that is wrong with BADSIG.
//! - An error is signed only for somebody who has proven to know the key (section 5.3.2).
//! - What a client gets back was covered by a MAC, also where the server signs only some messages:
//!   those in between are held until the next MAC has proven them.
//! - Bytes from the network cannot make it panic, loop or allocate beyond what they are long.
//!
//! It has no clock and no sockets: times are seconds since 1970, and come from the caller.
//!
//! What it is not: it remembers nothing between requests. Section 5.2.3 proposes to refuse a time
//! earlier than the latest seen of a key; several servers share a key here and their datagrams
//! overtake one another, so within the fudge a request may be replayed. What it asks for must be
//! harmless twice: queries, transfers and NOTIFY are. Of updates, which are not, each is remembered
//! ([`Seen`](crate::core::receive::Seen)).
//!
//! The codec's own TSIG is not used. hickory 0.26 re-encodes the header before it computes a MAC,
//! adds up the header's counts and the signed times in types that overflow, compares algorithms by
//! case, and chains no messages; it also wants its DNSSEC feature for it. The record is a dozen
//! fields, and `ring` does what must not be written by hand.

mod client;
mod file;
mod server;
mod wire;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use subtle::ConstantTimeEq;

pub use client::{Checking, Mismatch};
pub use server::{DuplicateKey, Keys, Reason, Refusal, Signing, Verdict};
pub use wire::{Malformed, Unsignable};

use crate::core::name::{InvalidName, Name};

/// How far two clocks may differ, in seconds: what RFC 8945 section 10 recommends, and what every
/// name server we know uses.
const FUDGE_SECONDS: u16 = 300;
/// 128 bits: fewer may be searched through by whoever has seen one signed message. `tsig-keygen`
/// makes 32 bytes and more.
const SECRET_BYTES_MIN: usize = 16;
/// RFC 8945 section 5.2.2.1: no MAC is cut to fewer bytes, nor to less than half of it.
const MAC_BYTES_MIN: usize = 10;
/// Extended response codes (RFC 8945 section 3).
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;

/// How a MAC is made. RFC 8945 section 6 has weaker ones; whoever can be configured for a key of
/// ours can be configured for one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`, which every implementation must have.
    HmacSha256,
    /// `hmac-sha512`.
    HmacSha512,
}

impl Algorithm {
    fn text(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// The name that stands for it in a record (RFC 8945 section 6).
    fn name(self) -> Name {
        Name::parse(self.text()).expect("the texts are names of one label")
    }

    fn ring(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }

    fn mac_bytes(self) -> usize {
        self.ring().digest_algorithm().output_len()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Algorithm {
    type Err = InvalidKey;

    /// Parses the name that configuration files use, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        [Self::HmacSha256, Self::HmacSha512]
            .into_iter()
            .find(|algorithm| algorithm.text().eq_ignore_ascii_case(text))
            .ok_or_else(|| InvalidKey::Algorithm(text.into()))
    }
}

/// Why something is no key. No variant holds any part of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Another algorithm, or a weaker one.
    #[error("{0:?} is no algorithm for a key; use \"hmac-sha256\" or \"hmac-sha512\"")]
    Algorithm(String),
    /// The secret can be guessed.
    #[error(
        "the secret has {bytes} bytes, expected at least {SECRET_BYTES_MIN}; `tsig-keygen NAME` makes a good one"
    )]
    ShortSecret {
        /// Its length.
        bytes: usize,
    },
    /// The secret is not written as it should be.
    #[error("the secret is not base64 (RFC 4648 section 4, with its padding)")]
    Base64,
    /// The key's name is no domain name.
    #[error("the key's name is malformed: {0}")]
    Name(#[from] InvalidName),
    /// The text is neither a secret nor a key clause.
    #[error(
        "line {line}: expected {expected}; a key file holds what `tsig-keygen NAME` prints, or the secret alone in base64"
    )]
    Syntax {
        /// Where, from 1.
        line: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// The file does not say the name, and nobody else does.
    #[error("the file holds a secret without a name; name the key as the other name server calls it")]
    Nameless,
    /// The file says something else than the configuration.
    #[error("the key is configured as {configured}, but its file says {found}; make them agree")]
    Disagreement {
        /// What the configuration says.
        configured: String,
        /// What the file says.
        found: String,
    },
}

/// A secret shared with another name server, under the name that both give it.
///
/// The secret itself is not kept, only what HMAC makes of it, and nothing prints it.
#[derive(Clone)]
pub struct Key {
    name: Name,
    algorithm: Algorithm,
    /// Shared with every request under way.
    hmac: Arc<hmac::Key>,
}

impl Key {
    /// A key of these parts.
    ///
    /// # Errors
    /// The secret is shorter than 16 bytes.
    pub fn new(name: &Name, algorithm: Algorithm, secret: &[u8]) -> Result<Self, InvalidKey> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(InvalidKey::ShortSecret { bytes: secret.len() });
        }
        let hmac = Arc::new(hmac::Key::new(algorithm.ring(), secret));
        Ok(Self { name: name.clone(), algorithm, hmac })
    }

    /// A key whose secret is written in base64, as name servers' configurations have it.
    ///
    /// # Errors
    /// The text is no base64, or the secret is shorter than 16 bytes.
    pub fn from_base64(name: &Name, algorithm: Algorithm, secret: &str) -> Result<Self, InvalidKey> {
        // The decoder's own error would say a character of the secret.
        let secret = STANDARD.decode(secret).map_err(|_| InvalidKey::Base64)?;
        Self::new(name, algorithm, &secret)
    }

    /// A key from the text of its file: what `tsig-keygen` prints (`key "name" { algorithm
    /// hmac-sha256; secret "…"; };`), or one line with the secret in base64.
    ///
    /// `name` and `algorithm` are what the configuration says. A key clause says both itself and
    /// must agree; for a secret alone the name is needed, and the algorithm is `hmac-sha256` when
    /// nobody says another.
    ///
    /// # Errors
    /// The text is neither, says something else than the configuration, or holds a bad secret.
    pub fn from_file_text(
        text: &str,
        name: Option<&Name>,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, InvalidKey> {
        file::parse(text, name, algorithm)
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs a request that leaves at `now`. The answers to it are verified by what comes with it.
    ///
    /// # Errors
    /// `message` is no DNS message, or has no room for a TSIG record.
    pub fn sign_request(&self, mut message: Vec<u8>, now: u64) -> Result<(Vec<u8>, Checking), Unsignable> {
        let id = wire::id(&message).ok_or(Unsignable::NoHeader)?;
        let mut tsig = self.record(id, now);
        let mut context = self.context(None);
        wire::digest_message(&mut context, id, &message);
        context.update(&tsig.variables());
        tsig.mac = context.sign().as_ref().to_vec();
        tsig.append(&mut message)?;
        Ok((message, Checking::new(self.clone(), id, &tsig.mac)))
    }

    /// A record of this key that lacks its MAC.
    fn record(&self, original_id: u16, now: u64) -> wire::Tsig {
        wire::Tsig {
            owner: self.name.clone(),
            algorithm: self.algorithm.name(),
            time: now,
            fudge: FUDGE_SECONDS,
            mac: Vec::new(),
            original_id,
            error: 0,
            other: Vec::new(),
        }
    }

    /// The beginning of a MAC, which covers the MAC before it when there is one.
    fn context(&self, prior: Option<&[u8]>) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.hmac);
        if let Some(mac) = prior {
            wire::digest_prior(&mut context, mac);
        }
        context
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// True when `mac`, whole or cut, is what `context` gives; takes the same time wherever they differ.
///
/// `ring::hmac::verify` does the same for a MAC that is whole over bytes that lie in one piece. A
/// MAC of ours covers several, up to a hundred messages, and copying them together first is what
/// the context saves. An empty MAC, which is a prefix of every other, is never right.
fn is_mac(context: hmac::Context, mac: &[u8]) -> bool {
    if mac.len() < MAC_BYTES_MIN {
        return false;
    }
    let tag = context.sign();
    tag.as_ref().get(..mac.len()).is_some_and(|tag| tag.ct_eq(mac).into())
}
