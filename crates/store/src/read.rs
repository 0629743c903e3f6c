//! Reads of contents, configuration, objects and uploads. Each works on one snapshot.

use std::ops::Bound;

use switchback_model::{AccessMode, Content, ContentId, ContentKind};

use crate::access::{ContentDigest, ContentStatus, Digest};
use crate::authority::position;
use crate::batch::Count;
use crate::catalogue::{Catalogue, NamespaceStatus};
use crate::codec::{self, ContentRow, Stored};
use crate::digest::{self, Sum};
use crate::engine::{Family, Rows, View};
use crate::error::{Error, Result};
use crate::feed::Change;
use crate::key;
use crate::lineage::Run;
use crate::listing::{ListRequest, Listing, ObjectEntry, list};
use crate::record::{BlobId, Body, CredentialRecord, NamespaceRecord, Payload, Record, RecordKey};
use crate::upload::{PartPage, UploadId, UploadPage};
use crate::versioning::{VersionId, Versioning, absent, find};
use crate::versions::{self, VersionListing, VersionsAsked};

/// The most that one page of parts or uploads holds: S3's page size.
const PAGE_MAX: usize = 1000;

pub(crate) fn content_row(view: &View<'_>, id: ContentId) -> Result<ContentRow> {
    ContentRow::decode(&view.row(Family::Meta, &key::content(id))?.ok_or(Error::NoSuchContent)?)
}

/// A record without its inline body.
pub(crate) fn stored(rows: &impl Rows, id: ContentId, key: &RecordKey) -> Result<Option<Stored>> {
    rows.row(Family::Record, &key::record(id, key))?.map(|row| Stored::decode(key.clone(), &row)).transpose()
}

pub(crate) fn load_body(view: &View<'_>, id: ContentId, record: &mut Record) -> Result<()> {
    let row = key::record(id, &record.key);
    if let Some(object) = record.as_object_mut()
        && let Body::Inline(_) = object.body
    {
        object.body = Body::Inline(view.row(Family::Body, &row)?.unwrap_or_default().into());
    }
    Ok(())
}

impl Catalogue {
    // Contents.

    /// The content of this kind and name.
    pub fn find_content(&self, kind: ContentKind, name: &str) -> Result<Option<Content>> {
        let row = self.view().row(Family::Meta, &key::content_name(kind, name))?;
        let id = row.map(|row| ContentId::from_slice(&row).ok_or(Error::Corrupt { what: "content name" }));
        Ok(id.transpose()?.map(|id| Content { kind, name: name.into(), id }))
    }

    /// Everything about one content.
    pub fn content(&self, content: ContentId) -> Result<ContentStatus> {
        Ok(self.status(content_row(&self.view(), content)?))
    }

    /// Everything about all contents, by kind and name; the reserved tenant included.
    pub fn contents(&self) -> Result<Vec<ContentStatus>> {
        let mut contents = Vec::new();
        for row in self.view().prefix(Family::Meta, b"c") {
            contents.push(self.status(ContentRow::decode(&row?.1)?));
        }
        contents.sort_by(|left, right| left.content.cmp(&right.content));
        Ok(contents)
    }

    fn status(&self, mut row: ContentRow) -> ContentStatus {
        let (id, began) = self.run();
        row.lineage.go_on(Run { id, first: row.head + 1, began });
        ContentStatus {
            held: row.access.link.is_some() && !self.is_confirmed(row.content.id),
            head: position(&row),
            digest: row.digest.into(),
            content: row.content,
            description: row.description,
            created_unix_ms: row.created_unix_ms,
            access: row.access,
            objects: row.objects,
            bytes: row.bytes,
            tombstones: row.tombstones,
            cursors: row.cursors,
            lineage: row.lineage,
            peer_lineage: row.peer_lineage,
            notes_given: row.notes_given,
            acknowledged: row.acknowledged,
            went_back: row.acknowledged_before.is_some(),
        }
    }

