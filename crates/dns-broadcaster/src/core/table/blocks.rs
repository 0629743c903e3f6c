//! A list whose copies share it by the block: a copy costs one count for each block, and a change one block.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Index;

/// Items of a block: about as many as there are blocks in a list of some thousands.
const BLOCK: usize = 64;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Blocks<T>(Vec<Arc<[T]>>);

impl<T: Clone> Blocks<T> {
    /// Whether it has no items.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The items.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|block| block.iter())
    }

    /// The item at `at`, of a block that is this list's alone from now on.
    pub(super) fn get_mut(&mut self, at: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.0[at / BLOCK])[at % BLOCK]
    }

    /// Adds an item behind the others, and says where.
    pub(super) fn push(&mut self, item: T) -> usize {
        let last = self.0.pop_if(|block| block.len() < BLOCK);
        let held = last.iter().flat_map(|block| block.iter().cloned());
        let longer: Arc<[T]> = held.chain([item]).collect();
        let at = self.0.len() * BLOCK + longer.len() - 1;
        self.0.push(longer);
        at
    }

    /// The items in blocks that `other` does not share, each with what `other` has in its place.
    pub(super) fn apart<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (usize, &'a T, Option<&'a T>)> {
        let blocks = self.0.iter().enumerate();
        let blocks = blocks.map(|(at, block)| (at, block, other.0.get(at)));
        let differ = blocks.filter(|(_, block, other)| !other.is_some_and(|other| Arc::ptr_eq(block, other)));
        differ.flat_map(|(number, block, other)| {
            let item = move |(at, item)| (number * BLOCK + at, item, other.and_then(|other| other.get(at)));
            block.iter().enumerate().map(item)
        })
    }
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Index<usize> for Blocks<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.0[at / BLOCK][at % BLOCK]
    }
}

impl<T: Clone> From<Vec<T>> for Blocks<T> {
    fn from(items: Vec<T>) -> Self {
        Self(items.chunks(BLOCK).map(Arc::from).collect())
    }
}
