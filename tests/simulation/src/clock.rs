//! The clocks on the systems' walls, which may be wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the clocks start: the first day of 2026.
const START_UNIX_SECONDS: u64 = 1_767_225_600;

/// How wrong the clock on a system's wall is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Skew {
    /// Milliseconds that it is ahead.
    pub ahead_ms: i64,
    /// Parts of a million that it is fast.
    pub fast_ppm: i64,
}

impl Skew {
    /// What the clock shows when `passed` has passed since the run began.
    #[must_use]
    pub fn wall(self, passed: Duration) -> SystemTime {
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let ahead_ms = self.ahead_ms + passed_ms / 1_000 * self.fast_ppm / 1_000;
        let true_time = UNIX_EPOCH + Duration::from_secs(START_UNIX_SECONDS) + passed;
        let ahead = Duration::from_millis(ahead_ms.unsigned_abs());
        if ahead_ms < 0 { true_time - ahead } else { true_time + ahead }
    }
}
