//! The catalogue: the records, feeds, digests and access modes of all contents of one system.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use switchback_model::{AccessMode, Content, ContentId, ContentKind, Epoch, FeedId, LinkId, SiteId, Version};

use crate::access::{AccessRecord, ContentDigest, ContentStatus, FeedPosition};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::feed::{Change, ChangeBatch, ChangesRequest, Pending, Receipt, Sender};
use crate::listing::{ListRequest, Listing, ObjectEntry};
use crate::record::{BlobId, CredentialRecord, Divergence, NamespaceRecord, Object, Record, RecordKey};
use crate::upload::{Completion, Part, PartPage, Upload, UploadId, UploadPage};

/// How to open a catalogue.
#[derive(Clone)]
pub struct Options {
    /// This system's site: part of every version written here.
    pub site: SiteId,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Bytes of blocks kept in memory.
    pub cache_bytes: u64,
}

impl Options {
    /// Defaults for `site`, on the machine's clock.
    #[must_use]
    pub fn new(site: SiteId) -> Self {
        Self { site, clock: Arc::new(crate::clock::SystemClock), cache_bytes: 64 << 20 }
    }
}

/// Conditions of a write on the current object (RFC 9110, section 13). ETags without quotes,
/// "*" for any.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// One of these must be current. Empty: no condition.
    pub if_match: Vec<String>,
    /// None of these may be current. Empty: no condition.
    pub if_none_match: Vec<String>,
}

/// A write that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its version.
    pub version: Version,
    /// What the object's record says.
    pub last_modified_unix_ms: u64,
    /// Its place in the feed.
    pub sequence: u64,
}

/// Sizes of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceStatus {
    /// The record.
    pub namespace: NamespaceRecord,
    /// Visible objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One page of a link's divergence report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DivergencePage {
    /// The conflicts with the content they are in, by content, then by the loser's version.
    pub divergences: Vec<(Content, Divergence)>,
    /// Where the next page starts; absent at the end.
    pub next: Option<Vec<u8>>,
}

/// What one round of [`Catalogue::sweep`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Blobs that nothing names any more: delete their bytes now.
    pub blobs: Vec<BlobId>,
    /// True when there may be more: sweep again.
    pub more: bool,
}

fn stub<T>() -> Result<T> {
    Err(Error::Poisoned)
}

/// A handle on the catalogue; cheap to clone, shared by all tasks of the one process that owns it.
///
/// Writes are `async`: they wait for the writer thread, which gathers what is queued into one
/// batch and one flush, and they return when that is durable. Reads are plain calls that work on
/// a snapshot, on the caller's thread, and may touch the disk: a point read can be made on a
/// runtime's worker; put long scans (listings, feeds) on a blocking thread.
#[derive(Clone)]
pub struct Catalogue {}

