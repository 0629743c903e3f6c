//! What the cores' surroundings ask of the machine, answered by the simulation: clocks, randomness and
//! disks. Nothing here has sockets.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use rand::Rng as _;
use rand::rngs::StdRng;
use switchback_world::disk::Table;
use switchback_world::net::{Accept, Duplex};
use switchback_world::{Pending, World};

use crate::chance::Chance;
use crate::clock::Skew;
use crate::disk::Disks;
use crate::record::Record;
use crate::site::System;

/// The world of one run.
pub struct Simulated {
    disks: Rc<Disks>,
    record: Arc<Record>,
    here: Cell<System>,
    skews: Cell<[Skew; 2]>,
    random: RefCell<StdRng>,
}

impl Simulated {
    /// With right clocks.
    #[must_use]
    pub fn new(seed: u64, disks: Rc<Disks>, record: Arc<Record>) -> Self {
        let random = RefCell::new(Chance::new(seed, "world").generator());
        Self { disks, record, here: Cell::new(System::East), skews: Cell::default(), random }
    }

    /// What is done next is done at `system`.
    pub fn arrive(&self, system: System) {
        self.here.set(system);
    }

    /// Changes how wrong the clock of `system` is.
    pub fn skew(&self, system: System, change: impl FnOnce(&mut Skew)) {
        let mut skews = self.skews.get();
        change(&mut skews[system as usize]);
        self.skews.set(skews);
    }
}

impl World for Simulated {
    fn wall(&self) -> SystemTime {
        self.skews.get()[self.here.get() as usize].wall(self.record.now())
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.random.borrow_mut().fill_bytes(bytes);
    }

    fn listen(&self, _: &str) -> Pending<io::Result<Box<dyn Accept>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn dial(&self, _: &str) -> Pending<io::Result<Box<dyn Duplex>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn table(&self, folder: &Path) -> io::Result<Arc<dyn Table>> {
        self.disks.table(folder)
    }
}
