//! One page of a pass: what of a namespace is due, found on a snapshot and away from the writer.
//!
//! There is no index by due time. When a version is due depends on the rules, so that every change of
//! them would write such an index anew; on the version that replaces it; and on its tags and size. It
//! would cost each write of a namespace that has rules another row, to spare one look a day at what is
//! there. It binds where a pass over a namespace takes longer than the interval: at the mover's rate,
//! beyond a thousand million versions for passes a day apart.

use std::ops::Bound;
use std::sync::Arc;

use switchback_model::{ContentId, Version};

use super::{Lifecycle, Standing, Subject};
use crate::codec;
use crate::engine::{Family, View};
use crate::error::Result;
use crate::key;
use crate::record::{Payload, Record};
use crate::upload::UploadId;
use crate::versioning::VersionId;
use crate::walk::{Entry, Place, Walk};

/// What one page finds due at most: its end is one commit, which is not to delay others by much.
const DUE_MAX: usize = 256;

/// Something that is due, as it was seen. What is done about it is checked again in the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The object, by the record of its current version.
    Current { key: String, version: Version },
    /// A version behind others, of which those in `kept` are to stay.
    Noncurrent { key: String, id: VersionId, version: Version, kept: Arc<[VersionId]> },
    /// A delete marker with nothing behind it.
    Marker { key: String, id: VersionId, version: Version },
    /// A multipart upload.
    Upload { key: String, id: UploadId },
}

/// How far a pass has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecyclePlace(Stage);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// At this key, or the next after it.
    At(String),
    /// Among the versions of a key.
    Among(Box<Versions>),
    /// Behind this upload, or at the first.
    Uploads(Option<(String, UploadId)>),
}

impl LifecyclePlace {
    /// The start, or, to go on with a pass that was broken off, this key.
    #[must_use]
    pub fn at(key: &str) -> Self {
        Self(Stage::At(key.into()))
    }

    /// Where to go on after a break; `None` where only uploads are left, which are few.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match &self.0 {
            Stage::At(key) => Some(key),
            Stage::Among(versions) => Some(&versions.key),
            Stage::Uploads(_) => None,
        }
    }
}

/// What one page found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecyclePage {
    /// What is due.
    pub due: Vec<Due>,
    /// How many versions and uploads were looked at.
    pub looked: usize,
    /// Where the next page starts; absent at the end.
    pub next: Option<LifecyclePlace>,
}

/// What is known of a key of which some versions were seen, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Versions {
    key: String,
    /// When the last one that was seen came into being.
    born: Version,
    /// The newest noncurrent ones that stay, as many as any rule keeps.
    kept: Vec<VersionId>,
    /// The same for who deletes those behind them.
    shared: Option<Arc<[VersionId]>>,
    /// The current one: a marker that is due if it is the only one.
    marker: Option<Due>,
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct LifecycleRequest<'a> {
    /// The rules of the namespace.
    pub rules: &'a Lifecycle,
    /// Where to go on.
    pub place: &'a LifecyclePlace,
    /// The time, in Unix milliseconds.
    pub now_unix_ms: u64,
    /// Versions, or uploads, to look at, at least 1. What is due among them can end a page before.
    pub looked_max: usize,
}

/// See [`crate::Catalogue::look_for_due`].
pub(crate) fn look(
    view: &View<'_>,
    content: ContentId,
    namespace: &str,
    request: &LifecycleRequest<'_>,
) -> Result<LifecyclePage> {
    let (mut page, rules) = (LifecyclePage { due: Vec::new(), looked: 0, next: None }, request.rules);
    match &request.place.0 {
        Stage::Uploads(after) => {
            look_at_uploads(view, content, namespace, request, after.as_ref(), &mut page)?;
        }
        Stage::At(_) | Stage::Among(_) => {
            let next = if rules.is_of_versions() {
                look_at_versions(view, content, namespace, request, &mut page)?
            } else {
                None
            };
            let uploads = rules.is_of_uploads().then_some(Stage::Uploads(None));
            page.next = next.map(|next| Stage::Among(Box::new(next))).or(uploads).map(LifecyclePlace);
        }
    }
    Ok(page)
}

