//! Lifecycle: rules of a namespace by which objects expire, and when they do.
//!
//! One definition for all: the gateway makes these rules of S3's XML and of these rules XML, the store
//! keeps them as a setting of the namespace, so that they replicate with it, and the data mover carries
//! them out ([`look`], [`act`]). A setting says which form it has, and what this program does not know in
//! it makes all of it unreadable: a condition that is passed over would delete what it is to keep.
//!
//! When a version expires is derived from the version alone ([`Lifecycle::expiry`]), as S3 has it
//! (User Guide, "Lifecycle configuration elements" and "Expiring objects"):
//!
//! - Days are counted from when the version was written, or became noncurrent by the one that replaced
//!   it, and end at the next midnight UTC after that.
//! - A current version expires behind a delete marker where versions are kept; a marker with nothing
//!   behind it goes when its own days are over, or at once where a rule is about markers alone.
//! - Noncurrent versions are deleted for good, but for as many of the newest as a rule keeps. Markers are
//!   not counted among those, since they keep nothing.
//! - Of several rules the earliest decides.
//!
//! A delete marker has neither tags nor a size: a rule that asks for them does not mean it. What the
//! system set aside under `.lost+found/` is meant only by a rule whose prefix begins so.

mod act;
mod look;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::listing::is_hidden;
use crate::record::{KEY_MAX, Object};

pub use act::Acted;
pub(crate) use act::act;
pub(crate) use look::look;
pub use look::{Due, LifecyclePage, LifecyclePlace, LifecycleRequest};
pub(crate) use setting::check_setting;

/// The setting of a namespace that holds its rules: [`Lifecycle`] as text.
pub const LIFECYCLE: &str = "lifecycle";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// S3's own limits: rules of one bucket, characters of a rule's name, noncurrent versions that a rule
/// keeps, days of any kind, and characters of a tag.
const RULES_MAX: usize = 1000;
const ID_CHARACTERS_MAX: usize = 255;
const KEPT_MAX: u32 = 100;
const DAYS_MAX: u32 = i32::MAX.unsigned_abs();
const TAG_KEY_CHARACTERS_MAX: usize = 128;
const TAG_VALUE_CHARACTERS_MAX: usize = 256;

/// The rules of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// In the client's order.
    pub rules: Vec<LifecycleRule>,
}

/// One rule. It does something about the versions that its filter means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name, unique among the rules.
    pub id: String,
    /// A rule that is not is only kept.
    pub enabled: bool,
    /// What it is about.
    pub filter: LifecycleFilter,
    /// About current versions.
    pub expiration: Option<Expiration>,
    /// About noncurrent ones.
    pub noncurrent: Option<NoncurrentExpiration>,
    /// Multipart uploads are aborted so many days after they were begun.
    pub abort_uploads_days: Option<u32>,
}

/// What must all hold of an object for a rule to be about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleFilter {
    /// How the client wrote it down, to be shown the same.
    pub form: FilterForm,
    /// The key begins so.
    pub prefix: Option<String>,
    /// It has these tags.
    pub tags: BTreeMap<String, String>,
    /// It has more bytes.
    pub larger_than: Option<u64>,
    /// It has fewer bytes.
    pub smaller_than: Option<u64>,
}

/// The forms of a filter in S3's XML.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterForm {
    /// `Prefix` in the rule itself, from before there were filters.
    Outer,
    /// `Filter` with one condition, or none.
    #[default]
    Single,
    /// `Filter` with several in its `And`.
    And,
}

/// When current versions expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// So many days after they were written.
    Days(u32),
    /// At this midnight UTC, in Unix milliseconds, and from then on.
    Date(u64),
    /// Only delete markers that have nothing behind them any more, at once; with false nothing does.
    Markers(bool),
}

/// When noncurrent versions expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoncurrentExpiration {
    /// So many days after they became noncurrent.
    pub days: u32,
    /// And only behind so many newer noncurrent ones.
    pub kept: Option<u32>,
}

/// Why rules cannot be set. The words say what to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// They have another form than rules have.
    #[error("{0}")]
    Malformed(&'static str),
    /// A value is none that there can be.
    #[error("{0}")]
    Argument(&'static str),
    /// Each is well, and they do not go together.
    #[error("{0}")]
    Request(&'static str),
}

impl LifecycleError {
    /// The words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed(reason) | Self::Argument(reason) | Self::Request(reason) => reason,
        }
    }
}