    /// The mode that a write meets now.
    pub fn mode(&self, content: ContentId) -> Result<AccessMode> {
        self.content(content).map(|status| status.mode())
    }

    /// The digest of one content, by ranges.
    pub fn digest(&self, content: ContentId) -> Result<ContentDigest> {
        let view = self.view();
        let row = content_row(&view, content)?;
        let ranges = (0..=u8::MAX)
            .map(|range| {
                let row = view.row(Family::Meta, &key::range(content, range))?;
                Ok(row.as_deref().map(Sum::decode).transpose()?.unwrap_or_default().into())
            })
            .collect::<Result<Vec<Digest>>>()?;
        Ok(ContentDigest { position: position(&row), total: row.digest.into(), ranges })
    }

    /// The records that one of the 256 ranges counts. Ranges are not indexed, because they are only
    /// listed where two systems differ: this reads the whole content.
    pub fn digest_range(
        &self,
        content: ContentId,
        range: u8,
    ) -> Result<Vec<(RecordKey, switchback_model::Version)>> {
        let mut found = Vec::new();
        for row in self.view().prefix(Family::Record, &content.0) {
            let (row, value) = row?;
            let key = key::parse_name(&row[content.0.len()..])?;
            if digest::range_of(&key) != range {
                continue;
            }
            let Stored { record, .. } = Stored::decode(key, &value)?;
            if digest::is_counted(&record) {
                found.push((record.key, record.version));
            }
        }
        Ok(found)
    }

    // Configuration.

    /// One namespace.
    pub fn namespace(&self, content: ContentId, name: &str) -> Result<NamespaceStatus> {
        let view = self.view();
        content_row(&view, content)?;
        match stored(&view, content, &RecordKey::Namespace(name.into()))?.map(|stored| stored.record.payload)
        {
            Some(Payload::Namespace(namespace)) => namespace_status(&view, content, namespace),
            Some(Payload::Deleted) if has_objects(&view, content, name)? => {
                namespace_status(&view, content, deleted_namespace(name))
            }
            Some(_) | None => Err(Error::NoSuchNamespace { namespace: name.into() }),
        }
    }

    /// All namespaces, by name.
    pub fn namespaces(&self, content: ContentId) -> Result<Vec<NamespaceStatus>> {
        let view = self.view();
        content_row(&view, content)?;
        let mut namespaces = Vec::new();
        for record in records(&view, content, &key::namespaces(content))? {
            match record.payload {
                Payload::Namespace(namespace) => {
                    namespaces.push(namespace_status(&view, content, namespace)?);
                }
                Payload::Deleted => {
                    let RecordKey::Namespace(name) = &record.key else { continue };
                    if has_objects(&view, content, name)? {
                        namespaces.push(namespace_status(&view, content, deleted_namespace(name))?);
                    }
                }
                Payload::Tenant(_)
                | Payload::Credential(_)
                | Payload::Object(_)
                | Payload::DeleteMarker
                | Payload::Divergence(_) => {}
            }
        }
        Ok(namespaces)
    }

    /// All credentials of a content, by access key.
    pub fn credentials(&self, content: ContentId) -> Result<Vec<CredentialRecord>> {
        let view = self.view();
        content_row(&view, content)?;
        let records = records(&view, content, &key::credentials(content))?;
        Ok(records.into_iter().filter_map(credential).collect())
    }

    /// Whose this access key is.
    pub fn find_credential(&self, access_key: &str) -> Result<Option<(Content, CredentialRecord)>> {
        let (view, prefix) = (self.view(), key::credential_prefix(access_key));
        let Some(row) = view.prefix(Family::Meta, &prefix).next().transpose()? else {
            return Ok(None);
        };
        let corrupt = Error::Corrupt { what: "credential index" };
        let id = ContentId::from_slice(&row.0[prefix.len()..]).ok_or(corrupt)?;
        let content = content_row(&view, id)?.content;
        let record = stored(&view, id, &RecordKey::Credential(access_key.into()))?;
        Ok(record.and_then(|stored| credential(stored.record)).map(|credential| (content, credential)))
    }

