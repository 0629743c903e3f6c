//! The answers of the core against a model that reads like the RFCs: every record in one flat
//! list, every look-up a scan.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod denial;
mod plain;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name as WireName;
use hickory_proto::serialize::binary::BinDecodable;
use proptest::prelude::*;
use switchback_dns::core::answer::{Code, answer};
use switchback_dns::core::gateway::Gateway;
use switchback_dns::core::name::Name;
use switchback_dns::core::own;
use switchback_dns::core::record::{Kind, Value};
use switchback_dns::core::zone::{
    NameServer, Policy, SYSTEM_LABELS, Serial, Snapshot, System, Tenant, TenantContent, Zone,
};

const POLICY: Policy = Policy { refresh: 1, retry: 2, expire: 3, system_ttl: 60, negative_ttl: 5 };
const DOMAIN: &str = "east.test";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn system() -> System {
    System {
        domain: name(DOMAIN),
        gateway: Gateway::at(vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]),
        name_server_addresses: vec!["192.0.2.53".parse().unwrap()],
        own: [0; 32],
    }
}

fn tenant(zone: &str, serial: u32, addresses: &[IpAddr], servers: &[&str]) -> Tenant {
    let servers: BTreeSet<_> = servers.iter().map(|server| name(server)).collect();
    let address: IpAddr = "192.0.2.99".parse().unwrap();
    Tenant {
        name: name(zone),
        serial: Serial(serial),
        content: TenantContent {
            gateway: Gateway::at(addresses.to_vec()),
            name_servers: servers
                .into_iter()
                .map(|name| NameServer { name, addresses: vec![address] })
                .collect(),
            ttl: 7,
            place: None,
        },
        link: String::new(),
        target: String::new(),
        peer_keys: Vec::new(),
    }
}

fn snapshot(tenants: &[(Tenant, bool)]) -> Snapshot {
    let by_name = tenants.iter().map(|(tenant, _)| (tenant.name.clone(), tenant.clone())).collect();
    let own = Zone::of_system(&system(), Serial(1), &by_name, &own::Records::default(), &POLICY);
    let tenants = tenants.iter().map(|(tenant, held)| Zone::of_tenant(tenant, *held, true, &POLICY));
    Snapshot::new(std::iter::once(own).chain(tenants).map(Arc::new))
}

/// A zone as a list: its origin, whether it is held, and (owner, kind, value) of every record.
struct Model {
    origin: String,
    held: bool,
    records: Vec<(String, Kind, String)>,
    /// Names that exist without records.
    bare: Vec<String>,
}

fn model(tenants: &[(Tenant, bool)]) -> Vec<Model> {
    let system = system();
    let mut own = Model { origin: DOMAIN.into(), held: false, records: vec![], bare: vec![] };
    own.records.push((DOMAIN.into(), Kind::NS, format!("ns1.{DOMAIN}")));
    own.records.push((DOMAIN.into(), Kind::SOA, "1".into()));
    own.add_addresses(DOMAIN, &system.gateway.addresses);
    own.add_addresses(&format!("s3.{DOMAIN}"), &system.gateway.addresses);
    own.add_addresses(&format!("admin.{DOMAIN}"), &system.gateway.addresses);
    own.add_addresses(&format!("ns1.{DOMAIN}"), &system.name_server_addresses);
    own.bare = tenants
        .iter()
        .map(|(tenant, _)| tenant.name.to_string())
        .filter(|zone| within(zone, DOMAIN))
        .collect();
    let mut zones = vec![own];
    for (tenant, held) in tenants {
        let origin = tenant.name.to_string();
        let mut zone = Model { origin: origin.clone(), held: *held, records: vec![], bare: vec![] };
        zone.add_addresses(&origin, &tenant.content.gateway.addresses);
        zone.add_addresses(&format!("*.{origin}"), &tenant.content.gateway.addresses);
        zone.records.push((origin.clone(), Kind::SOA, tenant.serial.0.to_string()));
        let state = format!("switchback serial={}", tenant.serial.0);
        zone.records.push((format!("_switchback.{origin}"), Kind::TXT, state));
        for server in &tenant.content.name_servers {
            zone.records.push((origin.clone(), Kind::NS, server.name.to_string()));
        }
        zones.push(zone);
    }
    zones
}

fn within(name: &str, zone: &str) -> bool {
    name == zone || name.ends_with(&format!(".{zone}"))
}

impl Model {
    fn add_addresses(&mut self, owner: &str, addresses: &[IpAddr]) {
        for address in addresses {
            let kind = if address.is_ipv4() { Kind::A } else { Kind::AAAA };
            self.records.push((owner.into(), kind, address.to_string()));
        }
    }

