//! Zones of others that this server holds copies of, and how they are kept.
//!
//! A *primary* is a name server that has a zone; a *copy* is what was taken from it. Each zone's own times
//! say when its primary is asked whether the copy is the zone still (REFRESH, RETRY), and when nothing is
//! answered from it any more (EXPIRE, RFC 1035 section 3.3.13); NOTIFY has it asked at once (RFC 1996).
//! Zones are named one by one, or listed by a catalogue of the primary's ([`members`]).
//!
//! What is promised:
//!
//! - A copy's serial only grows (RFC 1982), and a copy is replaced by a whole zone ([`copy`]) or not at all.
//! - While its primary answers, each zone comes to what the primary has.
//! - After EXPIRE without a word nothing is answered from a copy, also when that was before a start.
//! - Of each zone one exchange at most is under way, and of each primary no more than [`Policy`] says, one
//!   while it is silent. Primaries have nothing in common.
//! - What this server publishes itself is not followed as long as it is.
//!
//! A NOTIFY leads to a transfer and not to a question: the answer to "what changed since" is as short when
//! nothing did, so that a change is here one way there and back earlier. Who may ask for that is decided
//! where messages are known; whoever forges the address of a primary costs one exchange at a time.
//!
//! Copies are given on to name servers that follow this one and ask, and nobody is told of them: whose zone
//! it is tells those that follow it, and while that one is gone there is nothing to tell. So two systems
//! that hold copies of each other's zones send no NOTIFY in a circle, and no serial comes from anywhere but
//! the zone's own system.
//!
//! What it is not: it opens no connection, reads no record and knows no address.

mod beside;
pub mod copy;
mod event;
pub mod intake;
pub mod members;
mod policy;
mod source;
mod standing;
pub mod stream;
mod track;
pub mod wire;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use switchback_machine::{Machine, Outbox, Timestamp};

pub use self::beside::served;
pub use self::event::{Change, Held, Input, Outcome, Output, Primary, Reason};
use self::members::{Label, Members};
pub use self::policy::{PRIMARIES_MAX, Policy, Times, ZONES_MAX};
pub use self::source::Follow;
use self::source::Source;
pub use self::standing::{Standing, Summary};
use self::track::{Age, Copy, News, Phase, Task, Track};
use super::contact::Target;
use super::name::Name;
use super::zone::Serial;

type Out = Outbox<Copies>;

/// See the module.
#[derive(Debug)]
pub struct Copies {
    policy: Policy,
    /// The primaries' names, and what is known of each.
    targets: Vec<Target>,
    sources: Vec<Source>,
    zones: BTreeMap<Name, Track>,
    published: BTreeSet<Name>,
    /// Copies to let go of.
    forgotten: Vec<Name>,
    dues: BTreeSet<(Timestamp, Name)>,
    alarms: BTreeSet<(Timestamp, Name)>,
    turns: u64,
    /// Counts the changes of what is followed.
    generation: u64,
}

impl Copies {
    /// What is followed of primaries, with what is held already and what the catalogues that are held
    /// list. The first tick, which is due, forgets the copies of what is followed no more.
    #[must_use]
    pub fn new(
        now: Timestamp,
        follow: Vec<(Target, Follow)>,
        mut held: BTreeMap<Name, Held>,
        listed: Vec<(Primary, Members)>,
        policy: Policy,
    ) -> Self {
        let (targets, follow): (Vec<_>, Vec<_>) = follow.into_iter().unzip();
        let mut copies = Self {
            policy: policy.bounded(),
            targets,
            sources: follow.into_iter().map(Source::new).collect(),
            zones: BTreeMap::new(),
            published: BTreeSet::new(),
            forgotten: Vec::new(),
            dues: BTreeSet::new(),
            alarms: BTreeSet::new(),
            turns: 0,
            generation: 1,
        };
        for (Primary(number), members) in listed {
            if let Some(source) = copies.sources.get_mut(number) {
                source.listed = members;
            }
        }
        let named = copies.sources.iter().flat_map(|source| {
            source.follow.zones.iter().chain(&source.follow.catalogue).chain(source.listed.keys()).cloned()
        });
        for zone in named.collect::<BTreeSet<_>>() {
            let copy = held.remove(&zone);
            copies.follow(now, &zone, copy);
        }
        copies.forgotten.extend(held.into_keys());
        copies
    }

