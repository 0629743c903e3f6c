//! What updates brought, and what they were answered.

use std::collections::BTreeMap;

use prost::Message;
use switchback_kit::durable::Batch;
use switchback_proto::dns::record::v1::{NumberRecord, SeenRecord, TakenRecord, TakenSetRecord};

use super::{COMMIT_OPERATIONS_MAX, Store, damaged};
use crate::Error;
use crate::convert::name;
use crate::core::name::Name;
use crate::core::receive::{Code, NAMES_MAX, Nodes, Seen, Sighting, Stamp, Taken, TakenSet};
use crate::core::record::{Kind, Rdata, Set};
use crate::core::zone::Serial;
use crate::own::{Numbered, Renumbered};

const TAKEN: &str = "taken";
const NUMBER: &str = "number";
const SEEN: &str = "seen";

/// Between two names of a key: no label begins with it.
const END: &[u8] = &[0];

/// Beside the names of an update stand what was seen, and what is forgotten for it.
const _: () = assert!(NAMES_MAX + 16 <= COMMIT_OPERATIONS_MAX);

/// What one update brings; or a zone file, which may bring serials.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Its zone, and what is at its names from now on.
    pub(crate) nodes: Option<(Name, Nodes)>,
    pub(crate) renumbered: Renumbered,
    pub(crate) seen: Option<Sighted>,
}

/// That an update was seen.
#[derive(Clone, Debug)]
pub(crate) struct Sighted {
    pub(crate) key: Name,
    pub(crate) stamp: Stamp,
    pub(crate) sighting: Sighting,
    /// What need not be remembered any more.
    pub(crate) expired: Vec<Stamp>,
}

impl Received {
    pub(crate) fn is_empty(&self) -> bool {
        self.renumbered.is_empty() && self.operations() == 0
    }

    /// Of what must become durable at once.
    pub(super) fn operations(&self) -> usize {
        let nodes = self.nodes.iter().map(|(_, nodes)| nodes.len());
        nodes.chain(self.seen.iter().map(|seen| seen.expired.len() + 1)).sum()
    }

    pub(super) fn write(&self, batch: &mut Batch) {
        if let Some((zone, nodes)) = &self.nodes {
            for (owner, sets) in nodes {
                let key = [zone.as_bytes(), END, owner.as_bytes()].concat();
                if sets.is_empty() {
                    batch.remove(TAKEN, &key);
                } else {
                    let sets = sets.iter().map(encode_set).collect();
                    batch.put(TAKEN, &key, &TakenRecord { sets }.encode_to_vec());
                }
            }
        }
        if let Some(Sighted { key, stamp, sighting, expired }) = &self.seen {
            for stamp in expired {
                batch.remove(SEEN, &seen_key(key, *stamp));
            }
            let record = SeenRecord { code: sighting.code.number().into(), until: sighting.until };
            batch.put(SEEN, &seen_key(key, *stamp), &record.encode_to_vec());
        }
    }
}

pub(super) fn number(batch: &mut Batch, zone: &Name, number: Option<Numbered>) {
    match number {
        None => batch.remove(NUMBER, zone.as_bytes()),
        Some(Numbered { said, given }) => {
            let record = NumberRecord { said: said.0, given: given.0 };
            batch.put(NUMBER, zone.as_bytes(), &record.encode_to_vec());
        }
    }
}

impl Store {
    /// What was taken by update.
    pub(crate) fn taken(&self) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        for (key, value) in self.0.scan(TAKEN)? {
            let shown = key.escape_ascii().to_string();
            let names =
                split(&key).and_then(|(zone, owner)| Some((Name::of_key(zone)?, Name::of_key(owner)?)));
            let (zone, owner) = names.ok_or_else(|| damaged(&shown, &"these are no names"))?;
            let record = TakenRecord::decode(&*value).map_err(|error| damaged(&shown, &error))?;
            let sets = record.sets.into_iter().map(decode_set).collect::<Result<_, _>>();
            let sets = sets.map_err(|error| damaged(&shown, &error))?;
            taken.take(&zone, [(owner, sets)].into());
        }
        Ok(taken)
    }

    /// Serials of zones that are not those of their files.
    pub(crate) fn numbers(&self) -> Result<BTreeMap<Name, Numbered>, Error> {
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let shown = key.escape_ascii().to_string();
            let zone = Name::of_key(&key).ok_or_else(|| damaged(&shown, &"it is no name"))?;
            let record = NumberRecord::decode(&*value).map_err(|error| damaged(&shown, &error))?;
            Ok((zone, Numbered { said: Serial(record.said), given: Serial(record.given) }))
        };
        self.0.scan(NUMBER)?.into_iter().map(read).collect()
    }

    /// The updates that were seen and whose signatures are good at `now`; the others are forgotten.
    pub(crate) fn seen(&self, now: u64) -> Result<Seen, Error> {
        let (mut seen, mut expired) = (Seen::default(), Vec::new());
        for (key, value) in self.0.scan(SEEN)? {
            let shown = key.escape_ascii().to_string();
            let found = split(&key).and_then(|(name, stamp)| Some((Name::of_key(name)?, read_stamp(stamp)?)));
            let (name, stamp) = found.ok_or_else(|| damaged(&shown, &"it is no signature"))?;
            let record = SeenRecord::decode(&*value).map_err(|error| damaged(&shown, &error))?;
            let code = u8::try_from(record.code).ok().and_then(Code::of_number);
            let code = code.ok_or_else(|| damaged(&shown, &"no update is answered with this code"))?;
            if record.until < now {
                expired.push(key);
            } else {
                seen.remember(&name, stamp, Sighting { code, until: record.until });
            }
        }
        for keys in expired.chunks(COMMIT_OPERATIONS_MAX) {
            let mut batch = Batch::default();
            keys.iter().for_each(|key| batch.remove(SEEN, key));
            self.0.commit(batch)?;
        }
        Ok(seen)
    }

    /// Makes durable what an update was answered that changed nothing.
    pub(crate) async fn commit_received(&self, received: &Received) -> Result<(), Error> {
        let mut batch = Batch::default();
        received.write(&mut batch);
        Ok(self.0.commit_async(batch).await?)
    }
}

fn seen_key(key: &Name, Stamp { time, mac }: Stamp) -> Vec<u8> {
    [key.as_bytes(), END, &time.to_be_bytes(), &mac].concat()
}

fn read_stamp(bytes: &[u8]) -> Option<Stamp> {
    let (time, mac) = bytes.split_first_chunk()?;
    Some(Stamp { time: u64::from_be_bytes(*time), mac: mac.try_into().ok()? })
}

/// The key of the name that `bytes` begin with, and what stands behind its end.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return Some((bytes.get(..at)?, bytes.get(at + END.len()..)?)),
            length => at += 1 + usize::from(length),
        }
    }
}

fn encode_set(TakenSet { set, key, at }: &TakenSet) -> TakenSetRecord {
    TakenSetRecord {
        r#type: set.kind.0.into(),
        ttl_seconds: set.ttl,
        values: set.data.iter().map(|data| data.as_bytes().to_vec().into()).collect(),
        key: key.to_string(),
        at: *at,
    }
}

fn decode_set(record: TakenSetRecord) -> Result<TakenSet, String> {
    let kind = u16::try_from(record.r#type).map_err(|_| "it is of no type".to_owned())?;
    let values = record.values.iter().map(|value| Rdata::from_wire(value.to_vec()));
    let set = Set::new(Kind(kind), record.ttl_seconds, values);
    Ok(TakenSet { set, key: name(&record.key)?, at: record.at })
}
