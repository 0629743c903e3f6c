//! What is under way between the two link managers.
//!
//! *At large* is a set that only grows. A message in it can be delivered at any time, any number of
//! times, in any order, or never; so loss, delay, duplication and reordering need no actions of
//! their own. By default every message is at large.
//!
//! For long histories (`--in-order`) messages wait in a queue to each side instead, as they do in
//! the product's streams, and the next one is delivered, or is *held*: it is then at large.

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

/// See the module. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Network {
    at_large: Arc<[Arc<Envelope>]>,
    /// To each side, the next one first.
    queues: [Arc<[Arc<Envelope>]>; 2],
    /// Of the set, whatever its order, and of the queues.
    pub hash: u64,
}

impl Network {
    /// With these messages too, at large.
    #[must_use]
    pub fn with(&self, sent: &[Arc<Envelope>]) -> Self {
        let mut new: Vec<_> = sent.iter().filter(|envelope| self.find(envelope.hash).is_none()).collect();
        new.sort();
        new.dedup();
        if new.is_empty() {
            return self.clone();
        }
        let mut messages: Vec<_> = self.at_large.iter().chain(new).cloned().collect();
        messages.sort();
        self.sealed(messages.into(), self.queues.clone())
    }

    /// With these messages too, in their queues.
    #[must_use]
    pub fn queued(&self, sent: &[Arc<Envelope>]) -> Self {
        if sent.is_empty() {
            return self.clone();
        }
        let queues = [0, 1].map(|to| {
            let new: Vec<_> = sent.iter().filter(|one| one.to == to).cloned().collect();
            // Of what is said again only the last time counts, or a held message that is answered
            // each time it arrives could fill a queue without end.
            let mut queue: Vec<_> =
                self.queues[to].iter().filter(|one| !new.contains(one)).cloned().collect();
            for (at, one) in new.iter().enumerate() {
                if !new[at + 1..].contains(one) {
                    queue.push(Arc::clone(one));
                }
            }
            queue.into()
        });
        self.sealed(Arc::clone(&self.at_large), queues)
    }

    /// The next of the queue to `to`.
    #[must_use]
    pub fn next(&self, to: usize) -> Option<&Arc<Envelope>> {
        self.queues[to].first()
    }

    /// Without the next of the queue to `to`.
    #[must_use]
    pub fn taken(&self, to: usize) -> Self {
        let mut queues = self.queues.clone();
        queues[to] = queues[to].iter().skip(1).cloned().collect();
        self.sealed(Arc::clone(&self.at_large), queues)
    }

    /// With the next of the queue to `to` at large.
    #[must_use]
    pub fn held(&self, to: usize) -> Self {
        let next = self.next(to).cloned();
        self.taken(to).with(next.as_slice())
    }

    /// The stream to `to` is gone, and what was in it.
    #[must_use]
    pub fn dropped(&self, to: usize) -> Self {
        if self.queues[to].is_empty() {
            return self.clone();
        }
        let mut queues = self.queues.clone();
        queues[to] = Arc::default();
        self.sealed(Arc::clone(&self.at_large), queues)
    }

    fn sealed(&self, at_large: Arc<[Arc<Envelope>]>, queues: [Arc<[Arc<Envelope>]>; 2]) -> Self {
        let set = at_large.iter().fold(0_u64, |hash, envelope| hash.wrapping_add(envelope.hash));
        let waiting = queues.each_ref().map(|queue| queue.iter().map(|one| one.hash).collect::<Vec<_>>());
        let hash = if waiting.iter().all(Vec::is_empty) { set } else { set ^ fingerprint(&waiting, 0) };
        Self { at_large, queues, hash }
    }

    /// Every message at large.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Envelope>> {
        self.at_large.iter()
    }

    /// The message of this hash, at large or next in its queue.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<&Arc<Envelope>> {
        let next = || [0, 1].into_iter().filter_map(|to| self.next(to)).find(|one| one.hash == hash);
        match self.at_large.binary_search_by_key(&hash, |envelope| envelope.hash) {
            Ok(found) => self.at_large.get(found),
            Err(_) => next(),
        }
    }
}
