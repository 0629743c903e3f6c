//! How fast a link may carry data, by the hour of the week.
//!
//! The time zone is a fixed distance from UTC. A zone by name ("Europe/Berlin") would need a zone
//! database, of one edition on both systems, or each would change the rate at another instant; and
//! twice a year an hour of the week would come two times or not at all.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// Lines of one schedule: it travels in every heartbeat of its link.
const HOURS_MAX: usize = 32;

const DAY_MINUTES: i64 = 24 * 60;
const WEEK_MINUTES: i64 = 7 * DAY_MINUTES;

/// Of the zones in use, from UTC-12:00 to UTC+14:00.
const OFFSET_MINUTES_MAX: i16 = 14 * 60;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// 1970-01-01 was a Thursday.
const EPOCH_WEEKDAY: i64 = 3;

const UNITS: [(&str, u64); 7] = [
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// How much may be carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rate {
    /// As much as the line takes.
    #[default]
    Unlimited,
    /// So many bytes a second; 0: nothing.
    BytesPerSecond(u64),
}

/// Whose changes leave first, of the contents of one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Each gets the same share of what can be sent, whatever the others have.
    #[default]
    Fair,
    /// The one that is furthest behind goes before the others.
    OldestFirst,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fair => "fair",
            Self::OldestFirst => "oldest first",
        })
    }
}

/// Hours of the week in which a rate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hours {
    /// Bit 0 is Monday.
    days: u8,
    /// Minute of the day at which they begin.
    from: u16,
    /// Minute of the day before which they end; not after `from`: of the next day.
    to: u16,
    rate: Rate,
}

/// A rate for every minute of the week. As text: lines between semicolons, of which the first that
/// holds is in force.
///
/// ```text
/// UTC+02:00; Mon-Fri 08:00-18:00 20MB/s; Sat,Sun unlimited; 22:00-06:00 0; else 50MB/s
/// ```
///
/// A line without days holds on all of them, one without hours all day. Hours past midnight belong
/// to the day on which they begin. `else` is unlimited unless it says something else, the zone UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    offset_minutes: i16,
    hours: Vec<Hours>,
    otherwise: Rate,
}

/// Text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseScheduleError {
    reason: String,
}

impl fmt::Display for ParseScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; a schedule looks like \"UTC+02:00; Mon-Fri 08:00-18:00 20MB/s; else unlimited\"",
            self.reason
        )
    }
}

impl core::error::Error for ParseScheduleError {}

impl Schedule {
    /// It never holds anything back.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.otherwise == Rate::Unlimited && self.hours.iter().all(|hours| hours.rate == Rate::Unlimited)
    }

    /// What is in force at an instant, Unix milliseconds.
    #[must_use]
    pub fn rate_at(&self, unix_ms: i64) -> Rate {
        self.rate_in(self.minute_of_week(unix_ms))
    }

    /// The next instant at which another rate is in force, Unix milliseconds; none if there never is.
    #[must_use]
    pub fn next_change(&self, unix_ms: i64) -> Option<i64> {
        let here = self.minute_of_week(unix_ms);
        let present = self.rate_in(here);
        let ahead = |minute: i64| match (minute - here).rem_euclid(WEEK_MINUTES) {
            0 => WEEK_MINUTES,
            ahead => ahead,
        };
        let edges = self.hours.iter().flat_map(Hours::edges);
        let changes = edges.filter(|edge| self.rate_in(*edge) != present).map(ahead);
        let minute = unix_ms.div_euclid(60_000);
        changes.min().map(|ahead| (minute + ahead) * 60_000)
    }

    fn minute_of_week(&self, unix_ms: i64) -> i64 {
        let local = unix_ms.div_euclid(60_000) + i64::from(self.offset_minutes);
        (local + EPOCH_WEEKDAY * DAY_MINUTES).rem_euclid(WEEK_MINUTES)
    }

    fn rate_in(&self, minute_of_week: i64) -> Rate {
        let hours = self.hours.iter().find(|hours| hours.hold(minute_of_week));
        hours.map_or(self.otherwise, |hours| hours.rate)
    }

    fn set_zone(&mut self, zone: &str) -> Result<(), String> {
        let wrong = || format!("{zone:?} is no fixed distance from UTC such as UTC, UTC+2 or UTC-05:30");
        let offset = zone.get(3..).unwrap_or_default();
        if offset.is_empty() {
            return Ok(());
        }
        let (sign, rest) = match offset.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let (hours, minutes) = number(hours, 14).zip(number(minutes, 59)).ok_or_else(wrong)?;
        let offset = hours * 60 + minutes;
        self.offset_minutes =
            i16::try_from(offset).ok().filter(|m| *m <= OFFSET_MINUTES_MAX).ok_or_else(wrong)?;
        self.offset_minutes *= sign;
        Ok(())
    }
}

impl Hours {
    fn hold(&self, minute_of_week: i64) -> bool {
        let (day, minute) = (minute_of_week / DAY_MINUTES, minute_of_week % DAY_MINUTES);
        let on = |day: i64| (self.days >> day) & 1 == 1;
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if from < to {
            on(day) && from <= minute && minute < to
        } else {
            (on(day) && from <= minute) || (on((day + 6) % 7) && minute < to)
        }
    }

