//! Housekeeping of the store, on a timer.

use std::sync::Arc;
use std::time::Duration;

use switchback_model::FeedId;

use crate::mover::{Mover, now_unix_ms};

/// Sweeps until the service stops: once what a crash left, then what nothing names any more.
pub(crate) async fn run(mover: Arc<Mover>, interval: Duration) {
    let sweeping = async {
        match switchback_store::sweep_orphans(&mover.catalogue, &mover.blobs).await {
            Ok(0) => {}
            Ok(blobs) => tracing::info!(blobs, "removed what an earlier crash left"),
            Err(error) => tracing::warn!(%error, "blobs could not be looked through"),
        }
        let mut timer = tokio::time::interval(interval);
        loop {
            timer.tick().await;
            if let Err(error) = switchback_store::sweep_garbage(&mover.catalogue, &mover.blobs).await {
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
        () = mover.shutdown.cancelled() => {}
        () = sweeping => {}
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
