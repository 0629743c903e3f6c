//! The machine: what happens, to whom it goes, and what is settled after each step.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use switchback_machine::{Machine, Outbox, Timestamp};
use switchback_model::{AccessMode, Content, ContentId, Epoch, Incarnation, LinkId, RequestId};

use crate::access::Access;
use crate::flow::FlowSpec;
use crate::input::{
    Command, Create, FlowView, Hello, Input, LinkFlowsView, MoverView, Overdue, Position, Token,
};
use crate::output::{Done, Output};
use crate::policy::REQUESTS_MAX;
use crate::state::{Event, Goal, Identity, Link, LinkState, Meta, RequestRecord, Severity, State};
use crate::zone;
use crate::{Change, Error, Message, Policy, access, damage, flow};

/// The outbox of the link machine.
pub(crate) type Out = Outbox<LinkMachine>;

/// Where a failover stands between its intent and its opening. Not durable: after a crash the
/// fence is simply sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Fencing { until: Timestamp },
    Draining { until: Timestamp, heads: Vec<Position> },
}

/// What the peer said last about a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerView {
    pub(crate) epoch: Epoch,
    pub(crate) revision: u64,
    pub(crate) state: LinkState,
    pub(crate) mode: Option<AccessMode>,
    pub(crate) in_sync: bool,
    pub(crate) trouble: String,
}

/// What is seen of a link in this run; nothing of it is durable.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Observed {
    /// A message between the agreed incarnations was heard lately.
    pub(crate) contact: bool,
    pub(crate) contact_since: Timestamp,
    pub(crate) last_heard: Timestamp,
    pub(crate) peer: Option<PeerView>,
    /// The peer has no record of the link, or is not the one it was made with.
    pub(crate) broken: Option<String>,
    /// Read-only until then, unless the peer is heard.
    pub(crate) hold_until: Option<Timestamp>,
    /// This side's own store or incarnation is not the one that the link knows.
    pub(crate) silent: bool,
    pub(crate) asked: Option<Access>,
    pub(crate) confirmed: Option<(Access, Vec<Position>)>,
    pub(crate) access_retry: Option<Timestamp>,
    pub(crate) access_trouble: String,
    /// Contents that the peer wants on the link and that are others here.
    pub(crate) colliding: Vec<Content>,
    pub(crate) flows: Option<FlowSpec>,
    pub(crate) generation: u64,
    pub(crate) flows_retry: Option<Timestamp>,
    pub(crate) phase: Option<Phase>,
    pub(crate) no_drain: bool,
    /// The peer waits to hear that we are fenced at this epoch.
    pub(crate) fence_to_answer: Option<Epoch>,
    pub(crate) grant: Option<(u64, Timestamp)>,
    pub(crate) proposal_until: Option<Timestamp>,
    pub(crate) next_heartbeat: Timestamp,
}

impl Observed {
    /// The mover holds this mode durably in this epoch. Read-only as of a later epoch is read-only
    /// as of this one too.
    pub(crate) fn is_confirmed(&self, mode: AccessMode, epoch: Epoch) -> bool {
        self.barrier(epoch).is_some_and(|(access, _)| access.mode == mode)
    }

    /// The access that is in force at `epoch`, with the heads of the feeds at its barrier.
    pub(crate) fn barrier(&self, epoch: Epoch) -> Option<&(Access, Vec<Position>)> {
        self.confirmed.as_ref().filter(|(access, _)| {
            access.epoch == epoch || (access.mode == AccessMode::ReadOnly && access.epoch > epoch)
        })
    }

    pub(crate) fn peer_is_fenced(&self, epoch: Epoch) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.epoch == epoch && peer.mode == Some(AccessMode::ReadOnly))
    }

    pub(crate) fn peer_writes(&self, epoch: Epoch) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.epoch == epoch && peer.mode == Some(AccessMode::ReadWrite))
    }
}

/// A new link that waits for its peer to be reached.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Creating {
    pub(crate) token: Token,
    pub(crate) request: RequestId,
    pub(crate) create: Create,
    pub(crate) until: Timestamp,
    pub(crate) plan: bool,
}

