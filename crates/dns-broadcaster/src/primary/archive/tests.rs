//! What is kept is what is read again, whenever that is.

use proptest::prelude::*;

use super::*;
use crate::core::record::{Kind, Rdata, Soa};
use crate::core::secondary::stream::Line;
use crate::core::transfer;
use crate::core::zone::Serial;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn push(stream: &mut Stream, owner: &Name, kind: Kind, value: &Rdata) {
    stream.push(Line { owner: owner.as_bytes(), kind, ttl: 60, value: value.as_bytes() });
}

fn soa(origin: &Name, serial: u32) -> Rdata {
    let (mname, rname) = (origin.clone(), origin.clone());
    let serial = Serial(serial);
    Rdata::soa(&Soa { mname, rname, serial, refresh: 1, retry: 1, expire: 9, minimum: 1 })
}

/// The whole zone, with so many names of some hundred bytes.
fn whole(origin: &Name, serial: u32, names: usize) -> Stream {
    let mut stream = Stream::new(true);
    push(&mut stream, origin, Kind::SOA, &soa(origin, serial));
    push(&mut stream, origin, Kind::NS, &Rdata::name(origin));
    for number in 0..names {
        let owner = origin.child(&format!("h{number}")).unwrap();
        push(&mut stream, &owner, Kind::TXT, &Rdata::text(&"x".repeat(90)));
    }
    stream
}

/// One text goes and another comes.
fn step(origin: &Name, from: u32, bytes: usize) -> Stream {
    let mut stream = Stream::new(false);
    let owner = origin.child("changes").unwrap();
    let text = |serial: u32| Rdata::text(&format!("{serial} {}", "y".repeat(bytes)));
    push(&mut stream, origin, Kind::SOA, &soa(origin, from));
    if from > 1 {
        push(&mut stream, &owner, Kind::TXT, &text(from));
    }
    push(&mut stream, origin, Kind::SOA, &soa(origin, from + 1));
    push(&mut stream, &owner, Kind::TXT, &text(from + 1));
    stream
}

fn rows(zone: &Zone) -> Vec<(Vec<u8>, Kind, Vec<u8>)> {
    let row =
        |record: transfer::Record<'_>| (record.owner.to_vec(), record.kind, record.data.as_bytes().to_vec());
    transfer::whole(zone).map(row).collect()
}

fn parts(archive: &Archive) -> usize {
    archive.db.scan(PART).unwrap().len()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn what_is_kept_is_read_again_and_takes_no_more_room_than_twice_the_zone(
        names in prop::sample::select(vec![1_usize, 50, 2_000]),
        bytes in prop::sample::select(vec![1_usize, 4_000, 30_000]),
        starts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (origin, other) = (name("z.test"), name("other.test"));
        let (mut archive, _) = Archive::open(folder.path(), Key::new(1, 2)).unwrap();
        let label = Label(b"one".to_vec());
        let keep = |archive: &Archive, zone: &Zone, stream: &Stream, label, at| {
            runtime.block_on(archive.keep(zone, stream, label, Timestamp(at))).unwrap();
        };
        let first = whole(&other, 7, 3);
        keep(&archive, &Zone::of_stream(&other, &first, None, Key::new(1, 2)).unwrap(), &first, None, 3);
        let first = whole(&origin, 1, names);
        let mut zone = Zone::of_stream(&origin, &first, None, Key::new(1, 2)).unwrap();
        keep(&archive, &zone, &first, Some(&label), 1);
        for (number, is_start) in (1..).zip(starts) {
            let stream = step(&origin, number, bytes);
            zone = Zone::of_stream(&origin, &stream, Some(&zone), Key::new(1, 2)).unwrap();
            keep(&archive, &zone, &stream, Some(&label), number.into());
            if is_start {
                drop(archive);
                let found;
                (archive, found) = Archive::open(folder.path(), Key::new(1, 2)).unwrap();
                prop_assert_eq!(found.len(), 2);
                prop_assert_eq!(rows(&found[&origin].zone), rows(&zone));
                prop_assert_eq!(found[&origin].word, Timestamp(number.into()));
                prop_assert_eq!(&found[&origin].label, &Some(label.clone()));
                prop_assert_eq!(found[&other].zone.serial(), Serial(7));
            }
            let kept = archive.state().kept[&origin].clone();
            prop_assert!(kept.changed_bytes <= kept.whole_bytes.max(WHOLE_BYTES_MIN), "{kept:?}");
            prop_assert_eq!(parts(&archive), kept.parts as usize + 1);
        }
    }
}

#[test]
fn what_belongs_to_no_copy_goes_with_the_next_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let origin = name("z.test");
    let stream = whole(&origin, 1, 2_000);
    let zone = Zone::of_stream(&origin, &stream, None, Key::new(1, 2)).unwrap();
    let (archive, _) = Archive::open(folder.path(), Key::new(1, 2)).unwrap();
    runtime.block_on(archive.keep(&zone, &stream, None, Timestamp(1))).unwrap();
    let all = parts(&archive);
    assert!(all > 1);
    // Killed while it was written whole again, and while another one was let go of.
    let mut batch = Batch::default();
    (0..3).for_each(|number| batch.put(PART, &part_key(99, number), b"x"));
    (0..3).for_each(|number| batch.put(PART, &part_key(0, number), b"x"));
    archive.db.commit(batch).unwrap();
    drop(archive);
    let (archive, found) = Archive::open(folder.path(), Key::new(1, 2)).unwrap();
    assert_eq!((found.len(), parts(&archive)), (1, all));
    // Nothing that is written now gets the place of what was there.
    runtime.block_on(archive.keep(&zone, &stream, None, Timestamp(2))).unwrap();
    assert!(archive.state().kept[&origin].generation > 99);
    assert_eq!(parts(&archive), all);
    // Let go of.
    let mut batch = Batch::default();
    forget_copy(&mut batch, &origin);
    archive.db.commit(batch).unwrap();
    let gone = archive.forget(&origin).unwrap();
    runtime.block_on(archive.remove_parts(&gone)).unwrap();
    assert_eq!(parts(&archive), 0);
    drop(archive);
    assert!(Archive::open(folder.path(), Key::new(1, 2)).unwrap().1.is_empty());
}

#[test]
fn a_copy_that_is_damaged_is_taken_anew() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let origin = name("z.test");
    let stream = whole(&origin, 1, 10);
    let zone = Zone::of_stream(&origin, &stream, None, Key::new(1, 2)).unwrap();
    let (archive, _) = Archive::open(folder.path(), Key::new(1, 2)).unwrap();
    runtime.block_on(archive.keep(&zone, &stream, None, Timestamp(1))).unwrap();
    let mut batch = Batch::default();
    batch.put(PART, &part_key(1, 0), b"\x01\0\0\0\x09damage");
    archive.db.commit(batch).unwrap();
    drop(archive);
    let (archive, found) = Archive::open(folder.path(), Key::new(1, 2)).unwrap();
    assert!(found.is_empty());
    runtime.block_on(archive.keep(&zone, &stream, None, Timestamp(2))).unwrap();
    drop(archive);
    assert_eq!(Archive::open(folder.path(), Key::new(1, 2)).unwrap().1.len(), 1);
}
