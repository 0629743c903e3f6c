//! Rows as typed values: the one place where stored protobuf is read and written.

mod rights;

use bytes::Bytes;
use prost::Message as _;
use switchback_model::{
    AccessMode, Content, ContentId, ContentKind, Epoch, FeedId, Hlc, Incarnation, LinkId, Side, SiteId,
    Version, VersionVector,
};
use switchback_proto::store::record::v1 as pb;

use self::rights::{rights, typed_rights};
use crate::access::{AccessRecord, Cursor};
use crate::digest::Sum;
use crate::error::{Error, Result};
use crate::lineage::{Lineage, Parting, Run};
use crate::lock::{Lock, Retention, RetentionMode};
use crate::record::{
    BlobId, Body, Checksum, CredentialRecord, Divergence, Metadata, NamespaceRecord, Object, Payload, Record,
    RecordKey, Segment, TenantRecord, Trace,
};
use crate::upload::{Part, Upload, UploadId};

/// A content's row: what changes in the same batch as its records.
#[derive(Clone, Debug)]
pub(crate) struct ContentRow {
    pub(crate) content: Content,
    pub(crate) description: String,
    pub(crate) created_unix_ms: u64,
    pub(crate) feed: FeedId,
    pub(crate) head: u64,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: Sum,
    pub(crate) sources: Vec<u64>,
    pub(crate) access: AccessRecord,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) lineage: Lineage,
    pub(crate) peer_lineage: Lineage,
    pub(crate) notes_given: FeedId,
    pub(crate) acknowledged: Option<(FeedId, u64)>,
    /// As it was in the feed's life before this one, until the peer has acknowledged this one.
    pub(crate) acknowledged_before: Option<(FeedId, u64)>,
    pub(crate) tombstones: u64,
}

/// A record with its place in this system's feed.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) sequence: u64,
    pub(crate) source: u64,
}

/// One entry of a feed.
#[derive(Clone, Debug)]
pub(crate) struct FeedEntry {
    /// The record's name, as `key` encodes it.
    pub(crate) name: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) deleted: bool,
}

