//! A map of names to bytes, which one writer changes and any number of readers keep as it was.
//!
//! Entries lie in order, for transfers, some dozens together in a chunk that never changes; an index of
//! hashes says where each is. A question so touches the index, one chunk and little else, where a tree would
//! compare its way through names that lie anywhere in memory. A copy shares every chunk and every page of
//! the index with what it was made from, so that a change costs the chunks that it meets, however many
//! names there are; and it shares the lists of them by the block, so that a copy costs next to nothing.

use alloc::vec::Vec;
use core::fmt;

use self::blocks::Blocks;
use self::chunk::Chunk;
use self::index::{Index, Place, hash};

mod blocks;
mod chunk;
mod index;

/// Entries of a chunk: so few that copying them is quick, and so many that there are few chunks.
const CHUNK_ENTRIES_MAX: usize = 128;
/// Of a table that is made at once: with room for what comes between them.
const CHUNK_ENTRIES_MADE: usize = 96;
/// Bytes beyond which a chunk takes no second entry.
const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// What the hashes of names are made with. Where names are chosen by others than operators it must be one that
/// nobody knows, or they could be chosen to have the same hash; the one by default is for the other tables.
#[derive(Clone, Copy, Default)]
pub struct Key(u64, u64);

impl Key {
    /// The key of these numbers, drawn at random.
    #[must_use]
    pub fn new(one: u64, other: u64) -> Self {
        Self(one, other)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Table {
    key: Key,
    /// By their numbers, which they keep.
    chunks: Blocks<Chunk>,
    /// Numbers of the chunks that have entries, by name.
    order: Vec<u32>,
    /// Of the others.
    free: Vec<u32>,
    index: Index,
    len: usize,
    bytes: usize,
}

/// A name's key, and what is held for it.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

impl Table {
    /// An empty one with this key.
    #[must_use]
    pub fn keyed(key: Key) -> Self {
        Self { key, ..Self::default() }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// The entry of the name whose key is `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Entry<'_>> {
        self.index.places(self.hash(name)).map(|place| self.entry(place)).find(|(key, _)| *key == name)
    }

    /// The entry of the name whose key is `name`, or the last one before it.
    #[must_use]
    pub fn last_until(&self, name: &[u8]) -> Option<Entry<'_>> {
        let chunk = self.chunk(self.order_of(name))?;
        chunk.at(chunk.until(name).checked_sub(1)?)
    }

    /// The first entry behind the name whose key is `name`, in a circle: behind the last one it is the first of
    /// all.
    #[must_use]
    pub fn following(&self, name: &[u8]) -> Option<Entry<'_>> {
        let at = self.order_of(name);
        let chunk = self.chunk(at)?;
        let next = || self.chunk(at + 1).or_else(|| self.chunk(0));
        chunk.at(chunk.until(name)).or_else(|| next()?.at(0))
    }

