//! Where each engine under test keeps its rows.

use std::path::Path;
use std::time::Duration;

use switchback_world::disk::{Change, Records, Table};
use tempfile::TempDir;

use super::*;

/// What systems have.
pub(super) struct Disk(TempDir);

impl Maker for Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Result<Engine> {
        Engine::open(&self.0.path().join("catalogue"), 1 << 20)
    }

    /// Whatever was written to the files, flushed or not, the system goes on to keep.
    fn killed(&self) -> Self {
        let left = Self::new();
        copy(self.0.path(), left.0.path());
        left
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(std::fs::copy(&from, &to).is_ok()) }
    }
}

/// A simulated disk, as far as the engine sees it.
pub(super) struct Simulation(Arc<SimulatedDisk>);

#[derive(Default)]
pub(super) struct SimulatedDisk(Mutex<Arc<Records>>);

impl Table for SimulatedDisk {
    fn snapshot(&self) -> Arc<Records> {
        self.0.lock().unwrap().clone()
    }

    fn pauses(&self) -> (Duration, Duration) {
        (Duration::ZERO, Duration::ZERO)
    }

    fn commit(&self, changes: Vec<Change>) -> std::io::Result<()> {
        let mut records = self.0.lock().unwrap();
        let records = Arc::make_mut(&mut records);
        for (key, value) in changes {
            match value {
                Some(value) => drop(records.insert(key, value)),
                None => drop(records.remove(&key)),
            }
        }
        Ok(())
    }
}

impl Maker for Simulation {
    const IS_EXCLUSIVE: bool = false;

    fn new() -> Self {
        Self(Arc::default())
    }

    fn open(&self) -> Result<Engine> {
        Ok(Engine::over(Simulated(self.0.clone())))
    }

    fn killed(&self) -> Self {
        Self(Arc::new(SimulatedDisk(Mutex::new(self.0.snapshot()))))
    }
}

impl Maker for Reference {
    fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<Engine> {
        Ok(Engine::over(Self::open(self)?))
    }

    fn killed(&self) -> Self {
        Self::killed(self)
    }
}
