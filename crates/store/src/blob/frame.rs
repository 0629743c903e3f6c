//! How the bytes of a blob lie on their medium: pieces of 256 KiB, the last one shorter, each followed by its
//! checksum.
//!
//! A read of any range takes whole pieces and compares them, so damaged bytes never leave here, whoever reads and
//! however little of the blob. The hash of an object, which tells more, costs ten times as much and can be compared
//! only by who reads all of it.
//!
//! The checksum is CRC-32C (RFC 3720, section 12.1), big-endian, of the blob's identifier, the number of the piece as
//! 8 bytes big-endian, and its bytes: what a disk or a file system puts in the wrong place, or takes from there, is
//! damaged too. An empty blob has no pieces.

use std::ops::Range;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use crate::error::{Error, Result};
use crate::record::BlobId;

/// Bytes of a piece. Small, so that a read of little reads little more; large, so that a chunk of a flow or of an
/// answer is one piece, and not copied together of several.
pub const BLOB_PIECE_BYTES: usize = 256 << 10;

/// Bytes of a checksum.
const CHECK_BYTES: usize = 4;

/// Bytes of a whole piece and its checksum.
pub(super) const FRAME_BYTES: usize = BLOB_PIECE_BYTES + CHECK_BYTES;

/// Bytes of a blob that takes `stored` bytes. A blob that was cut off has fewer than it had.
pub(super) fn size(stored: u64) -> u64 {
    let (frame, piece) = (FRAME_BYTES as u64, BLOB_PIECE_BYTES as u64);
    stored / frame * piece + (stored % frame).saturating_sub(CHECK_BYTES as u64)
}

/// Where the pieces lie that make up `range`. The end may be behind the blob's.
pub(super) fn stored(range: &Range<u64>) -> Range<u64> {
    let (frame, piece) = (FRAME_BYTES as u64, BLOB_PIECE_BYTES as u64);
    range.start / piece * frame..range.end.div_ceil(piece) * frame
}

fn digest(blob: BlobId, number: u64) -> Digest {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&blob.0);
    digest.update(&number.to_be_bytes());
    digest
}

#[expect(clippy::cast_possible_truncation, reason = "it is of 32 bits")]
fn finished(digest: &Digest) -> [u8; CHECK_BYTES] {
    (digest.finalize() as u32).to_be_bytes()
}

/// Bytes on their way to the medium.
pub(super) struct Framing {
    blob: BlobId,
    number: u64,
    digest: Digest,
    /// Bytes of the piece that is begun.
    length: usize,
}

impl Framing {
    pub(super) fn new(blob: BlobId) -> Self {
        Self { blob, number: 0, digest: digest(blob, 0), length: 0 }
    }

    /// Takes off `bytes` what belongs to the piece that is begun, and says the checksum when that ends it.
    pub(super) fn take(&mut self, bytes: &mut Bytes) -> (Bytes, Option<[u8; CHECK_BYTES]>) {
        let taken = bytes.split_to(bytes.len().min(BLOB_PIECE_BYTES - self.length));
        self.digest.update(&taken);
        self.length += taken.len();
        (taken, if self.length == BLOB_PIECE_BYTES { self.end() } else { None })
    }

    /// Ends the piece that is begun, if one is.
    pub(super) fn end(&mut self) -> Option<[u8; CHECK_BYTES]> {
        if self.length == 0 {
            return None;
        }
        let check = finished(&self.digest);
        self.number += 1;
        self.digest = digest(self.blob, self.number);
        self.length = 0;
        Some(check)
    }
}

/// Pieces on their way from the medium, in order, to whoever wants `range`.
pub(super) struct Unframing {
    blob: BlobId,
    number: u64,
    range: Range<u64>,
}

impl Unframing {
    pub(super) fn new(blob: BlobId, range: Range<u64>) -> Self {
        Self { blob, number: range.start / BLOB_PIECE_BYTES as u64, range }
    }

