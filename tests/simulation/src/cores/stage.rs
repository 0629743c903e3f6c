//! The loop: what happens next, and what is done to whom.

mod calls;
mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use switchback_certificate::core::Change;
use switchback_link_core::{Access, FlowSpec, Input};
use switchback_model::{Incarnation, LinkId, SystemId};
use switchback_proto::dns::v1::ApplyZonesRequest;

use crate::chance::Chance;
use crate::check;
use crate::cores::manager::Manager;
use crate::cores::mover::Mover;
use crate::cores::names::{Names, Secondary, system_zone};
use crate::cores::network::{Arrival, Line, Network, Parcel};
use crate::cores::site::{Kept, Site};
use crate::cores::world::Simulated;
use crate::cores::writer::Writer;
use crate::cores::{Trouble, trust};
use crate::disk::{Backup, Disks};
use crate::plan::{Command, Step};
use crate::record::Record;
use crate::site::{Place, Service, System};
use crate::watch::{Contents, Kind, Watch};

/// A process that ended is started again after this, in milliseconds.
const RESTART_MS: u64 = 1_000;
/// What happens by the clock at each system: dials, heartbeats, looks.
const PULSE_MS: u64 = 500;
/// The link manager is shown its mover at most so often, in milliseconds.
const SHOW_MIN_MS: u64 = 100;
/// A call between two services of a system takes up to this, in milliseconds; with slow disks.
const CALL_MAX_MS: u64 = 4;
const SLOW_CALL_MAX_MS: u64 = 400;
/// A new certificate counts for two years and more, in milliseconds.
pub const CERTIFICATE_MS: u64 = 825 * 24 * 60 * 60 * 1_000;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The systems, the tenant and the link are made.
    SetUp,
    /// Clients write while the plan is carried out.
    Live,
    /// Everything works again, and an operator makes the link healthy.
    Heal,
    /// Both sides were compared.
    Done,
}

/// What happens at some moment.
pub(super) enum Event {
    Arrival(Arrival),
    Tick(System, u64),
    Pulse(System),
    Nudge(System),
    Show(System),
    Access(System, u64, u64, Box<Access>),
    Flows(System, u64, Box<FlowSpec>),
    Answer(System, u64, Box<Input>),
    Forget(System, u64, LinkId, bool),
    Zones(System, u64, Box<ApplyZonesRequest>),
    Release(System, u64),
    Certified(System),
    Transfer,
    Write(usize),
    Step(Step),
    Mend,
    Operate,
}

/// One run.
pub struct Stage {
    /// What happened.
    pub record: Arc<Record>,
    /// What must be true.
    pub watch: Arc<Watch>,
    /// What is durable.
    pub disks: Rc<Disks>,
    /// The machine under the cores.
    pub world: Rc<Simulated>,
    /// Between the systems.
    pub network: Network,
    /// East and west.
    pub sites: [Site; 2],
    /// How far it is.
    pub phase: Phase,
    /// Of what is neither planned nor a client's.
    pub chance: Chance,
    /// Everything was compared.
    pub finished: bool,
    pub(super) writers: Vec<Writer>,
    pub(super) secondary: Secondary,
    /// How long certificates count that are made before everything is mended, in milliseconds.
    pub(super) certificate_ms: u64,
    pub(super) plan: Vec<Step>,
    /// When the phase began, in simulated milliseconds.
    pub(super) since_ms: u64,
    pub(super) looks: u32,
    pub(super) requests: u64,
    pub(super) refusals: BTreeMap<u64, String>,
    /// Commands of the healing that were accepted and are still to be answered: the number of each, who
    /// was told, what, and at which look.
    pub(super) unanswered: Vec<(u64, System, Command, u32)>,
    pub(super) undos: Vec<(u64, super::faults::Undo)>,
    pub(super) backups: Vec<(u64, [(Backup, Kept); 2])>,
    pub(super) inside: Vec<(Place, Service)>,
    pub(super) slow_disks: BTreeSet<System>,
    nudged: [bool; 2],
    repeated_ms: [u64; 2],
    swept_ms: [u64; 2],
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    root: std::path::PathBuf,
    lives: [u32; 2],
}