/// Somebody who waits for a goal.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Waiting {
    pub(crate) token: Token,
    pub(crate) goal: Goal,
    pub(crate) done: Done,
}

/// The link protocol's state machine for all links of one system. It can be cloned and hashed so
/// that a model checker can explore it.
#[derive(Clone, Hash)]
pub struct LinkMachine {
    pub(crate) policy: Policy,
    pub(crate) state: State,
    pub(crate) own: Option<Identity>,
    pub(crate) observed: BTreeMap<LinkId, Observed>,
    pub(crate) peers: BTreeMap<String, (Hello, Option<String>)>,
    pub(crate) dial_troubles: BTreeMap<String, String>,
    pub(crate) mover: Option<Box<MoverView>>,
    pub(crate) creating: Vec<Creating>,
    pub(crate) waiting: Vec<Waiting>,
    /// Name servers that somebody was told to look at.
    pub(crate) overdue: BTreeMap<String, Overdue>,
    /// What the system log says of damage.
    pub(crate) damage: damage::Told,
    nonces: u64,
}

impl LinkMachine {
    /// A machine that continues from `state` at the time `now`. `boot` is random per start, and
    /// makes nonces of this run differ from those of any other.
    #[must_use]
    pub fn recover(policy: Policy, state: State, boot: u64, now: Timestamp) -> Self {
        let hold = now + policy.contact_wait;
        let observed = state
            .links
            .keys()
            .map(|id| (*id, Observed { hold_until: Some(hold), contact_since: now, ..Observed::default() }))
            .collect();
        Self {
            policy,
            state,
            own: None,
            observed,
            peers: BTreeMap::new(),
            dial_troubles: BTreeMap::new(),
            mover: None,
            creating: Vec::new(),
            waiting: Vec::new(),
            overdue: BTreeMap::new(),
            damage: damage::Told::default(),
            nonces: boot,
        }
    }

