//! The byte-wise reader and writer of the common query against the codec: what the one writes the
//! other reads, and says the same.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use proptest::prelude::*;
use switchback_dns::core::answer::{Answer, Code, answer};
use switchback_dns::core::packed::PackedSet;
use switchback_dns::core::plain;
use switchback_dns::core::record::Kind;
use switchback_dns::core::zone::Snapshot;

use crate::{question, question_name, snapshot, tenant, tenants};

/// A query as clients send it.
fn query(text: &str, kind: Kind, edns: Option<(u16, bool)>, bits: (bool, bool)) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = bits.0;
    message.metadata.checking_disabled = bits.1;
    let labels = text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
    message.add_query(Query::query(WireName::from_labels(labels).unwrap(), kind.0.into()));
    message.edns = edns.map(|(bytes_max, dnssec_ok)| {
        let mut edns = Edns::new();
        edns.set_max_payload(bytes_max);
        edns.set_dnssec_ok(dnssec_ok);
        edns
    });
    message
}

/// What is answered, read by the codec.
fn written(snapshot: &Snapshot, query: &Message, bytes_max: usize) -> (Vec<u8>, Message) {
    let asked = query.to_vec().unwrap();
    let asked = plain::Query::read(&asked).expect("a common query");
    let mut message = b"what stood there before".to_vec();
    let frame = plain::Frame { bytes_max, is_cut: false, cookie: None, is_padded: false };
    asked.write(&answer(snapshot, asked.name(), asked.kind()), frame, &mut message);
    let read = Message::from_vec(&message).unwrap();
    (message, read)
}

