//! A scrub: every body is read again in a store that is in use, so that what a disk has damaged is found while
//! another system still has it whole.
//!
//! Records are walked in the order of their rows, a bounded page on a snapshot of its own: what is written meanwhile
//! is met or not, and the next round meets it. A body that is not as its record says is looked up once more before
//! that is believed, because the record may have another one by now.
//!
//! A repair ([`Catalogue::repair_body`]) puts other blobs under a record and changes nothing else of it. It is no
//! change of the content: version, place in the feed and digest stay, and no reader of the feed hears of it. So it
//! needs no authority, and a replica is repaired as a primary is.

mod part;
mod repair;

pub use part::{StoredPart, StoredParts, examine_part};

use std::fmt;
use std::future::Future;
use std::ops::Bound;

use futures::StreamExt as _;
use nix::errno::Errno;
use switchback_model::{ContentId, Version};

use crate::blob::Blobs;
use crate::catalogue::Catalogue;
use crate::codec::Stored;
use crate::content_hash::ContentHasher;
use crate::engine::Family;
use crate::error::{Error, Result};
use crate::key;
use crate::presence::Presence;
use crate::record::{BlobId, Body, Object, RecordKey, Segment};

/// Rows that one page looks at, bodies or not.
const ROWS_MAX: usize = 1_000;

/// Bodies of one page. A record with the most parts and blobs takes less than a megabyte.
const BODIES_MAX: usize = 64;

/// An object as its record names its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredBody {
    /// The tenant or directory.
    pub content: ContentId,
    /// The object, or the version of it.
    pub key: RecordKey,
    /// The write that is on record.
    pub version: Version,
    /// The record, without an inline body.
    pub object: Object,
}

impl StoredBody {
    /// Its place in the walk: what [`Catalogue::bodies_after`] goes on after.
    #[must_use]
    pub fn place(&self) -> Vec<u8> {
        key::record(self.content, &self.key)
    }

    /// Names these bytes in these blobs: a record that was repaired, or has other bytes, has another one.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("switchback: a body and where it is");
        hasher.update(&self.object.content_hash).update(&self.object.size.to_be_bytes());
        for Segment { blob, size } in self.object.body.segments() {
            hasher.update(&blob.0).update(&size.to_be_bytes());
        }
        let mut head = [0; 16];
        head.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        head
    }
}

/// Some bodies, in the order of a scrub.
#[derive(Clone, Debug, Default)]
pub struct BodyPage {
    /// The bodies.
    pub bodies: Vec<StoredBody>,
    /// Records that cannot be decoded, by the hexadecimal form of their rows.
    pub unreadable: Vec<String>,
    /// Where the next page begins; none at the end.
    pub next: Option<Vec<u8>>,
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A blob is not there.
    Missing {
        /// Which.
        blob: BlobId,
    },
    /// There are more bytes or fewer than the record says.
    Size {
        /// Of this blob; none for all of the body.
        blob: Option<BlobId>,
        /// Bytes that are here.
        here: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// The disk does not give the bytes back.
    Unreadable {
        /// Of this blob.
        blob: BlobId,
        /// Its words.
        reason: String,
    },
    /// The bytes are not those that were written.
    Hash,
}

impl Fault {
    /// The blob that is known to be at fault.
    #[must_use]
    pub fn blob(&self) -> Option<BlobId> {
        match self {
            Self::Missing { blob } | Self::Unreadable { blob, .. } => Some(*blob),
            Self::Size { blob, .. } => *blob,
            Self::Hash => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { .. } => f.write_str("its bytes are not there"),
            Self::Size { here, expected, .. } => write!(f, "{here} bytes of {expected} are here"),
            Self::Unreadable { reason, .. } => write!(f, "its bytes cannot be read: {reason}"),
            Self::Hash => f.write_str("its bytes are not those that were written"),
        }
    }
}

impl Catalogue {
    /// The bodies after the row `after`, which was the `next` of the page before; empty for the first page. May
    /// touch the disk: call it where blocking is allowed.
    pub fn bodies_after(&self, after: &[u8]) -> Result<BodyPage> {
        let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after.to_vec()) };
        let mut page = BodyPage::default();
        for (count, row) in self.view().scan(Family::Record, &[], from).enumerate() {
            if count == ROWS_MAX || page.bodies.len() == BODIES_MAX {
                return Ok(page);
            }
            let (row, value) = row?;
            match parse(&row, &value) {
                Ok(Some(body)) => page.bodies.push(body),
                Ok(None) => {}
                Err(_) => page.unreadable.push(hex::encode(&row)),
            }
            page.next = Some(row);
        }
        page.next = None;
        Ok(page)
    }

    /// The body of one record; none when there is none.
    pub fn body(&self, content: ContentId, key: &RecordKey) -> Result<Option<StoredBody>> {
        let stored = crate::read::stored(&self.view(), content, key)?;
        Ok(stored.and_then(|stored| body_of(content, stored)))
    }

    /// The record of `body` names these bytes and blobs still.
    fn names(&self, body: &StoredBody) -> Result<bool> {
        let now = self.body(body.content, &body.key)?;
        Ok(now.is_some_and(|now| now.fingerprint() == body.fingerprint()))
    }
}

