//! One target: which tenants get their exchanges when, and what comes back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use switchback_machine::Timestamp;

use super::Out;
use super::backlog::Backlog;
use super::event::{Change, Exchange, Found, Output, Trouble, Verdict};
use super::policy::{NAMES_MAX, Policy};
use super::track::{Next, Seen, Track};
use super::view::{Counts, LastChange, Standing, State, Summary};
use super::wish::Wish;
use crate::core::contact::{Contact, Missed, Overdue, Target};
use crate::core::name::Name;

/// What a target's step looks at.
pub(super) struct Scene<'a> {
    pub(super) now: Timestamp,
    pub(super) policy: &'a Policy,
    /// This system's domain.
    pub(super) system: &'a Name,
    pub(super) exchange: &'a mut Exchange,
    pub(super) batch: u64,
}

/// How urgent an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Something is missing at the target.
    Urgent,
    /// In case that somebody else has changed something.
    Round,
}

/// A place in a lane.
pub(super) type Slot = (Lane, Timestamp);

/// An exchange that waits for its end.
#[derive(Debug)]
struct Flight {
    name: Name,
    sent: Timestamp,
    is_probe: bool,
    /// What is at the fence once it was carried out; `None` for a question.
    leaves: Option<Vec<crate::core::record::Rdata>>,
}

#[derive(Debug)]
pub(super) struct Updater {
    pub(super) target: Target,
    zone: Name,
    tracks: BTreeMap<Name, Track>,
    flights: BTreeMap<Exchange, Flight>,
    urgent: BTreeSet<(Timestamp, Name)>,
    round: BTreeSet<(Timestamp, Name)>,
    /// When the next question of the round may leave.
    round_at: Timestamp,
    contact: Contact,
    backlog: Backlog,
    /// What was told last of why it will not, unless something was done since.
    told: Option<Trouble>,
}

/// What is wished.
impl Updater {
    pub(super) fn new(target: Target, zone: Name) -> Self {
        Self {
            target,
            zone,
            tracks: BTreeMap::new(),
            flights: BTreeMap::new(),
            urgent: BTreeSet::new(),
            round: BTreeSet::new(),
            round_at: Timestamp(0),
            contact: Contact::default(),
            backlog: Backlog::default(),
            told: None,
        }
    }

    /// Something may stand there since an earlier run.
    pub(super) fn remember(&mut self, name: Name) {
        self.tracks.insert(name, Track::new(true));
    }

    pub(super) fn publish(&mut self, scene: &Scene<'_>, name: &Name, wish: &Wish, out: &mut Out) {
        let is_put = matches!(wish, Wish::Put(_));
        if !self.tracks.contains_key(name) {
            // What was never put need not be kept or taken away.
            if !is_put || !name.is_within(&self.zone) {
                return;
            }
            if self.tracks.len() >= NAMES_MAX {
                out.send(Output::Full { target: self.target.clone(), name: name.clone() });
                return;
            }
            self.tracks.insert(name.clone(), Track::new(false));
        }
        let Some(track) = self.tracks.get_mut(name).filter(|track| track.wish != *wish) else { return };
        track.change(scene.now, wish.clone(), scene.batch);
        if *wish == Wish::Remove && !track.is_remembered {
            self.forget(name, out);
            return;
        }
        self.contact.probe_now(scene.now);
        match track.judge(name, scene.system) {
            Next::Left if *wish == Wish::LetGo => self.forget(name, out),
            // What was seen may be no longer true.
            Next::Rest(_) | Next::Gone | Next::Left => self.queue(name, Some((Lane::Urgent, scene.now))),
            Next::Idle | Next::Look | Next::Write { .. } => self.advance(scene, name, out),
        }
        self.recount(name);
    }

    fn forget(&mut self, name: &Name, out: &mut Out) {
        self.queue(name, None);
        let Some(track) = self.tracks.remove(name) else { return };
        self.backlog.shift(track.counted, None);
        if track.is_remembered {
            out.changes.push(Change::Forget(self.target.clone(), name.clone()));
        }
    }

    /// Puts the tenant into the backlog where it now belongs.
    fn recount(&mut self, name: &Name) {
        let Some(track) = self.tracks.get_mut(name) else { return };
        self.backlog.shift(mem::replace(&mut track.counted, track.behind_since), track.behind_since);
    }
}

