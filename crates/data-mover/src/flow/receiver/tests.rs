//! How long what has come is kept for, by a clock that is moved by hand.

use std::time::UNIX_EPOCH;

use switchback_kit::durable::Db;
use switchback_kit::tls::{Fingerprint, IdentityWatch};
use switchback_model::{
    AccessMode, Content, ContentKind, Epoch, Incarnation, LinkId, Side, SiteId, SystemId, Version,
    VersionVector,
};
use switchback_proto::replication::v1::{BodyDemand, Change as WireChange};
use switchback_store::{
    AccessRecord, BlobId, Blobs, Catalogue, Lineage, ManualClock, Object, Options, Payload, Presence,
    RecordKey, Segment, sweep_garbage,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::bell::Bells;
use crate::desired::tests::desired;
use crate::desired::{ContentFlow, Desired};
use crate::memory::{Memory, PartialKey};
use crate::mover::Store;
use crate::scrub::Scrub;
use crate::share::Share;

const CHUNK: usize = 256 << 10;
const HOUR_MS: u64 = 60 * 60 * 1000;

/// A body of three pieces.
const LARGE: usize = 20 << 20;
const SMALL: usize = 100_000;

struct Site {
    clock: Arc<ManualClock>,
    mover: Arc<Mover>,
    link: Arc<Link>,
    content: Content,
    _folder: tempfile::TempDir,
}

/// One stream to it.
struct Stream {
    say: mpsc::Sender<Result<SenderMessage, Status>>,
    told: mpsc::Receiver<ReceiverMessage>,
    receiving: JoinHandle<()>,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000_000_000));
        let options = Options { clock: clock.clone(), ..Options::new(SiteId(2)) };
        let catalogue = Catalogue::open(&folder.path().join("catalogue"), options).unwrap();
        let content = catalogue.create_content(ContentKind::Tenant, "acme", "").await.unwrap();
        let access = AccessRecord {
            mode: AccessMode::ReadOnly,
            link: Some(LinkId([9; 16])),
            side: Side::Replica,
            primary_site: SiteId(1),
            replica_site: SiteId(2),
            ..AccessRecord::unlinked()
        };
        catalogue.set_access(vec![content.clone()], access).await.unwrap();
        let path = folder.path().join("blobs");
        let presence = Presence::establish(&catalogue, &path).await.unwrap();
        let memory = Memory::new(Db::open(&folder.path().join("state")).unwrap());
        let scrub = Arc::new(Scrub::load(&memory, 0).unwrap());
        let (blobs, share) = (Blobs::open(&path).unwrap(), Share::new(25));
        let store = Store { catalogue, blobs, presence, scrub, share };
        let (_, identity) = IdentityWatch::new();
        let mover =
            Mover::new(store, memory, Bells::new(), identity, Handle::current(), CancellationToken::new())
                .unwrap();
        let flow = ContentFlow { content: content.clone(), send: false, receive: true, paused: false };
        let desired = Desired { contents: vec![flow], ..desired(false, true) };
        let link = Arc::new(Link::new(desired, Epoch(0), CancellationToken::new()));
        Self { clock, mover, link, content, _folder: folder }
    }

    fn stream(&self) -> Stream {
        let peer = Peer {
            fingerprint: Fingerprint([0; 32]),
            system_id: SystemId([1; 16]),
            incarnation: Incarnation(1),
            domain: "east.example.com".into(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
        };
        let (answers, told) = mpsc::channel(WINDOW_BATCHES);
        let (mover, link) = (Arc::clone(&self.mover), Arc::clone(&self.link));
        let flow = link.flow(self.content.id).unwrap();
        let open = Open::new(&mover, &peer, &flow);
        let mut receiver = Receiver {
            bodies: Bodies::new(&mover, &link, &answers, open),
            sender: link.desired().sender(FeedId(42), Lineage::default(), None),
            stop: CancellationToken::new(),
            content: self.content.id,
            arriving: VecDeque::new(),
            committing: None,
            not_noted: BTreeSet::new(),
            through: 0,
            mover,
            link,
            flow,
            answers,
        };
        let (say, messages) = mpsc::channel(1);
        let receiving = tokio::spawn(async move {
            receiver.receive(&mut ReceiverStream::new(messages)).await;
        });
        Stream { say, told, receiving }
    }

    /// Two days and more pass, in which nothing comes, and the store is swept.
    async fn let_days_pass(&self) {
        for _ in 0..5 {
            self.clock.advance(11 * HOUR_MS);
            tokio::time::sleep(2 * ALIVE_INTERVAL).await;
            sweep_garbage(&self.mover.catalogue, &self.mover.blobs).await.unwrap();
            let now = i64::try_from(self.mover.catalogue.now_unix_ms()).unwrap();
            self.mover.memory.expire_partials(now).await.unwrap();
        }
    }
}

