//! What was asked of the store and is believed for a moment, so that not every request asks again.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long it is believed: what has changed since is heeded that much later.
const TIME: Duration = Duration::from_secs(1);

/// Answers by what was asked for, and only so many of them: the others are simply asked for again. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Believed<K, V> {
    remembered: Arc<Mutex<BTreeMap<K, (Instant, V)>>>,
    count_max: usize,
}

impl<K: Ord, V: Clone> Believed<K, V> {
    /// Nothing yet, and never more than so many.
    pub(crate) fn new(count_max: usize) -> Self {
        Self { remembered: Arc::default(), count_max }
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(key).filter(|(at, _)| at.elapsed() < TIME).map(|(_, value)| value.clone())
    }

    pub(crate) fn put(&self, key: K, value: V) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= self.count_max {
            remembered.retain(|_, (at, _)| at.elapsed() < TIME);
        }
        if remembered.len() < self.count_max {
            remembered.insert(key, (Instant::now(), value));
        }
    }
}
