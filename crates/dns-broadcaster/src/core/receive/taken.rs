//! The sets that were taken by update: whose they are, and how many there may be.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Changes;
use crate::core::name::Name;
use crate::core::record::{Kind, Rdata, Set};

/// Records of all zones together: what a large network gives out, at some hundred bytes each. More come from
/// a client that never takes anything away.
pub const RECORDS_MAX: usize = 100_000;
/// Bytes of the values at one name: an answer has to be smaller than 64 KiB, with its signatures, and so does
/// what is remembered of a name.
const NAME_BYTES_MAX: usize = 16 * 1024;
/// Records at one name; each costs some bytes beside its value.
const NAME_RECORDS_MAX: usize = 1024;
/// Types at one name, of each of which is remembered whose it is.
const NAME_SETS_MAX: usize = 32;
/// Names that one update changes: they go in one commit, which takes a hundred records.
pub const NAMES_MAX: usize = 64;

/// A set that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenSet {
    /// The records.
    pub set: Set,
    /// The key that was last to change it.
    pub key: Name,
    /// When that was: seconds since 1970.
    pub at: u64,
}

/// An update would leave more than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum TooMany {
    #[error("more than {NAMES_MAX} names change at once; send several updates")]
    Names,
    #[error(
        "more than {NAME_RECORDS_MAX} records, {NAME_SETS_MAX} types or {NAME_BYTES_MAX} bytes would be at one name"
    )]
    AtName,
    #[error(
        "more than {RECORDS_MAX} records would be there by update; `switchback dns records` shows what can be removed"
    )]
    Records,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    zones: BTreeMap<Name, BTreeMap<Name, Vec<TakenSet>>>,
    records: usize,
}

/// What is at names of a zone from now on; nothing: none.
pub type Nodes = BTreeMap<Name, Vec<TakenSet>>;

impl Taken {
    /// The sets at a name.
    #[must_use]
    pub fn at(&self, zone: &Name, owner: &Name) -> &[TakenSet] {
        self.zones.get(zone).and_then(|nodes| nodes.get(owner)).map_or(&[], Vec::as_slice)
    }

    /// Whether this set was taken.
    #[must_use]
    pub fn holds(&self, zone: &Name, owner: &Name, kind: Kind) -> bool {
        self.at(zone, owner).iter().any(|taken| taken.set.kind == kind)
    }

    /// All of a zone, by name.
    pub fn of(&self, zone: &Name) -> impl Iterator<Item = (&Name, &[TakenSet])> {
        let nodes = self.zones.get(zone).into_iter().flatten();
        nodes.map(|(owner, sets)| (owner, sets.as_slice()))
    }

    /// Zones of which something was taken.
    pub fn zones(&self) -> impl Iterator<Item = &Name> {
        self.zones.keys()
    }

    /// Number of records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// What is at the names that `changes` touch once they are made by the holder of `key`, at `now`.
    ///
    /// # Errors
    /// That would be more than there may be. What only becomes fewer is always taken.
    pub fn after(&self, zone: &Name, changes: &Changes, key: &Name, now: u64) -> Result<Nodes, TooMany> {
        if changes.len() > NAMES_MAX {
            return Err(TooMany::Names);
        }
        let (mut gone, mut come) = (0, 0);
        let mut nodes = Nodes::new();
        for (owner, sets) in changes {
            let before = self.at(zone, owner);
            let kept = before.iter().filter(|taken| !sets.contains_key(&taken.set.kind)).cloned();
            let new = sets.values().flatten();
            let new = new.map(|set| TakenSet { set: set.clone(), key: key.clone(), at: now });
            let node: Vec<_> = kept.chain(new).collect();
            let (count, bytes) = size(&node);
            let (count_before, bytes_before) = size(before);
            let is_more = count > count_before || bytes > bytes_before;
            let is_large = count > NAME_RECORDS_MAX || bytes > NAME_BYTES_MAX || node.len() > NAME_SETS_MAX;
            if is_more && is_large {
                return Err(TooMany::AtName);
            }
            (gone, come) = (gone + count_before, come + count);
            nodes.insert(owner.clone(), node);
        }
        if come > gone && self.records + come - gone > RECORDS_MAX {
            return Err(TooMany::Records);
        }
        Ok(nodes)
    }

