//! How other name servers are made to follow this one, and how far they have.
//!
//! A name server that holds our zones as a secondary (BIND, NSD, Knot, `PowerDNS`) is a *target*.
//! When a zone changes, every target is told by NOTIFY (RFC 1996), transfers the zone by itself,
//! and is asked for the zone's SOA until it answers the new serial. Nobody waits for any of this:
//! a failover is done when this server answers; here an operator sees who follows.
//!
//! What is promised:
//!
//! - A change is told to every target at once, and again as long as the target is behind, for a
//!   day if need be.
//! - A target that has followed is known to have: `Converged` is shown only while the target's
//!   last answer is this server's serial, and is asked for again now and then.
//! - No more than [`Policy::outstanding_max`] exchanges are outstanding per target, and one for a
//!   target that is silent. Targets have nothing in common: a dead one delays no other.
//! - An event costs O(log n) per target in the number of zones; a publication, per zone of it.
//!
//! Why NOTIFY and then questions: the acknowledgement of a NOTIFY says that it was heard, not that
//! the zone was transferred, and nothing else in the protocol tells the primary. The transfers
//! that a target makes are no evidence: it may fail to load what it got.
//!
//! Nothing here is durable. After a start every zone counts as changed: a NOTIFY may have been lost
//! with the process, and a target that holds the serial already does nothing.
//!
//! What it is not: it does not send, time out or retransmit single messages, and it knows no
//! addresses or keys. An answer with the right serial is taken for a followed zone; whether the
//! records are right as well is not asked.

mod dispatch;
mod event;
mod flight;
mod follower;
mod policy;
mod queue;
mod scope;
mod track;
mod view;
mod zone;

pub use event::{Exchange, Input, Output, Reason};

pub use policy::{OUTSTANDING_CEILING, Policy, TARGETS_MAX, ZONES_MAX};
pub use scope::Scope;
pub use view::{Counts, Footprint, LastChange, Standing, State, Summary, Trouble};

pub use super::contact::{Overdue, Target};

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::convert::Infallible;

use switchback_machine::{Machine, Outbox, Timestamp};

use self::follower::{Follower, Scene};
use self::zone::{Batch, Put, Zones};
use super::name::Name;
use super::zone::Serial;

type Out = Outbox<Followers>;

/// More targets than are followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} name servers are to follow, more than {TARGETS_MAX}: let some of them follow each other")]
pub struct TooManyTargets {
    /// How many there are.
    pub given: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Followers {
    policy: Policy,
    zones: Zones,
    followers: BTreeMap<Target, Follower>,
    batch: Batch,
    left_out: u64,
}

impl Followers {
    /// Nothing published yet. A target that is named twice is one.
    ///
    /// # Errors
    /// There are more than [`TARGETS_MAX`].
    pub fn new(targets: impl IntoIterator<Item = Target>, policy: Policy) -> Result<Self, TooManyTargets> {
        let followers: BTreeMap<_, _> =
            targets.into_iter().map(|target| (target.clone(), Follower::new(target))).collect();
        if followers.len() > TARGETS_MAX {
            return Err(TooManyTargets { given: followers.len() });
        }
        let policy = policy.bounded();
        Ok(Self { policy, zones: Zones::default(), followers, batch: Batch(0), left_out: 0 })
    }

    /// The same, with only what is in `scope` the business of `target`: it is not told of other zones, and
    /// not asked. For the time before anything is published.
    #[must_use]
    pub fn within(mut self, target: &Target, scope: Scope) -> Self {
        if let Some(follower) = self.followers.get_mut(target) {
            follower.scope = scope;
        }
        self
    }

    /// Targets that somebody should look at: those that have not followed for
    /// [`Policy::late_after`].
    pub fn overdue(&self, now: Timestamp) -> impl Iterator<Item = (&Target, Overdue)> {
        let late_after = self.policy.late_after;
        self.followers
            .iter()
            .filter_map(move |(target, follower)| Some((target, follower.overdue(now, late_after)?)))
    }

    /// One target; `None` when it is not followed up.
    #[must_use]
    pub fn summary(&self, target: &Target) -> Option<Summary> {
        self.followers.get(target).map(Follower::summary)
    }

