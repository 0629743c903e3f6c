//! The sending end of one content's stream.
//!
//! What leaves, in this order: answers that the receiver waits for, small bodies that it demanded (large
//! ones leave by [`Lanes`], beside the stream), and then, while the window is open, the next batch:
//! retries whose time has come, what a comparison found, configuration ahead of everything, the feed. A
//! flow with nothing to do waits for the content's bell.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use switchback_model::FeedId;
use switchback_proto::replication::v1::receiver_message::Body as Answer;
use switchback_proto::replication::v1::sender_message::Body;
use switchback_proto::replication::v1::{
    Ack, Batch, BodyFailed, Demand, Noted, ReceiverMessage, SenderMessage, Welcome,
};
use switchback_store::Lineage;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::compare::{Comparison, Next};
use super::feed::{Draft, Reader, by_key};
use super::gather::Gather;
use super::incoming::MISMATCH;
use super::key::KeyHash;
use super::lane::{self, Event, Lanes};
use super::limit::{BATCH_RECORDS_MAX, BODIES_AHEAD, DIFFERENCE_TIME, REPAIR_INTERVAL, STALL_TIME};
use super::outgoing::OutgoingBody;
use super::pack::{Packer, Packing};
use super::rate::Turn;
use super::sender::{Ended, is_differing, is_ready, refused, words};
use super::window::Window;
use crate::convert::{digest_from_wire, parting_from_wire};
use crate::link::{Acknowledged, Flow, Link};
use crate::mover::{Mover, now_unix_ms};
use crate::retry::Failure;
use tokio::time::Instant;

/// Retries, stalls and the wish to send at all are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The peer's acknowledgement is noted in the store, which frees tombstones, at most this often.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// One stream, welcomed by the receiver.
pub(crate) struct Session<'a> {
    mover: &'a Arc<Mover>,
    link: &'a Arc<Link>,
    flow: &'a Arc<Flow>,
    outbound: mpsc::Sender<SenderMessage>,
    feed: FeedId,
    peer_feed: FeedId,
    window: Window,
    /// Held by the link's schedule, and by who goes first.
    turn: Turn,
    /// For each batch on its way, its share of what the link may have on its way.
    turns: VecDeque<Option<OwnedSemaphorePermit>>,
    reader: Reader,
    comparison: Option<Comparison>,
    /// Answers that the receiver waits for.
    answers: VecDeque<Body>,
    bodies: VecDeque<OutgoingBody>,
    lanes: Lanes,
    packing: Arc<Packing>,
    /// For batches.
    packer: Packer,
    /// The content may hold something that was not read yet.
    may_have_more: bool,
    gather: Gather,
    /// The receiver's cursor as it was last noted in the store.
    noted: (u64, Instant),
    cursor: u64,
    last_answer: Instant,
    last_sent: Instant,
    repaired: Option<Instant>,
    /// This session is a repair.
    compare: bool,
    /// How far the notes of conflicts are that the receiver was not given before.
    notes: Option<NotesGiven>,
}

/// See [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotesGiven {
    /// The comparison goes on.
    Sending,
    /// They are all there when this batch is.
    With(u64),
}

impl<'a> Session<'a> {
    /// The stream as the receiver welcomed it.
    pub(crate) fn new(
        mover: &'a Arc<Mover>,
        link: &'a Arc<Link>,
        flow: &'a Arc<Flow>,
        outbound: mpsc::Sender<SenderMessage>,
        welcome: &Welcome,
        feed: FeedId,
        (compare, repaired): (bool, Option<Instant>),
    ) -> Self {
        let peer_feed = FeedId(welcome.feed_id);
        let packing = Packing::new(link, &flow.gain, welcome);
        Self {
            mover,
            link,
            flow,
            outbound,
            feed,
            peer_feed,
            window: Window::of(welcome.batches_max),
            turn: Turn::new(Arc::clone(link)),
            turns: VecDeque::new(),
            reader: Reader::new(flow.content.id, peer_feed, welcome.cursor),
            comparison: None,
            answers: VecDeque::new(),
            bodies: VecDeque::new(),
            lanes: Lanes::new(mover, link, flow, welcome),
            packer: packing.batches(),
            packing,
            may_have_more: true,
            gather: Gather::default(),
            noted: (welcome.cursor, Instant::now()),
            cursor: welcome.cursor,
            last_answer: Instant::now(),
            last_sent: Instant::now(),
            repaired,
            compare,
            notes: None,
        }
    }

