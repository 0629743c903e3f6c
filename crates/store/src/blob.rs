//! Blobs: immutable files of bytes, each named once by a random identifier.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::{Error, Result};
use crate::record::{BlobId, Segment};

/// The blobs of one system. Cheap to clone; gateway and mover may both have the folder open.
#[derive(Clone)]
pub struct Blobs {}

/// A blob that is being written. Dropped before it is finished, it leaves nothing that counts.
pub struct BlobWriter {}

#[expect(unused_variables, clippy::unused_async, reason = "signatures first, bodies follow")]
impl Blobs {
    /// Opens the folder `path`, or creates it, durably.
    pub fn open(path: &Path) -> Result<Self> {
        Err(Error::Poisoned)
    }

    /// Begins to write `blob`, which must be fresh and leased.
    #[must_use]
    pub fn writer(&self, blob: BlobId) -> BlobWriter {
        BlobWriter {}
    }

    /// The bytes of `range`, in pieces of at most 256 KiB. The blob's file is opened before this
    /// returns, so a missing blob is an error here and not in the middle.
    pub async fn read(&self, blob: BlobId, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        Err(Error::Poisoned)
    }

    /// Deletes a blob. One that is not there is deleted.
    pub async fn delete(&self, blob: BlobId) -> Result<()> {
        Err(Error::Poisoned)
    }
}

#[expect(unused_variables, clippy::unused_async, reason = "signatures first, bodies follow")]
impl BlobWriter {
    /// Appends bytes; waits for the disk when it falls behind.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        Err(Error::Poisoned)
    }

    /// Makes the blob durable (file and folder) and says what to name in the commit.
    pub async fn finish(self) -> Result<Segment> {
        Err(Error::Poisoned)
    }
}
