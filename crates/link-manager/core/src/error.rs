//! Why a command is refused, and what to do next.

use alloc::string::String;

use switchback_model::Side;

use crate::LinkState;

/// A refusal. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No link of this name or id.
    #[error("no link {link:?}; `switchback link list` shows those there are")]
    UnknownLink {
        /// As given.
        link: String,
    },
    /// A link of this name exists.
    #[error("a link named {link:?} exists already; choose another name")]
    LinkExists {
        /// As given.
        link: String,
    },
    /// No content of this kind and name on this system.
    #[error("{content} does not exist here; create it first")]
    UnknownContent {
        /// Kind and name.
        content: String,
    },
    /// The argument cannot be used.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it and what is expected.
        reason: String,
    },
    /// The command belongs to the other side.
    #[error("this system is the {side} of link {link:?}; run the command on the {} ({other})", side.other())]
    WrongSide {
        /// The link's name.
        link: String,
        /// Our side.
        side: Side,
        /// Name of the other system.
        other: String,
    },
    /// The state forbids it.
    #[error("link {link:?} is {state}: {reason}")]
    WrongState {
        /// The link's name.
        link: String,
        /// Its state.
        state: LinkState,
        /// Why not, and what to do.
        reason: String,
    },
    /// Something beside the state forbids it now.
    #[error("{reason}")]
    NotNow {
        /// Why not, and what to do.
        reason: String,
    },
    /// The other side said no.
    #[error("{peer} refused: {reason}")]
    RefusedByPeer {
        /// Name or address of the other system.
        peer: String,
        /// Its reason.
        reason: String,
    },
    /// A service this one needs cannot be reached.
    #[error("{reason}")]
    Unavailable {
        /// Which, and what to do.
        reason: String,
    },
    /// A request id was used for another link.
    #[error("request id was used before for another link; use a fresh one")]
    RequestReused,
}
