//! Whatever happens: two systems write one zone, whose server is a model of RFC 2136, over a network that
//! loses, doubles and delays, while they restart with what they knew.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use switchback_dns::core::follow::{Overdue, Target};
use switchback_dns::core::name::Name;
use switchback_dns::core::record::Rdata;
use switchback_dns::core::update::{
    Change, Exchange, Fence, Found, Input, Output, Policy, Put, Stands, State, Trouble, Updates, Verdict,
    Wish,
};
use switchback_dns::core::zone::Serial;
use switchback_machine::{Machine, Outbox, Timestamp};

use crate::script::{content, exchange, here, leads, name};

const DOMAINS: [&str; 2] = ["east.test", "west.test"];
const TENANTS: [&str; 3] = ["a.east.test", "b.east.test", "c.west.test"];
const TIME_OUT_MS: u64 = 1_500;
/// A signature is good for 300 s: what is later is refused.
const DELAY_MAX_MS: u64 = 290_000;

#[derive(Clone, Debug)]
enum Action {
    /// A system is given authority: a serial that is so much newer than any before.
    Move(usize, usize, u32),
    /// A system hears of what the other says.
    Hear(usize, usize),
    /// A system waits to be confirmed.
    Wait(usize, usize),
    /// A tenant goes from a system's record.
    Remove(usize, usize),
    /// A system starts again; what it had on record is what it says.
    Restart(usize),
    /// Somebody changes addresses in the zone.
    Edit(usize),
    /// Somebody takes all of a tenant out of the zone.
    Erase(usize),
    /// Percent of messages that are lost, and that are doubled.
    Weather(u8, u8),
    Run(u64),
}

/// Without what makes names go.
fn action() -> impl Strategy<Value = Action> {
    // All of them together are less than half the circle, beyond which there is no order.
    const LEAP: u32 = 1 << 25;
    let (system, tenant) = (0..2usize, 0..TENANTS.len());
    prop_oneof![
        6 => (system.clone(), tenant.clone(), prop_oneof![1u32..4, Just(LEAP)])
            .prop_map(|(system, tenant, by)| Action::Move(system, tenant, by)),
        4 => (system.clone(), tenant.clone()).prop_map(|(system, tenant)| Action::Hear(system, tenant)),
        1 => (system.clone(), tenant.clone()).prop_map(|(system, tenant)| Action::Wait(system, tenant)),
        2 => system.prop_map(Action::Restart),
        1 => tenant.prop_map(Action::Edit),
        2 => (0u8..80, 0u8..80).prop_map(|(lost, doubled)| Action::Weather(lost, doubled)),
        8 => prop_oneof![0u64..50, 0u64..3_000, 0u64..100_000].prop_map(Action::Run),
    ]
}

fn action_with_removals() -> impl Strategy<Value = Action> {
    let tenant = 0..TENANTS.len();
    prop_oneof![
        8 => action(),
        3 => (0..2usize, tenant.clone()).prop_map(|(system, tenant)| Action::Remove(system, tenant)),
        1 => tenant.prop_map(Action::Erase),
    ]
}

enum Event {
    /// A message of a system's life reaches the server.
    Arrive(usize, u32, Output),
    End(usize, u32, Input),
}

struct System {
    updates: Updates,
    /// Messages of an earlier life are still under way.
    life: u32,
    /// On its disk.
    put: BTreeSet<Name>,
    record: BTreeMap<Name, Serial>,
    /// What it said last, also of what went: serials go on where they were.
    said: BTreeMap<Name, Serial>,
    outstanding: BTreeSet<Exchange>,
}

struct World {
    systems: Vec<System>,
    server: BTreeMap<Name, Found>,
    /// The newest serial of each tenant.
    serials: BTreeMap<Name, u32>,
    now: u64,
    /// A generator of its own, so that a case is its inputs and nothing else.
    dice: u64,
    lost: u64,
    doubled: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
}

