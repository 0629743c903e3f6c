//! What becomes of a request, by the record it meets.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use switchback_dns::core::apply::{Desired, Plan, Record, Verdict, decide, with_catalogue, with_own};
use switchback_dns::core::gateway::Gateway;
use switchback_dns::core::heard::{Heard, Since};
use switchback_dns::core::name::Name;
use switchback_dns::core::zone::{NameServer, Serial, System, Tenant, TenantContent};

const LIFE: &str = "first";
const NOW: u32 = 1_800_000_000;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn tenant(label: &str, serial: u32, address: &str) -> Tenant {
    Tenant {
        name: name(&format!("{label}.east.test")),
        serial: Serial(serial),
        content: TenantContent {
            gateway: Gateway::at(vec![address.parse().unwrap()]),
            name_servers: vec![NameServer { name: name("ns1.east.test"), addresses: vec![] }],
            ttl: 5,
            place: None,
        },
        link: "link".into(),
        target: "east".into(),
        peer_keys: Vec::new(),
    }
}

fn desired(run: &str, generation: u64, tenants: &[Tenant]) -> Desired {
    Desired {
        run: run.into(),
        generation,
        system: System {
            domain: name("east.test"),
            gateway: Gateway::default(),
            name_server_addresses: vec![],
            own: [0; 32],
        },
        tenants: tenants.iter().map(|tenant| (tenant.name.clone(), tenant.clone())).collect(),
        refused: BTreeMap::new(),
        since: None,
        life: LIFE.into(),
    }
}

fn after(record: &Record, desired: Desired) -> Plan {
    decide(record, &Heard::default(), desired, [].iter(), NOW)
}

fn on_record(tenants: &[Tenant]) -> Record {
    after(&Record::default(), desired("run", 5, tenants)).next
}

fn addresses(record: &Record) -> BTreeMap<String, String> {
    let of = |tenant: &Tenant| (tenant.name.to_string(), tenant.content.gateway.addresses[0].to_string());
    record.tenants.values().map(of).collect()
}

#[test]
fn the_first_request_is_taken_whole() {
    let plan = after(&Record::default(), desired("run", 1, &[tenant("acme", 7, "192.0.2.1")]));
    assert_eq!(plan.verdict, Verdict::Applied);
    assert_eq!(plan.puts, [name("acme.east.test")]);
    assert!(plan.confirmed.contains(&name("acme.east.test")));
    assert_eq!(plan.next.system_serial, Serial(NOW));
}

#[test]
fn the_same_request_again_writes_nothing_and_confirms() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1")]);
    let plan = after(&record, desired("run", 5, &[tenant("acme", 7, "192.0.2.1")]));
    assert_eq!(plan.verdict, Verdict::AlreadyThere);
    assert_eq!(plan.next, record);
    assert!(plan.puts.is_empty() && plan.confirmed.contains(&name("acme.east.test")));
}

#[test]
fn a_zone_with_a_lower_serial_is_kept_and_named() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1"), tenant("other", 1, "192.0.2.1")]);
    let plan =
        after(&record, desired("run", 6, &[tenant("acme", 6, "192.0.2.9"), tenant("other", 2, "192.0.2.2")]));
    assert_eq!(addresses(&plan.next)["acme.east.test"], "192.0.2.1");
    assert_eq!(addresses(&plan.next)["other.east.test"], "192.0.2.2", "one stale zone holds up no other");
    assert_eq!(plan.stale.len(), 1);
    assert_eq!((plan.stale[0].on_record, plan.stale[0].offered), (Serial(7), Serial(6)));
    assert!(!plan.confirmed.contains(&name("acme.east.test")), "who offers the past confirms nothing");
}

#[test]
fn a_serial_stands_for_one_content() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1")]);
    let plan = after(&record, desired("run", 6, &[tenant("acme", 7, "192.0.2.9")]));
    assert_eq!(addresses(&plan.next)["acme.east.test"], "192.0.2.1");
    assert_eq!(plan.stale.len(), 1);
}

#[test]
fn the_link_of_a_zone_may_change_under_one_serial() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1")]);
    let moved = Tenant { link: "another".into(), ..tenant("acme", 7, "192.0.2.1") };
    let plan = after(&record, desired("run", 6, &[moved]));
    assert_eq!(plan.next.tenants[&name("acme.east.test")].link, "another");
    assert!(plan.stale.is_empty());
}

