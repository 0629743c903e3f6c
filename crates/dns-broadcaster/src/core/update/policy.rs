//! The times and limits that updating obeys.

use core::time::Duration;

use crate::core::contact::{Patience, doubled};

/// Names that are kept at one target; each takes some 500 bytes. A flat zone of that many tenants is
/// better delegated.
pub const NAMES_MAX: usize = 50_000;
/// Exchanges outstanding per target, whatever the policy says: each holds a socket.
const OUTSTANDING_CEILING: usize = 64;

/// When targets are asked and updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Exchanges outstanding per target, 1 to 64. The last quarter is kept for what has just changed.
    pub outstanding_max: usize,
    /// From an accepted update that the target does not answer yet to the next question; doubles with
    /// each question. At least 1 ms.
    pub look_again: Duration,
    /// Questions after an accepted update before it counts as undone.
    pub looks_max: u32,
    /// From an exchange that failed, or was declined, to the next; doubles with each in a row. At least
    /// 1 ms.
    pub again: Duration,
    /// The longest time between two exchanges about a name that does not stand as it should. There is
    /// no last one.
    pub again_max: Duration,
    /// From an answer that shows a name as it should be, or overtaken, to the next question: somebody may
    /// edit the zone, or the other system go away.
    pub round: Duration,
    /// Between two questions to one target that are not about a recent change. With many names a round
    /// takes longer than `round`.
    pub round_gap: Duration,
    /// From the answer that nothing of this system's is there, of a name that was to go, to the question
    /// whether that still holds. Longer than a
    /// signature is good for (RFC 8945 section 10: 300 s), so that a doubled message of before the removal
    /// can no longer bring it back.
    pub linger: Duration,
    /// Exchanges that fail in silence in a row, over all names, before a target counts as unreachable.
    pub unreachable_after: u32,
    /// From the loss of a target to the first probe; doubles with each.
    pub probe_again: Duration,
    /// The longest time between two probes. A publication probes at once.
    pub probe_again_max: Duration,
    /// A target that answers is late when a name does not stand there after this time.
    pub late_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            outstanding_max: 16,
            look_again: Duration::from_millis(5),
            looks_max: 8,
            again: Duration::from_millis(500),
            again_max: Duration::from_secs(30),
            round: Duration::from_secs(30),
            round_gap: Duration::from_millis(20),
            linger: Duration::from_secs(310),
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
        const SOON: Duration = Duration::from_millis(1);
        Self {
            outstanding_max: self.outstanding_max.clamp(1, OUTSTANDING_CEILING),
            look_again: self.look_again.max(SOON),
            again: self.again.max(SOON),
            again_max: self.again_max.max(SOON),
            round: self.round.max(SOON),
            linger: self.linger.max(SOON),
            probe_again: self.probe_again.max(SOON),
            probe_again_max: self.probe_again_max.max(SOON),
            ..self
        }
    }

    /// Up to how many outstanding exchanges one that is not about a recent change may begin.
    pub(super) fn background_max(&self) -> usize {
        self.outstanding_max - self.outstanding_max / 4
    }

    /// To the question after `looks` that did not show an accepted update.
    pub(super) fn look_delay(&self, looks: u32) -> Duration {
        doubled(self.look_again, looks)
    }

    /// To the next exchange after `failures` in a row, of which there is one at least.
    pub(super) fn delay(&self, failures: u32) -> Duration {
        doubled(self.again, failures.saturating_sub(1)).min(self.again_max)
    }

    /// With targets that are silent.
    pub(super) fn patience(&self) -> Patience {
        let Self { unreachable_after, probe_again, probe_again_max, .. } = *self;
        Patience { unreachable_after, probe_again, probe_again_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_zeros_neither_stalls_nor_spins() {
        let zero = Duration::ZERO;
        let policy =
            Policy { outstanding_max: 0, look_again: zero, again: zero, round: zero, ..Policy::default() };
        let policy = policy.bounded();
        assert_eq!((policy.outstanding_max, policy.background_max()), (1, 1));
        assert!(policy.look_delay(0) > zero && policy.delay(1) > zero && policy.round > zero);
    }

    #[test]
    fn what_fails_is_tried_after_half_a_second_doubling_to_half_a_minute() {
        let policy = Policy::default();
        let delays = [1, 2, 3, 7, 40].map(|failures| policy.delay(failures).as_millis());
        assert_eq!(delays, [500, 1_000, 2_000, 30_000, 30_000]);
    }
}
