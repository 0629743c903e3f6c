//! Schedules against a model that looks at every minute, and as operators write them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use switchback_model::{Rate, Schedule};

const WEEK_MS: i64 = 7 * 24 * 60 * 60_000;
/// 2026-11-30, a Monday, 00:00 UTC.
const MONDAY: i64 = 1_795_996_800_000;

fn at(day: i64, hour: i64, minute: i64) -> i64 {
    MONDAY + ((day * 24 + hour) * 60 + minute) * 60_000
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

#[test]
fn the_rate_follows_the_hours_of_the_week_in_the_zone_that_is_named() {
    let office = schedule("Mon-Fri 08:00-18:00 20MB/s; else unlimited");
    let limited = Rate::BytesPerSecond(20_000_000);
    for (when, rate) in [
        (at(0, 7, 59), Rate::Unlimited),
        (at(0, 8, 0), limited),
        (at(4, 17, 59), limited),
        (at(4, 18, 0), Rate::Unlimited),
        (at(5, 12, 0), Rate::Unlimited),
        (at(7, 8, 0), limited),
    ] {
        assert_eq!(office.rate_at(when), rate, "{when}");
    }
    assert_eq!(office.next_change(at(0, 8, 0)), Some(at(0, 18, 0)));
    assert_eq!(office.next_change(at(4, 18, 0)), Some(at(7, 8, 0)), "over the weekend");
    let berlin = schedule("UTC+2; Mon-Fri 08:00-18:00 20MB/s");
    assert_eq!(berlin.rate_at(at(0, 6, 0)), limited);
    assert_eq!(berlin.rate_at(at(0, 16, 0)), Rate::Unlimited);
    let lima = schedule("UTC-5; Mon 00:00-01:00 0; else 1MB/s");
    assert_eq!(lima.rate_at(at(0, 5, 30)), Rate::BytesPerSecond(0));
    assert_eq!(lima.rate_at(at(0, 0, 30)), Rate::BytesPerSecond(1_000_000));
}

#[test]
fn hours_past_midnight_belong_to_the_day_on_which_they_begin() {
    let night = schedule("Sun 22:00-06:00 0");
    assert_eq!(night.rate_at(at(6, 23, 0)), Rate::BytesPerSecond(0));
    assert_eq!(night.rate_at(at(7, 5, 59)), Rate::BytesPerSecond(0), "on Monday morning");
    assert_eq!(night.rate_at(at(7, 6, 0)), Rate::Unlimited);
    assert_eq!(night.rate_at(at(6, 5, 0)), Rate::Unlimited, "not on Sunday morning");
}

#[test]
fn the_first_line_that_holds_is_in_force() {
    let lunch = schedule("12:00-13:00 unlimited; Mon-Fri 08:00-18:00 20MB/s; Sat,Sun 0");
    assert_eq!(lunch.rate_at(at(2, 12, 30)), Rate::Unlimited);
    assert_eq!(lunch.rate_at(at(5, 12, 30)), Rate::Unlimited);
    assert_eq!(lunch.rate_at(at(5, 14, 0)), Rate::BytesPerSecond(0));
}

#[test]
fn a_schedule_without_hours_is_a_rate_for_ever() {
    for text in ["", "unlimited", "else unlimited", "UTC+3", "Mon unlimited"] {
        assert!(schedule(text).is_unlimited(), "{text}");
        assert_eq!(schedule(text).next_change(MONDAY), None);
    }
    assert_eq!(schedule("0").rate_at(MONDAY), Rate::BytesPerSecond(0));
    assert_eq!(schedule("UTC+3; 20MB/s"), schedule("else 20000kB/s"));
    assert!(!schedule("0").is_unlimited());
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_is_wrong_and_an_example() {
    for (text, word) in [
        ("Mon-Fri 08:00-18:00", "rate"),
        ("Montag 0", "day"),
        ("Mon 8-18 0", "hours"),
        ("Mon 08:00-08:00 0", "hours"),
        ("Mon 08:00-25:00 0", "hours"),
        ("Mon 20", "rate"),
        ("Mon 20Mbit/s", "rate"),
        ("Mon 2.5MB/s", "rate"),
        ("99999999999GB/s", "rate"),
        ("Europe/Berlin", "rate"),
        ("UTC+15; Mon 0", "UTC"),
        ("UTC+14:30; Mon 0", "UTC"),
        ("UTC; UTC+1; Mon 0", "once"),
        ("else 0; else 1B/s", "once"),
        ("Mon 0 0 0", "days, hours and a rate"),
        ("é", "rate"),
        ("UTCé", "UTC"),
    ] {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("Mon-Fri 08:00-18:00 20MB/s"), "{text}: {error}");
    }
    let long = "Mon 0; ".repeat(33);
    assert!(long.parse::<Schedule>().unwrap_err().to_string().contains("32"));
}

#[test]
fn it_is_written_as_it_is_kept() {
    for (text, written) in [
        ("utc+2;MON-fri 8:00-18:00 20mb/s", "UTC+02:00; Mon-Fri 08:00-18:00 20MB/s; else unlimited"),
        ("Fri-Mon 1500B; else 1024KiB/s", "UTC; Mon,Fri-Sun 1500B/s; else 1MiB/s"),
        ("20:00-00:00 0", "UTC; Mon-Sun 20:00-24:00 0; else unlimited"),
        ("1000kB/s", "1MB/s"),
    ] {
        assert_eq!(schedule(text).to_string(), written);
    }
}

fn any_rate() -> impl Strategy<Value = String> {
    prop_oneof![Just("unlimited".to_owned()), (0_u64..5).prop_map(|rate| format!("{rate}MB/s"))]
}

fn any_line() -> impl Strategy<Value = String> {
    (0..7_usize, 0..7_usize, 0..24 * 60_u32, 1..=24 * 60_u32, any_rate()).prop_map(
        |(first, last, from, to, rate)| {
            let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
            let to = if from == to { to % (24 * 60) + 1 } else { to };
            let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
            format!("{}-{} {}-{} {rate}", days[first], days[last], time(from), time(to))
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(
        lines in prop::collection::vec(any_line(), 0..6), otherwise in any_rate(), zone in -14..=14_i32,
    ) {
        let parsed = schedule(&format!("UTC{zone:+};{};else {otherwise}", lines.join(";")));
        prop_assert_eq!(&schedule(&parsed.to_string()), &parsed);
    }

    #[test]
    fn the_next_change_is_the_first_minute_with_another_rate(
        lines in prop::collection::vec(any_line(), 0..5), otherwise in any_rate(), zone in -14..=14_i32,
        from in MONDAY..MONDAY + WEEK_MS,
    ) {
        let schedule = schedule(&format!("UTC{zone:+};{};else {otherwise}", lines.join(";")));
        let minute = from - from % 60_000;
        let mut later = (1..=WEEK_MS / 60_000).map(|minutes| minute + minutes * 60_000);
        let found = later.find(|at| schedule.rate_at(*at) != schedule.rate_at(from));
        prop_assert_eq!(schedule.next_change(from), found);
    }

    #[test]
    fn no_text_and_no_instant_breaks_it(text in ".{0,60}", unix_ms in i64::MIN / 2..i64::MAX / 2) {
        if let Ok(schedule) = text.parse::<Schedule>() {
            let _ = schedule.rate_at(unix_ms);
            let _ = schedule.next_change(unix_ms);
        }
    }
}
