//! Objects that failed: tried again aside, with the reason visible, never dropped. Pure; what
//! changes here is made durable by the caller before the flow moves on.

use std::collections::BTreeMap;
use std::time::Duration;

use switchback_model::Version;
use switchback_proto::mover::record::v1::Retry;
use switchback_store::RecordKey;

use crate::convert::{version_from_wire, version_to_wire};
use crate::flow::key::{KeyHash, from_wire, to_wire};
use crate::flow::limit::{RETRIES_MAX, RETRY_PAUSE, RETRY_PAUSE_MAX};

/// One content's list.
#[derive(Debug, Default)]
pub(crate) struct Retries(BTreeMap<KeyHash, Entry>);

/// One object on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: RecordKey,
    pub(crate) version: Version,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    pub(crate) next_attempt_unix_ms: i64,
    pub(crate) set_aside: bool,
}

/// A change that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) key: RecordKey,
    pub(crate) version: Version,
    pub(crate) reason: String,
}

impl Retries {
    /// Takes in what was remembered.
    pub(crate) fn recall(&mut self, hash: KeyHash, retry: Retry) {
        let Some(key) = retry.key.and_then(from_wire) else { return };
        let entry = Entry {
            key,
            version: version_from_wire(&retry.version.unwrap_or_default()),
            reason: retry.reason,
            attempts: retry.attempts,
            next_attempt_unix_ms: retry.next_attempt_unix_ms,
            set_aside: retry.set_aside,
        };
        self.0.insert(hash, entry);
    }

    /// Notes failures; answers what to remember. None: the list is full and nothing was noted.
    pub(crate) fn fail(&mut self, now_unix_ms: i64, failures: &[Failure]) -> Option<Vec<(KeyHash, Retry)>> {
        if self.0.len() + failures.len() > RETRIES_MAX {
            return None;
        }
        let note = |failure: &Failure| {
            let hash = KeyHash::of(&failure.key);
            let before = self.0.get(&hash);
            let attempts = before.map_or(0, |entry| entry.attempts).saturating_add(1);
            let pause = i64::try_from(pause_after(attempts).as_millis()).unwrap_or(i64::MAX);
            let entry = Entry {
                key: failure.key.clone(),
                version: failure.version,
                reason: failure.reason.clone(),
                attempts,
                next_attempt_unix_ms: now_unix_ms.saturating_add(pause),
                set_aside: before.is_some_and(|entry| entry.set_aside),
            };
            let remembered = entry.to_record();
            self.0.insert(hash, entry);
            (hash, remembered)
        };
        Some(failures.iter().map(note).collect())
    }

    /// Takes off what the peer has made durable; answers what to forget.
    pub(crate) fn settle<'a>(&mut self, keys: impl IntoIterator<Item = &'a RecordKey>) -> Vec<KeyHash> {
        if self.0.is_empty() {
            return Vec::new();
        }
        keys.into_iter().map(KeyHash::of).filter(|hash| self.0.remove(hash).is_some()).collect()
    }

    /// Takes an object off a completion's way. None: it is not on the list.
    pub(crate) fn set_aside(&mut self, key: &RecordKey) -> Option<(KeyHash, Retry)> {
        let hash = KeyHash::of(key);
        let entry = self.0.get_mut(&hash)?;
        entry.set_aside = true;
        Some((hash, entry.to_record()))
    }

    /// At most `max` objects whose time has come. Those set aside are tried as well.
    pub(crate) fn due(&self, now_unix_ms: i64, max: usize) -> Vec<RecordKey> {
        let due = self.0.values().filter(|entry| entry.next_attempt_unix_ms <= now_unix_ms);
        due.take(max).map(|entry| entry.key.clone()).collect()
    }

    /// When the next object's time comes.
    pub(crate) fn next_unix_ms(&self) -> Option<i64> {
        self.0.values().map(|entry| entry.next_attempt_unix_ms).min()
    }

    /// How far tombstones may go when the peer has everything up to `cursor`: not at all while something is
    /// to be tried again, which may be one.
    pub(crate) fn releasable(&self, cursor: u64) -> u64 {
        if self.is_empty() { cursor } else { 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// How many stand in a completion's way, and how many were taken off it.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let aside = self.0.values().filter(|entry| entry.set_aside).count();
        ((self.0.len() - aside) as u64, aside as u64)
    }
}

impl Entry {
    fn to_record(&self) -> Retry {
        Retry {
            key: Some(to_wire(&self.key)),
            version: Some(version_to_wire(self.version)),
            reason: self.reason.clone(),
            attempts: self.attempts,
            next_attempt_unix_ms: self.next_attempt_unix_ms,
            set_aside: self.set_aside,
        }
    }
}

/// Doubles with each attempt, up to a minute.
fn pause_after(attempts: u32) -> Duration {
    RETRY_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(RETRY_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(key: &str) -> Failure {
        Failure {
            key: RecordKey::object("photos", key),
            version: Version::default(),
            reason: "the body is damaged".into(),
        }
    }

    #[test]
    fn a_failing_object_is_tried_ever_less_often_and_at_least_each_minute() {
        let mut retries = Retries::default();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            retries.fail(0, &[failure("a")]).unwrap();
            pauses.push(retries.next_unix_ms().unwrap() / 1_000);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(retries.due(59_999, 10), []);
        assert_eq!(retries.due(60_000, 10), [RecordKey::object("photos", "a")]);
    }

    #[test]
    fn what_was_set_aside_stays_so_over_a_restart_and_another_failure() {
        let mut retries = Retries::default();
        retries.fail(0, &[failure("a"), failure("b")]).unwrap();
        let (hash, record) = retries.set_aside(&RecordKey::object("photos", "a")).unwrap();
        assert_eq!(retries.counts(), (1, 1));
        let mut again = Retries::default();
        again.recall(hash, record);
        again.fail(0, &[failure("a")]).unwrap();
        assert_eq!(again.counts(), (0, 1));
        assert_eq!(again.settle([&RecordKey::object("photos", "a")]), [hash]);
        assert_eq!(again.counts(), (0, 0));
        assert!(again.set_aside(&RecordKey::object("photos", "a")).is_none());
    }

    #[test]
    fn no_tombstone_goes_while_something_is_to_be_tried_again() {
        let mut retries = Retries::default();
        assert_eq!(retries.releasable(7), 7);
        retries.fail(0, &[failure("a")]).unwrap();
        assert_eq!(retries.releasable(7), 0);
        let key = RecordKey::object("photos", "a");
        retries.set_aside(&key).unwrap();
        assert_eq!(retries.releasable(7), 0, "what is set aside is tried as well");
        retries.settle([&key]);
        assert_eq!(retries.releasable(7), 7);
    }

    #[test]
    fn a_full_list_refuses_and_drops_nothing() {
        let mut retries = Retries::default();
        let many: Vec<_> = (0..RETRIES_MAX).map(|number| failure(&number.to_string())).collect();
        assert!(retries.fail(0, &many).is_some());
        assert!(retries.fail(0, &[failure("one more")]).is_none());
        assert_eq!(retries.counts().0, RETRIES_MAX as u64);
    }
}
