//! The loop: what happens next, and what is done to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use switchback_certificate::core::Change;
use switchback_link_core::{Access, FlowSpec, Hello, Input, Message, Output};
use switchback_model::{Incarnation, LinkId, SystemId};
use switchback_proto::dns::v1::TenantZone;

use crate::chance::Chance;
use crate::check;
use crate::cores::manager::Manager;
use crate::cores::mover::Mover;
use crate::cores::names::{Names, Secondary};
use crate::cores::network::{Arrival, Delivery, Line, Network, Parcel};
use crate::cores::site::{Kept, Site};
use crate::cores::world::Simulated;
use crate::cores::writer::Writer;
use crate::cores::{Trouble, at_once, trust};
use crate::disk::{Backup, Disks};
use crate::plan::{Command, Step};
use crate::record::Record;
use crate::site::{LINK_PORT, Place, REPLICATION_PORT, Service, System};
use crate::watch::{Contents, Kind, Watch};

/// A process that ended is started again after this, in milliseconds.
const RESTART_MS: u64 = 1_000;
/// What happens by the clock at each system: dials, heartbeats, looks.
const PULSE_MS: u64 = 500;
/// The link manager is shown its mover at most, and at least, so often, in milliseconds.
const SHOW_MIN_MS: u64 = 100;
const SHOW_MAX_MS: u64 = 1_000;
/// A change is told to the other mover after this, in milliseconds.
const NUDGE_MS: u64 = 25;
/// The broadcaster is told again so often, in milliseconds.
const REPEAT_MS: u64 = 2_000;
/// Between two sweeps of tombstones, in milliseconds.
const SWEEP_MS: u64 = 5_000;
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
    Zones(System, u64, u64, Vec<TenantZone>),
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
            Event::Zones(system, run, generation, zones) => self.tell_names(system, run, generation, zones),
            Event::Release(system, run) => {
                if let Some(names) = self.site(system).names.as_ref().filter(|names| names.run == run) {
                    names.release();
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
            Service::LinkManager => Manager::start(&site.table("link-manager"), run, now)
                .map(|manager| site.manager = Some(manager)),
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
            if self.network.goes_down(line, system) {
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

    /// The link manager takes `input`, or the passing of time, and what it asks for is done.
    pub(super) fn manage(&mut self, system: System, input: Option<Input>) {
        let now = self.now();
        let Some(manager) = &mut self.site(system).manager else { return };
        match manager.step(now, input) {
            Ok(outputs) => outputs.into_iter().for_each(|output| self.perform_output(system, output)),
            Err(Trouble::Refused(text)) => {
                return self.record.violation(&format!("the link manager of {system}: {text}"));
            }
            Err(trouble) => return self.ended(Place(system, Service::LinkManager), &trouble),
        }
        self.publish(system);
        self.schedule_tick(system);
    }

    fn schedule_tick(&mut self, system: System) {
        let now = self.now();
        let Some(manager) = &mut self.site(system).manager else { return };
        let Some(at) = manager.deadline(now) else { return };
        // What is due this very millisecond waits for the next, as a timer does.
        let at = at.max(now + 1);
        if manager.tick_ms != Some(at) {
            manager.tick_ms = Some(at);
            let run = manager.run;
            self.after(at - now, Event::Tick(system, run));
        }
    }

    fn perform_output(&mut self, system: System, output: Output) {
        let Some(manager) = &mut self.sites[system as usize].manager else { return };
        let (run, boot) = (manager.run, manager.mover.unwrap_or_default());
        match output {
            Output::Reply(token, Err(error)) => {
                self.refusals.insert(token.0, error.to_string());
            }
            Output::Reply(_, Ok(_)) => {}
            Output::Accepted(_) => self.record.count("commands accepted"),
            Output::Send(_, message) => {
                if let Message::Fenced(header, _) | Message::GrantRequest(header, ..) = &*message {
                    self.watch.promised(system, header.epoch.0);
                }
                if self.network.is_up(Line::Links, system) {
                    self.send(Line::Links, system.other(), Parcel::Message(message));
                }
            }
            Output::SetAccess(access) => {
                if let Some(access) = manager.access.want(*access) {
                    let ms = self.call_ms(system);
                    self.after(ms, Event::Access(system, run, boot, Box::new(access)));
                }
            }
            Output::ApplyFlows(spec) => {
                if let Some(spec) = manager.flows.want(*spec) {
                    let ms = self.call_ms(system);
                    self.after(ms, Event::Flows(system, run, Box::new(spec)));
                }
            }
            Output::ForgetLink { link, release } => {
                let ms = self.call_ms(system);
                self.after(ms, Event::Forget(system, run, link, release));
            }
        }
    }

    fn set_access(&mut self, system: System, run: u64, boot: u64, access: &Access) {
        let (link, epoch, mode) = (access.link, access.epoch, access.mode);
        let mut input = Input::AccessFailed { link, trouble: "the data mover cannot be reached".into() };
        if self.reaches(system, Service::LinkManager, Service::DataMover)
            && let Some(mover) = &mut self.site(system).mover
        {
            match at_once(mover.set_access(access)) {
                Ok(positions) => {
                    self.record.event(&format!("{system} is {mode} in epoch {epoch}"));
                    input = Input::AccessSet { link, epoch, mode, boot, positions };
                }
                Err(Trouble::Refused(trouble)) => input = Input::AccessFailed { link, trouble },
                Err(trouble) => self.ended(Place(system, Service::DataMover), &trouble),
            }
        }
        let ms = self.call_ms(system);
        self.after(ms, Event::Answer(system, run, Box::new(input)));
        self.nudge(system);
    }

    fn apply_flows(&mut self, system: System, run: u64, spec: FlowSpec) {
        let (link, generation) = (spec.link, spec.generation);
        let mut current = None;
        if self.reaches(system, Service::LinkManager, Service::DataMover)
            && let Some(mover) = &mut self.site(system).mover
        {
            let applied = at_once(mover.apply_flows(spec));
            current = self.outcome(Place(system, Service::DataMover), applied);
        }
        let ms = self.call_ms(system);
        let input = Input::FlowsApplied { link, generation, current };
        self.after(ms, Event::Answer(system, run, Box::new(input)));
        self.nudge(system);
    }

    /// The mover's answer to the link manager, which may ask the next thing now.
    fn answer(&mut self, system: System, run: u64, input: Input) {
        let Some(manager) = self.site(system).manager.as_mut().filter(|manager| manager.run == run) else {
            return;
        };
        let boot = manager.mover.unwrap_or_default();
        let next = match &input {
            Input::FlowsApplied { .. } => {
                manager.flows.answered().map(|spec| Event::Flows(system, run, Box::new(spec)))
            }
            _ => manager.access.answered().map(|access| Event::Access(system, run, boot, Box::new(access))),
        };
        if let Some(next) = next {
            let ms = self.call_ms(system);
            self.after(ms, next);
        }
        self.manage(system, Some(input));
    }

    fn forget(&mut self, system: System, run: u64, link: LinkId, release: bool) {
        if self.sites[system as usize].manager.as_ref().is_none_or(|manager| manager.run != run) {
            return;
        }
        let mut done = None;
        if self.reaches(system, Service::LinkManager, Service::DataMover)
            && let Some(mover) = &mut self.site(system).mover
        {
            let forgotten = at_once(mover.forget(link, release));
            done = self.outcome(Place(system, Service::DataMover), forgotten);
        }
        if done.is_none() {
            self.after(250, Event::Forget(system, run, link, release));
        }
    }

    /// What names shall answer now, if that has changed.
    fn publish(&mut self, system: System) {
        let Some(manager) = &mut self.sites[system as usize].manager else { return };
        let zones = switchback_link::dns::zones(&manager.machine, 5);
        if zones != manager.zones.0 {
            manager.zones = (zones, manager.zones.1 + 1);
            self.offer_zones(system);
        }
    }

    fn offer_zones(&mut self, system: System) {
        let Some(manager) = &self.sites[system as usize].manager else { return };
        let (run, (zones, generation)) = (manager.run, manager.zones.clone());
        if let Some(zones) = zones {
            let ms = self.call_ms(system);
            self.after(ms, Event::Zones(system, run, generation, zones));
        }
    }

    fn tell_names(&mut self, system: System, run: u64, generation: u64, zones: Vec<TenantZone>) {
        // A request that was under way when its link manager ended arrives all the same.
        if !self.reaches(system, Service::LinkManager, Service::DnsBroadcaster) {
            return;
        }
        let Some(names) = &self.site(system).names else { return };
        let applied = names.apply(system, run, generation, zones);
        self.outcome(Place(system, Service::DnsBroadcaster), applied);
    }

    /// The services of `system` are told of its certificates.
    fn certified(&mut self, system: System) {
        if !self.sites[system as usize].is_up(Service::CertificateService) {
            return;
        }
        let site = self.site(system);
        site.known = Some(site.keeper.read(|kept| kept.certificates.clone()));
        let Some(identity) = site.identity() else { return };
        let known = site.manager.as_ref().and_then(|manager| manager.machine.identity());
        if site.manager.is_some() && known != Some(&identity) {
            self.manage(system, Some(Input::IdentityKnown(identity)));
        }
        self.look_at_lines(system);
    }

    /// Tells the other mover soon, if there is something to tell.
    pub(super) fn nudge(&mut self, system: System) {
        let mover = &mut self.sites[system as usize].mover;
        if mover.as_mut().is_some_and(|mover| std::mem::take(&mut mover.rings))
            && !std::mem::replace(&mut self.nudged[system as usize], true)
        {
            self.after(NUDGE_MS, Event::Nudge(system));
        }
        self.advance(system);
    }

    fn beat(&mut self, system: System) {
        if !self.network.is_up(Line::Movers, system) {
            return;
        }
        let now = self.now();
        let Some(mover) = &mut self.site(system).mover else { return };
        mover.rings = false;
        let beat = mover.beat(now);
        if let Some(Some(beat)) = self.outcome(Place(system, Service::DataMover), beat) {
            // What a mover tells it has obeyed; content that is not here yet is not written to.
            self.watch.promised(system, beat.header.epoch.0);
            self.send(Line::Movers, system.other(), Parcel::Beat(Box::new(beat)));
        }
    }

    /// The link manager is shown its mover, or that there is none.
    fn show(&mut self, system: System) {
        let (now, reaches) = (self.now(), self.reaches(system, Service::LinkManager, Service::DataMover));
        let site = self.site(system);
        let Some(manager) = &mut site.manager else { return };
        let Some(mover) = site.mover.as_mut().filter(|_| reaches) else {
            if manager.mover.take().is_some() {
                self.manage(system, Some(Input::MoverLost));
            }
            return;
        };
        if !mover.changed && manager.mover == Some(mover.boot) && now - manager.seen_ms < SHOW_MAX_MS {
            return;
        }
        mover.changed = false;
        let view = mover.view(now);
        if let Some(view) = self.outcome(Place(system, Service::DataMover), view)
            && let Some(manager) = &mut self.site(system).manager
        {
            (manager.mover, manager.seen_ms) = (Some(view.boot), now);
            self.manage(system, Some(Input::MoverSeen(Box::new(view))));
        }
    }

    pub(super) fn send(&mut self, line: Line, to: System, parcel: Parcel) {
        let arrival = self.network.send(line, to, parcel, self.now());
        self.arrives(arrival);
    }

    fn arrival(&mut self, arrival: Arrival) {
        let Arrival { line, to, .. } = arrival;
        let parcel = match self.network.deliver(arrival, self.now()) {
            Delivery::Nothing => return,
            Delivery::Later(at_ms) => return self.arrives(Arrival { at_ms, ..arrival }),
            Delivery::Parcel(parcel) => parcel,
        };
        match parcel {
            Parcel::Up(hello) => self.comes_up(line, to, hello),
            Parcel::Message(message) => {
                let domain = to.other().domain();
                self.record.event(&format!("{to} gets {}", super::operator::word(&message)));
                self.manage(to, Some(Input::MessageReceived { domain, message: *message }));
            }
            Parcel::Beat(beat) => {
                let now = self.now();
                let Some(mover) = &mut self.site(to).mover else { return };
                let heard = at_once(mover.hear(*beat, now));
                match self.outcome(Place(to, Service::DataMover), heard) {
                    Some(true) => self.nudge(to),
                    Some(false) => self.close(line, to, "the two systems do not mean the same link"),
                    None => {}
                }
            }
            Parcel::Flow(flowing) => self.flow(line, to, *flowing),
            Parcel::End => {
                if self.network.goes_down(line, to) {
                    self.went_down(line, to, "the other system ended the connection");
                }
            }
        }
    }

    fn comes_up(&mut self, line: Line, to: System, hello: Option<Box<Hello>>) {
        self.network.comes_up(line, to);
        match (line, hello) {
            (Line::Links, Some(hello)) => {
                self.record.event(&format!("{to} has a stream"));
                let address = format!("{}:{LINK_PORT}", to.other());
                let dialled = self.network.has_dialled(line, to).then_some(address);
                self.manage(to, Some(Input::PeerUp { hello: *hello, dialled }));
            }
            (Line::Movers, _) => self.beat(to),
            (Line::Links | Line::Bulk(_), _) => {}
        }
    }

    fn flow(&mut self, line: Line, to: System, flowing: super::mover::Flowing) {
        let (now, place) = (self.now(), Place(to, Service::DataMover));
        self.record.event(&format!("{to} gets {flowing}"));
        let Some(mover) = &mut self.site(to).mover else { return };
        if line == Line::Bulk(to) {
            let goes_on = at_once(mover.answered(flowing, now));
            match self.outcome(place, goes_on) {
                Some(true) => self.nudge(to),
                Some(false) => self.close(line, to, "the stream has ended"),
                None => {}
            }
            return;
        }
        let answer = at_once(mover.receive(flowing));
        if let Some(Some(answer)) = self.outcome(place, answer) {
            self.send(line, to.other(), Parcel::Flow(Box::new(answer)));
        }
        self.nudge(to);
    }

    /// What is to be sent leaves, if a stream is open.
    fn advance(&mut self, system: System) {
        let (now, line) = (self.now(), Line::Bulk(system));
        if !self.network.is_up(line, system) {
            return;
        }
        let Some(mover) = &mut self.site(system).mover else { return };
        let flowing = at_once(mover.advance(now));
        for flowing in self.outcome(Place(system, Service::DataMover), flowing).unwrap_or_default() {
            self.send(line, system.other(), Parcel::Flow(Box::new(flowing)));
        }
    }

    /// This end gives the connection up.
    fn close(&mut self, line: Line, at: System, why: &str) {
        if self.network.goes_down(line, at) {
            self.send(line, at.other(), Parcel::End);
            self.went_down(line, at, why);
        }
    }

    /// Every connection is reset: what is under way is lost, and both ends know.
    pub(super) fn break_lines(&mut self) {
        for (line, at) in Line::ALL.into_iter().flat_map(|line| System::ALL.map(|at| (line, at))) {
            if self.network.goes_down(line, at) {
                self.went_down(line, at, "the connection was reset");
            }
        }
    }

    fn went_down(&mut self, line: Line, at: System, why: &str) {
        self.record.event(&format!("{at} has no {line:?} any more: {why}"));
        match line {
            Line::Links => self.manage(at, Some(Input::PeerDown { domain: at.other().domain() })),
            Line::Movers => {
                if let Some(mover) = &mut self.site(at).mover {
                    mover.stream_gone(why);
                }
            }
            Line::Bulk(system) => {
                if let Some(link) = self.site(at).mover.as_mut().and_then(|mover| mover.link.as_mut())
                    && at == system
                {
                    link.sending = None;
                }
            }
        }
    }

    /// Ends the connections of `system` that are silent, or rest on trust that is gone.
    fn look_at_lines(&mut self, system: System) {
        let now = self.now();
        for line in Line::ALL {
            self.world.arrive(system);
            let known = &self.sites[system as usize].known;
            let lost = self
                .network
                .basis(line, system)
                .zip(known.as_ref())
                .is_some_and(|(basis, known)| trust::is_lost(system, known, basis));
            if lost {
                self.record.count("connections cut for want of trust");
                self.close(line, system, "trust is gone");
            } else if self.network.is_up(line, system) && self.network.is_silent(line, system, now) {
                self.close(line, system, "silence");
            }
        }
    }

    fn pulse(&mut self, system: System) {
        self.look_at_lines(system);
        self.dial_links(system);
        self.dial_movers(system);
        self.beat(system);
        self.send_flow(system);
        let now = self.now();
        if now - self.repeated_ms[system as usize] >= REPEAT_MS {
            self.repeated_ms[system as usize] = now;
            self.offer_zones(system);
        }
        if now - self.swept_ms[system as usize] >= SWEEP_MS
            && let Some(mover) = &self.site(system).mover
        {
            let swept = at_once(mover.catalogue.sweep()).map_err(Trouble::from);
            self.swept_ms[system as usize] = now;
            self.outcome(Place(system, Service::DataMover), swept);
        }
    }

    fn dial_links(&mut self, system: System) {
        let peer_address = format!("{}:{LINK_PORT}", system.other());
        let dials = self.sites[system as usize].manager.as_ref().map(|manager| manager.machine.dials());
        if !dials.is_some_and(|dials| dials.contains(&peer_address)) {
            return;
        }
        if self.network.is_up(Line::Links, system) {
            // Both sides dial: the second stream says who is there once more, and by which address.
            if self.network.dials(Line::Links, system)
                && let Some(hello) = self.hello(system.other())
            {
                self.manage(system, Some(Input::PeerUp { hello, dialled: Some(peer_address) }));
            }
            return;
        }
        match self.connect(Line::Links, system) {
            Ok(()) => self.record.event(&format!("{system} dials the other link manager")),
            Err(trouble) => {
                self.manage(system, Some(Input::DialFailed { address: peer_address, trouble }));
            }
        }
    }

    fn dial_movers(&mut self, system: System) {
        let site = &self.sites[system as usize];
        let has_address =
            |mover: &Mover| mover.link.as_ref().is_some_and(|link| !link.spec.peer_address.is_empty());
        if self.network.is_up(Line::Movers, system) || !site.mover.as_ref().is_some_and(has_address) {
            return;
        }
        if let Err(trouble) = self.connect(Line::Movers, system)
            && let Some(mover) = &mut self.site(system).mover
        {
            mover.stream_gone(&trouble);
        }
    }

    fn send_flow(&mut self, system: System) {
        let (now, line, place) = (self.now(), Line::Bulk(system), Place(system, Service::DataMover));
        let Some(mover) = &mut self.site(system).mover else { return };
        if mover.link.as_ref().is_some_and(|link| link.sending.is_some()) {
            let goes_on = at_once(mover.look(now));
            match self.outcome(place, goes_on) {
                Some(true) => self.advance(system),
                Some(false) => {
                    self.close(line, system, "sending is not wished, or begins anew");
                    if let Some(link) = self.site(system).mover.as_mut().and_then(|mover| mover.link.as_mut())
                    {
                        link.sending = None;
                    }
                }
                None => {}
            }
        }
        let Some(mover) = self.site(system).mover.as_mut() else { return };
        let is_open = mover.link.as_ref().is_some_and(|link| link.sending.is_some());
        if is_open || !mover.is_ready_to_send(now) {
            return;
        }
        match self.connect(line, system) {
            Ok(()) => {
                let Some(mover) = &mut self.site(system).mover else { return };
                let hello = mover.open(now);
                if let Some(Some(hello)) = self.outcome(place, hello) {
                    self.send(line, system.other(), Parcel::Flow(Box::new(hello)));
                }
            }
            Err(trouble) => {
                if let Some(link) = self.site(system).mover.as_mut().and_then(|mover| mover.link.as_mut()) {
                    link.sending_trouble = trouble;
                }
            }
        }
    }

    /// Makes a connection, whose ends come up as the first parcels arrive.
    fn connect(&mut self, line: Line, from: System) -> Result<(), String> {
        let to = from.other();
        let basis = self.handshake(line, from)?;
        self.network.connect(line, basis);
        if line == Line::Links {
            self.network.dials(line, from);
        }
        for at in [to, from] {
            let hello = (line == Line::Links).then(|| self.hello(at.other())).flatten().map(Box::new);
            self.send(line, at, Parcel::Up(hello));
        }
        Ok(())
    }

    /// What the two ends show each other, or why `from` is not connected.
    fn handshake(&mut self, line: Line, from: System) -> Result<trust::Basis, String> {
        let (to, service) = (from.other(), line.service());
        if !self.network.passes(from) || !self.network.passes(to) || !self.sites[to as usize].is_up(service) {
            return Err("the other system cannot be reached: no answer".into());
        }
        let own = |site: &Site| Some(site.known.as_ref()?.own.as_ref()?.certificate.clone());
        let none = || "this system's identity is not known yet".to_owned();
        let east = own(&self.sites[System::East as usize]).ok_or_else(none)?;
        let basis = [east, own(&self.sites[System::West as usize]).ok_or_else(none)?];
        for (judge, shown) in [(from, to), (to, from)] {
            self.world.arrive(judge);
            let Some(known) = &self.sites[judge as usize].known else { return Err(none()) };
            if let Some(trouble) = trust::objection(known, &basis[shown as usize]) {
                let whose = if judge == from { "" } else { "the other system says: " };
                return Err(format!("{whose}{trouble}"));
            }
        }
        if line != Line::Links {
            for (judge, shown) in [(from, to), (to, from)] {
                let link = self.sites[judge as usize].mover.as_ref().and_then(|mover| mover.link.as_ref());
                let found = (basis[shown as usize].system_id, basis[shown as usize].incarnation);
                if link.is_none_or(|link| link.agreed() != found) {
                    return Err(
                        "the certificate names another system or incarnation than the link agreed on".into(),
                    );
                }
            }
        }
        Ok(basis)
    }

    /// What the link manager of `system` says of itself first.
    fn hello(&self, system: System) -> Option<Hello> {
        let identity = self.sites[system as usize].identity()?;
        Some(Hello {
            system: identity.system,
            incarnation: identity.incarnation,
            domain: identity.domain,
            name: identity.name,
            link_address: format!("{system}:{LINK_PORT}"),
            replication_address: format!("{system}:{REPLICATION_PORT}"),
            gateway_addresses: identity.gateway_addresses,
            name_server_addresses: identity.name_server_addresses,
        })
    }

    /// The secondary asks one of the systems.
    fn transfer(&mut self) {
        let system = self.chance.pick(&System::ALL);
        self.transfer_from(system);
        if self.phase < Phase::Done {
            let ms = self.chance.between(200, 2_000);
            self.after(ms, Event::Transfer);
        }
    }

    fn transfer_from(&mut self, system: System) {
        let Some(names) = &self.sites[system as usize].names else { return };
        if let Some(wrong) = self.secondary.transfer(system, self.sites[system as usize].id, names.served()) {
            self.record.violation(&format!("rule 11: {wrong}"));
        }
    }

    /// The secondary asks both.
    pub(super) fn transfer_all(&mut self) {
        System::ALL.into_iter().for_each(|system| self.transfer_from(system));
    }
}
