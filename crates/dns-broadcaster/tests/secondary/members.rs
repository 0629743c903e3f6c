//! What a catalogue lists (RFC 9432).

use switchback_dns::core::record::{Kind, Rdata, Soa};
use switchback_dns::core::secondary::members::{Unheeded, members};
use switchback_dns::core::secondary::stream::{Line, Stream};
use switchback_dns::core::table::Key;
use switchback_dns::core::zone::{Policy, Serial, Zone};

use crate::name;

const POLICY: Policy = Policy { refresh: 1, retry: 2, expire: 3, system_ttl: 60, negative_ttl: 5 };

fn catalogue(version: &str, more: &[(&str, Kind, Rdata)]) -> Zone {
    let origin = name("c.test");
    let nobody = name("invalid");
    let (mname, rname) = (nobody.clone(), nobody.clone());
    let soa =
        Rdata::soa(&Soa { mname, rname, serial: Serial(1), refresh: 1, retry: 1, expire: 9, minimum: 0 });
    let mut stream = Stream::new(true);
    let start = [
        ("c.test", Kind::SOA, soa),
        ("c.test", Kind::NS, Rdata::name(&nobody)),
        ("version.c.test", Kind::TXT, Rdata::text(version)),
    ];
    for (owner, kind, value) in start.iter().chain(more) {
        let owner = name(owner);
        stream.push(Line { owner: owner.as_bytes(), kind: *kind, ttl: 0, value: value.as_bytes() });
    }
    Zone::of_stream(&origin, &stream, None, Key::new(1, 2)).unwrap()
}

fn pointer(owner: &'static str, zone: &str) -> (&'static str, Kind, Rdata) {
    (owner, Kind::PTR, Rdata::name(&name(zone)))
}

#[test]
fn a_catalogue_of_ours_lists_what_was_put_into_it() {
    let zones = ["west.test", "acme.west.test", "2.0.192.in-addr.arpa"].map(name);
    let ours = Zone::of_catalogue(&name("west.test"), Serial(1), zones.iter(), &POLICY).unwrap();
    let listed = members(&ours).unwrap();
    assert_eq!(listed.keys().cloned().collect::<Vec<_>>(), {
        let mut zones = zones.to_vec();
        zones.sort();
        zones
    });
    // Its labels are its own, and stay.
    let fewer = Zone::of_catalogue(&name("west.test"), Serial(2), zones[..1].iter(), &POLICY).unwrap();
    assert_eq!(members(&fewer).unwrap()[&zones[0]], listed[&zones[0]]);
}

#[test]
fn what_nobody_knows_is_left_alone() {
    let text = || Rdata::text("x");
    let zone = catalogue(
        "2",
        &[
            pointer("one.zones.c.test", "a.test"),
            ("group.one.zones.c.test", Kind::TXT, text()),
            pointer("coo.one.zones.c.test", "other.test"),
            ("two.zones.c.test", Kind::TXT, text()),
            ("x.ext.c.test", Kind::TXT, text()),
        ],
    );
    assert_eq!(members(&zone).unwrap().into_keys().collect::<Vec<_>>(), [name("a.test")]);
}

#[test]
fn a_broken_catalogue_lists_nothing_at_all() {
    let of = |zone: &Zone| members(zone).unwrap_err();
    assert_eq!(of(&catalogue("1", &[])), Unheeded::Version);
    let second = ("version.c.test", Kind::TXT, Rdata::text("3"));
    assert_eq!(of(&catalogue("2", &[second])), Unheeded::Version);
    let twice = [pointer("one.zones.c.test", "a.test"), pointer("two.zones.c.test", "a.test")];
    assert_eq!(of(&catalogue("2", &twice)), Unheeded::Twice(name("a.test")));
    let two = [pointer("one.zones.c.test", "a.test"), pointer("one.zones.c.test", "b.test")];
    assert_eq!(of(&catalogue("2", &two)), Unheeded::Pointer(name("one.zones.c.test")));
}
