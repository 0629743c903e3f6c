//! Copies beside what a server publishes itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use switchback_dns::core::answer::{Code, answer};
use switchback_dns::core::draft::Draft;
use switchback_dns::core::name::Name;
use switchback_dns::core::record::{Kind, Rdata, Soa};
use switchback_dns::core::secondary::served;
use switchback_dns::core::zone::{Serial, Snapshot, Zone};

use crate::name;

/// A zone whose every name but those of `cuts`, which it delegates, leads to 192.0.2.`last`.
fn zone(origin: &str, last: u8, cuts: &[&str]) -> Arc<Zone> {
    let origin = name(origin);
    let soa = Soa {
        mname: origin.clone(),
        rname: origin.clone(),
        serial: Serial(1),
        refresh: 1,
        retry: 1,
        expire: 1,
        minimum: 1,
    };
    let mut draft = Draft::default();
    draft.push(origin.as_bytes(), Kind::SOA, 5, Rdata::soa(&soa).as_bytes());
    let server = Rdata::name(&name("ns.test"));
    draft.push(origin.as_bytes(), Kind::NS, 5, server.as_bytes());
    draft.push(origin.as_bytes(), Kind::A, 5, &[192, 0, 2, last]);
    for cut in cuts {
        draft.push(name(cut).as_bytes(), Kind::NS, 5, server.as_bytes());
    }
    Arc::new(Zone::of_own(&origin, draft.finish()).unwrap())
}

fn copies(zones: &[&Arc<Zone>]) -> BTreeMap<Name, Arc<Zone>> {
    zones.iter().map(|zone| (zone.origin().clone(), Arc::clone(zone))).collect()
}

fn address(snapshot: &Snapshot, asked: &str) -> Result<u8, Code> {
    let asked = name(asked);
    let found = answer(snapshot, asked.as_bytes(), Kind::A);
    found.answer().map(|set| set.first().as_bytes()[3]).ok_or(found.code)
}

#[test]
fn what_is_published_here_wins_over_a_copy() {
    let own = Arc::new(Snapshot::new([zone("acme.west.test", 1, &[])]));
    let west = zone("west.test", 2, &["acme.west.test", "beta.west.test"]);
    let (acme, beta) = (zone("acme.west.test", 2, &[]), zone("beta.west.test", 2, &[]));
    let copies = copies(&[&west, &acme, &beta]);
    let linked = [name("acme.west.test")];
    let served = served(&own, linked.iter(), &copies);
    assert_eq!(address(&served, "west.test"), Ok(2));
    assert_eq!(address(&served, "acme.west.test"), Ok(1));
    assert_eq!(address(&served, "beta.west.test"), Ok(2));
    assert_eq!(address(&served, "no.west.test"), Err(Code::NxDomain));
    // It is published no more.
    let none = Arc::new(Snapshot::default());
    let served = switchback_dns::core::secondary::served(&none, [].iter(), &copies);
    assert_eq!(address(&served, "acme.west.test"), Ok(2));
}

#[test]
fn no_primary_takes_over_a_name_that_is_published_here() {
    let own =
        Arc::new(Snapshot::new([zone("acme.west.test", 1, &[]), zone("east.test", 1, &["lab.east.test"])]));
    let stolen =
        [zone("photos.acme.west.test", 2, &[]), zone("s3.east.test", 2, &[]), zone("east.test", 2, &[])];
    let (left, deep) = (zone("lab.east.test", 2, &[]), zone("x.lab.east.test", 2, &[]));
    let [one, two, three] = &stolen;
    let served = served(&own, [].iter(), &copies(&[one, two, three, &left, &deep]));
    assert_eq!(address(&served, "photos.acme.west.test"), Err(Code::NxDomain));
    assert_eq!(address(&served, "s3.east.test"), Err(Code::NxDomain));
    assert_eq!(address(&served, "east.test"), Ok(1));
    assert_eq!(address(&served, "lab.east.test"), Ok(2), "it is delegated");
    assert_eq!(address(&served, "x.lab.east.test"), Ok(2));
}

#[test]
fn a_copy_of_a_system_that_lost_its_state_denies_nothing() {
    let own = Arc::new(Snapshot::new([zone("acme.west.test", 1, &[])]));
    let rebuilt = zone("west.test", 2, &[]);
    let linked = [name("acme.west.test")];
    let served_beside = |linked: &[Name]| served(&own, linked.iter(), &copies(&[&rebuilt]));
    let served = served_beside(&linked);
    assert_eq!(address(&served, "acme.west.test"), Ok(1));
    assert_eq!(address(&served, "west.test"), Ok(2));
    assert_eq!(address(&served, "beta.west.test"), Err(Code::ServFail));
    let chain = answer(&served, name("acme.west.test").as_bytes(), Kind::DS);
    assert_eq!(chain.code, Code::ServFail, "whether the tenant's zone is signed is not denied");
    // A zone that is on no link says nothing of it.
    assert_eq!(address(&served_beside(&[]), "beta.west.test"), Err(Code::NxDomain));
}
