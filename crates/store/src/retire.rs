//! What was deleted while this store was elsewhere in time.
//!
//! A tombstone is freed once both sides have it. A store that then goes back to a backup has the
//! record again, and no tombstone on either side says that it was deleted. That the peer *had* the
//! record and now has nothing at all under its key says so too: the only way from one to the other
//! is a delete.
//!
//! The delete's own version is forgotten, so no tombstone is made for it here: a new one would be
//! newer than what the peer may write under the key in this moment. The record goes as it went
//! there. Its bytes are kept aside all the same, because the conclusion rests on two stores' word.

use switchback_model::{ContentId, FeedId, Version, VersionVector};

use crate::batch::Batch;
use crate::codec::Stored;
use crate::error::{Error, Result};
use crate::feed::Sender;
use crate::loser::keep_loser;
use crate::record::{LOST_AND_FOUND, Payload, Record, RecordKey};

/// How such a conflict was decided, for the report.
const RULE: &str = "deleted on the other system after the backup that this one was restored from";

pub(crate) fn retire(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    records: Vec<(RecordKey, Version)>,
) -> Result<Vec<RecordKey>> {
    let row = batch.content(id)?;
    if row.access.link != Some(sender.link) {
        return Err(Error::NotOnLink);
    }
    let Some((peer, through)) = row.acknowledged_before else {
        return Ok(records.into_iter().map(|(key, _)| key).collect());
    };
    let through = if peer == sender.feed { through } else { 0 };
    // What the peer had read it had, whether or not the backup knows of its word.
    let through = through.max(sender.local_parting.map_or(0, |parting| parting.read));
    batch.check_room()?;
    let mut others = Vec::new();
    for (key, version) in records {
        match batch.stored(id, &key)? {
            Some(stored) if stored.record.version == version && had(&stored, sender.feed, through) => {
                if !take_away(batch, id, sender, stored)? {
                    others.push(key);
                }
            }
            Some(_) | None => others.push(key),
        }
    }
    Ok(others)
}

/// The peer had this very record.
fn had(stored: &Stored, peer: FeedId, through: u64) -> bool {
    FeedId(stored.source) == peer || stored.sequence <= through
}

/// False: it is still needed.
fn take_away(batch: &mut Batch<'_>, id: ContentId, sender: &Sender, mut stored: Stored) -> Result<bool> {
    if let RecordKey::Namespace(name) = &stored.record.key
        && batch.has_objects(id, name)?
    {
        return Ok(false);
    }
    batch.load_body(id, &mut stored.record)?;
    if !is_aside(&stored.record.key) {
        let gone = deleted(batch, &stored.record);
        keep_loser(batch, id, sender, &stored.record, &gone, RULE)?;
    }
    batch.forget(id, &stored)?;
    Ok(true)
}

/// It is what lost another conflict: whoever deleted that wants it gone.
fn is_aside(key: &RecordKey) -> bool {
    matches!(key, RecordKey::Object { key, .. } if key.starts_with(LOST_AND_FOUND))
}

/// The delete, for the note: when it was found out, and by whom.
fn deleted(batch: &mut Batch<'_>, record: &Record) -> Record {
    let version = batch.next_version();
    let mut replaced = record.replaced.clone();
    replaced.include(record.version);
    let absorbed = VersionVector::default();
    Record {
        key: record.key.clone(),
        version,
        replaced,
        absorbed,
        epoch: record.epoch,
        payload: Payload::Deleted,
    }
}
