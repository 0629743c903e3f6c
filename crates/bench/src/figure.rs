//! Numbers as people read them.

use std::time::{Duration, Instant};

/// The middle one; of none, NaN.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.retain(|number| number.is_finite());
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Three digits that count.
pub(crate) fn short(number: f64) -> String {
    match number {
        number if !number.is_finite() => "-".into(),
        number if number.abs() >= 100.0 => format!("{number:.0}"),
        number if number.abs() >= 10.0 => format!("{number:.1}"),
        number => format!("{number:.2}"),
    }
}

/// Counts as numbers to divide.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}

/// A million bytes.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    count(bytes) / 1e6
}

/// So many of something in a time.
pub(crate) fn rate(number: f64, time: Duration) -> f64 {
    number / time.as_secs_f64()
}

/// Many requests.
#[derive(Debug)]
pub(crate) struct Many {
    /// In a second.
    pub(crate) rate: f64,
    /// Half of them took no longer than so many milliseconds.
    pub(crate) half: f64,
    /// And 99 of 100.
    pub(crate) most: f64,
}

impl Many {
    /// What each took, and all of them together.
    pub(crate) fn of(mut took: Vec<Duration>, time: Duration) -> Self {
        took.sort_unstable();
        let at =
            |part: usize| took.get(took.len() * part / 100).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3);
        Self { rate: rate(count(took.len() as u64), time), half: at(50), most: at(99) }
    }
}

/// Says on standard error how far the bench is, with the time since `since`.
pub(crate) fn say(since: Instant, text: impl std::fmt::Display) {
    eprintln!("[{:7.1} s] {text}", since.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_of_nothing_it_is_none() {
        assert_eq!(short(median(vec![3.0, f64::NAN, 1.0, 200.4])), "3.00");
        assert_eq!(short(median(Vec::new())), "-");
        assert_eq!((short(200.4), short(20.44)), ("200".into(), "20.4".into()));
    }
}
