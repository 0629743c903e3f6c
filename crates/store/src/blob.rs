//! Blobs: immutable bytes, each named once by a random identifier.
//!
//! They are files of a folder ([`folder`]), or objects in a bucket of S3, Azure or GCS ([`bucket`]); the gateway and
//! the data mover have the same place open. A blob that is finished is durable, and an unfinished one has no name.
//! Every read is compared with checksums that were written with the bytes ([`frame`]).

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, Stream, StreamExt as _};
use object_store::path::Path as Location;
use object_store::{
    GetOptions, GetRange, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload,
};
use switchback_model::SystemId;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::record::{BlobId, Segment};

use self::frame::{FRAME_BYTES, Framing, Unframing};

pub use self::frame::BLOB_PIECE_BYTES;
pub use self::place::{BlobPlace, BlobSection, BucketPlace};

#[cfg(feature = "cloud")]
mod bucket;
#[cfg(feature = "cloud")]
mod connector;
mod folder;
mod frame;
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "nothing opens a bucket then"))]
mod place;
mod staging;
#[cfg(feature = "cloud")]
mod uploads;

/// Bytes written to a file at a time. A writer holds two of these: one filling, one on its way to the disk.
const PIECE_BYTES: usize = 2 << 20;

/// Bytes of one part of an object in a bucket: the least that S3 takes, and every part but the last has just as
/// many, which some stores that speak S3 ask for. Its 10,000 parts are ten times what a blob has at most.
const PART_BYTES: usize = 5 << 20;

/// Bytes read at a time: each read is a hop to another thread and back.
const READ_BYTES: usize = 4 * FRAME_BYTES;

/// Bytes that come in smaller pieces than this are copied together.
const GATHER_BYTES: usize = 64 << 10;

/// Whose blobs they must be.
#[derive(Clone, Copy, Debug)]
pub struct BlobClaim {
    /// The system.
    pub system: SystemId,
    /// Whether it has blobs, if the caller knows. With none, a bucket that names no system is taken for
    /// it; with some, such a bucket has vanished, or is another one.
    pub has_blobs: Option<bool>,
}

/// The blobs of one system. Cheap to clone; gateway and mover may both have the place open.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    home: Home,
}

#[derive(Clone)]
enum Home {
    Folder(PathBuf),
    #[cfg(feature = "cloud")]
    Bucket(Arc<bucket::Bucket>),
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.home {
            Home::Folder(root) => write!(f, "Blobs({})", root.display()),
            #[cfg(feature = "cloud")]
            Home::Bucket(bucket) => write!(f, "Blobs({bucket})"),
        }
    }
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

/// The file of a blob in the folder `root`.
pub(crate) fn file(root: &Path, blob: BlobId) -> PathBuf {
    root.join(folder(blob)).join(blob.to_string())
}

/// The blob whose file or object has this name.
fn named(name: &[u8]) -> Option<BlobId> {
    let mut id = [0; 16];
    hex::decode_to_slice(name, &mut id).ok().map(|()| BlobId(id))
}

