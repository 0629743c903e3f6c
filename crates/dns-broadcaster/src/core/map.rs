//! A map by names, which one writer changes and any number of readers keep as it was.
//!
//! What [`super::table`] is for bytes, this is for values that code works with. Entries lie in order, some
//! dozens together in a chunk, and a copy shares all chunks with what it was made from: copying one of many
//! entries takes next to no time, a change costs the chunk that it meets, and what is another in a changed
//! copy is found by looking only at the chunks that are not shared.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Index;

use super::name::Name;

/// So few that a chunk is quick to copy, and so many that there are few chunks.
const CHUNK_ENTRIES_MAX: usize = 64;

/// See the module.
pub struct Map<V> {
    /// None is empty.
    chunks: Vec<Chunk<V>>,
    len: usize,
}

type Chunk<V> = Arc<Vec<Arc<(Name, V)>>>;

/// A name, and what one map and another one hold for it.
pub type Difference<'a, V> = (&'a Name, Option<&'a V>, Option<&'a V>);

impl<V> Map<V> {
    /// What is held for the name of this key.
    #[must_use]
    pub fn get<K: Borrow<[u8]> + ?Sized>(&self, key: &K) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The name of this key, with what is held for it.
    #[must_use]
    pub fn get_key_value<K: Borrow<[u8]> + ?Sized>(&self, key: &K) -> Option<(&Name, &V)> {
        let chunk = self.chunks.get(self.chunk_of(key.borrow()))?;
        let at = search(chunk, key.borrow()).ok()?;
        Some(pair(&chunk[at]))
    }

    /// Whether something is held for the name of this key.
    #[must_use]
    pub fn contains_key<K: Borrow<[u8]> + ?Sized>(&self, key: &K) -> bool {
        self.get(key).is_some()
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

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &V)> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(pair)
    }

    /// All names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Name> + Clone {
        self.iter().map(|(name, _)| name)
    }

    /// All values, by name.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// The entries whose names are within the one of this key: itself and all beneath it.
    pub fn within<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = (&'a Name, &'a V)> {
        let chunks = self.chunks[self.chunk_of(key)..].iter();
        let entries = chunks.flat_map(|chunk| chunk.iter()).map(pair);
        let entries = entries.skip_while(move |(name, _)| name.as_bytes() < key);
        entries.take_while(move |(name, _)| name.as_bytes().starts_with(key))
    }

    /// Holds `value` for `name`, in place of what it had.
    pub fn insert(&mut self, name: Name, value: V) {
        let at = self.chunk_of(name.as_bytes());
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new([Arc::new((name, value))].into()));
            self.len += 1;
            return;
        };
        let chunk = Arc::make_mut(chunk);
        let place = search(chunk, name.as_bytes());
        let entry = Arc::new((name, value));
        match place {
            Ok(place) => chunk[place] = entry,
            Err(place) => {
                chunk.insert(place, entry);
                self.len += 1;
                if chunk.len() > CHUNK_ENTRIES_MAX {
                    let upper = chunk.split_off(chunk.len() / 2);
                    self.chunks.insert(at + 1, Arc::new(upper));
                }
            }
        }
    }

    /// Forgets the name of this key.
    pub fn remove<K: Borrow<[u8]> + ?Sized>(&mut self, key: &K) {
        let at = self.chunk_of(key.borrow());
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = search(chunk, key.borrow()) else { return };
        self.len -= 1;
        if chunk.len() == 1 {
            self.chunks.remove(at);
        } else {
            Arc::make_mut(chunk).remove(place);
        }
    }

    /// The position of the chunk that has the name of this key, or would have it.
    fn chunk_of(&self, key: &[u8]) -> usize {
        let is_behind = |chunk: &Chunk<V>| chunk.first().is_some_and(|first| first.0.as_bytes() <= key);
        self.chunks.partition_point(is_behind).saturating_sub(1)
    }
}

impl<V: PartialEq> Map<V> {
    /// The names for which `other` holds something else, in order: found in the time that those take when one
    /// is a changed copy of the other.
    #[must_use]
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<Difference<'a, V>> {
        let (mut one, mut two) =
            (Walk { chunks: &self.chunks, at: 0 }, Walk { chunks: &other.chunks, at: 0 });
        let mut differences = Vec::new();
        loop {
            one.skip_shared(&mut two);
            let order = match (one.entry(), two.entry()) {
                (None, None) => return differences,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.0.cmp(&right.0),
            };
            let left = if order.is_le() { one.take() } else { None };
            let right = if order.is_ge() { two.take() } else { None };
            let is_same = match (left, right) {
                (Some(left), Some(right)) => Arc::ptr_eq(left, right) || left.1 == right.1,
                (Some(_), None) | (None, _) => false,
            };
            if let Some(entry) = left.or(right).filter(|_| !is_same) {
                let value = |entry: &'a Arc<(Name, V)>| &entry.1;
                differences.push((&entry.0, left.map(value), right.map(value)));
            }
        }
    }
}

