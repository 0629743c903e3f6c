//! What happens to the targets, and what they are asked for.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use switchback_machine::Timestamp;

use super::fence::Fence;
use super::wish::{Content, Leads, Wish};
use crate::core::contact::Target;
use crate::core::name::Name;
use crate::core::record::Rdata;

/// An exchange with a target; none has the number of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange(pub u64);

/// What a target says of a tenant's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The TXT records at the name of the fence, in order.
    pub fence: Vec<Rdata>,
    /// At the tenant's name.
    pub tenant: Leads,
    /// At the wildcard beneath it.
    pub wildcard: Leads,
}

/// What a target did with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It carried it out (NOERROR).
    Done,
    /// Another fence stands there than the update demanded (NXRRSET, YXRRSET, and their like for names):
    /// nothing was changed.
    Overtaken,
}

/// Why an exchange came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing came in the caller's time.
    TimedOut,
    /// The network or the host said that nobody listens.
    Unreachable,
    /// Something came that is not understood.
    Malformed,
    /// Something came whose signature is wrong or lacks: the target lives, or somebody in its place.
    Unproven(Doubt),
    /// The target will not.
    Declined(Declined),
}

/// Why an answer proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The target says that it does not know the key.
    UnknownKey,
    /// The target finds the signature wrong: the secrets differ.
    AnotherSecret,
    /// The clocks differ by so many seconds.
    Clocks(u64),
    /// It is not signed, and has this response code.
    Unsigned(u16),
    /// Its signature is wrong.
    Signature,
}

/// What a target will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// It answers a question with this response code (RFC 6895 section 2.3).
    Question(u16),
    /// It answers a question by hearsay: it does not master the name, or has delegated it.
    NotMaster,
    /// It answers an update with this response code.
    Update(u16),
}

impl Trouble {
    /// Nothing was heard from the target itself.
    pub(super) fn is_silence(self) -> bool {
        match self {
            Self::TimedOut | Self::Unreachable => true,
            Self::Malformed | Self::Unproven(_) | Self::Declined(_) => false,
        }
    }

    /// Whether it says the same to an operator. Clocks that differ do so by another second each time.
    pub(super) fn is_like(self, other: Self) -> bool {
        let clocks = |trouble| matches!(trouble, Self::Unproven(Doubt::Clocks(_)));
        self == other || clocks(self) && clocks(other)
    }
}

/// What happened. Each [`Output::Look`] is followed by exactly one [`Input::Looked`], each
/// [`Output::Update`] by one [`Input::Updated`]: the caller owns the time-out of one exchange.
#[derive(Clone, Debug)]
pub enum Input {
    /// What is wished is another. A tenant that is not named is wished as before.
    Published(Vec<(Name, Wish)>),
    /// A question's end.
    Looked {
        /// Who was asked.
        target: Target,
        /// By which exchange.
        exchange: Exchange,
        /// What it said.
        outcome: Result<Found, Trouble>,
    },
    /// An update's end.
    Updated {
        /// Who was sent it.
        target: Target,
        /// By which exchange.
        exchange: Exchange,
        /// What became of it. After anything but an answer it may yet be carried out.
        outcome: Result<Verdict, Trouble>,
    },
}

/// What must be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Names of this tenant may stand at the target, put by this system.
    Remember(Target, Name),
    /// They do not, or are no longer this system's.
    Forget(Target, Name),
}

/// What an update puts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// In place of the fence that stands there.
    pub fence: Rdata,
    /// In place of where the names lead.
    pub content: Arc<Content>,
}

/// What the world is asked for, or told for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask what stands at the tenant's names.
    Look {
        /// Whom.
        target: Target,
        /// Names this exchange.
        exchange: Exchange,
        /// The tenant.
        name: Name,
    },
    /// Replace, in one message, the fence and what leads somewhere at the tenant's name and at its wildcard.
    Update {
        /// At whom.
        target: Target,
        /// Names this exchange.
        exchange: Exchange,
        /// The tenant.
        name: Name,
        /// The fence that must stand there, as the whole set; none may when it is empty.
        demand: Vec<Rdata>,
        /// What comes; nothing when all of it goes.
        put: Option<Put>,
    },
    /// The target answers the names as they should be. For the log; nothing is expected back.
    Followed {
        /// Who.
        target: Target,
        /// The tenant.
        name: Name,
        /// Since the change was published, or since the target was seen to fall back.
        after: Duration,
        /// An [`Output::Late`] had been told.
        was_late: bool,
    },
    /// The target is heard, and the names do not stand there in the policy's time. Once per change. For
    /// the log.
    Late {
        /// Who.
        target: Target,
        /// The tenant.
        name: Name,
        /// Since the oldest change that is missing there.
        behind: Duration,
        /// What kept it last, if that is known.
        trouble: Option<Trouble>,
    },
    /// A newer fence stands there: this system is the stale one, and writes nothing. Once each time. For
    /// the log.
    Overtaken {
        /// Where.
        target: Target,
        /// The tenant.
        name: Name,
        /// What stands there.
        fence: Fence,
    },
    /// The target has declined what it was asked, or is not trusted; once until something else happens.
    /// For the log.
    Declined {
        /// Who.
        target: Target,
        /// About which tenant.
        name: Name,
        /// Why.
        trouble: Trouble,
    },
    /// The names are gone. For the log.
    Removed {
        /// Where.
        target: Target,
        /// The tenant.
        name: Name,
    },
    /// The names stay, since they stand there under a fence that is not this system's. For the log.
    LeftAlone {
        /// Where.
        target: Target,
        /// The tenant.
        name: Name,
    },
    /// The target holds as many names as are kept; this one is left out. For the log.
    Full {
        /// Where.
        target: Target,
        /// The tenant.
        name: Name,
    },
    /// The target is silent about everything. For the log.
    Unreachable {
        /// Who.
        target: Target,
        /// The first unanswered message was sent then.
        since: Timestamp,
    },
    /// The target is heard again. For the log.
    Reachable {
        /// Who.
        target: Target,
        /// How long it was silent.
        after: Duration,
    },
}
