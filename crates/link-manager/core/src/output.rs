//! What the core asks of the world, once the step's changes are durable.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use switchback_model::{LinkId, RequestId};

use crate::input::Token;
use crate::{Access, Error, FlowSpec, Message};

/// What a command did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Done {
    /// The link it was about.
    pub link: LinkId,
    /// In order.
    pub steps: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The command moves authority: what is not on the other side belongs into a plan.
    pub moves_authority: bool,
}

/// One request to the outside world.
#[derive(Debug)]
pub enum Output {
    /// Answer a caller.
    Reply(Token, Result<Box<Done>, Error>),
    /// Tell the system of this domain.
    Send(String, Box<Message>),
    /// Make this access mode durable at the mover; answers with an input.
    SetAccess(Box<Access>),
    /// Make these flows desired at the mover; answers with an input.
    ApplyFlows(Box<FlowSpec>),
    /// Forget a link's flows; make its content read-write and unlinked if `release`.
    ForgetLink {
        /// Which.
        link: LinkId,
        /// This side may write from now on.
        release: bool,
    },
    /// A command was accepted, for the log.
    Accepted(RequestId),
}
