//! What must be true at every step: looked at in each commit, on either side, before anybody is
//! told of it. Names as in the table of `tests/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use switchback_proto::dns::record::v1::ZoneRecord;
use switchback_proto::link::record::v1::{Link, Zone};
use switchback_proto::model::v1::Side;
use switchback_proto::store::record::v1::record::Body;
use switchback_proto::store::record::v1::{Access, Content, Record as Row, Version as WireVersion};
use switchback_world::disk::{Change, Records};

use crate::record::Record;
use crate::site::System;

/// The families of the catalogue's rows that are looked at: the first byte of a row's key.
const META: u8 = 0;
const RECORD: u8 = 1;
/// The first byte of a record's name, after the content's id: an object, and a note of a conflict.
const OBJECT: u8 = 0x10;
const NOTE: u8 = 0x20;
/// Where the store keeps losers: copies, not writes.
const LOST_AND_FOUND: &[u8] = b".lost+found/";
const ID_BYTES: usize = 16;

/// What a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The store's catalogue.
    Catalogue,
    /// The link manager's state.
    Links,
    /// The DNS broadcaster's.
    Zones,
    /// What no law is about.
    Other,
}

impl Kind {
    /// By the name of its folder.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            name if name.ends_with("data-mover/catalogue") => Self::Catalogue,
            name if name.ends_with("/link-manager") => Self::Links,
            name if name.ends_with("/dns-broadcaster") => Self::Zones,
            _ => Self::Other,
        }
    }
}

/// Names one write for ever: its hybrid logical time and its site.
pub type Version = (u64, u64);

/// One write or delete of an object, as it was committed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub system: System,
    /// Of what.
    pub key: String,
    /// Empty for a delete.
    pub etag: String,
    /// What its writer had before it.
    pub replaced: Vec<Version>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
struct Seen {
    /// The site number of each system's present life.
    sites: BTreeMap<System, u64>,
    /// By system and content.
    accesses: BTreeMap<(System, Vec<u8>), Access>,
    /// By system and link.
    links: BTreeMap<(System, Vec<u8>), Link>,
    /// Where content of a link was read-write, and in which epoch.
    opened: BTreeSet<(System, Vec<u8>, u64)>,
    /// The epoch below which each system has told that it writes no more.
    promised: BTreeMap<System, u64>,
    /// The primary became read-write by a grant since that was last asked for.
    is_granted: bool,
    serials: BTreeMap<(System, Vec<u8>), u32>,
    writes: BTreeMap<Version, Write>,
    /// What each system's disk has had, in its present life.
    held: BTreeMap<System, BTreeSet<Version>>,
    /// What only a wiped system had had.
    destroyed: BTreeSet<Version>,
    /// A system went back to a backup.
    was_restored: bool,
}

impl Seen {
    /// The state of `system` is another, older or empty: it may begin again.
    fn forget(&mut self, system: System) {
        self.promised.remove(&system);
        self.accesses.retain(|(at, _), _| *at != system);
        self.links.retain(|(at, _), _| *at != system);
        self.serials.retain(|(at, _), _| *at != system);
    }
}

/// Watches the commits of one run.
#[derive(Debug)]
pub struct Watch {
    seen: Mutex<Seen>,
    record: Arc<Record>,
}

impl Watch {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(record: Arc<Record>) -> Self {
        Self { seen: Mutex::default(), record }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new life of `system` begins, whose writes carry `site`; what only the life before it held
    /// is destroyed.
    pub fn life(&self, system: System, site: u64) {
        let mut seen = self.seen();
        let seen = &mut *seen;
        let before = seen.held.remove(&system).unwrap_or_default();
        let other = seen.held.entry(system.other()).or_default();
        seen.destroyed.extend(before.difference(other));
        seen.sites.insert(system, site);
        seen.forget(system);
    }