/// A version of an object, as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The object's key.
    pub key: &'a str,
    /// Absent: a delete marker.
    pub object: Option<&'a Object>,
    /// When it was written, in Unix milliseconds.
    pub written_unix_ms: u64,
    /// Where it stands among the versions of its key.
    pub standing: Standing,
}

/// Where a version stands among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is current.
    Current {
        /// There is no other.
        is_only: bool,
    },
    /// A newer one is.
    Noncurrent {
        /// When the one that replaced it was written, in Unix milliseconds.
        since_unix_ms: u64,
        /// Noncurrent versions, no markers, that are newer and stay.
        newer: u32,
    },
}

/// When a version expires, or an upload ends, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry<'a> {
    /// Unix milliseconds; it may have passed.
    pub at_unix_ms: u64,
    /// The rule's name.
    pub rule: &'a str,
}

/// The midnight UTC that ends `days` which began at `unix_ms`: whole days, and what is left of the last.
fn midnight_after(unix_ms: u64, days: u32) -> u64 {
    (unix_ms / DAY_MS).saturating_add(u64::from(days)).saturating_add(1).saturating_mul(DAY_MS)
}

impl LifecycleFilter {
    fn means_key(&self, key: &str) -> bool {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        key.starts_with(prefix) && !is_hidden(key, prefix)
    }

    fn is_of_objects(&self) -> bool {
        !self.tags.is_empty() || self.is_of_sizes()
    }

    fn is_of_sizes(&self) -> bool {
        self.larger_than.is_some() || self.smaller_than.is_some()
    }

    fn means(&self, subject: &Subject<'_>) -> bool {
        self.means_key(subject.key)
            && match subject.object {
                None => !self.is_of_objects(),
                Some(object) => {
                    self.tags.iter().all(|(key, value)| object.tags.get(key) == Some(value))
                        && self.larger_than.is_none_or(|size| object.size > size)
                        && self.smaller_than.is_none_or(|size| object.size < size)
                }
            }
    }

    fn check(&self) -> Result<(), LifecycleError> {
        let characters = |text: &String, max| text.chars().count() <= max;
        if self.prefix.as_ref().is_some_and(|prefix| prefix.len() > KEY_MAX) {
            return Err(LifecycleError::Request(
                "a Prefix is longer than any key: it has at most 1024 bytes",
            ));
        }
        let fits = |(key, value): (&String, &String)| {
            !key.is_empty()
                && characters(key, TAG_KEY_CHARACTERS_MAX)
                && characters(value, TAG_VALUE_CHARACTERS_MAX)
        };
        if !self.tags.iter().all(fits) {
            return Err(LifecycleError::Argument(
                "a Tag has a Key of 1 to 128 characters and a Value of at most 256",
            ));
        }
        match (self.larger_than, self.smaller_than) {
            (Some(larger), Some(smaller)) if smaller <= larger => {
                Err(LifecycleError::Request("ObjectSizeLessThan must be greater than ObjectSizeGreaterThan"))
            }
            _ => Ok(()),
        }
    }
}

impl LifecycleRule {
    /// When this rule lets `subject` expire.
    fn expiry(&self, subject: &Subject<'_>) -> Option<u64> {
        if !self.enabled || !self.filter.means(subject) {
            return None;
        }
        match (subject.standing, subject.object) {
            (Standing::Current { .. }, Some(_)) | (Standing::Current { is_only: true }, None) => {
                match self.expiration? {
                    Expiration::Days(days) => Some(midnight_after(subject.written_unix_ms, days)),
                    Expiration::Date(unix_ms) => Some(unix_ms),
                    Expiration::Markers(does) => {
                        (does && subject.object.is_none()).then_some(subject.written_unix_ms)
                    }
                }
            }
            // It hides what is behind it, and goes when that is gone.
            (Standing::Current { is_only: false }, None) => None,
            (Standing::Noncurrent { since_unix_ms, newer }, _) => {
                let NoncurrentExpiration { days, kept } = self.noncurrent?;
                (newer >= kept.unwrap_or_default()).then(|| midnight_after(since_unix_ms, days))
            }
        }
    }

