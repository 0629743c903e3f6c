//! One object on its way: read, compared, written, compared.
//!
//! What is compared. On the way in, the MD5 of what was read with the ETag that the source lists, where that
//! is one; where it is none (an object of several parts, a source that encrypts), a small object is what two
//! readings agree on, and a large one what came, in full, of the version that was listed. Parts are those of
//! the source where it tells their size, so that the ETag stays what it was. On the way out, the MD5 goes along, so that the target refuses what is not it; and the ETag
//! that the target answers with must be the one that follows from the bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode};
use md5::{Digest as _, Md5};
use switchback_store::Lock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::entry::{Digest, Entry};
use super::lock;
use super::progress::Progress;
use super::s3::{Bucket, Failure, Part, Repeats, Replaces, Written, etag};
use super::source::{Described, Source};

const MIB: u64 = 1 << 20;

/// Larger objects are moved in parts of at least this size.
const PART_BYTES: u64 = 8 * MIB;

/// S3 takes no smaller part but the last.
const PART_BYTES_MIN: u64 = 5 * MIB;

/// Parts that a source names are taken as they are up to this size: so much memory for one is reasonable.
const PART_BYTES_KEPT_MAX: u64 = 64 * MIB;

/// Of S3.
const PARTS_MAX: u64 = 10_000;

/// Parts of one object that are read ahead.
const READ_AHEAD: usize = 2;

/// What all transfers share.
pub(crate) struct Transfer {
    pub(crate) source: Source,
    pub(crate) target: Bucket,
    /// Before each key.
    pub(crate) prefix: String,
    /// Both buckets can lock their versions, and locks are to come.
    pub(crate) locks: bool,
    /// Of memory, in MiB.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) memory_mib: u32,
    pub(crate) progress: Arc<Progress>,
}

/// Why an object did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error("read: {0}")]
    Source(Failure),
    #[error("write: {0}")]
    Target(Failure),
    #[error("its lock cannot be read: {0}")]
    SourceLock(Failure),
    #[error("it is here without the lock that it has at the source: {0}")]
    TargetLock(Failure),
    #[error("what was read is not what the source lists; the source may be damaged")]
    Unsteady,
    #[error("the target says that it holds {held} where {written} was written")]
    Changed { held: String, written: String },
    #[error("the bucket holds another object of this key, which was not imported; --overwrite replaces it")]
    Held,
    #[error("the object was changed or deleted in the bucket since it was imported; --overwrite replaces it")]
    HeldAnother,
    #[error(
        "the bucket holds versions of this key that were not imported; --overwrite brings these on top of them"
    )]
    HeldVersions,
    #[error(
        "the key was written or deleted in the bucket since versions of it were imported; --overwrite brings more on top of that"
    )]
    HeldLater,
    #[error(
        "it came to stand before versions that were imported already, and can take its place only where the key is imported from the start, into another bucket"
    )]
    Late,
    #[error(
        "{reason}; {left_out} versions in a row were left out before it, so that more than single versions seem to be out of order: repeat the command once the source is well"
    )]
    Outage { reason: String, left_out: u32 },
}

impl Reason {
    /// True where it is the source that did not give what it lists.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Source(_) | Self::Unsteady)
    }

    /// True where the source says that there is none, or another one.
    pub(crate) fn is_other_by_now(&self) -> bool {
        let says = [StatusCode::NOT_FOUND, StatusCode::PRECONDITION_FAILED];
        matches!(self, Self::Source(failure) if failure.status().is_some_and(|status| says.contains(&status)))
    }
}

/// An object that has arrived.
pub(crate) struct Arrived {
    /// The ETag that it has in the target.
    pub(crate) held: String,
    /// That it has in the source.
    pub(crate) lock: Lock,
    /// It was there before, with a lock that nobody has noted.
    pub(crate) was_there: bool,
}

/// An object or a version that is read and compared, and needs only to be committed.
pub(crate) struct Ready {
    /// In the target.
    key: String,
    /// That it will have there.
    pub(crate) etag: String,
    size: u64,
    /// That keeps it in the source at this time.
    pub(crate) lock: Lock,
    content: Content,
}

enum Content {
    Whole {
        headers: HeaderMap,
        bytes: Bytes,
        md5: Digest,
        _memory: OwnedSemaphorePermit,
    },
    /// Parts that were written.
    Upload {
        id: String,
        parts: Vec<Part>,
    },
}

impl Ready {
    /// It is committed once, however often that is asked.
    pub(crate) fn is_upload(&self) -> bool {
        matches!(self.content, Content::Upload { .. })
    }
}

/// The bytes of a whole object or a part, and what they took of the memory until they are dropped.
struct Piece {
    bytes: Bytes,
    md5: Digest,
    _memory: OwnedSemaphorePermit,
}

impl Transfer {
    /// The key in the target.
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Moves one object.
    pub(crate) async fn object(&self, entry: &Entry, replaces: &Replaces) -> Result<Arrived, Reason> {
        let ready = self.ready(entry).await?;
        let lock = ready.lock;
        match self.commit(&ready, replaces, Repeats::Harmless).await {
            Ok(written) => Ok(Arrived { held: written.etag, lock, was_there: false }),
            Err(Reason::Target(failure)) => {
                let held = self.unless_there(&ready.key, &ready.etag, failure, replaces).await?;
                Ok(Arrived { held, lock, was_there: true })
            }
            Err(reason) => Err(reason),
        }
    }

