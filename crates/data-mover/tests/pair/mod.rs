//! Two systems' movers on loopback, with fixed identities and a line between them that can be cut.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod line;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::TryStreamExt as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use switchback_kit::secret::Secret;
use switchback_kit::tls::{Identity, IdentityWatch, system_urn};
use switchback_model::{Incarnation, SystemId};
use switchback_mover::{Config, Listeners, serve};
use switchback_proto::model::v1::{AccessMode, Content, ContentKind, Side, Writer};
use switchback_proto::mover::v1::mover_service_client::MoverServiceClient;
use switchback_proto::mover::v1::*;
use switchback_proto::store::v1::store_service_client::StoreServiceClient;
use switchback_proto::store::v1::*;
use switchback_store::{BlobId, BlobPlace, Blobs, Catalogue, Options};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use line::Line;

pub const LINK: [u8; 16] = [9; 16];

/// Longest wait for something that must come: far more than it takes, so that no test is a race.
const PATIENCE: Duration = Duration::from_secs(60);

type Channel = switchback_kit::grpc::Channel;

/// A certificate and key that name a system.
pub struct Card {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Card {
    pub fn new(id: [u8; 16], incarnation: u64, domain: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![domain.to_owned()]).unwrap();
        let urn = system_urn(SystemId(id), Incarnation(incarnation));
        params.subject_alt_names.push(rcgen::SanType::URI(urn.try_into().unwrap()));
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: certificate.der().to_vec(), key: key.serialize_der() }
    }

    pub fn identity(&self, trusted: &[&Self]) -> IdentityWatch {
        let der = |card: &Self| CertificateDer::from(card.certificate.clone());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        IdentityWatch::fixed(Identity::new(der(self), key, trusted.iter().map(|card| der(card))).unwrap())
    }
}

/// Copies a folder, as a backup does.
pub fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One system's mover.
pub struct System {
    pub id: [u8; 16],
    pub incarnation: u64,
    pub domain: &'static str,
    pub side: Side,
    pub folder: PathBuf,
    pub identity: IdentityWatch,
    /// The way to this system.
    pub line: Line,
    /// From the next start on.
    pub scrub_bytes_per_second: u64,
    running: Option<Running>,
}

