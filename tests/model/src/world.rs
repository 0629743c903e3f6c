//! The whole: two systems, what is under way between them, what was acknowledged, and what may
//! still happen.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use switchback_link_core::{CommandKind, Create, Input, Settings};
use switchback_model::{Content, ContentId, Epoch, Side, Version};

use crate::bounds::Bounds;
use crate::memo::Memo;
use crate::mover::{LINK, content};
use crate::network::Network;
use crate::site::{EAST, Event, Order, Outcome, Site, WEST};
use crate::verdict::Flaws;

/// What is known to an onlooker, and to none of the systems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Every acknowledged version.
    pub acknowledged: BTreeSet<Version>,
    /// Those whose only holder was rebuilt.
    pub destroyed: BTreeSet<Version>,
    /// Who wrote in which epoch, of the lives that go on.
    pub writers: BTreeMap<Epoch, usize>,
    /// Epochs taken by a declaration of loss.
    pub taken_alone: BTreeSet<Epoch>,
    /// Epochs that the primary took when its restore of the link was accepted.
    pub restored: BTreeSet<Epoch>,
    /// Commands that were accepted, by system and its life, while one may still be repeated.
    pub accepted: Vec<(usize, u8, Order)>,
}

impl History {
    /// The epoch names the primary, which can have come to it by a grant only.
    #[must_use]
    pub fn is_granted(&self, epoch: Epoch) -> bool {
        let named = epoch.0 > 0 && epoch.holder() == Side::Primary;
        named && !self.taken_alone.contains(&epoch) && !self.restored.contains(&epoch)
    }

    /// What the replica wrote by itself before it heard of this epoch of the primary's comes later: the
    /// primary declared it lost, or restored it, and it went on alone in the epoch before.
    #[must_use]
    pub fn is_awaited(&self, epoch: Epoch) -> bool {
        let went_on = || epoch.0.checked_sub(1).is_some_and(|odd| self.writers.contains_key(&Epoch(odd)));
        self.taken_alone.contains(&epoch) || (self.restored.contains(&epoch) && went_on())
    }
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// See [`Bounds::commands`].
    pub commands: u8,
    pub(crate) writes: u8,
    pub(crate) deletes: u8,
    pub(crate) ticks: [u8; 2],
    pub(crate) crashes: u8,
    pub(crate) cuts: u8,
    pub(crate) rebuilds: [u8; 2],
    pub(crate) repeats: u8,
    /// See [`Bounds::in_order`]; the same throughout.
    pub(crate) in_order: bool,
    pub(crate) held: u8,
    pub(crate) delays: u8,
    pub(crate) early: Option<u8>,
}

impl Left {
    fn of(bounds: &Bounds) -> Self {
        Self {
            commands: bounds.commands,
            writes: bounds.writes,
            deletes: bounds.deletes,
            ticks: [bounds.ticks; 2],
            crashes: bounds.crashes,
            cuts: bounds.cuts,
            rebuilds: [bounds.rebuilds; 2],
            repeats: bounds.repeats,
            in_order: bounds.in_order,
            held: bounds.held,
            delays: bounds.delays,
            early: bounds.early,
        }
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// East and west.
    pub sites: [Arc<Site>; 2],
    /// Under way.
    pub network: Network,
    /// See [`History`].
    pub history: Arc<History>,
    /// See [`Left`].
    pub left: Left,
    /// What was seen broken on the way here.
    pub flaws: Flaws,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sites.iter().for_each(|site| state.write_u64(site.hash));
        state.write_u64(self.network.hash);
        (&self.history, self.left, self.flaws).hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let hashes = |world: &Self| (world.sites[EAST].hash, world.sites[WEST].hash, world.network.hash);
        hashes(self) == hashes(other)
            && self.history == other.history
            && self.left == other.left
            && self.flaws == other.flaws
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::tell::world(self))
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An operator's command on a system.
    Command(usize, Order),
    /// An accepted command, by its number, again.
    Repeat(usize),
    /// The message of this hash is delivered.
    Deliver(u64),
    /// The next message to a system is held.
    Hold(usize),
    /// Time passes at a system.
    Tick(usize),
    /// Its mover takes the access mode that waits.
    TakeAccess(usize),
    /// The answer arrives.
    TakeAnswer(usize),
    /// Its mover takes the flows that wait.
    TakeFlows(usize),
    /// Its link manager is shown the mover.
    Look(usize),
    /// Its mover hears the other's.
    Hear(usize),
    /// Its mover applies what the other's has.
    Apply(usize),
    /// Its mover has heard nothing for a while.
    MoverSilence(usize),
    /// Its stream to the other link manager is up.
    PeerUp(usize),
    /// It is gone.
    PeerDown(usize),
    /// Its link manager is killed and started.
    CrashManager(usize),
    /// Its mover is killed and started.
    CrashMover(usize),
    /// The operator exchanges certificates.
    Exchange,
    /// A client writes there, or deletes.
    Write(usize, bool),
    /// It comes back empty.
    Rebuild(usize),
}

