//! What lost a conflict: kept, and noted. Copies and notes are records of their own made where the
//! conflict is noticed; they travel to the peer like any other. Both are named by the loser and are
//! the same whichever side makes them, so both systems end with the same copies and the same report.

use std::cmp::Ordering;

use switchback_model::{ContentId, Version, VersionVector};

use crate::batch::Batch;
use crate::error::Result;
use crate::feed::{Applied, ConflictPolicy, Sender};
use crate::key::LOCAL;
use crate::lock::{self, Lock, OBJECT_LOCK, ObjectLock};
use crate::record::{
    Divergence, KEY_MAX, LOST_AND_FOUND, NamespaceRecord, Payload, Record, RecordKey, Trace,
};
use crate::versioning::{VERSIONING, Versioning};

/// Keeps what lost, and notes the conflict.
pub(crate) fn keep_loser(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    loser: &Record,
    winner: &Record,
    rule: &str,
) -> Result<()> {
    // Two deletes agree, whichever mark each left. A conflict about a note of a conflict cannot be: both
    // have one version.
    if loser.is_without_object() && winner.is_without_object() || lock::agree(loser, winner) {
        return Ok(());
    }
    let link_name = batch.content(id)?.access.link_name.clone();
    // A version is beside the others already.
    let is_version = matches!(loser.key, RecordKey::Version { .. });
    let kept_at = match (&loser.key, &loser.payload) {
        (
            RecordKey::Object { namespace, key } | RecordKey::Version { namespace, key, .. },
            Payload::Object(_),
        ) => {
            let kept_at = versioned(&format!("{LOST_AND_FOUND}replication/{link_name}/{key}"), loser.version);
            keep_copy(batch, id, loser, RecordKey::object(namespace, &kept_at))?;
            if sender.policy == ConflictPolicy::KeepBoth && !is_version {
                keep_copy(batch, id, loser, RecordKey::object(namespace, versioned(key, loser.version)))?;
            }
            Some(kept_at)
        }
        _ => None,
    };
    note(batch, id, sender, loser, winner, rule, kept_at)
}

/// A deleted namespace into which the other side has written meanwhile is there again: hiding an
/// acknowledged object loses it. Decided where the delete was made, because only there is the order
/// of the two known: an object of the same system that comes later was deleted before the namespace.
pub(crate) fn keep_namespace(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    incoming: &Record,
) -> Result<()> {
    let (RecordKey::Object { namespace, .. } | RecordKey::Version { namespace, .. }, false) =
        (&incoming.key, incoming.is_deleted())
    else {
        return Ok(());
    };
    let key = RecordKey::Namespace(namespace.clone());
    let Some(deleted) = batch.stored(id, &key)?.filter(|stored| stored.record.is_deleted()) else {
        return Ok(());
    };
    if deleted.record.version.site != batch.site() || incoming.version.site == batch.site() {
        return Ok(());
    }
    let rule = "a namespace that was written to stays";
    note(batch, id, sender, &deleted.record, incoming, rule, None)?;
    let (name, created_unix_ms) = (namespace.clone(), batch.now_unix_ms);
    // What it was set to went with it, but that it keeps versions, and locks them, shows.
    let versioning = match incoming.key {
        RecordKey::Version { .. } => Versioning::Enabled.setting(),
        _ => None,
    };
    let is_locked = incoming.as_object().is_some_and(|object| !object.lock.is_none());
    let lock = (is_locked && versioning.is_some()).then(|| ObjectLock::default().setting());
    let versioning = versioning.map(|value| (VERSIONING.to_owned(), value.to_owned()));
    let lock = lock.map(|value| (OBJECT_LOCK.to_owned(), value));
    let settings = versioning.into_iter().chain(lock).collect();
    let namespace = NamespaceRecord { name, created_unix_ms, settings };
    batch.write_local(id, key, Some(deleted), Payload::Namespace(namespace)).map(|_| ())
}

fn note(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    loser: &Record,
    winner: &Record,
    rule: &str,
    kept_at: Option<String>,
) -> Result<()> {
    let is_configuration = loser.key.is_configuration() && !loser.is_deleted();
    let trace = |record: &Record| Trace {
        system: sender.systems.name(record.version.site),
        size: record.size(),
        etag: record.as_object().map(|object| object.etag.clone()).unwrap_or_default(),
    };
    let divergence = Divergence {
        link: sender.link,
        link_name: batch.content(id)?.access.link_name.clone(),
        key: loser.key.clone(),
        winner: winner.version,
        loser: loser.version,
        winner_deleted: winner.is_without_object(),
        loser_deleted: loser.is_without_object(),
        rule: rule.into(),
        kept_at,
        loser_record: is_configuration.then(|| Box::new(loser.clone())),
        epoch: winner.epoch.max(loser.epoch),
        winner_trace: trace(winner),
        loser_trace: trace(loser),
    };
    let name = RecordKey::Divergence { of: Box::new(loser.key.clone()), loser: loser.version };
    let record = first_version(name, loser, Payload::Divergence(Box::new(divergence)));
    put_note(batch, id, record, LOCAL).map(|_| ())
}

/// Joins a note with the one that is here of the same loser. The two sides may have met the loser
/// with different winners, one of which replaced the other: the later one stands in both reports.
pub(crate) fn put_note(batch: &mut Batch<'_>, id: ContentId, note: Record, source: u64) -> Result<Applied> {
    let old = batch.stored(id, &note.key)?;
    if old.as_ref().is_some_and(|old| order(&old.record, &note) != Ordering::Less) {
        return Ok(Applied::Ignored);
    }
    batch.put(id, note, old, source)?;
    Ok(Applied::Stored)
}

/// By the winner; of the same winner by their bytes, so that the order is total.
fn order(left: &Record, right: &Record) -> Ordering {
    let winner = |note: &Record| match &note.payload {
        Payload::Divergence(divergence) => divergence.winner,
        Payload::Deleted
        | Payload::DeleteMarker
        | Payload::Tenant(_)
        | Payload::Namespace(_)
        | Payload::Credential(_)
        | Payload::Object(_) => Version::default(),
    };
    winner(left).cmp(&winner(right)).then_with(|| left.to_bytes().cmp(&right.to_bytes()))
}

/// `key` with a version at its end, within the limit that clients can ask for. The version alone
/// keeps two apart, so a long key loses its end.
fn versioned(key: &str, version: Version) -> String {
    let version = format!("@{version}");
    let mut end = key.len().min(KEY_MAX - version.len());
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{version}", &key[..end])
}

fn keep_copy(batch: &mut Batch<'_>, id: ContentId, loser: &Record, key: RecordKey) -> Result<()> {
    if batch.stored(id, &key)?.is_some() {
        return Ok(());
    }
    let mut copy = first_version(key, loser, loser.payload.clone());
    // What is set aside is for somebody to look at, and to delete.
    if let Some(object) = copy.as_object_mut() {
        object.lock = Lock::default();
    }
    batch.put(id, copy, None, LOCAL).map(|_| ())
}

/// A record that is the same on whichever side it is made.
fn first_version(key: RecordKey, of: &Record, payload: Payload) -> Record {
    let version: Version = of.version;
    let none = VersionVector::default;
    Record { key, version, replaced: none(), absorbed: none(), epoch: of.epoch, payload }
}
