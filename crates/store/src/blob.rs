//! Blobs: immutable files of bytes, each named once by a random identifier.
//!
//! They go through `object_store`, so that a bucket can take the folder's place. Its local backend,
//! opened with `with_fsync(true)`, flushes a file before it is renamed into place and the folder
//! after (seen with strace, and in its source: `finish_staged_rename`), for single puts and for
//! multipart uploads; so a finished blob is durable, and an unfinished one has no name.
//!
//! Reads do not use its stream, which hops to a blocking thread for every 8 KiB: the file is read
//! here, in larger pieces.
//!
//! 256 folders, made once, and no second level: a blob is larger than 32 KiB, so a folder of many
//! thousands is far away, and a folder made on the way would cost two flushes more.

use std::ffi::OsStr;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{
    GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload,
};
use tokio::task::JoinHandle;

use crate::engine::sync_folder;
use crate::error::{Error, Result};
use crate::record::{BlobId, Segment};

/// Bytes written at a time. A writer holds two of these: one filling, one on its way to the disk.
const PIECE_BYTES: usize = 4 << 20;

/// Bytes that come in smaller pieces than this are copied together.
const GATHER_BYTES: usize = 64 << 10;

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

/// The blobs of one system. Cheap to clone; gateway and mover may both have the folder open.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<LocalFileSystem>,
    root: PathBuf,
}

pub(crate) fn failed(
    operation: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(link) = cause {
        let io = link.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull) {
            return Error::StorageFull;
        }
        cause = link.source();
    }
    Error::Blob { operation, source: Arc::new(error) }
}

fn folder(blob: BlobId) -> String {
    format!("{:02x}", blob.0[0])
}

fn location(blob: BlobId) -> Location {
    Location::from_iter([folder(blob), blob.to_string()])
}

/// The file of a blob in the folder `root`.
pub(crate) fn file(root: &Path, blob: BlobId) -> PathBuf {
    root.join(folder(blob)).join(blob.to_string())
}

/// The blobs in the folder `root` whose identifiers begin with the byte `shard`.
pub(crate) fn list(root: &Path, shard: u8) -> Result<Vec<BlobId>> {
    let io = |error| failed("list", error);
    let entries = std::fs::read_dir(root.join(format!("{shard:02x}"))).map_err(io)?;
    entries.filter_map(|entry| entry.map(|entry| named(&entry.file_name())).map_err(io).transpose()).collect()
}

/// The blob whose file has this name.
fn named(name: &OsStr) -> Option<BlobId> {
    let mut id = [0; 16];
    hex::decode_to_slice(name.as_encoded_bytes(), &mut id).ok().map(|()| BlobId(id))
}

/// Runs `work` where blocking is allowed.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = switchback_world::aside(work).await.map_err(|error| failed(operation, error))?;
    done.map_err(|error| failed(operation, error))
}

impl Blobs {
    /// Opens the folder `path`, or creates it, durably.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |error| failed("open its folder", error);
        for shard in 0..=u8::MAX {
            std::fs::create_dir_all(path.join(format!("{shard:02x}"))).map_err(io)?;
        }
        for folder in path.ancestors().take(2).filter(|folder| !folder.as_os_str().is_empty()) {
            sync_folder(folder).map_err(io)?;
        }
        let store =
            LocalFileSystem::new_with_prefix(path).map_err(|error| failed("open its folder", error))?;
        Ok(Self { store: Arc::new(store.with_fsync(true)), root: path.to_owned() })
    }

    /// Begins to write `blob`, which must be fresh and leased.
    #[must_use]
    pub fn writer(&self, blob: BlobId) -> BlobWriter {
        BlobWriter {
            store: self.store.clone(),
            blob,
            size: 0,
            piece: Piece::default(),
            upload: None,
            in_flight: None,
        }
    }

    /// The bytes of `range`, in pieces of at most 256 KiB. The blob's file is opened before this
    /// returns, so a missing or short blob is an error here and not in the middle.
    pub async fn read(&self, blob: BlobId, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        if range.is_empty() {
            return Ok(futures::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let found = self.store.get_opts(&location(blob), options).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => Error::NoSuchBlob(blob),
            error => failed("read", error),
        })?;
        if found.range != range {
            return Err(Error::Corrupt { what: "blob" });
        }
        Ok(match found.payload {
            GetResultPayload::File(file, _) => read_file(file, range).boxed(),
            GetResultPayload::Stream(stream) => {
                stream.map(|piece| piece.map_err(|error| failed("read", error))).boxed()
            }
        })
    }

    /// The bytes that the blob has here.
    pub async fn size(&self, blob: BlobId) -> Result<u64> {
        match self.store.head(&location(blob)).await {
            Ok(found) => Ok(found.size),
            Err(object_store::Error::NotFound { .. }) => Err(Error::NoSuchBlob(blob)),
            Err(error) => Err(failed("look at it", error)),
        }
    }

    /// Deletes a blob. One that is not there is deleted. The delete itself is not flushed: should a
    /// crash undo it, the sweep of orphans finds the blob again.
    pub async fn delete(&self, blob: BlobId) -> Result<()> {
        match self.store.delete(&location(blob)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", error)),
        }
    }

    /// All blobs whose identifiers begin with the byte `shard`, after halves of blobs that a crash
    /// left there more than a lease ago were removed.
    pub(crate) async fn list(&self, shard: u8) -> Result<Vec<BlobId>> {
        let folder = self.root.join(format!("{shard:02x}"));
        blocking("list", move || {
            let mut blobs = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name();
                if let Some(blob) = named(&name) {
                    blobs.push(blob);
                } else if name.to_string_lossy().contains('#') && is_abandoned(&entry) {
                    // Another process may have finished or removed it in the meantime.
                    let _ = std::fs::remove_file(entry.path());
                }
            }
            Ok(blobs)
        })
        .await
    }
}

