//! A sound body is passed, whatever is done to its bytes is found, and a repair changes nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use switchback_model::{
    AccessMode, Content, ContentKind, Epoch, Incarnation, LinkId, Side, SiteId, SystemId,
};
use tempfile::TempDir;

use super::*;
use crate::blob::{self, BlobPlace};
use crate::scrub::part::PARTS_MAX;
use crate::upload::{Part, Upload, UploadId};
use crate::versioning::VERSIONING;
use crate::{
    AccessRecord, ChangesRequest, CheckRequest, Conditions, Error, ManualClock, Options, check,
    sweep_garbage, sweep_orphans,
};

const NAMESPACE: &str = "photos";

struct Store {
    catalogue: Catalogue,
    blobs: Blobs,
    presence: Presence,
    clock: Arc<ManualClock>,
    content: Content,
    folder: TempDir,
}

impl Store {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000));
        let catalogue = open(folder.path(), &clock);
        let presence = Presence::establish(&catalogue, &folder.path().join("blobs")).await.unwrap();
        let blobs = Blobs::open(&folder.path().join("blobs")).unwrap();
        let content = catalogue.create_content(ContentKind::Tenant, "acme", "").await.unwrap();
        catalogue.create_namespace(content.id, NAMESPACE).await.unwrap();
        Self { catalogue, blobs, presence, clock, content, folder }
    }

    async fn write(&self, bytes: &[u8]) -> Segment {
        let blob = BlobId::random();
        self.catalogue.lease_blobs(vec![blob]).await.unwrap();
        let mut writer = self.blobs.writer(blob);
        writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
        writer.finish().await.unwrap()
    }

    async fn put(&self, key: &str, bytes: &[u8], body: Body) -> StoredBody {
        let content_hash = *blake3::hash(bytes).as_bytes();
        let object =
            Object { size: bytes.len() as u64, etag: "e".into(), content_hash, body, ..Object::default() };
        let put = self.catalogue.put_object(self.content.id, NAMESPACE, key, object, Conditions::default());
        put.await.unwrap();
        self.body(key).unwrap()
    }

    /// An object of two blobs.
    async fn put_blobs(&self, key: &str, bytes: &[u8]) -> StoredBody {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let body = Body::Segments(vec![self.write(head).await, self.write(tail).await]);
        self.put(key, bytes, body).await
    }

    fn body(&self, key: &str) -> Option<StoredBody> {
        self.catalogue.body(self.content.id, &RecordKey::object(NAMESPACE, key)).unwrap()
    }

    fn file(&self, body: &StoredBody, place: usize) -> PathBuf {
        blob::file(&self.folder.path().join("blobs"), body.object.body.segments()[place].blob)
    }

    async fn examine(&self, body: &StoredBody) -> Result<Option<Fault>> {
        examine(&self.catalogue, &self.blobs, &self.presence, body, |_| std::future::ready(())).await
    }

    async fn read_only(&self) {
        let access = AccessRecord {
            mode: AccessMode::ReadOnly,
            epoch: Epoch(0),
            link: Some(LinkId([9; 16])),
            link_name: "a".into(),
            side: Side::Replica,
            local_incarnation: Incarnation(1),
            peer_incarnation: Incarnation(2),
            primary_site: SiteId(2),
            replica_site: SiteId(1),
            writer: None,
            both_read_only: false,
            orphaned: false,
        };
        self.catalogue.set_access(vec![self.content.clone()], access).await.unwrap();
    }

    /// Closes the store, and looks at all of it.
    fn findings(self) -> Vec<String> {
        let Self { catalogue, blobs, folder, .. } = self;
        drop((catalogue, blobs));
        let path = |name: &str| folder.path().join(name);
        let request = CheckRequest {
            catalogue: path("catalogue"),
            blobs: BlobPlace::Folder(path("blobs")),
            system: SystemId([7; 16]),
            read: true,
            cache_bytes: 1 << 20,
        };
        let mut findings = Vec::new();
        check(&request, &mut |finding| findings.push(format!("{}: {}", finding.place, finding.problem)))
            .unwrap();
        findings
    }
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Catalogue {
    let clock = Arc::clone(clock);
    let options = Options { clock, cache_bytes: 1 << 20, reserve_bytes: 0, ..Options::new(SiteId(1)) };
    Catalogue::open(&folder.join("catalogue"), options).unwrap()
}

