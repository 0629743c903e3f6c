//! One system: the real link machine, its shell's law, and its mover.
//!
//! The shell of the product commits a step's changes and then releases its outputs. Here an output
//! is *pending* until somebody takes it: a message in the network, a request in the slot of the
//! mover's worker (which holds the latest only, as the product's does). A crash empties the slots.
//! As a pending output may just as well never be taken, a crash that drops the outputs of a step,
//! all of them or any of the last, needs no action of its own: it is the crash that comes before
//! they are taken. A crash before the commit is a step that did not happen.
//!
//! A crash and the start that follows are one action: a system that is down does nothing and takes
//! nothing, and one that is up may do so for as long as it likes.

use std::sync::Arc;
use std::time::Duration;

use switchback_link_core::{
    Access, Command, CommandKind, FlowSpec, Gateway, Hello, Identity, Input, Link, LinkMachine, LinkState,
    Message, Output, Policy, Position, State, Token, check,
};
use switchback_machine::{Machine, Outbox, Timestamp};
use switchback_model::{AccessMode, Epoch, FeedId, Incarnation, RequestId, Side, SystemId, Version};

use crate::fingerprint::{CLOCK, EVENTS, ONCE, UNIT, fingerprint};
use crate::mover::{LINK, Mover, Told, content};
use crate::network::Envelope;
use crate::store::Batch;
use crate::verdict::Flaws;

/// The primary of the link.
pub const EAST: usize = 0;
/// Its replica.
pub const WEST: usize = 1;

/// An operator's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// `link fail-over`.
    FailOver,
    /// The same, leaving the tail.
    FailOverNow,
    /// The same, although never in sync.
    FailOverAnyhow,
    /// `link recovery begin`.
    Begin,
    /// `link recovery complete`.
    Complete,
    /// `link restore`.
    Restore,
    /// `link declare-lost`.
    DeclareLost,
    /// `link suspend`.
    Suspend,
    /// `link resume`.
    Resume,
    /// `link pause`.
    Pause,
    /// `link unpause`.
    Unpause,
    /// `link delete`.
    Delete,
}

impl Order {
    fn kind(self) -> CommandKind {
        let fail_over =
            |no_drain, accept_loss: &str| CommandKind::FailOver { no_drain, accept_loss: accept_loss.into() };
        match self {
            Self::FailOver => fail_over(false, ""),
            Self::FailOverNow => fail_over(true, ""),
            Self::FailOverAnyhow => fail_over(false, "acme"),
            Self::Begin => CommandKind::BeginRecovery,
            Self::Complete => CommandKind::CompleteRecovery { anyway: false },
            Self::Restore => CommandKind::Restore,
            Self::DeclareLost => CommandKind::DeclareLost { confirm: "acme".into() },
            Self::Suspend => CommandKind::Suspend,
            Self::Resume => CommandKind::Resume,
            Self::Pause => CommandKind::Pause(content()),
            Self::Unpause => CommandKind::Unpause(content()),
            Self::Delete => CommandKind::Delete { without_peer: true },
        }
    }
}

/// What can happen to one system.
#[derive(Clone, Debug, Hash)]
pub enum Event {
    /// The command that makes the link.
    Create,
    /// An operator's command, under a request id of its own or, to be repeated, under this number.
    Command(Order, Option<usize>),
    /// A message arrives.
    Deliver(Arc<Envelope>),
    /// Time passes, by one unit.
    Tick,
    /// The mover takes the access mode that waits for it.
    TakeAccess,
    /// The mover's answer to it arrives.
    TakeAnswer,
    /// The mover takes the flows that wait for it.
    TakeFlows,
    /// The link manager is shown the mover as it is.
    Look,
    /// The mover hears the other mover.
    Hear(Told),
    /// The mover applies what the other has.
    Apply(Batch),
    /// The mover has heard nothing of the other for a while.
    MoverSilence,
    /// A stream between the link managers is up.
    PeerUp(SystemId, Incarnation),
    /// It is gone.
    PeerDown,
    /// The link manager is killed and started.
    CrashManager,
    /// The mover is killed and started.
    CrashMover,
    /// The operator uploads the other system's certificate.
    Trust(Incarnation),
    /// A client writes, or deletes.
    Write(bool),
    /// The system comes back empty.
    Rebuild,
}

