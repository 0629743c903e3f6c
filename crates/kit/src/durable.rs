//! What a service must remember, in sled, durable when a commit returns.
//!
//! sled 0.34's `flush` calls `sync_file_range`, which is no barrier to a power cut. So: after
//! creation every file and folder is fsynced once; a commit is `apply_batch`, `flush`, then
//! `sync_all` on the database file, and only then the answer. Concurrent commits share one sync.
//! If the write of a batch's first bytes fails, sled notes the error and wakes nobody who waits for
//! them (`Log::exit_reservation`): the `flush` stands still for ever, and with it whoever wants to
//! write. Another `flush` finds the error and wakes it, so a second one looks after one that takes long.
//! An error is final: fsync must not be retried on a descriptor whose pages the kernel may have
//! dropped, so the database is poisoned and its process must end and start again from disk.
//!
//! In a simulation the same interface stands on the simulation's disk ([`Table`]), which loses and
//! refuses what a real one might.
//!
//! It is for small and precious records: values of a few KiB, a few writes a second.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use switchback_world as world;
use switchback_world::disk::{Change, Table};
use tokio_util::sync::CancellationToken;

/// More operations in one sled batch than this make its memory grow without bound.
const BATCH_OPERATIONS_MAX: usize = 100;

/// Records are small; a larger one belongs into a file of its own.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// What a disk has not taken by then it will not take: the service ends rather than stand still. Linux
/// calls a task hung after twice as long.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// A disk that is well takes what a commit writes in less.
const PATIENCE: Duration = Duration::from_secs(1);

/// Closing takes sled milliseconds; a process that was told to end flushes once more before it does.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Why state cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or the database in it cannot be opened.
    #[error("cannot open the state in {}", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database failed while reading.
    #[error("cannot read the state")]
    Read(#[source] sled::Error),
    /// A write, flush or sync failed, now or earlier; only a restart from disk helps.
    #[error("state could not be made durable; the service must be restarted")]
    Poisoned,
    /// A batch over the limits named in this module.
    #[error("a batch of state is too large")]
    TooLarge,
}

/// A record's key within its family, and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// Puts and removals that become durable together.
#[derive(Debug, Default)]
pub struct Batch {
    changes: Vec<Change>,
    too_large: bool,
}

impl Batch {
    /// Upserts a record.
    pub fn put(&mut self, family: &str, key: &[u8], value: &[u8]) {
        self.too_large |= value.len() > VALUE_BYTES_MAX;
        self.changes.push((record_key(family, key), Some(value.to_vec())));
    }

    /// Removes a record, if it is there.
    pub fn remove(&mut self, family: &str, key: &[u8]) {
        self.changes.push((record_key(family, key), None));
    }

    /// True when nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A durable table of records, in families. Cheap to clone.
#[derive(Clone)]
pub struct Db(Arc<State>);

struct State {
    engine: Engine,
    /// Cancelled by the first failure, for good.
    poisoned: CancellationToken,
}

enum Engine {
    Sled(Sled),
    Simulated(Arc<dyn Table>),
}

struct Sled {
    sled: sled::Db,
    file: File,
    /// Held while a batch is applied, and while one is flushed.
    log: Mutex<()>,
    /// Held while a sync runs; who waits for it finds its own batch covered by the next one.
    sync: Mutex<()>,
    applied: std::sync::atomic::AtomicU64,
    synced: std::sync::atomic::AtomicU64,
}

impl Db {
    /// Opens the database in `folder`, making it (mode 0700) when it is not there.
    ///
    /// # Errors
    /// The folder cannot be made, or the database in it is damaged, or in use and not closed within
    /// five seconds.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let refuse = |source| Error::Open { path: folder.into(), source };
        let engine = match world::simulated() {
            Some(world) => Engine::Simulated(world.table(folder).map_err(refuse)?),
            None => Engine::Sled(Sled::open(folder).map_err(refuse)?),
        };
        Ok(Self(Arc::new(State { engine, poisoned: CancellationToken::new() })))
    }