#[tokio::test]
async fn a_walk_meets_every_body_once_and_in_order() {
    let store = Store::new().await;
    let id = store.content.id;
    store.catalogue.create_namespace(id, "kept").await.unwrap();
    store.catalogue.set_namespace_setting(id, "kept", VERSIONING, Some("Enabled".into())).await.unwrap();
    let mut expected = BTreeSet::new();
    for number in 0..150 {
        let key = format!("k/{number:03}");
        let body = store.put(&key, b"x", Body::Inline(Bytes::from_static(b"x"))).await;
        if number % 3 == 0 {
            store.catalogue.delete_objects(id, NAMESPACE, vec![key.as_str().into()]).await.unwrap();
        } else {
            expected.insert((id, body.key));
        }
    }
    for _ in 0..2 {
        let object = Object { size: 0, content_hash: *blake3::hash(b"").as_bytes(), ..Object::default() };
        store.catalogue.put_object(id, "kept", "v", object, Conditions::default()).await.unwrap();
    }
    let other = store.catalogue.create_content(ContentKind::Tenant, "other", "").await.unwrap();
    store.catalogue.create_namespace(other.id, NAMESPACE).await.unwrap();
    let object = Object { content_hash: *blake3::hash(b"").as_bytes(), ..Object::default() };
    store.catalogue.put_object(other.id, NAMESPACE, "o", object, Conditions::default()).await.unwrap();
    expected.insert((other.id, RecordKey::object(NAMESPACE, "o")));
    let (mut met, mut after, mut versions) = (BTreeSet::new(), Vec::new(), 0);
    loop {
        let page = store.catalogue.bodies_after(&after).unwrap();
        assert!(page.bodies.len() <= BODIES_MAX && page.unreadable.is_empty());
        for body in page.bodies {
            assert_eq!(store.examine(&body).await.unwrap(), None);
            match body.key {
                RecordKey::Version { .. } => versions += 1,
                key => assert!(met.insert((body.content, key)), "met twice"),
            }
        }
        let Some(next) = page.next else { break };
        assert!(next > after, "it goes forward");
        after = next;
    }
    assert_eq!((met, versions), (expected, 2));
}

#[tokio::test]
async fn whatever_is_done_to_the_bytes_is_found() {
    let store = Store::new().await;
    let bytes: Vec<u8> = (0..300_001_u32).map(|at| (at * 31 % 251) as u8).collect();
    let body = store.put_blobs("a", &bytes).await;
    let (first, second) = (store.file(&body, 0), store.file(&body, 1));
    let blob = |place: usize| body.object.body.segments()[place].blob;
    let whole = std::fs::read(&second).unwrap();
    assert_eq!(store.examine(&body).await.unwrap(), None);

    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&second, flipped).unwrap();
    assert_eq!(store.examine(&body).await.unwrap(), Some(Fault::Hash));
    for here in [0, 1, whole.len() - 1, whole.len() + 1] {
        std::fs::write(&second, [&whole[..], b"more"].concat().get(..here).unwrap()).unwrap();
        // The last four bytes are the checksum of those before.
        let (here, expected) = (here.saturating_sub(4) as u64, whole.len() as u64 - 4);
        let fault = Fault::Size { blob: Some(blob(1)), here, expected };
        assert_eq!(store.examine(&body).await.unwrap(), Some(fault));
    }
    std::fs::write(&second, &whole).unwrap();
    std::fs::remove_file(&first).unwrap();
    assert_eq!(store.examine(&body).await.unwrap(), Some(Fault::Missing { blob: blob(0) }));

    let inline = store.put("i", b"inline", Body::Inline(Bytes::from_static(b"inline"))).await;
    let row = key::record(inline.content, &inline.key);
    for (rotten, fault) in
        [(&b"inlinf"[..], Fault::Hash), (b"in", Fault::Size { blob: None, here: 2, expected: 6 })]
    {
        let row = row.clone();
        let rot = move |batch: &mut crate::batch::Batch<'_>| {
            batch.set_row(Family::Body, row, Some(rotten.to_vec()));
            Ok(())
        };
        store.catalogue.commit(rot).await.unwrap();
        assert_eq!(store.examine(&inline).await.unwrap(), Some(fault));
    }
}

