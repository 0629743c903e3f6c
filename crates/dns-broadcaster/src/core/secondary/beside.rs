//! Copies beside what this server publishes itself, which always wins.
//!
//! - A zone that is published here hides the copy of that name.
//! - A copy beneath a zone that is published here is served only where that zone delegates it: a primary
//!   must not take over names that move with a link of ours by listing a zone among them.
//! - A copy that does not delegate a link's zone which is published here and lies in it is of a system that
//!   lost its state. It denies nothing, as that system itself does ([`Zone::of_system`]).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::super::name::{Name, upward};
use super::super::record::Kind;
use super::super::zone::{Snapshot, Zone};

/// `own` and those of `copies` that may be served with it; `linked` are the zones of links among `own`.
#[must_use]
pub fn served<'a>(
    own: &Arc<Snapshot>,
    linked: impl Iterator<Item = &'a Name>,
    copies: &BTreeMap<Name, Arc<Zone>>,
) -> Arc<Snapshot> {
    if copies.is_empty() {
        return Arc::clone(own);
    }
    let mut beside: BTreeMap<Name, Arc<Zone>> = BTreeMap::new();
    for (name, zone) in copies {
        if own.zone(name).is_none() && is_left(own, name) {
            beside.insert(name.clone(), Arc::clone(zone));
        }
    }
    for name in linked {
        let mut above = upward(name.as_bytes()).skip(1);
        let Some(parent) = above.find(|key| beside.contains_key(*key)) else { continue };
        let Some(zone) = beside.get_mut(parent) else { continue };
        if zone.denies && !zone.delegates(name.as_bytes()) {
            *zone = Arc::new(Zone { denies: false, ..Zone::clone(zone) });
        }
    }
    let mut served = Snapshot::clone(own);
    beside.into_values().for_each(|zone| served.put(zone));
    Arc::new(served)
}

/// Whether what is published here leaves this name to another zone.
fn is_left(own: &Snapshot, name: &Name) -> bool {
    let above = upward(name.as_bytes()).skip(1).find_map(|key| own.at(key));
    above.is_none_or(|zone| zone.delegates(name.as_bytes()))
}

impl Zone {
    /// Whether another zone begins at the name with this key, or above it.
    fn delegates(&self, name: &[u8]) -> bool {
        let apex = self.origin.as_bytes().len();
        let mut below = upward(name).take_while(|key| key.len() > apex);
        below.any(|key| self.node(key).is_some_and(|node| node.set(Kind::NS).is_some()))
    }
}
