//! Locks in the journal: what was brought of each, so that a later run sees what has become stronger since.

use serde::{Deserialize, Serialize};
use switchback_store::{Lock, Retention, RetentionMode};

use super::{Journal, Line, Noted};
use crate::import::entry::Entry;

/// A lock as a line has it; empty of what has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptLock {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    governance_until_unix_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compliance_until_unix_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hold: bool,
}

impl KeptLock {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Lock> for KeptLock {
    fn from(lock: Lock) -> Self {
        let of = |mode| lock.retention.filter(|retention| retention.mode == mode);
        Self {
            governance_until_unix_ms: of(RetentionMode::Governance).map(|retention| retention.until_unix_ms),
            compliance_until_unix_ms: of(RetentionMode::Compliance).map(|retention| retention.until_unix_ms),
            hold: lock.hold,
        }
    }
}

impl From<KeptLock> for Lock {
    fn from(kept: KeptLock) -> Self {
        let retained =
            |mode, until: Option<u64>| until.map(|until_unix_ms| Retention { mode, until_unix_ms });
        let governed = retained(RetentionMode::Governance, kept.governance_until_unix_ms);
        let retention = retained(RetentionMode::Compliance, kept.compliance_until_unix_ms).or(governed);
        Self { retention, hold: kept.hold }
    }
}

impl Journal {
    /// What arrived of an object or a version; `None` where nothing did.
    pub(crate) fn noted(&self, entry: &Entry) -> anyhow::Result<Option<Noted>> {
        let Some(known) = self.known.get(&entry.identity()).filter(|known| known.arrived) else {
            return Ok(None);
        };
        let Line { held, here, lock, .. } = self.line(known.at)?;
        Ok(Some(Noted { held, here, lock: lock.into() }))
    }

    /// Notes that what arrived has this lock by now.
    pub(crate) fn relock(&mut self, entry: &Entry, lock: Lock) -> anyhow::Result<()> {
        let Some(at) = self.known.get(&entry.identity()).map(|known| known.at) else { return Ok(()) };
        let line = Line { lock: lock.into(), ..self.line(at)? };
        let at = self.append(&line)?;
        // Nothing else of it has changed; it was not moved in this run.
        if let Some(known) = self.known.get_mut(&entry.identity()) {
            known.at = at;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_keeps_its_lock_and_the_rest_of_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Journal::open(&folder.path().join("journal"), "here", "there", true).unwrap();
        let lock = |mode, hold| Lock { retention: Some(Retention { mode, until_unix_ms: 7 }), hold };
        let (first, then) = (lock(RetentionMode::Governance, false), lock(RetentionMode::Compliance, true));
        let entry = Entry { key: "k".into(), version: Some("1".into()), ..Default::default() };
        let noted = |lock| Some(Noted { held: "etag".into(), here: Some("here-1".into()), lock });
        let mut journal = open();
        assert_eq!(journal.noted(&entry).unwrap(), None);
        journal.version_arrived(&entry, "etag", "here-1", first).unwrap();
        drop(journal);
        let mut journal = open();
        assert_eq!(journal.noted(&entry).unwrap(), noted(first));
        assert!(journal.see_version(&entry));
        journal.relock(&entry, then).unwrap();
        assert_eq!(journal.noted(&entry).unwrap(), noted(then));
        assert!(!journal.is_due(&entry) && journal.gone().is_empty() && journal.is_ours("k", "here-1"));
        drop(journal);
        let mut journal = open();
        assert_eq!(journal.noted(&entry).unwrap(), noted(then));
        journal.begun(&Entry { version: Some("2".into()), ..entry.clone() }, "etag").unwrap();
        assert_eq!(journal.noted(&Entry { version: Some("2".into()), ..entry }).unwrap(), None);
    }
}
