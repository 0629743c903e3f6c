//! Bodies that follow: into which blobs they are cut. Pure.

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

#[cfg(test)]
mod tests {
    use super::*;

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
