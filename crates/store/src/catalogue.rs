//! The catalogue: the records, feeds, digests and access modes of all contents of one system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use switchback_model::{Content, ContentId, ContentKind, Epoch, FeedId, Hlc, Rights, SiteId, Version};
use tokio::time::Instant;

use crate::access::{AccessRecord, FeedPosition};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::engine::{Engine, Family, Rows as _, View};
use crate::error::Result;
use crate::feed::{Change, Receipt, Sender};
use crate::lifecycle::{self, Acted, Due, LifecyclePage, LifecycleRequest};
use crate::lock::LockChange;
use crate::multipart::Place;
use crate::record::{BlobId, CredentialRecord, Divergence, NamespaceRecord, Object, RecordKey};
use crate::upload::{Completion, Part, Upload, UploadId};
use crate::versioning::VersionId;
use crate::writer::{Confirmed, Setup, Writer};
use crate::{apply, authority, codec, commit, configure, key, multipart, random, retire, sweep, writer};

/// How to open a catalogue.
#[derive(Clone)]
pub struct Options {
    /// This system's site: part of every version written here.
    pub site: SiteId,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Bytes of blocks kept in memory.
    pub cache_bytes: u64,
    /// Bytes that must stay free on the disk: below this, writes that need room are refused, because
    /// an engine that runs out of room in the middle of a flush is lost until it is restarted.
    pub reserve_bytes: u64,
}

impl Options {
    /// Defaults for `site`, on the machine's clock.
    #[must_use]
    pub fn new(site: SiteId) -> Self {
        Self {
            site,
            clock: Arc::new(crate::clock::SystemClock),
            cache_bytes: 64 << 20,
            reserve_bytes: 64 << 20,
        }
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
    /// Which version of the object it made or changed; absent where the namespace never kept versions.
    pub id: Option<VersionId>,
    /// What the object's record says.
    pub last_modified_unix_ms: u64,
    /// Its place in the feed.
    pub sequence: u64,
}

/// What to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The object's key.
    pub key: String,
    /// This version for good; else the object, which where versions are kept is to hide it behind a
    /// delete marker.
    pub version: Option<VersionId>,
    /// Also what is retained in governance mode.
    pub bypass_governance: bool,
}

impl From<&str> for Deletion {
    fn from(key: &str) -> Self {
        Self { key: key.into(), version: None, bypass_governance: false }
    }
}

/// What a delete did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The delete marker that was made, or the version that was named.
    pub version: Option<VersionId>,
    /// It made a delete marker, or took one away.
    pub is_marker: bool,
}

/// Sizes of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceStatus {
    /// The record.
    pub namespace: NamespaceRecord,
    /// Visible objects, with all their versions and delete markers.
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

/// A handle on the catalogue; cheap to clone, shared by all tasks of the one process that owns it.
///
/// Writes are `async`: they wait for the writer thread, which gathers what is queued into one
/// batch and one flush, and they return when that is durable. Reads are plain calls that work on
/// a snapshot, on the caller's thread, and may touch the disk: a point read can be made on a
/// runtime's worker; put long scans (listings, feeds) on a blocking thread.
///
/// The last clone that is dropped ends the writer and waits for it; the folder can then be opened
/// again.
#[derive(Clone)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

/// The writer comes first: it must end before the engine is let go.
struct Inner {
    writer: Writer,
    engine: Arc<Engine>,
    confirmed: Confirmed,
    store_id: u64,
    run: (u64, Hlc),
    clock: Arc<dyn Clock>,
}

