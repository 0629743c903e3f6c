//! What the catalogue stands on: ordered rows of bytes, in a few families.
//!
//! The boundary is narrow on purpose, so that another engine can carry it. [`Backend`] says what one must
//! be, `conformance` holds it to that, and [`Engine`] makes an error final in front of any of them. A system
//! uses fjall; a simulation gives a table of its own disk instead.
//!
//! Called through a `dyn`, because which engine it is is known at run time only, and a type parameter would
//! pass through the catalogue into everything that has one. It costs a call and an allocation for each view
//! and each scan, beside a look-up in an engine's tables that makes several.
//!
//! # Over a PostgreSQL protocol
//!
//! How PostgreSQL, CockroachDB or YugabyteDB would carry it; none is built in yet.
//!
//! - *Families* are tables: `create table record (key bytea primary key, value bytea not null)`. `bytea`
//!   compares as unsigned bytes and a prefix before what it begins, in every collation; text does not. An entry
//!   of PostgreSQL's B-tree is at most 2,704 bytes, and keys here are shorter (`KEY_BYTES_MAX`).
//! - *A view* is a transaction, `begin isolation level repeatable read read only`, and a first statement at once:
//!   the snapshot is taken by that and not by `begin`. A view that could not be begun answers each read with
//!   the error. It has a connection to itself, from a pool with a limit, and holds back the removal of old rows
//!   (PostgreSQL's vacuum) or outlives them (CockroachDB, YugabyteDB: the read fails): views are short here.
//! - *A scan* asks for pages, `where key > $1 and key < $2 order by key limit 1000`, each from the last key of
//!   the one before. A cursor would hold the rows of a scan that is given up.
//! - *A batch* is one transaction, with `set local synchronous_commit = on` whatever the server's default is, since
//!   whoever is told of it may lose power next. Rows go as two arrays a table: `insert ... select unnest($1), unnest($2)
//!   on conflict (key) do update`, and `delete ... where key = any($1)`.
//! - *One writer*: opening takes an advisory lock, or answers [`Error::InUse`]. That alone fences nobody off whose
//!   connection broke while the lock went to another. So opening also writes a random name into the one row of
//!   `owner`, and each batch begins with `update owner set batch = batch + 1 where writer = $1 and batch = $2`: if
//!   no row matches, somebody else writes, and the error is final.
//! - *A serialization failure or deadlock* (SQLSTATE class 40) says that nothing was written. The batch is sent again as
//!   it is, a few times: it only sets rows, and what it was computed from only this writer changes.
//! - *A connection that breaks in a commit* leaves it unknown whether that was written. It counts as an error, which
//!   is final: the service ends and reads again at its next start. (`owner` would tell: `batch` has grown or not.)

use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::fjall::Fjall;
use self::simulated::Simulated;
use crate::error::{Error, Result};

#[cfg(test)]
mod conformance;
mod fjall;
mod simulated;

/// A group of rows that is one tree on disk. What is in each: see [`crate::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Meta,
    Record,
    Body,
    Feed,
    Upload,
    Blob,
}

impl Family {
    /// In the order of the enum, by which an engine may index its tables.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Meta, "meta"),
        (Self::Record, "record"),
        (Self::Body, "body"),
        (Self::Feed, "feed"),
        (Self::Upload, "upload"),
        (Self::Blob, "blob"),
    ];
}

/// The longest key that an engine must take: that of a version whose object's key is escaped throughout.
/// PostgreSQL's index takes no longer ones than 2,704 bytes.
#[cfg(test)]
pub(crate) const KEY_BYTES_MAX: usize = 2_400;

/// One row to write (`Some`) or to remove (`None`). Of several for one key in a batch the last counts.
pub(crate) type Row = (Family, Vec<u8>, Option<Vec<u8>>);

/// A row as it was read.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// Rows that a scan finds, read as they are asked for. It may outlive the view, and sees what that saw.
pub(crate) type Found = Box<dyn Iterator<Item = Result<KeyValue>>>;

