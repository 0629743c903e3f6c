//! What a receiver promises a sender that may die at any moment, tried by a sender of our own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pair::{Card, LINK, Pair, Way, flows, noise, text};
use prost::Message as _;
use switchback_kit::tls::{Expect, IdentityWatch, Limits};
use switchback_model::{Epoch, Hlc, Incarnation, SiteId, SystemId, Version, VersionVector};
use switchback_proto::model::v1::{Compression, Content};
use switchback_proto::replication::v1::carry_message::Body as Carried;
use switchback_proto::replication::v1::receiver_message::Body as Answer;
use switchback_proto::replication::v1::refusal::Reason;
use switchback_proto::replication::v1::replication_service_client::ReplicationServiceClient;
use switchback_proto::replication::v1::sender_message::Body;
use switchback_proto::replication::v1::{
    Ack, Batch, BodyDemand, CarryAnswer, CarryMessage, Change, Changes, Chunk, Hello, LaneHello, LinkHeader,
    Manifest, Noted, ReceiverMessage, Run, SenderMessage, Welcome,
};
use switchback_store::{BlobId, Body as Bytes, Object, Payload, Record, RecordKey, Segment};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// A sender with east's certificate, and a feed of its own.
struct Sender {
    messages: mpsc::Sender<SenderMessage>,
    answers: Streaming<ReceiverMessage>,
}

impl Sender {
    /// Says hello to west's mover, and returns what it is welcomed with.
    async fn hello(pair: &Pair, content: &Content) -> (Self, Welcome) {
        match Self::hello_of(pair, content, &[], (0, 0)).await {
            (sender, Answer::Welcome(welcome)) => (sender, welcome),
            (_, other) => panic!("{other:?}"),
        }
    }

    /// The same of a store with these runs, which has applied this feed so far, whatever the answer.
    async fn hello_of(
        pair: &Pair,
        content: &Content,
        runs: &[(u64, u64)],
        (read_feed_id, read_through): (u64, u64),
    ) -> (Self, Answer) {
        let (east, west) = (&pair.east, &pair.west);
        let mut client = client(pair, &east.identity);
        let (messages, stream) = mpsc::channel(8);
        let header = LinkHeader {
            link_id: LINK.to_vec().into(),
            sender_incarnation: east.incarnation,
            receiver_incarnation: west.incarnation,
            epoch: 0,
        };
        let hello = Hello {
            header: Some(header),
            content: Some(content.clone()),
            feed_id: 42,
            head: 100,
            compare: false,
            runs: runs.iter().map(|(id, first)| Run { id: *id, first: *first, began: 0 }).collect(),
            clock: soon().0,
            read_feed_id,
            read_through,
            read: Vec::new(),
            read_parting: None,
        };
        messages.send(SenderMessage { body: Some(Body::Hello(hello)) }).await.unwrap();
        let answers = client.send(ReceiverStream::new(stream)).await.unwrap().into_inner();
        let mut sender = Self { messages, answers };
        let answer = sender.answer().await;
        (sender, answer)
    }

    async fn say(&self, body: Body) {
        self.messages.send(SenderMessage { body: Some(body) }).await.unwrap();
    }

    async fn answer(&mut self) -> Answer {
        self.answers.message().await.unwrap().unwrap().body.unwrap()
    }

