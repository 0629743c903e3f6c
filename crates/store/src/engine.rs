//! The embedded engine. fjall is named here and nowhere else.
//!
//! The boundary is narrow on purpose, so that another engine can carry it: ordered byte rows in a
//! few families, snapshots that do not move, and one atomic batch that is flushed before it can be
//! seen. Measured: with `SyncAll` fjall loses nothing of what it acknowledged in a power cut, and
//! holds millions of records in bounded memory. A simulation gives a table of its own disk instead.

use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _, Snapshot};

use switchback_world::disk::{Records, Table};

use crate::error::{Error, Result};

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
    /// In the order of the enum, which indexes [`Engine::keyspaces`].
    const ALL: [(Self, &'static str); 6] = [
        (Self::Meta, "meta"),
        (Self::Record, "record"),
        (Self::Body, "body"),
        (Self::Feed, "feed"),
        (Self::Upload, "upload"),
        (Self::Blob, "blob"),
    ];
}

/// Bytes of a family's unflushed rows. Six families of this size, and as much again while they are
/// written out, bound the engine's memory beside its cache.
const MEMTABLE_BYTES: u64 = 16 << 20;

/// Bytes of journals on disk before the oldest families are written out.
const JOURNAL_BYTES: u64 = 256 << 20;

/// One row to write (`Some`) or to remove (`None`).
pub(crate) type Row = (Family, Vec<u8>, Option<Vec<u8>>);

/// A row as it was read.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// Anything that rows can be read from.
pub(crate) trait Rows {
    /// The row under `key`.
    fn row(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The first `max` rows whose keys begin with `prefix`, in order.
    fn first(&self, family: Family, prefix: &[u8], max: usize) -> Result<Vec<KeyValue>>;
}

/// An open database.
pub(crate) enum Engine {
    Fjall(Fjall),
    Simulated(Arc<dyn Table>),
}

pub(crate) struct Fjall {
    database: Database,
    keyspaces: Vec<Keyspace>,
}

impl Engine {
    /// Opens or creates the database in `path`. After creation its folders' entries are durable.
    pub(crate) fn open(path: &Path, cache_bytes: u64) -> Result<Self> {
        if let Some(world) = switchback_world::simulated() {
            let table = world.table(path).map_err(|error| Error::engine("open", error))?;
            return Ok(Self::Simulated(table));
        }
        let io = |what| move |error: std::io::Error| Error::engine(what, error);
        if is_empty(path).map_err(io("look at its folder"))? {
            create(path, cache_bytes)?;
        }
        let engine = Self::load(path, cache_bytes)?;
        for folder in path.ancestors().take(2).filter(|folder| !folder.as_os_str().is_empty()) {
            sync_folder(folder).map_err(io("flush its folder"))?;
        }
        Ok(Self::Fjall(engine))
    }

    fn load(path: &Path, cache_bytes: u64) -> Result<Fjall> {
        let failed = |error| match error {
            fjall::Error::Locked => Error::InUse { path: path.to_owned() },
            error => Error::engine("open", error),
        };
        let database = Database::builder(path)
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNAL_BYTES)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspaces = Family::ALL
            .iter()
            .map(|(_, name)| database.keyspace(name, options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        Ok(Fjall { database, keyspaces })
    }

    /// What is durable now, for as long as the view lives. Keep it short: rows it sees stay on disk.
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::Fjall(engine) => {
                View::Fjall { snapshot: engine.database.snapshot(), keyspaces: &engine.keyspaces }
            }
            Self::Simulated(table) => View::Simulated(table.snapshot()),
        }
    }

    /// Writes all rows or none, flushed to the disk before any of them can be read. An error is
    /// final: nothing more may be written through this engine.
    pub(crate) fn commit(&self, rows: Vec<Row>) -> Result<()> {
        match self {
            Self::Fjall(engine) => {
                let mut batch = engine.database.batch().durability(Some(PersistMode::SyncAll));
                for (family, key, value) in rows {
                    let keyspace = &engine.keyspaces[family as usize];
                    match value {
                        Some(value) => batch.insert(keyspace, key, value),
                        None => batch.remove(keyspace, key),
                    }
                }
                batch.commit().map_err(|error| Error::engine("commit", error))
            }
            Self::Simulated(table) => {
                let changes = rows.into_iter().map(|(family, key, value)| (tagged(family, &key), value));
                table.commit(changes.collect()).map_err(|error| Error::engine("commit", error))
            }
        }
    }

    /// What a simulated disk takes before a commit counts and before it says so; none for a real
    /// one, which takes its time itself.
    pub(crate) fn pauses(&self) -> Option<(Duration, Duration)> {
        match self {
            Self::Fjall(_) => None,
            Self::Simulated(table) => Some(table.pauses()),
        }
    }
}