    /// The primary with this name.
    #[must_use]
    pub fn primary(&self, target: &Target) -> Option<Primary> {
        self.targets.iter().position(|other| other == target).map(Primary)
    }

    /// Primaries that are silent, and since when.
    pub fn silent(&self) -> impl Iterator<Item = (&Target, Timestamp)> {
        let outages = self.sources.iter().map(|source| source.contact.outage);
        self.targets.iter().zip(outages).filter_map(|(target, outage)| Some((target, outage?.since)))
    }

    /// Another number whenever other zones are followed, or from other primaries.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The zones that are followed, and from whom.
    pub fn followed(&self) -> impl Iterator<Item = (&Name, Primary)> {
        self.zones.iter().map(|(zone, track)| (zone, track.primary))
    }

    /// From whom a zone is taken, if from anybody, and the label that it has in a catalogue.
    fn wanted(&self, zone: &Name) -> Option<(Primary, Option<Label>)> {
        let numbered = || (0..).map(Primary).zip(&self.sources);
        let named = numbered().find(|(_, source)| {
            source.follow.zones.contains(zone) || source.follow.catalogue.as_ref() == Some(zone)
        });
        if let Some((primary, _)) = named {
            return Some((primary, None));
        }
        numbered().find_map(|(primary, source)| Some((primary, Some(source.listed.get(zone)?.clone()))))
    }

    /// Follows the zone if it is wanted and is not followed yet. Says whether there is room for it.
    fn follow(&mut self, now: Timestamp, zone: &Name, held: Option<Held>) -> bool {
        let Some((primary, label)) = self.wanted(zone) else { return true };
        if self.zones.contains_key(zone) {
            return true;
        }
        if self.zones.len() >= ZONES_MAX {
            return false;
        }
        self.generation += 1;
        // Under another label it is another zone.
        let is_stale = held.as_ref().is_some_and(|held| held.label != label);
        if is_stale {
            self.forgotten.push(zone.clone());
        }
        let held = held.filter(|_| !is_stale);
        let copy = held.map(|held| {
            // A clock may have been set back.
            let word = held.word.min(now);
            Copy { serial: held.serial, times: held.times, word, kept: word, age: Age::Fresh }
        });
        let mut track = Track::new(primary, label, copy);
        track.is_published = self.published.contains(zone);
        self.zones.insert(zone.clone(), track);
        self.set_alarm(zone);
        self.set_due(zone, Some(now));
        true
    }

    /// As [`Copies::follow`], of a zone of which nothing is held.
    fn begin(&mut self, now: Timestamp, zone: &Name, out: &mut Out) {
        if !self.follow(now, zone, None) {
            out.send(Output::Full { zone: zone.clone() });
        }
    }

    fn forget(zone: Name, out: &mut Out) {
        out.changes.push(Change::Forget(zone.clone()));
        out.send(Output::Forget { zone });
    }

