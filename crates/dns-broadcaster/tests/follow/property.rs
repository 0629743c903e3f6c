//! Whatever happens: a small world of targets that lose messages, die, lag, are fed by others.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use switchback_dns::core::follow::{
    Counts, Exchange, Followers, Footprint, Input, Output, Policy, Reason, State, Target,
};
use switchback_dns::core::name::Name;
use switchback_dns::core::zone::Serial;
use switchback_machine::{Machine, Outbox, Timestamp};

use crate::script::name;

const TARGETS: usize = 3;
const ZONES: usize = 5;
const TIME_OUT_MS: u64 = 1_500;

#[derive(Clone, Debug)]
enum Action {
    /// These zones, by the bits of a number, get serials that are this much newer.
    Publish(u8, u32),
    Remove(usize),
    /// Nothing comes from it any more.
    Kill(usize),
    Revive(usize),
    /// Percent of messages that are lost, each way.
    Lose(usize, u8),
    /// Milliseconds from a NOTIFY to the end of the transfer.
    Lag(usize, u64),
    /// The other system feeds it a serial that is this much newer than its own.
    Feed(usize, usize, u32),
    /// It serves an older serial again.
    FallBack(usize, usize, u32),
    /// It is configured for the zone no more, or again.
    Configure(usize, usize, bool),
    Run(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let (target, zone) = (0..TARGETS, 0..ZONES);
    prop_oneof![
        6 => (1u8..32, prop_oneof![1u32..4, Just(1 << 30)]).prop_map(|(z, by)| Action::Publish(z, by)),
        1 => zone.clone().prop_map(Action::Remove),
        2 => target.clone().prop_map(Action::Kill),
        2 => target.clone().prop_map(Action::Revive),
        2 => (target.clone(), 0u8..90).prop_map(|(t, percent)| Action::Lose(t, percent)),
        2 => (target.clone(), 0u64..3_000).prop_map(|(t, lag)| Action::Lag(t, lag)),
        1 => (target.clone(), zone.clone(), 1u32..9).prop_map(|(t, z, by)| Action::Feed(t, z, by)),
        1 => (target.clone(), zone.clone(), 1u32..9).prop_map(|(t, z, by)| Action::FallBack(t, z, by)),
        1 => (target, zone, any::<bool>()).prop_map(|(t, z, on)| Action::Configure(t, z, on)),
        8 => prop_oneof![0u64..50, 0u64..3_000, 0u64..100_000].prop_map(Action::Run),
    ]
}

#[derive(Clone)]
struct Model {
    alive: bool,
    loss: u8,
    lag: u64,
    configured: BTreeSet<Name>,
    serves: BTreeMap<Name, Serial>,
}

#[derive(Clone)]
enum Event {
    /// A message reaches the target.
    Arrive(usize, Name, Exchange),
    /// The target has transferred the zone.
    Transfer(usize, Name),
    /// The exchange ends here.
    End(Input),
}

struct World {
    followers: Followers,
    limit: usize,
    now: u64,
    /// A generator of its own, so that a case is its inputs and nothing else.
    dice: u64,
    models: Vec<Model>,
    published: BTreeMap<Name, Serial>,
    /// Serials go on where they were when a zone comes again.
    serials: BTreeMap<Name, Serial>,
    /// What each target said last about each zone that is published.
    answers: BTreeMap<(usize, Name), Option<Serial>>,
    outstanding: Vec<BTreeSet<(Name, Exchange)>>,
    /// Warnings about a zone that may still come: one for each change or falling back.
    warnings: BTreeMap<(usize, Name), u32>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
}

fn target(number: usize) -> Target {
    Target::new(["bind", "knot", "nsd"][number])
}

fn number(target: &Target) -> usize {
    ["bind", "knot", "nsd"].iter().position(|known| *known == target.as_str()).unwrap()
}

fn zone(number: usize) -> Name {
    name(&format!("z{number}"))
}

impl World {
    fn new(limit: usize, seed: u64) -> Self {
        let policy = Policy { outstanding_max: limit, ..Policy::default() };
        let model = Model {
            alive: true,
            loss: 0,
            lag: 3,
            configured: (0..ZONES).map(zone).collect(),
            serves: BTreeMap::new(),
        };
        Self {
            followers: Followers::new((0..TARGETS).map(target), policy).unwrap(),
            limit,
            now: 1_000,
            dice: seed | 1,
            models: vec![model; TARGETS],
            published: BTreeMap::new(),
            serials: (0..ZONES).map(|number| (zone(number), Serial(u32::MAX - 5))).collect(),
            answers: BTreeMap::new(),
            outstanding: vec![BTreeSet::new(); TARGETS],
            warnings: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Publish(bits, by) => {
                let zones: Vec<_> = (0..ZONES).filter(|number| bits & (1 << number) != 0).map(zone).collect();
                self.publish(zones, by);
            }
            Action::Remove(number) => self.remove(&[zone(number)]),
            Action::Kill(target) => self.models[target].alive = false,
            Action::Revive(target) => self.models[target].alive = true,
            Action::Lose(target, percent) => self.models[target].loss = percent,
            Action::Lag(target, lag) => self.models[target].lag = lag,
            Action::Feed(target, number, by) => {
                if let Some(serial) = self.models[target].serves.get_mut(&zone(number)) {
                    serial.0 = serial.0.wrapping_add(by);
                }
            }
            Action::FallBack(target, number, by) => {
                if let Some(serial) = self.models[target].serves.get_mut(&zone(number)) {
                    serial.0 = serial.0.wrapping_sub(by);
                }
            }
            Action::Configure(target, number, true) => {
                self.models[target].configured.insert(zone(number));
            }
            Action::Configure(target, number, false) => {
                self.models[target].configured.remove(&zone(number));
                self.models[target].serves.remove(&zone(number));
            }
            Action::Run(duration) => self.run(duration),
        }
    }