/// True for a staging file that nobody has written to for as long as a lease lasts.
fn is_abandoned(entry: &std::fs::DirEntry) -> bool {
    let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
    matches!(age, Ok(Ok(age)) if age.as_millis() > u128::from(crate::sweep::LEASE_MS))
}

/// Reads `range` of an open file, whose place is of no account.
fn read_file(
    file: std::fs::File,
    range: Range<u64>,
) -> impl futures::Stream<Item = Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold((Some(file), range), |(file, range)| async move {
        let (Some(mut file), false) = (file, range.is_empty()) else { return Ok(None) };
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(READ_BYTES);
        let start = range.start;
        let (file, piece) = blocking("read", move || {
            let mut piece = Vec::with_capacity(length);
            file.seek(SeekFrom::Start(start))?;
            let read = file.by_ref().take(length as u64).read_to_end(&mut piece)?;
            if read < length {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok((file, piece))
        })
        .await?;
        Ok(Some((Bytes::from(piece), (Some(file), start + length as u64..range.end))))
    })
}

/// Bytes on their way to the disk together. Large ones are taken as they came; small ones are gathered,
/// because each is a call to the disk and keeps alive the buffer that it came in.
#[derive(Default)]
struct Piece {
    whole: Vec<Bytes>,
    small: BytesMut,
    bytes: usize,
}

impl Piece {
    fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        if bytes.len() < GATHER_BYTES {
            self.small.extend_from_slice(&bytes);
        } else {
            self.end_small();
            self.whole.push(bytes);
        }
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.whole.push(std::mem::take(&mut self.small).freeze());
        }
    }

    fn into_payload(mut self) -> PutPayload {
        self.end_small();
        self.whole.into_iter().collect()
    }
}

/// A blob that is being written. Dropped before it is finished, it leaves nothing that counts.
pub struct BlobWriter {
    store: Arc<LocalFileSystem>,
    blob: BlobId,
    size: u64,
    piece: Piece,
    upload: Option<Box<dyn MultipartUpload>>,
    in_flight: Option<JoinHandle<object_store::Result<()>>>,
}

impl BlobWriter {
    /// The blob's identifier.
    #[must_use]
    pub fn blob(&self) -> BlobId {
        self.blob
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends bytes; waits for the disk when it falls behind. After an error only dropping is left.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        self.piece.push(bytes);
        if self.piece.bytes >= PIECE_BYTES {
            let piece = std::mem::take(&mut self.piece);
            self.send(piece).await?;
        }
        Ok(())
    }

    /// Starts to write one piece, after the one before it is written.
    async fn send(&mut self, piece: Piece) -> Result<()> {
        self.settle().await?;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let begun = self.store.put_multipart(&location(self.blob)).await;
                self.upload.insert(begun.map_err(|error| failed("create", error))?)
            }
        };
        self.in_flight = Some(tokio::spawn(upload.put_part(piece.into_payload())));
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        let Some(piece) = self.in_flight.take() else { return Ok(()) };
        let written = piece.await.map_err(|error| failed("write", error))?;
        written.map_err(|error| failed("write", error))
    }

    /// Makes the blob durable (file and folder) and says what to name in the commit.
    pub async fn finish(mut self) -> Result<Segment> {
        let rest = std::mem::take(&mut self.piece);
        if self.upload.is_none() {
            let put = self.store.put(&location(self.blob), rest.into_payload()).await;
            put.map_err(|error| failed("write", error))?;
        } else {
            if rest.bytes > 0 {
                self.send(rest).await?;
            }
            self.settle().await?;
            if let Some(upload) = &mut self.upload {
                upload.complete().await.map_err(|error| failed("flush", error))?;
            }
        }
        Ok(Segment { blob: self.blob, size: self.size })
    }
}
