//! Chance, from the seed. Each part of a story draws from a stream of its own, so that leaving out a
//! step of one does not change the others.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A stream of random numbers.
#[derive(Debug)]
pub struct Chance(StdRng);

impl Chance {
    /// The stream `label` of `seed`.
    #[must_use]
    pub fn new(seed: u64, label: &str) -> Self {
        Self(StdRng::from_seed(blake3::derive_key(label, &seed.to_be_bytes())))
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The remainder's bias is far below what a story could show.
        self.0.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// A number from `start` up to and not including `end`.
    pub fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end.saturating_sub(start))
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// There are none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let place = usize::try_from(self.below(choices.len() as u64)).unwrap_or(0);
        choices[place]
    }

    /// For what wants the generator itself.
    #[must_use]
    pub fn generator(self) -> StdRng {
        self.0
    }
}
