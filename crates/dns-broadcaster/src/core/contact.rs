//! A name server that this one sends to: who it is, and whether it is heard at all.

use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use switchback_machine::Timestamp;

/// Beyond this a doubled time exceeds every maximum that makes sense.
const DOUBLINGS_MAX: u32 = 20;

/// A name server that is told something, by the name that the operator gave it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(Arc<str>);

impl Target {
    /// The target of this configured name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its configured name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a target for so long that somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// It is silent.
    Silent {
        /// Since when.
        since: Timestamp,
    },
    /// It answers, and does not serve what was published.
    Late {
        /// So many zones of it.
        zones: usize,
    },
}

/// When a target counts as silent, and how often it is tried then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Exchanges that fail in a row before it does.
    pub(super) unreachable_after: u32,
    /// From its loss to the first probe; doubles with each.
    pub(super) probe_again: Duration,
    /// The longest time between two probes.
    pub(super) probe_again_max: Duration,
}

impl Patience {
    /// To the next probe, after `probes` in vain.
    fn probe_delay(self, probes: u32) -> Duration {
        doubled(self.probe_again, probes).min(self.probe_again_max)
    }
}

/// `first`, doubled so many times.
pub(super) fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(DOUBLINGS_MAX))
}

/// A target that is silent. It costs one exchange at a time, however many names it is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    /// In vain so far.
    probes: u32,
    pub(super) probe_at: Timestamp,
}

/// An exchange that ended in silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    pub(super) sent: Timestamp,
    pub(super) is_probe: bool,
    /// From when the time to the next probe counts.
    pub(super) pause_from: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Contact {
    pub(super) last_heard: Option<Timestamp>,
    /// Exchanges that failed in silence since then.
    failures: u32,
    /// When the first of them was sent.
    failing_since: Timestamp,
    pub(super) outage: Option<Outage>,
}

impl Contact {
    /// Something came from the target. Returns the outage that ends with it.
    pub(super) fn hear(&mut self, now: Timestamp) -> Option<Outage> {
        self.last_heard = Some(now);
        self.failures = 0;
        self.outage.take()
    }

    /// An exchange ended in silence. Returns since when the target is unreachable if it now is.
    pub(super) fn miss(&mut self, now: Timestamp, missed: Missed, patience: Patience) -> Option<Timestamp> {
        if self.failures == 0 {
            // What was sent before the target was last heard may have been lost alone.
            self.failing_since = self.last_heard.map_or(missed.sent, |heard| heard.max(missed.sent));
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(outage) = &mut self.outage {
            if missed.is_probe {
                outage.probes = outage.probes.saturating_add(1);
                outage.probe_at = now.max(missed.pause_from + patience.probe_delay(outage.probes));
            }
            return None;
        }
        (self.failures >= patience.unreachable_after).then(|| {
            let since = self.failing_since;
            self.outage = Some(Outage { since, probes: 0, probe_at: now + patience.probe_delay(0) });
            since
        })
    }

    /// Something matters now, and the target may be back since the last probe.
    pub(super) fn probe_now(&mut self, now: Timestamp) {
        if let Some(outage) = &mut self.outage {
            outage.probe_at = now;
        }
    }

    /// What is wrong with the target for `late_after` and longer, when so many zones of it are late.
    pub(super) fn overdue(&self, now: Timestamp, late_after: Duration, late: usize) -> Option<Overdue> {
        match self.outage {
            Some(Outage { since, .. }) => (since + late_after <= now).then_some(Overdue::Silent { since }),
            None => (late > 0).then_some(Overdue::Late { zones: late }),
        }
    }
}
