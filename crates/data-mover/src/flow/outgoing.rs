//! A body on its way out, chunk by chunk.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use switchback_proto::replication::v1::Chunk;
use switchback_store::{Blobs, Result, Segment};

use super::limit::CHUNK_BYTES;

/// What is left to send of one body.
pub(crate) struct OutgoingBody {
    pub(crate) batch: u64,
    pub(crate) index: u32,
    offset: u64,
    /// Blobs that are not begun, with the byte to begin at.
    left: VecDeque<(Segment, u64)>,
    reading: Option<BoxStream<'static, Result<Bytes>>>,
}

impl OutgoingBody {
    /// The bytes of `segments` from `offset` on.
    pub(crate) fn new(batch: u64, index: u32, segments: &[Segment], offset: u64) -> Self {
        let mut skip = offset;
        let mut left = VecDeque::new();
        for segment in segments {
            if skip >= segment.size {
                skip -= segment.size;
            } else {
                left.push_back((*segment, std::mem::take(&mut skip)));
            }
        }
        Self { batch, index, offset, left, reading: None }
    }

    /// The next chunk; none when the body has been sent.
    pub(crate) async fn next(&mut self, blobs: &Blobs) -> Result<Option<Chunk>> {
        loop {
            if let Some(reading) = &mut self.reading {
                if let Some(bytes) = reading.next().await {
                    let bytes = bytes?;
                    debug_assert!(bytes.len() as u64 <= CHUNK_BYTES, "the store reads in such pieces");
                    let chunk = Chunk { batch: self.batch, index: self.index, offset: self.offset, bytes };
                    self.offset += chunk.bytes.len() as u64;
                    return Ok(Some(chunk));
                }
                self.reading = None;
            }
            let Some((segment, from)) = self.left.pop_front() else { return Ok(None) };
            self.reading = Some(blobs.read(segment.blob, from..segment.size).await?);
        }
    }
}
