//! Objects and what surrounds them.

use switchback_model::{ContentId, Version};
use switchback_proto::model::v1 as model;
use switchback_proto::rights;
use switchback_proto::store::v1 as wire;
use switchback_store as store;

use super::{content_to_wire, digest_to_wire, mode_to_wire, version_to_wire};
use crate::status::{Answer, invalid};

/// The content that a request names: by id, or by kind and name.
pub(crate) fn resolve(catalogue: &store::Catalogue, content: Option<&model::Content>) -> Answer<ContentId> {
    let content = content.ok_or_else(|| invalid("content: missing"))?;
    if let Some(id) = ContentId::from_slice(&content.id) {
        return Ok(id);
    }
    let kind = super::kind_from_wire(content.kind())?;
    let found = catalogue.find_content(kind, &content.name).map_err(boxed)?;
    Ok(found.ok_or_else(|| boxed(store::Error::NoSuchContent))?.id)
}

/// The status of a refusal by the store, for `map_err`.
pub(crate) fn boxed(error: store::Error) -> Box<tonic::Status> {
    Box::new(crate::status::from_store(&error))
}

pub(crate) fn summary(status: &store::ContentStatus) -> wire::ContentSummary {
    let access = &status.access;
    wire::ContentSummary {
        content: Some(content_to_wire(&status.content)),
        mode: mode_to_wire(status.mode()).into(),
        link: access.link_name.clone(),
        link_id: access.link.map(|link| link.as_bytes().to_vec().into()).unwrap_or_default(),
        epoch: access.epoch.0,
        objects: status.objects,
        bytes: status.bytes,
        digest: Some(digest_to_wire(status.digest)),
        writer: Some(model::Writer {
            domain: access.writer.clone().unwrap_or_default(),
            both_read_only: access.both_read_only,
        }),
        description: status.description.clone(),
        orphaned: access.orphaned,
    }
}

pub(crate) fn namespace(status: &store::NamespaceStatus) -> wire::Namespace {
    wire::Namespace {
        name: status.namespace.name.clone(),
        created_unix_ms: signed(status.namespace.created_unix_ms),
        objects: status.objects,
        bytes: status.bytes,
        settings: Default::default(),
    }
}

/// A credential, with its secret only where the proto says so.
pub(crate) fn credential(record: store::CredentialRecord, with_secret: bool) -> wire::Credential {
    wire::Credential {
        access_key: record.access_key,
        secret_key: if with_secret { record.secret_key } else { String::new() },
        created_unix_ms: signed(record.created_unix_ms),
        description: record.description,
        rights: rights::to_wire(&record.rights),
    }
}

/// The version that a request names; none if it means the current one.
pub(crate) fn version_id(text: &str) -> Answer<Option<store::VersionId>> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(boxed) }
}