#[expect(unused_variables, clippy::unused_async, reason = "signatures first, bodies follow")]
impl Catalogue {
    /// Opens the catalogue in the folder `path`, or creates it there, durably.
    ///
    /// # Errors
    /// When the folder cannot be used or holds something else.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        stub()
    }

    /// Random, made with the store: another one means that the store was lost or replaced.
    #[must_use]
    pub fn store_id(&self) -> u64 {
        0
    }

    /// Resolves when a write or flush has failed. That is final: exit the process.
    pub async fn poisoned(&self) {}

    // Contents.

    /// Makes a tenant or a directory. A directory comes with its one namespace, of its own name.
    pub async fn create_content(&self, kind: ContentKind, name: &str, description: &str) -> Result<Content> {
        stub()
    }

    /// Removes empty content that is on no link.
    pub async fn delete_content(&self, content: ContentId) -> Result<()> {
        stub()
    }

    /// The content of this kind and name.
    pub fn find_content(&self, kind: ContentKind, name: &str) -> Result<Option<Content>> {
        stub()
    }

    /// Everything about one content.
    pub fn content(&self, content: ContentId) -> Result<ContentStatus> {
        stub()
    }

    /// Everything about all contents, by kind and name; the reserved tenant included.
    pub fn contents(&self) -> Result<Vec<ContentStatus>> {
        stub()
    }

    /// The digest of one content, by ranges.
    pub fn digest(&self, content: ContentId) -> Result<ContentDigest> {
        stub()
    }

    /// What one of the 256 digest ranges holds: key, version and the hash that was summed.
    pub fn digest_range(&self, content: ContentId, range: u8) -> Result<Vec<(RecordKey, Version)>> {
        stub()
    }

    // Access.

    /// A barrier: when it returns, no commit of an older epoch can land in any of `contents`, and
    /// the mode is durable. Content that does not exist here is adopted, empty, if `access` is
    /// read-only. All or nothing. The heads returned are those at the barrier.
    pub async fn set_access(
        &self,
        contents: Vec<Content>,
        access: AccessRecord,
    ) -> Result<Vec<FeedPosition>> {
        stub()
    }

    /// Makes `contents` read-only at `epoch`, heard of from the peer; `writer` is its domain.
    /// Never raises authority; a lower epoch than the one on record changes nothing but the mode.
    pub async fn demote(&self, contents: Vec<ContentId>, epoch: Epoch, writer: Option<String>) -> Result<()> {
        stub()
    }

    /// Forgets the link of `contents`: they become unlinked and read-write.
    pub async fn release(&self, contents: Vec<ContentId>) -> Result<()> {
        stub()
    }

    /// Notes that the link of `contents` is gone: read-only until released.
    pub async fn orphan(&self, contents: Vec<ContentId>) -> Result<()> {
        stub()
    }

    // Configuration.

    /// Makes a namespace in a tenant.
    pub async fn create_namespace(&self, content: ContentId, name: &str) -> Result<NamespaceRecord> {
        stub()
    }

    /// Removes an empty namespace.
    pub async fn delete_namespace(&self, content: ContentId, name: &str) -> Result<()> {
        stub()
    }

    /// One namespace.
    pub fn namespace(&self, content: ContentId, name: &str) -> Result<NamespaceStatus> {
        stub()
    }

    /// All namespaces, by name.
    pub fn namespaces(&self, content: ContentId) -> Result<Vec<NamespaceStatus>> {
        stub()
    }

    /// Adds a credential to a tenant. The keys are the caller's; `created_unix_ms` is set here.
    pub async fn create_credential(
        &self,
        content: ContentId,
        credential: CredentialRecord,
    ) -> Result<CredentialRecord> {
        stub()
    }

    /// Removes a credential.
    pub async fn delete_credential(&self, content: ContentId, access_key: &str) -> Result<()> {
        stub()
    }

    /// All credentials of a content, by access key.
    pub fn credentials(&self, content: ContentId) -> Result<Vec<CredentialRecord>> {
        stub()
    }

    /// Whose this access key is.
    pub fn find_credential(&self, access_key: &str) -> Result<Option<(Content, CredentialRecord)>> {
        stub()
    }

    /// Replaces the free settings of the content.
    pub async fn set_settings(&self, content: ContentId, settings: BTreeMap<String, String>) -> Result<()> {
        stub()
    }

    // Objects.

    /// Writes an object. `last_modified_unix_ms` is set here. Its blobs must be durable and each
    /// be leased or be named by a record already (a copy).
    pub async fn put_object(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        object: Object,
        conditions: Conditions,
    ) -> Result<Written> {
        stub()
    }

    /// Deletes objects; what does not exist is deleted too. One result per key, in order.
    pub async fn delete_objects(
        &self,
        content: ContentId,
        namespace: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Result<()>>> {
        stub()
    }

    /// Replaces the tags of an object.
    pub async fn set_tags(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<Written> {
        stub()
    }

    /// One object; with its inline body if `with_body`.
    pub fn object(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        with_body: bool,
    ) -> Result<ObjectEntry> {
        stub()
    }

    /// One page of a namespace.
    pub fn list(&self, content: ContentId, namespace: &str, request: &ListRequest) -> Result<Listing> {
        stub()
    }

    // Multipart uploads.

    /// Opens an upload; `id` and `initiated_unix_ms` of `upload` are set here.
    pub async fn create_upload(&self, content: ContentId, namespace: &str, upload: Upload) -> Result<Upload> {
        stub()
    }

    /// Adds or replaces a part; `last_modified_unix_ms` is set here. Its blobs must be leased.
    pub async fn put_part(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
        part: Part,
    ) -> Result<()> {
        stub()
    }

    /// One page of parts after the part `after`.
    pub fn parts(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
        after: u32,
        parts_max: usize,
    ) -> Result<PartPage> {
        stub()
    }

    /// One page of the open uploads whose keys begin with `prefix`, after the given one.
    pub fn uploads(
        &self,
        content: ContentId,
        namespace: &str,
        prefix: &str,
        after: Option<(&str, UploadId)>,
        uploads_max: usize,
    ) -> Result<UploadPage> {
        stub()
    }

    /// Makes the object from its parts' blobs and ends the upload, in one commit.
    pub async fn complete_upload(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
        completion: Completion,
        conditions: Conditions,
    ) -> Result<(Written, Object)> {
        stub()
    }

    /// Ends an upload and gives up its parts.
    pub async fn abort_upload(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
    ) -> Result<()> {
        stub()
    }

    // Blobs.

    /// Promises that these blobs are not swept until the returned Unix millisecond. Call it before
    /// writing them; call it again to renew. The commit that names a blob ends its lease.
    pub async fn lease_blobs(&self, blobs: Vec<BlobId>) -> Result<u64> {
        stub()
    }

    /// One bounded round of housekeeping: what nothing names any more, past its grace, and expired
    /// leases. The caller deletes the returned blobs. Costs what it finds.
    pub async fn sweep(&self) -> Result<Sweep> {
        stub()
    }

    /// True when no record, part, lease or queue knows this blob: an orphan of a crash.
    pub fn is_orphan(&self, blob: BlobId) -> Result<bool> {
        stub()
    }

    // Feeds.

    /// A stretch of a content's feed, in order.
    pub fn changes(&self, content: ContentId, request: &ChangesRequest) -> Result<ChangeBatch> {
        stub()
    }

    /// What a peer of feed `exclude` has yet to get after the sequence `after`. Exact and cheap.
    pub fn pending(&self, content: ContentId, exclude: Option<FeedId>, after: u64) -> Result<Pending> {
        stub()
    }

    /// One record by its key, with its inline body; tombstones too.
    pub fn record(&self, content: ContentId, key: &RecordKey) -> Result<Option<Record>> {
        stub()
    }

    /// Joins a peer's changes into the content, with the cursor, in one durable commit. Applying
    /// anything again changes nothing. `through` moves the cursor of the sender's feed (never
    /// back); give `None` for changes out of the feed's order.
    pub async fn apply(
        &self,
        content: ContentId,
        sender: Sender,
        changes: Vec<Change>,
        through: Option<u64>,
    ) -> Result<Receipt> {
        stub()
    }

    /// Notes that the peer, whose own feed is `peer`, has made our feed durable through
    /// `sequence`; frees the tombstones up to there. Call it as a flow begins, too: it ends
    /// [`Catalogue::declare_lost`].
    pub async fn acknowledge(&self, content: ContentId, peer: FeedId, sequence: u64) -> Result<()> {
        stub()
    }

    /// Nothing waits for the peer of `contents` any more.
    pub async fn declare_lost(&self, contents: Vec<ContentId>) -> Result<()> {
        stub()
    }

    /// Gives the content's feed a new life: its readers start again from 0.
    pub async fn renew_feed(&self, content: ContentId) -> Result<FeedId> {
        stub()
    }

    /// One page of a link's divergence report, after the given place.
    pub fn divergences(&self, link: LinkId, after: Option<&[u8]>, max: usize) -> Result<DivergencePage> {
        stub()
    }

    /// How many conflicts of `link` are noted in `content`.
    pub fn divergence_count(&self, link: LinkId, content: ContentId) -> Result<u64> {
        stub()
    }

    /// The mode that a write meets now.
    pub fn mode(&self, content: ContentId) -> Result<AccessMode> {
        stub()
    }
}
