//! Listing objects with prefix and delimiter.
//!
//! A common prefix is passed over by a seek to its end, whatever lies beneath it, and so are the older
//! versions of a key, so that a page costs what it shows.

use switchback_model::{ContentId, Version};

use crate::engine::View;
use crate::error::Result;
use crate::record::{LOST_AND_FOUND, Object, Payload};
use crate::versioning::VersionId;
use crate::walk::{Place, Walk};

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
    /// Which version of the object; absent where the namespace never kept versions and none was asked for.
    pub id: Option<VersionId>,
    /// Its record's version.
    pub version: Version,
    /// Everything else.
    pub object: Object,
}

/// True for keys that only show to those who ask for them by their prefix.
pub(crate) fn is_hidden(key: &str, prefix: &str) -> bool {
    key.starts_with(LOST_AND_FOUND) && !prefix.starts_with(LOST_AND_FOUND.trim_end_matches('/'))
}

/// What `key` is grouped under, if anything.
pub(crate) fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let at = key.get(prefix.len()..)?.find(delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

/// One page. The newest version of each key decides whether it shows.
pub(crate) fn list(
    view: &View<'_>,
    content: ContentId,
    namespace: &str,
    request: &ListRequest,
) -> Result<Listing> {
    let ListRequest { prefix, delimiter, start_after, keys_max } = request;
    let place = if start_after.is_empty() { Place::At(prefix) } else { Place::Behind(start_after) };
    let mut walk = Walk::new(view, content, namespace, prefix, place)?;
    let keys_max = (*keys_max).clamp(1, LIST_MAX);
    let mut page = Listing::default();
    let mut last = None;
    while let Some(entry) = walk.next()? {
        if is_hidden(&entry.key, prefix) {
            walk.seek(Place::Beyond(LOST_AND_FOUND))?;
            continue;
        }
        let (key, id, version) = (entry.key, VersionId::of(&entry.record.key), entry.record.version);
        walk.pass(&key);
        let Payload::Object(object) = entry.record.payload else { continue };
        let group = common_prefix(&key, prefix, delimiter);
        if let Some(group) = group.filter(|group| group == start_after) {
            walk.seek(Place::Beyond(group))?;
            continue;
        }
        if page.objects.len() + page.common_prefixes.len() == keys_max {
            page.next_start_after = last;
            break;
        }
        if let Some(group) = group {
            page.common_prefixes.push(group.into());
            last = Some(group.into());
            walk.seek(Place::Beyond(group))?;
            continue;
        }
        last = Some(key.clone());
        page.objects.push(ObjectEntry { key, id: Some(id), version, object: *object });
    }
    Ok(page)
}
