//! Bytes on their way out: read from the blobs directly, as the client takes them.

use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::dto::StreamingBlob;
use switchback_proto::store::v1 as store;
use switchback_store::{BlobId, Blobs, Error};

/// What the blobs give at a time, at most.
pub(super) const PIECE_BYTES: u64 = 256 << 10;

/// The bytes of `range` of a body.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// Opens `range` of `body`. The first blob is open when this returns, so that a body that was
/// replaced a moment ago is found out here and can be looked up again.
///
/// # Errors
/// [`Error::NoSuchBlob`] when the first blob is gone, or another failure of the blobs.
pub(crate) async fn open(blobs: &Blobs, body: store::Body, range: Range<u64>) -> Result<Pieces, Error> {
    if body.segments.is_empty() {
        let inline = body.inline.slice(clamp(range.start, &body.inline)..clamp(range.end, &body.inline));
        return Ok(stream::iter([Ok(inline)]).boxed());
    }
    let mut wanted = wanted(&body.segments, range).into_iter();
    let Some((blob, part)) = wanted.next() else { return Ok(stream::empty().boxed()) };
    let first = blobs.read(named(&blob)?, part).await?;
    let blobs = blobs.clone();
    let rest = stream::iter(wanted)
        .then(move |(blob, part)| {
            let blobs = blobs.clone();
            async move { blobs.read(named(&blob)?, part).await }
        })
        .try_flatten();
    Ok(first.chain(rest).boxed())
}

fn clamp(position: u64, bytes: &Bytes) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len())
}

fn named(blob_id: &Bytes) -> Result<BlobId, Error> {
    BlobId::from_slice(blob_id).ok_or(Error::Corrupt { what: "blob identifier" })
}

/// Which part of which blob makes up `range` of the body.
fn wanted(segments: &[store::Segment], range: Range<u64>) -> Vec<(Bytes, Range<u64>)> {
    let mut start = 0;
    let mut wanted = Vec::new();
    for segment in segments {
        let end = start + segment.size;
        let part = range.start.max(start)..range.end.min(end);
        if part.start < part.end {
            wanted.push((segment.blob_id.clone(), part.start - start..part.end - start));
        }
        start = end;
    }
    wanted
}

/// What is to be done when a read fails; once.
pub(crate) struct Damage(BoxFuture<'static, ()>);

impl Damage {
    pub(crate) fn new(report: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(report.boxed())
    }

    /// Does it, beside the answer.
    pub(crate) fn report(self) {
        tokio::spawn(self.0);
    }
}

/// The same pieces; a failure among them is reported.
pub(crate) fn watched(pieces: Pieces, damage: Damage) -> Pieces {
    let mut damage = Some(damage);
    let failed = move |_: &Error| {
        if let Some(damage) = damage.take() {
            damage.report();
        }
    };
    pieces.inspect_err(failed).boxed()
}

/// As the body of an S3 answer. A failure on the way ends the connection, so that the client
/// sees that the body is not whole.
pub(crate) fn answer(pieces: Pieces) -> StreamingBlob {
    let frames = pieces.map_ok(Frame::data).inspect_err(|error| {
        tracing::error!(%error, "reading a blob failed in the middle of an answer");
    });
    StreamingBlob::from(s3s::Body::http_body_unsync(StreamBody::new(frames)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(name: u8, size: u64) -> store::Segment {
        store::Segment { blob_id: Bytes::copy_from_slice(&[name; 16]), size }
    }

    #[test]
    fn a_range_takes_its_part_of_each_blob() {
        let segments = [segment(1, 10), segment(2, 5), segment(3, 10)];
        let parts = |range| {
            wanted(&segments, range).into_iter().map(|(blob, part)| (blob[0], part)).collect::<Vec<_>>()
        };
        assert_eq!(parts(0..25), [(1, 0..10), (2, 0..5), (3, 0..10)]);
        assert_eq!(parts(9..16), [(1, 9..10), (2, 0..5), (3, 0..1)]);
        assert_eq!(parts(10..15), [(2, 0..5)]);
        assert_eq!(parts(25..25), []);
    }
}
