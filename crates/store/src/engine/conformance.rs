//! What every engine must do, asked of each: of fjall, of a simulation's table, and of a map in memory that
//! shows what is asked at its plainest. `conforms!` lists it; a new engine needs a [`Maker`] and a line there.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

mod history;
mod place;
mod reference;

use self::place::{Disk, Simulation};
use self::reference::Reference;

/// A place where an engine keeps its rows.
trait Maker {
    /// Whether it refuses to be opened twice. What one process has to itself needs not.
    const IS_EXCLUSIVE: bool = true;

    /// An empty place.
    fn new() -> Self;

    fn open(&self) -> Result<Engine>;

    /// What a process that is killed in this moment leaves behind.
    fn killed(&self) -> Self;
}

macro_rules! conforms {
    ($name:ident, $maker:ty) => {
        conforms!($name, $maker:
            rows_come_in_the_order_of_their_bytes,
            a_range_holds_what_its_bounds_say,
            families_are_apart,
            the_last_of_several_changes_to_a_row_counts,
            rows_are_as_large_and_as_small_as_they_were,
            what_was_committed_is_there_after_the_engine_was_closed,
            what_was_committed_is_there_after_a_kill,
            a_view_does_not_move,
            readers_see_batches_whole_while_they_are_written,
            who_comes_second_is_refused_until_the_first_has_gone,
            any_history_is_that_of_a_map,
        );
    };
    ($name:ident, $maker:ty: $($test:ident,)+) => {
        mod $name {
            use super::*;
            $(#[test] fn $test() { super::$test::<$maker>(); })+
        }
    };
}

conforms!(fjall_conforms, Disk);
conforms!(simulated_conforms, Simulation);
conforms!(reference_conforms, Reference);

fn put(family: Family, key: &[u8], value: &[u8]) -> Row {
    (family, key.to_vec(), Some(value.to_vec()))
}

fn keys(rows: Found) -> Vec<Vec<u8>> {
    rows.map(|row| row.unwrap().0).collect()
}

/// Bytes that do not compress, the same for the same seed (xorshift).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

fn rows_come_in_the_order_of_their_bytes<M: Maker>() {
    let place = M::new();
    let engine = place.open().unwrap();
    let unordered: [&[u8]; 9] = [b"b", &[0xff, 0xff], b"a\0", &[0x80], &[0], b"a", &[0xff], b"ab", b"B"];
    engine.commit(unordered.iter().map(|key| put(Family::Record, key, b"")).collect()).unwrap();
    let mut ordered = unordered.map(<[u8]>::to_vec);
    ordered.sort();
    assert_eq!(keys(engine.view().range(Family::Record, Unbounded, Unbounded)), ordered);
}

fn a_range_holds_what_its_bounds_say<M: Maker>() {
    let place = M::new();
    let engine = place.open().unwrap();
    let all: [&[u8]; 6] = [b"a", b"b", b"b\0", b"c", b"c\xff", b"d"];
    engine.commit(all.iter().map(|key| put(Family::Feed, key, key)).collect()).unwrap();
    let view = engine.view();
    let bounds = || {
        let inner = all.into_iter().chain([&b"bb"[..], b"0", b"z"]);
        inner.flat_map(|key| [Included(key.to_vec()), Excluded(key.to_vec())]).chain([Unbounded])
    };
    for (from, to) in bounds().flat_map(|from| bounds().map(move |to| (from.clone(), to))) {
        let is_within = |key: &&[u8]| {
            let above = match &from {
                Included(from) => *key >= from.as_slice(),
                Excluded(from) => *key > from.as_slice(),
                Unbounded => true,
            };
            above
                && match &to {
                    Included(to) => *key <= to.as_slice(),
                    Excluded(to) => *key < to.as_slice(),
                    Unbounded => true,
                }
        };
        let expected: Vec<_> = all.into_iter().filter(is_within).map(<[u8]>::to_vec).collect();
        assert_eq!(keys(view.range(Family::Feed, from.clone(), to.clone())), expected, "{from:?} {to:?}");
    }
    assert_eq!(keys(view.prefix(Family::Feed, b"b")), [b"b".to_vec(), b"b\0".to_vec()]);
    assert_eq!(keys(view.scan(Family::Feed, b"c", Excluded(b"c".to_vec()))), [b"c\xff".to_vec()]);
    assert_eq!(view.first(Family::Feed, b"b", 1).unwrap(), [(b"b".to_vec(), b"b".to_vec())]);
    assert_eq!(view.first(Family::Feed, b"", usize::MAX).unwrap().len(), all.len());
}

fn families_are_apart<M: Maker>() {
    let place = M::new();
    let engine = place.open().unwrap();
    let rows = Family::ALL.map(|(family, name)| put(family, b"key", name.as_bytes()));
    engine.commit(rows.to_vec()).unwrap();
    engine.commit(vec![(Family::Body, b"key".to_vec(), None)]).unwrap();
    for (family, name) in Family::ALL {
        let expected = (family != Family::Body).then(|| name.as_bytes().to_vec());
        assert_eq!(engine.view().row(family, b"key").unwrap(), expected, "{name}");
        assert_eq!(
            engine.view().range(family, Unbounded, Unbounded).count(),
            usize::from(expected.is_some()),
            "{name}"
        );
    }
}

fn the_last_of_several_changes_to_a_row_counts<M: Maker>() {
    let place = M::new();
    let engine = place.open().unwrap();
    let remove = |key: &[u8]| (Family::Meta, key.to_vec(), None);
    let set = |key: &[u8], value: &[u8]| put(Family::Meta, key, value);
    engine.commit(vec![]).unwrap();
    engine.commit(vec![remove(b"never there"), set(b"kept", b"1"), set(b"gone", b"1")]).unwrap();
    engine
        .commit(vec![
            set(b"kept", b"2"),
            remove(b"kept"),
            set(b"kept", b"3"),
            set(b"gone", b"2"),
            remove(b"gone"),
        ])
        .unwrap();
    engine.commit(vec![remove(b"gone")]).unwrap();
    let rows: Vec<_> = engine.view().prefix(Family::Meta, b"").map(Result::unwrap).collect();
    assert_eq!(rows, [(b"kept".to_vec(), b"3".to_vec())]);
}

fn rows_are_as_large_and_as_small_as_they_were<M: Maker>() {
    let place = M::new();
    let engine = place.open().unwrap();
    // An inline body with its metadata is far smaller; a batch is not (`writer::BATCH_BYTES_MAX`).
    let large = noise(1, 16 << 20);
    let key = noise(2, KEY_BYTES_MAX);
    engine
        .commit(vec![
            put(Family::Body, b"large", &large),
            put(Family::Record, &key, b"long"),
            put(Family::Record, &[0], b""),
        ])
        .unwrap();
    let look = |engine: &Engine| {
        let view = engine.view();
        assert!(view.row(Family::Body, b"large").unwrap() == Some(large.clone()));
        assert_eq!(view.row(Family::Record, &key).unwrap().as_deref(), Some(&b"long"[..]));
        // A row that holds nothing is there all the same.
        assert_eq!(view.row(Family::Record, &[0]).unwrap(), Some(Vec::new()));
        assert_eq!(view.row(Family::Record, &[1]).unwrap(), None);
    };
    look(&engine);
    drop(engine);
    look(&place.open().unwrap());
}

fn what_was_committed_is_there_after_the_engine_was_closed<M: Maker>() {
    let place = M::new();
    for number in 0..4_u8 {
        let engine = place.open().unwrap();
        assert_eq!(keys(engine.view().prefix(Family::Feed, b"")).len(), usize::from(number));
        engine.commit(vec![put(Family::Feed, &[number], b"")]).unwrap();
    }
}

fn what_was_committed_is_there_after_a_kill<M: Maker>() {
    let mut place = M::new();
    for number in 0..4_u8 {
        let engine = place.open().unwrap();
        assert_eq!(keys(engine.view().prefix(Family::Feed, b"")).len(), usize::from(number));
        engine.commit(vec![put(Family::Feed, &[number], b"")]).unwrap();
        // The engine is still open here, and has not said goodbye to its files.
        place = place.killed();
    }
}

fn a_view_does_not_move<M: Maker>() {
    let place = M::new();
    let engine = place.open().unwrap();
    engine.commit((0..100).map(|key| put(Family::Record, &[key], b"before")).collect()).unwrap();
    let view = engine.view();
    // Rows are read as they are asked for, but they are those of the view.
    let mut begun = view.prefix(Family::Record, b"");
    begun.next().unwrap().unwrap();
    let mut after = vec![put(Family::Record, &[200], b"after")];
    after.extend((0..50).map(|key| (Family::Record, vec![key], None)));
    after.extend((50..100).map(|key| put(Family::Record, &[key], b"after")));
    engine.commit(after).unwrap();
    assert_eq!(view.row(Family::Record, &[7]).unwrap(), Some(b"before".to_vec()));
    assert_eq!(view.row(Family::Record, &[200]).unwrap(), None);
    assert_eq!(keys(view.prefix(Family::Record, b"")).len(), 100);
    drop(view);
    let rest: Vec<_> = begun.map(Result::unwrap).collect();
    assert_eq!(rest.len(), 99);
    assert!(rest.iter().all(|(_, value)| value == b"before"));
    let now = engine.view();
    assert_eq!(keys(now.prefix(Family::Record, b"")).len(), 51);
    assert_eq!(now.row(Family::Record, &[7]).unwrap(), None);
}

fn readers_see_batches_whole_while_they_are_written<M: Maker>() {
    const BATCHES: u64 = 200;
    let place = M::new();
    let engine = place.open().unwrap();
    let ended = AtomicBool::new(false);
    // A batch writes its number under three keys of three families, and moves a fourth row on.
    let batch = |number: u64| {
        let value = number.to_be_bytes();
        let mut rows = vec![(Family::Feed, (number - 1).to_be_bytes().to_vec(), None)];
        rows.extend(
            [Family::Meta, Family::Record, Family::Body].map(|family| put(family, b"number", &value)),
        );
        rows.push(put(Family::Feed, &value, b""));
        rows
    };
    engine.commit(batch(1)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                loop {
                    let is_last = ended.load(Ordering::Acquire);
                    let view = engine.view();
                    let mut seen = [Family::Meta, Family::Record, Family::Body]
                        .map(|family| view.row(family, b"number").unwrap().unwrap())
                        .map(|number| u64::from_be_bytes(number.try_into().unwrap()));
                    let moved = keys(view.prefix(Family::Feed, b""));
                    assert_eq!(moved, [seen[0].to_be_bytes().to_vec()]);
                    seen.sort_unstable();
                    assert_eq!(seen[0], seen[2]);
                    assert!(seen[0] >= last, "{} after {last}", seen[0]);
                    last = seen[0];
                    if is_last {
                        assert_eq!(last, BATCHES, "what has returned is seen");
                        return;
                    }
                }
            });
        }
        for number in 2..=BATCHES {
            engine.commit(batch(number)).unwrap();
        }
        ended.store(true, Ordering::Release);
    });
}