#[tokio::test]
async fn what_was_overwritten_meanwhile_is_no_damage() {
    let store = Store::new().await;
    let body = store.put_blobs("a", b"some bytes").await;
    std::fs::remove_file(store.file(&body, 0)).unwrap();
    store.put("a", b"new", Body::Inline(Bytes::from_static(b"new"))).await;
    assert_eq!(store.examine(&body).await.unwrap(), None);
}

/// Also while the content is read-only, and seen by no reader of the feed.
#[tokio::test]
async fn a_repair_changes_the_bytes_and_nothing_else() {
    let store = Store::new().await;
    let id = store.content.id;
    let (bytes, inline) = (vec![7; 100_000], b"inline");
    let body = store.put_blobs("a", &bytes).await;
    let small = store.put("i", inline, Body::Inline(Bytes::from_static(inline))).await;
    let tags = [("colour".to_owned(), "red".to_owned())];
    store.catalogue.set_tags(id, NAMESPACE, "a", None, tags.into()).await.unwrap();
    store.read_only().await;
    std::fs::write(store.file(&body, 1), b"rot").unwrap();
    let row = key::record(id, &small.key);
    let rot = move |batch: &mut crate::batch::Batch<'_>| {
        batch.set_row(Family::Body, row, Some(b"inlinf".to_vec()));
        Ok(())
    };
    store.catalogue.commit(rot).await.unwrap();
    let feed = || {
        let request = ChangesRequest {
            exclude: None,
            after: 0,
            configuration_only: false,
            changes_max: 100,
            bytes_max: 1 << 20,
        };
        let batch = store.catalogue.changes(id, &request).unwrap();
        batch
            .changes
            .into_iter()
            .map(|change| (change.sequence, change.record.key, change.record.version))
            .collect::<Vec<_>>()
    };
    let (before, fed) = (store.catalogue.content(id).unwrap(), feed());
    let record = store.catalogue.record(id, &body.key).unwrap().unwrap();

    let fresh = Body::Segments(vec![store.write(&bytes).await]);
    assert!(store.catalogue.repair_body(body.clone(), fresh.clone()).await.unwrap());
    let same = Body::Inline(Bytes::from_static(inline));
    assert!(store.catalogue.repair_body(small.clone(), same).await.unwrap());

    let now = store.body("a").unwrap();
    assert_eq!(now.object.body, fresh);
    let mut expected = record;
    expected.as_object_mut().unwrap().body = fresh.clone();
    assert_eq!(store.catalogue.record(id, &body.key).unwrap().unwrap(), expected, "tags of later, too");
    for body in [&now, &store.body("i").unwrap()] {
        assert_eq!(store.examine(body).await.unwrap(), None);
    }
    let after = store.catalogue.content(id).unwrap();
    assert_eq!((after.head, after.digest, after.bytes), (before.head, before.digest, before.bytes));
    assert_eq!(feed(), fed);

    // A second one finds the record repaired, and what it brought is swept with what was damaged.
    let late = Body::Segments(vec![store.write(&bytes).await]);
    assert!(!store.catalogue.repair_body(body, late).await.unwrap());
    store.clock.advance(60_000);
    assert_eq!(sweep_garbage(&store.catalogue, &store.blobs).await.unwrap(), 3);
    assert_eq!(store.findings(), [""; 0]);
}

