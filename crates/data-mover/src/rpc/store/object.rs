//! Objects and the blobs they name.

use switchback_proto::store::v1::*;
use switchback_store::{Deletion, LIST_MAX, ListRequest, LockChange, VersionsAfter, VersionsAsked};

use super::StoreRpc;
use crate::convert::{
    blob_id, body_to_wire, boxed, conditions, entry_to_wire, lock_from_wire, object_from_wire,
    object_to_wire, resolve, signed, version_id, version_id_to_wire, version_to_wire,
};
use crate::status::{Answer, detail_of, invalid};

/// S3's own limit on the keys of one delete.
const DELETE_KEYS_MAX: usize = 1_000;

/// Blobs of one lease call: a multipart part or a body has few; more is a mistake.
const LEASE_BLOBS_MAX: usize = 10_000;

impl StoreRpc {
    pub(super) async fn blob_lease(&self, r: LeaseBlobRequest) -> Answer<LeaseBlobResponse> {
        if r.blob_ids.len() > LEASE_BLOBS_MAX {
            return Err(invalid(format!("blob_ids: more than {LEASE_BLOBS_MAX}")));
        }
        let blobs = r.blob_ids.iter().map(|id| blob_id(id)).collect::<Answer<Vec<_>>>()?;
        // Before anything is written.
        self.presence.check().map_err(boxed)?;
        let expires = match &r.content {
            None => self.catalogue.lease_blobs(blobs).await,
            Some(content) => {
                let content = resolve(&self.catalogue, Some(content))?;
                self.catalogue.lease_blobs_for(content, &r.namespace, blobs).await
            }
        };
        let expires = expires.map_err(boxed)?;
        Ok(LeaseBlobResponse { expires_unix_ms: signed(expires) })
    }

