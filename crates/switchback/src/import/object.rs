//! Single objects on their way, as they are now: each by itself, in any order.

use std::sync::{Arc, Mutex};

use switchback_store::Lock;

use super::entry::Entry;
use super::journal::Journal;
use super::lock::Locks;
use super::progress::Progress;
use super::s3::Replaces;
use super::transfer::Transfer;
use super::{Ended, Failed, locked};

/// What brings objects.
pub(super) struct Objects {
    pub(super) transfer: Arc<Transfer>,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) progress: Arc<Progress>,
    pub(super) locks: Arc<Locks>,
}

impl Objects {
    /// Brings one that is due.
    pub(super) async fn bring(&self, entry: &Entry, replaces: Replaces) -> anyhow::Result<Ended> {
        let mut ended = Ended::default();
        let arrived = match self.transfer.object(entry, replaces).await {
            Ok(arrived) => arrived,
            Err(reason) => {
                let is_gone =
                    reason.is_absence() && self.transfer.source.lists(entry).await.is_ok_and(|lists| !lists);
                if is_gone {
                    ended.vanished += 1;
                } else {
                    ended.failures.push(Failed::of(entry, &reason));
                }
                return Ok(ended);
            }
        };
        let locks = self.transfer.locks;
        let written = if locks && !arrived.was_there { arrived.lock } else { Lock::default() };
        locked(&self.journal).arrived(entry, &arrived.held, written)?;
        self.progress.ended(true);
        if locks && arrived.was_there {
            ended.moved += 1;
            ended.looked(entry, self.locks.strengthen(entry).await)?;
        } else {
            ended.arrived(&arrived.lock, locks);
        }
        Ok(ended)
    }

    /// Looks at the lock of one that arrived before.
    pub(super) async fn look(&self, entry: &Entry) -> anyhow::Result<Ended> {
        let mut ended = Ended::default();
        ended.looked(entry, self.locks.strengthen(entry).await)?;
        Ok(ended)
    }
}
