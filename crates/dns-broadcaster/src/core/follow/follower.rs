//! One target: what it is told and asked next, and what it said.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use switchback_machine::Timestamp;

use super::Out;
use super::event::{Exchange, Output, Reason};
use super::flight::{Flight, Flights};
use super::policy::Policy;
use super::queue::{Lane, Queue, Slot};
use super::scope::Scope;
use super::track::Track;
use super::view::{Counts, LastChange, State, Summary, Trouble};
use super::zone::{Batch, Zone, ZoneId, Zones};
use crate::core::contact::{Contact, Missed, Overdue, Target};
use crate::core::name::Name;
use crate::core::zone::Serial;

/// What a target's step looks at and does not change.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) now: Timestamp,
    pub(super) policy: &'a Policy,
    pub(super) zones: &'a Zones,
}

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) target: Target,
    /// Zones that are its business.
    pub(super) scope: Scope,
    pub(super) tracks: BTreeMap<ZoneId, Track>,
    pub(super) queue: Queue,
    pub(super) flights: Flights,
    pub(super) contact: Contact,
    pub(super) probing: Probing,
    pub(super) counts: Counts,
    /// Zones that are late at a time, unless they follow before.
    pub(super) late: BTreeSet<(Timestamp, ZoneId)>,
    /// Zones that are late.
    pub(super) late_zones: usize,
    /// No zone is late before this time: a target that is back is given time to catch up.
    pub(super) late_floor: Timestamp,
    last_batch: Batch,
    last_change: Option<LastChange>,
}

/// How a target that is silent is tried: one zone at a time is asked about until it answers.
#[derive(Debug, Default)]
pub(super) struct Probing {
    /// The next probe is a NOTIFY, when there is one to send. Every other one is, because some
    /// firewalls let only one of the two kinds pass.
    pub(super) notify_next: bool,
    /// The zone that was asked about last: each probe takes the next, in case that one zone is
    /// what the target is silent about.
    pub(super) cursor: Option<ZoneId>,
}

/// What was published.
impl Follower {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            scope: Scope::default(),
            tracks: BTreeMap::new(),
            queue: Queue::default(),
            flights: Flights::default(),
            contact: Contact::default(),
            probing: Probing::default(),
            counts: Counts::default(),
            late: BTreeSet::new(),
            late_zones: 0,
            late_floor: Timestamp(0),
            last_batch: Batch(0),
            last_change: None,
        }
    }

    /// A publication that changes `zones` zones begins.
    pub(super) fn begin_batch(&mut self, now: Timestamp, batch: Batch, zones: usize) {
        self.last_batch = batch;
        self.last_change = Some(LastChange { at: now, zones, open: zones, slowest: None });
        self.contact.probe_now(now);
        self.probing.notify_next = true;
    }

    /// The zone is new or has another serial; it is number `index` of its batch.
    pub(super) fn change(&mut self, scene: Scene<'_>, id: ZoneId, zone: &Zone, index: u64, out: &mut Out) {
        if !self.tracks.contains_key(&id) {
            self.counts.unknown += 1;
            self.tracks.insert(id, Track::new());
            // In case that no NOTIFY comes to an end; each end brings an earlier question.
            self.queue_ask(id, zone, Slot::at(Lane::Slow, scene.now + scene.policy.ask_slow));
        }
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let before = track.state;
        track.begin(scene.now);
        track.is_open = true;
        track.converged_after = None;
        if self.restate(id, zone).is_followed() {
            // Somebody else fed it first. That may be no longer true.
            self.follow(scene, id, zone, before, out);
            self.ask_at_once(scene, id, zone);
            return;
        }
        self.arm(scene, id);
        self.queue_notify(id, zone, self.queue.turn(index));
    }

    /// The zone is gone. Its exchanges still come to their end.
    pub(super) fn forget(&mut self, id: ZoneId, zone: &Zone) {
        let Some(mut track) = self.tracks.remove(&id) else { return };
        *self.counts.of(track.state) -= 1;
        for slot in [track.notify, track.ask].into_iter().flatten() {
            self.queue.remove(slot, id);
        }
        if let Some(at) = track.late_at {
            self.late.remove(&(at, id));
        }
        self.late_zones -= usize::from(track.was_late);
        self.close(&mut track, zone);
    }

    /// Takes the zone from those that its publication left open.
    fn close(&mut self, track: &mut Track, zone: &Zone) -> bool {
        let was_open = core::mem::take(&mut track.is_open);
        if was_open
            && zone.batch == self.last_batch
            && let Some(change) = &mut self.last_change
        {
            change.open -= 1;
        }
        was_open
    }
}