    /// The record, if it is there.
    ///
    /// # Errors
    /// The database failed.
    pub fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let key = record_key(family, key);
        match &self.0.engine {
            Engine::Sled(engine) => {
                let found = engine.sled.get(key).map_err(Error::Read)?;
                Ok(found.map(|value| value.to_vec()))
            }
            Engine::Simulated(table) => Ok(table.snapshot().get(&key).cloned()),
        }
    }

    /// Every record of `family`, by key. For small families.
    ///
    /// # Errors
    /// The database failed.
    pub fn scan(&self, family: &str) -> Result<Vec<Record>, Error> {
        self.scan_from(family, &[], usize::MAX)
    }

    /// At most `max` records of `family` whose keys are `from` or later, by key.
    ///
    /// # Errors
    /// The database failed.
    pub fn scan_from(&self, family: &str, from: &[u8], max: usize) -> Result<Vec<Record>, Error> {
        let prefix = record_key(family, &[]);
        let from = record_key(family, from);
        match &self.0.engine {
            Engine::Sled(engine) => engine
                .sled
                .range(from..)
                .take_while(|found| found.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
                .take(max)
                .map(|found| found.map_err(Error::Read).map(|found| record(&prefix, found)))
                .collect(),
            Engine::Simulated(table) => Ok(table
                .snapshot()
                .range(from..)
                .take_while(|(key, _)| key.starts_with(&prefix))
                .take(max)
                .map(|found| record(&prefix, found))
                .collect()),
        }
    }

    /// The last `max` records of `family`, newest key first.
    ///
    /// # Errors
    /// The database failed.
    pub fn scan_back(&self, family: &str, max: usize) -> Result<Vec<Record>, Error> {
        let prefix = record_key(family, &[]);
        match &self.0.engine {
            Engine::Sled(engine) => engine
                .sled
                .scan_prefix(&prefix)
                .rev()
                .take(max)
                .map(|found| found.map_err(Error::Read).map(|found| record(&prefix, found)))
                .collect(),
            Engine::Simulated(table) => Ok(table
                .snapshot()
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(&prefix))
                .map(|found| record(&prefix, found))
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .take(max)
                .collect()),
        }
    }

    /// Applies `batch` atomically; it is durable when this returns. Blocks; see
    /// [`Db::commit_async`].
    ///
    /// # Errors
    /// [`Error::TooLarge`] changes nothing. [`Error::Poisoned`] is final for this process.
    pub fn commit(&self, batch: Batch) -> Result<(), Error> {
        if batch.too_large || batch.changes.len() > BATCH_OPERATIONS_MAX {
            return Err(Error::TooLarge);
        }
        if self.0.poisoned.is_cancelled() {
            return Err(Error::Poisoned);
        }
        let committed = match &self.0.engine {
            Engine::Sled(engine) => {
                engine.commit(batch.changes, &self.0.poisoned).map_err(|error| error.to_string())
            }
            Engine::Simulated(table) => table.commit(batch.changes).map_err(|error| error.to_string()),
        };
        committed.map_err(|error| {
            tracing::error!(error, "state could not be made durable");
            self.0.poisoned.cancel();
            Error::Poisoned
        })
    }

    /// Resolves when nothing more will be kept. The process must then end: parts of it that only log
    /// a failure would otherwise go on for ever beside state that has stopped.
    pub async fn poisoned(&self) {
        self.0.poisoned.cancelled().await;
    }

    /// As [`Db::commit`], from async code.
    ///
    /// # Errors
    /// As [`Db::commit`].
    pub async fn commit_async(&self, batch: Batch) -> Result<(), Error> {
        let db = self.clone();
        if let Engine::Simulated(table) = &self.0.engine {
            let (before, after) = table.pauses();
            world::time::pass(before).await;
            let committed = db.commit(batch);
            world::time::pass(after).await;
            return committed;
        }
        tokio::task::spawn_blocking(move || db.commit(batch)).await.unwrap_or(Err(Error::Poisoned))
    }
}

/// A record without the family before its key.
fn record<K: AsRef<[u8]>, V: AsRef<[u8]>>(prefix: &[u8], (key, value): (K, V)) -> Record {
    (key.as_ref()[prefix.len()..].to_vec(), value.as_ref().to_vec())
}