struct Running {
    store: StoreServiceClient<Channel>,
    mover: MoverServiceClient<Channel>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl System {
    pub async fn start(&mut self) {
        std::fs::create_dir_all(&self.folder).unwrap();
        let file = self.folder.join("secret");
        let secret = Secret::load(&file).or_else(|_| Secret::create(&file)).unwrap();
        let config = Config {
            listen: String::new(),
            replication_listen: Vec::new(),
            system_id: SystemId(self.id),
            state_dir: self.folder.join("data-mover"),
            blobs: BlobPlace::Folder(self.folder.join("blobs")),
            secret: secret.clone(),
            certificate_service: String::new(),
            cache_bytes: 8 << 20,
            sweep_interval: Duration::from_secs(1),
            multipart_expiry: Duration::from_secs(7 * 86_400),
            lifecycle_interval: Duration::from_secs(1),
            scrub_bytes_per_second: self.scrub_bytes_per_second,
            flow_share_percent: 25,
        };
        let internal = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let replication = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = internal.local_addr().unwrap().to_string();
        self.line.lead_to(replication.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let listeners = Listeners { internal: internal.into(), replication: vec![replication.into()] };
        let task = tokio::spawn(serve(config, self.identity.clone(), listeners, shutdown.clone()));
        let channel = switchback_kit::grpc::channel(&address, &secret).unwrap();
        let store = StoreServiceClient::new(channel.clone()).max_decoding_message_size(16 << 20);
        let mover = MoverServiceClient::new(channel).max_decoding_message_size(16 << 20);
        self.running = Some(Running { store, mover, shutdown, task });
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown.cancel();
            running.task.await.unwrap().unwrap();
        }
    }

    /// Stops it and starts it again, which fails; why.
    pub async fn stop_and_fail_to_start(&mut self) -> String {
        self.stop().await;
        self.start().await;
        let running = self.running.take().unwrap();
        format!("{:#}", running.task.await.unwrap().unwrap_err())
    }

    /// A copy of everything it has, made while it is stopped.
    pub async fn back_up(&mut self) -> PathBuf {
        let backup = self.folder.with_extension("backup");
        self.stop().await;
        copy(&self.folder, &backup);
        self.start().await;
        backup
    }

    /// Stops and starts it until it keeps no mark of a deletion any more.
    pub async fn forget_deletions(&mut self) {
        let folder = self.folder.join("data-mover").join("catalogue");
        for _ in 0..PATIENCE.as_secs() {
            self.stop().await;
            let catalogue = Catalogue::open(&folder, Options::new(SystemId(self.id).into())).unwrap();
            let kept: u64 = catalogue.contents().unwrap().iter().map(|content| content.tombstones).sum();
            drop(catalogue);
            self.start().await;
            if kept == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("{} keeps marks of deletions", self.domain);
    }

    /// It comes back as it was when `backup` was made.
    pub async fn restore(&mut self, backup: &std::path::Path) {
        self.stop().await;
        std::fs::remove_dir_all(&self.folder).unwrap();
        copy(backup, &self.folder);
        self.start().await;
    }

    pub fn store(&self) -> StoreServiceClient<Channel> {
        self.running.as_ref().unwrap().store.clone()
    }

    pub fn mover(&self) -> MoverServiceClient<Channel> {
        self.running.as_ref().unwrap().mover.clone()
    }

    /// A tenant with one namespace.
    pub async fn tenant(&self, name: &str) -> Content {
        let request = CreateContentRequest {
            request_id: String::new(),
            kind: ContentKind::Tenant.into(),
            name: name.into(),
            description: String::new(),
            ..Default::default()
        };
        let made = self.store().create_content(request).await.unwrap().into_inner();
        let content = made.content.unwrap().content.unwrap();
        self.create_namespace(&content, "photos").await;
        content
    }

    pub async fn put(&self, content: &Content, key: &str, body: &[u8]) {
        self.try_put(content, key, body).await.unwrap();
    }

    pub async fn try_put(&self, content: &Content, key: &str, body: &[u8]) -> Result<(), tonic::Status> {
        let request = PutObjectRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            object: Some(object(key, body)),
            body: Some(Body { inline: body.to_vec().into(), segments: Vec::new() }),
            conditions: None,
        };
        self.store().put_object(request).await.map(|_| ())
    }

    /// Writes a blob that nothing names yet, as the gateway does.
    pub async fn write_blob(&self, body: &[u8]) -> (BlobId, Segment) {
        let blob = BlobId::random();
        let lease =
            LeaseBlobRequest { blob_ids: vec![blob.as_bytes().to_vec().into()], ..Default::default() };
        self.store().lease_blob(lease).await.unwrap();
        self.rewrite_blob(blob, body).await;
        (blob, Segment { blob_id: blob.as_bytes().to_vec().into(), size: body.len() as u64 })
    }

    /// Writes the file of a blob, soundly, whatever it was before.
    pub async fn rewrite_blob(&self, blob: BlobId, bytes: &[u8]) {
        let mut writer = Blobs::open(&self.folder.join("blobs")).unwrap().writer(blob);
        writer.write(bytes.to_vec().into()).await.unwrap();
        writer.finish().await.unwrap();
    }

    /// Writes a body of one blob, as the gateway does.
    pub async fn put_blob(&self, content: &Content, key: &str, body: &[u8]) -> BlobId {
        let (blob, segment) = self.write_blob(body).await;
        let request = PutObjectRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            object: Some(object(key, body)),
            body: Some(Body { inline: Default::default(), segments: vec![segment] }),
            conditions: None,
        };
        self.store().put_object(request).await.unwrap();
        blob
    }

