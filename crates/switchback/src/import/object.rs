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

/// One that is overwritten as often while it is read is left to the next run.
const READINGS_MAX: u32 = 3;

/// What brings objects.
pub(super) struct Objects {
    pub(super) transfer: Arc<Transfer>,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) progress: Arc<Progress>,
    pub(super) locks: Arc<Locks>,
}

impl Objects {
    /// Brings one that is due, as it is by now if it was overwritten since it was listed.
    pub(super) async fn bring(&self, mut entry: Entry, replaces: Replaces) -> anyhow::Result<Ended> {
        let (mut ended, mut readings) = (Ended::default(), 1);
        let arrived = loop {
            let reason = match self.transfer.object(&entry, &replaces).await {
                Ok(arrived) => break arrived,
                Err(reason) => reason,
            };
            let now =
                if reason.is_other_by_now() { self.transfer.source.now(&entry).await.ok() } else { None };
            match now {
                Some(None) => ended.vanished += 1,
                Some(Some(now)) if now != entry && readings < READINGS_MAX => {
                    (entry, readings) = (now, readings + 1);
                    continue;
                }
                _ => ended.failures.push(Failed::of(&entry, &reason)),
            }
            return Ok(ended);
        };
        let entry = &entry;
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
