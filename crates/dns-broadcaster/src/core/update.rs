//! How names are kept in zones that somebody else masters, by dynamic update (RFC 2136).
//!
//! A name server that masters a zone which holds tenants' names (BIND, Knot, `PowerDNS`) is a *target*.
//! Its zone has one serial for everything in it, so that it says nothing about a tenant; what a
//! secondary does by comparing serials is done here by a [`Fence`] beneath each tenant: a TXT record with
//! the serial of the tenant's own zone, which both systems derive alike from the epoch of its link.
//!
//! An update is compare and swap. Its prerequisite is the fence that was seen last (RFC 2136 section
//! 2.4.2), or that there is none (section 2.4.3), and one message replaces the fence and the addresses
//! together. What is promised:
//!
//! - An update leaves only if this system's serial is newer than the fence that it demands, and the
//!   target carries it out only while that fence stands there. So in whatever order messages of both
//!   systems arrive, late or twice, a tenant's fence only goes forward, and its addresses with it: a stale
//!   primary that comes back cannot overwrite, even if what it knows of the target is stale too.
//! - A name is shown as `Converged` only when the target has answered the fence and the addresses
//!   themselves, and is asked for again now and then.
//! - What was put is on record before it leaves, and is taken away again when the tenant goes; but only
//!   what stands under a fence of this very system. A system without its record takes nothing away.
//! - No more than [`Policy::outstanding_max`] exchanges are outstanding per target, and one for a
//!   target that is silent. Targets have nothing in common: a dead one delays no other.
//!
//! Both systems say the same under the same serial, so either may have put it. The fence names who has,
//! and the system within whose domain the name lies takes it over (same serial, same addresses): when
//! the other one drops its copy of the name, because the link is gone, it does not take the name away
//! from its owner.
//!
//! Not chosen: a fence that is left behind where a name was taken away. Whoever comes back with an old
//! record of a removed tenant puts its names again, as it answers them itself; a record for ever for
//! every tenant that ever was seemed worse.
//!
//! What it is not: it does not send, time out or retransmit single messages, and it knows no addresses
//! of targets or keys.

mod backlog;
mod event;
mod fence;
mod policy;
mod track;
mod updater;
mod view;
mod wish;

pub use event::{Change, Declined, Doubt, Exchange, Found, Input, Output, Put, Trouble, Verdict};
pub use fence::{Fence, Stands};
pub use policy::{NAMES_MAX, Policy};
pub use view::{Counts, LastChange, Standing, State, Summary};
pub use wish::{Content, Leads, Said, Wish};

use alloc::collections::{BTreeMap, BTreeSet};

use switchback_machine::{Machine, Outbox, Timestamp};

use self::updater::{Scene, Updater};
use super::contact::{Overdue, Target};
use super::name::Name;

type Out = Outbox<Updates>;

/// See the module.
#[derive(Debug)]
pub struct Updates {
    policy: Policy,
    system: Name,
    updaters: BTreeMap<Target, Updater>,
    /// The last exchange that was begun.
    exchange: Exchange,
    /// The last publication.
    batch: u64,
}

impl Updates {
    /// Nothing published yet. `system` is this system's domain; each target is named with the zone that
    /// it masters, and what `remembered` names of a target was put there in an earlier run.
    #[must_use]
    pub fn new(
        system: Name,
        targets: impl IntoIterator<Item = (Target, Name)>,
        remembered: impl IntoIterator<Item = (Target, Name)>,
        policy: Policy,
    ) -> Self {
        let updaters = targets.into_iter().map(|(target, zone)| (target.clone(), Updater::new(target, zone)));
        let mut updaters: BTreeMap<_, _> = updaters.collect();
        for (target, name) in remembered {
            if let Some(updater) = updaters.get_mut(&target) {
                updater.remember(name);
            }
        }
        Self { policy: policy.bounded(), system, updaters, exchange: Exchange(0), batch: 0 }
    }

    /// One target, as to all tenants or to those of `only`; `None` when it is unknown.
    #[must_use]
    pub fn summary(&self, target: &Target, only: Option<&BTreeSet<Name>>) -> Option<Summary> {
        self.updaters.get(target).map(|updater| updater.summary(only))
    }

    /// Targets that somebody should look at: silent, or without names that should stand there, for
    /// [`Policy::late_after`].
    pub fn overdue(&self, now: Timestamp) -> impl Iterator<Item = (&Target, Overdue)> {
        let late_after = self.policy.late_after;
        self.updaters
            .iter()
            .filter_map(move |(target, updater)| Some((target, updater.overdue(now, late_after)?)))
    }

    /// Where `target` stands with `name`; `None` when either is unknown.
    #[must_use]
    pub fn standing(&self, target: &Target, name: &Name) -> Option<Standing> {
        self.updaters.get(target)?.standing(name)
    }

    /// Where `target` stands with each name, in the order of names.
    pub fn standings(&self, target: &Target) -> impl Iterator<Item = (&Name, Standing)> {
        self.updaters.get(target).into_iter().flat_map(Updater::standings)
    }

    /// Lets each updater go on that `touched` picks.
    fn each(&mut self, now: Timestamp, mut touched: impl FnMut(&mut Updater, &mut Scene<'_>)) {
        let Self { policy, system, updaters, exchange, batch } = self;
        let mut scene = Scene { now, policy, system, exchange, batch: *batch };
        updaters.values_mut().for_each(|updater| touched(updater, &mut scene));
    }
}

impl Machine for Updates {
    type Input = Input;
    type Change = Change;
    type Output = Output;

    fn step(&mut self, now: Timestamp, input: Input, outbox: &mut Out) {
        match input {
            Input::Published(wishes) => {
                self.batch += 1;
                self.each(now, |updater, scene| {
                    for (name, wish) in &wishes {
                        updater.publish(scene, name, wish, outbox);
                    }
                    updater.settle(scene, outbox);
                });
            }
            Input::Looked { target, exchange, outcome } => self.each(now, |updater, scene| {
                if updater.target == target {
                    updater.looked(scene, exchange, &outcome, outbox);
                    updater.settle(scene, outbox);
                }
            }),
            Input::Updated { target, exchange, outcome } => self.each(now, |updater, scene| {
                if updater.target == target {
                    updater.updated(scene, exchange, outcome, outbox);
                    updater.settle(scene, outbox);
                }
            }),
        }
    }

    fn tick(&mut self, now: Timestamp, outbox: &mut Out) {
        self.each(now, |updater, scene| updater.settle(scene, outbox));
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.updaters.values().filter_map(|updater| updater.deadline(&self.policy)).min()
    }
}
