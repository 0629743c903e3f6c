//! Bodies on their way in: written to blobs of our own as they come, resumed after a cut, and
//! compared with the content hash before anything names them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use switchback_proto::mover::record::v1::{Partial, PartialBlob};
use switchback_proto::replication::v1::{Chunk, Demand, ReceiverMessage, receiver_message};
use switchback_store::{BlobId, BlobWriter, ContentHasher, Object, Segment};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::body::plan_pieces;
use super::lease::{self, Lease};
use super::limit::PIECES_ENDING_MAX;
use super::pack;
use crate::memory::PartialKey;
use crate::mover::Mover;

/// A partial body is not resumed when its lease ends sooner than this: it could end before it is renewed.
const RESUME_LEFT_MIN_MS: i64 = 60 * 1000;

/// Why a body did not become whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store failed; the stream ends, and what is durable is resumed.
    #[error(transparent)]
    Store(#[from] switchback_store::Error),
    /// What is remembered could not be made durable.
    #[error(transparent)]
    Memory(#[from] switchback_kit::durable::Error),
    /// The sender does not keep to the protocol.
    #[error("a chunk came out of order")]
    OutOfOrder,
    /// The same.
    #[error(transparent)]
    Malformed(#[from] pack::Malformed),
}

/// Why a body is refused whose bytes are not what its record says.
pub(crate) const MISMATCH: &str = "the bytes do not match the content hash";

/// Tells the sender that we live: an empty demand asks for nothing.
pub(crate) struct Alive {
    pub(crate) answers: mpsc::Sender<ReceiverMessage>,
    pub(crate) batch: u64,
}

impl Alive {
    async fn tell(&self) {
        let demand = Demand { batch: self.batch, bodies: Vec::new() };
        let message = ReceiverMessage { body: Some(receiver_message::Body::Demand(demand)) };
        // A stream that is closed is noticed by who reads it.
        let _ = self.answers.send(message).await;
    }
}

/// What became of a body.
pub(crate) enum Outcome {
    /// It is durable, in these blobs.
    Durable(Vec<Segment>),
    /// Its bytes are not those of its hash; what was written is given up.
    Damaged,
    /// No more of it comes. What is durable stays, to be resumed.
    Withdrawn,
}

/// One body of a batch.
pub(crate) struct IncomingBody {
    hash: [u8; 32],
    size: u64,
    /// As in the object.
    part_sizes: Vec<u64>,
    offset: u64,
    written: Vec<Segment>,
    /// Pieces that came after those written and are being made durable.
    ending: VecDeque<Ending>,
    /// A note of what is written that is being made durable; one at a time, and the last ones may be
    /// left out: what is not noted is sent again.
    noting: Option<JoinHandle<Result<(), switchback_kit::durable::Error>>>,
    left: VecDeque<(BlobId, u64)>,
    writer: Option<BlobWriter>,
    /// Of its blobs; whoever waits for the body renews it.
    lease: Arc<Lease>,
    /// None when another body of the same bytes is already remembered as partial.
    remembered: Option<PartialKey>,
}

/// One piece that is being made durable.
struct Ending {
    blob: BlobId,
    size: u64,
    done: JoinHandle<switchback_store::Result<Segment>>,
}

/// The oldest piece, when it is durable; for ever when there is none. It stays when this is dropped.
async fn durable(ending: &mut VecDeque<Ending>) -> Result<Segment, Error> {
    let Some(oldest) = ending.front_mut() else { return std::future::pending().await };
    let done = (&mut oldest.done).await;
    ending.pop_front();
    Ok(done.map_err(|_| switchback_store::Error::Poisoned)??)
}

impl IncomingBody {
    /// Goes on with what is here of this body, or begins anew. Its lease is to be renewed before anything comes.
    pub(crate) fn begin(
        mover: &Mover,
        object: &Object,
        remembered: Option<PartialKey>,
    ) -> Result<Self, Error> {
        let partial = match remembered {
            Some(key) => mover.memory.partial(key)?,
            None => None,
        };
        let resumable = partial.filter(|partial| {
            lease::left_ms(partial.leased_unix_ms, &mover.catalogue) > RESUME_LEFT_MIN_MS
                && partial.blobs.iter().map(|blob| blob.size).sum::<u64>() == object.size
        });
        Ok(match resumable {
            Some(partial) => Self::resume(object, &partial, remembered),
            None => Self::fresh(object, remembered),
        })
    }

    fn fresh(object: &Object, remembered: Option<PartialKey>) -> Self {
        let left: VecDeque<_> =
            plan_pieces(object.size).into_iter().map(|size| (BlobId::random(), size)).collect();
        Self {
            hash: object.content_hash,
            size: object.size,
            part_sizes: object.part_sizes.clone(),
            offset: 0,
            written: Vec::new(),
            ending: VecDeque::new(),
            noting: None,
            lease: Lease::new(left.iter().map(|(blob, _)| *blob).collect(), 0),
            left,
            writer: None,
            remembered,
        }
    }

    fn resume(object: &Object, partial: &Partial, remembered: Option<PartialKey>) -> Self {
        let blobs: Vec<_> = partial
            .blobs
            .iter()
            .filter_map(|blob| Some((BlobId::from_slice(&blob.blob_id)?, blob.size)))
            .collect();
        let whole = (partial.written as usize).min(blobs.len());
        let written: Vec<_> =
            blobs[..whole].iter().map(|(blob, size)| Segment { blob: *blob, size: *size }).collect();
        Self {
            hash: object.content_hash,
            size: object.size,
            part_sizes: object.part_sizes.clone(),
            offset: written.iter().map(|segment| segment.size).sum(),
            written,
            ending: VecDeque::new(),
            noting: None,
            left: blobs[whole..].iter().copied().collect(),
            writer: None,
            lease: Lease::new(blobs.iter().map(|(blob, _)| *blob).collect(), partial.leased_unix_ms),
            remembered,
        }
    }

    /// Bytes that are durable or were taken.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that are to come.
    pub(crate) fn left(&self) -> u64 {
        self.size - self.offset
    }

    /// Of its blobs.
    pub(crate) fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.lease)
    }

    /// Of all of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Takes the chunks as they come until the body is whole, and waits until it is durable. A body that
    /// was resumed is read back to be hashed, because the chunks are not all of it.
    pub(crate) async fn receive(
        mut self,
        mover: &Mover,
        mut chunks: mpsc::Receiver<Chunk>,
        alive: &Alive,
    ) -> Result<Outcome, Error> {
        let mut hasher = Box::new(ContentHasher::of_parts(&self.part_sizes));
        let is_fresh = self.written.is_empty();
        let mut renewed = self.lease.listen();
        renewed.mark_changed();
        while self.offset < self.size {
            tokio::select! {
                biased;
                piece = durable(&mut self.ending) => {
                    self.written.push(piece?);
                    self.note(mover).await?;
                }
                // What is remembered ends with the lease that it names.
                _ = renewed.changed() => self.note(mover).await?,
                chunk = chunks.recv() => {
                    let Some(mut chunk) = chunk else { return self.leave(mover).await };
                    let bytes = pack::open_chunk(&mut chunk)?;
                    if is_fresh {
                        hasher.update(&bytes);
                    }
                    self.write(mover, chunk.offset, bytes).await?;
                }
            }
        }
        while !self.ending.is_empty() {
            self.await_piece().await?;
        }
        // A note that came later than the record would stay.
        self.await_note().await?;
        let is_whole = is_fresh || self.read_back(mover, &mut hasher, alive).await?;
        let is_sound = hasher.finish() == self.hash;
        if !is_whole || !is_sound {
            self.give_up(mover).await?;
            return Ok(Outcome::Damaged);
        }
        Ok(Outcome::Durable(self.written))
    }

    /// Takes the next bytes; waits for the disk when it falls behind.
    async fn write(&mut self, mover: &Mover, offset: u64, mut bytes: Bytes) -> Result<(), Error> {
        if offset != self.offset || bytes.len() as u64 > self.size - self.offset {
            return Err(Error::OutOfOrder);
        }
        while !bytes.is_empty() {
            let (blob, size) = *self.left.front().ok_or(Error::OutOfOrder)?;
            let writer = self.writer.get_or_insert_with(|| mover.blobs.writer(blob));
            let room = usize::try_from(size - writer.size()).unwrap_or(usize::MAX);
            let piece = bytes.split_to(bytes.len().min(room));
            self.offset += piece.len() as u64;
            writer.write(piece).await?;
            if writer.size() == size {
                self.end_piece(mover).await?;
            }
        }
        Ok(())
    }

    /// A piece has all its bytes: it becomes durable while the next one comes.
    async fn end_piece(&mut self, mover: &Mover) -> Result<(), Error> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let Some((blob, size)) = self.left.pop_front() else { return Ok(()) };
        let flushes = Arc::clone(&mover.flushes);
        let done = tokio::spawn(async move {
            let _flush = flushes.acquire().await;
            writer.finish_unread().await
        });
        self.ending.push_back(Ending { blob, size, done });
        if self.ending.len() >= PIECES_ENDING_MAX {
            self.await_piece().await?;
            self.note(mover).await?;
        }
        Ok(())
    }

    /// Waits until the oldest piece is durable.
    async fn await_piece(&mut self) -> Result<(), Error> {
        if !self.ending.is_empty() {
            self.written.push(durable(&mut self.ending).await?);
        }
        Ok(())
    }

    /// Notes what is written, unless the note before is still being made.
    async fn note(&mut self, mover: &Mover) -> Result<(), Error> {
        let Some(key) = self.remembered else { return Ok(()) };
        // A body of one piece has nothing to resume.
        let has_parts = self.written.len() + self.ending.len() + self.left.len() > 1;
        if !has_parts {
            return Ok(());
        }
        if self.written.is_empty() || self.noting.as_ref().is_some_and(|noting| !noting.is_finished()) {
            return Ok(());
        }
        self.await_note().await?;
        let (memory, partial) = (mover.memory.clone(), self.partial());
        self.noting = Some(tokio::spawn(async move { memory.put_partial(key, &partial).await }));
        Ok(())
    }

    async fn await_note(&mut self) -> Result<(), Error> {
        if let Some(noting) = self.noting.take() {
            noting.await.map_err(|_| switchback_store::Error::Poisoned)??;
        }
        Ok(())
    }

    fn partial(&self) -> Partial {
        let written = self.written.iter().map(|segment| (segment.blob, segment.size));
        let blobs = written
            .chain(self.ending.iter().map(|piece| (piece.blob, piece.size)))
            .chain(self.left.iter().copied())
            .map(|(blob, size)| PartialBlob { blob_id: blob.as_bytes().to_vec().into(), size })
            .collect();
        let written = u32::try_from(self.written.len()).unwrap_or(u32::MAX);
        Partial { blobs, written, leased_unix_ms: self.lease.ends_unix_ms() }
    }

    /// No more comes: what came whole is durable and noted before this returns. What nobody will go on with is
    /// given up now, and not when its lease ends.
    async fn leave(mut self, mover: &Mover) -> Result<Outcome, Error> {
        while !self.ending.is_empty() {
            self.await_piece().await?;
        }
        self.await_note().await?;
        if !self.is_resumed_later() {
            self.writer = None;
            self.give_up(mover).await?;
            return Ok(Outcome::Withdrawn);
        }
        self.note(mover).await?;
        self.await_note().await?;
        Ok(Outcome::Withdrawn)
    }

    /// Somebody goes on with what is here. A repair is tried again every few seconds: if it kept the promise of its
    /// blobs without a piece to show for it, the next would be promised as many more.
    fn is_resumed_later(&self) -> bool {
        match self.remembered {
            None => false,
            Some(PartialKey::Flow(..)) => true,
            Some(PartialKey::Repair(..)) => !self.written.is_empty(),
        }
    }

    /// Hashes what is durable; meanwhile the sender hears from us now and then. False: a piece is not whole any more,
    /// so that all of it must come again.
    async fn read_back(
        &mut self,
        mover: &Mover,
        hasher: &mut ContentHasher,
        alive: &Alive,
    ) -> Result<bool, Error> {
        for segment in &self.written {
            alive.tell().await;
            match read_piece(mover, *segment, hasher).await {
                Ok(()) => {}
                Err(error) if error.is_damage() => {
                    // Of a folder that is not there nothing can be said.
                    mover.presence.check()?;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Forgets the body and lets its blobs be swept.
    async fn give_up(self, mover: &Mover) -> Result<(), Error> {
        self.lease.give_up();
        let blobs = self.written.iter().map(|segment| segment.blob);
        let blobs = blobs.chain(self.left.iter().map(|(blob, _)| *blob)).collect();
        if let Some(key) = self.remembered {
            mover.memory.remove_partial(key).await?;
        }
        mover.catalogue.discard_blobs(blobs).await?;
        Ok(())
    }
}

async fn read_piece(
    mover: &Mover,
    segment: Segment,
    hasher: &mut ContentHasher,
) -> switchback_store::Result<()> {
    let mut bytes = mover.blobs.read(segment.blob, 0..segment.size).await?;
    while let Some(piece) = bytes.next().await {
        hasher.update(&piece?);
    }
    Ok(())
}
