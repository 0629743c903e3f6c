//! A catalogue in a folder of its own, with a clock that is moved by hand.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use switchback_model::{
    AccessMode, Content, ContentId, ContentKind, Epoch, FeedId, Incarnation, LinkId, Side, SiteId,
};
use switchback_store::{
    AccessRecord, Body, Catalogue, Change, ChangesRequest, Conditions, ConflictPolicy, Divergence, Error,
    ListRequest, ManualClock, Object, Options, Receipt, Sender, Systems, Written,
};
use tempfile::TempDir;

/// Two systems' sites.
pub(crate) const EAST: SiteId = SiteId(1);
pub(crate) const WEST: SiteId = SiteId(2);
pub(crate) const LINK: LinkId = LinkId([9; 16]);
pub(crate) const NAMESPACE: &str = "photos";

/// What the two are called.
pub(crate) fn systems() -> Systems {
    Systems(vec![(EAST, "east".into()), (WEST, "west".into())])
}

/// The owner of the feed of `content`, as somebody whose changes are applied.
pub(crate) fn sender(from: &System, content: &Content) -> Sender {
    let policy = ConflictPolicy::NewestWins;
    let status = from.catalogue.content(content.id).unwrap();
    Sender {
        feed: status.head.feed,
        lineage: status.lineage,
        local_parting: None,
        link: LINK,
        primary_site: EAST,
        policy,
        systems: systems(),
    }
}

/// The same as `to` sees it, once it has told how far it has read what `to` wrote.
pub(crate) fn sender_to(from: &System, to: &System, content: &Content) -> Sender {
    let (status, there) =
        (from.catalogue.content(content.id).unwrap(), to.catalogue.content(content.id).unwrap());
    let local_parting = there.parting(status.cursors.last(), &status.peer_lineage);
    Sender { local_parting, ..sender(from, content) }
}

/// A system's whole report.
pub(crate) fn report(system: &System) -> Vec<Divergence> {
    let page = system.catalogue.divergences(LINK, ALL_EPOCHS, None, 1000).unwrap();
    page.divergences.into_iter().map(|(_, divergence)| divergence).collect()
}

/// No conflict is left out.
pub(crate) const ALL_EPOCHS: RangeInclusive<Epoch> = Epoch(0)..=Epoch(u64::MAX);

/// Runs `test` to its end on a small runtime.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

/// One system's store.
pub(crate) struct System {
    pub(crate) catalogue: Catalogue,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) site: SiteId,
    folder: TempDir,
}

