//! How far the walk is, when it is to begin again, and how fast it may go.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use switchback_proto::mover::record::v1::Scrub as Record;
use switchback_proto::mover::v1::ScrubRound;
use switchback_store::{StoredBody, StoredPart};
use tokio::time::Instant;

/// A round begins so long after the one before it began, or at its end if that took longer: a store that is read
/// in minutes is not read all day.
const ROUND_INTERVAL_MS: i64 = 24 * 60 * 60 * 1000;

/// What a body costs besides its bytes, in bytes: to look up and to open it. Without it millions of small objects
/// would be read at the rate of a few large ones, and keep a disk busy with nothing but its arm.
pub(crate) const BODY_COST: u64 = 16 << 10;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rounds {
    pub(crate) round: Option<ScrubRound>,
    /// All records are passed: parts of open uploads are read.
    pub(crate) in_parts: bool,
    /// The last row that was passed, of a record or of a part.
    pub(crate) after: Vec<u8>,
    pub(crate) last: Option<ScrubRound>,
    pub(crate) found: u64,
    pub(crate) repaired: u64,
}

impl Rounds {
    pub(crate) fn recall(record: Record) -> Self {
        let Record { round, after, last, found, repaired, in_parts } = record;
        Self { round, in_parts, after: after.to_vec(), last, found, repaired }
    }

    pub(crate) fn to_record(&self) -> Record {
        let Self { round, in_parts, after, last, found, repaired } = self.clone();
        Record { round, after: after.into(), last, found, repaired, in_parts }
    }

    /// Begins a round with the first body.
    pub(crate) fn begin(&mut self, now_unix_ms: i64) {
        self.after.clear();
        self.in_parts = false;
        self.round = Some(ScrubRound { began_unix_ms: now_unix_ms, ..ScrubRound::default() });
    }

    /// One more body was read, or skipped.
    pub(crate) fn passed(&mut self, body: &StoredBody, is_damaged: bool, skipped: u64) {
        if let Some(round) = &mut self.round {
            round.bodies += 1;
            round.bytes += body.object.size;
            round.damaged += u64::from(is_damaged);
            round.skipped += skipped;
        }
        self.after = body.place();
    }

    /// All bodies were read: the first part is next.
    pub(crate) fn begin_parts(&mut self) {
        self.after.clear();
        self.in_parts = true;
    }

    /// One more part was read, or skipped.
    pub(crate) fn passed_part(&mut self, part: &StoredPart, is_damaged: bool, skipped: u64) {
        if let Some(round) = &mut self.round {
            round.parts += 1;
            round.part_bytes += part.part.size;
            round.damaged += u64::from(is_damaged);
            round.skipped += skipped;
        }
        self.after = part.place();
    }

    /// All bodies and parts were read.
    pub(crate) fn end(&mut self, now_unix_ms: i64) {
        self.after.clear();
        self.in_parts = false;
        if let Some(round) = self.round.take() {
            self.last = Some(ScrubRound { ended_unix_ms: now_unix_ms, ..round });
        }
    }

    /// When the next round is to begin; none while one is under way. A clock that was ahead holds nothing up.
    pub(crate) fn due_unix_ms(&self, now_unix_ms: i64) -> Option<i64> {
        if self.round.is_some() {
            return None;
        }
        let began = self.last.as_ref().map(|last| last.began_unix_ms).filter(|began| *began <= now_unix_ms);
        Some(began.map_or(now_unix_ms, |began| began.saturating_add(ROUND_INTERVAL_MS)))
    }

    /// What the round that is under way has read, in bytes of cost.
    pub(crate) fn done(&self) -> u64 {
        self.round.as_ref().map_or(0, |round| cost(round.bodies, round.bytes))
    }
}

/// What it costs to read so many bodies of so many bytes.
pub(crate) fn cost(bodies: u64, bytes: u64) -> u64 {
    bytes.saturating_add(bodies.saturating_mul(BODY_COST))
}

/// Milliseconds that `cost` takes at `rate` bytes a second.
pub(crate) fn time_ms(cost: u64, rate: u64) -> u64 {
    cost.saturating_mul(1_000).checked_div(rate).unwrap_or(0)
}

/// Holds a reader back to a rate.
pub(crate) struct Pace {
    rate: u64,
    /// When what was read so far would be read at the rate.
    until: Mutex<Instant>,
}

impl Pace {
    /// `rate` bytes a second.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, until: Mutex::new(Instant::now()) }
    }

    /// So many bytes were read; resolves when more may be.
    pub(crate) fn take(&self, bytes: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used of the time before is not made up for.
        *until = (*until).max(Instant::now())
            + Duration::from_micros(time_ms(bytes.saturating_mul(1_000), self.rate));
        tokio::time::sleep_until(*until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_due_a_day_after_the_last_began_and_goes_on_over_a_restart() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.due_unix_ms(5), Some(5));
        rounds.begin(5);
        rounds.after = vec![1];
        assert_eq!(rounds.due_unix_ms(6), None);
        assert_eq!(Rounds::recall(rounds.to_record()), rounds);
        rounds.begin_parts();
        assert!(rounds.after.is_empty(), "the first of them");
        rounds.after = vec![2];
        assert_eq!(Rounds::recall(rounds.to_record()), rounds);
        rounds.end(100);
        assert!(rounds.after.is_empty() && !rounds.in_parts);
        assert_eq!(rounds.due_unix_ms(101), Some(5 + ROUND_INTERVAL_MS));
        assert_eq!(rounds.due_unix_ms(4), Some(4), "the clock was set back");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_than_the_rate_allows() {
        let (pace, began) = (Pace::new(1_000_000), Instant::now());
        for _ in 0..100 {
            pace.take(50_000).await;
        }
        assert!((4_900..=5_100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let idle = Instant::now();
        pace.take(1_000_000).await;
        assert!(idle.elapsed() >= Duration::from_millis(990), "time that was not used is gone");
    }
}
