//! Writes of objects by clients: the rules that are checked in the step that appends to the feed.

use std::collections::BTreeMap;

use switchback_model::{AccessMode, ContentId};

use crate::batch::Batch;
use crate::catalogue::{Conditions, Deleted, Deletion, Written};
use crate::codec::Stored;
use crate::error::{Error, ReadOnly, Result};
use crate::lock::{self, Lock, LockChange, ObjectLock};
use crate::record::{Body, INLINE_MAX, KEY_MAX, LOST_AND_FOUND, Object, Payload, RecordKey, Segment};
use crate::versioning::{VersionId, Versioning, absent, current, find, newest};

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
    check_length(key)?;
    if key.starts_with(LOST_AND_FOUND) {
        return Err(Error::Reserved { what: format!("the prefix {LOST_AND_FOUND}") });
    }
    Ok(())
}

fn check_length(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(Error::Invalid { what: "object key", reason: "it must have 1 to 1024 bytes" });
    }
    Ok(())
}

/// What a namespace says of the objects in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) versioning: Versioning,
    lock: Option<ObjectLock>,
}

/// A namespace is there while its record is, and while it holds objects: deletes travel ahead of
/// objects, and must not hide what is in it.
pub(crate) fn check_namespace(batch: &Batch<'_>, id: ContentId, namespace: &str) -> Result<Rules> {
    let stored = batch.stored(id, &RecordKey::Namespace(namespace.into()))?;
    match stored.as_ref().map(|stored| &stored.record.payload) {
        Some(Payload::Namespace(namespace)) => {
            Ok(Rules { versioning: Versioning::of(namespace), lock: ObjectLock::of(namespace) })
        }
        Some(_) if batch.has_objects(id, namespace)? => Ok(Rules::default()),
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

/// Compares the request's conditions with the current object of the key (RFC 9110, section 13.2.2); a
/// delete marker is none. Only a write that has conditions pays for looking.
pub(crate) fn check_conditions(
    batch: &Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    conditions: &Conditions,
) -> Result<()> {
    if conditions.if_match.is_empty() && conditions.if_none_match.is_empty() {
        return Ok(());
    }
    let current = current(batch, id, namespace, key)?;
    let current = current.as_ref().and_then(|stored| stored.record.as_object());
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

pub(crate) fn put_object(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    mut object: Object,
    conditions: &Conditions,
) -> Result<Written> {
    check_writable(batch, id)?;
    check_key(key)?;
    let rules = check_namespace(batch, id, namespace)?;
    batch.check_room()?;
    check_body(&object)?;
    check_conditions(batch, id, namespace, key, conditions)?;
    check_blobs(batch, object.body.segments())?;
    set_first_lock(batch, rules, &mut object)?;
    write_object(batch, id, namespace, key, rules, object)
}

/// Refuses a lock that an object cannot be written with.
pub(crate) fn check_lock(rules: Rules, lock: &Lock, now_unix_ms: u64) -> Result<()> {
    lock::check_first(lock, rules.lock, now_unix_ms)
}

/// See [`lock::set_first`].
pub(crate) fn set_first_lock(batch: &Batch<'_>, rules: Rules, object: &mut Object) -> Result<()> {
    lock::set_first(object, rules.lock, batch.now_unix_ms)
}

/// Writes an object that was checked, at the time of its version.
pub(crate) fn write_object(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    rules: Rules,
    mut object: Object,
) -> Result<Written> {
    object.last_modified_unix_ms = batch.next_hlc().unix_ms();
    write_current(batch, id, namespace, key, rules.versioning, Payload::Object(Box::new(object)))
}

/// Writes what becomes the current version of a key.
fn write_current(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    versioning: Versioning,
    payload: Payload,
) -> Result<Written> {
    if versioning == Versioning::Enabled {
        let (version, sequence) = batch.write_version(id, namespace, key, payload)?;
        return Ok(Written {
            version,
            id: Some(VersionId::Of(version)),
            last_modified_unix_ms: version.hlc.unix_ms(),
            sequence,
        });
    }
    let name = RecordKey::object(namespace, key);
    let old = batch.stored(id, &name)?;
    check_unlocked(batch, old.as_ref(), false)?;
    let (version, sequence) = batch.write_local(id, name, old, payload)?;
    Ok(Written {
        version,
        id: (versioning == Versioning::Suspended).then_some(VersionId::Null),
        last_modified_unix_ms: version.hlc.unix_ms(),
        sequence,
    })
}

/// Deletes one object, or one version of it. What belongs to the system under `.lost+found/` can be
/// deleted too, so that a namespace can be emptied with any client.
pub(crate) fn delete_object(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    deletion: &Deletion,
) -> Result<Deleted> {
    check_writable(batch, id)?;
    let Rules { versioning, .. } = check_namespace(batch, id, namespace)?;
    let (key, bypass) = (deletion.key.as_str(), deletion.bypass_governance);
    if let Some(version) = deletion.version {
        let is_marker = take_away(batch, id, version.record_key(namespace, key), bypass)?;
        return Ok(Deleted { version: Some(version), is_marker });
    }
    if versioning == Versioning::Off && newest(batch, id, namespace, key)?.is_none() {
        let is_marker = take_away(batch, id, RecordKey::object(namespace, key), bypass)?;
        return Ok(Deleted { version: None, is_marker });
    }
    check_length(key)?;
    batch.check_room()?;
    // Versions of a namespace that forgot that it keeps them are hidden like any others.
    let versioning = if versioning == Versioning::Off { Versioning::Suspended } else { versioning };
    let written = write_current(batch, id, namespace, key, versioning, Payload::DeleteMarker)?;
    Ok(Deleted { version: written.id, is_marker: true })
}

/// Leaves a tombstone in place of a version, if it is there. True for a delete marker.
pub(crate) fn take_away(batch: &mut Batch<'_>, id: ContentId, name: RecordKey, bypass: bool) -> Result<bool> {
    let Some(old) = batch.stored(id, &name)?.filter(|old| !old.record.is_deleted()) else {
        return Ok(false);
    };
    check_unlocked(batch, Some(&old), bypass)?;
    let is_marker = old.record.is_without_object();
    batch.write_local(id, name, Some(old), Payload::Deleted)?;
    Ok(is_marker)
}

/// Refuses to overwrite or delete what is locked.
fn check_unlocked(batch: &Batch<'_>, old: Option<&Stored>, bypass: bool) -> Result<()> {
    match old.and_then(|old| old.record.as_object()) {
        Some(object) => object.lock.check_delete(batch.now_unix_ms, bypass),
        None => Ok(()),
    }
}

/// Changes what keeps a version.
pub(crate) fn set_lock(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    version: Option<VersionId>,
    change: LockChange,
    bypass: bool,
) -> Result<Written> {
    let now_unix_ms = batch.now_unix_ms;
    rewrite(batch, id, namespace, key, version, |rules, object| {
        if rules.lock.is_none() {
            return Err(Error::NoObjectLock);
        }
        object.lock = object.lock.changed(change, now_unix_ms, bypass)?;
        Ok(())
    })
}

pub(crate) fn set_tags(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    version: Option<VersionId>,
    tags: BTreeMap<String, String>,
) -> Result<Written> {
    rewrite(batch, id, namespace, key, version, |_, object| {
        object.tags = tags;
        Ok(())
    })
}

/// Changes a version in its place, all but its bytes.
fn rewrite(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    version: Option<VersionId>,
    change: impl FnOnce(Rules, &mut Object) -> Result<()>,
) -> Result<Written> {
    check_writable(batch, id)?;
    check_key(key)?;
    let rules = check_namespace(batch, id, namespace)?;
    batch.check_room()?;
    let Some(mut old) = find(batch, id, namespace, key, version)? else {
        return Err(absent(None, version));
    };
    batch.load_body(id, &mut old.record)?;
    let Some(mut object) = old.record.as_object().cloned() else {
        return Err(absent(Some(&old), version));
    };
    change(rules, &mut object)?;
    // That is no change of the object's bytes: S3 leaves its time alone, and its place among versions.
    if let RecordKey::Object { .. } = old.record.key {
        object.written = Some(old.record.born());
    }
    let (name, last_modified_unix_ms) = (old.record.key.clone(), object.last_modified_unix_ms);
    let named = VersionId::of(&name);
    let is_versioned = rules.versioning != Versioning::Off || named != VersionId::Null;
    let (version, sequence) = batch.write_local(id, name, Some(old), Payload::Object(Box::new(object)))?;
    Ok(Written { version, id: is_versioned.then_some(named), last_modified_unix_ms, sequence })
}