/// A key of `family` among all keys of a simulated table.
fn tagged(family: Family, key: &[u8]) -> Vec<u8> {
    [&[family as u8], key].concat()
}

/// A snapshot.
pub(crate) enum View<'a> {
    Fjall { snapshot: Snapshot, keyspaces: &'a [Keyspace] },
    Simulated(Arc<Records>),
}

impl Rows for View<'_> {
    fn row(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Fjall { snapshot, keyspaces } => snapshot
                .get(&keyspaces[family as usize], key)
                .map(|value| value.map(|value| value.to_vec()))
                .map_err(|error| Error::engine("read", error)),
            Self::Simulated(records) => Ok(records.get(&tagged(family, key)).cloned()),
        }
    }

    fn first(&self, family: Family, prefix: &[u8], max: usize) -> Result<Vec<KeyValue>> {
        self.prefix(family, prefix).take(max).collect()
    }
}

/// Rows that a scan finds.
type Found = Box<dyn Iterator<Item = Result<KeyValue>>>;

impl View<'_> {
    /// The rows from `from` up to the end of the range that `prefix` spans, in order of key bytes.
    pub(crate) fn scan(&self, family: Family, prefix: &[u8], from: Bound<Vec<u8>>) -> Found {
        let end = prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        // A start beyond the end is an empty range, which the engine would refuse.
        let empty = match (&from, &end) {
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(end)) => from >= end,
            _ => false,
        };
        if empty {
            return Box::new(std::iter::empty());
        }
        match self {
            Self::Fjall { snapshot, keyspaces } => {
                let rows = snapshot.range::<Vec<u8>, _>(&keyspaces[family as usize], (from, end));
                Box::new(rows.map(|row| {
                    let (key, value) = row.into_inner().map_err(|error| Error::engine("scan", error))?;
                    Ok((key.to_vec(), value.to_vec()))
                }))
            }
            Self::Simulated(records) => {
                let from = from.map(|from| tagged(family, &from));
                let from = if from == Bound::Unbounded { Bound::Included(vec![family as u8]) } else { from };
                let end = match end {
                    Bound::Excluded(end) => tagged(family, &end),
                    Bound::Included(_) | Bound::Unbounded => vec![family as u8 + 1],
                };
                let rows = records.range((from, Bound::Excluded(end)));
                let rows = rows.map(|(key, value)| Ok((key[1..].to_vec(), value.clone())));
                Box::new(rows.collect::<Vec<_>>().into_iter())
            }
        }
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

/// Makes the database beside its place and moves it there whole. The engine cannot open what a crash
/// left of a creation (seen in power cuts: a family's folder is there before the family is on
/// record, and is in the way for ever), so nothing half made may bear the name.
fn create(path: &Path, cache_bytes: u64) -> Result<()> {
    let io = |what| move |error: std::io::Error| Error::engine(what, error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("remove what a crash left")(error));
        }
        _ => {}
    }
    std::fs::create_dir_all(&new).map_err(io("create its folder"))?;
    drop(Engine::load(&new, cache_bytes)?);
    sync_tree(&new).map_err(io("flush its files"))?;
    std::fs::rename(&new, path).map_err(io("name its folder"))
}

/// True when there is no folder, or nothing in it.
fn is_empty(path: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes a folder and everything beneath it durable.
fn sync_tree(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_folder(folder)
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

    #[test]
    fn what_a_crash_left_of_a_creation_is_not_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue");
        let left = folder.path().join("catalogue.new");
        std::fs::create_dir_all(left.join("keyspaces/1")).unwrap();
        let engine = Engine::open(&path, 1 << 20).unwrap();
        engine.commit(vec![(Family::Meta, b"a".to_vec(), Some(b"1".to_vec()))]).unwrap();
        drop(engine);
        assert!(!left.exists());
        let engine = Engine::open(&path, 1 << 20).unwrap();
        assert_eq!(engine.view().row(Family::Meta, b"a").unwrap(), Some(b"1".to_vec()));
    }

    #[test]
    fn a_view_does_not_see_what_is_written_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(folder.path(), 1 << 20).unwrap();
        engine.commit(vec![(Family::Meta, b"a".to_vec(), Some(b"1".to_vec()))]).unwrap();
        let view = engine.view();
        engine.commit(vec![(Family::Meta, b"a".to_vec(), None)]).unwrap();
        assert_eq!(view.row(Family::Meta, b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(engine.view().row(Family::Meta, b"a").unwrap(), None);
        assert_eq!(view.scan(Family::Meta, b"a", Bound::Excluded(b"b".to_vec())).count(), 0);
    }
}
