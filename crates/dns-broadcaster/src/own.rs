//! The operator's own records: those that zone files say, and those that were taken by update.
//!
//! What a file says stands. An update has sets of its own, which lie beside those of the files: no set is
//! both's. So a file stays what it is for an operator, whole and with his comments, and nothing writes to it;
//! and what a client has put is found apart, with whose key it was. When a file comes to say a set that was
//! taken, reading it is refused with its line, as it is for what the system publishes. At a start it is
//! not, for a restart must not fail: then the file stands, and what was taken is left out, until one of both
//! goes.
//!
//! A zone of the operator's own has the serial that its file gives. Each update takes the next one. A file that
//! is changed then has a serial that is newer than it had, and perhaps not than the zone has by now: then
//! the zone takes the next one once more. Only serials that went apart are remembered ([`Numbered`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;
use crate::core::name::Name;
use crate::core::own::{self, Digest, Refusal};
use crate::core::receive::{Holder, Nodes, Taken, TakenSet};
use crate::core::record::{Kind, Set, Value};
use crate::core::table::{Key, Table};
use crate::core::zone::{Serial, Tenants, Zone};
use crate::zone_file::{self, ZoneFile};

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Own {
    /// In the system's zone.
    pub(crate) records: own::Records,
    /// Of what files say there.
    pub(crate) digest: Digest,
    /// Zones by themselves, as they are given to be served.
    pub(crate) zones: BTreeMap<Name, Arc<Zone>>,
    files: Arc<[Said]>,
    numbers: BTreeMap<Name, Numbered>,
}

/// What a file says.
struct Said {
    path: PathBuf,
    /// The zone that it adds to, or is.
    origin: Name,
    zone: Option<Arc<Zone>>,
    nodes: Table,
}

/// The serial that a zone has, apart from the one that its file gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    /// The file's.
    pub(crate) said: Serial,
    /// The zone's.
    pub(crate) given: Serial,
}

/// Serials that went apart from those of files, or together again.
pub(crate) type Renumbered = BTreeMap<Name, Option<Numbered>>;

/// What there is beside the files.
#[derive(Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub(crate) domain: &'a Name,
    /// Of tables that hold what was taken.
    pub(crate) key: Key,
    pub(crate) taken: &'a Taken,
    pub(crate) numbers: &'a BTreeMap<Name, Numbered>,
    /// What is published, and served of the operator, if anything is yet: then nothing in a file may have to
    /// be left out, and no zone may change under one serial.
    pub(crate) now: Option<(&'a Tenants, &'a Own)>,
}

impl Own {
    /// What files say, and what of that which was taken can stand beside it. With it the serials to remember.
    pub(crate) fn of(files: Vec<ZoneFile>, beside: Beside<'_>) -> Result<(Self, Renumbered), Error> {
        let Beside { domain, taken, now, .. } = beside;
        let records = own::Records::keyed(beside.key);
        let mut read = Self { records, numbers: beside.numbers.clone(), ..Self::default() };
        let mut renumbered = Renumbered::new();
        let nobody = Tenants::default();
        let tenants = now.map_or(&nobody, |(tenants, _)| tenants);
        let mut said = Vec::with_capacity(files.len());
        for mut file in files {
            let zone = file.zone();
            let origin = zone.clone().unwrap_or_else(|| domain.clone());
            if now.is_some() {
                beside_taken(&file.nodes, &origin, taken).map_err(|refusal| file.refuse(&refusal))?;
            }
            let nodes = std::mem::take(&mut file.nodes);
            let path = file.path().to_owned();
            let zone = match zone {
                None => {
                    own::judge(&nodes, domain, tenants).map_err(|refusal| file.refuse(&refusal))?;
                    read.records.add(domain, nodes.clone());
                    None
                }
                Some(_) => {
                    let zone =
                        Zone::of_own(&origin, nodes.clone()).map_err(|refusal| file.refuse(&refusal))?;
                    let zone = Arc::new(zone);
                    let taken = own::zone_taken(&origin, domain, tenants)
                        .or_else(|| read.zones.contains_key(&origin).then_some(own::Reason::SecondZone));
                    let before = now.and_then(|(_, own)| own.said(&origin));
                    let judged = match (taken, before) {
                        (Some(reason), _) => Err(Refusal::of_zone(&origin, reason)),
                        (None, Some(before)) => zone.judge_after(before),
                        (None, None) => Ok(()),
                    };
                    judged.map_err(|refusal| file.refuse(&refusal))?;
                    read.add_zone(&zone, beside, &mut renumbered);
                    Some(zone)
                }
            };
            said.push(Said { path, origin, zone, nodes });
        }
        read.digest = digest(&read.records);
        read.files = said.into();
        for (owner, _) in taken.of(domain) {
            let sets = read.sets_at(domain, owner, taken.at(domain, owner));
            read.records.lay(domain, owner, &sets);
        }
        Ok((read, renumbered))
    }

