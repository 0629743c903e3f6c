//! What is under way between the two link managers: a set that only grows. A message in it can be
//! delivered at any time, any number of times, in any order, or never; so loss, delay, duplication
//! and reordering need no actions of their own.

use std::cmp::Ordering;
use std::sync::Arc;

use switchback_link_core::{Header, Message};

use crate::fingerprint::fingerprint;

/// A message and whom it goes to.
#[derive(Debug)]
pub struct Envelope {
    /// The receiving system.
    pub to: usize,
    /// What.
    pub message: Message,
    /// Names it.
    pub hash: u64,
}

impl Envelope {
    /// A message to the system `to`.
    #[must_use]
    pub fn new(to: usize, mut message: Message) -> Self {
        // Only shown to people at the other side; nothing is decided by them.
        if let Message::Heartbeat(_, heartbeat) = &mut message {
            heartbeat.trouble.clear();
            heartbeat.in_sync = false;
        }
        let hash = fingerprint(&(to, &message), 0);
        Self { to, message, hash }
    }

    /// The header, of those that have one.
    #[must_use]
    pub fn header(&self) -> Option<Header> {
        match &self.message {
            Message::Heartbeat(header, _)
            | Message::Proposal(header, _)
            | Message::Fence(header)
            | Message::Fenced(header, _)
            | Message::GrantRequest(header, ..)
            | Message::Grant(header, ..)
            | Message::Farewell(header) => Some(*header),
            Message::UnknownLink(_) | Message::OtherLife(_) | Message::ProposalAnswer { .. } => None,
        }
    }
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Envelope {}

impl PartialOrd for Envelope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Envelope {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash)
    }
}

/// A set of messages. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Network {
    messages: Arc<[Arc<Envelope>]>,
    /// Of the set, whatever its order.
    pub hash: u64,
}

impl Network {
    /// With these messages too.
    #[must_use]
    pub fn with(&self, sent: &[Arc<Envelope>]) -> Self {
        let mut new: Vec<_> = sent.iter().filter(|envelope| self.find(envelope.hash).is_none()).collect();
        new.sort();
        new.dedup();
        if new.is_empty() {
            return self.clone();
        }
        let hash = new.iter().fold(self.hash, |hash, envelope| hash.wrapping_add(envelope.hash));
        let mut messages: Vec<_> = self.messages.iter().chain(new).cloned().collect();
        messages.sort();
        Self { messages: messages.into(), hash }
    }

    /// Every message.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Envelope>> {
        self.messages.iter()
    }

    /// The message of this hash.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<&Arc<Envelope>> {
        let found = self.messages.binary_search_by_key(&hash, |envelope| envelope.hash).ok()?;
        self.messages.get(found)
    }
}
