//! The times and limits that copies obey.

use core::time::Duration;

use super::super::contact::{Patience, doubled};
use super::super::record::Value;

/// Primaries: a system has one on the other side, and a site few name servers whose zones it shall hold.
pub const PRIMARIES_MAX: usize = 32;
/// Zones that are followed, of all primaries: as many as are published ([`super::super::follow::ZONES_MAX`]).
pub const ZONES_MAX: usize = 200_000;
/// A zone that says less would keep everybody busy.
const SECONDS_MIN: u32 = 1;
/// A day: a primary whose NOTIFY was lost is asked by then, whatever its zone says.
const REFRESH_MAX: u32 = 86_400;
/// RFC 2181 section 8 has no times beyond it.
const EXPIRE_MAX: u32 = i32::MAX as u32;
/// Zones whose refresh is spread over an eighth of their time, in so many parts.
const SPREAD: u32 = 64;

/// When primaries are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Questions for a SOA outstanding at one primary, each of which holds a socket; at least 1.
    pub asks_max: usize,
    /// Transfers under way from one primary, each of which holds a connection there; at least 1. Other
    /// servers give two to ten at a time to one address.
    pub transfers_max: usize,
    /// To the second attempt to take a zone of which nothing is held yet, whose own times nobody knows;
    /// doubles with each.
    pub first_again: Duration,
    /// Where the doubling ends.
    pub first_again_max: Duration,
    /// Exchanges that fail in a row, over all zones, before a primary counts as silent. It is asked about
    /// one zone at a time then.
    pub silent_after: u32,
    /// From the loss of a primary to the first probe; doubles with each. NOTIFY from it, once it is back,
    /// comes before.
    pub probe_again: Duration,
    /// Where the doubling ends.
    pub probe_again_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            asks_max: 32,
            transfers_max: 8,
            first_again: Duration::from_secs(1),
            first_again_max: Duration::from_secs(60),
            silent_after: 3,
            probe_again: Duration::from_secs(1),
            probe_again_max: Duration::from_secs(10),
        }
    }
}

impl Policy {
    pub(super) fn bounded(self) -> Self {
        Self { asks_max: self.asks_max.max(1), transfers_max: self.transfers_max.max(1), ..self }
    }

    pub(super) fn first_delay(&self, failures: u32) -> Duration {
        doubled(self.first_again, failures).min(self.first_again_max)
    }

    pub(super) fn patience(&self) -> Patience {
        let Self { silent_after: unreachable_after, probe_again, probe_again_max, .. } = *self;
        Patience { unreachable_after, probe_again, probe_again_max }
    }
}

/// A zone's own times, within bounds (RFC 1035 section 3.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the primary's last word to the next question.
    pub refresh: Duration,
    /// From a failure to the next question.
    pub retry: Duration,
    /// From the primary's last word until nothing is answered any more.
    pub expire: Duration,
}

impl Times {
    /// Those of a SOA record's value. A zone that expires before it was asked for twice would be gone
    /// whenever a datagram is (RFC 1912 section 2.2).
    #[must_use]
    pub fn of(soa: Value<'_>) -> Option<Self> {
        let numbers = soa.as_bytes().last_chunk::<20>()?;
        let number = |at: usize| {
            let bytes = numbers.get(4 * at..).and_then(|rest| rest.first_chunk()).copied();
            bytes.map_or(0, u32::from_be_bytes)
        };
        let refresh = number(1).clamp(SECONDS_MIN, REFRESH_MAX);
        let retry = number(2).clamp(SECONDS_MIN, REFRESH_MAX);
        let expire = number(3).max(refresh.saturating_add(2 * retry)).min(EXPIRE_MAX);
        let seconds = |number: u32| Duration::from_secs(number.into());
        Some(Self { refresh: seconds(refresh), retry: seconds(retry), expire: seconds(expire) })
    }

    /// To the next question after a word: somewhat less for some zones than for others, so that many that
    /// came together are not asked for together.
    pub(super) fn refresh_of(&self, zone: &[u8]) -> Duration {
        // FNV-1a: where it falls does not matter, only that it spreads and stays.
        let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let part = zone.iter().fold(0x811c_9dc5, fold) % SPREAD;
        self.refresh - self.refresh / (8 * SPREAD) * part
    }

    /// To the next question after so many failures.
    pub(super) fn retry_after(&self, failures: u32) -> Duration {
        doubled(self.retry, failures.saturating_sub(1)).min(self.refresh.max(self.retry))
    }

    /// From a word until somebody is warned that there is none any more.
    pub(super) fn warning(&self) -> Duration {
        self.expire / 4 * 3
    }

    /// A word that is so much newer than the one on disk is written down: after a start a copy ends that
    /// much earlier at most, and a disk has not to take a word for each question.
    pub(super) fn grain(&self) -> Duration {
        self.expire / 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::name::Name;
    use crate::core::record::{Rdata, Soa};
    use crate::core::zone::Serial;

    fn times(refresh: u32, retry: u32, expire: u32) -> [u64; 3] {
        let name = Name::parse("z").unwrap();
        let soa =
            Soa { mname: name.clone(), rname: name, serial: Serial(9), refresh, retry, expire, minimum: 5 };
        let times = Times::of(Rdata::soa(&soa).value()).unwrap();
        [times.refresh, times.retry, times.expire].map(|time| time.as_secs())
    }

    #[test]
    fn times_that_make_no_sense_are_brought_within_bounds() {
        assert_eq!(times(30, 10, 604_800), [30, 10, 604_800]);
        assert_eq!(times(0, 0, 0), [1, 1, 3]);
        assert_eq!(times(u32::MAX, 5, 10), [86_400, 5, 86_410]);
        assert_eq!(times(30, 10, u32::MAX), [30, 10, i32::MAX as u64]);
    }

    #[test]
    fn zones_that_came_together_are_asked_for_apart_and_never_late() {
        let times = Times {
            refresh: Duration::from_secs(800),
            retry: Duration::from_secs(10),
            expire: Duration::from_secs(9000),
        };
        let of = |number: u32| times.refresh_of(&number.to_be_bytes());
        let all: alloc::collections::BTreeSet<_> = (0..1000).map(of).collect();
        assert!(all.len() > 50, "{}", all.len());
        assert!(all.first() >= Some(&Duration::from_secs(700)) && all.last() <= Some(&times.refresh));
        assert_eq!([1, 2, 9].map(|failures| times.retry_after(failures).as_secs()), [10, 20, 800]);
    }
}
