//! A store in memory: just enough of `store.v1` for the gateway's tests, with none of its promises.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use switchback_kit::grpc::refusal;
use switchback_proto::model::v1::{Content, ContentKind, Writer};
use switchback_proto::store::v1::store_service_server::StoreService;
use switchback_proto::store::v1::*;
use tonic::{Code, Request, Response, Status};

/// By number.
pub(crate) type Parts = BTreeMap<u32, (Part, Body)>;

type Answer<T> = Result<Response<T>, Status>;

/// What the store does with a commit.
#[derive(Clone, Default)]
pub(crate) enum Commits {
    #[default]
    Accepted,
    /// Read-only, with this writer.
    ReadOnly(Writer),
    /// Done, and the answer lost.
    Unanswered,
    /// This one is done, and no other: it is read-only then, with this writer.
    Last(Writer),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) namespaces: BTreeMap<String, i64>,
    /// Of the credentials but KEY, which has all: OTHER is another tenant's.
    pub(crate) rights: BTreeMap<String, Rights>,
    /// Of all namespaces alike.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) objects: BTreeMap<(String, String), (Object, Body)>,
    pub(crate) uploads: BTreeMap<String, (Upload, Parts)>,
    pub(crate) commits: Commits,
    /// Of the link, with refusals.
    pub(crate) epoch: u64,
    /// Keys whose bytes were found damaged.
    pub(crate) damaged: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeStore(pub(crate) Arc<Mutex<State>>);

fn refuse<T>(reason: &str) -> Answer<T> {
    Err(refusal(Code::NotFound, reason, reason.to_lowercase(), None))
}

fn read_only(writer: Writer, epoch: u64) -> Status {
    let detail = ErrorDetail { link: "east-west".into(), writer: Some(writer), epoch, ..Default::default() };
    refusal(Code::FailedPrecondition, "READ_ONLY", "content is read-only", Some(detail))
}

impl FakeStore {
    /// Judges a commit: what it does is done when this says so.
    fn commit(&self, write: impl FnOnce(&mut State)) -> Result<(), Status> {
        let mut state = self.0.lock().unwrap();
        match state.commits.clone() {
            Commits::Accepted => {
                write(&mut state);
                Ok(())
            }
            Commits::ReadOnly(writer) => Err(read_only(writer, state.epoch)),
            Commits::Unanswered => {
                write(&mut state);
                Err(Status::unknown("transport error"))
            }
            Commits::Last(writer) => {
                write(&mut state);
                state.commits = Commits::ReadOnly(writer);
                Ok(())
            }
        }
    }
}

