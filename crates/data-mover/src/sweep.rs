//! Housekeeping of the store, on a timer.

use std::sync::Arc;
use std::time::Duration;

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