impl Action {
    /// Somebody or something outside the systems and the network between them decides when.
    fn is_from_outside(self) -> bool {
        match self {
            Self::Command(..)
            | Self::Repeat(_)
            | Self::Tick(_)
            | Self::MoverSilence(_)
            | Self::PeerDown(_)
            | Self::CrashManager(_)
            | Self::CrashMover(_)
            | Self::Exchange
            | Self::Write(..)
            | Self::Rebuild(_) => true,
            Self::Deliver(_)
            | Self::Hold(_)
            | Self::TakeAccess(_)
            | Self::TakeAnswer(_)
            | Self::TakeFlows(_)
            | Self::Look(_)
            | Self::Hear(_)
            | Self::Apply(_)
            | Self::PeerUp(_) => false,
        }
    }
}

impl World {
    /// Two systems with a link that replicates and has been in sync, and nothing under way but the
    /// last heartbeats.
    #[must_use]
    pub fn linked(bounds: &Bounds) -> Self {
        let mut world = Self::with_sites([Arc::new(Site::new(EAST)), Arc::new(Site::new(WEST))]);
        world.left = Left::of(bounds);
        crate::operator::link(&mut world);
        world
    }

    /// Does `action`, if it can be done. Remembers what it breaks.
    #[must_use]
    pub fn after(&self, action: Action, memo: &Memo) -> Option<Self> {
        if !self.can(action) {
            return None;
        }
        let mut next = self.clone();
        if self.left.in_order && self.is_out_of_turn(action, memo) {
            next.left.delays = self.left.delays.checked_sub(1)?;
        }
        let (at, event) = match action {
            Action::Hold(to) => {
                next.network = self.network.held(to);
                next.left.held -= 1;
                return Some(next);
            }
            Action::Command(at, order) => (at, Event::Command(order, self.next_request())),
            Action::Repeat(number) => {
                let (at, _, order) = *self.history.accepted.get(number)?;
                (at, Event::Command(order, Some(number)))
            }
            Action::Deliver(hash) => {
                let envelope = self.network.find(hash)?;
                (envelope.to, Event::Deliver(Arc::clone(envelope)))
            }
            Action::Exchange => {
                for at in [EAST, WEST] {
                    let event = Event::Trust(self.sites[1 - at].identity.incarnation);
                    next.sites[at] = Arc::clone(&memo.after(&self.sites[at], &event).site);
                }
                return Some(next);
            }
            Action::Tick(at) => (at, Event::Tick),
            Action::TakeAccess(at) => (at, Event::TakeAccess),
            Action::TakeAnswer(at) => (at, Event::TakeAnswer),
            Action::TakeFlows(at) => (at, Event::TakeFlows),
            Action::Look(at) => (at, Event::Look),
            Action::Hear(at) => (at, Event::Hear(self.sites[1 - at].mover.told())),
            Action::Apply(at) => {
                (at, Event::Apply(self.sites[1 - at].mover.batch_for(&self.sites[at].mover)))
            }
            Action::MoverSilence(at) => (at, Event::MoverSilence),
            Action::PeerUp(at) => {
                let other = &self.sites[1 - at].identity;
                (at, Event::PeerUp(other.system, other.incarnation))
            }
            Action::PeerDown(at) => (at, Event::PeerDown),
            Action::CrashManager(at) => (at, Event::CrashManager),
            Action::CrashMover(at) => (at, Event::CrashMover),
            Action::Write(at, deleted) => (at, Event::Write(deleted)),
            Action::Rebuild(at) => (at, Event::Rebuild),
        };
        let outcome = memo.after(&self.sites[at], &event);
        next.sites[at] = Arc::clone(&outcome.site);
        next.network = self.network_after(action, at, &outcome);
        next.flaws |= outcome.flaws;
        next.spend(action, outcome.accepted);
        next.note(self, action, outcome.wrote, outcome.accepted);
        next.flaws |= crate::check::transition(self, action, &next, memo);
        if next == *self {
            return None;
        }
        if let Some(early) = self.left.early.filter(|_| action.is_from_outside() && self.is_busy(memo)) {
            next.left.early = Some(early.checked_sub(1)?);
        }
        Some(next)
    }