    /// Opens an upload; its identifier.
    pub async fn create_upload(&self, content: &Content, key: &str) -> String {
        let upload = Upload { key: key.into(), ..Upload::default() };
        let request = CreateUploadRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            upload: Some(upload),
        };
        self.store().create_upload(request).await.unwrap().into_inner().upload.unwrap().upload_id
    }

    /// Writes a part of one blob, as the gateway does.
    pub async fn put_part(
        &self,
        content: &Content,
        key: &str,
        upload: &str,
        number: u32,
        body: &[u8],
    ) -> BlobId {
        let (blob, segment) = self.write_blob(body).await;
        let part = Part {
            number,
            size: body.len() as u64,
            etag: number.to_string(),
            content_hash: blake3::hash(body).as_bytes().to_vec().into(),
            ..Part::default()
        };
        let request = PutPartRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            key: key.into(),
            upload_id: upload.into(),
            part: Some(part),
            body: Some(Body { inline: Default::default(), segments: vec![segment] }),
        };
        self.store().put_part(request).await.unwrap();
        blob
    }

    /// Makes an object of these parts.
    pub async fn complete(
        &self,
        content: &Content,
        key: &str,
        upload: &str,
        numbers: &[u32],
    ) -> Result<(), tonic::Status> {
        let part = |number: &u32| CompletedPart { number: *number, etag: number.to_string() };
        let request = CompleteUploadRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            key: key.into(),
            upload_id: upload.into(),
            parts: numbers.iter().map(part).collect(),
            etag: "etag".into(),
            ..CompleteUploadRequest::default()
        };
        self.store().complete_upload(request).await.map(|_| ())
    }

    pub async fn abort_upload(&self, content: &Content, key: &str, upload: &str) {
        let request = AbortUploadRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            key: key.into(),
            upload_id: upload.into(),
        };
        self.store().abort_upload(request).await.unwrap();
    }

    pub async fn delete(&self, content: &Content, key: &str) {
        let request = DeleteObjectsRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            keys: vec![key.into()],
            ..Default::default()
        };
        let results = self.store().delete_objects(request).await.unwrap().into_inner().results;
        assert_eq!(results[0].reason, "");
    }

    pub async fn tag(&self, content: &Content, key: &str, tag: &str) {
        let request = SetTagsRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            key: key.into(),
            tags: BTreeMap::from([("tag".to_owned(), tag.to_owned())]),
            ..Default::default()
        };
        self.store().set_tags(request).await.unwrap();
    }

    pub async fn create_namespace(&self, content: &Content, name: &str) {
        let request = CreateNamespaceRequest {
            content: Some(content.clone()),
            name: name.into(),
            ..Default::default()
        };
        self.store().create_namespace(request).await.unwrap();
    }

    pub async fn set(&self, content: &Content, setting: &str, value: &str) {
        let request = SetNamespaceSettingRequest {
            content: Some(content.clone()),
            name: "photos".into(),
            setting: setting.into(),
            value: Some(value.into()),
        };
        self.store().set_namespace_setting(request).await.unwrap();
    }

    pub async fn delete_namespace(&self, content: &Content, name: &str) {
        let request = DeleteNamespaceRequest { content: Some(content.clone()), name: name.into() };
        self.store().delete_namespace(request).await.unwrap();
    }

    /// The names of all namespaces.
    pub async fn namespaces(&self, content: &Content) -> Vec<String> {
        let request = ListNamespacesRequest { content: Some(content.clone()) };
        let listed = self.store().list_namespaces(request).await.unwrap().into_inner();
        listed.namespaces.into_iter().map(|namespace| namespace.name).collect()
    }

    /// An object with its bytes; none when it is not there.
    pub async fn get(&self, content: &Content, key: &str) -> Option<(Object, Vec<u8>)> {
        let request = GetObjectRequest {
            content: Some(content.clone()),
            namespace: "photos".into(),
            key: key.into(),
            with_body: true,
            ..Default::default()
        };
        let found = match self.store().get_object(request).await {
            Ok(found) => found.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => return None,
            Err(status) => panic!("{status}"),
        };
        let body = found.body.unwrap();
        let mut bytes = body.inline.to_vec();
        let blobs = Blobs::open(&self.folder.join("blobs")).unwrap();
        for segment in &body.segments {
            let blob = BlobId::from_slice(&segment.blob_id).unwrap();
            let pieces = blobs.read(blob, 0..segment.size).await.unwrap();
            bytes.extend(pieces.try_collect::<Vec<_>>().await.unwrap().concat());
        }
        Some((found.object.unwrap(), bytes))
    }

    /// The keys of all visible objects but those that lost a conflict.
    pub async fn keys(&self, content: &Content) -> Vec<String> {
        self.keys_under(content, "").await
    }

    pub async fn keys_under(&self, content: &Content, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut start_after = String::new();
        loop {
            let request = ListObjectsRequest {
                content: Some(content.clone()),
                namespace: "photos".into(),
                prefix: prefix.into(),
                start_after,
                keys_max: 1_000,
                ..ListObjectsRequest::default()
            };
            let page = self.store().list_objects(request).await.unwrap().into_inner();
            keys.extend(page.objects.into_iter().map(|object| object.key));
            if page.next_start_after.is_empty() {
                return keys;
            }
            start_after = page.next_start_after;
        }
    }

    /// Waits until the mover's status is as `wanted` says, and returns it.
    pub async fn until(&self, what: &str, wanted: impl Fn(&MoverStatus) -> bool) -> MoverStatus {
        let mut last = None;
        let waiting = async {
            let mut watch = self.mover().watch_mover(WatchMoverRequest {}).await.unwrap().into_inner();
            while let Some(status) = watch.message().await.unwrap() {
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            panic!("the watch ended");
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(status) => status,
            Err(_) => panic!("{}: waited in vain until {what}; last seen {last:#?}", self.domain),
        }
    }

    /// Waits until the only flow is as `wanted` says.
    pub async fn until_flow(&self, what: &str, wanted: impl Fn(&FlowStatus) -> bool) -> FlowStatus {
        let flow_of = |status: &MoverStatus| status.links.first()?.flows.first().cloned();
        let status = self.until(what, |status| flow_of(status).is_some_and(|flow| wanted(&flow))).await;
        flow_of(&status).unwrap()
    }

    pub async fn until_in_sync(&self) -> FlowStatus {
        self.until_flow("in sync", |flow| flow.in_sync).await
    }
}

