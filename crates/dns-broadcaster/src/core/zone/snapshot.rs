//! All zones that are served, at one instant.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Zone;
use crate::core::name::Name;
use crate::core::table::{Builder, Table};

/// Zones of a page: so few that it is quick to copy, and so many that there are few pages.
const PAGE_ZONES: usize = 64;

/// Every zone, at one instant. A query reads one snapshot from beginning to end.
///
/// A copy shares with what it was made from all that is not changed in it: a zone that is put into one of many
/// costs what it costs among few, and so does finding what is another in it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By their places, which they keep. None is missing but where a zone was removed.
    pages: Vec<Arc<Vec<Option<Arc<Zone>>>>>,
    /// Where zones were removed.
    free: Vec<u32>,
    /// Their places, by name.
    index: Table,
    /// Labels of the deepest zone's name that there is or was: no question looks for a zone below that.
    pub(in crate::core) depth_max: usize,
}

/// A zone of a name in one snapshot, and in another one.
pub type Difference<'a> = (Option<&'a Arc<Zone>>, Option<&'a Arc<Zone>>);

impl Snapshot {
    /// A snapshot of `zones`, of which the last of a name counts.
    pub fn new(zones: impl IntoIterator<Item = Arc<Zone>>) -> Self {
        let zones: BTreeMap<_, _> = zones.into_iter().map(|zone| (zone.origin.clone(), zone)).collect();
        let depth_max = zones.keys().map(Name::depth).max().unwrap_or(0);
        let mut index = Builder::default();
        for (name, place) in zones.keys().zip(0_u32..) {
            index.push(name.as_bytes(), &place.to_le_bytes());
        }
        let zones: Vec<_> = zones.into_values().map(Some).collect();
        let pages = zones.chunks(PAGE_ZONES).map(|page| Arc::new(page.to_vec())).collect();
        Self { pages, free: Vec::new(), index: index.finish(), depth_max }
    }

    /// The zone of that very name.
    #[must_use]
    pub fn zone(&self, origin: &Name) -> Option<&Arc<Zone>> {
        self.at(origin.as_bytes())
    }

    /// The zone of the name of that key.
    pub(in crate::core) fn at(&self, name: &[u8]) -> Option<&Arc<Zone>> {
        let (_, place) = self.index.get(name)?;
        self.in_place(place)
    }

    /// All zones, by name.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.index.iter().filter_map(|(_, place)| self.in_place(place))
    }

    /// Number of zones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Has this zone, in place of the one of its name.
    pub fn put(&mut self, zone: Arc<Zone>) {
        let name = zone.origin.as_bytes();
        if let Some(place) = self.index.get(name).and_then(|(_, place)| number(place)) {
            self.set(place, Some(zone));
            return;
        }
        self.depth_max = self.depth_max.max(zone.origin.depth());
        // More zones than numbers do not fit into memory.
        let place = self.free.pop().unwrap_or(self.index.len() as u32);
        self.index.insert(name, &place.to_le_bytes());
        self.set(place, Some(zone));
    }

    /// Has no zone of this name.
    pub fn remove(&mut self, name: &Name) {
        let place = self.index.get(name.as_bytes()).and_then(|(_, place)| number(place));
        if let Some(place) = place {
            self.index.remove(name.as_bytes());
            self.set(place, None);
            self.free.push(place);
        }
    }

    /// What is another zone in `other`, or is in one of both alone, by name: found in the time that those take
    /// when one is a changed copy of the other.
    #[must_use]
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<Difference<'a>> {
        let mut differences: BTreeMap<&Name, Difference<'a>> = BTreeMap::new();
        for number in 0..self.pages.len().max(other.pages.len()) {
            let (one, another) = (self.pages.get(number), other.pages.get(number));
            if let (Some(one), Some(another)) = (one, another)
                && Arc::ptr_eq(one, another)
            {
                continue;
            }
            for zone in one.into_iter().flat_map(|page| page.iter()).flatten() {
                differences.entry(&zone.origin).or_default().0 = Some(zone);
            }
            for zone in another.into_iter().flat_map(|page| page.iter()).flatten() {
                differences.entry(&zone.origin).or_default().1 = Some(zone);
            }
        }
        let is_same = |&(one, another): &Difference<'a>| matches!((one, another), (Some(one), Some(another)) if Arc::ptr_eq(one, another));
        differences.into_values().filter(|difference| !is_same(difference)).collect()
    }

    fn in_place(&self, place: &[u8]) -> Option<&Arc<Zone>> {
        let place = number(place)? as usize;
        self.pages.get(place / PAGE_ZONES)?.get(place % PAGE_ZONES)?.as_ref()
    }

    /// Sets a place that there is, or the one behind all.
    fn set(&mut self, place: u32, zone: Option<Arc<Zone>>) {
        let (page, at) = (place as usize / PAGE_ZONES, place as usize % PAGE_ZONES);
        if page == self.pages.len() {
            self.pages.push(Arc::default());
        }
        let page = Arc::make_mut(&mut self.pages[page]);
        match page.get_mut(at) {
            Some(present) => *present = zone,
            None => page.push(zone),
        }
    }
}