impl Catalogue {
    /// Opens the catalogue in the folder `path`, or creates it there, durably.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let engine = Arc::new(Engine::open(path, options.cache_bytes)?);
        let store_id = match engine.view().row(Family::Meta, key::STORE)? {
            Some(row) => codec::decode_store(&row)?,
            None => {
                let store_id = random::number();
                engine.commit(vec![(
                    Family::Meta,
                    key::STORE.to_vec(),
                    Some(codec::encode_store(store_id)),
                )])?;
                store_id
            }
        };
        let began = clock_in(&engine.view())?;
        let confirmed = Confirmed::new(RwLock::new(BTreeSet::new()));
        let clock = options.clock;
        let run = (random::number(), began);
        let hlc = began.of_a_new_run(clock.now_unix_ms(), run.0);
        let mut setup = Setup {
            engine: engine.clone(),
            site: options.site,
            run,
            clock: clock.clone(),
            hlc,
            confirmed: confirmed.clone(),
            path: path.to_owned(),
            reserve_bytes: options.reserve_bytes,
        };
        writer::run_once(&mut setup, configure::ensure_default_tenant)?;
        let writer = Writer::start(setup)?;
        Ok(Self { inner: Arc::new(Inner { writer, engine, confirmed, store_id, run, clock }) })
    }

    /// Random, made with the store: another one means that the store was lost or replaced.
    #[must_use]
    pub fn store_id(&self) -> u64 {
        self.inner.store_id
    }

    /// Names this run of the store, and the highest time that was known when it began.
    pub(crate) fn run(&self) -> (u64, Hlc) {
        self.inner.run
    }

    /// Resolves when a write or flush has failed. That is final: exit the process.
    pub async fn poisoned(&self) {
        self.inner.writer.poisoned().await;
    }

    /// The highest hybrid logical time that was known when this run of the store began; 0 of a new store.
    #[must_use]
    pub fn began(&self) -> Hlc {
        self.inner.run.1
    }

    /// What is durable now.
    pub(crate) fn view(&self) -> View<'_> {
        self.inner.engine.view()
    }

    /// True when the access of linked content was set since the start.
    pub(crate) fn is_confirmed(&self, content: ContentId) -> bool {
        self.inner.confirmed.read().unwrap_or_else(PoisonError::into_inner).contains(&content)
    }

    /// Wall time, as the next commit sees it.
    #[must_use]
    pub fn now_unix_ms(&self) -> u64 {
        self.inner.clock.now_unix_ms()
    }

    /// Runs `write` in the next batch; returns when that is durable.
    pub(crate) async fn commit<T, F>(&self, write: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Batch<'_>) -> Result<T> + Send + 'static,
    {
        self.inner.writer.commit(write).await
    }

    /// The highest hybrid logical time that was given or seen here, as far as it is durable.
    pub fn clock(&self) -> Result<Hlc> {
        clock_in(&self.view())
    }

    /// The peer has seen `clock`: what is written here next is later (Kulkarni et al., 2014: a message
    /// carries its sender's clock). One that is too far ahead is not believed, nor are its versions.
    pub async fn see(&self, clock: Hlc) -> Result<()> {
        if clock <= self.clock()? {
            return Ok(());
        }
        self.commit(move |batch| {
            apply::see(batch, clock);
            Ok(())
        })
        .await
    }

    // Contents.

    /// Makes a tenant or a directory. A directory comes with its one namespace, of its own name.
    pub async fn create_content(&self, kind: ContentKind, name: &str, description: &str) -> Result<Content> {
        self.create_content_with(kind, name, description, BTreeMap::new()).await
    }

    /// The same, of a directory whose namespace is to have these settings from the first.
    pub async fn create_content_with(
        &self,
        kind: ContentKind,
        name: &str,
        description: &str,
        settings: BTreeMap<String, String>,
    ) -> Result<Content> {
        let (name, description) = (name.to_owned(), description.to_owned());
        self.commit(move |batch| configure::create_content(batch, kind, &name, &description, &settings)).await
    }

    /// Removes empty content that is on no link.
    pub async fn delete_content(&self, content: ContentId) -> Result<()> {
        self.commit(move |batch| configure::delete_content(batch, content)).await
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
        self.commit(move |batch| authority::set_access(batch, &contents, &access)).await
    }

    /// Makes `contents` read-only at `epoch`, heard of from the peer; `writer` is its domain. Only
    /// a higher epoch than the one on record changes anything, and it never makes read-write.
    pub async fn demote(&self, contents: Vec<ContentId>, epoch: Epoch, writer: Option<String>) -> Result<()> {
        self.commit(move |batch| authority::demote(batch, &contents, epoch, writer.as_ref())).await
    }

    /// Forgets the link of `contents`: they become unlinked and read-write.
    pub async fn release(&self, contents: Vec<ContentId>) -> Result<()> {
        self.commit(move |batch| authority::release(batch, &contents)).await
    }

    /// Notes that the link of `contents` is gone: read-only until released.
    pub async fn orphan(&self, contents: Vec<ContentId>) -> Result<()> {
        self.commit(move |batch| authority::orphan(batch, &contents)).await
    }

    // Configuration.

    /// Makes a namespace in a tenant.
    pub async fn create_namespace(&self, content: ContentId, name: &str) -> Result<NamespaceRecord> {
        self.create_namespace_with(content, name, BTreeMap::new()).await
    }

    /// The same, with these settings from the first.
    pub async fn create_namespace_with(
        &self,
        content: ContentId,
        name: &str,
        settings: BTreeMap<String, String>,
    ) -> Result<NamespaceRecord> {
        let name = name.to_owned();
        self.commit(move |batch| configure::create_namespace(batch, content, &name, &settings)).await
    }

    /// Removes an empty namespace, and what uploads are open in it.
    pub async fn delete_namespace(&self, content: ContentId, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.commit(move |batch| configure::delete_namespace(batch, content, &name)).await
    }

    /// Sets one free setting of a namespace, or removes it.
    pub async fn set_namespace_setting(
        &self,
        content: ContentId,
        namespace: &str,
        setting: &str,
        value: Option<String>,
    ) -> Result<()> {
        let (namespace, setting) = (namespace.to_owned(), setting.to_owned());
        self.commit(move |batch| {
            configure::set_namespace_setting(batch, content, &namespace, &setting, value.clone())
        })
        .await
    }

    /// Adds a credential to a tenant. The keys are the caller's; `created_unix_ms` is set here.
    pub async fn create_credential(
        &self,
        content: ContentId,
        credential: CredentialRecord,
    ) -> Result<CredentialRecord> {
        self.commit(move |batch| configure::create_credential(batch, content, credential)).await
    }

    /// Replaces what a credential may do, and says what the credential is now.
    pub async fn set_credential_rights(
        &self,
        content: ContentId,
        access_key: &str,
        rights: Rights,
    ) -> Result<CredentialRecord> {
        let access_key = access_key.to_owned();
        self.commit(move |batch| configure::set_credential_rights(batch, content, &access_key, rights)).await
    }

    /// Removes a credential.
    pub async fn delete_credential(&self, content: ContentId, access_key: &str) -> Result<()> {
        let access_key = access_key.to_owned();
        self.commit(move |batch| configure::delete_credential(batch, content, &access_key)).await
    }

    /// Replaces the free settings of the content.
    pub async fn set_settings(&self, content: ContentId, settings: BTreeMap<String, String>) -> Result<()> {
        self.commit(move |batch| configure::set_settings(batch, content, settings)).await
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
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.commit(move |batch| commit::put_object(batch, content, &namespace, &key, object, &conditions))
            .await
    }

    /// Deletes objects or versions; what does not exist is deleted too. One result each, in order.
    pub async fn delete_objects(
        &self,
        content: ContentId,
        namespace: &str,
        deletions: Vec<Deletion>,
    ) -> Result<Vec<Result<Deleted>>> {
        let namespace = namespace.to_owned();
        self.commit(move |batch| {
            let mut results = Vec::with_capacity(deletions.len());
            for deletion in deletions {
                match commit::delete_object(batch, content, &namespace, &deletion) {
                    Err(error) if error.is_fatal() => return Err(error),
                    result => results.push(result),
                }
            }
            Ok(results)
        })
        .await
    }

    /// Replaces the tags of an object, or of one version of it.
    pub async fn set_tags(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        version: Option<VersionId>,
        tags: BTreeMap<String, String>,
    ) -> Result<Written> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.commit(move |batch| commit::set_tags(batch, content, &namespace, &key, version, tags)).await
    }

    /// Changes what keeps a version of an object from being deleted; `bypass_governance` to shorten or end
    /// a retention in governance mode.
    pub async fn set_lock(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        version: Option<VersionId>,
        change: LockChange,
        bypass_governance: bool,
    ) -> Result<Written> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.commit(move |batch| {
            commit::set_lock(batch, content, &namespace, &key, version, change, bypass_governance)
        })
        .await
    }

    // Lifecycle.

    /// One page of what is due in a namespace by its rules. A read: nothing is done about it.
    pub fn look_for_due(
        &self,
        content: ContentId,
        namespace: &str,
        request: &LifecycleRequest<'_>,
    ) -> Result<LifecyclePage> {
        lifecycle::look(&self.view(), content, namespace, request)
    }

    /// Deletes what a page found due, all in one commit, but for what was changed or locked since. `None`,
    /// and nothing was done: the rules of the namespace are no longer the text `setting`.
    pub async fn expire(
        &self,
        content: ContentId,
        namespace: &str,
        setting: &str,
        due: Vec<Due>,
    ) -> Result<Option<Acted>> {
        let (namespace, setting) = (namespace.to_owned(), setting.to_owned());
        self.commit(move |batch| lifecycle::act(batch, content, &namespace, &setting, &due)).await
    }

    // Multipart uploads.

    /// Opens an upload; `id` and `initiated_unix_ms` of `upload` are set here.
    pub async fn create_upload(&self, content: ContentId, namespace: &str, upload: Upload) -> Result<Upload> {
        let namespace = namespace.to_owned();
        self.commit(move |batch| multipart::create_upload(batch, content, &namespace, upload)).await
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
        let place = Place { content, namespace: namespace.into(), key: key.into(), upload };
        self.commit(move |batch| multipart::put_part(batch, &place, part)).await
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
        let place = Place { content, namespace: namespace.into(), key: key.into(), upload };
        self.commit(move |batch| multipart::complete_upload(batch, &place, completion, &conditions)).await
    }

    /// Ends an upload and gives up its parts.
    pub async fn abort_upload(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
    ) -> Result<()> {
        let place = Place { content, namespace: namespace.into(), key: key.into(), upload };
        self.commit(move |batch| multipart::abort_upload(batch, &place)).await
    }

    // Blobs.

    /// Promises that these blobs are not swept until the returned Unix millisecond. Call it before
    /// writing them; call it again to renew. The commit that names a blob ends its lease.
    pub async fn lease_blobs(&self, blobs: Vec<BlobId>) -> Result<u64> {
        self.commit(move |batch| sweep::lease_blobs(batch, &blobs)).await
    }

    /// As [`Catalogue::lease_blobs`], of blobs for a write to `namespace`, which is refused here if
    /// it would be refused for its place now. The write checks again when it commits, and decides.
    pub async fn lease_blobs_for(
        &self,
        content: ContentId,
        namespace: &str,
        blobs: Vec<BlobId>,
    ) -> Result<u64> {
        let namespace = namespace.to_owned();
        self.commit(move |batch| {
            commit::check_writable(batch, content)?;
            commit::check_namespace(batch, content, &namespace)?;
            sweep::lease_blobs(batch, &blobs)
        })
        .await
    }

    /// Gives up leases of blobs that will not be named; their bytes go after a grace.
    pub async fn discard_blobs(&self, blobs: Vec<BlobId>) -> Result<()> {
        self.commit(move |batch| blobs.into_iter().try_for_each(|blob| batch.discard(blob))).await
    }

    /// One bounded round of housekeeping: what nothing names any more, past its grace, and expired
    /// leases. The caller deletes the returned blobs. Costs what it finds.
    pub async fn sweep(&self) -> Result<Sweep> {
        self.commit(sweep::sweep).await
    }

    // Feeds.

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
        let asked = Instant::now();
        self.commit(move |batch| {
            let waited = asked.elapsed();
            Ok(Receipt { waited, ..apply::apply(batch, content, &sender, changes, through)? })
        })
        .await
    }

    /// Notes that the peer, whose own feed is `peer`, has made our feed durable through
    /// `sequence`; frees the tombstones up to there. Call it as a flow begins, too.
    pub async fn acknowledge(&self, content: ContentId, peer: FeedId, sequence: u64) -> Result<()> {
        self.commit(move |batch| sweep::acknowledge(batch, content, peer, sequence)).await
    }

    /// Of `records`, which the peer whose feed is `sender.feed` has neither in these versions nor in
    /// any other, not even as a tombstone: takes those away that it is known to have had. They were
    /// deleted there, and the mark of that is gone. Objects are kept aside, and all are noted.
    /// Answers the others.
    ///
    /// Known is what came from that very feed, and what it had acknowledged before our own feed began
    /// a new life: the number that it acknowledged is from before we went back in time, if we did.
    pub async fn retire(
        &self,
        content: ContentId,
        sender: Sender,
        records: Vec<(RecordKey, Version)>,
    ) -> Result<Vec<RecordKey>> {
        self.commit(move |batch| retire::retire(batch, content, &sender, records)).await
    }

    /// All notes of the link's conflicts were given to the peer whose feed is `peer`: it went back to a
    /// backup if its feed is another one, and is given them again.
    pub async fn notes_given(&self, content: ContentId, peer: FeedId) -> Result<()> {
        self.commit(move |batch| {
            batch.content(content)?.notes_given = peer;
            Ok(())
        })
        .await
    }

    /// Gives the content's feed a new life: its readers start again from 0.
    pub async fn renew_feed(&self, content: ContentId) -> Result<FeedId> {
        self.commit(move |batch| authority::renew_feed(batch, content)).await
    }
}

