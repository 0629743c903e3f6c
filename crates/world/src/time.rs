//! Wall time. Time that passes is `tokio::time`'s.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the clock on the wall shows. It may jump, either way.
#[must_use]
pub fn wall() -> SystemTime {
    crate::simulated().map_or_else(SystemTime::now, |world| world.wall())
}

/// As [`wall`], in milliseconds since 1970; 0 before that.
#[must_use]
pub fn unix_ms() -> u64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Lets the time pass that a simulated disk takes. A disk that takes none is waited for by nobody: a
/// simulation without a runtime then gets its answer at once.
pub async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
