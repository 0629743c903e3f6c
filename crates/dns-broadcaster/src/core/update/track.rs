//! One tenant at one target: what is wished, what was seen, and what follows from the two.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use switchback_machine::Timestamp;

use super::event::{Exchange, Found, Put, Trouble};
use super::fence::{Fence, Stands};
use super::view::{Standing, State};
use super::wish::{Content, Wish};
use crate::core::name::Name;
use crate::core::record::Rdata;
use crate::core::zone::Serial;

/// What is known of the target, as of its last answer about this tenant.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// Nothing, or an update has left since whose end is not known.
    Nothing,
    /// The fence alone: an update that put it was accepted.
    Fence(Vec<Rdata>),
    /// All that was asked for.
    All(Found),
}

/// What to do about a tenant at a target.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing, until something else is wished.
    Idle,
    /// Ask.
    Look,
    /// Send an update, for as long as `demand` stands there.
    Write { demand: Vec<Rdata>, put: Option<Put> },
    /// Nothing but to ask now and then.
    Rest(State),
    /// It was to go, and is not there.
    Gone,
    /// It was to go, and stands there under a fence of somebody else; or it is somebody else's to say.
    Left,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) wish: Wish,
    /// It is on record that this system may have put something there.
    pub(super) is_remembered: bool,
    pub(super) seen: Seen,
    /// Questions since an update was accepted that no answer has shown yet.
    pub(super) unseen: Option<u32>,
    pub(super) flight: Option<Exchange>,
    pub(super) due: Option<super::updater::Slot>,
    /// No exchange is begun before.
    pub(super) not_before: Timestamp,
    /// The target has refused an update that demanded nothing in the place where something foreign was
    /// answered: a wildcard's record is answered for names that have none of their own (RFC 4592), but no
    /// prerequisite sees it.
    pub(super) is_foreign: bool,
    /// The answer that nothing of this system's is there, when it was to go.
    pub(super) away_since: Option<Timestamp>,

    pub(super) state: State,
    pub(super) changed_at: Timestamp,
    /// The publication that changed it last.
    pub(super) batch: u64,
    /// The last change does not stand there yet.
    pub(super) is_open: bool,
    pub(super) converged_after: Option<Duration>,
    pub(super) behind_since: Option<Timestamp>,
    /// Under which it is in the backlog.
    pub(super) counted: Option<Timestamp>,
    pub(super) is_late: bool,
    pub(super) answered_at: Option<Timestamp>,
    pub(super) failures: u32,
    pub(super) trouble: Option<Trouble>,
}

impl Track {
    pub(super) fn new(is_remembered: bool) -> Self {
        Self {
            wish: Wish::Wait,
            is_remembered,
            seen: Seen::Nothing,
            unseen: None,
            flight: None,
            due: None,
            not_before: Timestamp(0),
            is_foreign: false,
            away_since: None,
            state: State::Unknown,
            changed_at: Timestamp(0),
            batch: 0,
            is_open: false,
            converged_after: None,
            behind_since: None,
            counted: None,
            is_late: false,
            answered_at: None,
            failures: 0,
            trouble: None,
        }
    }

    /// Something else is wished.
    pub(super) fn change(&mut self, now: Timestamp, wish: Wish, batch: u64) {
        self.unseen = None;
        self.not_before = now;
        self.is_foreign = false;
        self.away_since = None;
        self.converged_after = None;
        self.is_late = false;
        self.failures = 0;
        self.trouble = None;
        match wish {
            Wish::Put(_) => {
                (self.changed_at, self.batch, self.is_open) = (now, batch, true);
                self.behind_since.get_or_insert(now);
                self.state = match self.answered_at {
                    Some(_) => State::Behind { theirs: self.served() },
                    None => State::Unknown,
                };
            }
            Wish::Remove => {
                self.is_open = false;
                self.behind_since = Some(now);
                self.state = State::Leaving;
            }
            Wish::Wait | Wish::LetGo => {
                self.is_open = false;
                self.behind_since = None;
                self.state = State::Unknown;
            }
        }
        self.wish = wish;
    }