    /// Reads an object or a version and compares it; of a large one the parts are written then.
    pub(crate) async fn ready(&self, entry: &Entry) -> Result<Ready, Reason> {
        let key = self.key(&entry.key);
        let (etag, lock, content) = if entry.size <= PART_BYTES {
            self.whole(entry).await?
        } else {
            self.in_parts(&key, entry).await?
        };
        Ok(Ready { key, etag, size: entry.size, lock, content })
    }

    /// What is written beside the bytes, and the lock that keeps it at the source at this time.
    fn headers(&self, described: &Described) -> (HeaderMap, Lock) {
        let lock = lock::in_force(described.lock, lock::now());
        let mut headers = described.headers.clone();
        if self.locks {
            lock::write(&lock, &mut headers);
        }
        (headers, lock)
    }

    /// Makes an object or a version of it. What it may not replace is left as it is.
    pub(crate) async fn commit(
        &self,
        ready: &Ready,
        replaces: &Replaces,
        repeats: Repeats,
    ) -> Result<Written, Reason> {
        let written = match &ready.content {
            Content::Whole { headers, bytes, md5, .. } => {
                let (headers, bytes) = (headers.clone(), bytes.clone());
                let written = self.target.put(&ready.key, headers, bytes, *md5, replaces, repeats).await;
                if written.is_ok() {
                    self.progress.moved(ready.size);
                }
                written
            }
            Content::Upload { id, parts } => {
                let written = self.target.complete(&ready.key, id, parts, replaces).await;
                if written.is_err() {
                    self.give_up(&ready.key, id).await;
                }
                written
            }
        };
        let written = written.map_err(Reason::Target)?;
        if written.etag == ready.etag || !is_made_of_md5(&written.etag) {
            return Ok(written);
        }
        Err(Reason::Changed { held: written.etag, written: ready.etag.clone() })
    }

    async fn give_up(&self, key: &str, upload: &str) {
        // What cannot be given up expires.
        let _ = self.target.abort(key, upload).await;
    }

    /// A write that was refused for what is there already may have been done before: by a run that ended
    /// before it could note it, or by a request whose answer was lost.
    async fn unless_there(
        &self,
        key: &str,
        written: &str,
        failure: Failure,
        replaces: &Replaces,
    ) -> Result<String, Reason> {
        let may_be = [StatusCode::PRECONDITION_FAILED, StatusCode::CONFLICT, StatusCode::NOT_FOUND];
        if !failure.status().is_some_and(|status| may_be.contains(&status)) {
            return Err(Reason::Target(failure));
        }
        let held = self.target.head(key, None).await.map_err(Reason::Target)?;
        let held = held.map(|headers| etag(&headers)).transpose().map_err(Reason::Target)?;
        match (held, replaces) {
            (Some(held), _) if held == written => Ok(held),
            (Some(_), Replaces::Nothing) => Err(Reason::Held),
            (_, Replaces::This(_)) => Err(Reason::HeldAnother),
            _ => Err(Reason::Target(failure)),
        }
    }

    async fn whole(&self, entry: &Entry) -> Result<(String, Lock, Content), Reason> {
        let memory = self.room(entry.size).await;
        let (described, bytes) = self.source.whole(entry).await.map_err(Reason::Source)?;
        let md5 = self.checked(entry, &described, &bytes).await?;
        let (headers, lock) = self.headers(&described);
        let content = Content::Whole { headers, bytes, md5, _memory: memory };
        Ok((hex::encode(md5), lock, content))
    }

    /// The MD5 of a small object's bytes, once they are known to be the right ones.
    async fn checked(&self, entry: &Entry, described: &Described, bytes: &Bytes) -> Result<Digest, Reason> {
        let md5: Digest = Md5::digest(bytes).into();
        let is_file = entry.etag.is_empty();
        if is_file || (entry.md5() == Some(md5) && !described.etag_is_opaque) {
            return Ok(md5);
        }
        let (_, again) = self.source.whole(entry).await.map_err(Reason::Source)?;
        if again == *bytes { Ok(md5) } else { Err(Reason::Unsteady) }
    }

    async fn in_parts(&self, key: &str, entry: &Entry) -> Result<(String, Lock, Content), Reason> {
        let described = self.source.describe(entry).await.map_err(Reason::Source)?;
        let told = self.source.part_size(entry).await.map_err(Reason::Source)?;
        let part = part_size(entry.size, told);
        let (headers, lock) = self.headers(&described);
        let upload = self.target.begin(key, headers).await.map_err(Reason::Target)?;
        let sent = match self.parts(key, entry, &upload, part).await {
            Ok(sent) if is_as_listed(entry, &described, &sent) => Ok(sent),
            Ok(_) => Err(Reason::Unsteady),
            Err(reason) => Err(reason),
        };
        match sent {
            Ok(sent) => Ok((sent.composite, lock, Content::Upload { id: upload, parts: sent.parts })),
            Err(reason) => {
                self.give_up(key, &upload).await;
                Err(reason)
            }
        }
    }

