//! Bytes on their way in: hashed, and written to a fresh blob unless they are few.
//!
//! A blob is leased before it is begun, so that the sweep leaves it alone, and is durable before
//! the commit that names it is sent. Where the body is known to need a blob, the lease comes before
//! its first byte: it is refused for read-only content, and a client that asked first (`Expect:
//! 100-continue`) then keeps its bytes. Bodies of a few bytes are not worth asking for twice; the
//! commit, which decides in any case, refuses them.
//! When the upload fails it is deleted here. When the commit's
//! outcome is unknown it must stay, since the commit may have landed: the sweep decides later.

use std::sync::Arc;
use std::time::{Duration, SystemTime};
use switchback_kit::world::time::wall;
use tokio::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use s3s::{S3Result, s3_error};
use switchback_proto::store::v1::{self as store, LeaseBlobRequest};
use switchback_store::{BlobId, BlobWriter, Blobs, INLINE_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::checksum::{Claims, Digests};
use super::hashing::Hashing;
use crate::auth::Place;
use crate::status;
use crate::store::{Store, answer};

/// S3's own limit on one PUT and on one part.
pub(crate) const BODY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// How long an upload waits for others to end before the client is told to slow down.
const TURN_TIME: Duration = Duration::from_secs(5);

/// Takes bodies in.
#[derive(Clone)]
pub(crate) struct Receiver {
    store: Store,
    blobs: Blobs,
    turns: Arc<Semaphore>,
    idle_time: Duration,
}

/// A body that was received whole, checked, and made durable.
pub(crate) struct Received {
    /// What the commit names.
    pub(crate) body: store::Body,
    /// Bytes in it.
    pub(crate) size: u64,
    /// What was computed over it.
    pub(crate) digests: Digests,
    blob: Option<Staged>,
    _turn: OwnedSemaphorePermit,
}

impl Receiver {
    pub(crate) fn new(store: Store, blobs: Blobs, uploads_max: usize, idle_time: Duration) -> Self {
        Self { store, blobs, turns: Arc::new(Semaphore::new(uploads_max)), idle_time }
    }

    /// Receives the body of an object in `target`: `stream`, which must have `length` bytes if that
    /// is known, and is compared with `claims`. A few bytes travel inline.
    pub(crate) async fn object<S, E>(
        &self,
        target: &Place,
        stream: S,
        length: Option<u64>,
        claims: &Claims,
    ) -> S3Result<Received>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: Into<s3s::StdError>,
    {
        self.receive(target, stream, length, claims, INLINE_MAX).await
    }

    /// As [`Receiver::object`], of a part: always to a blob, since an object is made of the blobs
    /// of its parts.
    pub(crate) async fn part<S, E>(
        &self,
        target: &Place,
        stream: S,
        length: Option<u64>,
        claims: &Claims,
    ) -> S3Result<Received>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: Into<s3s::StdError>,
    {
        self.receive(target, stream, length, claims, 0).await
    }

    async fn receive<S, E>(
        &self,
        target: &Place,
        stream: S,
        length: Option<u64>,
        claims: &Claims,
        inline_max: usize,
    ) -> S3Result<Received>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: Into<s3s::StdError>,
    {
        if length.is_some_and(|length| length > BODY_BYTES_MAX) {
            return Err(too_large());
        }
        let turn = tokio::time::timeout(TURN_TIME, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(status::slow_down("too many uploads at once; try again"));
        };
        let needs_blob = inline_max == 0 || length.is_some_and(|length| length > inline_max as u64);
        let blob = if needs_blob { Some(self.begin(target).await?) } else { None };
        let mut taken = Taken {
            hashing: Hashing::new(claims.hasher()),
            head: BytesMut::new(),
            size: 0,
            inline_max,
            blob,
        };
        let mut stream = std::pin::pin!(stream);
        loop {
            let next = tokio::time::timeout(self.idle_time, stream.next()).await;
            let Some(bytes) = next.map_err(|_| s3_error!(RequestTimeout, "the body stopped coming"))? else {
                break;
            };
            self.take(target, &mut taken, bytes.map_err(|error| broken(error.into()))?).await?;
        }
        if length.is_some_and(|length| length != taken.size) {
            return Err(s3_error!(
                IncompleteBody,
                "{} bytes came of a body of {}",
                taken.size,
                length.unwrap_or(0)
            ));
        }
        let Taken { hashing, head, size, blob, .. } = taken;
        let durable = async {
            match blob {
                None => Ok((store::Body { inline: head.freeze(), segments: Vec::new() }, None)),
                Some(writing) => {
                    let (body, staged) = writing.finish().await?;
                    Ok((body, Some(staged)))
                }
            }
        };
        let (digests, (body, blob)) = tokio::try_join!(hashing.finish(), durable)?;
        claims.verify(&digests)?;
        Ok(Received { body, size, digests, blob, _turn: turn })
    }

    async fn take(&self, target: &Place, taken: &mut Taken, bytes: Bytes) -> S3Result<()> {
        taken.size += bytes.len() as u64;
        if taken.size > BODY_BYTES_MAX {
            return Err(too_large());
        }
        taken.hashing.update(bytes.clone()).await?;
        if let Some(writing) = &mut taken.blob {
            writing.lease.renew(&self.store).await;
            return writing.writer.write(bytes).await.map_err(status::blob_failed);
        }
        if taken.head.len() + bytes.len() <= taken.inline_max {
            taken.head.extend_from_slice(&bytes);
            return Ok(());
        }
        let mut writing = self.begin(target).await?;
        let head = taken.head.split().freeze();
        for bytes in [head, bytes].into_iter().filter(|bytes| !bytes.is_empty()) {
            writing.writer.write(bytes).await.map_err(status::blob_failed)?;
        }
        taken.blob = Some(writing);
        Ok(())
    }

    /// Leases a fresh blob for a write to `target`, and begins it.
    async fn begin(&self, target: &Place) -> S3Result<Writing> {
        let id = BlobId::random();
        let lease =
            Lease::take(&self.store, id, Some(target)).await.map_err(|status| status::refused(&status))?;
        let staged = Staged { blobs: self.blobs.clone(), id, kept: false };
        Ok(Writing { writer: self.blobs.writer(id), staged, lease })
    }
}

impl Received {
    /// Sends the `commit` that names the body. From here on its blob is deleted only when the
    /// store has certainly refused.
    pub(crate) async fn commit<T>(
        mut self,
        commit: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Status> {
        if let Some(blob) = &mut self.blob {
            blob.kept = true;
        }
        let done = answer(commit).await;
        if let (Err(status), Some(blob)) = (&done, &mut self.blob) {
            blob.kept = !status::is_certain(status);
        }
        done
    }
}

/// What has come of a body so far.
struct Taken {
    hashing: Hashing,
    /// The first bytes, while they are few enough to travel inline.
    head: BytesMut,
    inline_max: usize,
    size: u64,
    blob: Option<Writing>,
}

/// Fields are dropped in this order: the file is closed before it is deleted.
struct Writing {
    writer: BlobWriter,
    staged: Staged,
    lease: Lease,
}

impl Writing {
    /// Makes the blob durable.
    async fn finish(self) -> S3Result<(store::Body, Staged)> {
        let segment = self.writer.finish().await.map_err(status::blob_failed)?;
        let blob_id = Bytes::copy_from_slice(segment.blob.as_bytes());
        let segments = vec![store::Segment { blob_id, size: segment.size }];
        Ok((store::Body { inline: Bytes::new(), segments }, self.staged))
    }
}

/// A blob that nothing names yet: deleted when dropped, unless kept.
struct Staged {
    blobs: Blobs,
    id: BlobId,
    kept: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (blobs, id) = (self.blobs.clone(), self.id);
        // At the end of the process there is no runtime; the sweep then finds the blob.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = blobs.delete(id).await {
                tracing::debug!(%error, "blob of a failed upload is left to the sweep");
            }
        });
    }
}

