//! A sound store has nothing to report; whatever is taken from it or put into it is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use switchback_model::{
    AccessMode, ContentKind, Epoch, Incarnation, LinkId, Side, SiteId, Version, VersionVector,
};
use tempfile::TempDir;

use super::*;
use crate::record::{BlobId, Body, CredentialRecord, Object, Payload, Record};
use crate::versioning::VERSIONING;
use crate::{
    AccessRecord, Blobs, Catalogue, Change, CompletedPart, Completion, Conditions, ConflictPolicy, Lineage,
    ManualClock, Options, Part, Sender, Systems, Upload,
};

const NAMESPACE: &str = "photos";
const SYSTEM: SystemId = SystemId([1; 16]);
const LINK: LinkId = LinkId([9; 16]);
/// Whom the conflict is with.
const PEER: SiteId = SiteId(2);

struct Store {
    folder: TempDir,
}

impl Store {
    fn request(&self, read: bool) -> CheckRequest {
        let path = |name: &str| self.folder.path().join(name);
        let blobs = BlobPlace::Folder(path("blobs"));
        CheckRequest { catalogue: path("catalogue"), blobs, system: SYSTEM, read, cache_bytes: 1 << 20 }
    }

    fn check(&self, read: bool) -> (Checked, Vec<Finding>) {
        let mut findings = Vec::new();
        let checked = check(&self.request(read), &mut |finding| findings.push(finding)).unwrap();
        assert_eq!(checked.findings, findings.len() as u64);
        (checked, findings)
    }

    fn engine(&self) -> Engine {
        Engine::open(&self.folder.path().join("catalogue"), 1 << 20).unwrap()
    }

    /// Every row, by family.
    fn rows(&self) -> BTreeMap<(Family, Vec<u8>), Vec<u8>> {
        let (engine, mut rows) = (self.engine(), BTreeMap::new());
        for family in [Family::Meta, Family::Record, Family::Body, Family::Feed, Family::Upload, Family::Blob]
        {
            for row in engine.view().prefix(family, &[]) {
                let (key, value) = row.unwrap();
                rows.insert((family, key), value);
            }
        }
        rows
    }

    fn set(&self, family: Family, key: &[u8], value: Option<Vec<u8>>) {
        self.engine().commit(vec![(family, key.to_vec(), value)]).unwrap();
    }

    fn files(&self) -> Vec<PathBuf> {
        let shards = std::fs::read_dir(self.folder.path().join("blobs")).unwrap();
        let files = shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }
}

async fn blob(catalogue: &Catalogue, blobs: &Blobs, bytes: &[u8]) -> crate::Segment {
    let id = BlobId::random();
    catalogue.lease_blobs(vec![id]).await.unwrap();
    let mut writer = blobs.writer(id);
    writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    writer.finish().await.unwrap()
}

fn object(bytes: &[u8], body: Body) -> Object {
    let content_hash = *blake3::hash(bytes).as_bytes();
    Object { size: bytes.len() as u64, etag: "etag".into(), content_hash, body, ..Object::default() }
}