    /// `system` went back to a backup, whose catalogue holds `rows`; what only it held since is
    /// destroyed.
    pub fn restored(&self, system: System, rows: &Records) {
        let back: BTreeSet<Version> = Contents::of(rows).objects.values().map(|held| held.version).collect();
        let mut seen = self.seen();
        let seen = &mut *seen;
        let before = seen.held.insert(system, back).unwrap_or_default();
        let other = seen.held.entry(system.other()).or_default();
        seen.destroyed.extend(before.difference(other));
        seen.was_restored = true;
        seen.forget(system);
    }

    /// True once a system went back to a backup.
    #[must_use]
    pub fn was_restored(&self) -> bool {
        self.seen().was_restored
    }

    /// Every write that was made durable.
    #[must_use]
    pub fn writes(&self) -> BTreeMap<Version, Write> {
        self.seen().writes.clone()
    }

    /// The writes that went with a wiped system. What was on its way then may have arrived since.
    #[must_use]
    pub fn destroyed(&self) -> BTreeSet<Version> {
        let seen = self.seen();
        let is_held = |version: &Version| seen.held.values().any(|held| held.contains(version));
        seen.destroyed.iter().filter(|version| !is_held(version)).copied().collect()
    }

    /// `system` tells that it has obeyed `epoch`: it writes in no lower one from now on.
    pub fn promised(&self, system: System, epoch: u64) {
        let mut seen = self.seen();
        let promised = seen.promised.entry(system).or_default();
        *promised = epoch.max(*promised);
    }

    /// S4: a client was told that its write is durable.
    pub fn acknowledged(&self, system: System, key: &str, etag: &str) {
        let seen = self.seen();
        let found = seen
            .writes
            .values()
            .any(|write| write.system == system && write.key == key && write.etag == etag);
        drop(seen);
        if !found {
            self.record
                .violation(&format!("S4: {system} acknowledged {key} {etag} and never made it durable"));
        }
    }

    /// A client read an object.
    pub fn read(&self, system: System, key: &str, etag: &str) {
        let seen = self.seen();
        let found = seen.writes.values().any(|write| write.key == key && write.etag == etag);
        drop(seen);
        if !found {
            self.record.violation(&format!("{system} showed {key} as {etag}, which nobody wrote"));
        }
    }

    /// `changes` became durable on `system`, whose table then held `after`.
    pub fn committed(&self, system: System, kind: Kind, after: &Records, changes: &[Change]) {
        for (key, value) in changes {
            let Some(value) = value else { continue };
            match kind {
                Kind::Catalogue => self.catalogue_row(system, after, key, value),
                Kind::Links => self.link_row(system, key, value),
                Kind::Zones => self.zone_row(system, key, value),
                Kind::Other => {}
            }
        }
    }

