//! Two link machines, a network between them that can be cut, and a mover for each that keeps
//! what a real one keeps: access records that only grow in epoch, and contents that become equal
//! when data flows both ways.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![expect(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use switchback_link_core::{
    Change, Command, CommandKind, ContentView, Create, DamageView, DigestView, Done, Error, Event, FlowSpec,
    FlowView, Gateway, Hello, Identity, Input, Link, LinkFlowsView, LinkMachine, LinkState, Message,
    MoverView, Output, Policy, Position, Settings, State, Token,
};
use switchback_machine::{Machine, Outbox, Timestamp};
use switchback_model::{
    AccessMode, Content, ContentId, ContentKind, Epoch, FeedId, Incarnation, LinkId, Rate, RequestId, Side,
    SystemId,
};

pub const EAST: usize = 0;
pub const WEST: usize = 1;
pub const LINK: LinkId = LinkId([7; 16]);

/// One system: its machine, what survives a crash, and its mover.
pub struct System {
    pub machine: LinkMachine,
    pub durable: State,
    pub identity: Identity,
    pub up: bool,
    pub mover_up: bool,
    pub boot: u64,
    pub store: u64,
    pub content: Option<Content>,
    pub access: (AccessMode, Epoch),
    pub linked: bool,
    pub orphaned: bool,
    pub flows: Option<FlowSpec>,
    /// The mover has learned that its store went back to an older state.
    pub rolled_back: bool,
    /// Everything written here or received; the digest is its sum.
    pub written: BTreeSet<u64>,
    pub feed: u64,
    pub replies: BTreeMap<u64, Result<Done, Error>>,
    pub events: Vec<Event>,
    /// Epochs in which a write was accepted here, of the whole life of the world.
    pub wrote_in: BTreeSet<Epoch>,
}

pub struct World {
    pub now: Timestamp,
    pub systems: [System; 2],
    pub connected: bool,
    /// Of the zone, before it is on a link.
    pub zone_floor: u32,
    pub wires: [VecDeque<Message>; 2],
    tokens: u64,
    next_write: u64,
    /// Drops this many of the next grants on the wire.
    pub lose_grants: usize,
    /// So many of the next orders to forget a link go with the process that gives them.
    pub lose_forgets: usize,
    /// Hears nothing from the other link manager.
    pub deaf: Option<usize>,
    /// Everything that was ever sent to each side, lost or not.
    pub sent_to: [Vec<Message>; 2],
}

pub fn acme() -> Content {
    Content { kind: ContentKind::Tenant, name: "acme".into(), id: ContentId([1; 16]) }
}

fn gateway(address: &str) -> Gateway {
    Gateway { addresses: vec![address.into()], ..Gateway::default() }
}

fn system(index: usize, now: Timestamp) -> System {
    let name = ["east", "west"][index];
    let byte = u8::try_from(index).unwrap() + 1;
    let identity = Identity {
        system: SystemId([byte; 16]),
        incarnation: Incarnation(u64::from(byte) * 100),
        domain: format!("{name}.example.com"),
        name: name.into(),
        gateway: gateway(&format!("127.0.{byte}0.1")),
        name_server_addresses: vec![format!("127.0.{byte}0.1")],
    };
    System {
        machine: LinkMachine::recover(Policy::default(), State::default(), u64::from(byte), now),
        durable: State::default(),
        identity,
        up: true,
        mover_up: true,
        boot: 1,
        store: u64::from(byte),
        content: (index == EAST).then(acme),
        access: (AccessMode::ReadWrite, Epoch(0)),
        linked: false,
        orphaned: false,
        flows: None,
        rolled_back: false,
        written: BTreeSet::new(),
        feed: u64::from(byte) * 10,
        replies: BTreeMap::new(),
        events: Vec::new(),
        wrote_in: BTreeSet::new(),
    }
}

