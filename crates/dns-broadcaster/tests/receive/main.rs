//! What becomes of an update: against the RFC's pseudocode, and what it may not touch.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod model;

use std::collections::BTreeMap;

use proptest::prelude::*;
use switchback_dns::core::name::Name;
use switchback_dns::core::own::Nodes;
use switchback_dns::core::receive::{
    Class, Code, Entry, Grant, Grants, Holder, Pattern, Reason, Refusal, Update, decide,
};
use switchback_dns::core::record::{Kind, Rdata, Set, Soa};
use switchback_dns::core::table::Table;
use switchback_dns::core::transfer;
use switchback_dns::core::zone::{Serial, Zone};

use model::{Model, Row, lower};

const NAMES: [&str; 6] = ["z.test", "a.z.test", "b.z.test", "x.y.z.test", "y.z.test", "*.z.test"];
const KINDS: [Kind; 6] = [Kind::A, Kind::TXT, Kind::CNAME, Kind::NS, Kind::SOA, Kind::MX];

fn name(text: &str) -> Name {
    Name::from_root(text.rsplit('.').map(str::as_bytes)).unwrap()
}

/// A value of this type, one of few.
fn data(kind: Kind, number: u8) -> Rdata {
    let host = || Rdata::name(&name(["ns.test", "other.test", "third.test"][usize::from(number % 3)]));
    match kind {
        Kind::A => Rdata::from_wire(vec![192, 0, 2, number]),
        Kind::TXT => Rdata::from_wire(vec![1, b'a' + number]),
        Kind::SOA => Rdata::soa(&Soa {
            mname: name("ns.test"),
            rname: name("admin.test"),
            // Across the end of the circle.
            serial: Serial((u32::MAX - 2).wrapping_add(number.into())),
            refresh: 1,
            retry: 2,
            expire: 3,
            minimum: 4,
        }),
        Kind::MX => Rdata::from_wire([&[0, number / 3][..], host().as_bytes()].concat()),
        _ => host(),
    }
}

/// The same value, with other letters in its names.
fn shouted(kind: Kind, data: &Rdata) -> Rdata {
    let is_of_names = [Kind::CNAME, Kind::NS, Kind::MX].contains(&kind);
    let bytes = data.as_bytes();
    Rdata::from_wire(if is_of_names { bytes.to_ascii_uppercase() } else { bytes.to_vec() })
}

fn zone_of(rows: &[Row]) -> Zone {
    let mut nodes = Nodes::new();
    for row in rows {
        let set = Set::new(row.kind, row.ttl, [Rdata::from_wire(row.data.clone())]);
        nodes.entry(row.name.clone()).or_default().push(set);
    }
    Zone::of_own(&name(NAMES[0]), Table::from(&nodes)).unwrap()
}