fn look_at_versions(
    view: &View<'_>,
    content: ContentId,
    namespace: &str,
    request: &LifecycleRequest<'_>,
    page: &mut LifecyclePage,
) -> Result<Option<Versions>> {
    let LifecycleRequest { rules, place, now_unix_ms, looked_max } = *request;
    let mut seen = match &place.0 {
        Stage::Among(versions) => Some((**versions).clone()),
        Stage::At(_) | Stage::Uploads(_) => None,
    };
    let start = match &place.0 {
        Stage::Among(versions) => Place::Among(&versions.key, versions.born),
        Stage::At(_) | Stage::Uploads(_) => Place::At(place.key().unwrap_or_default()),
    };
    let mut walk = Walk::new(view, content, namespace, rules.common_prefix(), start)?;
    let kept_max = rules.kept_max();
    while let Some(entry) = walk.next()? {
        if page.looked == looked_max.max(1) || page.due.len() >= DUE_MAX {
            return Ok(seen);
        }
        page.looked += 1;
        match &mut seen {
            Some(versions) if versions.key == entry.key => {
                versions.marker = None;
                page.due.extend(versions.next(rules, entry, kept_max, now_unix_ms));
            }
            Some(_) | None => {
                let newest = newest(rules, entry, now_unix_ms);
                page.due.extend(newest.1);
                let before = seen.replace(newest.0);
                page.due.extend(before.and_then(|before| before.marker));
            }
        }
    }
    page.due.extend(seen.and_then(|last| last.marker));
    Ok(None)
}

fn written_unix_ms(record: &Record) -> u64 {
    match &record.payload {
        Payload::Object(object) => object.last_modified_unix_ms,
        _ => record.born().hlc.unix_ms(),
    }
}

/// The newest version of a key, and what of it is due whatever is behind it.
fn newest(rules: &Lifecycle, entry: Entry, now_unix_ms: u64) -> (Versions, Option<Due>) {
    let Entry { key, born, record } = entry;
    let subject = Subject {
        key: &key,
        object: record.as_object(),
        written_unix_ms: written_unix_ms(&record),
        standing: Standing::Current { is_only: true },
    };
    let is_due = rules.expiry(&subject).is_some_and(|expiry| expiry.at_unix_ms <= now_unix_ms);
    let (id, version) = (VersionId::of(&record.key), record.version);
    let (due, marker) = match (is_due, record.as_object()) {
        (false, _) => (None, None),
        (true, Some(_)) => (Some(Due(Kind::Current { key: key.clone(), version })), None),
        (true, None) => (None, Some(Due(Kind::Marker { key: key.clone(), id, version }))),
    };
    (Versions { key, born, kept: Vec::new(), shared: None, marker }, due)
}

impl Versions {
    /// The next older version.
    fn next(&mut self, rules: &Lifecycle, entry: Entry, kept_max: usize, now_unix_ms: u64) -> Option<Due> {
        let Entry { key, born, record } = entry;
        let since_unix_ms = self.born.hlc.unix_ms();
        self.born = born;
        let newer = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        let subject = Subject {
            key: &key,
            object: record.as_object(),
            written_unix_ms: written_unix_ms(&record),
            standing: Standing::Noncurrent { since_unix_ms, newer },
        };
        let (id, version) = (VersionId::of(&record.key), record.version);
        if rules.expiry(&subject).is_some_and(|expiry| expiry.at_unix_ms <= now_unix_ms) {
            let kept = self.shared.get_or_insert_with(|| self.kept.clone().into()).clone();
            return Some(Due(Kind::Noncurrent { key, id, version, kept }));
        }
        if record.as_object().is_some() && self.kept.len() < kept_max {
            self.kept.push(id);
            self.shared = None;
        }
        None
    }
}

fn look_at_uploads(
    view: &View<'_>,
    content: ContentId,
    namespace: &str,
    request: &LifecycleRequest<'_>,
    after: Option<&(String, UploadId)>,
    page: &mut LifecyclePage,
) -> Result<()> {
    let all = key::uploads(content, namespace);
    let from = match after {
        Some((key, upload)) => Bound::Excluded(key::upload(content, namespace, key, *upload)),
        None => Bound::Included(all.clone()),
    };
    for row in view.scan(Family::Upload, &all, from) {
        let (row, value) = row?;
        let (key, id) = key::parse_upload(&row, all.len())?;
        page.looked += 1;
        let upload = codec::decode_upload(id, key.clone(), &value)?;
        let expiry = request.rules.upload_expiry(&key, upload.initiated_unix_ms);
        if expiry.is_some_and(|expiry| expiry.at_unix_ms <= request.now_unix_ms) {
            page.due.push(Due(Kind::Upload { key: key.clone(), id }));
        }
        if page.looked >= request.looked_max || page.due.len() == DUE_MAX {
            page.next = Some(LifecyclePlace(Stage::Uploads(Some((key, id)))));
            break;
        }
    }
    Ok(())
}
