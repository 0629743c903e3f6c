//! Why the store refuses.

use std::sync::Arc;

use switchback_model::{ContentKind, Epoch, LinkId};

use crate::versioning::VersionId;

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal or a failure of the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The content does not accept writes here.
    #[error("content is read-only on this system{}", .0.hint())]
    ReadOnly(Box<ReadOnly>),
    /// There is nothing to check.
    #[error("no store in {}: give the configuration of the system that has it", path.display())]
    NoStore {
        /// Where it was looked for.
        path: std::path::PathBuf,
    },
    /// Another process has the store open.
    #[error("the store in {} is in use: stop the data mover of this system first", path.display())]
    InUse {
        /// Where it is.
        path: std::path::PathBuf,
    },
    /// No tenant or directory has this name or identifier.
    #[error("no such tenant or directory")]
    NoSuchContent,
    /// The content has no namespace of this name.
    #[error("no namespace {namespace:?}")]
    NoSuchNamespace {
        /// The name that was asked for.
        namespace: String,
    },
    /// The namespace has no object of this key.
    #[error("no object under this key")]
    NoSuchKey,
    /// The key has no version of this name.
    #[error("no such version of the object")]
    NoSuchVersion,
    /// The object is deleted: its current version is a delete marker.
    #[error("no object under this key: its current version is a delete marker")]
    Hidden {
        /// The delete marker.
        marker: VersionId,
    },
    /// The version that was named is a delete marker, which has no bytes, metadata or tags.
    #[error("this version is a delete marker: it can only be deleted")]
    DeleteMarker {
        /// Itself.
        marker: VersionId,
        /// When it was written, in Unix milliseconds.
        last_modified_unix_ms: u64,
    },
    /// The version is kept: by a legal hold, or by a retention that has not ended.
    #[error("the version is locked: {reason}")]
    Locked {
        /// By what, and what can be done.
        reason: &'static str,
    },
    /// Locks are for namespaces that were set up for them.
    #[error("the namespace has no object lock: enable it first")]
    NoObjectLock,
    /// A namespace whose versions can be locked must keep them.
    #[error("object lock needs versioning to be enabled, and neither ends once it has begun")]
    LockStays,
    /// The tenant has no credential of this access key.
    #[error("no such credential")]
    NoSuchCredential,
    /// No multipart upload of this identifier is open for the key.
    #[error("no such upload: it was completed or aborted, or never begun")]
    NoSuchUpload,
    /// A part is missing, has another ETag, or its body is not in blobs.
    #[error("part {number} is not valid: {reason}")]
    InvalidPart {
        /// The part's number.
        number: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The name, key or record breaks a limit of the store.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// The thing that was refused.
        what: &'static str,
        /// The limit it breaks.
        reason: &'static str,
    },
    /// Only an empty namespace can be deleted.
    #[error("namespace is not empty: delete its objects first, with all versions and delete markers")]
    NamespaceNotEmpty,
    /// The namespace is there already.
    #[error("namespace exists already")]
    NamespaceExists,
    /// The access key is there already.
    #[error("access key exists already")]
    CredentialExists,
    /// A tenant or directory of this name exists.
    #[error("{kind} {name:?} exists already")]
    ContentExists {
        /// Its kind.
        kind: ContentKind,
        /// Its name.
        name: String,
    },
    /// Another content, with another identifier, has this name on this system.
    #[error("a different {kind} named {name:?} exists on this system: rename or delete one of them")]
    NameTaken {
        /// Its kind.
        kind: ContentKind,
        /// Its name.
        name: String,
    },
    /// Only empty content that is on no link can be deleted.
    #[error("{kind} is not empty: delete its namespaces and objects first")]
    ContentNotEmpty {
        /// Its kind.
        kind: ContentKind,
    },
    /// The content is (or was, and is not released) on a link that stands in the way.
    #[error("content is on link {link_name:?}: delete the link, or release the content, first")]
    ContentOnLink {
        /// The link.
        link: LinkId,
        /// Its name.
        link_name: String,
    },
    /// The content is not on the link that the call names.
    #[error("content is not on this link")]
    NotOnLink,
    /// A condition of the request does not hold for the current object.
    #[error("precondition failed")]
    PreconditionFailed,
    /// The key or name belongs to the store.
    #[error("{what} is reserved: it belongs to the system")]
    Reserved {
        /// What was to be written.
        what: String,
    },
    /// The blob's lease ended before the commit that names it; its bytes may be gone.
    #[error("lease of blob {blob} has expired: upload again")]
    LeaseExpired {
        /// The blob.
        blob: crate::BlobId,
    },
    /// A higher epoch is on record.
    #[error("epoch {offered} is behind epoch {current} on record")]
    StaleEpoch {
        /// The epoch on record.
        current: Epoch,
        /// The epoch that was offered.
        offered: Epoch,
    },
    /// Read-write was asked for at an epoch that names the other side.
    #[error("epoch {epoch} names the other side as the writer")]
    NotTheHolder {
        /// The epoch that was offered.
        epoch: Epoch,
    },
    /// A write or flush failed earlier. Final: the process must exit and start again from disk.
    #[error("store failed earlier and accepts nothing more: restart the service")]
    Poisoned,
    /// The engine failed. Reads: this read. Writes: the catalogue is poisoned.
    #[error("storage engine failed to {operation}")]
    Engine {
        /// What was tried.
        operation: &'static str,
        /// The engine's own words.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Bytes on disk are not what this program wrote.
    #[error("stored {what} cannot be decoded: restore the store from the other system")]
    Corrupt {
        /// The kind of row.
        what: &'static str,
    },
    /// The store was made by a version of the program that lays it out otherwise.
    #[error(
        "the store is of format {found}, and this version of Switchback reads format {read}: run the version that \
         made it, and bring its data here over a link or with `switchback import`"
    )]
    Format {
        /// The format on disk.
        found: u32,
        /// The one that is read here.
        read: u32,
    },
    /// The bytes of an object are not those that were written.
    #[error("the object's bytes are damaged on this system")]
    Damaged,
    /// No blob of this identifier is on disk.
    #[error("no blob {0}")]
    NoSuchBlob(crate::BlobId),
    /// The blob backend failed.
    #[error("blob storage failed to {operation}")]
    Blob {
        /// What was tried.
        operation: &'static str,
        /// The backend's own words.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The blobs' place is not this system's, or does not let it in, and asking again will not change that.
    #[error("blobs cannot be kept in {place}: {reason}")]
    BlobPlace {
        /// Where.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The disk is full.
    #[error("storage is full: free space or add to it")]
    StorageFull,
    /// The folder of the blobs is empty or gone, and was not: nothing is concluded from blobs that are not there.
    #[error(
        "the folder of the blobs, {}, is not there or is empty: mount its file system; if it is lost for good, rebuild this system from the other one",
        path.display()
    )]
    BlobsGone {
        /// Where it should be.
        path: std::path::PathBuf,
    },
    /// The blobs are those of another store: most likely the catalogue's folder is not there.
    #[error(
        "the blobs in {} are another store's: mount the file system of this one's catalogue; if that is lost for good, move the blobs away and rebuild this system from the other one",
        path.display()
    )]
    OtherBlobs {
        /// Where they are.
        path: std::path::PathBuf,
    },
}