impl Stream {
    async fn say(&self, body: Body) {
        self.say.send(Ok(SenderMessage { body: Some(body) })).await.unwrap();
    }

    /// A batch with a large body and a small one, and one behind it with a small one; what is demanded.
    async fn batches(&mut self) -> Vec<BodyDemand> {
        for (number, bodies) in [(1, &[LARGE, SMALL][..]), (2, &[SMALL - 1])] {
            let changes = bodies.iter().map(|size| following(*size)).collect();
            self.say(Body::Batch(Batch { number, changes, through: number, ..Batch::default() })).await;
        }
        let mut demanded = Vec::new();
        while demanded.len() < 3 {
            match self.told.recv().await.unwrap().body.unwrap() {
                Answer::Demand(demand) => demanded.extend(demand.bodies),
                other => panic!("{other:?}"),
            }
        }
        demanded
    }

    /// Bytes of a body from one to another.
    async fn give(&self, batch: u64, index: u32, size: usize, bytes: std::ops::Range<usize>) {
        let body = body(size);
        for offset in bytes.clone().step_by(CHUNK) {
            let piece = &body[offset..bytes.end.min(offset + CHUNK)];
            let (offset, bytes) = (offset as u64, piece.to_vec().into());
            self.say(Body::Chunk(Chunk { batch, index, offset, bytes, ..Chunk::default() })).await;
        }
    }

    /// Both batches are acknowledged, and nothing of them is refused.
    async fn until_applied(&mut self) {
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 2 {
            match self.told.recv().await.unwrap().body.unwrap() {
                Answer::Ack(ack) => {
                    assert_eq!(ack.refused, []);
                    acknowledged.push(ack.batch);
                }
                // What was resumed is read back, and we live meanwhile.
                Answer::Demand(demand) if demand.bodies.is_empty() => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(acknowledged, [1, 2]);
    }
}

fn body(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&size.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn hash(size: usize) -> [u8; 32] {
    let mut hasher = ContentHasher::of(&Object::default());
    hasher.update(&body(size));
    hasher.finish()
}

fn following(size: usize) -> WireChange {
    let segment = Segment { blob: BlobId::random(), size: size as u64 };
    let object = Object {
        size: size as u64,
        content_hash: hash(size),
        body: StoreBody::Segments(vec![segment]),
        ..Object::default()
    };
    let record = Record {
        key: RecordKey::object("photos", size.to_string()),
        version: Version { hlc: Hlc(size as u64), site: SiteId(1) },
        replaced: VersionVector::default(),
        absorbed: VersionVector::default(),
        epoch: Epoch(0),
        payload: Payload::Object(Box::new(object)),
    };
    WireChange { sequence: size as u64, record: record.to_bytes(), body_follows: true }
}

#[tokio::test(start_paused = true)]
async fn a_body_may_be_on_its_way_for_days_and_what_waits_for_it_is_kept() {
    let site = Site::new().await;
    let mut stream = site.stream();
    stream.batches().await;
    stream.give(1, 1, SMALL, 0..SMALL).await;
    stream.give(2, 0, SMALL - 1, 0..SMALL - 1).await;
    stream.give(1, 0, LARGE, 0..LARGE / 2).await;
    site.let_days_pass().await;
    stream.give(1, 0, LARGE, LARGE / 2..LARGE).await;
    stream.until_applied().await;
    assert_eq!(site.mover.catalogue.content(site.content.id).unwrap().objects, 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_cut_off_after_days_goes_on_where_it_was() {
    let site = Site::new().await;
    let mut stream = site.stream();
    stream.batches().await;
    stream.give(1, 0, LARGE, 0..LARGE / 2).await;
    let key = PartialKey::Flow(site.content.id, hash(LARGE));
    while site.mover.memory.partial(key).unwrap().is_none() {
        tokio::time::sleep(ALIVE_INTERVAL).await;
    }
    site.let_days_pass().await;
    // As a crash does: nobody notes how far it was.
    stream.receiving.abort();
    assert!(stream.receiving.await.unwrap_err().is_cancelled());

    let mut stream = site.stream();
    let demanded = stream.batches().await;
    let offset = usize::try_from(demanded[0].offset).unwrap();
    assert_eq!(offset, 8 << 20, "one piece was durable");
    stream.give(1, 0, LARGE, offset..LARGE).await;
    stream.give(1, 1, SMALL, 0..SMALL).await;
    stream.give(2, 0, SMALL - 1, 0..SMALL - 1).await;
    stream.until_applied().await;
}
