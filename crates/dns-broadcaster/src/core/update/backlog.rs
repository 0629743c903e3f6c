//! How many tenants of a target are behind, by since when.

use alloc::collections::BTreeMap;
use core::time::Duration;

use switchback_machine::Timestamp;

/// See the module. Tenants that fell behind by one publication have one instant, so that it is short
/// however many they are.
#[derive(Debug, Default)]
pub(super) struct Backlog(BTreeMap<Timestamp, usize>);

impl Backlog {
    /// A tenant that was behind since `before`, if it was, is so since `after`.
    pub(super) fn shift(&mut self, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        if let Some(since) = before
            && let Some(count) = self.0.get_mut(&since)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&since);
            }
        }
        if let Some(since) = after {
            *self.0.entry(since).or_default() += 1;
        }
    }

    /// Tenants that have been behind for `late_after` and longer.
    pub(super) fn late(&self, now: Timestamp, late_after: Duration) -> usize {
        let late = self.0.iter().take_while(|(since, _)| **since + late_after <= now);
        late.map(|(_, count)| count).sum()
    }
}