impl Sled {
    fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        wait_until_closed(&folder.join("db"), CLOSING_MAX)?;
        remove_unfinished_snapshots(folder)?;
        let sled = sled::Config::new()
            .path(folder)
            .flush_every_ms(None)
            .cache_capacity(16 * 1024 * 1024)
            .mode(sled::Mode::HighThroughput)
            .open()
            .map_err(io::Error::other)?;
        sync_tree(folder)?;
        let file = File::open(folder.join("db"))?;
        Ok(Self {
            sled,
            file,
            log: Mutex::default(),
            sync: Mutex::default(),
            applied: 0.into(),
            synced: 0.into(),
        })
    }

    fn commit(&self, changes: Vec<Change>, poisoned: &CancellationToken) -> Result<(), sled::Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        let refuse_after_an_error = || match poisoned.is_cancelled() {
            true => Err(sled::Error::Unsupported("an earlier sync failed".into())),
            false => Ok(()),
        };
        let mine = {
            let _alone = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            refuse_after_an_error()?;
            self.sled.apply_batch(batch)?;
            self.applied.fetch_add(1, Ordering::AcqRel) + 1
        };
        let _turn = self.sync.lock().unwrap_or_else(PoisonError::into_inner);
        refuse_after_an_error()?;
        if self.synced.load(Ordering::Acquire) >= mine {
            return Ok(());
        }
        let covered = self.applied.load(Ordering::Acquire);
        let durable = self.flush().and_then(|()| self.file.sync_all().map_err(sled::Error::from));
        // Set before the turn ends, so that nobody can sync the same descriptor again.
        if let Err(error) = durable {
            poisoned.cancel();
            return Err(error);
        }
        self.synced.fetch_max(covered, Ordering::AcqRel);
        Ok(())
    }

    /// sled's own `flush`, or a second one. No batch is applied meanwhile: it would wait for the first one,
    /// and the second one for it.
    fn flush(&self) -> Result<(), sled::Error> {
        let _alone = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let sled = self.sled.clone();
        match insist(PATIENCE, FLUSH_MAX, move || sled.flush())? {
            Some(flushed) => flushed.map(drop),
            None => Err(sled::Error::Unsupported(format!("a flush took longer than {FLUSH_MAX:?}"))),
        }
    }
}

/// What `flush` comes to. When it takes longer than `patience` another one is begun beside it, then after
/// twice as long, and so on, until `max`: none then, and they go on in their threads.
fn insist<T: Send + 'static>(
    mut patience: Duration,
    max: Duration,
    flush: impl Fn() -> T + Clone + Send + 'static,
) -> io::Result<Option<T>> {
    let (tell, told) = mpsc::channel();
    let until = Instant::now() + max;
    loop {
        let (tell, flush) = (tell.clone(), flush.clone());
        std::thread::Builder::new().name("state-flush".into()).spawn(move || tell.send(flush()))?;
        match told.recv_timeout(patience) {
            Ok(flushed) => return Ok(Some(flushed)),
            Err(_) if Instant::now() >= until => return Ok(None),
            Err(_) => patience *= 2,
        }
    }
}

