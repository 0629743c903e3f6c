//! One target: in which order and how fast it is told and asked, and when it is late.

use core::ops::Bound::{Excluded, Unbounded};

use switchback_machine::Timestamp;

use super::Out;
use super::event::{Exchange, Output};
use super::flight::Flight;
use super::follower::{Follower, Scene};
use super::policy::{LATE_MAX, LATE_PAUSE, Policy};
use super::queue::{Lane, Slot};
use super::view::State;
use super::zone::{Zone, ZoneId};

impl Follower {
    /// Queues the next question, at a distance that grows.
    pub(super) fn ask_again(&mut self, scene: Scene<'_>, id: ZoneId, zone: &Zone) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let delay = if track.state.is_followed() {
            scene.policy.ask_slow
        } else {
            let delay = scene.policy.ask_delay(track.questions);
            track.questions = track.questions.saturating_add(1);
            delay
        };
        let lane = if delay < scene.policy.ask_slow { Lane::Quick } else { Lane::Slow };
        self.queue_ask(id, zone, Slot::at(lane, scene.now + delay));
    }

    /// Brings the next question forward.
    pub(super) fn ask_at_once(&mut self, scene: Scene<'_>, id: ZoneId, zone: &Zone) {
        self.queue_ask(id, zone, Slot::at(Lane::Quick, scene.now));
    }

    /// Sets the time of the next question; while one is outstanding, its end does that.
    pub(super) fn queue_ask(&mut self, id: ZoneId, zone: &Zone, slot: Slot) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if self.flights.has(Exchange::Ask, &zone.name) {
            return;
        }
        if let Some(old) = track.ask.replace(slot) {
            self.queue.remove(old, id);
        }
        self.queue.insert(slot, id);
    }

    /// Sets the place of the next NOTIFY; while one is outstanding, its end does that. A place
    /// among the changes is never lost to a later one.
    pub(super) fn queue_notify(&mut self, id: ZoneId, zone: &Zone, slot: Slot) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if self.flights.has(Exchange::Notify, &zone.name)
            || track.notify.is_some_and(|old| old.is_turn_before(slot))
        {
            return;
        }
        if let Some(old) = track.notify.replace(slot) {
            self.queue.remove(old, id);
        }
        self.queue.insert(slot, id);
    }

    /// Sets the time at which the zone is late, unless that of an earlier change stands.
    pub(super) fn arm(&mut self, scene: Scene<'_>, id: ZoneId) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.late_at.is_none() {
            let at = scene.now + scene.policy.late_after;
            track.late_at = Some(at);
            self.late.insert((at, id));
        }
    }

    /// Compares the last answer with the zone's serial.
    pub(super) fn restate(&mut self, id: ZoneId, zone: &Zone) -> State {
        let Some(track) = self.tracks.get_mut(&id) else { return State::Unknown };
        *self.counts.of(track.state) -= 1;
        track.state = State::of(track.answer, zone.serial);
        *self.counts.of(track.state) += 1;
        track.state
    }

    /// Begins all that is due and allowed.
    pub(super) fn settle(&mut self, scene: Scene<'_>, out: &mut Out) {
        if self.contact.outage.is_some() {
            self.probe(scene, out);
            return;
        }
        self.warn(scene, out);
        while self.flights.len() < scene.policy.outstanding_max {
            let background = self.flights.len() < scene.policy.background_max();
            let next = self.queue.pop(scene.now, background, scene.policy.round_gap);
            let Some((slot, id)) = next else { break };
            self.send(scene, slot.lane.exchange(), id, slot.turn(), out);
        }
    }

    fn probe(&mut self, scene: Scene<'_>, out: &mut Out) {
        let Some(outage) = self.contact.outage else { return };
        if !self.flights.is_empty() || scene.now < outage.probe_at {
            return;
        }
        let is_notify = self.probing.notify_next;
        self.probing.notify_next = !is_notify;
        if is_notify && let Some((slot, id)) = self.queue.pop_notify(scene.now) {
            self.send(scene, Exchange::Notify, id, slot.turn(), out);
            return;
        }
        let after = self.probing.cursor.map_or(Unbounded, Excluded);
        let next = self.tracks.range((after, Unbounded)).next().or_else(|| self.tracks.first_key_value());
        let Some((&id, track)) = next else { return };
        self.probing.cursor = Some(id);
        if let Some(slot) = track.ask {
            self.queue.remove(slot, id);
        }
        self.send(scene, Exchange::Ask, id, None, out);
    }

    /// Begins an exchange whose place in the queue has been taken out.
    fn send(&mut self, scene: Scene<'_>, exchange: Exchange, id: ZoneId, turn: Option<Slot>, out: &mut Out) {
        let (Some(zone), Some(track)) = (scene.zones.get(id), self.tracks.get_mut(&id)) else { return };
        let is_probe = self.contact.outage.is_some();
        let flight = Flight { serial: zone.serial, sent: scene.now, turn, is_probe };
        self.flights.of(exchange).insert(zone.name.clone(), flight);
        let (target, name) = (self.target.clone(), zone.name.clone());
        out.send(match exchange {
            Exchange::Notify => {
                track.notify = None;
                Output::Notify { target, zone: name, serial: zone.serial }
            }
            Exchange::Ask => {
                track.ask = None;
                Output::Ask { target, zone: name }
            }
        });
    }

    /// Tells which zones have become late.
    fn warn(&mut self, scene: Scene<'_>, out: &mut Out) {
        if scene.now < self.late_floor {
            return;
        }
        for _ in 0..LATE_MAX {
            let Some(&(at, id)) = self.late.first() else { return };
            if at > scene.now {
                return;
            }
            self.late.pop_first();
            let (Some(track), Some(zone)) = (self.tracks.get_mut(&id), scene.zones.get(id)) else { continue };
            track.late_at = None;
            let Some(since) = track.behind_since else { continue };
            let due = since + scene.policy.late_after;
            if due > scene.now {
                // It followed the change that set this time, and misses a later one.
                track.late_at = Some(due);
                self.late.insert((due, id));
                continue;
            }
            if !core::mem::replace(&mut track.was_late, true) {
                self.late_zones += 1;
            }
            let (target, zone) = (self.target.clone(), zone.name.clone());
            out.send(Output::Late { target, zone, behind: scene.now.since(since) });
        }
        self.late_floor = scene.now + LATE_PAUSE;
    }

    pub(super) fn deadline(&self, policy: &Policy) -> Option<Timestamp> {
        if let Some(outage) = &self.contact.outage {
            let may_probe = self.flights.is_empty() && !self.tracks.is_empty();
            return may_probe.then_some(outage.probe_at);
        }
        let late = self.late.first().map(|(at, _)| self.late_floor.max(*at));
        let outstanding = self.flights.len();
        let next = (outstanding < policy.outstanding_max)
            .then(|| self.queue.deadline(outstanding < policy.background_max()))
            .flatten();
        late.into_iter().chain(next).min()
    }
}
