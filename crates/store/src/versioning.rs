//! Versions of objects: what is kept of a key in a versioned namespace, and which of it is current.
//!
//! - **A version is a record of its own** ([`RecordKey::Version`]), named by the version of its first
//!   write and never overwritten: a write into a namespace whose versioning is on costs what any other
//!   does, and touches nothing else.
//! - **The `null` version is the key's plain record** ([`RecordKey::Object`]): what was written before
//!   versioning was switched on, or while it is suspended. It is overwritten in its place.
//! - **A delete that names no version leaves a delete marker**, which is a version without bytes. A
//!   delete that names one is the tombstone of that record.
//! - **Which version is current is derived**: the one that came into being last ([`Record::born`]). Both
//!   sides of a link have the same records, so they agree. Two writes of one key made apart are then no
//!   conflict: both stay, as versions. (Of two with the very same time the higher site is the later one:
//!   the order of rows cannot know which side is the primary, and nothing is lost either way.)
//!
//! The state is a setting of the namespace, read in the batch of the commit that it governs. Settings of
//! one namespace that were changed on both sides are decided as a whole, and versioning can lose; so a
//! delete under a key that has versions leaves a marker whatever the setting says, and uncovers none.

use std::fmt;
use std::str::FromStr;

use switchback_model::{ContentId, Version};

use crate::codec::Stored;
use crate::engine::{Family, Rows};
use crate::error::{Error, Result};
use crate::key;
use crate::read::stored;
use crate::record::{NamespaceRecord, RecordKey};

/// The setting of a namespace that says whether its objects are versioned: [`Versioning`] as text.
pub const VERSIONING: &str = "versioning";

/// Whether a namespace keeps versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// It never did: a write replaces what was there.
    #[default]
    Off,
    /// Every write makes a version.
    Enabled,
    /// The versions that are there stay; a write replaces the `null` version.
    Suspended,
}

impl Versioning {
    /// What the settings of `namespace` say.
    #[must_use]
    pub fn of(namespace: &NamespaceRecord) -> Self {
        match namespace.settings.get(VERSIONING).map(String::as_str) {
            Some("Enabled") => Self::Enabled,
            Some("Suspended") => Self::Suspended,
            Some(_) | None => Self::Off,
        }
    }

    /// As the setting has it.
    #[must_use]
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Enabled => Some("Enabled"),
            Self::Suspended => Some("Suspended"),
        }
    }
}

/// Refuses a value of the setting that this program would not understand, and its removal.
pub(crate) fn check_setting(setting: &str, value: Option<&str>) -> Result<()> {
    if setting != VERSIONING || matches!(value, Some("Enabled" | "Suspended")) {
        return Ok(());
    }
    let reason =
        "set it to Enabled or Suspended; a namespace that keeps versions cannot be as if it never did";
    Err(Error::Invalid { what: "versioning", reason })
}

/// Names one version of an object, as clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionId {
    /// `null`: the version that is overwritten in its place.
    Null,
    /// A version of its own, by its first write.
    Of(Version),
}

impl VersionId {
    /// The record of this version of `key`.
    #[must_use]
    pub fn record_key(self, namespace: &str, key: &str) -> RecordKey {
        match self {
            Self::Null => RecordKey::object(namespace, key),
            Self::Of(id) => RecordKey::Version { namespace: namespace.into(), key: key.into(), id },
        }
    }

    /// The version that `key` is the record of.
    pub(crate) fn of(key: &RecordKey) -> Self {
        match key {
            RecordKey::Version { id, .. } => Self::Of(*id),
            RecordKey::Object { .. }
            | RecordKey::Tenant
            | RecordKey::Namespace(_)
            | RecordKey::Credential(_)
            | RecordKey::Divergence { .. } => Self::Null,
        }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Of(version) => fmt::Display::fmt(version, f),
        }
    }
}

impl FromStr for VersionId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let reason = "it is \"null\", or one that this system gave";
        match text {
            "null" => Ok(Self::Null),
            text => text.parse().map(Self::Of).map_err(|_| Error::Invalid { what: "version id", reason }),
        }
    }
}

/// Rows that the search for the newest version looks at first, and how much further it looks each time
/// that all of them are tombstones, which lie among the versions until the other side has them.
const ROWS_FIRST: usize = 1;
const ROWS_FACTOR: usize = 16;

/// The newest version of a key that has a name of its own.
pub(crate) fn newest(rows: &impl Rows, id: ContentId, namespace: &str, key: &str) -> Result<Option<Stored>> {
    let (prefix, mut max) = (key::versions_of(id, namespace, key), ROWS_FIRST);
    loop {
        let found = rows.first(Family::Record, &prefix, max)?;
        for (row, value) in &found {
            let stored = Stored::decode(key::parse_name(&row[id.0.len()..])?, value)?;
            if !stored.record.is_deleted() {
                return Ok(Some(stored));
            }
        }
        if found.len() < max {
            return Ok(None);
        }
        max *= ROWS_FACTOR;
    }
}

/// The current version of a key, which may be a delete marker.
pub(crate) fn current(rows: &impl Rows, id: ContentId, namespace: &str, key: &str) -> Result<Option<Stored>> {
    let null = stored(rows, id, &RecordKey::object(namespace, key))?;
    let null = null.filter(|stored| !stored.record.is_deleted());
    Ok(match (null, newest(rows, id, namespace, key)?) {
        (Some(null), Some(newest)) if null.record.born() > newest.record.born() => Some(null),
        (null, newest) => newest.or(null),
    })
}

/// The version that a client names, or the current one; never a tombstone.
pub(crate) fn find(
    rows: &impl Rows,
    id: ContentId,
    namespace: &str,
    key: &str,
    version: Option<VersionId>,
) -> Result<Option<Stored>> {
    match version {
        None => current(rows, id, namespace, key),
        Some(version) => {
            let found = stored(rows, id, &version.record_key(namespace, key))?;
            Ok(found.filter(|stored| !stored.record.is_deleted()))
        }
    }
}

/// Why there is no object where `version` of a key was looked for.
pub(crate) fn absent(found: Option<&Stored>, version: Option<VersionId>) -> Error {
    match (found, version) {
        (Some(Stored { record, .. }), None) => Error::Hidden { marker: VersionId::of(&record.key) },
        (Some(Stored { record, .. }), Some(marker)) => {
            Error::DeleteMarker { marker, last_modified_unix_ms: record.born().hlc.unix_ms() }
        }
        (None, None) => Error::NoSuchKey,
        (None, Some(_)) => Error::NoSuchVersion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_model::{Hlc, SiteId};

    #[test]
    fn a_version_id_reads_back_and_nothing_else_is_one() {
        for id in [VersionId::Null, VersionId::Of(Version { hlc: Hlc(7), site: SiteId(u64::MAX) })] {
            assert_eq!(id.to_string().parse::<VersionId>().unwrap(), id);
        }
        for wrong in ["", "NULL", "7", "undefined"] {
            assert!(matches!(wrong.parse::<VersionId>(), Err(Error::Invalid { .. })), "{wrong}");
        }
    }
}