    /// Adds a zone as its file says it, with what was taken, under its serial.
    fn add_zone(&mut self, said: &Arc<Zone>, beside: Beside<'_>, renumbered: &mut Renumbered) {
        let origin = said.origin();
        let before = self.numbers.get(origin).copied();
        let number = before.and_then(|before| before.after(said.serial()));
        if number != before {
            renumbered.insert(origin.clone(), number);
        }
        self.number(origin, number);
        let taken = beside.taken;
        let mut nodes = taken.of(origin).peekable();
        let zone = match number {
            None if nodes.peek().is_none() => Arc::clone(said),
            number => {
                let nodes = nodes.map(|(owner, sets)| (owner, beside_said(said.sets_at(owner), sets)));
                Arc::new(said.laid(nodes, number.map_or(said.serial(), |number| number.given)))
            }
        };
        let current = beside.now.and_then(|(_, own)| own.zones.get(origin));
        let zone = match current {
            Some(current) => Arc::new(zone.as_ref().clone().after(current)),
            None => zone,
        };
        self.zones.insert(origin.clone(), zone);
    }

    /// Once `nodes` are what was taken at those names of `zone`. With it the serial to remember.
    pub(crate) fn with(&self, domain: &Name, zone: &Name, nodes: &Nodes) -> (Self, Renumbered) {
        let (mut next, mut renumbered) = (self.clone(), Renumbered::new());
        let laid = nodes.iter().map(|(owner, sets)| (owner, self.sets_at(zone, owner, sets)));
        if zone == domain {
            for (owner, sets) in laid {
                next.records.lay(domain, owner, &sets);
            }
        } else if let (Some(current), Some(said)) = (self.zones.get(zone), self.said(zone)) {
            let given = current.serial().following();
            let number = Numbered { said: said.serial(), given };
            next.number(zone, Some(number));
            renumbered.insert(zone.clone(), Some(number));
            let changed = current.laid(laid, given).after(current);
            next.zones.insert(zone.clone(), Arc::new(changed));
        }
        (next, renumbered)
    }

    fn number(&mut self, zone: &Name, number: Option<Numbered>) {
        match number {
            Some(number) => _ = self.numbers.insert(zone.clone(), number),
            None => _ = self.numbers.remove(zone),
        }
    }

    /// Whether there is nothing of the operator's.
    pub(crate) fn is_empty(&self) -> bool {
        self.zones.is_empty() && self.records.sets().next().is_none()
    }

    /// The serials that went apart from those of files.
    pub(crate) fn numbers(&self) -> &BTreeMap<Name, Numbered> {
        &self.numbers
    }

    /// Who says a set of `zone`, if that is not the operator by update.
    pub(crate) fn holder(
        &self,
        domain: &Name,
        taken: &Taken,
        zone: &Zone,
        (owner, kind): (&Name, Kind),
    ) -> Option<Holder> {
        let origin = zone.origin();
        let holds = |sets: Vec<Set>| sets.iter().any(|set| set.kind == kind);
        if origin == domain && own::is_published_at(owner, kind, domain) {
            return Some(Holder::System);
        }
        if let Some(said) = self.files_of(origin).find(|said| holds(said.nodes.sets_at(owner))) {
            return Some(Holder::File(said.path.display().to_string()));
        }
        // What it publishes as long as nobody else says it.
        let is_published = !taken.holds(origin, owner, kind) && holds(zone.sets_at(owner));
        is_published.then_some(Holder::System)
    }

