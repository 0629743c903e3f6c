//! The simulated disk under `switchback_kit::durable`. In production there is none of this.

use std::io;
use std::time::Duration;

/// A record's key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// A key, and its new value or none to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A table of records that survives a crash of its host as far as it was committed.
pub trait Table: Send + Sync {
    /// Every record whose key begins with `prefix`, by key.
    fn scan(&self, prefix: &[u8]) -> Vec<Record>;
    /// How long the disk takes until the next commit counts, and then until it says so. A crash
    /// between the two leaves a commit of which nobody was told.
    fn pauses(&self) -> (Duration, Duration);
    /// Commits all of `changes` or none.
    ///
    /// # Errors
    /// The disk fails or is full. Whether the changes are there is then unknown.
    fn commit(&self, changes: Vec<Change>) -> io::Result<()>;
}
