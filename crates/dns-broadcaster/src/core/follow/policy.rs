//! The times and limits that following obeys.

use core::time::Duration;

use crate::core::contact::{Patience, doubled};

/// Targets that are followed. Each zone is remembered once per target; a site has a handful of
/// name servers that face its clients, and what lies behind those follows them.
pub const TARGETS_MAX: usize = 32;
/// Zones that are followed: twice the largest system that was measured. A zone costs about 500
/// bytes per target (measured with 100,000 zones and four targets), so four targets of this many
/// zones take 400 MB.
pub const ZONES_MAX: usize = 200_000;
/// Exchanges outstanding per target, whatever the policy says. Those that begin together share a socket, whose
/// kernel has room for some hundreds of answers; so has the target's, for as many messages.
pub const OUTSTANDING_CEILING: usize = 256;
/// Changes of one zone whose times are remembered, so that a target that lags by some of them is
/// not taken for one that follows none. Changes come at most some times a second and targets take
/// less than that many steps to follow; a longer lag is counted from where it began.
pub(super) const CHANGES_MAX: usize = 8;
/// Late zones told per target and step, so that 100,000 of them do not hold up the step. The rest
/// is told [`LATE_PAUSE`] later.
pub(super) const LATE_MAX: usize = 256;
/// See [`LATE_MAX`].
pub(super) const LATE_PAUSE: Duration = Duration::from_millis(1);
/// When targets are told and asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Exchanges outstanding per target, so that a dead one costs little; 1 to
    /// [`OUTSTANDING_CEILING`]. The last quarter is kept for what has just changed.
    pub outstanding_max: usize,
    /// From a NOTIFY that was lost to the next one (RFC 1996 section 3.6); doubles with each loss, and
    /// before each one to a target that acknowledged and does not follow.
    pub notify_again: Duration,
    /// The longest time between two NOTIFYs to a target that is behind. There is no last one: a
    /// site that comes back after a day must be told.
    pub notify_again_max: Duration,
    /// Between two NOTIFYs to a target that refuses them and is told of nothing new. Each costs a
    /// line in its log; without any, nobody would notice that its configuration was mended.
    pub notify_refused_again: Duration,
    /// From an acknowledged NOTIFY to the question for the SOA, and between the first two
    /// questions; doubles with each. At least 1 ms.
    pub ask_first: Duration,
    /// Where the doubling ends.
    pub ask_max: Duration,
    /// Between two questions after that, as long as the target is behind.
    pub ask_slow: Duration,
    /// From an answer that shows the target converged or ahead to the next question: it may lose
    /// the zone, or be fed by somebody else.
    pub round: Duration,
    /// Between two questions to one target that are not about a recent change, of each kind (those
    /// of the round, and those about zones that have been behind for long). With many zones a
    /// round takes longer than `round`: 100,000 zones at 10 ms take 17 minutes, and 100 questions
    /// a second are no load to a name server.
    pub round_gap: Duration,
    /// Exchanges that fail in a row, over all zones, before a target counts as unreachable.
    pub unreachable_after: u32,
    /// From the loss of a target to the first probe; doubles with each probe.
    pub probe_again: Duration,
    /// The longest time between two probes. Also the longest time for which a target that is back
    /// is not noticed, unless a zone changes: then it is probed at once.
    pub probe_again_max: Duration,
    /// A target that answers is late when it has not followed a change after this time.
    pub late_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            outstanding_max: OUTSTANDING_CEILING,
            notify_again: Duration::from_secs(1),
            notify_again_max: Duration::from_secs(60),
            notify_refused_again: Duration::from_secs(600),
            ask_first: Duration::from_millis(5),
            ask_max: Duration::from_secs(1),
            ask_slow: Duration::from_secs(5),
            round: Duration::from_secs(30),
            round_gap: Duration::from_millis(10),
            unreachable_after: 3,
            probe_again: Duration::from_secs(1),
            probe_again_max: Duration::from_secs(30),
            late_after: Duration::from_secs(30),
        }
    }
}

impl Policy {
    /// This policy with what would make it spin or stall brought within bounds.
    pub(super) fn bounded(self) -> Self {
        Self {
            outstanding_max: self.outstanding_max.clamp(1, OUTSTANDING_CEILING),
            ask_first: self.ask_first.max(Duration::from_millis(1)),
            ..self
        }
    }

    /// Up to how many outstanding exchanges one that is not about a recent change may begin.
    pub(super) fn background_max(&self) -> usize {
        self.outstanding_max - self.outstanding_max / 4
    }

    /// From the NOTIFY that was in vain after `others` to the next.
    pub(super) fn notify_delay(&self, others: u32) -> Duration {
        doubled(self.notify_again, others).min(self.notify_again_max)
    }

    /// With targets that are silent.
    pub(super) fn patience(&self) -> Patience {
        let Self { unreachable_after, probe_again, probe_again_max, .. } = *self;
        Patience { unreachable_after, probe_again, probe_again_max }
    }

    /// To the next question about a zone that is not followed, after `questions` since the change.
    pub(super) fn ask_delay(&self, questions: u32) -> Duration {
        let delay = doubled(self.ask_first, questions);
        let reached = |questions| doubled(self.ask_first, questions) >= self.ask_max;
        match questions.checked_sub(1) {
            _ if delay < self.ask_max => delay,
            Some(before) if reached(before) => self.ask_slow,
            _ => self.ask_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn questions_come_at_5_ms_doubling_to_1_s_and_then_every_5_s() {
        let policy = Policy::default();
        let delays: Vec<_> = (0..11).map(|asked| policy.ask_delay(asked).as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 640, 1_000, 5_000, 5_000]);
        assert_eq!(policy.ask_delay(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn a_policy_of_zeros_neither_stalls_nor_spins() {
        let policy = Policy { outstanding_max: 0, ask_first: Duration::ZERO, ..Policy::default() }.bounded();
        assert_eq!((policy.outstanding_max, policy.background_max()), (1, 1));
        assert_eq!(policy.ask_delay(30), Duration::from_secs(5));
    }
}
