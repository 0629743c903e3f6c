//! Multipart uploads.

use switchback_model::ContentId;
use switchback_proto::store::v1::*;
use switchback_store::{CompletedPart as Named, Error as StoreError, UploadId};

use super::StoreRpc;
use crate::convert::{
    boxed, completion, conditions, object_to_wire, part_from_wire, part_to_wire, resolve, upload_from_wire,
    upload_id, upload_to_wire,
};
use crate::status::{Answer, invalid};

/// S3's page size for parts and uploads.
const PAGE_MAX: u32 = 1_000;

impl StoreRpc {
    pub(super) async fn upload_create(&self, r: CreateUploadRequest) -> Answer<CreateUploadResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let upload = upload_from_wire(r.upload.ok_or_else(|| invalid("upload: missing"))?)?;
        let made = self.catalogue.create_upload(content, &r.namespace, upload).await.map_err(boxed)?;
        Ok(CreateUploadResponse { upload: Some(upload_to_wire(made)) })
    }

    pub(super) async fn upload_put_part(&self, r: PutPartRequest) -> Answer<PutPartResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let id = upload_id(&r.upload_id)?;
        let part = part_from_wire(r.part.ok_or_else(|| invalid("part: missing"))?, r.body)?;
        self.check_present(&part.segments)?;
        self.catalogue.put_part(content, &r.namespace, &r.key, id, part).await.map_err(boxed)?;
        self.scrub.upload_changed(id);
        Ok(PutPartResponse {})
    }

    pub(super) async fn upload_list_parts(&self, r: ListPartsRequest) -> Answer<ListPartsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let id = upload_id(&r.upload_id)?;
        let max = r.parts_max.min(PAGE_MAX) as usize;
        let page = self
            .scan(move |catalogue| catalogue.parts(content, &r.namespace, &r.key, id, r.after_number, max))
            .await?;
        Ok(ListPartsResponse {
            upload: Some(upload_to_wire(page.upload)),
            parts: page.parts.into_iter().map(part_to_wire).collect(),
            truncated: page.truncated,
        })
    }

    pub(super) async fn upload_list(&self, r: ListUploadsRequest) -> Answer<ListUploadsResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let after = match (r.after_key.is_empty(), r.after_upload_id.is_empty()) {
            (true, _) => None,
            // S3's key-marker alone: after all uploads of that key.
            (false, true) => Some(UploadId([0xff; 16])),
            (false, false) => Some(upload_id(&r.after_upload_id)?),
        };
        let max = r.uploads_max.min(PAGE_MAX) as usize;
        let page = self
            .scan(move |catalogue| {
                let after = after.map(|id| (r.after_key.as_str(), id));
                catalogue.uploads(content, &r.namespace, &r.prefix, after, max)
            })
            .await?;
        Ok(ListUploadsResponse {
            uploads: page.uploads.into_iter().map(upload_to_wire).collect(),
            truncated: page.truncated,
        })
    }

    pub(super) async fn upload_complete(&self, r: CompleteUploadRequest) -> Answer<CompleteUploadResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let id = upload_id(&r.upload_id)?;
        let end = completion(r.parts, r.etag, r.checksums);
        self.check_parts(content, &r.namespace, &r.key, id, &end.parts)?;
        let complete =
            self.catalogue.complete_upload(content, &r.namespace, &r.key, id, end, conditions(r.conditions));
        let (written, object) = self.committed(content, complete.await)?;
        self.scrub.upload_changed(id);
        Ok(CompleteUploadResponse {
            object: Some(object_to_wire(r.key, written.id, written.version, &object)),
        })
    }

    pub(super) async fn upload_abort(&self, r: AbortUploadRequest) -> Answer<AbortUploadResponse> {
        let content = resolve(&self.catalogue, r.content.as_ref())?;
        let id = upload_id(&r.upload_id)?;
        self.catalogue.abort_upload(content, &r.namespace, &r.key, id).await.map_err(boxed)?;
        self.scrub.upload_changed(id);
        Ok(AbortUploadResponse {})
    }

    /// Refuses to make an object of parts that are known to be damaged, of which there is no other copy. What is found
    /// in the very moment of the commit is found again in the object.
    fn check_parts(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
        named: &[Named],
    ) -> Answer<()> {
        for (number, fingerprint) in self.scrub.damaged_parts(upload) {
            if !named.iter().any(|part| part.number == number) {
                continue;
            }
            let now = self.catalogue.stored_part(content, namespace, key, upload, number).map_err(boxed)?;
            if now.is_some_and(|now| now.body().fingerprint() == fingerprint) {
                let reason = "its bytes are damaged: upload it again";
                return Err(boxed(StoreError::InvalidPart { number, reason }));
            }
        }
        Ok(())
    }
}
