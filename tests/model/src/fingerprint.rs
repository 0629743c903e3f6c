//! Canonical hashes of parts of the model.
//!
//! Two systems that differ only in what no decision reads are one state. Numbers of that kind are
//! given out in ranges of their own, so that the hasher knows them wherever they are:
//!
//! - an instant is hashed as its distance from the system's own *now*. Decisions only compare
//!   instants with now, and what has been reached is over however long ago: time-outs fire when
//!   `until <= now`, and a side is only in contact while it has heard something at this very now,
//!   because the policy of the model allows no silence;
//! - the generation of a link's flows is left out: it only tells the latest request from older
//!   ones, and the model hands over the latest alone;
//! - the number of the last line of the system log is left out: nothing reads the log;
//! - the id of a request that is never repeated is left out: it only tells a repeat from others.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Milliseconds of the one duration there is. Instants are multiples of it; a generation is an
/// instant and a little, so it never is.
pub const UNIT: u64 = 1_000;

/// The first instant.
pub const CLOCK: u64 = 5_000_000_000_000_000_000;

/// The number of the log's first line.
pub const EVENTS: u64 = 6_000_000_000_000_000_000;

/// The ids of requests that are never repeated begin with it.
pub const ONCE: &str = "once-";

/// Numbers in each range.
const RANGE: u64 = 1_000_000_000_000_000;

struct Canonical {
    inner: DefaultHasher,
    now: u64,
}

impl Hasher for Canonical {
    fn finish(&self) -> u64 {
        self.inner.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        if !bytes.starts_with(ONCE.as_bytes()) {
            self.inner.write(bytes);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.inner.write_u64(match number {
            EVENTS.. if number < EVENTS + RANGE => EVENTS,
            CLOCK.. if number < CLOCK + RANGE => canonical_instant(number, self.now),
            _ => number,
        });
    }
}

fn canonical_instant(number: u64, now: u64) -> u64 {
    if !number.is_multiple_of(UNIT) {
        return CLOCK + RANGE;
    }
    CLOCK + number.saturating_sub(now) / UNIT
}

/// The hash of `value` as seen at the instant `now`.
pub fn fingerprint<T: Hash + ?Sized>(value: &T, now: u64) -> u64 {
    let mut hasher = Canonical { inner: DefaultHasher::new(), now };
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_count_from_now_and_what_was_reached_is_one() {
        let at = |number, now| fingerprint(&(CLOCK + number), CLOCK + now);
        assert_eq!(at(5 * UNIT, 4 * UNIT), at(9 * UNIT, 8 * UNIT));
        assert_ne!(at(5 * UNIT, 4 * UNIT), at(5 * UNIT, 5 * UNIT));
        assert_eq!(at(UNIT, 5 * UNIT), at(5 * UNIT, 5 * UNIT));
        assert_eq!(at(5 * UNIT + 1, 4 * UNIT), at(9 * UNIT + 7, 0));
        assert_ne!(fingerprint(&1_u64, CLOCK), fingerprint(&2_u64, CLOCK));
        assert_eq!(fingerprint(&EVENTS, CLOCK), fingerprint(&(EVENTS + 9), CLOCK));
    }
}
