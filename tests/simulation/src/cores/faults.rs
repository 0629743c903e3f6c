//! What the plan does to the systems, and what ends it.

use crate::cores::network::LATENCY_MAX_MS;
use crate::cores::stage::{Event, Stage};
use crate::plan::{Fault, Step, What};
use crate::site::{Place, Service, System};
use crate::watch::Kind;

/// Between two backups, in milliseconds.
const BACKUP_MS: u64 = 2_000;

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    Start(Place),
    Rebuild(System),
    RollBack(System, u64),
    Repair(System),
    Release,
    Quicken,
    RepairInside(Place, Service),
    Room(System),
    QuickDisk(System),
    Ahead(System, i64),
}

impl Stage {
    /// Does one step of the plan.
    pub(super) fn perform(&mut self, step: Step) {
        match step.what {
            What::Command(system, command) => {
                let given = self.give(system, command);
                let how = if given.is_ok() { "done" } else { "refused" };
                self.record.count(&format!("command: {command:?} {how}"));
            }
            What::Fault(fault, last_ms) => {
                self.record.event(&format!("{fault:?} for {last_ms} ms"));
                self.record.count(fault.kind());
                self.inflict(fault, self.now() + last_ms);
            }
        }
    }

    fn inflict(&mut self, fault: Fault, until: u64) {
        let now = self.now();
        match fault {
            Fault::Crash(place) => self.crash(place, until),
            Fault::CrashSystem(system) => self.crash_system(system, until),
            Fault::Wipe(system) => {
                self.crash_system(system, until);
                // Before the services, which were put down first, are started.
                self.undos.insert(0, (until, Undo::Rebuild(system)));
            }
            Fault::RollBack(system, back_ms) => {
                self.crash_system(system, until);
                self.undos.insert(0, (until, Undo::RollBack(system, now.saturating_sub(back_ms))));
            }
            Fault::Cut => {
                System::ALL.into_iter().for_each(|system| self.cut(system, until));
                if self.chance.one_in(2) {
                    self.break_lines();
                }
            }
            Fault::CutFrom(system) => self.cut(system, until),
            Fault::Hold => {
                self.network.hold(true, now);
                self.undo_at(until, Undo::Release);
            }
            Fault::Slow(ms) => {
                self.network.slow(ms);
                self.undo_at(until, Undo::Quicken);
            }
            Fault::CutInside(place, service) if place.1 != service => {
                self.inside.push((place, service));
                self.undo_at(until, Undo::RepairInside(place, service));
            }
            Fault::CutInside(..) => {}
            Fault::Full(system) => {
                self.disks.trouble(system, |trouble| trouble.full = true);
                self.undo_at(until, Undo::Room(system));
            }
            Fault::Fail(system) => self.disks.trouble(system, |trouble| trouble.failures += 1),
            Fault::SlowDisk(system) => {
                self.slow_disks.insert(system);
                self.undo_at(until, Undo::QuickDisk(system));
            }
            Fault::Ahead(system, ms) | Fault::Behind(system, ms) => {
                let ms = i64::try_from(ms).unwrap_or(i64::MAX);
                let ms = if matches!(fault, Fault::Ahead(..)) { ms } else { -ms };
                self.world.skew(system, |skew| skew.ahead_ms += ms);
                self.undo_at(until, Undo::Ahead(system, -ms));
            }
            Fault::Fast(system, ppm) => {
                let ppm = i64::try_from(ppm).unwrap_or(i64::MAX);
                self.world.skew(system, |skew| skew.fast_ppm = ppm);
            }
        }
    }

    fn cut(&mut self, system: System, until: u64) {
        self.network.cut(system, true, self.now());
        self.undo_at(until, Undo::Repair(system));
    }

    fn crash_system(&mut self, system: System, until: u64) {
        Place::of(system).into_iter().for_each(|place| self.crash(place, until));
    }

    /// `place` is down until then.
    pub(super) fn crash(&mut self, place: Place, until: u64) {
        let count = self.site(place.0).down.entry(place.1).or_default();
        *count += 1;
        if *count == 1 {
            self.stop(place);
        }
        self.undo_at(until, Undo::Start(place));
    }

    fn undo_at(&mut self, at: u64, undo: Undo) {
        self.undos.push((at, undo));
        self.after(at.saturating_sub(self.now()), Event::Mend);
    }

    /// Ends the faults whose time is over.
    pub(super) fn mend(&mut self) {
        let now = self.now();
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.undos).into_iter().partition(|(at, _)| *at <= now);
        self.undos = rest;
        due.into_iter().for_each(|(_, undo)| self.undo(undo));
    }

    /// Ends every fault now.
    pub(super) fn mend_all(&mut self) {
        for (at, _) in &mut self.undos {
            *at = 0;
        }
        for system in System::ALL {
            self.disks.trouble(system, |trouble| *trouble = Default::default());
        }
        self.mend();
    }

    fn undo(&mut self, undo: Undo) {
        self.record.event(&format!("ends: {undo:?}"));
        let now = self.now();
        match undo {
            Undo::Start(place) => {
                let count = self.site(place.0).down.entry(place.1).or_default();
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.start(place);
                }
            }
            Undo::Rebuild(system) => self.rebuild(system),
            Undo::RollBack(system, to_ms) => self.roll_back(system, to_ms),
            Undo::Repair(system) => self.network.cut(system, false, now),
            Undo::Release => self.network.hold(false, now),
            Undo::Quicken => self.network.slow(LATENCY_MAX_MS),
            Undo::RepairInside(place, service) => {
                let found = self.inside.iter().position(|cut| *cut == (place, service));
                if let Some(found) = found {
                    self.inside.remove(found);
                }
            }
            Undo::Room(system) => self.disks.trouble(system, |trouble| trouble.full = false),
            Undo::QuickDisk(system) => {
                self.slow_disks.remove(&system);
            }
            Undo::Ahead(system, ms) => self.world.skew(system, |skew| skew.ahead_ms += ms),
        }
    }

    /// Backs both systems up, now and then, if one of them will need it.
    pub(super) fn back_up(&mut self) {
        let now = self.now();
        let is_needed = self.plan.iter().any(|step| matches!(step.what, What::Fault(Fault::RollBack(..), _)));
        if is_needed && self.backups.last().is_none_or(|(last, _)| *last + BACKUP_MS <= now) {
            let both = System::ALL.map(|system| {
                let site = &self.sites[system as usize];
                (self.disks.back_up(&site.folder), site.keeper.read(Clone::clone))
            });
            self.backups.push((now, both));
        }
    }

    fn roll_back(&mut self, system: System, to_ms: u64) {
        let backup = self.backups.iter().rev().find(|(at_ms, _)| *at_ms <= to_ms);
        let Some((at_ms, both)) = backup else { return self.record.event("there is no backup") };
        let (tables, kept) = both[system as usize].clone();
        let site = &self.sites[system as usize];
        self.disks.restore(&site.folder, &tables);
        site.keeper.restore(kept);
        self.watch.restored(system, &self.disks.read(&site.folder, Kind::Catalogue));
        self.secondary.undo(site.id, *at_ms);
    }
}
