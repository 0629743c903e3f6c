//! What the service knows, and the only way it changes.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use switchback_model::RequestId;

use super::certificate::{Certificate, Fingerprint, WallTime};

/// A PKCS #8 key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(pub Vec<u8>);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// The system's own certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// What is shown to others.
    pub certificate: Certificate,
    /// What proves it.
    pub key: PrivateKey,
    /// When it was made.
    pub made: WallTime,
}

/// Another system's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The certificate.
    pub certificate: Certificate,
    /// When it was uploaded.
    pub uploaded: WallTime,
}

/// The commands that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Trust a certificate.
    Upload,
    /// End trust in a certificate.
    Delete,
    /// Make a new own certificate.
    Renew,
}

/// What a command was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which command.
    pub command: Command,
    /// What it was about, to tell a repeat from a reused id.
    pub subject: String,
    /// The certificate in the answer.
    pub certificate: Certificate,
    /// When it was uploaded; when it was made for our own.
    pub uploaded: WallTime,
    /// An upload that changed nothing.
    pub already_trusted: bool,
}

/// One durable record, put or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new own certificate.
    PutOwn(Own),
    /// A certificate is trusted.
    PutTrusted(Trusted),
    /// A certificate is trusted no more.
    RemoveTrusted(Fingerprint),
    /// A certificate was trusted until then.
    PutWithdrawn(Fingerprint, WallTime),
    /// It is forgotten that a certificate was trusted.
    RemoveWithdrawn(Fingerprint),
    /// A command was answered; the number orders answers by age.
    PutAnswer(u64, RequestId, Answer),
    /// An old answer is forgotten.
    RemoveAnswer(u64),
}

/// Everything the service remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// None only before the first start has made one.
    pub own: Option<Own>,
    /// By fingerprint.
    pub trusted: BTreeMap<Fingerprint, Trusted>,
    /// Trusted once, until when.
    pub withdrawn: BTreeMap<Fingerprint, WallTime>,
    /// By age.
    pub answers: BTreeMap<u64, (RequestId, Answer)>,
}

impl State {
    /// The state that `changes` lead to: what a recovery does with the records it finds.
    #[must_use]
    pub fn recover(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut state = Self::default();
        changes.into_iter().for_each(|change| state.apply(change));
        state
    }

    /// The only writer, live and on recovery.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::PutOwn(own) => self.own = Some(own),
            Change::PutTrusted(trusted) => {
                self.trusted.insert(trusted.certificate.fingerprint.clone(), trusted);
            }
            Change::RemoveTrusted(fingerprint) => {
                self.trusted.remove(&fingerprint);
            }
            Change::PutWithdrawn(fingerprint, until) => {
                self.withdrawn.insert(fingerprint, until);
            }
            Change::RemoveWithdrawn(fingerprint) => {
                self.withdrawn.remove(&fingerprint);
            }
            Change::PutAnswer(number, request, answer) => {
                self.answers.insert(number, (request, answer));
            }
            Change::RemoveAnswer(number) => {
                self.answers.remove(&number);
            }
        }
    }

    /// The answer that this request got before.
    #[must_use]
    pub fn answer(&self, request: &RequestId) -> Option<&Answer> {
        self.answers.values().find(|(answered, _)| answered == request).map(|(_, answer)| answer)
    }
}
