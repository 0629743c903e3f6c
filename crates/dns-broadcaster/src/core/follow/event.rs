//! What happens to the followers, and what they are asked for.

use alloc::vec::Vec;
use core::time::Duration;

use switchback_machine::Timestamp;

use crate::core::contact::Target;
use crate::core::name::Name;
use crate::core::zone::Serial;

/// What is said to a target about one zone. Of each kind one at most is outstanding per target
/// and zone, so the two together name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exchange {
    /// A NOTIFY and its response (RFC 1996).
    Notify,
    /// A query for the zone's SOA and its answer.
    Ask,
}

/// Why an exchange came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Nothing came in the caller's time.
    TimedOut,
    /// The network or the host said that nobody listens (ICMP, a refused connection).
    Unreachable,
    /// Something came that is not understood: the target lives.
    Malformed,
    /// Something came whose signature is wrong or lacks: the target lives, or somebody in its place.
    Unproven,
}

impl Reason {
    /// Nothing was heard from the target itself.
    pub(super) fn is_silence(self) -> bool {
        match self {
            Self::TimedOut | Self::Unreachable => true,
            Self::Malformed | Self::Unproven => false,
        }
    }
}

/// What happened. Each [`Output::Notify`] and [`Output::Ask`] is followed by exactly one of
/// [`Input::NotifyAcknowledged`], [`Input::NotifyRefused`], [`Input::SoaAnswered`] and
/// [`Input::ExchangeFailed`] for it: the caller owns the time-out of one exchange. What was not
/// asked for is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The zones that this server answers are others. What is removed goes first.
    Published {
        /// Zones that are new, or have a new serial. A serial that is known is no change.
        changed: Vec<(Name, Serial)>,
        /// Zones that are gone.
        removed: Vec<Name>,
    },
    /// The target has heard the NOTIFY. What it does about it is seen in its SOA only.
    NotifyAcknowledged {
        /// Who.
        target: Target,
        /// About which zone.
        zone: Name,
    },
    /// The target answers the NOTIFY, and will not heed it: NOTAUTH, REFUSED, NOTIMP and their
    /// like. It is not configured for the zone, or not for a NOTIFY of ours.
    NotifyRefused {
        /// Who.
        target: Target,
        /// About which zone.
        zone: Name,
    },
    /// The target's answer to the question for the SOA.
    SoaAnswered {
        /// Who.
        target: Target,
        /// Of which zone.
        zone: Name,
        /// The serial that it serves; `None` when it does not serve the zone (REFUSED, NXDOMAIN,
        /// SERVFAIL, no SOA in the answer).
        serial: Option<Serial>,
    },
    /// The exchange came to nothing.
    ExchangeFailed {
        /// With whom.
        target: Target,
        /// About which zone.
        zone: Name,
        /// Which of the two.
        exchange: Exchange,
        /// Why.
        reason: Reason,
    },
}

/// What the world is asked for, or told for its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a NOTIFY, once: it is sent again by asking again.
    Notify {
        /// To whom.
        target: Target,
        /// About which zone.
        zone: Name,
        /// The serial to hint at in the answer section (RFC 1996 section 3.7).
        serial: Serial,
    },
    /// Ask for the zone's SOA, once.
    Ask {
        /// Whom.
        target: Target,
        /// Which zone.
        zone: Name,
    },
    /// The target serves this server's serial. For the log; nothing is expected back.
    Followed {
        /// Who.
        target: Target,
        /// Which zone.
        zone: Name,
        /// Since the change was published, or since the target fell back.
        after: Duration,
        /// An [`Output::Late`] had been told.
        was_late: bool,
    },
    /// The target answers and has not followed in the policy's time. Once per change. For the log.
    Late {
        /// Who.
        target: Target,
        /// Which zone.
        zone: Name,
        /// Since the oldest change that the target misses.
        behind: Duration,
    },
    /// The target serves a newer serial than this server: somebody else feeds it, most likely the
    /// other system of the pair. Once each time that it gets ahead. For the log.
    Overtaken {
        /// Who.
        target: Target,
        /// Which zone.
        zone: Name,
        /// This server's serial.
        ours: Serial,
        /// The target's.
        theirs: Serial,
    },
    /// The target is silent about everything. No zone of it is told as late until it is back: one
    /// line says it all. For the log.
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