impl World {
    /// Two systems that know who they are and see each other.
    pub fn new() -> Self {
        let now = Timestamp(1_800_000_000_000);
        let systems = [system(EAST, now), system(WEST, now)];
        let mut world = Self {
            now,
            systems,
            connected: false,
            zone_floor: 0,
            wires: [VecDeque::new(), VecDeque::new()],
            tokens: 0,
            next_write: 0,
            lose_grants: 0,
            lose_forgets: 0,
            deaf: None,
            sent_to: [Vec::new(), Vec::new()],
        };
        for at in [EAST, WEST] {
            let identity = world.systems[at].identity.clone();
            world.input(at, Input::IdentityKnown(identity));
        }
        world.heal();
        world.run(300);
        world
    }

    /// As [`World::new`], with a link that replicates and is in sync.
    pub fn linked() -> Self {
        let mut world = Self::new();
        world.create("acme").unwrap();
        world.write(EAST).unwrap();
        world.run(3_000);
        assert!(world.link(WEST).was_in_sync, "the first copy ends");
        world
    }

    pub fn link(&self, at: usize) -> &Link {
        self.systems[at].machine.state().links.get(&LINK).expect("the link exists")
    }

    pub fn has_link(&self, at: usize) -> bool {
        self.systems[at].machine.state().links.contains_key(&LINK)
    }

    pub fn state(&self, at: usize) -> LinkState {
        self.link(at).shared.state
    }

    pub fn mode(&self, at: usize) -> AccessMode {
        self.systems[at].access.0
    }

    pub fn modes(&self) -> (AccessMode, AccessMode) {
        (self.mode(EAST), self.mode(WEST))
    }

    pub fn logged(&self, at: usize, id: &str) -> bool {
        self.systems[at].events.iter().any(|event| event.id == id)
    }

    pub fn create(&mut self, name: &str) -> Result<Done, Error> {
        let create = Create {
            id: LINK,
            name: name.into(),
            peer_address: "west:5748".into(),
            contents: vec![Content { id: ContentId::default(), ..acme() }],
            settings: Settings { dns_failover: true, ..Settings::default() },
            zone_floor: self.zone_floor,
        };
        self.command(EAST, CommandKind::Create(Box::new(create)))
    }

    /// A client's write: accepted only where the mover's access record says so.
    pub fn write(&mut self, at: usize) -> Result<u64, ()> {
        let system = &mut self.systems[at];
        if !system.mover_up || system.content.is_none() || system.access.0 == AccessMode::ReadOnly {
            return Err(());
        }
        self.next_write += 1;
        system.written.insert(self.next_write);
        if system.linked {
            system.wrote_in.insert(system.access.1);
        }
        Ok(self.next_write)
    }

    /// An operator's command, and up to a minute for its answer.
    pub fn command(&mut self, at: usize, kind: CommandKind) -> Result<Done, Error> {
        let request = format!("request-{}", self.tokens);
        self.command_as(at, kind, &request)
    }

    pub fn command_as(&mut self, at: usize, kind: CommandKind, request: &str) -> Result<Done, Error> {
        let token = self.ask(at, kind, request);
        for _ in 0..600 {
            self.run(100);
            if let Some(reply) = self.systems[at].replies.remove(&token) {
                return reply;
            }
        }
        panic!("no answer to {request}");
    }

    /// The command that ends a recovery.
    pub fn complete() -> CommandKind {
        CommandKind::CompleteRecovery { anyway: false }
    }

    /// The replica recovers to the end.
    pub fn recover(&mut self) {
        self.command(WEST, CommandKind::BeginRecovery).expect("recovery begins");
        self.run(1_000);
        self.command(WEST, Self::complete()).expect("recovery can be completed");
        self.run(3_000);
    }

    /// The link replicates at `epoch`, as it is meant to.
    pub fn assert_back_to_normal(&self, epoch: u64) {
        assert_eq!(self.modes(), (AccessMode::ReadWrite, AccessMode::ReadOnly));
        for at in [EAST, WEST] {
            assert_eq!(self.state(at), LinkState::Replicating);
            assert_eq!(self.link(at).shared.epoch, Epoch(epoch));
            assert_eq!(self.link(at).zone.as_ref().map(|zone| zone.target), Some(Side::Primary));
        }
        assert_eq!(self.systems[EAST].written, self.systems[WEST].written);
    }

