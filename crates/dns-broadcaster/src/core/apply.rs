//! What becomes of a desired set of zones, compared with what is on record.
//!
//! The desired set is the last writer's: what is absent goes, what is new comes. Two guards:
//!
//! - **Serial, per zone.** A zone is replaced only by a newer serial (RFC 1982). An older one, or
//!   the same serial with other content, is *stale*: the record stays and the zone is named to
//!   the caller. This holds across restarts, lost state and a returning system, because the
//!   serial is derived from the link's epoch. A zone that follows no link comes without a serial
//!   and is numbered here, after what is on record: so it goes on when its link is deleted.
//! - **Generation, per run of the caller.** Two requests of one run may overtake each other; the
//!   lower generation is then ignored whole. Between runs generations say nothing: a link manager
//!   that lost its state begins at one again, and comparing would shut it out for ever. That is
//!   why the request names its run, and why a request without a run is never ignored.
//!
//! A caller need not say again what it has said: a request may name what is different since the one before
//! it, and means the same as one that says everything ([`Heard`]). It takes as long as what is different.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::catalogue::{Catalogue, Unpublishable};
use super::heard::{Heard, Refused, Since};
use super::name::Name;
use super::own::Digest;
use super::zone::{Serial, System, Tenant, Tenants};

/// What is on record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The run of the caller that was heard last; empty when it named none.
    pub run: String,
    /// The generation that was heard last.
    pub generation: u64,
    /// The system's zone; `None` before the first request ever.
    pub system: Option<System>,
    /// The serial of the system's zone, numbered here.
    pub system_serial: Serial,
    /// Tenants' zones.
    pub tenants: Tenants,
    /// The life of the system that was heard last; empty when it is not known, or over.
    pub life: String,
    /// As it was published last, in whatever life.
    pub catalogue: Option<Catalogue>,
}

/// What is desired.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The caller's run; empty when it names none.
    pub run: String,
    /// Orders the requests of one run.
    pub generation: u64,
    /// The system's zone.
    pub system: System,
    /// Tenants' zones: all, or those that are other ones.
    pub tenants: BTreeMap<Name, Tenant>,
    /// Zones that are desired in a form that cannot be served: what is on record stays.
    pub refused: Refused,
    /// Absent when the request says everything.
    pub since: Option<Since>,
    /// Names this life of the system; empty when it is not known, or over.
    pub life: String,
}

/// What became of a request as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something is to be written.
    Applied,
    /// All of it is on record.
    AlreadyThere,
    /// The same run has been heard with a higher generation.
    Superseded,
    /// It says what is different from something that was not heard.
    Incomplete,
}

/// A zone that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The zone.
    pub name: Name,
    /// The serial on record.
    pub on_record: Serial,
    /// The serial that was offered: older, or the same with other content.
    pub offered: Serial,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What became of the request.
    pub verdict: Verdict,
    /// What is on record afterwards.
    pub next: Record,
    /// Tenants' zones of `next` to write.
    pub puts: Vec<Name>,
    /// Tenants' zones to remove.
    pub removals: Vec<Name>,
    /// Zones that were not taken.
    pub stale: Vec<Stale>,
    /// Zones that the caller has just said to be right.
    pub confirmed: BTreeSet<Name>,
    /// What the caller has said then; absent when nobody has said anything.
    pub heard: Option<Heard>,
}

/// Compares `desired` with `record`. `heard` is what was said before it, `own` are the operator's zones, and
/// `now_seconds` since 1970 number the zones that come without a serial.
#[must_use]
pub fn decide<'a>(
    record: &Record,
    heard: &Heard,
    desired: Desired,
    own: impl Iterator<Item = &'a Name>,
    now_seconds: u32,
) -> Plan {
    let mut plan = Plan::nothing(record);
    let same_run = !desired.run.is_empty() && desired.run == record.run;
    if same_run && desired.generation < record.generation {
        return plan;
    }
    let is_base =
        |since: &Since| heard.is(&desired.run, since.base) && record.system.as_ref() == Some(&desired.system);
    if desired.since.as_ref().is_some_and(|since| !is_base(since)) {
        plan.verdict = Verdict::Incomplete;
        return plan;
    }
    let mut said = desired.said_after(heard);
    plan.removals = desired.removals(record);
    for name in &plan.removals {
        plan.next.tenants.remove(name);
    }
    for (name, tenant) in desired.tenants {
        let tenant = plan.numbered(tenant, now_seconds);
        plan.weigh(name, tenant);
    }
    said.stale.extend(plan.stale.iter().map(|stale| stale.name.to_string()));
    plan.heard = Some(said);
    plan.next.run = desired.run;
    plan.next.generation = desired.generation;
    let zone_changed =
        record.system.as_ref() != Some(&desired.system) || record.delegates_other_than(&plan.next);
    plan.next.system = Some(desired.system);
    if zone_changed {
        plan.next.system_serial = record.system_serial.next(now_seconds);
    }
    plan.next.life = desired.life;
    plan.next.renew_catalogue(own, now_seconds);
    plan.verdict = if plan.next == *record { Verdict::AlreadyThere } else { Verdict::Applied };
    plan
}

/// What is on record once the operator's own records in the system's zone are those of `own`, and his
/// zones `zones`; `None` when they are.
#[must_use]
pub fn with_own<'a>(
    record: &Record,
    own: Digest,
    zones: impl Iterator<Item = &'a Name>,
    now_seconds: u32,
) -> Option<Plan> {
    let mut next = record.clone();
    if let Some(system) = next.system.as_mut().filter(|system| system.own != own) {
        system.own = own;
        next.system_serial = record.system_serial.next(now_seconds);
    }
    next.renew_catalogue(zones, now_seconds);
    Plan::to(next, record)
}

