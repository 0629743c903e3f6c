//! Reading ahead: a large body is read by a task of its own while what was read before is on its way to the client.
//!
//! What is read ahead waits in memory for a client that may be slow, so only so many bodies are read like that at a
//! time; any further one is read as its client takes it.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use switchback_store::BLOB_PIECE_BYTES;
use tokio::sync::{Semaphore, mpsc};

use super::body::Pieces;

/// Pieces of one body, of 256 KiB at most: two reads of a blob, one to be sent while the next is made.
const PIECES_MAX: usize = 8;

/// Bodies that are read ahead at the same time: 128 MiB together.
const BODIES_MAX: usize = 64;

/// Who reads ahead.
pub(crate) struct Ahead(Arc<Semaphore>);

impl Default for Ahead {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BODIES_MAX)))
    }
}

impl Ahead {
    /// The same `pieces`, of `size` bytes together.
    pub(super) fn read(&self, mut pieces: Pieces, size: u64) -> Pieces {
        if size <= BLOB_PIECE_BYTES as u64 {
            return pieces;
        }
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return pieces };
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            // Ends early when the client goes.
            while let Some(piece) = pieces.next().await
                && sender.send(piece).await.is_ok()
            {}
        });
        // Until the client has the last of them.
        let start = (receiver, permit);
        stream::unfold(start, async |(mut receiver, permit)| {
            Some((receiver.recv().await?, (receiver, permit)))
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::TryStreamExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SIZE: u64 = BLOB_PIECE_BYTES as u64 * 40;

    /// Forty numbered pieces, and how many of them were read.
    fn pieces() -> (Pieces, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let pieces = stream::iter(0..40_u8).map(move |number| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::copy_from_slice(&[number]))
        });
        (pieces.boxed(), read)
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_pieces_are_the_same_and_a_client_that_takes_none_holds_only_so_many() {
        let (plain, read) = pieces();
        let ahead = Ahead::default().read(plain, SIZE);
        settle().await;
        assert_eq!(read.load(Ordering::Relaxed), PIECES_MAX + 1, "one waits for its place");
        let all: Vec<Bytes> = ahead.try_collect().await.unwrap();
        assert_eq!(all.concat(), (0..40).collect::<Vec<u8>>());
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_reading_and_beyond_so_many_nothing_is_read_ahead() {
        let ahead = Ahead::default();
        let slow: Vec<_> = (0..BODIES_MAX).map(|_| ahead.read(pieces().0, SIZE)).collect();
        let (plain, read) = pieces();
        let further = ahead.read(plain, SIZE);
        settle().await;
        assert_eq!(read.load(Ordering::Relaxed), 0, "as its client takes it");
        drop((slow, further));
        let (plain, read) = pieces();
        let one = ahead.read(plain, SIZE);
        settle().await;
        drop(one);
        settle().await;
        assert_eq!(read.load(Ordering::Relaxed), PIECES_MAX + 1, "read no further");
    }
}
