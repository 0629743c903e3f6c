//! Messages that nobody should send, against the whole way from bytes to bytes: nothing panics, what is
//! answered is a message, and no datagram is larger than the client takes. See [`crate::fuzz`].

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::{Name as WireName, RecordType};

use tokio::sync::mpsc;

use super::*;
use crate::core::gateway::Gateway;
use crate::core::own::{self, Nodes};
use crate::core::receive::{Grant, Grants, Pattern, decide};
use crate::core::record::{Rdata, Set};
use crate::core::secondary::{Follow, Primary};
use crate::core::zone::{NameServer, Policy, System, Tenant, TenantContent};
use crate::fuzz;
use crate::primary::Followed;
use crate::tsig::{Algorithm, Key};

const SAMPLE: usize = 20_000;
const POLICY: Policy = Policy { refresh: 1, retry: 2, expire: 3, system_ttl: 60, negative_ttl: 5 };

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn key() -> Key {
    Key::from_base64(
        &name("key.test"),
        Algorithm::HmacSha256,
        "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz",
    )
    .unwrap()
}

/// Zones with something of everything.
pub(crate) fn responder() -> Responder {
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    let server =
        |label: &str| NameServer { name: name(&format!("ns1.{label}.test")), addresses: vec![address(53)] };
    let tenant = Tenant {
        name: name("acme.east.test"),
        serial: Serial(64),
        content: TenantContent {
            gateway: Gateway::at(vec![address(1), address(2)]),
            name_servers: vec![server("east"), server("west")],
            ttl: 5,
            place: None,
        },
        link: "link".into(),
        target: String::new(),
        peer_keys: Vec::new(),
    };
    let system = System {
        domain: name("east.test"),
        gateway: Gateway::at(vec![address(1)]),
        name_server_addresses: vec![address(53)],
        own: [0; 32],
    };
    let mut own = Nodes::new();
    let text =
        |length: u8| Rdata::from_wire(std::iter::once(length).chain((0..length).map(|_| b'x')).collect());
    own.insert(name("text.east.test"), vec![Set::new(Kind(16), 60, (1..=250).map(text))]);
    own.insert(
        name("alias.east.test"),
        vec![Set::new(Kind::CNAME, 60, [Rdata::name(&name("text.east.test"))])],
    );
    own.insert(name("lab.east.test"), vec![Set::new(Kind::NS, 60, [Rdata::name(&name("ns.lab.east.test"))])]);
    own.insert(name("ns.lab.east.test"), vec![Set::new(Kind::A, 60, [Rdata::address(address(9)).1])]);
    let mut records = own::Records::default();
    records.add(&system.domain, (&own).into());
    let tenants = [(tenant.name.clone(), tenant.clone())].into_iter().collect();
    let zones = [
        Zone::of_system(&system, Serial(7), &tenants, &records, &POLICY),
        Zone::of_tenant(&tenant, false, true, &POLICY),
    ];
    Responder {
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::new(zones.map(Arc::new)))),
        keys: Keys::new([key()]).unwrap(),
        secondaries: vec![Secondary {
            name: "ns".into(),
            address: ([127, 0, 0, 1], 53).into(),
            key: None,
            catalogue: false,
            zones: Default::default(),
        }],
        cookies: cookie::Secret::new([7; 16]),
        rate: Rate { per_second: 0, slip: 0 },
        notices: notices(),
        // Nobody works behind it.
        updates: receive::open(grants()).0,
    }
}

fn grants() -> Grants {
    let names = vec![Pattern::Beneath(name("east.test"))];
    let kinds = [Kind::A, Kind::TXT, Kind::NS, Kind::CNAME].into();
    Grants(vec![Grant { key: name("key.test"), zone: name("east.test"), names, kinds }])
}

/// Updates that are as they should be: one of everything that they may say.
fn updates() -> impl Iterator<Item = Message> {
    let owner = |text: &str| WireName::from_ascii(text).unwrap();
    let record = move |text: &str, class, ttl, data: Option<RData>| {
        let mut record = match data {
            Some(data) => Record::from_rdata(owner(text), ttl, data),
            None => Record::update0(owner(text), ttl, RecordType::TXT),
        };
        record.dns_class = class;
        record
    };
    let text = || Some(RData::TXT(hickory_proto::rr::rdata::TXT::new(vec!["x".into()])));
    let host = move |text: &str| Some(RData::NS(hickory_proto::rr::rdata::NS(owner(text))));
    [DNSClass::IN, DNSClass::ANY, DNSClass::NONE].into_iter().map(move |class| {
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.add_query(Query::query(owner("east.test"), RecordType::SOA));
        message.answers = vec![
            record("text.east.test", DNSClass::ANY, 0, None),
            record("no.east.test", DNSClass::NONE, 0, None),
            record("x.east.test", DNSClass::IN, 0, text()),
        ];
        message.authorities = vec![
            record("a.east.test", class, 60, if class == DNSClass::ANY { None } else { text() }),
            record("b.east.test", DNSClass::IN, 60, host("ns.b.east.test")),
            record("alias.east.test", DNSClass::ANY, 0, None),
        ];
        message
    })
}