    fn network_after(&self, action: Action, at: usize, outcome: &Outcome) -> Network {
        if !self.left.in_order {
            return self.network.with(&outcome.sent);
        }
        let network = match action {
            Action::Deliver(hash) if self.is_next(at, hash) => self.network.taken(at),
            _ if outcome.site.stream != self.sites[at].stream => self.network.dropped(at),
            _ => self.network.clone(),
        };
        network.queued(&outcome.sent)
    }

    fn is_next(&self, at: usize, hash: u64) -> bool {
        self.network.next(at).is_some_and(|envelope| envelope.hash == hash)
    }

    /// The steps that nobody outside decides on, in the order in which they come when nothing is late.
    fn due(&self) -> impl Iterator<Item = Action> {
        let next = [EAST, WEST].map(|at| self.network.next(at).map(|one| Action::Deliver(one.hash)));
        let steps = [Action::Hear, Action::Apply, Action::PeerUp].map(|step| [step(EAST), step(WEST)]);
        next.into_iter().flatten().chain(steps.into_iter().flatten()).filter(|action| self.can(*action))
    }

    /// The action is due, and so is another before it.
    fn is_out_of_turn(&self, action: Action, memo: &Memo) -> bool {
        self.due().any(|due| due == action)
            && self.due().take_while(|due| *due != action).any(|due| self.changes(due, memo))
    }

    /// Something of what was said before is still to be taken in.
    fn is_busy(&self, memo: &Memo) -> bool {
        self.due().any(|due| self.changes(due, memo))
    }

    /// Something comes of a step that is due.
    fn changes(&self, due: Action, memo: &Memo) -> bool {
        let (at, event) = match due {
            Action::Deliver(_) => return true,
            Action::Hear(at) => (at, Event::Hear(self.sites[1 - at].mover.told())),
            Action::Apply(at) => {
                (at, Event::Apply(self.sites[1 - at].mover.batch_for(&self.sites[at].mover)))
            }
            Action::PeerUp(at) => {
                let other = &self.sites[1 - at].identity;
                (at, Event::PeerUp(other.system, other.incarnation))
            }
            _ => return false,
        };
        let outcome = memo.after(&self.sites[at], &event);
        outcome.site.hash != self.sites[at].hash || !outcome.sent.is_empty()
    }

    /// The number of the next command, if it may be repeated.
    #[must_use]
    pub fn next_request(&self) -> Option<usize> {
        (self.left.repeats > 0).then_some(self.history.accepted.len())
    }

    fn spend(&mut self, action: Action, accepted: bool) {
        let left = &mut self.left;
        match action {
            Action::Command(..) if accepted => left.commands -= 1,
            Action::Repeat(_) => left.repeats -= 1,
            Action::Write(_, false) => left.writes -= 1,
            Action::Write(_, true) => left.deletes -= 1,
            Action::Tick(at) => left.ticks[at] -= 1,
            Action::CrashManager(_) | Action::CrashMover(_) => left.crashes -= 1,
            Action::PeerDown(_) | Action::MoverSilence(_) => left.cuts -= 1,
            Action::Rebuild(at) => left.rebuilds[at] -= 1,
            _ => {}
        }
    }