/// What came back.
impl Updater {
    pub(super) fn looked(
        &mut self,
        scene: &Scene<'_>,
        exchange: Exchange,
        outcome: &Result<Found, Trouble>,
        out: &mut Out,
    ) {
        let Some(flight) = self.end(scene, exchange, outcome.as_ref().err().copied(), out) else { return };
        let Some(track) = self.tracks.get_mut(&flight.name) else { return };
        match outcome {
            Ok(found) => {
                track.answered_at = Some(scene.now);
                track.seen = Seen::All(found.clone());
                self.weigh(scene, &flight.name);
            }
            Err(trouble) => self.fail(scene, &flight, *trouble, out),
        }
        self.advance(scene, &flight.name, out);
        self.recount(&flight.name);
    }

    pub(super) fn updated(
        &mut self,
        scene: &Scene<'_>,
        exchange: Exchange,
        outcome: Result<Verdict, Trouble>,
        out: &mut Out,
    ) {
        let Some(mut flight) = self.end(scene, exchange, outcome.err(), out) else { return };
        let Some(track) = self.tracks.get_mut(&flight.name) else { return };
        match outcome {
            Ok(Verdict::Done) => {
                self.told = None;
                track.seen = Seen::Fence(flight.leaves.take().unwrap_or_default());
                // Something else may be wished by now.
                track.unseen = matches!(track.judge(&flight.name, scene.system), Next::Look).then_some(0);
            }
            Ok(Verdict::Overtaken) => {
                track.is_foreign = track.seems_foreign();
                track.seen = Seen::Nothing;
                // Whoever was faster is looked at without delay, the first time.
                let failures = track.failures;
                let delay = if failures == 0 { Default::default() } else { scene.policy.delay(failures) };
                track.fail(scene.now + delay, None);
            }
            Err(trouble) => {
                track.seen = Seen::Nothing;
                self.fail(scene, &flight, trouble, out);
            }
        }
        self.advance(scene, &flight.name, out);
        self.recount(&flight.name);
    }

    /// Takes the exchange from those that are outstanding.
    fn end(
        &mut self,
        scene: &Scene<'_>,
        exchange: Exchange,
        trouble: Option<Trouble>,
        out: &mut Out,
    ) -> Option<Flight> {
        let flight = self.flights.remove(&exchange)?;
        if trouble.is_some_and(Trouble::is_silence) {
            let Flight { sent, is_probe, .. } = flight;
            // Counted from the sending, so that the caller's time-out adds nothing.
            let missed = Missed { sent, is_probe, pause_from: sent };
            if let Some(since) = self.contact.miss(scene.now, missed, scene.policy.patience()) {
                out.send(Output::Unreachable { target: self.target.clone(), since });
            }
        } else if let Some(outage) = self.contact.hear(scene.now) {
            let after = scene.now.since(outage.since);
            out.send(Output::Reachable { target: self.target.clone(), after });
            self.resume(scene.now);
        }
        let track = self.tracks.get_mut(&flight.name)?;
        // A tenant that went and came again meanwhile has another one.
        track.flight.take_if(|current| *current == exchange).map(|_| flight)
    }

    /// What waits for its turn after failures has it now.
    fn resume(&mut self, now: Timestamp) {
        let waiting =
            self.tracks.iter_mut().filter(|(_, track)| matches!(track.due, Some((Lane::Urgent, _))));
        let names: Vec<_> = waiting
            .map(|(name, track)| {
                track.not_before = now;
                name.clone()
            })
            .collect();
        names.iter().for_each(|name| self.queue(name, Some((Lane::Urgent, now))));
    }

    fn fail(&mut self, scene: &Scene<'_>, flight: &Flight, trouble: Trouble, out: &mut Out) {
        let Some(track) = self.tracks.get_mut(&flight.name) else { return };
        // Counted from the sending, so that the caller's time-out adds nothing.
        let again = flight.sent + scene.policy.delay(track.failures.saturating_add(1));
        let is_new = !track.trouble.is_some_and(|before| before.is_like(trouble));
        track.fail(again.max(scene.now), Some(trouble));
        let is_told = self.told.is_some_and(|told| told.is_like(trouble));
        if !trouble.is_silence() && is_new && !is_told {
            self.told = Some(trouble);
            out.send(Output::Declined { target: self.target.clone(), name: flight.name.clone(), trouble });
        }
    }

    /// Whether an answer shows an update that was accepted. A target may answer from a cache for a
    /// moment, so that it is asked some times before the update counts as undone.
    fn weigh(&mut self, scene: &Scene<'_>, name: &Name) {
        let Some(track) = self.tracks.get_mut(name) else { return };
        let Some(looks) = track.unseen.take() else { return };
        match track.judge(name, scene.system) {
            Next::Rest(state) if state.is_settled() => {}
            Next::Gone | Next::Left => {}
            Next::Idle | Next::Look | Next::Write { .. } | Next::Rest(_) => {
                if looks < scene.policy.looks_max {
                    track.unseen = Some(looks + 1);
                    track.not_before = scene.now + scene.policy.look_delay(looks);
                } else {
                    let delay = scene.policy.delay(track.failures.saturating_add(1));
                    track.fail(scene.now + delay, None);
                }
            }
        }
    }

