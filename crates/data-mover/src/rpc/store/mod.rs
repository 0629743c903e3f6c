//! `switchback.store.v1`: decode, call the store, encode. Who may write is decided by the store,
//! in the commit.

mod content;
mod object;
mod upload;

use std::sync::Arc;

use switchback_kit::world::aside;
use switchback_model::ContentId;
use switchback_proto::store::v1::store_service_server::StoreService;
use switchback_proto::store::v1::*;
use switchback_store::{Catalogue, Presence, Segment as StoredSegment};
use tonic::{Request, Response, Status};

use super::reply;
use crate::bell::Bells;
use crate::request::Requests;
use crate::scrub::Scrub;
use crate::status::Answer;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StoreRpc {
    pub(crate) catalogue: Catalogue,
    pub(crate) presence: Presence,
    pub(crate) scrub: Arc<Scrub>,
    pub(crate) bells: Bells,
    pub(crate) requests: Requests,
}

impl StoreRpc {
    /// Passes on what a commit returned, and wakes who waits for the content.
    fn committed<T>(&self, content: ContentId, result: switchback_store::Result<T>) -> Answer<T> {
        if result.is_ok() {
            self.bells.ring(content);
        }
        result.map_err(crate::convert::boxed)
    }

    /// Refuses a write that names blobs while their folder is not there: what was written beside it is gone once it
    /// is back.
    fn check_present(&self, segments: &[StoredSegment]) -> Answer<()> {
        if segments.is_empty() {
            return Ok(());
        }
        self.presence.check().map_err(crate::convert::boxed)
    }

    /// Runs a read that scans on a thread that may block.
    async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Catalogue) -> switchback_store::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let catalogue = self.catalogue.clone();
        let read = aside(move || read(&catalogue)).await;
        read.unwrap_or(Err(switchback_store::Error::Poisoned)).map_err(crate::convert::boxed)
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl StoreService for StoreRpc {
    async fn create_content(&self, r: Request<CreateContentRequest>) -> Reply<CreateContentResponse> {
        reply(self.content_create(r.into_inner()).await)
    }
    async fn list_contents(&self, _: Request<ListContentsRequest>) -> Reply<ListContentsResponse> {
        reply(self.content_list().await)
    }
    async fn delete_content(&self, r: Request<DeleteContentRequest>) -> Reply<DeleteContentResponse> {
        reply(self.content_delete(r.into_inner()).await)
    }
    async fn release_content(&self, r: Request<ReleaseContentRequest>) -> Reply<ReleaseContentResponse> {
        reply(self.content_release(r.into_inner()).await)
    }
    async fn create_namespace(&self, r: Request<CreateNamespaceRequest>) -> Reply<CreateNamespaceResponse> {
        reply(self.namespace_create(r.into_inner()).await)
    }
    async fn list_namespaces(&self, r: Request<ListNamespacesRequest>) -> Reply<ListNamespacesResponse> {
        reply(self.namespace_list(r.into_inner()).await)
    }
    async fn get_namespace(&self, r: Request<GetNamespaceRequest>) -> Reply<GetNamespaceResponse> {
        reply(self.namespace_get(&r.into_inner()))
    }
    async fn delete_namespace(&self, r: Request<DeleteNamespaceRequest>) -> Reply<DeleteNamespaceResponse> {
        reply(self.namespace_delete(r.into_inner()).await)
    }
    async fn set_namespace_setting(
        &self,
        r: Request<SetNamespaceSettingRequest>,
    ) -> Reply<SetNamespaceSettingResponse> {
        reply(self.namespace_set(r.into_inner()).await)
    }
    async fn create_credential(
        &self,
        r: Request<CreateCredentialRequest>,
    ) -> Reply<CreateCredentialResponse> {
        reply(self.credential_create(r.into_inner()).await)
    }
    async fn list_credentials(&self, r: Request<ListCredentialsRequest>) -> Reply<ListCredentialsResponse> {
        reply(self.credential_list(r.into_inner()).await)
    }
    async fn delete_credential(
        &self,
        r: Request<DeleteCredentialRequest>,
    ) -> Reply<DeleteCredentialResponse> {
        reply(self.credential_delete(r.into_inner()).await)
    }
    async fn set_credential_rights(
        &self,
        r: Request<SetCredentialRightsRequest>,
    ) -> Reply<SetCredentialRightsResponse> {
        reply(self.credential_set_rights(r.into_inner()).await)
    }
    async fn lookup_credential(
        &self,
        r: Request<LookupCredentialRequest>,
    ) -> Reply<LookupCredentialResponse> {
        reply(self.credential_lookup(&r.into_inner()))
    }
    async fn lease_blob(&self, r: Request<LeaseBlobRequest>) -> Reply<LeaseBlobResponse> {
        reply(self.blob_lease(r.into_inner()).await)
    }
    async fn put_object(&self, r: Request<PutObjectRequest>) -> Reply<PutObjectResponse> {
        reply(self.object_put(r.into_inner()).await)
    }
    async fn get_object(&self, r: Request<GetObjectRequest>) -> Reply<GetObjectResponse> {
        reply(self.object_get(&r.into_inner()))
    }
    async fn report_damage(&self, r: Request<ReportDamageRequest>) -> Reply<ReportDamageResponse> {
        reply(self.damage_report(&r.into_inner()))
    }
    async fn set_tags(&self, r: Request<SetTagsRequest>) -> Reply<SetTagsResponse> {
        reply(self.object_tag(r.into_inner()).await)
    }
    async fn set_lock(&self, r: Request<SetLockRequest>) -> Reply<SetLockResponse> {
        reply(self.object_lock(r.into_inner()).await)
    }
    async fn delete_objects(&self, r: Request<DeleteObjectsRequest>) -> Reply<DeleteObjectsResponse> {
        reply(self.object_delete(r.into_inner()).await)
    }
    async fn list_objects(&self, r: Request<ListObjectsRequest>) -> Reply<ListObjectsResponse> {
        reply(self.object_list(r.into_inner()).await)
    }
    async fn list_versions(&self, r: Request<ListVersionsRequest>) -> Reply<ListVersionsResponse> {
        reply(self.version_list(r.into_inner()).await)
    }
    async fn create_upload(&self, r: Request<CreateUploadRequest>) -> Reply<CreateUploadResponse> {
        reply(self.upload_create(r.into_inner()).await)
    }
    async fn put_part(&self, r: Request<PutPartRequest>) -> Reply<PutPartResponse> {
        reply(self.upload_put_part(r.into_inner()).await)
    }
    async fn list_parts(&self, r: Request<ListPartsRequest>) -> Reply<ListPartsResponse> {
        reply(self.upload_list_parts(r.into_inner()).await)
    }
    async fn list_uploads(&self, r: Request<ListUploadsRequest>) -> Reply<ListUploadsResponse> {
        reply(self.upload_list(r.into_inner()).await)
    }
    async fn complete_upload(&self, r: Request<CompleteUploadRequest>) -> Reply<CompleteUploadResponse> {
        reply(self.upload_complete(r.into_inner()).await)
    }
    async fn abort_upload(&self, r: Request<AbortUploadRequest>) -> Reply<AbortUploadResponse> {
        reply(self.upload_abort(r.into_inner()).await)
    }
}
