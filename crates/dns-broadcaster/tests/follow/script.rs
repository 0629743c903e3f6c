//! Followers under a script: each step at a time that the test says, all outputs kept.

use std::time::Duration;

use switchback_dns::core::follow::{
    Exchange, Followers, Input, Output, Overdue, Policy, Reason, Scope, Standing, State, Summary, Target,
};
use switchback_dns::core::name::Name;
use switchback_dns::core::zone::Serial;
use switchback_machine::{Machine, Outbox, Timestamp};

pub(crate) fn name(label: &str) -> Name {
    Name::parse(&format!("{label}.test")).unwrap()
}

/// `count` labels whose order is that of their numbers.
pub(crate) fn labels(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("z{number:06}")).collect()
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) struct Script {
    pub(crate) followers: Followers,
    /// Milliseconds.
    pub(crate) now: u64,
}

impl Script {
    pub(crate) fn new(targets: &[&str], policy: Policy) -> Self {
        let followers = Followers::new(targets.iter().map(|name| Target::new(name)), policy).unwrap();
        Self { followers, now: 1_000_000 }
    }

    pub(crate) fn keep_within(&mut self, target: &str, label: &str) {
        self.set(target, Scope { within: [name(label)].into(), ..Scope::default() });
    }

    pub(crate) fn leave_out(&mut self, target: &str, label: &str) {
        self.set(target, Scope { without: [name(label)].into(), ..Scope::default() });
    }

    fn set(&mut self, target: &str, scope: Scope) {
        let followers = Followers::new([], Policy::default()).unwrap();
        let followers = std::mem::replace(&mut self.followers, followers);
        self.followers = followers.within(&Target::new(target), scope);
    }

    pub(crate) fn step(&mut self, input: Input) -> Vec<Output> {
        let mut outbox = Outbox::new();
        self.followers.step(Timestamp(self.now), input, &mut outbox);
        outbox.outputs
    }

    pub(crate) fn publish(&mut self, zones: &[(&str, u32)]) -> Vec<Output> {
        let changed = zones.iter().map(|(label, serial)| (name(label), Serial(*serial))).collect();
        self.step(Input::Published { changed, removed: vec![] })
    }

    pub(crate) fn publish_all(&mut self, labels: &[String], serial: u32) -> Vec<Output> {
        let zones: Vec<_> = labels.iter().map(|label| (label.as_str(), serial)).collect();
        self.publish(&zones)
    }

    pub(crate) fn remove(&mut self, labels: &[&str]) -> Vec<Output> {
        let removed = labels.iter().map(|label| name(label)).collect();
        self.step(Input::Published { changed: vec![], removed })
    }

    pub(crate) fn acknowledge(&mut self, target: &str, label: &str) -> Vec<Output> {
        self.step(Input::NotifyAcknowledged { target: Target::new(target), zone: name(label) })
    }

    pub(crate) fn refuse(&mut self, target: &str, label: &str) -> Vec<Output> {
        self.step(Input::NotifyRefused { target: Target::new(target), zone: name(label) })
    }

    pub(crate) fn answer(&mut self, target: &str, label: &str, serial: Option<u32>) -> Vec<Output> {
        let (target, zone) = (Target::new(target), name(label));
        self.step(Input::SoaAnswered { target, zone, serial: serial.map(Serial) })
    }

    pub(crate) fn fail(
        &mut self,
        target: &str,
        label: &str,
        exchange: Exchange,
        reason: Reason,
    ) -> Vec<Output> {
        let (target, zone) = (Target::new(target), name(label));
        self.step(Input::ExchangeFailed { target, zone, exchange, reason })
    }

    /// Lets an exchange that was just asked for end without a word.
    pub(crate) fn time_out(&mut self, asked: &Output) -> Vec<Output> {
        let (target, zone, exchange) = match asked {
            Output::Notify { target, zone, .. } => (target, zone, Exchange::Notify),
            Output::Ask { target, zone } => (target, zone, Exchange::Ask),
            other => panic!("{other:?} is no exchange"),
        };
        self.step(Input::ExchangeFailed {
            target: target.clone(),
            zone: zone.clone(),
            exchange,
            reason: Reason::TimedOut,
        })
    }

    /// Goes to the next deadline, which must be there and no later than `until`.
    pub(crate) fn next_by(&mut self, until: u64) -> Option<Vec<Output>> {
        let deadline = self.followers.deadline()?.0.max(self.now);
        if deadline > until {
            return None;
        }
        self.now = deadline;
        let mut outbox = Outbox::new();
        self.followers.tick(Timestamp(self.now), &mut outbox);
        if let Some(deadline) = self.followers.deadline() {
            assert!(deadline.0 > self.now, "after a tick the deadline lies in the future");
        }
        Some(outbox.outputs)
    }

