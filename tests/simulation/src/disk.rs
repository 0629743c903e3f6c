//! The simulated disks. A commit is there whole or not at all; a crash in its pauses decides which.
//! What was committed stays until its system is wiped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchback_world::disk::{Change, Records, Table};

use crate::chance::Chance;
use crate::record::Record;
use crate::site::System;
use crate::watch::{Kind, Watch};

/// A disk that does well takes this long at most for half a commit, in milliseconds.
const PAUSE_MAX_MS: u64 = 6;
/// One that does badly.
const SLOW_MAX_MS: u64 = 400;

/// What is wrong with the disks of one system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// No room is left.
    pub full: bool,
    /// Everything takes long.
    pub slow: bool,
    /// This many of the next commits fail; whether they are there then is chance.
    pub failures: u32,
}

/// What the tables of a system held at one moment.
#[derive(Clone, Debug, Default)]
pub struct Backup(BTreeMap<PathBuf, Arc<Records>>);

/// The disks of both systems.
pub struct Disks {
    root: PathBuf,
    tables: Mutex<BTreeMap<PathBuf, Arc<Disk>>>,
    shared: Arc<Shared>,
}

struct Shared {
    takes_time: bool,
    troubles: Mutex<BTreeMap<System, Trouble>>,
    chance: Mutex<Chance>,
    record: Arc<Record>,
    watch: Arc<Watch>,
}

struct Disk {
    system: System,
    kind: Kind,
    /// For the record.
    name: String,
    records: Mutex<Arc<Records>>,
    shared: Arc<Shared>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disks {
    /// Empty disks; the folders of systems are beneath `root`, each with a name that begins with
    /// the system's. A commit takes some milliseconds if `takes_time`, else none.
    #[must_use]
    pub fn new(root: &Path, seed: u64, takes_time: bool, record: Arc<Record>, watch: Arc<Watch>) -> Self {
        let chance = Mutex::new(Chance::new(seed, "disks"));
        let shared = Shared { takes_time, troubles: Mutex::default(), chance, record, watch };
        Self { root: root.into(), tables: Mutex::default(), shared: Arc::new(shared) }
    }

    /// The table in `folder`.
    ///
    /// # Errors
    /// `folder` is no system's.
    pub fn table(&self, folder: &Path) -> io::Result<Arc<dyn Table>> {
        let name = folder.strip_prefix(&self.root).map_err(io::Error::other)?.display().to_string();
        let system = System::ALL.into_iter().find(|system| name.starts_with(system.name()));
        let system = system.ok_or_else(|| io::Error::other("no system's folder"))?;
        let disk = Disk {
            system,
            kind: Kind::of(&name),
            name,
            records: Mutex::default(),
            shared: Arc::clone(&self.shared),
        };
        let mut tables = held(&self.tables);
        let table = tables.entry(folder.into()).or_insert_with(|| Arc::new(disk));
        Ok(Arc::clone(table) as Arc<dyn Table>)
    }

    /// Everything beneath `folder` is gone.
    pub fn wipe(&self, folder: &Path) {
        held(&self.tables).retain(|path, _| !path.starts_with(folder));
    }

    /// A backup of what is beneath `folder`.
    #[must_use]
    pub fn back_up(&self, folder: &Path) -> Backup {
        let tables = held(&self.tables);
        let ours = tables.iter().filter(|(path, _)| path.starts_with(folder));
        Backup(ours.map(|(path, disk)| (path.clone(), disk.snapshot())).collect())
    }

    /// What is beneath `folder` is what it was when it was backed up. What was made since is empty.
    pub fn restore(&self, folder: &Path, backup: &Backup) {
        let tables = held(&self.tables);
        for (path, disk) in tables.iter().filter(|(path, _)| path.starts_with(folder)) {
            *held(&disk.records) = backup.0.get(path).cloned().unwrap_or_default();
        }
    }

    /// What is on record in the table of `kind` beneath `folder`.
    #[must_use]
    pub fn read(&self, folder: &Path, kind: Kind) -> Arc<Records> {
        let tables = held(&self.tables);
        let found = tables.iter().find(|(path, disk)| path.starts_with(folder) && disk.kind == kind);
        found.map(|(_, disk)| disk.snapshot()).unwrap_or_default()
    }

    /// Whether something that is kept on the disk of `system` beside the tables can be kept now, and
    /// whether it is there then: it may be although nobody can be told.
    pub fn keep(&self, system: System, what: &str) -> (io::Result<()>, bool) {
        let record = &self.shared.record;
        match self.shared.fate(system) {
            None => {
                record.event(&format!("{system} keeps {what}"));
                (Ok(()), true)
            }
            Some((kind, there)) => {
                record.event(&format!("{system} fails to keep {what}: {kind}, {there}"));
                record.count("fault: commits that failed");
                (Err(kind.into()), there)
            }
        }
    }

    /// Changes what is wrong with the disks of `system`.
    pub fn trouble(&self, system: System, change: impl FnOnce(&mut Trouble)) {
        change(held(&self.shared.troubles).entry(system).or_default());
    }
}

impl Shared {
    /// Whether the next commit of `system` fails, and if so whether it is there all the same.
    fn fate(&self, system: System) -> Option<(io::ErrorKind, bool)> {
        let mut troubles = held(&self.troubles);
        let trouble = troubles.entry(system).or_default();
        if trouble.full {
            return Some((io::ErrorKind::StorageFull, false));
        }
        if trouble.failures > 0 {
            trouble.failures -= 1;
            return Some((io::ErrorKind::Other, held(&self.chance).one_in(2)));
        }
        None
    }
}

impl Disk {
    fn pause(&self) -> Duration {
        if !self.shared.takes_time {
            return Duration::ZERO;
        }
        let slow = held(&self.shared.troubles).get(&self.system).is_some_and(|trouble| trouble.slow);
        let most = if slow { SLOW_MAX_MS } else { PAUSE_MAX_MS };
        Duration::from_millis(held(&self.shared.chance).below(most))
    }
}

impl Table for Disk {
    fn snapshot(&self) -> Arc<Records> {
        Arc::clone(&held(&self.records))
    }

    fn pauses(&self) -> (Duration, Duration) {
        (self.pause(), self.pause())
    }

    fn commit(&self, changes: Vec<Change>) -> io::Result<()> {
        let record = &self.shared.record;
        let fate = self.shared.fate(self.system);
        if let Some((kind, there)) = fate {
            record.event(&format!("{} commit fails: {kind}, {there}", self.name));
            record.count("fault: commits that failed");
        }
        if fate.is_none_or(|(_, there)| there) {
            let mut sum = blake3::Hasher::new();
            let mut records = held(&self.records);
            let after = Arc::make_mut(&mut records);
            for (key, value) in &changes {
                sum.update(key);
                match value {
                    Some(value) => {
                        sum.update(value);
                        after.insert(key.clone(), value.clone());
                    }
                    None => drop(after.remove(key)),
                }
            }
            let after = Arc::clone(&records);
            drop(records);
            let sum = sum.finalize().to_hex();
            record.event(&format!("{} commit {} {}", self.name, changes.len(), &sum[..16]));
            self.shared.watch.committed(self.system, self.kind, &after, &changes);
        }
        fate.map_or(Ok(()), |(kind, _)| Err(kind.into()))
    }
}