    fn note(&mut self, before: &Self, action: Action, wrote: Option<Version>, accepted: bool) {
        let history = match action {
            Action::Write(..) | Action::Rebuild(_) => Arc::make_mut(&mut self.history),
            Action::Command(..) if accepted => Arc::make_mut(&mut self.history),
            Action::Deliver(_) if self.was_restored_since(before) => Arc::make_mut(&mut self.history),
            _ => return,
        };
        match action {
            Action::Deliver(_) => {
                let records = (before.sites[EAST].link(), self.sites[EAST].link());
                let (Some(before), Some(after)) = records else { return };
                history.restored.insert(after.shared.epoch);
                if history.is_awaited(before.shared.epoch) {
                    history.taken_alone.insert(after.shared.epoch);
                }
            }
            Action::Command(at, order) => {
                if before.left.repeats > 0 {
                    history.accepted.push((at, before.sites[at].rebuilt, order));
                }
                if let (Order::DeclareLost, Some(link)) = (order, self.sites[at].link()) {
                    history.taken_alone.insert(link.shared.epoch);
                }
            }
            Action::Write(at, _) => {
                history.acknowledged.extend(wrote);
                if let Some(epoch) = before.sites[at].mover.writable_in()
                    && *history.writers.entry(epoch).or_insert(at) != at
                {
                    self.flaws |= Flaws::WRITERS;
                }
            }
            Action::Rebuild(at) => {
                // What it wrote in its former life is judged no more: an epoch is compared only
                // between agreed incarnations.
                history.writers.retain(|_, writer| *writer != at);
                let survivor = &before.sites[1 - at].mover.store;
                let lost = history.acknowledged.iter().filter(|version| !survivor.covers(**version));
                let lost: Vec<_> = lost.copied().collect();
                history.destroyed.extend(lost);
            }
            _ => {}
        }
    }

    /// The primary's restore of the link was accepted in the step from `before`.
    fn was_restored_since(&self, before: &Self) -> bool {
        let proposing = |world: &Self| world.sites[EAST].link().and_then(|link| link.proposing.clone());
        let epoch = |world: &Self| world.sites[EAST].link().map(|link| link.shared.epoch);
        proposing(before).is_some_and(|proposing| proposing.restore)
            && proposing(self).is_none()
            && epoch(self) > epoch(before)
    }

    /// The environment permits it now.
    #[must_use]
    pub fn can(&self, action: Action) -> bool {
        let left = &self.left;
        match action {
            Action::Command(..) => left.commands > 0,
            Action::Repeat(number) => {
                let known = self.history.accepted.get(number);
                left.repeats > 0 && known.is_some_and(|(at, life, _)| self.sites[*at].rebuilt == *life)
            }
            Action::Deliver(hash) => {
                self.network.find(hash).is_some_and(|envelope| self.sites[envelope.to].stream.is_some())
            }
            Action::Hold(to) => left.held > 0 && self.network.next(to).is_some(),
            Action::Tick(at) => left.ticks[at] > 0 && self.sites[at].has_deadline(),
            Action::TakeAccess(at) => self.waits(at, |event| matches!(event, Event::TakeAccess)),
            Action::TakeAnswer(at) => self.waits(at, |event| matches!(event, Event::TakeAnswer)),
            Action::TakeFlows(at) => self.waits(at, |event| matches!(event, Event::TakeFlows)),
            Action::Look(at) => self.waits(at, |event| matches!(event, Event::Look)),
            Action::Hear(at) => self.movers_talk(at),
            Action::Apply(at) => self.data_moves(at),
            Action::MoverSilence(at) => left.cuts > 0 && self.sites[at].mover.in_contact(),
            Action::PeerUp(at) => {
                let other = self.sites[1 - at].identity.incarnation;
                self.is_trusted() && self.sites[at].stream != Some(other)
            }
            Action::PeerDown(at) => left.cuts > 0 && self.sites[at].stream.is_some(),
            Action::CrashManager(_) | Action::CrashMover(_) => left.crashes > 0,
            Action::Exchange => !self.is_trusted(),
            Action::Write(at, deleted) => {
                let some = if deleted { left.deletes } else { left.writes };
                some > 0 && self.sites[at].mover.writable_in().is_some()
            }
            Action::Rebuild(at) => left.rebuilds[at] > 0,
        }
    }

