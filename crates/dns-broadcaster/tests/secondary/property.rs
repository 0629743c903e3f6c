//! Whatever happens: primaries that change, go back, die, lose messages, answer late; catalogues that list
//! and drop; a server that publishes some of it and starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use switchback_dns::core::contact::Target;
use switchback_dns::core::name::Name;
use switchback_dns::core::secondary::members::{Label, Members};
use switchback_dns::core::secondary::{
    Change, Copies, Follow, Held, Input, Outcome, Output, Policy, Primary, Reason, Times,
};
use switchback_dns::core::zone::Serial;
use switchback_machine::{Machine, Outbox, Timestamp};

use crate::name;

const PRIMARIES: usize = 2;
const ZONES: usize = 4;
const TIME_OUT_MS: u64 = 2_000;
/// So long a change may take to arrive at a server whose primary answers.
const LONG_MS: u64 = 200_000;

#[derive(Clone, Debug)]
enum Action {
    Change(usize, usize, u32),
    GoBack(usize, usize, u32),
    /// It does not serve the zone, or does again.
    Hold(usize, usize, bool),
    Alive(usize, bool),
    Lose(usize, u8),
    /// What changed cannot be had there.
    Differences(usize, bool),
    List(usize, u8, u8),
    Publish(usize, bool),
    Restart,
    Run(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let (primary, zone) = (0..PRIMARIES, 0..ZONES);
    let pair = (primary.clone(), zone.clone());
    prop_oneof![
        6 => (pair.clone(), 1..9_u32).prop_map(|((p, z), by)| Action::Change(p, z, by)),
        1 => (pair.clone(), 1..9_u32).prop_map(|((p, z), by)| Action::GoBack(p, z, by)),
        1 => (pair, any::<bool>()).prop_map(|((p, z), on)| Action::Hold(p, z, on)),
        3 => (primary.clone(), any::<bool>()).prop_map(|(p, on)| Action::Alive(p, on)),
        2 => (primary.clone(), 0..80_u8).prop_map(|(p, percent)| Action::Lose(p, percent)),
        1 => (primary.clone(), any::<bool>()).prop_map(|(p, on)| Action::Differences(p, on)),
        2 => (primary, 0..16_u8, 0..3_u8).prop_map(|(p, bits, label)| Action::List(p, bits, label)),
        1 => (zone, any::<bool>()).prop_map(|(z, on)| Action::Publish(z, on)),
        1 => Just(Action::Restart),
        6 => prop_oneof![0..50_u64, 0..5_000_u64, 0..200_000_u64].prop_map(Action::Run),
    ]
}

#[derive(Clone, Default)]
struct Model {
    is_alive: bool,
    loss: u8,
    differences: bool,
    serials: BTreeMap<Name, Serial>,
    holds: BTreeSet<Name>,
    listed: Members,
}

/// What is on the disk and what is answered.
#[derive(Clone, Debug)]
struct Copy {
    held: Held,
    is_served: bool,
}

enum Event {
    End(Input),
    Land { zone: Name, serial: Serial, label: Option<Label>, listed: Members },
    Notify(Name, Serial),
}

struct World {
    copies: Copies,
    now: u64,
    dice: u64,
    primaries: Vec<Model>,
    disk: BTreeMap<Name, Copy>,
    /// When the primary of what is held last said so.
    words: BTreeMap<Name, u64>,
    /// What the catalogues on the disk list.
    kept: Vec<Members>,
    published: BTreeSet<Name>,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    /// Exchanges of each zone under way.
    busy: BTreeSet<Name>,
    exchanges: u64,
    limit: usize,
}

fn zone(number: usize) -> Name {
    name(&format!("z{number}.test"))
}

fn times() -> Times {
    let seconds = Duration::from_secs;
    Times { refresh: seconds(20), retry: seconds(5), expire: seconds(90) }
}

/// Zones 0 and 1 by name, of each primary one; the others by catalogue.
fn follow() -> Vec<(Target, Follow)> {
    let of = |number| Follow { zones: [zone(number)].into(), catalogue: Some(catalogue(number)) };
    (0..PRIMARIES).map(|number| (Target::new(["one", "two"][number]), of(number))).collect()
}

impl World {
    fn new(seed: u64, limit: usize) -> Self {
        let all = (0..ZONES).map(zone).chain((0..PRIMARIES).map(catalogue));
        let all: Vec<Name> = all.collect();
        let primary = Model {
            is_alive: true,
            loss: 0,
            differences: true,
            serials: all.iter().map(|zone| (zone.clone(), Serial(u32::MAX - 3))).collect(),
            holds: all.iter().cloned().collect(),
            listed: Members::new(),
        };
        let copies = Copies::new(Timestamp(1_000), follow(), BTreeMap::new(), Vec::new(), policy(limit));
        let mut world = Self {
            copies,
            now: 1_000,
            dice: seed | 1,
            primaries: vec![primary; PRIMARIES],
            disk: BTreeMap::new(),
            words: BTreeMap::new(),
            kept: vec![Members::new(); PRIMARIES],
            published: BTreeSet::new(),
            events: BTreeMap::new(),
            sequence: 0,
            busy: BTreeSet::new(),
            exchanges: 0,
            limit,
        };
        world.tick();
        world
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    fn is_lost(&mut self, primary: usize) -> bool {
        let model = &self.primaries[primary];
        let (is_alive, loss) = (model.is_alive, u64::from(model.loss));
        !is_alive || self.roll(100) < loss
    }

    fn step(&mut self, input: Input) {
        let mut out = Outbox::new();
        self.copies.step(Timestamp(self.now), input, &mut out);
        self.perform(out);
    }

    fn tick(&mut self) {
        let mut out = Outbox::new();
        self.copies.tick(Timestamp(self.now), &mut out);
        self.perform(out);
    }

    fn perform(&mut self, out: Outbox<Copies>) {
        for change in out.changes {
            match change {
                Change::Word { zone, at } => {
                    if let Some(copy) = self.disk.get_mut(&zone) {
                        copy.held.word = at;
                    }
                }
                Change::Forget(zone) => {
                    self.disk.remove(&zone);
                    self.words.remove(&zone);
                }
            }
        }
        for output in out.outputs {
            match output {
                Output::Ask { primary, zone } => self.ask(primary.0, zone),
                Output::Transfer { primary, zone, held, is_whole, label } => {
                    self.transfer(primary.0, zone, held, is_whole, label);
                }
                Output::Expire { zone } => {
                    // After a start it may be earlier, by what was not written down.
                    assert!(self.now + 2_000 >= self.words[&zone] + 90_000, "{zone} expires too early");
                    self.disk.get_mut(&zone).unwrap().is_served = false;
                }
                Output::Serve { zone } => self.disk.get_mut(&zone).unwrap().is_served = true,
                Output::Forget { zone } => assert!(!self.disk.contains_key(&zone)),
                Output::Expiring { .. }
                | Output::Troubled { .. }
                | Output::Mended { .. }
                | Output::Silent { .. }
                | Output::Heard { .. }
                | Output::Full { .. } => {}
            }
        }
        let (outstanding, waiting) = self.copies.outstanding();
        assert!(outstanding <= 2 * self.limit * PRIMARIES && waiting <= ZONES + PRIMARIES);
        assert_eq!(outstanding, self.busy.len(), "one exchange of each zone");
    }

    fn ask(&mut self, primary: usize, zone: Name) {
        assert!(self.busy.insert(zone.clone()), "{zone} twice");
        self.exchanges += 1;
        let serial = if self.is_lost(primary) {
            Err(Reason::TimedOut)
        } else {
            let model = &self.primaries[primary];
            model.holds.contains(&zone).then(|| model.serials[&zone]).ok_or(Reason::NotHeld)
        };
        let after = if serial == Err(Reason::TimedOut) { TIME_OUT_MS } else { 1 + self.roll(40) };
        self.schedule(after, Event::End(Input::Answered { zone, serial }));
    }

    fn transfer(
        &mut self,
        primary: usize,
        zone: Name,
        held: Option<Serial>,
        is_whole: bool,
        label: Option<Label>,
    ) {
        assert!(self.busy.insert(zone.clone()), "{zone} twice");
        self.exchanges += 1;
        assert_eq!(held, self.disk.get(&zone).map(|copy| copy.held.serial), "what is held is known");
        let is_lost = self.is_lost(primary);
        let model = self.primaries[primary].clone();
        let serial = model.serials[&zone];
        let outcome = if is_lost {
            Outcome::Failed(Reason::Unreachable)
        } else if !model.holds.contains(&zone) {
            Outcome::Failed(Reason::NotHeld)
        } else if held == Some(serial) {
            Outcome::UpToDate
        } else if held.is_some_and(|held| !serial.is_newer_than(held)) {
            Outcome::Failed(Reason::Backwards { theirs: serial })
        } else if !is_whole && !model.differences {
            Outcome::NoDifferences
        } else {
            Outcome::Taken { serial, times: times() }
        };
        let after = if is_lost { TIME_OUT_MS } else { 1 + self.roll(400) };
        let event = match outcome {
            Outcome::Taken { serial, .. } => {
                let listed = model.listed;
                Event::Land { zone, serial, label, listed }
            }
            outcome => Event::End(Input::Transferred { zone, outcome }),
        };
        self.schedule(after, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Notify(zone, serial) => self.step(Input::Notified { zone, serial: Some(serial) }),
            Event::Land { zone, serial, label, listed } => {
                if let Some(before) = self.disk.get(&zone) {
                    assert!(serial.is_newer_than(before.held.serial), "{zone} goes back");
                }
                let held = Held { serial, times: times(), word: Timestamp(self.now), label };
                self.disk.insert(zone.clone(), Copy { held, is_served: true });
                self.words.insert(zone.clone(), self.now);
                let outcome = Outcome::Taken { serial, times: times() };
                self.busy.remove(&zone);
                self.step(Input::Transferred { zone: zone.clone(), outcome });
                if let Some(number) = (0..PRIMARIES).find(|number| zone == catalogue(*number)) {
                    self.kept[number] = listed.clone();
                    self.step(Input::Listed { primary: Primary(number), members: listed });
                }
            }
            Event::End(input) => {
                let (Input::Answered { zone, .. } | Input::Transferred { zone, .. }) = &input else { return };
                let held = self.disk.get(zone).map(|copy| copy.held.serial);
                let is_word = match &input {
                    Input::Answered { serial: Ok(serial), .. } => Some(*serial) == held,
                    Input::Transferred { outcome, .. } => *outcome == Outcome::UpToDate,
                    _ => false,
                };
                if is_word {
                    self.words.insert(zone.clone(), self.now);
                }
                self.busy.remove(zone);
                self.step(input);
            }
        }
    }

    fn change(&mut self, primary: usize, zone: &Name, by: u32) {
        let serial = self.primaries[primary].serials.get_mut(zone).unwrap();
        serial.0 = serial.0.wrapping_add(by);
        let serial = *serial;
        // A primary tells whoever it knows; this server heeds the one that it follows for the zone.
        let is_heeded = self.wanted().get(zone) == Some(&primary);
        if is_heeded && !self.is_lost(primary) {
            let after = 1 + self.roll(50);
            self.schedule(after, Event::Notify(zone.clone(), serial));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Change(primary, number, by) => self.change(primary, &zone(number), by),
            Action::GoBack(primary, number, by) => self.change(primary, &zone(number), by.wrapping_neg()),
            Action::Hold(primary, number, true) => _ = self.primaries[primary].holds.insert(zone(number)),
            Action::Hold(primary, number, false) => _ = self.primaries[primary].holds.remove(&zone(number)),
            Action::Alive(primary, is_alive) => self.primaries[primary].is_alive = is_alive,
            Action::Lose(primary, percent) => self.primaries[primary].loss = percent,
            Action::Differences(primary, on) => self.primaries[primary].differences = on,
            Action::List(primary, bits, label) => {
                let listed = (0..ZONES).filter(|number| bits >> number & 1 == 1);
                self.primaries[primary].listed =
                    listed.map(|number| (zone(number), Label(vec![label]))).collect();
                self.change(primary, &catalogue(primary), 1);
            }
            Action::Publish(number, is_published) => {
                let mut ended = Vec::new();
                let mut begun = Vec::new();
                if is_published && self.published.insert(zone(number)) {
                    begun.push(zone(number));
                } else if !is_published && self.published.remove(&zone(number)) {
                    ended.push(zone(number));
                }
                self.step(Input::Published { begun, ended });
            }
            Action::Restart => self.restart(),
            Action::Run(time) => self.run(time),
        }
    }

    fn restart(&mut self) {
        self.busy.clear();
        self.events.retain(|_, event| matches!(event, Event::Notify(..)));
        for copy in self.disk.values_mut() {
            copy.is_served = true;
        }
        let held = self.disk.iter().map(|(zone, copy)| (zone.clone(), copy.held.clone())).collect();
        let listed = self.kept.iter().cloned().enumerate();
        let listed = listed.map(|(number, members)| (Primary(number), members)).collect();
        self.copies = Copies::new(Timestamp(self.now), follow(), held, listed, policy(self.limit));
        self.tick();
        let begun = self.published.iter().cloned().collect();
        self.step(Input::Published { begun, ended: Vec::new() });
    }

    fn run(&mut self, time: u64) {
        let until = self.now + time;
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.copies.deadline().map(|at| at.0.max(self.now));
            let Some(next) = event.into_iter().chain(deadline).min().filter(|next| *next <= until) else {
                break;
            };
            self.now = next;
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            } else {
                self.tick();
                assert!(self.copies.deadline().is_none_or(|at| at.0 > self.now), "a tick leaves nothing due");
                self.check();
            }
        }
        self.now = until;
    }

