//! The receiving end of one content's stream.
//!
//! Batches are applied in their order, each with the cursor in one durable commit, and only then
//! acknowledged. While refused changes are not yet on the sender's durable retry list, the cursor
//! stands still: a crash on either side then loses none of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use switchback_kit::tls::Peer;
use switchback_model::{ContentId, FeedId, Hlc};
use switchback_proto::replication::v1::receiver_message::Body as Answer;
use switchback_proto::replication::v1::refusal::Reason;
use switchback_proto::replication::v1::sender_message::Body;
use switchback_proto::replication::v1::{
    Ack, Batch, BodyDemand, Chunk, Demand, Hello, Manifest, ReceiverMessage, Refusal, RefusedChange,
    SenderMessage, Welcome,
};
use switchback_store::{Applied, Body as StoreBody, Change, Cursor, Record, Sender};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::body::ContentHasher;
use super::exchange::{find_link, obey, refusal};
use super::feed::blocking;
use super::incoming::{self, Alive, IncomingBody};
use super::limit::{HELLO_TIME, WINDOW_BATCHES};
use crate::convert::{
    content_from_wire, digest_to_wire, lineage_from_wire, parting_from_wire, parting_to_wire,
};
use crate::link::{Flow, Link};
use crate::mover::Mover;
use tokio::time::Instant;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{}", .0.text)]
    Refused(Refusal),
    #[error("the stream ended")]
    Closed,
    #[error("the sender does not keep to the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Body(#[from] incoming::Error),
    #[error(transparent)]
    Store(#[from] switchback_store::Error),
}

/// Serves one stream until it ends.
pub(crate) async fn serve(
    mover: Arc<Mover>,
    peer: Peer,
    mut inbound: Streaming<SenderMessage>,
    answers: mpsc::Sender<ReceiverMessage>,
) {
    let hello = tokio::time::timeout(HELLO_TIME, inbound.message()).await;
    let Ok(Ok(Some(SenderMessage { body: Some(Body::Hello(hello)) }))) = hello else { return };
    let header = hello.header.clone().unwrap_or_default();
    let ended = match welcome(&mover, &peer, &hello, &answers).await {
        Ok((mut receiver, welcome)) => {
            let ended = receiver.run(&mut inbound, welcome).await;
            let trouble = match &ended {
                Ended::Closed => String::new(),
                Ended::Refused(_) | Ended::Protocol(_) | Ended::Body(_) | Ended::Store(_) => words(&ended),
            };
            receiver.flow.state().receiving_trouble = trouble;
            mover.bells.ring_status();
            ended
        }
        Err(ended) => ended,
    };
    let refusal = match ended {
        Ended::Closed => return,
        Ended::Refused(refusal) => refusal,
        Ended::Protocol(_) | Ended::Body(_) | Ended::Store(_) => {
            tracing::debug!(error = words(&ended), "receiving flow ended");
            refusal(&header, Reason::Trouble, &words(&ended))
        }
    };
    let _ = answers.send(ReceiverMessage { body: Some(Answer::Refusal(refusal)) }).await;
}

fn words(ended: &Ended) -> String {
    crate::status::chain(ended)
}

