//! Objects and the blobs they name.

use switchback_proto::store::v1::*;
use switchback_store::{LIST_MAX, ListRequest};

use super::StoreRpc;
use crate::convert::{
    blob_id, body_to_wire, boxed, conditions, object_from_wire, object_to_wire, resolve, signed,
    version_to_wire,
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
        let put = self.catalogue.put_object(content, &r.namespace, &key, object, conditions(r.conditions));
        let written = self.committed(content, put.await)?;
        Ok(PutObjectResponse {
            version: Some(version_to_wire(written.version)),
            last_modified_unix_ms: signed(written.last_modified_unix_ms),
        })
    }

    pub(super) fn object_get(&self, r: &GetObjectRequest) -> Answer<GetObjectResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let found = self.catalogue.object(content, &r.namespace, &r.key, r.with_body).map_err(boxed)?;
        let body = r.with_body.then(|| body_to_wire(&found.object.body));
        Ok(GetObjectResponse { object: Some(object_to_wire(found.key, found.version, &found.object)), body })
    }

    pub(super) async fn object_tag(&self, r: SetTagsRequest) -> Answer<SetTagsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let tagged = self.catalogue.set_tags(content, &r.namespace, &r.key, r.tags).await;
        let written = self.committed(content, tagged)?;
        Ok(SetTagsResponse { version: Some(version_to_wire(written.version)) })
    }

    pub(super) async fn object_delete(&self, r: DeleteObjectsRequest) -> Answer<DeleteObjectsResponse> {
        if r.keys.len() > DELETE_KEYS_MAX {
            return Err(invalid(format!("keys: more than {DELETE_KEYS_MAX}")));
        }
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let deleted = self.catalogue.delete_objects(content, &r.namespace, r.keys).await;
        let results = self.committed(content, deleted)?;
        let detail = |result: Result<(), _>| result.err().as_ref().map(detail_of).unwrap_or_default();
        Ok(DeleteObjectsResponse { results: results.into_iter().map(detail).collect() })
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
        let listed = |entry: switchback_store::ObjectEntry| Object {
            metadata: None,
            tags: Default::default(),
            ..object_to_wire(entry.key, entry.version, &entry.object)
        };
        Ok(ListObjectsResponse {
            objects: page.objects.into_iter().map(listed).collect(),
            common_prefixes: page.common_prefixes,
            next_start_after: page.next_start_after.unwrap_or_default(),
        })
    }
}