    // Objects.

    /// One object; with its inline body if `with_body`.
    pub fn object(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        with_body: bool,
    ) -> Result<ObjectEntry> {
        self.object_version(content, namespace, key, None, with_body)
    }

    /// The version `version` of an object; the current one if none is named.
    pub fn object_version(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        version: Option<VersionId>,
        with_body: bool,
    ) -> Result<ObjectEntry> {
        let view = self.view();
        let Some(mut found) = find(&view, content, namespace, key, version)? else {
            // Only a miss pays for finding out why.
            check_namespace(&view, content, namespace)?;
            return Err(absent(None, version));
        };
        if found.record.is_without_object() {
            return Err(absent(Some(&found), version));
        }
        if with_body {
            load_body(&view, content, &mut found.record)?;
        }
        let id = VersionId::of(&found.record.key);
        let is_named = id != VersionId::Null || version.is_some();
        let is_versioned = is_named || check_namespace(&view, content, namespace)? != Versioning::Off;
        let version = found.record.version;
        match found.record.payload {
            Payload::Object(object) => {
                Ok(ObjectEntry { key: key.into(), id: is_versioned.then_some(id), version, object: *object })
            }
            Payload::Deleted
            | Payload::DeleteMarker
            | Payload::Tenant(_)
            | Payload::Namespace(_)
            | Payload::Credential(_)
            | Payload::Divergence(_) => Err(Error::NoSuchKey),
        }
    }

    /// The record of the version `version` of an object, or of the current one; none when there is none.
    pub fn object_key(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        version: Option<VersionId>,
    ) -> Result<Option<RecordKey>> {
        let found = find(&self.view(), content, namespace, key, version)?;
        Ok(found.map(|found| found.record.key))
    }

    /// One record by its key, with its inline body; tombstones too.
    pub fn record(&self, content: ContentId, key: &RecordKey) -> Result<Option<Record>> {
        Ok(self.change(content, key)?.map(|change| change.record))
    }

    /// The same with its place in the feed.
    pub fn change(&self, content: ContentId, key: &RecordKey) -> Result<Option<Change>> {
        let view = self.view();
        let Some(mut stored) = stored(&view, content, key)? else {
            return Ok(None);
        };
        load_body(&view, content, &mut stored.record)?;
        Ok(Some(Change { sequence: stored.sequence, record: stored.record }))
    }

    /// One page of a namespace.
    pub fn list(&self, content: ContentId, namespace: &str, request: &ListRequest) -> Result<Listing> {
        let view = self.view();
        check_namespace(&view, content, namespace)?;
        list(&view, content, namespace, request)
    }

    /// One page of all versions and delete markers in a namespace.
    pub fn list_versions(
        &self,
        content: ContentId,
        namespace: &str,
        asked: &VersionsAsked,
    ) -> Result<VersionListing> {
        let view = self.view();
        check_namespace(&view, content, namespace)?;
        versions::list(&view, content, namespace, asked)
    }

    // Multipart uploads.

    /// One page of parts after the part `after`.
    pub fn parts(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
        after: u32,
        parts_max: usize,
    ) -> Result<PartPage> {
        let view = self.view();
        let row = view.row(Family::Upload, &key::upload(content, namespace, key, upload))?;
        let found = codec::decode_upload(upload, key.into(), &row.ok_or(Error::NoSuchUpload)?)?;
        let mut page = PartPage { upload: found, parts: Vec::new(), truncated: false };
        let from = Bound::Excluded(key::part(upload, after));
        for row in view.scan(Family::Upload, &key::parts(upload), from) {
            let (row, value) = row?;
            if page.parts.len() == parts_max.min(crate::PART_NUMBER_MAX as usize) {
                page.truncated = true;
                break;
            }
            let number = row.last_chunk().copied().map(u32::from_be_bytes);
            page.parts.push(codec::decode_part(number.unwrap_or_default(), &value)?);
        }
        Ok(page)
    }

