//! Bodies that follow: into which blobs they are cut, and whether they arrived whole. Pure.

use switchback_store::Object;

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

/// Computes what an object's content hash says of its bytes: their BLAKE3; of a multipart object,
/// the BLAKE3 of its parts' hashes.
pub(crate) struct ContentHasher {
    whole: blake3::Hasher,
    parts: Option<Parts>,
}

struct Parts {
    part: blake3::Hasher,
    /// Sizes of the parts that are not whole yet; the first one is being filled.
    left: std::collections::VecDeque<u64>,
}

impl ContentHasher {
    pub(crate) fn of(object: &Object) -> Self {
        let parts = (!object.part_sizes.is_empty()).then(|| Parts {
            part: blake3::Hasher::new(),
            left: object.part_sizes.iter().copied().collect(),
        });
        let mut hasher = Self { whole: blake3::Hasher::new(), parts };
        hasher.end_parts();
        hasher
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        let Some(parts) = &mut self.parts else {
            self.whole.update(bytes);
            return;
        };
        while let Some(left) = parts.left.front_mut()
            && !bytes.is_empty()
        {
            let length = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            parts.part.update(&bytes[..length]);
            *left -= length as u64;
            bytes = &bytes[length..];
            if *left == 0 {
                self.whole.update(parts.part.finalize().as_bytes());
                parts.part.reset();
                parts.left.pop_front();
            }
        }
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.end_parts();
        *self.whole.finalize().as_bytes()
    }

    /// A part of no bytes is whole at once.
    fn end_parts(&mut self) {
        let Some(parts) = &mut self.parts else { return };
        while parts.left.front() == Some(&0) {
            self.whole.update(parts.part.finalize().as_bytes());
            parts.left.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn the_hash_does_not_depend_on_how_the_bytes_arrive(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            cut in 1_usize..50,
        ) {
            let bytes = parts.concat();
            let hash = |part_sizes: Vec<u64>| {
                let object = Object { part_sizes, ..Object::default() };
                let mut hasher = ContentHasher::of(&object);
                bytes.chunks(cut).for_each(|chunk| hasher.update(chunk));
                hasher.finish()
            };
            prop_assert_eq!(hash(Vec::new()), *blake3::hash(&bytes).as_bytes());
            let mut of_parts = blake3::Hasher::new();
            parts.iter().for_each(|part| { of_parts.update(blake3::hash(part).as_bytes()); });
            let sizes = parts.iter().map(|part| part.len() as u64).collect();
            prop_assert_eq!(hash(sizes), *of_parts.finalize().as_bytes());
        }
    }
}