/// Its records, but for those that a transfer repeats.
fn rows_of(zone: &Zone) -> Vec<Row> {
    let rows = transfer::whole(zone).map(|record| Row {
        name: Name::from_key(record.owner),
        kind: record.kind,
        ttl: record.ttl,
        data: lower(&record.data.to_rdata()),
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows.dedup();
    rows
}

fn everything() -> Grants {
    let names = vec![Pattern::Name(name("z.test")), Pattern::Beneath(name("z.test"))];
    Grants(vec![Grant { key: name("key"), zone: name("z.test"), names, kinds: KINDS.into() }])
}

/// What the update makes of the zone's records.
fn carried_out(zone: &Zone, update: &Update) -> Result<Vec<Row>, Refusal> {
    let grants = everything();
    let changes = decide(zone, update, (&grants, &name("key")), |_| None, |_, _| None)?;
    let mut rows = rows_of(zone);
    for (owner, sets) in changes {
        for (kind, set) in sets {
            let before: Vec<_> =
                rows.iter().filter(|row| row.name == owner && row.kind == kind).cloned().collect();
            rows.retain(|row| row.name != owner || row.kind != kind);
            let Set { ttl, data, .. } = set.unwrap_or(Set::new(kind, 0, []));
            let of = |data: &Rdata| Row { name: owner.clone(), kind, ttl, data: lower(data) };
            let mut after: Vec<_> = data.iter().map(of).collect();
            after.sort();
            assert_ne!(before, after, "what stays is no change");
            rows.extend(after);
        }
    }
    rows.sort();
    Ok(rows)
}

fn base() -> impl Strategy<Value = Vec<Row>> {
    let row = (0..NAMES.len(), prop::sample::select(KINDS.to_vec()), 0_u8..3);
    prop::collection::vec(row, 0..12).prop_map(|picked| {
        let row = |owner: &str, kind, number| Row {
            name: name(owner),
            kind,
            ttl: 60,
            data: lower(&data(kind, number)),
        };
        let mut rows = vec![row("z.test", Kind::SOA, 1), row("z.test", Kind::NS, 0)];
        for (at, kind, number) in picked {
            let row = row(NAMES[at], kind, number);
            let is_beside = |other: &Row| {
                other.name == row.name && (kind == Kind::CNAME || other.kind == Kind::CNAME) && *other != row
            };
            if kind != Kind::SOA && !rows.contains(&row) && !rows.iter().any(is_beside) {
                rows.push(row);
            }
        }
        rows
    })
}

fn entry(is_demand: bool) -> impl Strategy<Value = Entry> {
    let owner = prop_oneof![
        20 => prop::sample::select(NAMES.to_vec()),
        1 => Just("elsewhere.test"),
        1 => Just("test"),
    ];
    let kind = prop_oneof![
        16 => prop::sample::select(KINDS.to_vec()),
        4 => Just(Kind::ANY),
        1 => prop::sample::select(vec![Kind(252), Kind(253), Kind(41)]),
    ];
    let class = prop::sample::select(vec![
        Class::In,
        Class::In,
        Class::In,
        Class::Any,
        Class::Any,
        Class::None,
        Class::None,
    ]);
    (owner, kind, class, 0_u8..5, any::<bool>(), 0_u8..40, prop::sample::select(vec![60, 300, u32::MAX]))
        .prop_map(move |(owner, kind, class, number, is_loud, odd, ttl)| {
            let value = data(kind, number);
            let value = if is_loud { shouted(kind, &value) } else { value };
            let has_value = class == Class::In || class == Class::None && !is_demand;
            let kind = if has_value && kind == Kind::ANY && odd > 2 { Kind::TXT } else { kind };
            let mut entry = Entry {
                owner: name(owner),
                kind,
                class,
                ttl: if class == Class::In && !is_demand { ttl } else { 0 },
                data: has_value.then_some(value.clone()),
            };
            match odd {
                0 => entry.ttl = 7,
                1 => entry.data = if has_value { None } else { Some(value) },
                2 => entry.class = Class::Other,
                _ => {}
            }
            entry
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_zone_becomes_what_the_pseudocode_of_the_rfc_makes_of_it(
        rows in base(),
        demands in prop::collection::vec(entry(true), 0..3),
        edits in prop::collection::vec(entry(false), 0..12),
    ) {
        let zone = zone_of(&rows);
        let mut model = Model { origin: name("z.test"), rows };
        let expected = model.demand(&demands).and_then(|()| model.prescan(&edits)).map(|()| {
            model.update(&edits);
            model.rows.sort();
            model.rows.clone()
        });
        let update = Update { zone: name("z.test"), demands, edits };
        let found = carried_out(&zone, &update).map_err(|refusal| refusal.code);
        prop_assert_eq!(&found, &expected);
        if let Ok(rows) = found {
            prop_assert!(rows.iter().any(|row| row.kind == Kind::SOA), "no zone loses its start");
            prop_assert!(rows.iter().any(|row| row.kind == Kind::NS && row.name == name("z.test")));
        }
    }
}

fn edit(owner: &str, kind: Kind, class: Class, number: Option<u8>) -> Entry {
    let data = number.map(|number| data(kind, number));
    Entry { owner: name(owner), kind, class, ttl: if class == Class::In { 60 } else { 0 }, data }
}

/// `a.z.test` TXT 0 is a file's, `z.test` A and MX are the system's; the key may change TXT and A beneath the
/// zone and at it.
fn judged(edits: Vec<Entry>) -> Result<BTreeMap<Name, usize>, Refusal> {
    let row = |owner: &str, kind, number| Row {
        name: name(owner),
        kind,
        ttl: 60,
        data: lower(&data(kind, number)),
    };
    let zone = zone_of(&[
        row("z.test", Kind::SOA, 1),
        row("z.test", Kind::NS, 0),
        row("z.test", Kind::A, 0),
        row("z.test", Kind::TXT, 0),
        row("a.z.test", Kind::TXT, 0),
        row("a.z.test", Kind::A, 0),
        row("b.z.test", Kind::A, 0),
        row("b.z.test", Kind::MX, 0),
    ]);
    let mut grants = everything();
    grants.0[0].kinds = [Kind::A, Kind::TXT, Kind::NS, Kind::RRSIG].into();
    let other_zone = |owner: &Name| owner.is_within(&name("acme.z.test")).then(|| name("acme.z.test"));
    let holder = |owner: &Name, kind| match (owner.to_string().as_str(), kind) {
        ("a.z.test", Kind::TXT) => Some(Holder::File("own.zone".into())),
        ("z.test", Kind::A | Kind::NS | Kind::SOA) => Some(Holder::System),
        _ => None,
    };
    let update = Update { zone: name("z.test"), demands: Vec::new(), edits };
    let changes = decide(&zone, &update, (&grants, &name("key")), other_zone, holder)?;
    Ok(changes.into_iter().map(|(owner, sets)| (owner, sets.len())).collect())
}

#[test]
fn what_a_file_says_and_what_is_published_is_not_to_be_changed_in_any_way() {
    let (file, system) = ("own.zone".to_owned(), name("z.test"));
    let said = Reason::Said { owner: name("a.z.test"), kind: Kind::TXT, file };
    let published = |kind| Reason::Published { owner: system.clone(), kind };
    for (edits, reason) in [
        (vec![edit("a.z.test", Kind::TXT, Class::In, Some(1))], said.clone()),
        (vec![edit("a.z.test", Kind::TXT, Class::Any, None)], said.clone()),
        (vec![edit("a.z.test", Kind::TXT, Class::None, Some(0))], said.clone()),
        (vec![edit("a.z.test", Kind::ANY, Class::Any, None)], said.clone()),
        // Nothing of an update is carried out when a part of it is not.
        (
            vec![
                edit("b.z.test", Kind::A, Class::In, Some(1)),
                edit("a.z.test", Kind::TXT, Class::Any, None),
            ],
            said,
        ),
        (vec![edit("z.test", Kind::A, Class::In, Some(3))], published(Kind::A)),
        (vec![edit("z.test", Kind::ANY, Class::Any, None)], published(Kind::A)),
        (vec![edit("z.test", Kind::NS, Class::In, Some(1))], published(Kind::NS)),
    ] {
        assert_eq!(judged(edits.clone()).unwrap_err(), Refusal { code: Code::Refused, reason }, "{edits:?}");
    }
    // What changes nothing is right: it stands there.
    assert_eq!(judged(vec![edit("a.z.test", Kind::TXT, Class::In, Some(0))]).unwrap(), BTreeMap::new());
    assert_eq!(judged(vec![edit("z.test", Kind::NS, Class::Any, None)]).unwrap(), BTreeMap::new());
    assert_eq!(
        judged(vec![edit("a.z.test", Kind::A, Class::Any, None)]).unwrap(),
        [(name("a.z.test"), 1)].into()
    );
}

#[test]
fn a_key_changes_only_names_and_types_that_it_was_granted_also_when_they_go_with_others() {
    let refused = |edits| judged(edits).unwrap_err().reason;
    let not_granted = |owner: &str, kind| Reason::NotGranted { owner: name(owner), kind };
    assert_eq!(
        refused(vec![edit("b.z.test", Kind::MX, Class::Any, None)]),
        not_granted("b.z.test", Kind::MX)
    );
    assert_eq!(
        refused(vec![edit("b.z.test", Kind::ANY, Class::Any, None)]),
        not_granted("b.z.test", Kind::MX)
    );
    assert_eq!(
        refused(vec![edit("no.z.test", Kind::MX, Class::None, Some(0))]),
        not_granted("no.z.test", Kind::MX)
    );
    let signature =
        Entry { data: Some(data(Kind::TXT, 0)), ..edit("b.z.test", Kind::RRSIG, Class::In, None) };
    assert!(matches!(refused(vec![signature]), Reason::NotServed { kind: Kind::RRSIG, .. }));
    // A tenant's name is not even spoken of.
    for class in [Class::Any, Class::In] {
        let number = (class == Class::In).then_some(0);
        let challenge = edit("_acme-challenge.acme.z.test", Kind::TXT, class, number);
        assert!(
            matches!(refused(vec![challenge]), Reason::OtherZone { zone, .. } if zone == name("acme.z.test"))
        );
    }
}
