//! The gateway over real sockets, driven by signed requests, on a store in memory.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod cors;
mod epochs;
mod fake;
mod policy;
mod presigned;
mod rights;
mod unread;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fake::{Commits, FakeStore};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use switchback_gateway::{Config, Limits, Listeners};
use switchback_kit::config::Services;
use switchback_kit::grpc;
use switchback_kit::secret::Secret;
use switchback_proto::model::v1::Writer;
use switchback_proto::store::v1::store_service_client::StoreServiceClient;
use switchback_proto::store::v1::store_service_server::StoreServiceServer;
use switchback_proto::store::v1::{GetNamespaceRequest, ListNamespacesRequest};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// How long a presigned URL of a test is good for.
const SIGNED: Duration = Duration::from_secs(60);

struct Site {
    store: FakeStore,
    folder: tempfile::TempDir,
    secret: Secret,
    s3: String,
    admin: String,
    shutdown: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

impl Site {
    /// Nobody listens at the other services' address.
    async fn start() -> Self {
        Self::start_beside("127.0.0.1:1".into()).await
    }

    /// With a link manager there.
    async fn start_beside(link_manager: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::create(&folder.path().join("secret")).unwrap();
        let (shutdown, store) = (CancellationToken::new(), FakeStore::default());
        let (mover, mover_address) = bind().await;
        let routes = Routes::new(StoreServiceServer::new(store.clone()));
        let (known, stop) = (secret.clone(), shutdown.clone());
        tokio::spawn(async move { grpc::serve(mover, &known, routes, stop).await });

        let ((admin_listener, admin), (s3_listener, s3)) = (bind().await, bind().await);
        let nobody = "127.0.0.1:1".to_owned();
        let config = Config {
            listen: admin.clone(),
            s3_listen: vec![s3.clone()],
            domain: "east.example.com".into(),
            services: Services {
                data_mover: mover_address,
                link_manager,
                dns_broadcaster: nobody.clone(),
                certificate_service: nobody,
                gateway: admin.clone(),
            },
            secret: secret.clone(),
            blobs: switchback_store::BlobPlace::Folder(folder.path().join("blobs")),
            system_id: switchback_model::SystemId([1; 16]),
            region: "us-east-1".into(),
            limits: Limits::default(),
            proxies: vec!["127.0.0.0/8".parse().unwrap()],
        };
        let listeners = Listeners { admin: admin_listener.into(), s3: vec![s3_listener.into()] };
        let serving = tokio::spawn(switchback_gateway::serve(config, listeners, shutdown.clone()));
        let site = Self { store, folder, secret, s3, admin, shutdown, serving };
        site.store.0.lock().unwrap().namespaces = BTreeMap::from([("photos".to_owned(), 0)]);
        site
    }

    fn bucket(&self) -> Bucket {
        let endpoint = format!("http://{}", self.s3).parse().unwrap();
        Bucket::new(endpoint, UrlStyle::Path, "photos", "us-east-1").unwrap()
    }

