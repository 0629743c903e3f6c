//! What was begun and what was acknowledged, and how far the disk's log had come each time.
//!
//! Everything is a register with one writer at a time: an object, a record, a mode, a cursor. So
//! after a power cut it holds what was acknowledged last, or what was under way then, and nothing
//! else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a register holds: the value's digest, or nothing.
pub type Value = Option<Vec<u8>>;

/// A moment: how many entries the disk's log had.
pub type Moment = usize;

#[derive(Clone, Debug)]
struct Step {
    begun: Moment,
    acknowledged: Option<Moment>,
    value: Value,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Account {
    registers: Mutex<BTreeMap<String, Vec<Step>>>,
}

impl Account {
    /// Somebody begins to set `register` to `value`.
    pub fn begin(&self, register: &str, value: Value, now: Moment) {
        let step = Step { begun: now, acknowledged: None, value };
        self.lock().entry(register.to_owned()).or_default().push(step);
    }

    /// What was begun last was acknowledged.
    pub fn acknowledge(&self, register: &str, now: Moment) {
        if let Some(step) = self.lock().get_mut(register).and_then(|steps| steps.last_mut()) {
            step.acknowledged = Some(now);
        }
    }

    /// All registers.
    #[must_use]
    pub fn registers(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// How many steps were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.lock().values().flatten().filter(|step| step.acknowledged.is_some()).count()
    }

    /// The moments of acknowledgements, which are the best moments to cut the power.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        self.lock().values().flatten().filter_map(|step| step.acknowledged).collect()
    }

    /// What `register` may hold after a power cut at `cut`.
    #[must_use]
    pub fn allowed(&self, register: &str, cut: Moment) -> Vec<Value> {
        let registers = self.lock();
        let steps = registers.get(register).map(Vec::as_slice).unwrap_or_default();
        let last = steps.iter().rposition(|step| step.acknowledged.is_some_and(|moment| moment <= cut));
        let certain = last.and_then(|last| steps[last].value.clone());
        let under_way = steps[last.map_or(0, |last| last + 1)..].iter().filter(|step| step.begun <= cut);
        std::iter::once(certain).chain(under_way.map(|step| step.value.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Step>>> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(byte: u8) -> Value {
        Some(vec![byte])
    }

    #[test]
    fn an_acknowledged_value_is_the_only_one_until_another_is_begun() {
        let account = Account::default();
        account.begin("a", value(1), 10);
        assert_eq!(account.allowed("a", 9), [None]);
        assert_eq!(account.allowed("a", 10), [None, value(1)]);
        account.acknowledge("a", 20);
        assert_eq!(account.allowed("a", 19), [None, value(1)]);
        assert_eq!(account.allowed("a", 20), [value(1)]);
        account.begin("a", None, 30);
        assert_eq!(account.allowed("a", 29), [value(1)]);
        assert_eq!(account.allowed("a", 30), [value(1), None]);
        account.acknowledge("a", 40);
        assert_eq!(account.allowed("a", 40), [None]);
    }
}
