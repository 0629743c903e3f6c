//! Bodies that follow: into which blobs they are cut, and what of those is left from a byte on. Pure.

use switchback_store::Segment;

use super::limit::{PIECE_BYTES_MIN, PIECES_MAX};

/// The sizes of the blobs that hold a body of `size` bytes here. Each is durable on its own, so a
/// transfer that was cut goes on after the last whole one. (One file that is appended to would
/// resume at the byte; it would need a second copy, or a name before it is whole.)
pub(crate) fn plan_pieces(size: u64) -> Vec<u64> {
    let piece = PIECE_BYTES_MIN.max(size.div_ceil(PIECES_MAX));
    let whole = size / piece;
    let mut pieces = vec![piece; usize::try_from(whole).unwrap_or(usize::MAX)];
    if !size.is_multiple_of(piece) {
        pieces.push(size % piece);
    }
    pieces
}

/// The blobs of a body that have bytes from `offset` on, each with the byte to begin at.
pub(crate) fn from_byte(segments: &[Segment], offset: u64) -> Vec<(Segment, u64)> {
    let mut skip = offset;
    let mut left = Vec::new();
    for segment in segments {
        if skip >= segment.size {
            skip -= segment.size;
        } else {
            left.push((*segment, std::mem::take(&mut skip)));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use switchback_store::BlobId;

    use super::*;

    #[test]
    fn what_is_left_begins_in_the_blob_that_has_the_byte() {
        let segments = [10, 5, 10].map(|size| Segment { blob: BlobId::random(), size });
        let left = |offset| {
            from_byte(&segments, offset)
                .iter()
                .map(|(segment, from)| (segment.size, *from))
                .collect::<Vec<_>>()
        };
        assert_eq!(left(0), [(10, 0), (5, 0), (10, 0)]);
        assert_eq!(left(9), [(10, 9), (5, 0), (10, 0)]);
        assert_eq!(left(10), [(5, 0), (10, 0)]);
        assert_eq!(left(16), [(10, 1)]);
        assert_eq!(left(25), []);
    }

    #[test]
    fn a_body_is_cut_into_pieces_whose_number_is_bounded() {
        assert_eq!(plan_pieces(0), [0_u64; 0]);
        assert_eq!(plan_pieces(5), [5]);
        assert_eq!(plan_pieces(PIECE_BYTES_MIN), [PIECE_BYTES_MIN]);
        assert_eq!(plan_pieces(PIECE_BYTES_MIN + 1), [PIECE_BYTES_MIN, 1]);
        let five_tebibytes = 5 << 40;
        let pieces = plan_pieces(five_tebibytes);
        assert!(pieces.len() as u64 <= PIECES_MAX);
        assert_eq!(pieces.iter().sum::<u64>(), five_tebibytes);
    }
}