    /// What is durable.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Who we are, once known.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.own.as_ref()
    }

    /// Addresses at which peers are to be reached: of links, and of links being created.
    #[must_use]
    pub fn dials(&self) -> BTreeSet<String> {
        let links = self.state.links.values().map(|link| link.peer_address.clone());
        let new = self.creating.iter().map(|creating| creating.create.peer_address.clone());
        links.chain(new).filter(|address| !address.is_empty()).collect()
    }

    /// This life of the system: its incarnation, unless it is known to be over.
    #[must_use]
    pub fn life(&self) -> Option<Incarnation> {
        let is_over = self.observed.values().any(|observed| observed.silent);
        self.own.as_ref().filter(|_| !is_over).map(|own| own.incarnation)
    }

    pub(crate) fn nonce(&mut self) -> u64 {
        self.nonces = self.nonces.wrapping_add(1).max(1);
        self.nonces
    }

    pub(crate) fn commit(&mut self, change: Change, out: &mut Out) {
        self.state.apply(&change);
        out.changes.push(change);
    }

    /// Makes `link` durable as it now is, and has the peer told at once.
    pub(crate) fn put(&mut self, link: Link, out: &mut Out) {
        let id = link.id;
        self.commit(Change::PutLink(Box::new(link)), out);
        self.observed.entry(id).or_default().next_heartbeat = Timestamp::default();
    }

    pub(crate) fn event(
        &mut self,
        now: Timestamp,
        severity: Severity,
        id: &str,
        link: &str,
        text: String,
        out: &mut Out,
    ) {
        let sequence = self.state.last_event + 1;
        let event = Event { sequence, at: now, id: id.into(), severity, text, link: link.into() };
        self.commit(Change::PutEvent(event), out);
    }

    /// Remembers that a command was accepted, and answers it once its goal is reached.
    pub(crate) fn accept(&mut self, command: &Command, goal: Goal, done: Done, out: &mut Out) {
        self.remember(&command.request, done.link, goal, out);
        self.waiting.push(Waiting { token: command.token, goal, done });
    }

    pub(crate) fn remember(&mut self, request: &RequestId, link: LinkId, goal: Goal, out: &mut Out) {
        let sequence = self.state.requests.values().map(|record| record.sequence).max().unwrap_or(0) + 1;
        if self.state.requests.len() >= REQUESTS_MAX {
            let oldest = self.state.requests.iter().min_by_key(|(_, record)| record.sequence);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.commit(Change::RemoveRequest(oldest), out);
            }
        }
        self.commit(Change::PutRequest(request.clone(), RequestRecord { sequence, link, goal }), out);
        out.send(Output::Accepted(request.clone()));
    }

    pub(crate) fn send(&self, domain: &str, message: Message, out: &mut Out) {
        if self.peers.contains_key(domain) {
            out.send(Output::Send(domain.into(), Box::new(message)));
        }
    }

    pub(crate) fn flows_of(&self, link: LinkId) -> Option<&LinkFlowsView> {
        self.mover.as_ref()?.links.iter().find(|flows| flows.link == link)
    }

    pub(crate) fn flow_of(&self, link: LinkId, content: ContentId) -> Option<&FlowView> {
        self.flows_of(link)?.flows.iter().find(|flow| flow.content == content)
    }

    /// Both sides hold the same, as our mover has proven it, in every content that is not paused.
    pub(crate) fn in_sync(&self, link: &Link) -> bool {
        let flowing = link.shared.contents.iter().filter(|content| !link.shared.paused.contains(&content.id));
        let mut flowing = flowing.peekable();
        flowing.peek().is_some()
            && flowing.all(|content| self.flow_of(link.id, content.id).is_some_and(|flow| flow.in_sync))
    }

    fn identity_known(&mut self, now: Timestamp, own: Identity, out: &mut Out) {
        self.own = Some(own);
        self.judge_store(now, out);
    }

    /// A store that is not the one known to this incarnation was lost or replaced, and one that is
    /// behind what the peer has of it was restored from a backup: this side is silent and read-only
    /// until it has a new incarnation and its links are restored.
    fn judge_store(&mut self, now: Timestamp, out: &mut Out) {
        let (Some(own), Some(mover)) = (&self.own, &self.mover) else { return };
        let seen = Meta { store_id: mover.store, incarnation: own.incarnation };
        let lost = match self.state.meta {
            None => {
                self.commit(Change::PutMeta(seen), out);
                false
            }
            Some(meta) if meta.incarnation != seen.incarnation => {
                self.commit(Change::PutMeta(seen), out);
                false
            }
            Some(meta) if meta.store_id == seen.store_id && self.is_rolled_back(own.incarnation) => {
                // For good: who is silent is not told again.
                self.commit(Change::PutMeta(Meta { store_id: 0, ..meta }), out);
                true
            }
            Some(meta) => meta.store_id != seen.store_id,
        };
        let incarnation = seen.incarnation;
        let mut newly = Vec::new();
        for (id, link) in &self.state.links {
            let silent = lost || link.local_incarnation != incarnation;
            let observed = self.observed.entry(*id).or_default();
            if silent && !observed.silent {
                newly.push(link.shared.name.clone());
            }
            observed.silent = silent;
        }
        for name in newly {
            let text = format!(
                "link {name}: this system's store was lost, replaced or rolled back; its content is read-only here"
            );
            self.event(now, Severity::Error, "store-lost", &name, text, out);
        }
    }

    /// Our store has gone back, as our mover learned from the peer's, or a link's record has: in the
    /// life `incarnation` of them.
    fn is_rolled_back(&self, incarnation: Incarnation) -> bool {
        let links = self.mover.iter().flat_map(|mover| &mover.links);
        let mut behind = links.filter(|flows| flows.flows.iter().any(|flow| flow.local_rolled_back));
        let is_store = behind.any(|flows| {
            let asked = self.observed.get(&flows.link).and_then(|observed| observed.flows.as_ref());
            asked.is_some_and(|asked| {
                asked.generation == flows.generation && asked.local_incarnation == incarnation
            })
        });
        let mut ours = self.state.links.values().filter(|link| link.local_incarnation == incarnation);
        is_store || ours.any(Link::is_rolled_back)
    }

    fn mover_seen(&mut self, now: Timestamp, view: Box<MoverView>, out: &mut Out) {
        let restarted = self.mover.as_ref().is_none_or(|mover| mover.boot != view.boot);
        let before = self.mover.replace(view).map(|before| before.damage);
        if restarted {
            for observed in self.observed.values_mut() {
                observed.asked = None;
                observed.confirmed = None;
                observed.access_retry = None;
                observed.flows = None;
            }
        }
        self.judge_store(now, out);
        self.damage_seen(now, before, out);
        self.forget_strangers(out);
        let heard: Vec<(LinkId, Epoch)> = self
            .mover
            .iter()
            .flat_map(|mover| &mover.contents)
            .filter_map(|view| view.link.map(|link| (link, view.epoch)))
            .collect();
        // The access record may be ahead of the link's: our mover heard it from the peer's.
        for (link, epoch) in heard {
            if self.state.links.get(&link).is_some_and(|record| record.shared.epoch < epoch) {
                self.hear(now, link, epoch, None, out);
            }
        }
    }

    fn peer_up(&mut self, now: Timestamp, hello: Hello, dialled: Option<String>, out: &mut Out) {
        let domain = hello.domain.clone();
        if let Some(address) = &dialled {
            self.dial_troubles.remove(address);
        }
        let known = self.peers.get(&domain).and_then(|(_, address)| address.clone());
        self.peers.insert(domain.clone(), (hello.clone(), dialled.or(known)));
        let links: Vec<Link> =
            self.state.links.values().filter(|link| link.peer.domain == domain).cloned().collect();
        for mut link in links {
            let agreed = link.peer.incarnation == hello.incarnation && link.peer.system == hello.system;
            let id = link.id;
            let observed = self.observed.entry(id).or_default();
            observed.grant = None;
            observed.next_heartbeat = Timestamp::default();
            observed.broken = (!agreed).then(|| {
                format!(
                    "{} was rebuilt: it is not the system that link {} was made with",
                    hello.name, link.shared.name
                )
            });
            if agreed {
                let told = link.peer.clone();
                link.peer.name = hello.name.clone();
                link.peer.replication_address = replication_address(&link.peer_address, &hello);
                link.peer.gateway = hello.gateway.clone();
                link.peer.name_server_addresses = hello.name_server_addresses.clone();
                if let Some(keys) = &hello.dnskeys {
                    link.peer.dnskeys.clone_from(keys);
                }
                if link.peer != told {
                    self.put(link.clone(), out);
                }
            }
            if link.proposing.is_some() {
                self.propose(&link, out);
            }
        }
        self.create_with(now, &hello, out);
    }

    fn peer_down(&mut self, now: Timestamp, domain: &str) {
        self.peers.remove(domain);
        for (id, observed) in &mut self.observed {
            if self.state.links.get(id).is_some_and(|link| link.peer.domain == domain) {
                lose_contact(observed, now);
            }
        }
    }

    fn message(&mut self, now: Timestamp, domain: &str, message: Message, out: &mut Out) {
        match message {
            Message::Proposal(header, proposal) => self.on_proposal(now, domain, header, *proposal, out),
            Message::ProposalAnswer { nonce, link, refusal } => {
                self.on_answer(now, domain, nonce, link, &refusal, out)
            }
            Message::UnknownLink(link) => self.on_unknown(now, domain, link, out),
            Message::OtherLife(link) => self.on_other_life(now, domain, link, out),
            Message::Heartbeat(header, heartbeat) => {
                if self.heard(now, domain, &header, out) {
                    self.on_heartbeat(now, header.link, *heartbeat, out);
                }
            }
            Message::Fence(header) => {
                if self.heard(now, domain, &header, out) {
                    self.on_fence(&header, out);
                }
            }
            Message::Fenced(header, heads) => {
                if self.heard(now, domain, &header, out) {
                    self.on_fenced(now, &header, heads, out);
                }
            }
            Message::GrantRequest(header, nonce, sealed) => {
                if self.heard(now, domain, &header, out) {
                    self.on_grant_request(now, &header, nonce, &sealed, out);
                }
            }
            Message::Grant(header, nonce, granted) => {
                if self.heard(now, domain, &header, out) {
                    self.on_grant(now, &header, nonce, granted, out);
                }
            }
            Message::Farewell(header) => {
                if self.heard(now, domain, &header, out) {
                    self.on_farewell(now, header.link, out);
                }
            }
        }
    }

    fn access_set(
        &mut self,
        now: Timestamp,
        link: LinkId,
        epoch: Epoch,
        mode: AccessMode,
        boot: u64,
        positions: Vec<Position>,
        out: &mut Out,
    ) {
        if self.mover.as_ref().is_none_or(|mover| mover.boot != boot) {
            return;
        }
        let Some(observed) = self.observed.get_mut(&link) else { return };
        let Some(asked) = observed.asked.clone().filter(|asked| asked.epoch == epoch && asked.mode == mode)
        else {
            return;
        };
        observed.confirmed = Some((asked, positions));
        observed.access_trouble.clear();
        observed.next_heartbeat = Timestamp::default();
        self.after_access(now, link, out);
    }

    /// What waits for an access mode to be durable.
    fn after_access(&mut self, now: Timestamp, id: LinkId, out: &mut Out) {
        let Some(link) = self.state.links.get(&id).cloned() else { return };
        let Some(observed) = self.observed.get_mut(&id) else { return };
        let Some((access, heads)) = observed.confirmed.clone() else { return };
        if let Some(fence) = observed
            .fence_to_answer
            .filter(|fence| access.epoch >= *fence && access.mode == AccessMode::ReadOnly)
        {
            observed.fence_to_answer = None;
            let header = link.header(fence);
            self.send(&link.peer.domain, Message::Fenced(header, heads), out);
        }
        if access.mode == AccessMode::ReadWrite && access.epoch == link.shared.epoch && link.announce {
            self.announce(now, link, out);
        }
    }

    fn may_ask_mover(&self) -> bool {
        self.own.is_some() && self.mover.is_some()
    }

    /// Offers what is desired to the mover, wherever it differs from what was asked last.
    fn reconcile(&mut self, now: Timestamp, out: &mut Out) {
        if !self.may_ask_mover() {
            return;
        }
        let Some(own) = self.own.clone() else { return };
        let ids: Vec<LinkId> = self.state.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.state.links.get(&id) else { continue };
            if !link.is_established() {
                continue;
            }
            let observed = self.observed.entry(id).or_default();
            let wanted = access::desired(link, observed, &own);
            let due = observed.access_retry.is_some_and(|at| at <= now);
            if observed.asked.as_ref() != Some(&wanted) || due {
                // A mode asked for earlier is not what we want any more: it is not confirmed.
                let narrower = observed
                    .confirmed
                    .as_ref()
                    .is_some_and(|(access, _)| access.mode == wanted.mode && access.epoch == wanted.epoch);
                if !narrower {
                    observed.confirmed = None;
                }
                observed.asked = Some(wanted.clone());
                observed.access_retry = None;
                out.send(Output::SetAccess(Box::new(wanted)));
            }
            let mut spec = flow::desired(link, observed, &own);
            let due = observed.flows_retry.is_some_and(|at| at <= now);
            let same = observed.flows.as_ref().is_some_and(|flows| {
                spec.generation = flows.generation;
                *flows == spec
            });
            if !same || due {
                observed.generation = observed.generation.max(now.0) + 1;
                spec.generation = observed.generation;
                observed.flows = Some(spec.clone());
                observed.flows_retry = None;
                out.send(Output::ApplyFlows(Box::new(spec)));
            }
            if let Some(record) = zone::decide(link, observed, &own) {
                let mut link = link.clone();
                let moved = link.zone.as_ref().is_some_and(|zone| zone.target != record.target);
                let (name, target) = (link.shared.name.clone(), record.target);
                link.zone = Some(record);
                self.put(link, out);
                if moved {
                    let text = format!("link {name}: the names of its tenants now lead to the {target}");
                    self.event(now, Severity::Notice, "dns-moved", &name, text, out);
                }
            }
        }
    }

    /// Answers who waits for what has come true.
    fn settle(&mut self, out: &mut Out) {
        let waiting = core::mem::take(&mut self.waiting);
        for one in waiting {
            match self.is_reached(one.done.link, one.goal) {
                Some(true) => out.send(Output::Reply(one.token, Ok(Box::new(one.done)))),
                Some(false) => self.waiting.push(one),
                None => {
                    let reason = "the link was removed, or went on to a later epoch, before the command ended; look at `switchback link show`".to_string();
                    out.send(Output::Reply(one.token, Err(Error::NotNow { reason })));
                }
            }
        }
    }

    /// `None` when it cannot come true any more.
    fn is_reached(&self, id: LinkId, goal: Goal) -> Option<bool> {
        if goal == Goal::Recorded {
            return Some(true);
        }
        let link = self.state.links.get(&id)?;
        match goal {
            Goal::Recorded => Some(true),
            Goal::Established => Some(link.proposing.is_none()),
            Goal::Reached(epoch) if link.shared.epoch > epoch => None,
            Goal::Reached(epoch) => {
                let observed = self.observed.get(&id)?;
                let own = self.own.as_ref()?;
                let wanted = access::desired(link, observed, own).mode;
                let settled = link.shared.state != LinkState::FailingOver && observed.hold_until.is_none();
                Some(settled && link.shared.epoch == epoch && observed.is_confirmed(wanted, epoch))
            }
        }
    }

    fn heartbeats(&mut self, now: Timestamp, out: &mut Out) {
        let ids: Vec<LinkId> = self.state.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.state.links.get(&id) else { continue };
            let Some(observed) = self.observed.get(&id) else { continue };
            if observed.next_heartbeat > now || !self.is_spoken_to(link, observed) {
                continue;
            }
            let heartbeat = self.heartbeat(link, observed);
            let message = Message::Heartbeat(link.header(link.shared.epoch), Box::new(heartbeat));
            let fencing = matches!(observed.phase, Some(Phase::Fencing { .. }));
            let (domain, fence) = (link.peer.domain.clone(), Message::Fence(link.header(link.shared.epoch)));
            self.send(&domain, message, out);
            if fencing {
                self.send(&domain, fence, out);
            }
            if let Some(observed) = self.observed.get_mut(&id) {
                observed.next_heartbeat = now + self.policy.heartbeat;
            }
        }
    }

    /// The system that the link was agreed with is connected, and the link may speak.
    fn is_spoken_to(&self, link: &Link, observed: &Observed) -> bool {
        let peer = self.peers.get(&link.peer.domain);
        let agreed = peer.is_some_and(|(hello, _)| hello.incarnation == link.peer.incarnation);
        agreed && link.is_established() && !observed.silent
    }

    fn finish(&mut self, now: Timestamp, out: &mut Out) {
        self.advance(now, out);
        self.reconcile(now, out);
        self.ask_for_grants(now, out);
        self.heartbeats(now, out);
        self.settle(out);
        #[cfg(debug_assertions)]
        if let Err(violation) = crate::check(&self.state) {
            debug_assert!(false, "{violation}");
        }
    }

    fn advance(&mut self, now: Timestamp, out: &mut Out) {
        let ids: Vec<LinkId> = self.state.links.keys().copied().collect();
        for id in ids {
            let timeout = self.policy.contact_timeout;
            let Some(observed) = self.observed.get_mut(&id) else { continue };
            if observed.contact && now.since(observed.last_heard) >= timeout {
                lose_contact(observed, now);
            }
            if observed.hold_until.is_some_and(|until| until <= now) {
                observed.hold_until = None;
            }
            self.advance_failover(now, id, out);
            self.expire_proposal(now, id, out);
            self.note_in_sync(id, out);
        }
        self.expire_creating(now, out);
    }

    /// Remembers that the replica has once been equal to the primary: it may then be failed over.
    fn note_in_sync(&mut self, id: LinkId, out: &mut Out) {
        let Some(link) = self.state.links.get(&id) else { return };
        if !link.was_in_sync && link.shared.state == LinkState::Replicating && self.in_sync(link) {
            let mut link = link.clone();
            link.was_in_sync = true;
            self.put(link, out);
        }
    }
}

