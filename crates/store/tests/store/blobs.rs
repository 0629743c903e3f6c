//! Blobs: durable before they are named, kept while they are named or leased, swept afterwards.

use bytes::Bytes;
use futures::TryStreamExt as _;
use switchback_store::{
    BlobId, Blobs, Body, Conditions, Error, Object, Segment, sweep_garbage, sweep_orphans,
};

use crate::support::{EAST, NAMESPACE, System, object, run};

async fn write(blobs: &Blobs, blob: BlobId, bytes: &[u8]) -> Segment {
    let mut writer = blobs.writer(blob);
    for piece in bytes.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read(blobs: &Blobs, blob: BlobId, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
    let pieces: Vec<Bytes> = blobs.read(blob, range).await?.try_collect().await?;
    Ok(pieces.concat())
}

fn of(segments: Vec<Segment>) -> Object {
    let size = segments.iter().map(|segment| segment.size).sum();
    Object { size, etag: "e".into(), body: Body::Segments(segments), ..Object::default() }
}

/// Leases, writes and names one blob.
async fn put_blob(system: &System, blobs: &Blobs, content: switchback_model::ContentId, key: &str) -> BlobId {
    let blob = BlobId::random();
    system.catalogue.lease_blobs(vec![blob]).await.unwrap();
    let segment = write(blobs, blob, b"bytes").await;
    let object = of(vec![segment]);
    system.catalogue.put_object(content, NAMESPACE, key, object, Conditions::default()).await.unwrap();
    blob
}

#[test]
fn bytes_read_back_in_any_range_small_or_large() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        // The last is flushed twice while it comes.
        for size in [0usize, 1, 300_000, 4 << 20, (9 << 20) + 17, (35 << 20) + 1] {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            let blob = BlobId::random();
            let segment = write(&blobs, blob, &bytes).await;
            assert_eq!((segment.blob, segment.size), (blob, size as u64));
            assert_eq!(read(&blobs, blob, 0..size as u64).await.unwrap(), bytes);
            if size > 300_000 {
                assert_eq!(read(&blobs, blob, 262_143..270_001).await.unwrap(), bytes[262_143..270_001]);
            }
            // Another process sees what this one finished.
            let other = Blobs::open(folder.path()).unwrap();
            assert_eq!(read(&other, blob, 0..size as u64).await.unwrap(), bytes);
        }
    });
}

#[test]
fn a_missing_or_short_blob_is_an_error_before_the_first_byte() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let blob = BlobId::random();
        assert!(matches!(read(&blobs, blob, 0..1).await, Err(Error::NoSuchBlob(missing)) if missing == blob));
        write(&blobs, blob, b"12345").await;
        assert!(matches!(read(&blobs, blob, 3..9).await, Err(Error::Corrupt { .. })));
        blobs.delete(blob).await.unwrap();
        blobs.delete(blob).await.unwrap();
        assert!(matches!(read(&blobs, blob, 0..1).await, Err(Error::NoSuchBlob(_))));
    });
}

#[test]
fn an_unfinished_blob_has_no_name() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let blob = BlobId::random();
        let mut writer = blobs.writer(blob);
        writer.write(Bytes::from(vec![1; 5 << 20])).await.unwrap();
        drop(writer);
        assert!(matches!(read(&blobs, blob, 0..1).await, Err(Error::NoSuchBlob(_))));
    });
}

#[test]
fn a_blob_whose_file_vanished_while_it_was_written_is_not_finished() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let blob = BlobId::random();
        let mut writer = blobs.writer(blob);
        writer.write(Bytes::from(vec![1; 5 << 20])).await.unwrap();
        let shard = folder.path().join(format!("{:02x}", blob.as_bytes()[0]));
        let files: Vec<_> = std::fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        std::fs::remove_file(&files[0]).unwrap();
        assert!(matches!(writer.finish().await, Err(Error::Blob { .. })));
        assert!(matches!(read(&blobs, blob, 0..1).await, Err(Error::NoSuchBlob(_))));
    });
}

