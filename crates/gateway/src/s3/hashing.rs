//! The digests of a body, computed beside its coming.
//!
//! MD5, of which the ETag is made, is the slowest part of a large PUT, and a core does nothing else
//! meanwhile. So the bytes gather, and each full batch is hashed aside, MD5 on one thread and the others
//! on another, while the next one comes. A body that is no more than one batch is hashed where it is:
//! going to another thread would cost more.

use bytes::Bytes;
use s3s::{S3Result, s3_error};
use tokio::task::{JoinError, JoinHandle};

use super::checksum::{Digests, Hasher};

/// Bytes hashed at a time. A body has two of these: one gathers, one is hashed.
const BATCH_BYTES: usize = 1 << 20;

/// Pieces hashed at a time: a client may send a byte in each, and each keeps the buffer that it came in.
const BATCH_PIECES: usize = 256;

/// The hasher of one body, and what it has not seen yet.
pub(super) struct Hashing {
    hasher: State,
    batch: Vec<Bytes>,
    bytes: usize,
}

enum State {
    Here(Box<Hasher>),
    Aside(JoinHandle<Result<Hasher, JoinError>>),
    /// Its work was cut off: the process ends, or it panicked.
    Lost,
}

impl Hashing {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self { hasher: State::Here(Box::new(hasher)), batch: Vec::new(), bytes: 0 }
    }

    /// Takes bytes; waits while those before are hashed more slowly than they come.
    pub(super) async fn update(&mut self, bytes: Bytes) -> S3Result<()> {
        self.bytes += bytes.len();
        self.batch.push(bytes);
        if self.bytes < BATCH_BYTES && self.batch.len() < BATCH_PIECES {
            return Ok(());
        }
        let hasher = self.settle().await?;
        self.hasher = State::Aside(tokio::spawn(hasher.update_aside(std::mem::take(&mut self.batch))));
        self.bytes = 0;
        Ok(())
    }

    /// The digests of all that was taken.
    pub(super) async fn finish(mut self) -> S3Result<Digests> {
        let mut hasher = self.settle().await?;
        self.batch.iter().for_each(|bytes| hasher.update(bytes));
        Ok(hasher.finish())
    }

    async fn settle(&mut self) -> S3Result<Hasher> {
        match std::mem::replace(&mut self.hasher, State::Lost) {
            State::Here(hasher) => Ok(*hasher),
            State::Aside(work) => match work.await {
                Ok(Ok(hasher)) => Ok(hasher),
                _ => Err(lost()),
            },
            State::Lost => Err(lost()),
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

    /// Pieces of all lengths from nothing on, many of which make a batch together.
    fn body() -> Vec<Bytes> {
        let bytes = Bytes::from((0..BATCH_BYTES * 3 + 7).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        let (mut pieces, mut rest, mut length) = (Vec::new(), bytes, 0);
        while !rest.is_empty() {
            pieces.push(rest.split_to(length.min(rest.len())));
            length = length * 2 % 300_007 + 1;
        }
        pieces
    }

    #[tokio::test]
    async fn a_client_that_sends_a_byte_at_a_time_does_not_fill_the_memory() {
        let mut hashing = Hashing::new(Claims::default().hasher());
        for byte in 0..=u8::MAX {
            hashing.update(Bytes::copy_from_slice(&[byte])).await.unwrap();
        }
        assert!(hashing.batch.is_empty());
    }

    #[tokio::test]
    async fn digests_are_those_of_the_pieces_in_their_order() {
        let (claims, pieces) = (Claims::wanting(Algorithm::ALL), body());
        let (mut hashing, mut plain) = (Hashing::new(claims.hasher()), claims.hasher());
        for piece in &pieces {
            hashing.update(piece.clone()).await.unwrap();
            plain.update(piece);
        }
        assert!(matches!(hashing.hasher, State::Aside(_)), "nothing was hashed aside");
        let (found, wanted) = (hashing.finish().await.unwrap(), plain.finish());
        assert_eq!((found.md5, found.content), (wanted.md5, wanted.content));
        assert_eq!(found.checksums, wanted.checksums);
        assert_eq!(found.checksums.len(), Algorithm::ALL.len());
    }
}
