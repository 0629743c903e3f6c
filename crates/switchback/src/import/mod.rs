//! Brings what is elsewhere into a tenant: a bucket of any S3 endpoint, or a folder.
//!
//! It promises: what arrives is what was read; a run that broke off goes on where it was, and a later one
//! moves what has changed since; one object that fails stops no other, and is named with its reason; and
//! nothing that the tenant's own clients wrote or deleted is undone, unless that is asked for. It is a client
//! like others: it writes through S3, with a credential, so that what it writes is replicated and follows
//! a failover like all else.
//!
//! Memory is bounded by what is in flight (`memory_mib`) and about 100 bytes for each object in the journal.
//! What it does not bring: earlier versions, ACLs, and what belongs to the bucket and not to its objects.

mod entry;
mod journal;
mod progress;
mod s3;
mod source;
mod transfer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

pub use self::s3::{Address, Bucket, Keys};
pub use self::source::{Folder, Remote, Source};

use self::entry::Entry;
use self::journal::{Before, Imported, Journal};
use self::progress::{Progress, Shown};
use self::s3::{Failure, Replaces, etag};
use self::source::Listed;
use self::transfer::{Reason, Transfer};
use crate::output::Format;
use crate::view::import::{FailedView, ImportView};

/// Failures that the report lists; all of them are said when they happen.
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
    /// Objects at once.
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

/// An object, and the ETag that it got.
type Moved = (Entry, Result<String, Reason>);

struct Run {
    transfer: Arc<Transfer>,
    journal: Arc<Mutex<Journal>>,
    progress: Arc<Progress>,
    shown: Shown,
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
        let journal = Journal::open(&self.journal, &source, &self.target_name)?;
        let (journal, progress) = (Arc::new(Mutex::new(journal)), Progress::new());
        let report = ImportView { source, target: self.target_name, plan: self.plan, ..Default::default() };
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
            memory: Arc::new(Semaphore::new(self.memory_mib as usize)),
            memory_mib: self.memory_mib,
            progress: Arc::clone(&progress),
        };
        let shown = progress.show(format);
        let mut run =
            Run { transfer: Arc::new(transfer), journal, progress, shown, overwrite: self.overwrite, report };
        let moved = run.move_all(self.parallel).await;
        // It may have failed by itself; then so has the listing that moves, and has said why.
        counting.abort();
        let ended = match moved {
            Ok(()) if self.delete => run.delete_gone().await,
            moved => moved,
        };
        run.locked().keep()?;
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
            Listed::Broken(failure) => return Err(broken(failure)),
        }
    }
    progress.counted();
    Ok(())
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
                    if let Some(replaces) = self.due(&entry)? {
                        while let Some(ended) = moving.try_join_next() {
                            self.settle(ended)?;
                        }
                        if moving.len() >= parallel {
                            self.settle_one(&mut moving).await?;
                        }
                        let transfer = Arc::clone(&self.transfer);
                        moving.spawn(async move {
                            let moved = transfer.object(&entry, replaces).await;
                            (entry, moved)
                        });
                    }
                }
                Listed::Unusable { key, reason } => {
                    self.locked().unusable(&key);
                    self.failed(key, reason);
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

    /// Takes in the next one that ends.
    async fn settle_one(&mut self, moving: &mut JoinSet<Moved>) -> anyhow::Result<()> {
        moving.join_next().await.map_or(Ok(()), |ended| self.settle(ended))
    }

    fn settle(&mut self, ended: Result<Moved, JoinError>) -> anyhow::Result<()> {
        let (entry, moved) = ended.context("move an object")?;
        match moved {
            Ok(held) => {
                self.locked().arrived(&entry, &held)?;
                self.report.objects += 1;
                self.progress.ended(true);
            }
            Err(reason) => self.failed(entry.key, reason.to_string()),
        }
        Ok(())
    }

    fn failed(&mut self, key: String, reason: String) {
        self.progress.ended(false);
        self.shown.say(&format!("{key:?}: {reason}"));
        self.report.failed += 1;
        if self.report.failures.len() < FAILED_LISTED_MAX {
            self.report.failures.push(FailedView { key, reason });
        }
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
            let Imported { key, held } = self.locked().imported(at)?;
            match self.delete_one(&key, &held).await {
                Ok(()) => {
                    self.locked().deleted(&key)?;
                    self.report.deleted += 1;
                }
                Err(reason) => self.failed(key, reason.to_string()),
            }
        }
        Ok(())
    }

    async fn delete_one(&self, key: &str, held: &str) -> Result<(), Reason> {
        let (key, target) = (self.transfer.key(key), &self.transfer.target);
        let Some(headers) = target.head(&key).await.map_err(Reason::Target)? else { return Ok(()) };
        if etag(&headers).map_err(Reason::Target)? != held && !self.overwrite {
            return Err(Reason::HeldAnother);
        }
        target.delete(&key).await.map_err(Reason::Target)
    }
}