    /// Where `target` stands with `zone`; `None` when either is unknown.
    #[must_use]
    pub fn standing(&self, target: &Target, zone: &Name) -> Option<Standing> {
        let (id, zone) = self.zones.find(zone)?;
        Some(self.followers.get(target)?.track(id)?.standing(zone))
    }

    /// Where `target` stands with each zone, in the order of names; the zones after `after` if it
    /// is given, so that a reader can take pages.
    pub fn standings(
        &self,
        target: &Target,
        after: Option<&Name>,
    ) -> impl Iterator<Item = (&Name, Standing)> {
        let follower = self.followers.get(target);
        let zones = self.zones.iter_after(after);
        zones.filter_map(move |(id, zone)| Some((&zone.name, follower?.track(id)?.standing(zone))))
    }

    /// What is held in memory.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let sum = |of: fn(&Follower) -> usize| self.followers.values().map(of).sum();
        Footprint {
            zones: self.zones.len(),
            standings: sum(Follower::standings),
            queued: sum(Follower::queued),
            outstanding: sum(Follower::outstanding),
            left_out: self.left_out,
        }
    }

    fn publish(&mut self, now: Timestamp, changed: Vec<(Name, Serial)>, removed: &[Name], out: &mut Out) {
        for name in removed {
            if let Some((id, zone)) = self.zones.remove(name) {
                self.followers.values_mut().for_each(|follower| follower.forget(id, &zone));
            }
        }
        self.batch.0 += 1;
        // A zone that is named twice changes once, to what was named last.
        let changed: BTreeMap<_, _> = changed.into_iter().collect();
        let mut ids = Vec::new();
        for (name, serial) in changed {
            match self.zones.put(name, serial, now, self.batch) {
                Put::Changed(id) => ids.push(id),
                Put::AlreadyThere => {}
                Put::Full => self.left_out = self.left_out.saturating_add(1),
            }
        }
        if ids.is_empty() {
            return;
        }
        let scene = Scene { now, policy: &self.policy, zones: &self.zones };
        let zones: Vec<_> = ids.into_iter().filter_map(|id| Some((id, self.zones.get(id)?))).collect();
        for follower in self.followers.values_mut() {
            let taken = zones.iter().zip(0..).filter(|((_, zone), _)| follower.scope.holds(&zone.name));
            let taken: Vec<_> = taken.collect();
            if taken.is_empty() {
                continue;
            }
            follower.begin_batch(now, self.batch, taken.len());
            for (&(id, zone), index) in taken {
                follower.change(scene, id, zone, index, out);
            }
        }
    }
}

impl Machine for Followers {
    type Input = Input;
    type Change = Infallible;
    type Output = Output;

    fn step(&mut self, now: Timestamp, input: Input, outbox: &mut Out) {
        let (target, zone, end) = match input {
            Input::Published { changed, removed } => {
                self.publish(now, changed, &removed, outbox);
                self.tick(now, outbox);
                return;
            }
            Input::NotifyAcknowledged { target, zone } => (target, zone, End::Acknowledged),
            Input::NotifyRefused { target, zone } => (target, zone, End::Refused),
            Input::SoaAnswered { target, zone, serial } => (target, zone, End::Answered(serial)),
            Input::ExchangeFailed { target, zone, exchange, reason } => {
                (target, zone, End::Failed(exchange, reason))
            }
        };
        let scene = Scene { now, policy: &self.policy, zones: &self.zones };
        let Some(follower) = self.followers.get_mut(&target) else { return };
        match end {
            End::Acknowledged => follower.acknowledged(scene, &zone, outbox),
            End::Refused => follower.refused(scene, &zone, outbox),
            End::Answered(serial) => follower.answered(scene, &zone, serial, outbox),
            End::Failed(exchange, reason) => follower.failed(scene, &zone, exchange, reason, outbox),
        }
        follower.settle(scene, outbox);
    }

    fn tick(&mut self, now: Timestamp, outbox: &mut Out) {
        let scene = Scene { now, policy: &self.policy, zones: &self.zones };
        self.followers.values_mut().for_each(|follower| follower.settle(scene, outbox));
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.followers.values().filter_map(|follower| follower.deadline(&self.policy)).min()
    }
}

/// How an exchange ended.
enum End {
    Acknowledged,
    Refused,
    Answered(Option<Serial>),
    Failed(Exchange, Reason),
}
