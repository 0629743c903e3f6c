//! Unix milliseconds, as the store keeps them, and the time stamps of S3.

use std::time::{Duration, UNIX_EPOCH};

use s3s::dto::{Timestamp, TimestampFormat};

/// The time stamp of `unix_ms`.
pub(crate) fn stamp(unix_ms: i64) -> Timestamp {
    let since = Duration::from_millis(unix_ms.unsigned_abs());
    let time = if unix_ms < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
    Timestamp::from(time.unwrap_or(UNIX_EPOCH))
}

/// Unix seconds of `stamp`, rounded down.
pub(crate) fn seconds(stamp: &Timestamp) -> i64 {
    let mut text = Vec::new();
    // An epoch in decimal digits, perhaps with a fraction.
    let written = stamp.format(TimestampFormat::EpochSeconds, &mut text);
    let digits = written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default();
    digits.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0)
}

/// Unix milliseconds of `stamp`, rounded down.
pub(crate) fn millis(stamp: &Timestamp) -> i64 {
    let mut text = Vec::new();
    let written = stamp.format(TimestampFormat::EpochSeconds, &mut text);
    let digits = written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default();
    let fraction = digits.split_once('.').map(|(_, fraction)| fraction).unwrap_or_default();
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    seconds(stamp).saturating_mul(1000).saturating_add(fraction.parse().unwrap_or(0))
}

/// `unix_ms` as an HTTP date.
pub(crate) fn http_date(unix_ms: i64) -> String {
    formatted(&stamp(unix_ms))
}

/// `stamp` as an HTTP date.
pub(crate) fn formatted(stamp: &Timestamp) -> String {
    let mut text = Vec::new();
    let written = stamp.format(TimestampFormat::HttpDate, &mut text);
    written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
}

/// An HTTP date, if `text` is one.
pub(crate) fn parsed(text: &str) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_forms() {
        assert_eq!(http_date(1_700_000_000_999), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(seconds(&stamp(1_700_000_000_999)), 1_700_000_000);
        for unix_ms in [1_700_000_000_000, 1_700_000_000_007, 1_700_000_000_990] {
            assert_eq!(millis(&stamp(unix_ms)), unix_ms);
        }
        assert_eq!(parsed("Tue, 14 Nov 2023 22:13:20 GMT"), Some(stamp(1_700_000_000_000)));
    }
}
