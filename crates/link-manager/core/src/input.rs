//! What can happen.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use switchback_model::{
    AccessMode, Compression, Content, ContentId, Epoch, FeedId, Incarnation, LinkId, Pace, Priority,
    RequestId, Schedule, SystemId,
};

use crate::Message;
use crate::state::{ConflictPolicy, Identity, Settings};
use crate::zone::{DnsKey, Gateway};

/// Names a waiting caller in the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A place in one content's feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Whose feed.
    pub content: ContentId,
    /// Which life of it.
    pub feed: FeedId,
    /// The last change counted in.
    pub sequence: u64,
}

/// What is visible in a content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DigestView {
    /// Order-independent set hash.
    pub total: Vec<u8>,
    /// Number of visible records.
    pub records: u64,
}

/// One content as the mover has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentView {
    /// Which.
    pub content: Content,
    /// Its mode.
    pub mode: AccessMode,
    /// Its access record's epoch.
    pub epoch: Epoch,
    /// Its access record's link.
    pub link: Option<LinkId>,
    /// It lost its link and awaits its release.
    pub orphaned: bool,
    /// The end of its feed.
    pub head: Position,
    /// What is visible.
    pub digest: DigestView,
}

/// One content's flows, both ways.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowView {
    /// Which.
    pub content: ContentId,
    /// How far the peer's feed is applied here.
    pub applied: Option<Position>,
    /// Ours, not yet durable on the peer.
    pub pending_objects: u64,
    /// Ours, in bytes.
    pub pending_bytes: u64,
    /// The peer's, not yet durable here.
    pub peer_pending_objects: u64,
    /// The peer's, in bytes.
    pub peer_pending_bytes: u64,
    /// Sent since the flow started.
    pub sent_objects: u64,
    /// Sent, in bytes.
    pub sent_bytes: u64,
    /// Sent while the link compresses, since the flow started: bytes as they were.
    pub plain_bytes: u64,
    /// The same as they left.
    pub packed_bytes: u64,
    /// Keys listed to find what differs, since the flow started.
    pub compared_objects: u64,
    /// Received since the flow started.
    pub received_objects: u64,
    /// Received, in bytes.
    pub received_bytes: u64,
    /// A second.
    pub sending_objects_rate: f64,
    /// A second.
    pub sending_bytes_rate: f64,
    /// A second.
    pub receiving_objects_rate: f64,
    /// A second.
    pub receiving_bytes_rate: f64,
    /// How what is pending of ours moved lately.
    pub sending: Pace,
    /// The same of the peer's.
    pub receiving: Pace,
    /// Unix ms; 0 when never.
    pub up_to_date_as_of: u64,
    /// Failing objects, waiting for another try.
    pub retries: u64,
    /// Conflicts decided.
    pub divergences: u64,
    /// Both sides hold the same.
    pub in_sync: bool,
    /// The peer's store was rebuilt or rolled back.
    pub peer_rolled_back: bool,
    /// Ours was.
    pub local_rolled_back: bool,
    /// For the operator; empty when well.
    pub trouble: String,
}

/// Without the rates: they are measured, only guide people, and have no hash of their own.
impl Hash for FlowView {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.content, self.applied, self.in_sync, self.retries, self.divergences).hash(hasher);
        (self.pending_objects, self.pending_bytes).hash(hasher);
        (self.peer_pending_objects, self.peer_pending_bytes).hash(hasher);
        (self.peer_rolled_back, self.local_rolled_back, &self.trouble).hash(hasher);
    }
}

/// One link's flows.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct LinkFlowsView {
    /// Which.
    pub link: LinkId,
    /// Which of the flows that we asked for.
    pub generation: u64,
    /// The movers talk.
    pub contact: bool,
    /// The highest epoch the peer's mover has named.
    pub peer_epoch: Epoch,
    /// By content.
    pub flows: Vec<FlowView>,
    /// Why the movers do not talk; empty when they do.
    pub trouble: String,
}

/// Storage that went bad, as the mover knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DamageView {
    /// Objects whose bytes wait for their repair.
    pub waiting: u64,
    /// Objects whose bytes no whole copy is known of.
    pub unrepairable: u64,
    /// Found damaged since the store was made.
    pub found: u64,
    /// Why the storage cannot be used; empty when it can.
    pub storage: String,
}

/// The mover as last told.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct MoverView {
    /// Another one: the mover was restarted and holds everything read-only.
    pub boot: u64,
    /// Another one: the store was lost or replaced.
    pub store: u64,
    /// Every tenant and directory.
    pub contents: Vec<ContentView>,
    /// By link.
    pub links: Vec<LinkFlowsView>,
    /// Of the whole system.
    pub damage: DamageView,
}