impl Stage {
    /// Two new systems, started.
    #[must_use]
    pub fn new(
        seed: u64,
        plan: Vec<Step>,
        record: Arc<Record>,
        watch: Arc<Watch>,
        disks: Rc<Disks>,
        world: Rc<Simulated>,
        root: &Path,
    ) -> Self {
        let mut chance = Chance::new(seed, "stage");
        let is_short = chance.one_in(4);
        let short_ms = chance.between(8_000, 30_000);
        let sites =
            System::ALL.map(|system| Site::new(system, SystemId([0; 16]), root, 0, Rc::clone(&disks)));
        let mut stage = Self {
            record,
            watch,
            disks,
            world,
            network: Network::new(seed),
            sites,
            phase: Phase::SetUp,
            chance,
            finished: false,
            writers: Writer::all(seed),
            secondary: Secondary::default(),
            certificate_ms: if is_short { short_ms } else { CERTIFICATE_MS },
            plan,
            since_ms: 0,
            looks: 0,
            requests: 0,
            refusals: BTreeMap::new(),
            unanswered: Vec::new(),
            undos: Vec::new(),
            backups: Vec::new(),
            inside: Vec::new(),
            slow_disks: BTreeSet::new(),
            nudged: [false; 2],
            repeated_ms: [0; 2],
            swept_ms: [0; 2],
            queue: BTreeMap::new(),
            sequence: 0,
            root: root.into(),
            lives: [0; 2],
        };
        for system in System::ALL {
            stage.rebuild(system);
            Place::of(system).into_iter().for_each(|place| stage.start(place));
            let phase = stage.chance.below(PULSE_MS);
            stage.after(phase, Event::Pulse(system));
            stage.after(phase % SHOW_MIN_MS, Event::Show(system));
        }
        stage.after(100, Event::Operate);
        stage
    }