/// See [`Catalogue::clock`].
fn clock_in(view: &View<'_>) -> Result<Hlc> {
    let row = view.row(Family::Meta, key::HLC)?;
    Ok(Hlc(row.as_deref().map(key::number).transpose()?.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use switchback_proto::store::record::v1 as pb;

    use super::*;
    use crate::error::Error;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(test)
    }

    fn open() -> (tempfile::TempDir, Catalogue) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { reserve_bytes: 0, ..Options::new(SiteId(1)) };
        let catalogue = Catalogue::open(folder.path(), options).unwrap();
        (folder, catalogue)
    }

    #[test]
    fn a_failure_of_the_machine_poisons_and_leaves_nothing_of_its_batch() {
        run(async {
            let (folder, catalogue) = open();
            let failed = catalogue
                .commit(|batch| {
                    configure::create_content(batch, ContentKind::Tenant, "alpha", "", &BTreeMap::new())?;
                    Err::<(), _>(Error::Corrupt { what: "test" })
                })
                .await;
            assert!(matches!(failed, Err(Error::Corrupt { .. })));
            catalogue.poisoned().await;
            let later = catalogue.create_content(ContentKind::Tenant, "beta", "").await;
            assert!(matches!(later, Err(Error::Poisoned)));
            drop(catalogue);
            let again = Catalogue::open(folder.path(), Options::new(SiteId(1))).unwrap();
            assert_eq!(again.find_content(ContentKind::Tenant, "alpha").unwrap(), None);
        });
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        run(async {
            let (folder, catalogue) = open();
            drop(catalogue);
            let options = Options::new(SiteId(1));
            let engine = Engine::open(folder.path(), options.cache_bytes).unwrap();
            let earlier = pb::Store { store_id: 7, format: 1 }.encode_to_vec();
            engine.commit(vec![(Family::Meta, key::STORE.to_vec(), Some(earlier))]).unwrap();
            drop(engine);
            let refused = Catalogue::open(folder.path(), options).err();
            assert!(matches!(refused, Some(Error::Format { found: 1, read: 2 })), "{refused:?}");
        });
    }

    #[test]
    fn a_panic_of_the_writer_poisons() {
        run(async {
            let (_folder, catalogue) = open();
            let lost = catalogue.commit::<(), _>(|_| panic!("a bug")).await;
            assert!(matches!(lost, Err(Error::Poisoned)));
            catalogue.poisoned().await;
        });
    }

    #[test]
    fn a_refusal_poisons_nothing_and_spares_the_rest_of_its_batch() {
        run(async {
            let (_folder, catalogue) = open();
            let refused = catalogue.create_content(ContentKind::Tenant, "NO", "");
            let made = catalogue.create_content(ContentKind::Tenant, "alpha", "");
            let (refused, made) = tokio::join!(refused, made);
            assert!(matches!(refused, Err(Error::Invalid { .. })));
            assert_eq!(catalogue.find_content(ContentKind::Tenant, "alpha").unwrap(), Some(made.unwrap()));
        });
    }
}