pub fn object(key: &str, body: &[u8]) -> Object {
    Object {
        key: key.into(),
        size: body.len() as u64,
        etag: "etag".into(),
        content_hash: blake3::hash(body).as_bytes().to_vec().into(),
        ..Object::default()
    }
}

/// Bytes that do not compress and do not repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Lines of words, which shrink to a third or so.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "east",
        "west",
        "get",
        "put",
        "photos",
        "letters",
        "accepted",
        "refused",
        "tenant",
        "200",
        "404",
        "of",
        "to",
        "2026-11-30",
        "bytes",
        "ms\n",
    ];
    let mut bytes = Vec::with_capacity(length + 16);
    for byte in noise(seed, length / 3) {
        bytes.extend_from_slice(WORDS[usize::from(byte % 16)].as_bytes());
        bytes.push(b' ');
        if bytes.len() >= length {
            break;
        }
    }
    bytes.resize(length, b' ');
    bytes
}

/// Which way a link's data goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    East,
    West,
    Both,
    Neither,
}

/// The primary `east` and the replica `west`.
pub struct Pair {
    pub east: System,
    pub west: System,
    generation: u64,
    _folder: tempfile::TempDir,
}

impl Pair {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let east = Card::new([1; 16], 11, "east.example.com");
        let west = Card::new([2; 16], 22, "west.example.com");
        let mut pair = Self {
            east: System {
                id: [1; 16],
                incarnation: 11,
                domain: "east.example.com",
                side: Side::Primary,
                folder: folder.path().join("east"),
                identity: east.identity(&[&west]),
                line: Line::start().await,
                scrub_bytes_per_second: 1 << 30,
                running: None,
            },
            west: System {
                id: [2; 16],
                incarnation: 22,
                domain: "west.example.com",
                side: Side::Replica,
                folder: folder.path().join("west"),
                identity: west.identity(&[&east]),
                line: Line::start().await,
                scrub_bytes_per_second: 1 << 30,
                running: None,
            },
            generation: 0,
            _folder: folder,
        };
        pair.east.start().await;
        pair.west.start().await;
        pair
    }

    /// Gives the east another incarnation, and each side the other's certificate.
    pub async fn renew_east(&mut self, incarnation: u64) {
        let east = Card::new(self.east.id, incarnation, self.east.domain);
        let west = Card::new(self.west.id, self.west.incarnation, self.west.domain);
        self.east.stop().await;
        self.west.stop().await;
        self.east.incarnation = incarnation;
        self.east.identity = east.identity(&[&west]);
        self.west.identity = west.identity(&[&east]);
        self.east.start().await;
        self.west.start().await;
    }

    pub async fn stop(mut self) {
        self.east.stop().await;
        self.west.stop().await;
    }

    /// Sets access modes and flows on both sides, as the link managers would.
    pub async fn steer(&mut self, content: &Content, epoch: u64, way: Way) {
        self.generation += 1;
        let generation = self.generation;
        for (own, peer) in [(&self.east, &self.west), (&self.west, &self.east)] {
            steer(own, peer, content, epoch, way, generation).await;
        }
    }

    /// The same on one side only.
    pub async fn steer_west(&mut self, content: &Content, epoch: u64, way: Way) {
        self.generation += 1;
        steer(&self.west, &self.east, content, epoch, way, self.generation).await;
    }

    pub fn cut(&self) {
        self.east.line.cut();
        self.west.line.cut();
    }

    pub fn heal(&self) {
        self.east.line.heal();
        self.west.line.heal();
    }
}