    /// Lets `duration` pass and returns what comes when, in milliseconds since the call.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<(u64, Output)> {
        let (start, until) = (self.now, (Timestamp(self.now) + duration).0);
        let mut all = Vec::new();
        while let Some(outputs) = self.next_by(until) {
            all.extend(outputs.into_iter().map(|output| (self.now - start, output)));
        }
        self.now = until;
        all
    }

    /// Lets `duration` pass while each exchange ends as `world` says: `None` for a time-out of
    /// `time_out_ms`, an input for an immediate end. Returns every output with its time, as
    /// [`Script::pass`] does; `begin` are exchanges that are outstanding at the call.
    pub(crate) fn live(
        &mut self,
        duration: Duration,
        time_out_ms: u64,
        begin: Vec<Output>,
        mut world: impl FnMut(&Output) -> Option<Input>,
    ) -> Vec<(u64, Output)> {
        let (start, until) = (self.now, (Timestamp(self.now) + duration).0);
        let mut pending: std::collections::VecDeque<(u64, Output)> = Default::default();
        let mut fresh = begin;
        let mut all = Vec::new();
        loop {
            for output in std::mem::take(&mut fresh) {
                all.push((self.now - start, output.clone()));
                match world(&output) {
                    Some(input) => fresh.extend(self.step(input)),
                    None if is_exchange(&output) => pending.push_back((self.now + time_out_ms, output)),
                    None => {}
                }
            }
            if !fresh.is_empty() {
                continue;
            }
            let deadline = self.followers.deadline().map(|at| at.0.max(self.now));
            match pending.front() {
                Some((at, _)) if *at <= until && deadline.is_none_or(|deadline| *at <= deadline) => {
                    let (at, output) = pending.pop_front().unwrap();
                    self.now = at;
                    fresh = self.time_out(&output);
                }
                _ => match self.next_by(until) {
                    Some(outputs) => fresh = outputs,
                    None => break,
                },
            }
        }
        self.now = until;
        all
    }

    pub(crate) fn standing(&self, target: &str, label: &str) -> Standing {
        self.followers.standing(&Target::new(target), &name(label)).unwrap()
    }

    pub(crate) fn state(&self, target: &str, label: &str) -> State {
        self.standing(target, label).state
    }

    pub(crate) fn summary(&self, target: &str) -> Summary {
        self.followers.summary(&Target::new(target)).unwrap()
    }

    /// Publishes one zone and lets one target converge at once.
    /// What somebody should look at.
    pub(crate) fn overdue(&self, target: &str) -> Option<Overdue> {
        let mut overdue = self.followers.overdue(Timestamp(self.now));
        overdue.find_map(|(found, overdue)| (found.as_str() == target).then_some(overdue))
    }

    pub(crate) fn converge(&mut self, target: &str, label: &str, serial: u32) {
        assert_eq!(self.publish(&[(label, serial)]), [notify(target, label, serial)]);
        self.acknowledge(target, label);
        assert_eq!(self.pass(ms(5)), [(5, ask(target, label))]);
        self.answer(target, label, Some(serial));
        assert_eq!(self.state(target, label), State::Converged);
    }
}

pub(crate) fn is_exchange(output: &Output) -> bool {
    matches!(output, Output::Notify { .. } | Output::Ask { .. })
}

pub(crate) fn notify(target: &str, label: &str, serial: u32) -> Output {
    Output::Notify { target: Target::new(target), zone: name(label), serial: Serial(serial) }
}

pub(crate) fn ask(target: &str, label: &str) -> Output {
    Output::Ask { target: Target::new(target), zone: name(label) }
}

pub(crate) fn followed(target: &str, label: &str, after: Duration, was_late: bool) -> Output {
    Output::Followed { target: Target::new(target), zone: name(label), after, was_late }
}

pub(crate) fn late(target: &str, label: &str, behind: Duration) -> Output {
    Output::Late { target: Target::new(target), zone: name(label), behind }
}

/// The times of the outputs that `wanted` picks.
pub(crate) fn times(outputs: &[(u64, Output)], wanted: impl Fn(&Output) -> bool) -> Vec<u64> {
    outputs.iter().filter(|(_, output)| wanted(output)).map(|(at, _)| *at).collect()
}

/// Differences between neighbours.
pub(crate) fn gaps(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}
