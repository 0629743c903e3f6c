//! Brings what is elsewhere into a tenant: a bucket of any S3 endpoint, or a folder.
//!
//! It promises: what arrives is what was read; a run that broke off goes on where it was, and a later one
//! moves what has changed since; one object that fails stops no other, and is named with its reason; and
//! nothing that the tenant's own clients wrote or deleted is undone, unless that is asked for. It is a client
//! like others: it writes through S3, with a credential, so that what it writes is replicated and follows
//! a failover like all else.
//!
//! With `versions` it brings all versions and delete markers of each key, in their order, into a bucket that keeps
//! versions. Their ids and times are those that the target gives: S3 has no way to write others. Which was which is in
//! the journal.
//!
//! Where both buckets have object lock, what is locked at the source is locked in the target: as it arrives, and by
//! each later run where a lock was made stronger since.
//!
//! Memory is bounded by what is in flight (`memory_mib`), and about 100 bytes for each object or 130 for each
//! version in the journal. What it does not bring: ACLs, and what belongs to the bucket and not to its objects.

mod entry;
mod history;
mod journal;
mod lock;
mod object;
mod outcome;
mod progress;
mod s3;
mod source;
mod transfer;
mod versions;

use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

pub use self::s3::{Address, Bucket, Keys, Locking, Versioning};
pub use self::source::{Folder, Remote, Source};

use self::entry::Entry;
use self::journal::{Before, Imported, Journal};
use self::lock::Locks;
use self::object::Objects;
use self::outcome::{Ended, Failed, Halt};
use self::progress::{Progress, Shown};
use self::s3::{Failure, Replaces, etag};
use self::source::{History, Listed};
use self::transfer::{Reason, Transfer};
use self::versions::Versions;
use crate::output::Format;
use crate::view::import::{FailedView, ImportView, LocksView};

/// Failures, and as many versions that were left out, that the report lists; all of them are said when they happen.
const FAILED_LISTED_MAX: usize = 1000;

/// One import.
pub struct Import {
    /// From where.
    pub source: Source,
    /// To where.
    pub target: Bucket,
    /// As the journal names the target: endpoint, bucket and prefix.
    pub target_name: String,
    /// Before each key in the target.
    pub prefix: String,
    /// What was imported before, and is now.
    pub journal: PathBuf,
    /// Bring all versions; the source lists them, and the target keeps them.
    pub versions: bool,
    /// What becomes of locks; where they are brought, both buckets have object lock.
    pub locks: LocksView,
    /// With `versions`: go on without those that the source lists and does not give.
    pub skip_unreadable: bool,
    /// Objects at once; with `versions`, keys.
    pub parallel: usize,
    /// For bytes in flight, in MiB.
    pub memory_mib: u32,
    /// Replace what was not imported, or was changed since.
    pub overwrite: bool,
    /// Delete what was imported and is gone from the source.
    pub delete: bool,
    /// Only count.
    pub plan: bool,
}

struct Run {
    transfer: Arc<Transfer>,
    journal: Arc<Mutex<Journal>>,
    progress: Arc<Progress>,
    shown: Shown,
    objects: Arc<Objects>,
    versions: Arc<Versions>,
    overwrite: bool,
    report: ImportView,
}