    fn exists(&self, name: &str) -> bool {
        let owners = self.records.iter().map(|(owner, ..)| owner).chain(&self.bare);
        owners.into_iter().any(|owner| within(owner, name))
    }

    /// The owner whose records answer for `name`.
    fn owner(&self, name: &str) -> Option<String> {
        if self.exists(name) {
            return Some(name.into());
        }
        let mut encloser = name;
        while let Some((_, parent)) = encloser.split_once('.') {
            encloser = parent;
            if self.exists(encloser) {
                let wildcard = format!("*.{encloser}");
                return self.exists(&wildcard).then_some(wildcard);
            }
        }
        None
    }
}

/// Response code, values of the answer, and the zone whose SOA denies it.
fn expected(zones: &[Model], asked: &str, question: Kind) -> (Code, BTreeSet<String>, Option<String>) {
    let mut holding: Vec<_> = zones.iter().filter(|zone| within(asked, &zone.origin)).collect();
    holding.sort_by_key(|zone| zone.origin.len());
    if question == Kind::DS && holding.len() > 1 && holding.last().is_some_and(|zone| zone.origin == asked) {
        holding.pop();
    }
    let Some(zone) = holding.last() else { return (Code::Refused, BTreeSet::new(), None) };
    if zone.held {
        return (Code::ServFail, BTreeSet::new(), None);
    }
    let Some(owner) = zone.owner(asked) else {
        // A system without tenants, but for the one that is always there, may have lost them.
        if zone.origin == DOMAIN && zones[1..].iter().all(|zone| zone.origin == "default.east.test") {
            return (Code::ServFail, BTreeSet::new(), None);
        }
        return (Code::NxDomain, BTreeSet::new(), Some(zone.origin.clone()));
    };
    let values: BTreeSet<_> = zone
        .records
        .iter()
        .filter(|(name, of, _)| *name == owner && *of == question)
        .map(|(_, _, value)| value.clone())
        .collect();
    let denied = values.is_empty().then(|| zone.origin.clone());
    (Code::NoError, values, denied)
}

fn value(kind: Kind, data: Value<'_>) -> String {
    match kind {
        Kind::NS => {
            WireName::from_bytes(data.as_bytes()).unwrap().to_ascii().trim_end_matches('.').to_owned()
        }
        // The serial stands before four other numbers.
        Kind::SOA => data.serial().unwrap().0.to_string(),
        Kind::TXT => String::from_utf8(data.as_bytes()[1..].to_vec()).unwrap(),
        _ => data.as_address().unwrap().to_string(),
    }
}

/// As a question comes from the wire, where any byte may be in a label.
fn asked(text: &str) -> Name {
    Name::from_root(text.rsplit('.').filter(|label| !label.is_empty()).map(str::as_bytes)).unwrap()
}

fn tenants() -> impl Strategy<Value = Vec<(Tenant, bool)>> {
    let zones = [
        "acme.east.test",
        "default.east.test",
        "b.east.test",
        "x.acme.east.test",
        "x.y.east.test",
        "acme.west.test",
        "z.test",
    ];
    let servers = ["ns1.east.test", "ns1.west.test", "ns.elsewhere.test"];
    let addresses = prop::sample::subsequence(
        ["192.0.2.7", "192.0.2.8", "2001:db8::7"].map(|text| text.parse::<IpAddr>().unwrap()).to_vec(),
        1..=3,
    );
    let zone =
        (addresses, prop::sample::subsequence(servers.to_vec(), 1..=3), 0_u32..9, prop::bool::weighted(0.1));
    prop::sample::subsequence(zones.to_vec(), 0..=zones.len()).prop_flat_map(move |chosen| {
        let described = prop::collection::vec(zone.clone(), chosen.len());
        described.prop_map(move |zones| {
            let pairs = chosen.iter().zip(zones);
            pairs
                .map(|(name, (addresses, servers, serial, held))| {
                    (tenant(name, serial, &addresses, &servers), held)
                })
                .collect()
        })
    })
}

fn question_name() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec![
        "a",
        "b",
        "acme",
        "ns",
        "ns1",
        "s3",
        "admin",
        "x",
        "y",
        "*",
        "q",
        "_switchback",
    ]);
    let zone = prop::sample::select(vec![
        "",
        "test",
        "east.test",
        "acme.east.test",
        "b.acme.east.test",
        "y.east.test",
        "west.test",
        "acme.west.test",
        "z.test",
    ]);
    (prop::collection::vec(label, 0..4), zone).prop_map(|(labels, zone)| {
        labels.into_iter().chain([zone]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    })
}