impl Blobs {
    /// Opens the folder `path`, or creates it, durably.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { store: Arc::new(folder::open(path)?), home: Home::Folder(path.to_owned()) })
    }

    /// Opens `place`. Of a bucket nothing is asked yet: see [`Blobs::verify`].
    ///
    /// # Errors
    /// The folder cannot be made, or the bucket cannot be asked for with what is configured.
    pub fn at(place: &BlobPlace, claim: BlobClaim) -> Result<Self> {
        match place {
            BlobPlace::Folder(path) => Self::open(path),
            #[cfg(feature = "cloud")]
            BlobPlace::Bucket(place) => {
                let bucket = bucket::Bucket::new(place, claim)?;
                Ok(Self { store: bucket.store(), home: Home::Bucket(Arc::new(bucket)) })
            }
            #[cfg(not(feature = "cloud"))]
            BlobPlace::Bucket(place) => Err(Error::BlobPlace {
                place: place.to_string(),
                reason: format!("this program was built without it, for {}", claim.system),
            }),
        }
    }

    /// Makes sure that a bucket lets us in and is this system's; what is written, read or deleted before that
    /// makes sure by itself. A folder always is.
    ///
    /// # Errors
    /// [`Error::BlobPlace`] when it is not and will not be; [`Error::Blob`] when it does not answer.
    pub async fn verify(&self) -> Result<()> {
        match &self.home {
            Home::Folder(_) => Ok(()),
            #[cfg(feature = "cloud")]
            Home::Bucket(bucket) => bucket.verify().await,
        }
    }

    fn location(&self, blob: BlobId) -> Location {
        let names = [folder(blob), blob.to_string()];
        match &self.home {
            Home::Folder(_) => Location::from_iter(names),
            #[cfg(feature = "cloud")]
            Home::Bucket(bucket) => bucket.location(names),
        }
    }

    /// Begins a blob of several pieces.
    async fn begin(&self, blob: BlobId) -> object_store::Result<Box<dyn MultipartUpload>> {
        match &self.home {
            Home::Folder(root) => Ok(Box::new(staging::Staging::begin(file(root, blob)).await?)),
            #[cfg(feature = "cloud")]
            Home::Bucket(_) => self.store.put_multipart(&self.location(blob)).await,
        }
    }

    /// Begins to write `blob`, which must be fresh and leased.
    #[must_use]
    pub fn writer(&self, blob: BlobId) -> BlobWriter {
        BlobWriter {
            blobs: self.clone(),
            blob,
            size: 0,
            framing: Framing::new(blob),
            piece: Piece::default(),
            upload: None,
            in_flight: None,
        }
    }

    /// The bytes of `range`, in pieces that end at multiples of [`BLOB_PIECE_BYTES`]. The blob is opened before
    /// this returns, so a missing or short blob is an error here and not in the middle.
    ///
    /// # Errors
    /// [`Error::NoSuchBlob`]; [`Error::Corrupt`] when it is short; [`Error::Blob`] when its place does not answer.
    /// In place of a piece whose bytes are not those that were written comes [`Error::Damaged`], and then no more.
    pub async fn read(&self, blob: BlobId, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        if range.is_empty() {
            return Ok(futures::stream::empty().boxed());
        }
        self.verify().await?;
        let stored = GetRange::Bounded(frame::stored(&range));
        let options = GetOptions { range: Some(stored), ..GetOptions::default() };
        let found = match self.store.get_opts(&self.location(blob), options).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Err(self.missing(blob).await),
            Err(error) => return Err(failed("read", error)),
        };
        if frame::size(found.meta.size) < range.end {
            return Err(Error::Corrupt { what: "blob" });
        }
        let unframing = Unframing::new(blob, range);
        Ok(match found.payload {
            GetResultPayload::File(file, _) => folder::read(file, found.range, unframing).boxed(),
            GetResultPayload::Stream(stream) => pieces(stream, unframing).boxed(),
        })
    }

    /// The bytes that the blob has here.
    pub async fn size(&self, blob: BlobId) -> Result<u64> {
        self.verify().await?;
        match self.store.head(&self.location(blob)).await {
            Ok(found) => Ok(frame::size(found.size)),
            Err(object_store::Error::NotFound { .. }) => Err(self.missing(blob).await),
            Err(error) => Err(failed("look at it", error)),
        }
    }

    /// What it means that a blob was not found: that it is gone, or that all of them are.
    async fn missing(&self, blob: BlobId) -> Error {
        let place = match &self.home {
            Home::Folder(_) => Ok(()),
            #[cfg(feature = "cloud")]
            Home::Bucket(bucket) => bucket.is_ours().await,
        };
        place.err().unwrap_or(Error::NoSuchBlob(blob))
    }

    /// Deletes a blob. One that is not there is deleted. The delete itself is not flushed: should a
    /// crash undo it, the sweep of orphans finds the blob again.
    pub async fn delete(&self, blob: BlobId) -> Result<()> {
        self.verify().await?;
        match self.store.delete(&self.location(blob)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", error)),
        }
    }

    /// All blobs whose identifiers begin with the byte `shard`, with their sizes.
    pub(crate) async fn list(&self, shard: u8) -> Result<Vec<(BlobId, u64)>> {
        self.listed(shard, false).await
    }

    /// As [`Blobs::list`], after halves of blobs that a crash left in a folder more than a lease ago were
    /// removed.
    pub(crate) async fn list_to_sweep(&self, shard: u8) -> Result<Vec<(BlobId, u64)>> {
        self.listed(shard, true).await
    }

    async fn listed(&self, shard: u8, remove_halves: bool) -> Result<Vec<(BlobId, u64)>> {
        let stored = match &self.home {
            Home::Folder(root) => folder::list(root, shard, remove_halves).await?,
            #[cfg(feature = "cloud")]
            Home::Bucket(bucket) => bucket.list(shard).await?,
        };
        Ok(stored.into_iter().map(|(blob, bytes)| (blob, frame::size(bytes))).collect())
    }

    /// Ends the multipart uploads of a bucket that nobody has finished for as long as a lease lasts.
    pub(crate) async fn end_abandoned_uploads(&self) -> Result<()> {
        match &self.home {
            Home::Folder(_) => Ok(()),
            #[cfg(feature = "cloud")]
            Home::Bucket(bucket) => {
                bucket.end_uploads(std::time::Duration::from_millis(crate::sweep::LEASE_MS)).await
            }
        }
    }
}