    /// Sets what is next, by what is wished and what was seen.
    fn advance(&mut self, scene: &Scene<'_>, name: &Name, out: &mut Out) {
        let Some(track) = self.tracks.get_mut(name).filter(|track| track.flight.is_none()) else { return };
        // A target that will not is asked in the order of a round: nothing waits behind that.
        let is_unwilling = track.trouble.is_some_and(|trouble| !trouble.is_silence());
        let lane = if is_unwilling { Lane::Round } else { Lane::Urgent };
        let urgent = Some((lane, track.not_before.max(scene.now)));
        let due = match track.judge(name, scene.system) {
            _ if track.unseen.is_some() => urgent,
            Next::Idle => None,
            Next::Look => urgent,
            Next::Write { put, .. } => {
                if put.is_some() {
                    track.behind_since.get_or_insert(scene.now);
                    track.state = State::Behind { theirs: track.served() };
                }
                urgent
            }
            Next::Rest(state) => {
                self.rest(scene, name, state, out);
                Some((Lane::Round, scene.now + scene.policy.round))
            }
            Next::Left if track.wish != Wish::Remove => return self.forget(name, out),
            away @ (Next::Gone | Next::Left) => match track.away_since {
                // By an answer of then, not by the lack of one.
                Some(since) if track.answered_at >= Some(since + scene.policy.linger) => {
                    return self.forget(name, out);
                }
                Some(since) => {
                    Some((Lane::Round, track.not_before.max(since + scene.policy.linger).max(scene.now)))
                }
                None => {
                    track.away_since = Some(scene.now);
                    (track.failures, track.trouble, track.behind_since) = (0, None, None);
                    let (target, name) = (self.target.clone(), name.clone());
                    out.send(match away {
                        Next::Left => Output::LeftAlone { target, name },
                        _ => Output::Removed { target, name },
                    });
                    Some((Lane::Round, scene.now + scene.policy.linger))
                }
            },
        };
        self.queue(name, due);
        self.warn(scene, name, out);
    }

    /// Nothing is to be written there.
    fn rest(&mut self, scene: &Scene<'_>, name: &Name, state: State, out: &mut Out) {
        let Some(track) = self.tracks.get_mut(name) else { return };
        (track.failures, track.trouble) = (0, None);
        let before = mem::replace(&mut track.state, state);
        let (target, name) = (self.target.clone(), name.clone());
        match &track.state {
            State::Converged => {
                let is_late = mem::take(&mut track.is_late);
                if let Some(since) = track.behind_since.take() {
                    let is_open = mem::take(&mut track.is_open);
                    let after = scene.now.since(if is_open { track.changed_at } else { since });
                    if is_open {
                        track.converged_after = Some(after);
                    }
                    out.send(Output::Followed { target, name, after, was_late: is_late });
                }
            }
            State::Overtaken { theirs } => {
                (track.is_open, track.behind_since, track.is_late) = (false, None, false);
                if !matches!(before, State::Overtaken { .. }) {
                    out.send(Output::Overtaken { target, name, fence: theirs.clone() });
                }
            }
            State::Unknown | State::Behind { .. } | State::Foreign | State::Differs | State::Leaving => {
                track.behind_since.get_or_insert(scene.now);
            }
        }
    }

    /// Every track that is behind is looked at again within [`Policy::again_max`] or
    /// [`Policy::round`], so that this needs no clock of its own.
    fn warn(&mut self, scene: &Scene<'_>, name: &Name, out: &mut Out) {
        let Some(track) = self.tracks.get_mut(name).filter(|track| !track.is_late) else { return };
        let Some(since) = track.behind_since.filter(|_| self.contact.outage.is_none()) else { return };
        let behind = scene.now.since(since);
        if behind >= scene.policy.late_after {
            track.is_late = true;
            let (target, name, trouble) = (self.target.clone(), name.clone(), track.trouble);
            out.send(Output::Late { target, name, behind, trouble });
        }
    }
}

/// What is sent.
impl Updater {
    /// Begins what is due, as far as the target may be asked.
    pub(super) fn settle(&mut self, scene: &mut Scene<'_>, out: &mut Out) {
        while let Some(name) = self.pop(scene) {
            self.begin(scene, name, out);
        }
    }

