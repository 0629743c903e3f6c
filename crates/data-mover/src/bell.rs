//! Bells: who waits for a content's feed to grow is woken by the write itself, not by a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use switchback_model::ContentId;
use tokio::sync::watch;

/// One bell per content that somebody wrote to or waits for, and one for everything that the
/// status shows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bells(Arc<Inner>);

struct Inner {
    contents: Mutex<BTreeMap<ContentId, watch::Sender<u64>>>,
    status: watch::Sender<u64>,
}

impl Bells {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { contents: Mutex::default(), status: watch::Sender::new(0) }))
    }

    /// A change of `content` is durable.
    pub(crate) fn ring(&self, content: ContentId) {
        let contents = self.0.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = contents.get(&content) {
            bell.send_modify(|count| *count = count.wrapping_add(1));
        }
        drop(contents);
        self.ring_status();
    }

    /// Something that the status shows has changed.
    pub(crate) fn ring_status(&self) {
        self.0.status.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Wakes at each change of `content` from now on.
    pub(crate) fn listen(&self, content: ContentId) -> watch::Receiver<u64> {
        let mut contents = self.0.contents.lock().unwrap_or_else(PoisonError::into_inner);
        contents.entry(content).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Wakes at each change of anything.
    pub(crate) fn listen_status(&self) -> watch::Receiver<u64> {
        self.0.status.subscribe()
    }
}
