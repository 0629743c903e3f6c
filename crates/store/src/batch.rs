//! One group commit in the making: what the writes of a batch see, and what they leave behind.
//!
//! Every write of a batch reads through the batch, so it sees the writes before it; all leave as
//! one atomic set of rows. A write must check everything that can refuse it before it changes
//! anything here: there is no undo, and a failure in the middle (the engine's, never the caller's)
//! ends the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use switchback_model::{ContentId, Hlc, Salt, SiteId, Version, VersionVector};

use crate::codec::{ContentRow, FeedEntry, Stored};
use crate::digest::{self, Sum};
use crate::engine::{Engine, Family, KeyValue, Row, Rows, View};
use crate::error::{Error, Result};
use crate::key::{self, Class, LOCAL};
use crate::lineage::Run;
use crate::record::{BlobId, Body, Payload, Record, RecordKey};

/// Two numbers kept together: how many, and how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Count {
    pub(crate) fn decode(row: &[u8]) -> Result<Self> {
        let (entries, bytes) = row.split_at_checked(8).ok_or(Error::Corrupt { what: "count" })?;
        Ok(Self { entries: key::number(entries)?, bytes: key::number(bytes)? })
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// A count of nothing takes no row.
    pub(crate) fn encode(self) -> Option<Vec<u8>> {
        (self.entries > 0).then(|| [self.entries.to_be_bytes(), self.bytes.to_be_bytes()].concat())
    }
}

/// What a batch starts from.
pub(crate) struct Start<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) site: SiteId,
    /// This run of the store, and the highest time that was known when it began.
    pub(crate) run: (u64, Hlc),
    pub(crate) now_unix_ms: u64,
    pub(crate) hlc: Hlc,
    /// Linked contents whose access was set in this run.
    pub(crate) confirmed: &'a BTreeSet<ContentId>,
    /// The disk is nearly full: only writes that need no room.
    pub(crate) full: bool,
}

/// The batch.
pub(crate) struct Batch<'a> {
    /// What was durable when the batch began: only the batch's own thread writes.
    view: View<'a>,
    site: SiteId,
    run: (u64, Hlc),
    /// Wall time, the same for the whole batch.
    pub(crate) now_unix_ms: u64,
    /// The highest hybrid logical time seen.
    pub(crate) hlc: Hlc,
    confirmed: &'a BTreeSet<ContentId>,
    /// Contents to count as confirmed, or no longer, once the batch is durable.
    pub(crate) confirm: BTreeMap<ContentId, bool>,
    full: bool,
    first_hlc: Hlc,
    rows: BTreeMap<(Family, Vec<u8>), Option<Vec<u8>>>,
    bytes: usize,
    contents: BTreeMap<ContentId, ContentRow>,
    counts: BTreeMap<Vec<u8>, Count>,
    ranges: BTreeMap<(ContentId, u8), Sum>,
    /// Blobs whose count of names this batch has touched; 0 makes them garbage.
    references: BTreeMap<BlobId, u64>,
}

