//! What is remembered. [`State::apply`] is the only writer, live and on recovery.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use switchback_machine::Timestamp;
use switchback_model::{
    Compression, Content, ContentId, Epoch, Incarnation, LinkId, Priority, RequestId, Schedule, Side,
    SystemId,
};

use crate::Change;
use crate::zone::{DnsKey, Gateway};

/// Where a link stands in the workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkState {
    /// The primary writes, the replica follows.
    Replicating,
    /// The replica has taken an epoch; the primary is being fenced, or its tail drained.
    FailingOver,
    /// The replica writes; nothing flows.
    FailedOver,
    /// The replica writes; what changed flows both ways.
    Recovering,
    /// Neither writes; both directions drain to the end.
    Completing,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replicating => "replicating",
            Self::FailingOver => "failing over",
            Self::FailedOver => "failed over",
            Self::Recovering => "recovering",
            Self::Completing => "completing",
        })
    }
}

/// How conflicting versions are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConflictPolicy {
    /// The later version; the primary wins a tie.
    #[default]
    NewestWins,
    /// The replica's version.
    ReplicaWins,
    /// As newest wins, the loser stays current beside it.
    KeepBoth,
}

/// What an operator may set on a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Names follow authority.
    pub dns_failover: bool,
    /// See [`ConflictPolicy`].
    pub conflict_policy: ConflictPolicy,
    /// Milliseconds a failover waits for the fence; 0 is the default.
    pub fence_time_ms: u64,
    /// Milliseconds a failover drains; 0 is the default.
    pub drain_time_ms: u64,
    /// For people.
    pub description: String,
    /// How much each side may send, and when. Only *replicating* obeys it.
    pub schedule: Schedule,
    /// Whose changes leave first.
    pub priority: Priority,
    /// What is done to bytes before they leave.
    pub compression: Compression,
}

/// The part of a link that both systems hold alike.
///
/// The state is changed by the side that the epoch names, and by no other: (epoch, revision)
/// orders its changes. What operators may edit on either side has an order of its own, so that an
/// edit made apart cannot bring back an old state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shared {
    /// Who may write.
    pub epoch: Epoch,
    /// Grows with each change of state.
    pub revision: u64,
    /// Where the link stands.
    pub state: LinkState,
    /// The epoch of the last edit, then its number: the higher pair wins.
    pub edited: (Epoch, u64),
    /// Added to the serials of the link's zones: seconds from 2020 to the link's creation, or so many that
    /// they are ahead of what the names had before they came to the link.
    pub zone_base: u32,
    /// By the operator; nothing flows.
    pub suspended: bool,
    /// Unique on both systems.
    pub name: String,
    /// Frozen outside *replicating*.
    pub contents: Vec<Content>,
    /// Contents that do not flow, by the operator.
    pub paused: BTreeSet<ContentId>,
    /// See [`Settings`].
    pub settings: Settings,
}

/// The other system, as agreed when the link was made or restored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// From its certificate.
    pub system: SystemId,
    /// From its certificate.
    pub incarnation: Incarnation,
    /// From its certificate; a rebuilt system keeps it.
    pub domain: String,
    /// Short name for people.
    pub name: String,
    /// `host:port` of its replication listener as last told; empty when never.
    pub replication_address: String,
    /// As last told.
    pub gateway: Gateway,
    /// Of its name server, as last told.
    pub name_server_addresses: Vec<String>,
    /// That its name server signs with, as last told.
    pub dnskeys: Vec<DnsKey>,
}

/// A proposal that the other side has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposing {
    /// Names the proposal.
    pub nonce: u64,
    /// A restore; else the link is new and is not effective before the answer.
    pub restore: bool,
}

/// What the names of a link's tenants answer, as last decided here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZoneRecord {
    /// Where they lead.
    pub target: Side,
    /// The epoch of that decision.
    pub epoch: Epoch,
    /// Changes within the epoch.
    pub generation: u32,
    /// Of the target.
    pub gateway: Gateway,
}

/// A link as this system knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The same on both systems.
    pub id: LinkId,
    /// Ours.
    pub side: Side,
    /// `host:port` of the peer's link listener, as this system reaches it.
    pub peer_address: String,
    /// See [`Peer`].
    pub peer: Peer,
    /// Our own incarnation as agreed.
    pub local_incarnation: Incarnation,
    /// See [`Shared`].
    pub shared: Shared,
    /// The highest epoch heard of, also where it could not be taken.
    pub heard: Epoch,
    /// The replica has been equal to the primary since the link was made or restored.
    pub was_in_sync: bool,
    /// The even epoch that this side, the replica, granted last.
    pub granted: Option<Epoch>,
    /// See [`Proposing`].
    pub proposing: Option<Proposing>,
    /// The end of a recovery is yet to be told in the system log.
    pub announce: bool,
    /// See [`ZoneRecord`].
    pub zone: Option<ZoneRecord>,
}