    fn publish(&mut self, zones: Vec<Name>, by: u32) {
        let mut changed = Vec::new();
        for zone in zones {
            let serial = self.serials.get_mut(&zone).unwrap();
            serial.0 = serial.0.wrapping_add(by);
            changed.push((zone.clone(), *serial));
            self.published.insert(zone.clone(), *serial);
            for target in 0..TARGETS {
                *self.warnings.entry((target, zone.clone())).or_default() += 1;
            }
        }
        self.step(Input::Published { changed, removed: vec![] });
    }

    fn remove(&mut self, zones: &[Name]) {
        for zone in zones {
            self.published.remove(zone);
            self.answers.retain(|(_, name), _| name != zone);
        }
        self.step(Input::Published { changed: vec![], removed: zones.to_vec() });
    }

    fn run(&mut self, duration: u64) {
        let until = self.now + duration;
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.followers.deadline().map(|at| at.0.max(self.now));
            let Some(next) = event.into_iter().chain(deadline).min().filter(|next| *next <= until) else {
                break;
            };
            self.now = next;
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            } else {
                let mut outbox = Outbox::new();
                self.followers.tick(Timestamp(self.now), &mut outbox);
                self.take(outbox.outputs);
                assert!(self.followers.deadline().is_none_or(|at| at.0 > self.now));
                self.check();
            }
        }
        self.now = until;
    }

    fn step(&mut self, input: Input) {
        let mut outbox = Outbox::new();
        self.followers.step(Timestamp(self.now), input, &mut outbox);
        self.take(outbox.outputs);
        self.check();
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    fn is_lost(&mut self, target: usize) -> bool {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        !self.models[target].alive || (self.dice >> 33) % 100 < u64::from(self.models[target].loss)
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Notify { target, zone, serial } => {
                    assert_eq!(self.published.get(&zone), Some(&serial), "never an old serial");
                    self.send(number(&target), zone, Exchange::Notify);
                }
                Output::Ask { target, zone } => self.send(number(&target), zone, Exchange::Ask),
                Output::Late { target, zone, behind } => {
                    let state = self.followers.standing(&target, &zone).unwrap().state;
                    assert!(!state.is_followed() && behind >= Policy::default().late_after);
                    let warnings = self.warnings.get_mut(&(number(&target), zone)).unwrap();
                    *warnings = warnings.checked_sub(1).expect("late once per change");
                }
                Output::Followed { target, zone, .. } => {
                    assert_eq!(self.followers.standing(&target, &zone).unwrap().state, State::Converged);
                }
                Output::Overtaken { target, zone, .. } => {
                    let state = self.followers.standing(&target, &zone).unwrap().state;
                    assert!(matches!(state, State::Ahead { .. }));
                }
                Output::Unreachable { .. } | Output::Reachable { .. } => {}
            }
        }
    }

    fn send(&mut self, to: usize, zone: Name, exchange: Exchange) {
        assert!(self.outstanding[to].insert((zone.clone(), exchange)), "one of a kind at a time");
        if self.followers.summary(&target(to)).unwrap().unreachable_since.is_none() {
            assert!(self.outstanding[to].len() <= self.limit);
        } else {
            assert_eq!(self.outstanding[to].len(), 1, "a silent target costs one exchange");
        }
        if self.is_lost(to) {
            self.lose(to, zone, exchange);
        } else {
            self.schedule(1, Event::Arrive(to, zone, exchange));
        }
    }

    fn lose(&mut self, from: usize, zone: Name, exchange: Exchange) {
        let input = Input::ExchangeFailed { target: target(from), zone, exchange, reason: Reason::TimedOut };
        self.schedule(TIME_OUT_MS, Event::End(input));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(at, zone, exchange) => self.arrive(at, zone, exchange),
            Event::Transfer(at, zone) => self.transfer(at, zone),
            Event::End(input) => {
                let (from, zone, exchange) = match &input {
                    Input::NotifyAcknowledged { target, zone } | Input::NotifyRefused { target, zone } => {
                        (number(target), zone, Exchange::Notify)
                    }
                    Input::SoaAnswered { target, zone, serial } => {
                        self.hear(number(target), zone, *serial);
                        (number(target), zone, Exchange::Ask)
                    }
                    Input::ExchangeFailed { target, zone, exchange, .. } => (number(target), zone, *exchange),
                    Input::Published { .. } => unreachable!("it is no end"),
                };
                assert!(self.outstanding[from].remove(&(zone.clone(), exchange)));
                self.step(input);
            }
        }
    }

    /// The core is about to hear this answer.
    fn hear(&mut self, from: usize, zone: &Name, serial: Option<Serial>) {
        let Some(ours) = self.published.get(zone) else { return };
        let followed = |answer: Option<Serial>| {
            answer.is_some_and(|theirs| theirs == *ours || theirs.is_newer_than(*ours))
        };
        let before = self.answers.insert((from, zone.clone()), serial);
        if before.is_some_and(followed) && !followed(serial) {
            *self.warnings.entry((from, zone.clone())).or_default() += 1;
        }
    }

    fn arrive(&mut self, at: usize, zone: Name, exchange: Exchange) {
        let lag = self.models[at].lag;
        let is_configured = self.models[at].configured.contains(&zone);
        let input = match exchange {
            Exchange::Notify if is_configured => {
                self.schedule(lag, Event::Transfer(at, zone.clone()));
                Input::NotifyAcknowledged { target: target(at), zone: zone.clone() }
            }
            Exchange::Notify => Input::NotifyRefused { target: target(at), zone: zone.clone() },
            Exchange::Ask => {
                let serial = self.models[at].serves.get(&zone).copied();
                Input::SoaAnswered { target: target(at), zone: zone.clone(), serial }
            }
        };
        if self.is_lost(at) {
            self.lose(at, zone, exchange);
        } else {
            self.schedule(1, Event::End(input));
        }
    }

    /// As a secondary does it: what is not newer than what it serves is not taken.
    fn transfer(&mut self, at: usize, zone: Name) {
        let model = &mut self.models[at];
        let Some(&ours) = self.published.get(&zone) else { return };
        if !model.alive || !model.configured.contains(&zone) {
            return;
        }
        let theirs = model.serves.entry(zone).or_insert(ours);
        if ours.is_newer_than(*theirs) {
            *theirs = ours;
        }
    }

    /// What must be shown, by what was heard and is published.
    fn expected(&self, number: usize, zone: &Name, ours: Serial) -> State {
        match self.answers.get(&(number, zone.clone())) {
            None => State::Unknown,
            Some(None) => State::NotHeld,
            Some(Some(theirs)) if *theirs == ours => State::Converged,
            Some(Some(theirs)) if theirs.is_newer_than(ours) => State::Ahead { theirs: *theirs },
            Some(Some(theirs)) => State::Behind { theirs: *theirs, by: ours.0.wrapping_sub(theirs.0) },
        }
    }

    fn check(&self) {
        for number in 0..TARGETS {
            let target = target(number);
            let mut counts = Counts::default();
            for (zone, &ours) in &self.published {
                let standing = self.followers.standing(&target, zone).unwrap();
                assert_eq!(standing.state, self.expected(number, zone, ours));
                assert_eq!(standing.behind_since.is_none(), standing.state.is_followed());
                match standing.state {
                    State::Unknown => counts.unknown += 1,
                    State::Converged => counts.converged += 1,
                    State::Behind { .. } => counts.behind += 1,
                    State::Ahead { .. } => counts.ahead += 1,
                    State::NotHeld => counts.not_held += 1,
                }
            }
            let summary = self.followers.summary(&target).unwrap();
            assert_eq!(summary.counts, counts);
            let standings = self.published.keys().map(|zone| self.followers.standing(&target, zone).unwrap());
            let of_all = summary.of(standings);
            assert_eq!(of_all.counts, counts);
            assert!(of_all.last_change.is_none_or(|change| change.open <= change.zones));
            assert_eq!(summary.outstanding, self.outstanding[number].len());
            assert!(summary.last_change.is_none_or(|change| change.open <= change.zones));
        }
        let footprint = self.followers.footprint();
        assert_eq!(footprint.zones, self.published.len());
        assert_eq!(footprint.standings, TARGETS * self.published.len());
        assert!(footprint.queued <= 3 * footprint.standings);
    }

    /// The truth is shown: every target that is configured for a zone and not ahead serves it.
    fn is_settled(&self) -> bool {
        (0..TARGETS).all(|number| {
            self.published.iter().all(|(zone, &ours)| {
                let state = self.followers.standing(&target(number), zone).unwrap().state;
                match self.models[number].serves.get(zone) {
                    Some(theirs) if *theirs == ours => state == State::Converged,
                    Some(theirs) if theirs.is_newer_than(ours) => state == State::Ahead { theirs: *theirs },
                    // Half the circle away: no secondary follows.
                    Some(theirs) if ours.0.wrapping_sub(theirs.0) == 1 << 31 => !state.is_followed(),
                    Some(_) => false,
                    None => !self.models[number].configured.contains(zone) && state == State::NotHeld,
                }
            })
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_is_shown_was_heard_and_in_the_end_all_that_live_are_followed(
        limit in 1usize..6,
        seed in any::<u64>(),
        actions in prop::collection::vec(action(), 1..40),
    ) {
        let mut world = World::new(limit, seed);
        for action in actions {
            world.perform(action);
        }
        // The network stays bad.
        for model in &mut world.models {
            (model.alive, model.loss) = (true, 20);
        }
        let begin = world.now;
        while !world.is_settled() {
            world.run(1_000);
            // Those that refuse NOTIFYs are told again after 10 minutes.
            prop_assert!(world.now < begin + 1_800_000, "after half an hour somebody is not followed");
        }
        let zones: Vec<_> = world.published.keys().cloned().collect();
        world.remove(&zones);
        world.run(2 * TIME_OUT_MS + 10_000);
        prop_assert_eq!(world.followers.footprint(), Footprint::default());
        prop_assert_eq!(world.followers.deadline(), None);
    }

    #[test]
    fn a_target_that_stays_dead_is_shown_unreachable_and_the_others_converged(
        dead in 0..TARGETS,
        seed in any::<u64>(),
        bits in 1u8..32,
        changes in 1u64..20,
    ) {
        let mut world = World::new(16, seed);
        world.models[dead].alive = false;
        for _ in 0..changes {
            world.perform(Action::Publish(bits, 1));
            world.run(500);
        }
        world.run(10_000);
        for number in 0..TARGETS {
            let summary = world.followers.summary(&target(number)).unwrap();
            prop_assert_eq!(summary.unreachable_since.is_some(), number == dead);
            let shown = if number == dead { summary.counts.unknown } else { summary.counts.converged };
            prop_assert_eq!(shown, world.published.len());
        }
    }
}
