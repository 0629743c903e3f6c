//! What a primary sends, taken: it is the primary's zone, or what was held before.

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::Name as WireName;
use proptest::prelude::*;
use switchback_dns::core::answer::answer;
use switchback_dns::core::plain;
use switchback_dns::core::record::{Kind, Rdata};
use switchback_dns::core::secondary::copy::Unfit;
use switchback_dns::core::secondary::intake::{Arrived, Broken, Wanted};
use switchback_dns::core::secondary::stream::{Line, Stream};
use switchback_dns::core::table::Key;
use switchback_dns::core::transfer;
use switchback_dns::core::zone::{Serial, Snapshot, Zone};

use crate::name;
use crate::zones::{Model, OWNERS, arrived, denial, key, messages, published, soa, versions, zone};

/// All records, in order.
fn records(zone: &Zone) -> Vec<(Vec<u8>, Kind, u32, Vec<u8>)> {
    let row = |record: transfer::Record<'_>| {
        (record.owner.to_vec(), record.kind, record.ttl, record.data.as_bytes().to_vec())
    };
    transfer::whole(zone).map(row).collect()
}

fn taken(arrived: Option<Arrived>, held: Option<&Zone>) -> Zone {
    let Some(Arrived::Stream(stream)) = arrived else { panic!("{arrived:?}") };
    // As it comes back from disk.
    let mut kept = Vec::new();
    stream.write(&mut kept);
    assert_eq!(kept.len(), stream.written_bytes());
    let (read, behind) = Stream::read(&kept).unwrap();
    assert!(read == stream && behind.is_empty());
    assert!(Stream::read(&kept[..kept.len() - 1]).is_none());
    Zone::of_stream(&key(""), &read, held, Key::new(1, 2)).unwrap()
}