    async fn send(
        &self,
        method: Method,
        url: impl ToString,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut request = Request::builder().method(method).uri(url.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let (head, body) = client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn put(&self, key: &str, body: &[u8]) -> Answer {
        let url = self.bucket().put_object(Some(&keys()), key).sign(SIGNED);
        self.send(Method::PUT, url, &[], body).await
    }

    async fn get(&self, key: &str, headers: &[(&str, &str)]) -> Answer {
        let url = self.bucket().get_object(Some(&keys()), key).sign(SIGNED);
        self.send(Method::GET, url, headers, b"").await
    }

    /// Files of blobs, finished or not.
    fn blobs(&self) -> usize {
        fn files(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
        }
        files(&self.folder.path().join("blobs"))
    }

    fn set(&self, commits: Commits) {
        self.store.0.lock().unwrap().commits = commits;
    }
}

fn keys() -> Credentials {
    Credentials::new("KEY", "SECRET")
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    switchback_kit::world::random::fill(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn what_was_put_is_got_whether_inline_or_in_a_blob() {
    let site = Site::start().await;
    for length in [0, 5, 32 * 1024, 32 * 1024 + 1, 300_000] {
        let body = random(length);
        let put = site.put("cat.jpg", &body).await;
        assert_eq!(put.status, StatusCode::OK, "{}", put.text());
        let got = site.get("cat.jpg", &[]).await;
        assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &body[..]));
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(got.header("content-length"), Some(length.to_string().as_str()));
    }
    assert_eq!(site.blobs(), 2);
    let part = site.get("cat.jpg", &[("range", "bytes=299990-")]).await;
    assert_eq!((part.status, part.body.len()), (StatusCode::PARTIAL_CONTENT, 10));
    assert_eq!(part.header("content-range"), Some("bytes 299990-299999/300000"));
    let same = site.get("cat.jpg", &[("if-none-match", part.header("etag").unwrap())]).await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);
    let none = site.get("dog.jpg", &[]).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(none.text().contains("<Code>NoSuchKey</Code>"));
}

#[tokio::test]
async fn damaged_bytes_are_never_answered_as_whole_and_are_reported() {
    let site = Site::start().await;
    let small = random(100_000);
    let large = random(3 << 20);
    for (key, body) in [("small", &small), ("large", &large), ("gone", &small)] {
        site.put(key, body).await;
    }
    let file = |key: &str| {
        let state = site.store.0.lock().unwrap();
        let name = hex::encode(&state.objects[&("photos".to_owned(), key.to_owned())].1.segments[0].blob_id);
        site.folder.path().join("blobs").join(&name[..2]).join(name)
    };
    for key in ["small", "large"] {
        let mut bytes = std::fs::read(file(key)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(file(key), bytes).unwrap();
    }
    std::fs::remove_file(file("gone")).unwrap();
    for key in ["small", "gone"] {
        let answer = site.get(key, &[]).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    }
    let part = site.get("small", &[("range", "bytes=0-9")]).await;
    assert_eq!(part.status, StatusCode::SERVICE_UNAVAILABLE, "not in part either");
    let sound = site.get("large", &[("range", "bytes=0-9")]).await;
    assert_eq!(sound.body[..], large[..10], "of another piece");
    let url = site.bucket().get_object(Some(&keys()), "large").sign(SIGNED);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder().uri(url.to_string()).body(Full::new(Bytes::new())).unwrap();
    let answer = client.request(request).await.unwrap();
    assert!(answer.into_body().collect().await.is_err(), "it ends in the middle");
    // Reports go beside the answers.
    let reported = || {
        let mut keys = site.store.0.lock().unwrap().damaged.clone();
        keys.sort();
        keys.dedup();
        keys
    };
    while reported().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(reported(), ["gone", "large", "small"]);
}

#[tokio::test]
async fn a_listing_goes_on_where_it_ended() {
    let site = Site::start().await;
    for key in ["a 1", "a+2", "b"] {
        site.put(key, b"x").await;
    }
    let (mut token, mut found) = (None, Vec::new());
    loop {
        let (bucket, keys) = (site.bucket(), keys());
        let mut list = bucket.list_objects_v2(Some(&keys));
        list.with_max_keys(1);
        list.with_prefix("a");
        if let Some(token) = token.take() {
            let token: String = token;
            list.with_continuation_token(token);
        }
        let answer = site.send(Method::GET, list.sign(SIGNED), &[], b"").await;
        let page = ListObjectsV2::parse_response(answer.text()).unwrap();
        found.extend(page.contents.into_iter().map(|object| object.key));
        match page.next_continuation_token {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    assert_eq!(found, ["a 1", "a+2"]);
}

#[tokio::test]
async fn a_multipart_upload_becomes_one_object_and_a_repeat_of_its_end_succeeds() {
    let site = Site::start().await;
    let (bucket, keys) = (site.bucket(), keys());
    let url = bucket.create_multipart_upload(Some(&keys), "film").sign(SIGNED);
    let answer = site.send(Method::POST, url, &[], b"").await;
    let id = CreateMultipartUpload::parse_response(answer.text()).unwrap().upload_id().to_owned();
    let (parts, mut etags) = ([random(100_000), random(10)], Vec::new());
    for (number, part) in (1..).zip(&parts) {
        let url = bucket.upload_part(Some(&keys), "film", number, &id).sign(SIGNED);
        let answer = site.send(Method::PUT, url, &[], part).await;
        etags.push(answer.header("etag").unwrap().to_owned());
    }
    for _ in 0..2 {
        let end =
            bucket.complete_multipart_upload(Some(&keys), "film", &id, etags.iter().map(String::as_str));
        let (url, body) = (end.sign(SIGNED), end.body());
        let answer = site.send(Method::POST, url, &[], body.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(answer.text().contains("-2"), "{}", answer.text());
    }
    assert_eq!(site.get("film", &[]).await.body, parts.concat());
    let across = site.get("film", &[("range", "bytes=99999-100000")]).await;
    assert_eq!(across.body[..], [parts[0][99_999], parts[1][0]]);
}

#[tokio::test]
async fn a_body_that_is_not_what_its_checksum_says_is_refused_and_leaves_nothing() {
    let site = Site::start().await;
    let url = || site.bucket().put_object(Some(&keys()), "cat.jpg").sign(SIGNED);
    let wrong = [("x-amz-checksum-crc32", "AAAAAA==")];
    let answer = site.send(Method::PUT, url(), &wrong, &random(100_000)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("<Code>BadDigest</Code>"), "{}", answer.text());
    assert_eq!(site.get("cat.jpg", &[]).await.status, StatusCode::NOT_FOUND);
    // The blob is deleted behind the answer.
    while site.blobs() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_refused_write_says_where_to_write_or_when_and_its_connection_ends() {
    let site = Site::start().await;
    site.set(Commits::ReadOnly(Writer { domain: "west.example.com".into(), both_read_only: false }));
    let answer = site.put("cat.jpg", b"x").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text().contains("write to west.example.com"), "{}", answer.text());
    assert_eq!(answer.header("connection"), Some("close"));
    site.set(Commits::ReadOnly(Writer { domain: String::new(), both_read_only: true }));
    let answer = site.put("cat.jpg", b"x").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.text().contains("east-west"), "{}", answer.text());
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_no_success_and_its_blob_stays() {
    let site = Site::start().await;
    let body = random(100_000);
    site.set(Commits::Unanswered);
    let answer = site.put("cat.jpg", &body).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    site.set(Commits::Accepted);
    assert_eq!(site.get("cat.jpg", &[]).await.body, body);
}

#[tokio::test]
async fn a_bucket_has_its_lock_from_the_first_or_is_not_there() {
    let site = Site::start().await;
    let locked = [("x-amz-bucket-object-lock-enabled", "true")];
    let url = || site.bucket().create_bucket(&keys()).sign(SIGNED);
    site.set(Commits::Last(Writer { domain: "west.example.com".into(), both_read_only: false }));
    let made = site.send(Method::PUT, url(), &locked, b"").await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    let settings = site.store.0.lock().unwrap().settings.clone();
    assert_eq!(settings.get("object-lock").map(String::as_str), Some("Enabled"));
    assert_eq!(settings.get("versioning").map(String::as_str), Some("Enabled"));
    assert_eq!(site.send(Method::PUT, url(), &locked, b"").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn strangers_and_requests_at_another_tenants_name_are_refused() {
    let site = Site::start().await;
    let anonymous = site.bucket().object_url("cat.jpg");
    assert_eq!(site.send(Method::GET, anonymous, &[], b"").await.status, StatusCode::FORBIDDEN);
    let nobody = Credentials::new("NOBODY", "SECRET");
    let url = site.bucket().get_object(Some(&nobody), "cat.jpg").sign(SIGNED);
    assert!(site.send(Method::GET, url, &[], b"").await.text().contains("InvalidAccessKeyId"));
    // Signed for the name, sent to the address: as a client does that resolved the name.
    let at = async |tenant: &str| {
        let endpoint = format!("http://{tenant}.east.example.com").parse().unwrap();
        let bucket = Bucket::new(endpoint, UrlStyle::VirtualHost, "photos", "us-east-1").unwrap();
        let url = bucket.put_object(Some(&keys()), "cat.jpg").sign(SIGNED).to_string();
        let host = format!("photos.{tenant}.east.example.com");
        site.send(Method::PUT, url.replace(&host, &site.s3), &[("host", &host)], b"x").await
    };
    assert_eq!(at("acme").await.status, StatusCode::OK);
    let other = at("globex").await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
    assert!(other.text().contains("another tenant"), "{}", other.text());
}

#[tokio::test]
async fn the_internal_listener_forwards_to_the_services_and_says_which_is_away() {
    let site = Site::start().await;
    let mut store = StoreServiceClient::new(grpc::channel(&site.admin, &site.secret).unwrap());
    let found = store.list_namespaces(ListNamespacesRequest::default()).await.unwrap().into_inner();
    assert_eq!(found.namespaces[0].name, "photos");
    let refused = store.get_namespace(GetNamespaceRequest::default()).await.unwrap_err();
    assert_eq!(grpc::reason(&refused).unwrap().reason, "NO_SUCH_NAMESPACE");

    let channel = grpc::channel(&site.admin, &site.secret).unwrap();
    let mut links = switchback_proto::link::v1::link_service_client::LinkServiceClient::new(channel);
    let away = links.list_links(switchback_proto::link::v1::ListLinksRequest {}).await.unwrap_err();
    assert_eq!(away.code(), tonic::Code::Unavailable);
    assert!(away.message().contains("127.0.0.1:1"), "{away}");

    let stranger = Secret::create(&site.folder.path().join("other")).unwrap();
    let mut store = StoreServiceClient::new(grpc::channel(&site.admin, &stranger).unwrap());
    let refused = store.list_namespaces(ListNamespacesRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn a_drain_ends_what_is_idle() {
    let site = Site::start().await;
    assert_eq!(site.put("cat.jpg", b"x").await.status, StatusCode::OK);
    site.shutdown.cancel();
    site.serving.await.unwrap().unwrap();
}