async fn steer(own: &System, peer: &System, content: &Content, epoch: u64, way: Way, generation: u64) {
    let holder = if epoch.is_multiple_of(2) { Side::Primary } else { Side::Replica };
    let writes = holder == own.side;
    let mode = if writes { AccessMode::ReadWrite } else { AccessMode::ReadOnly };
    let access = SetAccessRequest {
        contents: vec![content.clone()],
        mode: mode.into(),
        epoch,
        link_id: LINK.to_vec().into(),
        link: "payments".into(),
        side: own.side.into(),
        writer: Some(Writer {
            domain: if writes { String::new() } else { peer.domain.into() },
            both_read_only: false,
        }),
        primary_system_id: vec![1; 16].into(),
        replica_system_id: vec![2; 16].into(),
    };
    own.mover().set_access(access).await.unwrap();
    own.mover().apply_flows(flows(own, peer, content, epoch, way, generation)).await.unwrap();
}

pub fn flows(
    own: &System,
    peer: &System,
    content: &Content,
    epoch: u64,
    way: Way,
    generation: u64,
) -> ApplyFlowsRequest {
    let towards_west = matches!(way, Way::West | Way::Both);
    let towards_east = matches!(way, Way::East | Way::Both);
    let is_east = own.side == Side::Primary;
    ApplyFlowsRequest {
        generation,
        link_id: LINK.to_vec().into(),
        link: "payments".into(),
        epoch,
        side: own.side.into(),
        local_incarnation: own.incarnation,
        peer_incarnation: peer.incarnation,
        peer_system_id: peer.id.to_vec().into(),
        local_system_id: own.id.to_vec().into(),
        peer_name: peer.domain.into(),
        local_name: own.domain.into(),
        peer_address: peer.line.address(),
        peer_domain: peer.domain.into(),
        contents: vec![ContentFlow {
            content: Some(content.clone()),
            send: if is_east { towards_west } else { towards_east },
            receive: if is_east { towards_east } else { towards_west },
            paused: false,
        }],
        ..ApplyFlowsRequest::default()
    }
}
