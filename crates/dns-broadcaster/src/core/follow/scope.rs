//! Which zones are a name server's business.

use alloc::collections::BTreeSet;

use crate::core::name::Name;

/// What one name server takes of what is published: everything, unless something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Zones of these names and beneath them; all when there are none.
    pub within: BTreeSet<Name>,
    /// Zones of just these names are none of it.
    pub without: BTreeSet<Name>,
}

impl Scope {
    /// Whether the zone of this name is the name server's business.
    #[must_use]
    pub fn holds(&self, zone: &Name) -> bool {
        let is_within = self.within.is_empty() || self.within.iter().any(|top| zone.is_within(top));
        is_within && !self.without.contains(zone)
    }
}
