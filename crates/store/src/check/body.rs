//! The bytes that are kept, and the hash that their object has.

use bytes::Bytes;
use futures::StreamExt as _;

use super::wait::Wait;
use crate::blob::Blobs;
use crate::content_hash::ContentHasher;
use crate::error::Result;
use crate::record::{Object, Segment};

/// The bytes of a blob, in pieces; at last an error where it cannot be read.
pub(super) fn pieces<'a>(
    wait: &'a Wait,
    blobs: &'a Blobs,
    segment: Segment,
) -> impl Iterator<Item = Result<Bytes>> + use<'a> {
    let mut open = None;
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let stream = match open.take() {
            Some(stream) => Ok(stream),
            None => {
                let blobs = blobs.clone();
                wait.until(async move { blobs.read(segment.blob, 0..segment.size).await })
            }
        };
        let next = stream.and_then(|mut stream| {
            wait.until(async move {
                let piece = stream.next().await.transpose()?;
                Ok((piece, stream))
            })
        });
        match next {
            Ok((Some(piece), stream)) => {
                open = Some(stream);
                Some(Ok(piece))
            }
            Ok((None, _)) => {
                is_over = true;
                None
            }
            Err(error) => {
                is_over = true;
                Some(Err(error))
            }
        }
    })
}

/// The hash of an object that has these bytes.
pub(super) fn hash(object: &Object, pieces: impl IntoIterator<Item = Result<Bytes>>) -> Result<[u8; 32]> {
    let mut hasher = ContentHasher::of(object);
    for piece in pieces {
        hasher.update(&piece?);
    }
    Ok(hasher.finish())
}
