//! What must be true at the end, of what the two systems hold: both the same, and nothing that was ever
//! made durable is missing without a word.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Record;
use crate::site::System;
use crate::watch::{Contents, Version, Watch, Write};

/// Compares everything once the link is healthy.
pub fn compare(record: &Record, watch: &Watch, east: &Contents, west: &Contents) {
    equal(record, east, west);
    if east.notes != west.notes {
        let only = |here: &Contents, there: &Contents| -> Vec<Version> {
            here.notes.keys().filter(|loser| !there.notes.contains_key(loser)).copied().collect()
        };
        let text =
            format!("the reports differ: only east {:?}, only west {:?}", only(east, west), only(west, east));
        record.violation(&text);
    }
    let writes = watch.writes();
    nothing_is_lost(record, watch, &writes, east);
    losers_are_kept(record, east, &writes);
}

/// S7: both sides show the same.
pub fn equal(record: &Record, east: &Contents, west: &Contents) {
    // S7: tombstones are each side's own matter.
    let visible = |contents: &Contents| -> BTreeMap<String, _> {
        let objects = contents.objects.iter().filter(|(_, held)| !held.etag.is_empty());
        objects.map(|(key, held)| (key.clone(), held.clone())).collect()
    };
    let objects = visible(east);
    if objects != visible(west) {
        let text = format!("S7: the sides differ: {objects:?} and {:?}", visible(west));
        record.violation(&text);
    }
}

/// DNS follows authority: the zones among those of both systems that do not lead to the primary.
#[must_use]
pub fn stray(zones: impl IntoIterator<Item = (System, (String, String))>) -> Vec<(System, (String, String))> {
    zones.into_iter().filter(|(_, (_, target))| target != System::East.name()).collect()
}

/// S5: each durable write is current, or somebody who wrote later had it before, or it is noted as
/// the loser of a conflict, or it went with the only system that held it.
fn nothing_is_lost(record: &Record, watch: &Watch, writes: &BTreeMap<Version, Write>, contents: &Contents) {
    let destroyed = watch.destroyed();
    let mut known: BTreeSet<Version> = destroyed.clone();
    known.extend(contents.objects.values().map(|held| held.version));
    known.extend(contents.notes.keys());
    // What was replaced by a write that is there, or by one that such a write replaced in its turn.
    let mut there: Vec<Version> =
        writes.keys().filter(|version| !destroyed.contains(version)).copied().collect();
    let mut replaced = BTreeSet::new();
    while let Some(version) = there.pop() {
        let before = writes.get(&version).map(|write| &write.replaced[..]).unwrap_or_default();
        there.extend(before.iter().filter(|version| replaced.insert(**version)));
    }
    known.extend(replaced);
    for (version, write) in writes.iter().filter(|(version, _)| !known.contains(version)) {
        // The mark of a deletion goes when both sides have it, and what is written then knows nothing
        // of it. What it deleted must stay away.
        let current = contents.objects.get(&write.key).filter(|held| !held.etag.is_empty());
        if !write.etag.is_empty() {
            record.violation(&format!("S5: {version:?} is lost: {write:?}"));
        } else if current.is_some_and(|held| write.replaced.contains(&held.version)) {
            if watch.was_restored() {
                // Not covered, and said so: the mark of the deletion was gone on both sides.
                record.count("deleted objects that a backup brought back");
            } else {
                record.violation(&format!("what was deleted by {version:?} is there again: {write:?}"));
            }
        }
    }
}

/// S5: what lost is where its note says. Nobody but the store writes there.
fn losers_are_kept(record: &Record, contents: &Contents, writes: &BTreeMap<Version, Write>) {
    for (loser, note) in &contents.notes {
        let kept = contents.objects.get(&note.kept_at).map(|held| held.etag.as_str()).unwrap_or_default();
        let lost = writes.get(loser).map(|write| write.etag.as_str()).unwrap_or_default();
        if kept != lost {
            let text =
                format!("S5: {loser:?} lost and is not kept at {:?}: {kept:?}, not {lost:?}", note.kept_at);
            record.violation(&text);
        }
    }
}
