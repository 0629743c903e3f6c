//! Parts of open uploads: they are on this system only, so what is damaged of them cannot be repaired, and the client
//! is told before an object is made of them.

use std::future::Future;
use std::ops::Bound;

use switchback_model::{ContentId, Version};

use super::{Fault, StoredBody, blobs_fault};
use crate::blob::Blobs;
use crate::catalogue::Catalogue;
use crate::codec;
use crate::engine::{Family, Rows as _};
use crate::error::Result;
use crate::key;
use crate::multipart::Place;
use crate::presence::Presence;
use crate::record::{Body, Object, RecordKey};
use crate::upload::{Part, UploadId};

/// Parts of one page, as of bodies.
pub(super) const PARTS_MAX: usize = 64;

/// Uploads of one page, with parts or without.
const UPLOADS_MAX: usize = 1_000;

/// Behind the last part of any upload.
const NO_MORE_PARTS: u32 = u32::MAX;

/// A part of an open upload as its row names its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPart {
    /// The tenant or directory.
    pub content: ContentId,
    /// Of the object that it may become part of.
    pub namespace: String,
    /// The same.
    pub key: String,
    /// Of the upload.
    pub upload: UploadId,
    /// The row.
    pub part: Part,
}

impl StoredPart {
    /// Its place in the walk: what [`Catalogue::parts_after`] goes on after.
    #[must_use]
    pub fn place(&self) -> Vec<u8> {
        let row = key::upload(self.content, &self.namespace, &self.key, self.upload);
        place(row, self.part.number)
    }

    /// Its bytes, as those of an object that has no others.
    #[must_use]
    pub fn body(&self) -> StoredBody {
        let Part { size, content_hash, ref segments, .. } = self.part;
        StoredBody {
            content: self.content,
            key: RecordKey::object(&self.namespace, &self.key),
            version: Version::default(),
            object: Object {
                size,
                content_hash,
                body: Body::Segments(segments.clone()),
                ..Object::default()
            },
        }
    }
}

/// Some parts, in the order of a scrub.
#[derive(Clone, Debug, Default)]
pub struct StoredParts {
    /// The parts.
    pub parts: Vec<StoredPart>,
    /// Rows that cannot be decoded, in hexadecimal form.
    pub unreadable: Vec<String>,
    /// Where the next page begins; none at the end.
    pub next: Option<Vec<u8>>,
}

fn place(upload_row: Vec<u8>, number: u32) -> Vec<u8> {
    [upload_row, number.to_be_bytes().to_vec()].concat()
}

impl Catalogue {
    /// The parts after the place `after`, which is that of a part or the `next` of the page before; empty for the
    /// first page. May touch the disk: call it where blocking is allowed.
    pub fn parts_after(&self, after: &[u8]) -> Result<StoredParts> {
        let (from, mut passed) = match after.split_last_chunk() {
            Some((row, number)) => (row.to_vec(), u32::from_be_bytes(*number)),
            None => (key::UPLOADS.to_vec(), 0),
        };
        let view = self.view();
        let mut page = StoredParts::default();
        let first = from.clone();
        for (count, found) in view.scan(Family::Upload, key::UPLOADS, Bound::Included(from)).enumerate() {
            let (row, _) = found?;
            if count == UPLOADS_MAX {
                return Ok(page);
            }
            // Another upload, if that one has ended meanwhile.
            if row != first {
                passed = 0;
            }
            let Ok(upload) = key::parse_upload_row(&row) else {
                page.unreadable.push(hex::encode(&row));
                page.next = Some(place(row, NO_MORE_PARTS));
                continue;
            };
            let rest = Bound::Excluded(key::part(upload.upload, passed));
            for part in view.scan(Family::Upload, &key::parts(upload.upload), rest) {
                let (part_row, value) = part?;
                if page.parts.len() == PARTS_MAX {
                    return Ok(page);
                }
                let number = part_row.last_chunk().copied().map_or(NO_MORE_PARTS, u32::from_be_bytes);
                match codec::decode_part(number, &value) {
                    Ok(part) => page.parts.push(stored(&upload, part)),
                    Err(_) => page.unreadable.push(hex::encode(&part_row)),
                }
                page.next = Some(place(row.clone(), number));
            }
            page.next = Some(place(row, NO_MORE_PARTS));
        }
        page.next = None;
        Ok(page)
    }

    /// One part; none when its upload has none of this number, or is not open.
    pub fn stored_part(
        &self,
        content: ContentId,
        namespace: &str,
        key: &str,
        upload: UploadId,
        number: u32,
    ) -> Result<Option<StoredPart>> {
        let view = self.view();
        let place = Place { content, namespace: namespace.into(), key: key.into(), upload };
        if view.row(Family::Upload, &place.row())?.is_none() {
            return Ok(None);
        }
        let row = view.row(Family::Upload, &key::part(upload, number))?;
        let part = row.map(|row| codec::decode_part(number, &row)).transpose()?;
        Ok(part.map(|part| stored(&place, part)))
    }
}

fn stored(place: &Place, part: Part) -> StoredPart {
    let Place { content, namespace, key, upload } = place.clone();
    StoredPart { content, namespace, key, upload, part }
}

/// Reads `part` and compares it with its row, as [`examine`](super::examine) does with a body. One that was replaced
/// meanwhile, or whose upload has ended, is no damage.
///
/// # Errors
/// As [`examine`](super::examine).
pub async fn examine_part<W>(
    catalogue: &Catalogue,
    blobs: &Blobs,
    presence: &Presence,
    part: &StoredPart,
    pace: impl Fn(u64) -> W + Send + Sync,
) -> Result<Option<Fault>>
where
    W: Future<Output = ()> + Send,
{
    let body = part.body();
    let fault = blobs_fault(blobs, &body.object, body.object.body.segments(), pace).await?;
    if fault.is_none() {
        return Ok(None);
    }
    presence.check()?;
    let StoredPart { content, namespace, key, upload, part } = part;
    let now = catalogue.stored_part(*content, namespace, key, *upload, part.number)?;
    Ok(fault.filter(|_| now.is_some_and(|now| now.body().fingerprint() == body.fingerprint())))
}
