//! The digests of a body, computed beside its coming.
//!
//! MD5, of which the ETag is made, is the slowest part of a large PUT, and a core does nothing else
//! meanwhile. So it has a thread of its own, and the others together have another one, each for as long as bytes
//! wait: a thread that is woken for every few bytes stands still for a third of the time, and one that is kept for a
//! client that pauses is missing elsewhere. A body that is no more than one batch is hashed where it is: going to
//! another thread would cost more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use s3s::crypto::Md5;
use s3s::{S3Result, s3_error};
use switchback_kit::world::aside;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle};

use super::checksum::{Digests, Hasher, Others};

/// Bytes that are worth a thread.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of a body that may wait to be hashed: MD5 takes longer for them than a busy machine needs to go on with
/// whoever brings the next ones.
const WAITING_BYTES: usize = 4 << 20;

/// What a piece counts for at least: a client may send a byte in each, and each keeps the buffer that it came in.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// The hashes of one body, and what they have not seen yet.
pub(super) struct Hashing {
    md5: Strand<Md5>,
    others: Strand<Others>,
}

impl Hashing {
    pub(super) fn new(Hasher { md5, others }: Hasher) -> Self {
        Self { md5: Strand::new(md5), others: Strand::new(others) }
    }

    /// Takes bytes; waits while those before are hashed more slowly than they come.
    pub(super) async fn update(&mut self, bytes: Bytes) -> S3Result<()> {
        self.md5.push(bytes.clone()).await?;
        self.others.push(bytes).await
    }

    /// The digests of all that was taken.
    pub(super) async fn finish(self) -> S3Result<Digests> {
        let (md5, others) = tokio::try_join!(self.md5.finish(), self.others.finish())?;
        Ok(Hasher { md5, others }.finish())
    }
}

/// What is hashed on one thread.
trait Hash: Send + 'static {
    fn update(&mut self, bytes: &[u8]);
}

impl Hash for Md5 {
    fn update(&mut self, bytes: &[u8]) {
        s3s::crypto::Checksum::update(self, bytes);
    }
}

