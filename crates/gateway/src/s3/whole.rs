//! Objects that are read whole are compared with their hash, and the last bytes leave only if all are those that were
//! written: a client never has damaged bytes and believes them to be all right. A part that is read alone has no
//! hash to be compared with.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use switchback_proto::store::v1 as store;
use switchback_store::{ContentHasher, Error, Object};

use super::body::{PIECE_BYTES, Pieces};

/// Bodies up to this many bytes are read and compared before they are answered, so that the answer itself can say
/// that they are damaged. A larger one ends in the middle.
const FIRST_BYTES_MAX: u64 = PIECE_BYTES;

/// What is left to read, and what is held back.
struct Held {
    pieces: Pieces,
    hasher: Box<ContentHasher>,
    hash: Bytes,
    last: Option<Bytes>,
}

/// The same pieces, whole: all bytes of `object`, or an error before the last of them.
pub(super) async fn compared(pieces: Pieces, object: &store::Object) -> Result<Pieces, Error> {
    if object.content_hash.len() != 32 {
        return Ok(pieces);
    }
    let of = Object { part_sizes: object.part_sizes.clone(), ..Object::default() };
    let held = Held {
        pieces,
        hasher: Box::new(ContentHasher::of(&of)),
        hash: object.content_hash.clone(),
        last: None,
    };
    let pieces = stream::try_unfold(Some(held), |held| async move {
        let Some(held) = held else { return Ok(None) };
        next(held).await
    });
    if object.size > FIRST_BYTES_MAX {
        return Ok(pieces.boxed());
    }
    let bytes = pieces.try_fold(BytesMut::new(), |mut bytes, piece| async move {
        bytes.extend_from_slice(&piece);
        Ok(bytes)
    });
    let bytes = bytes.await?.freeze();
    Ok(stream::iter([Ok(bytes)]).boxed())
}

/// The piece before the one that is held back from now on; the last one if the hash is right.
async fn next(mut held: Held) -> Result<Option<(Bytes, Option<Held>)>, Error> {
    while let Some(piece) = held.pieces.next().await.transpose()? {
        held.hasher.update(&piece);
        if let Some(before) = held.last.replace(piece) {
            return Ok(Some((before, Some(held))));
        }
    }
    if held.hasher.finish() != held.hash[..] {
        return Err(Error::Damaged);
    }
    Ok(held.last.map(|last| (last, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8]) -> Pieces {
        let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        stream::iter(pieces).boxed()
    }

    fn object(bytes: &[u8]) -> store::Object {
        let content_hash = Bytes::copy_from_slice(blake3::hash(bytes).as_bytes());
        store::Object { size: bytes.len() as u64, content_hash, ..Default::default() }
    }

    #[tokio::test]
    async fn whole_bytes_pass_and_damaged_ones_never_all() {
        for size in [0_usize, 1, 100_000, 250_000, 700_001] {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            let passed = compared(pieces(&bytes), &object(&bytes)).await.unwrap();
            assert_eq!(passed.try_collect::<Vec<_>>().await.unwrap().concat(), bytes);
            for rotten in [0, size / 2, size.saturating_sub(1)].into_iter().filter(|_| size > 0) {
                let mut damaged = bytes.clone();
                damaged[rotten] ^= 1;
                let refused = match compared(pieces(&damaged), &object(&bytes)).await {
                    Ok(passing) => {
                        assert!(size as u64 > FIRST_BYTES_MAX, "the answer itself says so");
                        let given: Vec<_> = passing.collect().await;
                        let good: usize = given.iter().flatten().map(Bytes::len).sum();
                        assert!(good < size, "the last bytes stay here");
                        given.into_iter().next_back().unwrap().map(drop)
                    }
                    Err(error) => Err(error),
                };
                assert!(matches!(refused, Err(Error::Damaged)), "{refused:?}");
            }
        }
    }
}