impl Link {
    /// True once the other side has agreed to the link.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.proposing.as_ref().is_none_or(|proposing| proposing.restore)
    }

    /// The epoch names this side, and nothing higher was heard of.
    pub(crate) fn is_named(&self) -> bool {
        self.shared.epoch.holder() == self.side && self.shared.epoch >= self.heard
    }

    /// An epoch that names this side is in force and not on this record. This side made it, or was
    /// granted it: so the record is an older one than there was. Only a grant may be heard of before it
    /// arrives, and then this side is asking for just that one.
    pub(crate) fn is_rolled_back(&self) -> bool {
        let asks = self.side == Side::Primary && self.shared.state == LinkState::Completing;
        let granted = asks && self.heard == self.shared.epoch.next_for(Side::Primary);
        self.heard > self.shared.epoch && self.heard.holder() == self.side && !granted
    }

    /// Takes the next epoch that names this side, above every one that it knows of.
    pub(crate) fn take_epoch(&mut self) -> Epoch {
        let epoch = self.shared.epoch.max(self.heard).next_for(self.side);
        self.shared.epoch = epoch;
        self.shared.revision += 1;
        self.heard = epoch;
        epoch
    }

    /// This side, the replica, is on its way to being read-write.
    pub(crate) fn is_failing_over_here(&self) -> bool {
        self.shared.state == LinkState::FailingOver
            && self.side == Side::Replica
            && self.shared.epoch.holder() == Side::Replica
    }

    /// The system ids of the primary and the replica.
    #[must_use]
    pub fn systems(&self, own: SystemId) -> (SystemId, SystemId) {
        match self.side {
            Side::Primary => (own, self.peer.system),
            Side::Replica => (self.peer.system, own),
        }
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// For the record.
    Notice,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Error,
}

/// A line of the system log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// One more than the event before.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Stable name that scripts switch on.
    pub id: String,
    /// See [`Severity`].
    pub severity: Severity,
    /// For people.
    pub text: String,
    /// Name of the link; empty when about none.
    pub link: String,
}

/// What an accepted command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Nothing more: it was done when it was recorded.
    Recorded,
    /// The other side has agreed.
    Established,
    /// Our access mode is durable at the link's epoch, at or above this one.
    Reached(Epoch),
}

/// An accepted command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestRecord {
    /// Grows; the lowest is forgotten first.
    pub sequence: u64,
    /// The link it was about.
    pub link: LinkId,
    /// What it waits for.
    pub goal: Goal,
}

/// Facts about this system that outlive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// The store under our mover; another one means that content was lost or replaced. 0, which no
    /// store has: this one went back to an older state.
    pub store_id: u64,
    /// The incarnation in which that store was first seen.
    pub incarnation: Incarnation,
}

/// Who we are, from the certificate service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Our system id.
    pub system: SystemId,
    /// Our incarnation.
    pub incarnation: Incarnation,
    /// Our domain.
    pub domain: String,
    /// Our short name.
    pub name: String,
    /// Ours.
    pub gateway: Gateway,
    /// Of our name server.
    pub name_server_addresses: Vec<String>,
}

/// Everything durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// By id.
    pub links: BTreeMap<LinkId, Link>,
    /// Links deleted here that the other side may still have.
    pub deleted: BTreeSet<LinkId>,
    /// Links that are no more, whose content becomes read-write here; until the mover has done it.
    pub released: BTreeSet<LinkId>,
    /// Accepted commands.
    pub requests: BTreeMap<RequestId, RequestRecord>,
    /// The number of the last event.
    pub last_event: u64,
    /// See [`Meta`].
    pub meta: Option<Meta>,
}

impl State {
    /// Applies one durable change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutLink(link) => {
                self.links.insert(link.id, (**link).clone());
            }
            Change::RemoveLink(id) => {
                self.links.remove(id);
            }
            Change::PutDeleted(id) => {
                self.deleted.insert(*id);
            }
            Change::RemoveDeleted(id) => {
                self.deleted.remove(id);
            }
            Change::PutReleased(id) => {
                self.released.insert(*id);
            }
            Change::RemoveReleased(id) => {
                self.released.remove(id);
            }
            Change::PutRequest(id, record) => {
                self.requests.insert(id.clone(), record.clone());
            }
            Change::RemoveRequest(id) => {
                self.requests.remove(id);
            }
            Change::PutEvent(event) => self.last_event = self.last_event.max(event.sequence),
            Change::PutMeta(meta) => self.meta = Some(*meta),
        }
    }

    /// The link that `named` names: its name, case-insensitive, or its id.
    #[must_use]
    pub fn find(&self, named: &str) -> Option<&Link> {
        let by_id = named.parse().ok().and_then(|id: LinkId| self.links.get(&id));
        by_id.or_else(|| self.links.values().find(|link| link.shared.name.eq_ignore_ascii_case(named)))
    }
}