/// A store with a row of every kind: configuration, objects inline and in blobs, of one part and of two, versions with a
/// delete marker, a tombstone, the note of a conflict, an upload with a part, a lease.
async fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_000_000));
    let options = Options { clock, cache_bytes: 1 << 20, reserve_bytes: 0, ..Options::new(SiteId(1)) };
    let catalogue = Catalogue::open(&folder.path().join("catalogue"), options).unwrap();
    let blobs = Blobs::open(&folder.path().join("blobs")).unwrap();
    let content = catalogue.create_content(ContentKind::Tenant, "acme", "").await.unwrap();
    let id = content.id;
    catalogue.create_namespace(id, NAMESPACE).await.unwrap();
    let credential =
        CredentialRecord { access_key: "KEY".into(), secret_key: "secret".into(), ..Default::default() };
    catalogue.create_credential(id, credential).await.unwrap();
    let access = AccessRecord {
        mode: AccessMode::ReadWrite,
        epoch: Epoch(0),
        link: Some(LINK),
        link_name: "a".into(),
        side: Side::Primary,
        local_incarnation: Incarnation(1),
        peer_incarnation: Incarnation(2),
        primary_site: SiteId(1),
        replica_site: PEER,
        writer: None,
        both_read_only: false,
        orphaned: false,
    };
    catalogue.set_access(vec![content.clone()], access).await.unwrap();
    let put_in = async |namespace: &str, key: &str, object: Object| {
        catalogue.put_object(id, namespace, key, object, Conditions::default()).await.unwrap();
    };
    let put = async |key: &str, object: Object| put_in(NAMESPACE, key, object).await;
    for key in ["inline", "gone", "disputed"] {
        put(key, object(key.as_bytes(), Body::Inline(Bytes::copy_from_slice(key.as_bytes())))).await;
    }
    catalogue.delete_objects(id, NAMESPACE, vec!["gone".into()]).await.unwrap();
    catalogue.create_namespace(id, "kept").await.unwrap();
    let enabled = Some("Enabled".to_owned());
    catalogue.set_namespace_setting(id, "kept", VERSIONING, enabled).await.unwrap();
    for bytes in [b"one", b"two"] {
        put_in("kept", "versioned", object(bytes, Body::Inline(Bytes::from_static(bytes)))).await;
    }
    catalogue.delete_objects(id, "kept", vec!["versioned".into()]).await.unwrap();
    let large = vec![7; 3 << 20];
    put("large", object(&large, Body::Segments(vec![blob(&catalogue, &blobs, &large).await]))).await;

    // An empty part is a part all the same.
    for (key, sizes) in [("parts", [5 << 20, 5 << 20]), ("empty-parts", [0, 0])] {
        let upload = catalogue.create_upload(id, NAMESPACE, Upload { key: key.into(), ..Upload::default() });
        let upload = upload.await.unwrap();
        for (number, size) in (1..).zip(sizes) {
            let bytes = vec![u8::try_from(number).unwrap(); size];
            let part = Part {
                number,
                size: bytes.len() as u64,
                etag: "etag".into(),
                content_hash: *blake3::hash(&bytes).as_bytes(),
                segments: if size == 0 { vec![] } else { vec![blob(&catalogue, &blobs, &bytes).await] },
                ..Part::default()
            };
            catalogue.put_part(id, NAMESPACE, key, upload.id, part).await.unwrap();
        }
        let parts = [1, 2].map(|number| CompletedPart { number, etag: "etag".into() }).to_vec();
        let completion = Completion { parts, etag: "etag".into(), checksums: Vec::new() };
        let completed =
            catalogue.complete_upload(id, NAMESPACE, key, upload.id, completion, Conditions::default());
        completed.await.unwrap();
    }

    let open = catalogue.create_upload(id, NAMESPACE, Upload { key: "open".into(), ..Upload::default() });
    let open = open.await.unwrap();
    let segments = vec![blob(&catalogue, &blobs, b"part").await];
    let part = Part { number: 1, size: 4, segments, ..Part::default() };
    catalogue.put_part(id, NAMESPACE, "open", open.id, part).await.unwrap();
    catalogue.lease_blobs(vec![BlobId([3; 16])]).await.unwrap();

    let ours = catalogue.object(id, NAMESPACE, "disputed", false).unwrap().version;
    let theirs = Record {
        key: RecordKey::object(NAMESPACE, "disputed"),
        version: Version { hlc: Hlc(ours.hlc.0 + 1), site: PEER },
        replaced: VersionVector::default(),
        absorbed: VersionVector::default(),
        epoch: Epoch(0),
        payload: Payload::Object(Box::new(object(b"theirs", Body::Inline(Bytes::from_static(b"theirs"))))),
    };
    let sender = Sender {
        feed: switchback_model::FeedId(77),
        lineage: Lineage::default(),
        local_parting: None,
        link: LINK,
        primary_site: SiteId(1),
        policy: ConflictPolicy::NewestWins,
        systems: Systems::default(),
    };
    let changes = vec![Change { sequence: 1, record: theirs }];
    catalogue.apply(id, sender, changes, Some(1)).await.unwrap();
    Store { folder }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}

#[test]
fn a_sound_store_has_nothing_to_report() {
    let store = run(store());
    let (checked, findings) = store.check(true);
    assert_eq!(findings, []);
    // inline, disputed and its loser, two versions, large, two in parts.
    assert_eq!((checked.contents, checked.objects, checked.blobs, checked.orphans), (2, 8, 4, 0));
    assert_eq!(store.check(false), (checked, findings));
}