/// Judges a stream's first message.
async fn welcome(
    mover: &Arc<Mover>,
    peer: &Peer,
    hello: &Hello,
    answers: &mpsc::Sender<ReceiverMessage>,
) -> Result<(Receiver, Welcome), Ended> {
    let header = hello.header.clone().unwrap_or_default();
    let refuse = |reason, text: &str| Ended::Refused(refusal(&header, reason, text));
    let link = find_link(mover, peer, &header).map_err(Ended::Refused)?;
    obey(mover, &link, &header).await.map_err(Ended::Refused)?;
    if header.epoch < link.known_epoch().0 {
        let epoch = link.known_epoch().0;
        let stale = refusal(&header, Reason::StaleEpoch, "the other system knows a higher epoch");
        return Err(Ended::Refused(Refusal { epoch, ..stale }));
    }
    mover.catalogue.see(Hlc(hello.clock)).await?;
    let content = hello.content.as_ref().and_then(|content| content_from_wire(content).ok());
    let content = content.ok_or(Ended::Protocol("no content is named"))?;
    let flow = link.flow(content.id).filter(|_| link.desired().receives(content.id));
    let Some(flow) = flow else {
        return Err(refuse(Reason::NotReceiving, "the other system does not take this content now"));
    };
    let Some(status) = mover.status(link.id, content.id)? else {
        return Err(refuse(Reason::NoContent, "the content is not on the other system yet"));
    };
    let feed = FeedId(hello.feed_id);
    let cursor = status.cursor(feed);
    let lineage = lineage_from_wire(&hello.runs);
    if status.is_ahead_of(feed, hello.head, &lineage) {
        flow.state().peer_rolled_back = true;
        link.ring();
    }
    let (there, read) = (cursor_there(hello), lineage_from_wire(&hello.read));
    let local_parting = status.parting(Some(&there), &read);
    if status.is_behind(Some(&there), &read) {
        flow.state().local_rolled_back = true;
        link.ring();
    }
    let (peer_rolled_back, local_rolled_back) = {
        let state = flow.state();
        (state.peer_rolled_back, state.local_rolled_back)
    };
    if peer_rolled_back {
        let text = "the sender is behind what was applied of it, or was replaced: it was rolled back";
        return Err(refuse(Reason::RolledBack, text));
    }
    // Our own fault is not the sender's: it must not take the refusal for a verdict on itself.
    if local_rolled_back {
        let text = "the other system's store went back in time, and takes nothing until the link is restored";
        return Err(refuse(Reason::NotReceiving, text));
    }
    // Whose changes ours are counted without, also when that peer is away after a restart.
    if status.acknowledged.is_none_or(|(noted, _)| noted != feed) {
        mover.catalogue.acknowledge(content.id, feed, 0).await?;
    }
    let give_ranges = hello.compare || (cursor == 0 && status.digest.records > 0 && hello.head > 0);
    let ranges = if give_ranges { mover.catalogue.digest(content.id)?.ranges } else { Vec::new() };
    let stop = CancellationToken::new();
    // The sender dialled again: what it had before is over.
    std::mem::replace(&mut flow.state().receiver, stop.clone()).cancel();
    let parting = status.peer_parting(feed, &lineage);
    let sender = link.desired().sender(feed, lineage, local_parting);
    let welcome = Welcome {
        feed_id: status.head.feed.0,
        cursor,
        epoch: link.known_epoch().0,
        ranges: ranges.into_iter().map(digest_to_wire).collect(),
        clock: mover.catalogue.clock()?.0,
        parting: parting.map(parting_to_wire),
    };
    let receiver = Receiver {
        mover: Arc::clone(mover),
        link,
        flow,
        sender,
        stop,
        content: content.id,
        arriving: VecDeque::new(),
        not_noted: BTreeSet::new(),
        through: cursor,
        answers: answers.clone(),
    };
    Ok((receiver, welcome))
}

/// How far the sender has read our feed.
fn cursor_there(hello: &Hello) -> Cursor {
    let parting = hello.read_parting.map(parting_from_wire);
    Cursor { feed: FeedId(hello.read_feed_id), through: hello.read_through, run: None, parting }
}

/// One stream that was welcomed.
struct Receiver {
    mover: Arc<Mover>,
    link: Arc<Link>,
    flow: Arc<Flow>,
    sender: Sender,
    stop: CancellationToken,
    content: ContentId,
    /// Batches in order; the first one is applied as soon as its bodies are whole.
    arriving: VecDeque<Arriving>,
    /// Batches with refused changes that the sender has not noted yet.
    not_noted: BTreeSet<u64>,
    /// How far the feed has been given, whether or not the cursor may follow.
    through: u64,
    answers: mpsc::Sender<ReceiverMessage>,
}

/// A batch that is not applied yet.
struct Arriving {
    number: u64,
    through: u64,
    changes: Vec<Arrived>,
    /// Bodies that were demanded, in the order they will come.
    bodies: VecDeque<(usize, IncomingBody)>,
}

/// One change of it.
struct Arrived {
    change: Change,
    /// Why it cannot be applied.
    refused: Option<String>,
    /// The sender keeps it on its own list: nothing is to be said about it.
    withdrawn: bool,
}