pub(crate) fn lose_contact(observed: &mut Observed, now: Timestamp) {
    if observed.contact {
        observed.contact = false;
        observed.contact_since = now;
    }
    observed.peer = None;
    observed.grant = None;
    // A fence cannot arrive any more: the failover need not wait for its answer.
    if let Some(Phase::Fencing { until }) = &mut observed.phase {
        *until = (*until).min(now);
    }
}

impl Machine for LinkMachine {
    type Input = Input;
    type Change = Change;
    type Output = Output;

    fn step(&mut self, now: Timestamp, input: Input, out: &mut Out) {
        match input {
            Input::IdentityKnown(own) => self.identity_known(now, own, out),
            Input::Command(command) => self.command(now, &command, out),
            Input::PeerUp { hello, dialled } => self.peer_up(now, hello, dialled, out),
            Input::PeerDown { domain } => self.peer_down(now, &domain),
            Input::DialFailed { address, trouble } => {
                self.dial_troubles.insert(address, trouble);
            }
            Input::MessageReceived { domain, message } => self.message(now, &domain, message, out),
            Input::MoverSeen(view) => self.mover_seen(now, view, out),
            Input::MoverLost => self.mover = None,
            Input::AccessSet { link, epoch, mode, boot, positions } => {
                self.access_set(now, link, epoch, mode, boot, positions, out);
            }
            Input::AccessFailed { link, trouble } => {
                let retry = now + self.policy.retry;
                if let Some(observed) = self.observed.get_mut(&link) {
                    observed.access_retry = Some(retry);
                    observed.access_trouble = trouble;
                }
            }
            Input::NameServersOverdue(overdue) => self.name_servers_overdue(now, overdue, out),
            Input::FlowsApplied { link, generation, current } => {
                let retry = now + self.policy.retry;
                if let Some(observed) =
                    self.observed.get_mut(&link).filter(|observed| observed.generation == generation)
                {
                    observed.flows_retry = match current {
                        // Left by an earlier run of ours whose clock was ahead. What we want follows it.
                        Some(current) if current > generation => {
                            observed.generation = current;
                            Some(now)
                        }
                        Some(_) => None,
                        None => Some(retry),
                    };
                }
            }
        }
        self.finish(now, out);
    }

