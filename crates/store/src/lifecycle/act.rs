//! What is done about what is due: ordinary deletes of this system, each checked again in the commit.
//!
//! Between the look and the commit anything may have happened. So a page is carried out only while the
//! content is writable and the rules are those that were looked at; an object only if its current version
//! is the very record that was seen, so that whoever wrote, tagged or locked it meanwhile keeps it; a
//! noncurrent version only if it is unchanged, still noncurrent, and those that are to stay before it are
//! there; a marker only if there is nothing behind it. What is locked is left alone.

use std::sync::Arc;

use switchback_model::{ContentId, Version};

use super::LIFECYCLE;
use super::look::{Due, Kind};
use crate::batch::Batch;
use crate::catalogue::Deletion;
use crate::codec::Stored;
use crate::commit::{check_writable, delete_object, take_away};
use crate::engine::{Family, Rows as _};
use crate::error::{Error, Result};
use crate::key;
use crate::multipart::remove_upload;
use crate::record::{Payload, RecordKey};
use crate::versioning::{VersionId, current, find};

/// Rows of one key that a commit looks through for what a marker hides: the writer must not stand still for
/// tombstones without number. Behind more of them the marker stays until they are freed.
const ROWS_MAX: usize = 1000;

/// What was done, and what was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acted {
    /// Objects that were deleted, where no versions are kept.
    pub deleted: u64,
    /// Objects that were hidden behind a delete marker.
    pub hidden: u64,
    /// Noncurrent versions that were deleted for good.
    pub noncurrent: u64,
    /// Delete markers that hid nothing any more.
    pub markers: u64,
    /// Multipart uploads that were aborted.
    pub uploads: u64,
    /// Left, because they are locked.
    pub locked: u64,
    /// Left, because they were changed since they were looked at.
    pub changed: u64,
    /// Left, because a delete marker needs room, and the storage is full.
    pub without_room: u64,
}

impl Acted {
    /// Adds what another page did.
    pub fn add(&mut self, other: Self) {
        self.deleted += other.deleted;
        self.hidden += other.hidden;
        self.noncurrent += other.noncurrent;
        self.markers += other.markers;
        self.uploads += other.uploads;
        self.locked += other.locked;
        self.changed += other.changed;
        self.without_room += other.without_room;
    }

    /// How much was done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.deleted + self.hidden + self.noncurrent + self.markers + self.uploads
    }
}