/// On the way through the chunks of a map.
struct Walk<'a, V> {
    chunks: &'a [Chunk<V>],
    /// In the first of them.
    at: usize,
}

impl<'a, V> Walk<'a, V> {
    fn entry(&self) -> Option<&'a Arc<(Name, V)>> {
        self.chunks.first()?.get(self.at)
    }

    fn take(&mut self) -> Option<&'a Arc<(Name, V)>> {
        let (chunk, rest) = self.chunks.split_first()?;
        let entry = chunk.get(self.at);
        self.at += 1;
        if self.at == chunk.len() {
            *self = Self { chunks: rest, at: 0 };
        }
        entry
    }

    /// Leaves out the chunks that `other` comes to as well.
    fn skip_shared(&mut self, other: &mut Self) {
        while self.at == 0
            && other.at == 0
            && let ([one, rest @ ..], [another, other_rest @ ..]) = (self.chunks, other.chunks)
            && Arc::ptr_eq(one, another)
        {
            (self.chunks, other.chunks) = (rest, other_rest);
        }
    }
}

fn search<V>(chunk: &[Arc<(Name, V)>], key: &[u8]) -> Result<usize, usize> {
    chunk.binary_search_by(|entry| entry.0.as_bytes().cmp(key))
}

fn pair<V>(entry: &Arc<(Name, V)>) -> (&Name, &V) {
    (&entry.0, &entry.1)
}

impl<V> Clone for Map<V> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<V: PartialEq> PartialEq for Map<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.differences(other).is_empty()
    }
}

impl<V: Eq> Eq for Map<V> {}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> Index<&Name> for Map<V> {
    type Output = V;

    /// # Panics
    /// Nothing is held for the name.
    fn index(&self, name: &Name) -> &V {
        self.get(name).expect("the name is in the map")
    }
}

impl<V> FromIterator<(Name, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (Name, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (name, value) in entries {
            map.insert(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};
    use proptest::prelude::*;

    const NAME: &str = "[a-d]{1,3}(\\.[ab]{1,2}){0,3}";

    fn same(map: &Map<u8>, reference: &BTreeMap<Name, u8>) -> Result<(), TestCaseError> {
        prop_assert!(map.iter().eq(reference.iter()));
        prop_assert_eq!((map.len(), map.is_empty()), (reference.len(), reference.is_empty()));
        for (name, value) in reference {
            prop_assert_eq!(map.get_key_value(name), Some((name, value)));
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn it_holds_what_a_tree_holds_and_knows_what_is_another(
            first in prop::collection::btree_map(NAME, 0_u8..4, 0..400),
            changes in prop::collection::vec((NAME, prop::option::weighted(0.6, 0_u8..4)), 0..200),
            asked in prop::collection::vec(NAME, 50),
        ) {
            let name = |text: &String| Name::parse(text).unwrap();
            let before: BTreeMap<_, _> = first.iter().map(|(text, value)| (name(text), *value)).collect();
            let map_before: Map<_> = before.clone().into_iter().collect();
            let (mut after, mut map) = (before.clone(), map_before.clone());
            for (text, value) in &changes {
                match value {
                    Some(value) => {
                        after.insert(name(text), *value);
                        map.insert(name(text), *value);
                    }
                    None => {
                        after.remove(&name(text));
                        map.remove(&name(text));
                    }
                }
            }
            same(&map, &after)?;
            same(&map_before, &before)?;
            for key in asked.iter().map(name) {
                prop_assert_eq!(map.get(&key), after.get(&key));
                let beneath = after.iter().filter(|(other, _)| other.is_within(&key));
                prop_assert!(map.within(key.as_bytes()).eq(beneath));
            }
            let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let differences = names.into_iter().map(|name| (name, before.get(name), after.get(name)));
            let differences: Vec<_> = differences.filter(|(_, one, other)| one != other).collect();
            prop_assert_eq!(map_before.differences(&map), differences.clone());
            prop_assert_eq!(map_before == map, differences.is_empty());
            // Also of one that shares nothing with it.
            let apart: Map<_> = after.clone().into_iter().collect();
            prop_assert_eq!(map_before.differences(&apart), differences);
        }
    }

    #[test]
    fn a_change_of_one_entry_of_many_leaves_the_others_where_they_are() {
        let name = |number: u32| Name::parse(&alloc::format!("host-{number}.test")).unwrap();
        let before: Map<_> = (0..20_000).map(|number| (name(number), number)).collect();
        let mut after = before.clone();
        after.insert(name(4711), 0);
        after.insert(name(20_000), 0);
        after.remove(&name(42));
        let is_shared = |chunk: &Chunk<_>| before.chunks.iter().any(|other| Arc::ptr_eq(other, chunk));
        assert!(after.chunks.iter().filter(|chunk| !is_shared(chunk)).count() <= 4);
    }
}