/// What came back.
impl Follower {
    pub(super) fn acknowledged(&mut self, scene: Scene<'_>, name: &Name, out: &mut Out) {
        let Some(flight) = self.flights.of(Exchange::Notify).remove(name) else { return };
        self.hear(scene, out);
        let Some((id, zone)) = scene.zones.find(name) else { return };
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.failures = 0;
        track.notify_refused = false;
        if track.state.is_followed() {
            return;
        }
        if flight.serial != zone.serial {
            self.queue_notify(id, zone, self.queue.turn(0));
            return;
        }
        track.losses = 0;
        let lane = if track.acknowledged > 0 {
            // A target that acknowledges and does not follow is not asked in quick succession
            // again after each NOTIFY.
            Lane::Quick
        } else {
            track.questions = 1;
            Lane::First
        };
        track.acknowledged = track.acknowledged.saturating_add(1);
        // The target may lose what it acknowledged: by a restart before its transfer, or, as BIND does
        // with what comes while it asks somebody else in vain, by putting it off for minutes.
        let again = scene.now + scene.policy.notify_delay(track.acknowledged);
        self.queue_ask(id, zone, Slot::at(lane, scene.now + scene.policy.ask_delay(0)));
        self.queue_notify(id, zone, Slot::at(Lane::Again, again));
    }

    pub(super) fn refused(&mut self, scene: Scene<'_>, name: &Name, out: &mut Out) {
        let Some(flight) = self.flights.of(Exchange::Notify).remove(name) else { return };
        self.hear(scene, out);
        let Some((id, zone)) = scene.zones.find(name) else { return };
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.failures = 0;
        track.notify_refused = true;
        if track.state.is_followed() {
            return;
        }
        self.ask_at_once(scene, id, zone);
        // A change is told once even so: it may be the first since the configuration was mended.
        let slot = if flight.serial == zone.serial {
            Slot::at(Lane::Again, scene.now + scene.policy.notify_refused_again)
        } else {
            self.queue.turn(0)
        };
        self.queue_notify(id, zone, slot);
    }

    pub(super) fn answered(&mut self, scene: Scene<'_>, name: &Name, serial: Option<Serial>, out: &mut Out) {
        if self.flights.of(Exchange::Ask).remove(name).is_none() {
            return;
        }
        self.hear(scene, out);
        let Some((id, zone)) = scene.zones.find(name) else { return };
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let before = track.state;
        track.hear(scene.now, serial);
        let state = self.restate(id, zone);
        if state.is_followed() {
            self.follow(scene, id, zone, before, out);
        } else {
            self.lag(scene, id, zone, serial);
        }
    }

    pub(super) fn failed(
        &mut self,
        scene: Scene<'_>,
        name: &Name,
        exchange: Exchange,
        reason: Reason,
        out: &mut Out,
    ) {
        let Some(flight) = self.flights.of(exchange).remove(name) else { return };
        if reason.is_silence() {
            let missed = Missed { sent: flight.sent, is_probe: flight.is_probe, pause_from: scene.now };
            if let Some(since) = self.contact.miss(scene.now, missed, scene.policy.patience()) {
                self.probing = Probing::default();
                out.send(Output::Unreachable { target: self.target.clone(), since });
            }
        } else {
            self.hear(scene, out);
        }
        let Some((id, zone)) = scene.zones.find(name) else { return };
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.fail(Trouble { exchange, reason, at: scene.now });
        match exchange {
            Exchange::Notify => self.lost_notify(scene, id, zone, flight),
            Exchange::Ask => self.ask_again(scene, id, zone),
        }
    }