    /// Follows the zone no more, or from anew.
    fn leave(&mut self, now: Timestamp, zone: &Name, out: &mut Out) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        if track.is_busy() {
            track.is_leaving = true;
            return;
        }
        self.halt(zone);
        self.set_due(zone, None);
        let Some(track) = self.zones.remove(zone) else { return };
        if let Some(at) = track.alarm {
            self.alarms.remove(&(at, zone.clone()));
        }
        self.generation += 1;
        Self::forget(zone.clone(), out);
        self.begin(now, zone, out);
    }

    fn set_due(&mut self, zone: &Name, due: Option<Timestamp>) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        let due = due.filter(|_| !track.is_published);
        let before = core::mem::replace(&mut track.due, due);
        if let Some(at) = before {
            self.dues.remove(&(at, zone.clone()));
        }
        if let Some(at) = due {
            self.dues.insert((at, zone.clone()));
        }
    }

    fn set_alarm(&mut self, zone: &Name) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        let alarm = track.copy.and_then(|copy| copy.alarm()).filter(|_| !track.is_published);
        let before = core::mem::replace(&mut track.alarm, alarm);
        if let Some(at) = before {
            self.alarms.remove(&(at, zone.clone()));
        }
        if let Some(at) = alarm {
            self.alarms.insert((at, zone.clone()));
        }
    }

    /// Lets the zone wait for its turn.
    fn queue(&mut self, zone: &Name, task: Task) {
        self.halt(zone);
        self.set_due(zone, None);
        let Some(track) = self.zones.get_mut(zone).filter(|track| !track.is_published) else { return };
        let Some(source) = self.sources.get_mut(track.primary.0) else { return };
        self.turns += 1;
        track.phase = Phase::Waiting(task, self.turns);
        source.wait(task, self.turns, zone.clone());
    }

    /// Lets it wait no more.
    fn halt(&mut self, zone: &Name) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        if let Phase::Waiting(task, turn) = track.phase {
            track.phase = Phase::Idle;
            if let Some(source) = self.sources.get_mut(track.primary.0) {
                source.give_up(task, turn);
            }
        }
    }

    fn notified(&mut self, now: Timestamp, zone: &Name, serial: Option<Serial>) {
        let Some(track) = self.zones.get_mut(zone).filter(|track| !track.is_leaving) else { return };
        if let Some(source) = self.sources.get_mut(track.primary.0) {
            source.contact.probe_now(now);
        }
        let is_expired = track.copy.is_some_and(|copy| copy.age == Age::Expired);
        if serial.is_some_and(|serial| !track.is_news(serial)) && !is_expired {
            return;
        }
        match track.phase {
            Phase::Busy(_) => track.news = serial.map_or(News::Unknown, News::Serial),
            Phase::Idle | Phase::Waiting(Task::Ask, _) => self.queue(zone, Task::Transfer),
            Phase::Waiting(Task::Transfer, _) => {}
        }
    }

    /// An exchange about the zone has ended, in which its primary was heard or was not. Whether anybody is
    /// still interested in what it said.
    fn ended(&mut self, now: Timestamp, zone: &Name, task: Task, is_silence: bool, out: &mut Out) -> bool {
        let Some(track) = self.zones.get_mut(zone) else { return false };
        if track.phase != Phase::Busy(task) {
            return false;
        }
        track.phase = Phase::Idle;
        let (primary, is_leaving) = (track.primary, track.is_leaving);
        track.is_leaving = false;
        if let Some(source) = self.sources.get_mut(primary.0) {
            source.end(task);
            if is_silence {
                if source.miss(now, &self.policy) {
                    out.send(Output::Silent { primary });
                }
            } else if let Some(outage) = source.contact.hear(now) {
                out.send(Output::Heard { primary, after: now.since(outage.since) });
                self.rouse(now, primary);
            }
        }
        if is_leaving {
            self.leave(now, zone, out);
        }
        !is_leaving
    }

    /// The primary is back: what it missed to answer is asked again.
    fn rouse(&mut self, now: Timestamp, primary: Primary) {
        let silenced = self.zones.iter().filter(|(_, track)| {
            let is_silenced = track.trouble.as_ref().is_some_and(|(reason, _)| reason.is_silence());
            track.primary == primary && track.phase == Phase::Idle && is_silenced
        });
        let zones: Vec<_> = silenced.map(|(zone, _)| zone.clone()).collect();
        for zone in zones {
            self.set_due(&zone, Some(now));
        }
    }

    /// The primary says that the copy is the zone.
    fn confirmed(&mut self, now: Timestamp, zone: &Name, out: &mut Out) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        if track.trouble.take().is_some_and(|(reason, _)| !reason.is_silence()) {
            out.send(Output::Mended { zone: zone.clone() });
        }
        (track.failures, track.is_whole) = (0, false);
        let Some(copy) = track.copy.as_mut() else { return };
        copy.word = now;
        if core::mem::replace(&mut copy.age, Age::Fresh) == Age::Expired {
            out.send(Output::Serve { zone: zone.clone() });
        }
        if now.since(copy.kept) >= copy.times.grain() {
            copy.kept = now;
            out.changes.push(Change::Word { zone: zone.clone(), at: now });
        }
        let due = now + copy.times.refresh_of(zone.as_bytes());
        self.set_alarm(zone);
        self.set_due(zone, Some(due));
    }

    fn failed(&mut self, now: Timestamp, zone: &Name, reason: Reason, out: &mut Out) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        track.failures = track.failures.saturating_add(1);
        let is_known = track.trouble.as_ref().is_some_and(|(known, _)| *known == reason);
        // Of a primary that is silent one line says it all.
        if !is_known && !reason.is_silence() {
            out.send(Output::Troubled { zone: zone.clone(), reason: reason.clone() });
        }
        track.trouble = Some((reason, now));
        let due = now + track.retry_delay(&self.policy);
        self.set_due(zone, Some(due));
    }

    fn answered(&mut self, now: Timestamp, zone: &Name, answer: Result<Serial, Reason>, out: &mut Out) {
        let Some(track) = self.zones.get(zone) else { return };
        let held = track.copy.map(|copy| copy.serial);
        match (answer, held) {
            (Err(reason), _) => self.failed(now, zone, reason, out),
            (Ok(serial), Some(held)) if serial == held => self.confirmed(now, zone, out),
            (Ok(serial), _) if track.is_news(serial) => return self.queue(zone, Task::Transfer),
            (Ok(theirs), _) => self.failed(now, zone, Reason::Backwards { theirs }, out),
        }
        self.heed_news(zone);
    }

    fn transferred(&mut self, now: Timestamp, zone: &Name, outcome: Outcome, out: &mut Out) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        match outcome {
            Outcome::UpToDate if track.copy.is_some() => self.confirmed(now, zone, out),
            Outcome::Taken { serial, times } if track.is_news(serial) => {
                let age = track.copy.map_or(Age::Fresh, |copy| copy.age);
                track.copy = Some(Copy { serial, times, word: now, kept: now, age });
                self.confirmed(now, zone, out);
            }
            Outcome::NoDifferences if !track.is_whole && track.copy.is_some() => {
                track.is_whole = true;
                return self.queue(zone, Task::Transfer);
            }
            Outcome::UpToDate | Outcome::Taken { .. } | Outcome::NoDifferences => {
                let reason = Reason::Unfit("the primary answers with something else than was asked".into());
                self.failed(now, zone, reason, out);
            }
            Outcome::Failed(reason) => self.failed(now, zone, reason, out),
        }
        self.heed_news(zone);
    }

    /// What the primary said meanwhile, if the exchange has not brought it.
    fn heed_news(&mut self, zone: &Name) {
        let Some(track) = self.zones.get_mut(zone) else { return };
        let is_news = match core::mem::replace(&mut track.news, News::None) {
            News::None => false,
            News::Serial(serial) => track.is_news(serial),
            News::Unknown => true,
        };
        if is_news && track.phase == Phase::Idle {
            self.queue(zone, Task::Transfer);
        }
    }

    fn listed(&mut self, now: Timestamp, Primary(number): Primary, members: Members, out: &mut Out) {
        let Some(source) = self.sources.get_mut(number) else { return };
        let before = core::mem::replace(&mut source.listed, members);
        let mut touched: BTreeSet<Name> = BTreeSet::new();
        let other = |one: &Members, other: &Members| -> Vec<Name> {
            let differs = |(zone, label): &(&Name, &Label)| other.get(*zone) != Some(*label);
            one.iter().filter(differs).map(|(zone, _)| zone.clone()).collect()
        };
        touched.extend(other(&before, &source.listed));
        touched.extend(other(&source.listed, &before));
        for zone in touched {
            let is = self.zones.get(&zone).map(|track| (track.primary, track.label.clone()));
            if is.is_some() && is != self.wanted(&zone) {
                self.leave(now, &zone, out);
            } else {
                self.begin(now, &zone, out);
            }
        }
    }

    fn publish(&mut self, now: Timestamp, begun: Vec<Name>, ended: Vec<Name>) {
        for zone in ended {
            self.published.remove(&zone);
            let Some(track) = self.zones.get_mut(&zone) else { continue };
            track.is_published = false;
            if track.phase == Phase::Idle {
                self.set_due(&zone, Some(now));
            }
            self.set_alarm(&zone);
        }
        for zone in begun {
            self.halt(&zone);
            if let Some(track) = self.zones.get_mut(&zone) {
                track.is_published = true;
            }
            self.set_due(&zone, None);
            self.set_alarm(&zone);
            self.published.insert(zone);
        }
    }

    /// Has what is due wait, and begins whose turn it is.
    fn settle(&mut self, now: Timestamp, out: &mut Out) {
        for zone in core::mem::take(&mut self.forgotten) {
            Self::forget(zone, out);
        }
        while let Some((at, zone)) = self.dues.first().cloned().filter(|(at, _)| *at <= now) {
            self.dues.remove(&(at, zone.clone()));
            let Some(track) = self.zones.get_mut(&zone) else { continue };
            track.due = None;
            // Nothing to compare a serial with.
            let task = if track.copy.is_none() { Task::Transfer } else { Task::Ask };
            self.queue(&zone, task);
        }
        for (number, source) in self.sources.iter_mut().enumerate() {
            while let Some((task, zone)) = source.next(now, &self.policy) {
                let Some(track) = self.zones.get_mut(&zone) else { continue };
                track.phase = Phase::Busy(task);
                let primary = Primary(number);
                out.send(match task {
                    Task::Ask => Output::Ask { primary, zone },
                    Task::Transfer => Output::Transfer {
                        primary,
                        held: track.copy.map(|copy| copy.serial),
                        is_whole: track.is_whole || track.copy.is_none(),
                        label: track.label.clone(),
                        zone,
                    },
                });
            }
        }
    }

    fn ring(&mut self, now: Timestamp, out: &mut Out) {
        while let Some((_, zone)) = self.alarms.first().cloned().filter(|(at, _)| *at <= now) {
            let Some(track) = self.zones.get_mut(&zone) else { break };
            if let Some(copy) = track.copy.as_mut() {
                let end = copy.word + copy.times.expire;
                if end <= now {
                    copy.age = Age::Expired;
                    out.send(Output::Expire { zone: zone.clone() });
                } else {
                    copy.age = Age::Warned;
                    out.send(Output::Expiring { zone: zone.clone(), within: end.since(now) });
                }
            }
            self.set_alarm(&zone);
        }
    }
}