/// The promise that a blob is not swept while it is written.
struct Lease {
    id: BlobId,
    renew_at: Instant,
}

impl Lease {
    async fn take(store: &Store, id: BlobId, target: Option<&Place>) -> Result<Self, Status> {
        let request = LeaseBlobRequest {
            blob_ids: vec![Bytes::copy_from_slice(id.as_bytes())],
            content: target.map(|target| target.content.clone()),
            namespace: target.map(|target| target.namespace.clone()).unwrap_or_default(),
        };
        let lease = answer(store.client().lease_blob(request)).await?;
        let expires =
            SystemTime::UNIX_EPOCH + Duration::from_millis(lease.expires_unix_ms.max(0).unsigned_abs());
        let left = expires.duration_since(wall()).unwrap_or_default();
        Ok(Self { id, renew_at: Instant::now() + left / 2 })
    }

    /// In time before the end. A store that does not answer is asked again with later bytes; the
    /// commit finds out whether the lease has ended.
    async fn renew(&mut self, store: &Store) {
        if Instant::now() < self.renew_at {
            return;
        }
        match Self::take(store, self.id, None).await {
            Ok(lease) => *self = lease,
            Err(status) => {
                tracing::debug!(code = ?status.code(), "lease of a blob was not renewed");
                self.renew_at = Instant::now() + Duration::from_secs(1);
            }
        }
    }
}

fn too_large() -> s3s::S3Error {
    s3_error!(EntityTooLarge, "one upload has at most 5 GiB: use multipart")
}

/// The body ended in an error: of the connection, of its framing, or of its own signature.
fn broken(error: s3s::StdError) -> s3s::S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        return status::bad_request(
            "XAmzContentSHA256Mismatch",
            "the body's SHA-256 is not what x-amz-content-sha256 says",
        );
    }
    if text.contains("SignatureMismatch") {
        return s3_error!(SignatureDoesNotMatch, "the signature of a chunk of the body does not match");
    }
    if text.contains("FormatError") || text.contains("TooLarge") {
        return s3_error!(InvalidRequest, "the body is not framed as aws-chunked");
    }
    s3_error!(IncompleteBody, "the body ended early")
}
