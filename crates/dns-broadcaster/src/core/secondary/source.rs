//! One primary: what waits for it, and whether it is heard.

use alloc::collections::{BTreeMap, BTreeSet};

use switchback_machine::Timestamp;

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

/// A primary that is silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    probes: u32,
    probe_at: Timestamp,
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
    /// Exchanges that failed in a row.
    failures: u32,
    failing_since: Timestamp,
    pub(super) heard: Option<Timestamp>,
    pub(super) outage: Option<Outage>,
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
            failures: 0,
            failing_since: Timestamp(0),
            heard: None,
            outage: None,
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
        let (asks_max, transfers_max) = match self.outage {
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

    /// It was heard. Returns the outage that ends with it.
    pub(super) fn hear(&mut self, now: Timestamp) -> Option<Outage> {
        self.heard = Some(now);
        self.failures = 0;
        self.outage.take()
    }

    /// It was not. True when it counts as silent from now on.
    pub(super) fn miss(&mut self, now: Timestamp, policy: &Policy) -> bool {
        if self.failures == 0 {
            self.failing_since = now;
        }
        self.failures = self.failures.saturating_add(1);
        match &mut self.outage {
            Some(outage) => {
                outage.probes = outage.probes.saturating_add(1);
                outage.probe_at = now + policy.probe_delay(outage.probes);
                false
            }
            None if self.failures < policy.silent_after => false,
            None => {
                let probe_at = now + policy.probe_delay(0);
                self.outage = Some(Outage { since: self.failing_since, probes: 0, probe_at });
                true
            }
        }
    }

    /// It tells something, so it is there: it is asked at once.
    pub(super) fn rouse(&mut self, now: Timestamp) {
        if let Some(outage) = &mut self.outage {
            outage.probe_at = now;
        }
    }

    /// When it is asked again that is silent.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let outage = self.outage.filter(|_| self.outstanding() == 0 && self.waiting() > 0)?;
        Some(outage.probe_at)
    }
}