impl std::hash::Hash for Envelope {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
enum Answer {
    Set { epoch: Epoch, mode: AccessMode, boot: u64, positions: Vec<Position> },
    Failed,
}

/// See the module.
#[derive(Clone)]
pub struct Site {
    /// East or west.
    pub index: usize,
    /// Who it is.
    pub identity: Identity,
    /// The incarnation of the other system whose certificate was uploaded here.
    pub trusts: Incarnation,
    /// The real one.
    pub machine: LinkMachine,
    /// The incarnation at the other end of the stream, if one is up.
    pub stream: Option<Incarnation>,
    /// Its mover.
    pub mover: Mover,
    /// The highest epoch below which this life of the system has told that it writes no more.
    pub promised: Epoch,
    /// The highest epoch in which this side, the replica at the end of a recovery, has told that it
    /// is read-only: it gave up what the epoch gave it.
    pub given_up: Option<Epoch>,
    /// Its lives before this one.
    pub rebuilt: u8,
    /// Of everything above and below, canonical.
    pub hash: u64,
    now: u64,
    starts: u64,
    requests: u64,
    wanted: Option<Access>,
    answer: Option<Answer>,
    flows: Option<FlowSpec>,
    seen: Option<u64>,
    seen_boot: u64,
}

/// What came of an event.
#[derive(Clone)]
pub struct Outcome {
    /// The system afterwards.
    pub site: Arc<Site>,
    /// Messages that left.
    pub sent: Vec<Arc<Envelope>>,
    /// A command was accepted.
    pub accepted: bool,
    /// The version that was written.
    pub wrote: Option<Version>,
    /// Properties that this step alone broke.
    pub flaws: Flaws,
}

#[derive(Default)]
struct Effects {
    sent: Vec<Arc<Envelope>>,
    accepted: bool,
    flaws: Flaws,
}

/// Every duration is one unit, that of silence too: any passing of time ends contact, and the next
/// message brings it back.
fn policy() -> Policy {
    let unit = Duration::from_millis(UNIT);
    Policy {
        heartbeat: unit,
        contact_timeout: unit,
        contact_wait: unit,
        fence_time: unit,
        drain_time: unit,
        retry: unit,
        proposal_time: unit,
        completion_backlog: Duration::from_secs(60),
    }
}

/// The system of this index in its life `rebuilt`.
#[must_use]
pub fn identity(index: usize, rebuilt: u8) -> Identity {
    let name = if index == EAST { "east" } else { "west" };
    let number = u8::try_from(index).unwrap_or(u8::MAX) + 1 + 16 * rebuilt;
    Identity {
        system: SystemId([number; 16]),
        incarnation: Incarnation(u64::from(number)),
        domain: format!("{name}.example.com"),
        name: name.into(),
        gateway: Gateway { addresses: vec![format!("{name}:443")], ..Gateway::default() },
        name_server_addresses: Vec::new(),
    }
}

fn hello(index: usize, system: SystemId, incarnation: Incarnation) -> Hello {
    let other = identity(index, 0);
    Hello {
        system,
        incarnation,
        link_address: format!("{}:5748", other.name),
        replication_address: format!("{}:5749", other.name),
        domain: other.domain,
        name: other.name,
        gateway: other.gateway,
        name_server_addresses: other.name_server_addresses,
        dnskeys: None,
    }
}

impl Site {
    /// A system that knows who it is and has never been on a link.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self::life(index, 0, CLOCK, 0)
    }

    fn life(index: usize, rebuilt: u8, now: u64, starts: u64) -> Self {
        let identity = identity(index, rebuilt);
        let number = identity.incarnation.0;
        let state = State { last_event: EVENTS, ..State::default() };
        let mut site = Self {
            index,
            trusts: Incarnation(0),
            machine: LinkMachine::recover(
                policy(),
                state,
                number * 1_000_000 + starts * 1_000,
                Timestamp(now),
            ),
            stream: None,
            mover: Mover::new(number, FeedId(number), index == EAST && rebuilt == 0),
            promised: Epoch(0),
            given_up: None,
            rebuilt,
            hash: 0,
            now,
            starts,
            requests: 0,
            wanted: None,
            answer: None,
            flows: None,
            seen: None,
            seen_boot: 0,
            identity,
        };
        let own = site.identity.clone();
        let mut effects = Effects::default();
        site.input(Input::IdentityKnown(own), &mut effects);
        site.seal();
        site
    }