#[tokio::test]
async fn a_repair_needs_bytes_of_the_size_and_blobs_that_stay() {
    let store = Store::new().await;
    let body = store.put_blobs("a", b"some bytes").await;
    let short = Body::Segments(vec![store.write(b"some byte").await]);
    let refused = store.catalogue.repair_body(body.clone(), short).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    let swept = Body::Segments(vec![Segment { blob: BlobId::random(), size: 10 }]);
    let refused = store.catalogue.repair_body(body.clone(), swept).await;
    assert!(matches!(refused, Err(Error::LeaseExpired { .. })));
    assert_eq!(store.body("a").unwrap(), body);
}

#[tokio::test]
async fn a_folder_that_is_gone_says_nothing_of_the_blobs_in_it() {
    let store = Store::new().await;
    let body = store.put_blobs("a", b"some bytes").await;
    let (folder, away) = (store.folder.path().join("blobs"), store.folder.path().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    for is_empty in [false, true] {
        if is_empty {
            // As a mount point that nothing is mounted on.
            drop(Blobs::open(&folder).unwrap());
        }
        assert!(matches!(store.examine(&body).await, Err(Error::BlobsGone { .. })));
        let again = Presence::establish(&store.catalogue, &folder).await;
        assert!(matches!(again, Err(Error::BlobsGone { .. })));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(store.examine(&body).await.unwrap(), None);
    Presence::establish(&store.catalogue, &folder).await.unwrap();
    assert_eq!(store.findings(), [""; 0]);
}

#[tokio::test]
async fn an_empty_catalogue_does_not_take_over_blobs_of_another_store() {
    let store = Store::new().await;
    let body = store.put_blobs("a", b"some bytes").await;
    let other = tempfile::tempdir().unwrap();
    let empty = open(other.path(), &store.clock);
    let taken = Presence::establish(&empty, &store.folder.path().join("blobs")).await;
    assert!(matches!(taken, Err(Error::OtherBlobs { .. })));
    assert_eq!(store.examine(&body).await.unwrap(), None);
}

/// As folders were before they were marked.
#[tokio::test]
async fn a_folder_without_a_mark_is_marked_if_it_has_what_is_named() {
    let store = Store::new().await;
    let body = store.put_blobs("a", b"some bytes").await;
    let folder = store.folder.path().join("blobs");
    let unmark = async || {
        std::fs::remove_file(folder.join("store")).unwrap();
        let unnote = |batch: &mut crate::batch::Batch<'_>| {
            batch.set_row(Family::Meta, key::MARKED.to_vec(), None);
            Ok(())
        };
        store.catalogue.commit(unnote).await.unwrap();
    };
    unmark().await;
    Presence::establish(&store.catalogue, &folder).await.unwrap().check().unwrap();
    unmark().await;
    for place in 0..2 {
        std::fs::remove_file(store.file(&body, place)).unwrap();
    }
    let gone = Presence::establish(&store.catalogue, &folder).await;
    assert!(matches!(gone, Err(Error::BlobsGone { .. })));
    assert_eq!(sweep_orphans(&store.catalogue, &store.blobs).await.unwrap(), 0);
}

impl Store {
    async fn open_upload(&self, content: &Content, key: &str) -> UploadId {
        let upload = Upload { key: key.into(), ..Upload::default() };
        self.catalogue.create_upload(content.id, NAMESPACE, upload).await.unwrap().id
    }

    /// A part of two blobs.
    async fn put_part(&self, content: &Content, key: &str, upload: UploadId, number: u32, bytes: &[u8]) {
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        let part = Part {
            number,
            size: bytes.len() as u64,
            etag: "e".into(),
            content_hash: *blake3::hash(bytes).as_bytes(),
            segments: vec![self.write(head).await, self.write(tail).await],
            ..Part::default()
        };
        self.catalogue.put_part(content.id, NAMESPACE, key, upload, part).await.unwrap();
    }

    fn part(&self, key: &str, upload: UploadId, number: u32) -> Option<StoredPart> {
        self.catalogue.stored_part(self.content.id, NAMESPACE, key, upload, number).unwrap()
    }

    async fn examine_part(&self, part: &StoredPart) -> Result<Option<Fault>> {
        examine_part(&self.catalogue, &self.blobs, &self.presence, part, |_| std::future::ready(())).await
    }

    /// What a walk meets, page by page; `between` runs after the first page.
    async fn walk_parts(&self, between: impl AsyncFnOnce()) -> Vec<(ContentId, String, UploadId, u32)> {
        let (mut met, mut after, mut between) = (Vec::new(), Vec::new(), Some(between));
        loop {
            let page = self.catalogue.parts_after(&after).unwrap();
            assert_eq!(page.unreadable, [""; 0]);
            for part in page.parts {
                assert_eq!(self.examine_part(&part).await.unwrap(), None);
                let place = part.place();
                assert!(place > after && page.next.as_ref().is_none_or(|next| place <= *next));
                met.push((part.content, part.key, part.upload, part.part.number));
            }
            let Some(next) = page.next else { return met };
            assert!(next > after, "it goes forward");
            after = next;
            if let Some(between) = between.take() {
                between().await;
            }
        }
    }
}

#[tokio::test]
async fn a_walk_meets_every_part_of_every_open_upload_once() {
    let store = Store::new().await;
    let other = store.catalogue.create_content(ContentKind::Tenant, "other", "").await.unwrap();
    store.catalogue.create_namespace(other.id, NAMESPACE).await.unwrap();
    let mut expected = Vec::new();
    for content in [&store.content, &other] {
        for (key, parts) in [("a", 70), ("b", 0), ("c", 3), ("c", 1)] {
            let upload = store.open_upload(content, key).await;
            for number in 1..=parts {
                store.put_part(content, key, upload, number * 2, b"bytes").await;
                expected.push((content.id, key.to_owned(), upload, number * 2));
            }
        }
    }
    expected.sort();
    assert_eq!(store.walk_parts(async || {}).await, expected);

    // The upload of which the first page met a part ends, and the walk goes on behind it.
    let (content, key, upload, _) = expected[0].clone();
    let abort = async || store.catalogue.abort_upload(content, NAMESPACE, &key, upload).await.unwrap();
    let met = store.walk_parts(abort).await;
    let rest: Vec<_> = expected.iter().filter(|part| part.2 != upload).cloned().collect();
    assert_eq!(met[met.len() - rest.len()..], rest);
    assert_eq!(met.len() - rest.len(), PARTS_MAX);
}

#[tokio::test]
async fn a_damaged_part_is_found_unless_it_is_replaced_or_its_upload_ends() {
    let store = Store::new().await;
    let upload = store.open_upload(&store.content, "a").await;
    for number in [1, 2, 3] {
        store.put_part(&store.content, "a", upload, number, b"some bytes of a part").await;
    }
    let parts = [1, 2, 3].map(|number| store.part("a", upload, number).unwrap());
    let file = |part: &StoredPart, place: usize| {
        blob::file(&store.folder.path().join("blobs"), part.part.segments[place].blob)
    };
    for part in &parts {
        assert_eq!(store.examine_part(part).await.unwrap(), None);
        let mut bytes = std::fs::read(file(part, 1)).unwrap();
        bytes[0] ^= 1;
        std::fs::write(file(part, 1), bytes).unwrap();
        assert_eq!(store.examine_part(part).await.unwrap(), Some(Fault::Hash));
    }
    std::fs::remove_file(file(&parts[1], 0)).unwrap();
    let blob = parts[1].part.segments[0].blob;
    assert_eq!(store.examine_part(&parts[1]).await.unwrap(), Some(Fault::Missing { blob }));

    store.put_part(&store.content, "a", upload, 1, b"some bytes of a part").await;
    assert_eq!(store.examine_part(&parts[0]).await.unwrap(), None, "it was replaced");
    assert_ne!(store.part("a", upload, 1).unwrap().body().fingerprint(), parts[0].body().fingerprint());
    assert_eq!(store.part("a", upload, 4), None);
    store.catalogue.abort_upload(store.content.id, NAMESPACE, "a", upload).await.unwrap();
    assert_eq!(store.examine_part(&parts[1]).await.unwrap(), None, "its upload has ended");
    assert_eq!(store.part("a", upload, 1), None);
}