impl FeedEntry {
    pub(crate) fn encode(self) -> Vec<u8> {
        pb::FeedEntry { record: self.name.into(), bytes: self.bytes, deleted: self.deleted }.encode_to_vec()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self> {
        let entry: pb::FeedEntry = decode(row, "feed entry")?;
        Ok(Self { name: entry.record.to_vec(), bytes: entry.bytes, deleted: entry.deleted })
    }
}

fn decode<M: prost::Message + Default>(bytes: &[u8], what: &'static str) -> Result<M> {
    M::decode(bytes).map_err(|_| Error::Corrupt { what })
}

/// The layout of rows and blobs that this program reads and writes. In format 1, blobs had no checksums.
const FORMAT: u32 = 2;

pub(crate) fn encode_store(store_id: u64) -> Vec<u8> {
    pb::Store { store_id, format: FORMAT }.encode_to_vec()
}

pub(crate) fn decode_store(row: &[u8]) -> Result<u64> {
    let store: pb::Store = decode(row, "store")?;
    if store.format != FORMAT {
        return Err(Error::Format { found: store.format, read: FORMAT });
    }
    Ok(store.store_id)
}

pub(crate) fn kind_number(kind: ContentKind) -> u8 {
    match kind {
        ContentKind::Tenant => 1,
        ContentKind::Directory => 2,
    }
}

fn version(version: Version) -> pb::Version {
    pb::Version { hlc: version.hlc.0, site: version.site.0 }
}

fn typed_version(version: &pb::Version) -> Version {
    Version { hlc: Hlc(version.hlc), site: SiteId(version.site) }
}

fn required_version(stored: Option<pb::Version>) -> Result<Version> {
    stored.as_ref().map(typed_version).ok_or(Error::Corrupt { what: "version" })
}

fn vector(vector: &VersionVector) -> Vec<pb::Version> {
    vector.entries().iter().map(|entry| version(*entry)).collect()
}

fn typed_vector(entries: &[pb::Version]) -> VersionVector {
    VersionVector::new(entries.iter().map(typed_version))
}

impl ContentRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        pb::Content {
            kind: u32::from(kind_number(self.content.kind)),
            name: self.content.name.clone(),
            id: Bytes::copy_from_slice(&self.content.id.0),
            description: self.description.clone(),
            created_unix_ms: self.created_unix_ms,
            feed_id: self.feed.0,
            head: self.head,
            objects: self.objects,
            bytes: self.bytes,
            records: self.digest.records,
            digest: Bytes::copy_from_slice(&self.digest.total),
            sources: self.sources.clone(),
            access: Some(access(&self.access)),
            cursors: self.cursors.iter().map(cursor).collect(),
            runs: runs(&self.lineage),
            peer_runs: runs(&self.peer_lineage),
            notes_given_feed_id: self.notes_given.0,
            acknowledged: self.acknowledged.map(acknowledged),
            acknowledged_before: self.acknowledged_before.map(acknowledged),
            tombstones: self.tombstones,
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self> {
        let row: pb::Content = decode(row, "content")?;
        let corrupt = || Error::Corrupt { what: "content" };
        let kind = match row.kind {
            1 => ContentKind::Tenant,
            2 => ContentKind::Directory,
            _ => return Err(corrupt()),
        };
        let id = ContentId::from_slice(&row.id).ok_or_else(corrupt)?;
        Ok(Self {
            content: Content { kind, name: row.name, id },
            description: row.description,
            created_unix_ms: row.created_unix_ms,
            feed: FeedId(row.feed_id),
            head: row.head,
            objects: row.objects,
            bytes: row.bytes,
            digest: Sum {
                records: row.records,
                total: row.digest.as_ref().try_into().map_err(|_| corrupt())?,
            },
            sources: row.sources,
            access: typed_access(row.access.unwrap_or_default()),
            cursors: row.cursors.iter().map(typed_cursor).collect(),
            lineage: typed_runs(&row.runs),
            peer_lineage: typed_runs(&row.peer_runs),
            notes_given: FeedId(row.notes_given_feed_id),
            acknowledged: row.acknowledged.and_then(typed_acknowledged),
            acknowledged_before: row.acknowledged_before.and_then(typed_acknowledged),
            tombstones: row.tombstones,
        })
    }
}

fn cursor(cursor: &Cursor) -> pb::Cursor {
    pb::Cursor {
        feed_id: cursor.feed.0,
        through: cursor.through,
        run: cursor.run.unwrap_or_default(),
        parting: cursor.parting.map(|parting| pb::Parting {
            from: parting.from,
            after: parting.after.0,
            read: parting.read,
        }),
    }
}

fn typed_cursor(row: &pb::Cursor) -> Cursor {
    Cursor {
        feed: FeedId(row.feed_id),
        through: row.through,
        run: Some(row.run).filter(|run| *run != 0),
        parting: row.parting.map(|parting| Parting {
            from: parting.from,
            after: Hlc(parting.after),
            read: parting.read,
        }),
    }
}

fn runs(lineage: &Lineage) -> Vec<pb::Run> {
    lineage.runs().iter().map(|run| pb::Run { id: run.id, first: run.first, began: run.began.0 }).collect()
}

fn typed_runs(runs: &[pb::Run]) -> Lineage {
    Lineage::new(runs.iter().map(|run| Run { id: run.id, first: run.first, began: Hlc(run.began) }))
}

fn acknowledged((feed, through): (FeedId, u64)) -> pb::Acknowledged {
    pb::Acknowledged { feed_id: feed.0, through }
}

fn typed_acknowledged(row: pb::Acknowledged) -> Option<(FeedId, u64)> {
    (row.feed_id != 0).then_some((FeedId(row.feed_id), row.through))
}

fn access(access: &AccessRecord) -> pb::Access {
    pb::Access {
        read_write: access.mode == AccessMode::ReadWrite,
        epoch: access.epoch.0,
        link: access.link.map(|link| Bytes::copy_from_slice(&link.0)).unwrap_or_default(),
        link_name: access.link_name.clone(),
        side: match access.side {
            Side::Primary => 1,
            Side::Replica => 2,
        },
        local_incarnation: access.local_incarnation.0,
        peer_incarnation: access.peer_incarnation.0,
        primary_site: access.primary_site.0,
        replica_site: access.replica_site.0,
        writer: access.writer.clone().unwrap_or_default(),
        both_read_only: access.both_read_only,
        orphaned: access.orphaned,
    }
}

fn typed_access(access: pb::Access) -> AccessRecord {
    AccessRecord {
        mode: if access.read_write { AccessMode::ReadWrite } else { AccessMode::ReadOnly },
        epoch: Epoch(access.epoch),
        link: LinkId::from_slice(&access.link),
        link_name: access.link_name,
        side: if access.side == 2 { Side::Replica } else { Side::Primary },
        local_incarnation: Incarnation(access.local_incarnation),
        peer_incarnation: Incarnation(access.peer_incarnation),
        primary_site: SiteId(access.primary_site),
        replica_site: SiteId(access.replica_site),
        writer: (!access.writer.is_empty()).then_some(access.writer),
        both_read_only: access.both_read_only,
        orphaned: access.orphaned,
    }
}

impl Stored {
    /// The record's row. An inline body is not in it: it has a row of its own.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = record(&self.record, false);
        row.sequence = self.sequence;
        row.source = self.source;
        row.encode_to_vec()
    }