    fn catalogue_row(&self, system: System, after: &Records, key: &[u8], value: &[u8]) {
        match key {
            [META, b'c', id @ ..] if id.len() == ID_BYTES => {
                let access = Content::decode(value).unwrap_or_default().access.unwrap_or_default();
                self.access(system, id, access);
            }
            [RECORD, rest @ ..] if rest.get(ID_BYTES) == Some(&OBJECT) => {
                let (id, name) = rest.split_at(ID_BYTES);
                self.object(system, after, id, &name[1..], &Row::decode(value).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn access(&self, system: System, id: &[u8], access: Access) {
        let place = (system, id.to_vec());
        let mut seen = self.seen();
        let before = seen.accesses.insert(place, access.clone());
        if access.read_write {
            let link = access.link.to_vec();
            let granter = seen.links.get(&(system.other(), link.clone()));
            let granted = granter.is_some_and(|granter| {
                let epoch = granter.shared.as_ref().map(|shared| shared.epoch);
                granter.granted == Some(access.epoch) && epoch == Some(access.epoch)
            });
            seen.is_granted |= granted && seen.opened.insert((system, link.clone(), access.epoch));
            seen.opened.insert((system, link, access.epoch));
        }
        drop(seen);
        if access.link.is_empty() {
            return;
        }
        let before = before.filter(|before| before.link == access.link);
        if let Some(before) = before.filter(|before| before.epoch > access.epoch) {
            let text = format!(
                "S1: the epoch of content on {system} went from {} to {}",
                before.epoch, access.epoch
            );
            self.record.violation(&text);
        }
        if access.read_write && holder(access.epoch) != access.side {
            let text = format!("S2: content on {system} is read-write in epoch {}", access.epoch);
            self.record.violation(&text);
        }
    }

    fn object(&self, system: System, after: &Records, id: &[u8], name: &[u8], row: &Row) {
        let Some(version) = row.version else { return };
        let version = version_of(&version);
        let path: Vec<&[u8]> = name.splitn(2, |byte| *byte == 0).collect();
        let [_, key] = path[..] else { return };
        let mut seen = self.seen();
        seen.held.entry(system).or_default().insert(version);
        if key.starts_with(LOST_AND_FOUND) {
            return;
        }
        let write = Write {
            system,
            key: String::from_utf8_lossy(key).into_owned(),
            etag: etag_of(row),
            replaced: row.replaced.iter().map(version_of).collect(),
        };
        match seen.writes.get(&version) {
            Some(first) => {
                let same = first.key == write.key && first.etag == write.etag;
                drop(seen);
                if !same {
                    self.record
                        .violation(&format!("version {version:?} names two writes; one of {}", write.key));
                }
                return;
            }
            None => seen.writes.insert(version, write),
        };
        let own = seen.sites.get(&system) == Some(&version.1);
        let promised = seen.promised.get(&system).copied().unwrap_or_default();
        drop(seen);
        let content = after.get(&[&[META, b'c'], id].concat());
        let access = content.and_then(|row| Content::decode(&row[..]).ok()).unwrap_or_default().access;
        let access = access.unwrap_or_default();
        if own && !access.link.is_empty() && row.epoch < promised {
            let text = format!("S3: {system} wrote in epoch {}, behind the fence of {promised}", row.epoch);
            self.record.violation(&text);
        }
        if !own {
            self.record
                .violation(&format!("{system} holds version {version:?} that nobody was seen to write"));
        } else if !access.read_write || (!access.link.is_empty() && row.epoch != access.epoch) {
            let text = format!(
                "S3: {system} wrote in epoch {} while its content was at {}, read-write: {}",
                row.epoch, access.epoch, access.read_write
            );
            self.record.violation(&text);
        }
    }

    fn link_row(&self, system: System, key: &[u8], value: &[u8]) {
        let Some(id) = key.strip_prefix(b"link\0") else { return };
        let link = Link::decode(value).unwrap_or_default();
        let mut seen = self.seen();
        let before = seen.links.insert((system, id.to_vec()), link.clone());
        let writes = seen
            .accesses
            .iter()
            .any(|((at, _), access)| *at == system && access.link[..] == *id && access.read_write);
        let leads = |zone: &Zone| if zone.target() == Side::Primary { System::East } else { System::West };
        let to = link.zone.as_ref().map(leads);
        let moved = to.is_some()
            && before
                .as_ref()
                .is_some_and(|before| before.zone.is_some() && before.zone.as_ref().map(leads) != to);
        let open = link
            .zone
            .as_ref()
            .zip(to)
            .is_some_and(|(zone, to)| seen.opened.contains(&(to, id.to_vec(), zone.epoch)));
        drop(seen);
        let epochs = |link: &Link| (link.shared.as_ref().map_or(0, |shared| shared.epoch), link.heard);
        let (now, then) = (epochs(&link), before.as_ref().map(epochs));
        if let Some(then) = then.filter(|then| then.0 > now.0 || then.1 > now.1) {
            self.record.violation(&format!("S1: the link on {system} went from epochs {then:?} to {now:?}"));
        }
        // What a life begins with, a backup say, was granted in the one before.
        let grants = before.is_some_and(|before| link.granted.is_some() && link.granted != before.granted);
        if grants && writes {
            let text = format!("rule 4: {system} granted epoch {} while its content is read-write", now.0);
            self.record.violation(&text);
        }
        if moved && !open {
            let text =
                format!("rule 11: names on {system} move to {to:?}, which did not write: {:?}", link.zone);
            self.record.violation(&text);
        }
    }

    /// S7: true when the primary became read-write by a grant since the last time; both sides are equal
    /// then.
    #[must_use]
    pub fn was_granted(&self) -> bool {
        std::mem::take(&mut self.seen().is_granted)
    }

    fn zone_row(&self, system: System, key: &[u8], value: &[u8]) {
        let Some(name) = key.strip_prefix(b"zone\0") else { return };
        let serial = ZoneRecord::decode(value).unwrap_or_default().serial;
        let before = self.seen().serials.insert((system, name.to_vec()), serial);
        // RFC 1982: in the arithmetic of serials, the difference of a later one is below half.
        if let Some(before) = before.filter(|before| serial.wrapping_sub(*before) > u32::MAX / 2) {
            let name = String::from_utf8_lossy(name);
            self.record
                .violation(&format!("the serial of {name} on {system} went from {before} to {serial}"));
        }
    }
}

/// The side, as the catalogue numbers it, that may write in `epoch`.
fn holder(epoch: u64) -> u32 {
    if epoch.is_multiple_of(2) { 1 } else { 2 }
}

fn version_of(version: &WireVersion) -> Version {
    (version.hlc, version.site)
}

fn etag_of(row: &Row) -> String {
    match &row.body {
        Some(Body::Object(object)) => object.etag.clone(),
        _ => String::new(),
    }
}

/// The zones of links among the rows of a broadcaster: their names, and the systems they lead to.
#[must_use]
pub fn zones(rows: &Records) -> Vec<(String, String)> {
    let zones = rows.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(b"zone\0")?;
        Some((String::from_utf8_lossy(name).into_owned(), ZoneRecord::decode(&value[..]).unwrap_or_default()))
    });
    zones.filter(|(_, zone)| !zone.link.is_empty()).map(|(name, zone)| (name, zone.target)).collect()
}

/// One object, or the mark of its deletion, as a catalogue holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which write it is.
    pub version: Version,
    /// Empty for a delete.
    pub etag: String,
}

/// One note of a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which write won.
    pub winner: Version,
    /// Where the loser's bytes are; empty if it had none.
    pub kept_at: String,
}

/// What a catalogue holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// By key, copies of losers included.
    pub objects: BTreeMap<String, Held>,
    /// By what lost.
    pub notes: BTreeMap<Version, Note>,
}

impl Contents {
    /// Of the rows of a catalogue.
    #[must_use]
    pub fn of(rows: &Records) -> Self {
        let mut contents = Self::default();
        for (key, value) in rows {
            let [RECORD, rest @ ..] = &key[..] else { continue };
            let row = Row::decode(&value[..]).unwrap_or_default();
            match rest.get(ID_BYTES) {
                Some(&OBJECT) => {
                    let path: Vec<&[u8]> = rest[ID_BYTES + 1..].splitn(2, |byte| *byte == 0).collect();
                    let [_, key] = path[..] else { continue };
                    let version = version_of(&row.version.unwrap_or_default());
                    let held = Held { version, etag: etag_of(&row) };
                    contents.objects.insert(String::from_utf8_lossy(key).into_owned(), held);
                }
                Some(&NOTE) => {
                    let Some(Body::Divergence(note)) = row.body else { continue };
                    let version = |version: Option<WireVersion>| version_of(&version.unwrap_or_default());
                    let kept = Note { winner: version(note.winner), kept_at: note.kept_at };
                    contents.notes.insert(version(note.loser), kept);
                }
                _ => {}
            }
        }
        contents
    }
}
