//! What keeps a version from being deleted, on its way: retentions and legal holds.
//!
//! What must hold: in the target nothing is locked less than in the source. So a version is written with its lock,
//! in one request; and of one that arrived before, the lock is looked at again in each run, since S3 lists no
//! locks and a lock can be made stronger at any time. It is only ever made stronger: a retention is never
//! shortened, compliance mode stays, and a hold stays until somebody lifts it in the target.
//!
//! What the journal says was brought is compared with the source, and not what the target holds: where a client of
//! the tenant has set a lock aside that it was allowed to, that is not undone.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue};
use switchback_store::{Lock, Retention, RetentionMode};

use super::entry::Entry;
use super::journal::{Journal, Noted};
use super::progress::Progress;
use super::s3::Failure;
use super::transfer::{Reason, Transfer};
use super::{Halt, locked};
use crate::time::{now_unix_ms, timestamp, unix_ms};

const MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
const UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");
const HOLD: HeaderName = HeaderName::from_static("x-amz-object-lock-legal-hold");

/// The lock that an answer to GET or HEAD tells of.
pub(crate) fn told(headers: &HeaderMap) -> Result<Lock, Failure> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("what is no text"));
    let unknown = |name: &HeaderName, text: &str| {
        Failure::Unusable(format!("the endpoint tells of a lock with {name}: {text}"))
    };
    let mode = text(&MODE).map(|mode| mode.parse::<RetentionMode>().map_err(|_| unknown(&MODE, mode)));
    let until = text(&UNTIL).map(|until| {
        let until_unix_ms = unix_ms(until).and_then(|until| u64::try_from(until).ok());
        until_unix_ms.ok_or_else(|| unknown(&UNTIL, until))
    });
    let retention = match (mode.transpose()?, until.transpose()?) {
        (Some(mode), Some(until_unix_ms)) => Some(Retention { mode, until_unix_ms }),
        (None, None) => None,
        _ => return Err(Failure::Unusable("the endpoint tells of half a retention".into())),
    };
    let hold = match text(&HOLD) {
        Some("ON") => true,
        None | Some("OFF") => false,
        Some(hold) => return Err(unknown(&HOLD, hold)),
    };
    Ok(Lock { retention, hold })
}

/// What of `lock` keeps something at `now`. A write with a retention that has ended is refused.
pub(crate) fn in_force(lock: Lock, now_unix_ms: u64) -> Lock {
    Lock { retention: lock.retention.filter(|retention| retention.until_unix_ms > now_unix_ms), ..lock }
}

/// Puts `lock` among the headers of a write.
pub(crate) fn write(lock: &Lock, headers: &mut HeaderMap) {
    if let Some(retention) = lock.retention {
        headers.insert(MODE, HeaderValue::from_static(retention.mode.name()));
        let until = HeaderValue::try_from(until(&retention)).expect("digits and signs can be sent");
        headers.insert(UNTIL, until);
    }
    if lock.hold {
        headers.insert(HOLD, HeaderValue::from_static("ON"));
    }
}

/// Until when, as S3 takes it.
pub(crate) fn until(retention: &Retention) -> String {
    let unix_ms = i64::try_from(retention.until_unix_ms).unwrap_or(i64::MAX);
    let seconds = timestamp(unix_ms);
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), unix_ms % 1000)
}

/// Now, by this machine.
pub(crate) fn now() -> u64 {
    u64::try_from(now_unix_ms()).unwrap_or(0)
}

/// Locks of what arrived before.
pub(super) struct Locks {
    pub(super) transfer: Arc<Transfer>,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) progress: Arc<Progress>,
}

impl Locks {
    /// Makes the lock of an object or a version that arrived as strong as it is in the source by now, and
    /// says whether it was weaker. One request to the source where there is nothing to do.
    pub(super) async fn strengthen(&self, entry: &Entry) -> Result<bool, Halt> {
        let told = self.transfer.source.lock(entry).await.map_err(Reason::SourceLock)?;
        self.progress.looked();
        let wanted = in_force(told.unwrap_or_default(), now());
        let noted = locked(&self.journal).noted(entry)?;
        let Some(noted) = noted else { return Ok(false) };
        let brought = in_force(noted.lock, now());
        if brought.join(wanted) == brought {
            return Ok(false);
        }
        let was_weaker = self.lock(entry, &noted, wanted).await.map_err(Reason::TargetLock)?;
        locked(&self.journal).relock(entry, brought.join(wanted))?;
        Ok(was_weaker)
    }

    /// Locks what arrived at least as `wanted`, and says whether it was not.
    async fn lock(&self, entry: &Entry, noted: &Noted, wanted: Lock) -> Result<bool, Failure> {
        let (key, target) = (self.transfer.key(&entry.key), &self.transfer.target);
        let version = match &noted.here {
            Some(here) => Some(here.clone()),
            // Since then the key may have been written or deleted; what arrived is beneath that.
            None => {
                let held = target.history(&key).await?;
                let ours = held.into_iter().find(|held| !held.marker && held.etag == noted.held);
                ours.and_then(|ours| ours.version)
            }
        };
        // What was deleted needs no lock.
        let Some(version) = version else { return Ok(false) };
        let Some(headers) = target.head(&key, Some(&version)).await? else { return Ok(false) };
        let held = in_force(told(&headers)?, now());
        let lock = held.join(wanted);
        if let Some(retention) = lock.retention.filter(|_| lock.retention != held.retention) {
            // A mode is changed by bypassing the one before, and by nothing else. The time is not the earlier one.
            let bypasses = held.retention.is_some_and(|held| held.mode != retention.mode);
            target.retain(&key, &version, &retention, bypasses).await?;
        }
        if lock.hold && !held.hold {
            target.hold(&key, &version).await?;
        }
        Ok(lock != held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(mode: &str, until: &str, hold: &str) -> HeaderMap {
        let given = [(MODE, mode), (UNTIL, until), (HOLD, hold)];
        let given = given.into_iter().filter(|(_, text)| !text.is_empty());
        given.map(|(name, text)| (name, text.parse().unwrap())).collect()
    }

    #[test]
    fn a_lock_is_written_as_it_was_read() {
        for (mode, until, hold) in [
            ("COMPLIANCE", "2031-05-06T07:08:09.010Z", "ON"),
            ("GOVERNANCE", "2031-05-06T07:08:09.000Z", ""),
            ("", "", "ON"),
            ("", "", ""),
        ] {
            let (given, mut written) = (headers(mode, until, hold), HeaderMap::new());
            write(&told(&given).unwrap(), &mut written);
            assert_eq!(written, given);
        }
        assert!(told(&headers("", "", "OFF")).unwrap().is_none());
    }

    #[test]
    fn a_lock_that_is_not_understood_is_no_lock_less() {
        for (mode, until, hold) in [
            ("COMPLIANCE", "", ""),
            ("", "2031-05-06T07:08:09Z", ""),
            ("FOREVER", "2031-05-06T07:08:09Z", ""),
            ("COMPLIANCE", "next year", ""),
            ("", "", "PERHAPS"),
        ] {
            assert!(told(&headers(mode, until, hold)).is_err(), "{mode} {until} {hold}");
        }
    }

    #[test]
    fn a_retention_that_has_ended_is_none_and_a_hold_has_no_end() {
        let lock = Lock {
            retention: Some(Retention { mode: RetentionMode::Compliance, until_unix_ms: 5 }),
            hold: true,
        };
        assert_eq!(in_force(lock, 4), lock);
        assert_eq!(in_force(lock, 5), Lock { retention: None, hold: true });
    }
}
