//! The receiving end of one content's stream.
//!
//! Batches are applied in their order, with the cursor in the same durable commit, and only then
//! acknowledged. The stream is read on while the disk works: what came during one commit goes into
//! the next, and bodies are made durable several at a time, aside. While refused changes are not yet on
//! the sender's durable retry list, the cursor stands still: a crash on either side then loses none of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use switchback_kit::tls::Peer;
use switchback_model::{ContentId, FeedId, Hlc};
use switchback_proto::replication::v1::receiver_message::Body as Answer;
use switchback_proto::replication::v1::refusal::Reason;
use switchback_proto::replication::v1::sender_message::Body;
use switchback_proto::replication::v1::{
    Ack, Batch, Chunk, Demand, Hello, Manifest, ReceiverMessage, Refusal, SenderMessage, Welcome,
};
use switchback_store::{Body as StoreBody, Change, ContentHasher, Cursor, Receipt, Record, Sender};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::apply::apply;
use super::arrival::{Arrived, Arriving, Group};
use super::demand::{Bodies, Come, Step, Wanted};
use super::exchange::{find_link, obey, refusal};
use super::feed::blocking;
use super::incoming::{self, IncomingBody, MISMATCH, Outcome};
use super::inlet::Open;
use super::lease;
use super::limit::{ALIVE_INTERVAL, HELLO_TIME, LANES_MAX, WINDOW_BATCHES};
use super::pack;
use super::room::Place;
use crate::convert::{
    content_from_wire, digest_to_wire, lineage_from_wire, parting_from_wire, parting_to_wire,
};
use crate::link::{Flow, Link};
use crate::memory::PartialKey;
use crate::mover::Mover;
use tokio::time::{Instant, MissedTickBehavior};

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{}", .0.text)]
    Refused(Refusal),
    #[error("the stream ended")]
    Closed,
    #[error("the sender does not keep to the protocol: {0}")]
    Protocol(&'static str),
    #[error("the sender does not keep to the protocol: {0}")]
    Malformed(#[from] pack::Malformed),
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
    let mut bodies = None;
    let ended = match welcome(&mover, &peer, &hello, &answers).await {
        Ok((mut receiver, welcome)) => {
            let ended = receiver.run(&mut inbound, welcome).await;
            let trouble = match &ended {
                Ended::Closed => String::new(),
                Ended::Refused(_)
                | Ended::Protocol(_)
                | Ended::Malformed(_)
                | Ended::Body(_)
                | Ended::Store(_) => words(&ended),
            };
            receiver.flow.state().receiving_trouble = trouble;
            mover.bells.ring_status();
            bodies = Some(receiver.bodies);
            ended
        }
        Err(ended) => ended,
    };
    let refusal = match ended {
        Ended::Closed => None,
        Ended::Refused(refusal) => Some(refusal),
        Ended::Protocol(_) | Ended::Malformed(_) | Ended::Body(_) | Ended::Store(_) => {
            tracing::debug!(error = words(&ended), "receiving flow ended");
            Some(refusal(&header, Reason::Trouble, &words(&ended)))
        }
    };
    if let Some(refusal) = refusal {
        let _ = answers.send(ReceiverMessage { body: Some(Answer::Refusal(refusal)) }).await;
    }
    drop(answers);
    if let Some(mut bodies) = bodies {
        bodies.leave().await;
    }
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
    let open = Open::new(mover, peer, &flow);
    let parting = status.peer_parting(feed, &lineage);
    let sender = link.desired().sender(feed, lineage, local_parting);
    let welcome = Welcome {
        feed_id: status.head.feed.0,
        cursor,
        epoch: link.known_epoch().0,
        ranges: ranges.into_iter().map(digest_to_wire).collect(),
        clock: mover.catalogue.clock()?.0,
        parting: parting.map(parting_to_wire),
        batches_max: u32::try_from(WINDOW_BATCHES).unwrap_or(u32::MAX),
        lanes_max: u32::try_from(LANES_MAX).unwrap_or(u32::MAX),
        lane_key: open.key.clone(),
        codecs: pack::read_here(),
    };
    let bodies = Bodies::new(mover, &link, answers, open);
    let receiver = Receiver {
        mover: Arc::clone(mover),
        link,
        flow,
        sender,
        stop,
        content: content.id,
        arriving: VecDeque::new(),
        committing: None,
        bodies,
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
    /// Batches in order; the first ones are made durable as soon as their bodies are whole.
    arriving: VecDeque<Arriving>,
    /// The batches that are being made durable. What comes meanwhile waits and goes together.
    committing: Option<Committing>,
    /// Bodies that they need.
    bodies: Bodies,
    /// Batches with refused changes that the sender has not noted yet.
    not_noted: BTreeSet<u64>,
    /// How far the feed has been given and applied, whether or not the cursor may follow.
    through: u64,
    answers: mpsc::Sender<ReceiverMessage>,
}

/// One commit on its way.
struct Committing {
    group: Group,
    /// A task of its own: it has a turn among all flows, which must not wait for this stream's peer.
    done: AbortOnDropHandle<switchback_store::Result<Receipt>>,
}

impl Receiver {
    async fn run(&mut self, inbound: &mut Streaming<SenderMessage>, welcome: Welcome) -> Ended {
        if let Err(ended) = self.say(Answer::Welcome(welcome)).await {
            return ended;
        }
        self.flow.state().receiving_trouble.clear();
        let ended = self.receive(inbound).await;
        // What the store was given it may have made durable; that is told if somebody still listens.
        match self.settle().await {
            Ok(()) => ended,
            Err(failed) => failed,
        }
    }

    async fn receive(
        &mut self,
        inbound: &mut (impl Stream<Item = Result<SenderMessage, Status>> + Unpin),
    ) -> Ended {
        let mut desired = self.link.watch_desired();
        let mut alive = tokio::time::interval(ALIVE_INTERVAL);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
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
                receipt = durable(&mut self.committing) => self.committed(receipt).await,
                step = self.bodies.next() => match step {
                    Step::Place(place) => self.demand(place).await,
                    Step::Come(come) => self.body_ended(come),
                },
                _ = alive.tick() => self.look().await,
                message = inbound.next() => {
                    let Some(Ok(SenderMessage { body: Some(body) })) = message else { return Ended::Closed };
                    self.take(body).await
                }
            };
            if let Err(ended) = done {
                return ended;
            }
            self.commit_next();
        }
    }

    async fn take(&mut self, body: Body) -> Result<(), Ended> {
        match body {
            Body::Batch(batch) => self.batch(batch).await,
            Body::Chunk(chunk) => self.chunk(chunk).await,
            Body::BodyFailed(failed) => {
                let arriving = self.find(failed.batch)?;
                let index = failed.index as usize;
                let change = arriving.changes.get_mut(index).ok_or(Ended::Protocol("no such change"))?;
                change.withdrawn = true;
                arriving.bodies.retain(|(wanted, _)| *wanted != failed.index);
                self.bodies.withdraw(failed.batch, failed.index);
                Ok(())
            }
            Body::Noted(noted) => {
                // What is on its way to the disk was to leave the cursor where it is.
                self.settle().await?;
                self.not_noted.remove(&noted.batch);
                if self.not_noted.is_empty() {
                    self.move_cursor().await?;
                }
                Ok(())
            }
            Body::Manifest(manifest) => self.manifest(manifest).await,
            Body::Hello(_) => Err(Ended::Protocol("a second hello")),
        }
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

    async fn batch(&mut self, mut batch: Batch) -> Result<(), Ended> {
        let committing = self.committing.as_ref().map_or(0, |committing| committing.group.batches.len());
        if self.arriving.len() + committing >= WINDOW_BATCHES {
            return Err(Ended::Protocol("more batches than the window holds"));
        }
        pack::open_batch(&mut batch)?;
        let mut arriving = Arriving { number: batch.number, through: batch.through, ..Arriving::default() };
        let mut wanted = Vec::new();
        for (index, change) in (0..).zip(batch.changes) {
            let mut record = Record::from_bytes(&change.record)?;
            let mut refused = None;
            if change.body_follows {
                if let Some(body) = self.body(&arriving, &mut record)? {
                    arriving.bodies.push((index, body.hash()));
                    wanted.push(Wanted { batch: batch.number, index, body });
                }
            } else if !is_sound_inline(&record) {
                refused = Some(MISMATCH.to_owned());
            }
            let change = Change { sequence: change.sequence, record };
            arriving.changes.push(Arrived { change, refused, withdrawn: false });
        }
        arriving.leases = wanted.iter().map(|wanted| wanted.body.lease()).collect();
        lease::renew(&self.mover.catalogue, &arriving.leases).await?;
        self.arriving.push_back(arriving);
        self.bodies.want(wanted);
        Ok(())
    }

    async fn demand(&mut self, place: Place) -> Result<(), Ended> {
        for demand in self.bodies.demand(place) {
            self.say(Answer::Demand(demand)).await?;
        }
        Ok(())
    }

    /// What time alone brings.
    async fn look(&mut self) -> Result<(), Ended> {
        let leases = self.arriving.iter().flat_map(|arriving| &arriving.leases);
        lease::renew(&self.mover.catalogue, leases).await?;
        self.tell_alive().await
    }

    /// While bodies wait for their place, the sender hears of us.
    async fn tell_alive(&mut self) -> Result<(), Ended> {
        match self.bodies.waiting() {
            Some(batch) => self.say(Answer::Demand(Demand { batch, bodies: Vec::new() })).await,
            None => Ok(()),
        }
    }

    /// Where the body of a record comes from: none when it is here already, under the same key.
    fn body(&self, batch: &Arriving, record: &mut Record) -> Result<Option<IncomingBody>, Ended> {
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
        let is_awaited = self.arriving.iter().chain([batch]).any(|arriving| arriving.awaits(&hash));
        let remembered = (!is_awaited).then_some(PartialKey::Flow(self.content, hash));
        Ok(Some(IncomingBody::begin(&self.mover, object, remembered)?))
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<(), Ended> {
        let given = self.bodies.give(chunk).await;
        given.map_err(|_| Ended::Protocol("a chunk that was not demanded"))
    }

    fn body_ended(&mut self, come: Result<Come, JoinError>) -> Result<(), Ended> {
        let Come { batch, index, outcome } = come.map_err(|_| switchback_store::Error::Poisoned)?;
        let (segments, reason) = match outcome? {
            Outcome::Durable(segments) => (segments, None),
            Outcome::Damaged => (Vec::new(), Some(MISMATCH.to_owned())),
            Outcome::Withdrawn => return Ok(()),
        };
        let arriving = self.find(batch)?;
        arriving.bodies.retain(|(ended, _)| *ended != index);
        let arrived = &mut arriving.changes[index as usize];
        arrived.refused = reason;
        if let Some(object) = arrived.change.record.as_object_mut() {
            object.body = StoreBody::Segments(segments);
        }
        Ok(())
    }

    /// Begins to make durable what is whole, one commit at a time.
    fn commit_next(&mut self) {
        if self.committing.is_some() {
            return;
        }
        let Some((group, changes)) = Group::gather(&mut self.arriving) else { return };
        let may_move = self.not_noted.is_empty() && group.through > 0;
        let through = may_move.then_some(group.through);
        let (mover, link) = (Arc::clone(&self.mover), Arc::clone(&self.link));
        let (content, sender) = (self.content, self.sender.clone());
        let names_blobs = changes
            .iter()
            .any(|change| change.record.as_object().is_some_and(|object| !object.body.segments().is_empty()));
        let done = async move {
            // What was written beside the folder is not there once it is back.
            if names_blobs {
                mover.presence.check()?;
            }
            apply(&mover, &link, content, &sender, changes, through).await
        };
        self.committing = Some(Committing { group, done: AbortOnDropHandle::new(tokio::spawn(done)) });
    }

    /// Waits for the commit that is on its way.
    async fn settle(&mut self) -> Result<(), Ended> {
        if self.committing.is_none() {
            return Ok(());
        }
        let receipt = durable(&mut self.committing).await;
        self.committed(receipt).await
    }

    async fn committed(&mut self, receipt: switchback_store::Result<Receipt>) -> Result<(), Ended> {
        let Some(Committing { mut group, .. }) = self.committing.take() else { return Ok(()) };
        let receipt = receipt?;
        let mut results = receipt.results.into_iter();
        let (mut objects, mut bytes) = (0, 0);
        for batch in &mut group.batches {
            let (some, size) = batch.settle(&mut results);
            (objects, bytes) = (objects + some, bytes + size);
            self.through = self.through.max(batch.through);
            if !batch.refused.is_empty() {
                self.not_noted.insert(batch.number);
            }
        }
        // Only now that a record names the blobs are they no longer remembered as partial.
        for hash in group.hashes {
            let key = PartialKey::Flow(self.content, hash);
            self.mover.memory.remove_partial(key).await.map_err(incoming::Error::from)?;
        }
        self.flow.state().received.add(Instant::now(), objects, bytes);
        self.mover.bells.ring(self.content);
        self.link.ring();
        for batch in group.batches {
            let (cursor, refused) = (receipt.cursor, batch.refused);
            self.say(Answer::Ack(Ack { batch: batch.number, cursor, refused })).await?;
        }
        Ok(())
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

/// What came of the commit that is on its way; for ever when there is none.
async fn durable(committing: &mut Option<Committing>) -> switchback_store::Result<Receipt> {
    match committing {
        Some(committing) => (&mut committing.done).await.unwrap_or(Err(switchback_store::Error::Poisoned)),
        None => std::future::pending().await,
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

#[cfg(test)]
mod tests;