    /// Notes where the receiver stands, and compares where it does not know.
    pub(crate) async fn begin(&mut self, welcome: &Welcome) -> Result<(), Ended> {
        let content = self.flow.content.id;
        let through = self.acknowledgeable();
        self.mover.catalogue.acknowledge(content, self.peer_feed, through).await.map_err(words)?;
        let theirs: Vec<_> = welcome.ranges.iter().filter_map(digest_from_wire).collect();
        let ours = self.mover.catalogue.digest(content).map_err(words)?;
        let pending =
            self.mover.catalogue.pending(content, Some(self.peer_feed), welcome.cursor).map_err(words)?;
        // Where most of what is here came from this very peer, its feed is the shorter list.
        let is_worthwhile = self.compare || pending.objects > ours.total.records / 4;
        let status = self.mover.catalogue.content(content).map_err(words)?;
        let notes = (status.notes_given != self.peer_feed).then_some(self.link.id);
        if theirs.len() == 256 && is_worthwhile {
            let parting = welcome.parting.map(parting_from_wire);
            let peer = || self.link.desired().sender(self.peer_feed, Lineage::default(), parting);
            let retires = status.went_back.then(peer);
            let is_first = welcome.cursor == 0;
            self.comparison = Some(Comparison::new(&ours, &theirs, is_first, retires, notes));
        } else {
            self.comparison = notes.map(Comparison::of_notes);
        }
        self.notes = notes.map(|_| NotesGiven::Sending);
        let mut state = self.flow.state();
        state.acknowledged = self.applied_there(welcome.cursor);
        state.sending_trouble.clear();
        state.landed_bytes = state.sent.bytes;
        drop(state);
        self.mover.bells.ring_status();
        Ok(())
    }

