//! Where objects come from: a folder, or a bucket of any S3 endpoint.

mod folder;
mod remote;

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use switchback_store::Lock;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub use self::folder::Folder;
pub use self::remote::Remote;

use super::entry::Entry;
use super::history::Found;
use super::s3::Failure;

/// Objects that are listed ahead: two pages of S3.
const LISTED_AHEAD: usize = 2000;

/// Something that a source lists.
pub(crate) enum Listed {
    /// An object.
    Entry(Entry),
    /// All versions of a key.
    History(History),
    /// Something that can be no object, and why.
    Unusable { key: String, reason: String },
    /// The listing broke off.
    Broken(Failure),
}

/// All versions and delete markers of a key, as they are listed.
pub(crate) struct History {
    /// At least one.
    pub(crate) found: Vec<Found>,
    /// What is held in memory is bounded: it is given back when this is dropped.
    pub(crate) _memory: OwnedSemaphorePermit,
}

/// What an object is beside its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    /// Content headers, user metadata and tags, as a write takes them.
    pub(crate) headers: HeaderMap,
    pub(crate) lock: Lock,
    /// An ETag that names no MD5: the endpoint encrypts.
    pub(crate) etag_is_opaque: bool,
}

/// Where objects come from.
#[derive(Clone)]
pub enum Source {
    /// Files.
    Folder(Folder),
    /// Objects.
    Remote(Box<Remote>),
}

impl Source {
    /// Names it in the journal, which is of one source.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Folder(folder) => folder.name(),
            Self::Remote(remote) => remote.name(),
        }
    }

    /// Lists all of it. The listing waits for who takes it.
    pub(crate) fn list(&self) -> mpsc::Receiver<Listed> {
        let (sender, receiver) = mpsc::channel(LISTED_AHEAD);
        match self.clone() {
            Self::Folder(folder) => drop(tokio::task::spawn_blocking(move || folder.list(&sender))),
            Self::Remote(remote) => drop(tokio::spawn(async move { remote.list(&sender).await })),
        }
        receiver
    }

    /// The versions of a key in their order, the newest first.
    pub(crate) async fn ordered(&self, found: &[Found]) -> Result<Vec<Entry>, Failure> {
        match self {
            // A file has one.
            Self::Folder(_) => Ok(found.iter().map(|found| found.entry.clone()).collect()),
            Self::Remote(remote) => remote.ordered(found).await,
        }
    }

    /// All bytes of a small object, and what else it is.
    pub(crate) async fn whole(&self, entry: &Entry) -> Result<(Described, Bytes), Failure> {
        match self {
            Self::Folder(folder) => Ok((folder.describe(entry), folder.read(entry, 0..entry.size).await?)),
            Self::Remote(remote) => remote.whole(entry).await,
        }
    }

    /// What a large object is beside its bytes.
    pub(crate) async fn describe(&self, entry: &Entry) -> Result<Described, Failure> {
        match self {
            Self::Folder(folder) => Ok(folder.describe(entry)),
            Self::Remote(remote) => remote.describe(entry).await,
        }
    }

    /// Some bytes of a large object.
    pub(crate) async fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes, Failure> {
        match self {
            Self::Folder(folder) => folder.read(entry, range).await,
            Self::Remote(remote) => remote.read(entry, range).await,
        }
    }

    /// The lock of an object or a version; `None` where that is gone, or is another one by now.
    pub(crate) async fn lock(&self, entry: &Entry) -> Result<Option<Lock>, Failure> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Remote(remote) => remote.lock(entry).await,
        }
    }

    /// What is listed of the key of an object by now.
    pub(crate) async fn now(&self, entry: &Entry) -> Result<Option<Entry>, Failure> {
        match self {
            // A file that changed says so when it is read.
            Self::Folder(_) => Ok(Some(entry.clone())),
            Self::Remote(remote) => remote.now(entry).await,
        }
    }

    /// Whether a version that was listed, and could not be read, still is listed.
    pub(crate) async fn lists(&self, entry: &Entry) -> Result<bool, Failure> {
        match self {
            // A file that is gone says so when it is read.
            Self::Folder(_) => Ok(true),
            Self::Remote(remote) => remote.lists(entry).await,
        }
    }

    /// The size of the parts that a large object was uploaded in, where the source knows.
    pub(crate) async fn part_size(&self, entry: &Entry) -> Result<Option<u64>, Failure> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Remote(remote) => remote.part_size(entry).await,
        }
    }
}