impl Import {
    /// Moves what is due.
    ///
    /// # Errors
    /// The journal is not of this import or cannot be written, or the source cannot be listed to its end. An
    /// object that fails is no error: the report lists it.
    pub async fn run(self, format: Format) -> anyhow::Result<ImportView> {
        let source = self.source.name();
        let journal = Journal::open(&self.journal, &source, &self.target_name, self.versions)?;
        let (journal, progress) = (Arc::new(Mutex::new(journal)), Progress::new(self.versions));
        let report = ImportView {
            source,
            target: self.target_name,
            versions: self.versions,
            plan: self.plan,
            locks: self.locks,
            ..Default::default()
        };
        let counting = count(self.source.clone(), Arc::clone(&journal), Arc::clone(&progress));
        if self.plan {
            counting.await?;
            let (due_objects, due_bytes) = progress.all_due();
            return Ok(ImportView { due_objects, due_bytes, ..report });
        }
        let counting = tokio::spawn(counting);
        let transfer = Transfer {
            source: self.source,
            target: self.target,
            prefix: self.prefix,
            locks: self.locks == LocksView::Brought,
            memory: Arc::new(Semaphore::new(self.memory_mib as usize)),
            memory_mib: self.memory_mib,
            progress: Arc::clone(&progress),
        };
        let (transfer, shown) = (Arc::new(transfer), progress.show(format));
        let locks = Arc::new(Locks {
            transfer: Arc::clone(&transfer),
            journal: Arc::clone(&journal),
            progress: Arc::clone(&progress),
        });
        let objects = Arc::new(Objects {
            transfer: Arc::clone(&transfer),
            journal: Arc::clone(&journal),
            progress: Arc::clone(&progress),
            locks: Arc::clone(&locks),
        });
        let versions = Arc::new(Versions {
            transfer: Arc::clone(&transfer),
            journal: Arc::clone(&journal),
            progress: Arc::clone(&progress),
            locks,
            overwrite: self.overwrite,
            skip_unreadable: self.skip_unreadable,
            left_out: AtomicU32::new(0),
        });
        let overwrite = self.overwrite;
        let mut run = Run { transfer, journal, progress, shown, objects, versions, overwrite, report };
        let moved = run.move_all(self.parallel).await;
        // It may have failed by itself; then so has the listing that moves, and has said why.
        counting.abort();
        let ended = match moved {
            Ok(()) if self.delete => run.delete_gone().await,
            moved => moved,
        };
        run.locked().keep()?;
        let gone = run.locked().gone().len();
        run.report.gone = gone as u64;
        ended?;
        run.report.bytes = run.progress.bytes();
        run.report.elapsed_ms = u64::try_from(run.progress.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(run.report)
    }
}

/// Counts what is due.
async fn count(source: Source, journal: Arc<Mutex<Journal>>, progress: Arc<Progress>) -> anyhow::Result<()> {
    let mut listed = source.list();
    while let Some(found) = listed.recv().await {
        match found {
            Listed::Entry(entry) if locked(&journal).is_due(&entry) => progress.due(entry.size),
            Listed::Entry(_) | Listed::Unusable { .. } => {}
            Listed::History(history) => {
                let journal = locked(&journal);
                let entries = history.found.iter().map(|found| &found.entry);
                entries.filter(|entry| journal.is_due(entry)).for_each(|entry| progress.due(entry.size));
            }
            Listed::Broken(failure) => return Err(broken(failure)),
        }
    }
    progress.counted();
    Ok(())
}

/// Puts something that failed into the report.
fn list(listed: &mut Vec<FailedView>, Failed { key, version, reason }: Failed) {
    if listed.len() < FAILED_LISTED_MAX {
        listed.push(FailedView { key, version, reason });
    }
}

fn broken(failure: Failure) -> anyhow::Error {
    anyhow::Error::new(failure)
        .context("the source cannot be listed; what has arrived is in the journal, and the next run goes on from there")
}

fn locked(journal: &Mutex<Journal>) -> std::sync::MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    fn locked(&self) -> std::sync::MutexGuard<'_, Journal> {
        locked(&self.journal)
    }

    async fn move_all(&mut self, parallel: usize) -> anyhow::Result<()> {
        let mut listed = self.transfer.source.list();
        let mut moving = JoinSet::new();
        while let Some(found) = listed.recv().await {
            match found {
                Listed::Entry(entry) => {
                    let due = self.due(&entry)?;
                    if due.is_some() || self.transfer.locks {
                        self.settle_until_fewer(&mut moving, parallel).await?;
                        let objects = Arc::clone(&self.objects);
                        moving.spawn(async move {
                            match due {
                                Some(replaces) => objects.bring(entry, replaces).await,
                                None => objects.look(&entry).await,
                            }
                        });
                    }
                }
                Listed::History(history) => {
                    if self.is_history_due(&history) {
                        self.settle_until_fewer(&mut moving, parallel).await?;
                        let versions = Arc::clone(&self.versions);
                        moving.spawn(async move { versions.bring(history).await });
                    }
                }
                Listed::Unusable { key, reason } => {
                    self.locked().unusable(&key);
                    self.failed(Failed { key, version: None, reason });
                }
                Listed::Broken(failure) => {
                    while !moving.is_empty() {
                        self.settle_one(&mut moving).await?;
                    }
                    return Err(broken(failure));
                }
            }
        }
        while !moving.is_empty() {
            self.settle_one(&mut moving).await?;
        }
        Ok(())
    }

    /// What the object may replace in the target; nothing when it is there as it is.
    fn due(&mut self, entry: &Entry) -> anyhow::Result<Option<Replaces>> {
        self.report.listed += 1;
        let before = self.locked().see(entry)?;
        if before == Before::This {
            self.report.unchanged += 1;
            return Ok(None);
        }
        Ok(Some(match before {
            _ if self.overwrite => Replaces::Anything,
            Before::Another(held) => Replaces::This(held),
            Before::Nothing | Before::This => Replaces::Nothing,
        }))
    }

    /// Notes that the source still has these versions, and says whether one of them has not arrived yet, or may have
    /// another lock by now.
    fn is_history_due(&mut self, history: &History) -> bool {
        let mut journal = locked(&self.journal);
        let arrived = history.found.iter().filter(|found| journal.see_version(&found.entry)).count();
        self.report.listed += history.found.len() as u64;
        self.report.unchanged += arrived as u64;
        let may_be_locked = self.transfer.locks && history.found.iter().any(|found| !found.entry.marker);
        arrived < history.found.len() || may_be_locked
    }

    /// Takes in what has ended, until there is room for another one.
    async fn settle_until_fewer(
        &mut self,
        moving: &mut JoinSet<anyhow::Result<Ended>>,
        parallel: usize,
    ) -> anyhow::Result<()> {
        while let Some(ended) = moving.try_join_next() {
            self.settle(ended)?;
        }
        if moving.len() >= parallel { self.settle_one(moving).await } else { Ok(()) }
    }

    /// Takes in the next one that ends.
    async fn settle_one(&mut self, moving: &mut JoinSet<anyhow::Result<Ended>>) -> anyhow::Result<()> {
        moving.join_next().await.map_or(Ok(()), |ended| self.settle(ended))
    }

    fn settle(&mut self, ended: Result<anyhow::Result<Ended>, JoinError>) -> anyhow::Result<()> {
        let ended = ended.context("move an object")??;
        self.report.objects += ended.moved;
        self.report.unreadable += ended.unreadable;
        self.report.waiting += ended.waiting;
        self.report.vanished += ended.vanished;
        self.report.locked += ended.locked;
        self.report.unlocked += ended.unlocked;
        self.report.strengthened += ended.strengthened;
        ended.failures.into_iter().for_each(|failed| self.failed(failed));
        ended.skips.into_iter().for_each(|skip| self.skipped(skip));
        Ok(())
    }

    fn failed(&mut self, failed: Failed) {
        self.progress.ended(false);
        self.say("", &failed);
        self.report.failed += 1;
        list(&mut self.report.failures, failed);
    }

    fn skipped(&mut self, skip: Failed) {
        self.say("left out: ", &skip);
        self.report.skipped += 1;
        list(&mut self.report.skips, skip);
    }

    fn say(&self, what: &str, Failed { key, version, reason }: &Failed) {
        let version = version.as_ref().map(|version| format!(" version {version}")).unwrap_or_default();
        self.shown.say(&format!("{key:?}{version}: {what}{reason}"));
    }

    /// Deletes, in the target, what the source has no more, unless somebody else has changed it there.
    async fn delete_gone(&mut self) -> anyhow::Result<()> {
        let gone = self.locked().gone();
        if self.report.listed == 0 && !gone.is_empty() {
            bail!(
                "the source lists nothing, and {} objects were imported from it; nothing was deleted, since it may not be there (not mounted, another prefix). Delete them in the bucket if that is meant",
                gone.len()
            );
        }
        for at in gone {
            let imported = self.locked().imported(at)?;
            match self.delete_one(&imported).await {
                Ok(()) => {
                    self.locked().deleted(&imported)?;
                    self.report.deleted += 1;
                }
                Err(reason) => {
                    let reason = reason.to_string();
                    self.failed(Failed { key: imported.key, version: imported.here, reason });
                }
            }
        }
        Ok(())
    }

    async fn delete_one(&self, imported: &Imported) -> Result<(), Reason> {
        let (key, target) = (self.transfer.key(&imported.key), &self.transfer.target);
        if imported.here.is_some() {
            // Nobody can have changed a version; of a key the oldest goes first, so that none comes to light.
            return target.delete(&key, imported.here.as_deref()).await.map_err(Reason::Target);
        }
        let Some(headers) = target.head(&key, None).await.map_err(Reason::Target)? else { return Ok(()) };
        if etag(&headers).map_err(Reason::Target)? != imported.held && !self.overwrite {
            return Err(Reason::HeldAnother);
        }
        target.delete(&key, None).await.map_err(Reason::Target)
    }
}