    /// Two systems by themselves, with nothing left that may happen to them.
    #[must_use]
    pub fn with_sites(sites: [Arc<Site>; 2]) -> Self {
        let none = Bounds { commands: 0, writes: 0, ticks: 0, ..Bounds::default() };
        Self {
            sites,
            network: Network::default(),
            history: Arc::default(),
            left: Left::of(&none),
            flaws: Flaws::default(),
        }
    }

    fn waits(&self, at: usize, what: impl Fn(&Event) -> bool) -> bool {
        self.sites[at].pending().iter().any(what)
    }

    /// Each system holds the present certificate of the other.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        [EAST, WEST].iter().all(|at| self.sites[*at].trusts == self.sites[1 - at].identity.incarnation)
    }

    /// The mover of `at` can be told something by the other: certificates and headers name the
    /// incarnations that each side agreed on.
    #[must_use]
    pub fn movers_talk(&self, at: usize) -> bool {
        let (own, other) = (&self.sites[at], &self.sites[1 - at]);
        let (Some(ours), Some(theirs)) = (&own.mover.flows, &other.mover.flows) else { return false };
        self.is_trusted()
            && (ours.peer_system, ours.peer_incarnation)
                == (other.identity.system, other.identity.incarnation)
            && (theirs.peer_system, theirs.peer_incarnation)
                == (own.identity.system, own.identity.incarnation)
            && theirs.local_incarnation == ours.peer_incarnation
            && ours.local_incarnation == theirs.peer_incarnation
    }

    /// The mover of `at` takes what the other's has.
    #[must_use]
    pub fn data_moves(&self, at: usize) -> bool {
        let (own, other) = (&self.sites[at].mover, &self.sites[1 - at].mover);
        self.movers_talk(at) && own.receives() && other.sends() && other.access.is_some()
    }

    /// Everything that the environment may do now, in an order that the state alone decides.
    pub fn actions(&self, bounds: &Bounds, actions: &mut Vec<Action>) {
        let mut offer = |action| {
            if self.can(action) {
                actions.push(action);
            }
        };
        for envelope in self.network.iter() {
            offer(Action::Deliver(envelope.hash));
        }
        for at in [EAST, WEST] {
            if let Some(next) = self.network.next(at) {
                offer(Action::Deliver(next.hash));
                offer(Action::Hold(at));
            }
            for order in orders(bounds) {
                offer(Action::Command(at, *order));
            }
            if bounds.slow {
                offer(Action::TakeAccess(at));
                offer(Action::TakeAnswer(at));
                offer(Action::TakeFlows(at));
                offer(Action::Look(at));
            }
            offer(Action::Hear(at));
            offer(Action::Apply(at));
            offer(Action::Write(at, false));
            offer(Action::Write(at, true));
            offer(Action::Tick(at));
            offer(Action::PeerUp(at));
            offer(Action::PeerDown(at));
            offer(Action::MoverSilence(at));
            offer(Action::CrashManager(at));
            offer(Action::CrashMover(at));
            offer(Action::Rebuild(at));
        }
        offer(Action::Exchange);
        for number in 0..self.history.accepted.len() {
            offer(Action::Repeat(number));
        }
    }
}

fn orders(bounds: &Bounds) -> &'static [Order] {
    const ALL: [Order; 12] = [
        Order::FailOver,
        Order::Begin,
        Order::Complete,
        Order::Restore,
        Order::DeclareLost,
        Order::FailOverAnyhow,
        Order::Suspend,
        Order::Resume,
        Order::FailOverNow,
        Order::Pause,
        Order::Unpause,
        Order::Delete,
    ];
    match (bounds.few_commands, bounds.all_commands) {
        (true, _) => &ALL[..5],
        (false, false) => &ALL[..8],
        (false, true) => &ALL,
    }
}

/// The command that makes the link.
pub(crate) fn create() -> Input {
    let create = Create {
        id: LINK,
        name: "acme".into(),
        peer_address: "west:5748".into(),
        contents: vec![Content { id: ContentId::default(), ..content() }],
        settings: Settings::default(),
        zone_floor: 0,
    };
    let command = switchback_link_core::Command {
        token: switchback_link_core::Token(0),
        request: switchback_model::RequestId("create".into()),
        plan: false,
        link: "acme".into(),
        kind: CommandKind::Create(Box::new(create)),
    };
    Input::Command(Box::new(command))
}