fn number(place: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*place.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::own::Nodes;
    use crate::core::zone::Serial;
    use proptest::prelude::*;

    fn zone(text: &str, serial: u32) -> Arc<Zone> {
        Arc::new(Zone::of_nodes(&Name::parse(text).unwrap(), Serial(serial), Nodes::new()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn a_changed_copy_is_what_would_be_made_anew(
            first in prop::collection::btree_set("[a-d]{1,3}(\\.[ab]){0,2}", 0..300),
            steps in prop::collection::vec(("[a-d]{1,3}(\\.[ab]){0,2}", any::<bool>()), 0..100),
        ) {
            let mut zones: BTreeMap<String, _> =
                first.into_iter().map(|text| (text.clone(), zone(&text, 1))).collect();
            let before = Snapshot::new(zones.values().cloned());
            let zones_before = zones.clone();
            let mut changed = before.clone();
            for (text, is_there) in steps {
                if is_there {
                    let zone = zone(&text, 2);
                    changed.put(Arc::clone(&zone));
                    zones.insert(text, zone);
                } else {
                    changed.remove(&Name::parse(&text).unwrap());
                    zones.remove(&text);
                }
            }
            let same = |snapshot: &Snapshot, zones: &BTreeMap<String, Arc<Zone>>| {
                let anew = Snapshot::new(zones.values().cloned());
                snapshot.len() == anew.len()
                    && snapshot.is_empty() == zones.is_empty()
                    && snapshot.depth_max >= anew.depth_max
                    && snapshot.zones().zip(anew.zones()).all(|(one, other)| Arc::ptr_eq(one, other))
                    && zones.values().all(|zone| Arc::ptr_eq(snapshot.zone(&zone.origin).unwrap(), zone))
            };
            prop_assert!(same(&changed, &zones) && same(&before, &zones_before));
            let pointers = |difference: Difference<'_>| (difference.0.map(Arc::as_ptr), difference.1.map(Arc::as_ptr));
            let mut expected: BTreeMap<&Name, Difference<'_>> = BTreeMap::new();
            for zone in zones_before.values() {
                expected.entry(&zone.origin).or_default().0 = Some(zone);
            }
            for zone in zones.values() {
                expected.entry(&zone.origin).or_default().1 = Some(zone);
            }
            let expected = expected.into_values().map(pointers).filter(|(one, other)| one != other);
            let differences: Vec<_> = before.differences(&changed).into_iter().map(pointers).collect();
            prop_assert_eq!(differences, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_change_of_one_zone_of_many_leaves_the_others_where_they_are() {
        let text = |number: usize| alloc::format!("zone-{number}.test");
        let before = Snapshot::new((0..20_000).map(|number| zone(&text(number), 1)));
        let mut after = before.clone();
        after.put(zone(&text(4711), 2));
        after.remove(before.zones().nth(42).unwrap().origin());
        after.put(zone(&text(20_000), 1));
        let apart = after.pages.iter().zip(&before.pages).filter(|(one, other)| !Arc::ptr_eq(one, other));
        assert!(apart.count() <= 2 && after.pages.len() == before.pages.len());
    }
}
