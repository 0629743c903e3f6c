//! Bytes on disk, and the hash that their object has.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::blob;
use crate::record::BlobId;

/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;

/// The bytes of a blob, in pieces; at last an error where it cannot be read.
pub(super) fn pieces(root: &Path, blob: BlobId) -> impl Iterator<Item = io::Result<Vec<u8>>> + use<> {
    let mut file = Some(File::open(blob::file(root, blob)));
    std::iter::from_fn(move || {
        let mut open = match file.take()? {
            Ok(open) => open,
            Err(error) => return Some(Err(error)),
        };
        let mut piece = Vec::new();
        match (&mut open).take(READ_BYTES).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => {
                file = Some(Ok(open));
                Some(Ok(piece))
            }
            Err(error) => Some(Err(error)),
        }
    })
}

/// [`crate::Object::content_hash`] of an object with these bytes: of a multipart object, that of its parts'
/// hashes.
pub(super) fn hash(
    part_sizes: &[u64],
    pieces: impl IntoIterator<Item = io::Result<Vec<u8>>>,
) -> io::Result<[u8; 32]> {
    let (mut parts, mut part) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut ends = part_sizes.iter().copied();
    let mut left = ends.next();
    for piece in pieces {
        let mut piece = &piece?[..];
        while let Some(rest) = left.filter(|rest| *rest <= piece.len() as u64) {
            // At most a piece's length.
            let (end, next) = piece.split_at(usize::try_from(rest).unwrap_or(piece.len()));
            part.update(end);
            parts.update(part.finalize().as_bytes());
            part.reset();
            (piece, left) = (next, ends.next());
        }
        part.update(piece);
        left = left.map(|rest| rest - piece.len() as u64);
    }
    let whole = if part_sizes.is_empty() { part } else { parts };
    Ok(*whole.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_and_parts_may_end_anywhere(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 1..5),
            piece in 1..9_usize,
        ) {
            let hashes: Vec<_> = parts.iter().flat_map(|part| *blake3::hash(part).as_bytes()).collect();
            let sizes: Vec<_> = parts.iter().map(|part| part.len() as u64).collect();
            let bytes = parts.concat();
            let pieces = || bytes.chunks(piece).map(|piece| Ok(piece.to_vec()));
            prop_assert_eq!(hash(&sizes, pieces()).unwrap(), *blake3::hash(&hashes).as_bytes());
            prop_assert_eq!(hash(&[], pieces()).unwrap(), *blake3::hash(&bytes).as_bytes());
        }
    }
}