    /// Nothing is answered that nobody has spoken for.
    fn check(&self) {
        for (zone, copy) in
            self.disk.iter().filter(|(zone, copy)| copy.is_served && !self.published.contains(*zone))
        {
            assert!(self.now < self.words[zone] + 90_000, "{zone} is served after its end: {copy:?}");
        }
    }

    /// The zones that should be followed, and of whom.
    fn wanted(&self) -> BTreeMap<Name, usize> {
        let mut wanted = BTreeMap::new();
        for number in (0..PRIMARIES).rev() {
            wanted.extend(self.kept[number].keys().map(|zone| (zone.clone(), number)));
        }
        for number in (0..PRIMARIES).rev() {
            wanted.extend([(zone(number), number), (catalogue(number), number)]);
        }
        wanted
    }

    /// Everybody is well from now on.
    fn heal(&mut self) {
        for number in 0..PRIMARIES {
            let model = &mut self.primaries[number];
            (model.is_alive, model.loss) = (true, 0);
            model.holds = model.serials.keys().cloned().collect();
        }
        for number in 0..ZONES {
            self.act(Action::Publish(number, false));
        }
        self.run(LONG_MS);
        for (zone, primary) in self.wanted() {
            let newest = self.primaries[primary].serials[&zone];
            let copy = self.disk.get(&zone).unwrap_or_else(|| panic!("{zone} is not held"));
            let is_ahead = copy.held.serial.is_newer_than(newest);
            assert!(copy.held.serial == newest || is_ahead, "{zone}: {copy:?}, and there is {newest:?}");
            assert!(copy.is_served || is_ahead, "{zone} is not served: {copy:?}");
        }
        assert_eq!(self.disk.keys().collect::<Vec<_>>(), self.wanted().keys().collect::<Vec<_>>());
        let before = self.exchanges;
        self.run(LONG_MS);
        let each = LONG_MS / 17_500 + 2;
        assert!(self.exchanges - before <= each * (ZONES + PRIMARIES) as u64, "{}", self.exchanges - before);
    }
}

fn catalogue(number: usize) -> Name {
    name(&format!("c{number}.test"))
}

fn policy(limit: usize) -> Policy {
    Policy { asks_max: limit, transfers_max: limit, ..Policy::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_zone_comes_to_what_its_primary_has_and_none_goes_back_or_outlives_its_end(
        actions in prop::collection::vec(action(), 1..60),
        seed: u64,
        limit in 1..4_usize,
    ) {
        let mut world = World::new(seed, limit);
        for action in actions {
            world.act(action);
        }
        world.heal();
    }
}