#[test]
fn serials_go_round_the_circle() {
    let record = on_record(&[tenant("acme", u32::MAX, "192.0.2.1")]);
    let plan = after(&record, desired("run", 6, &[tenant("acme", 2, "192.0.2.9")]));
    assert_eq!(addresses(&plan.next)["acme.east.test"], "192.0.2.9");
}

#[test]
fn an_overtaken_request_of_the_same_run_is_ignored_whole() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1")]);
    let plan = after(&record, desired("run", 4, &[tenant("acme", 8, "192.0.2.9")]));
    assert_eq!(plan.verdict, Verdict::Superseded);
    assert_eq!(plan.next, record);
    assert!(plan.confirmed.is_empty());
}

#[test]
fn a_caller_that_lost_its_state_is_heard_and_guarded_by_serials() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1"), tenant("other", 3, "192.0.2.1")]);
    for run in ["another", ""] {
        let plan = after(
            &record,
            desired(run, 1, &[tenant("acme", 1, "192.0.2.9"), tenant("other", 4, "192.0.2.2")]),
        );
        assert_eq!(plan.next.generation, 1, "{run:?}");
        assert_eq!(addresses(&plan.next)["acme.east.test"], "192.0.2.1", "{run:?}");
        assert_eq!(addresses(&plan.next)["other.east.test"], "192.0.2.2", "{run:?}");
    }
}

#[test]
fn what_is_no_longer_desired_goes() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1"), tenant("other", 1, "192.0.2.1")]);
    let plan = after(&record, desired("run", 6, &[tenant("acme", 7, "192.0.2.1")]));
    assert_eq!(plan.removals, [name("other.east.test")]);
    assert!(!plan.next.tenants.contains_key(&name("other.east.test")));
    assert_eq!(plan.next.system_serial, Serial(NOW + 1), "a name of the system's zone is gone");
}

#[test]
fn a_zone_that_cannot_be_served_keeps_what_is_on_record() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1")]);
    let refused = BTreeMap::from([("acme.east.test".into(), "it leads nowhere".into())]);
    let plan = after(&record, Desired { refused, ..desired("run", 6, &[]) });
    assert_eq!(addresses(&plan.next)["acme.east.test"], "192.0.2.1");
    assert!(plan.removals.is_empty() && plan.confirmed.is_empty());
}

#[test]
fn the_systems_serial_stays_while_its_zone_does() {
    let record = on_record(&[tenant("acme", 7, "192.0.2.1")]);
    let plan = after(&record, desired("run", 6, &[tenant("acme", 8, "192.0.2.2")]));
    assert_eq!(plan.next.system_serial, record.system_serial);
}

fn free(address: &str) -> Tenant {
    Tenant { link: String::new(), ..tenant("acme", 0, address) }
}

fn serial(record: &Record) -> Serial {
    record.tenants[&name("acme.east.test")].serial
}

#[test]
fn a_zone_on_no_link_is_numbered_when_it_changes_and_only_then() {
    let first = on_record(&[free("192.0.2.1")]);
    let again = after(&first, desired("run", 6, &[free("192.0.2.1")]));
    assert_eq!(serial(&again.next), serial(&first));
    assert!(again.puts.is_empty() && again.stale.is_empty());

    let moved = after(&again.next, desired("run", 7, &[free("192.0.2.2")]));
    assert_eq!(addresses(&moved.next)["acme.east.test"], "192.0.2.2");
    assert!(serial(&moved.next).is_newer_than(serial(&first)));
}

#[test]
fn a_zone_leaves_its_link_and_joins_another_without_going_back() {
    const SECONDS_1970_TO_2020: u32 = 1_577_836_800;
    let of_link = |created: u32, epoch: u32, address: &str| {
        tenant("acme", created - SECONDS_1970_TO_2020 + 64 * epoch, address)
    };
    let record = on_record(&[of_link(NOW - 1000, 2, "192.0.2.1")]);
    let left = after(&record, desired("run", 6, &[free("192.0.2.2")]));
    assert!(left.stale.is_empty(), "no longer answered as its link said");
    assert!(serial(&left.next).is_newer_than(serial(&record)));

    let joined = after(&left.next, desired("run", 7, &[of_link(NOW, 0, "192.0.2.3")]));
    assert!(joined.stale.is_empty());
    assert_eq!(addresses(&joined.next)["acme.east.test"], "192.0.2.3");

    let fresh = on_record(&[free("192.0.2.1")]);
    let joined = after(&fresh, desired("run", 6, &[of_link(NOW, 0, "192.0.2.3")]));
    assert!(joined.stale.is_empty(), "also when it was created in the same second");
}

