//! What happened, in order: hashed whole, counted by kind, printed on request; and what must not
//! have happened.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Violations told of one run; the first is what matters, a few more help to understand it.
const VIOLATIONS_MAX: usize = 8;

/// How one run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// BLAKE3 of the trace of events, hexadecimal: equal for equal runs.
    pub trace: String,
    /// Events in it.
    pub events: u64,
    /// Milliseconds of simulated time.
    pub simulated_ms: u64,
    /// Steps of the plan, those left out included.
    pub steps: usize,
    /// What was injected, commanded and answered, by kind.
    pub counts: BTreeMap<String, u64>,
    /// What must not happen and did; empty for a good run.
    pub violations: Vec<String>,
}

/// The record of one run.
#[derive(Debug, Default)]
pub struct Record {
    state: Mutex<State>,
    prints: bool,
}

#[derive(Debug, Default)]
struct State {
    now: Duration,
    trace: blake3::Hasher,
    events: u64,
    counts: BTreeMap<String, u64>,
    violations: Vec<String>,
}

impl Record {
    /// An empty one, which prints each event if `prints`.
    #[must_use]
    pub fn new(prints: bool) -> Self {
        Self { prints, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the time of what is recorded.
    pub fn set_now(&self, now: Duration) {
        self.state().now = now;
    }

    /// The simulated time since the run began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Appends an event.
    pub fn event(&self, text: &str) {
        let mut state = self.state();
        let line = format!("{:>10.3} {text}\n", state.now.as_secs_f64());
        state.trace.update(line.as_bytes());
        state.events += 1;
        if self.prints {
            print!("{line}");
        }
    }

    /// Counts one of `kind`.
    pub fn count(&self, kind: &str) {
        *self.state().counts.entry(kind.to_owned()).or_default() += 1;
    }

    /// Something happened that must not.
    pub fn violation(&self, text: &str) {
        self.event(&format!("VIOLATION {text}"));
        let mut state = self.state();
        if state.violations.len() < VIOLATIONS_MAX {
            let line = format!("at {:.3} s: {text}", state.now.as_secs_f64());
            state.violations.push(line);
        }
    }

    /// True once there is a violation: the run need not go on.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        !self.state().violations.is_empty()
    }

    /// The end.
    #[must_use]
    pub fn ending(&self, steps: usize) -> Ending {
        let state = self.state();
        Ending {
            trace: state.trace.finalize().to_hex().to_string(),
            events: state.events,
            simulated_ms: u64::try_from(state.now.as_millis()).unwrap_or(u64::MAX),
            steps,
            counts: state.counts.clone(),
            violations: state.violations.clone(),
        }
    }
}
