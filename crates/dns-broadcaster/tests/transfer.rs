//! What servers are sent that follow: applied to what they hold, it is what they should hold.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use switchback_dns::core::gateway::Gateway;
use switchback_dns::core::name::Name;
use switchback_dns::core::own;
use switchback_dns::core::record::Kind;
use switchback_dns::core::transfer::{self, Record};
use switchback_dns::core::zone::{NameServer, Policy, Serial, System, Tenant, TenantContent, Zone};

const POLICY: Policy = Policy { refresh: 1, retry: 2, expire: 3, system_ttl: 60, negative_ttl: 5 };

/// A zone as a server holds it that follows: every record once.
type Held = BTreeSet<(String, Kind, u32, Vec<u8>)>;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// The system's zone with these tenants, at these addresses.
fn zone(serial: u32, tenants: &BTreeSet<u8>, addresses: &BTreeSet<u8>) -> Zone {
    let system = System {
        domain: name("east.test"),
        gateway: Gateway::at(addresses.iter().map(|last| [192, 0, 2, *last].into()).collect()),
        name_server_addresses: vec![[192, 0, 2, 53].into()],
        own: [0; 32],
    };
    let tenants = tenants.iter().map(|tenant| tenant_of(*tenant));
    let tenants = tenants.map(|tenant| (tenant.name.clone(), tenant)).collect();
    Zone::of_system(&system, Serial(serial), &tenants, &own::Records::default(), &POLICY)
}

fn tenant_of(number: u8) -> Tenant {
    Tenant {
        name: name(&format!("t{number}.east.test")),
        serial: Serial(1),
        content: TenantContent {
            gateway: Gateway::at(vec![[192, 0, 2, 1].into()]),
            name_servers: vec![NameServer { name: name("ns1.west.test"), addresses: vec![] }],
            ttl: 7,
            place: None,
        },
        link: String::new(),
        target: String::new(),
        peer_keys: Vec::new(),
    }
}

fn row(record: Record<'_>) -> (String, Kind, u32, Vec<u8>) {
    (Name::from_key(record.owner).to_string(), record.kind, record.ttl, record.data.as_bytes().to_vec())
}

fn serial(row: &(String, Kind, u32, Vec<u8>)) -> u32 {
    u32::from_be_bytes(*row.3.last_chunk::<20>().unwrap().first_chunk().unwrap())
}

/// What a server holds that had `before` and was sent `records`, by the words of RFC 1995 section 4 and
/// RFC 5936 section 2.2.
fn applied(before: &Held, records: Vec<Record<'_>>) -> Held {
    let rows: Vec<_> = records.into_iter().map(row).collect();
    let is_soa = |at: usize| rows.get(at).is_some_and(|row| row.1 == Kind::SOA);
    assert!(is_soa(0), "the current SOA comes first");
    if rows.len() == 1 {
        return before.clone();
    }
    let latest = serial(&rows[0]);
    assert_eq!(rows.last(), rows.first(), "and last");
    if !is_soa(1) {
        return rows.into_iter().collect();
    }
    let (mut held, mut at) = (before.clone(), 1);
    while at < rows.len() - 1 {
        for coming in [false, true] {
            assert!(is_soa(at));
            loop {
                if coming {
                    assert!(held.insert(rows[at].clone()), "{:?} was there", rows[at]);
                } else {
                    assert!(held.remove(&rows[at]), "{:?} was not there", rows[at]);
                }
                at += 1;
                if is_soa(at) {
                    break;
                }
            }
        }
    }
    let soa: Vec<_> = held.iter().filter(|row| row.1 == Kind::SOA).map(serial).collect();
    assert_eq!(soa, [latest]);
    held
}

fn whole(zone: &Zone) -> Held {
    transfer::whole(zone).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn whoever_applies_a_transfer_holds_the_zone(
        versions in prop::collection::vec(
            (prop::collection::btree_set(0_u8..12, 0..12), prop::collection::btree_set(1_u8..5, 1..4), 1_u32..3),
            1..80,
        ),
    ) {
        // Round the circle, for serials are compared on it.
        let mut number = u32::MAX - 20;
        let mut zones: Vec<Zone> = Vec::new();
        for (tenants, addresses, step) in versions {
            number = number.wrapping_add(step);
            let next = zone(number, &tenants, &addresses);
            zones.push(match zones.last() {
                Some(previous) => next.after(previous),
                None => next,
            });
        }
        let latest = zones.last().unwrap();
        prop_assert_eq!(&applied(&Held::new(), transfer::whole(latest).collect()), &whole(latest));
        for old in &zones {
            let sent: Vec<_> = transfer::since(latest, old.serial()).collect();
            // All records, behind their SOA and before it, is the most that anybody is sent.
            let bytes: usize = sent[1..].iter().map(|record| 12 + record.data.as_bytes().len()).sum();
            prop_assert!(bytes <= latest.bytes() + 100, "{} of {}", bytes, latest.bytes());
            prop_assert_eq!(&applied(&whole(old), sent), &whole(latest));
        }
    }
}

#[test]
fn a_small_change_of_a_large_zone_is_sent_alone() {
    let all: BTreeSet<u8> = (0..100).collect();
    let one = [1].into();
    let before = zone(1, &all, &one);
    let fewer: BTreeSet<u8> = (1..100).collect();
    let after = zone(2, &fewer, &one).after(&before);
    let sent: Vec<_> = transfer::since(&after, Serial(1)).map(row).collect();
    let owners: Vec<_> = sent.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(owners, ["east.test", "east.test", "t0.east.test", "east.test", "east.test"]);
}

#[test]
fn who_holds_the_zone_is_sent_its_soa_and_who_holds_an_unknown_one_all_of_it() {
    let present = zone(7, &[1, 2].into(), &[1].into());
    for held in [7, 8, u32::MAX] {
        let sent: Vec<_> = transfer::since(&present, Serial(held)).map(row).collect();
        let all = serial_is_older(held, 7);
        assert_eq!(sent.len() == 1, !all, "{held}");
    }
    assert_eq!(transfer::since(&present, Serial(3)).map(row).collect::<Held>(), whole(&present));
}

fn serial_is_older(held: u32, than: u32) -> bool {
    Serial(than).is_newer_than(Serial(held))
}

#[test]
fn a_zone_that_goes_back_has_no_history() {
    let before = zone(9, &[1].into(), &[1].into());
    let after = zone(3, &[1, 2].into(), &[1].into()).after(&before);
    assert_eq!(transfer::since(&after, Serial(1)).map(row).collect::<Held>(), whole(&after));
}

#[test]
fn a_zone_is_taken_from_who_numbers_it() {
    let domain = name("east.test");
    let of = |zone: &str, link: &str| Tenant { name: name(zone), link: link.into(), ..tenant_of(1) };
    assert!(of("acme.east.test", "").is_transferable(Some(&domain)));
    assert!(of("acme.west.test", "link").is_transferable(Some(&domain)));
    assert!(!of("acme.west.test", "").is_transferable(Some(&domain)));
    assert!(!of("acme.west.test", "").is_transferable(None));
}
