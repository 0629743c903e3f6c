//! One primary: what waits for it, and what is under way.

use alloc::collections::{BTreeMap, BTreeSet};

use switchback_machine::Timestamp;

use super::super::contact::{Contact, Missed};
use super::super::name::Name;
use super::members::Members;
use super::policy::Policy;
use super::track::Task;

/// What is followed of a primary, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Follow {
    /// Zones, by name.
    pub zones: BTreeSet<Name>,
    /// The catalogue that lists others.
    pub catalogue: Option<Name>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) follow: Follow,
    /// What its catalogue lists.
    pub(super) listed: Members,
    /// By turn.
    asks: BTreeMap<u64, Name>,
    transfers: BTreeMap<u64, Name>,
    asking: usize,
    transferring: usize,
    pub(super) contact: Contact,
}

impl Source {
    pub(super) fn new(follow: Follow) -> Self {
        Self {
            follow,
            listed: Members::new(),
            asks: BTreeMap::new(),
            transfers: BTreeMap::new(),
            asking: 0,
            transferring: 0,
            contact: Contact::default(),
        }
    }

    fn queue(&mut self, task: Task) -> &mut BTreeMap<u64, Name> {
        match task {
            Task::Ask => &mut self.asks,
            Task::Transfer => &mut self.transfers,
        }
    }

    pub(super) fn wait(&mut self, task: Task, turn: u64, zone: Name) {
        self.queue(task).insert(turn, zone);
    }

    pub(super) fn give_up(&mut self, task: Task, turn: u64) {
        self.queue(task).remove(&turn);
    }

    /// The zone whose turn it is, and what for; transfers go first, for they are what somebody waits for.
    pub(super) fn next(&mut self, now: Timestamp, policy: &Policy) -> Option<(Task, Name)> {
        let outstanding = self.outstanding();
        let (asks_max, transfers_max) = match self.contact.outage {
            Some(outage) if outage.probe_at > now || outstanding > 0 => return None,
            Some(_) => (1, 1),
            None => (policy.asks_max, policy.transfers_max),
        };
        if self.transferring < transfers_max
            && let Some((_, zone)) = self.transfers.pop_first()
        {
            self.transferring += 1;
            return Some((Task::Transfer, zone));
        }
        if self.asking < asks_max
            && let Some((_, zone)) = self.asks.pop_first()
        {
            self.asking += 1;
            return Some((Task::Ask, zone));
        }
        None
    }

    pub(super) fn end(&mut self, task: Task) {
        match task {
            Task::Ask => self.asking = self.asking.saturating_sub(1),
            Task::Transfer => self.transferring = self.transferring.saturating_sub(1),
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.asking + self.transferring
    }

    pub(super) fn waiting(&self) -> usize {
        self.asks.len() + self.transfers.len()
    }

    /// It was not heard. True when it counts as silent from now on.
    pub(super) fn miss(&mut self, now: Timestamp, policy: &Policy) -> bool {
        let missed = Missed { sent: now, is_probe: self.contact.outage.is_some(), pause_from: now };
        self.contact.miss(now, missed, policy.patience()).is_some()
    }

    /// When it is asked again that is silent.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let outage = self.contact.outage.filter(|_| self.outstanding() == 0 && self.waiting() > 0)?;
        Some(outage.probe_at)
    }
}