#[test]
fn a_superseded_blob_is_swept_after_a_grace_and_a_copied_one_stays() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let catalogue = &system.catalogue;
        let superseded = put_blob(&system, &blobs, content.id, "a").await;
        let copied = put_blob(&system, &blobs, content.id, "b").await;
        // A copy names the same blob: no lease is needed for what a record names.
        let copy = of(vec![Segment { blob: copied, size: 5 }]);
        catalogue.put_object(content.id, NAMESPACE, "c", copy, Conditions::default()).await.unwrap();
        system.put(&content, "a", "inline").await.unwrap();
        system.delete(&content, "b").await;
        assert_eq!(sweep_garbage(catalogue, &blobs).await.unwrap(), 0);
        assert_eq!(read(&blobs, superseded, 0..5).await.unwrap(), b"bytes");
        system.clock.advance(60_000);
        assert_eq!(sweep_garbage(catalogue, &blobs).await.unwrap(), 1);
        assert!(matches!(read(&blobs, superseded, 0..5).await, Err(Error::NoSuchBlob(_))));
        assert_eq!(read(&blobs, copied, 0..5).await.unwrap(), b"bytes");
        system.delete(&content, "c").await;
        system.clock.advance(60_000);
        assert_eq!(sweep_garbage(catalogue, &blobs).await.unwrap(), 1);
        // What was swept cannot be named any more.
        let late = of(vec![Segment { blob: copied, size: 5 }]);
        let refused = catalogue.put_object(content.id, NAMESPACE, "d", late, Conditions::default()).await;
        assert!(matches!(refused, Err(Error::LeaseExpired { .. })));
    });
}

#[test]
fn tags_and_rewrites_in_place_keep_the_blob() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let blob = put_blob(&system, &blobs, content.id, "a").await;
        system.catalogue.set_tags(content.id, NAMESPACE, "a", None, [].into()).await.unwrap();
        system.clock.advance(100_000_000);
        assert_eq!(sweep_garbage(&system.catalogue, &blobs).await.unwrap(), 0);
        assert_eq!(sweep_orphans(&system.catalogue, &blobs).await.unwrap(), 0);
        assert_eq!(read(&blobs, blob, 0..5).await.unwrap(), b"bytes");
    });
}

#[test]
fn a_lease_protects_until_it_ends_and_no_longer() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let (catalogue, blob) = (&system.catalogue, BlobId::random());
        let first = catalogue.lease_blobs(vec![blob]).await.unwrap();
        let segment = write(&blobs, blob, b"bytes").await;
        system.clock.set(first - 1);
        let renewed = catalogue.lease_blobs(vec![blob]).await.unwrap();
        system.clock.set(first + 1);
        assert_eq!(sweep_garbage(catalogue, &blobs).await.unwrap(), 0);
        assert_eq!(sweep_orphans(catalogue, &blobs).await.unwrap(), 0);
        // A write that is refused for another reason leaves the lease alone.
        let absent = Conditions { if_match: vec!["*".into()], ..Conditions::default() };
        catalogue.put_object(content.id, NAMESPACE, "a", of(vec![segment]), absent).await.unwrap_err();
        assert_eq!(sweep_garbage(catalogue, &blobs).await.unwrap(), 0);
        system.clock.set(renewed);
        let late =
            catalogue.put_object(content.id, NAMESPACE, "a", of(vec![segment]), Conditions::default()).await;
        assert!(matches!(late, Err(Error::LeaseExpired { .. })));
        assert_eq!(sweep_garbage(catalogue, &blobs).await.unwrap(), 1);
        assert!(matches!(read(&blobs, blob, 0..5).await, Err(Error::NoSuchBlob(_))));
    });
}

#[test]
fn what_a_crash_left_behind_is_found_and_nothing_else() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let named = put_blob(&system, &blobs, content.id, "a").await;
        let (leased, orphan) = (BlobId::random(), BlobId::random());
        system.catalogue.lease_blobs(vec![leased]).await.unwrap();
        write(&blobs, leased, b"bytes").await;
        write(&blobs, orphan, b"bytes").await;
        let system = system.reopen();
        assert_eq!(sweep_orphans(&system.catalogue, &blobs).await.unwrap(), 1);
        assert!(matches!(read(&blobs, orphan, 0..5).await, Err(Error::NoSuchBlob(_))));
        for blob in [named, leased] {
            assert_eq!(read(&blobs, blob, 0..5).await.unwrap(), b"bytes");
        }
    });
}

#[test]
fn many_superseded_blobs_are_swept_in_rounds() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let catalogue = &system.catalogue;
        let count = 600;
        let ids: Vec<BlobId> = (0..count).map(|_| BlobId::random()).collect();
        catalogue.lease_blobs(ids.clone()).await.unwrap();
        let object_of_all = of(ids.iter().map(|blob| Segment { blob: *blob, size: 1 }).collect());
        let put = async |object| {
            catalogue.put_object(content.id, NAMESPACE, "a", object, Conditions::default()).await.unwrap()
        };
        put(object_of_all).await;
        put(object("small")).await;
        system.clock.advance(60_000);
        let mut swept = Vec::new();
        loop {
            let sweep = catalogue.sweep().await.unwrap();
            assert!(sweep.blobs.len() < count);
            swept.extend(sweep.blobs);
            if !sweep.more {
                break;
            }
        }
        swept.sort();
        let mut ids = ids;
        ids.sort();
        assert_eq!(swept, ids);
    });
}
