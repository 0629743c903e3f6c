//! Listing all versions of objects, delete markers among them, with prefix and delimiter.

use switchback_model::{ContentId, Version};

use crate::engine::View;
use crate::error::Result;
use crate::listing::{LIST_MAX, common_prefix, is_hidden};
use crate::record::{LOST_AND_FOUND, Object, Payload, RecordKey};
use crate::versioning::{VersionId, current};
use crate::walk::{Place, Walk};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct VersionsAsked {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that share what follows the prefix up to this are one common prefix. Empty: none.
    pub delimiter: String,
    /// Where to start; from the start without.
    pub after: Option<VersionsAfter>,
    /// Versions, delete markers and common prefixes together; at most [`LIST_MAX`].
    pub entries_max: usize,
}

/// A place in the listing, exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionsAfter {
    /// A key or a common prefix.
    pub key: String,
    /// This version of the key; without, behind all of them. Of a page's end it is where the version is
    /// among the others, which a `null` version keeps when it is overwritten.
    pub version: Option<VersionId>,
}

/// A version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionEntry {
    /// Its key.
    pub key: String,
    /// Which version of the object.
    pub id: VersionId,
    /// It is the current one.
    pub is_latest: bool,
    /// Unix milliseconds.
    pub last_modified_unix_ms: u64,
    /// Its record's version.
    pub version: Version,
    /// Without its body; absent for a delete marker.
    pub object: Option<Object>,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionListing {
    /// In order of key bytes, of one key the newest first.
    pub entries: Vec<VersionEntry>,
    /// In order.
    pub common_prefixes: Vec<String>,
    /// Where the next page starts; absent at the end.
    pub next: Option<VersionsAfter>,
}

/// One page.
pub(crate) fn list(
    view: &View<'_>,
    content: ContentId,
    namespace: &str,
    asked: &VersionsAsked,
) -> Result<VersionListing> {
    let start = start(view, content, namespace, asked)?;
    let (after, place) = match &start {
        Start::First => ("", Place::At(&asked.prefix)),
        Start::Behind(key) => (key.as_str(), Place::Behind(key)),
        Start::Among(key, born) => (key.as_str(), Place::Among(key, *born)),
        Start::Newest(key) => (key.as_str(), Place::At(key)),
    };
    let mut walk = Walk::new(view, content, namespace, &asked.prefix, place)?;
    let entries_max = asked.entries_max.clamp(1, LIST_MAX);
    let mut page = VersionListing::default();
    let mut last = None;
    // The current version of the key that the page starts within may be before it.
    let mut latest = match &start {
        Start::Among(key, _) => {
            current(view, content, namespace, key)?.map(|stored| (key.clone(), stored.record.born()))
        }
        Start::First | Start::Behind(_) | Start::Newest(_) => None,
    };
    while let Some(entry) = walk.next()? {
        if is_hidden(&entry.key, &asked.prefix) {
            walk.seek(Place::Beyond(LOST_AND_FOUND))?;
            continue;
        }
        let group = common_prefix(&entry.key, &asked.prefix, &asked.delimiter);
        if let Some(group) = group.filter(|group| *group == after) {
            walk.seek(Place::Beyond(group))?;
            continue;
        }
        if page.entries.len() + page.common_prefixes.len() == entries_max {
            page.next = last;
            break;
        }
        if let Some(group) = group {
            page.common_prefixes.push(group.into());
            last = Some(VersionsAfter { key: group.into(), version: None });
            walk.seek(Place::Beyond(group))?;
            continue;
        }
        if latest.as_ref().is_none_or(|(key, _)| *key != entry.key) {
            latest = Some((entry.key.clone(), entry.born));
        }
        let version = Some(VersionId::Of(entry.born));
        last = Some(VersionsAfter { key: entry.key.clone(), version });
        page.entries.push(VersionEntry {
            id: VersionId::of(&entry.record.key),
            is_latest: latest.as_ref().is_some_and(|(_, born)| *born == entry.born),
            last_modified_unix_ms: match &entry.record.payload {
                Payload::Object(object) => object.last_modified_unix_ms,
                _ => entry.born.hlc.unix_ms(),
            },
            version: entry.record.version,
            object: entry.record.as_object().cloned(),
            key: entry.key,
        });
    }
    Ok(page)
}

/// Where a page starts.
enum Start {
    First,
    Behind(String),
    Among(String, Version),
    /// The place among the versions is not known any more: rather once more than not at all.
    Newest(String),
}

fn start(view: &View<'_>, content: ContentId, namespace: &str, asked: &VersionsAsked) -> Result<Start> {
    let Some(VersionsAfter { key, version }) = &asked.after else { return Ok(Start::First) };
    let key = key.clone();
    Ok(match version {
        None if key.is_empty() => Start::First,
        None => Start::Behind(key),
        Some(VersionId::Of(born)) => Start::Among(key, *born),
        Some(VersionId::Null) => {
            let name = RecordKey::object(namespace, &key);
            let null = crate::read::stored(view, content, &name)?.map(|stored| stored.record);
            match null.filter(|record| !record.is_deleted()) {
                Some(record) => Start::Among(key, record.born()),
                None => Start::Newest(key),
            }
        }
    })
}
