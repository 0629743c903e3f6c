//! The exchanges that a target owes an end.

use alloc::collections::BTreeMap;

use switchback_machine::Timestamp;

use super::event::Exchange;
use super::queue::Slot;
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