    /// The bodies that are demanded without anything more being given.
    async fn demanded(&mut self) -> Vec<BodyDemand> {
        // What is asked after the batch is answered after what is demanded of it.
        self.say(Body::Manifest(Manifest::default())).await;
        let mut bodies = Vec::new();
        loop {
            match self.answer().await {
                Answer::Demand(demand) => bodies.extend(demand.bodies),
                Answer::Missing(_) => return bodies,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn batch(&mut self, number: u64, changes: Vec<Change>, through: u64) -> Ack {
        self.say(Body::Batch(Batch { number, changes, through, ..Batch::default() })).await;
        match self.answer().await {
            Answer::Ack(ack) => ack,
            other => panic!("{other:?}"),
        }
    }
}

/// West's mover, as somebody with this certificate calls it.
fn client(pair: &Pair, identity: &IdentityWatch) -> ReplicationServiceClient<tonic::transport::Channel> {
    let west = &pair.west;
    let expect = Expect::Incarnation(SystemId(west.id), Incarnation(west.incarnation));
    let dial = switchback_kit::tls::channel(&west.line.address(), identity, expect, &Limits::default());
    ReplicationServiceClient::new(dial.channel())
}

/// A lane of the stream with this key.
async fn lane(
    pair: &Pair,
    identity: &IdentityWatch,
    welcome: &Welcome,
) -> (mpsc::Sender<CarryMessage>, Streaming<CarryAnswer>) {
    let (messages, stream) = mpsc::channel(8);
    let hello = Carried::Hello(LaneHello { lane_key: welcome.lane_key.clone() });
    messages.send(CarryMessage { body: Some(hello) }).await.unwrap();
    let answers = client(pair, identity).carry(ReceiverStream::new(stream)).await.unwrap().into_inner();
    (messages, answers)
}

/// An object whose body of these bytes is to be demanded.
fn following(sequence: u64, size: u64, content_hash: [u8; 32]) -> Change {
    let body = Bytes::Segments(vec![Segment { blob: BlobId::random(), size }]);
    let object = Object { size, content_hash, body, ..Object::default() };
    let record = Record {
        key: RecordKey::object("photos", format!("{sequence:04}")),
        version: Version { hlc: Hlc(sequence), site: SiteId(1) },
        replaced: VersionVector::default(),
        absorbed: VersionVector::default(),
        epoch: Epoch(0),
        payload: Payload::Object(Box::new(object)),
    };
    Change { sequence, record: record.to_bytes(), body_follows: true }
}

/// Bodies of which not a byte will come.
fn promised(bodies: u64, size: u64) -> Batch {
    let change = |number: u64| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(size ^ number).to_be_bytes());
        following(number, size, hash)
    };
    let changes = (1..=bodies).map(change).collect();
    Batch { number: 1, changes, through: bodies, ..Batch::default() }
}

/// A body in chunks.
fn chunks(batch: u64, index: u32, body: &[u8]) -> Vec<Chunk> {
    let chunk = |(place, bytes): (usize, &[u8])| Chunk {
        batch,
        index,
        offset: (place * (256 << 10)) as u64,
        bytes: bytes.to_vec().into(),
        ..Chunk::default()
    };
    body.chunks(256 << 10).enumerate().map(chunk).collect()
}

/// As of a sender whose clock is a little ahead.
fn soon() -> Hlc {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(20);
    Hlc::from_unix_ms(now.as_secs() * 1_000)
}

/// An object whose bytes are not those that its hash names.
fn damaged(sequence: u64) -> Change {
    let object = Object { size: 1, body: Bytes::Inline(b"x"[..].into()), ..Object::default() };
    let record = Record {
        key: RecordKey::object("photos", "damaged"),
        version: Version { hlc: Hlc(sequence), site: SiteId(1) },
        replaced: VersionVector::default(),
        absorbed: VersionVector::default(),
        epoch: Epoch(0),
        payload: Payload::Object(Box::new(object)),
    };
    Change { sequence, record: record.to_bytes(), body_follows: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cursor_waits_until_the_sender_has_noted_what_was_refused() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    pair.steer_west(&content, 0, Way::West).await;

    let now = soon();
    let (mut sender, welcome) = Sender::hello(&pair, &content).await;
    assert_eq!(welcome.cursor, 0);
    assert!(Hlc(welcome.clock) >= now, "what is written there next is later than what the sender has seen");
    let refused = sender.batch(1, vec![damaged(5)], 10).await;
    assert_eq!((refused.refused.len(), refused.cursor), (1, 0));
    let next = sender.batch(2, Vec::new(), 20).await;
    assert_eq!((next.refused.len(), next.cursor), (0, 0), "nor do later batches carry it past");

    // A sender that dies here has it on no list: it is given everything again.
    drop(sender);
    let (mut sender, welcome) = Sender::hello(&pair, &content).await;
    assert_eq!(welcome.cursor, 0);
    let refused = sender.batch(1, vec![damaged(5)], 10).await;
    assert_eq!(refused.refused.len(), 1);
    sender.say(Body::Noted(Noted { batch: 1 })).await;
    let next = sender.batch(2, Vec::new(), 20).await;
    assert_eq!(next.cursor, 20);
    pair.stop().await;
}

/// The stream is read on while a commit is on its way, so the note may be heard before its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cursor_follows_what_was_on_its_way_when_the_sender_noted_a_refusal() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    pair.steer_west(&content, 0, Way::West).await;

    let (mut sender, _) = Sender::hello(&pair, &content).await;
    assert_eq!(sender.batch(1, vec![damaged(5)], 10).await.refused.len(), 1);
    sender.say(Body::Batch(Batch { number: 2, through: 20, ..Batch::default() })).await;
    sender.say(Body::Noted(Noted { batch: 1 })).await;
    assert!(matches!(sender.answer().await, Answer::Ack(ack) if ack.batch == 2));
    // What is asked after the note is answered after it.
    sender.say(Body::Manifest(Manifest::default())).await;
    assert!(matches!(sender.answer().await, Answer::Missing(_)));
    let (_, welcome) = Sender::hello(&pair, &content).await;
    assert_eq!(welcome.cursor, 20);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_whose_place_was_written_by_another_run_went_back_in_time() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    pair.steer_west(&content, 0, Way::West).await;

    let (mut sender, _) = Sender::hello_of(&pair, &content, &[(7, 1)], (0, 0)).await;
    assert_eq!(sender.batch(1, Vec::new(), 10).await.cursor, 10);
    let (_, answer) = Sender::hello_of(&pair, &content, &[(7, 1), (9, 11)], (0, 0)).await;
    assert!(matches!(answer, Answer::Welcome(welcome) if welcome.cursor == 10), "it was started again");
    let (_, answer) = Sender::hello_of(&pair, &content, &[(7, 1), (9, 8)], (0, 0)).await;
    assert!(matches!(answer, Answer::Refusal(refusal) if refusal.reason() == Reason::RolledBack));
    pair.west.until_flow("it is noted", |flow| flow.peer_rolled_back).await;
    pair.stop().await;
}

/// Found by the simulator's layer of cores: the sender was first, and its cursor moved on without what it
/// had from the receiver's life before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_whose_sender_has_more_of_it_than_there_is_went_back_in_time_and_takes_nothing() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    pair.steer_west(&content, 0, Way::West).await;

