//! Bytes on disk, and the hash that their object has.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::blob;
use crate::content_hash::ContentHasher;
use crate::record::{BlobId, Object};

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

/// The hash of an object that has these bytes.
pub(super) fn hash(
    object: &Object,
    pieces: impl IntoIterator<Item = io::Result<Vec<u8>>>,
) -> io::Result<[u8; 32]> {
    let mut hasher = ContentHasher::of(object);
    for piece in pieces {
        hasher.update(&piece?);
    }
    Ok(hasher.finish())
}