    pub(crate) fn decode(key: RecordKey, row: &[u8]) -> Result<Self> {
        let row: pb::Record = decode(row, "record")?;
        let (sequence, source) = (row.sequence, row.source);
        Ok(Self { record: typed_record(key, row)?, sequence, source })
    }
}

impl Record {
    /// The record as movers exchange it: everything but its place in a feed, inline body included.
    /// The blobs it names are the sender's: the receiver puts its own in their place.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut message = record(self, true);
        message.key = Some(record_key(&self.key));
        message.encode_to_vec().into()
    }

    /// Reads what [`Record::to_bytes`] wrote. The bytes may come from anywhere: limits are checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut message: pb::Record = decode(bytes, "record")?;
        let key = typed_key(message.key.take().unwrap_or_default())?;
        let record = typed_record(key, message)?;
        let fits = match record.as_object() {
            Some(object) => object.body.len() == object.size,
            None => true,
        };
        fits.then_some(record).ok_or(Error::Corrupt { what: "record body" })
    }
}

fn record(record: &Record, with_body: bool) -> pb::Record {
    use pb::record::Body as Wire;
    let body = match &record.payload {
        Payload::Deleted => Wire::Deleted(pb::Deleted {}),
        Payload::Tenant(tenant) => Wire::Tenant(pb::Tenant {
            name: tenant.name.clone(),
            description: tenant.description.clone(),
            created_unix_ms: tenant.created_unix_ms,
            settings: tenant.settings.clone(),
        }),
        Payload::Namespace(namespace) => Wire::Namespace(pb::Namespace {
            name: namespace.name.clone(),
            created_unix_ms: namespace.created_unix_ms,
            settings: namespace.settings.clone(),
        }),
        Payload::Credential(credential) => Wire::Credential(pb::Credential {
            access_key: credential.access_key.clone(),
            secret_key: credential.secret_key.clone(),
            created_unix_ms: credential.created_unix_ms,
            description: credential.description.clone(),
            rights: rights(&credential.rights),
        }),
        Payload::Object(stored) => Wire::Object(object(stored, with_body)),
        Payload::DeleteMarker => Wire::DeleteMarker(pb::DeleteMarker {}),
        Payload::Divergence(divergence) => Wire::Divergence(pb::Divergence {
            link: Bytes::copy_from_slice(&divergence.link.0),
            link_name: divergence.link_name.clone(),
            key: Some(record_key(&divergence.key)),
            winner: Some(version(divergence.winner)),
            loser: Some(version(divergence.loser)),
            winner_deleted: divergence.winner_deleted,
            loser_deleted: divergence.loser_deleted,
            rule: divergence.rule.clone(),
            kept_at: divergence.kept_at.clone().unwrap_or_default(),
            loser_record: divergence
                .loser_record
                .as_ref()
                .map(|record| record.to_bytes())
                .unwrap_or_default(),
            epoch: divergence.epoch.0,
            winner_trace: Some(trace(&divergence.winner_trace)),
            loser_trace: Some(trace(&divergence.loser_trace)),
        }),
    };
    pb::Record {
        key: None,
        version: Some(version(record.version)),
        replaced: vector(&record.replaced),
        absorbed: vector(&record.absorbed),
        epoch: record.epoch.0,
        sequence: 0,
        source: 0,
        body: Some(body),
    }
}

