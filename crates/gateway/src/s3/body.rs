//! Bytes on their way out: read from the blobs directly, as the client takes them.
//!
//! Damaged bytes never leave: those of a blob are compared piece by piece as they are read, and those that are in the
//! record itself with the hash of the object.

use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::dto::StreamingBlob;
use switchback_proto::store::v1 as store;
use switchback_store::{BlobId, Blobs, ContentHasher, Error, Object};

/// The bytes of `range` of a body.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, Error>>;

/// Opens `range` of `body`, which is that of `object`. The first piece has been read when this returns, so that a
/// body that was replaced a moment ago is found out here and can be looked up again, and the answer itself can say
/// of a small one that it is damaged.
///
/// # Errors
/// [`Error::NoSuchBlob`] when the first blob is gone, [`Error::Damaged`] when its bytes are not those that were
/// written, or another failure of the blobs.
pub(crate) async fn open(
    blobs: &Blobs,
    object: &store::Object,
    body: store::Body,
    range: Range<u64>,
) -> Result<Pieces, Error> {
    if body.segments.is_empty() {
        compare(object, &body.inline)?;
        let inline = body.inline.slice(clamp(range.start, &body.inline)..clamp(range.end, &body.inline));
        return Ok(stream::iter([Ok(inline)]).boxed());
    }
    let mut wanted = wanted(&body.segments, range).into_iter();
    let Some((blob, part)) = wanted.next() else { return Ok(stream::empty().boxed()) };
    let mut begun = blobs.read(named(&blob)?, part).await?;
    let first = stream::iter(begun.next().await.transpose()?.map(Ok));
    let blobs = blobs.clone();
    let rest = stream::iter(wanted)
        .then(move |(blob, part)| {
            let blobs = blobs.clone();
            async move { blobs.read(named(&blob)?, part).await }
        })
        .try_flatten();
    Ok(first.chain(begun).chain(rest).boxed())
}

/// Compares all bytes of `object` with its hash, if it has one.
fn compare(object: &store::Object, bytes: &[u8]) -> Result<(), Error> {
    if object.content_hash.len() != 32 {
        return Ok(());
    }
    let of = Object { part_sizes: object.part_sizes.clone(), ..Object::default() };
    let mut hasher = ContentHasher::of(&of);
    hasher.update(bytes);
    if hasher.finish() == object.content_hash[..] { Ok(()) } else { Err(Error::Damaged) }
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

    #[tokio::test]
    async fn damaged_bytes_of_a_record_never_leave_even_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let content_hash = Bytes::copy_from_slice(blake3::hash(b"bytes").as_bytes());
        let object = store::Object { size: 5, content_hash, ..Default::default() };
        let open = async |inline: &'static [u8], range| {
            let body = store::Body { inline: Bytes::from_static(inline), ..Default::default() };
            open(&blobs, &object, body, range).await?.try_collect::<Vec<_>>().await
        };
        assert_eq!(open(b"bytes", 1..3).await.unwrap().concat(), b"yt");
        assert!(matches!(open(b"bytEs", 1..3).await, Err(Error::Damaged)));
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