fn question() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::A, Kind::AAAA, Kind::NS, Kind::SOA, Kind::DS, Kind::TXT])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn every_answer_is_the_one_the_rfcs_give(
        tenants in tenants(),
        questions in prop::collection::vec((question_name(), question()), 1..40),
    ) {
        let (snapshot, zones) = (snapshot(&tenants), model(&tenants));
        for (text, question) in questions {
            let found = asked(&text);
            let found = answer(&snapshot, found.as_bytes(), question);
            let values = found.answer().iter().flat_map(|set| set.values().map(move |data| value(set.kind(), data))).collect();
            let denied = found.authority().and(found.zone).map(|zone| zone.origin().to_string());
            prop_assert_eq!((found.code, values, denied), expected(&zones, &text, question), "{} {:?}", text, question);
        }
    }

    #[test]
    fn a_name_of_a_tenant_is_never_absent(
        tenants in tenants(),
        labels in prop::collection::vec("[a-z0-9]{1,8}", 0..5),
    ) {
        let snapshot = snapshot(&tenants);
        for (tenant, _) in &tenants {
            let text = labels.iter().cloned().chain([tenant.name.to_string()]).collect::<Vec<_>>().join(".");
            // Another tenant's zone may lie beneath this one; the deepest answers.
            let holding = tenants.iter().filter(|(tenant, _)| within(&text, &tenant.name.to_string()));
            let held = holding.max_by_key(|(tenant, _)| tenant.name.depth()).is_some_and(|(_, held)| *held);
            let name = asked(&text);
            let found = [Kind::A, Kind::AAAA].map(|kind| answer(&snapshot, name.as_bytes(), kind));
            if held {
                prop_assert!(found.iter().all(|found| found.code == Code::ServFail), "{}", text);
            } else {
                prop_assert!(found.iter().all(|found| found.code == Code::NoError), "{}", text);
                prop_assert!(found.iter().any(|found| found.answer().is_some()), "{}", text);
            }
        }
    }
}

#[test]
fn a_fresh_system_refuses_everything() {
    for text in ["", "east.test", "acme.east.test", "com"] {
        assert_eq!(
            answer(&Snapshot::default(), asked(text).as_bytes(), Kind::ANY).code,
            Code::Refused,
            "{text}"
        );
    }
}

#[test]
fn any_is_answered_with_one_set() {
    let acme = tenant(
        "acme.east.test",
        1,
        &["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        &["ns1.east.test"],
    );
    let snapshot = snapshot(&[(acme, false)]);
    for text in ["acme.east.test", "bucket.acme.east.test"] {
        let name = asked(text);
        let found = answer(&snapshot, name.as_bytes(), Kind::ANY);
        assert_eq!(found.answer().map(|set| set.kind()), Some(Kind::A), "{text}");
    }
}

#[test]
fn name_servers_come_with_their_addresses() {
    let acme =
        tenant("acme.east.test", 1, &["192.0.2.7".parse().unwrap()], &["ns1.east.test", "ns1.west.test"]);
    let snapshot = snapshot(&[(acme, false)]);
    let name = asked("acme.east.test");
    let found = answer(&snapshot, name.as_bytes(), Kind::NS);
    let servers: Vec<_> = found.additional().map(|(name, _)| name).collect();
    assert_eq!(servers, [&b"\x03ns1\x04east\x04test\0"[..], b"\x03ns1\x04west\x04test\0"]);
}

#[test]
fn a_denial_may_be_kept_as_long_as_the_movable_time_to_live() {
    let acme = tenant("acme.east.test", 1, &["192.0.2.7".parse().unwrap()], &["ns1.east.test"]);
    let snapshot = snapshot(&[(acme, false)]);
    for (text, ttl) in [("acme.east.test", 7), ("absent.east.test", POLICY.negative_ttl)] {
        let name = asked(text);
        let denial = answer(&snapshot, name.as_bytes(), Kind::AAAA).authority().unwrap();
        assert_eq!((denial.ttl, denial.set.ttl()), (ttl, ttl), "{text}");
        assert_eq!(denial.set.first().minimum(), Some(ttl), "{text}");
    }
}

#[test]
fn the_systems_own_labels_are_served() {
    let snapshot = snapshot(&[]);
    for label in SYSTEM_LABELS {
        let name = asked(&format!("{label}.{DOMAIN}"));
        assert!(answer(&snapshot, name.as_bytes(), Kind::A).answer().is_some(), "{label}");
    }
}
