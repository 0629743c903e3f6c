//! What is done while the disk is logged: everything that the services make durable, by the same
//! calls, at the same time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use switchback_kit::durable::{Batch, Db};
use switchback_model::{AccessMode, Content, ContentKind, Epoch, FeedId, Incarnation, LinkId, Side, SiteId};
use switchback_store::{
    AccessRecord, BlobId, Blobs, Body, Catalogue, ChangesRequest, Conditions, ConflictPolicy, Lineage,
    Object, Options, Sender, Systems,
};
use tokio::time::timeout;

use crate::account::{Account, Value};
use crate::device::Device;
use crate::random::Random;

/// The bucket that everything is in.
pub const NAMESPACE: &str = "photos";
/// Clients write here.
pub const WRITTEN: &str = "written";
/// A peer's changes are applied here.
pub const RECEIVED: &str = "received";
/// Its access mode goes to and fro.
pub const SWITCHED: &str = "switched";
/// The family of [`twins`] in the services' state.
pub const FAMILY: &str = "twins";

const OURS: SiteId = SiteId(1);
const PEERS: SiteId = SiteId(2);
const LINK: LinkId = LinkId([9; 16]);

/// Clients, each with keys of its own.
const CLIENTS: usize = 4;
const KEYS: usize = 6;
/// Tasks of a service that remember something, each with twins of its own.
const RECORDERS: usize = 3;
/// A workload takes seconds.
const QUIET_MAX: Duration = Duration::from_secs(50);

/// What one system keeps on its disk.
pub struct Kept {
    /// Records and feeds.
    pub catalogue: Catalogue,
    /// Bodies.
    pub blobs: Blobs,
    /// What a service remembers.
    pub state: Db,
}

impl Kept {
    /// Opens it in `folder`, or makes it.
    ///
    /// # Errors
    /// What is there cannot be opened.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder.join("catalogue"))?;
        let options = Options { cache_bytes: 1 << 20, reserve_bytes: 0, ..Options::new(OURS) };
        Ok(Self {
            catalogue: Catalogue::open(&folder.join("catalogue"), options).context("open the catalogue")?,
            blobs: Blobs::open(&folder.join("blobs")).context("open the blobs")?,
            state: Db::open(&folder.join("state")).context("open the state")?,
        })
    }
}

/// A workload on one disk.
#[derive(Clone)]
struct Work {
    device: Device,
    account: Arc<Account>,
}

impl Work {
    fn begin(&self, register: &str, value: Value) {
        self.account.begin(register, value, self.device.now());
    }

    fn done(&self, register: &str) {
        self.account.acknowledge(register, self.device.now());
    }
}

/// The keys of two records that a recorder only ever puts together.
#[must_use]
pub fn twins(recorder: &str) -> [Vec<u8>; 2] {
    ["left", "right"].map(|twin| format!("{twin} {recorder}").into_bytes())
}

/// The digest of a body, as registers hold it.
#[must_use]
pub fn digest(bytes: &[u8]) -> Vec<u8> {
    blake3::hash(bytes).as_bytes()[..8].to_vec()
}

/// Runs until each part has done `steps` things, or was told of an error; the folder `elsewhere` is
/// on another disk. Answers how many parts were told of one.
///
/// # Errors
/// It could not begin.
pub async fn run(
    folder: &Path,
    elsewhere: &Path,
    device: Device,
    account: Arc<Account>,
    seed: u64,
    steps: usize,
) -> anyhow::Result<usize> {
    let kept = Arc::new(Kept::open(folder)?);
    let work = Work { device, account };
    let written = tenant(&kept.catalogue, WRITTEN).await?;
    let switched = tenant(&kept.catalogue, SWITCHED).await?;
    let mut parts = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let random = Random::new(seed.wrapping_mul(31).wrapping_add(client as u64));
        parts.spawn(write(work.clone(), Arc::clone(&kept), written.clone(), client, random, steps));
    }
    parts.spawn(switch(work.clone(), Arc::clone(&kept), switched, steps));
    parts.spawn(receive(work.clone(), Arc::clone(&kept), elsewhere.to_owned(), steps));
    for recorder in 0..RECORDERS {
        parts.spawn(remember(work.clone(), Arc::clone(&kept), recorder, steps));
        parts.spawn(look_up(Arc::clone(&kept), steps));
    }
    let mut failed = 0;
    while let Some(part) =
        timeout(QUIET_MAX, parts.join_next()).await.context("a part neither goes on nor ends")?
    {
        // A part that panics has not acknowledged anything either.
        failed += usize::from(!matches!(part, Ok(Ok(()))));
    }
    // The state's engine panics when it is closed on a disk that fails, as a service does at its end.
    let _ = tokio::task::spawn_blocking(move || drop(kept)).await;
    Ok(failed)
}

async fn tenant(catalogue: &Catalogue, name: &str) -> anyhow::Result<Content> {
    let content = catalogue.create_content(ContentKind::Tenant, name, "").await?;
    catalogue.create_namespace(content.id, NAMESPACE).await?;
    Ok(content)
}