    /// What is wanted of the next piece, which came with its checksum.
    ///
    /// # Errors
    /// [`Error::Damaged`] when its bytes are not those that were written.
    pub(super) fn take(&mut self, mut piece: Bytes) -> Result<Bytes> {
        let length = piece.len().checked_sub(CHECK_BYTES).ok_or(Error::Corrupt { what: "blob" })?;
        let check = piece.split_off(length);
        let mut digest = digest(self.blob, self.number);
        digest.update(&piece);
        if finished(&digest) != check[..] {
            return Err(Error::Damaged);
        }
        let start = self.number * BLOB_PIECE_BYTES as u64;
        let within =
            |position: u64| usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX).min(length);
        self.number += 1;
        Ok(piece.slice(within(self.range.start)..within(self.range.end)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    const BLOB: BlobId = BlobId([7; 16]);

    fn framed(blob: BlobId, bytes: &[u8], step: usize) -> Bytes {
        let (mut framing, mut stored) = (Framing::new(blob), BytesMut::new());
        for part in bytes.chunks(step.max(1)) {
            let mut part = Bytes::copy_from_slice(part);
            while !part.is_empty() {
                let (taken, check) = framing.take(&mut part);
                stored.extend_from_slice(&taken);
                stored.extend_from_slice(check.as_ref().map_or(&[], |check| &check[..]));
            }
        }
        stored.extend_from_slice(framing.end().as_ref().map_or(&[], |check| &check[..]));
        stored.freeze()
    }

    fn unframed(blob: BlobId, medium: &Bytes, range: Range<u64>) -> Result<Vec<u8>> {
        let at = stored(&range);
        let mut left = medium.slice(at.start as usize..(at.end as usize).min(medium.len()));
        let (mut unframing, mut bytes) = (Unframing::new(blob, range), Vec::new());
        while !left.is_empty() {
            let piece = left.split_to(left.len().min(FRAME_BYTES));
            bytes.extend_from_slice(&unframing.take(piece)?);
        }
        Ok(bytes)
    }

    fn sized(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn a_checksum_is_the_one_of_the_rfc() {
        // RFC 3720, appendix B.4: 32 bytes of zeroes.
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&[0; 32]);
        assert_eq!(finished(&digest), 0x8a91_36aa_u32.to_be_bytes());
        let medium = framed(BLOB, b"bytes", 5);
        let whole = [&BLOB.0[..], &[0; 8], b"bytes"].concat();
        let sum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &whole);
        assert_eq!(medium[..], [&b"bytes"[..], &sum.to_be_bytes()[4..]].concat());
        assert!(framed(BLOB, b"", 1).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the pieces that bytes came in, any range of them comes back, and says its size.
        #[test]
        fn any_range_comes_back(
            length in prop_oneof![Just(1), Just(2 * BLOB_PIECE_BYTES), 1_usize..3 * BLOB_PIECE_BYTES],
            step in 1_usize..2 * BLOB_PIECE_BYTES,
            from in 0.0..1.0_f64,
            to in 0.0..=1.0_f64,
        ) {
            let bytes = sized(length);
            let medium = framed(BLOB, &bytes, step);
            prop_assert_eq!(size(medium.len() as u64), length as u64);
            let [from, to] = [from, to].map(|share| (share * length as f64) as usize);
            let range = from.min(to)..from.max(to);
            prop_assume!(!range.is_empty());
            let given = unframed(BLOB, &medium, range.start as u64..range.end as u64).unwrap();
            prop_assert!(given == bytes[range]);
        }

        /// A bit anywhere in the pieces that a range takes is found, and one elsewhere does not matter.
        #[test]
        fn a_wrong_bit_is_found(length in 1_usize..3 * BLOB_PIECE_BYTES, rotten in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let bytes = sized(length);
            let mut medium = framed(BLOB, &bytes, usize::MAX).to_vec();
            let rotten = rotten.index(medium.len());
            medium[rotten] ^= 1 << bit;
            let medium = Bytes::from(medium);
            for (number, piece) in bytes.chunks(BLOB_PIECE_BYTES).enumerate() {
                let start = (number * BLOB_PIECE_BYTES) as u64;
                let middle = start + piece.len() as u64 / 2;
                let given = unframed(BLOB, &medium, middle..middle + 1);
                if rotten / FRAME_BYTES == number {
                    prop_assert!(matches!(given, Err(Error::Damaged)));
                } else {
                    prop_assert_eq!(given.unwrap(), &bytes[middle as usize..=middle as usize]);
                }
            }
        }
    }

    #[test]
    fn what_is_in_the_wrong_place_is_damaged() {
        let bytes = vec![0; 2 * BLOB_PIECE_BYTES];
        let medium = framed(BLOB, &bytes, usize::MAX);
        let other = unframed(BlobId([8; 16]), &medium, 0..1);
        assert!(matches!(other, Err(Error::Damaged)), "another blob's");
        let (first, second) = medium.split_at(FRAME_BYTES);
        let swapped = Bytes::from([second, first].concat());
        assert!(matches!(unframed(BLOB, &swapped, 0..1), Err(Error::Damaged)), "another piece's");
    }

    #[test]
    fn a_blob_that_is_cut_off_has_fewer_bytes() {
        let whole = framed(BLOB, &sized(BLOB_PIECE_BYTES + 10), usize::MAX).len() as u64;
        let sizes: Vec<u64> = (0..=whole).rev().map(size).collect();
        assert!(sizes.is_sorted_by(|more, less| more >= less));
        assert_eq!((sizes[0], sizes[1]), (BLOB_PIECE_BYTES as u64 + 10, BLOB_PIECE_BYTES as u64 + 9));
    }
}
