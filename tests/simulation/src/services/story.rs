//! What the parts of one run share: how far it is, where the systems are, what was commanded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rusty_s3::Credentials;

use crate::disk::{Backup, Disks};
use crate::plan::Command;
use crate::record::Record;
use crate::services::install;
use crate::services::world::Simulated;
use crate::site::{Place, System};
use crate::watch::{Kind, Watch};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The systems, the tenant and the link are made.
    Setup,
    /// Clients write while the plan is carried out.
    Live,
    /// Everything works again, and an operator makes the link healthy.
    Heal,
    /// Both sides were compared.
    Done,
}

/// Shared by everything in a run, all of it on one thread.
pub struct Story {
    /// Of the run.
    pub seed: u64,
    /// What happened.
    pub record: Arc<Record>,
    /// What must be true.
    pub watch: Arc<Watch>,
    /// What is durable.
    pub disks: Rc<Disks>,
    /// The machine under the services.
    pub world: Rc<Simulated>,
    /// Commands that are due.
    pub commands: RefCell<VecDeque<(System, Command)>>,
    /// Services that ended by themselves.
    pub ended: RefCell<VecDeque<Place>>,
    /// The tenant's credential, once it is made.
    pub credentials: RefCell<Option<Credentials>>,
    root: PathBuf,
    stage: Cell<Stage>,
    lives: Cell<[u32; 2]>,
}

impl Story {
    /// A story whose systems are in folders beneath `root`.
    #[must_use]
    pub fn new(
        seed: u64,
        root: &Path,
        record: Arc<Record>,
        watch: Arc<Watch>,
        disks: Rc<Disks>,
        world: Rc<Simulated>,
    ) -> Self {
        Self {
            seed,
            record,
            watch,
            disks,
            world,
            commands: RefCell::default(),
            ended: RefCell::default(),
            credentials: RefCell::default(),
            root: root.into(),
            stage: Cell::new(Stage::Setup),
            lives: Cell::default(),
        }
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Goes on to `stage`.
    pub fn enter(&self, stage: Stage) {
        self.record.event(&format!("stage {stage:?}"));
        self.stage.set(stage);
    }

    /// The folder of the present life of `system`.
    pub fn folder(&self, system: System) -> PathBuf {
        self.root.join(format!("{system}-{}", self.lives.get()[system as usize]))
    }

    /// `system` goes back to `backup`.
    pub fn restore(&self, system: System, backup: &Backup) {
        let folder = self.folder(system);
        self.disks.restore(&folder, backup);
        self.watch.restored(system, &self.disks.read(&folder, Kind::Catalogue));
    }

    /// A new, empty system takes the place of `system`.
    ///
    /// # Errors
    /// Its folder cannot be written.
    pub fn rebuild(&self, system: System) -> anyhow::Result<()> {
        let mut lives = self.lives.get();
        self.disks.wipe(&self.folder(system));
        lives[system as usize] += 1;
        self.lives.set(lives);
        let site = install::create(system, &self.folder(system))?;
        self.watch.life(system, site);
        Ok(())
    }
}
