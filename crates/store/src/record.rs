//! Records: what a content holds, as values. How they are encoded is in `codec`.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use switchback_model::{Epoch, LinkId, Rights, Version, VersionVector};

use crate::lock::Lock;

/// Bodies up to this many bytes travel inline, in the catalogue; larger ones are blobs. A file
/// and its two flushes cost more than writing 32 KiB twice.
pub const INLINE_MAX: usize = 32 * 1024;

/// S3's own limit on the bytes of an object key.
pub const KEY_MAX: usize = 1024;

/// Longest name of a namespace, tenant, directory or credential, in bytes.
pub const NAME_MAX: usize = 255;

/// Keys under this prefix belong to the system: clients may read and delete them, not write.
pub const LOST_AND_FOUND: &str = ".lost+found/";

/// Name of the reserved tenant, whose namespaces are the directories.
pub const DEFAULT_TENANT: &str = "default";

/// Names one record inside a content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// The content's own settings.
    Tenant,
    /// A namespace, by name.
    Namespace(String),
    /// A credential, by access key.
    Credential(String),
    /// An object.
    Object {
        /// Its namespace.
        namespace: String,
        /// Its key.
        key: String,
    },
    /// A version of an object that has a name of its own. See the module `versioning`.
    Version {
        /// The object's namespace.
        namespace: String,
        /// The object's key.
        key: String,
        /// Names it for ever: the version of its first write.
        id: Version,
    },
    /// The note of a conflict, by the version that lost.
    Divergence {
        /// The key that both versions have; never itself a divergence.
        of: Box<Self>,
        /// The version that lost.
        loser: Version,
    },
}

impl RecordKey {
    /// The key of an object.
    pub fn object(namespace: impl Into<String>, key: impl Into<String>) -> Self {
        Self::Object { namespace: namespace.into(), key: key.into() }
    }

    /// True for tenant, namespace and credential records: they travel ahead of objects.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Tenant | Self::Namespace(_) | Self::Credential(_))
    }

    /// The namespace, for reports; empty for what belongs to the content itself.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Object { namespace, .. } | Self::Version { namespace, .. } => namespace,
            Self::Divergence { of, .. } => of.namespace(),
            Self::Tenant | Self::Namespace(_) | Self::Credential(_) => "",
        }
    }

    /// The key, for reports: an object's own, whichever version; else the kind and name ("namespace:NAME").
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Tenant => "tenant".into(),
            Self::Namespace(name) => format!("namespace:{name}"),
            Self::Credential(access_key) => format!("credential:{access_key}"),
            Self::Object { key, .. } | Self::Version { key, .. } => key.clone(),
            Self::Divergence { of, loser } => format!("divergence:{}@{loser}", of.label()),
        }
    }
}

/// One record: a key's current state with what is needed to merge it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which.
    pub key: RecordKey,
    /// Names this write for ever.
    pub version: Version,
    /// What this version replaced when it was written. It never changes afterwards, so that the
    /// order of two versions is the same wherever and whenever they meet.
    pub replaced: VersionVector,
    /// What it was found to have won against since. A later local write replaces this too.
    pub absorbed: VersionVector,
    /// The link's epoch when it was written; 0 for content on no link.
    pub epoch: Epoch,
    /// The state itself.
    pub payload: Payload,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// A tombstone.
    Deleted,
    /// The content's settings.
    Tenant(TenantRecord),
    /// A namespace.
    Namespace(NamespaceRecord),
    /// A credential.
    Credential(CredentialRecord),
    /// An object.
    Object(Box<Object>),
    /// A version that says that the object is deleted.
    DeleteMarker,
    /// A conflict that was decided.
    Divergence(Box<Divergence>),
}

impl Record {
    /// True for a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(self.payload, Payload::Deleted)
    }

    /// True if the key has no object by it: a tombstone, or a delete marker.
    #[must_use]
    pub fn is_without_object(&self) -> bool {
        matches!(self.payload, Payload::Deleted | Payload::DeleteMarker)
    }

    /// When and where this version of an object came into being, which a change of its tags is not: the
    /// latest one of a key is current.
    #[must_use]
    pub fn born(&self) -> Version {
        match (&self.key, &self.payload) {
            (RecordKey::Version { id, .. }, _) => *id,
            (_, Payload::Object(object)) => object.written.unwrap_or(self.version),
            _ => self.version,
        }
    }

    /// True for the note of a conflict.
    #[must_use]
    pub fn is_note(&self) -> bool {
        matches!(self.payload, Payload::Divergence(_))
    }

    /// The object, if it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match &self.payload {
            Payload::Object(object) => Some(object),
            Payload::Deleted
            | Payload::DeleteMarker
            | Payload::Tenant(_)
            | Payload::Namespace(_)
            | Payload::Credential(_)
            | Payload::Divergence(_) => None,
        }
    }

    /// The object, if it is one, for instance to name the receiver's own blobs in its body.
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        match &mut self.payload {
            Payload::Object(object) => Some(object),
            Payload::Deleted
            | Payload::DeleteMarker
            | Payload::Tenant(_)
            | Payload::Namespace(_)
            | Payload::Credential(_)
            | Payload::Divergence(_) => None,
        }
    }

    /// Bytes of the object; 0 for everything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.as_object().map_or(0, |object| object.size)
    }
}