    let (_, welcome) = Sender::hello(&pair, &content).await;
    for read in [(welcome.feed_id, 0), (welcome.feed_id + 1, 1_000)] {
        let (_, answer) = Sender::hello_of(&pair, &content, &[], read).await;
        assert!(matches!(answer, Answer::Welcome(_)), "it accuses nobody");
    }
    let (_, answer) = Sender::hello_of(&pair, &content, &[], (welcome.feed_id, 1_000)).await;
    assert!(matches!(answer, Answer::Refusal(refusal) if refusal.reason() == Reason::NotReceiving));
    pair.west.until_flow("it is noted", |flow| flow.local_rolled_back).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_of_an_older_epoch_is_told_the_newer_one_and_gives_nothing() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    pair.steer_west(&content, 2, Way::West).await;
    match Sender::hello_of(&pair, &content, &[], (0, 0)).await {
        (_, Answer::Refusal(refusal)) => {
            assert_eq!((refusal.reason(), refusal.epoch), (Reason::StaleEpoch, 2))
        }
        (_, other) => panic!("{other:?}"),
    }
    pair.stop().await;
}

/// West trusts east, and a third system for another link's sake.
async fn trust_a_third(pair: &mut Pair) -> [Card; 3] {
    let east = Card::new(pair.east.id, pair.east.incarnation, pair.east.domain);
    let west = Card::new(pair.west.id, pair.west.incarnation, pair.west.domain);
    let third = Card::new([3; 16], pair.east.incarnation, "third.example.com");
    pair.west.stop().await;
    pair.west.identity = west.identity(&[&east, &third]);
    pair.west.start().await;
    [east, west, third]
}

