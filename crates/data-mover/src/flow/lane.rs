//! Bodies on their way out beside a flow's stream. Each lane is a stream on one of the link's further
//! connections, so that more than one core enciphers, and a far line carries more than the window of one
//! connection. What is on its way does not depend on the lanes: a body goes by whichever is free.
//!
//! A lane that breaks ends the flow's stream, which begins again, and every body after its last piece
//! that is durable: one way of going on is enough.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message;
use switchback_kit::tls::{Dial, Trouble};
use switchback_proto::replication::v1::carry_message::Body;
use switchback_proto::replication::v1::replication_service_client::ReplicationServiceClient;
use switchback_proto::replication::v1::{CarryMessage, Chunk, LaneHello, Welcome};
use switchback_store::Blobs;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::limit::{LANE_BYTES_MIN, LANES_MAX, MESSAGE_BYTES_MAX, QUEUE};
use super::outgoing::OutgoingBody;
use super::pack;
use super::rate::Turn;
use super::sender::{Ended, words};
use crate::link::{Flow, Link};
use crate::mover::Mover;

/// What a flow must know of its lanes.
pub(crate) enum Event {
    /// A body cannot be read here: its batch, its change, and why.
    Unreadable(u64, u32, Ended),
    /// A lane broke.
    Broken(Ended),
}

/// The lanes of one flow. They end with it.
pub(crate) struct Lanes {
    mover: Arc<Mover>,
    link: Arc<Link>,
    flow: Arc<Flow>,
    /// What the receiver calls this flow's stream.
    key: Bytes,
    lanes_max: usize,
    queue: Arc<Queue>,
    running: JoinSet<()>,
    told: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Lanes {
    /// As many as the receiver takes; it may take none.
    pub(crate) fn new(mover: &Arc<Mover>, link: &Arc<Link>, flow: &Arc<Flow>, welcome: &Welcome) -> Self {
        // Bounded by the bodies that were demanded.
        let (told, events) = mpsc::unbounded_channel();
        Self {
            mover: Arc::clone(mover),
            link: Arc::clone(link),
            flow: Arc::clone(flow),
            key: welcome.lane_key.clone(),
            lanes_max: usize::try_from(welcome.lanes_max).unwrap_or(usize::MAX).min(LANES_MAX),
            queue: Arc::default(),
            running: JoinSet::new(),
            told,
            events,
        }
    }

    /// Takes a body to send; gives one back that goes by the flow's own stream: small ones are there
    /// before a connection would be made for them.
    ///
    /// The lanes send in the place of `turn`, by the link's schedule.
    pub(crate) fn take(&mut self, body: OutgoingBody, turn: &Turn) -> Option<OutgoingBody> {
        if self.lanes_max == 0 || body.left() < LANE_BYTES_MIN {
            return Some(body);
        }
        let bodies = self.queue.push(body);
        if bodies > self.running.len() && self.running.len() < self.lanes_max {
            // Contents with one large body each do not all take the same connection.
            let place = usize::from(self.flow.content.id.0[0]) + self.running.len();
            // The connection's own tasks are spawned where it is first asked for.
            let background = self.mover.background.clone();
            let _there = background.enter();
            let lane = Lane {
                blobs: self.mover.blobs.clone(),
                flow: Arc::clone(&self.flow),
                dial: self.link.lane(&self.mover.identity, place),
                key: self.key.clone(),
                queue: Arc::clone(&self.queue),
                told: self.told.clone(),
            };
            self.running.spawn(lane.run(turn.beside()));
        }
        None
    }

    /// Bodies are on their way.
    pub(crate) fn are_busy(&self) -> bool {
        self.queue.bodies.load(Ordering::Relaxed) > 0
    }

    /// When a body was last sent to its end.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.queue.state().last_sent
    }

    /// What happens next; for ever when nothing does.
    pub(crate) async fn event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

/// Bodies that wait for a lane.
struct Queue {
    state: Mutex<QueueState>,
    /// One permit for each that waits.
    count: Semaphore,
    /// Those that wait and those that a lane has.
    bodies: AtomicUsize,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<OutgoingBody>,
    last_sent: Option<Instant>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { state: Mutex::default(), count: Semaphore::new(0), bodies: AtomicUsize::new(0) }
    }
}

impl Queue {
    /// Answers how many there are now.
    fn push(&self, body: OutgoingBody) -> usize {
        self.state().waiting.push_back(body);
        self.count.add_permits(1);
        self.bodies.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The next body; the one behind it is read meanwhile.
    async fn pop(&self, blobs: &Blobs) -> Option<OutgoingBody> {
        self.count.acquire().await.ok()?.forget();
        let mut state = self.state();
        let body = state.waiting.pop_front();
        if let Some(next) = state.waiting.front_mut() {
            next.read_ahead(blobs);
        }
        body
    }

    /// A body was sent, or cannot be.
    fn done(&self) {
        self.state().last_sent = Some(Instant::now());
        self.bodies.fetch_sub(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lane {
    blobs: Blobs,
    flow: Arc<Flow>,
    dial: Dial,
    key: Bytes,
    queue: Arc<Queue>,
    told: mpsc::UnboundedSender<Event>,
}

impl Lane {
    async fn run(self, mut turn: Turn) {
        let ended = match self.carry(&mut turn).await {
            Ok(()) => "the other system's mover ended a lane".to_owned(),
            Err(status) => {
                let trouble = Trouble::of(&status).or_else(|| self.dial.trouble());
                trouble.map_or_else(|| status.message().to_owned(), |trouble| trouble.to_string())
            }
        };
        // A flow that has ended does not ask.
        let _ = self.told.send(Event::Broken(ended));
    }

    async fn carry(&self, turn: &mut Turn) -> Result<(), tonic::Status> {
        let mut client =
            ReplicationServiceClient::new(self.dial.channel()).max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (outbound, stream) = mpsc::channel(QUEUE);
        let hello = Body::Hello(LaneHello { lane_key: self.key.clone() });
        if outbound.send(CarryMessage { body: Some(hello) }).await.is_err() {
            return Ok(());
        }
        let mut inbound = client.carry(ReceiverStream::new(stream)).await?.into_inner();
        let sending = async {
            while let Some(body) = self.queue.pop(&self.blobs).await {
                let sent = self.send(body, &outbound, turn).await;
                turn.wants(None);
                self.queue.done();
                if sent.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            // The receiver says nothing on a lane: this is its end.
            answer = inbound.message() => answer.map(drop),
            () = sending => Ok(()),
        }
    }

    async fn send(
        &self,
        mut body: OutgoingBody,
        outbound: &mpsc::Sender<CarryMessage>,
        turn: &mut Turn,
    ) -> Result<(), mpsc::error::SendError<()>> {
        loop {
            let as_of = self.flow.state().horizon.as_of();
            turn.wants(Some(as_of));
            let permit = turn.take(outbound, false).await?;
            let next = body.next(&self.blobs).await;
            let length = next.as_ref().ok().and_then(Option::as_ref).map_or(0, Message::encoded_len);
            turn.sent(length);
            match next {
                Ok(Some(chunk)) => {
                    leaves(&self.flow, &chunk);
                    permit.send(CarryMessage { body: Some(Body::Chunk(chunk)) });
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    let event = Event::Unreadable(body.batch, body.index, words(error));
                    return self.told.send(event).map_err(|_| mpsc::error::SendError(()));
                }
            }
        }
    }
}

/// A chunk leaves, by a lane or by the flow's own stream: all of them pass here.
pub(crate) fn leaves(flow: &Flow, chunk: &Chunk) {
    flow.state().sent.add(Instant::now(), 0, pack::length(chunk));
}