#[test]
fn a_row_that_is_missing_is_found_whatever_it_is() {
    let store = run(store());
    let (mut kinds, rows) = (BTreeMap::new(), store.rows());
    for ((family, key), value) in rows {
        let kind = match family {
            Family::Meta | Family::Upload | Family::Blob => key[0],
            Family::Record | Family::Body => key[16],
            Family::Feed => 0,
        };
        // The bytes are swept as those of an orphan all the same.
        if (family, kind) == (Family::Blob, b'g') {
            continue;
        }
        *kinds.entry((family, kind)).or_insert(0) += 1;
        store.set(family, &key, None);
        let (_, findings) = store.check(false);
        assert_ne!(findings, [], "{family:?} {}", hex::encode(&key));
        store.set(family, &key, Some(value));
    }
    assert_eq!(store.check(true).1, []);
    let of = |family| {
        kinds.keys().filter(|(found, _)| *found == family).map(|(_, kind)| *kind).collect::<Vec<_>>()
    };
    assert_eq!(of(Family::Meta), b"bcdhkmnstv".to_vec(), "the store has a row of each kind");
    assert_eq!(of(Family::Record), [1, 2, 3, 0x10, 0x11, 0x20]);
    assert_eq!(of(Family::Upload), b"pu".to_vec());
    assert_eq!(of(Family::Blob), b"elr".to_vec());
}

#[test]
fn a_row_too_many_is_found() {
    let store = run(store());
    for ((family, key), value) in store.rows() {
        // Another lease, garbage or upload is as good as this one.
        if family == Family::Upload && key[0] == b'u' || family == Family::Blob && key[0] == b'g' {
            continue;
        }
        if key.len() == 1 {
            continue;
        }
        let mut other = key.clone();
        other[key.len() - 1] ^= 1;
        if store.engine().view().row(family, &other).unwrap().is_some() {
            continue;
        }
        store.set(family, &other, Some(value));
        let (_, findings) = store.check(false);
        assert_ne!(findings, [], "{family:?} {}", hex::encode(&other));
        store.set(family, &other, None);
    }
}

#[test]
fn bytes_that_rot_are_found() {
    let store = run(store());
    for path in store.files() {
        let bytes = std::fs::read(&path).unwrap();
        let mut rotten = bytes.clone();
        let at = rotten.len() / 2;
        rotten[at] ^= 1;
        std::fs::write(&path, rotten).unwrap();
        let (_, findings) = store.check(true);
        assert_eq!(findings.len(), 1, "{}: {findings:?}", path.display());
        assert_eq!(findings[0].problem, "its bytes are not those that were written");
        assert_eq!(store.check(false).1, []);
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert_ne!(store.check(false).1, []);
        std::fs::remove_file(&path).unwrap();
        assert_ne!(store.check(false).1, []);
        std::fs::write(&path, bytes).unwrap();
    }
    for ((family, key), mut value) in store.rows() {
        if family == Family::Body {
            value[0] ^= 1;
            store.set(family, &key, Some(value));
            assert_eq!(store.check(false).1, []);
            let (_, findings) = store.check(true);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].problem, "its bytes are not those that were written");
            return;
        }
    }
    panic!("no body");
}

#[test]
fn a_blob_that_nothing_knows_is_an_orphan() {
    let store = run(store());
    let orphan = BlobId([0xee; 16]);
    std::fs::write(crate::blob::file(&store.folder.path().join("blobs"), orphan), b"left").unwrap();
    let (checked, findings) = store.check(true);
    assert_eq!((checked.orphans, findings), (1, vec![]));
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = CheckRequest {
        catalogue: folder.path().join("catalogue"),
        blobs: BlobPlace::Folder(folder.path().join("blobs")),
        system: SYSTEM,
        read: false,
        cache_bytes: 1 << 20,
    };
    let refused = check(&missing, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, Error::NoStore { .. }), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_store_in_use_is_left_alone() {
    let store = run(store());
    let in_use = store.engine();
    let refused = check(&store.request(false), &mut |_| {}).unwrap_err();
    assert!(
        refused.to_string().ends_with("is in use: stop the data mover of this system first"),
        "{refused}"
    );
    drop(in_use);
    assert_eq!(store.check(false).1, []);
}
