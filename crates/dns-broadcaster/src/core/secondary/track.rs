//! One zone that is followed.

use core::time::Duration;

use switchback_machine::Timestamp;

use super::super::zone::Serial;
use super::event::{Primary, Reason};
use super::members::Label;
use super::policy::{Policy, Times};

/// What is to be done for a zone, or is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Ask,
    Transfer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until it is due.
    Idle,
    /// For its turn, which has this number.
    Waiting(Task, u64),
    /// For the end of an exchange.
    Busy(Task),
}

/// A NOTIFY that came in the middle of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    Serial(Serial),
    Unknown,
}

/// What is held of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) serial: Serial,
    pub(super) times: Times,
    /// The primary's last word.
    pub(super) word: Timestamp,
    /// The last word that is on disk.
    pub(super) kept: Timestamp,
    pub(super) age: Age,
}

/// How far a copy is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// Somebody was warned.
    Warned,
    Expired,
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) primary: Primary,
    pub(super) label: Option<Label>,
    pub(super) copy: Option<Copy>,
    pub(super) phase: Phase,
    pub(super) news: News,
    /// Differences are no way to what the primary has.
    pub(super) is_whole: bool,
    pub(super) failures: u32,
    pub(super) trouble: Option<(Reason, Timestamp)>,
    /// When it is asked for next; `None` while that is under way, or the zone is published here.
    pub(super) due: Option<Timestamp>,
    pub(super) alarm: Option<Timestamp>,
    /// This server publishes the zone itself.
    pub(super) is_published: bool,
    /// It is followed no more, or from anew, once the exchange has ended.
    pub(super) is_leaving: bool,
}

impl Track {
    pub(super) fn new(primary: Primary, label: Option<Label>, copy: Option<Copy>) -> Self {
        Self {
            primary,
            label,
            copy,
            phase: Phase::Idle,
            news: News::None,
            is_whole: false,
            failures: 0,
            trouble: None,
            due: None,
            alarm: None,
            is_published: false,
            is_leaving: false,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Busy(_))
    }

    /// Whether the primary has something newer, as far as it says.
    pub(super) fn is_news(&self, serial: Serial) -> bool {
        self.copy.is_none_or(|copy| serial.is_newer_than(copy.serial))
    }

    pub(super) fn retry_delay(&self, policy: &Policy) -> Duration {
        match self.copy {
            Some(copy) => copy.times.retry_after(self.failures),
            None => policy.first_delay(self.failures.saturating_sub(1)),
        }
    }
}

impl Copy {
    /// When the next thing happens to it that does without its primary.
    pub(super) fn alarm(&self) -> Option<Timestamp> {
        match self.age {
            Age::Fresh => Some(self.word + self.times.warning()),
            Age::Warned => Some(self.word + self.times.expire),
            Age::Expired => None,
        }
    }
}
