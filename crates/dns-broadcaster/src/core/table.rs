//! A map of names that is made once and asked often: what a zone or a snapshot consists of.
//!
//! In order, for transfers, and with an index by hash: a question then touches one or two entries, where a
//! tree would compare its way through dozens of names that lie anywhere in memory.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::name::Name;

/// So few entries are looked through as fast.
const UNINDEXED_MAX: usize = 4;
/// A free place of the index.
const FREE: u32 = u32::MAX;

/// See the module.
#[derive(Clone, Debug)]
pub struct Table<T> {
    /// By name.
    entries: Box<[(Name, T)]>,
    /// Positions of entries, each at the place of its hash or at the next free one; at most half of the
    /// places are taken. A power of two of them, or none.
    index: Box<[u32]>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Box::default(), index: Box::default() }
    }
}

impl<T> Table<T> {
    /// The entry of the name whose key is `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<(&Name, &T)> {
        let is_it = |entry: &&(Name, T)| entry.0.as_bytes() == name;
        let entry = if self.index.is_empty() {
            self.entries.iter().find(is_it)
        } else {
            let mask = self.index.len() - 1;
            let places = (0..).map(|step| self.index[(hash(name) + step) & mask]);
            let taken = places.take_while(|&position| position != FREE);
            taken.map(|position| &self.entries[position as usize]).find(is_it)
        };
        entry.map(|(name, value)| (name, value))
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &T)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }
}

impl<T> From<BTreeMap<Name, T>> for Table<T> {
    fn from(map: BTreeMap<Name, T>) -> Self {
        let entries: Vec<_> = map.into_iter().collect();
        let mut index = Vec::new();
        if entries.len() > UNINDEXED_MAX {
            index = vec![FREE; (2 * entries.len()).next_power_of_two()];
            let mask = index.len() - 1;
            // More names than positions do not fit into memory.
            for (position, (name, _)) in (0_u32..).zip(&entries) {
                let mut place = hash(name.as_bytes()) & mask;
                while index[place] != FREE {
                    place = (place + 1) & mask;
                }
                index[place] = position;
            }
        }
        Self { entries: entries.into(), index: index.into() }
    }
}

/// Multiply and fold. Not keyed: names come here from operators only, and a question that collides with
/// them meets no more of them than lie together.
fn hash(name: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mix = |state: u64, word: [u8; 8]| {
        let product = u128::from(state ^ u64::from_le_bytes(word)) * u128::from(FACTOR);
        (product as u64) ^ (product >> 64) as u64
    };
    let state = words.iter().fold(name.len() as u64 ^ FACTOR, |state, word| mix(state, *word));
    mix(state, last) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn it_holds_what_a_map_holds(
            names in prop::collection::btree_map("[ab]{1,3}(\\.[ab]{1,2}){0,3}", any::<u8>(), 0..200),
            asked in prop::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){0,3}", 50),
        ) {
            let map: BTreeMap<Name, u8> =
                names.iter().map(|(text, value)| (Name::parse(text).unwrap(), *value)).collect();
            let table = Table::from(map.clone());
            prop_assert!(table.iter().eq(map.iter()));
            for text in names.keys().chain(&asked) {
                let name = Name::parse(text).unwrap();
                prop_assert_eq!(table.get(name.as_bytes()), map.get_key_value(&name));
            }
        }
    }

    #[test]
    fn names_that_are_alike_lie_apart() {
        let names = (0..100_000).map(|n| (Name::parse(&format!("host-{n}.example.com")).unwrap(), ()));
        let table = Table::from(names.collect::<BTreeMap<_, _>>());
        let mut longest = 0;
        let mut run = 0;
        for &place in &table.index {
            run = if place == FREE { 0 } else { run + 1 };
            longest = longest.max(run);
        }
        assert!(longest < 100, "{longest} places in a row");
    }
}
