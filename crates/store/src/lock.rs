//! Object lock: what keeps a version from being deleted, and how changes of it made apart are joined.
//!
//! A version is locked by a legal hold, which lasts until it is lifted, and by a retention, which lasts
//! until its time. Nobody deletes what is under a hold or retained in compliance mode; what is retained
//! in governance mode, only who says that he bypasses it. Decided in the commit, by its wall clock.
//!
//! A lock is part of the version's record, and changes as its tags do. Of two changes that did not know
//! of each other one is current, as everywhere; but a lock must not get weaker by that. So whoever meets
//! the two writes once more what is current with the join of both locks ([`Lock::join`]): a write like any
//! other, which replaces both and reaches the other side. A hold that was lifted by somebody who had seen
//! it is lifted; one that somebody set meanwhile is not. A delete that did not know of a lock loses to it
//! for the same reason, whichever is newer.

use std::str::FromStr;

use switchback_model::ContentId;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::record::{Body, NamespaceRecord, Object, Payload, Record, RecordKey};
use crate::versioning::Versioning;

/// The setting of a namespace that says that its versions can be locked: [`ObjectLock`] as text.
pub const OBJECT_LOCK: &str = "object-lock";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Longest default retention, in days: S3's own limit.
const DAYS_MAX: u32 = 36_500;
const YEARS_MAX: u32 = 100;

/// How strict a retention is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetentionMode {
    /// Who says that he bypasses it may shorten or end it.
    Governance,
    /// It can only become longer.
    Compliance,
}

impl RetentionMode {
    /// S3's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

impl FromStr for RetentionMode {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "GOVERNANCE" => Ok(Self::Governance),
            "COMPLIANCE" => Ok(Self::Compliance),
            _ => Err(Error::Invalid { what: "retention mode", reason: "it is GOVERNANCE or COMPLIANCE" }),
        }
    }
}

/// Keeps a version until a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How strictly.
    pub mode: RetentionMode,
    /// Unix milliseconds; from then on it keeps nothing.
    pub until_unix_ms: u64,
}

/// What keeps a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Until a time.
    pub retention: Option<Retention>,
    /// Until it is lifted.
    pub hold: bool,
}

/// A change of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// Another retention, or none.
    Retention(Option<Retention>),
    /// The legal hold is set or lifted.
    Hold(bool),
}