fn system(number: usize, put: &BTreeSet<Name>) -> Updates {
    let target = Target::new("corp");
    let remembered = put.iter().map(|name| (target.clone(), name.clone()));
    Updates::new(name(DOMAINS[number]), [(target.clone(), name("test"))], remembered, Policy::default())
}

fn tenant(number: usize) -> Name {
    name(TENANTS[number])
}

fn fence_of(fence: &[Rdata]) -> Option<Fence> {
    match Stands::of(fence) {
        Stands::Fence(fence) => Some(fence),
        Stands::Nothing => None,
        Stands::Foreign => panic!("only fences were put"),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let system = |number| System {
            updates: system(number, &BTreeSet::new()),
            life: 0,
            put: BTreeSet::new(),
            record: BTreeMap::new(),
            said: BTreeMap::new(),
            outstanding: BTreeSet::new(),
        };
        Self {
            systems: vec![system(0), system(1)],
            server: BTreeMap::new(),
            // They cross the end of the circle.
            serials: (0..TENANTS.len()).map(|number| (tenant(number), u32::MAX - 2)).collect(),
            now: 1_000,
            dice: seed | 1,
            lost: 0,
            doubled: 0,
            events: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Move(number, of, by) => {
                let serial = self.serials.get_mut(&tenant(of)).unwrap();
                *serial = serial.wrapping_add(by);
                let serial = Serial(*serial);
                self.say(number, of, serial);
            }
            Action::Hear(number, of) => {
                if let Some(serial) = self.systems[1 - number].record.get(&tenant(of)).copied() {
                    let known = self.systems[number].said.get(&tenant(of));
                    if known.is_none_or(|known| serial.is_newer_than(*known)) {
                        self.say(number, of, serial);
                    }
                }
            }
            Action::Wait(number, of) => {
                if self.systems[number].record.contains_key(&tenant(of)) {
                    self.publish(number, tenant(of), Wish::Wait);
                }
            }
            Action::Remove(number, of) => {
                self.systems[number].record.remove(&tenant(of));
                self.publish(number, tenant(of), Wish::Remove);
            }
            Action::Restart(number) => self.restart(number),
            Action::Edit(of) => {
                if let Some(found) = self.server.get_mut(&tenant(of)) {
                    found.tenant = here();
                }
            }
            Action::Erase(of) => drop(self.server.remove(&tenant(of))),
            Action::Weather(lost, doubled) => (self.lost, self.doubled) = (lost.into(), doubled.into()),
            Action::Run(time) => self.run(time),
        }
    }

    fn say(&mut self, number: usize, of: usize, serial: Serial) {
        self.systems[number].record.insert(tenant(of), serial);
        self.systems[number].said.insert(tenant(of), serial);
        self.publish(number, tenant(of), Wish::Put(content(serial.0)));
    }

    fn publish(&mut self, number: usize, tenant: Name, wish: Wish) {
        self.step(number, Input::Published(vec![(tenant, wish)]));
    }

    fn restart(&mut self, number: usize) {
        let old = &mut self.systems[number];
        old.updates = system(number, &old.put);
        old.life += 1;
        old.outstanding.clear();
        let wishes = old.record.iter().map(|(name, serial)| (name.clone(), Wish::Put(content(serial.0))));
        let gone = old.put.iter().filter(|name| !old.record.contains_key(*name));
        let wishes = wishes.chain(gone.map(|name| (name.clone(), Wish::Remove))).collect();
        self.step(number, Input::Published(wishes));
    }

    fn step(&mut self, number: usize, input: Input) {
        let mut outbox = Outbox::new();
        self.systems[number].updates.step(Timestamp(self.now), input, &mut outbox);
        self.count_late(number);
        self.take(number, outbox);
    }

    /// What is told of names that are late is what going through them all says.
    fn count_late(&self, number: usize) {
        let updates = &self.systems[number].updates;
        let (target, now) = (Target::new("corp"), Timestamp(self.now));
        let told = updates.overdue(now).next().map(|(_, overdue)| overdue);
        if updates.summary(&target, None).is_some_and(|summary| summary.unreachable_since.is_some()) {
            return;
        }
        let late_after = Policy::default().late_after;
        let is_late = |since: Timestamp| since + late_after <= now;
        let late = updates.standings(&target).filter(|(_, one)| one.behind_since.is_some_and(is_late));
        let zones = late.count();
        assert_eq!(told, (zones > 0).then_some(Overdue::Late { zones }));
    }

    fn take(&mut self, number: usize, outbox: Outbox<Updates>) {
        let system = &mut self.systems[number];
        for change in outbox.changes {
            match change {
                Change::Remember(_, name) => drop(system.put.insert(name)),
                Change::Forget(_, name) => drop(system.put.remove(&name)),
            }
        }
        for output in outbox.outputs {
            let Some(exchange) = exchange(&output) else { continue };
            let system = &mut self.systems[number];
            if let Output::Update { name, .. } = &output {
                assert!(system.put.contains(name), "it is on record before it leaves");
            }
            assert!(system.outstanding.insert(exchange), "none has the number of another");
            assert!(system.outstanding.len() <= 16);
            let life = system.life;
            self.schedule(TIME_OUT_MS, Event::End(number, life, end(&output, Err(Trouble::TimedOut))));
            if self.chance(self.doubled) {
                let late = self.roll(DELAY_MAX_MS);
                self.schedule(late, Event::Arrive(number, life, output.clone()));
            }
            if !self.chance(self.lost) {
                let delay = if self.chance(10) { self.roll(DELAY_MAX_MS) } else { self.roll(20) };
                self.schedule(delay, Event::Arrive(number, life, output));
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(number, life, output) => {
                let input = self.serve(number, &output);
                if !self.chance(self.lost) {
                    let delay = self.roll(20);
                    self.schedule(delay, Event::End(number, life, input));
                }
            }
            Event::End(number, life, input) => {
                let system = &mut self.systems[number];
                let (Input::Looked { exchange, .. } | Input::Updated { exchange, .. }) = &input else {
                    panic!("{input:?}");
                };
                if life == system.life && system.outstanding.remove(exchange) {
                    self.step(number, input);
                }
            }
        }
    }

    /// RFC 2136 section 3, as far as it is used; what must never happen is seen here.
    fn serve(&mut self, number: usize, output: &Output) -> Input {
        match output {
            Output::Look { target, exchange, name } => Input::Looked {
                target: target.clone(),
                exchange: *exchange,
                outcome: Ok(self.server.get(name).cloned().unwrap_or_default()),
            },
            Output::Update { target, exchange, name, demand, put } => {
                let before = self.server.get(name).cloned().unwrap_or_default();
                let mut verdict = Verdict::Overtaken;
                if *demand == before.fence {
                    verdict = Verdict::Done;
                    self.change(number, name, &before, put.as_ref());
                }
                Input::Updated { target: target.clone(), exchange: *exchange, outcome: Ok(verdict) }
            }
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, number: usize, name: &Name, before: &Found, put: Option<&Put>) {
        let before = fence_of(&before.fence);
        let Some(Put { fence, content }) = put else {
            let before = before.expect("what is not there is not taken away");
            assert_eq!(before.system.to_string(), DOMAINS[number], "only by whoever put it");
            self.server.remove(name);
            return;
        };
        let fence = vec![fence.clone()];
        let after = fence_of(&fence).unwrap();
        if let Some(before) = before {
            let goes_on = after.serial.is_newer_than(before.serial) || after.serial == before.serial;
            assert!(goes_on, "{name} went back from {before:?} to {after:?}");
        }
        assert_eq!(after.serial, content.serial);
        let leads = content.leads.clone();
        self.server.insert(name.clone(), Found { fence, wildcard: leads.clone(), tenant: leads });
    }

    fn run(&mut self, time: u64) {
        let until = self.now + time;
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let deadline =
                |number: usize| self.systems[number].updates.deadline().map(|at| at.0.max(self.now));
            let next = event.into_iter().chain(deadline(0)).chain(deadline(1)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            let due = (0..2).find(|number| deadline(*number) == Some(next));
            self.now = next;
            match due {
                _ if event == Some(next) => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.happen(event);
                }
                Some(number) => {
                    let mut outbox = Outbox::new();
                    let updates = &mut self.systems[number].updates;
                    updates.tick(Timestamp(self.now), &mut outbox);
                    assert!(updates.deadline().is_none_or(|at| at.0 > self.now));
                    self.take(number, outbox);
                }
                None => {}
            }
        }
        self.now = until;
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    /// What both systems wait for is wished again.
    fn confirm(&mut self) {
        for number in 0..2 {
            let wishes = self.systems[number].record.iter();
            let wishes = wishes.map(|(name, serial)| (name.clone(), Wish::Put(content(serial.0)))).collect();
            self.step(number, Input::Published(wishes));
        }
    }

    /// Each tenant stands there as the newest system says; the other knows that it is overtaken.
    fn is_settled(&self) -> bool {
        (0..TENANTS.len()).map(tenant).all(|tenant| {
            let wished: Vec<_> =
                self.systems.iter().filter_map(|system| system.record.get(&tenant)).collect();
            let Some(newest) = wished
                .iter()
                .copied()
                .copied()
                .reduce(|one, other| if other.is_newer_than(one) { other } else { one })
            else {
                return !self.server.contains_key(&tenant) || wished.is_empty();
            };
            let Some(found) = self.server.get(&tenant) else { return false };
            let stands = fence_of(&found.fence).is_some_and(|fence| fence.serial == newest)
                && found.tenant == leads(newest.0)
                && found.wildcard == leads(newest.0);
            let known = self.systems.iter().all(|system| {
                let Some(ours) = system.record.get(&tenant) else { return true };
                let state = system.updates.standing(&Target::new("corp"), &tenant).map(|seen| seen.state);
                match state {
                    Some(State::Converged) => *ours == newest,
                    Some(State::Overtaken { .. }) => *ours != newest,
                    _ => false,
                }
            });
            stands && known
        })
    }

    fn settle(&mut self, within_ms: u64) {
        (self.lost, self.doubled) = (20, 20);
        self.confirm();
        let begin = self.now;
        while !self.is_settled() {
            self.run(1_000);
            let shown: Vec<_> = self.systems.iter().map(|system| &system.record).collect();
            assert!(self.now < begin + within_ms, "{shown:?}\n{:?}", self.server);
        }
    }
}

fn end(output: &Output, failed: Result<(), Trouble>) -> Input {
    let trouble = failed.unwrap_err();
    match output.clone() {
        Output::Look { target, exchange, .. } => Input::Looked { target, exchange, outcome: Err(trouble) },
        Output::Update { target, exchange, .. } => Input::Updated { target, exchange, outcome: Err(trouble) },
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_serial_wins_and_no_name_ever_goes_back(
        seed in any::<u64>(),
        actions in prop::collection::vec(action(), 1..40),
    ) {
        let mut world = World::new(seed);
        for action in actions {
            world.perform(action);
        }
        world.settle(600_000);
        // What is still under way changes nothing any more.
        let server = world.server.clone();
        world.run(DELAY_MAX_MS);
        for (name, found) in &server {
            prop_assert_eq!(&world.server[name].tenant, &found.tenant);
        }
    }

    #[test]
    fn what_is_wished_stands_there_and_what_went_from_both_is_gone_and_forgotten(
        seed in any::<u64>(),
        actions in prop::collection::vec(action_with_removals(), 1..40),
    ) {
        let mut world = World::new(seed);
        for action in actions {
            world.perform(action);
        }
        world.settle(600_000);
        for of in 0..TENANTS.len() {
            world.perform(Action::Remove(0, of));
            world.perform(Action::Remove(1, of));
        }
        // A message that comes late is found when both look again.
        world.run(3 * DELAY_MAX_MS + 100_000);
        prop_assert_eq!(&world.server, &BTreeMap::new());
        for system in &world.systems {
            prop_assert_eq!(&system.put, &BTreeSet::new());
            prop_assert_eq!(system.updates.deadline(), None);
        }
    }
}