    /// The last entry before the name whose key is `name`, in a circle: before the first one it is the last of
    /// all.
    #[must_use]
    pub fn preceding(&self, name: &[u8]) -> Option<Entry<'_>> {
        let at = self.order_of(name);
        let chunk = self.chunk(at)?;
        match chunk.before(name).checked_sub(1) {
            Some(rank) => chunk.at(rank),
            None => self.chunk(at.checked_sub(1).unwrap_or(self.order.len() - 1))?.iter().next_back(),
        }
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        self.order.iter().flat_map(|&number| self.chunks[number as usize].iter())
    }

    /// The entries whose names are within the one whose key is `name`: itself and all beneath it.
    pub fn within<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = Entry<'a>> {
        let first = self.order_of(name);
        let chunks = self.order[first..].iter().map(|&number| &self.chunks[number as usize]);
        let entries = chunks.flat_map(|chunk| chunk.iter()).skip_while(move |(key, _)| *key < name);
        entries.take_while(move |(key, _)| key.starts_with(name))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all names and of what is held for them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries that may be others in `other`: all that are, and some that lie beside them.
    pub fn apart<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Entry<'a>> {
        let chunks = self.chunks.apart(&other.chunks);
        let differ = chunks.filter(|(_, one, other)| !other.is_some_and(|other| one.is(other)));
        let mut chunks: Vec<_> = differ.map(|(_, chunk, _)| chunk).filter(|chunk| chunk.len() > 0).collect();
        chunks.sort_unstable_by_key(|chunk| chunk.at(0));
        chunks.into_iter().flat_map(Chunk::iter)
    }

    /// The names whose entries are others than in `before`, or which are in one of the two alone: found in the
    /// time that those take, when one is a changed copy of the other.
    pub fn changed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a [u8]> {
        let come = self.apart(before).filter(|(name, value)| before.get(name) != Some((*name, *value)));
        let gone = before.apart(self).filter(|(name, _)| self.get(name).is_none());
        come.chain(gone).map(|(name, _)| name)
    }

    /// Holds `value` for the name whose key is `name`, in place of what it had.
    pub fn insert(&mut self, name: &[u8], value: &[u8]) {
        let at = self.order_of(name);
        let Some(&number) = self.order.get(at) else {
            self.len += 1;
            self.bytes += name.len() + value.len();
            let number = self.place(Chunk::of(&[(name, value)]));
            self.order.push(number);
            self.index.insert(self.hash(name), Place { chunk: number, slot: 0 });
            return;
        };
        let chunk = self.chunks[number as usize].clone();
        match chunk.search(name) {
            Ok(slot) => {
                let (_, before) = chunk.entry(slot);
                self.bytes = self.bytes - before.len() + value.len();
                *self.chunks.get_mut(number as usize) = chunk.with(slot, (name, value));
            }
            Err(rank) => {
                self.len += 1;
                self.bytes += name.len() + value.len();
                let longer = chunk.and(rank, (name, value));
                let slot = longer.len() - 1;
                *self.chunks.get_mut(number as usize) = longer;
                self.index.insert(self.hash(name), Place { chunk: number, slot: slot as u8 });
            }
        }
        self.split(at);
    }

    /// Forgets the name whose key is `name`.
    pub fn remove(&mut self, name: &[u8]) {
        let at = self.order_of(name);
        let Some(&number) = self.order.get(at) else { return };
        let chunk = self.chunks[number as usize].clone();
        let Ok(slot) = chunk.search(name) else { return };
        self.len -= 1;
        self.bytes -= name.len() + chunk.entry(slot).1.len();
        self.index.remove(self.hash(name), Place { chunk: number, slot: slot as u8 });
        // The last one takes its slot.
        let last = chunk.len() - 1;
        if slot != last {
            let (moved, _) = chunk.entry(last);
            let place = |slot: usize| Place { chunk: number, slot: slot as u8 };
            self.index.replace(self.hash(moved), place(last), place(slot));
        }
        *self.chunks.get_mut(number as usize) = chunk.without(slot);
        if last == 0 {
            self.order.remove(at);
            self.free.push(number);
        }
    }

    fn hash(&self, name: &[u8]) -> u32 {
        hash(self.key, name)
    }

    fn entry(&self, place: Place) -> Entry<'_> {
        self.chunks[place.chunk as usize].entry(place.slot.into())
    }

    /// The chunk at a position in the order.
    fn chunk(&self, at: usize) -> Option<&Chunk> {
        self.order.get(at).map(|&number| &self.chunks[number as usize])
    }

    /// The position, in the order, of the chunk that has `name` or would have it.
    fn order_of(&self, name: &[u8]) -> usize {
        let behind = self.order.partition_point(|&number| {
            self.chunks[number as usize].at(0).is_some_and(|(key, _)| key <= name)
        });
        behind.saturating_sub(1)
    }

    /// Gives a chunk a number.
    fn place(&mut self, chunk: Chunk) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.chunks.get_mut(number as usize) = chunk;
            return number;
        }
        // More chunks than numbers do not fit into memory.
        self.chunks.push(chunk) as u32
    }

    /// Makes two chunks of one that has grown too large.
    fn split(&mut self, at: usize) {
        let number = self.order[at];
        let chunk = self.chunks[number as usize].clone();
        let is_large = chunk.len() > CHUNK_ENTRIES_MAX || chunk.bytes() > CHUNK_BYTES_MAX;
        if !is_large || chunk.len() == 1 {
            return;
        }
        let entries: Vec<_> = chunk.iter().collect();
        let (low, high) = entries.split_at(entries.len() / 2);
        let upper = self.place(Chunk::of(high));
        *self.chunks.get_mut(number as usize) = Chunk::of(low);
        self.order.insert(at + 1, upper);
        for (slot, (name, _)) in chunk.entries().enumerate() {
            self.index.remove(self.hash(name), Place { chunk: number, slot: slot as u8 });
        }
        for (number, entries) in [(number, low), (upper, high)] {
            for (slot, (name, _)) in entries.iter().enumerate() {
                self.index.insert(self.hash(name), Place { chunk: number, slot: slot as u8 });
            }
        }
    }
}