#[derive(Clone, Debug)]
enum Step {
    Apply(u8, BTreeSet<u8>),
    Own(BTreeSet<u8>),
    Publish,
    /// The disk.
    Lose,
}

#[test]
fn a_tenant_of_the_other_system_is_in_the_catalogue_of_that_one() {
    let theirs = Tenant { name: name("acme.west.test"), ..tenant("acme", 7, "192.0.2.1") };
    let record = on_record(&[tenant("acme", 7, "192.0.2.1"), theirs]);
    let listed: Vec<_> = record.members([].iter()).map(ToString::to_string).collect();
    assert_eq!(listed, ["east.test", "acme.east.test"]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against what name servers do: who has heard of a serial takes what has a newer one, and holds just
    /// the zones that are listed.
    #[test]
    fn name_servers_hold_what_an_operator_published_and_what_came_of_it_in_that_life(
        steps in prop::collection::vec(
            prop_oneof![
                8 => (0_u8..3, prop::collection::btree_set(0_u8..4, 0..3)).prop_map(|(life, tenants)| Step::Apply(life, tenants)),
                2 => prop::collection::btree_set(0_u8..3, 0..2).prop_map(Step::Own),
                2 => Just(Step::Publish),
                1 => Just(Step::Lose),
            ],
            1..40,
        ),
    ) {
        let (mut record, mut own, mut published) = (Record::default(), BTreeSet::new(), None);
        let mut held: Option<(Serial, BTreeSet<Name>)> = None;
        for (now, step) in (NOW..).step_by(1000).zip(steps) {
            match step {
                Step::Apply(life, tenants) => {
                    let life = ["", "first", "second"][usize::from(life)];
                    let tenants: Vec<_> = tenants.iter().map(|n| tenant(&format!("t{n}"), 7, "192.0.2.1")).collect();
                    let desired = Desired { life: life.into(), ..desired("", 1, &tenants) };
                    record = decide(&record, &Heard::default(), desired, own.iter(), now).next;
                }
                Step::Own(zones) => {
                    own = zones.iter().map(|n| name(&format!("{n}.in-addr.arpa"))).collect();
                    record = with_own(&record, [0; 32], own.iter(), now).map_or(record, |plan| plan.next);
                }
                Step::Publish => match with_catalogue(&record, own.iter(), now) {
                    Ok(plan) => {
                        record = plan.map_or(record, |plan| plan.next);
                        published = Some(record.life.clone());
                    }
                    Err(_) => prop_assert!(record.system.is_none() || record.life.is_empty()),
                },
                Step::Lose => (record, published) = (Record::default(), None),
            }
            let is_given = published.as_ref() == Some(&record.life) && !record.life.is_empty();
            prop_assert_eq!(record.catalogue().is_some(), is_given);
            let Some(catalogue) = record.catalogue() else { continue };
            let listed: BTreeSet<_> = record.members(own.iter()).cloned().collect();
            if held.as_ref().is_none_or(|(serial, _)| catalogue.serial.is_newer_than(*serial)) {
                held = Some((catalogue.serial, listed.clone()));
            }
            let tenants = record.tenants.keys();
            let expected: BTreeSet<_> = tenants.chain(&own).cloned().chain([name("east.test")]).collect();
            prop_assert_eq!(&listed, &expected);
            prop_assert_eq!(held.as_ref().map(|(_, held)| held), Some(&listed));
        }
    }

    #[test]
    fn whatever_is_asked_no_serial_goes_back_and_no_serial_means_two_things(
        requests in prop::collection::vec(
            (prop::sample::select(vec!["", "one", "two"]), 0_u64..4, prop::array::uniform3((0_u32..6, 0_u8..3))),
            1..20,
        ),
    ) {
        let mut record = Record::default();
        for (run, generation, zones) in requests {
            let tenants: Vec<_> = (0_u8..)
                .zip(zones)
                .map(|(label, (serial, address))| tenant(&format!("t{label}"), serial, &format!("192.0.2.{address}")))
                .collect();
            let plan = after(&record, desired(run, generation, &tenants));
            for (name, before) in record.tenants.iter() {
                let now = &plan.next.tenants[name];
                prop_assert!(now.serial == before.serial || now.serial.is_newer_than(before.serial));
                prop_assert!(now.serial != before.serial || now.content == before.content);
            }
            for put in &plan.puts {
                prop_assert!(plan.next.tenants.contains_key(put));
            }
            record = plan.next;
        }
    }

    /// By one caller that says everything each time, and by one that says what is different.
    #[test]
    fn what_is_different_means_what_everything_would(
        steps in prop::collection::vec(
            (
                prop::collection::btree_map(0_u8..6, (0_u32..6, 0_u8..4), 0..6),
                prop::sample::select(vec!["first", "second"]),
                any::<bool>(),
            ),
            1..20,
        ),
    ) {
        let (mut whole, mut record, mut heard) = (Record::default(), Record::default(), Heard::default());
        let mut before = BTreeMap::new();
        for (generation, (zones, life, is_started)) in (2..).zip(steps) {
            let label = |name: &u8| format!("t{name}.east.test");
            let said = |zones: &BTreeMap<u8, (u32, u8)>| {
                let mut said = Desired { life: life.into(), ..desired("run", generation, &[]) };
                for (name, (serial, address)) in zones {
                    if *address == 0 {
                        said.refused.insert(label(name), format!("it leads nowhere under {serial}"));
                    } else {
                        let zone = tenant(&format!("t{name}"), *serial, &format!("192.0.2.{address}"));
                        said.tenants.insert(zone.name.clone(), zone);
                    }
                }
                said
            };
            let plan = decide(&whole, &Heard::default(), said(&zones), [].iter(), NOW);
            if is_started {
                heard = Heard::default();
            }
            let changed = zones.iter().filter(|(name, zone)| before.get(*name) != Some(*zone));
            let changed = changed.map(|(name, zone)| (*name, *zone)).collect();
            let gone = before.keys().filter(|name| !zones.contains_key(*name)).map(label).collect();
            let since = Some(Since { base: generation - 1, gone });
            let mut other = decide(&record, &heard, Desired { since, ..said(&changed) }, [].iter(), NOW);
            let is_first = generation == 2 || is_started;
            prop_assert_eq!(other.verdict == Verdict::Incomplete, is_first);
            if is_first {
                prop_assert_eq!(&other.next, &record);
                prop_assert!(other.confirmed.is_empty() && other.heard.is_none());
                other = decide(&record, &heard, said(&zones), [].iter(), NOW);
            }
            prop_assert_eq!(&other.next, &plan.next);
            prop_assert_eq!(&other.heard, &plan.heard);
            prop_assert_eq!(other.verdict, plan.verdict);
            let new = zones.iter().filter(|(name, zone)| is_first || before.get(*name) != Some(*zone));
            let new: BTreeSet<_> = new.map(|(text, _)| name(&label(text))).collect();
            prop_assert_eq!(&other.confirmed, &plan.confirmed.intersection(&new).cloned().collect());
            (whole, record, before) = (plan.next, other.next, zones);
            heard = other.heard.unwrap_or_default();
        }
    }

    #[test]
    fn a_difference_from_something_else_changes_nothing(run in "(run|other|)", base in 0_u64..8, other_system: bool) {
        let first = after(&Record::default(), desired("run", 5, &[tenant("acme", 7, "192.0.2.1")]));
        let (record, heard) = (first.next, first.heard.unwrap_or_default());
        let gone = [name("acme.east.test").to_string()].into();
        let mut wanted = Desired { since: Some(Since { base, gone }), ..desired(&run, 9, &[]) };
        if other_system {
            wanted.system.name_server_addresses.push("192.0.2.53".parse().unwrap());
        }
        let plan = decide(&record, &heard, wanted, [].iter(), NOW);
        let leads_on = run == "run" && base == 5 && !other_system;
        prop_assert_eq!(plan.verdict, if leads_on { Verdict::Applied } else { Verdict::Incomplete });
        prop_assert_eq!(plan.next == record, !leads_on);
        prop_assert_eq!(plan.removals.is_empty(), !leads_on);
    }
}
