//! Every write the demo's clients made, and the account of them at the end.
//!
//! Each write records what it *replaced*, as its client saw it on the system that answered (and made
//! sure of by a conditional request). So the account needs no clock: an acknowledged write is
//! current on both systems, or another write replaced it knowingly, or it is kept under
//! `.lost+found` and listed in the divergence report, or it is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::client::Value;

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// The object.
    pub key: String,
    /// What was written; `None` deletes.
    pub value: Option<Value>,
    /// What was there before, on the system that took the write; `None` when nothing was.
    pub replaced: Option<Value>,
    /// The client was told of success.
    pub acknowledged: bool,
    /// When the client knew.
    pub at: Instant,
    /// Length of the value.
    pub bytes: u64,
    /// The system that answered.
    pub system: String,
}

/// The writes of all clients, in the order in which they ended. It grows with the demo's length,
/// which the demo decides itself.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<Write>>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Vec<Write>> {
        // A panic while pushing leaves the vector whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one.
    pub fn record(&self, write: Write) {
        self.lock().push(write);
    }

    /// All so far.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.lock().clone()
    }

    /// Number of acknowledged ones so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.lock().iter().filter(|write| write.acknowledged).count()
    }

    /// Acknowledged ones since `since` on `system`.
    #[must_use]
    pub fn acknowledged_since(&self, since: Instant, system: &str) -> usize {
        let counts = |write: &&Write| write.acknowledged && write.at >= since && write.system == system;
        self.lock().iter().filter(counts).count()
    }

    /// Bytes of the last acknowledged write of each key after `since`, on each system by itself:
    /// what either side has and the other may lack.
    #[must_use]
    pub fn bytes_changed_since(&self, since: Instant) -> u64 {
        let mut changed = BTreeMap::new();
        for write in self.lock().iter().filter(|write| write.acknowledged && write.at >= since) {
            changed.insert((write.system.clone(), write.key.clone()), write.bytes);
        }
        changed.values().sum()
    }

    /// Bytes of the last acknowledged write of each key: what a rebuilt system lacks.
    #[must_use]
    pub fn bytes_current(&self) -> u64 {
        let mut current = BTreeMap::new();
        for write in self.lock().iter().filter(|write| write.acknowledged) {
            current.insert(write.key.clone(), write.bytes);
        }
        current.values().sum()
    }

    /// The longest time between two acknowledged writes of the clients that follow DNS, of those
    /// that overlap the time from `from` to `to`.
    #[must_use]
    pub fn longest_gap(&self, from: Instant, to: Instant) -> std::time::Duration {
        let mut last = None;
        let mut longest = std::time::Duration::ZERO;
        for write in self.lock().iter().filter(|write| write.acknowledged && !write.key.starts_with(PINNED)) {
            if let Some(before) = last.filter(|_| write.at >= from)
                && before <= to
            {
                longest = longest.max(write.at.saturating_duration_since(before));
            }
            last = Some(write.at);
        }
        longest
    }
}

/// Keys that only clients which do not follow DNS write.
pub const PINNED: &str = "pinned/";

/// What became of one key.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// On the first system; `None` when nothing is there.
    pub east: Option<Value>,
    /// On the second.
    pub west: Option<Value>,
    /// Values that the divergence report lists for this key and that were read where it says.
    pub kept: BTreeSet<Value>,
    /// The divergence report lists a delete of this key as superseded.
    pub delete_listed: bool,
}

/// The account of all acknowledged writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The same on both systems, and this write.
    pub current: usize,
    /// Another write replaced it, and knew what it replaced.
    pub superseded: usize,
    /// Superseded by a write that did not know of it; kept, and listed.
    pub kept: usize,
    /// None of these, by key.
    pub lost: Vec<String>,
    /// Keys that are not the same on both systems.
    pub different: Vec<String>,
}

impl Account {
    /// All acknowledged writes.
    #[must_use]
    pub fn total(&self) -> usize {
        self.current + self.superseded + self.kept + self.lost.len()
    }
}

/// Accounts for every acknowledged write, given what became of each key.
#[must_use]
pub fn account(writes: &[Write], outcomes: &BTreeMap<String, Outcome>) -> Account {
    let mut by_key: BTreeMap<&str, Vec<&Write>> = BTreeMap::new();
    for write in writes {
        by_key.entry(&write.key).or_default().push(write);
    }
    let mut account = Account::default();
    let nothing = Outcome::default();
    for (key, history) in by_key {
        let outcome = outcomes.get(key).unwrap_or(&nothing);
        if outcome.east != outcome.west {
            account.different.push(key.into());
        }
        for (index, write) in history.iter().enumerate().filter(|(_, write)| write.acknowledged) {
            match fate(index, write, &history, outcome) {
                Fate::Current => account.current += 1,
                Fate::Superseded => account.superseded += 1,
                Fate::Kept => account.kept += 1,
                Fate::Lost => account.lost.push(key.into()),
            }
        }
    }
    account
}

