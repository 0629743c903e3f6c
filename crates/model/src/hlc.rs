//! Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014), packed into 64 bits.

use core::fmt;

/// A hybrid logical timestamp: 48 bits of Unix milliseconds, then 16 bits of counter. It orders
/// versions; it never decides who writes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

/// Bits of a timestamp that a run of a store chooses at random when it begins ahead of its clock: about a
/// second's.
const LEAP_BITS: u32 = 26;
/// The same for a run that begins further ahead than [`FAR_AHEAD_MS`]: 16 milliseconds' worth, less than a
/// start takes, so that a store which starts over and over does not run away from its clock.
const SHORT_LEAP_BITS: u32 = 20;
/// Half of what a peer believes.
const FAR_AHEAD_MS: u64 = 30_000;

/// What the timestamps of one run of a store have in their lowest bits, chosen at random. A store that is
/// restored from a backup forgets which timestamps it gave; by their salt it does not give one twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Salt(u16);

impl Salt {
    /// Of a random number. Half of the counter is left for the events of one millisecond.
    #[must_use]
    pub fn of(random: u64) -> Self {
        Self((random & 0x7fff) as u16)
    }
}

impl Hlc {
    /// The first timestamp of the given Unix millisecond.
    #[must_use]
    pub fn from_unix_ms(ms: u64) -> Self {
        Self(ms << 16)
    }

    /// The physical part, in Unix milliseconds.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        self.0 >> 16
    }

    /// The next timestamp after everything seen (`self`) for an event at `now_ms`, a wall clock in
    /// Unix milliseconds that may go backwards. A full counter runs over into the milliseconds,
    /// which keeps the order.
    #[must_use]
    pub fn next(self, now_ms: u64, salt: Salt) -> Self {
        Self(core::cmp::max(self.0 + 1, now_ms << 16 | u64::from(salt.0)))
    }

    /// Where a run begins that has seen `self` and whose wall clock shows `now_ms`. Ahead of the clock only
    /// the counter would tell its timestamps from those that were given after a backup from which this run
    /// may come: it leaps by up to two seconds to a place of its own, that of `random`.
    #[must_use]
    pub fn of_a_new_run(self, now_ms: u64, random: u64) -> Self {
        if self.unix_ms() < now_ms || self == Self::default() {
            return self;
        }
        let is_far = self.unix_ms() > now_ms + FAR_AHEAD_MS;
        let bits = if is_far { SHORT_LEAP_BITS } else { LEAP_BITS };
        Self(((self.0 >> bits) + 1) << bits | random & ((1 << bits) - 1))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.unix_ms(), self.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_grows_even_when_the_wall_clock_goes_back() {
        let salt = Salt::of(7);
        let first = Hlc::default().next(1_000, salt);
        let second = first.next(10, salt);
        assert!(second > first);
        assert_eq!(second.unix_ms(), 1_000);
        assert_eq!(second.next(2_000, salt).unix_ms(), 2_000);
    }

    #[test]
    fn a_store_that_starts_over_and_over_does_not_run_away_from_its_clock() {
        let mut hlc = Hlc::from_unix_ms(2_000);
        for start in 0..1_000 {
            let now_ms = 1_000 + 50 * start;
            hlc = hlc.of_a_new_run(now_ms, 0x03ff_ffff).next(now_ms, Salt::of(1));
            assert!(hlc.unix_ms() < now_ms + FAR_AHEAD_MS + 2_100, "at the start {start}");
        }
    }

    #[test]
    fn runs_of_one_backup_never_give_the_same_timestamp() {
        let backup = Hlc::from_unix_ms(5_000);
        // The clock is past the backup: the salt tells them apart, also when it is set back.
        let given = |random: u64, now_ms: u64| {
            let (mut hlc, mut given) = (backup.of_a_new_run(now_ms, random), alloc::vec::Vec::new());
            for _ in 0..100 {
                hlc = hlc.next(now_ms, Salt::of(random));
                given.push(hlc);
            }
            given
        };
        for now_ms in [4_000, 5_000, 6_000] {
            let (one, other) = (given(0x0123_4567_89ab_0000, now_ms), given(0x0fed_cba9_8765_4000, now_ms));
            assert!(one.iter().all(|hlc| *hlc > backup && hlc.unix_ms() <= now_ms.max(5_000) + 2_048));
            assert!(one.iter().all(|hlc| !other.contains(hlc)), "{now_ms}");
        }
        // Far ahead of the clock as well, where a leap is short.
        let far = Hlc::from_unix_ms(90_000);
        assert_ne!(far.of_a_new_run(1_000, 3), far.of_a_new_run(1_000, 5));
        // And from those of the run that the backup was made of.
        let went_on = backup.next(4_000, Salt::of(3));
        assert!(!given(9, 4_000).contains(&went_on));
    }
}