/// As clients are told it.
pub(crate) fn version_id_to_wire(id: Option<store::VersionId>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

pub(crate) fn entry_to_wire(entry: store::ObjectEntry) -> wire::Object {
    object_to_wire(entry.key, entry.id, entry.version, &entry.object)
}

pub(crate) fn object_to_wire(
    key: String,
    id: Option<store::VersionId>,
    version: Version,
    object: &store::Object,
) -> wire::Object {
    wire::Object {
        key,
        version_id: version_id_to_wire(id),
        lock: lock_to_wire(object.lock),
        size: object.size,
        etag: object.etag.clone(),
        last_modified_unix_ms: signed(object.last_modified_unix_ms),
        version: Some(version_to_wire(version)),
        metadata: Some(metadata_to_wire(object.metadata.clone())),
        tags: object.tags.clone(),
        content_hash: object.content_hash.to_vec().into(),
        checksums: object.checksums.iter().map(checksum_to_wire).collect(),
        part_sizes: object.part_sizes.clone(),
    }
}

pub(crate) fn object_from_wire(object: wire::Object, body: Option<wire::Body>) -> Answer<store::Object> {
    let body = body_from_wire(body.unwrap_or_default())?;
    if body.len() != object.size {
        return Err(invalid(format!("body: holds {} bytes, object.size is {}", body.len(), object.size)));
    }
    Ok(store::Object {
        size: object.size,
        etag: object.etag,
        content_hash: hash(&object.content_hash)?,
        last_modified_unix_ms: 0,
        written: None,
        lock: lock_from_wire(object.lock)?,
        metadata: metadata_from_wire(object.metadata.unwrap_or_default()),
        tags: object.tags,
        checksums: object.checksums.into_iter().map(checksum_from_wire).collect(),
        part_sizes: object.part_sizes,
        body,
    })
}

pub(crate) fn body_to_wire(body: &store::Body) -> wire::Body {
    match body {
        store::Body::Inline(bytes) => wire::Body { inline: bytes.clone(), segments: Vec::new() },
        store::Body::Segments(segments) => wire::Body {
            inline: bytes::Bytes::new(),
            segments: segments
                .iter()
                .map(|segment| wire::Segment {
                    blob_id: segment.blob.as_bytes().to_vec().into(),
                    size: segment.size,
                })
                .collect(),
        },
    }
}

pub(crate) fn body_from_wire(body: wire::Body) -> Answer<store::Body> {
    if body.segments.is_empty() {
        return Ok(store::Body::Inline(body.inline));
    }
    if !body.inline.is_empty() {
        return Err(invalid("body: has both inline bytes and segments"));
    }
    body.segments
        .iter()
        .map(|segment| Ok(store::Segment { blob: blob_id(&segment.blob_id)?, size: segment.size }))
        .collect::<Answer<Vec<_>>>()
        .map(store::Body::Segments)
}

pub(crate) fn blob_id(bytes: &[u8]) -> Answer<store::BlobId> {
    store::BlobId::from_slice(bytes).ok_or_else(|| invalid("blob_id: expected 16 bytes"))
}

pub(crate) fn upload_id(text: &str) -> Answer<store::UploadId> {
    text.parse().map_err(boxed)
}

pub(crate) fn upload_to_wire(upload: store::Upload) -> wire::Upload {
    wire::Upload {
        upload_id: upload.id.to_string(),
        key: upload.key,
        initiated_unix_ms: signed(upload.initiated_unix_ms),
        metadata: Some(metadata_to_wire(upload.metadata)),
        tags: upload.tags,
        lock: lock_to_wire(upload.lock),
        checksum_algorithm: upload.checksum_algorithm,
        checksum_type: upload.checksum_type,
    }
}

/// The caller's part of an upload that is to be opened; the store fills in the rest.
pub(crate) fn upload_from_wire(upload: wire::Upload) -> Answer<store::Upload> {
    Ok(store::Upload {
        lock: lock_from_wire(upload.lock)?,
        id: store::UploadId::default(),
        key: upload.key,
        initiated_unix_ms: 0,
        metadata: metadata_from_wire(upload.metadata.unwrap_or_default()),
        tags: upload.tags,
        checksum_algorithm: upload.checksum_algorithm,
        checksum_type: upload.checksum_type,
    })
}

fn lock_to_wire(lock: store::Lock) -> Option<wire::Lock> {
    let retention = lock.retention.as_ref();
    (!lock.is_none()).then(|| wire::Lock {
        mode: retention.map(|retention| retention.mode.name().to_owned()).unwrap_or_default(),
        retain_until_unix_ms: retention.map_or(0, |retention| signed(retention.until_unix_ms)),
        legal_hold: lock.hold,
    })
}

/// Absence is that nothing is locked.
pub(crate) fn lock_from_wire(lock: Option<wire::Lock>) -> Answer<store::Lock> {
    let wire::Lock { mode, retain_until_unix_ms, legal_hold } = lock.unwrap_or_default();
    if mode.is_empty() {
        return Ok(store::Lock { retention: None, hold: legal_hold });
    }
    let until_unix_ms = u64::try_from(retain_until_unix_ms)
        .map_err(|_| invalid("lock.retain_until_unix_ms: expected a time after 1970"))?;
    let retention = store::Retention { mode: mode.parse().map_err(boxed)?, until_unix_ms };
    Ok(store::Lock { retention: Some(retention), hold: legal_hold })
}

pub(crate) fn part_to_wire(part: store::Part) -> wire::Part {
    wire::Part {
        number: part.number,
        size: part.size,
        etag: part.etag,
        last_modified_unix_ms: signed(part.last_modified_unix_ms),
        content_hash: part.content_hash.to_vec().into(),
        checksums: part.checksums.iter().map(checksum_to_wire).collect(),
    }
}

pub(crate) fn part_from_wire(part: wire::Part, body: Option<wire::Body>) -> Answer<store::Part> {
    let store::Body::Segments(segments) = body_from_wire(body.unwrap_or_default())? else {
        return Err(invalid("body: the bytes of a part are always in blobs"));
    };
    Ok(store::Part {
        number: part.number,
        size: part.size,
        etag: part.etag,
        last_modified_unix_ms: 0,
        content_hash: hash(&part.content_hash)?,
        checksums: part.checksums.into_iter().map(checksum_from_wire).collect(),
        segments,
    })
}

pub(crate) fn conditions(conditions: Option<wire::Conditions>) -> store::Conditions {
    let conditions = conditions.unwrap_or_default();
    store::Conditions { if_match: conditions.if_match, if_none_match: conditions.if_none_match }
}

pub(crate) fn completion(
    parts: Vec<wire::CompletedPart>,
    etag: String,
    checksums: Vec<wire::Checksum>,
) -> store::Completion {
    store::Completion {
        parts: parts
            .into_iter()
            .map(|part| store::CompletedPart { number: part.number, etag: part.etag })
            .collect(),
        etag,
        checksums: checksums.into_iter().map(checksum_from_wire).collect(),
    }
}

/// The wire's times are signed, as Unix time is; ours never are before 1970.
pub(crate) fn signed(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}

fn hash(bytes: &[u8]) -> Answer<[u8; 32]> {
    bytes.try_into().map_err(|_| invalid("content_hash: expected 32 bytes"))
}

fn checksum_to_wire(checksum: &store::Checksum) -> wire::Checksum {
    wire::Checksum { algorithm: checksum.algorithm.clone(), value: checksum.value.clone() }
}

fn checksum_from_wire(checksum: wire::Checksum) -> store::Checksum {
    store::Checksum { algorithm: checksum.algorithm, value: checksum.value }
}

fn metadata_to_wire(metadata: store::Metadata) -> wire::Metadata {
    wire::Metadata {
        content_type: metadata.content_type,
        content_encoding: metadata.content_encoding,
        content_disposition: metadata.content_disposition,
        content_language: metadata.content_language,
        cache_control: metadata.cache_control,
        expires: metadata.expires,
        user: metadata.user,
    }
}

fn metadata_from_wire(metadata: wire::Metadata) -> store::Metadata {
    store::Metadata {
        content_type: metadata.content_type,
        content_encoding: metadata.content_encoding,
        content_disposition: metadata.content_disposition,
        content_language: metadata.content_language,
        cache_control: metadata.cache_control,
        expires: metadata.expires,
        user: metadata.user,
    }
}
