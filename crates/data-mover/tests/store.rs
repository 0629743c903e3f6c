//! The store's service, with a real client, over a real socket.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use switchback_kit::secret::Secret;
use switchback_kit::tls::IdentityWatch;
use switchback_model::SystemId;
use switchback_mover::{Config, Listeners, serve};
use switchback_proto::model::v1::{Content, ContentKind};
use switchback_proto::store::v1::store_service_client::StoreServiceClient;
use switchback_proto::store::v1::*;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Service {
    client: StoreServiceClient<switchback_kit::grpc::Channel>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Service {
    async fn start(folder: &std::path::Path) -> Self {
        Self::start_expiring(folder, Duration::from_secs(7 * 86_400)).await
    }

    /// With multipart uploads that expire after `multipart_expiry`.
    async fn start_expiring(folder: &std::path::Path, multipart_expiry: Duration) -> Self {
        let secret_file = folder.join("secret");
        let secret = Secret::load(&secret_file).or_else(|_| Secret::create(&secret_file)).unwrap();
        let config = Config {
            listen: String::new(),
            replication_listen: Vec::new(),
            system_id: SystemId([7; 16]),
            state_dir: folder.join("data-mover"),
            blobs: switchback_store::BlobPlace::Folder(folder.join("blobs")),
            secret: secret.clone(),
            certificate_service: String::new(),
            cache_bytes: 8 << 20,
            sweep_interval: multipart_expiry.min(Duration::from_secs(10)),
            multipart_expiry,
            lifecycle_interval: Duration::from_secs(1),
            scrub_bytes_per_second: 0,
            flow_share_percent: 25,
        };
        let internal = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = internal.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let listeners = Listeners { internal: internal.into(), replication: Vec::new() };
        let running = tokio::spawn(serve(config, IdentityWatch::new().1, listeners, shutdown.clone()));
        let channel = switchback_kit::grpc::channel(&address, &secret).unwrap();
        Self { client: StoreServiceClient::new(channel), shutdown, running }
    }

    async fn stop(self) {
        drop(self.client);
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    async fn create(&mut self, request_id: &str, name: &str) -> Result<ContentSummary, tonic::Status> {
        let request = CreateContentRequest {
            request_id: request_id.into(),
            kind: ContentKind::Tenant.into(),
            name: name.into(),
            description: "a tenant".into(),
            ..Default::default()
        };
        self.client.create_content(request).await.map(|answer| answer.into_inner().content.unwrap())
    }

    async fn put(&mut self, content: &Content, key: &str, body: &'static [u8]) -> PutObjectResponse {
        let request = put(content, key, body);
        self.client.put_object(request).await.unwrap().into_inner()
    }
}

fn put(content: &Content, key: &str, body: &'static [u8]) -> PutObjectRequest {
    PutObjectRequest {
        content: Some(content.clone()),
        namespace: "photos".into(),
        object: Some(Object {
            key: key.into(),
            size: body.len() as u64,
            etag: "e1".into(),
            content_hash: blake3::hash(body).as_bytes().to_vec().into(),
            ..Object::default()
        }),
        body: Some(Body { inline: body.into(), segments: Vec::new() }),
        conditions: None,
    }
}

fn reason(status: &tonic::Status) -> String {
    switchback_kit::grpc::reason(status).map(|detail| detail.reason).unwrap_or_default()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path()).await;
    let content = service.create("r1", "acme").await.unwrap().content.unwrap();
    let namespace = CreateNamespaceRequest {
        content: Some(content.clone()),
        name: "photos".into(),
        ..Default::default()
    };
    service.client.create_namespace(namespace).await.unwrap();
    service.put(&content, "a/1", b"one").await;
    service.put(&content, "a/2", b"two").await;
    let tags = BTreeMap::from([("colour".to_owned(), "red".to_owned())]);
    let request = SetTagsRequest {
        content: Some(content.clone()),
        namespace: "photos".into(),
        key: "a/1".into(),
        tags: tags.clone(),
        ..Default::default()
    };
    service.client.set_tags(request).await.unwrap();
    service.stop().await;

    let mut service = Service::start(folder.path()).await;
    let by_name = Content { id: Default::default(), ..content.clone() };
    let request = GetObjectRequest {
        content: Some(by_name),
        namespace: "photos".into(),
        key: "a/1".into(),
        with_body: true,
        ..Default::default()
    };
    let found = service.client.get_object(request).await.unwrap().into_inner();
    assert_eq!(found.body.unwrap().inline.as_ref(), b"one");
    assert_eq!(found.object.unwrap().tags, tags);
    let request = ListObjectsRequest {
        content: Some(content.clone()),
        namespace: "photos".into(),
        prefix: "a/".into(),
        keys_max: 1,
        ..ListObjectsRequest::default()
    };
    let page = service.client.list_objects(request).await.unwrap().into_inner();
    assert_eq!(page.objects[0].key, "a/1");
    assert_eq!(page.next_start_after, "a/1");
    service.stop().await;
}

#[tokio::test]
async fn a_repeated_request_to_create_gets_the_first_answer_and_another_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path()).await;
    let first = service.create("same", "acme").await.unwrap();
    assert_eq!(service.create("same", "acme").await.unwrap().content, first.content);
    assert_eq!(reason(&service.create("other", "acme").await.unwrap_err()), "CONTENT_EXISTS");
    // Refused once, refused again: the repeat of a refusal is no success.
    assert_eq!(reason(&service.create("other", "acme").await.unwrap_err()), "CONTENT_EXISTS");
    assert_eq!(reason(&service.create("r", "default").await.unwrap_err()), "RESERVED_KEY");
    service.stop().await;
}

