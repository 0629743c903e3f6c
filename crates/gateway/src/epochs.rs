//! The epochs of links: as they are, since when, and as they were when a client connected.
//!
//! A client that follows a tenant's name was led to the side that writes. When authority has moved it
//! stays on its connection, and it may know the name's old answer for a while: name servers are asked again
//! only when an answer has outlived its time, and some clients keep it for longer. So a write that is
//! refused since the other side writes is one of two things. The client came when this side did write, or it
//! came by the name: it has done nothing wrong, and asking for the name again leads it right, so that it is
//! told to (503), which SDKs do by themselves. Or it goes by an address that is not the writer's, and is told
//! so (403). An epoch tells whether authority has moved since a client came, because it grows whenever that
//! happens; a time would not, since the mover knows of a change before the gateway does.
//!
//! Of a link that the link manager has not told of, nothing is known: its clients are told who writes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

/// For so long after a change names may lead here by old answers. libcurl keeps one for a minute
/// (CURLOPT_DNS_CACHE_TIMEOUT), Java's clients for half of that; a name's own time to live is shorter.
const NAME_TIME: Duration = Duration::from_secs(75);

/// What is known of one link.
#[derive(Clone, Copy, Debug)]
struct Known {
    epoch: u64,
    /// When it was first heard of, unless it was the first of all.
    since: Option<Instant>,
}

/// Epochs by the names of links, as they were at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<BTreeMap<String, Known>>);

/// Epochs as they are now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epochs(Arc<RwLock<Seen>>);

impl Epochs {
    /// As they are now.
    pub(crate) fn seen(&self) -> Seen {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces them.
    pub(crate) fn set<'a>(&self, epochs: impl Iterator<Item = (&'a str, u64)>) {
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = epochs.map(|(link, epoch)| {
            let since = match seen.0.get(link) {
                Some(known) if known.epoch == epoch => known.since,
                Some(_) => Some(Instant::now()),
                None => None,
            };
            (link.to_owned(), Known { epoch, since })
        });
        let known = known.collect();
        seen.0 = Arc::new(known);
    }
}

impl Seen {
    /// True when `link` was in another epoch than `epoch` then.
    pub(crate) fn is_before(&self, link: &str, epoch: u64) -> bool {
        self.0.get(link).is_some_and(|known| known.epoch != epoch)
    }

    /// True when `link` had not been in `epoch` for so long that names may still have led here.
    pub(crate) fn is_recent(&self, link: &str, epoch: u64) -> bool {
        let recent = |since: Instant| since.elapsed() < NAME_TIME;
        self.is_before(link, epoch) || self.0.get(link).and_then(|known| known.since).is_some_and(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn authority_has_moved_for_who_came_in_another_epoch_and_names_lead_here_for_a_while() {
        let epochs = Epochs::default();
        let stranger = epochs.seen();
        epochs.set([("a", 1)].into_iter());
        let early = epochs.seen();
        // When the first one began, nobody knows.
        assert!(!early.is_recent("a", 1));
        // The mover may be ahead.
        assert!(early.is_before("a", 2) && early.is_recent("a", 2));
        epochs.set([("a", 2)].into_iter());
        let late = epochs.seen();
        assert!(!late.is_before("a", 2) && late.is_recent("a", 2));
        assert!(!stranger.is_before("a", 2) && !stranger.is_recent("a", 2) && !early.is_recent("b", 2));
        tokio::time::advance(NAME_TIME).await;
        epochs.set([("a", 2)].into_iter());
        assert!(!epochs.seen().is_recent("a", 2));
    }
}