    fn pop(&mut self, scene: &Scene<'_>) -> Option<Name> {
        if self.contact.outage.is_some() {
            self.probe_at().filter(|at| *at <= scene.now)?;
            let first = self.urgent.pop_first().or_else(|| self.round.pop_first());
            return first.map(|(_, name)| name);
        }
        let is_due =
            |lane: &BTreeSet<(Timestamp, Name)>| lane.first().is_some_and(|(at, _)| *at <= scene.now);
        if self.flights.len() < scene.policy.outstanding_max && is_due(&self.urgent) {
            return self.urgent.pop_first().map(|(_, name)| name);
        }
        let may_round = self.flights.len() < scene.policy.background_max() && self.round_at <= scene.now;
        if may_round && is_due(&self.round) {
            self.round_at = scene.now + scene.policy.round_gap;
            return self.round.pop_first().map(|(_, name)| name);
        }
        None
    }

    /// When there is something to begin.
    pub(super) fn deadline(&self, policy: &Policy) -> Option<Timestamp> {
        if self.contact.outage.is_some() {
            return self.probe_at();
        }
        let first = |lane: &BTreeSet<(Timestamp, Name)>| lane.first().map(|(at, _)| *at);
        let urgent = first(&self.urgent).filter(|_| self.flights.len() < policy.outstanding_max);
        let round = first(&self.round).filter(|_| self.flights.len() < policy.background_max());
        urgent.into_iter().chain(round.map(|at| at.max(self.round_at))).min()
    }

    /// A silent target is asked one thing at a time.
    fn probe_at(&self) -> Option<Timestamp> {
        let is_idle = self.flights.is_empty() && !(self.urgent.is_empty() && self.round.is_empty());
        self.contact.outage.map(|outage| outage.probe_at).filter(|_| is_idle)
    }

    fn begin(&mut self, scene: &mut Scene<'_>, name: Name, out: &mut Out) {
        let Some(track) = self.tracks.get_mut(&name) else { return };
        track.due = None;
        scene.exchange.0 += 1;
        let exchange = *scene.exchange;
        track.flight = Some(exchange);
        let is_probe = self.contact.outage.is_some();
        let mut flight = Flight { name: name.clone(), sent: scene.now, is_probe, leaves: None };
        let target = self.target.clone();
        match track.judge(&name, scene.system) {
            Next::Write { demand, put } if track.unseen.is_none() => {
                if put.is_some() && !mem::replace(&mut track.is_remembered, true) {
                    out.changes.push(Change::Remember(target.clone(), name.clone()));
                }
                flight.leaves = Some(put.iter().map(|put| put.fence.clone()).collect());
                out.send(Output::Update { target, exchange, name, demand, put });
            }
            _ => out.send(Output::Look { target, exchange, name }),
        }
        self.flights.insert(exchange, flight);
    }

    fn queue(&mut self, name: &Name, due: Option<Slot>) {
        let Some(track) = self.tracks.get_mut(name).filter(|track| track.flight.is_none() || due.is_none())
        else {
            return;
        };
        if let Some((lane, at)) = mem::replace(&mut track.due, due) {
            self.lane(lane).remove(&(at, name.clone()));
        }
        if let Some((lane, at)) = due {
            self.lane(lane).insert((at, name.clone()));
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut BTreeSet<(Timestamp, Name)> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Round => &mut self.round,
        }
    }
}

/// What is shown.
impl Updater {
    pub(super) fn standing(&self, name: &Name) -> Option<Standing> {
        self.tracks.get(name).map(Track::standing)
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = (&Name, Standing)> {
        self.tracks.iter().map(|(name, track)| (name, track.standing()))
    }

    pub(super) fn overdue(&self, now: Timestamp, late_after: Duration) -> Option<Overdue> {
        self.contact.overdue(now, late_after, self.backlog.late(now, late_after))
    }

    /// By going through all tenants: it is asked for by people.
    pub(super) fn summary(&self, only: Option<&BTreeSet<Name>>) -> Summary {
        let is_meant = |name: &Name| only.is_none_or(|only| only.contains(name));
        let tracks = || self.tracks.iter().filter(|(name, _)| is_meant(name)).map(|(_, track)| track);
        let mut counts = Counts::default();
        tracks().for_each(|track| *counts.of(&track.state) += 1);
        let last = tracks().map(|track| track.batch).max().filter(|batch| *batch > 0);
        let last_change = last.map(|batch| {
            let changed = || tracks().filter(move |track| track.batch == batch);
            LastChange {
                at: changed().map(|track| track.changed_at).max().unwrap_or_default(),
                names: changed().count(),
                open: changed().filter(|track| track.is_open).count(),
                slowest: changed().filter_map(|track| track.converged_after).max(),
            }
        });
        Summary {
            counts,
            unreachable_since: self.contact.outage.map(|outage| outage.since),
            last_heard: self.contact.last_heard,
            outstanding: self.flights.len(),
            last_change,
        }
    }
}
