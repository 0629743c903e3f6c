//! Keys with histories at random, listed in every way that endpoints have, and imports of them that end anywhere.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// A version of `k`: its number, which is its id, and its time.
fn entry(key: &str, number: usize, marker: bool, second: u64) -> Entry {
    let modified = format!("2026-01-01T00:00:{second:02}Z");
    let etag = if marker { String::new() } else { format!("etag{number}") };
    Entry { key: key.into(), version: Some(number.to_string()), marker, size: 1, modified, etag }
}

/// Newest first: whether each is a marker, and how many seconds later than the one before it.
fn history(key: &str, steps: &[(bool, u64)]) -> Vec<Entry> {
    let mut second = 0;
    let mut entries = Vec::new();
    for (number, (marker, later)) in steps.iter().enumerate() {
        second += later;
        entries.push(entry(key, number, *marker, second));
    }
    entries.reverse();
    entries
}

/// As an endpoint that parts delete markers from versions writes a page.
fn parted(page: &[Entry]) -> Vec<Entry> {
    let (markers, versions): (Vec<_>, Vec<_>) = page.iter().cloned().partition(|entry| entry.marker);
    [markers, versions].concat()
}

fn steps(later: std::ops::Range<u64>) -> impl Strategy<Value = Vec<(bool, u64)>> {
    prop::collection::vec((any::<bool>(), later), 1..20)
}

proptest! {
    #[test]
    fn the_versions_of_each_key_come_out_whole_and_in_order(
        keys in prop::collection::vec(steps(1..3), 1..5),
        page_size in 1..9_usize,
        is_parted in any::<bool>(),
        names_last in any::<bool>(),
    ) {
        let histories: Vec<_> =
            keys.iter().enumerate().map(|(number, steps)| history(&format!("k{number}"), steps)).collect();
        let all = histories.concat();
        let pages: Vec<_> = all.chunks(page_size).collect();
        let (mut gathering, mut gathered) = (Gathering::default(), Vec::new());
        for (number, page) in pages.iter().enumerate() {
            let last = page.last().unwrap();
            // Some endpoints name what stood last, others what stands next.
            let named = pages.get(number + 1).map(|next| if names_last { last } else { &next[0] });
            let next = named.map(|entry| After { key: entry.key.clone(), version: entry.version.clone() });
            let entries = if is_parted { parted(page) } else { page.to_vec() };
            gathered.extend(gathering.take(entries, next.as_ref()));
        }
        let told: Option<Vec<_>> = gathered.iter().map(|found| ordered(found)).collect();
        // Their times differ, so that nothing is in doubt.
        prop_assert_eq!(told.unwrap(), histories);
    }

    #[test]
    fn an_order_is_right_or_in_doubt(
        steps in steps(0..2),
        page_size in 1..9_usize,
        is_parted in any::<bool>(),
        jumps in any::<bool>(),
    ) {
        let mut history = history("k", &steps);
        if jumps && !history[0].marker {
            // An upload in parts has the time at which it began.
            history[0] = Entry { etag: "parts-2".into(), ..entry("k", history.len() - 1, false, 0) };
        }
        let found: Vec<_> = history.chunks(page_size).enumerate().flat_map(|(page, entries)| {
            let entries = if is_parted { parted(entries) } else { entries.to_vec() };
            entries.into_iter().map(move |entry| Found { page: page as u64, entry })
        }).collect();
        if let Some(told) = ordered(&found) {
            prop_assert_eq!(&told, &history);
        }
        // What pages of one version say is never in doubt.
        let one_by_one: Vec<_> =
            history.iter().enumerate().map(|(page, entry)| Found { page: page as u64, entry: entry.clone() }).collect();
        prop_assert_eq!(ordered(&one_by_one).unwrap(), history);
    }

    /// An import that ends before any write is noted, and goes on from what the target lists, brings each version
    /// once and in order; unless somebody else wrote, which is then seen.
    #[test]
    fn nothing_is_brought_twice_or_left_out(
        steps in steps(1..3),
        same in any::<bool>(),
        ends in prop::collection::vec((0..6_usize, any::<bool>()), 0..6),
        stranger in prop::option::of(0..6_usize),
    ) {
        let mut source = history("k", &steps);
        source.reverse();
        if same {
            // Several versions of the same bytes, as a client makes that writes whatever it has.
            source.iter_mut().filter(|entry| !entry.marker).for_each(|entry| entry.etag = "same".into());
        }
        let due: Vec<_> = source.iter().map(|Entry { marker, size, etag, .. }| {
            Due { marker: *marker, size: *size, etag: etag.clone() }
        }).collect();
        let (mut target, mut journal, mut noted) = (Vec::<Entry>::new(), HashSet::new(), 0);
        let mut met = false;
        for (round, (writes, notes)) in ends.iter().copied().chain([(usize::MAX, true)]).enumerate() {
            if Some(round) == stranger {
                target.insert(0, Entry { etag: "strange".into(), ..entry("k", 1000, false, 0) });
            }
            let found = standing(&target, |version| journal.contains(version), &due[noted..], false);
            noted += found.landed.len();
            journal.extend(found.landed);
            if found.foreign {
                met = true;
                break;
            }
            for entry in source[noted..].iter().take(writes).cloned().collect::<Vec<_>>() {
                let version = format!("here-{}", target.len());
                target.insert(0, Entry { version: Some(version.clone()), ..entry });
                // The one whose line is lost is the last that is written.
                if notes {
                    journal.insert(version);
                    noted += 1;
                } else {
                    break;
                }
            }
        }
        let brought = target.iter().rev().filter(|entry| entry.etag != "strange");
        let brought: Vec<_> = brought.map(|entry| (entry.marker, entry.etag.clone())).collect();
        let wanted: Vec<_> = source.iter().map(|entry| (entry.marker, entry.etag.clone())).collect();
        prop_assert_eq!(met, stranger.is_some_and(|round| round <= ends.len()));
        if met {
            prop_assert_eq!(&brought[..], &wanted[..brought.len()]);
        } else {
            prop_assert_eq!(brought, wanted);
        }
    }
}

#[test]
fn times_that_are_written_in_two_ways_are_not_compared() {
    let (mut marker, version) = (entry("k", 1, true, 2), entry("k", 0, false, 1));
    marker.modified = "2026-01-01T00:00:02.000Z".into();
    let found: Vec<_> = [marker, version].into_iter().map(|entry| Found { page: 1, entry }).collect();
    assert_eq!(ordered(&found), None);
}

#[test]
fn with_overwrite_what_arrived_is_found_also_above_what_others_wrote() {
    let due = [Due { marker: false, size: 1, etag: "etag1".into() }];
    let held = [entry("k", 1, false, 2), entry("k", 0, false, 1)];
    let landed = |overwrite| standing(&held, |_| false, &due, overwrite);
    assert_eq!(landed(true), Standing { landed: vec!["1".into()], foreign: true });
    assert_eq!(landed(false), Standing { landed: Vec::new(), foreign: true });
}