    /// Delivers to `to` a message that was sent to it before, whenever that was.
    pub fn replay(&mut self, to: usize, message: Message) {
        let domain = self.systems[1 - to].identity.domain.clone();
        self.input(to, Input::MessageReceived { domain, message });
    }

    /// Hands a command in without waiting.
    pub fn ask(&mut self, at: usize, kind: CommandKind, request: &str) -> u64 {
        self.tokens += 1;
        let token = self.tokens;
        let command = Command {
            token: Token(token),
            request: RequestId(request.into()),
            plan: false,
            link: "acme".into(),
            kind,
        };
        self.input(at, Input::Command(Box::new(command)));
        token
    }

    pub fn fail_over(&mut self) -> Result<Done, Error> {
        self.command(WEST, CommandKind::FailOver { no_drain: false, accept_loss: String::new() })
    }

    /// Everything that happens in `ms` milliseconds, in steps of ten.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now = Timestamp(self.now.0 + 10);
            self.deliver();
            for at in [EAST, WEST] {
                if !self.systems[at].up {
                    continue;
                }
                if self.now.0.is_multiple_of(100) && self.systems[at].mover_up {
                    self.flow(at);
                    let view = self.view(at);
                    self.input(at, Input::MoverSeen(Box::new(view)));
                }
                if self.systems[at].machine.deadline().is_some_and(|deadline| deadline <= self.now) {
                    let mut outbox = Outbox::new();
                    self.systems[at].machine.tick(self.now, &mut outbox);
                    self.release(at, outbox);
                    let next = self.systems[at].machine.deadline();
                    assert!(
                        next.is_none_or(|next| next > self.now),
                        "a deadline that has passed comes again"
                    );
                }
            }
        }
    }

    fn deliver(&mut self) {
        for to in [EAST, WEST] {
            let from = 1 - to;
            let domain = self.systems[from].identity.domain.clone();
            while let Some(message) = self.wires[to].pop_front() {
                if self.connected && self.systems[to].up && self.deaf != Some(to) {
                    self.input(to, Input::MessageReceived { domain: domain.clone(), message });
                }
            }
        }
    }

    pub fn input(&mut self, at: usize, input: Input) {
        if !self.systems[at].up {
            return;
        }
        let mut outbox = Outbox::new();
        self.systems[at].machine.step(self.now, input, &mut outbox);
        self.release(at, outbox);
    }

    /// The law: changes first, outputs afterwards.
    fn release(&mut self, at: usize, outbox: Outbox<LinkMachine>) {
        let system = &mut self.systems[at];
        for change in &outbox.changes {
            system.durable.apply(change);
            if let Change::PutEvent(event) = change {
                system.events.push(event.clone());
            }
        }
        assert_eq!(&system.durable, system.machine.state(), "what is durable is what is known");
        for output in outbox.outputs {
            self.perform(at, output);
        }
    }

    fn perform(&mut self, at: usize, output: Output) {
        let system = &mut self.systems[at];
        match output {
            Output::Reply(token, reply) => {
                system.replies.insert(token.0, reply.map(|done| *done));
            }
            Output::Send(_, message) => {
                self.sent_to[1 - at].push((*message).clone());
                if matches!(*message, Message::Grant(..)) && self.lose_grants > 0 {
                    self.lose_grants -= 1;
                } else if self.connected {
                    self.wires[1 - at].push_back(*message);
                }
            }
            Output::SetAccess(access) => self.set_access(at, &access),
            Output::ApplyFlows(spec) => {
                let generation = spec.generation;
                // As a mover does: what is older than what it has is ignored.
                let newer = system.flows.as_ref().is_none_or(|flows| flows.generation < generation);
                if system.mover_up && newer {
                    let life = system.flows.as_ref().map(|flows| flows.local_incarnation);
                    system.rolled_back &= life == Some(spec.local_incarnation);
                    system.flows = Some(*spec);
                }
                let current = system.flows.as_ref().map(|flows| flows.generation);
                let current = current.filter(|_| system.mover_up);
                self.input(at, Input::FlowsApplied { link: LINK, generation, current });
            }
            Output::ForgetLink { .. } if self.lose_forgets > 0 => self.lose_forgets -= 1,
            Output::ForgetLink { release, .. } => {
                system.flows = None;
                if release {
                    system.access.0 = AccessMode::ReadWrite;
                    (system.linked, system.orphaned) = (false, false);
                } else {
                    system.orphaned = system.linked;
                }
            }
            Output::Accepted(_) => {}
        }
    }

    fn set_access(&mut self, at: usize, access: &switchback_link_core::Access) {
        let system = &mut self.systems[at];
        let stale = system.linked && access.epoch < system.access.1;
        if !system.mover_up || stale {
            self.input(at, Input::AccessFailed { link: LINK, trouble: "stale or down".into() });
            return;
        }
        system.content.get_or_insert_with(acme);
        system.linked = true;
        system.orphaned = false;
        system.access = (access.mode, access.epoch);
        let (epoch, mode, boot) = (access.epoch, access.mode, system.boot);
        let positions = vec![head(system)];
        self.input(at, Input::AccessSet { link: LINK, epoch, mode, boot, positions });
    }

    /// The movers' part: epochs are exchanged, data joins.
    fn flow(&mut self, at: usize) {
        if !self.connected || !self.systems[1 - at].mover_up {
            return;
        }
        let (Some(ours), Some(theirs)) = (&self.systems[at].flows, &self.systems[1 - at].flows) else {
            return;
        };
        let agreed = ours.peer_incarnation == theirs.local_incarnation
            && theirs.peer_incarnation == ours.local_incarnation;
        if !agreed || ours.silent || theirs.silent {
            return;
        }
        let epoch = theirs.epoch;
        let sends = theirs.contents.iter().all(|flow| flow.send && !flow.paused) && !theirs.suspended;
        let receives = ours.contents.iter().all(|flow| flow.receive && !flow.paused) && !ours.suspended;
        if epoch > self.systems[at].access.1 && self.systems[at].linked {
            self.systems[at].access = (AccessMode::ReadOnly, epoch);
        }
        let held = theirs.schedule.rate_at(0) == Rate::BytesPerSecond(0);
        if sends && receives && !held {
            let data = self.systems[1 - at].written.clone();
            self.systems[at].written.extend(data);
        }
    }

    fn view(&self, at: usize) -> MoverView {
        let (system, other) = (&self.systems[at], &self.systems[1 - at]);
        let Some(content) = system.content.clone() else {
            return MoverView { boot: system.boot, store: system.store, ..MoverView::default() };
        };
        let reached = self.connected && other.mover_up && other.flows.is_some();
        let flow = FlowView {
            content: content.id,
            applied: Some(Position {
                sequence: other.written.intersection(&system.written).count() as u64,
                ..head(other)
            }),
            in_sync: reached && other.written == system.written,
            local_rolled_back: system.rolled_back,
            ..FlowView::default()
        };
        let links = system.flows.iter().map(|spec| LinkFlowsView {
            link: spec.link,
            generation: spec.generation,
            contact: reached,
            peer_epoch: if reached { other.access.1 } else { Epoch(0) },
            flows: vec![flow.clone()],
            trouble: String::new(),
        });
        MoverView {
            boot: system.boot,
            store: system.store,
            contents: vec![ContentView {
                content,
                mode: system.access.0,
                epoch: system.access.1,
                link: system.linked.then_some(LINK),
                orphaned: system.orphaned,
                head: head(system),
                digest: digest(system),
            }],
            links: links.collect(),
            damage: DamageView::default(),
        }
    }

    /// No message passes any more; both sides learn that their stream is gone.
    pub fn cut(&mut self) {
        self.connected = false;
        self.wires.iter_mut().for_each(VecDeque::clear);
        for at in [EAST, WEST] {
            let domain = self.systems[1 - at].identity.domain.clone();
            self.input(at, Input::PeerDown { domain });
        }
    }

    pub fn heal(&mut self) {
        self.connected = self.systems.iter().all(|system| system.up);
        if !self.connected {
            return;
        }
        for at in [EAST, WEST] {
            let other = self.systems[1 - at].identity.clone();
            let address = format!("{}:5748", other.name);
            let hello = Hello {
                system: other.system,
                incarnation: other.incarnation,
                domain: other.domain,
                name: other.name,
                link_address: address.clone(),
                replication_address: address.replace("5748", "5749"),
                gateway: other.gateway,
                name_server_addresses: other.name_server_addresses,
                dnskeys: Some(vec![vec![1 - at as u8]]),
            };
            self.input(at, Input::PeerUp { hello, dialled: Some(address) });
        }
    }

    /// The whole system stops; what was durable stays.
    pub fn crash(&mut self, at: usize) {
        self.cut();
        let system = &mut self.systems[at];
        system.up = false;
        system.mover_up = false;
        system.replies.clear();
    }

    /// It comes back from its disk: linked content read-only until its machine says otherwise.
    pub fn start(&mut self, at: usize) {
        let now = self.now;
        let system = &mut self.systems[at];
        system.boot += 1;
        system.up = true;
        system.mover_up = true;
        if system.linked {
            system.access.0 = AccessMode::ReadOnly;
        }
        system.machine =
            LinkMachine::recover(Policy::default(), system.durable.clone(), system.boot * 1_000, now);
        let identity = system.identity.clone();
        self.input(at, Input::IdentityKnown(identity));
        self.heal();
    }

    /// It comes back from a backup of its whole state, made in epoch 0.
    pub fn go_back(&mut self, at: usize, backup: State) {
        self.crash(at);
        self.systems[at].durable = backup;
        self.systems[at].access.1 = Epoch(0);
        self.start(at);
    }

    /// Its link manager is killed and started again; its mover goes on.
    pub fn restart_manager(&mut self, at: usize) {
        self.cut();
        let now = self.now;
        let system = &mut self.systems[at];
        system.machine = LinkMachine::recover(Policy::default(), system.durable.clone(), now.0, now);
        let identity = system.identity.clone();
        self.input(at, Input::IdentityKnown(identity));
        self.heal();
    }

    /// `certificate renew --new-incarnation`, and certificates are exchanged.
    pub fn renew(&mut self, at: usize) {
        self.cut();
        self.systems[at].identity.incarnation.0 += 1;
        let identity = self.systems[at].identity.clone();
        self.input(at, Input::IdentityKnown(identity));
        self.heal();
    }

    /// It comes back empty, under the same name, as another system.
    pub fn rebuild(&mut self, at: usize) {
        self.crash(at);
        let wrote_in = core::mem::take(&mut self.systems[at].wrote_in);
        let boot = self.systems[at].boot;
        let mut fresh = system(at, self.now);
        fresh.identity.incarnation = Incarnation(fresh.identity.incarnation.0 + boot + 1);
        fresh.identity.system = SystemId([fresh.identity.system.0[0] + 10 * u8::try_from(boot).unwrap(); 16]);
        fresh.content = None;
        fresh.feed += 1 + boot;
        fresh.store += 1_000 * boot;
        fresh.boot = boot;
        fresh.wrote_in = wrote_in;
        fresh.up = false;
        self.systems[at] = fresh;
        self.start(at);
    }
}

fn head(system: &System) -> Position {
    Position { content: acme().id, feed: FeedId(system.feed), sequence: system.written.len() as u64 }
}

fn digest(system: &System) -> DigestView {
    let sum: u64 = system.written.iter().sum();
    DigestView { total: sum.to_be_bytes().to_vec(), records: system.written.len() as u64 }
}
