//! Walking the keys of a content where its digest differs from a peer's.

use std::ops::Bound;

use switchback_model::{ContentId, Version};

use crate::catalogue::Catalogue;
use crate::codec::Stored;
use crate::digest;
use crate::engine::Family;
use crate::error::Result;
use crate::key;
use crate::record::RecordKey;

/// Rows that one call looks at, so that a page whose ranges hold little ends all the same.
const ROWS_MAX: usize = 50_000;

/// Which keys of a content to list.
#[derive(Clone, Debug)]
pub struct VersionsRequest<'a> {
    /// After this key, exclusive; from the first one without.
    pub after: Option<&'a RecordKey>,
    /// Through this key, inclusive; to the last one without.
    pub through: Option<&'a RecordKey>,
    /// Which of the 256 digest ranges.
    pub ranges: &'a [bool; 256],
    /// At most so many.
    pub keys_max: usize,
}

/// A page of keys with their versions, in the order of the catalogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionsPage {
    /// What the digest counts: no tombstones, no notes of conflicts.
    pub versions: Vec<(RecordKey, Version)>,
    /// Keys of the tombstones among them.
    pub tombstones: Vec<RecordKey>,
    /// The key through which this page speaks; absent when it reaches the end.
    pub through: Option<RecordKey>,
}

impl RecordKey {
    /// The digest range that a record of this key counts in.
    #[must_use]
    pub fn digest_range(&self) -> u8 {
        digest::range_of(self)
    }
}

impl Catalogue {
    /// One page of the keys in some digest ranges. Both sides of a link walk their keys in the same
    /// order, so a page of one can be compared with the same stretch of the other. Scans: call it
    /// on a thread that may block.
    pub fn versions(&self, content: ContentId, request: &VersionsRequest<'_>) -> Result<VersionsPage> {
        let view = self.view();
        let from = match request.after {
            Some(after) => Bound::Excluded(key::record(content, after)),
            None => Bound::Included(content.0.to_vec()),
        };
        let last = request.through.map(|through| key::record(content, through));
        let mut page = VersionsPage::default();
        for (rows, row) in view.scan(Family::Record, &content.0, from).enumerate() {
            let (row, value) = row?;
            if last.as_ref().is_some_and(|last| row.as_slice() > last.as_slice()) {
                break;
            }
            let name = key::parse_name(&row[content.0.len()..])?;
            let full = page.versions.len() == request.keys_max || rows == ROWS_MAX;
            if full {
                return Ok(page);
            }
            page.through = Some(name.clone());
            if request.ranges[usize::from(digest::range_of(&name))] {
                let Stored { record, .. } = Stored::decode(name, &value)?;
                if digest::is_counted(&record) {
                    page.versions.push((record.key, record.version));
                } else if record.is_deleted() {
                    page.tombstones.push(record.key);
                }
            }
        }
        page.through = request.through.cloned();
        Ok(page)
    }
}
