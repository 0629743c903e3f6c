//! Listing objects with prefix and delimiter.
//!
//! A common prefix is passed over by a seek to its end, whatever lies beneath it, so that a page
//! costs what it shows.

use std::ops::Bound;

use switchback_model::{ContentId, Version};

use crate::codec::Stored;
use crate::engine::{Family, View, prefix_end};
use crate::error::Result;
use crate::key;
use crate::record::{LOST_AND_FOUND, Object, Payload, RecordKey};

/// S3's page size, and the most that one call answers.
pub const LIST_MAX: usize = 1000;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that share what follows the prefix up to this are one common prefix. Empty: none.
    pub delimiter: String,
    /// After this key or common prefix, exclusive. Empty: from the start.
    pub start_after: String,
    /// Objects and common prefixes together; at most [`LIST_MAX`].
    pub keys_max: usize,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// In order of key bytes, without their bodies.
    pub objects: Vec<ObjectEntry>,
    /// In order.
    pub common_prefixes: Vec<String>,
    /// Where the next page starts; absent at the end.
    pub next_start_after: Option<String>,
}

/// An object with its key and version. `object.body` is empty unless it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectEntry {
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// Everything else.
    pub object: Object,
}

/// True for keys that only show to those who ask for them by their prefix.
fn is_hidden(key: &str, prefix: &str) -> bool {
    key.starts_with(LOST_AND_FOUND) && !prefix.starts_with(LOST_AND_FOUND.trim_end_matches('/'))
}

/// What `key` is grouped under, if anything.
fn common_prefix<'a>(key: &'a str, request: &ListRequest) -> Option<&'a str> {
    if request.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(request.prefix.len()..)?;
    let at = rest.find(&request.delimiter)?;
    key.get(..request.prefix.len() + at + request.delimiter.len())
}

/// One page.
pub(crate) fn list(
    view: &View<'_>,
    content: ContentId,
    namespace: &str,
    request: &ListRequest,
) -> Result<Listing> {
    let base = key::objects(content, namespace);
    let at = |key: &str| [&base, key.as_bytes()].concat();
    let span = at(&request.prefix);
    let after = at(&request.start_after);
    let mut from = if after < span || request.start_after.is_empty() {
        Bound::Included(span.clone())
    } else {
        Bound::Excluded(after)
    };
    let keys_max = request.keys_max.clamp(1, LIST_MAX);
    let mut page = Listing::default();
    let mut last = None;
    // Each turn reads objects until a common prefix (or what is hidden) is met, and seeks past it.
    loop {
        let mut skip = None;
        for row in view.scan(Family::Record, &span, from.clone()) {
            let (row, value) = row?;
            let RecordKey::Object { key, .. } = key::parse_name(&row[content.0.len()..])? else { continue };
            if is_hidden(&key, &request.prefix) {
                skip = Some(at(LOST_AND_FOUND));
                break;
            }
            let record = Stored::decode(RecordKey::object(namespace, &key), &value)?.record;
            let Payload::Object(object) = record.payload else { continue };
            let group = common_prefix(&key, request);
            if group == Some(request.start_after.as_str()) {
                skip = group.map(at);
                break;
            }
            if page.objects.len() + page.common_prefixes.len() == keys_max {
                page.next_start_after = last;
                return Ok(page);
            }
            if let Some(group) = group {
                page.common_prefixes.push(group.into());
                last = Some(group.into());
                skip = Some(at(group));
                break;
            }
            last = Some(key.clone());
            page.objects.push(ObjectEntry { key, version: record.version, object: *object });
        }
        match skip.as_deref().and_then(prefix_end) {
            Some(end) => from = Bound::Included(end),
            None => return Ok(page),
        }
    }
}