    /// One page of the open uploads whose keys begin with `prefix`, after the given one.
    pub fn uploads(
        &self,
        content: ContentId,
        namespace: &str,
        prefix: &str,
        after: Option<(&str, UploadId)>,
        uploads_max: usize,
    ) -> Result<UploadPage> {
        let view = self.view();
        check_namespace(&view, content, namespace)?;
        let all = key::uploads(content, namespace);
        let wanted = [all.clone(), key::escape(prefix)].concat();
        let from = match after {
            Some((key, upload)) => {
                let after = key::upload(content, namespace, key, upload);
                if after < wanted { Bound::Included(wanted.clone()) } else { Bound::Excluded(after) }
            }
            None => Bound::Included(wanted.clone()),
        };
        let mut page = UploadPage::default();
        for row in view.scan(Family::Upload, &wanted, from) {
            let (row, value) = row?;
            if page.uploads.len() == uploads_max.min(PAGE_MAX) {
                page.truncated = true;
                break;
            }
            let (key, id) = key::parse_upload(&row, all.len())?;
            page.uploads.push(codec::decode_upload(id, key, &value)?);
        }
        Ok(page)
    }

    // Blobs.

    /// True when a record or part names a blob.
    pub fn has_blobs(&self) -> Result<bool> {
        Ok(!self.view().first(Family::Blob, b"r", 1)?.is_empty())
    }

    /// True when no record, part or lease knows this blob: a crash left it, or it is about to be
    /// swept.
    pub fn is_orphan(&self, blob: BlobId) -> Result<bool> {
        let view = self.view();
        let named = view.row(Family::Blob, &key::references(blob))?;
        Ok(named.is_none() && view.row(Family::Blob, &key::lease(blob))?.is_none())
    }
}

fn check_namespace(view: &View<'_>, content: ContentId, namespace: &str) -> Result<Versioning> {
    let stored = stored(view, content, &RecordKey::Namespace(namespace.into()))?;
    match stored.as_ref().map(|stored| &stored.record.payload) {
        Some(Payload::Namespace(namespace)) => Ok(Versioning::of(namespace)),
        Some(_) if has_objects(view, content, namespace)? => Ok(Versioning::Off),
        Some(_) | None => {
            content_row(view, content)?;
            Err(Error::NoSuchNamespace { namespace: namespace.into() })
        }
    }
}

/// See [`crate::commit::check_namespace`].
fn has_objects(view: &View<'_>, content: ContentId, namespace: &str) -> Result<bool> {
    Ok(view.row(Family::Meta, &key::namespace_count(content, namespace))?.is_some())
}

/// What is left of a deleted namespace that holds objects.
fn deleted_namespace(name: &str) -> NamespaceRecord {
    NamespaceRecord { name: name.into(), ..NamespaceRecord::default() }
}

fn namespace_status(
    view: &View<'_>,
    content: ContentId,
    namespace: NamespaceRecord,
) -> Result<NamespaceStatus> {
    let row = view.row(Family::Meta, &key::namespace_count(content, &namespace.name))?;
    let count = row.as_deref().map(Count::decode).transpose()?.unwrap_or_default();
    Ok(NamespaceStatus { namespace, objects: count.entries, bytes: count.bytes })
}

fn credential(record: Record) -> Option<CredentialRecord> {
    match record.payload {
        Payload::Credential(credential) => Some(credential),
        Payload::Deleted
        | Payload::DeleteMarker
        | Payload::Tenant(_)
        | Payload::Namespace(_)
        | Payload::Object(_)
        | Payload::Divergence(_) => None,
    }
}

/// All records under `prefix`, tombstones too.
fn records(view: &View<'_>, content: ContentId, prefix: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for row in view.prefix(Family::Record, prefix) {
        let (row, value) = row?;
        records.push(Stored::decode(key::parse_name(&row[content.0.len()..])?, &value)?.record);
    }
    Ok(records)
}
