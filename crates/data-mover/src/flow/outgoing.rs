//! A body on its way out, chunk by chunk. The disk reads, and what pays is packed, ahead of the line.

use std::sync::Arc;

use futures::StreamExt;
use switchback_proto::replication::v1::Chunk;
use switchback_store::{Blobs, Error, Result, Segment};
use tokio::sync::mpsc;

use super::body::from_byte;
use super::limit::{CHUNK_BYTES, CHUNKS_AHEAD};
use super::pack::{self, Packed, Packer, Packing};
use super::window::Flown;

/// What is left to send of one body.
pub(crate) struct OutgoingBody {
    pub(crate) batch: u64,
    pub(crate) index: u32,
    offset: u64,
    end: u64,
    /// Blobs that are not begun, with the byte to begin at.
    left: Vec<(Segment, u64)>,
    kind: u8,
    packing: Arc<Packing>,
    reading: Option<mpsc::Receiver<Result<Packed>>>,
}

impl OutgoingBody {
    /// The bytes of the body of `change`, which is at `index` of a batch, from `offset` on.
    pub(crate) fn new(batch: u64, index: u32, change: &Flown, offset: u64, packing: &Arc<Packing>) -> Self {
        let left = from_byte(&change.segments, offset);
        let end = change.segments.iter().map(|segment| segment.size).sum();
        let (kind, packing) = (change.kind, Arc::clone(packing));
        Self { batch, index, offset, end, left, kind, packing, reading: None }
    }

    /// Bytes that have not left.
    pub(crate) fn left(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    /// Begins to read, if that was not done.
    pub(crate) fn read_ahead(&mut self, blobs: &Blobs) -> &mut mpsc::Receiver<Result<Packed>> {
        self.reading.get_or_insert_with(|| {
            let (chunks, reading) = mpsc::channel(CHUNKS_AHEAD);
            let packer = self.packing.body(self.kind);
            tokio::spawn(read(blobs.clone(), std::mem::take(&mut self.left), packer, chunks));
            reading
        })
    }

    /// The next chunk; none when the body has been sent.
    pub(crate) async fn next(&mut self, blobs: &Blobs) -> Result<Option<Chunk>> {
        let Some(packed) = self.read_ahead(blobs).recv().await.transpose()? else {
            // A reader that ended early has failed.
            return if self.offset < self.end { Err(Error::Poisoned) } else { Ok(None) };
        };
        let Packed { bytes, codec, length } = packed;
        let (batch, index, offset) = (self.batch, self.index, self.offset);
        let chunk = Chunk { batch, index, offset, bytes, codec: codec.into(), length };
        self.offset += pack::length(&chunk);
        Ok(Some(chunk))
    }
}

/// Reads to the end, to an error, or until nobody wants to know.
async fn read(
    blobs: Blobs,
    left: Vec<(Segment, u64)>,
    mut packer: Packer,
    chunks: mpsc::Sender<Result<Packed>>,
) {
    for (segment, from) in left {
        let mut bytes = match blobs.read(segment.blob, from..segment.size).await {
            Ok(bytes) => bytes,
            Err(error) => return drop(chunks.send(Err(error)).await),
        };
        while let Some(piece) = bytes.next().await {
            let packed = match piece {
                Ok(piece) => {
                    debug_assert!(piece.len() as u64 <= CHUNK_BYTES, "the store reads in such pieces");
                    Ok(packer.chunk(piece).await)
                }
                Err(error) => Err(error),
            };
            let failed = packed.is_err();
            if chunks.send(packed).await.is_err() || failed {
                return;
            }
        }
    }
}
