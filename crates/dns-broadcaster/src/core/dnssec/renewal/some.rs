//! What is remembered of zones, when only some of them may be others.

use super::{Changes, Renewals, Wanted};
use crate::core::dnssec::Times;
use crate::core::name::Name;

impl Renewals {
    /// As [`Renewals::settle`], when all zones were settled before and none is due: then what is remembered
    /// changes only of zones that are wanted in another way, which are `wanted`, and of those that are `gone`.
    #[must_use]
    pub fn settle_some<'a>(
        &self,
        wanted: &[Wanted<'_>],
        gone: impl Iterator<Item = &'a Name>,
        times: Times,
    ) -> Changes {
        let mut changes = Changes::new();
        for zone in wanted {
            let current = self.0.get(zone.name);
            let next = zone.settled(current, times, false);
            if next.as_ref() != current {
                changes.insert(zone.name.clone(), next);
            }
        }
        changes.extend(gone.filter(|name| self.0.contains_key(*name)).map(|name| (name.clone(), None)));
        changes
    }
}