    /// Sends until the stream ends, sending is not wished any more, or a repair is due.
    pub(crate) async fn run(
        &mut self,
        inbound: &mut tonic::Streaming<ReceiverMessage>,
        explain: &impl Fn(&tonic::Status) -> String,
    ) -> Result<(), Ended> {
        let mut bell = self.mover.bells.listen(self.flow.content.id);
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            let outbound = self.outbound.clone();
            let as_of = self.has_work().then(|| self.flow.state().horizon.as_of());
            self.turn.wants(as_of);
            let is_awaited = !self.answers.is_empty();
            let held = self.held_until();
            tokio::select! {
                biased;
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        self.last_answer = Instant::now();
                        self.take(message.body).await?;
                    }
                    Ok(None) => return Err("the other system's mover ended the stream".into()),
                    Err(status) => return Err(explain(&status)),
                },
                event = self.lanes.event() => self.hear(event).await?,
                _ = look.tick() => if !self.look().await? { return Ok(()) },
                permit = self.turn.take(&outbound, is_awaited), if self.has_work() => {
                    let permit = permit.map_err(|_| "the stream was closed".to_owned())?;
                    let message = self.next().await?.map(|body| SenderMessage { body: Some(body) });
                    self.turn.sent(message.as_ref().map_or(0, Message::encoded_len));
                    if let Some(message) = message {
                        self.last_sent = Instant::now();
                        permit.send(message);
                    }
                }
                () = tokio::time::sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => {}
                // Each write rings it: who knows that there is something does not listen.
                _ = bell.changed(), if !self.may_have_more => self.may_have_more = true,
            }
        }
    }

    fn applied_there(&self, through: u64) -> Acknowledged {
        Acknowledged { feed: self.feed, by: self.peer_feed, through }
    }

    /// There is something to send now.
    fn has_work(&self) -> bool {
        let is_due = || self.is_behind() && self.held_until().is_none();
        !self.answers.is_empty() || !self.bodies.is_empty() || (self.is_open() && is_due())
    }

    /// The store may hold something to send. A comparison holds back the feed, so while it waits for the
    /// peer there is nothing else to do either.
    fn is_behind(&self) -> bool {
        match &self.comparison {
            Some(comparison) => comparison.has_work(),
            None => self.may_have_more,
        }
    }

    /// Until when the store is not read: it is the turn of its clients, or writes are gathered where more of
    /// them may come.
    fn held_until(&self) -> Option<Instant> {
        if !self.is_behind() {
            return None;
        }
        let now = Instant::now();
        let gathers =
            self.comparison.is_none() && self.link.known_epoch().holder() == self.link.desired().side;
        self.gather.holds(now).filter(|_| gathers).max(self.mover.share.rests(now))
    }

    /// Another batch may leave. Where the link has enough on its way, one of each content still may.
    fn is_open(&self) -> bool {
        self.window.is_open() && (self.window.is_empty() || self.link.batches.available_permits() > 0)
    }

    /// What time alone brings. False: sending is not wished any more, or a repair is due.
    async fn look(&mut self) -> Result<bool, Ended> {
        if !is_ready(self.link, self.flow) {
            return Ok(false);
        }
        let waits_for_answer = !self.window.is_empty() && self.bodies.is_empty() && !self.lanes.are_busy();
        // A body that took long, or was held by the schedule, left no time for an answer before its end.
        let last_sent = self.lanes.last_sent().map_or(self.last_sent, |sent| sent.max(self.last_sent));
        if waits_for_answer && self.last_answer.max(last_sent).elapsed() > STALL_TIME {
            self.link.drop_bulk();
            return Err("the other system does not acknowledge; trying again on a new connection".into());
        }
        let through = self.acknowledgeable();
        if self.noted.0 < through && self.noted.1.elapsed() > NOTE_INTERVAL {
            let content = self.flow.content.id;
            self.mover.catalogue.acknowledge(content, self.peer_feed, through).await.map_err(words)?;
            self.noted = (through, Instant::now());
        }
        let now = now_unix_ms();
        self.may_have_more |= self.flow.state().retries.next_unix_ms().is_some_and(|next| next <= now);
        let idle = self.window.is_empty() && self.comparison.is_none();
        let may_repair = self.repaired.is_none_or(|at| at.elapsed() > REPAIR_INTERVAL);
        Ok(!(idle && may_repair && is_differing(self.flow, DIFFERENCE_TIME)))
    }

    /// How far tombstones may go.
    fn acknowledgeable(&self) -> u64 {
        self.flow.state().retries.releasable(self.cursor)
    }

    async fn take(&mut self, answer: Option<Answer>) -> Result<(), Ended> {
        match answer {
            Some(Answer::Ack(ack)) => self.acknowledged(ack).await,
            Some(Answer::Demand(demand)) => self.demanded(&demand),
            Some(Answer::Missing(missing)) => {
                let comparison = self.comparison.as_mut().ok_or("an answer to no manifest came")?;
                comparison.answer(missing);
                Ok(())
            }
            Some(Answer::Refusal(refusal)) => Err(refused(self.mover, self.link, self.flow, &refusal).await),
            Some(Answer::Welcome(_)) | None => Ok(()),
        }
    }

    fn demanded(&mut self, demand: &Demand) -> Result<(), Ended> {
        for wanted in &demand.bodies {
            let change = self.window.change(demand.batch, wanted.index).map_err(words)?;
            let body = OutgoingBody::new(demand.batch, wanted.index, change, wanted.offset, &self.packing);
            self.bodies.extend(self.lanes.take(body, &self.turn));
        }
        Ok(())
    }

    async fn hear(&mut self, event: Event) -> Result<(), Ended> {
        match event {
            Event::Unreadable(batch, index, reason) => {
                let failed = self.body_failed(batch, index, &reason).await?;
                self.answers.push_back(failed);
                Ok(())
            }
            Event::Broken(reason) => {
                self.link.drop_bulk();
                Err(reason)
            }
        }
    }

    async fn acknowledged(&mut self, ack: Ack) -> Result<(), Ended> {
        let flying = self.window.land(ack.batch).map_err(words)?;
        self.turns.pop_front();
        let mut failures = Vec::new();
        for refused in &ack.refused {
            let change =
                flying.changes.get(refused.index as usize).ok_or("a change that was not sent was refused")?;
            // They may have been damaged here.
            if refused.reason == MISMATCH {
                self.mover.scrub.suspect(self.flow.content.id, change.key.clone());
            }
            failures.push(Failure {
                key: change.key.clone(),
                version: change.version,
                reason: refused.reason.clone(),
            });
        }
        self.fail(&failures).await?;
        if !failures.is_empty() {
            self.answers.push_back(Body::Noted(Noted { batch: ack.batch }));
        }
        let is_refused = |index: usize| ack.refused.iter().any(|refused| refused.index as usize == index);
        let (mut objects, mut bytes) = (0, 0);
        let mut settled = Vec::new();
        for (index, change) in flying.changes.iter().enumerate() {
            if !change.failed && !is_refused(index) {
                objects += 1;
                bytes += if change.segments.is_empty() { change.size } else { 0 };
                settled.push(&change.key);
            }
        }
        self.cursor = self.cursor.max(ack.cursor);
        let forget = {
            let mut state = self.flow.state();
            state.acknowledged = self.applied_there(self.cursor);
            state.sent.add(Instant::now(), objects, bytes);
            let landed = state.landed_bytes.saturating_add(flying.body_bytes() + bytes);
            state.landed_bytes = if self.window.is_empty() { state.sent.bytes } else { landed };
            if state.retries.counts().0 == 0 {
                let cursor = self.cursor;
                state.horizon.acknowledged(cursor);
            }
            state.retries.settle(settled)
        };
        self.forget_retries(&forget).await?;
        // Acknowledgements come in order, and what was refused is on the list.
        if self.notes == Some(NotesGiven::With(ack.batch)) {
            let content = self.flow.content.id;
            self.mover.catalogue.notes_given(content, self.peer_feed).await.map_err(words)?;
            self.notes = None;
        }
        if self.window.is_empty() {
            self.link.ring();
        }
        self.mover.bells.ring_status();
        Ok(())
    }

    /// Puts failures on the retry list, durably.
    async fn fail(&mut self, failures: &[Failure]) -> Result<(), Ended> {
        if failures.is_empty() {
            return Ok(());
        }
        let Some(noted) = self.flow.state().retries.fail(now_unix_ms(), failures) else {
            return Err(
                "too many objects fail: see `switchback link show`, and mend what refuses them".into()
            );
        };
        let (link, content) = (self.link.id, self.flow.content.id);
        self.mover.memory.put_retries(link, content, &noted).await.map_err(words)
    }

    async fn forget_retries(&mut self, retries: &[KeyHash]) -> Result<(), Ended> {
        let (link, content) = (self.link.id, self.flow.content.id);
        self.mover.memory.remove_retries(link, content, retries).await.map_err(words)
    }

    /// The next message, if there is one.
    async fn next(&mut self) -> Result<Option<Body>, Ended> {
        if let Some(answer) = self.answers.pop_front() {
            return Ok(Some(answer));
        }
        // The disk is ahead of the line, from one body to the next, too.
        for body in self.bodies.iter_mut().take(BODIES_AHEAD) {
            body.read_ahead(&self.mover.blobs);
        }
        if let Some(body) = self.bodies.front_mut() {
            match body.next(&self.mover.blobs).await {
                Ok(Some(chunk)) => {
                    lane::leaves(self.flow, &chunk);
                    return Ok(Some(Body::Chunk(chunk)));
                }
                Ok(None) => {
                    self.bodies.pop_front();
                    return Ok(None);
                }
                Err(error) => {
                    let (batch, index) = (body.batch, body.index);
                    self.bodies.pop_front();
                    return self.body_failed(batch, index, &words(error)).await.map(Some);
                }
            }
        }
        if !self.is_open() {
            return Ok(None);
        }
        match self.next_batch().await? {
            Some(Body::Batch(batch)) => Ok(Some(Body::Batch(self.packer.batch(batch).await))),
            other => Ok(other),
        }
    }

    /// A body of ours cannot be read: the change goes to the retry list, the rest goes on.
    async fn body_failed(&mut self, batch: u64, index: u32, reason: &str) -> Result<Body, Ended> {
        // A folder that is gone says nothing of this body, or of the ones after it.
        self.mover.presence.check().map_err(words)?;
        let change = self.window.change(batch, index).map_err(words)?;
        change.failed = true;
        self.mover.scrub.suspect(self.flow.content.id, change.key.clone());
        let failure = Failure {
            key: change.key.clone(),
            version: change.version,
            reason: format!("cannot be read here: {reason}"),
        };
        self.fail(&[failure]).await?;
        Ok(Body::BodyFailed(BodyFailed { batch, index }))
    }

    async fn next_batch(&mut self) -> Result<Option<Body>, Ended> {
        if let Some(draft) = self.due_retries().await? {
            return Ok(Some(self.launch(draft)));
        }
        if let Some(comparison) = &mut self.comparison {
            let since = Instant::now();
            let next = comparison.next(&self.mover.catalogue, self.flow.content.id).await.map_err(words)?;
            self.mover.share.took(since.elapsed(), self.link.purpose());
            match next {
                Next::Manifest(manifest) => {
                    self.flow.state().compared += manifest.entries.len() as u64;
                    return Ok(Some(Body::Manifest(manifest)));
                }
                Next::Batch(draft) => return Ok(Some(self.launch(draft))),
                Next::Wait => return Ok(None),
                Next::Done(through) => {
                    self.comparison = None;
                    self.reader.skip_to(through);
                    self.may_have_more = true;
                    let last = self.launch(Draft::progress(through));
                    if let (Some(notes), Body::Batch(batch)) = (&mut self.notes, &last) {
                        *notes = NotesGiven::With(batch.number);
                    }
                    return Ok(Some(last));
                }
            }
        }
        let read = self.reader.next(&self.mover.catalogue).await.map_err(words)?;
        self.mover.share.took(self.reader.take_time(), self.link.purpose());
        match read {
            Some(draft) => {
                let mut state = self.flow.state();
                let (at_unix_ms, head) = self.reader.seen();
                state.horizon.sample(at_unix_ms, head);
                drop(state);
                self.reader.read_ahead(&self.mover.catalogue);
                self.may_have_more = self.reader.has_more();
                if !self.may_have_more {
                    self.gather.found(Instant::now());
                }
                Ok(Some(self.launch(draft)))
            }
            None => {
                self.may_have_more = false;
                Ok(None)
            }
        }
    }

    async fn due_retries(&mut self) -> Result<Option<Draft>, Ended> {
        let due = self.flow.state().retries.due(now_unix_ms(), BATCH_RECORDS_MAX);
        let due: Vec<_> = due.into_iter().filter(|key| !self.window.carries(key)).collect();
        if due.is_empty() {
            return Ok(None);
        }
        let draft =
            by_key(&self.mover.catalogue, self.flow.content.id, due, |_| true).await.map_err(words)?;
        // What is gone without a tombstone is not wanted on the other side any more.
        let forget = self.flow.state().retries.settle(&draft.absent);
        self.forget_retries(&forget).await?;
        Ok((!draft.is_empty()).then_some(draft))
    }

    fn launch(&mut self, draft: Draft) -> Body {
        let (changes, flown, through) = draft.into_parts();
        let number = self.window.launch(flown);
        self.turns.push_back(Arc::clone(&self.link.batches).try_acquire_owned().ok());
        Body::Batch(Batch { number, changes, through, ..Batch::default() })
    }
}