fn who_comes_second_is_refused_until_the_first_has_gone<M: Maker>() {
    if !M::IS_EXCLUSIVE {
        return;
    }
    let place = M::new();
    let first = place.open().unwrap();
    let refused = place.open().err().expect("two may not write");
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    first.commit(vec![put(Family::Meta, b"a", b"1")]).unwrap();
    drop(first);
    let second = place.open().unwrap();
    assert_eq!(second.view().row(Family::Meta, b"a").unwrap(), Some(b"1".to_vec()));
}

fn any_history_is_that_of_a_map<M: Maker>() {
    history::check::<M>();
}

#[test]
fn nothing_is_written_after_an_error() {
    let disk = Reference::default();
    let engine = Engine::over(disk.open().unwrap());
    engine.commit(vec![put(Family::Meta, b"a", b"1")]).unwrap();
    disk.fail_next();
    let failed = engine.commit(vec![put(Family::Meta, b"a", b"2")]).unwrap_err();
    assert!(matches!(failed, Error::Engine { .. }), "{failed}");
    for _ in 0..2 {
        let refused = engine.commit(vec![put(Family::Meta, b"a", b"3")]).unwrap_err();
        assert!(matches!(refused, Error::Poisoned), "{refused}");
    }
    // It can still be read, and opened anew.
    assert_eq!(engine.view().row(Family::Meta, b"a").unwrap(), Some(b"1".to_vec()));
    drop(engine);
    let engine = Engine::over(disk.open().unwrap());
    engine.commit(vec![put(Family::Meta, b"a", b"4")]).unwrap();
}