enum Fate {
    Current,
    Superseded,
    Kept,
    Lost,
}

fn fate(index: usize, write: &Write, history: &[&Write], outcome: &Outcome) -> Fate {
    let current = outcome.east == write.value && outcome.west == write.value;
    let Some(value) = write.value else {
        // Deletes all look alike, so their order decides.
        let later = &history[index + 1..];
        let replaced =
            later.iter().any(|other| other.replaced.is_none() && happened(other, history, outcome));
        return match (replaced, current, outcome.delete_listed) {
            (true, _, _) => Fate::Superseded,
            (false, true, _) => Fate::Current,
            (false, false, true) => Fate::Kept,
            (false, false, false) => Fate::Lost,
        };
    };
    if current {
        Fate::Current
    } else if outcome.kept.contains(&value) {
        Fate::Kept
    } else if history.iter().any(|other| other.replaced == Some(value) && happened(other, history, outcome)) {
        Fate::Superseded
    } else {
        Fate::Lost
    }
}

/// True when the write was acknowledged, or its value was seen anywhere afterwards.
fn happened(write: &Write, history: &[&Write], outcome: &Outcome) -> bool {
    let seen = |value: &Value| {
        outcome.east.as_ref() == Some(value)
            || outcome.west.as_ref() == Some(value)
            || outcome.kept.contains(value)
            || history.iter().any(|other| other.replaced.as_ref() == Some(value))
    };
    write.acknowledged || write.value.as_ref().is_some_and(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "k";

    fn write(value: Option<u8>, replaced: Option<u8>, acknowledged: bool) -> Write {
        let (value, replaced) = (value.map(|byte| [byte; 32]), replaced.map(|byte| [byte; 32]));
        let (at, system) = (Instant::now(), "east".into());
        Write { key: KEY.into(), value, replaced, acknowledged, at, bytes: 1, system }
    }

    fn both(value: Option<u8>) -> Outcome {
        let value = value.map(|byte| [byte; 32]);
        Outcome { east: value, west: value, ..Outcome::default() }
    }

    fn accounted(writes: &[Write], outcome: Outcome) -> Account {
        account(writes, &BTreeMap::from([(KEY.to_owned(), outcome)]))
    }

    #[test]
    fn a_write_that_was_replaced_knowingly_is_superseded() {
        let writes = [write(Some(1), None, true), write(Some(2), Some(1), true)];
        let account = accounted(&writes, both(Some(2)));
        assert_eq!((account.current, account.superseded, account.total()), (1, 1, 2));
    }

    #[test]
    fn a_write_that_nobody_knew_of_is_lost_unless_it_is_kept() {
        // 2 on the cut-off side and 3 on the other, both in place of 1.
        let writes =
            [write(Some(1), None, true), write(Some(2), Some(1), true), write(Some(3), Some(1), true)];
        assert_eq!(accounted(&writes, both(Some(3))).lost, [KEY]);
        let kept = Outcome { kept: BTreeSet::from([[2; 32]]), ..both(Some(3)) };
        let account = accounted(&writes, kept);
        assert_eq!((account.kept, account.lost.len()), (1, 0));
    }

    #[test]
    fn an_unacknowledged_write_supersedes_only_when_it_was_seen() {
        let writes = [write(Some(1), None, true), write(Some(2), Some(1), false)];
        assert_eq!(accounted(&writes, both(Some(2))).superseded, 1);
        assert_eq!(accounted(&writes, both(None)).lost, [KEY]);
    }

    #[test]
    fn a_delete_must_hold_or_be_replaced_or_be_listed() {
        let deleted = [write(Some(1), None, true), write(None, Some(1), true)];
        assert_eq!(accounted(&deleted, both(None)).current, 1);
        // The deleted object came back.
        assert_eq!(accounted(&deleted, both(Some(1))).lost, [KEY]);
        let again = [deleted[0].clone(), deleted[1].clone(), write(Some(2), None, true)];
        assert_eq!(accounted(&again, both(Some(2))).superseded, 2);
    }

    #[test]
    fn a_write_on_one_system_only_is_lost_and_the_key_is_named() {
        let outcome = Outcome { east: Some([1; 32]), ..Outcome::default() };
        let account = accounted(&[write(Some(1), None, true)], outcome);
        assert_eq!((account.lost, account.different), (vec![KEY.to_owned()], vec![KEY.to_owned()]));
    }
}
