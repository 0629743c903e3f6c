//! What an update makes of a zone (RFC 2136 section 3.4).

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry as Place;

use super::{Class, Code, Entry};
use crate::core::dnssec::canonical;
use crate::core::name::Name;
use crate::core::packed::Node;
use crate::core::record::{Kind, Rdata, Set};
use crate::core::zone::{Serial, Zone};

/// RFC 2181 section 8: more, with the highest bit set, is to be taken for none.
const TTL_SECONDS_MAX: u32 = i32::MAX as u32;

/// Sets that are other than before, by name and type: what they are then, or `None` for gone.
pub type Changes = BTreeMap<Name, BTreeMap<Kind, Option<Set>>>;

/// The sets of one name.
type Sets = BTreeMap<Kind, Set>;

/// Whether all of `edits` are such that can be carried out (section 3.4.1.3).
///
/// # Errors
/// The first one that is not.
pub(super) fn prescan(zone: &Zone, edits: &[Entry]) -> Result<(), Code> {
    for edit in edits {
        if !edit.owner.is_within(zone.origin()) {
            return Err(Code::NotZone);
        }
        let Entry { kind, class, ttl, ref data, .. } = *edit;
        let is_right = match class {
            Class::In => !is_meta(kind) && data.is_some(),
            Class::Any => ttl == 0 && data.is_none() && (kind == Kind::ANY || !is_meta(kind)),
            Class::None => ttl == 0 && !is_meta(kind) && data.is_some(),
            Class::Other => false,
        };
        if !is_right {
            return Err(Code::FormErr);
        }
    }
    Ok(())
}

/// RFC 6895 section 3.1: types that are asked for and never held; and OPT.
fn is_meta(kind: Kind) -> bool {
    const OPT: Kind = Kind(41);
    kind == OPT || (128..=255).contains(&kind.0)
}

/// What `edits`, one after another, change in `zone` (section 3.4.2.7). They have passed [`prescan`].
pub(super) fn outcome(zone: &Zone, edits: &[Entry]) -> Changes {
    let mut names: BTreeMap<&Name, Sets> = BTreeMap::new();
    for edit in edits {
        let sets = match names.entry(&edit.owner) {
            Place::Occupied(place) => place.into_mut(),
            Place::Vacant(place) => place.insert(sets_of(zone, &edit.owner)),
        };
        edit.apply(&edit.owner == zone.origin(), sets);
    }
    let changed = names.into_iter().map(|(name, sets)| (name.clone(), difference(zone, name, sets)));
    changed.filter(|(_, sets)| !sets.is_empty()).collect()
}

impl Entry {
    fn apply(&self, at_apex: bool, sets: &mut Sets) {
        let Self { kind, ttl, ref data, .. } = *self;
        let is_start = |kind| at_apex && matches!(kind, Kind::SOA | Kind::NS);
        match (self.class, data) {
            (Class::In, Some(data)) => {
                let ttl = if ttl > TTL_SECONDS_MAX { 0 } else { ttl };
                add(sets, kind, ttl, data);
            }
            (Class::Any, _) if kind == Kind::ANY => sets.retain(|kind, _| is_start(*kind)),
            (Class::Any, _) if !is_start(kind) => _ = sets.remove(&kind),
            (Class::None, Some(data)) if kind != Kind::SOA => remove(sets, kind, data, is_start(kind)),
            (Class::In | Class::Any | Class::None | Class::Other, _) => {}
        }
    }
}

/// Section 3.4.2.2.
fn add(sets: &mut Sets, kind: Kind, ttl: u32, data: &Rdata) {
    let beside_alias = match kind {
        Kind::CNAME => sets.keys().any(|kind| *kind != Kind::CNAME),
        _ => sets.contains_key(&Kind::CNAME),
    };
    // A serial moves only ahead.
    let is_older = || {
        let held = sets.get(&kind).and_then(serial);
        let offered = data.value().serial();
        !held.zip(offered).is_some_and(|(held, offered)| offered.is_newer_than(held))
    };
    if beside_alias || kind == Kind::SOA && is_older() {
        return;
    }
    let set = sets.entry(kind).or_insert_with(|| Set::new(kind, ttl, []));
    // One set, one time (RFC 2181 section 5.2).
    set.ttl = ttl;
    if matches!(kind, Kind::CNAME | Kind::SOA) {
        set.data.clear();
    }
    // A record that is there is replaced by itself: its names may be written in other letters.
    set.data.retain(|held| !canonical::is_same(kind, held, data));
    let at = set.data.partition_point(|held| held < data);
    set.data.insert(at, data.clone());
}

/// Section 3.4.2.4.
fn remove(sets: &mut Sets, kind: Kind, data: &Rdata, is_start: bool) {
    let Place::Occupied(mut place) = sets.entry(kind) else { return };
    let set = place.get_mut();
    if is_start && set.data.len() == 1 {
        return;
    }
    set.data.retain(|held| !canonical::is_same(kind, held, data));
    if set.data.is_empty() {
        place.remove();
    }
}

fn serial(set: &Set) -> Option<Serial> {
    set.data.first()?.value().serial()
}

fn difference(zone: &Zone, name: &Name, mut sets: Sets) -> BTreeMap<Kind, Option<Set>> {
    let mut changed = BTreeMap::new();
    for (kind, before) in sets_of(zone, name) {
        match sets.remove(&kind) {
            Some(after) if is_same(&before, &after) => {}
            after => _ = changed.insert(kind, after),
        }
    }
    changed.extend(sets.into_iter().map(|(kind, set)| (kind, Some(set))));
    changed
}

/// Letters of names aside.
fn is_same(one: &Set, other: &Set) -> bool {
    let values = |set: &Set| -> alloc::collections::BTreeSet<_> {
        set.data.iter().map(|data| canonical::value(set.kind, data.as_bytes())).collect()
    };
    one == other || one.ttl == other.ttl && values(one) == values(other)
}

fn sets_of(zone: &Zone, name: &Name) -> Sets {
    node(zone, name).sets().map(|set| (set.kind(), set.into())).collect()
}

/// The set of this type.
pub(super) fn held(zone: &Zone, name: &Name, kind: Kind) -> Option<Set> {
    node(zone, name).set(kind).map(Set::from)
}

/// Whether the name has any record: one that only lies between others is not in use.
pub(super) fn has_name(zone: &Zone, name: &Name) -> bool {
    !node(zone, name).is_empty()
}

fn node<'a>(zone: &'a Zone, name: &Name) -> Node<'a> {
    zone.node(name.as_bytes()).unwrap_or_default()
}