/// What comes over a network in parts of any size, piece by piece.
fn pieces(
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    unframing: Unframing,
) -> impl Stream<Item = Result<Bytes>> + Send {
    let start = (stream, BytesMut::new(), false, unframing);
    futures::stream::try_unfold(start, |(mut stream, mut came, mut is_over, mut unframing)| async move {
        while came.len() < FRAME_BYTES && !is_over {
            match stream.next().await.transpose().map_err(|error| failed("read", error))? {
                Some(bytes) => came.extend_from_slice(&bytes),
                None => is_over = true,
            }
        }
        if came.is_empty() {
            return Ok::<_, Error>(None);
        }
        let piece = unframing.take(came.split_to(came.len().min(FRAME_BYTES)).freeze())?;
        Ok(Some((piece, (stream, came, is_over, unframing))))
    })
}

/// Bytes on their way together. Large ones are taken as they came; small ones are gathered,
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
    blobs: Blobs,
    blob: BlobId,
    size: u64,
    framing: Framing,
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
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let (taken, check) = self.framing.take(&mut bytes);
            self.store(taken).await?;
            if let Some(check) = check {
                self.store(Bytes::copy_from_slice(&check)).await?;
            }
        }
        Ok(())
    }

    /// Appends bytes as they are to lie there.
    async fn store(&mut self, mut bytes: Bytes) -> Result<()> {
        if matches!(self.blobs.home, Home::Folder(_)) {
            self.piece.push(bytes);
            if self.piece.bytes >= PIECE_BYTES {
                self.send_piece().await?;
            }
            return Ok(());
        }
        while !bytes.is_empty() {
            // A part is sent when there is more: the last one goes with the end.
            if self.piece.bytes == PART_BYTES {
                self.send_piece().await?;
            }
            let room = PART_BYTES - self.piece.bytes;
            self.piece.push(bytes.split_to(room.min(bytes.len())));
        }
        Ok(())
    }

    /// Starts to write the piece, after the one before it is written.
    async fn send_piece(&mut self) -> Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.settle().await?;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                self.blobs.verify().await?;
                let begun = self.blobs.begin(self.blob).await;
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

    /// Makes the blob durable (a file and its folder, or an object) and says what to name in the commit.
    pub async fn finish(mut self) -> Result<Segment> {
        if let Some(check) = self.framing.end() {
            self.store(Bytes::copy_from_slice(&check)).await?;
        }
        if self.upload.is_none() {
            self.blobs.verify().await?;
            let rest = std::mem::take(&mut self.piece);
            let put = self.blobs.store.put(&self.blobs.location(self.blob), rest.into_payload()).await;
            put.map_err(|error| failed("write", error))?;
        } else {
            if self.piece.bytes > 0 {
                self.send_piece().await?;
            }
            self.settle().await?;
            if let Some(upload) = &mut self.upload {
                upload.complete().await.map_err(|error| failed("flush", error))?;
            }
            self.upload = None;
        }
        Ok(Segment { blob: self.blob, size: self.size })
    }

    /// As [`finish`](Self::finish), of bytes that nobody here is about to read: the machine need not keep
    /// them in memory. What a copy leaves there drives out what is read, and to find ever more room for it
    /// can cost more than all else: most of a receiver's time was seen to go there on a virtual machine.
    pub async fn finish_unread(self) -> Result<Segment> {
        let home = self.blobs.home.clone();
        let segment = self.finish().await?;
        match home {
            // Only a hint: the blob is durable.
            Home::Folder(root) => folder::forget(file(&root, segment.blob)).await,
            #[cfg(feature = "cloud")]
            Home::Bucket(_) => {}
        }
        Ok(segment)
    }
}

impl Drop for BlobWriter {
    /// A file that is not finished goes by itself. An upload to a bucket is kept there, and paid for, until
    /// somebody ends it: at once here, and after a crash by the sweep.
    fn drop(&mut self) {
        let (Some(mut upload), in_flight) = (self.upload.take(), self.in_flight.take()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if matches!(self.blobs.home, Home::Folder(_)) {
            return;
        }
        runtime.spawn(async move {
            // A part that came after the end would stay.
            if let Some(part) = in_flight {
                part.abort();
                let _ = part.await;
            }
            if let Err(error) = upload.abort().await {
                tracing::debug!(%error, "an upload of a blob could not be ended, the sweep will");
            }
        });
    }
}