/// An engine that is open, and open to nobody else. Dropping it closes it.
pub(crate) trait Backend: Send + Sync {
    /// What is durable now: all batches whose commit has returned, and none in part. It does not change for
    /// as long as it lives. Any thread may ask, while another commits.
    fn snapshot(&self) -> Box<dyn Snapshot + '_>;

    /// Writes all rows or none, flushed to the disk before any of them can be read; from one thread at a
    /// time. Keys have at least one byte; removing what is not there does nothing.
    fn commit(&self, rows: Vec<Row>) -> Result<()>;

    /// What a simulated disk takes before a commit counts and before it says so; none for a real
    /// one, which takes its time itself.
    fn pauses(&self) -> Option<(Duration, Duration)> {
        None
    }
}

/// Rows at one moment.
pub(crate) trait Snapshot: Send + Sync {
    /// The row under `key`.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The rows between the bounds, in order of their keys' bytes. The range is never empty.
    fn range(&self, family: Family, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Found;
}

/// Anything that rows can be read from.
pub(crate) trait Rows {
    /// The row under `key`.
    fn row(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The first `max` rows whose keys begin with `prefix`, in order.
    fn first(&self, family: Family, prefix: &[u8], max: usize) -> Result<Vec<KeyValue>>;
}

/// An open engine whose first error is its last.
pub(crate) struct Engine {
    backend: Box<dyn Backend>,
    /// A commit failed, or is under way.
    failed: Mutex<bool>,
}

impl Engine {
    /// Opens or creates the database in `path`, durably.
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Self> {
        if let Some(world) = switchback_world::simulated() {
            let table = world.table(path).map_err(|error| Error::engine("open", error))?;
            return Ok(Self::over(Simulated(table)));
        }
        Ok(Self::over(Fjall::open(path, cache_bytes)?))
    }

    fn over(backend: impl Backend + 'static) -> Self {
        Self { backend: Box::new(backend), failed: Mutex::new(false) }
    }

    /// What is durable now, for as long as the view lives. Keep it short: rows it sees stay on disk.
    pub(crate) fn view(&self) -> View<'_> {
        View(self.backend.snapshot())
    }

    /// Writes all rows or none, flushed to the disk before any of them can be read. An error is final:
    /// whether the rows are there is unknown, and nothing more is written through this engine. (A flush
    /// that failed may have dropped what it was to flush, so that a later one that succeeds proves nothing.)
    pub(crate) fn commit(&self, rows: Vec<Row>) -> Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(Error::Poisoned);
        }
        // Also when it panics.
        *failed = true;
        self.backend.commit(rows)?;
        *failed = false;
        Ok(())
    }

    /// See [`Backend::pauses`].
    pub(crate) fn pauses(&self) -> Option<(Duration, Duration)> {
        self.backend.pauses()
    }
}

/// A snapshot of an engine.
pub(crate) struct View<'a>(Box<dyn Snapshot + 'a>);

impl Rows for View<'_> {
    fn row(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(family, key)
    }

    fn first(&self, family: Family, prefix: &[u8], max: usize) -> Result<Vec<KeyValue>> {
        self.prefix(family, prefix).take(max).collect()
    }
}

impl View<'_> {
    /// The rows between the bounds, in order of key bytes; none when the bounds leave nothing between them.
    pub(crate) fn range(&self, family: Family, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Found {
        let empty = match (&from, &to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        };
        if empty { Box::new(std::iter::empty()) } else { self.0.range(family, from, to) }
    }

    /// The rows from `from` up to the end of the range that `prefix` spans, in order of key bytes.
    pub(crate) fn scan(&self, family: Family, prefix: &[u8], from: Bound<Vec<u8>>) -> Found {
        self.range(family, from, prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded))
    }

    /// All rows whose keys begin with `prefix`, in order.
    pub(crate) fn prefix(&self, family: Family, prefix: &[u8]) -> Found {
        self.scan(family, prefix, Bound::Included(prefix.to_vec()))
    }
}

/// The first key after all keys that begin with `prefix`; none when there is no such key.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_indexed_in_the_order_they_are_declared() {
        for (index, (family, _)) in Family::ALL.iter().enumerate() {
            assert_eq!(*family as usize, index);
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_beyond_it() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0xff]), None);
    }
}
