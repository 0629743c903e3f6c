//! The keys that zones are signed with: made here, kept in the state, never shown.

use std::sync::Arc;
use std::{fmt, panic, thread};

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

use crate::core::dnssec::key::{Algorithm, PublicKey};
use crate::core::dnssec::roll::{Stage, Step};
use crate::core::dnssec::sign::{Signer, Unsigned};

/// So many messages are signed by one processor: with fewer another would begin when they are almost done.
const SHARE_MIN: usize = 32;

/// A key of the system.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) pair: Arc<KeyPair>,
    pub(crate) stage: Stage,
    /// Since when, Unix seconds.
    pub(crate) since: u64,
}

/// The keys of the system: one that signs, and what is published beside it.
#[derive(Clone, Debug)]
pub(crate) struct Keyring {
    active: Kept,
    others: Vec<Kept>,
}

impl Keyring {
    /// The keyring of these keys, if one of them is active.
    pub(crate) fn of(mut keys: Vec<Kept>) -> Option<Self> {
        let active = keys.iter().position(|kept| kept.stage == Stage::Active)?;
        Some(Self::new(keys.swap_remove(active), keys))
    }

    pub(crate) fn new(active: Kept, others: Vec<Kept>) -> Self {
        Self { active, others }
    }

    pub(crate) fn signer(&self) -> &dyn Signer {
        &*self.active.pair
    }

    /// All that is published, in order.
    pub(crate) fn public(&self) -> Vec<PublicKey> {
        let mut keys: Vec<_> = self.keys().map(|kept| kept.pair.key().clone()).collect();
        keys.sort();
        keys
    }

    /// The keyring after a step of a roll at `now`, Unix seconds. A new key signs as `algorithm` says.
    ///
    /// # Errors
    /// See [`Unsigned`].
    pub(crate) fn after(&self, step: Step, algorithm: Algorithm, now: u64) -> Result<Self, Unsigned> {
        let mut next = self.clone();
        match step {
            Step::Publish => {
                let tags: Vec<_> = self.keys().map(|kept| kept.pair.key().tag()).collect();
                let mut pair = KeyPair::generate(algorithm)?;
                // Validators look keys up by their tags, and so does the state.
                while tags.contains(&pair.key().tag()) {
                    pair = KeyPair::generate(algorithm)?;
                }
                next.others.push(Kept { pair: Arc::new(pair), stage: Stage::Next, since: now });
            }
            Step::Activate => {
                if let Some(at) = next.others.iter().position(|kept| kept.stage == Stage::Next) {
                    std::mem::swap(&mut next.active, &mut next.others[at]);
                    (next.active.stage, next.active.since) = (Stage::Active, now);
                    (next.others[at].stage, next.others[at].since) = (Stage::Retired, now);
                }
            }
            Step::Withdraw => next.others.retain(|kept| kept.stage != Stage::Retired),
        }
        Ok(next)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Kept> {
        [&self.active].into_iter().chain(&self.others)
    }
}

/// A key. Its private half leaves this service by its disk only.
pub struct KeyPair {
    public: PublicKey,
    private: Private,
    pkcs8: Vec<u8>,
    random: SystemRandom,
}

enum Private {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl KeyPair {
    /// A new key.
    ///
    /// # Errors
    /// See [`Unsigned`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, Unsigned> {
        let random = SystemRandom::new();
        let made = match algorithm {
            Algorithm::EcdsaP256 => {
                EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            Algorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random),
        };
        let document = made.map_err(|_| Unsigned)?;
        Self::read(algorithm, document.as_ref()).ok_or(Unsigned)
    }

    /// As the state keeps it (PKCS #8).
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The key that [`KeyPair::pkcs8`] gave; `None` when it is damaged.
    pub(crate) fn read(algorithm: Algorithm, pkcs8: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let private = match algorithm {
            Algorithm::EcdsaP256 => Private::EcdsaP256(
                EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random).ok()?,
            ),
            Algorithm::Ed25519 => Private::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).ok()?),
        };
        let public = match &private {
            // Behind the byte that says that it is not compressed (RFC 6605 section 4).
            Private::EcdsaP256(pair) => pair.public_key().as_ref().get(1..)?,
            Private::Ed25519(pair) => pair.public_key().as_ref(),
        };
        Some(Self { public: PublicKey::new(algorithm, public)?, private, pkcs8: pkcs8.into(), random })
    }
}

impl Signer for KeyPair {
    fn key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        match &self.private {
            Private::EcdsaP256(pair) => {
                pair.sign(&self.random, message).map(|made| made.as_ref().to_vec()).map_err(|_| Unsigned)
            }
            Private::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// On all processors: nothing is answered before a zone is signed, and what takes one of them a minute for a
    /// million names is mostly this.
    fn sign_all(&self, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Unsigned> {
        let signed = |messages: &[Vec<u8>]| messages.iter().map(|message| self.sign(message)).collect();
        if messages.len() <= SHARE_MIN {
            return signed(messages);
        }
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let share = messages.len().div_ceil(processors).max(SHARE_MIN);
        let shares = thread::scope(|scope| {
            let signers: Vec<_> =
                messages.chunks(share).map(|share| scope.spawn(move || signed(share))).collect();
            let joined = signers
                .into_iter()
                .map(|signer| signer.join().unwrap_or_else(|cause| panic::resume_unwind(cause)));
            joined.collect::<Result<Vec<Vec<_>>, _>>()
        })?;
        Ok(shares.concat())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?}, ..)", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_together_is_signed_as_alone_and_in_order() {
        let pair = KeyPair::generate(Algorithm::Ed25519).unwrap();
        for count in [0, 1, SHARE_MIN, 3 * SHARE_MIN + 1, 1_000] {
            let messages: Vec<_> = (0..count).map(|number| number.to_string().into_bytes()).collect();
            let alone: Vec<_> = messages.iter().map(|message| pair.sign(message).unwrap()).collect();
            assert!(pair.sign_all(&messages).unwrap() == alone, "{count}");
        }
    }
}