    /// Minutes of the week at which they begin and end.
    fn edges(&self) -> impl Iterator<Item = i64> + use<> {
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        let to = if from < to { to } else { to + DAY_MINUTES };
        let days = self.days;
        let days = (0..7).filter(move |day| (days >> day) & 1 == 1);
        days.flat_map(move |day| [from, to].map(|minute| (day * DAY_MINUTES + minute) % WEEK_MINUTES))
    }

    fn parse(line: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let rate = parse_rate(words.pop().unwrap_or_default())?;
        let (days, times) = match words[..] {
            [word] if word.starts_with(|first: char| first.is_ascii_digit()) => (ALL_DAYS, Some(word)),
            [days] => (parse_days(days)?, None),
            [days, times] => (parse_days(days)?, Some(times)),
            _ => return Err(format!("{line:?} is not days, hours and a rate")),
        };
        let (from, to) = times.map_or(Ok((0, 24 * 60)), parse_times)?;
        Ok(Self { days, from, to, rate })
    }
}

const ALL_DAYS: u8 = 0b111_1111;

fn parse_days(text: &str) -> Result<u8, String> {
    let day = |name: &str| {
        let known = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
        known.ok_or_else(|| format!("{name:?} is no day; days are {}", DAYS.join(", ")))
    };
    let mut days = 0;
    for span in text.split(',') {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (mut at, last) = (day(first)?, day(last)?);
        days |= 1 << at;
        while at != last {
            at = (at + 1) % 7;
            days |= 1 << at;
        }
    }
    Ok(days)
}

fn parse_times(text: &str) -> Result<(u16, u16), String> {
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let minutes = number(hour, 24)? * 60 + number(minute, 59)?;
        (minutes <= 24 * 60 && minute.len() == 2).then_some(minutes)
    };
    let times = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
    match times {
        Some((from, to)) if from != to && from < 24 * 60 && to > 0 => Ok((from, to)),
        // From the evening to the end of the day.
        Some((from, 0)) if from > 0 => Ok((from, 24 * 60)),
        Some(_) | None => Err(format!("{text:?} are no hours such as 08:00-18:00 or 22:00-06:00")),
    }
}

fn number(text: &str, max: u16) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= max)
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || {
        format!(
            "{text:?} is no rate; a rate is a whole number of bytes a second, such as 20MB/s or 512KiB/s, or 0, or unlimited"
        )
    };
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(Rate::Unlimited);
    }
    let digits = text.find(|one: char| !one.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().map_err(|_| wrong())?;
    let unit = match unit.strip_suffix("/s").unwrap_or(unit) {
        "" if count == 0 => 1,
        name => {
            let known = UNITS.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(name));
            known.ok_or_else(wrong)?.1
        }
    };
    count.checked_mul(unit).map(Rate::BytesPerSecond).ok_or_else(wrong)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::BytesPerSecond(0) => f.write_str("0"),
            Self::BytesPerSecond(rate) => {
                let whole = |(_, unit): &&(&str, u64)| rate.is_multiple_of(*unit);
                let (name, unit) = UNITS.iter().find(whole).unwrap_or(&("B", 1));
                write!(f, "{}{name}/s", rate / unit)
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, ParseScheduleError> {
        let refuse = |reason| ParseScheduleError { reason };
        let mut schedule = Self::default();
        let (mut zones, mut otherwise) = (0, 0);
        for line in text.split(';').map(str::trim).filter(|line| !line.is_empty()) {
            let start = line.get(..3).unwrap_or_default();
            let is_one_word = !line.contains(char::is_whitespace);
            if start.eq_ignore_ascii_case("UTC") {
                zones += 1;
                schedule.set_zone(line).map_err(refuse)?;
            } else if is_one_word || line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("else ")) {
                otherwise += 1;
                let rate = if is_one_word { line } else { line[5..].trim() };
                schedule.otherwise = parse_rate(rate).map_err(refuse)?;
            } else {
                schedule.hours.push(Hours::parse(line).map_err(refuse)?);
            }
        }
        if zones > 1 || otherwise > 1 {
            return Err(refuse("the zone, and what else holds, are said once".to_string()));
        }
        if schedule.hours.len() > HOURS_MAX {
            return Err(refuse(format!("a schedule has at most {HOURS_MAX} lines of hours")));
        }
        // What says the same is the same.
        if schedule.hours.is_empty() {
            schedule.offset_minutes = 0;
        }
        Ok(schedule)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hours.is_empty() {
            return self.otherwise.fmt(f);
        }
        f.write_str("UTC")?;
        if self.offset_minutes != 0 {
            let minutes = self.offset_minutes.unsigned_abs();
            let sign = if self.offset_minutes < 0 { '-' } else { '+' };
            write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)?;
        }
        for hours in &self.hours {
            write!(f, "; {hours}")?;
        }
        write!(f, "; else {}", self.otherwise)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for day in (0..7).filter(|day| (self.days >> day) & 1 == 1) {
            match spans.last_mut() {
                Some((_, last)) if *last + 1 == day => *last = day,
                Some(_) | None => spans.push((day, day)),
            }
        }
        for (number, (first, last)) in spans.into_iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}", DAYS[first])?;
            if last > first {
                write!(f, "-{}", DAYS[last])?;
            }
        }
        if (self.from, self.to) != (0, 24 * 60) {
            let (from, to) = (self.from, self.to);
            write!(f, " {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)?;
        }
        write!(f, " {}", self.rate)
    }
}
