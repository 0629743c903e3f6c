//! When the end of a feed is looked at again. Pure.
//!
//! A write that comes alone is sent at once. While writes keep coming, those of [`GATHER_TIME`] go together, as a commit
//! takes what came during the flush before it: to read, encipher, make durable and acknowledge costs nearly as much for
//! one change as for a hundred, and the writers pay for it. They may be further behind by that time, while there is
//! load, and by no more.
//!
//! A backlog is not held: its batches are full anyhow. Nor is what a side has left to send that is not the one that
//! writes: somebody waits for that.

use std::time::Duration;

use tokio::time::Instant;

/// A feed under load is read this often. A hundred batches a second are little work for either side, and a hundredth of
/// a second is less than a line between two sites takes.
const GATHER_TIME: Duration = Duration::from_millis(10);

/// One feed.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    not_before: Option<Instant>,
}

impl Gather {
    /// Something was found when the feed was read to its end, at `now`.
    pub(crate) fn found(&mut self, now: Instant) {
        self.not_before = Some(now + GATHER_TIME);
    }

    /// Until when nothing is read; none: now.
    pub(crate) fn holds(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|not_before| now < *not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a session does whenever something was written; answers when each write left.
    fn leaves(writes: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let (mut gather, mut left, mut now) = (Gather::default(), Vec::new(), start);
        while let Some(next) = writes.get(left.len()) {
            now = now.max(start + Duration::from_millis(*next));
            now = gather.holds(now).unwrap_or(now);
            let there = writes.iter().skip(left.len());
            let there = there.take_while(|at| start + Duration::from_millis(**at) <= now).count();
            gather.found(now);
            let at = u64::try_from((now - start).as_millis()).unwrap();
            left.extend(std::iter::repeat_n(at, there));
        }
        left
    }

    #[test]
    fn a_write_that_comes_alone_leaves_at_once_and_those_that_keep_coming_leave_together() {
        assert_eq!(leaves(&[0, 500, 1_000]), [0, 500, 1_000]);
        assert_eq!(leaves(&[0, 1, 2, 9, 11, 12, 40]), [0, 10, 10, 10, 20, 20, 40]);
    }

    #[test]
    fn no_write_waits_longer_than_the_time_and_no_load_makes_more_batches() {
        for step in 1..=20 {
            let writes: Vec<u64> = (0..2_000).map(|number| number * step / 4).collect();
            let left = leaves(&writes);
            let longest = left.iter().zip(&writes).map(|(left, written)| left - written).max();
            assert!(longest.is_some_and(|longest| longest <= 10), "{step}: {longest:?}");
            let mut batches = left.clone();
            batches.dedup();
            assert!(batches.windows(2).all(|pair| pair[1] - pair[0] >= 10), "{step}");
        }
    }
}
