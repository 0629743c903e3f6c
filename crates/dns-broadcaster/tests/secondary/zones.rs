//! Zones, and the messages in which a primary sends them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use proptest::prelude::*;
use switchback_dns::core::dnssec::key::{Algorithm, PublicKey};
use switchback_dns::core::dnssec::sign::{Signer, Signing, Unsigned};
use switchback_dns::core::dnssec::{Denial, Lifetime, Times};
use switchback_dns::core::draft::Draft;
use switchback_dns::core::name::Name;
use switchback_dns::core::record::{Kind, Rdata, Soa};
use switchback_dns::core::secondary::intake::{Arrived, Broken, Intake, Wanted};
use switchback_dns::core::transfer;
use switchback_dns::core::zone::{Serial, Zone};

use crate::name;

pub(crate) const ZONE: &str = "z.test";
pub(crate) const OWNERS: [&str; 12] =
    ["", "a", "b.a", "x.b.a", "c", "*.c", "e.d", "sub", "ns.sub", "longer-name", "f", "g.f"];
const TYPES: [Kind; 6] = [Kind::A, Kind::TXT, Kind::MX, Kind::CNAME, Kind::NS, Kind::AAAA];

/// What a zone says: an owner, a type, and a value of its own for each number.
pub(crate) type Model = BTreeSet<(usize, usize, u8)>;

pub(crate) fn record() -> impl Strategy<Value = (usize, usize, u8)> {
    (0..OWNERS.len(), 0..TYPES.len(), 0..5_u8)
}

/// Versions: what changes in each, and by how much its serial grows.
pub(crate) fn versions() -> impl Strategy<Value = Vec<(Model, u32)>> {
    prop::collection::vec((prop::collection::btree_set(record(), 0..12), 1..3_u32), 1..12)
}

pub(crate) fn key(owner: &str) -> Name {
    let text = if owner.is_empty() { ZONE.to_owned() } else { format!("{owner}.{ZONE}") };
    Name::from_root(text.split('.').rev().map(str::as_bytes)).unwrap()
}

fn value(kind: Kind, number: u8) -> Vec<u8> {
    let target = key(OWNERS[usize::from(number) % OWNERS.len()]);
    match kind {
        Kind::A => vec![192, 0, 2, number],
        Kind::AAAA => [&[0; 15][..], &[number]].concat(),
        Kind::MX => [&[0, number], Rdata::name(&target).as_bytes()].concat(),
        Kind::CNAME | Kind::NS => Rdata::name(&target).as_bytes().to_vec(),
        _ => vec![1, number],
    }
}

pub(crate) fn soa(serial: u32) -> Rdata {
    let (mname, rname) = (name("ns.z.test"), name("admin.z.test"));
    let serial = Serial(serial);
    Rdata::soa(&Soa { mname, rname, serial, refresh: 30, retry: 10, expire: 1000, minimum: 5 })
}

/// The zone that `model` is.
pub(crate) fn zone(model: &Model, serial: u32) -> Zone {
    let origin = key("");
    let mut draft = Draft::default();
    draft.push(origin.as_bytes(), Kind::SOA, 60, soa(serial).as_bytes());
    draft.push(origin.as_bytes(), Kind::NS, 60, Rdata::name(&name("ns.elsewhere.test")).as_bytes());
    let mut types: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for &(owner, kind, _) in model {
        types.entry(owner).or_default().insert(kind);
    }
    for &(owner, kind, number) in model {
        let wire = TYPES[kind];
        let others = types[&owner].len() > 1 || owner == 0;
        let is_second = model.iter().any(|other| other.0 == owner && other.1 == kind && other.2 < number);
        // An alias is alone, and the same name of each version may have another time to live.
        if wire == Kind::CNAME && (others || is_second) {
            continue;
        }
        draft.push(key(OWNERS[owner]).as_bytes(), wire, 60 + serial / 8 % 2, &value(wire, number));
    }
    Zone::of_own(&origin, draft.finish()).unwrap()
}

/// Signs with what anybody can compute.
pub(crate) struct Pen(PublicKey);

impl Pen {
    pub(crate) fn new() -> Self {
        Self(PublicKey::new(Algorithm::EcdsaP256, &[7; 64]).unwrap())
    }
}

impl Signer for Pen {
    fn key(&self) -> &PublicKey {
        &self.0
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let hash = message.iter().fold(0x811c_9dc5, fold);
        Ok(hash.to_be_bytes().repeat(16))
    }
}

/// Not signed, or from what is denied.
pub(crate) fn denial() -> impl Strategy<Value = Option<Denial>> {
    prop_oneof![Just(None), Just(Some(Denial::Nsec)), Just(Some(Denial::Nsec3))]
}

/// Versions of a zone, each with the history of those before it.
pub(crate) fn published(versions: &[(Model, u32)], denial: Option<Denial>) -> Vec<Zone> {
    let pen = Pen::new();
    let keys = [pen.key().clone()];
    let (mut model, mut serial) = (Model::new(), u32::MAX - 7);
    let mut zones: Vec<Zone> = Vec::new();
    for (changes, step) in versions {
        model = model.symmetric_difference(changes).copied().collect();
        serial = serial.wrapping_add(*step);
        let mut next = zone(&model, serial);
        if let Some(denial) = denial {
            let times = Times::at(1_000_000, Lifetime::of_expire(1000));
            let with = Signing {
                signer: &pen,
                keys: &keys,
                is_secure: true,
                children: &Arc::default(),
                denial,
                times,
            };
            next = next.signed(zones.last(), &with).unwrap();
        }
        zones.push(match zones.last() {
            Some(before) => next.after(before),
            None => next,
        });
    }
    zones
}

pub(crate) const ID: u16 = 4711;

/// The messages in which `records` are sent, of so many records at most.
pub(crate) fn messages<'a>(
    records: impl Iterator<Item = transfer::Record<'a>>,
    wanted: Wanted,
    per_message: usize,
) -> Vec<Vec<u8>> {
    let kind = if wanted == Wanted::Whole { RecordType::AXFR } else { RecordType::IXFR };
    let records: Vec<_> = records.map(wire_record).collect();
    let portions = records.chunks(per_message.max(1)).enumerate();
    let message = |(number, records): (usize, &[Record])| {
        let mut message = Message::new(ID, MessageType::Response, OpCode::Query);
        if number == 0 {
            message.add_query(Query::query(WireName::from_ascii("z.test.").unwrap(), kind));
        }
        message.answers = records.to_vec();
        message.to_vec().unwrap()
    };
    portions.map(message).collect()
}

fn wire_record(record: transfer::Record<'_>) -> Record {
    let mut labels: Vec<&[u8]> = Vec::new();
    let mut rest = record.owner;
    while let Some((&length, tail)) = rest.split_first() {
        let (label, tail) = tail.split_at(length.into());
        labels.insert(0, label);
        rest = tail;
    }
    let data = NULL::with(record.data.as_bytes().to_vec());
    let data = RData::Unknown { code: RecordType::from(record.kind.0), rdata: data };
    Record::from_rdata(WireName::from_labels(labels).unwrap(), record.ttl, data)
}

/// What the messages bring; `None` when there should be more of them.
pub(crate) fn arrived(
    messages: &[Vec<u8>],
    wanted: Wanted,
    held: Option<Serial>,
) -> Result<Option<Arrived>, Broken> {
    let mut intake = Intake::new(&key(""), ID, wanted, held);
    for message in messages {
        if let Some(arrived) = intake.take(message)? {
            return Ok(Some(arrived));
        }
    }
    Ok(None)
}
