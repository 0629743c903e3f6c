//! What the caller has said since this service started: everything once, and what was different from then on.
//!
//! It is kept in memory alone. A caller whose requests say only what is different goes on after a restart
//! by saying everything: so the zones of links, which are held after a start, are never confirmed by a
//! request that does not name them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

/// See the module. By default nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The caller's run; empty when it names none.
    pub run: String,
    /// The generation that was heard last in it.
    pub generation: u64,
    /// Zones that are desired and cannot be served, with the reasons.
    pub refused: Refused,
    /// Zones that are desired and not taken.
    pub stale: BTreeSet<String>,
}

/// Zones that cannot be served, by the names under which they are desired, with the reasons.
pub type Refused = BTreeMap<String, String>;

/// What a request is different from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// The generation of the request that was heard last in the same run.
    pub base: u64,
    /// Zones that are desired no more, by the names under which they were.
    pub gone: BTreeSet<String>,
}

impl Heard {
    /// Whether what is different since `base` in this run can be told from it.
    #[must_use]
    pub fn is(&self, run: &str, base: u64) -> bool {
        !run.is_empty() && self.run == run && self.generation == base
    }

    /// Forgets what was said of a zone.
    pub(super) fn forget(&mut self, name: &str) {
        self.stale.remove(name);
        self.refused.remove(name);
    }
}