#[tokio::test]
async fn what_a_credential_may_do_is_told_to_who_looks_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path()).await;
    let content = service.create("", "acme").await.unwrap().content;
    let grant = |namespaces: &str, rights: &[Right]| Grant {
        namespaces: namespaces.into(),
        rights: rights.iter().map(|right| (*right).into()).collect(),
    };
    let some = Some(Rights { grants: vec![grant("photos", &[Right::Read, Right::Write])] });
    let request =
        CreateCredentialRequest { content: content.clone(), rights: some.clone(), ..Default::default() };
    let made = service.client.create_credential(request).await.unwrap().into_inner().credential.unwrap();
    let access_key = made.access_key;
    let other = Some(Rights { grants: vec![grant("*", &[Right::Delete]), grant("a", &[Right::Administer])] });
    for rights in [some, other, Some(Rights::default()), None] {
        let request =
            SetCredentialRightsRequest { content: content.clone(), access_key: access_key.clone(), rights };
        let set = service.client.set_credential_rights(request.clone()).await.unwrap().into_inner();
        let lookup = LookupCredentialRequest { access_key: access_key.clone() };
        let found = service.client.lookup_credential(lookup).await.unwrap().into_inner().credential.unwrap();
        assert_eq!(found.rights, request.rights);
        let list = ListCredentialsRequest { content: content.clone() };
        let listed = service.client.list_credentials(list).await.unwrap().into_inner().credentials;
        assert_eq!(listed, [set.credential.unwrap()], "the answer tells no secret");
        assert_eq!(listed[0].rights, request.rights);
    }
    let nothing = Some(Rights { grants: vec![grant("photos", &[])] });
    let request = SetCredentialRightsRequest { content, access_key, rights: nothing };
    assert_eq!(reason(&service.client.set_credential_rights(request).await.unwrap_err()), "INVALID");
    service.stop().await;
}

