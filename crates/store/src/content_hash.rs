//! [`Object::content_hash`] from an object's bytes, as they come.

use std::collections::VecDeque;

use crate::record::Object;

/// Computes what an object's content hash says of its bytes: their BLAKE3; of a multipart object,
/// the BLAKE3 of its parts' hashes.
pub struct ContentHasher {
    whole: blake3::Hasher,
    parts: Option<Parts>,
}

struct Parts {
    part: blake3::Hasher,
    /// Sizes of the parts that are not whole yet; the first one is being filled.
    left: VecDeque<u64>,
}

impl ContentHasher {
    /// Of the bytes of `object`.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        Self::of_parts(&object.part_sizes)
    }

    /// Of the bytes of an object whose [`Object::part_sizes`] are these.
    #[must_use]
    pub fn of_parts(part_sizes: &[u64]) -> Self {
        let parts = (!part_sizes.is_empty())
            .then(|| Parts { part: blake3::Hasher::new(), left: part_sizes.iter().copied().collect() });
        let mut hasher = Self { whole: blake3::Hasher::new(), parts };
        hasher.end_parts();
        hasher
    }

    /// Takes the next bytes, however they are cut.
    pub fn update(&mut self, mut bytes: &[u8]) {
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

    /// The hash, once all bytes were given.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
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
