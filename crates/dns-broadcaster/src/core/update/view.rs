//! What an operator sees: plain values, as of the last step.

use core::time::Duration;

use switchback_machine::Timestamp;

use super::event::Trouble;
use super::fence::Fence;
use crate::core::zone::Serial;

/// Where a target stands with a tenant's names, by its last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is known: it has not answered yet, or this system waits to be confirmed itself.
    Unknown,
    /// The names stand there as they should.
    Converged,
    /// They stand there under an older serial, or not at all.
    Behind {
        /// The serial there, if there is a fence.
        theirs: Option<Serial>,
    },
    /// They stand there under a newer serial (or one that RFC 1982 has no order for): this system is the
    /// stale one.
    Overtaken {
        /// What stands there.
        theirs: Fence,
    },
    /// Something stands in the fence's place that no system put there.
    Foreign,
    /// The other system put them there under this very serial, and other addresses are answered.
    Differs,
    /// They are to go, and may still be there.
    Leaving,
}

impl State {
    /// Nothing is left to do but to look now and then.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Converged | Self::Overtaken { .. })
    }
}

/// A target and a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// This system's serial; `None` when it says nothing about the names now.
    pub ours: Option<Serial>,
    /// Where the target stands, as of `answered_at`.
    pub state: State,
    /// The target's last answer about this tenant.
    pub answered_at: Option<Timestamp>,
    /// From the last change to the answer that showed it. `None` until then.
    pub converged_after: Option<Duration>,
    /// Since when something is missing there. `None` when nothing is.
    pub behind_since: Option<Timestamp>,
    /// Exchanges about this tenant in a row that came to nothing.
    pub failures: u32,
    /// Why the last of them did; `None` when the target took an update and did not answer it.
    pub trouble: Option<Trouble>,
}

/// Tenants of a target by their [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the states'")]
pub struct Counts {
    pub unknown: usize,
    pub converged: usize,
    pub behind: usize,
    pub overtaken: usize,
    /// Foreign, or differs: somebody has to look.
    pub blocked: usize,
    pub leaving: usize,
}

impl Counts {
    pub(super) fn of(&mut self, state: &State) -> &mut usize {
        match state {
            State::Unknown => &mut self.unknown,
            State::Converged => &mut self.converged,
            State::Behind { .. } => &mut self.behind,
            State::Overtaken { .. } => &mut self.overtaken,
            State::Foreign | State::Differs => &mut self.blocked,
            State::Leaving => &mut self.leaving,
        }
    }
}

/// How a target took the last publication that changed anything there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// When it was published.
    pub at: Timestamp,
    /// Tenants that changed.
    pub names: usize,
    /// Those of them that do not stand there yet.
    pub open: usize,
    /// The slowest of those that do; `None` when there is none.
    pub slowest: Option<Duration>,
}

/// A target as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its tenants, each as of the target's last answer about it.
    pub counts: Counts,
    /// `None` while it is heard.
    pub unreachable_since: Option<Timestamp>,
    /// The last time that anything came from it.
    pub last_heard: Option<Timestamp>,
    /// Exchanges that wait for their end.
    pub outstanding: usize,
    /// `None` before the first.
    pub last_change: Option<LastChange>,
}