/// Asks this test of a process of its own, in which nothing else takes memory.
fn in_a_process_of_its_own(test: &str, work: impl FnOnce()) {
    const CHILD: &str = "SWITCHBACK_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return work();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The most memory that this process has had at once, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Of the engine of real systems only: the others are maps in memory.
#[test]
fn more_rows_than_memory_are_written_and_scanned() {
    const BATCHES: u64 = 192;
    in_a_process_of_its_own("engine::conformance::more_rows_than_memory_are_written_and_scanned", || {
        let place = Disk::new();
        let engine = place.open().unwrap();
        for batch in 0..BATCHES {
            let row = |number: u64| {
                let key = (batch << 10 | number).to_be_bytes();
                put(Family::Record, &key, &noise(batch << 10 | number, 1 << 10))
            };
            engine.commit((0..1 << 10).map(row).collect()).unwrap();
        }
        let rows = engine.view().prefix(Family::Record, b"").map(Result::unwrap);
        let sum = rows.map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        assert_eq!(sum, BATCHES * (1032 << 10));
        let peak = peak_bytes();
        println!("{peak} bytes at most, of {sum} in rows");
        // As a rule it is less than half. What waits to be written out is more where the disk is slow.
        assert!(peak < sum, "{peak} bytes at most, of {sum} in rows");
    });
}
