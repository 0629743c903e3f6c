//! Whether a target is heard at all, and the exchanges that it owes an end.

use alloc::collections::BTreeMap;

use switchback_machine::Timestamp;

use super::event::Exchange;
use super::policy::Policy;
use super::queue::Slot;
use super::zone::ZoneId;
use crate::core::name::Name;
use crate::core::zone::Serial;

/// An exchange that waits for its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// This server's serial when it was sent.
    pub(super) serial: Serial,
    pub(super) sent: Timestamp,
    /// Its turn among the changes, if it had one.
    pub(super) turn: Option<Slot>,
    pub(super) is_probe: bool,
}

/// By name: an exchange outlives the removal of its zone, and a zone that comes again meanwhile
/// takes it over, since a name and a kind is all that the answer will say.
#[derive(Debug, Default)]
pub(super) struct Flights {
    notify: BTreeMap<Name, Flight>,
    ask: BTreeMap<Name, Flight>,
}

impl Flights {
    pub(super) fn of(&mut self, exchange: Exchange) -> &mut BTreeMap<Name, Flight> {
        match exchange {
            Exchange::Notify => &mut self.notify,
            Exchange::Ask => &mut self.ask,
        }
    }

    pub(super) fn has(&self, exchange: Exchange, zone: &Name) -> bool {
        match exchange {
            Exchange::Notify => self.notify.contains_key(zone),
            Exchange::Ask => self.ask.contains_key(zone),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.notify.len() + self.ask.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A target that is silent. One zone at a time is asked about until it answers, so that it costs
/// one exchange at a time however many zones it follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    /// In vain so far.
    pub(super) probes: u32,
    pub(super) probe_at: Timestamp,
    /// The next probe is a NOTIFY, when there is one to send. Every other one is, because some
    /// firewalls let only one of the two kinds pass.
    pub(super) notify_next: bool,
    /// The zone that was asked about last: each probe takes the next, in case that one zone is
    /// what the target is silent about.
    pub(super) cursor: Option<ZoneId>,
}

#[derive(Debug, Default)]
pub(super) struct Contact {
    pub(super) last_heard: Option<Timestamp>,
    /// Failed exchanges since then.
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

    /// An exchange ended in silence. Returns the outage that begins with it.
    pub(super) fn miss(&mut self, now: Timestamp, flight: Flight, policy: &Policy) -> Option<Outage> {
        if self.failures == 0 {
            // What was sent before the target was last heard may have been lost alone.
            self.failing_since = self.last_heard.map_or(flight.sent, |heard| heard.max(flight.sent));
        }
        self.failures = self.failures.saturating_add(1);
        match &mut self.outage {
            Some(outage) if flight.is_probe => {
                outage.probes = outage.probes.saturating_add(1);
                outage.probe_at = now + policy.probe_delay(outage.probes);
                None
            }
            Some(_) => None,
            None if self.failures < policy.unreachable_after => None,
            None => {
                self.outage = Some(Outage {
                    since: self.failing_since,
                    probes: 0,
                    probe_at: now + policy.probe_delay(0),
                    notify_next: false,
                    cursor: None,
                });
                self.outage
            }
        }
    }
}
