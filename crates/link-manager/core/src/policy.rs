//! The durations the decisions read.

use core::time::Duration;

/// Durations of the link protocol.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Policy {
    /// Between two heartbeats of a link.
    pub heartbeat: Duration,
    /// Silence after which contact counts as lost: several heartbeats, so that one that was lost
    /// or late is no alarm.
    pub contact_timeout: Duration,
    /// After a start, how long content stays read-only unless the peer's epoch is heard sooner.
    pub contact_wait: Duration,
    /// Default of a link's fence time.
    pub fence_time: Duration,
    /// Default of a link's drain time.
    pub drain_time: Duration,
    /// Before a call to the data mover that failed is made again.
    pub retry: Duration,
    /// How long a proposal (create, restore) waits for the other side's answer.
    pub proposal_time: Duration,
    /// A recovery with more than this left to transfer is not completed without `--anyway`.
    pub completion_backlog: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            contact_timeout: Duration::from_millis(2_500),
            contact_wait: Duration::from_secs(5),
            fence_time: Duration::from_secs(2),
            drain_time: Duration::from_secs(10),
            retry: Duration::from_millis(250),
            proposal_time: Duration::from_secs(10),
            completion_backlog: Duration::from_secs(60),
        }
    }
}

/// Accepted commands that are remembered, so that a repeat does nothing. Older ones are forgotten.
pub(crate) const REQUESTS_MAX: usize = 1024;

/// Links of one system; each costs a heartbeat twice a second.
pub(crate) const LINKS_MAX: usize = 1024;