    pub(super) async fn object_put(&self, r: PutObjectRequest) -> Answer<PutObjectResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let mut object = r.object.ok_or_else(|| invalid("object: missing"))?;
        let key = std::mem::take(&mut object.key);
        let object = object_from_wire(object, r.body)?;
        self.check_present(object.body.segments())?;
        let put = self.catalogue.put_object(content, &r.namespace, &key, object, conditions(r.conditions));
        let written = self.committed(content, put.await)?;
        Ok(PutObjectResponse {
            version: Some(version_to_wire(written.version)),
            last_modified_unix_ms: signed(written.last_modified_unix_ms),
            version_id: version_id_to_wire(written.id),
        })
    }

    pub(super) fn object_get(&self, r: &GetObjectRequest) -> Answer<GetObjectResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let version = version_id(&r.version_id)?;
        let found = self.catalogue.object_version(content, &r.namespace, &r.key, version, r.with_body);
        let found = found.map_err(boxed)?;
        let body = r.with_body.then(|| body_to_wire(&found.object.body));
        Ok(GetObjectResponse { object: Some(entry_to_wire(found)), body })
    }

    pub(super) fn damage_report(&self, r: &ReportDamageRequest) -> Answer<ReportDamageResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let version = version_id(&r.version_id)?;
        let key = self.catalogue.object_key(content, &r.namespace, &r.key, version).map_err(boxed)?;
        if let Some(key) = key {
            self.scrub.suspect(content, key);
        }
        Ok(ReportDamageResponse {})
    }

    pub(super) async fn object_tag(&self, r: SetTagsRequest) -> Answer<SetTagsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let version = version_id(&r.version_id)?;
        let tagged = self.catalogue.set_tags(content, &r.namespace, &r.key, version, r.tags).await;
        let written = self.committed(content, tagged)?;
        Ok(SetTagsResponse {
            version: Some(version_to_wire(written.version)),
            version_id: version_id_to_wire(written.id),
        })
    }

    pub(super) async fn object_lock(&self, r: SetLockRequest) -> Answer<SetLockResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let version = version_id(&r.version_id)?;
        let change = match r.change {
            Some(set_lock_request::Change::LegalHold(hold)) => LockChange::Hold(hold),
            Some(set_lock_request::Change::Retention(lock)) => {
                LockChange::Retention(lock_from_wire(Some(lock))?.retention)
            }
            None => return Err(invalid("change: expected a retention or a legal hold")),
        };
        let bypass = r.bypass_governance;
        let set = self.catalogue.set_lock(content, &r.namespace, &r.key, version, change, bypass).await;
        self.committed(content, set)?;
        Ok(SetLockResponse {})
    }

    pub(super) async fn object_delete(&self, r: DeleteObjectsRequest) -> Answer<DeleteObjectsResponse> {
        if r.keys.len() > DELETE_KEYS_MAX {
            return Err(invalid(format!("keys: more than {DELETE_KEYS_MAX}")));
        }
        if !r.version_ids.is_empty() && r.version_ids.len() != r.keys.len() {
            return Err(invalid("version_ids: expected none, or one for each key"));
        }
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let versions = r.version_ids.iter().map(String::as_str).chain(std::iter::repeat(""));
        let bypass_governance = r.bypass_governance;
        let deletion =
            |(key, version)| Ok(Deletion { key, version: version_id(version)?, bypass_governance });
        let deletions = r.keys.into_iter().zip(versions).map(deletion).collect::<Answer<Vec<_>>>()?;
        let deleted = self.catalogue.delete_objects(content, &r.namespace, deletions).await;
        let mut answer = DeleteObjectsResponse::default();
        for result in self.committed(content, deleted)? {
            let deleted = result.as_ref().map(deleted_to_wire).unwrap_or_default();
            answer.results.push(result.err().as_ref().map(detail_of).unwrap_or_default());
            answer.deleted.push(deleted);
        }
        Ok(answer)
    }

    pub(super) async fn object_list(&self, r: ListObjectsRequest) -> Answer<ListObjectsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let request = ListRequest {
            prefix: r.prefix,
            delimiter: r.delimiter,
            start_after: r.start_after,
            keys_max: (r.keys_max as usize).min(LIST_MAX),
        };
        let namespace = r.namespace;
        let page = self.scan(move |catalogue| catalogue.list(content, &namespace, &request)).await?;
        let listed = |entry| Object { metadata: None, tags: Default::default(), ..entry_to_wire(entry) };
        Ok(ListObjectsResponse {
            objects: page.objects.into_iter().map(listed).collect(),
            common_prefixes: page.common_prefixes,
            next_start_after: page.next_start_after.unwrap_or_default(),
        })
    }

    pub(super) async fn version_list(&self, r: ListVersionsRequest) -> Answer<ListVersionsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let version = version_id(&r.after_version_id)?;
        let asked = VersionsAsked {
            prefix: r.prefix,
            delimiter: r.delimiter,
            after: (!r.after_key.is_empty()).then_some(VersionsAfter { key: r.after_key, version }),
            entries_max: (r.entries_max as usize).min(LIST_MAX),
        };
        let namespace = r.namespace;
        let page = self.scan(move |catalogue| catalogue.list_versions(content, &namespace, &asked)).await?;
        let (after_key, after_version) = page.next.map(|next| (next.key, next.version)).unwrap_or_default();
        Ok(ListVersionsResponse {
            entries: page.entries.into_iter().map(version_to_listed).collect(),
            common_prefixes: page.common_prefixes,
            next_after_key: after_key,
            next_after_version_id: version_id_to_wire(after_version),
        })
    }
}

fn deleted_to_wire(deleted: &switchback_store::Deleted) -> Deleted {
    Deleted { version_id: version_id_to_wire(deleted.version), delete_marker: deleted.is_marker }
}

fn version_to_listed(entry: switchback_store::VersionEntry) -> VersionEntry {
    let (delete_marker, is_latest) = (entry.object.is_none(), entry.is_latest);
    let object = object_to_wire(entry.key, Some(entry.id), entry.version, &entry.object.unwrap_or_default());
    let object = Object {
        metadata: None,
        tags: Default::default(),
        last_modified_unix_ms: signed(entry.last_modified_unix_ms),
        ..object
    };
    VersionEntry { object: Some(object), delete_marker, is_latest }
}
