//! Housekeeping of the store, on a timer.

use std::sync::Arc;
use std::time::Duration;

use switchback_model::FeedId;
use tokio::time::Instant;

use crate::mover::{Mover, now_unix_ms};

/// Multipart uploads are looked through this often, or as often as they can expire: each time costs
/// what is open.
const UPLOADS_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// What a crash left is looked for again after this where it could not be: that costs what there is.
const ORPHANS_RETRY: Duration = Duration::from_secs(5 * 60);

/// Sweeps until the service stops: once what a crash left, then what nothing names any more, and the
/// multipart uploads without activity for `multipart_expiry`.
pub(crate) async fn run(mover: Arc<Mover>, interval: Duration, multipart_expiry: Duration) {
    let sweeping = async {
        let mut timer = tokio::time::interval(interval);
        let mut uploads_due = Instant::now();
        let mut orphans_due = Some(Instant::now());
        loop {
            let now = timer.tick().await;
            if orphans_due.is_some_and(|due| due <= now) {
                orphans_due = sweep_orphans(&mover).await.err().map(|()| now + ORPHANS_RETRY);
            }
            if uploads_due <= now {
                uploads_due = now + UPLOADS_INTERVAL.min(multipart_expiry);
                expire_uploads(&mover, multipart_expiry).await;
            }
            if let Err(error) = sweep_garbage(&mover).await {
                tracing::warn!(
                    error = crate::status::chain(&error),
                    "blobs could not be swept, trying again"
                );
            }
            if let Err(error) = note_acknowledged(&mover).await {
                tracing::warn!(%error, "acknowledgements could not be noted");
            }
            if let Err(error) = mover.memory.expire_partials(now_unix_ms()).await {
                tracing::warn!(%error, "partial bodies could not be expired");
            }
        }
    };
    tokio::select! {
        biased;
        () = mover.shutdown.cancelled() => {}
        () = sweeping => {}
    }
}

/// Once after a start, so again when it fails: the blobs may be out of reach just then. A folder that is not
/// there is not swept: what is not found in it is not gone.
async fn sweep_orphans(mover: &Mover) -> Result<(), ()> {
    let sweeping = async {
        mover.presence.check()?;
        switchback_store::sweep_orphans(&mover.catalogue, &mover.blobs).await
    };
    match sweeping.await {
        Ok(0) => Ok(()),
        Ok(blobs) => {
            tracing::info!(blobs, "removed what an earlier crash left");
            Ok(())
        }
        Err(error) => {
            let error = crate::status::chain(&error);
            tracing::warn!(error, "blobs could not be looked through, trying again later");
            Err(())
        }
    }
}

/// As [`sweep_orphans`].
async fn sweep_garbage(mover: &Mover) -> switchback_store::Result<u64> {
    mover.presence.check()?;
    switchback_store::sweep_garbage(&mover.catalogue, &mover.blobs).await
}

/// Before the blobs are swept, which frees what this gives up.
async fn expire_uploads(mover: &Mover, multipart_expiry: Duration) {
    match switchback_store::expire_uploads(&mover.catalogue, multipart_expiry).await {
        Ok(0) => {}
        Ok(uploads) => tracing::info!(uploads, "aborted multipart uploads that nobody went on with"),
        Err(error) => {
            tracing::warn!(%error, "multipart uploads could not be looked through, trying again later")
        }
    }
}

/// Notes that a peer which lacks nothing of ours has our whole feed, what came from it included: a
/// side that never sends would keep its tombstones for ever.
async fn note_acknowledged(mover: &Mover) -> switchback_store::Result<()> {
    for link in mover.links() {
        if !link.in_contact() {
            continue;
        }
        for flow in link.flows() {
            let Some(status) = mover.status(link.id, flow.content.id)? else { continue };
            let own = mover.own_head(&flow, &status)?;
            let peer_feed = flow.state().peer.as_ref().map(|peer| peer.feed);
            let has_retries = !flow.state().retries.is_empty();
            let Some(feed) = peer_feed.filter(|feed| *feed != FeedId(0)) else { continue };
            let is_noted = status.acknowledged == Some((feed, own.head));
            if own.pending.objects == 0 && !has_retries && !flow.is_rolled_back() && !is_noted {
                mover.catalogue.acknowledge(flow.content.id, feed, own.head).await?;
            }
        }
    }
    Ok(())
}