fn typed_record(key: RecordKey, message: pb::Record) -> Result<Record> {
    use pb::record::Body as Wire;
    let payload = match message.body.ok_or(Error::Corrupt { what: "record" })? {
        Wire::Deleted(pb::Deleted {}) => Payload::Deleted,
        Wire::Tenant(tenant) => Payload::Tenant(TenantRecord {
            name: tenant.name,
            description: tenant.description,
            created_unix_ms: tenant.created_unix_ms,
            settings: tenant.settings,
        }),
        Wire::Namespace(namespace) => Payload::Namespace(NamespaceRecord {
            name: namespace.name,
            created_unix_ms: namespace.created_unix_ms,
            settings: namespace.settings,
        }),
        Wire::Credential(credential) => Payload::Credential(CredentialRecord {
            access_key: credential.access_key,
            secret_key: credential.secret_key,
            created_unix_ms: credential.created_unix_ms,
            description: credential.description,
            rights: typed_rights(credential.rights),
        }),
        Wire::Object(object) => Payload::Object(Box::new(typed_object(object)?)),
        Wire::DeleteMarker(pb::DeleteMarker {}) => Payload::DeleteMarker,
        Wire::Divergence(divergence) => Payload::Divergence(Box::new(typed_divergence(divergence)?)),
    };
    if !agree(&key, &payload) {
        return Err(Error::Corrupt { what: "record kind" });
    }
    Ok(Record {
        key,
        version: required_version(message.version)?,
        replaced: typed_vector(&message.replaced),
        absorbed: typed_vector(&message.absorbed),
        epoch: Epoch(message.epoch),
        payload,
    })
}

/// A payload belongs to its kind of key, and names itself as the key does.
fn agree(key: &RecordKey, payload: &Payload) -> bool {
    match (key, payload) {
        (RecordKey::Namespace(name), Payload::Namespace(namespace)) => *name == namespace.name,
        (RecordKey::Credential(access_key), Payload::Credential(credential)) => {
            *access_key == credential.access_key
        }
        (RecordKey::Divergence { of, loser }, Payload::Divergence(divergence)) => {
            **of == divergence.key && *loser == divergence.loser
        }
        (RecordKey::Tenant, Payload::Tenant(_))
        | (
            RecordKey::Object { .. } | RecordKey::Version { .. },
            Payload::Object(_) | Payload::DeleteMarker,
        ) => true,
        (_, Payload::Deleted) => true,
        _ => false,
    }
}

fn typed_divergence(divergence: pb::Divergence) -> Result<Divergence> {
    let key = typed_key(divergence.key.unwrap_or_default())?;
    // A divergence is about a plain record; one inside another would let bytes from the wire
    // recurse without end.
    let loser_record = (!divergence.loser_record.is_empty())
        .then(|| {
            let message: pb::Record = decode(&divergence.loser_record, "record")?;
            if matches!(message.body, Some(pb::record::Body::Divergence(_))) {
                return Err(Error::Corrupt { what: "divergence" });
            }
            typed_record(key.clone(), message).map(Box::new)
        })
        .transpose()?;
    Ok(Divergence {
        link: LinkId::from_slice(&divergence.link).ok_or(Error::Corrupt { what: "divergence" })?,
        link_name: divergence.link_name,
        winner: required_version(divergence.winner)?,
        loser: required_version(divergence.loser)?,
        winner_deleted: divergence.winner_deleted,
        loser_deleted: divergence.loser_deleted,
        rule: divergence.rule,
        kept_at: (!divergence.kept_at.is_empty()).then_some(divergence.kept_at),
        loser_record,
        key,
        epoch: Epoch(divergence.epoch),
        winner_trace: typed_trace(divergence.winner_trace),
        loser_trace: typed_trace(divergence.loser_trace),
    })
}

fn trace(trace: &Trace) -> pb::Trace {
    pb::Trace { system: trace.system.clone(), size: trace.size, etag: trace.etag.clone() }
}

fn typed_trace(stored: Option<pb::Trace>) -> Trace {
    let pb::Trace { system, size, etag } = stored.unwrap_or_default();
    Trace { system, size, etag }
}

fn record_key(key: &RecordKey) -> pb::RecordKey {
    use pb::record_key::Of;
    pb::RecordKey {
        of: Some(match key {
            RecordKey::Tenant => Of::Tenant(pb::TenantKey {}),
            RecordKey::Namespace(name) => Of::Namespace(name.clone()),
            RecordKey::Credential(access_key) => Of::Credential(access_key.clone()),
            RecordKey::Object { namespace, key } => {
                Of::Object(pb::ObjectKey { namespace: namespace.clone(), key: key.clone() })
            }
            RecordKey::Version { namespace, key, id } => Of::Version(pb::VersionKey {
                namespace: namespace.clone(),
                key: key.clone(),
                id: Some(version(*id)),
            }),
            RecordKey::Divergence { of, loser } => Of::Divergence(pb::DivergenceKey {
                loser: Some(version(*loser)),
                record: crate::key::name(of).into(),
            }),
        }),
    }
}