/// A client: small objects, large ones, and deletes.
async fn write(
    work: Work,
    kept: Arc<Kept>,
    content: Content,
    client: usize,
    mut random: Random,
    steps: usize,
) -> anyhow::Result<()> {
    for _ in 0..steps {
        let key = format!("{client}/{}", random.below(KEYS));
        let register = format!("object {key}");
        match random.below(8) {
            0 | 1 => {
                work.begin(&register, None);
                let results = kept.catalogue.delete_objects(content.id, NAMESPACE, vec![key.as_str().into()]);
                results.await?.into_iter().try_for_each(|result| result.map(|_| ()))?;
            }
            2 => {
                let length = 40_000 + random.below(200_000);
                let bytes = random.bytes(length);
                work.begin(&register, Some(digest(&bytes)));
                let blob = BlobId::random();
                kept.catalogue.lease_blobs_for(content.id, NAMESPACE, vec![blob]).await?;
                let mut writer = kept.blobs.writer(blob);
                writer.write(Bytes::from(bytes.clone())).await?;
                let body = Body::Segments(vec![writer.finish().await?]);
                put(&kept.catalogue, &content, &key, body, &bytes).await?;
            }
            _ => {
                let length = 10 + random.below(6_000);
                let bytes = random.bytes(length);
                work.begin(&register, Some(digest(&bytes)));
                put(&kept.catalogue, &content, &key, Body::Inline(Bytes::from(bytes.clone())), &bytes)
                    .await?;
            }
        }
        work.done(&register);
    }
    Ok(())
}

async fn put(
    catalogue: &Catalogue,
    content: &Content,
    key: &str,
    body: Body,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let object = Object {
        size: bytes.len() as u64,
        etag: "etag".into(),
        content_hash: *blake3::hash(bytes).as_bytes(),
        body,
        ..Object::default()
    };
    catalogue.put_object(content.id, NAMESPACE, key, object, Conditions::default()).await?;
    Ok(())
}

/// The access mode, an epoch at a time: what the link manager was told must hold.
async fn switch(work: Work, kept: Arc<Kept>, content: Content, steps: usize) -> anyhow::Result<()> {
    for epoch in 0..steps as u64 {
        let access = access(if epoch % 2 == 0 { AccessMode::ReadWrite } else { AccessMode::ReadOnly }, epoch);
        work.begin("access", Some(switched(&access)));
        kept.catalogue.set_access(vec![content.clone()], access).await?;
        work.done("access");
    }
    Ok(())
}

/// An access record, as its register holds it.
#[must_use]
pub fn switched(access: &AccessRecord) -> Vec<u8> {
    format!("{:?} at {}", access.mode, access.epoch).into_bytes()
}

fn access(mode: AccessMode, epoch: u64) -> AccessRecord {
    AccessRecord {
        mode,
        epoch: Epoch(epoch),
        link: Some(LINK),
        link_name: "acme".into(),
        side: Side::Primary,
        local_incarnation: Incarnation(1),
        peer_incarnation: Incarnation(2),
        primary_site: OURS,
        replica_site: PEERS,
        writer: None,
        both_read_only: false,
        orphaned: false,
    }
}

/// The receiving end of a flow: changes of a peer, each batch with its cursor.
async fn receive(
    work: Work,
    kept: Arc<Kept>,
    elsewhere: std::path::PathBuf,
    steps: usize,
) -> anyhow::Result<()> {
    let options = Options { cache_bytes: 1 << 20, reserve_bytes: 0, ..Options::new(PEERS) };
    let peer = Catalogue::open(&elsewhere, options)?;
    let content = tenant(&peer, RECEIVED).await?;
    let own = AccessRecord { side: Side::Primary, ..access(AccessMode::ReadOnly, 1) };
    kept.catalogue.set_access(vec![content.clone()], own).await?;
    let feed = peer.content(content.id)?.head.feed;
    let sender = Sender {
        feed,
        lineage: Lineage::default(),
        local_parting: None,
        link: LINK,
        primary_site: OURS,
        policy: ConflictPolicy::NewestWins,
        systems: Systems::default(),
    };
    let mut cursor = 0;
    for step in 0..steps {
        let bytes = format!("change {step}").into_bytes();
        let key = format!("{step:05}");
        put(&peer, &content, &key, Body::Inline(Bytes::from(bytes.clone())), &bytes).await?;
        if step % 3 > 0 {
            continue;
        }
        let request = ChangesRequest {
            exclude: None,
            after: cursor,
            configuration_only: false,
            changes_max: 1_000,
            bytes_max: 1 << 20,
        };
        let batch = peer.changes(content.id, &request)?;
        work.begin("cursor", Some(received(feed, batch.through, step)));
        kept.catalogue.apply(content.id, sender.clone(), batch.changes, Some(batch.through)).await?;
        work.done("cursor");
        cursor = batch.through;
    }
    Ok(())
}

/// A cursor and the newest key that it covers, as the register holds it.
#[must_use]
pub fn received(feed: FeedId, cursor: u64, step: usize) -> Vec<u8> {
    format!("{} {cursor} {step}", feed.0).into_bytes()
}

/// Reading is not only reading: the engine mends its pages on the way.
async fn look_up(kept: Arc<Kept>, steps: usize) -> anyhow::Result<()> {
    for step in 0..50 * steps {
        kept.state.scan(&format!("log {}", step % RECORDERS))?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What a service remembers: two records in each batch, and some that come and go.
async fn remember(work: Work, kept: Arc<Kept>, recorder: usize, steps: usize) -> anyhow::Result<()> {
    let (register, log) = (format!("twins {recorder}"), format!("log {recorder}"));
    for step in 0..steps {
        let value = format!("value {step}").into_bytes();
        work.begin(&register, Some(value.clone()));
        let mut batch = Batch::default();
        twins(&recorder.to_string()).iter().for_each(|twin| batch.put(FAMILY, twin, &value));
        batch.put(&log, &(step as u64).to_be_bytes(), &[b'x'; 300]);
        if let Some(old) = (step as u64).checked_sub(50) {
            batch.remove(&log, &old.to_be_bytes());
        }
        kept.state.commit_async(batch).await?;
        work.done(&register);
    }
    Ok(())
}
