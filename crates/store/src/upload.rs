//! Multipart uploads: durable, on this system only, outside the feed until they complete.

use std::collections::BTreeMap;
use std::fmt;

use crate::lock::Lock;
use crate::record::{Checksum, Metadata, Segment};

/// Names one upload: random.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub [u8; 16]);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for UploadId {
    type Err = crate::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| crate::Error::NoSuchUpload)?;
        Ok(Self(id))
    }
}

/// Most parts of one upload: S3's limit.
pub const PART_NUMBER_MAX: u32 = 10_000;

/// An upload that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// Which.
    pub id: UploadId,
    /// The key it will become.
    pub key: String,
    /// Unix milliseconds. The store sets it.
    pub initiated_unix_ms: u64,
    /// The object's metadata to be.
    pub metadata: Metadata,
    /// What will keep the object from being deleted.
    pub lock: Lock,
    /// The object's tags to be.
    pub tags: BTreeMap<String, String>,
    /// Of the parts' checksums; empty when none was asked for.
    pub checksum_algorithm: String,
    /// What the object's checksum will be of, in S3's words; the store does not read it.
    pub checksum_type: String,
}

/// One part. Its bytes are always in blobs, so that completing names them and copies nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// 1 to [`PART_NUMBER_MAX`].
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// Unix milliseconds. The store sets it.
    pub last_modified_unix_ms: u64,
    /// BLAKE3 of the bytes.
    pub content_hash: [u8; 32],
    /// Checksums that were compared with the bytes.
    pub checksums: Vec<Checksum>,
    /// Where the bytes are.
    pub segments: Vec<Segment>,
}

/// A part as the completion names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub number: u32,
    /// Without quotes.
    pub etag: String,
}

/// The end of an upload.
#[derive(Clone, Debug)]
pub struct Completion {
    /// In ascending order of number.
    pub parts: Vec<CompletedPart>,
    /// The object's ETag, computed by the caller from the parts.
    pub etag: String,
    /// The object's checksums, computed by the caller from the parts.
    pub checksums: Vec<Checksum>,
}

/// One page of parts.
#[derive(Clone, Debug, PartialEq)]
pub struct PartPage {
    /// The upload.
    pub upload: Upload,
    /// By number.
    pub parts: Vec<Part>,
    /// More follow.
    pub truncated: bool,
}

/// One page of uploads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UploadPage {
    /// By key, then identifier.
    pub uploads: Vec<Upload>,
    /// More follow.
    pub truncated: bool,
}