fn typed_key(key: pb::RecordKey) -> Result<RecordKey> {
    use pb::record_key::Of;
    let corrupt = Error::Corrupt { what: "record key" };
    let no_zero =
        |name: String| if name.contains('\0') { Err(Error::Corrupt { what: "name" }) } else { Ok(name) };
    Ok(match key.of.ok_or_else(|| corrupt.clone())? {
        Of::Tenant(pb::TenantKey {}) => RecordKey::Tenant,
        Of::Namespace(name) => RecordKey::Namespace(no_zero(name)?),
        Of::Credential(access_key) => RecordKey::Credential(no_zero(access_key)?),
        Of::Object(object) => RecordKey::Object { namespace: no_zero(object.namespace)?, key: object.key },
        Of::Version(of) => RecordKey::Version {
            namespace: no_zero(of.namespace)?,
            key: of.key,
            id: required_version(of.id)?,
        },
        Of::Divergence(divergence) => match crate::key::parse_name(&divergence.record)? {
            RecordKey::Divergence { .. } => return Err(corrupt),
            of @ (RecordKey::Tenant
            | RecordKey::Namespace(_)
            | RecordKey::Credential(_)
            | RecordKey::Object { .. }
            | RecordKey::Version { .. }) => {
                RecordKey::Divergence { of: Box::new(of), loser: required_version(divergence.loser)? }
            }
        },
    })
}

fn object(object: &Object, with_body: bool) -> pb::Object {
    let (is_inline, inline) = match &object.body {
        Body::Inline(bytes) => (true, if with_body { bytes.clone() } else { Bytes::new() }),
        Body::Segments(_) => (false, Bytes::new()),
    };
    pb::Object {
        size: object.size,
        etag: object.etag.clone(),
        content_hash: Bytes::copy_from_slice(&object.content_hash),
        last_modified_unix_ms: object.last_modified_unix_ms,
        written: object.written.map(version),
        lock: lock(&object.lock),
        metadata: Some(metadata(&object.metadata)),
        tags: object.tags.clone(),
        checksums: checksums(&object.checksums),
        part_sizes: object.part_sizes.clone(),
        is_inline,
        inline,
        segments: segments(object.body.segments()),
    }
}

fn typed_object(object: pb::Object) -> Result<Object> {
    Ok(Object {
        size: object.size,
        etag: object.etag,
        content_hash: typed_hash(&object.content_hash)?,
        last_modified_unix_ms: object.last_modified_unix_ms,
        written: object.written.as_ref().map(typed_version),
        lock: typed_lock(object.lock)?,
        metadata: typed_metadata(object.metadata.unwrap_or_default()),
        tags: object.tags,
        checksums: typed_checksums(object.checksums),
        part_sizes: object.part_sizes,
        body: if object.is_inline {
            Body::Inline(object.inline)
        } else {
            Body::Segments(typed_segments(&object.segments)?)
        },
    })
}

/// A lock as bytes, for the digest; none if nothing is locked.
pub(crate) fn lock_bytes(object: &Object) -> Vec<u8> {
    lock(&object.lock).map(|lock| lock.encode_to_vec()).unwrap_or_default()
}

fn lock(lock: &Lock) -> Option<pb::Lock> {
    let (mode, retain_until_unix_ms) = match lock.retention {
        None => (0, 0),
        Some(Retention { mode: RetentionMode::Governance, until_unix_ms }) => (1, until_unix_ms),
        Some(Retention { mode: RetentionMode::Compliance, until_unix_ms }) => (2, until_unix_ms),
    };
    (!lock.is_none()).then_some(pb::Lock { mode, retain_until_unix_ms, legal_hold: lock.hold })
}

fn typed_lock(lock: Option<pb::Lock>) -> Result<Lock> {
    let pb::Lock { mode, retain_until_unix_ms: until_unix_ms, legal_hold: hold } = lock.unwrap_or_default();
    let retention = match mode {
        0 => None,
        1 => Some(Retention { mode: RetentionMode::Governance, until_unix_ms }),
        2 => Some(Retention { mode: RetentionMode::Compliance, until_unix_ms }),
        // Of a later program: what it keeps must not be deleted here by mistake.
        _ => return Err(Error::Corrupt { what: "lock" }),
    };
    Ok(Lock { retention, hold })
}

fn typed_hash(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::Corrupt { what: "content hash" })
}

fn metadata(metadata: &Metadata) -> pb::Metadata {
    pb::Metadata {
        content_type: metadata.content_type.clone(),
        content_encoding: metadata.content_encoding.clone(),
        content_disposition: metadata.content_disposition.clone(),
        content_language: metadata.content_language.clone(),
        cache_control: metadata.cache_control.clone(),
        expires: metadata.expires.clone(),
        user: metadata.user.clone(),
    }
}

