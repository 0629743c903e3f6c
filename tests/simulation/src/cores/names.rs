//! Where names lead: the broadcaster of each system, and a secondary that takes zones from both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use switchback_dns::config::Config;
use switchback_dns::core::answer::answer;
use switchback_dns::core::name::Name;
use switchback_dns::core::rate::Rate;
use switchback_dns::core::receive::Grants;
use switchback_dns::core::record::{Kind, Value};
use switchback_dns::core::zone::{Policy, Serial, Snapshot};
use switchback_dns::publisher::Publisher;
use switchback_dns::tsig::Keys;
use switchback_model::{Incarnation, SystemId};
use switchback_proto::dns::v1::{ApplyZonesRequest, ApplyZonesResponse, SystemZone, TenantZone};

use crate::cores::{Trouble, at_once};
use crate::site::{NAME, System};

/// The own zone of `system`, as its link manager says it.
#[must_use]
pub fn system_zone(system: System) -> SystemZone {
    SystemZone {
        host: String::new(),
        https: None,
        domain: system.domain(),
        addresses: vec![system.address().into()],
        name_server_addresses: vec![system.address().into()],
    }
}

/// One run of a broadcaster.
pub struct Names {
    /// Names this run.
    pub run: u64,
    publisher: Publisher,
    snapshot: Arc<ArcSwap<Snapshot>>,
}

impl Names {
    /// Recovers what is in `folder`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn start(folder: PathBuf, run: u64) -> Result<Self, Trouble> {
        let config = Config {
            data_dir: folder,
            listen: String::new(),
            dns_listen: Vec::new(),
            hold: Duration::from_secs(10),
            ttl: 5,
            tcp_idle: Duration::from_secs(10),
            tls: None,
            keys: Keys::default(),
            secondaries: Vec::new(),
            primaries: Vec::new(),
            update_targets: Vec::new(),
            updaters: Grants::default(),
            domain: Name::parse(&System::East.domain()).map_err(|error| Trouble::Ended(error.to_string()))?,
            zone_files: Vec::new(),
            dnssec: None,
            rate: Rate { per_second: 0, slip: 0 },
            policy: Policy { refresh: 30, retry: 10, expire: 604_800, system_ttl: 60, negative_ttl: 5 },
        };
        let publisher = Publisher::open(config).map_err(|error| Trouble::Ended(error.to_string()))?;
        let snapshot = publisher.snapshot();
        Ok(Self { run, publisher, snapshot })
    }

    /// How long zones of links are held back after the start.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.publisher.hold()
    }

    /// The hold has passed.
    ///
    /// # Errors
    /// What follows could not be made durable.
    pub fn release(&self) -> Result<(), Trouble> {
        at_once(self.publisher.release()).map_err(|error| Trouble::Ended(error.to_string()))
    }

    /// Takes what the link manager wants.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn apply(&self, request: ApplyZonesRequest) -> Result<ApplyZonesResponse, Trouble> {
        at_once(self.publisher.apply(request)).map_err(|error| Trouble::Ended(error.to_string()))
    }

    /// The zones of links that are answered, and not held back.
    #[must_use]
    pub fn served(&self) -> Vec<TenantZone> {
        let listed = at_once(self.publisher.list());
        let served = listed.tenants.into_iter().filter(|zone| !zone.link.is_empty());
        served.filter(|zone| !listed.held.contains(&zone.name)).collect()
    }

    /// The addresses that a client is answered for a name of the primary's tenant.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let snapshot = self.snapshot.load();
        let Ok(name) = Name::parse(&format!("photos.{NAME}.{}", System::East.domain())) else {
            return Vec::new();
        };
        let answer = answer(&snapshot, name.as_bytes(), Kind::A);
        let data = answer.answer().into_iter().flat_map(|set| set.values());
        data.filter_map(Value::as_address).map(|address| address.to_string()).collect()
    }
}

/// A system as the link knows it: a restored link is one with another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Another one after a wipe.
    pub system: SystemId,
    /// As both systems agreed, if they did.
    pub incarnation: Option<Incarnation>,
}

/// A zone that a secondary holds.
#[derive(Debug)]
struct Taken {
    zone: TenantZone,
    from: Life,
    at_ms: u64,
    /// Where it came from went back to a time before that.
    undone: bool,
}

/// A server of somebody else that takes the zones of links from whichever system it asks.
#[derive(Debug, Default)]
pub struct Secondary {
    zones: BTreeMap<String, Taken>,
    /// Where each name led under each serial that was ever seen.
    said: BTreeMap<(String, u32), Vec<String>>,
}

impl Secondary {
    /// Asks `system` in its life `from`, which serves `zones`; what is wrong with them.
    pub fn transfer(
        &mut self,
        system: System,
        from: Life,
        at_ms: u64,
        zones: Vec<TenantZone>,
    ) -> Option<String> {
        for zone in zones {
            let place = (zone.name.clone(), zone.serial);
            let first = self.said.entry(place).or_insert_with(|| zone.addresses.clone());
            if *first != zone.addresses {
                let (name, serial) = (&zone.name, zone.serial);
                return Some(format!(
                    "{name} with serial {serial} leads to {:?} on {system}, and led to {first:?} elsewhere",
                    zone.addresses
                ));
            }
            let newer = |held: &Taken| Serial(zone.serial).is_newer_than(Serial(held.zone.serial));
            if self.zones.get(&zone.name).is_none_or(newer) {
                self.zones.insert(zone.name.clone(), Taken { zone, from, at_ms, undone: false });
            }
        }
        None
    }

    /// `system` goes back to the time `to_ms`.
    pub fn undo(&mut self, system: SystemId, to_ms: u64) {
        let of_it = self.zones.values_mut().filter(|taken| taken.from.system == system);
        of_it.for_each(|taken| taken.undone |= taken.at_ms > to_ms);
    }

    /// Its zones that the systems in these `lives` answer for: their names, and where they lead. Not those
    /// of a life that is over, nor of a time that was undone unless the link was restored since: nobody
    /// who is left knows of them.
    pub fn zones(&self, lives: [Life; 2]) -> impl Iterator<Item = (String, String)> {
        let lasting = self.zones.values().filter(move |taken| {
            let now = lives.iter().find(|life| life.system == taken.from.system);
            now.is_some_and(|now| !taken.undone || *now != taken.from)
        });
        lasting.map(|taken| (taken.zone.name.clone(), taken.zone.target.clone()))
    }
}