#[tokio::test]
async fn a_made_credential_has_s3s_lengths_and_is_found_by_its_access_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path()).await;
    let content = service.create("", "acme").await.unwrap().content.unwrap();
    let request = CreateCredentialRequest { content: Some(content.clone()), ..Default::default() };
    let made = service.client.create_credential(request).await.unwrap().into_inner().credential.unwrap();
    assert_eq!((made.access_key.len(), made.secret_key.len()), (20, 40));
    let request = LookupCredentialRequest { access_key: made.access_key.clone() };
    let found = service.client.lookup_credential(request).await.unwrap().into_inner();
    assert_eq!(found.content.unwrap(), content);
    assert_eq!(found.credential.unwrap().secret_key, made.secret_key);
    let request = ListCredentialsRequest { content: Some(content) };
    let listed = service.client.list_credentials(request).await.unwrap().into_inner().credentials;
    assert_eq!(listed[0].secret_key, "");
    let request = LookupCredentialRequest { access_key: "nobody".into() };
    let nobody = service.client.lookup_credential(request).await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::NotFound);
    service.stop().await;
}

#[tokio::test]
async fn refusals_carry_the_reason_that_the_gateway_switches_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path()).await;
    let content = service.create("", "acme").await.unwrap().content.unwrap();
    let no_namespace = service.client.put_object(put(&content, "k", b"x")).await.unwrap_err();
    assert_eq!(reason(&no_namespace), "NO_SUCH_NAMESPACE");
    let lease = LeaseBlobRequest {
        blob_ids: vec![vec![1; 16].into()],
        content: Some(content.clone()),
        namespace: "photos".into(),
    };
    let nowhere = service.client.lease_blob(lease).await.unwrap_err();
    assert_eq!(reason(&nowhere), "NO_SUCH_NAMESPACE");
    let namespace = CreateNamespaceRequest {
        content: Some(content.clone()),
        name: "photos".into(),
        ..Default::default()
    };
    service.client.create_namespace(namespace.clone()).await.unwrap();
    assert_eq!(reason(&service.client.create_namespace(namespace).await.unwrap_err()), "NAMESPACE_EXISTS");
    let reserved = service.client.put_object(put(&content, ".lost+found/x", b"x")).await.unwrap_err();
    assert_eq!(reason(&reserved), "RESERVED_KEY");
    service.put(&content, "k", b"x").await;
    let exists = PutObjectRequest {
        conditions: Some(Conditions { if_match: Vec::new(), if_none_match: vec!["*".into()] }),
        ..put(&content, "k", b"y")
    };
    assert_eq!(reason(&service.client.put_object(exists).await.unwrap_err()), "PRECONDITION_FAILED");
    let unleased = PutObjectRequest {
        body: Some(Body {
            inline: Default::default(),
            segments: vec![Segment { blob_id: vec![1; 16].into(), size: 1 }],
        }),
        ..put(&content, "k", b"y")
    };
    assert_eq!(reason(&service.client.put_object(unleased).await.unwrap_err()), "LEASE_EXPIRED");
    service.stop().await;
}

#[tokio::test]
async fn an_abandoned_upload_is_aborted_by_the_sweep_and_one_that_is_younger_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path()).await;
    let content = service.create("", "acme").await.unwrap().content;
    let namespace =
        CreateNamespaceRequest { content: content.clone(), name: "photos".into(), ..Default::default() };
    service.client.create_namespace(namespace).await.unwrap();
    let upload = Upload { key: "film".into(), ..Upload::default() };
    let begun =
        CreateUploadRequest { content: content.clone(), namespace: "photos".into(), upload: Some(upload) };
    service.client.create_upload(begun).await.unwrap();
    let listed = ListUploadsRequest {
        content,
        namespace: "photos".into(),
        uploads_max: 10,
        ..ListUploadsRequest::default()
    };
    service.stop().await;

    let mut service = Service::start_expiring(folder.path(), Duration::from_secs(60)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let open = service.client.list_uploads(listed.clone()).await.unwrap().into_inner().uploads;
    assert_eq!(open.len(), 1);
    service.stop().await;

    let mut service = Service::start_expiring(folder.path(), Duration::from_millis(100)).await;
    let gone = async {
        while !service.client.list_uploads(listed.clone()).await.unwrap().into_inner().uploads.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    service.stop().await;
}