    fn seal(&mut self) {
        let own = (&self.machine, &self.mover, &self.wanted, &self.answer, &self.flows);
        let ghosts = (self.promised, self.given_up, self.rebuilt, self.index);
        let seen = (self.stream, self.trusts, self.seen, self.seen_boot);
        self.hash = fingerprint(&(own, ghosts, seen, &self.identity.incarnation), self.now);
    }

    /// The link, if it is on record.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        self.machine.state().links.get(&LINK)
    }

    /// The mover has not been told yet, or has not answered yet, or has not been looked at yet.
    #[must_use]
    pub fn pending(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.answer.is_some() {
            events.push(Event::TakeAnswer);
        } else if self.wanted.is_some() {
            events.push(Event::TakeAccess);
        }
        if self.flows.is_some() {
            events.push(Event::TakeFlows);
        }
        if self.seen != Some(self.sight()) {
            events.push(Event::Look);
        }
        events
    }

    fn sight(&self) -> u64 {
        fingerprint(&self.mover.view(), 0)
    }

    /// The machine has something to do when time passes.
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        self.machine.deadline().is_some()
    }

    /// What happens then. With `prompt`, the mover and the link manager have dealt with each other
    /// before anything else happens.
    #[must_use]
    pub fn after(&self, event: &Event, prompt: bool) -> Outcome {
        let mut site = self.clone();
        let mut effects = Effects::default();
        let wrote = site.take(event, &mut effects);
        if prompt {
            site.settle(&mut effects);
        }
        site.judge(&mut effects.flaws);
        site.seal();
        let Effects { sent, accepted, flaws } = effects;
        Outcome { site: Arc::new(site), sent, accepted, wrote, flaws }
    }

    fn settle(&mut self, effects: &mut Effects) {
        while let Some(event) = self.pending().first() {
            self.take(event, effects);
        }
    }

    fn take(&mut self, event: &Event, effects: &mut Effects) -> Option<Version> {
        match event {
            Event::Create => self.input(crate::world::create(), effects),
            Event::Command(order, number) => {
                self.requests += 1;
                let id =
                    number.map_or_else(|| format!("{ONCE}{}", self.requests), |number| number.to_string());
                let command = Command {
                    token: Token(0),
                    request: RequestId(id),
                    plan: false,
                    link: "acme".into(),
                    kind: order.kind(),
                };
                self.input(Input::Command(Box::new(command)), effects);
            }
            Event::Deliver(envelope) => {
                let domain = identity(1 - self.index, 0).domain;
                let message = envelope.message.clone();
                self.input(Input::MessageReceived { domain, message }, effects);
            }
            Event::Tick => {
                self.now += UNIT;
                self.step(None, effects);
            }
            Event::TakeAccess => self.take_access(),
            Event::TakeAnswer => self.take_answer(effects),
            Event::TakeFlows => {
                if let Some(spec) = self.flows.take() {
                    let generation = spec.generation;
                    self.mover.apply_flows(spec);
                    self.input(
                        Input::FlowsApplied { link: LINK, generation, current: Some(generation) },
                        effects,
                    );
                }
            }
            Event::Look => {
                self.seen = Some(self.sight());
                self.seen_boot = self.mover.boot;
                self.input(Input::MoverSeen(Box::new(self.mover.view())), effects);
            }
            Event::Hear(told) => self.mover.hear(told),
            Event::Apply(batch) => self.mover.apply(batch),
            Event::MoverSilence => self.mover.lose_contact(),
            Event::PeerUp(system, incarnation) => {
                self.stream = Some(*incarnation);
                let hello = hello(1 - self.index, *system, *incarnation);
                let dialled = Some(hello.link_address.clone());
                self.input(Input::PeerUp { hello, dialled }, effects);
            }
            Event::PeerDown => {
                self.stream = None;
                let domain = identity(1 - self.index, 0).domain;
                self.input(Input::PeerDown { domain }, effects);
            }
            Event::CrashManager => self.crash_manager(effects),
            Event::CrashMover => self.mover.restart(),
            Event::Trust(incarnation) => self.trusts = *incarnation,
            Event::Write(deleted) => {
                return Some(self.mover.store.write(self.identity.system.into(), *deleted));
            }
            Event::Rebuild => {
                *self = Self::life(self.index, self.rebuilt + 1, self.now + UNIT, self.starts + 1);
            }
        }
        None
    }

    fn take_access(&mut self) {
        let Some(access) = self.wanted.take() else { return };
        let (epoch, mode, boot) = (access.epoch, access.mode, self.seen_boot);
        self.answer = Some(match self.mover.set_access(&access) {
            Ok(positions) => Answer::Set { epoch, mode, boot, positions },
            Err(_) => Answer::Failed,
        });
    }

    fn take_answer(&mut self, effects: &mut Effects) {
        let input = match self.answer.take() {
            Some(Answer::Set { epoch, mode, boot, positions }) => {
                Input::AccessSet { link: LINK, epoch, mode, boot, positions }
            }
            Some(Answer::Failed) => Input::AccessFailed { link: LINK, trouble: "refused".into() },
            None => return,
        };
        self.input(input, effects);
    }

    /// Time goes on while it is down, so that generations of flows go on growing.
    fn crash_manager(&mut self, effects: &mut Effects) {
        self.starts += 1;
        self.now += UNIT;
        let nonces = self.identity.incarnation.0 * 1_000_000 + self.starts * 1_000;
        self.machine =
            LinkMachine::recover(policy(), self.machine.state().clone(), nonces, Timestamp(self.now));
        (self.stream, self.seen) = (None, None);
        (self.wanted, self.answer, self.flows) = (None, None, None);
        self.input(Input::IdentityKnown(self.identity.clone()), effects);
    }

    fn input(&mut self, input: Input, effects: &mut Effects) {
        self.step(Some(input), effects);
    }

    /// The law: the changes are durable, then the outputs are released.
    fn step(&mut self, input: Option<Input>, effects: &mut Effects) {
        let mut durable = self.machine.state().clone();
        let mut outbox = Outbox::new();
        let now = Timestamp(self.now);
        match input {
            Some(input) => self.machine.step(now, input, &mut outbox),
            None => self.machine.tick(now, &mut outbox),
        }
        outbox.changes.iter().for_each(|change| durable.apply(change));
        if durable != *self.machine.state() || check(self.machine.state()).is_err() {
            effects.flaws |= Flaws::RECORD;
        }
        for output in outbox.outputs {
            self.perform(output, effects);
        }
    }

    fn perform(&mut self, output: Output, effects: &mut Effects) {
        match output {
            Output::Reply(..) => {}
            Output::Accepted(_) => effects.accepted = true,
            Output::Send(_, message) => {
                self.note_promise(&message);
                effects.sent.push(Arc::new(Envelope::new(1 - self.index, *message)));
            }
            Output::SetAccess(access) => self.wanted = Some(*access),
            Output::ApplyFlows(spec) => self.flows = Some(*spec),
            Output::ForgetLink { release, .. } => {
                (self.wanted, self.answer, self.flows) = (None, None, None);
                self.mover.forget(release);
            }
        }
    }

    /// What a message says about this side's writes.
    fn note_promise(&mut self, message: &Message) {
        let (epoch, given_up) = match message {
            Message::Fenced(header, _) | Message::GrantRequest(header, ..) => (header.epoch, false),
            Message::Heartbeat(_, beat) if beat.mode == Some(AccessMode::ReadOnly) => {
                (beat.shared.epoch, beat.shared.state == LinkState::Completing)
            }
            _ => return,
        };
        self.promised = self.promised.max(epoch);
        if given_up && self.index == WEST {
            self.given_up = self.given_up.max(Some(epoch));
        }
    }

    /// What must hold of this system alone.
    fn judge(&self, flaws: &mut Flaws) {
        let Some(epoch) = self.mover.writable_in() else { return };
        let taken = self.link().is_some_and(|link| link.shared.epoch >= epoch);
        let side = if self.index == EAST { Side::Primary } else { Side::Replica };
        if !taken || epoch.holder() != side {
            *flaws |= Flaws::MODES;
        }
        if epoch < self.promised || self.given_up.is_some_and(|given_up| epoch <= given_up) {
            *flaws |= Flaws::FENCE;
        }
    }
}
