//! Wall time, as an argument: the catalogue never asks the machine itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// A wall clock, in Unix milliseconds. It may go backwards; versions do not.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now_unix_ms(&self) -> u64;
}

/// The machine's clock, or that of a simulation.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_unix_ms(&self) -> u64 {
        switchback_world::time::unix_ms()
    }
}

/// A clock that stands until it is told otherwise, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `unix_ms`.
    #[must_use]
    pub fn new(unix_ms: u64) -> Self {
        Self(AtomicU64::new(unix_ms))
    }

    /// Moves the clock to `unix_ms`.
    pub fn set(&self, unix_ms: u64) {
        self.0.store(unix_ms, Ordering::Relaxed);
    }

    /// Moves the clock on by `ms`.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<C: Clock> Clock for std::sync::Arc<C> {
    fn now_unix_ms(&self) -> u64 {
        (**self).now_unix_ms()
    }
}