/// What a server with this zone answers.
pub(crate) fn answers(zone: &Zone) -> Vec<Vec<u8>> {
    let snapshot = Snapshot::new([std::sync::Arc::new(zone.clone())]);
    let mut all = Vec::new();
    let owners = OWNERS.iter().copied().chain(["0", "zz", "q.b.a", "k.c", "d", "b.sub", "y.e.d"]);
    for owner in owners {
        for kind in [1, 2, 5, 6, 15, 16, 28, 43, 47, 48, 255] {
            for is_secure in [false, true] {
                let text = format!(
                    "{}.",
                    if owner.is_empty() { "z.test".into() } else { format!("{owner}.z.test") }
                );
                let mut message = Message::query();
                message.metadata.id = 1;
                message.add_query(Query::query(WireName::from_ascii(text).unwrap(), kind.into()));
                let mut edns = Edns::new();
                edns.set_dnssec_ok(is_secure);
                message.edns = Some(edns);
                let bytes = message.to_vec().unwrap();
                let query = plain::Query::read(&bytes).unwrap();
                let frame = plain::Frame { bytes_max: 65_535, is_cut: false, is_padded: false, cookie: None };
                let mut written = Vec::new();
                query.write(&answer(&snapshot, query.name(), query.kind()), frame, &mut written);
                all.push(written);
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn whoever_takes_what_a_primary_sends_has_its_zone_and_answers_as_it_does(
        versions in versions(),
        denial in denial(),
        per_message in 1..40_usize,
        stops in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let zones = published(&versions, denial);
        let first = messages(transfer::whole(&zones[0]), Wanted::Whole, per_message);
        let mut held = taken(arrived(&first, Wanted::Whole, None).unwrap(), None);
        let mut stops: Vec<_> = stops.iter().map(|stop| stop.index(zones.len())).collect();
        stops.push(zones.len() - 1);
        stops.sort_unstable();
        for stop in stops {
            // The differences are those of that time.
            let (latest, serial) = (&zones[stop], held.serial());
            let wanted = Wanted::Since(serial);
            let sent = messages(transfer::since(latest, serial), wanted, per_message);
            let came = arrived(&sent, wanted, Some(serial)).unwrap();
            if latest.serial() == serial {
                prop_assert_eq!(came, Some(Arrived::UpToDate));
                continue;
            }
            held = taken(came, Some(&held));
            prop_assert_eq!(records(&held), records(latest));
            prop_assert_eq!(held.serial(), latest.serial());
        }
        let latest = zones.last().unwrap();
        prop_assert!(answers(&held) == answers(latest), "answers differ");
        // And so has who takes it from there.
        let first = zones[0].serial();
        let is_signed = held.signed_state().is_some();
        prop_assert_eq!(is_signed, denial.is_some());
        let onward = messages(transfer::since(&held, first), Wanted::Since(first), per_message);
        let onward = arrived(&onward, Wanted::Since(first), Some(first)).unwrap();
        if latest.serial() != first {
            let again = taken(onward, Some(&zones[0]));
            prop_assert_eq!(records(&again), records(latest));
        }
    }

    #[test]
    fn what_is_cut_or_bent_is_the_whole_zone_or_nothing(
        versions in versions(),
        denial in denial(),
        is_whole: bool,
        per_message in 1..40_usize,
        bends in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in any::<prop::sample::Index>(),
        drop in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let zones = published(&versions, denial);
        let (before, latest) = (&zones[0], zones.last().unwrap());
        let wanted = if is_whole { Wanted::Whole } else { Wanted::Since(before.serial()) };
        let sent = || match is_whole {
            true => transfer::whole(latest),
            false => transfer::since(latest, before.serial()),
        };
        let mut bent = messages(sent(), wanted, per_message);
        let count = bent.len();
        for (message, at, byte) in &bends {
            let message = &mut bent[message.index(count)];
            let at = at.index(message.len());
            message[at] = *byte;
        }
        if let Some(drop) = drop {
            bent.remove(drop.index(count));
        } else if let Some(last) = bent.last_mut() {
            last.truncate(cut.index(last.len() + 1));
        }
        let held = Some(before.serial());
        if let Ok(Some(Arrived::Stream(stream))) = arrived(&bent, wanted, held) {
            // A zone that hangs together, newer than what was held; or none.
            if let Ok(zone) = Zone::of_stream(&key(""), &stream, Some(before), Key::new(1, 2)) {
                prop_assert!(zone.serial().is_newer_than(before.serial()));
                let apex = records(&zone).iter().filter(|record| record.1 == Kind::SOA).count();
                prop_assert_eq!(apex, 2, "its SOA, first and last");
                answers(&zone);
            }
        }
    }
}

fn stream(is_whole: bool, lines: &[(&str, Kind, u32, Rdata)]) -> Stream {
    let mut stream = Stream::new(is_whole);
    for (owner, kind, ttl, value) in lines {
        let owner = if owner.ends_with(".test") { name(owner) } else { key(owner) };
        stream.push(Line { owner: owner.as_bytes(), kind: *kind, ttl: *ttl, value: value.as_bytes() });
    }
    stream
}

fn address(last: u8) -> Rdata {
    Rdata::address([192, 0, 2, last].into()).1
}

fn server() -> Rdata {
    Rdata::name(&name("ns.elsewhere.test"))
}

type Lines = Vec<(&'static str, Kind, u32, Rdata)>;
type Fits = fn(&Unfit) -> bool;

fn start() -> Lines {
    vec![("", Kind::SOA, 60, soa(1)), ("", Kind::NS, 60, server())]
}

#[test]
fn a_zone_that_cannot_be_served_is_refused_whole() {
    let alias = || Rdata::name(&key("a"));
    let cases: [(Lines, Fits); 5] = [
        (vec![("other.test", Kind::A, 5, address(1))], |unfit| matches!(unfit, Unfit::Outside(..))),
        (vec![("c", Kind::CNAME, 5, alias()), ("c", Kind::A, 5, address(1))], |unfit| {
            matches!(unfit, Unfit::Alias(_))
        }),
        (vec![("c", Kind::CNAME, 5, alias()), ("c", Kind::CNAME, 5, server())], |unfit| {
            matches!(unfit, Unfit::Alias(_))
        }),
        (vec![("", Kind::SOA, 60, soa(2))], |unfit| matches!(unfit, Unfit::NoStart)),
        (vec![("c", Kind(39), 5, alias())], |unfit| matches!(unfit, Unfit::Dname(_))),
    ];
    for (more, is_it) in cases {
        let lines = [start(), more].concat();
        let unfit = Zone::of_stream(&key(""), &stream(true, &lines), None, Key::new(1, 2)).unwrap_err();
        assert!(is_it(&unfit), "{unfit}");
    }
    let unfit = Zone::of_stream(&key(""), &stream(true, &start()[..1]), None, Key::new(1, 2)).unwrap_err();
    assert_eq!(unfit, Unfit::NoServers);
    // Signatures and denials stand beside an alias.
    let signed = [
        start(),
        vec![
            ("c", Kind::CNAME, 5, alias()),
            ("c", Kind::RRSIG, 5, Rdata::from_wire(vec![0; 40])),
            ("c", Kind::NSEC, 5, server()),
        ],
    ];
    Zone::of_stream(&key(""), &stream(true, &signed.concat()), None, Key::new(1, 2)).unwrap();
}

#[test]
fn differences_that_do_not_fit_are_told_from_a_zone_that_cannot_be() {
    let held = zone(&Model::from([(1, 0, 1)]), 1);
    let step = |from, removed: Lines, added: Lines| {
        let before: Lines = vec![("", Kind::SOA, 60, soa(from))];
        let after: Lines = vec![("", Kind::SOA, 60, soa(2))];
        let stream = stream(false, &[before, removed, after, added].concat());
        Zone::of_stream(&key(""), &stream, Some(&held), Key::new(1, 2))
    };
    let a = |last| vec![("a", Kind::A, 60, address(last))];
    let next = step(1, a(1), a(2)).unwrap();
    assert_eq!(next.serial(), Serial(2));
    for unfit in [
        step(7, a(1), a(2)).unwrap_err(),
        step(1, a(3), a(2)).unwrap_err(),
        step(1, vec![], a(1)).unwrap_err(),
    ] {
        assert!(unfit.is_of_differences(), "{unfit}");
    }
    let outside = step(1, vec![], vec![("other.test", Kind::A, 5, address(1))]).unwrap_err();
    assert!(!outside.is_of_differences(), "{outside}");
    // What was held is what it was.
    assert_eq!(records(&held), records(&zone(&Model::from([(1, 0, 1)]), 1)));
}

#[test]
fn a_name_whose_records_went_exists_no_more_nor_do_those_that_led_to_it() {
    let held = zone(&Model::from([(3, 0, 1), (6, 0, 1)]), 1);
    let lines: Lines =
        vec![("", Kind::SOA, 60, soa(1)), ("x.b.a", Kind::A, 61, address(1)), ("", Kind::SOA, 60, soa(2))];
    let next = Zone::of_stream(&key(""), &stream(false, &lines), Some(&held), Key::new(1, 2)).unwrap();
    let snapshot = Snapshot::new([std::sync::Arc::new(next)]);
    let code = |owner: &str| answer(&snapshot, key(owner).as_bytes(), Kind::A).code;
    use switchback_dns::core::answer::Code;
    assert_eq!([code("a"), code("b.a"), code("d")], [Code::NxDomain, Code::NxDomain, Code::NoError]);
}

#[test]
fn a_primary_that_answers_otherwise_is_understood_or_refused() {
    let zones = published(&[(Model::from([(1, 0, 1)]), 1), (Model::from([(1, 0, 2)]), 1)], None);
    let (first, latest) = (zones[0].serial(), zones[1].serial());
    let wanted = Wanted::Since(first);
    // The whole zone, in answer to a question for what changed.
    let whole = messages(transfer::whole(&zones[1]), wanted, 2);
    assert_eq!(
        records(&taken(arrived(&whole, wanted, Some(first)).unwrap(), Some(&zones[0]))),
        records(&zones[1])
    );
    // An older one, however it is told.
    let older = messages(transfer::since(&zones[0], first), Wanted::Since(latest), 9);
    let came = arrived(&older, Wanted::Since(latest), Some(latest)).unwrap();
    assert_eq!(came, Some(Arrived::Backwards(first)));
    let older = messages(transfer::whole(&zones[0]), Wanted::Whole, 9);
    assert_eq!(arrived(&older, Wanted::Whole, Some(latest)).unwrap(), Some(Arrived::Backwards(first)));
    // The newer SOA alone: more has to come.
    let alone = messages(transfer::start(&zones[1]), wanted, 9);
    assert_eq!(arrived(&alone, wanted, Some(first)).unwrap(), None);
    // Nothing, as a server answers that does not know the question.
    let nothing = Message::from_vec(&alone[0]).map(|mut message| {
        message.answers.clear();
        message.to_vec().unwrap()
    });
    assert_eq!(arrived(&[nothing.unwrap()], wanted, Some(first)), Err(Broken::NoStart));
    // More than the zone.
    let mut behind = messages(transfer::whole(&zones[1]), Wanted::Whole, 99);
    let twice: Vec<_> = transfer::whole(&zones[1]).chain(transfer::start(&zones[1])).collect();
    behind[0] = messages(twice.into_iter(), Wanted::Whole, 99).remove(0);
    assert_eq!(arrived(&behind, Wanted::Whole, None), Err(Broken::Behind));
    // Refused.
    let mut refused = alone[0].clone();
    refused[3] |= 5;
    assert_eq!(arrived(&[refused], wanted, Some(first)), Err(Broken::Declined(5)));
    // To somebody else.
    let mut other = alone[0].clone();
    other[1] ^= 1;
    assert!(matches!(arrived(&[other], wanted, Some(first)), Err(Broken::Malformed(_))));
}