fn typed_metadata(metadata: pb::Metadata) -> Metadata {
    Metadata {
        content_type: metadata.content_type,
        content_encoding: metadata.content_encoding,
        content_disposition: metadata.content_disposition,
        content_language: metadata.content_language,
        cache_control: metadata.cache_control,
        expires: metadata.expires,
        user: metadata.user,
    }
}

fn checksums(checksums: &[Checksum]) -> Vec<pb::Checksum> {
    checksums
        .iter()
        .map(|checksum| pb::Checksum { algorithm: checksum.algorithm.clone(), value: checksum.value.clone() })
        .collect()
}

fn typed_checksums(checksums: Vec<pb::Checksum>) -> Vec<Checksum> {
    checksums
        .into_iter()
        .map(|checksum| Checksum { algorithm: checksum.algorithm, value: checksum.value })
        .collect()
}

fn segments(segments: &[Segment]) -> Vec<pb::Segment> {
    segments
        .iter()
        .map(|segment| pb::Segment { blob_id: Bytes::copy_from_slice(&segment.blob.0), size: segment.size })
        .collect()
}

fn typed_segments(segments: &[pb::Segment]) -> Result<Vec<Segment>> {
    segments
        .iter()
        .map(|segment| {
            let blob = BlobId::from_slice(&segment.blob_id).ok_or(Error::Corrupt { what: "blob id" })?;
            Ok(Segment { blob, size: segment.size })
        })
        .collect()
}

/// An upload's row; its key and identifier are in the row's key.
pub(crate) fn encode_upload(upload: &Upload) -> Vec<u8> {
    pb::Upload {
        initiated_unix_ms: upload.initiated_unix_ms,
        metadata: Some(metadata(&upload.metadata)),
        tags: upload.tags.clone(),
        checksum_algorithm: upload.checksum_algorithm.clone(),
        checksum_type: upload.checksum_type.clone(),
        lock: lock(&upload.lock),
    }
    .encode_to_vec()
}

pub(crate) fn decode_upload(id: UploadId, key: String, row: &[u8]) -> Result<Upload> {
    let row: pb::Upload = decode(row, "upload")?;
    Ok(Upload {
        id,
        key,
        initiated_unix_ms: row.initiated_unix_ms,
        metadata: typed_metadata(row.metadata.unwrap_or_default()),
        tags: row.tags,
        checksum_algorithm: row.checksum_algorithm,
        checksum_type: row.checksum_type,
        lock: typed_lock(row.lock)?,
    })
}

/// A part's row; its number is in the row's key.
pub(crate) fn encode_part(part: &Part) -> Vec<u8> {
    pb::Part {
        size: part.size,
        etag: part.etag.clone(),
        last_modified_unix_ms: part.last_modified_unix_ms,
        content_hash: Bytes::copy_from_slice(&part.content_hash),
        checksums: checksums(&part.checksums),
        segments: segments(&part.segments),
    }
    .encode_to_vec()
}

pub(crate) fn decode_part(number: u32, row: &[u8]) -> Result<Part> {
    let row: pb::Part = decode(row, "part")?;
    Ok(Part {
        number,
        size: row.size,
        etag: row.etag,
        last_modified_unix_ms: row.last_modified_unix_ms,
        content_hash: typed_hash(&row.content_hash)?,
        checksums: typed_checksums(row.checksums),
        segments: typed_segments(&row.segments)?,
    })
}

/// What is hashed of a configuration record: its payload, in protobuf with sorted maps.
pub(crate) fn payload_bytes(payload: &Payload) -> Vec<u8> {
    use pb::record::Body as Wire;
    let shell = Record {
        key: RecordKey::Tenant,
        version: Version::default(),
        replaced: VersionVector::default(),
        absorbed: VersionVector::default(),
        epoch: Epoch::default(),
        payload: payload.clone(),
    };
    match record(&shell, false).body {
        Some(Wire::Tenant(tenant)) => tenant.encode_to_vec(),
        Some(Wire::Namespace(namespace)) => namespace.encode_to_vec(),
        Some(Wire::Credential(credential)) => credential.encode_to_vec(),
        Some(Wire::Deleted(_) | Wire::DeleteMarker(_) | Wire::Object(_) | Wire::Divergence(_)) | None => {
            Vec::new()
        }
    }
}
