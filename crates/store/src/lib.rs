//! The store: the catalogue of records with their change feeds and digests, and the blobs they
//! name. The data plane under the data mover; the gateway shares its blobs.
//!
//! What it promises:
//! - A write that has returned is flushed, with its place in the change feed (`writer`, `engine`).
//! - Whether a write is allowed is decided in the step that appends to the feed, and a change of
//!   access is a barrier: nothing older lands behind it (`commit`, `authority`).
//! - Applying changes is a join: any order, any number of times, the same content on both sides;
//!   what loses is kept and reported (`join`, `apply`, `loser`).
//! - A feed holds the latest change of each key: a reader pays for what changed (`history`).
//! - Digests change with what they are of, so that equal means proven equal (`digest`).
//! - What is due by a namespace's rules is deleted as it was seen, or not at all (`lifecycle`).
//! - A blob that a record names, or a lease covers, is not swept (`sweep`).
//! - A body that its disk has damaged is found (`scrub`), and whoever has it whole can put it in its place;
//!   a folder of blobs that is not there is not taken for an empty one (`presence`).
//! - Whether all of this holds on a disk can be looked at, while nothing has it open (`check`).
//!
//! How: one thread writes, and everything that must agree leaves in one batch of an embedded
//! engine, which is named in one module. Reads work on snapshots. The rows are a table in `key`.
//!
//! What it is not: it does not talk to the peer, does not choose who may write, and does not
//! compute ETags or checksums; it keeps what the mover and the gateway hand it.

mod access;
mod after_backup;
mod apply;
mod authority;
mod batch;
mod blob;
mod catalogue;
mod check;
mod clock;
mod codec;
mod commit;
mod compare;
mod configure;
mod content_hash;
mod digest;
mod engine;
mod error;
mod expiry;
mod feed;
mod history;
mod join;
mod key;
mod lifecycle;
mod lineage;
mod listing;
mod lock;
mod loser;
mod multipart;
mod presence;
mod random;
mod read;
mod record;
mod retire;
mod scrub;
mod sweep;
mod upload;
mod versioning;
mod versions;
mod walk;
mod writer;

pub use access::{AccessRecord, ContentDigest, ContentStatus, Cursor, Digest, FeedPosition};
pub use blob::{BLOB_PIECE_BYTES, BlobClaim, BlobPlace, BlobSection, BlobWriter, Blobs, BucketPlace};
pub use catalogue::{
    Catalogue, Conditions, Deleted, Deletion, DivergencePage, NamespaceStatus, Options, Sweep, Written,
};
pub use check::{CheckRequest, Checked, Finding, check};
pub use clock::{Clock, ManualClock, SystemClock};
pub use compare::{VersionsPage, VersionsRequest};
pub use content_hash::ContentHasher;
pub use error::{Error, ReadOnly, Result};
pub use expiry::expire_uploads;
pub use feed::{
    Applied, CHANGES_MAX, Change, ChangeBatch, ChangesRequest, ConflictPolicy, Pending, Receipt, Sender,
    Systems,
};
pub use lifecycle::{
    Acted, Due, Expiration, Expiry, FilterForm, LIFECYCLE, Lifecycle, LifecycleError, LifecycleFilter,
    LifecyclePage, LifecyclePlace, LifecycleRequest, LifecycleRule, NoncurrentExpiration, Standing, Subject,
};
pub use lineage::{Lineage, Parting, Run};
pub use listing::{LIST_MAX, ListRequest, Listing, ObjectEntry};
pub use lock::{Lock, LockChange, OBJECT_LOCK, ObjectLock, Period, Retention, RetentionMode};
pub use presence::Presence;
pub use record::{
    BlobId, Body, Checksum, CredentialRecord, DEFAULT_TENANT, Divergence, INLINE_MAX, KEY_MAX,
    LOST_AND_FOUND, Metadata, NAME_MAX, NamespaceRecord, Object, Payload, Record, RecordKey, Segment,
    TenantRecord, Trace,
};
pub use scrub::{BodyPage, Fault, StoredBody, StoredPart, StoredParts, examine, examine_part};
pub use sweep::{sweep_garbage, sweep_orphans};
pub use upload::{CompletedPart, Completion, PART_NUMBER_MAX, Part, PartPage, Upload, UploadId, UploadPage};
pub use versioning::{VERSIONING, VersionId, Versioning};
pub use versions::{VersionEntry, VersionListing, VersionsAfter, VersionsAsked};