impl Hash for Others {
    fn update(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// A hash, and the bytes that wait for it.
struct Strand<H> {
    line: Arc<Line<H>>,
    /// The last thread that took it.
    work: Option<JoinHandle<Result<(), JoinError>>>,
}

/// What a strand has in common with its thread.
struct Line<H> {
    state: Mutex<State<H>>,
    /// For what may wait. It is closed when the hash is lost: the process ends, or its thread panicked.
    room: Semaphore,
}

struct State<H> {
    /// `None` while a thread has it.
    hash: Option<H>,
    waiting: VecDeque<Bytes>,
}

/// What a piece counts for.
fn weight(piece: &Bytes) -> usize {
    piece.len().clamp(PIECE_BYTES_MIN, WAITING_BYTES)
}

impl<H: Hash> Strand<H> {
    fn new(hash: H) -> Self {
        let state = State { hash: Some(hash), waiting: VecDeque::new() };
        let line = Line { state: Mutex::new(state), room: Semaphore::new(WAITING_BYTES) };
        Self { line: Arc::new(line), work: None }
    }

    async fn push(&mut self, piece: Bytes) -> S3Result<()> {
        let weight = weight(&piece);
        let line = Arc::clone(&self.line);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = match line.room.try_acquire_many(permits) {
            Ok(room) => room,
            Err(_) => {
                self.begin();
                line.room.acquire_many(permits).await.map_err(|_| lost())?
            }
        };
        // The thread gives it back.
        room.forget();
        line.lock().waiting.push_back(piece);
        // Where no thread has the hash, what waits is what has taken room.
        if WAITING_BYTES - line.room.available_permits() >= BATCH_BYTES {
            self.begin();
        }
        Ok(())
    }

    /// Hashes what waits on another thread, unless one does.
    fn begin(&mut self) {
        let Some(hash) = self.line.lock().hash.take() else { return };
        let taken = Taken { line: Arc::clone(&self.line), hash: Some(hash) };
        self.work = Some(tokio::spawn(aside(move || taken.work())));
    }

    async fn finish(mut self) -> S3Result<H> {
        loop {
            if let Some(hash) = self.line.end() {
                return Ok(hash);
            }
            let Some(work) = self.work.take() else { return Err(lost()) };
            // Whether it gave the hash back is seen above.
            let _ = work.await;
        }
    }
}

impl<H: Hash> Line<H> {
    /// The hash of everything, if no thread has it.
    fn end(&self) -> Option<H> {
        let mut state = self.lock();
        let mut hash = state.hash.take()?;
        state.waiting.drain(..).for_each(|piece| hash.update(&piece));
        Some(hash)
    }
}

impl<H> Line<H> {
    fn lock(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash that a thread has.
struct Taken<H> {
    line: Arc<Line<H>>,
    hash: Option<H>,
}

impl<H: Hash> Taken<H> {
    /// Until nothing waits.
    fn work(mut self) {
        while let Some(hash) = &mut self.hash {
            let mut state = self.line.lock();
            let Some(piece) = state.waiting.pop_front() else {
                state.hash = self.hash.take();
                return;
            };
            drop(state);
            hash.update(&piece);
            let weight = weight(&piece);
            drop(piece);
            self.line.room.add_permits(weight);
        }
    }
}

impl<H> Drop for Taken<H> {
    fn drop(&mut self) {
        if self.hash.is_some() {
            self.line.room.close();
        }
    }
}

fn lost() -> s3s::S3Error {
    s3_error!(InternalError, "the body could not be hashed; send it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::checksum::{Algorithm, Claims};

    /// Pieces of all lengths from nothing on, many of which make a batch together, and one that is more than may wait.
    fn body() -> Vec<Bytes> {
        let length = WAITING_BYTES * 2 + BATCH_BYTES + 7;
        let bytes = Bytes::from((0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        let (mut pieces, mut rest, mut length) = (Vec::new(), bytes, 0);
        while rest.len() > WAITING_BYTES + BATCH_BYTES {
            pieces.push(rest.split_to(length));
            length = length * 2 % 300_007 + 1;
        }
        pieces.extend([rest.split_to(3), rest.split_to(WAITING_BYTES + 1), rest]);
        pieces
    }

    /// One that hashes when it may.
    struct Slow(Arc<Mutex<()>>);

    impl Hash for Slow {
        fn update(&mut self, _: &[u8]) {
            drop(self.0.lock());
        }
    }

    /// How many pieces of `bytes` wait before a client has to.
    async fn waiting(bytes: usize) -> usize {
        let may = Arc::new(Mutex::new(()));
        let mut strand = Strand::new(Slow(Arc::clone(&may)));
        let mut pieces = 0;
        let held = may.lock();
        loop {
            let pushed = strand.push(Bytes::from(vec![0; bytes]));
            if tokio::time::timeout(std::time::Duration::from_millis(50), pushed).await.is_err() {
                break;
            }
            pieces += 1;
        }
        drop(held);
        strand.push(Bytes::new()).await.unwrap();
        strand.finish().await.unwrap();
        pieces
    }

    #[tokio::test]
    async fn what_waits_is_bounded_however_small_the_pieces_and_whoever_is_slow() {
        assert_eq!(waiting(1).await * PIECE_BYTES_MIN, WAITING_BYTES);
        assert_eq!(waiting(64 << 10).await * (64 << 10), WAITING_BYTES);
    }

    #[tokio::test]
    async fn digests_are_those_of_the_pieces_in_their_order() {
        let (claims, pieces) = (Claims::wanting(Algorithm::ALL), body());
        let (mut hashing, mut plain) = (Hashing::new(claims.hasher()), claims.hasher());
        for piece in &pieces {
            hashing.update(piece.clone()).await.unwrap();
            plain.update(piece);
        }
        assert!(hashing.md5.work.is_some() && hashing.others.work.is_some(), "nothing was hashed aside");
        let (found, wanted) = (hashing.finish().await.unwrap(), plain.finish());
        assert_eq!((found.md5, found.content), (wanted.md5, wanted.content));
        assert_eq!(found.checksums, wanted.checksums);
        assert_eq!(found.checksums.len(), Algorithm::ALL.len());
    }

    #[tokio::test]
    async fn a_hash_that_is_lost_is_said_and_nobody_waits_for_it() {
        struct Broken;
        impl Hash for Broken {
            fn update(&mut self, _: &[u8]) {
                panic!("it breaks");
            }
        }
        let mut strand = Strand::new(Broken);
        let piece = Bytes::from(vec![0; BATCH_BYTES]);
        while strand.push(piece.clone()).await.is_ok() {}
        assert_eq!(strand.finish().await.err().unwrap().code().as_str(), "InternalError");
    }
}
