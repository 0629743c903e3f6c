//! The store: the catalogue of records with their change feeds and digests, and the blobs they
//! name.

mod access;
mod apply;
mod authority;
mod batch;
mod blob;
mod catalogue;
mod clock;
mod codec;
mod commit;
mod configure;
mod digest;
mod engine;
mod error;
mod feed;
mod history;
mod join;
mod key;
mod listing;
mod multipart;
mod random;
mod read;
mod record;
mod sweep;
mod upload;
mod writer;

pub use access::{AccessRecord, ContentDigest, ContentStatus, Digest, FeedPosition};
pub use blob::{BlobWriter, Blobs};
pub use catalogue::{Catalogue, Conditions, DivergencePage, NamespaceStatus, Options, Sweep, Written};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ReadOnly, Result};
pub use feed::{
    Applied, CHANGES_MAX, Change, ChangeBatch, ChangesRequest, ConflictPolicy, Pending, Receipt, Sender,
};
pub use listing::{LIST_MAX, ListRequest, Listing, ObjectEntry};
pub use record::{
    BlobId, Body, Checksum, CredentialRecord, DEFAULT_TENANT, Divergence, INLINE_MAX, KEY_MAX,
    LOST_AND_FOUND, Metadata, NAME_MAX, NamespaceRecord, Object, Payload, Record, RecordKey, Segment,
    TenantRecord,
};
pub use sweep::{sweep_garbage, sweep_orphans};
pub use upload::{CompletedPart, Completion, PART_NUMBER_MAX, Part, PartPage, Upload, UploadId, UploadPage};