/// Of the same stranger and the same friend.
fn notices() -> Notices {
    let primary = access::Primary {
        name: "west".into(),
        address: ([127, 0, 0, 1], 53).into(),
        key: None,
        follow: Follow { zones: [name("acme.east.test")].into(), catalogue: None },
    };
    let followed = Followed::from([(name("acme.east.test"), Primary(0))]);
    // Nobody hears it: so it is as if too many waited.
    let (told, _) = mpsc::channel(1);
    Notices { primaries: [primary].into(), followed: Arc::new(ArcSwap::from_pointee(followed)), told }
}

/// Messages that are as they should be.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for text in [
        "acme.east.test",
        "photos.acme.east.test",
        "text.east.test",
        "alias.east.test",
        "x.lab.east.test",
        "no.east.test",
        ".",
    ] {
        for kind in [1_u16, 2, 5, 6, 16, 28, 43, 65, 251, 252, 255] {
            let mut message = Message::query();
            message.add_query(Query::query(WireName::from_ascii(text).unwrap(), RecordType::from(kind)));
            seeds.push(message.to_vec().unwrap());
            message.edns = Some(response_edns(kind % 2 == 0));
            let with_edns = message.to_vec().unwrap();
            let mut with_cookie = with_edns.clone();
            let length = with_cookie.len();
            with_cookie[length - 1] = 12;
            with_cookie.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
            seeds.extend([with_edns.clone(), with_cookie]);
            seeds.push(key().sign_request(with_edns, unix_seconds()).unwrap().0);
            if kind == 251 {
                let snapshot = responder().snapshot;
                let snapshot = snapshot.load();
                message.authorities = snapshot
                    .zones()
                    .take(1)
                    .flat_map(|zone| transfer::start(zone))
                    .map(wire_record)
                    .collect();
                seeds.push(message.to_vec().unwrap());
            }
            message.metadata.op_code = if kind % 2 == 0 { OpCode::Notify } else { OpCode::Update };
            seeds.push(message.to_vec().unwrap());
        }
    }
    for update in updates() {
        let bytes = update.to_vec().unwrap();
        seeds.extend([bytes.clone(), key().sign_request(bytes, unix_seconds()).unwrap().0]);
    }
    // A name that points at itself, and counts that promise what never comes.
    seeds.push(b"\0\x01\0\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01".to_vec());
    seeds.push(b"\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec());
    seeds
}

/// As a worker does it with an update, whoever sent it.
fn judged(snapshot: &Snapshot, bytes: &[u8]) {
    let zone = snapshot.zone(&name("east.test")).unwrap();
    let code = receive::read(bytes).and_then(|update| {
        decide(zone, &update, (&grants(), &name("key.test")), |_| None, |_, _| None).map(|_| Code::NoError)
    });
    let code = code.unwrap_or_else(|refusal| refusal.code);
    if bytes.len() >= HEADER_BYTES {
        let answer = receive::answer(bytes, code, 200);
        assert!(answer.len() + 200 <= UDP_BYTES_PLAIN.into(), "{}", bytes.escape_ascii());
        Message::from_vec(&answer).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    }
}

#[test]
fn fuzz() {
    let (responder, seeds) = (responder(), seeds());
    let mut limiter = responder.limiter();
    let (mut message, mut largest, mut worst, mut taken) = (Vec::new(), 0.0_f64, Vec::new(), 0_usize);
    let count = fuzz::run(SAMPLE, |dice| {
        let bytes = fuzz::bend(dice, &seeds);
        let shown = || format!("{}", bytes.escape_ascii());
        // A stranger, and who may take zones.
        let source =
            SocketAddr::from((if dice.below(2) == 0 { [192, 0, 2, 9] } else { [127, 0, 0, 1] }, 4711));
        let snapshot = responder.snapshot.load();
        judged(&snapshot, &bytes);
        let update = responder.respond_udp(&snapshot, &bytes, source, &mut limiter, 0, &mut message);
        if let Some(update) = update {
            assert!(message.is_empty());
            judged(&snapshot, &update.message);
            taken += 1;
        }
        if !message.is_empty() {
            assert!(message.len() <= UDP_BYTES_MAX.into(), "{}", shown());
            let answer = Message::from_vec(&message).unwrap_or_else(|error| panic!("{error}: {}", shown()));
            assert_eq!(answer.metadata.message_type, MessageType::Response);
            assert_eq!(message[..2], bytes[..2], "{}", shown());
            let factor = message.len() as f64 / bytes.len() as f64;
            if factor > largest && source.ip() != IpAddr::from([127, 0, 0, 1]) {
                (largest, worst) = (factor, bytes.clone());
            }
        }
        match responder.respond(&bytes, source) {
            Response::Nothing | Response::Update(_) => {}
            Response::Answer(answer) => {
                assert!(answer.len() <= u16::MAX.into());
                Message::from_vec(&answer).unwrap_or_else(|error| panic!("{error}: {}", shown()));
            }
            Response::Transfer(mut transfer) => {
                for message in transfer.messages() {
                    assert!(message.len() <= TRANSFER_BYTES_MAX, "{}", shown());
                    Message::from_vec(&message).unwrap_or_else(|error| panic!("{error}: {}", shown()));
                }
            }
        }
    });
    assert!(count < SAMPLE || taken > 0, "no update was as it should be");
    println!(
        "the largest answer by UDP to a stranger has {largest:.1} times the bytes of its query: {}",
        worst.escape_ascii()
    );
}