    fn check(&self) -> Result<(), LifecycleError> {
        use LifecycleError::{Argument, Request};
        if self.id.chars().count() > ID_CHARACTERS_MAX {
            return Err(Argument("an ID has at most 255 characters"));
        }
        if self.expiration.is_none() && self.noncurrent.is_none() && self.abort_uploads_days.is_none() {
            return Err(Request(
                "a Rule does at least one of Expiration, NoncurrentVersionExpiration and AbortIncompleteMultipartUpload",
            ));
        }
        let is_days = |days: u32| (1..=DAYS_MAX).contains(&days);
        match self.expiration {
            Some(Expiration::Days(days)) if !is_days(days) => {
                return Err(Argument("Days of an Expiration must be a positive number"));
            }
            Some(Expiration::Date(unix_ms)) if unix_ms % DAY_MS != 0 => {
                return Err(Argument("Date must be at midnight GMT"));
            }
            _ => {}
        }
        if self.noncurrent.is_some_and(|noncurrent| !is_days(noncurrent.days)) {
            return Err(Argument("NoncurrentDays must be a positive number"));
        }
        let kept = self.noncurrent.and_then(|noncurrent| noncurrent.kept);
        if kept.is_some_and(|kept| !(1..=KEPT_MAX).contains(&kept)) {
            return Err(Argument("NewerNoncurrentVersions is a number from 1 to 100"));
        }
        if self.abort_uploads_days.is_some_and(|days| !is_days(days)) {
            return Err(Argument("DaysAfterInitiation must be a positive number"));
        }
        if self.abort_uploads_days.is_some() && self.filter.is_of_objects() {
            return Err(Request(
                "AbortIncompleteMultipartUpload cannot be specified with Tags or sizes: give it a Rule of its own",
            ));
        }
        if matches!(self.expiration, Some(Expiration::Markers(_))) && self.filter.is_of_objects() {
            return Err(Request(
                "ExpiredObjectDeleteMarker cannot be specified with Tags or sizes: give it a Rule of its own",
            ));
        }
        self.filter.check()
    }
}

impl Lifecycle {
    /// Refuses rules that S3 refuses.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), LifecycleError> {
        if self.rules.is_empty() || self.rules.len() > RULES_MAX {
            return Err(LifecycleError::Malformed(
                "a bucket has 1 to 1000 lifecycle rules; delete them to have none",
            ));
        }
        let mut ids = std::collections::BTreeSet::new();
        for rule in &self.rules {
            rule.check()?;
            if !ids.insert(rule.id.as_str()) {
                return Err(LifecycleError::Argument("two rules have the same ID: each needs its own"));
            }
        }
        Ok(())
    }

    /// When `subject` expires: by the rule that lets it expire first. `None`: by no rule.
    #[must_use]
    pub fn expiry(&self, subject: &Subject<'_>) -> Option<Expiry<'_>> {
        let all = self
            .rules
            .iter()
            .filter_map(|rule| rule.expiry(subject).map(|at_unix_ms| Expiry { at_unix_ms, rule: &rule.id }));
        all.min_by_key(|expiry| expiry.at_unix_ms)
    }

    /// When an upload to `key` that was begun at `initiated_unix_ms` ends.
    #[must_use]
    pub fn upload_expiry(&self, key: &str, initiated_unix_ms: u64) -> Option<Expiry<'_>> {
        let all = self.rules.iter().filter(|rule| rule.enabled && rule.filter.means_key(key));
        let all = all.filter_map(|rule| {
            let at_unix_ms = midnight_after(initiated_unix_ms, rule.abort_uploads_days?);
            Some(Expiry { at_unix_ms, rule: &rule.id })
        });
        all.min_by_key(|expiry| expiry.at_unix_ms)
    }

    fn enabled(&self) -> impl Iterator<Item = &LifecycleRule> {
        self.rules.iter().filter(|rule| rule.enabled)
    }

    /// True if a rule is about versions of objects, or markers.
    fn is_of_versions(&self) -> bool {
        self.enabled().any(|rule| {
            rule.noncurrent.is_some() || !matches!(rule.expiration, None | Some(Expiration::Markers(false)))
        })
    }

    /// True if a rule is about uploads.
    fn is_of_uploads(&self) -> bool {
        self.enabled().any(|rule| rule.abort_uploads_days.is_some())
    }

    /// What all keys that a rule means begin with.
    fn common_prefix(&self) -> &str {
        let mut prefixes = self.enabled().map(|rule| rule.filter.prefix.as_deref().unwrap_or_default());
        let first = prefixes.next().unwrap_or_default();
        prefixes.fold(first, |common, prefix| {
            let same = common.chars().zip(prefix.chars()).take_while(|(left, right)| left == right);
            &common[..same.map(|(character, _)| character.len_utf8()).sum()]
        })
    }

    /// The most noncurrent versions that a rule keeps.
    fn kept_max(&self) -> usize {
        let kept = self.enabled().filter_map(|rule| rule.noncurrent?.kept);
        kept.max().and_then(|kept| usize::try_from(kept).ok()).unwrap_or_default()
    }
}
