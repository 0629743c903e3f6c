//! The blobs of a body on its way in are promised to it by the store for a day, and the promise is renewed for as long
//! as the body is waited for, however slow the line is: also when it is whole and durable, and another one of its
//! batch, or of one before it, is not.

use std::sync::Arc;

use switchback_store::{BlobId, Catalogue, Error, Result};
use tokio::sync::watch;

use super::limit::{ALIVE_INTERVAL, LEASE_LEFT_MIN};

/// When a lease ends that nobody renews any more.
const GIVEN_UP: i64 = i64::MAX;

/// A promise of some blobs.
#[derive(Debug)]
pub(crate) struct Lease {
    blobs: Vec<BlobId>,
    /// Unix ms, by the store's clock. 0: they are not promised yet, and nothing may be written to them.
    ends: watch::Sender<i64>,
}

impl Lease {
    /// Of blobs that are promised until then.
    pub(crate) fn new(blobs: Vec<BlobId>, ends_unix_ms: i64) -> Arc<Self> {
        Arc::new(Self { blobs, ends: watch::Sender::new(ends_unix_ms) })
    }

    /// When it ends unless it is renewed, by the store's clock.
    pub(crate) fn ends_unix_ms(&self) -> i64 {
        *self.ends.borrow()
    }

    /// Changes when it is renewed.
    pub(crate) fn listen(&self) -> watch::Receiver<i64> {
        self.ends.subscribe()
    }

    /// The blobs are to be swept.
    pub(crate) fn give_up(&self) {
        self.ends.send_replace(GIVEN_UP);
    }

    fn is_due(&self, catalogue: &Catalogue) -> bool {
        left_ms(self.ends_unix_ms(), catalogue)
            < i64::try_from(LEASE_LEFT_MIN.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What is left of a lease, by the store's clock.
pub(crate) fn left_ms(ends_unix_ms: i64, catalogue: &Catalogue) -> i64 {
    ends_unix_ms.saturating_sub(i64::try_from(catalogue.now_unix_ms()).unwrap_or(i64::MAX))
}

/// Begins new leases, and renews those that end soon, all in one commit.
pub(crate) async fn renew<'a>(
    catalogue: &Catalogue,
    leases: impl IntoIterator<Item = &'a Arc<Lease>>,
) -> Result<()> {
    let due: Vec<_> = leases.into_iter().filter(|lease| lease.is_due(catalogue)).collect();
    let blobs: Vec<_> = due.iter().flat_map(|lease| &lease.blobs).copied().collect();
    if blobs.is_empty() {
        return Ok(());
    }
    let renewed = i64::try_from(catalogue.lease_blobs(blobs).await?).unwrap_or(i64::MAX);
    for lease in due {
        // What was given up meanwhile stays so.
        lease.ends.send_if_modified(|ends| {
            let is_kept = *ends != GIVEN_UP;
            if is_kept {
                *ends = renewed;
            }
            is_kept
        });
    }
    Ok(())
}

/// Keeps one alive, for ever but for an error.
pub(crate) async fn keep(catalogue: &Catalogue, lease: &Arc<Lease>) -> Error {
    loop {
        tokio::time::sleep(ALIVE_INTERVAL).await;
        if let Err(error) = renew(catalogue, [lease]).await {
            return error;
        }
    }
}