    /// Whether a set that was taken is served, as far as files go.
    pub(crate) fn is_beside(&self, domain: &Name, zone: &Name, owner: &Name, taken: &TakenSet) -> bool {
        let is_there = zone == domain || self.zones.contains_key(zone);
        is_there && self.sets_at(zone, owner, std::slice::from_ref(taken)).contains(&taken.set)
    }

    /// What files say at a name, and what of `taken` can stand beside it.
    fn sets_at(&self, zone: &Name, owner: &Name, taken: &[TakenSet]) -> Vec<Set> {
        let said = self.files_of(zone).flat_map(|said| said.nodes.sets_at(owner)).collect();
        beside_said(said, taken)
    }

    fn files_of<'a>(&'a self, zone: &'a Name) -> impl Iterator<Item = &'a Said> {
        self.files.iter().filter(move |said| said.origin == *zone)
    }

    fn said(&self, zone: &Name) -> Option<&Zone> {
        let mut zones = self.files.iter().filter_map(|said| said.zone.as_deref());
        zones.find(|said| said.origin() == zone)
    }
}

impl Numbered {
    /// When the file gives this serial; `None` once that is ahead of all.
    fn after(self, said: Serial) -> Option<Self> {
        if said == self.said {
            Some(self)
        } else if said.is_newer_than(self.given) {
            None
        } else {
            Some(Self { said, given: self.given.following() })
        }
    }
}

/// Sets of a file and of `taken`: those that the file says stand, and an alias is alone.
fn beside_said(mut said: Vec<Set>, taken: &[TakenSet]) -> Vec<Set> {
    let clash = |one: Kind, other: Kind| one == other || one == Kind::CNAME || other == Kind::CNAME;
    let is_free = |taken: &&TakenSet| !said.iter().any(|set| clash(set.kind, taken.set.kind));
    let free: Vec<_> = taken.iter().filter(is_free).map(|taken| taken.set.clone()).collect();
    said.extend(free);
    said
}

/// Judges what a file says beside what was taken.
fn beside_taken(nodes: &Table, zone: &Name, taken: &Taken) -> Result<(), Refusal> {
    for (owner, sets) in taken.of(zone) {
        let said = nodes.sets_at(owner);
        for TakenSet { set, key, .. } in sets {
            let clash =
                |said: &&Set| said.kind == set.kind || said.kind == Kind::CNAME || set.kind == Kind::CNAME;
            if let Some(said) = said.iter().find(clash) {
                let reason = own::Reason::Taken { kind: set.kind, key: key.clone() };
                return Err(Refusal { owner: owner.clone(), kind: said.kind, reason });
            }
        }
    }
    Ok(())
}

/// Reads all files, into tables with this key.
pub(crate) fn read_all(
    paths: &[PathBuf],
    domain: &Name,
    key: Key,
) -> Result<Vec<ZoneFile>, zone_file::Error> {
    paths.iter().map(|path| ZoneFile::read(path, domain, key)).collect()
}

/// SHA-256 of all that is said; zeros when nothing is.
fn digest(records: &own::Records) -> Digest {
    let mut context = None;
    for (owner, set) in records.sets() {
        let context = context.get_or_insert_with(|| ring::digest::Context::new(&ring::digest::SHA256));
        for value in set.values().map(Value::as_bytes) {
            context.update(&(owner.len() as u64).to_be_bytes());
            context.update(owner);
            context.update(&set.kind().0.to_be_bytes());
            context.update(&set.ttl().to_be_bytes());
            context.update(&(value.len() as u64).to_be_bytes());
            context.update(value);
        }
    }
    let mut digest = Digest::default();
    if let Some(context) = context {
        digest.copy_from_slice(context.finish().as_ref());
    }
    digest
}
