//! Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014), packed into 64 bits.

use core::fmt;

/// A hybrid logical timestamp: 48 bits of Unix milliseconds, then 16 bits of counter. It orders
/// versions; it never decides who writes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

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
    pub fn next(self, now_ms: u64) -> Self {
        Self(core::cmp::max(self.0 + 1, now_ms << 16))
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
        let first = Hlc::default().next(1_000);
        let second = first.next(10);
        assert!(second > first);
        assert_eq!(second.unix_ms(), 1_000);
        assert_eq!(second.next(2_000).unix_ms(), 2_000);
    }
}
