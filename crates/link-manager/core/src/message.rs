//! What two link managers say to each other about a link.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use switchback_model::{AccessMode, Epoch, Incarnation, LinkId, Side};

use crate::input::{DigestView, Position};
use crate::state::Shared;

/// The link, and its sender and receiver as the sender knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The link.
    pub link: LinkId,
    /// The sender's incarnation.
    pub sender: Incarnation,
    /// The incarnation that the message is meant for.
    pub receiver: Incarnation,
    /// The highest epoch the sender has taken.
    pub epoch: Epoch,
}

/// How a link stands on the sender's side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// The shared part of the record.
    pub shared: Shared,
    /// The sender's access mode at `shared.epoch`, once its mover has confirmed it.
    pub mode: Option<AccessMode>,
    /// The sender's mover says that both sides hold the same.
    pub in_sync: bool,
    /// Why the sender is not well; empty when it is.
    pub trouble: String,
}

/// A link to be made or restored on the receiver's side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// Repeated in the answer.
    pub nonce: u64,
    /// The record, as the receiver shall hold it.
    pub shared: Shared,
    /// The proposer's side.
    pub side: Side,
    /// A restore of a link that the receiver has lost.
    pub restore: bool,
}

/// One content at the end of a recovery, as the asking primary holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// How far the replica's feed is applied.
    pub applied: Position,
    /// The end of the primary's own feed.
    pub head: Position,
    /// What is visible.
    pub digest: DigestView,
}

/// A message about one link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Every [`crate::Policy::heartbeat`] and after each change.
    Heartbeat(Header, Box<Heartbeat>),
    /// The receiver of some message has no record of this link.
    UnknownLink(LinkId),
    /// The receiver of some message has this link on record with another life of the sender: it
    /// obeys nothing until one side restores the link.
    OtherLife(LinkId),
    /// See [`Proposal`].
    Proposal(Header, Box<Proposal>),
    /// Accepted and durable when the refusal is empty.
    ProposalAnswer {
        /// Of the proposal.
        nonce: u64,
        /// Of the proposal.
        link: LinkId,
        /// Empty, or why not.
        refusal: String,
    },
    /// The receiver is read-only as of this epoch.
    Fence(Header),
    /// The sender is read-only as of this epoch, durably; its feeds end here.
    Fenced(Header, Vec<Position>),
    /// The primary asks for authority at the end of a recovery in the header's epoch.
    GrantRequest(Header, u64, Vec<Sealed>),
    /// The answer: the epoch granted, or why not.
    Grant(Header, u64, Result<Epoch, String>),
    /// The link was deleted by an operator on the sender's side.
    Farewell(Header),
}
