//! What becomes of objects and versions: what arrived, what did not and why, and what is counted of it.

use switchback_store::Lock;

use super::entry::Entry;
use super::transfer::Reason;

/// What became of an object, or of the versions of a key.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) moved: u64,
    pub(super) failures: Vec<Failed>,
    /// Of the failures, versions that the source lists and does not give.
    pub(super) unreadable: u64,
    /// Versions that were not tried, since one before them failed.
    pub(super) waiting: u64,
    /// Versions that were left out, in this run or before.
    pub(super) skips: Vec<Failed>,
    /// What the source had no more when it was to be read.
    pub(super) vanished: u64,
    /// Of what was moved, what arrived with a lock.
    pub(super) locked: u64,
    /// Of what was moved, what arrived without the lock that it has at the source.
    pub(super) unlocked: u64,
    /// What arrived before, and was locked more strongly now.
    pub(super) strengthened: u64,
}

impl Ended {
    /// Something arrived that has this lock at the source.
    pub(super) fn arrived(&mut self, lock: &Lock, with_locks: bool) {
        self.moved += 1;
        let counter = if with_locks { &mut self.locked } else { &mut self.unlocked };
        *counter += u64::from(!lock.is_none());
    }

    /// The lock of something that arrived before was looked at.
    pub(super) fn looked(&mut self, entry: &Entry, looked: Result<bool, Halt>) -> anyhow::Result<()> {
        match looked {
            Ok(was_weaker) => self.strengthened += u64::from(was_weaker),
            Err(Halt::Version(reason)) => self.failures.push(Failed::of(entry, &reason)),
            Err(Halt::Import(error)) => return Err(error),
        }
        Ok(())
    }
}

/// Why no further version of a key is brought, or nothing more is done about an object.
pub(super) enum Halt {
    /// It cannot be.
    Version(Reason),
    /// The import cannot go on.
    Import(anyhow::Error),
}

impl From<Reason> for Halt {
    fn from(reason: Reason) -> Self {
        Self::Version(reason)
    }
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Import(error)
    }
}

/// An object or version that failed; or, without a version, all of a key.
pub(super) struct Failed {
    pub(super) key: String,
    pub(super) version: Option<String>,
    pub(super) reason: String,
}

impl Failed {
    pub(super) fn of(entry: &Entry, reason: &Reason) -> Self {
        Self::left_out(entry, reason.to_string())
    }

    pub(super) fn left_out(entry: &Entry, reason: String) -> Self {
        Self { key: entry.key.clone(), version: entry.version.clone(), reason }
    }
}
