//! What happens to copies, and what is done for them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use switchback_machine::Timestamp;

use super::super::name::Name;
use super::super::zone::Serial;
use super::members::{Label, Members};
use super::policy::Times;

/// A primary, by its place in the configuration: of two that have one zone the first gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Primary(pub usize);

/// A copy, as far as its keeping needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The serial.
    pub serial: Serial,
    /// What the zone says of times.
    pub times: Times,
    /// When its primary last said, as far as is on disk, that this is the zone.
    pub word: Timestamp,
    /// The label under which a catalogue listed it; none for a zone that is taken by name.
    pub label: Option<Label>,
}

/// Why an exchange came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing came in time.
    TimedOut,
    /// The network or the host said that nobody listens, or the connection broke.
    Unreachable,
    /// What came has no valid signature; why not, for people.
    Unproven(String),
    /// The primary does not serve the zone.
    NotHeld,
    /// The primary answers with this code (RFC 6895 section 2.3).
    Declined(u8),
    /// The primary has an older serial than is held, or one that has no order with it.
    Backwards {
        /// The primary's.
        theirs: Serial,
    },
    /// What came is no transfer, or makes no zone that can be served; what is wrong, for people.
    Unfit(String),
}

impl Reason {
    /// Nothing was heard from the primary itself.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the primary does not answer"),
            Self::Unreachable => f.write_str("nobody listens there, or the connection broke"),
            Self::Unproven(why) => write!(f, "the answer is not proven: {why}"),
            Self::NotHeld => f.write_str("the primary does not serve the zone"),
            Self::Declined(code) => {
                let name = match code {
                    1 => "FORMERR",
                    2 => "SERVFAIL",
                    3 => "NXDOMAIN",
                    4 => "NOTIMP",
                    5 => "REFUSED",
                    9 => "NOTAUTH",
                    other => return write!(f, "the primary answers with code {other}"),
                };
                write!(f, "the primary answers {name}; let it give the zone to this server")
            }
            Self::Backwards { theirs } => {
                write!(f, "the primary has the older serial {}, which is not taken; raise it there", theirs.0)
            }
            Self::Unfit(why) => write!(f, "the zone is not taken: {why}"),
        }
    }
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What is held is what the primary has.
    UpToDate,
    /// The zone is on disk and served.
    Taken {
        /// Its serial.
        serial: Serial,
        /// What it says of times.
        times: Times,
    },
    /// What changed was not to be had, or does not fit; the whole zone may be.
    NoDifferences,
    /// Nothing was taken.
    Failed(Reason),
}

/// What happened. Each [`Output::Ask`] is followed by one [`Input::Answered`] for its zone, and each
/// [`Output::Transfer`] by one [`Input::Transferred`]: the caller owns their time-outs. What was not
/// asked for is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The primary of the zone says that it has changed (RFC 1996).
    Notified {
        /// Which zone.
        zone: Name,
        /// To what, if it says.
        serial: Option<Serial>,
    },
    /// The serial that the primary has.
    Answered {
        /// Of which zone.
        zone: Name,
        /// Or why that is not known.
        serial: Result<Serial, Reason>,
    },
    /// A transfer has ended.
    Transferred {
        /// Of which zone.
        zone: Name,
        /// How.
        outcome: Outcome,
    },
    /// What the catalogue of a primary lists.
    Listed {
        /// Whose.
        primary: Primary,
        /// All of it.
        members: Members,
    },
    /// Zones that this server publishes itself, and such that it does not any more.
    Published {
        /// These, from now on.
        begun: Vec<Name>,
        /// These no more.
        ended: Vec<Name>,
    },
}

/// What must be durable first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The primary said at `at` that the copy of `zone` is the zone.
    Word {
        /// Which zone.
        zone: Name,
        /// When.
        at: Timestamp,
    },
    /// The copy is no more.
    Forget(Name),
}

/// What the world is asked for, or told for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask for the zone's serial.
    Ask {
        /// Whom.
        primary: Primary,
        /// Which zone.
        zone: Name,
    },
    /// Take the zone, or what changed in it.
    Transfer {
        /// From whom.
        primary: Primary,
        /// Which zone.
        zone: Name,
        /// The serial that is held.
        held: Option<Serial>,
        /// Ask for all of it, whatever is held.
        is_whole: bool,
        /// The label to keep with it.
        label: Option<Label>,
    },
    /// Answer nothing from the copy any more: its primary has not been heard for the zone's EXPIRE.
    Expire {
        /// Which zone.
        zone: Name,
    },
    /// Answer from the copy again.
    Serve {
        /// Which zone.
        zone: Name,
    },
    /// Let go of the copy.
    Forget {
        /// Which zone.
        zone: Name,
    },
    /// A copy will expire when its primary is not heard. Once until it is. For the log.
    Expiring {
        /// Which zone.
        zone: Name,
        /// In so long.
        within: Duration,
    },
    /// A zone cannot be taken. Once for each reason. For the log.
    Troubled {
        /// Which zone.
        zone: Name,
        /// Why.
        reason: Reason,
    },
    /// A zone can be taken again. For the log.
    Mended {
        /// Which zone.
        zone: Name,
    },
    /// The primary is silent about everything. For the log.
    Silent {
        /// Who.
        primary: Primary,
    },
    /// The primary is heard again. For the log.
    Heard {
        /// Who.
        primary: Primary,
        /// After so long.
        after: Duration,
    },
    /// A zone was left out, since there are [`super::policy::ZONES_MAX`] others. For the log.
    Full {
        /// Which zone.
        zone: Name,
    },
}