impl System {
    pub(crate) fn new(site: SiteId) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000));
        let catalogue = open(folder.path(), site, &clock, 0);
        Self { catalogue, clock, site, folder }
    }

    /// Stops and starts again from disk.
    pub(crate) fn reopen(self) -> Self {
        self.reopen_with(0)
    }

    /// The same, with other bytes that must stay free on the disk.
    pub(crate) fn reopen_with(self, reserve_bytes: u64) -> Self {
        let Self { catalogue, clock, site, folder } = self;
        drop(catalogue);
        clock.advance(1);
        let catalogue = open(folder.path(), site, &clock, reserve_bytes);
        Self { catalogue, clock, site, folder }
    }

    /// Takes the word of `peer` for how much it has.
    pub(crate) async fn hear(&self, content: &Content, peer: &Self) {
        let cursor = peer.catalogue.content(content.id).unwrap().cursor(self.feed(content));
        self.catalogue.acknowledge(content.id, peer.feed(content), cursor).await.unwrap();
    }

    /// The same, and another as it would come back from a backup that is made now.
    pub(crate) fn backed_up(self) -> (Self, Self) {
        let Self { catalogue, clock, site, folder } = self;
        drop(catalogue);
        clock.advance(1);
        let backup = tempfile::tempdir().unwrap();
        copy(folder.path(), backup.path());
        let of = |folder: TempDir| {
            let clock = Arc::clone(&clock);
            Self { catalogue: open(folder.path(), site, &clock, 0), clock, site, folder }
        };
        (of(folder), of(backup))
    }

    pub(crate) async fn tenant(&self, name: &str) -> Content {
        let content = self.catalogue.create_content(ContentKind::Tenant, name, "").await.unwrap();
        self.catalogue.create_namespace(content.id, NAMESPACE).await.unwrap();
        content
    }

    pub(crate) async fn put(&self, content: &Content, key: &str, body: &str) -> Result<Written, Error> {
        let object = object(body);
        self.catalogue.put_object(content.id, NAMESPACE, key, object, Conditions::default()).await
    }

    pub(crate) async fn delete(&self, content: &Content, key: &str) {
        let results = self.catalogue.delete_objects(content.id, NAMESPACE, vec![key.into()]).await.unwrap();
        results.into_iter().try_for_each(|result| result.map(|_| ())).unwrap();
    }

    /// The bytes of an inline object.
    pub(crate) fn body(&self, content: &Content, key: &str) -> Option<String> {
        let entry = match self.catalogue.object(content.id, NAMESPACE, key, true) {
            Ok(entry) => entry,
            Err(Error::NoSuchKey | Error::Hidden { .. } | Error::NoSuchNamespace { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        match entry.object.body {
            Body::Inline(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            Body::Segments(_) => panic!("not inline"),
        }
    }

    /// All visible keys with their bodies, what was lost and found included.
    pub(crate) fn visible(&self, content: &Content) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for prefix in ["", ".lost+found/"] {
            let request = ListRequest { prefix: prefix.into(), keys_max: 1000, ..ListRequest::default() };
            if let Ok(page) = self.catalogue.list(content.id, NAMESPACE, &request) {
                for entry in page.objects {
                    let body = self.body(content, &entry.key).unwrap();
                    all.insert(entry.key, body);
                }
            }
        }
        all
    }

    pub(crate) fn feed(&self, content: &Content) -> FeedId {
        self.catalogue.content(content.id).unwrap().head.feed
    }

    pub(crate) fn changes(&self, content: &Content, exclude: Option<FeedId>, after: u64) -> Vec<Change> {
        self.catalogue.changes(content.id, &request(exclude, after)).unwrap().changes
    }

    /// Sends everything that `to` has not got yet, as a mover would.
    pub(crate) async fn send(&self, content: &Content, to: &Self, policy: ConflictPolicy) -> Option<Receipt> {
        let from = self.feed(content);
        let after = to.catalogue.content(content.id).unwrap().cursor(from);
        let batch = self.catalogue.changes(content.id, &request(Some(to.feed(content)), after)).unwrap();
        if batch.through == after {
            return None;
        }
        let sender = Sender { policy, ..sender_to(self, to, content) };
        Some(to.catalogue.apply(content.id, sender, batch.changes, Some(batch.through)).await.unwrap())
    }
}

fn copy(from: &Path, to: &Path) {
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

fn open(path: &Path, site: SiteId, clock: &Arc<ManualClock>, reserve_bytes: u64) -> Catalogue {
    let options = Options { clock: clock.clone(), cache_bytes: 1 << 20, reserve_bytes, ..Options::new(site) };
    Catalogue::open(path, options).unwrap()
}

pub(crate) fn request(exclude: Option<FeedId>, after: u64) -> ChangesRequest {
    ChangesRequest { exclude, after, configuration_only: false, changes_max: 1000, bytes_max: 1 << 24 }
}

pub(crate) fn object(body: &str) -> Object {
    Object {
        size: body.len() as u64,
        etag: format!("etag-{body}"),
        content_hash: *blake3_of(body).as_slice().first_chunk().unwrap(),
        body: Body::Inline(Bytes::copy_from_slice(body.as_bytes())),
        ..Object::default()
    }
}

/// Any function of the bytes will do where nobody checks it.
fn blake3_of(body: &str) -> Vec<u8> {
    body.bytes().chain(std::iter::repeat(0)).take(32).collect()
}

pub(crate) fn access(side: Side, mode: AccessMode, epoch: u64) -> AccessRecord {
    AccessRecord {
        mode,
        epoch: Epoch(epoch),
        link: Some(LINK),
        link_name: "link1".into(),
        side,
        local_incarnation: Incarnation(1),
        peer_incarnation: Incarnation(2),
        primary_site: EAST,
        replica_site: WEST,
        writer: Some("west.example.com".into()),
        both_read_only: false,
        orphaned: false,
    }
}

/// East holds a tenant with one namespace, on a link with West, which has adopted it. Both may
/// write, as after a failover that the primary has not heard of.
pub(crate) async fn pair() -> (System, System, Content) {
    let (east, west) = (System::new(EAST), System::new(WEST));
    let content = east.tenant("alpha").await;
    link(&east, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
    link(&west, &content, Side::Replica, AccessMode::ReadOnly, 0).await;
    east.send(&content, &west, ConflictPolicy::NewestWins).await;
    link(&west, &content, Side::Replica, AccessMode::ReadWrite, 1).await;
    (east, west, content)
}

pub(crate) async fn link(system: &System, content: &Content, side: Side, mode: AccessMode, epoch: u64) {
    system.catalogue.set_access(vec![content.clone()], access(side, mode, epoch)).await.unwrap();
}

/// Lets both send until neither has anything left.
pub(crate) async fn converge(left: &System, right: &System, content: &Content, policy: ConflictPolicy) {
    for _ in 0..10 {
        let there = left.send(content, right, policy).await;
        let back = right.send(content, left, policy).await;
        if there.is_none() && back.is_none() {
            return;
        }
    }
    panic!("two systems keep sending to each other");
}

pub(crate) fn total(system: &System, content: ContentId) -> switchback_store::Digest {
    system.catalogue.digest(content).unwrap().total
}
