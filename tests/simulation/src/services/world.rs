//! What the services ask of the machine, answered by the simulation.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rand::Rng as _;
use switchback_world::disk::Table;
use switchback_world::net::{Accept, Duplex};
use switchback_world::{Pending, World};
use tokio::runtime::{Handle, Id};
use turmoil::net::{TcpListener, TcpStream};

use crate::clock::Skew;
use crate::disk::Disks;
use crate::record::Record;
use crate::site::{Place, Service, System};

/// The world of one run.
pub struct Simulated {
    disks: Rc<Disks>,
    record: Arc<Record>,
    /// Each host has a runtime of its own, and a new one after each crash.
    hosts: Mutex<HashMap<Id, System>>,
    skews: Mutex<[Skew; 2]>,
}

impl Simulated {
    /// With right clocks.
    #[must_use]
    pub fn new(disks: Rc<Disks>, record: Arc<Record>) -> Self {
        Self { disks, record, hosts: Mutex::default(), skews: Mutex::default() }
    }

    /// The host that calls belongs to `system`.
    pub fn arrive(&self, system: System) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(Handle::current().id(), system);
    }

    /// Changes how wrong the clock of `system` is.
    pub fn skew(&self, system: System, change: impl FnOnce(&mut Skew)) {
        change(&mut self.skews.lock().unwrap_or_else(PoisonError::into_inner)[system as usize]);
    }

    fn skew_here(&self) -> Skew {
        let here = Handle::try_current().ok().map(|handle| handle.id());
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let system = here.and_then(|id| hosts.get(&id).copied());
        let skews = self.skews.lock().unwrap_or_else(PoisonError::into_inner);
        system.map(|system| skews[system as usize]).unwrap_or_default()
    }
}

impl World for Simulated {
    fn wall(&self) -> SystemTime {
        let passed = turmoil::sim_elapsed().unwrap_or_else(|| self.record.now());
        self.skew_here().wall(passed)
    }

    fn fill(&self, bytes: &mut [u8]) {
        mad_turmoil::rand::get_rng().fill_bytes(bytes);
    }

    fn listen(&self, address: &str) -> Pending<io::Result<Box<dyn Accept>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Box::new(Listener { listener: Arc::new(listener), address }) as Box<dyn Accept>)
        })
    }

    fn dial(&self, address: &str) -> Pending<io::Result<Box<dyn Duplex>>> {
        let target = route(address);
        Box::pin(async move {
            let target = target.ok_or(io::ErrorKind::AddrNotAvailable)?;
            let stream = TcpStream::connect(target).await?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }

    fn table(&self, folder: &Path) -> io::Result<Arc<dyn Table>> {
        self.disks.table(folder)
    }
}

/// The host behind a port of a system, and the port.
#[must_use]
pub fn route(address: &str) -> Option<(String, u16)> {
    let (name, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let system = System::ALL.into_iter().find(|system| system.name() == name)?;
    Some((Place(system, Service::of_port(port)?).host(), port))
}

struct Listener {
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

impl Accept for Listener {
    fn accept(&self) -> Pending<io::Result<(Box<dyn Duplex>, SocketAddr)>> {
        let listener = Arc::clone(&self.listener);
        Box::pin(async move {
            let (stream, from) = listener.accept().await?;
            Ok((Box::new(stream) as Box<dyn Duplex>, from))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