/// A third system, which west trusts for another link's sake, says that it is east.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_says_who_speaks_for_a_link() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    let [east, west, third] = trust_a_third(&mut pair).await;
    pair.steer_west(&content, 0, Way::West).await;

    pair.east.identity = third.identity(&[&west]);
    let (_, answer) = Sender::hello_of(&pair, &content, &[], (0, 0)).await;
    assert!(matches!(answer, Answer::Refusal(refusal) if refusal.reason() == Reason::WrongIncarnation));
    pair.east.identity = east.identity(&[&west]);
    let (_, answer) = Sender::hello_of(&pair, &content, &[], (0, 0)).await;
    assert!(matches!(answer, Answer::Welcome(_)), "{answer:?}");
    pair.stop().await;
}

/// However many bodies are waiting, what has come and is not durable stays within the budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_bodies_are_demanded_than_memory_was_set_apart_for() {
    const SIZE: u64 = 5 << 20;
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    pair.steer_west(&content, 0, Way::West).await;

    let (mut sender, _) = Sender::hello(&pair, &content).await;
    let first = noise(1, SIZE as usize);
    let mut batch = promised(20, SIZE);
    batch.changes[0] = following(1, SIZE, *blake3::hash(&first).as_bytes());
    sender.say(Body::Batch(batch)).await;
    let demanded: Vec<_> = sender.demanded().await.iter().map(|body| body.index).collect();
    assert_eq!(demanded, (0..6).collect::<Vec<_>>(), "30 of 32 MiB");
    for chunk in chunks(1, 0, &first) {
        sender.say(Body::Chunk(chunk)).await;
    }
    match sender.answer().await {
        Answer::Demand(demand) => assert_eq!((demand.bodies.len(), demand.bodies[0].index), (1, 6)),
        other => panic!("{other:?}"),
    }

    let (mut sender, _) = Sender::hello(&pair, &content).await;
    sender.say(Body::Batch(promised(20, 9 << 20))).await;
    assert_eq!(sender.demanded().await.len(), 8, "bodies of several pieces");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_of_one_content_do_not_hold_up_what_another_has() {
    let mut pair = Pair::start().await;
    let large = pair.east.tenant("large").await;
    let small = pair.east.tenant("small").await;
    pair.east.stop().await;
    pair.steer_west(&small, 0, Way::West).await;
    pair.steer_west(&large, 0, Way::West).await;
    let mut both = flows(&pair.west, &pair.east, &large, 0, Way::West, 99);
    both.contents.extend(flows(&pair.west, &pair.east, &small, 0, Way::West, 99).contents);
    pair.west.mover().apply_flows(both).await.unwrap();

    let (mut busy, _) = Sender::hello(&pair, &large).await;
    busy.say(Body::Batch(promised(20, 1 << 30))).await;
    assert!(!busy.demanded().await.is_empty(), "and then nothing comes");
    let (mut sender, _) = Sender::hello(&pair, &small).await;
    let body = noise(1, 100_000);
    let changes = vec![following(1, 100_000, *blake3::hash(&body).as_bytes())];
    sender.say(Body::Batch(Batch { number: 1, changes, through: 1, ..Batch::default() })).await;
    assert_eq!(sender.demanded().await.len(), 1);
    for chunk in chunks(1, 0, &body) {
        sender.say(Body::Chunk(chunk)).await;
    }
    assert!(matches!(sender.answer().await, Answer::Ack(ack) if ack.cursor == 1 && ack.refused.is_empty()));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_is_its_senders_alone_and_ends_with_its_stream() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    let [east, west, third] = trust_a_third(&mut pair).await;
    pair.east.identity = east.identity(&[&west]);
    pair.steer_west(&content, 0, Way::West).await;

    let (mut sender, welcome) = Sender::hello(&pair, &content).await;
    let body = noise(1, 1_000_000);
    let changes = vec![following(1, 1_000_000, *blake3::hash(&body).as_bytes())];
    sender.say(Body::Batch(Batch { number: 1, changes, through: 1, ..Batch::default() })).await;
    assert_eq!(sender.demanded().await.len(), 1);
    let (_messages, mut answers) = lane(&pair, &third.identity(&[&west]), &welcome).await;
    assert!(answers.message().await.unwrap().is_none(), "it is shown out");
    let (messages, mut answers) = lane(&pair, &pair.east.identity, &welcome).await;
    for chunk in chunks(1, 0, &body) {
        messages.send(CarryMessage { body: Some(Carried::Chunk(chunk)) }).await.unwrap();
    }
    assert!(matches!(sender.answer().await, Answer::Ack(ack) if ack.cursor == 1 && ack.refused.is_empty()));
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    pair.stop().await;
}