    /// Reads the parts in order, a few ahead, and writes them as memory permits.
    async fn parts(&self, key: &str, entry: &Entry, upload: &str, part: u64) -> Result<Sent, Reason> {
        let ranges = (0..entry.size).step_by(usize::try_from(part).unwrap_or(usize::MAX));
        let ranges = ranges.map(|start| start..entry.size.min(start + part));
        let mut reading = stream::iter(ranges).map(|range| self.piece(entry, range)).buffered(READ_AHEAD);
        let (mut whole, mut of_parts) = (Md5::new(), Md5::new());
        let (mut writing, mut parts) = (FuturesUnordered::new(), Vec::new());
        while let Some(piece) = reading.next().await {
            let piece = piece?;
            whole.update(&piece.bytes);
            of_parts.update(piece.md5);
            let number = u32::try_from(parts.len() + writing.len() + 1).unwrap_or(u32::MAX);
            writing.push(self.write(key, upload, number, piece));
            // One written for one read, beyond what is ahead.
            if writing.len() > READ_AHEAD
                && let Some(part) = writing.try_next().await?
            {
                parts.push(part);
            }
        }
        while let Some(part) = writing.try_next().await? {
            parts.push(part);
        }
        parts.sort_unstable_by_key(|part| part.number);
        let composite = format!("{}-{}", hex::encode(of_parts.finalize()), parts.len());
        Ok(Sent { parts, whole: whole.finalize().into(), composite })
    }

    async fn piece(&self, entry: &Entry, range: Range<u64>) -> Result<Piece, Reason> {
        let memory = self.room(range.end - range.start).await;
        let bytes = self.source.read(entry, range).await.map_err(Reason::Source)?;
        let md5 = Md5::digest(&bytes).into();
        Ok(Piece { bytes, md5, _memory: memory })
    }

    async fn write(&self, key: &str, upload: &str, number: u32, piece: Piece) -> Result<Part, Reason> {
        let Piece { bytes, md5, _memory } = piece;
        let length = bytes.len() as u64;
        let part = self.target.put_part(key, upload, number, bytes, md5).await.map_err(Reason::Target)?;
        self.progress.moved(length);
        Ok(part)
    }

    /// Waits for memory for so many bytes; a part that is larger than all of it takes all of it.
    async fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let wanted = u32::try_from(bytes.div_ceil(MIB).max(1)).unwrap_or(u32::MAX).min(self.memory_mib);
        let room = Arc::clone(&self.memory).acquire_many_owned(wanted).await;
        room.expect("the semaphore is never closed")
    }
}

/// The parts of an object that were written, in order.
struct Sent {
    parts: Vec<Part>,
    /// MD5 of all bytes.
    whole: Digest,
    /// The ETag of an object of these parts.
    composite: String,
}

/// The parts that the source has, so that the object keeps its ETag; otherwise as small as S3 permits so many.
fn part_size(size: u64, told: Option<u64>) -> u64 {
    let kept = told.filter(|told| (PART_BYTES_MIN..=PART_BYTES_KEPT_MAX).contains(told));
    let enough = size.div_ceil(PARTS_MAX).next_multiple_of(MIB);
    kept.filter(|kept| size.div_ceil(*kept) <= PARTS_MAX).unwrap_or(PART_BYTES.max(enough))
}

/// False when the ETag that the source lists is that of other bytes. One of parts is not compared: they need not
/// all have the size of the first.
fn is_as_listed(entry: &Entry, described: &Described, sent: &Sent) -> bool {
    described.etag_is_opaque || entry.md5().is_none_or(|md5| md5 == sent.whole)
}

/// True for an ETag that follows from the bytes, as those of an endpoint that does not encrypt do.
fn is_made_of_md5(etag: &str) -> bool {
    let digits = etag.split_once('-').map_or(etag, |(digits, _)| digits);
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_source_or_few_enough() {
        let (gib, tib) = (1 << 30, 1_u64 << 40);
        assert_eq!(part_size(gib, None), PART_BYTES);
        assert_eq!(part_size(gib, Some(16 * MIB)), 16 * MIB);
        // Too small, too large for the memory, too many.
        assert_eq!(part_size(gib, Some(MIB)), PART_BYTES);
        assert_eq!(part_size(gib, Some(gib)), PART_BYTES);
        assert_eq!(part_size(5 * tib, Some(5 * MIB)), 525 * MIB);
        assert!((5 * tib).div_ceil(part_size(5 * tib, None)) <= PARTS_MAX);
    }

    #[test]
    fn an_etag_that_follows_from_the_bytes_is_told_from_one_that_does_not() {
        assert!(is_made_of_md5("00112233445566778899aabbccddeeff"));
        assert!(is_made_of_md5("00112233445566778899aabbccddeeff-3"));
        assert!(!is_made_of_md5("0x8D4BCC2E4835CD0") && !is_made_of_md5(""));
    }
}
