//! What is remembered of one target and one zone.

use core::time::Duration;

use switchback_machine::Timestamp;

use super::queue::Slot;
use super::view::{Answer, Standing, State, Trouble};
use super::zone::Zone;
use crate::core::zone::Serial;

/// Promises, after each step: a question is queued or outstanding; and when the target is not
/// known to have followed, so is a NOTIFY, or its time to be sent again. So nothing is forgotten.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) answer: Answer,
    /// By the answer, against the zone's serial.
    pub(super) state: State,
    pub(super) answered_at: Option<Timestamp>,
    /// `Some` exactly when the state is not followed.
    pub(super) behind_since: Option<Timestamp>,
    /// The zone's last change has not been followed yet.
    pub(super) is_open: bool,
    pub(super) converged_after: Option<Duration>,
    /// Its place among the warnings to come.
    pub(super) late_at: Option<Timestamp>,
    pub(super) was_late: bool,

    pub(super) notify: Option<Slot>,
    /// NOTIFYs of this serial that were lost in a row.
    pub(super) losses: u32,
    /// NOTIFYs of this serial that the target acknowledged.
    pub(super) acknowledged: u32,
    pub(super) notify_refused: bool,

    pub(super) ask: Option<Slot>,
    /// Questions since the target acknowledged this serial.
    pub(super) questions: u32,

    pub(super) failures: u32,
    pub(super) trouble: Option<Trouble>,
}

impl Track {
    pub(super) fn new() -> Self {
        Self {
            answer: Answer::None,
            state: State::Unknown,
            answered_at: None,
            behind_since: None,
            is_open: false,
            converged_after: None,
            late_at: None,
            was_late: false,
            notify: None,
            losses: 0,
            acknowledged: 0,
            notify_refused: false,
            ask: None,
            questions: 0,
            failures: 0,
            trouble: None,
        }
    }

    /// There is something to tell, of which nothing is known yet at the target.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.behind_since.get_or_insert(now);
        self.losses = 0;
        self.questions = 0;
        self.acknowledged = 0;
    }

    pub(super) fn hear(&mut self, now: Timestamp, serial: Option<Serial>) {
        self.answer = serial.map_or(Answer::NotHeld, Answer::Serial);
        self.answered_at = Some(now);
        self.failures = 0;
    }

    pub(super) fn fail(&mut self, trouble: Trouble) {
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(trouble);
    }

    pub(super) fn standing(&self, zone: &Zone) -> Standing {
        Standing {
            ours: zone.serial,
            changed_at: zone.changed_at,
            state: self.state,
            answered_at: self.answered_at,
            converged_after: self.converged_after,
            behind_since: self.behind_since,
            failures: self.failures,
            trouble: self.trouble,
            notify_refused: self.notify_refused,
        }
    }
}
