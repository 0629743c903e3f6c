//! The simulated disk under `switchback_kit::durable` and the store's catalogue. In production there
//! is none of this.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Records by key.
pub type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key, and its new value or none to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A table of records that survives a crash of its host as far as it was committed.
pub trait Table: Send + Sync {
    /// What is there now. It does not change with the table.
    fn snapshot(&self) -> Arc<Records>;
    /// How long the disk takes until the next commit counts, and then until it says so. A crash
    /// between the two leaves a commit of which nobody was told.
    fn pauses(&self) -> (Duration, Duration);
    /// Commits all of `changes` or none.
    ///
    /// # Errors
    /// The disk fails or is full. Whether the changes are there is then unknown.
    fn commit(&self, changes: Vec<Change>) -> io::Result<()>;
}
