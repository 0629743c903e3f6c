//! The stage: the simulated hosts, and what is done to them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use switchback_kit::config::Source;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use crate::disk::Backup;
use crate::plan::{Fault, Step, What};
use crate::services::story::Story;
use crate::site::{Place, Service, System};

/// A message between two services takes no longer, when nothing is slow.
const LATENCY: Duration = Duration::from_millis(2);

/// A service that ended is started again after this, as its supervisor would.
const RESTART_MS: u64 = 1_000;

/// Between two backups.
const BACKUP_MS: u64 = 2_000;

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Start(Place),
    Rebuild(System),
    RollBack(System, u64),
    Repair,
    RepairInside(Place, Service),
    Release,
    Quicken,
    Room(System),
    QuickDisk(System),
    Ahead(System, i64),
}

/// The hosts of one run.
pub struct Stage<'a> {
    /// The simulation.
    pub sim: Sim<'a>,
    story: Rc<Story>,
    /// How many faults keep a service down.
    down: BTreeMap<Place, u32>,
    undos: Vec<(u64, Undo)>,
    /// Backups of both systems, and when they were made.
    backups: Vec<(u64, [Backup; 2])>,
}

impl<'a> Stage<'a> {
    /// All ten services, started.
    #[must_use]
    pub fn new(mut sim: Sim<'a>, story: &Rc<Story>) -> Self {
        for place in Place::all() {
            let story = Rc::clone(story);
            sim.host(place.host(), move || serve(place, Rc::clone(&story)));
        }
        Self { sim, story: Rc::clone(story), down: BTreeMap::new(), undos: Vec::new(), backups: Vec::new() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Does one step of the plan.
    pub fn perform(&mut self, step: Step) {
        let story = Rc::clone(&self.story);
        match step.what {
            What::Command(system, command) => story.commands.borrow_mut().push_back((system, command)),
            What::Fault(fault, last_ms) => {
                story.record.event(&format!("{fault:?} for {last_ms} ms"));
                story.record.count(fault.kind());
                self.inflict(fault, self.now_ms() + last_ms);
            }
        }
    }

    fn inflict(&mut self, fault: Fault, until: u64) {
        let undo = match fault {
            Fault::Crash(place) => return self.crash(place, until),
            Fault::CrashSystem(system) => {
                return Place::of(system).into_iter().for_each(|place| self.crash(place, until));
            }
            Fault::Wipe(system) => {
                Place::of(system).into_iter().for_each(|place| self.crash(place, until));
                // Before the services, which were put down first, are started.
                self.undos.insert(0, (until, Undo::Rebuild(system)));
                return;
            }
            Fault::RollBack(system, back_ms) => {
                Place::of(system).into_iter().for_each(|place| self.crash(place, until));
                self.undos.insert(0, (until, Undo::RollBack(system, self.now_ms().saturating_sub(back_ms))));
                return;
            }
            Fault::Cut => {
                self.between(|sim, east, west| sim.partition(east, west));
                Undo::Repair
            }
            Fault::CutFrom(system) => {
                self.between(|sim, east, west| match system {
                    System::East => sim.partition_oneway(east, west),
                    System::West => sim.partition_oneway(west, east),
                });
                Undo::Repair
            }
            Fault::Hold => {
                self.between(|sim, east, west| sim.hold(east, west));
                Undo::Release
            }
            Fault::Slow(ms) => {
                self.latency(Duration::from_millis(ms));
                Undo::Quicken
            }
            Fault::CutInside(place, service) if place.1 != service => {
                self.sim.partition(place.host(), Place(place.0, service).host());
                Undo::RepairInside(place, service)
            }
            Fault::CutInside(..) => return,
            Fault::Full(system) => {
                self.story.disks.trouble(system, |trouble| trouble.full = true);
                Undo::Room(system)
            }
            Fault::Fail(system) => {
                return self.story.disks.trouble(system, |trouble| trouble.failures += 1);
            }
            Fault::SlowDisk(system) => {
                self.story.disks.trouble(system, |trouble| trouble.slow = true);
                Undo::QuickDisk(system)
            }
            Fault::Ahead(system, ms) | Fault::Behind(system, ms) => {
                let ms = i64::try_from(ms).unwrap_or(i64::MAX);
                let ms = if matches!(fault, Fault::Ahead(..)) { ms } else { -ms };
                self.story.world.skew(system, |skew| skew.ahead_ms += ms);
                Undo::Ahead(system, -ms)
            }
            Fault::Fast(system, ppm) => {
                let ppm = i64::try_from(ppm).unwrap_or(i64::MAX);
                return self.story.world.skew(system, |skew| skew.fast_ppm = ppm);
            }
        };
        self.undos.push((until, undo));
    }

    fn crash(&mut self, place: Place, until: u64) {
        let count = self.down.entry(place).or_default();
        *count += 1;
        if *count == 1 {
            self.sim.crash(place.host());
        }
        self.undos.push((until, Undo::Start(place)));
    }

    fn undo(&mut self, undo: Undo) {
        self.story.record.event(&format!("ends: {undo:?}"));
        match undo {
            Undo::Start(place) => {
                let count = self.down.entry(place).or_default();
                *count -= 1;
                if *count == 0 {
                    self.sim.bounce(place.host());
                }
            }
            Undo::Rebuild(system) => {
                if let Err(error) = self.story.rebuild(system) {
                    self.story.record.violation(&format!("{system} cannot be made anew: {error:#}"));
                }
            }
            Undo::RollBack(system, to_ms) => {
                let backups = self.backups.iter().rev();
                let backup = backups.into_iter().find(|(at_ms, _)| *at_ms <= to_ms).map(|(_, both)| both);
                match backup {
                    Some(both) => self.story.restore(system, &both[system as usize]),
                    None => self.story.record.event("there is no backup"),
                }
            }
            Undo::Repair => self.between(|sim, east, west| sim.repair(east, west)),
            Undo::RepairInside(place, service) => {
                self.sim.repair(place.host(), Place(place.0, service).host());
            }
            Undo::Release => self.between(|sim, east, west| sim.release(east, west)),
            Undo::Quicken => self.latency(LATENCY),
            Undo::Room(system) => self.story.disks.trouble(system, |trouble| trouble.full = false),
            Undo::QuickDisk(system) => self.story.disks.trouble(system, |trouble| trouble.slow = false),
            Undo::Ahead(system, ms) => self.story.world.skew(system, |skew| skew.ahead_ms += ms),
        }
    }

    /// Backs both systems up, now and then.
    pub fn back_up(&mut self) {
        let now = self.now_ms();
        if self.backups.last().is_none_or(|(last, _)| *last + BACKUP_MS <= now) {
            let both = System::ALL.map(|system| self.story.disks.back_up(&self.story.folder(system)));
            self.backups.push((now, both));
        }
    }

    /// Ends the faults whose time is over, and starts again what ended by itself.
    pub fn mend(&mut self) {
        let now = self.now_ms();
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.undos).into_iter().partition(|(at, _)| *at <= now);
        self.undos = rest;
        due.into_iter().for_each(|(_, undo)| self.undo(undo));
        while let Some(place) = { self.story.ended.borrow_mut().pop_front() } {
            // What it left in its process goes with it.
            self.crash(place, now + RESTART_MS);
        }
    }

    /// Ends every fault now.
    pub fn mend_all(&mut self) {
        for (at, _) in &mut self.undos {
            *at = 0;
        }
        for system in System::ALL {
            self.story.disks.trouble(system, |trouble| trouble.failures = 0);
        }
        self.mend();
    }

    fn between(&mut self, act: impl Fn(&mut Sim<'a>, String, String)) {
        for east in Place::of(System::East) {
            for west in Place::of(System::West) {
                act(&mut self.sim, east.host(), west.host());
            }
        }
    }

    fn latency(&mut self, most: Duration) {
        self.between(|sim, east, west| sim.set_link_max_message_latency(east, west, most));
    }
}

/// One run of a service, until it crashes with its host or ends by itself.
async fn serve(place: Place, story: Rc<Story>) -> turmoil::Result {
    story.world.arrive(place.0);
    let ended = match Source::load(&story.folder(place.0).join("switchback.toml")) {
        Err(error) => Err(error.into()),
        Ok(source) => {
            let shutdown = CancellationToken::new();
            match place.1 {
                Service::DataMover => Box::pin(switchback_mover::run(source, shutdown)).await,
                Service::LinkManager => Box::pin(switchback_link::run(source, shutdown)).await,
                Service::DnsBroadcaster => Box::pin(switchback_dns::run(source, shutdown)).await,
                Service::CertificateService => Box::pin(switchback_certificate::run(source, shutdown)).await,
                Service::Gateway => Box::pin(switchback_gateway::run(source, shutdown)).await,
            }
        }
    };
    let why = ended.err().map_or_else(|| "without a word".into(), |error| format!("{error:#}"));
    story.record.event(&format!("{place} ended: {why}"));
    story.record.count("services that ended by themselves");
    story.ended.borrow_mut().push_back(place);
    std::future::pending().await
}