    /// Has these at their names.
    pub fn take(&mut self, zone: &Name, nodes: Nodes) {
        for (owner, node) in nodes {
            self.records = self.records + size(&node).0 - size(self.at(zone, &owner)).0;
            let zone = self.zones.entry(zone.clone()).or_default();
            if node.is_empty() {
                zone.remove(&owner);
            } else {
                zone.insert(owner, node);
            }
        }
        if self.zones.get(zone).is_some_and(BTreeMap::is_empty) {
            self.zones.remove(zone);
        }
    }
}

/// Records, and bytes of their values.
fn size(sets: &[TakenSet]) -> (usize, usize) {
    let data = || sets.iter().flat_map(|taken| &taken.set.data);
    (data().count(), data().map(|data: &Rdata| data.as_bytes().len()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn texts(count: usize, bytes: u8) -> Set {
        let value = |number: usize| {
            let mut value = alloc::vec![bytes; usize::from(bytes) + 1];
            value[1..3].copy_from_slice(&(number as u16).to_be_bytes());
            Rdata::from_wire(value)
        };
        Set::new(Kind::TXT, 60, (0..count).map(value))
    }

    fn change(owner: &str, set: Option<Set>) -> Changes {
        [(name(owner), [(Kind::TXT, set)].into())].into()
    }

    #[test]
    fn no_more_is_taken_than_there_may_be_and_less_always() {
        let (zone, key) = (name("z"), name("key"));
        let mut taken = Taken::default();
        let after = |taken: &Taken, changes: &Changes| taken.after(&zone, changes, &key, 7);
        assert_eq!(after(&taken, &change("a.z", Some(texts(NAME_RECORDS_MAX + 1, 2)))), Err(TooMany::AtName));
        assert_eq!(after(&taken, &change("a.z", Some(texts(100, 200)))), Err(TooMany::AtName));
        let many = |count: usize| {
            (0..count).map(|at| (name(&alloc::format!("a{at}.z")), [(Kind::TXT, Some(texts(1, 2)))].into()))
        };
        assert_eq!(after(&taken, &many(NAMES_MAX + 1).collect()), Err(TooMany::Names));
        for number in 0..RECORDS_MAX / 1000 {
            let nodes = after(&taken, &change(&alloc::format!("n{number}.z"), Some(texts(1000, 2)))).unwrap();
            taken.take(&zone, nodes);
        }
        assert_eq!(taken.records(), RECORDS_MAX);
        assert_eq!(after(&taken, &change("a.z", Some(texts(1, 2)))), Err(TooMany::Records));
        let nodes = after(&taken, &change("n0.z", Some(texts(999, 2)))).unwrap();
        taken.take(&zone, nodes);
        assert_eq!(taken.records(), RECORDS_MAX - 1);
        assert!(after(&taken, &change("a.z", Some(texts(1, 2)))).is_ok());
    }

    #[test]
    fn a_set_says_who_was_last_to_change_it() {
        let zone = name("z");
        let mut taken = Taken::default();
        for (owner, key, at) in [("a.z", "one", 1), ("b.z", "two", 2)] {
            let nodes = taken.after(&zone, &change(owner, Some(texts(2, 2))), &name(key), at).unwrap();
            taken.take(&zone, nodes);
        }
        let seen: Vec<_> = taken.of(&zone).map(|(_, sets)| (sets[0].key.clone(), sets[0].at)).collect();
        assert_eq!(seen, [(name("one"), 1), (name("two"), 2)]);
        let nodes = taken.after(&zone, &change("a.z", None), &name("two"), 3).unwrap();
        taken.take(&zone, nodes);
        assert!(!taken.holds(&zone, &name("a.z"), Kind::TXT) && taken.holds(&zone, &name("b.z"), Kind::TXT));
        assert_eq!(taken.records(), 2);
    }
}