    fn tick(&mut self, now: Timestamp, out: &mut Out) {
        self.finish(now, out);
    }

    /// Only what time alone brings on: what can be done no sooner than an input comes is not waited
    /// for, or who drives this machine would spin until then.
    fn deadline(&self) -> Option<Timestamp> {
        let links = self.state.links.iter().filter_map(|(id, link)| Some((link, self.observed.get(id)?)));
        let times = links.flat_map(|(link, observed)| {
            let phase = observed.phase.as_ref().filter(|_| link.is_failing_over_here());
            let phase = phase.map(|phase| match phase {
                Phase::Fencing { until } | Phase::Draining { until, .. } => *until,
            });
            let silence = observed.contact.then(|| observed.last_heard + self.policy.contact_timeout);
            let heartbeat = self.is_spoken_to(link, observed).then_some(observed.next_heartbeat);
            let may_ask = self.may_ask_mover() && link.is_established();
            let access_retry = observed.access_retry.filter(|_| may_ask);
            let flows_retry = observed.flows_retry.filter(|_| may_ask);
            let proposal = observed.proposal_until.filter(|_| link.proposing.is_some());
            [phase, silence, heartbeat, observed.hold_until, access_retry, flows_retry, proposal]
        });
        let creating = self.creating.iter().map(|creating| Some(creating.until));
        times.chain(creating).flatten().min()
    }
}

/// The peer's movers are reached on the host that its link listener is reached at.
fn replication_address(peer_address: &str, hello: &Hello) -> String {
    let host = peer_address.rsplit_once(':').map(|(host, _)| host);
    let port = hello.replication_address.rsplit_once(':').map(|(_, port)| port);
    match (host, port) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        _ => hello.replication_address.clone(),
    }
}

/// A content by kind and name.
pub(crate) fn same_name(left: &Content, right: &Content) -> bool {
    left.kind == right.kind && left.name == right.name
}
