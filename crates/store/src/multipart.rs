//! Multipart uploads as rows: durable, local, and atomic with the object they become.

use switchback_model::ContentId;

use crate::batch::Batch;
use crate::catalogue::{Conditions, Written};
use crate::codec;
use crate::commit::{
    check_blobs, check_conditions, check_key, check_lock, check_namespace, check_writable, set_first_lock,
    write_object,
};
use crate::engine::{Family, Rows as _};
use crate::error::{Error, Result};
use crate::key;
use crate::record::{Body, Object};
use crate::upload::{Completion, PART_NUMBER_MAX, Part, Upload, UploadId};

/// Where an upload is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) content: ContentId,
    pub(crate) namespace: String,
    pub(crate) key: String,
    pub(crate) upload: UploadId,
}

impl Place {
    pub(crate) fn row(&self) -> Vec<u8> {
        key::upload(self.content, &self.namespace, &self.key, self.upload)
    }
}

pub(crate) fn create_upload(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    mut upload: Upload,
) -> Result<Upload> {
    check_writable(batch, id)?;
    check_key(&upload.key)?;
    let rules = check_namespace(batch, id, namespace)?;
    batch.check_room()?;
    check_lock(rules, &upload.lock, batch.now_unix_ms)?;
    upload.id = UploadId(crate::random::bytes());
    upload.initiated_unix_ms = batch.now_unix_ms;
    let row = key::upload(id, namespace, &upload.key, upload.id);
    batch.set_row(Family::Upload, row, Some(codec::encode_upload(&upload)));
    Ok(upload)
}

fn find_upload(batch: &Batch<'_>, place: &Place) -> Result<Upload> {
    let row = batch.row(Family::Upload, &place.row())?.ok_or(Error::NoSuchUpload)?;
    codec::decode_upload(place.upload, place.key.clone(), &row)
}

pub(crate) fn put_part(batch: &mut Batch<'_>, place: &Place, mut part: Part) -> Result<()> {
    check_writable(batch, place.content)?;
    find_upload(batch, place)?;
    batch.check_room()?;
    let number = part.number;
    let invalid = |reason| Err(Error::InvalidPart { number, reason });
    if !(1..=PART_NUMBER_MAX).contains(&number) {
        return invalid("numbers go from 1 to 10000");
    }
    if part.segments.iter().map(|segment| segment.size).sum::<u64>() != part.size {
        return invalid("its blobs do not add up to its size");
    }
    check_blobs(batch, &part.segments)?;
    let row = key::part(place.upload, number);
    let old = batch.row(Family::Upload, &row)?.map(|old| codec::decode_part(number, &old)).transpose()?;
    for segment in &part.segments {
        batch.refer(segment.blob)?;
    }
    for segment in old.iter().flat_map(|old| &old.segments) {
        batch.release(segment.blob)?;
    }
    part.last_modified_unix_ms = batch.now_unix_ms;
    batch.set_row(Family::Upload, row, Some(codec::encode_part(&part)));
    Ok(())
}

pub(crate) fn complete_upload(
    batch: &mut Batch<'_>,
    place: &Place,
    completion: Completion,
    conditions: &Conditions,
) -> Result<(Written, Object)> {
    check_writable(batch, place.content)?;
    let upload = find_upload(batch, place)?;
    let rules = check_namespace(batch, place.content, &place.namespace)?;
    batch.check_room()?;
    check_conditions(batch, place.content, &place.namespace, &place.key, conditions)?;
    let mut object = assemble(batch, place.upload, &upload, completion)?;
    set_first_lock(batch, rules, &mut object)?;
    let (content, namespace, key) = (place.content, &place.namespace, &place.key);
    let written = write_object(batch, content, namespace, key, rules, object.clone())?;
    object.last_modified_unix_ms = written.last_modified_unix_ms;
    // The object names the blobs now; parts that were left out give theirs up.
    remove_upload(batch, place.row(), place.upload)?;
    Ok((written, object))
}

/// The object that the named parts make, bytes in place.
fn assemble(batch: &Batch<'_>, id: UploadId, upload: &Upload, completion: Completion) -> Result<Object> {
    let mut hash = blake3::Hasher::new();
    let (mut segments, mut part_sizes, mut last) = (Vec::new(), Vec::new(), 0);
    if completion.parts.is_empty() {
        return Err(Error::InvalidPart { number: 0, reason: "an object needs at least one" });
    }
    for named in &completion.parts {
        let number = named.number;
        let invalid = |reason| Error::InvalidPart { number, reason };
        if number <= last {
            return Err(invalid("numbers must ascend"));
        }
        last = number;
        let row = batch.row(Family::Upload, &key::part(id, number))?;
        let part = codec::decode_part(number, &row.ok_or_else(|| invalid("it was not uploaded"))?)?;
        if part.etag != named.etag {
            return Err(invalid("its ETag is another"));
        }
        hash.update(&part.content_hash);
        part_sizes.push(part.size);
        segments.extend(part.segments);
    }
    Ok(Object {
        size: part_sizes.iter().sum(),
        etag: completion.etag,
        content_hash: *hash.finalize().as_bytes(),
        last_modified_unix_ms: 0,
        written: None,
        lock: upload.lock,
        metadata: upload.metadata.clone(),
        tags: upload.tags.clone(),
        checksums: completion.checksums,
        part_sizes,
        body: Body::Segments(segments),
    })
}

pub(crate) fn abort_upload(batch: &mut Batch<'_>, place: &Place) -> Result<()> {
    find_upload(batch, place)?;
    remove_upload(batch, place.row(), place.upload)
}

/// Ends every upload whose row begins with `prefix`.
pub(crate) fn abort_all(batch: &mut Batch<'_>, prefix: &[u8]) -> Result<()> {
    for (row, _) in batch.first(Family::Upload, prefix, usize::MAX)? {
        let id = key::last_upload(&row)?;
        remove_upload(batch, row, id)?;
    }
    Ok(())
}

/// Ends an upload; its parts give their blobs up.
pub(crate) fn remove_upload(batch: &mut Batch<'_>, row: Vec<u8>, id: UploadId) -> Result<()> {
    for (part_row, part) in batch.first(Family::Upload, &key::parts(id), usize::MAX)? {
        for segment in codec::decode_part(0, &part)?.segments {
            batch.release(segment.blob)?;
        }
        batch.set_row(Family::Upload, part_row, None);
    }
    batch.set_row(Family::Upload, row, None);
    Ok(())
}
