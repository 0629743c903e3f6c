//! Other bytes under a record that stays as it is.

use switchback_model::ContentId;

use crate::batch::Batch;
use crate::catalogue::Catalogue;
use crate::commit::check_blobs;
use crate::engine::Family;
use crate::error::{Error, Result};
use crate::key;
use crate::record::{Body, RecordKey};
use crate::scrub::{StoredBody, body_of};

impl Catalogue {
    /// Puts `fresh` in the place of the bytes of `damaged`, if its record names those still; else gives the blobs of
    /// `fresh` up, and answers false. The caller has compared `fresh` with the record's size and hash, and its blobs
    /// are durable and leased.
    ///
    /// Whatever the access mode: this is no write of a client, and nothing of it is seen but the bytes that the record
    /// has promised all along.
    pub async fn repair_body(&self, damaged: StoredBody, fresh: Body) -> Result<bool> {
        self.commit(move |batch| repair(batch, &damaged, &fresh)).await
    }
}

fn repair(batch: &mut Batch<'_>, damaged: &StoredBody, fresh: &Body) -> Result<bool> {
    let (id, key) = (damaged.content, &damaged.key);
    let is_inline = |body: &Body| matches!(body, Body::Inline(_));
    if fresh.len() != damaged.object.size || is_inline(fresh) != is_inline(&damaged.object.body) {
        return Err(Error::Invalid {
            what: "repair",
            reason: "it is of another size or kind than what is damaged",
        });
    }
    if !is_named(batch, id, key, damaged)? {
        for segment in fresh.segments() {
            batch.discard(segment.blob)?;
        }
        return Ok(false);
    }
    batch.check_room()?;
    check_blobs(batch, fresh.segments())?;
    let Some(mut stored) = batch.stored(id, key)? else { return Ok(false) };
    match fresh {
        Body::Inline(bytes) => batch.set_row(Family::Body, key::record(id, key), Some(bytes.to_vec())),
        Body::Segments(segments) => {
            for segment in segments {
                batch.refer(segment.blob)?;
            }
            for segment in damaged.object.body.segments() {
                batch.release(segment.blob)?;
            }
            if let Some(object) = stored.record.as_object_mut() {
                object.body = fresh.clone();
            }
            batch.annotate(id, &stored);
        }
    }
    Ok(true)
}

/// The record names these bytes in these blobs. Its version may be a later one, of other tags.
fn is_named(batch: &Batch<'_>, id: ContentId, key: &RecordKey, damaged: &StoredBody) -> Result<bool> {
    let now = batch.stored(id, key)?.and_then(|stored| body_of(id, stored));
    Ok(now.is_some_and(|now| now.fingerprint() == damaged.fingerprint()))
}