/// These bytes packed, and their length.
fn packed(bytes: &[u8]) -> (Vec<u8>, u32) {
    (zstd::bulk::compress(bytes, 1).unwrap(), bytes.len() as u32)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_packed_is_taken_and_what_is_packed_wrongly_ends_the_stream() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.stop().await;
    pair.steer_west(&content, 0, Way::West).await;
    let zstd = Compression::Zstd.into();
    let body = text(1, 200_000);
    let change = || following(1, 200_000, *blake3::hash(&body).as_bytes());
    let (changes, length) = packed(&Changes { changes: vec![change()] }.encode_to_vec());
    let batch =
        Batch { number: 1, through: 1, packed: changes.into(), codec: zstd, length, ..Batch::default() };
    let (frame, length) = packed(&body);
    let chunk = Chunk { batch: 1, bytes: frame.into(), codec: zstd, length, ..Chunk::default() };

    // Much in little; more and less than was named; no frame at all; a codec of a later version.
    let (bomb, _) = packed(&vec![0; 64 << 20]);
    let wrong = |bytes: &[u8], length: u32, codec: i32| (bytes.to_vec(), length, codec);
    let frames = [
        wrong(&bomb, 64 << 20, zstd),
        wrong(&bomb, 200_000, zstd),
        wrong(&chunk.bytes, length + 1, zstd),
        wrong(b"no frame", 200_000, zstd),
        wrong(&chunk.bytes, length, 77),
    ];
    for (bytes, length, codec) in frames {
        let (mut sender, _) = Sender::hello(&pair, &content).await;
        let packed = bytes.clone().into();
        sender.say(Body::Batch(Batch { packed, length, codec, ..batch.clone() })).await;
        let answer = sender.answer().await;
        assert!(matches!(&answer, Answer::Refusal(refusal) if refusal.text.contains("pack")), "{answer:?}");
        for by_lane in [false, true] {
            let (mut sender, welcome) = Sender::hello(&pair, &content).await;
            sender.say(Body::Batch(batch.clone())).await;
            assert_eq!(sender.demanded().await.len(), 1);
            let chunk = Chunk { bytes: bytes.clone().into(), length, codec, ..chunk.clone() };
            let (lane, _answers) = lane(&pair, &pair.east.identity, &welcome).await;
            if by_lane {
                lane.send(CarryMessage { body: Some(Carried::Chunk(chunk)) }).await.unwrap();
            } else {
                sender.say(Body::Chunk(chunk)).await;
            }
            let answer = sender.answer().await;
            assert!(
                matches!(&answer, Answer::Refusal(refusal) if refusal.text.contains("pack")),
                "{answer:?}"
            );
        }
    }

    let (mut sender, welcome) = Sender::hello(&pair, &content).await;
    assert_eq!(welcome.codecs().collect::<Vec<_>>(), [Compression::Zstd]);
    assert_eq!(welcome.cursor, 0);
    sender.say(Body::Batch(batch)).await;
    assert_eq!(sender.demanded().await.len(), 1);
    sender.say(Body::Chunk(chunk)).await;
    assert!(matches!(sender.answer().await, Answer::Ack(ack) if ack.cursor == 1 && ack.refused.is_empty()));
    pair.stop().await;
}
