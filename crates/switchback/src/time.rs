//! Times and durations as people read them. Scripts get Unix milliseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;

/// Now, in Unix milliseconds.
#[must_use]
pub fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with whole seconds; `-` for 0, which is "never" everywhere in the product.
#[must_use]
pub fn timestamp(unix_ms: i64) -> String {
    if unix_ms == 0 {
        return "-".into();
    }
    let seconds = unix_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// The Gregorian date of a day counted from 1970-01-01. Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`: years begin in March, so that the leap day is last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The Unix milliseconds of an RFC 3339 time, rounded up; `None` of what is none.
#[must_use]
pub fn unix_ms(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    let is_between = !time.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    Some(time.timestamp_millis() + i64::from(is_between))
}

/// How long ago a time was, with two units at most.
#[must_use]
pub fn ago(unix_ms: i64) -> String {
    if unix_ms == 0 {
        return "never".into();
    }
    let past = u64::try_from(now_unix_ms() - unix_ms).unwrap_or(0);
    format!("{} ago", duration(Duration::from_millis(past)))
}

/// A duration with two units at most; below ten seconds with tenths.
#[must_use]
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A number of bytes in powers of 1,024.
#[must_use]
pub fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_on_leap_days_and_at_century_ends() {
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_767_225_599_999), "2025-12-31T23:59:59Z");
        assert_eq!(timestamp(4_107_542_400_000), "2100-03-01T00:00:00Z");
        assert_eq!(timestamp(-1_000), "1969-12-31T23:59:59Z");
        assert_eq!(timestamp(0), "-");
    }

    #[test]
    fn a_time_is_read_as_it_is_written_and_never_as_an_earlier_one() {
        for unix_ms_of in [951_782_400_000, 1_767_225_599_000, 4_107_542_400_000, -1_000, 1_709_164_800_000] {
            assert_eq!(unix_ms(&timestamp(unix_ms_of)), Some(unix_ms_of));
        }
        let base = 1_767_225_599_000;
        for (text, more) in [
            ("2025-12-31T23:59:59.1Z", 100),
            ("2025-12-31T23:59:59.123000Z", 123),
            ("2025-12-31T23:59:59.1230001Z", 124),
            ("2025-12-31t23:59:59z", 0),
            ("2026-01-01T01:59:59+02:00", 0),
            ("2025-12-31T18:29:59-05:30", 0),
        ] {
            assert_eq!(unix_ms(text), Some(base + more), "{text}");
        }
        for wrong in [
            "",
            "2025-12-31",
            "2025-12-31T23:59:59",
            "2025-13-31T23:59:59Z",
            "2025-00-31T23:59:59Z",
            "2025-02-29T23:59:59Z",
            "2025-12-31T24:00:00Z",
            "2025-12-31T23:60:00Z",
            "2025-12-31T23:59:59.Z",
            "2025-12-31T23:59:59Z+",
            "2025-12-31T23:59:5éZ",
            "Wed, 31 Dec 2025 23:59:59 GMT",
        ] {
            assert_eq!(unix_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!(duration(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(3_725)), "1 h 2 min");
        assert_eq!(duration(Duration::from_secs(90_000)), "1 d 1 h");
    }
}