impl Machine for Copies {
    type Input = Input;
    type Change = Change;
    type Output = Output;

    fn step(&mut self, now: Timestamp, input: Input, out: &mut Out) {
        match input {
            Input::Notified { zone, serial } => self.notified(now, &zone, serial),
            Input::Answered { zone, serial } => {
                let is_silence = serial.as_ref().is_err_and(Reason::is_silence);
                if self.ended(now, &zone, Task::Ask, is_silence, out) {
                    self.answered(now, &zone, serial, out);
                }
            }
            Input::Transferred { zone, outcome } => {
                let is_silence = matches!(&outcome, Outcome::Failed(reason) if reason.is_silence());
                if self.ended(now, &zone, Task::Transfer, is_silence, out) {
                    self.transferred(now, &zone, outcome, out);
                }
            }
            Input::Listed { primary, members } => self.listed(now, primary, members, out),
            Input::Published { begun, ended } => self.publish(now, begun, ended),
        }
        self.settle(now, out);
    }

    fn tick(&mut self, now: Timestamp, out: &mut Out) {
        self.ring(now, out);
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, Name)>| set.first().map(|(at, _)| *at);
        let at_once = (!self.forgotten.is_empty()).then_some(Timestamp(0));
        let probes = self.sources.iter().filter_map(Source::deadline).chain(at_once);
        probes.chain(first(&self.dues)).chain(first(&self.alarms)).min()
    }
}