    /// Simulated milliseconds since the run began.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.record.now().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn site(&mut self, system: System) -> &mut Site {
        self.world.arrive(system);
        &mut self.sites[system as usize]
    }

    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now() + ms, self.sequence), event);
    }

    fn arrives(&mut self, arrival: Arrival) {
        self.sequence += 1;
        self.queue.insert((arrival.at_ms, self.sequence), Event::Arrival(arrival));
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.record.event(&format!("phase {phase:?}"));
        self.phase = phase;
        self.since_ms = self.now();
        self.looks = 0;
    }

    /// Lets the next thing happen; false when nothing will.
    pub fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.record.set_now(std::time::Duration::from_millis(at));
        self.handle(event);
        if self.watch.was_granted() {
            self.record.count("authority given back");
            let [east, west] = self.contents();
            check::equal(&self.record, &east, &west);
        }
        true
    }

    /// What both systems hold.
    pub(super) fn contents(&self) -> [Contents; 2] {
        System::ALL.map(|system| {
            let folder = &self.sites[system as usize].folder;
            Contents::of(&self.disks.read(folder, Kind::Catalogue))
        })
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrival(arrival) => self.arrival(arrival),
            Event::Tick(system, run) => {
                let now = self.now();
                let manager = self.site(system).manager.as_mut().filter(|manager| manager.run == run);
                if let Some(manager) = manager.filter(|manager| manager.tick_ms == Some(now)) {
                    manager.tick_ms = None;
                    self.manage(system, None);
                }
            }
            Event::Pulse(system) => {
                self.pulse(system);
                self.after(PULSE_MS, Event::Pulse(system));
            }
            Event::Nudge(system) => {
                self.nudged[system as usize] = false;
                self.beat(system);
            }
            Event::Show(system) => {
                self.show(system);
                self.after(SHOW_MIN_MS, Event::Show(system));
            }
            Event::Access(system, run, boot, access) => self.set_access(system, run, boot, &access),
            Event::Flows(system, run, spec) => self.apply_flows(system, run, *spec),
            Event::Answer(system, run, input) => self.answer(system, run, *input),
            Event::Forget(system, run, link, release) => self.forget(system, run, link, release),
            Event::Zones(system, run, request) => self.tell_names(system, run, *request),
            Event::Release(system, run) => {
                if let Some(names) = self.site(system).names.as_ref().filter(|names| names.run == run) {
                    let released = names.release();
                    self.outcome(Place(system, Service::DnsBroadcaster), released);
                }
            }
            Event::Certified(system) => self.certified(system),
            Event::Transfer => self.transfer(),
            Event::Write(number) => self.write(number),
            Event::Step(step) => self.perform(step),
            Event::Mend => self.mend(),
            Event::Operate => self.operate(),
        }
    }

    /// A new, empty life of `system`; nothing of it runs yet.
    pub(super) fn rebuild(&mut self, system: System) {
        let place = system as usize;
        self.world.arrive(system);
        self.disks.wipe(&self.sites[place].folder);
        self.lives[place] += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&trust::number().to_be_bytes());
        id[8..].copy_from_slice(&trust::number().to_be_bytes());
        let down = std::mem::take(&mut self.sites[place].down);
        let mut site = Site::new(system, SystemId(id), &self.root, self.lives[place], Rc::clone(&self.disks));
        site.down = down;
        let own = trust::make(system, SystemId(id), Incarnation(trust::number()), self.certificate_life());
        let mut kept = Kept::default();
        kept.certificates.apply(Change::PutOwn(own));
        site.keeper.restore(kept);
        let [number @ .., _, _, _, _, _, _, _, _] = id;
        self.sites[place] = site;
        self.watch.life(system, u64::from_be_bytes(number));
    }

    /// How long a certificate counts that is made now, in milliseconds.
    pub(super) fn certificate_life(&self) -> u64 {
        if self.phase < Phase::Heal { self.certificate_ms } else { CERTIFICATE_MS }
    }

    /// Two services of a system reach each other.
    pub(super) fn reaches(&self, system: System, one: Service, other: Service) -> bool {
        let cut = |(place, service): &(Place, Service)| {
            place.0 == system && ((place.1, *service) == (one, other) || (place.1, *service) == (other, one))
        };
        let site = &self.sites[system as usize];
        site.is_up(one) && site.is_up(other) && !self.inside.iter().any(cut)
    }

    /// How long a call between two services of `system` takes now, in milliseconds.
    fn call_ms(&mut self, system: System) -> u64 {
        let most = if self.slow_disks.contains(&system) { SLOW_CALL_MAX_MS } else { CALL_MAX_MS };
        self.chance.between(1, most)
    }

    pub(super) fn start(&mut self, place: Place) {
        let Place(system, service) = place;
        let (now, run) = (self.now(), {
            self.world.arrive(system);
            trust::number()
        });
        let site = self.site(system);
        let started = match service {
            Service::LinkManager => {
                Manager::start(&site.table("link-manager"), run, now, system_zone(system))
                    .map(|manager| site.manager = Some(manager))
            }
            Service::DataMover => {
                let folder = site.table("data-mover/catalogue");
                let mover = Mover::start(&folder, site.id, site.keeper.clone(), run);
                mover.map(|mover| site.mover = Some(mover))
            }
            Service::DnsBroadcaster => {
                let names = Names::start(site.table("dns-broadcaster"), run);
                names.map(|names| site.names = Some(names))
            }
            Service::CertificateService | Service::Gateway => Ok(()),
        };
        match (started, service) {
            (Err(trouble), _) => self.ended(place, &trouble),
            (Ok(()), Service::LinkManager) => {
                self.schedule_tick(system);
                self.after(1, Event::Certified(system));
            }
            (Ok(()), Service::CertificateService) => self.after(1, Event::Certified(system)),
            (Ok(()), Service::DnsBroadcaster) => {
                let hold = self.sites[system as usize]
                    .names
                    .as_ref()
                    .map_or(0, |names| u64::try_from(names.hold().as_millis()).unwrap_or(u64::MAX));
                self.after(hold, Event::Release(system, run));
            }
            (Ok(()), Service::DataMover | Service::Gateway) => {}
        }
    }

    /// What `place` had in its process is gone.
    pub(super) fn stop(&mut self, place: Place) {
        let Place(system, service) = place;
        let site = self.site(system);
        match service {
            Service::LinkManager => site.manager = None,
            Service::DataMover => site.mover = None,
            Service::DnsBroadcaster => site.names = None,
            Service::CertificateService | Service::Gateway => {}
        }
        for line in Line::ALL.into_iter().filter(|line| line.service() == service) {
            if self.network.dies(line, system) {
                self.send(line, system.other(), Parcel::End);
            }
        }
    }

    /// The process ended by itself; its supervisor starts it again.
    pub(super) fn ended(&mut self, place: Place, why: &Trouble) {
        let why = match why {
            Trouble::Ended(why) | Trouble::Refused(why) => why,
        };
        self.record.event(&format!("{place} ended: {why}"));
        self.record.count("services that ended by themselves");
        let until = self.now() + RESTART_MS;
        self.crash(place, until);
    }

    /// What came of work by a process, unless it ended or refused; a refusal is told to nobody.
    pub(super) fn outcome<T>(&mut self, place: Place, result: Result<T, Trouble>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Trouble::Refused(_)) => None,
            Err(trouble) => {
                self.ended(place, &trouble);
                None
            }
        }
    }
}