impl Lock {
    /// Nothing, and never anything that has passed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// At least as strong as each: the later time, the stricter mode, a hold if one has it.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let retention = match (self.retention, other.retention) {
            (Some(left), Some(right)) => Some(Retention {
                mode: left.mode.max(right.mode),
                until_unix_ms: left.until_unix_ms.max(right.until_unix_ms),
            }),
            (left, right) => left.or(right),
        };
        Self { retention, hold: self.hold || other.hold }
    }

    /// Refuses to delete what is locked.
    pub(crate) fn check_delete(&self, now_unix_ms: u64, bypass: bool) -> Result<()> {
        if self.hold {
            return Err(Error::Locked { reason: "it is under a legal hold: lift that first" });
        }
        match self.retention.filter(|retention| retention.until_unix_ms > now_unix_ms) {
            Some(Retention { mode: RetentionMode::Compliance, .. }) => {
                Err(Error::Locked { reason: "it is retained in compliance mode: wait until that ends" })
            }
            Some(Retention { mode: RetentionMode::Governance, .. }) if !bypass => Err(Error::Locked {
                reason: "it is retained in governance mode: wait until that ends, or bypass it",
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The lock after `change`, unless that makes a retention weaker than it may be.
    pub(crate) fn changed(self, change: LockChange, now_unix_ms: u64, bypass: bool) -> Result<Self> {
        let retention = match change {
            LockChange::Hold(hold) => return Ok(Self { hold, ..self }),
            LockChange::Retention(retention) => retention,
        };
        check_future(retention, now_unix_ms)?;
        let is_kept = |before: Retention| {
            retention
                .is_some_and(|after| after.mode == before.mode && after.until_unix_ms >= before.until_unix_ms)
        };
        match self.retention.filter(|before| before.until_unix_ms > now_unix_ms) {
            Some(before) if !is_kept(before) => {
                Self { hold: false, ..self }.check_delete(now_unix_ms, bypass)?
            }
            Some(_) | None => {}
        }
        Ok(Self { retention, ..self })
    }
}

/// Refuses a retention that keeps nothing.
fn check_future(retention: Option<Retention>, now_unix_ms: u64) -> Result<()> {
    match retention {
        Some(retention) if retention.until_unix_ms <= now_unix_ms => {
            Err(Error::Invalid { what: "retention", reason: "its end must be in the future" })
        }
        Some(_) | None => Ok(()),
    }
}

/// How long versions are retained that are written without a word about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Of 24 hours.
    Days(u32),
    /// Of 365 days.
    Years(u32),
}

impl Period {
    fn ms(self) -> u64 {
        match self {
            Self::Days(days) => u64::from(days) * DAY_MS,
            Self::Years(years) => u64::from(years) * 365 * DAY_MS,
        }
    }
}

/// What a namespace whose versions can be locked says of those that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectLock {
    /// The retention of those that bring none of their own.
    pub default: Option<(RetentionMode, Period)>,
}

impl ObjectLock {
    /// What the settings of `namespace` say; none if nothing in it can be locked.
    #[must_use]
    pub fn of(namespace: &NamespaceRecord) -> Option<Self> {
        namespace.settings.get(OBJECT_LOCK)?.parse().ok()
    }

    /// As the setting has it.
    #[must_use]
    pub fn setting(self) -> String {
        match self.default {
            None => "Enabled".into(),
            Some((mode, Period::Days(days))) => format!("Enabled {} {days} days", mode.name()),
            Some((mode, Period::Years(years))) => format!("Enabled {} {years} years", mode.name()),
        }
    }
}

impl FromStr for ObjectLock {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let reason = "it is Enabled, or Enabled with a mode and a time: Enabled GOVERNANCE 30 days";
        let wrong = || Error::Invalid { what: "object lock", reason };
        let words: Vec<_> = text.split(' ').collect();
        let number = |text: &str, max| {
            text.parse::<u32>().ok().filter(|number| (1..=max).contains(number)).ok_or_else(wrong)
        };
        let default = match words[..] {
            ["Enabled"] => None,
            ["Enabled", mode, days, "days"] => Some((mode.parse()?, Period::Days(number(days, DAYS_MAX)?))),
            ["Enabled", mode, years, "years"] => {
                Some((mode.parse()?, Period::Years(number(years, YEARS_MAX)?)))
            }
            _ => return Err(wrong()),
        };
        Ok(Self { default })
    }
}

/// Refuses a change of the settings after which a lock would not hold.
pub(crate) fn check_settings(before: &NamespaceRecord, after: &NamespaceRecord) -> Result<()> {
    let Some(text) = after.settings.get(OBJECT_LOCK) else {
        return if before.settings.contains_key(OBJECT_LOCK) { Err(Error::LockStays) } else { Ok(()) };
    };
    text.parse::<ObjectLock>()?;
    if Versioning::of(after) == Versioning::Enabled { Ok(()) } else { Err(Error::LockStays) }
}

/// Gives an object that is written the lock that it is to have, or refuses the one that it brings.
pub(crate) fn set_first(object: &mut Object, rules: Option<ObjectLock>, now_unix_ms: u64) -> Result<()> {
    check_first(&object.lock, rules, now_unix_ms)?;
    if object.lock.retention.is_none() {
        let until =
            |(mode, period): (_, Period)| Retention { mode, until_unix_ms: now_unix_ms + period.ms() };
        object.lock.retention = rules.and_then(|rules| rules.default).map(until);
    }
    Ok(())
}

/// Refuses a lock that an object cannot be written with.
pub(crate) fn check_first(lock: &Lock, rules: Option<ObjectLock>, now_unix_ms: u64) -> Result<()> {
    if rules.is_none() && !lock.is_none() {
        return Err(Error::NoObjectLock);
    }
    check_future(lock.retention, now_unix_ms)
}

fn lock_of(record: &Record) -> Lock {
    record.as_object().map(|object| object.lock).unwrap_or_default()
}

/// Of two records of one key that did not know of each other, the one that a lock makes current: true for
/// the incoming one. Whether a retention has ended does not count, because the two sides must agree.
pub(crate) fn favoured(current: &Record, incoming: &Record) -> Option<bool> {
    match (current.is_deleted(), incoming.is_deleted()) {
        (true, false) if !lock_of(incoming).is_none() => Some(true),
        (false, true) if !lock_of(current).is_none() => Some(false),
        _ => None,
    }
}

