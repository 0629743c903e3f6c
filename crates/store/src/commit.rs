//! Writes of objects by clients: the rules that are checked in the step that appends to the feed.

use std::collections::BTreeMap;

use switchback_model::{AccessMode, ContentId};

use crate::batch::Batch;
use crate::catalogue::{Conditions, Written};
use crate::codec::Stored;
use crate::error::{Error, ReadOnly, Result};
use crate::record::{Body, INLINE_MAX, KEY_MAX, LOST_AND_FOUND, Object, Payload, RecordKey, Segment};

/// Refuses a write to content that does not accept any: the one place where authority is decided.
pub(crate) fn check_writable(batch: &mut Batch<'_>, id: ContentId) -> Result<()> {
    let held = batch.is_held(id)?;
    let access = &batch.content(id)?.access;
    if access.mode == AccessMode::ReadWrite && !held && !access.orphaned {
        return Ok(());
    }
    Err(Error::ReadOnly(Box::new(ReadOnly {
        link: access.link,
        link_name: access.link_name.clone(),
        writer: access.writer.clone(),
        both_read_only: access.both_read_only,
        epoch: access.epoch,
        held,
        orphaned: access.orphaned,
    })))
}

/// Refuses a key that no client may write.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(Error::Invalid { what: "object key", reason: "it must have 1 to 1024 bytes" });
    }
    if key.starts_with(LOST_AND_FOUND) {
        return Err(Error::Reserved { what: format!("the prefix {LOST_AND_FOUND}") });
    }
    Ok(())
}

/// A namespace is there while its record is, and while it holds objects: deletes travel ahead of
/// objects, and must not hide what is in it.
pub(crate) fn check_namespace(batch: &Batch<'_>, id: ContentId, namespace: &str) -> Result<()> {
    match batch.stored(id, &RecordKey::Namespace(namespace.into()))? {
        Some(stored) if !stored.record.is_deleted() => Ok(()),
        Some(_) if batch.has_objects(id, namespace)? => Ok(()),
        Some(_) | None => Err(Error::NoSuchNamespace { namespace: namespace.into() }),
    }
}

/// The blobs must be durable and stay: each leased, or named by a record already.
pub(crate) fn check_blobs(batch: &Batch<'_>, segments: &[Segment]) -> Result<()> {
    for segment in segments {
        if !batch.is_live(segment.blob)? {
            return Err(Error::LeaseExpired { blob: segment.blob });
        }
    }
    Ok(())
}

fn check_body(object: &Object) -> Result<()> {
    let invalid = |reason| Err(Error::Invalid { what: "object body", reason });
    match &object.body {
        Body::Inline(bytes) if bytes.len() > INLINE_MAX => {
            invalid("an inline body is too large: write a blob")
        }
        body if body.len() != object.size => invalid("its parts do not add up to the object's size"),
        Body::Inline(_) | Body::Segments(_) => Ok(()),
    }
}

/// Compares the request's conditions with the visible object (RFC 9110, section 13.2.2).
pub(crate) fn check_conditions(conditions: &Conditions, current: Option<&Object>) -> Result<()> {
    let names = |etags: &[String]| {
        current.is_some_and(|object| etags.iter().any(|etag| etag == "*" || *etag == object.etag))
    };
    if !conditions.if_match.is_empty() && !names(&conditions.if_match) {
        // S3 tells a missing object from one that has changed.
        return Err(if current.is_none() { Error::NoSuchKey } else { Error::PreconditionFailed });
    }
    if names(&conditions.if_none_match) {
        return Err(Error::PreconditionFailed);
    }
    Ok(())
}

pub(crate) fn visible(old: Option<&Stored>) -> Option<&Object> {
    old.and_then(|old| old.record.as_object())
}

pub(crate) fn put_object(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    object: Object,
    conditions: &Conditions,
) -> Result<Written> {
    check_writable(batch, id)?;
    check_key(key)?;
    check_namespace(batch, id, namespace)?;
    batch.check_room()?;
    check_body(&object)?;
    let name = RecordKey::object(namespace, key);
    let old = batch.stored(id, &name)?;
    check_conditions(conditions, visible(old.as_ref()))?;
    check_blobs(batch, object.body.segments())?;
    write_object(batch, id, name, old, object)
}

/// Writes an object that was checked, at the time of its version.
pub(crate) fn write_object(
    batch: &mut Batch<'_>,
    id: ContentId,
    name: RecordKey,
    old: Option<Stored>,
    mut object: Object,
) -> Result<Written> {
    object.last_modified_unix_ms = batch.next_hlc().unix_ms();
    let last_modified_unix_ms = object.last_modified_unix_ms;
    let (version, sequence) = batch.write_local(id, name, old, Payload::Object(Box::new(object)))?;
    Ok(Written { version, last_modified_unix_ms, sequence })
}

/// Deletes one object. What belongs to the system under `.lost+found/` can be deleted too, so that
/// a namespace can be emptied with any client.
pub(crate) fn delete_object(batch: &mut Batch<'_>, id: ContentId, namespace: &str, key: &str) -> Result<()> {
    check_writable(batch, id)?;
    check_namespace(batch, id, namespace)?;
    let name = RecordKey::object(namespace, key);
    match batch.stored(id, &name)? {
        Some(old) if !old.record.is_deleted() => {
            batch.write_local(id, name, Some(old), Payload::Deleted).map(|_| ())
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn set_tags(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    tags: BTreeMap<String, String>,
) -> Result<Written> {
    check_writable(batch, id)?;
    check_key(key)?;
    check_namespace(batch, id, namespace)?;
    batch.check_room()?;
    let name = RecordKey::object(namespace, key);
    let mut old = batch.stored(id, &name)?.ok_or(Error::NoSuchKey)?;
    batch.load_body(id, &mut old.record)?;
    let mut object = old.record.as_object().cloned().ok_or(Error::NoSuchKey)?;
    object.tags = tags;
    // Tags are no change of the object's bytes: S3 leaves its time alone.
    let last_modified_unix_ms = object.last_modified_unix_ms;
    let (version, sequence) = batch.write_local(id, name, Some(old), Payload::Object(Box::new(object)))?;
    Ok(Written { version, last_modified_unix_ms, sequence })
}
