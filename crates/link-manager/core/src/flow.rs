//! Which way data shall flow.

use alloc::string::String;
use alloc::vec::Vec;

use switchback_model::{
    AccessMode, Compression, Content, Epoch, Incarnation, LinkId, Priority, Schedule, Side, SystemId,
};

use crate::machine::Observed;
use crate::{ConflictPolicy, Identity, Link, LinkState};

/// One content's flows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentFlow {
    /// Which.
    pub content: Content,
    /// Offer our changes.
    pub send: bool,
    /// Take the peer's.
    pub receive: bool,
    /// By the operator.
    pub paused: bool,
}

/// What is desired of one link's flows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowSpec {
    /// Which.
    pub link: LinkId,
    /// Grows with each change.
    pub generation: u64,
    /// Its name.
    pub name: String,
    /// The highest epoch we have taken: the movers tell each other.
    pub epoch: Epoch,
    /// Ours.
    pub side: Side,
    /// As agreed.
    pub local_incarnation: Incarnation,
    /// As agreed.
    pub peer_incarnation: Incarnation,
    /// Ours.
    pub local_system: SystemId,
    /// As agreed.
    pub peer_system: SystemId,
    /// For people.
    pub local_name: String,
    /// For people.
    pub peer_name: String,
    /// `host:port` of the peer's movers; empty when not known.
    pub peer_address: String,
    /// From its certificate.
    pub peer_domain: String,
    /// By content.
    pub contents: Vec<ContentFlow>,
    /// How conflicts are decided.
    pub conflict_policy: ConflictPolicy,
    /// Only epochs are exchanged.
    pub suspended: bool,
    /// Nothing is exchanged: this side is not to be trusted as a source.
    pub silent: bool,
    /// How much may be sent, and when.
    pub schedule: Schedule,
    /// Whose changes leave first.
    pub priority: Priority,
    /// What is done to bytes before they leave.
    pub compression: Compression,
}

/// The schedule that is in force. A failover's drain and a recovery are not held: people wait for them,
/// and neither may leave anything behind that the line would have taken.
pub(crate) fn schedule(link: &Link) -> Schedule {
    match link.shared.state {
        LinkState::Replicating => link.shared.settings.schedule.clone(),
        LinkState::FailingOver | LinkState::FailedOver | LinkState::Recovering | LinkState::Completing => {
            Schedule::default()
        }
    }
}

/// The flows this side shall have. In *replicating* the replica may send as well: it has nothing
/// of its own to send but after it was declared lost and came back, and then its writes must
/// reach the primary.
pub(crate) fn desired(link: &Link, observed: &Observed, own: &Identity) -> FlowSpec {
    let shared = &link.shared;
    let (send, receive) = match shared.state {
        LinkState::Replicating => (true, true),
        LinkState::FailingOver => (link.side == Side::Primary, link.side == Side::Replica),
        LinkState::FailedOver => (false, false),
        // A primary takes recovered changes only once its own read-only mode is durable.
        LinkState::Recovering | LinkState::Completing => {
            (true, link.side == Side::Replica || observed.is_confirmed(AccessMode::ReadOnly, shared.epoch))
        }
    };
    let flow = |content: &Content| ContentFlow {
        content: content.clone(),
        send,
        receive,
        paused: shared.paused.contains(&content.id),
    };
    FlowSpec {
        link: link.id,
        generation: 0,
        name: shared.name.clone(),
        epoch: shared.epoch,
        side: link.side,
        local_incarnation: link.local_incarnation,
        peer_incarnation: link.peer.incarnation,
        local_system: own.system,
        peer_system: link.peer.system,
        local_name: own.name.clone(),
        peer_name: link.peer.name.clone(),
        peer_address: link.peer.replication_address.clone(),
        peer_domain: link.peer.domain.clone(),
        contents: shared.contents.iter().map(flow).collect(),
        conflict_policy: shared.settings.conflict_policy,
        suspended: shared.suspended,
        silent: observed.silent || observed.broken.is_some() || !link.is_established(),
        schedule: schedule(link),
        priority: shared.settings.priority,
        compression: shared.settings.compression,
    }
}
