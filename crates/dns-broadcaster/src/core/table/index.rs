//! Where names are, by their hashes: open addressing, in pages that copies share.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use siphasher::sip::SipHasher13;

use super::Key;
use super::blocks::Blocks;

/// Places of a page, a power of two: so few that copying them is quick, and so many that there are few
/// pages.
const PAGE: usize = 1024;
/// Bits of the number of a slot.
const SLOT_BITS: u32 = 8;
/// A place that nobody has.
const FREE: u64 = 0;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) chunk: u32,
    pub(super) slot: u8,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Each entry is at the place of its hash or behind it, with no free place in between: its hash above,
    /// one more than its [`Place`] below. So names that are not there are hardly ever looked at.
    pages: Blocks<Arc<[u64]>>,
    /// One less than the number of places, which is a power of two.
    mask: usize,
    taken: usize,
}

impl Index {
    /// An empty one with room for so many entries.
    pub(super) fn for_entries(count: usize) -> Self {
        // At most three of four places are taken.
        let places = (count.saturating_mul(4) / 3 + 1).next_power_of_two();
        let page: Arc<[u64]> = vec![FREE; places.min(PAGE)].into();
        let pages: Vec<_> = (0..places.div_ceil(PAGE)).map(|_| Arc::from(&*page)).collect();
        Self { pages: pages.into(), mask: places - 1, taken: 0 }
    }

    /// Where names with this hash may be, the likeliest first.
    pub(super) fn places(&self, hash: u32) -> impl Iterator<Item = Place> {
        let taken = self.run(hash).take_while(|(_, entry)| *entry != FREE);
        taken.filter(move |(_, entry)| hash_of(*entry) == hash).map(|(_, entry)| place_of(entry))
    }

    /// Enters a name that is not in it.
    pub(super) fn insert(&mut self, hash: u32, place: Place) {
        if self.pages.is_empty() || (self.taken + 1) * 4 > (self.mask + 1) * 3 {
            let mut larger = Self::for_entries(2 * (self.taken + 1));
            for entry in self.pages.iter().flat_map(|page| page.iter()).filter(|entry| **entry != FREE) {
                larger.put(hash_of(*entry), *entry);
            }
            *self = larger;
        }
        self.put(hash, entry_of(hash, place));
    }

    /// Takes a name out that is in it.
    pub(super) fn remove(&mut self, hash: u32, place: Place) {
        let Some(mut hole) = self.find(hash, place) else { return };
        self.taken -= 1;
        // What stands behind it for want of this place takes it, and so on.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let entry = self.at(at);
            if entry == FREE {
                break;
            }
            let home = hash_of(entry) as usize & self.mask;
            let reaches = at.wrapping_sub(home) & self.mask;
            if reaches >= at.wrapping_sub(hole) & self.mask {
                self.set(hole, entry);
                hole = at;
            }
        }
        self.set(hole, FREE);
    }

    /// Says that a name is at another place.
    pub(super) fn replace(&mut self, hash: u32, from: Place, to: Place) {
        if let Some(at) = self.find(hash, from) {
            self.set(at, entry_of(hash, to));
        }
    }

    fn find(&self, hash: u32, place: Place) -> Option<usize> {
        let wanted = entry_of(hash, place);
        let mut taken = self.run(hash).take_while(|(_, entry)| *entry != FREE);
        taken.find(|(_, entry)| *entry == wanted).map(|(at, _)| at)
    }

    fn put(&mut self, hash: u32, entry: u64) {
        let free = self.run(hash).find(|(_, entry)| *entry == FREE).map(|(at, _)| at);
        if let Some(at) = free {
            self.set(at, entry);
            self.taken += 1;
        }
    }

    /// The place of a hash and those behind it, with what they hold.
    fn run(&self, hash: u32) -> impl Iterator<Item = (usize, u64)> {
        let first = hash as usize;
        let end = if self.pages.is_empty() { 0 } else { self.mask + 1 };
        (0..end).map(move |step| {
            let at = (first + step) & self.mask;
            (at, self.at(at))
        })
    }

    fn at(&self, at: usize) -> u64 {
        self.pages[at / PAGE][at % PAGE]
    }

    fn set(&mut self, at: usize, entry: u64) {
        Arc::make_mut(self.pages.get_mut(at / PAGE))[at % PAGE] = entry;
    }
}

fn entry_of(hash: u32, place: Place) -> u64 {
    let place = (u64::from(place.chunk) << SLOT_BITS) + u64::from(place.slot) + 1;
    // Chunks beyond the bits that are left would hold more names than fit into memory.
    u64::from(hash) << u32::BITS | place & u64::from(u32::MAX)
}

fn hash_of(entry: u64) -> u32 {
    (entry >> u32::BITS) as u32
}

fn place_of(entry: u64) -> Place {
    let place = (entry as u32).wrapping_sub(1);
    Place { chunk: place >> SLOT_BITS, slot: place as u8 }
}

/// SipHash-1-3 (Aumasson, Bernstein: SipHash, a fast short-input PRF, 2012): who does not know the key cannot
/// choose names that lie together.
pub(super) fn hash(key: Key, name: &[u8]) -> u32 {
    SipHasher13::new_with_keys(key.0, key.1).hash(name) as u32
}

#[cfg(test)]
impl Index {
    /// Pages that it does not share with `other`.
    pub(super) fn apart(&self, other: &Self) -> usize {
        self.pages.iter().zip(other.pages.iter()).filter(|(one, other)| !Arc::ptr_eq(one, other)).count()
    }

    /// The most places in a row that are taken.
    pub(super) fn longest_run(&self) -> usize {
        let all: Vec<_> = self.pages.iter().flat_map(|page| page.iter().copied()).collect();
        all.split(|entry| *entry == FREE).map(<[u64]>::len).max().unwrap_or(0)
    }
}
