//! Entries that lie together: one allocation, which never changes.
//!
//! Each has a slot, by which the index knows it, and which it keeps when others come. Behind one another:
//! their number, where each ends, their slots by name, and the entries: length of the name, name, value.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Entry;

/// Of a number in front of the entries.
const WORD: usize = 4;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Chunk(Arc<[u8]>);

impl Chunk {
    /// The chunk of these entries, which are by name.
    pub(super) fn of(entries: &[Entry<'_>]) -> Self {
        let order: Vec<u8> = (0..entries.len()).map(|slot| slot as u8).collect();
        Self::new(entries, &order)
    }

    /// The chunk of these entries by slot, and their slots by name.
    fn new(entries: &[Entry<'_>], order: &[u8]) -> Self {
        let start = WORD * (1 + entries.len()) + order.len();
        let total = entries.iter().fold(start, |end, (name, value)| end + 1 + name.len() + value.len());
        let mut bytes = Vec::with_capacity(total);
        // A chunk has some kilobytes; one with more has one entry, which came by a message or a line.
        bytes.extend((entries.len() as u32).to_le_bytes());
        let mut end = start;
        for (name, value) in entries {
            end += 1 + name.len() + value.len();
            bytes.extend((end as u32).to_le_bytes());
        }
        bytes.extend(order);
        for (name, value) in entries {
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
        }
        Self(bytes.into())
    }

    /// Whether it is that very one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.word(0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The entry in a slot.
    pub(super) fn entry(&self, slot: usize) -> Entry<'_> {
        let start = if slot == 0 { self.start() } else { self.word(slot) };
        let entry = &self.0[start..self.word(slot + 1)];
        let (&length, entry) = entry.split_first().unwrap_or((&0, &[]));
        entry.split_at(length.into())
    }

    /// The entries by slot.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.len()).map(|slot| self.entry(slot))
    }

    /// The entries by name.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        self.order().iter().map(|&slot| self.entry(slot.into()))
    }

    /// The slot of `name`; or how many entries come before it.
    pub(super) fn search(&self, name: &[u8]) -> Result<usize, usize> {
        let order = self.order();
        let found = order.binary_search_by(|&slot| self.entry(slot.into()).0.cmp(name));
        found.map(|rank| order[rank].into())
    }

    /// How many entries come before `name`.
    pub(super) fn before(&self, name: &[u8]) -> usize {
        self.order().partition_point(|&slot| self.entry(slot.into()).0 < name)
    }

    /// How many entries do not come behind `name`.
    pub(super) fn until(&self, name: &[u8]) -> usize {
        self.order().partition_point(|&slot| self.entry(slot.into()).0 <= name)
    }

    /// The entry that so many come before, by name.
    pub(super) fn at(&self, rank: usize) -> Option<Entry<'_>> {
        self.order().get(rank).map(|&slot| self.entry(slot.into()))
    }

    /// With another entry of the same name in a slot.
    pub(super) fn with(&self, slot: usize, entry: Entry<'_>) -> Self {
        let mut entries: Vec<_> = self.entries().collect();
        entries[slot] = entry;
        Self::new(&entries, self.order())
    }

    /// With one entry more, which takes the next slot; so many come before it by name.
    pub(super) fn and(&self, rank: usize, entry: Entry<'_>) -> Self {
        let mut entries: Vec<_> = self.entries().collect();
        let mut order = self.order().to_vec();
        order.insert(rank, entries.len() as u8);
        entries.push(entry);
        Self::new(&entries, &order)
    }

    /// Without the entry in a slot, which the last one takes.
    pub(super) fn without(&self, slot: usize) -> Self {
        let mut entries: Vec<_> = self.entries().collect();
        let last = entries.len() - 1;
        entries.swap_remove(slot);
        let order = self.order().iter().map(|&other| usize::from(other)).filter(|&other| other != slot);
        let order: Vec<_> = order.map(|other| if other == last { slot } else { other } as u8).collect();
        Self::new(&entries, &order)
    }

    /// Slots by name.
    fn order(&self) -> &[u8] {
        let count = self.len();
        let start = WORD * (1 + count);
        &self.0[start..start + count]
    }

    /// Where the first entry begins.
    fn start(&self) -> usize {
        (WORD + 1) * self.len() + WORD
    }

    fn word(&self, at: usize) -> usize {
        self.0[WORD * at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word)) as usize
    }
}