    /// What follows from what was seen. The one place that decides whether something may be written.
    pub(super) fn judge(&self, name: &Name, system: &Name) -> Next {
        let content = match &self.wish {
            Wish::Wait => return Next::Idle,
            Wish::LetGo => return Next::Left,
            Wish::Remove => return self.judge_removal(system),
            Wish::Put(content) => content,
        };
        let Some(fence) = self.fence() else { return Next::Look };
        match Stands::of(fence) {
            Stands::Foreign if self.is_foreign => Next::Rest(State::Foreign),
            Stands::Nothing | Stands::Foreign => Self::put(&[], content, system),
            Stands::Fence(theirs) if content.serial.is_newer_than(theirs.serial) => {
                Self::put(fence, content, system)
            }
            Stands::Fence(theirs) if content.serial != theirs.serial => {
                Next::Rest(State::Overtaken { theirs })
            }
            Stands::Fence(theirs) => {
                let (is_ours, is_home) = (theirs.system == *system, name.is_within(system));
                match &self.seen {
                    _ if !is_ours && is_home => Self::put(fence, content, system),
                    Seen::All(found) if found.shows(content) => Next::Rest(State::Converged),
                    // Only one of the two systems mends, or both would for ever.
                    Seen::All(_) if is_ours => Self::put(fence, content, system),
                    Seen::All(_) => Next::Rest(State::Differs),
                    Seen::Fence(_) | Seen::Nothing => Next::Look,
                }
            }
        }
    }

    fn judge_removal(&self, system: &Name) -> Next {
        let Some(fence) = self.fence() else { return Next::Look };
        match (Stands::of(fence), &self.seen) {
            (Stands::Nothing, Seen::All(_)) => Next::Gone,
            (Stands::Nothing, Seen::Fence(_) | Seen::Nothing) => Next::Look,
            (Stands::Fence(theirs), _) if theirs.system == *system => {
                Next::Write { demand: fence.to_vec(), put: None }
            }
            (Stands::Fence(_) | Stands::Foreign, _) => Next::Left,
        }
    }

    fn put(demand: &[Rdata], content: &Arc<Content>, system: &Name) -> Next {
        let fence = Fence { serial: content.serial, place: content.place, system: system.clone() }.rdata();
        Next::Write { demand: demand.to_vec(), put: Some(Put { fence, content: Arc::clone(content) }) }
    }

    /// What stands in the fence's place, if that is known.
    fn fence(&self) -> Option<&[Rdata]> {
        match &self.seen {
            Seen::Nothing => None,
            Seen::Fence(fence) => Some(fence),
            Seen::All(found) => Some(&found.fence),
        }
    }

    /// Whether the last answer had something that no system put there.
    pub(super) fn seems_foreign(&self) -> bool {
        self.fence().is_some_and(|fence| Stands::of(fence) == Stands::Foreign)
    }

    /// The serial of the fence there, if that is known.
    pub(super) fn served(&self) -> Option<Serial> {
        match Stands::of(self.fence()?) {
            Stands::Fence(fence) => Some(fence.serial),
            Stands::Nothing | Stands::Foreign => None,
        }
    }

    /// Another exchange that did not help.
    pub(super) fn fail(&mut self, not_before: Timestamp, trouble: Option<Trouble>) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = not_before;
        self.trouble = trouble;
    }

    pub(super) fn standing(&self) -> Standing {
        let ours = match &self.wish {
            Wish::Put(content) => Some(content.serial),
            Wish::Wait | Wish::LetGo | Wish::Remove => None,
        };
        Standing {
            ours,
            state: self.state.clone(),
            answered_at: self.answered_at,
            converged_after: self.converged_after,
            behind_since: self.behind_since,
            failures: self.failures,
            trouble: self.trouble,
        }
    }
}

impl Found {
    /// The names lead where `content` says, and only there.
    fn shows(&self, content: &Content) -> bool {
        [&self.tenant, &self.wildcard].into_iter().all(|found| *found == content.leads)
    }
}
