//! The zones that this server publishes, as far as following needs them.

use alloc::collections::{BTreeMap, VecDeque};

use switchback_machine::Timestamp;

use super::policy::{CHANGES_MAX, ZONES_MAX};
use crate::core::name::Name;
use crate::core::zone::Serial;

/// A zone from its publication to its removal; a zone that comes again has another. It stands for
/// the name in what is kept per target, where a name would cost more than all the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ZoneId(u64);

/// One publication: all its zones change at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Batch(pub(super) u64);

#[derive(Debug)]
pub(super) struct Zone {
    pub(super) name: Name,
    /// What this server answers.
    pub(super) serial: Serial,
    pub(super) changed_at: Timestamp,
    /// The publication that changed it last.
    pub(super) batch: Batch,
    /// The last changes, the newest one last.
    changes: VecDeque<(Serial, Timestamp)>,
}

impl Zone {
    /// Since when a target that serves `theirs` misses something. `None` when that was before the
    /// changes that are remembered.
    pub(super) fn missed_since(&self, theirs: Serial) -> Option<Timestamp> {
        let has = |serial: Serial| theirs == serial || theirs.is_newer_than(serial);
        let first_missed = self.changes.iter().rposition(|(serial, _)| has(*serial))? + 1;
        self.changes.get(first_missed).map(|(_, at)| *at)
    }

    fn change(&mut self, serial: Serial, now: Timestamp, batch: Batch) {
        if !serial.is_newer_than(self.serial) {
            // The publisher never goes back; whoever does starts the zone's history anew.
            self.changes.clear();
        }
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back((serial, now));
        (self.serial, self.changed_at, self.batch) = (serial, now, batch);
    }
}

/// All zones, by name and by id.
#[derive(Debug, Default)]
pub(super) struct Zones {
    by_name: BTreeMap<Name, ZoneId>,
    by_id: BTreeMap<ZoneId, Zone>,
    last: u64,
}

/// What became of a publication of one zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// The zone is new or has another serial.
    Changed(ZoneId),
    /// The serial is known.
    AlreadyThere,
    /// There are [`ZONES_MAX`] others.
    Full,
}

impl Zones {
    pub(super) fn put(&mut self, name: Name, serial: Serial, now: Timestamp, batch: Batch) -> Put {
        if let Some(&id) = self.by_name.get(&name) {
            return match self.by_id.get_mut(&id) {
                Some(zone) if zone.serial != serial => {
                    zone.change(serial, now, batch);
                    Put::Changed(id)
                }
                _ => Put::AlreadyThere,
            };
        }
        if self.by_id.len() >= ZONES_MAX {
            return Put::Full;
        }
        self.last += 1;
        let id = ZoneId(self.last);
        self.by_name.insert(name.clone(), id);
        let changes = [(serial, now)].into();
        self.by_id.insert(id, Zone { name, serial, changed_at: now, batch, changes });
        Put::Changed(id)
    }

    pub(super) fn remove(&mut self, name: &Name) -> Option<(ZoneId, Zone)> {
        let id = self.by_name.remove(name)?;
        Some((id, self.by_id.remove(&id)?))
    }

    pub(super) fn find(&self, name: &Name) -> Option<(ZoneId, &Zone)> {
        let id = *self.by_name.get(name)?;
        Some((id, self.by_id.get(&id)?))
    }

    pub(super) fn get(&self, id: ZoneId) -> Option<&Zone> {
        self.by_id.get(&id)
    }

    /// In the order of names, after `after` if given.
    pub(super) fn iter_after(&self, after: Option<&Name>) -> impl Iterator<Item = (ZoneId, &Zone)> {
        use core::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let ids = self.by_name.range::<Name, _>((from, Unbounded)).map(|(_, id)| *id);
        ids.filter_map(|id| Some((id, self.by_id.get(&id)?)))
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_misses_what_came_after_the_serial_that_it_serves() {
        let name = Name::parse("a.test").unwrap();
        let mut zones = Zones::default();
        for step in 0..u32::try_from(CHANGES_MAX).unwrap() {
            zones.put(name.clone(), Serial(10 + 2 * step), Timestamp(100 + u64::from(step)), Batch(1));
        }
        let missed = |zones: &Zones, theirs| zones.find(&name).unwrap().1.missed_since(Serial(theirs));
        assert_eq!(missed(&zones, 10), Some(Timestamp(101)));
        assert_eq!(missed(&zones, 13), Some(Timestamp(102)), "a serial between two of ours");
        assert_eq!(missed(&zones, 9), None, "older than all that is remembered");
        zones.put(name.clone(), Serial(100), Timestamp(200), Batch(2));
        assert_eq!(missed(&zones, 10), None, "the oldest change is forgotten");
        assert_eq!(missed(&zones, 24), Some(Timestamp(200)));
    }

    #[test]
    fn a_serial_that_goes_back_starts_the_history_anew() {
        let name = Name::parse("a.test").unwrap();
        let mut zones = Zones::default();
        for (serial, at) in [(10, 100), (20, 200), (15, 300), (16, 400)] {
            zones.put(name.clone(), Serial(serial), Timestamp(at), Batch(at));
        }
        let zone = zones.find(&name).unwrap().1;
        assert_eq!(zone.missed_since(Serial(12)), None, "nothing is known of before");
        assert_eq!(zone.missed_since(Serial(15)), Some(Timestamp(400)));
    }
}