/// Carries out what is due, if the rules of the namespace are still `setting`; `None` if they are not.
pub(crate) fn act(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    setting: &str,
    due: &[Due],
) -> Result<Option<Acted>> {
    check_writable(batch, id)?;
    let stored = batch.stored(id, &RecordKey::Namespace(namespace.into()))?;
    let settings = stored.as_ref().and_then(|stored| match &stored.record.payload {
        Payload::Namespace(namespace) => namespace.settings.get(LIFECYCLE),
        _ => None,
    });
    if settings.is_none_or(|settings| settings != setting) {
        return Ok(None);
    }
    let (mut acted, mut kept) = (Acted::default(), Kept::default());
    for Due(kind) in due {
        match one(batch, id, namespace, kind, &mut kept) {
            Ok(Some(did)) => *did.count(&mut acted) += 1,
            Ok(None) => acted.changed += 1,
            Err(Error::Locked { .. }) => acted.locked += 1,
            Err(Error::StorageFull) => acted.without_room += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(Some(acted))
}

/// What was done about one.
enum Did {
    Delete,
    Hide,
    DeleteVersion,
    RemoveMarker,
    Abort,
}

impl Did {
    fn count(self, acted: &mut Acted) -> &mut u64 {
        match self {
            Self::Delete => &mut acted.deleted,
            Self::Hide => &mut acted.hidden,
            Self::DeleteVersion => &mut acted.noncurrent,
            Self::RemoveMarker => &mut acted.markers,
            Self::Abort => &mut acted.uploads,
        }
    }
}

/// Which versions that are to stay were found last: those of one key are asked for once.
#[derive(Default)]
struct Kept(Option<(Arc<[VersionId]>, bool)>);

impl Kept {
    fn are_there(
        &mut self,
        batch: &Batch<'_>,
        id: ContentId,
        namespace: &str,
        key: &str,
        wanted: &Arc<[VersionId]>,
    ) -> Result<bool> {
        match &self.0 {
            Some((found, are_there)) if Arc::ptr_eq(found, wanted) => Ok(*are_there),
            Some(_) | None => {
                let mut are_there = true;
                for version in wanted.iter() {
                    let found = find(batch, id, namespace, key, Some(*version))?;
                    are_there &= found.is_some_and(|stored| stored.record.as_object().is_some());
                }
                self.0 = Some((Arc::clone(wanted), are_there));
                Ok(are_there)
            }
        }
    }
}

fn one(
    batch: &mut Batch<'_>,
    id: ContentId,
    namespace: &str,
    kind: &Kind,
    kept: &mut Kept,
) -> Result<Option<Did>> {
    match kind {
        Kind::Current { key, version } => {
            let found = current(batch, id, namespace, key)?.filter(|found| is_same(found, *version));
            if found.is_none_or(|found| found.record.is_without_object()) {
                return Ok(None);
            }
            let deleted = delete_object(batch, id, namespace, &Deletion::from(key.as_str()))?;
            Ok(Some(if deleted.is_marker { Did::Hide } else { Did::Delete }))
        }
        Kind::Noncurrent { key, id: version_id, version, kept: wanted } => {
            let Some(found) = seen(batch, id, namespace, key, *version_id, *version)? else {
                return Ok(None);
            };
            let is_current = current(batch, id, namespace, key)?
                .is_none_or(|current| current.record.born() <= found.record.born());
            if is_current || !kept.are_there(batch, id, namespace, key, wanted)? {
                return Ok(None);
            }
            take_away(batch, id, found.record.key, false)?;
            Ok(Some(Did::DeleteVersion))
        }
        Kind::Marker { key, id: version_id, version } => {
            let Some(found) = seen(batch, id, namespace, key, *version_id, *version)? else {
                return Ok(None);
            };
            if !found.record.is_without_object() || !is_only(batch, id, namespace, key, &found)? {
                return Ok(None);
            }
            take_away(batch, id, found.record.key, false)?;
            Ok(Some(Did::RemoveMarker))
        }
        Kind::Upload { key, id: upload } => {
            let row = key::upload(id, namespace, key, *upload);
            if batch.row(Family::Upload, &row)?.is_none() {
                return Ok(None);
            }
            remove_upload(batch, row, *upload)?;
            Ok(Some(Did::Abort))
        }
    }
}

fn is_same(found: &Stored, version: Version) -> bool {
    found.record.version == version
}

/// The version as it was seen, if nobody has changed it since.
fn seen(
    batch: &Batch<'_>,
    id: ContentId,
    namespace: &str,
    key: &str,
    version_id: VersionId,
    version: Version,
) -> Result<Option<Stored>> {
    let found = find(batch, id, namespace, key, Some(version_id))?;
    Ok(found.filter(|found| is_same(found, version)))
}

/// True if there is no other version of the key than `marker`, as far as [`ROWS_MAX`] rows show.
fn is_only(batch: &Batch<'_>, id: ContentId, namespace: &str, key: &str, marker: &Stored) -> Result<bool> {
    let is_other = |found: &Stored| !found.record.is_deleted() && found.record.key != marker.record.key;
    if batch.stored(id, &RecordKey::object(namespace, key))?.is_some_and(|null| is_other(&null)) {
        return Ok(false);
    }
    let rows = batch.first(Family::Record, &key::versions_of(id, namespace, key), ROWS_MAX)?;
    for (row, value) in &rows {
        if is_other(&Stored::decode(key::parse_name(&row[id.0.len()..])?, value)?) {
            return Ok(false);
        }
    }
    Ok(rows.len() < ROWS_MAX)
}