/// Makes a table of entries that come by name.
#[derive(Debug, Default)]
pub struct Builder {
    key: Key,
    chunks: Vec<Chunk>,
    len: usize,
    bytes: usize,
    names: Vec<u8>,
    values: Vec<u8>,
    /// Lengths of a name and of what is held for it.
    lengths: Vec<(usize, usize)>,
}

impl Builder {
    /// Makes one with this key.
    #[must_use]
    pub fn keyed(key: Key) -> Self {
        Self { key, ..Self::default() }
    }

    /// Adds an entry, whose name comes after those of all others.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let bytes = self.names.len() + self.values.len() + name.len() + value.len();
        let count = self.lengths.len();
        if count == CHUNK_ENTRIES_MADE || count > 0 && bytes > CHUNK_BYTES_MAX {
            self.close();
        }
        self.names.extend(name);
        self.values.extend(value);
        self.lengths.push((name.len(), value.len()));
    }

    /// The table.
    #[must_use]
    pub fn finish(mut self) -> Table {
        self.close();
        let Self { key, chunks, len, bytes, .. } = self;
        let mut index = Index::for_entries(len);
        // More chunks than numbers do not fit into memory.
        let order: Vec<u32> = (0..chunks.len() as u32).collect();
        for (chunk, &number) in chunks.iter().zip(&order) {
            for (slot, (name, _)) in chunk.entries().enumerate() {
                index.insert(hash(key, name), Place { chunk: number, slot: slot as u8 });
            }
        }
        Table { key, chunks: chunks.into(), order, free: Vec::new(), index, len, bytes }
    }

    fn close(&mut self) {
        if self.lengths.is_empty() {
            return;
        }
        let (mut names, mut values) = (&self.names[..], &self.values[..]);
        let mut entries = Vec::with_capacity(self.lengths.len());
        for &(name_bytes, value_bytes) in &self.lengths {
            let (name, value);
            (name, names) = names.split_at(name_bytes);
            (value, values) = values.split_at(value_bytes);
            entries.push((name, value));
        }
        self.chunks.push(Chunk::of(&entries));
        self.len += entries.len();
        self.bytes += self.names.len() + self.values.len();
        self.names.clear();
        self.values.clear();
        self.lengths.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::name::Name;
    use alloc::collections::{BTreeMap, BTreeSet};
    use core::ops::Bound;
    use proptest::prelude::*;

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn key(text: &str) -> Vec<u8> {
        Name::parse(text).unwrap().as_bytes().to_vec()
    }

    fn built(map: &Map) -> Table {
        let mut builder = Builder::keyed(Key::new(1, 2));
        for (name, value) in map {
            builder.push(name, value);
        }
        builder.finish()
    }

    fn same(table: &Table, map: &Map) -> Result<(), TestCaseError> {
        let entries = map.iter().map(|(name, value)| (&name[..], &value[..]));
        prop_assert!(table.iter().eq(entries));
        prop_assert_eq!(table.len(), map.len());
        prop_assert_eq!(
            table.bytes(),
            map.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        );
        for (name, value) in map {
            prop_assert_eq!(table.get(name), Some((&name[..], &value[..])));
        }
        Ok(())
    }

    const NAME: &str = "[a-d]{1,3}(\\.[ab]{1,2}){0,3}";

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn it_holds_what_a_map_holds_through_every_change(
            first in prop::collection::btree_map(NAME, "[xyz]{0,40}", 0..400),
            changes in prop::collection::vec((NAME, prop::option::weighted(0.6, "[xyz]{0,40}")), 0..400),
            asked in prop::collection::vec(NAME, 50),
        ) {
            let mut map: Map = first.iter().map(|(name, value)| (key(name), value.clone().into())).collect();
            let mut table = built(&map);
            let (before, map_before) = (table.clone(), map.clone());
            for (name, value) in &changes {
                let name = key(name);
                match value {
                    Some(value) => {
                        table.insert(&name, value.as_bytes());
                        map.insert(name, value.clone().into());
                    }
                    None => {
                        table.remove(&name);
                        map.remove(&name);
                    }
                }
            }
            same(&table, &map)?;
            same(&before, &map_before)?;
            for text in &asked {
                let name = key(text);
                prop_assert_eq!(table.get(&name).map(|(_, value)| value), map.get(&name).map(|value| &value[..]));
                let within = table.within(&name).map(|(name, _)| name.to_vec());
                let expected = map.keys().filter(|other| other.starts_with(&name)).cloned();
                prop_assert!(within.eq(expected));
                let until = map.range(..=name.clone()).next_back().map(|(name, value)| (&name[..], &value[..]));
                prop_assert_eq!(table.last_until(&name), until);
                let entry = |(name, value): (&'_ Vec<u8>, &'_ Vec<u8>)| (name.clone(), value.clone());
                let behind = map.range((Bound::Excluded(name.clone()), Bound::Unbounded)).next();
                let behind = behind.or_else(|| map.first_key_value()).map(entry);
                let following = table.following(&name).map(|(name, value)| (name.to_vec(), value.to_vec()));
                prop_assert_eq!(following, behind);
                let before = map.range(..name.clone()).next_back();
                let before = before.or_else(|| map.last_key_value()).map(entry);
                let preceding = table.preceding(&name).map(|(name, value)| (name.to_vec(), value.to_vec()));
                prop_assert_eq!(preceding, before);
            }
            // What is not listed as apart is the same.
            let apart: BTreeMap<_, _> = table.apart(&before).collect();
            for (name, value) in &map {
                prop_assert!(map_before.get(name) == Some(value) || apart.contains_key(&name[..]));
            }
            prop_assert!(table.apart(&before).is_sorted());
            let changed: BTreeSet<_> = table.changed(&before).map(<[u8]>::to_vec).collect();
            let names = map.keys().chain(map_before.keys());
            let differ = names.filter(|name| map.get(*name) != map_before.get(*name)).cloned();
            prop_assert_eq!(changed, differ.collect());
        }
    }

    fn many(count: usize) -> Map {
        (0..count).map(|n| (key(&format!("host-{n}.example.com")), n.to_string().into_bytes())).collect()
    }

    #[test]
    fn one_change_of_many_names_leaves_the_others_where_they_are() {
        let map = many(20_000);
        let before = built(&map);
        let mut after = before.clone();
        after.insert(&key("host-4711.example.com"), b"another");
        after.insert(&key("host-4711x.example.com"), b"new");
        after.remove(&key("host-4712.example.com"));
        assert!(after.apart(&before).count() < 4 * CHUNK_ENTRIES_MAX);
        assert!(after.index.apart(&before.index) <= 4);
    }

    #[test]
    fn a_table_that_grows_by_one_name_at_a_time_is_the_one_that_is_made_at_once() {
        let map = many(20_000);
        let mut grown = Table::default();
        // Neither in order nor against it.
        for n in 0..20_000 {
            let name = key(&format!("host-{}.example.com", n * 7919 % 20_000));
            grown.insert(&name, &map[&name]);
        }
        same(&grown, &map).unwrap();
        for name in map.keys() {
            grown.remove(name);
        }
        same(&grown, &Map::new()).unwrap();
    }

    #[test]
    fn names_that_lie_together_under_one_key_lie_apart_under_another() {
        let (one, other) = (Key::new(1, 2), Key::new(3, 4));
        // In a table of so few, the last bits are the place.
        let names = (0..100_000_u32).map(|n| key(&format!("h{n}.example.com")));
        let chosen: Vec<_> = names.filter(|name| hash(one, name) & 0x3ff < 8).take(100).collect();
        assert_eq!(chosen.len(), 100);
        let longest = |key| {
            let mut table = Table::keyed(key);
            chosen.iter().for_each(|name| table.insert(name, b""));
            table.index.longest_run()
        };
        assert!(longest(one) >= 90 && longest(other) < 50, "{} {}", longest(one), longest(other));
    }

    #[test]
    fn names_that_are_alike_lie_apart() {
        let longest = built(&many(20_000)).index.longest_run();
        assert!(longest < 200, "{longest} places in a row");
    }
}