/// The lock that `winner` must have after it met `loser`, if that is another one than it has.
pub(crate) fn joined(winner: &Record, loser: &Record) -> Option<Lock> {
    let is_same =
        winner.born() == loser.born() && winner.as_object().is_some() && loser.as_object().is_some();
    let lock = lock_of(winner).join(lock_of(loser));
    (is_same && lock != lock_of(winner)).then_some(lock)
}

/// Two records of one version that differ by their locks at most, which are joined.
pub(crate) fn agree(left: &Record, right: &Record) -> bool {
    let rest = |record: &Record| {
        let object = record.as_object().filter(|_| matches!(record.key, RecordKey::Version { .. }))?;
        Some(Object { lock: Lock::default(), body: Body::default(), written: None, ..object.clone() })
    };
    rest(left).is_some_and(|left| Some(left) == rest(right))
}

/// Writes the record once more, with this lock.
pub(crate) fn relock(batch: &mut Batch<'_>, id: ContentId, key: &RecordKey, lock: Lock) -> Result<()> {
    let Some(mut stored) = batch.stored(id, key)? else { return Ok(()) };
    batch.load_body(id, &mut stored.record)?;
    let born = stored.record.born();
    let Some(mut object) = stored.record.as_object().cloned() else { return Ok(()) };
    object.lock = lock;
    if let RecordKey::Object { .. } = key {
        object.written = Some(born);
    }
    batch.write_local(id, key.clone(), Some(stored), Payload::Object(Box::new(object))).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use RetentionMode::{Compliance, Governance};

    fn retained(mode: RetentionMode, until_unix_ms: u64) -> Lock {
        Lock { retention: Some(Retention { mode, until_unix_ms }), hold: false }
    }

    #[test]
    fn a_join_is_never_weaker_than_either() {
        let held = Lock { hold: true, ..Lock::default() };
        let joined = retained(Governance, 9).join(retained(Compliance, 5)).join(held);
        assert_eq!(joined, Lock { hold: true, ..retained(Compliance, 9) });
        assert_eq!(Lock::default().join(Lock::default()), Lock::default());
    }

    #[test]
    fn what_is_locked_is_deleted_by_nobody_or_by_who_bypasses() {
        let allowed = |lock: Lock, bypass| lock.check_delete(5, bypass).is_ok();
        assert!(allowed(Lock::default(), false));
        for (lock, bypassed) in [
            (retained(Governance, 6), true),
            (retained(Compliance, 6), false),
            (Lock { hold: true, ..Lock::default() }, false),
        ] {
            assert_eq!((allowed(lock, false), allowed(lock, true)), (false, bypassed), "{lock:?}");
        }
        assert!(allowed(retained(Compliance, 5), false), "it has ended");
    }

    #[test]
    fn a_retention_gets_longer_and_nothing_else_unless_it_is_bypassed_or_over() {
        let change = |from: Lock, to: Option<Lock>, bypass| {
            from.changed(LockChange::Retention(to.and_then(|to| to.retention)), 5, bypass).is_ok()
        };
        for (mode, other) in [(Governance, Compliance), (Compliance, Governance)] {
            let from = retained(mode, 8);
            assert!(change(from, Some(retained(mode, 9)), false) && change(from, Some(from), false));
            for to in [Some(retained(mode, 7)), Some(retained(other, 9)), None] {
                assert_eq!(
                    (change(from, to, false), change(from, to, true)),
                    (false, mode == Governance),
                    "{to:?}"
                );
            }
            assert!(change(retained(mode, 5), None, false) && !change(from, Some(retained(mode, 5)), true));
        }
        let held = Lock { hold: true, ..retained(Governance, 8) };
        let bypassed = held.changed(LockChange::Retention(None), 5, true).unwrap();
        assert_eq!(bypassed, Lock { hold: true, retention: None });
        assert_eq!(held.changed(LockChange::Hold(false), 5, false).unwrap(), retained(Governance, 8));
    }

    #[test]
    fn a_setting_reads_back() {
        for default in [None, Some((Governance, Period::Days(30))), Some((Compliance, Period::Years(1)))] {
            let lock = ObjectLock { default };
            assert_eq!(lock.setting().parse::<ObjectLock>().unwrap(), lock);
        }
        for wrong in [
            "",
            "Disabled",
            "Enabled ",
            "Enabled GOVERNANCE 0 days",
            "Enabled X 1 days",
            "Enabled COMPLIANCE 101 years",
        ] {
            assert!(wrong.parse::<ObjectLock>().is_err(), "{wrong}");
        }
    }
}