/// The records that a set stands for, in the codec's words.
fn records(owner: &WireName, set: Option<PackedSet<'_>>) -> Vec<Record> {
    let record = |set: PackedSet<'_>, data: &[u8]| {
        let mut bytes = owner.to_lowercase().to_bytes().unwrap();
        bytes.extend(set.kind().0.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(set.ttl().to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        use hickory_proto::serialize::binary::BinDecodable;
        Record::<RData>::from_bytes(&bytes).unwrap()
    };
    set.into_iter().flat_map(|set| set.values().map(move |data| record(set, data.as_bytes()))).collect()
}

fn lower(records: &[Record]) -> Vec<Record> {
    let mut lower = records.to_vec();
    for record in &mut lower {
        record.name = record.name.to_lowercase();
        if let RData::NS(server) = &mut record.data {
            server.0 = server.0.to_lowercase();
        }
        if let RData::SOA(soa) = &mut record.data {
            (soa.mname, soa.rname) = (soa.mname.to_lowercase(), soa.rname.to_lowercase());
        }
    }
    lower
}

fn code(code: Code) -> ResponseCode {
    match code {
        Code::NoError => ResponseCode::NoError,
        Code::NxDomain => ResponseCode::NXDomain,
        Code::Refused => ResponseCode::Refused,
        Code::ServFail => ResponseCode::ServFail,
    }
}

fn whole(found: &Answer<'_>, query: &Message, answer: &Message) -> Result<(), TestCaseError> {
    let asked = query.queries[0].name();
    prop_assert_eq!(lower(&answer.answers), records(asked, found.answer()));
    let origin = found.zone.map(|zone| WireName::from_ascii(zone.origin().to_string()).unwrap());
    let denial = origin.map(|origin| records(&origin, found.authority().map(|denial| denial.set)));
    prop_assert_eq!(lower(&answer.authorities), denial.unwrap_or_default());
    let helpful: Vec<_> = found
        .additional()
        .flat_map(|(owner, set)| {
            use hickory_proto::serialize::binary::BinDecodable;
            records(&WireName::from_bytes(owner).unwrap(), Some(set))
        })
        .collect();
    prop_assert!(answer.additionals.is_empty() || lower(&answer.additionals) == helpful);
    Ok(())
}

/// The same name with some of its letters in upper case.
fn mixed(text: &str, upper: u64) -> String {
    let letters = text.chars().enumerate();
    letters.map(|(at, c)| if upper >> (at % 64) & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn the_codec_reads_what_is_answered(
        tenants in tenants(),
        questions in prop::collection::vec((question_name(), question(), any::<u64>()), 1..20),
        edns in prop::option::of((any::<u16>(), any::<bool>())),
        bits in any::<(bool, bool)>(),
        bytes_max in prop::sample::select(vec![60_usize, 100, 160, 512, 1232, 65535]),
    ) {
        let snapshot = snapshot(&tenants);
        for (text, kind, upper) in questions {
            let query = query(&mixed(&text, upper), kind, edns, bits);
            let (bytes, message) = written(&snapshot, &query, bytes_max);
            let name = crate::asked(&text);
            let found = answer(&snapshot, name.as_bytes(), kind);
            prop_assert_eq!(message.metadata.id, 4711);
            prop_assert_eq!((message.metadata.message_type, message.metadata.op_code), (MessageType::Response, OpCode::Query));
            prop_assert_eq!((message.metadata.recursion_desired, message.metadata.checking_disabled), bits);
            prop_assert!(!message.metadata.recursion_available && !message.metadata.authentic_data);
            prop_assert_eq!(message.metadata.response_code, code(found.code));
            prop_assert_eq!(message.metadata.authoritative, found.zone.is_some());
            // The spelling too: clients that mix cases look for it.
            prop_assert!(message.queries == query.queries);
            prop_assert!(message.queries[0].name().eq_case(query.queries[0].name()));
            let offered = message.edns.as_ref().map(|edns| (edns.max_payload(), edns.flags().dnssec_ok));
            prop_assert_eq!(offered, edns.map(|(_, dnssec_ok)| (1232, dnssec_ok)));
            let empty = message.answers.is_empty() && message.authorities.is_empty() && message.additionals.is_empty();
            if message.metadata.truncation {
                prop_assert!(empty, "nothing is cut in the middle");
                let all = written(&snapshot, &query, 65535).0.len();
                prop_assert!(all > bytes_max, "{} bytes fit", all);
            } else {
                prop_assert!(bytes.len() <= bytes_max || (empty && found.zone.is_none()));
                whole(&found, &query, &message)?;
            }
        }
    }

    #[test]
    fn whatever_is_read_is_read_alike_by_the_codec(
        text in question_name(),
        kind in any::<u16>(),
        edns in prop::option::of((any::<u16>(), any::<bool>())),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
        more in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut bytes = query(&text, Kind(kind), edns, (true, false)).to_vec().unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        bytes.extend(more);
        if let Some(read) = plain::Query::read(&bytes) {
            let message = Message::from_vec(&bytes).unwrap();
            prop_assert_eq!(message.queries.len(), 1);
            prop_assert_eq!(message.metadata.message_type, MessageType::Query);
            prop_assert_eq!(message.metadata.op_code, OpCode::Query);
            let name = message.queries[0].name();
            let key: Vec<u8> = name.iter().rev().flat_map(|label| {
                std::iter::once(label.len() as u8).chain(label.to_ascii_lowercase())
            }).collect();
            prop_assert_eq!(read.name(), &key[..]);
            prop_assert_eq!(RecordType::from(read.kind().0), message.queries[0].query_type());
            let taken = message.edns.as_ref().map_or(512, |edns| edns.max_payload()).clamp(512, 1232);
            prop_assert_eq!(read.udp_bytes_max(), usize::from(taken));
        }
    }
}

#[test]
fn other_forms_are_left_to_the_codec() {
    let common = query("a.east.test", Kind::A, Some((1232, false)), (true, false)).to_vec().unwrap();
    assert!(plain::Query::read(&common).is_some());
    let changed = |at: usize, byte: u8| {
        let mut bytes = common.clone();
        bytes[at] = byte;
        bytes
    };
    let opt = common.len() - 11;
    for (what, bytes) in [
        ("an answer", changed(2, 0x81)),
        ("a NOTIFY", changed(2, 0x21)),
        ("two questions", changed(5, 2)),
        ("an answer in it", changed(7, 1)),
        ("an authority", changed(9, 1)),
        ("two records behind it", changed(11, 2)),
        ("a record that is not there", changed(11, 0)),
        ("a compressed name", changed(12, 0xc0)),
        ("a label of 64 bytes", changed(12, 0x40)),
        ("class CH", changed(opt - 1, 3)),
        ("AXFR", changed(opt - 3, 252)),
        ("IXFR", changed(opt - 3, 251)),
        ("OPT", changed(opt - 3, 41)),
        ("a later EDNS", changed(opt + 6, 1)),
        ("an extended code", changed(opt + 5, 1)),
        ("options that are not there", changed(opt + 10, 4)),
        ("another record", changed(opt + 2, 250)),
        ("an OPT with a name", [&common[..opt], b"\x01a", &common[opt..]].concat()),
        ("something behind it", [&common[..], b"\0"].concat()),
        ("nothing", vec![]),
    ] {
        assert!(plain::Query::read(&bytes).is_none(), "{what}");
    }
    let mut cookie = changed(opt + 10, 12);
    cookie.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(plain::Query::read(&cookie).is_some(), "an option is no other form");
    *cookie.get_mut(opt + 14).unwrap() = 9;
    assert!(plain::Query::read(&cookie).is_none(), "an option that ends too late");
}

#[test]
fn names_are_compressed_against_the_question() {
    let acme = tenant("acme.east.test", 7, &["192.0.2.7".parse().unwrap()], &["ns1.east.test"]);
    let snapshot = snapshot(&[(acme, false)]);
    let question = "b.acme.east.test".len() + 2 + 4;
    let size = |text: &str, kind| {
        let query = query(text, kind, None, (false, false));
        written(&snapshot, &query, 512).0.len()
    };
    // A pointer, ten bytes, an address.
    assert_eq!(size("b.acme.east.test", Kind::A), 12 + question + 2 + 10 + 4);
    // "ns1" before a pointer to east.test, "hostmaster" before one to the zone, five numbers.
    assert_eq!(size("b.acme.east.test", Kind::AAAA), 12 + question + 2 + 10 + (4 + 2) + (11 + 2) + 20);
}
