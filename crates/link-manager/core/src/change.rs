//! What a step makes durable.

use alloc::boxed::Box;

use switchback_model::{LinkId, RequestId};

use crate::{Event, Link, Meta, RequestRecord};

/// An upsert or removal of one durable record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A link as it now is.
    PutLink(Box<Link>),
    /// A link that is no more.
    RemoveLink(LinkId),
    /// Remembers that a link was deleted here, so that the other side can be told.
    PutDeleted(LinkId),
    /// The other side has been told.
    RemoveDeleted(LinkId),
    /// Remembers that the content of a link that is no more is to be free here.
    PutReleased(LinkId),
    /// The mover has done it.
    RemoveReleased(LinkId),
    /// An accepted command.
    PutRequest(RequestId, RequestRecord),
    /// A command that is old enough to forget.
    RemoveRequest(RequestId),
    /// A line of the system log.
    PutEvent(Event),
    /// Facts about this system.
    PutMeta(Meta),
}
