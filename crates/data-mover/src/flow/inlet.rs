//! Where the chunks of bodies go: each body that was demanded has a task of its own, which hashes and
//! writes while the stream is read on. Chunks come by the flow's stream or by any of its lanes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use switchback_kit::tls::Peer;
use switchback_proto::replication::v1::carry_message::Body;
use switchback_proto::replication::v1::{CarryAnswer, CarryMessage, Chunk};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::limit::{CHUNKS_WAITING, HELLO_TIME};
use super::pack;
use crate::link::Flow;
use crate::mover::Mover;

/// A chunk came of a body that was not demanded, or that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk that was not demanded")]
pub(crate) struct NotDemanded;

/// The bodies of one flow that were demanded and are not durable yet, by batch and place in it.
#[derive(Default)]
pub(crate) struct Inlets(Mutex<BTreeMap<(u64, u32), mpsc::Sender<Chunk>>>);

impl Inlets {
    /// The chunks of this body, as they will come.
    pub(crate) fn open(&self, batch: u64, index: u32) -> mpsc::Receiver<Chunk> {
        let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING);
        self.lock().insert((batch, index), chunks);
        receiver
    }

    /// No more of this body is wanted.
    pub(crate) fn close(&self, batch: u64, index: u32) {
        self.lock().remove(&(batch, index));
    }

    /// No more comes.
    pub(crate) fn close_all(&self) {
        self.lock().clear();
    }

    /// Hands on a chunk.
    async fn give(&self, chunk: Chunk) -> Result<(), NotDemanded> {
        let chunks = self.lock().get(&(chunk.batch, chunk.index)).cloned().ok_or(NotDemanded)?;
        // A task that ended has failed, and says so itself.
        let _ = chunks.send(chunk).await;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, u32), mpsc::Sender<Chunk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream that was welcomed, as its lanes find it.
pub(crate) struct Landing {
    peer: Peer,
    flow: Arc<Flow>,
    pub(crate) inlets: Inlets,
    /// The stream has ended.
    ended: CancellationToken,
}

/// The streams that were welcomed and have not ended, by the keys that their senders were given.
#[derive(Default)]
pub(crate) struct Landings {
    open: Mutex<BTreeMap<Bytes, Arc<Landing>>>,
    last: AtomicU64,
}

/// A stream can be found for as long as this lives.
pub(crate) struct Open {
    mover: Arc<Mover>,
    pub(crate) key: Bytes,
    pub(crate) landing: Arc<Landing>,
}

impl Open {
    /// A stream of `peer` is welcome.
    pub(crate) fn new(mover: &Arc<Mover>, peer: &Peer, flow: &Arc<Flow>) -> Self {
        let landing = Arc::new(Landing {
            peer: peer.clone(),
            flow: Arc::clone(flow),
            inlets: Inlets::default(),
            ended: CancellationToken::new(),
        });
        let landings = &mover.landings;
        // No secret, because the peer is looked at as well; but another one in each run.
        let number = landings.last.fetch_add(1, Ordering::Relaxed);
        let key = Bytes::from([mover.boot_id.to_be_bytes(), number.to_be_bytes()].concat());
        landings.lock().insert(key.clone(), Arc::clone(&landing));
        Self { mover: Arc::clone(mover), key, landing }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.landing.ended.cancel();
        self.mover.landings.lock().remove(&self.key);
    }
}

impl Landings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Bytes, Arc<Landing>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream of this key, if it is this peer's.
    fn find(&self, key: &Bytes, peer: &Peer) -> Option<Arc<Landing>> {
        let landing = self.lock().get(key).cloned()?;
        let is_its = |of: &Peer| (of.system_id, of.incarnation) == (peer.system_id, peer.incarnation);
        is_its(&landing.peer).then_some(landing)
    }
}

/// Takes the chunks of one lane until it or its flow's stream ends. `_answers` is kept open meanwhile.
pub(crate) async fn carry(
    mover: Arc<Mover>,
    peer: Peer,
    mut inbound: Streaming<CarryMessage>,
    _answers: mpsc::Sender<CarryAnswer>,
) {
    let hello = tokio::time::timeout(HELLO_TIME, inbound.message()).await;
    let Ok(Ok(Some(CarryMessage { body: Some(Body::Hello(hello)) }))) = hello else { return };
    let Some(landing) = mover.landings.find(&hello.lane_key, &peer) else { return };
    let carrying = async {
        while let Ok(Some(CarryMessage { body: Some(Body::Chunk(chunk)) })) = inbound.message().await {
            // What is not wanted any more may still have been on its way.
            let _ = landing.give(chunk).await;
        }
    };
    tokio::select! {
        biased;
        () = landing.ended.cancelled() => {}
        () = mover.shutdown.cancelled() => {}
        () = carrying => {}
    }
}

impl Landing {
    /// Takes a chunk, whichever way it came; waits while the disk is behind.
    ///
    /// # Errors
    /// See [`NotDemanded`].
    pub(crate) async fn give(&self, chunk: Chunk) -> Result<(), NotDemanded> {
        self.flow.state().received.add(Instant::now(), 0, pack::length(&chunk));
        self.inlets.give(chunk).await
    }
}
