//! What an operator sees: plain values, as of the last step.

use core::time::Duration;

use switchback_machine::Timestamp;

use super::event::{Exchange, Reason};
use crate::core::zone::Serial;

/// Where a target stands with a zone, by its last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not answered since the zone was first published here.
    Unknown,
    /// It serves this server's serial.
    Converged,
    /// It serves an older serial.
    Behind {
        /// The target's serial.
        theirs: Serial,
        /// Steps from the target's serial to this server's. Half the circle (2^31) has no order in
        /// RFC 1982 section 3.2 and counts as behind: a secondary will not follow by itself.
        by: u32,
    },
    /// It serves a newer serial, which is no error here: the other system of the pair may have fed
    /// it in a later epoch.
    Ahead {
        /// The target's serial.
        theirs: Serial,
    },
    /// It does not serve the zone.
    NotHeld,
}

impl State {
    /// Where a target stands that answered `answer`.
    pub(super) fn of(answer: Answer, ours: Serial) -> Self {
        match answer {
            Answer::None => Self::Unknown,
            Answer::NotHeld => Self::NotHeld,
            Answer::Serial(theirs) if theirs == ours => Self::Converged,
            Answer::Serial(theirs) if theirs.is_newer_than(ours) => Self::Ahead { theirs },
            Answer::Serial(theirs) => Self::Behind { theirs, by: ours.0.wrapping_sub(theirs.0) },
        }
    }

    /// Nothing of this server is missing there.
    #[must_use]
    pub fn is_followed(self) -> bool {
        matches!(self, Self::Converged | Self::Ahead { .. })
    }
}

/// What a target said last about its SOA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    None,
    Serial(Serial),
    NotHeld,
}

/// An exchange that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which of the two.
    pub exchange: Exchange,
    /// Why.
    pub reason: Reason,
    /// When that was known.
    pub at: Timestamp,
}

/// A target and a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// This server's serial.
    pub ours: Serial,
    /// When this server's serial was published.
    pub changed_at: Timestamp,
    /// Where the target stands, as of `answered_at`.
    pub state: State,
    /// The target's last answer about this zone.
    pub answered_at: Option<Timestamp>,
    /// From the last change to the answer that showed it followed. `None` until then, and when the
    /// target got ahead instead.
    pub converged_after: Option<Duration>,
    /// Since when the target misses something: the oldest change that it has not followed, or the
    /// answer that showed that it fell back. `None` when it misses nothing.
    pub behind_since: Option<Timestamp>,
    /// Exchanges about this zone that failed since the target was last heard about it.
    pub failures: u32,
    /// The last of all failures.
    pub trouble: Option<Trouble>,
    /// The target refused the last NOTIFY that it answered.
    pub notify_refused: bool,
}

/// Zones of a target by their [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not answered yet.
    pub unknown: usize,
    /// This server's serial.
    pub converged: usize,
    /// An older serial.
    pub behind: usize,
    /// A newer serial.
    pub ahead: usize,
    /// Not served.
    pub not_held: usize,
}

impl Counts {
    pub(super) fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Unknown => &mut self.unknown,
            State::Converged => &mut self.converged,
            State::Behind { .. } => &mut self.behind,
            State::Ahead { .. } => &mut self.ahead,
            State::NotHeld => &mut self.not_held,
        }
    }
}

/// How a target took the last publication that changed anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastChange {
    /// When it was published.
    pub at: Timestamp,
    /// Zones that changed.
    pub zones: usize,
    /// Those of them that the target has not followed yet.
    pub open: usize,
    /// The slowest of those that it has followed; `None` when there is none.
    pub slowest: Option<Duration>,
}

/// A target as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its zones, each as of the target's last answer about it: while the target is unreachable
    /// they say what it served when it was last heard.
    pub counts: Counts,
    /// Zones of which it has missed something for [`super::Policy::late_after`] and longer while it
    /// answered.
    pub late: usize,
    /// `None` while it is heard.
    pub unreachable_since: Option<Timestamp>,
    /// The last time that anything came from it.
    pub last_heard: Option<Timestamp>,
    /// Exchanges that wait for their end.
    pub outstanding: usize,
    /// `None` before the first.
    pub last_change: Option<LastChange>,
}

impl Summary {
    /// The same target, of these zones alone: those that changed last are its last change.
    #[must_use]
    pub fn of(self, standings: impl Iterator<Item = Standing>) -> Self {
        let (mut counts, mut last_change) = (Counts::default(), None::<LastChange>);
        for standing in standings {
            *counts.of(standing.state) += 1;
            let at = standing.changed_at;
            if last_change.is_none_or(|change| change.at < at) {
                last_change = Some(LastChange { at, ..LastChange::default() });
            }
            if let Some(change) = last_change.as_mut().filter(|change| change.at == at) {
                change.zones += 1;
                change.open += usize::from(!standing.state.is_followed());
                change.slowest = change.slowest.max(standing.converged_after);
            }
        }
        Self { counts, last_change, ..self }
    }
}

/// What is held in memory, for metrics: all of it goes when zones go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Zones, each once.
    pub zones: usize,
    /// Pairs of a target and a zone.
    pub standings: usize,
    /// Places in queues, those for warnings included; at most three for each standing.
    pub queued: usize,
    /// Exchanges that wait for their end.
    pub outstanding: usize,
    /// Publications of zones that were left out since the start, because there were
    /// [`super::ZONES_MAX`] others. Such a zone is followed from its next change on.
    pub left_out: u64,
}