    /// Something came from the target.
    fn hear(&mut self, scene: Scene<'_>, out: &mut Out) {
        if let Some(outage) = self.contact.hear(scene.now) {
            self.late_floor = scene.now + scene.policy.late_after;
            let after = scene.now.since(outage.since);
            out.send(Output::Reachable { target: self.target.clone(), after });
        }
    }

    /// The target misses nothing.
    fn follow(&mut self, scene: Scene<'_>, id: ZoneId, zone: &Zone, before: State, out: &mut Out) {
        let Some(mut track) = self.tracks.remove(&id) else { return };
        if let Some(slot) = track.notify.take() {
            self.queue.remove(slot, id);
        }
        if let Some(at) = track.late_at.take() {
            self.late.remove(&(at, id));
        }
        let was_late = core::mem::take(&mut track.was_late);
        self.late_zones -= usize::from(was_late);
        let was_open = self.close(&mut track, zone);
        let behind_since = track.behind_since.take();
        match track.state {
            State::Ahead { theirs } if !matches!(before, State::Ahead { .. }) => {
                let (target, zone, ours) = (self.target.clone(), zone.name.clone(), zone.serial);
                out.send(Output::Overtaken { target, zone, ours, theirs });
            }
            State::Converged if let Some(since) = behind_since => {
                let since = if was_open { zone.changed_at } else { since };
                let after = scene.now.since(since);
                if was_open {
                    track.converged_after = Some(after);
                    if zone.batch == self.last_batch
                        && let Some(change) = &mut self.last_change
                    {
                        // Of one publication, who follows later is slower.
                        change.slowest = Some(after);
                    }
                }
                let (target, zone) = (self.target.clone(), zone.name.clone());
                out.send(Output::Followed { target, zone, after, was_late });
            }
            _ => {}
        }
        self.tracks.insert(id, track);
        self.queue_ask(id, zone, Slot::at(Lane::Round, scene.now + scene.policy.round));
    }

    /// The target misses something.
    fn lag(&mut self, scene: Scene<'_>, id: ZoneId, zone: &Zone, theirs: Option<Serial>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if let Some(since) = track.behind_since {
            // It may have followed the older ones of several changes.
            let missed = theirs.and_then(|theirs| zone.missed_since(theirs));
            track.behind_since = missed.max(Some(since));
        } else {
            // It had followed and fell back: its disk was restored, or its zone expired.
            track.begin(scene.now);
            self.arm(scene, id);
            self.queue_notify(id, zone, self.queue.turn(0));
        }
        self.ask_again(scene, id, zone);
    }

    fn lost_notify(&mut self, scene: Scene<'_>, id: ZoneId, zone: &Zone, flight: Flight) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.state.is_followed() {
            return;
        }
        let slot = if flight.serial != zone.serial {
            self.queue.turn(0)
        } else if self.contact.outage.is_some() {
            // In its old place, so that a target that is back is told in order.
            flight.turn.unwrap_or_else(|| self.queue.turn(0))
        } else {
            // Counted from the sending, so that the caller's time-out adds nothing.
            let again = flight.sent + scene.policy.notify_delay(track.losses);
            track.losses = track.losses.saturating_add(1);
            Slot::at(Lane::Again, again)
        };
        self.queue_notify(id, zone, slot);
        // Only the acknowledgement may be lost, and some firewalls drop NOTIFYs alone.
        self.ask_at_once(scene, id, zone);
    }
}

/// What is seen.
impl Follower {
    pub(super) fn summary(&self) -> Summary {
        Summary {
            counts: self.counts,
            late: self.late_zones,
            unreachable_since: self.contact.outage.map(|outage| outage.since),
            last_heard: self.contact.last_heard,
            outstanding: self.flights.len(),
            last_change: self.last_change,
        }
    }

    pub(super) fn overdue(&self, now: Timestamp, late_after: Duration) -> Option<Overdue> {
        self.contact.overdue(now, late_after, self.late_zones)
    }

    pub(super) fn track(&self, id: ZoneId) -> Option<&Track> {
        self.tracks.get(&id)
    }

    pub(super) fn standings(&self) -> usize {
        self.tracks.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len() + self.late.len()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.flights.len()
    }
}
