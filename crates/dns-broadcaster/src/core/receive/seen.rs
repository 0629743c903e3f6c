//! Which signed messages were carried out, so that none is twice (RFC 8945 section 5.2.3).
//!
//! A signature is good for as long as clocks may differ. Within that time whoever has seen an update could
//! send it again: a name that was taken away meanwhile would come back. RFC 8945 proposes to refuse a time
//! earlier than the latest of a key. Several clients share a key, and datagrams overtake one another; so
//! each signature is remembered for as long as it is good, with what it was answered. The same bytes again,
//! from a client whose answer was lost or from anybody, get the same answer and change nothing.
//!
//! It is remembered on the disk, in the commit that carries the update out. Not chosen: to refuse after
//! a start what was signed before it. A client whose clock is behind would be refused for minutes after every
//! restart, and what a client has signed whose clock is ahead would still be taken twice.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Code;
use crate::core::name::Name;

/// Signatures of one key that are remembered: some hundred kilobytes, and ten updates a second on and on. One that sends more is
/// refused until the oldest are not good any more.
const SIGHTINGS_MAX: usize = 4096;
/// Signatures of a key that are forgotten with one that is remembered: more than one, so that they become
/// fewer, and so few that they go in the same commit.
const FORGOTTEN_MAX: usize = 8;

/// A signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When it was made, by the clock of the client: seconds since 1970.
    pub time: u64,
    /// The beginning of the MAC, whole as it came.
    pub mac: [u8; 16],
}

/// What was seen of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What was answered.
    pub code: Code,
    /// Until when it is good: seconds since 1970.
    pub until: u64,
}

/// All that were seen, by key.
#[derive(Clone, Debug, Default)]
pub struct Seen(BTreeMap<Name, BTreeMap<Stamp, Sighting>>);

impl Seen {
    /// What this message was answered, if it was seen before.
    #[must_use]
    pub fn answer(&self, key: &Name, stamp: Stamp) -> Option<Code> {
        Some(self.0.get(key)?.get(&stamp)?.code)
    }

    /// Whether the key has no room for another one.
    #[must_use]
    pub fn is_full(&self, key: &Name, now: u64) -> bool {
        let seen = self.0.get(key).filter(|seen| seen.len() >= SIGHTINGS_MAX);
        seen.is_some_and(|seen| expired(seen, now).next().is_none())
    }

    /// Signatures of the key that need not be remembered any more, some of them.
    #[must_use]
    pub fn expired(&self, key: &Name, now: u64) -> Vec<Stamp> {
        let seen = self.0.get(key);
        seen.into_iter().flat_map(|seen| expired(seen, now)).take(FORGOTTEN_MAX).collect()
    }

    /// Remembers one.
    pub fn remember(&mut self, key: &Name, stamp: Stamp, sighting: Sighting) {
        self.0.entry(key.clone()).or_default().insert(stamp, sighting);
    }

    /// Forgets one.
    pub fn forget(&mut self, key: &Name, stamp: Stamp) {
        if let Some(seen) = self.0.get_mut(key) {
            seen.remove(&stamp);
        }
    }
}

/// The oldest first: nearly all are good for the same time.
fn expired(seen: &BTreeMap<Stamp, Sighting>, now: u64) -> impl Iterator<Item = Stamp> {
    let oldest = seen.iter().take(2 * FORGOTTEN_MAX);
    oldest.filter(move |(_, sighting)| sighting.until < now).map(|(stamp, _)| *stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn stamp(time: u64, number: u64) -> Stamp {
        let mut mac = [0; 16];
        mac[..8].copy_from_slice(&number.to_be_bytes());
        Stamp { time, mac }
    }

    fn see(seen: &mut Seen, key: &Name, stamp: Stamp, now: u64) {
        for old in seen.expired(key, now) {
            seen.forget(key, old);
        }
        seen.remember(key, stamp, Sighting { code: Code::NxRrset, until: stamp.time + 300 });
    }

    #[test]
    fn what_was_seen_is_answered_as_before_for_as_long_as_it_is_good() {
        let (mut seen, key) = (Seen::default(), Name::parse("key").unwrap());
        for number in 0..3000 {
            let now = NOW + number;
            see(&mut seen, &key, stamp(now, number), now);
            for ago in [0, 1, 300].into_iter().filter(|ago| *ago <= number) {
                assert_eq!(seen.answer(&key, stamp(now - ago, number - ago)), Some(Code::NxRrset));
            }
        }
        assert!(seen.0[&key].len() < 320, "what is not good any more is forgotten");
        assert_eq!(seen.answer(&key, stamp(NOW + 2999, 7)), None, "another message of the same second");
        assert_eq!(seen.answer(&Name::parse("other").unwrap(), stamp(NOW + 2999, 2999)), None);
    }

    #[test]
    fn a_key_that_sends_too_many_waits_until_the_oldest_are_over() {
        let (mut seen, key) = (Seen::default(), Name::parse("key").unwrap());
        for number in 0..SIGHTINGS_MAX as u64 {
            assert!(!seen.is_full(&key, NOW));
            see(&mut seen, &key, stamp(NOW, number), NOW);
        }
        assert!(seen.is_full(&key, NOW) && seen.is_full(&key, NOW + 300));
        assert!(!seen.is_full(&key, NOW + 301));
        assert!(!seen.is_full(&Name::parse("other").unwrap(), NOW));
    }
}
