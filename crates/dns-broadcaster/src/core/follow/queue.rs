//! In which order the zones of one target get their exchanges.
//!
//! Six lanes, served in turn: no lane starves another, so a zone that changes waits for at most
//! five others and those before it in its own lane. Within the lane of changes the order is fair
//! among changes, not among zones: the first zones of all changes come before the second ones, so
//! that a change of one zone does not wait for the 100,000 of the change before it.
//!
//! Every operation is O(log n) in the number of zones.

use alloc::collections::BTreeSet;
use core::time::Duration;

use switchback_machine::Timestamp;

use super::event::Exchange;
use super::zone::ZoneId;

/// What an exchange is about, hence how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// NOTIFYs of changes that the target has not been told. Ordered by turn, always due.
    Changed,
    /// The first question after an acknowledged NOTIFY: it measures the time to converge.
    First,
    /// Further questions shortly after a change.
    Quick,
    /// NOTIFYs that are sent again.
    Again,
    /// Questions about zones that have been behind for long.
    Slow,
    /// Questions about zones that are followed.
    Round,
}

impl Lane {
    const ALL: [Self; LANES] =
        [Self::Changed, Self::First, Self::Quick, Self::Again, Self::Slow, Self::Round];

    pub(super) fn exchange(self) -> Exchange {
        match self {
            Self::Changed | Self::Again => Exchange::Notify,
            Self::First | Self::Quick | Self::Slow | Self::Round => Exchange::Ask,
        }
    }

    fn is_background(self) -> bool {
        matches!(self, Self::Again | Self::Slow | Self::Round)
    }

    fn is_paced(self) -> bool {
        matches!(self, Self::Slow | Self::Round)
    }
}

const LANES: usize = 6;

/// A place in a lane: a turn in [`Lane::Changed`], a time in milliseconds in the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) lane: Lane,
    key: u64,
}

impl Slot {
    /// In `lane`, which is not that of changes, at the time `at`.
    pub(super) fn at(lane: Lane, at: Timestamp) -> Self {
        Self { lane, key: at.0 }
    }

    /// Its turn among the changes, if that is what it is.
    pub(super) fn turn(self) -> Option<Self> {
        (self.lane == Lane::Changed).then_some(self)
    }

    /// A turn among the changes that `other` does not come before.
    pub(super) fn is_turn_before(self, other: Self) -> bool {
        self.lane == Lane::Changed && (other.lane != Lane::Changed || self.key <= other.key)
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [BTreeSet<(u64, ZoneId)>; LANES],
    /// When a paced lane may be served again.
    not_before: [Timestamp; LANES],
    /// The lane to look at first.
    cursor: usize,
    /// The highest turn that was served.
    turn: u64,
}

impl Queue {
    /// The place of the zone that is number `index` (from 0) of a change. The turn is beyond
    /// the one served last, so that changes that keep coming cannot starve a large one.
    pub(super) fn turn(&self, index: u64) -> Slot {
        Slot { lane: Lane::Changed, key: self.turn.saturating_add(1).saturating_add(index) }
    }

    pub(super) fn insert(&mut self, slot: Slot, zone: ZoneId) {
        self.lanes[slot.lane as usize].insert((slot.key, zone));
    }

    pub(super) fn remove(&mut self, slot: Slot, zone: ZoneId) {
        self.lanes[slot.lane as usize].remove(&(slot.key, zone));
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(BTreeSet::len).sum()
    }

    /// Takes out what is to be done next. `background` allows lanes that are not about a recent
    /// change, `gap` is the time between two of a paced lane.
    pub(super) fn pop(&mut self, now: Timestamp, background: bool, gap: Duration) -> Option<(Slot, ZoneId)> {
        let order = (0..LANES).map(|step| Lane::ALL[(self.cursor + step) % LANES]);
        let lane = order
            .filter(|lane| background || !lane.is_background())
            .find(|lane| self.due_at(*lane).is_some_and(|due| due <= now))?;
        if lane.is_paced() {
            self.not_before[lane as usize] = now + gap;
        }
        self.cursor = (lane as usize + 1) % LANES;
        self.take_first(lane)
    }

    /// Takes out the next NOTIFY that is due, for a probe.
    pub(super) fn pop_notify(&mut self, now: Timestamp) -> Option<(Slot, ZoneId)> {
        let lanes = [Lane::Changed, Lane::Again];
        let lane = lanes.into_iter().find(|lane| self.due_at(*lane).is_some_and(|due| due <= now))?;
        self.take_first(lane)
    }

    /// When [`Queue::pop`] has something to give.
    pub(super) fn deadline(&self, background: bool) -> Option<Timestamp> {
        let lanes = Lane::ALL.into_iter().filter(|lane| background || !lane.is_background());
        lanes.filter_map(|lane| self.due_at(lane)).min()
    }

    fn take_first(&mut self, lane: Lane) -> Option<(Slot, ZoneId)> {
        let (key, zone) = self.lanes[lane as usize].pop_first()?;
        if lane == Lane::Changed {
            self.turn = self.turn.max(key);
        }
        Some((Slot { lane, key }, zone))
    }

    fn due_at(&self, lane: Lane) -> Option<Timestamp> {
        let (key, _) = self.lanes[lane as usize].first()?;
        match lane {
            Lane::Changed => Some(Timestamp(0)),
            _ => Some(Timestamp(*key).max(self.not_before[lane as usize])),
        }
    }
}
