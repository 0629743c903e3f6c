//! One system: what it keeps, and the processes that run on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use switchback_certificate::core::{Change, State};
use switchback_link_core::{FlowSpec, Gateway, Identity};
use switchback_model::{ContentId, FeedId, Incarnation, SystemId};
use switchback_store::RecordKey;

use crate::cores::Trouble;
use crate::cores::manager::Manager;
use crate::cores::mover::Mover;
use crate::cores::names::{Life, Names};
use crate::disk::Disks;
use crate::site::{Service, System};

/// One object that failed, and is tried again aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Failures so far.
    pub attempts: u32,
    /// The next try, in simulated milliseconds.
    pub next_ms: u64,
}

/// What is durable beside the tables of the catalogue, the links and the zones.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The certificate service's.
    pub certificates: State,
    /// The mover's: what was last desired of the link's flows.
    pub flows: Option<FlowSpec>,
    /// The mover's: the feed that the peer had in an incarnation.
    pub peer_feeds: BTreeMap<(ContentId, Incarnation), FeedId>,
    /// The mover's: objects that failed.
    pub retries: BTreeMap<RecordKey, Retry>,
}

/// Keeps it: a change is there or not, and whoever is not told ends.
#[derive(Clone)]
pub struct Keeper {
    system: System,
    disks: Rc<Disks>,
    kept: Rc<RefCell<Kept>>,
}

impl Keeper {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(system: System, disks: Rc<Disks>) -> Self {
        Self { system, disks, kept: Rc::default() }
    }

    /// What is kept now.
    pub fn read<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.kept.borrow())
    }

    /// Makes a change durable.
    ///
    /// # Errors
    /// The disk failed: it may be there.
    pub fn keep(&self, what: &str, change: impl FnOnce(&mut Kept)) -> Result<(), Trouble> {
        let (kept, there) = self.disks.keep(self.system, what);
        if there {
            change(&mut self.kept.borrow_mut());
        }
        kept.map_err(|error| Trouble::Ended(format!("cannot keep {what}: {error}")))
    }

    /// As [`Keeper::keep`], of the certificate service.
    ///
    /// # Errors
    /// As there.
    pub fn certify(&self, changes: Vec<Change>) -> Result<(), Trouble> {
        if changes.is_empty() {
            return Ok(());
        }
        self.keep("certificates", |kept| {
            changes.into_iter().for_each(|change| kept.certificates.apply(change))
        })
    }

    /// Everything becomes what it was in a backup.
    pub fn restore(&self, backup: Kept) {
        self.kept.replace(backup);
    }
}

/// See the module.
pub struct Site {
    /// Which.
    pub system: System,
    /// Of this life of it.
    pub id: SystemId,
    /// Where its tables are.
    pub folder: PathBuf,
    /// What else is durable.
    pub keeper: Keeper,
    /// The certificates as the other services were last told.
    pub known: Option<State>,
    /// Running, or none.
    pub manager: Option<Manager>,
    /// Running, or none.
    pub mover: Option<Mover>,
    /// Running, or none.
    pub names: Option<Names>,
    /// How many faults keep a service down.
    pub down: BTreeMap<Service, u32>,
}

impl Site {
    /// A new life of `system`, empty, with nothing running.
    #[must_use]
    pub fn new(system: System, id: SystemId, root: &Path, life: u32, disks: Rc<Disks>) -> Self {
        Self {
            system,
            id,
            folder: root.join(format!("{system}-{life}")),
            keeper: Keeper::new(system, disks),
            known: None,
            manager: None,
            mover: None,
            names: None,
            down: BTreeMap::new(),
        }
    }

    /// The folder of a service's table.
    #[must_use]
    pub fn table(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The service runs.
    #[must_use]
    pub fn is_up(&self, service: Service) -> bool {
        self.down.get(&service).is_none_or(|count| *count == 0)
            && match service {
                Service::LinkManager => self.manager.is_some(),
                Service::DataMover => self.mover.is_some(),
                Service::DnsBroadcaster => self.names.is_some(),
                Service::CertificateService | Service::Gateway => true,
            }
    }

    /// Who it is, as the link has it.
    #[must_use]
    pub fn life(&self) -> Life {
        let incarnation = self.keeper.read(|kept| kept.flows.as_ref().map(|spec| spec.local_incarnation));
        Life { system: self.id, incarnation }
    }

    /// Who it is, as its certificate says.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        let own = self.known.as_ref()?.own.as_ref()?;
        Some(Identity {
            system: self.id,
            incarnation: own.certificate.incarnation,
            domain: self.system.domain(),
            name: self.system.name().into(),
            gateway: Gateway { addresses: vec![self.system.address().into()], ..Gateway::default() },
            name_server_addresses: vec![self.system.address().into()],
        })
    }
}
