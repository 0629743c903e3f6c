//! Steps of single systems, remembered.
//!
//! A step depends on one system and one event alone, and the same pair comes up in very many states
//! of the whole. States are compared by canonical hash, so the remembered outcome may be that of a
//! system which differs in what no decision reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fingerprint::fingerprint;
use crate::site::{Event, Outcome, Site};

const SHARDS: u64 = 64;

/// Kept in one shard; then it starts anew. A system takes about five kilobytes, and an outcome keeps one.
const OUTCOMES_MAX: usize = 6_000;
const SITES_MAX: usize = 1_000;

#[derive(Default)]
struct Shard {
    outcomes: Mutex<HashMap<(u64, u64), Arc<Outcome>>>,
    /// Very many steps lead to the same few systems.
    sites: Mutex<HashMap<u64, Arc<Site>>>,
}

/// See the module.
pub struct Memo {
    prompt: bool,
    shards: Vec<Shard>,
}

impl Memo {
    /// An empty one; `prompt` as in [`Site::after`].
    #[must_use]
    pub fn new(prompt: bool) -> Self {
        Self { prompt, shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// What comes of `event` at `site`.
    #[must_use]
    pub fn after(&self, site: &Site, event: &Event) -> Arc<Outcome> {
        let key = (site.hash, fingerprint(event, 0));
        let outcomes = || lock(&self.shard(key.0 ^ key.1).outcomes);
        if let Some(outcome) = outcomes().get(&key) {
            return Arc::clone(outcome);
        }
        let mut outcome = site.after(event, self.prompt);
        outcome.site = self.one(outcome.site);
        let outcome = Arc::new(outcome);
        let mut outcomes = outcomes();
        if outcomes.len() >= OUTCOMES_MAX {
            outcomes.clear();
        }
        outcomes.insert(key, Arc::clone(&outcome));
        outcome
    }

    /// The one copy of this system that is kept.
    fn one(&self, site: Arc<Site>) -> Arc<Site> {
        let mut sites = lock(&self.shard(site.hash).sites);
        if sites.len() >= SITES_MAX {
            sites.clear();
        }
        Arc::clone(sites.entry(site.hash).or_insert(site))
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[usize::try_from(hash % SHARDS).unwrap_or(0)]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