/// Who writes instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnly {
    /// The link that governs the content.
    pub link: Option<LinkId>,
    /// Its name.
    pub link_name: String,
    /// Domain of the writable system, where one is known.
    pub writer: Option<String>,
    /// True at the end of a recovery, when neither side writes: retry, do not redirect.
    pub both_read_only: bool,
    /// The epoch on record.
    pub epoch: Epoch,
    /// True since a start of the service, until its access mode was confirmed: retry.
    pub held: bool,
    /// True for content that lost its link: an operator must release it.
    pub orphaned: bool,
}

impl ReadOnly {
    fn hint(&self) -> String {
        match (&self.writer, self.orphaned) {
            (_, true) => format!(
                ": it lost link {:?}; an operator releases it on one system with `switchback tenant release` or `directory release`",
                self.link_name
            ),
            (Some(writer), _) => format!(": link {:?} lets {writer} write", self.link_name),
            (None, _) => format!(": link {:?} lets neither side write now, try again soon", self.link_name),
        }
    }
}

impl Error {
    /// True if it says of the bytes of a body that they are not whole here: another copy may be.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged | Self::Corrupt { .. } | Self::NoSuchBlob(_))
    }

    /// A failure of the engine in `operation`.
    pub(crate) fn engine(
        operation: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Engine { operation, source: Arc::new(source) }
    }

    /// True when the failure is the machine's, not the caller's: the writer must stop.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Self::Engine { .. } | Self::Corrupt { .. } | Self::Poisoned)
    }
}