/// What is on record once something else is said in the system's zone that is not on record here.
#[must_use]
pub fn with_other_records(record: &Record, now_seconds: u32) -> Plan {
    let mut next = record.clone();
    next.system_serial = record.system_serial.next(now_seconds);
    Plan { verdict: Verdict::Applied, next, ..Plan::nothing(record) }
}

/// What is on record once the catalogue is published in this life of the system, with `own` the
/// operator's zones; `None` when it is.
///
/// # Errors
/// It would lack zones.
pub fn with_catalogue<'a>(
    record: &Record,
    own: impl Iterator<Item = &'a Name>,
    now_seconds: u32,
) -> Result<Option<Plan>, Unpublishable> {
    let mut next = record.clone();
    next.publish_catalogue()?;
    next.renew_catalogue(own, now_seconds);
    Ok(Plan::to(next, record))
}

impl Record {
    /// Whether the system's zone says something else of the tenants of `next`.
    fn delegates_other_than(&self, next: &Self) -> bool {
        let servers = |tenant: &Tenant| -> Vec<Name> {
            tenant.content.name_servers.iter().map(|server| server.name.clone()).collect()
        };
        let differences = self.tenants.differences(&next.tenants);
        differences.into_iter().any(|(_, was, is)| was.map(servers) != is.map(servers))
    }
}

impl Desired {
    /// Tenants' zones on record that are desired no more.
    fn removals(&self, record: &Record) -> Vec<Name> {
        let refused: BTreeSet<_> = self.refused.keys().filter_map(|name| Name::parse(name).ok()).collect();
        let is_gone = |name: &Name| !self.tenants.contains_key(name) && !refused.contains(name);
        match &self.since {
            None => record.tenants.keys().filter(|name| is_gone(name)).cloned().collect(),
            Some(since) => {
                let gone = since.gone.iter().filter_map(|name| Name::parse(name).ok());
                gone.filter(|name| record.tenants.contains_key(name) && is_gone(name)).collect()
            }
        }
    }

    /// What the caller has said once this is heard, but for what is stale of it.
    fn said_after(&self, heard: &Heard) -> Heard {
        let mut said = Heard::default();
        if let Some(since) = &self.since {
            said = heard.clone();
            since.gone.iter().chain(self.refused.keys()).for_each(|name| said.forget(name));
            self.tenants.keys().for_each(|name| said.forget(&name.to_string()));
        }
        said.refused.extend(self.refused.iter().map(|(name, reason)| (name.clone(), reason.clone())));
        Heard { run: self.run.clone(), generation: self.generation, ..said }
    }
}

impl Plan {
    /// The plan that leaves everything on record.
    #[must_use]
    pub fn nothing(record: &Record) -> Self {
        Self {
            verdict: Verdict::Superseded,
            next: record.clone(),
            puts: Vec::new(),
            removals: Vec::new(),
            stale: Vec::new(),
            confirmed: BTreeSet::new(),
            heard: None,
        }
    }

    /// Tenants stay as they are.
    fn to(next: Record, record: &Record) -> Option<Self> {
        (next != *record).then(|| Self { verdict: Verdict::Applied, next, ..Self::nothing(record) })
    }

    /// A zone without a serial keeps the one on record as long as it says the same, and takes a
    /// newer one when it says another thing.
    fn numbered(&self, mut offered: Tenant, now_seconds: u32) -> Tenant {
        if offered.serial == Serial::ABSENT {
            let current = self.next.tenants.get(&offered.name);
            offered.serial = match current {
                Some(current) if current.content == offered.content => current.serial,
                _ => current.map_or(Serial::ABSENT, |zone| zone.serial).next(before_links(now_seconds)),
            };
        }
        offered
    }

    fn weigh(&mut self, name: Name, offered: Tenant) {
        match self.next.tenants.get(&name) {
            Some(current) if current.is_overruled_by(&offered) => {
                self.confirmed.insert(name.clone());
                if *current != offered {
                    self.puts.push(name.clone());
                    self.next.tenants.insert(name, offered);
                }
            }
            Some(current) => {
                self.stale.push(Stale { name, on_record: current.serial, offered: offered.serial });
            }
            None => {
                self.confirmed.insert(name.clone());
                self.puts.push(name.clone());
                self.next.tenants.insert(name, offered);
            }
        }
    }
}

/// Where a zone on no link is numbered from, so that it grows across a lost disk. The zones of a
/// link are numbered by the seconds from 2020 to its creation; a zone that joins one must not be
/// ahead of it, so it stays an hour, which is as many changes, behind that clock.
fn before_links(now_seconds: u32) -> u32 {
    const SECONDS_1970_TO_2020: u32 = 1_577_836_800;
    const BEHIND_SECONDS: u32 = 3600;
    now_seconds.saturating_sub(SECONDS_1970_TO_2020 + BEHIND_SECONDS)
}

impl Tenant {
    /// A newer serial, or the same one saying the same. Link and target are not answered to
    /// anybody, so they may change under one serial; so may keys, for which the zone takes one that is
    /// left to it.
    fn is_overruled_by(&self, offered: &Self) -> bool {
        offered.serial.is_newer_than(self.serial)
            || (offered.serial == self.serial && offered.content == self.content)
    }
}