impl Rows for Batch<'_> {
    fn row(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.rows.get(&(family, key.to_vec())) {
            Some(row) => Ok(row.clone()),
            None => self.view.row(family, key),
        }
    }

    /// As the batch leaves them.
    fn first(&self, family: Family, prefix: &[u8], max: usize) -> Result<Vec<KeyValue>> {
        let overlay = || {
            self.rows
                .range((Bound::Included((family, prefix.to_vec())), Bound::Unbounded))
                .take_while(|((row_family, key), _)| *row_family == family && key.starts_with(prefix))
        };
        let mut rows = BTreeMap::new();
        for row in self.view.prefix(family, prefix) {
            let (key, value) = row?;
            if self.rows.contains_key(&(family, key.clone())) {
                continue;
            }
            rows.insert(key, value);
            if rows.len() >= max {
                break;
            }
        }
        for ((_, key), value) in overlay() {
            if let Some(value) = value {
                rows.insert(key.clone(), value.clone());
            }
        }
        Ok(rows.into_iter().take(max).collect())
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new(start: Start<'a>) -> Self {
        Self {
            view: start.engine.view(),
            site: start.site,
            run: start.run,
            now_unix_ms: start.now_unix_ms,
            hlc: start.hlc,
            confirmed: start.confirmed,
            confirm: BTreeMap::new(),
            full: start.full,
            first_hlc: start.hlc,
            rows: BTreeMap::new(),
            bytes: 0,
            contents: BTreeMap::new(),
            counts: BTreeMap::new(),
            ranges: BTreeMap::new(),
            references: BTreeMap::new(),
        }
    }

    // Rows.

    /// Bytes gathered so far, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn set_row(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.rows.insert((family, key), value);
    }

    /// Removes every row whose key begins with `prefix`.
    pub(crate) fn clear(&mut self, family: Family, prefix: &[u8]) -> Result<()> {
        for (key, _) in self.first(family, prefix, usize::MAX)? {
            self.set_row(family, key, None);
        }
        Ok(())
    }

    /// Refuses a write that needs room when there is none left.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.full { Err(Error::StorageFull) } else { Ok(()) }
    }

    // Contents.

    /// The content's row, as the batch leaves it.
    pub(crate) fn content(&mut self, id: ContentId) -> Result<&mut ContentRow> {
        // Two look-ups, because a reference returned early would be held to the end.
        if !self.contents.contains_key(&id) {
            let row = self.row(Family::Meta, &key::content(id))?.ok_or(Error::NoSuchContent)?;
            self.contents.insert(id, ContentRow::decode(&row)?);
        }
        self.contents.get_mut(&id).ok_or(Error::NoSuchContent)
    }

    pub(crate) fn add_content(&mut self, row: ContentRow) {
        let name = key::content_name(row.content.kind, &row.content.name);
        self.set_row(Family::Meta, name, Some(row.content.id.0.to_vec()));
        self.set_row(Family::Meta, key::content(row.content.id), Some(row.encode()));
        self.contents.insert(row.content.id, row);
    }

    /// Forgets the content's row and everything that is counted for it.
    pub(crate) fn remove_content(&mut self, id: ContentId) -> Result<()> {
        let content = self.content(id)?.content.clone();
        self.contents.remove(&id);
        self.ranges.retain(|(content, _), _| *content != id);
        self.counts.retain(|key, _| key.get(1..17) != Some(&id.0[..]));
        for tag in [b"d", b"m", b"b", b"t"] {
            self.clear(Family::Meta, &[&tag[..], &id.0].concat())?;
        }
        for family in [Family::Record, Family::Body, Family::Feed] {
            self.clear(family, &id.0)?;
        }
        self.set_row(Family::Meta, key::content_name(content.kind, &content.name), None);
        self.set_row(Family::Meta, key::content(id), None);
        Ok(())
    }

    /// True from a start until the access of linked content is set.
    pub(crate) fn is_held(&mut self, id: ContentId) -> Result<bool> {
        let linked = self.content(id)?.access.link.is_some();
        let confirmed = self.confirm.get(&id).copied().unwrap_or_else(|| self.confirmed.contains(&id));
        Ok(linked && !confirmed)
    }

    /// This system's site.
    pub(crate) fn site(&self) -> SiteId {
        self.site
    }

    // Records.

    /// The record under `key`, without its inline body.
    pub(crate) fn stored(&self, id: ContentId, record: &RecordKey) -> Result<Option<Stored>> {
        crate::read::stored(self, id, record)
    }

    /// Puts the inline body into a record that came from [`Batch::stored`].
    pub(crate) fn load_body(&self, id: ContentId, record: &mut Record) -> Result<()> {
        let row = key::record(id, &record.key);
        if let Some(object) = record.as_object_mut()
            && let Body::Inline(_) = object.body
        {
            object.body = Body::Inline(self.row(Family::Body, &row)?.unwrap_or_default().into());
        }
        Ok(())
    }

    /// The time of the next change made here.
    pub(crate) fn next_hlc(&self) -> Hlc {
        self.hlc.next(self.now_unix_ms, Salt::of(self.run.0))
    }

    /// A version of this system's own, after everything it has seen.
    pub(crate) fn next_version(&mut self) -> Version {
        self.hlc = self.next_hlc();
        Version { hlc: self.hlc, site: self.site }
    }

    /// Writes `payload` under `key` as a change made here.
    pub(crate) fn write_local(
        &mut self,
        id: ContentId,
        key: RecordKey,
        old: Option<Stored>,
        payload: Payload,
    ) -> Result<(Version, u64)> {
        let version = self.next_version();
        let mut replaced = VersionVector::default();
        if let Some(Stored { record, .. }) = &old {
            replaced.merge(&record.replaced);
            replaced.merge(&record.absorbed);
            replaced.include(record.version);
        }
        let epoch = self.content(id)?.access.epoch;
        let record = Record { key, version, replaced, absorbed: VersionVector::default(), epoch, payload };
        let sequence = self.put(id, record, old, LOCAL)?;
        Ok((version, sequence))
    }

    /// Writes `payload` as a version of an object with a name of its own, made here.
    pub(crate) fn write_version(
        &mut self,
        content: ContentId,
        namespace: &str,
        key: &str,
        payload: Payload,
    ) -> Result<(Version, u64)> {
        let id = self.next_version();
        let none = VersionVector::default;
        let epoch = self.content(content)?.access.epoch;
        let key = RecordKey::Version { namespace: namespace.into(), key: key.into(), id };
        let record = Record { key, version: id, replaced: none(), absorbed: none(), epoch, payload };
        Ok((id, self.put(content, record, None, LOCAL)?))
    }

    /// Makes `record` the state of its key, in place of `old`, at the next sequence number.
    pub(crate) fn put(
        &mut self,
        id: ContentId,
        record: Record,
        old: Option<Stored>,
        source: u64,
    ) -> Result<u64> {
        if let Some(old) = old {
            self.take_out(id, &old)?;
        }
        let (run, began) = self.run;
        let content = self.content(id)?;
        content.head += 1;
        let sequence = content.head;
        content.lineage.go_on(Run { id: run, first: sequence, began });
        // Content that is on no link has nobody to tell of a delete.
        if record.is_deleted() && content.access.link.is_none() {
            return Ok(sequence);
        }
        if source != LOCAL && !content.sources.contains(&source) {
            content.sources.push(source);
        }
        self.put_in(id, Stored { record, sequence, source })?;
        Ok(sequence)
    }

    /// Rewrites a record in its place: the feed does not notice.
    pub(crate) fn annotate(&mut self, id: ContentId, stored: &Stored) {
        self.set_row(Family::Record, key::record(id, &stored.record.key), Some(stored.encode()));
    }

    /// Removes a record for good: a tombstone, or what has none any more.
    pub(crate) fn forget(&mut self, id: ContentId, stored: &Stored) -> Result<()> {
        self.take_out(id, stored)
    }

    fn put_in(&mut self, id: ContentId, stored: Stored) -> Result<()> {
        let Stored { record, sequence, source } = &stored;
        let (row, class) = (key::record(id, &record.key), Class::of(&record.key));
        let (bytes, deleted) = (record.size(), record.is_deleted());
        let name = key::name(&record.key);
        if deleted {
            self.content(id)?.tombstones += 1;
            self.set_row(Family::Meta, key::tombstone(id, *sequence), Some(name.clone()));
        }
        let entry = FeedEntry { name, bytes, deleted };
        self.set_row(Family::Feed, key::feed(id, class, *source, *sequence), Some(entry.encode()));
        self.count(key::bucket(id, class, *source, sequence / key::BUCKET))?.add(bytes);
        self.set_row(Family::Record, row.clone(), Some(stored.encode()));
        if digest::is_counted(record) {
            let hash = digest::hash(record);
            self.range(id, digest::range_of(&record.key))?.add(&hash);
            self.content(id)?.digest.add(&hash);
        }
        match &record.payload {
            Payload::Object(object) => {
                if let Body::Inline(inline) = &object.body {
                    self.set_row(Family::Body, row, Some(inline.to_vec()));
                }
                for segment in object.body.segments() {
                    self.refer(segment.blob)?;
                }
                self.count(key::namespace_count(id, record.key.namespace()))?.add(bytes);
                let content = self.content(id)?;
                content.objects += 1;
                content.bytes += bytes;
            }
            Payload::DeleteMarker => {
                self.count(key::namespace_count(id, record.key.namespace()))?.add(bytes);
                self.content(id)?.objects += 1;
            }
            Payload::Credential(credential) => {
                self.set_row(Family::Meta, key::credential(&credential.access_key, id), Some(Vec::new()));
            }
            Payload::Divergence(divergence) => {
                let index = key::divergence(divergence.link, id, &record.key);
                self.set_row(Family::Meta, index, Some(Vec::new()));
            }
            Payload::Tenant(tenant) => self.content(id)?.description.clone_from(&tenant.description),
            Payload::Deleted | Payload::Namespace(_) => {}
        }
        Ok(())
    }

    fn take_out(&mut self, id: ContentId, stored: &Stored) -> Result<()> {
        let Stored { record, sequence, source } = stored;
        let (row, class) = (key::record(id, &record.key), Class::of(&record.key));
        let bytes = record.size();
        self.set_row(Family::Feed, key::feed(id, class, *source, *sequence), None);
        self.count(key::bucket(id, class, *source, sequence / key::BUCKET))?.subtract(bytes);
        self.set_row(Family::Record, row.clone(), None);
        if record.is_deleted() {
            self.set_row(Family::Meta, key::tombstone(id, *sequence), None);
            let content = self.content(id)?;
            content.tombstones = content.tombstones.saturating_sub(1);
        }
        if digest::is_counted(record) {
            let hash = digest::hash(record);
            self.range(id, digest::range_of(&record.key))?.subtract(&hash);
            self.content(id)?.digest.subtract(&hash);
        }
        match &record.payload {
            Payload::Object(object) => {
                if let Body::Inline(_) = object.body {
                    self.set_row(Family::Body, row, None);
                }
                for segment in object.body.segments() {
                    self.release(segment.blob)?;
                }
                self.count(key::namespace_count(id, record.key.namespace()))?.subtract(bytes);
                let content = self.content(id)?;
                content.objects = content.objects.saturating_sub(1);
                content.bytes = content.bytes.saturating_sub(bytes);
            }
            Payload::DeleteMarker => {
                self.count(key::namespace_count(id, record.key.namespace()))?.subtract(bytes);
                let content = self.content(id)?;
                content.objects = content.objects.saturating_sub(1);
            }
            Payload::Credential(credential) => {
                self.set_row(Family::Meta, key::credential(&credential.access_key, id), None);
            }
            Payload::Divergence(divergence) => {
                self.set_row(Family::Meta, key::divergence(divergence.link, id, &record.key), None);
            }
            Payload::Deleted | Payload::Tenant(_) | Payload::Namespace(_) => {}
        }
        Ok(())
    }

    // Counters.

    fn count(&mut self, key: Vec<u8>) -> Result<&mut Count> {
        if !self.counts.contains_key(&key) {
            let row = self.row(Family::Meta, &key)?;
            let count = row.as_deref().map(Count::decode).transpose()?.unwrap_or_default();
            self.counts.insert(key.clone(), count);
        }
        Ok(self.counts.entry(key).or_default())
    }

    /// Visible objects of a namespace, with all their versions and delete markers.
    pub(crate) fn namespace_count(&mut self, id: ContentId, namespace: &str) -> Result<Count> {
        self.count(key::namespace_count(id, namespace)).copied()
    }

    /// True when a namespace has visible objects, what was lost and found included.
    pub(crate) fn has_objects(&self, id: ContentId, namespace: &str) -> Result<bool> {
        let key = key::namespace_count(id, namespace);
        if let Some(count) = self.counts.get(&key) {
            return Ok(count.entries > 0);
        }
        Ok(self.row(Family::Meta, &key)?.is_some())
    }

    fn range(&mut self, id: ContentId, range: u8) -> Result<&mut Sum> {
        if !self.ranges.contains_key(&(id, range)) {
            let row = self.row(Family::Meta, &key::range(id, range))?;
            let sum = row.as_deref().map(Sum::decode).transpose()?.unwrap_or_default();
            self.ranges.insert((id, range), sum);
        }
        Ok(self.ranges.entry((id, range)).or_default())
    }

    // Blobs.

    /// How many records and parts name `blob`.
    pub(crate) fn references(&self, blob: BlobId) -> Result<u64> {
        match self.references.get(&blob) {
            Some(count) => Ok(*count),
            None => {
                let row = self.row(Family::Blob, &key::references(blob))?;
                Ok(row.as_deref().map(key::number).transpose()?.unwrap_or_default())
            }
        }
    }

    /// One more names `blob`; what was a lease has become a record.
    pub(crate) fn refer(&mut self, blob: BlobId) -> Result<()> {
        let count = self.references(blob)? + 1;
        self.references.insert(blob, count);
        self.end_lease(blob)
    }

    /// One less names `blob`.
    pub(crate) fn release(&mut self, blob: BlobId) -> Result<()> {
        let count = self.references(blob)?.saturating_sub(1);
        self.references.insert(blob, count);
        Ok(())
    }

    /// Gives up a blob that was leased and will not be named; one that something names stays.
    pub(crate) fn discard(&mut self, blob: BlobId) -> Result<()> {
        let count = self.references(blob)?;
        self.references.insert(blob, count);
        self.end_lease(blob)
    }

    pub(crate) fn end_lease(&mut self, blob: BlobId) -> Result<()> {
        if let Some(row) = self.row(Family::Blob, &key::lease(blob))? {
            self.set_row(Family::Blob, key::lease_end(key::number(&row)?, blob), None);
            self.set_row(Family::Blob, key::lease(blob), None);
        }
        Ok(())
    }

    /// True when the bytes of `blob` are promised to be there.
    pub(crate) fn is_live(&self, blob: BlobId) -> Result<bool> {
        if self.references(blob)? > 0 {
            return Ok(true);
        }
        let lease = self.row(Family::Blob, &key::lease(blob))?;
        Ok(lease.as_deref().map(key::number).transpose()?.is_some_and(|ends| ends > self.now_unix_ms))
    }

    // The end.

    /// Sets a row unless it has that value: a batch of refusals writes nothing.
    fn change_row(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<()> {
        if self.row(Family::Meta, &key)? != value {
            self.set_row(Family::Meta, key, value);
        }
        Ok(())
    }

    /// Everything that the batch leaves, as rows.
    pub(crate) fn into_rows(mut self) -> Result<Vec<Row>> {
        if self.hlc > self.first_hlc {
            let hlc = self.hlc.0.to_be_bytes().to_vec();
            self.set_row(Family::Meta, key::HLC.to_vec(), Some(hlc));
        }
        for (id, content) in std::mem::take(&mut self.contents) {
            self.change_row(key::content(id), Some(content.encode()))?;
        }
        for (key, count) in std::mem::take(&mut self.counts) {
            self.change_row(key, count.encode())?;
        }
        for ((id, range), sum) in std::mem::take(&mut self.ranges) {
            let row = (sum.records > 0).then(|| sum.encode());
            self.change_row(key::range(id, range), row)?;
        }
        for (blob, count) in std::mem::take(&mut self.references) {
            let row = (count > 0).then(|| count.to_be_bytes().to_vec());
            if row.is_none() {
                self.set_row(Family::Blob, key::garbage(self.now_unix_ms, blob), Some(Vec::new()));
            }
            self.set_row(Family::Blob, key::references(blob), row);
        }
        Ok(self.rows.into_iter().map(|((family, key), value)| (family, key, value)).collect())
    }
}
