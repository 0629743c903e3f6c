//! Whether a target is heard at all.

use switchback_machine::Timestamp;

use super::policy::Policy;

/// A target that is silent: it costs one exchange at a time, however many names are kept there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    /// In vain so far.
    probes: u32,
    pub(super) probe_at: Timestamp,
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
    pub(super) fn miss(
        &mut self,
        now: Timestamp,
        sent: Timestamp,
        is_probe: bool,
        policy: &Policy,
    ) -> Option<Timestamp> {
        if self.failures == 0 {
            // What was sent before the target was last heard may have been lost alone.
            self.failing_since = self.last_heard.map_or(sent, |heard| heard.max(sent));
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(outage) = &mut self.outage {
            if is_probe {
                outage.probes = outage.probes.saturating_add(1);
                // Counted from the sending, so that the caller's time-out adds nothing.
                outage.probe_at = now.max(sent + policy.probe_delay(outage.probes));
            }
            return None;
        }
        (self.failures >= policy.unreachable_after).then(|| {
            let since = self.failing_since;
            self.outage = Some(Outage { since, probes: 0, probe_at: now + policy.probe_delay(0) });
            since
        })
    }
}
