//! Zones that are signed, here and elsewhere: who takes one with all its records answers as the one that
//! signed it.

use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::Name as WireName;
use proptest::prelude::*;
use switchback_dns::core::answer::answer;
use switchback_dns::core::dnssec::key::{Algorithm, PublicKey};
use switchback_dns::core::dnssec::sign::{Signer, Signing, Unsigned};
use switchback_dns::core::dnssec::{Denial, Lifetime, Times};
use switchback_dns::core::draft::Draft;
use switchback_dns::core::name::Name;
use switchback_dns::core::plain;
use switchback_dns::core::record::{Kind, Rdata, Soa};
use switchback_dns::core::transfer;
use switchback_dns::core::zone::{Serial, Snapshot, Zone};

use crate::name;

const ZONE: &str = "east.test";

/// Signs with what it signs: nobody here verifies it.
struct Scribble(PublicKey);

impl Signer for Scribble {
    fn key(&self) -> &PublicKey {
        &self.0
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        Ok(message.iter().rev().take(64).copied().collect())
    }
}

/// A name beneath the zone, with a wildcard for its first label perhaps.
fn owners() -> impl Strategy<Value = String> {
    ("(\\*|[ab]|ns)", "(\\.[ab]){0,2}").prop_map(|(first, rest)| format!("{first}{rest}.{ZONE}"))
}

fn owner(text: &str) -> Name {
    Name::from_root(text.rsplit('.').map(str::as_bytes)).unwrap()
}

fn zone(records: &[(String, u8)]) -> Zone {
    let origin = name(ZONE);
    let mut draft = Draft::default();
    let mut push =
        |owner: &Name, kind: Kind, data: &Rdata| draft.push(owner.as_bytes(), kind, 60, data.as_bytes());
    let soa = Soa {
        mname: origin.clone(),
        rname: origin.clone(),
        serial: Serial(7),
        refresh: 1,
        retry: 1,
        expire: 1,
        minimum: 5,
    };
    push(&origin, Kind::SOA, &Rdata::soa(&soa));
    push(&origin, Kind::NS, &Rdata::name(&name("ns.west.test")));
    for (text, kind) in records {
        let at = owner(text);
        match kind {
            0 if !text.starts_with('*') => push(&at, Kind::NS, &Rdata::name(&name("ns.west.test"))),
            1 => push(&at, Kind::TXT, &Rdata::text("x")),
            _ => push(&at, Kind::A, &Rdata::from_wire(vec![192, 0, 2, 1])),
        }
    }
    Zone::of_own(&origin, draft.finish()).unwrap()
}

fn written(zone: &Zone, name: &str, kind: Kind) -> Vec<u8> {
    let snapshot = Snapshot::new([Arc::new(zone.clone())]);
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    let labels = name.split('.').map(str::as_bytes);
    message.add_query(Query::query(WireName::from_labels(labels).unwrap(), kind.0.into()));
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(true);
    message.edns = Some(edns);
    let asked = message.to_vec().unwrap();
    let asked = plain::Query::read(&asked).unwrap();
    let frame = plain::Frame { bytes_max: 4096, is_cut: false, is_padded: false, cookie: None };
    let mut bytes = Vec::new();
    asked.write(&answer(&snapshot, asked.name(), asked.kind()), frame, &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_zone_that_somebody_else_signed_is_answered_as_there(
        records in prop::collection::vec((owners(), 0_u8..4), 0..12),
        is_hashed: bool,
        asked in prop::collection::vec((owners(), prop::sample::select(vec![Kind::A, Kind::TXT, Kind::DS])), 16),
    ) {
        let key = PublicKey::new(Algorithm::Ed25519, &[7; 32]).unwrap();
        let times = Times::at(1_000_000, Lifetime::of_expire(1000));
        let denial = if is_hashed { Denial::Nsec3 } else { Denial::Nsec };
        let signer = &Scribble(key.clone());
        let keys = &[key][..];
        let signing = Signing { signer, keys, is_secure: true, children: &Arc::default(), denial, times };
        let signed = zone(&records).signed(None, &signing).unwrap();
        let mut draft = Draft::default();
        for record in transfer::whole(&signed) {
            draft.push(record.owner, record.kind, record.ttl, record.data.as_bytes());
        }
        let taken = Zone::of_own(&name(ZONE), draft.finish()).unwrap().signed_elsewhere();
        let expires = |zone: &Zone| zone.signed_state().unwrap().expires();
        prop_assert_eq!(expires(&taken), expires(&signed));
        prop_assert_eq!(transfer::whole(&taken).count(), transfer::whole(&signed).count());
        for (name, kind) in asked {
            let answer = written(&signed, &name, kind);
            prop_assert_eq!(&written(&taken, &name, kind), &answer, "{} {}", name, kind);
            let read = Message::from_vec(&answer).unwrap();
            for record in read.answers.iter().chain(&read.authorities).filter(|record| record.name.num_labels() > 2) {
                // The zone's name may stand in the question.
                let label = record.name.iter().next().unwrap();
                if label.len() == 32 {
                    let spelled = answer.windows(32).filter(|window| *window == label).count();
                    prop_assert_eq!(spelled, 1, "{} stands once for all its records", record.name);
                }
            }
            let denials = read.authorities;
            let kinds = denials.iter().map(|record| u16::from(record.record_type()));
            let [nsec, nsec3] = [Kind::NSEC, Kind::NSEC3].map(|kind| kinds.clone().filter(|&one| one == kind.0).count());
            prop_assert_eq!(if is_hashed { nsec } else { nsec3 }, 0);
        }
    }
}

#[test]
fn a_zone_that_nobody_signed_is_answered_without_proofs() {
    let plain = zone(&[]);
    let taken = plain.clone().signed_elsewhere();
    assert!(taken.signed_state().is_none());
    assert_eq!(written(&taken, "a.east.test", Kind::A), written(&plain, "a.east.test", Kind::A));
}