/// The body that a row of a record names; none for other records.
fn parse(row: &[u8], value: &[u8]) -> Result<Option<StoredBody>> {
    let corrupt = || Error::Corrupt { what: "record key" };
    let (content, name) = row.split_at_checked(16).ok_or_else(corrupt)?;
    let content = ContentId::from_slice(content).ok_or_else(corrupt)?;
    Ok(body_of(content, Stored::decode(key::parse_name(name)?, value)?))
}

fn body_of(content: ContentId, stored: Stored) -> Option<StoredBody> {
    let object = stored.record.as_object()?.clone();
    Some(StoredBody { content, key: stored.record.key, version: stored.record.version, object })
}

/// Reads `body` and compares it with its record. `pace` is told of bytes that were read, and holds the reader back.
///
/// # Errors
/// The bytes cannot be judged now: the blobs' folder is not there ([`Error::BlobsGone`]), or the machine lacks
/// something that says nothing of them.
pub async fn examine<W>(
    catalogue: &Catalogue,
    blobs: &Blobs,
    presence: &Presence,
    body: &StoredBody,
    pace: impl Fn(u64) -> W + Send + Sync,
) -> Result<Option<Fault>>
where
    W: Future<Output = ()> + Send,
{
    let fault = match &body.object.body {
        Body::Inline(_) => {
            let found = catalogue.record(body.content, &body.key)?;
            let Some(object) = found.as_ref().and_then(|record| record.as_object()) else { return Ok(None) };
            let Body::Inline(bytes) = &object.body else { return Ok(None) };
            pace(bytes.len() as u64).await;
            inline_fault(&body.object, bytes)
        }
        Body::Segments(segments) => blobs_fault(blobs, &body.object, segments, pace).await?,
    };
    if fault.is_none() {
        return Ok(None);
    }
    presence.check()?;
    Ok(if catalogue.names(body)? { fault } else { None })
}

fn inline_fault(object: &Object, bytes: &[u8]) -> Option<Fault> {
    let here = bytes.len() as u64;
    if here != object.size {
        return Some(Fault::Size { blob: None, here, expected: object.size });
    }
    let mut hasher = ContentHasher::of(object);
    hasher.update(bytes);
    (hasher.finish() != object.content_hash).then_some(Fault::Hash)
}

async fn blobs_fault<W>(
    blobs: &Blobs,
    object: &Object,
    segments: &[Segment],
    pace: impl Fn(u64) -> W + Send + Sync,
) -> Result<Option<Fault>>
where
    W: Future<Output = ()> + Send,
{
    let here = object.body.len();
    if here != object.size {
        return Ok(Some(Fault::Size { blob: None, here, expected: object.size }));
    }
    let mut hasher = ContentHasher::of(object);
    for Segment { blob, size } in segments.iter().copied() {
        match blobs.size(blob).await {
            Ok(here) if here == size => {}
            Ok(here) => return Ok(Some(Fault::Size { blob: Some(blob), here, expected: size })),
            Err(error) => return fault_of(blob, error).map(Some),
        }
        let mut pieces = match blobs.read(blob, 0..size).await {
            Ok(pieces) => pieces,
            Err(error) => return fault_of(blob, error).map(Some),
        };
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => {
                    hasher.update(&piece);
                    pace(piece.len() as u64).await;
                }
                Err(error) => return fault_of(blob, error).map(Some),
            }
        }
    }
    Ok((hasher.finish() != object.content_hash).then_some(Fault::Hash))
}

/// What a failure to read says of the blob. One that is the machine's (no more files, no memory, no permission)
/// says nothing, and is passed on.
fn fault_of(blob: BlobId, error: Error) -> Result<Fault> {
    match &error {
        Error::NoSuchBlob(_) => return Ok(Fault::Missing { blob }),
        Error::Damaged => return Ok(Fault::Hash),
        Error::Corrupt { .. } => return Ok(Fault::Unreadable { blob, reason: "it ends too early".into() }),
        _ => {}
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(link) = cause {
        if let Some(io) = link.downcast_ref::<std::io::Error>()
            && is_of_the_medium(io)
        {
            return Ok(Fault::Unreadable { blob, reason: io.to_string() });
        }
        cause = link.source();
    }
    Err(error)
}

fn is_of_the_medium(error: &std::io::Error) -> bool {
    let medium = [Errno::EIO, Errno::EBADMSG, Errno::EUCLEAN, Errno::EREMOTEIO];
    let is_raw = error.raw_os_error().is_some_and(|raw| medium.contains(&Errno::from_raw(raw)));
    is_raw || error.kind() == std::io::ErrorKind::UnexpectedEof
}

#[cfg(test)]
mod tests;
