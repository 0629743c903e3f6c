//! A body on its way out, chunk by chunk. The disk reads ahead of the line.

use bytes::Bytes;
use futures::StreamExt;
use switchback_proto::replication::v1::Chunk;
use switchback_store::{Blobs, Error, Result, Segment};
use tokio::sync::mpsc;

use super::limit::{CHUNK_BYTES, CHUNKS_AHEAD};

/// What is left to send of one body.
pub(crate) struct OutgoingBody {
    pub(crate) batch: u64,
    pub(crate) index: u32,
    offset: u64,
    end: u64,
    /// Blobs that are not begun, with the byte to begin at.
    left: Vec<(Segment, u64)>,
    reading: Option<mpsc::Receiver<Result<Bytes>>>,
}

impl OutgoingBody {
    /// The bytes of `segments` from `offset` on.
    pub(crate) fn new(batch: u64, index: u32, segments: &[Segment], offset: u64) -> Self {
        let mut skip = offset;
        let mut left = Vec::new();
        for segment in segments {
            if skip >= segment.size {
                skip -= segment.size;
            } else {
                left.push((*segment, std::mem::take(&mut skip)));
            }
        }
        let end = segments.iter().map(|segment| segment.size).sum();
        Self { batch, index, offset, end, left, reading: None }
    }

    /// Bytes that have not left.
    pub(crate) fn left(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    /// Begins to read, if that was not done.
    pub(crate) fn read_ahead(&mut self, blobs: &Blobs) -> &mut mpsc::Receiver<Result<Bytes>> {
        self.reading.get_or_insert_with(|| {
            let (chunks, reading) = mpsc::channel(CHUNKS_AHEAD);
            tokio::spawn(read(blobs.clone(), std::mem::take(&mut self.left), chunks));
            reading
        })
    }

    /// The next chunk; none when the body has been sent.
    pub(crate) async fn next(&mut self, blobs: &Blobs) -> Result<Option<Chunk>> {
        let Some(bytes) = self.read_ahead(blobs).recv().await.transpose()? else {
            // A reader that ended early has failed.
            return if self.offset < self.end { Err(Error::Poisoned) } else { Ok(None) };
        };
        debug_assert!(bytes.len() as u64 <= CHUNK_BYTES, "the store reads in such pieces");
        let chunk = Chunk { batch: self.batch, index: self.index, offset: self.offset, bytes };
        self.offset += chunk.bytes.len() as u64;
        Ok(Some(chunk))
    }
}

/// Reads to the end, to an error, or until nobody wants to know.
async fn read(blobs: Blobs, left: Vec<(Segment, u64)>, chunks: mpsc::Sender<Result<Bytes>>) {
    for (segment, from) in left {
        let mut bytes = match blobs.read(segment.blob, from..segment.size).await {
            Ok(bytes) => bytes,
            Err(error) => return drop(chunks.send(Err(error)).await),
        };
        while let Some(piece) = bytes.next().await {
            let failed = piece.is_err();
            if chunks.send(piece).await.is_err() || failed {
                return;
            }
        }
    }
}
