//! A bucket is one system's, and is never taken for what it is not.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
    PutResult,
};
use switchback_model::SystemId;

use super::*;
use crate::blob::{Blobs, Home, PART_BYTES};

const EAST: SystemId = SystemId([1; 16]);
const WEST: SystemId = SystemId([2; 16]);

fn blobs(store: &Arc<impl ObjectStore>, prefix: &str, system: SystemId, has_blobs: Option<bool>) -> Blobs {
    let bucket = Bucket::over(store.clone(), prefix, BlobClaim { system, has_blobs });
    Blobs { store: bucket.store(), home: Home::Bucket(Arc::new(bucket)) }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

async fn write(blobs: &Blobs, blob: BlobId, bytes: &[u8], step: usize) -> Result<()> {
    let mut writer = blobs.writer(blob);
    for piece in bytes.chunks(step) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    assert_eq!(writer.finish().await?.size, bytes.len() as u64);
    Ok(())
}

async fn read(blobs: &Blobs, blob: BlobId, size: usize) -> Result<Vec<u8>> {
    let pieces: Vec<Bytes> = blobs.read(blob, 0..size as u64).await?.try_collect().await?;
    if let Some((_, full)) = pieces.split_last() {
        assert!(full.iter().all(|piece| piece.len() == 256 << 10), "a flow sends pieces as they are read");
    }
    Ok(pieces.concat())
}

fn reason<T: fmt::Debug>(refused: Result<T>) -> String {
    match refused.unwrap_err() {
        Error::BlobPlace { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}

#[test]
fn bytes_come_back_whatever_the_pieces_they_came_in() {
    run(async {
        let blobs = blobs(&Arc::new(InMemory::new()), "east", EAST, Some(false));
        for size in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 70_000] {
            for step in [10_000, 1 << 20, usize::MAX] {
                let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
                let blob = BlobId::random();
                write(&blobs, blob, &bytes, step).await.unwrap();
                assert!(read(&blobs, blob, size).await.unwrap() == bytes, "{size} by {step}");
                assert!(blobs.list(blob.0[0]).await.unwrap().contains(&(blob, size as u64)));
                blobs.delete(blob).await.unwrap();
                blobs.delete(blob).await.unwrap();
                assert_eq!(blobs.list(blob.0[0]).await.unwrap(), []);
            }
        }
    });
}

#[test]
fn a_prefix_belongs_to_the_system_that_took_it_first() {
    run(async {
        let store = Arc::new(InMemory::new());
        // The gateway may be first, and waits for the mover.
        let gateway = blobs(&store, "east", EAST, None);
        assert!(matches!(gateway.verify().await, Err(Error::Blob { .. })));
        assert!(matches!(write(&gateway, BlobId::random(), b"a", 1).await, Err(Error::Blob { .. })));
        let mover = blobs(&store, "east", EAST, Some(false));
        mover.verify().await.unwrap();
        let blob = BlobId::random();
        write(&gateway, blob, b"bytes", 9).await.unwrap();
        // After a start it has blobs.
        assert_eq!(read(&blobs(&store, "east", EAST, Some(true)), blob, 5).await.unwrap(), b"bytes");
        for has_blobs in [None, Some(false), Some(true)] {
            let other = blobs(&store, "east", WEST, has_blobs);
            assert!(reason(other.verify().await).contains("prefix of its own"));
            reason(write(&other, blob, b"other", 9).await);
            reason(read(&other, blob, 5).await);
            reason(other.delete(blob).await);
            reason(other.list_to_sweep(blob.0[0]).await);
        }
        // Beside it is room, and nothing of the one is seen in the other; a name that begins alike is no part of it.
        let beside = blobs(&store, "eas", WEST, Some(false));
        beside.verify().await.unwrap();
        for shard in 0..=u8::MAX {
            assert_eq!(beside.list(shard).await.unwrap(), []);
        }
        assert_eq!(read(&gateway, blob, 5).await.unwrap(), b"bytes");
    });
}

#[test]
fn a_bucket_that_was_emptied_is_not_one_without_blobs() {
    run(async {
        let store = Arc::new(InMemory::new());
        let mover = blobs(&store, "east", EAST, Some(false));
        let (kept, gone) = (BlobId::random(), BlobId::random());
        write(&mover, kept, b"bytes", 9).await.unwrap();
        // One that is missing is gone, as long as the bucket is there.
        assert!(matches!(read(&mover, gone, 5).await, Err(Error::NoSuchBlob(blob)) if blob == gone));
        let empty = Arc::new(InMemory::new());
        let after = blobs(&empty, "east", EAST, Some(true));
        assert!(reason(after.verify().await).contains("emptied"));
        reason(after.list_to_sweep(kept.0[0]).await);
        // It may also happen under a system that runs.
        store.delete(&Location::from("east/switchback-system")).await.unwrap();
        store.delete(&mover.location(kept)).await.unwrap();
        assert!(reason(read(&mover, kept, 5).await).contains("emptied"));
    });
}

#[test]
fn a_prefix_with_objects_of_nobody_is_left_alone() {
    run(async {
        let store = Arc::new(InMemory::new());
        store.put(&Location::from("east/holiday.jpg"), PutPayload::from("x")).await.unwrap();
        let refused = reason(blobs(&store, "east", EAST, Some(false)).verify().await);
        assert!(refused.contains("east/holiday.jpg"), "{refused}");
        store.put(&Location::from("west/switchback-system"), PutPayload::from("me")).await.unwrap();
        assert!(reason(blobs(&store, "west", EAST, Some(false)).verify().await).contains("nobody"));
        let left: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(left.len(), 2);
    });
}

/// A backend that can be away.
#[derive(Debug)]
struct Absent {
    inner: InMemory,
    is_away: AtomicBool,
}

impl Absent {
    fn here(&self) -> object_store::Result<&InMemory> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(object_store::Error::Generic { store: "test", source: "nobody answers".into() });
        }
        Ok(&self.inner)
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Absent")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Absent {
    async fn put_opts(
        &self,
        location: &Location,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.here()?.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Location,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.here()?.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Location, options: GetOptions) -> object_store::Result<GetResult> {
        self.here()?.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Location>>,
    ) -> BoxStream<'static, object_store::Result<Location>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Location>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Location>) -> object_store::Result<ListResult> {
        self.here()?.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Location,
        to: &Location,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.here()?.copy_opts(from, to, options).await
    }
}

#[test]
fn a_backend_that_is_away_fails_requests_and_nothing_else() {
    run(async {
        let store = Arc::new(Absent { inner: InMemory::new(), is_away: AtomicBool::new(true) });
        let mover = blobs(&store, "east", EAST, Some(false));
        let blob = BlobId::random();
        // Away from the start.
        assert!(matches!(mover.verify().await, Err(Error::Blob { .. })));
        assert!(matches!(write(&mover, blob, b"bytes", 9).await, Err(Error::Blob { .. })));
        store.is_away.store(false, Ordering::Relaxed);
        write(&mover, blob, b"bytes", 9).await.unwrap();
        // Away in between: no blob is taken for missing.
        store.is_away.store(true, Ordering::Relaxed);
        assert!(matches!(read(&mover, blob, 5).await, Err(Error::Blob { .. })));
        store.is_away.store(false, Ordering::Relaxed);
        assert_eq!(read(&mover, blob, 5).await.unwrap(), b"bytes");
    });
}