/// Methods that no test of the gateway calls, in the form that the attribute below leaves alone.
macro_rules! not_called {
    ($($name:ident: $request:ty => $response:ty;)*) => {
        $(fn $name<'life0, 'async_trait>(
            &'life0 self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        })*
    };
}
pub(crate) use not_called;

#[tonic::async_trait]
impl StoreService for FakeStore {
    not_called! {
        create_content: CreateContentRequest => CreateContentResponse;
        list_contents: ListContentsRequest => ListContentsResponse;
        delete_content: DeleteContentRequest => DeleteContentResponse;
        release_content: ReleaseContentRequest => ReleaseContentResponse;
        delete_namespace: DeleteNamespaceRequest => DeleteNamespaceResponse;
        create_credential: CreateCredentialRequest => CreateCredentialResponse;
        list_credentials: ListCredentialsRequest => ListCredentialsResponse;
        delete_credential: DeleteCredentialRequest => DeleteCredentialResponse;
        set_credential_rights: SetCredentialRightsRequest => SetCredentialRightsResponse;
        set_lock: SetLockRequest => SetLockResponse;
        set_tags: SetTagsRequest => SetTagsResponse;
        list_versions: ListVersionsRequest => ListVersionsResponse;
        list_uploads: ListUploadsRequest => ListUploadsResponse;
        abort_upload: AbortUploadRequest => AbortUploadResponse;
    }

    async fn create_namespace(
        &self,
        request: Request<CreateNamespaceRequest>,
    ) -> Answer<CreateNamespaceResponse> {
        let CreateNamespaceRequest { name, settings, .. } = request.into_inner();
        self.commit(|state| {
            state.namespaces.extend([(name, 0)]);
            state.settings.extend(settings);
        })?;
        Ok(Response::new(CreateNamespaceResponse::default()))
    }

    async fn list_namespaces(&self, _: Request<ListNamespacesRequest>) -> Answer<ListNamespacesResponse> {
        let state = self.0.lock().unwrap();
        let namespaces =
            state.namespaces.keys().map(|name| Namespace { name: name.clone(), ..Default::default() });
        Ok(Response::new(ListNamespacesResponse { namespaces: namespaces.collect() }))
    }

    async fn get_namespace(&self, request: Request<GetNamespaceRequest>) -> Answer<GetNamespaceResponse> {
        if !self.0.lock().unwrap().namespaces.contains_key(&request.into_inner().name) {
            return refuse("NO_SUCH_NAMESPACE");
        }
        let settings = self.0.lock().unwrap().settings.clone().into_iter().collect();
        let namespace = Some(Namespace { settings, ..Default::default() });
        Ok(Response::new(GetNamespaceResponse { namespace }))
    }

    async fn set_namespace_setting(
        &self,
        request: Request<SetNamespaceSettingRequest>,
    ) -> Answer<SetNamespaceSettingResponse> {
        let SetNamespaceSettingRequest { setting, value, .. } = request.into_inner();
        self.commit(|state| match value {
            Some(value) => drop(state.settings.insert(setting, value)),
            None => drop(state.settings.remove(&setting)),
        })?;
        Ok(Response::new(SetNamespaceSettingResponse {}))
    }

    async fn lookup_credential(
        &self,
        request: Request<LookupCredentialRequest>,
    ) -> Answer<LookupCredentialResponse> {
        let access_key = request.into_inner().access_key;
        let rights = match (access_key.as_str(), self.0.lock().unwrap().rights.get(&access_key)) {
            ("KEY", _) => None,
            (_, Some(rights)) => Some(rights.clone()),
            (_, None) => return refuse("NO_SUCH_CREDENTIAL"),
        };
        let name = if access_key == "OTHER" { "other" } else { "acme" }.into();
        let content = Content { kind: ContentKind::Tenant.into(), name, ..Default::default() };
        let credential = Credential { access_key, secret_key: "SECRET".into(), rights, ..Default::default() };
        Ok(Response::new(LookupCredentialResponse { content: Some(content), credential: Some(credential) }))
    }

    async fn lease_blob(&self, request: Request<LeaseBlobRequest>) -> Answer<LeaseBlobResponse> {
        let state = self.0.lock().unwrap();
        if request.into_inner().content.is_some()
            && let Commits::ReadOnly(writer) = &state.commits
        {
            return Err(read_only(writer.clone(), state.epoch));
        }
        Ok(Response::new(LeaseBlobResponse { expires_unix_ms: i64::MAX }))
    }

    async fn put_object(&self, request: Request<PutObjectRequest>) -> Answer<PutObjectResponse> {
        let request = request.into_inner();
        let (object, body) = (request.object.unwrap(), request.body.unwrap());
        let name = (request.namespace, object.key.clone());
        self.commit(|state| drop(state.objects.insert(name, (object, body))))?;
        Ok(Response::new(PutObjectResponse::default()))
    }

    async fn get_object(&self, request: Request<GetObjectRequest>) -> Answer<GetObjectResponse> {
        let request = request.into_inner();
        let state = self.0.lock().unwrap();
        let Some((object, body)) = state.objects.get(&(request.namespace, request.key)) else {
            return refuse("NO_SUCH_KEY");
        };
        let body = request.with_body.then(|| body.clone());
        Ok(Response::new(GetObjectResponse { object: Some(object.clone()), body }))
    }

    async fn report_damage(&self, request: Request<ReportDamageRequest>) -> Answer<ReportDamageResponse> {
        self.0.lock().unwrap().damaged.push(request.into_inner().key);
        Ok(Response::new(ReportDamageResponse {}))
    }

    async fn delete_objects(&self, request: Request<DeleteObjectsRequest>) -> Answer<DeleteObjectsResponse> {
        let DeleteObjectsRequest { namespace, keys, .. } = request.into_inner();
        let (results, deleted) =
            (vec![ErrorDetail::default(); keys.len()], vec![Deleted::default(); keys.len()]);
        self.commit(|state| {
            for key in keys {
                state.objects.remove(&(namespace.clone(), key));
            }
        })?;
        Ok(Response::new(DeleteObjectsResponse { results, deleted }))
    }

    async fn list_objects(&self, request: Request<ListObjectsRequest>) -> Answer<ListObjectsResponse> {
        let request = request.into_inner();
        let state = self.0.lock().unwrap();
        let all = state.objects.iter().filter(|((namespace, key), _)| {
            *namespace == request.namespace && key.starts_with(&request.prefix) && *key > request.start_after
        });
        let all: Vec<Object> = all.map(|(_, (object, _))| object.clone()).collect();
        let max = request.keys_max as usize;
        let objects: Vec<Object> = all.iter().take(max).cloned().collect();
        let last = objects.last().filter(|_| all.len() > max).map(|object| object.key.clone());
        let next_start_after = last.unwrap_or_default();
        Ok(Response::new(ListObjectsResponse { objects, next_start_after, ..Default::default() }))
    }

    async fn create_upload(&self, request: Request<CreateUploadRequest>) -> Answer<CreateUploadResponse> {
        let upload = Upload { upload_id: "upload".into(), ..request.into_inner().upload.unwrap() };
        self.commit(|state| drop(state.uploads.insert("upload".into(), (upload.clone(), BTreeMap::new()))))?;
        Ok(Response::new(CreateUploadResponse { upload: Some(upload) }))
    }

    async fn put_part(&self, request: Request<PutPartRequest>) -> Answer<PutPartResponse> {
        let request = request.into_inner();
        let (part, body) = (request.part.unwrap(), request.body.unwrap());
        let write = |state: &mut State| {
            let (_, parts) = state.uploads.get_mut(&request.upload_id).unwrap();
            parts.insert(part.number, (part, body));
        };
        self.commit(write)?;
        Ok(Response::new(PutPartResponse {}))
    }

    async fn list_parts(&self, request: Request<ListPartsRequest>) -> Answer<ListPartsResponse> {
        let request = request.into_inner();
        let state = self.0.lock().unwrap();
        let Some((upload, parts)) = state.uploads.get(&request.upload_id) else {
            return refuse("NO_SUCH_UPLOAD");
        };
        let parts = parts.range(request.after_number + 1..).map(|(_, (part, _))| part.clone()).collect();
        Ok(Response::new(ListPartsResponse { upload: Some(upload.clone()), parts, truncated: false }))
    }

    async fn complete_upload(
        &self,
        request: Request<CompleteUploadRequest>,
    ) -> Answer<CompleteUploadResponse> {
        let request = request.into_inner();
        let write = |state: &mut State| {
            let (upload, parts) = state.uploads.remove(&request.upload_id).unwrap();
            let chosen: Vec<_> = request.parts.iter().map(|part| parts[&part.number].clone()).collect();
            let object = Object {
                key: request.key.clone(),
                size: chosen.iter().map(|(part, _)| part.size).sum(),
                etag: request.etag,
                metadata: upload.metadata,
                part_sizes: chosen.iter().map(|(part, _)| part.size).collect(),
                ..Default::default()
            };
            let segments = chosen.into_iter().flat_map(|(_, body)| body.segments).collect();
            let body = Body { segments, ..Default::default() };
            state.objects.insert((request.namespace, request.key), (object, body));
        };
        self.commit(write)?;
        Ok(Response::new(CompleteUploadResponse::default()))
    }
}