/// Settings of a tenant or directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantRecord {
    /// The content's name.
    pub name: String,
    /// The operator's words.
    pub description: String,
    /// Unix milliseconds.
    pub created_unix_ms: u64,
    /// Free settings, by name.
    pub settings: BTreeMap<String, String>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceRecord {
    /// Its name.
    pub name: String,
    /// Unix milliseconds.
    pub created_unix_ms: u64,
    /// Free settings, by name.
    pub settings: BTreeMap<String, String>,
}

/// A credential. Its secret never shows in a log: `Debug` leaves it out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CredentialRecord {
    /// Public half.
    pub access_key: String,
    /// Secret half.
    pub secret_key: String,
    /// Unix milliseconds.
    pub created_unix_ms: u64,
    /// The operator's words.
    pub description: String,
    /// What it may do.
    pub rights: Rights,
}

impl fmt::Debug for CredentialRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialRecord")
            .field("access_key", &self.access_key)
            .field("created_unix_ms", &self.created_unix_ms)
            .field("description", &self.description)
            .field("rights", &self.rights)
            .finish_non_exhaustive()
    }
}

/// An object: its metadata, and where its bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Bytes of the body.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// BLAKE3 of the bytes; for a multipart object, of its parts' hashes.
    pub content_hash: [u8; 32],
    /// Unix milliseconds. The store sets it at a local commit.
    pub last_modified_unix_ms: u64,
    /// The record's version when the bytes were written, if only tags have changed since. The store sets it.
    pub written: Option<Version>,
    /// What keeps it from being deleted.
    pub lock: Lock,
    /// What S3 keeps beside the bytes.
    pub metadata: Metadata,
    /// S3 object tags.
    pub tags: BTreeMap<String, String>,
    /// Checksums that were compared with the bytes.
    pub checksums: Vec<Checksum>,
    /// Sizes of the parts of a multipart object, in order; empty otherwise.
    pub part_sizes: Vec<u64>,
    /// The bytes, or the blobs that hold them.
    pub body: Body,
}

/// System headers and user metadata. An empty header is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `Content-Type`.
    pub content_type: String,
    /// `Content-Encoding`.
    pub content_encoding: String,
    /// `Content-Disposition`.
    pub content_disposition: String,
    /// `Content-Language`.
    pub content_language: String,
    /// `Cache-Control`.
    pub cache_control: String,
    /// `Expires`.
    pub expires: String,
    /// `x-amz-meta-*`, names in lower case without the prefix.
    pub user: BTreeMap<String, String>,
}

/// A checksum of S3's kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// CRC32, CRC32C, CRC64NVME, SHA1 or SHA256.
    pub algorithm: String,
    /// Base64, as S3 shows it.
    pub value: String,
}

/// Where an object's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Here: at most [`INLINE_MAX`] bytes.
    Inline(Bytes),
    /// In blobs, in order; their sizes add up to the object's.
    Segments(Vec<Segment>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Inline(Bytes::new())
    }
}

impl Body {
    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Segments(segments) => segments.iter().map(|segment| segment.size).sum(),
        }
    }

    /// True when it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The blobs it names.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        match self {
            Self::Inline(_) => &[],
            Self::Segments(segments) => segments,
        }
    }
}

/// Names one blob for ever: random, made by its writer.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 16]);

impl BlobId {
    /// A fresh identifier.
    #[must_use]
    pub fn random() -> Self {
        Self(crate::random::bytes())
    }

    /// The identifier held in `bytes`, if there are exactly sixteen of them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The sixteen bytes, as the wire carries them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One blob of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which.
    pub blob: BlobId,
    /// All of its bytes belong to the body.
    pub size: u64,
}

/// A conflict that was decided: neither version knew of the other. It is a record of its own,
/// named by the loser, so that it reaches both sides' reports through the feeds.
///
/// Two deletes of one key are no conflict, because they agree; everything else that was written
/// apart is, also when both sides happen to have written the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// The link whose two sides wrote.
    pub link: LinkId,
    /// Its name.
    pub link_name: String,
    /// What both wrote.
    pub key: RecordKey,
    /// What is current; its parts say when and where it was written.
    pub winner: Version,
    /// What is not.
    pub loser: Version,
    /// The winner is a tombstone.
    pub winner_deleted: bool,
    /// The loser is a tombstone.
    pub loser_deleted: bool,
    /// The rule that decided, in words.
    pub rule: String,
    /// Key under which the loser's content is kept, in the same namespace.
    pub kept_at: Option<String>,
    /// The loser itself when it is configuration.
    pub loser_record: Option<Box<Record>>,
    /// The later of the link's epochs in which the two were written: that of the failover which the
    /// conflict belongs to, or of the grant that ended it.
    pub epoch: Epoch,
    /// More of the winner, for people.
    pub winner_trace: Trace,
    /// More of the loser, for people.
    pub loser_trace: Trace,
}

/// What a report says of a version that may be gone by the time it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Name of the system where it was written; empty when it was not known.
    pub system: String,
    /// An object's size; 0 for everything else.
    pub size: u64,
    /// An object's ETag; empty for everything else.
    pub etag: String,
}