impl Receiver {
    async fn run(&mut self, inbound: &mut Streaming<SenderMessage>, welcome: Welcome) -> Ended {
        if let Err(ended) = self.say(Answer::Welcome(welcome)).await {
            return ended;
        }
        self.flow.state().receiving_trouble.clear();
        let mut desired = self.link.watch_desired();
        loop {
            let message = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ended::Closed,
                () = self.mover.shutdown.cancelled() => return Ended::Closed,
                _ = desired.changed() => {
                    if self.link.desired().receives(self.content) {
                        continue;
                    }
                    let header = super::exchange::header(&self.link, &self.link.desired());
                    let text = "the other system does not take this content now";
                    return Ended::Refused(refusal(&header, Reason::NotReceiving, text));
                }
                message = inbound.message() => message,
            };
            let Ok(Some(SenderMessage { body: Some(body) })) = message else { return Ended::Closed };
            if let Err(ended) = self.take(body).await {
                return ended;
            }
        }
    }

    async fn take(&mut self, body: Body) -> Result<(), Ended> {
        match body {
            Body::Batch(batch) => self.batch(batch).await?,
            Body::Chunk(chunk) => self.chunk(chunk).await?,
            Body::BodyFailed(failed) => {
                let arriving = self.find(failed.batch)?;
                let index = failed.index as usize;
                let change = arriving.changes.get_mut(index).ok_or(Ended::Protocol("no such change"))?;
                change.withdrawn = true;
                // What came of it stays, to be resumed.
                arriving.bodies.retain(|(wanted, _)| *wanted != index);
            }
            Body::Noted(noted) => {
                self.not_noted.remove(&noted.batch);
                if self.not_noted.is_empty() {
                    self.move_cursor().await?;
                }
            }
            Body::Manifest(manifest) => self.manifest(manifest).await?,
            Body::Hello(_) => return Err(Ended::Protocol("a second hello")),
        }
        self.apply_ready().await
    }

    fn find(&mut self, number: u64) -> Result<&mut Arriving, Ended> {
        let found = self.arriving.iter_mut().find(|arriving| arriving.number == number);
        found.ok_or(Ended::Protocol("no such batch"))
    }

    async fn say(&mut self, answer: Answer) -> Result<(), Ended> {
        self.answers.send(ReceiverMessage { body: Some(answer) }).await.map_err(|_| Ended::Closed)
    }

    async fn manifest(&mut self, manifest: Manifest) -> Result<(), Ended> {
        let (mover, content) = (Arc::clone(&self.mover), self.content);
        let missing = blocking(move || super::compare::answer(&mover.catalogue, content, manifest)).await?;
        self.say(Answer::Missing(missing)).await
    }

    async fn batch(&mut self, batch: Batch) -> Result<(), Ended> {
        if self.arriving.len() >= WINDOW_BATCHES {
            return Err(Ended::Protocol("more batches than the window holds"));
        }
        let mut arriving = Arriving {
            number: batch.number,
            through: batch.through,
            changes: Vec::with_capacity(batch.changes.len()),
            bodies: VecDeque::new(),
        };
        for (index, change) in batch.changes.into_iter().enumerate() {
            let mut record = Record::from_bytes(&change.record)?;
            let mut refused = None;
            if change.body_follows {
                if let Some(body) = self.body(&mut record).await? {
                    arriving.bodies.push_back((index, body));
                }
            } else if !is_sound_inline(&record) {
                refused = Some("the bytes do not match the content hash".to_owned());
            }
            let change = Change { sequence: change.sequence, record };
            arriving.changes.push(Arrived { change, refused, withdrawn: false });
        }
        let demand = |(index, body): &(usize, IncomingBody)| BodyDemand {
            index: u32::try_from(*index).unwrap_or(u32::MAX),
            offset: body.offset(),
        };
        let bodies: Vec<_> = arriving.bodies.iter().map(demand).collect();
        if !bodies.is_empty() {
            self.say(Answer::Demand(Demand { batch: batch.number, bodies })).await?;
        }
        self.arriving.push_back(arriving);
        self.end_bodies().await
    }

    /// Where the body of a record comes from: none when it is here already, under the same key.
    async fn body(&mut self, record: &mut Record) -> Result<Option<IncomingBody>, Ended> {
        let here = self.mover.catalogue.record(self.content, &record.key)?;
        let Some(object) = record.as_object_mut() else { return Ok(None) };
        let same = here.as_ref().and_then(Record::as_object).filter(|here| {
            (here.content_hash, here.size, &here.part_sizes)
                == (object.content_hash, object.size, &object.part_sizes)
        });
        if let Some(same) = same {
            object.body = same.body.clone();
            return Ok(None);
        }
        let hash = object.content_hash;
        let twin = |arriving: &Arriving| arriving.bodies.iter().any(|(_, body)| body.is_of(&hash));
        let remembered = !self.arriving.iter().any(twin);
        Ok(Some(IncomingBody::begin(&self.mover, self.content, object, remembered).await?))
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<(), Ended> {
        let mover = Arc::clone(&self.mover);
        let (index, length) = (chunk.index as usize, chunk.bytes.len() as u64);
        let body = self.find(chunk.batch)?.bodies.front_mut();
        let body = body.filter(|(wanted, _)| *wanted == index).map(|(_, body)| body);
        let body = body.ok_or(Ended::Protocol("a chunk that was not demanded"))?;
        body.write(&mover, chunk.offset, chunk.bytes).await?;
        self.flow.state().received.add(Instant::now(), 0, length);
        self.end_bodies().await
    }

    /// Judges the bodies that are whole.
    async fn end_bodies(&mut self) -> Result<(), Ended> {
        let (mover, answers) = (Arc::clone(&self.mover), self.answers.clone());
        for arriving in &mut self.arriving {
            while arriving.bodies.front().is_some_and(|(_, body)| body.is_whole()) {
                let Some((index, body)) = arriving.bodies.pop_front() else { break };
                let arrived = &mut arriving.changes[index];
                let Some(object) = arrived.change.record.as_object_mut() else { continue };
                let alive = Alive { answers: answers.clone(), batch: arriving.number };
                match Box::pin(body.verify(&mover, object, &alive)).await? {
                    Some(segments) => object.body = StoreBody::Segments(segments),
                    None => arrived.refused = Some("the bytes do not match the content hash".into()),
                }
            }
        }
        Ok(())
    }

    async fn apply_ready(&mut self) -> Result<(), Ended> {
        while self.arriving.front().is_some_and(|arriving| arriving.bodies.is_empty()) {
            let Some(arriving) = self.arriving.pop_front() else { break };
            self.apply(arriving).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, arriving: Arriving) -> Result<(), Ended> {
        self.through = self.through.max(arriving.through);
        let mut refused = Vec::new();
        let (mut places, mut changes) = (Vec::new(), Vec::new());
        let mut hashes = Vec::new();
        for (index, arrived) in (0..).zip(arriving.changes) {
            if let Some(reason) = arrived.refused {
                refused.push(RefusedChange { index, reason });
            } else if !arrived.withdrawn {
                if let Some(object) = arrived.change.record.as_object()
                    && object.body.segments().len() > 1
                {
                    hashes.push(object.content_hash);
                }
                places.push((index, inline_size(&arrived.change.record)));
                changes.push(arrived.change);
            }
        }
        let may_move = self.not_noted.is_empty() && refused.is_empty() && arriving.through > 0;
        let through = may_move.then_some(arriving.through);
        let receipt = self.mover.catalogue.apply(self.content, self.sender.clone(), changes, through).await?;
        let (mut objects, mut bytes) = (0, 0);
        for ((index, size), result) in places.into_iter().zip(&receipt.results) {
            if let Some(reason) = reason_of(result) {
                refused.push(RefusedChange { index, reason });
            } else {
                (objects, bytes) = (objects + 1, bytes + size);
            }
        }
        // Only now that a record names the blobs are they no longer remembered as partial.
        for hash in hashes {
            self.mover.memory.remove_partial(self.content, &hash).await.map_err(incoming::Error::from)?;
        }
        if !refused.is_empty() {
            self.not_noted.insert(arriving.number);
        }
        self.flow.state().received.add(Instant::now(), objects, bytes);
        self.mover.bells.ring(self.content);
        self.link.ring();
        self.say(Answer::Ack(Ack { batch: arriving.number, cursor: receipt.cursor, refused })).await
    }

    /// All that was refused is on the sender's list: the cursor follows what was given.
    async fn move_cursor(&mut self) -> Result<(), Ended> {
        if self.through > 0 {
            let sender = self.sender.clone();
            self.mover.catalogue.apply(self.content, sender, Vec::new(), Some(self.through)).await?;
            self.link.ring();
        }
        Ok(())
    }
}

/// Why a change that was given was not applied, for the operator; none when it was.
fn reason_of(result: &Applied) -> Option<String> {
    match result {
        Applied::Stored | Applied::Ignored | Applied::Won { .. } | Applied::Lost { .. } => None,
        Applied::Quarantined { ahead_ms } => Some(format!(
            "its time is {} s ahead of the other system's clock: compare the clocks of the two systems",
            ahead_ms / 1_000
        )),
        Applied::LeaseExpired => Some("its bytes were given up before they were named".into()),
    }
}

/// Small bodies travel in the record; a damaged one must not be named.
fn is_sound_inline(record: &Record) -> bool {
    let Some(object) = record.as_object() else { return true };
    let StoreBody::Inline(bytes) = &object.body else { return object.size == 0 };
    let mut hasher = ContentHasher::of(object);
    hasher.update(bytes);
    bytes.len() as u64 == object.size && hasher.finish() == object.content_hash
}

fn inline_size(record: &Record) -> u64 {
    match record.as_object().map(|object| &object.body) {
        Some(StoreBody::Inline(bytes)) => bytes.len() as u64,
        Some(StoreBody::Segments(_)) | None => 0,
    }
}