/// Waits until nobody has `file`, sled's log, locked any more, for at most `max`.
///
/// sled takes the lock at once or refuses. But it lets go of it in a thread of its own, some moments
/// after the database was dropped, and a process that was told to end may not have ended yet.
fn wait_until_closed(file: &Path, max: Duration) -> io::Result<()> {
    let file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let until = Instant::now() + max;
    while !is_unlocked(&file)? {
        if Instant::now() >= until {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "another process has it open; end that one first, or give this one its own data_dir",
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn is_unlocked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        // Let go of at once, not when `file` is closed: a child that is forked meanwhile has it open, and so
        // the lock, until it becomes its own program.
        Ok(()) => file.unlock().map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes snapshots that a crash, or a failed write, left before they had their name. sled takes such a
/// file for a snapshot, finds it damaged, and would never open again. Nothing is lost with it: the
/// snapshot before it is removed only after it has its name, and the log holds everything since that.
fn remove_unfinished_snapshots(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A family's name, a zero byte, then the key: families never mix and scan in key order.
fn record_key(family: &str, key: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(family.len() + 1 + key.len());
    record.extend_from_slice(family.as_bytes());
    record.push(0);
    record.extend_from_slice(key);
    record
}

/// Fsyncs every file in `folder`, the folder, and the folder that names it.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()?;
    folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(family: &str, key: &[u8], value: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.put(family, key, value);
        batch
    }

    #[test]
    fn records_survive_a_reopening_and_families_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        {
            let db = Db::open(&path).unwrap();
            db.commit(put("link", b"1", b"one")).unwrap();
            db.commit(put("links", b"2", b"two")).unwrap();
            db.commit(put("link", b"3", b"three")).unwrap();
        }
        let db = Db::open(&path).unwrap();
        assert_eq!(
            db.scan("link").unwrap(),
            [(b"1".to_vec(), b"one".to_vec()), (b"3".to_vec(), b"three".to_vec())]
        );
        assert_eq!(db.scan_from("link", b"2", 9).unwrap().len(), 1);
        assert_eq!(db.scan_back("link", 1).unwrap()[0].0, b"3");
        assert_eq!(db.get("links", b"2").unwrap().as_deref(), Some(&b"two"[..]));
    }

    /// As sled's `flush` after an error that it was not told of: it stands still until another one comes.
    #[test]
    fn a_flush_that_nobody_wakes_is_woken_by_another() {
        let (asked, (wake, woken)) = (Arc::new(Mutex::new(0)), mpsc::channel());
        let (woken, first) = (Arc::new(Mutex::new(woken)), Duration::from_millis(10));
        let flush = move || {
            *asked.lock().unwrap() += 1;
            if *asked.lock().unwrap() > 1 {
                wake.send("an error").unwrap();
                return "an error";
            }
            woken.lock().unwrap().recv().unwrap()
        };
        assert_eq!(insist(first, CLOSING_MAX, flush).unwrap(), Some("an error"));
    }

    #[test]
    fn a_flush_that_never_ends_is_given_up() {
        let never = || loop {
            std::thread::park();
        };
        let given_up: Option<()> =
            insist(Duration::from_millis(1), Duration::from_millis(10), never).unwrap();
        assert_eq!(given_up, None);
    }

    #[test]
    fn state_that_is_still_being_closed_is_waited_for_and_state_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Db::open(folder.path()).unwrap());
        wait_until_closed(&folder.path().join("db"), CLOSING_MAX).unwrap();
        let closing = File::open(folder.path().join("db")).unwrap();
        closing.lock().unwrap();

        let refused = wait_until_closed(&folder.path().join("db"), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains("data_dir"), "{refused}");
        let closed = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(closing);
        });
        Db::open(folder.path()).unwrap();
        closed.join().unwrap();
    }

    #[test]
    fn a_child_that_is_forked_while_somebody_looks_does_not_keep_the_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let looked_at = file.reopen().unwrap();
        // What a child has between its fork and its own program: the same opening of the file.
        let _of_the_child = looked_at.try_clone().unwrap();
        assert!(is_unlocked(&looked_at).unwrap());
        drop(looked_at);
        file.reopen().unwrap().try_lock().unwrap();
    }

    #[test]
    fn a_snapshot_that_a_crash_left_half_written_does_not_keep_the_state_shut() {
        let folder = tempfile::tempdir().unwrap();
        Db::open(folder.path()).unwrap().commit(put("n", b"k", b"v")).unwrap();
        std::fs::write(folder.path().join("snap.FFFFFFFFFFFFFFFF.generating"), b"the first half").unwrap();
        let db = Db::open(folder.path()).unwrap();
        assert_eq!(db.get("n", b"k").unwrap().as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn concurrent_commits_all_land() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8u8 {
                let db = db.clone();
                scope.spawn(move || {
                    for round in 0..20u8 {
                        db.commit(put("n", &[number, round], b"x")).unwrap();
                    }
                });
            }
        });
        assert_eq!(db.scan("n").unwrap().len(), 160);
    }

    #[test]
    fn a_batch_over_the_limit_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let large = vec![0; VALUE_BYTES_MAX + 1];
        assert!(matches!(db.commit(put("n", b"k", &large)), Err(Error::TooLarge)));
        assert_eq!(db.get("n", b"k").unwrap(), None);
    }
}