/// The other system, from its verified certificate and its first message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// From the certificate.
    pub system: SystemId,
    /// From the certificate.
    pub incarnation: Incarnation,
    /// From the certificate.
    pub domain: String,
    /// As it calls itself.
    pub name: String,
    /// `host:port` at which it says its link listener is reached; empty when it does not say.
    pub link_address: String,
    /// `host:port` where its movers listen, if we can tell.
    pub replication_address: String,
    /// Its own.
    pub gateway: Gateway,
    /// Of its name server.
    pub name_server_addresses: Vec<String>,
    /// That its name server signs with; `None` before it has said so.
    pub dnskeys: Option<Vec<DnsKey>>,
}

/// A new link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Create {
    /// Made by the shell.
    pub id: LinkId,
    /// The operator's name for it.
    pub name: String,
    /// `host:port`.
    pub peer_address: String,
    /// By kind and name.
    pub contents: Vec<Content>,
    /// See [`Settings`].
    pub settings: Settings,
    /// The newest serial of the contents' zones, from before they are on the link; 0 when there is none,
    /// or it is not known.
    pub zone_floor: u32,
}

/// Changes to a link; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Update {
    /// `host:port`.
    pub peer_address: Option<String>,
    /// See [`Settings`].
    pub dns_failover: Option<bool>,
    /// See [`Settings`].
    pub description: Option<String>,
    /// See [`Settings`].
    pub fence_time_ms: Option<u64>,
    /// See [`Settings`].
    pub drain_time_ms: Option<u64>,
    /// See [`Settings`].
    pub conflict_policy: Option<ConflictPolicy>,
    /// See [`Settings`].
    pub schedule: Option<Schedule>,
    /// See [`Settings`].
    pub priority: Option<Priority>,
    /// See [`Settings`].
    pub compression: Option<Compression>,
    /// By kind and name.
    pub add: Vec<Content>,
    /// By kind and name.
    pub remove: Vec<Content>,
    /// As [`Create::zone_floor`], of what is added.
    pub zone_floor: u32,
}

/// What an operator wants of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommandKind {
    /// Make it.
    Create(Box<Create>),
    /// Change it.
    Update(Box<Update>),
    /// Forget it, on both sides unless the other cannot be told.
    Delete {
        /// Although the other side cannot be told.
        without_peer: bool,
    },
    /// Let nothing flow.
    Suspend,
    /// Let it flow again.
    Resume,
    /// Let one content not flow.
    Pause(Content),
    /// Let it flow again.
    Unpause(Content),
    /// Make the replica read-write.
    FailOver {
        /// Leave the fenced primary's tail where it is.
        no_drain: bool,
        /// The link's name again: although this side was never in sync.
        accept_loss: String,
    },
    /// Make the link again on a side that lost it.
    Restore,
    /// Let what changed flow back.
    BeginRecovery,
    /// Bring it to its end.
    CompleteRecovery {
        /// Although much is left.
        anyway: bool,
    },
    /// Go on alone: the other side is gone for good.
    DeclareLost {
        /// The link's name again.
        confirm: String,
    },
}

/// A command of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// Who waits for the answer.
    pub token: Token,
    /// Names the command; a repeat does nothing.
    pub request: RequestId,
    /// Only say what would happen.
    pub plan: bool,
    /// Name or id of the link.
    pub link: String,
    /// What is wanted.
    pub kind: CommandKind,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// Who we are, at the start and after a change.
    IdentityKnown(Identity),
    /// An operator's command.
    Command(Box<Command>),
    /// A stream to another system is up. `dialled` is the address it was reached at, if we dialled.
    PeerUp {
        /// Who.
        hello: Hello,
        /// `host:port`, when we dialled.
        dialled: Option<String>,
    },
    /// The last stream to the system of this domain is gone.
    PeerDown {
        /// Whose.
        domain: String,
    },
    /// Nobody could be reached there.
    DialFailed {
        /// `host:port`.
        address: String,
        /// What to do about it, for the operator.
        trouble: String,
    },
    /// A message from the system of this domain.
    MessageReceived {
        /// Whose.
        domain: String,
        /// What.
        message: Message,
    },
    /// The mover as it now is.
    MoverSeen(Box<MoverView>),
    /// The mover cannot be reached.
    MoverLost,
    /// The mover made an access mode durable; its feeds then ended here.
    AccessSet {
        /// Whose.
        link: LinkId,
        /// As asked.
        epoch: Epoch,
        /// As asked.
        mode: AccessMode,
        /// In which run of the mover.
        boot: u64,
        /// Heads at the barrier.
        positions: Vec<Position>,
    },
    /// The mover refused, or could not be reached.
    AccessFailed {
        /// Whose.
        link: LinkId,
        /// For the operator.
        trouble: String,
    },
    /// The mover answered the flows of this generation, or did not.
    FlowsApplied {
        /// Whose.
        link: LinkId,
        /// As asked.
        generation: u64,
        /// What the mover has now. Higher than what was asked: that was ignored, for it is older.
        /// `None`: no answer, or a refusal.
        current: Option<u64>,
    },
    /// Name servers that have not followed this system's broadcaster for some time: all of them.
    NameServersOverdue(BTreeMap<String, Overdue>),
}

/// What is wrong with a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overdue {
    /// It does not answer.
    Silent,
    /// It answers, and does not serve what was published.
    Late,
}
