//! An offline look at everything that a store holds.
//!
//! Records are the truth; feeds, digests, counts and indexes are kept beside them, a change at a
//! time (`batch`). Here all of that is made again from the records and compared, every row is
//! decoded, and every blob is looked for: what a disk, a backup or a bug has done shows before it
//! is replicated. It costs everything there is, so nothing runs it by itself.
//!
//! Nothing is repaired: which of two rows is right is known to the other system, not to this one.
//! Memory does not grow with the objects: blobs are counted so many at a time ([`blobs`]).

mod blobs;
mod body;
mod contents;
mod derived;
mod wait;

use std::path::{Path, PathBuf};

use switchback_model::{Hlc, SystemId};

use crate::blob::{BlobClaim, BlobPlace, Blobs};
use crate::codec;
use crate::engine::{Engine, Family, Rows as _, View};
use crate::error::{Error, Result};
use crate::key;
use crate::record::RecordKey;

use self::wait::Wait;

/// What to check, and how deeply.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The catalogue's folder.
    pub catalogue: PathBuf,
    /// Where its blobs are.
    pub blobs: BlobPlace,
    /// The system that has it.
    pub system: SystemId,
    /// Read all bytes and compare them with their hashes. Otherwise only sizes are looked at.
    pub read: bool,
    /// Bytes of catalogue blocks kept in memory.
    pub cache_bytes: u64,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Tenants and directories, the reserved tenant included.
    pub contents: u64,
    /// Records of all kinds, tombstones included.
    pub records: u64,
    /// Objects among them.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that something names.
    pub blobs: u64,
    /// Blobs that are there and that nothing knows. They are no damage: the data mover deletes them after its next
    /// start.
    pub orphans: u64,
    /// Problems that were found.
    pub findings: u64,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: a content, and what in it.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

/// Checks a store that no process has open; `found` is told of each problem as it is met.
///
/// # Errors
/// There is no store, another process has it open, the engine cannot read it at all, or the blobs' place
/// does not answer or is not this system's.
pub fn check(request: &CheckRequest, found: &mut dyn FnMut(Finding)) -> Result<Checked> {
    // The engine would make one.
    if !has_entries(&request.catalogue) {
        return Err(Error::NoStore { path: request.catalogue.clone() });
    }
    let engine = Engine::open(&request.catalogue, request.cache_bytes)?;
    let (view, wait) = (engine.view(), Wait::new()?);
    let blobs = open_blobs(request, &view)?;
    let verified = blobs.clone();
    wait.until(async move { verified.verify().await })?;
    let mut look = Look { view, request, blobs, wait, checked: Checked::default(), found };
    look.store()?;
    contents::check(&mut look)?;
    blobs::check(&mut look)?;
    Ok(look.checked)
}

/// The blobs, of which nothing is made that is not there.
fn open_blobs(request: &CheckRequest, view: &View<'_>) -> Result<Blobs> {
    if let BlobPlace::Folder(path) = &request.blobs
        && !path.is_dir()
    {
        return Err(Error::NoStore { path: path.clone() });
    }
    let has_blobs = view.prefix(Family::Blob, b"r").next().is_some().then_some(true);
    Blobs::at(&request.blobs, BlobClaim { system: request.system, has_blobs })
}

fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// A check under way.
struct Look<'a> {
    view: View<'a>,
    request: &'a CheckRequest,
    blobs: Blobs,
    wait: Wait,
    checked: Checked,
    found: &'a mut dyn FnMut(Finding),
}

impl Look<'_> {
    fn report(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.checked.findings += 1;
        (self.found)(Finding { place: place.into(), problem: problem.into() });
    }

    /// Says why bytes could not be read, or that they are others.
    fn report_unread(&mut self, place: impl Into<String>, error: &Error) {
        match error {
            Error::Damaged => self.report(place, "its bytes are not those that were written"),
            error => self.report(place, format!("its bytes cannot be read: {error}")),
        }
    }

    /// The value, or a finding that says why there is none. Only what a row holds is a finding: an engine
    /// that cannot read ends the check.
    fn readable<T>(&mut self, place: &str, value: Result<T>) -> Result<Option<T>> {
        match value {
            Ok(value) => Ok(Some(value)),
            Err(error @ Error::Corrupt { .. }) => {
                self.report(place, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The rows that are there but for the sake of the whole store.
    fn store(&mut self) -> Result<()> {
        match self.view.row(Family::Meta, key::STORE)? {
            Some(row) => drop(self.readable("store", codec::decode_store(&row))?),
            None => self.report("store", "its identity is missing"),
        }
        Ok(())
    }

    /// The highest time that the store has seen; none before its first change.
    fn clock(&mut self) -> Result<Hlc> {
        let row = self.view.row(Family::Meta, key::HLC)?;
        let time = row.as_deref().map(key::number).transpose();
        Ok(Hlc(self.readable("clock", time)?.flatten().unwrap_or_default()))
    }
}

/// How a finding names a record.
fn place_of(content: &str, key: &RecordKey) -> String {
    match key.namespace() {
        "" => format!("{content}: {}", key.label()),
        namespace => format!("{content}: {namespace}/{}", key.label()),
    }
}

#[cfg(test)]
mod tests;
