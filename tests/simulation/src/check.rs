//! What must be true at the end: both sides hold the same, and nothing that was ever made durable
//! is missing without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use rusty_s3::Credentials;

use crate::client::{Answer, Connection};
use crate::site::System;
use crate::story::Story;
use crate::watch::{self, Contents, Kind, Version, Write};

/// A client tries again so often, with this between two tries.
const TRIES: u32 = 20;
const RETRY: Duration = Duration::from_secs(1);

/// Compares everything once the link is healthy.
pub async fn check(story: &Story) {
    let of = |system| Contents::of(&story.disks.read(&story.folder(system), Kind::Catalogue));
    let (east, west) = (of(System::East), of(System::West));
    // S7: tombstones are each side's own matter.
    let visible = |contents: &Contents| -> BTreeMap<String, _> {
        let objects = contents.objects.iter().filter(|(_, held)| !held.etag.is_empty());
        objects.map(|(key, held)| (key.clone(), held.clone())).collect()
    };
    let objects = visible(&east);
    if objects != visible(&west) {
        let text = format!("S7: the sides differ: {objects:?} and {:?}", visible(&west));
        story.record.violation(&text);
    }
    if east.notes != west.notes {
        let only = |here: &Contents, there: &Contents| -> Vec<Version> {
            here.notes.keys().filter(|loser| !there.notes.contains_key(loser)).copied().collect()
        };
        let text = format!(
            "the reports differ: only east {:?}, only west {:?}",
            only(&east, &west),
            only(&west, &east)
        );
        story.record.violation(&text);
    }
    names_lead_to_the_primary(story).await;
    let writes = story.watch.writes();
    nothing_is_lost(story, &writes, &east);
    losers_are_kept(story, &east, &writes);
    for system in System::ALL {
        if let Err(error) = readable(story, system, &east).await {
            story.record.violation(&format!("{system} cannot be read: {error:#}"));
        }
    }
}

/// DNS follows authority: in both systems the link's names lead to the primary again.
async fn names_lead_to_the_primary(story: &Story) {
    let mut stray = Vec::new();
    for _ in 0..TRIES {
        let zones = System::ALL.into_iter().flat_map(|system| {
            let rows = story.disks.read(&story.folder(system), Kind::Zones);
            watch::zones(&rows).into_iter().map(move |zone| (system, zone))
        });
        stray = zones.filter(|(_, (_, target))| target != System::East.name()).collect();
        if stray.is_empty() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
    story.record.violation(&format!("names lead elsewhere: {stray:?}"));
}

/// S5: each durable write is current, or somebody who wrote later had it before, or it is noted as
/// the loser of a conflict, or it went with the only system that held it.
fn nothing_is_lost(story: &Story, writes: &BTreeMap<Version, Write>, contents: &Contents) {
    let destroyed = story.watch.destroyed();
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
            story.record.violation(&format!("S5: {version:?} is lost: {write:?}"));
        } else if current.is_some_and(|held| write.replaced.contains(&held.version)) {
            if story.watch.was_restored() {
                // Not covered, and said so: the mark of the deletion was gone on both sides.
                story.record.count("deleted objects that a backup brought back");
            } else {
                story.record.violation(&format!("what was deleted by {version:?} is there again: {write:?}"));
            }
        }
    }
}

/// What the catalogue holds is what a client reads.
async fn readable(story: &Story, system: System, contents: &Contents) -> anyhow::Result<()> {
    let credentials =
        story.credentials.borrow().clone().unwrap_or_else(|| unreachable!("made in the set-up"));
    let mut connection = None;
    for (key, held) in &contents.objects {
        let answer = read(system, &credentials, &mut connection, key).await?;
        let expected = if held.etag.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
        if answer.status != expected || (expected == StatusCode::OK && answer.etag != held.etag) {
            let text =
                format!("{system} shows {key} as {} {}, and holds {held:?}", answer.status, answer.etag);
            story.record.violation(&text);
        }
    }
    Ok(())
}

/// Reads as a client does who tries again: a gateway that was cut off from its services finds them.
async fn read(
    system: System,
    credentials: &Credentials,
    connection: &mut Option<Connection>,
    key: &str,
) -> anyhow::Result<Answer> {
    let mut last = anyhow::anyhow!("never tried");
    for _ in 0..TRIES {
        let answer = async {
            let open = match connection.take() {
                Some(open) => open,
                None => Connection::open(system, credentials).await?,
            };
            connection.insert(open).get(key).await
        };
        match answer.await {
            Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => return Ok(answer),
            Ok(answer) => last = anyhow::anyhow!("{}", answer.status),
            Err(error) => last = error,
        }
        *connection = None;
        tokio::time::sleep(RETRY).await;
    }
    Err(last)
}

/// S5: what lost is where its note says. Nobody but the store writes there.
fn losers_are_kept(story: &Story, contents: &Contents, writes: &BTreeMap<Version, Write>) {
    for (loser, note) in &contents.notes {
        let kept = contents.objects.get(&note.kept_at).map(|held| held.etag.as_str()).unwrap_or_default();
        let lost = writes.get(loser).map(|write| write.etag.as_str()).unwrap_or_default();
        if kept != lost {
            let text =
                format!("S5: {loser:?} lost and is not kept at {:?}: {kept:?}, not {lost:?}", note.kept_at);
            story.record.violation(&text);
        }
    }
}
