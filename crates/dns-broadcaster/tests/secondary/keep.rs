//! How copies are kept, step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use switchback_dns::core::contact::Target;
use switchback_dns::core::name::Name;
use switchback_dns::core::secondary::members::{Label, Members};
use switchback_dns::core::secondary::{
    Change, Copies, Follow, Held, Input, Outcome, Output, Policy, Primary, Reason, Times,
};
use switchback_dns::core::zone::Serial;
use switchback_machine::{Machine, Outbox, Timestamp};

use crate::name;

const ONE: Primary = Primary(0);
const START: u64 = 1_000_000;

pub(crate) fn times() -> Times {
    let seconds = Duration::from_secs;
    Times { refresh: seconds(100), retry: seconds(20), expire: seconds(1000) }
}

pub(crate) fn follow(zones: &[&str], catalogue: Option<&str>) -> Follow {
    Follow { zones: zones.iter().copied().map(name).collect(), catalogue: catalogue.map(name) }
}

fn held(serial: u32, word: u64) -> Held {
    Held { serial: Serial(serial), times: times(), word: Timestamp(word), label: None }
}

struct Script {
    copies: Copies,
    now: u64,
}

impl Script {
    fn new(zones: &[&str], on_disk: &[(&str, Held)]) -> (Self, Outbox<Copies>) {
        let on_disk: BTreeMap<_, _> = on_disk.iter().map(|(zone, held)| (name(zone), held.clone())).collect();
        let follow = vec![(Target::new("one"), follow(zones, Some("c.test")))];
        let copies = Copies::new(Timestamp(START), follow, on_disk, Vec::new(), Policy::default());
        let mut script = Self { copies, now: START };
        let out = script.wait();
        assert_eq!(script.now, START, "it begins at once");
        (script, out)
    }

    fn step(&mut self, input: Input) -> Outbox<Copies> {
        let mut out = Outbox::new();
        self.copies.step(Timestamp(self.now), input, &mut out);
        out
    }

    /// Until the next deadline.
    fn wait(&mut self) -> Outbox<Copies> {
        self.now = self.copies.deadline().unwrap().0.max(self.now);
        let mut out = Outbox::new();
        self.copies.tick(Timestamp(self.now), &mut out);
        out
    }

    fn transferred(&mut self, zone: &str, outcome: Outcome) -> Outbox<Copies> {
        self.step(Input::Transferred { zone: name(zone), outcome })
    }

    fn answered(&mut self, zone: &str, serial: Result<u32, Reason>) -> Outbox<Copies> {
        self.step(Input::Answered { zone: name(zone), serial: serial.map(Serial) })
    }

    fn notified(&mut self, zone: &str, serial: Option<u32>) -> Outbox<Copies> {
        self.step(Input::Notified { zone: name(zone), serial: serial.map(Serial) })
    }
}

fn taken(serial: u32) -> Outcome {
    Outcome::Taken { serial: Serial(serial), times: times() }
}

fn ask(zone: &str) -> Output {
    Output::Ask { primary: ONE, zone: name(zone) }
}

fn transfer(zone: &str, held: Option<u32>, is_whole: bool) -> Output {
    let held = held.map(Serial);
    Output::Transfer { primary: ONE, zone: name(zone), held, is_whole, label: None }
}

/// What is done, but for the catalogue, of which these tests do not speak.
fn done(out: &Outbox<Copies>) -> Vec<Output> {
    let is_of_catalogue = |output: &&Output| format!("{output:?}").contains("c.test");
    out.outputs.iter().filter(|output| !is_of_catalogue(output)).cloned().collect()
}

#[test]
fn a_zone_is_taken_then_asked_for_as_it_says() {
    let (mut script, out) = Script::new(&["a.test"], &[]);
    assert_eq!(done(&out), [transfer("a.test", None, true)]);
    script.transferred("c.test", taken(1));
    let out = script.transferred("a.test", taken(5));
    assert_eq!(done(&out), []);
    let asked = loop {
        let out = script.wait();
        if !done(&out).is_empty() {
            break done(&out);
        }
        script.answered("c.test", Ok(1));
    };
    assert_eq!(asked, [ask("a.test")]);
    let after = Duration::from_millis(script.now - START);
    assert!(after <= times().refresh && after >= times().refresh / 8 * 7, "{after:?}");
    assert_eq!(done(&script.answered("a.test", Ok(6))), [transfer("a.test", Some(5), false)]);
}

#[test]
fn what_changed_is_taken_whole_when_it_does_not_fit() {
    let (mut script, out) = Script::new(&["a.test"], &[("a.test", held(5, START))]);
    assert_eq!(done(&out), [ask("a.test")]);
    assert_eq!(done(&script.answered("a.test", Ok(6))), [transfer("a.test", Some(5), false)]);
    let out = script.transferred("a.test", Outcome::NoDifferences);
    assert_eq!(done(&out), [transfer("a.test", Some(5), true)]);
    // Nor does that help: it waits.
    let out = script.transferred("a.test", Outcome::NoDifferences);
    assert!(matches!(&done(&out)[..], [Output::Troubled { .. }]));
}

#[test]
fn a_notify_has_a_zone_taken_at_once_unless_it_is_no_news() {
    let (mut script, _) = Script::new(&["a.test"], &[("a.test", held(5, START))]);
    script.answered("a.test", Ok(5));
    assert_eq!(done(&script.notified("a.test", Some(5))), []);
    assert_eq!(done(&script.notified("a.test", Some(4))), [], "it is asked when it is due");
    assert_eq!(done(&script.notified("a.test", Some(6))), [transfer("a.test", Some(5), false)]);
    // In the middle of it: once more, when that has not brought it.
    assert_eq!(done(&script.notified("a.test", Some(7))), []);
    assert_eq!(done(&script.transferred("a.test", taken(6))), [transfer("a.test", Some(6), false)]);
    assert_eq!(done(&script.notified("a.test", Some(8))), []);
    assert_eq!(done(&script.transferred("a.test", taken(8))), []);
    assert_eq!(done(&script.notified("a.test", None)), [transfer("a.test", Some(8), false)]);
    assert_eq!(done(&script.notified("other.test", None)), []);
}

#[test]
fn a_serial_that_goes_back_is_never_taken_and_said_once() {
    let (mut script, _) = Script::new(&["a.test"], &[("a.test", held(5, START))]);
    let backwards = || Reason::Backwards { theirs: Serial(4) };
    let out = script.answered("a.test", Ok(4));
    assert_eq!(done(&out), [Output::Troubled { zone: name("a.test"), reason: backwards() }]);
    script.transferred("c.test", taken(1));
    let mut asked = 0;
    while asked < 3 {
        for output in done(&script.wait()) {
            assert!(matches!(output, Output::Ask { .. }), "{output:?}");
            asked += 1;
            assert_eq!(done(&script.answered("a.test", Ok(4))), []);
        }
    }
    let (_, standing) = script.copies.standing(&name("a.test")).unwrap();
    assert_eq!((standing.serial, standing.trouble.unwrap().0), (Some(Serial(5)), backwards()));
    // Half the circle away there is no order.
    script.notified("a.test", None);
    let out = script.transferred("a.test", taken(5 + (1 << 31)));
    assert!(matches!(&done(&out)[..], [Output::Troubled { .. }]), "{:?}", out.outputs);
}

#[test]
fn a_copy_without_a_word_of_its_primary_is_warned_of_expires_once_and_comes_back_with_it() {
    let (mut script, _) = Script::new(&["a.test"], &[("a.test", held(5, START))]);
    script.transferred("c.test", taken(1));
    let mut told = Vec::new();
    let mut failed = script.answered("a.test", Err(Reason::TimedOut));
    while script.now < START + 5_000_000 {
        told.extend(
            done(&failed)
                .into_iter()
                .filter(|output| !matches!(output, Output::Ask { .. }))
                .map(|output| (script.now - START, output)),
        );
        let out = script.wait();
        failed = Outbox::new();
        for output in &out.outputs {
            if let Output::Ask { zone, .. } = output {
                let more = script.step(Input::Answered { zone: zone.clone(), serial: Err(Reason::TimedOut) });
                failed
                    .outputs
                    .extend(more.outputs.into_iter().filter(|output| !matches!(output, Output::Ask { .. })));
            }
        }
        failed.outputs.extend(out.outputs);
        if failed
            .outputs
            .iter()
            .any(|output| matches!(output, Output::Expire { zone } if *zone == name("a.test")))
        {
            told.push((script.now - START, Output::Expire { zone: name("a.test") }));
            break;
        }
    }
    let at = |is: fn(&Output) -> bool| told.iter().find(|(_, output)| is(output)).map(|(at, _)| *at);
    assert_eq!(at(|output| matches!(output, Output::Expiring { .. })), Some(750_000));
    assert_eq!(at(|output| matches!(output, Output::Expire { .. })), Some(1_000_000));
    assert!(at(|output| matches!(output, Output::Silent { .. })).is_some());
    // The primary comes back: the same serial is word enough.
    let out = script.notified("a.test", None);
    assert!(done(&out).contains(&transfer("a.test", Some(5), false)), "{:?}", out.outputs);
    let out = script.transferred("a.test", Outcome::UpToDate);
    assert!(done(&out).contains(&Output::Serve { zone: name("a.test") }));
    assert!(out.changes.contains(&Change::Word { zone: name("a.test"), at: Timestamp(script.now) }));
}

#[test]
fn a_copy_that_expired_while_this_server_was_down_is_not_served() {
    let (mut script, out) = Script::new(
        &["a.test", "b.test"],
        &[
            ("a.test", held(5, START - 1_000_000)),
            ("b.test", held(5, START - 999_000)),
            ("gone.test", held(1, START)),
        ],
    );
    let expired: Vec<_> =
        out.outputs.iter().filter(|output| matches!(output, Output::Expire { .. })).collect();
    assert_eq!(expired, [&Output::Expire { zone: name("a.test") }]);
    // What is followed no more is forgotten.
    assert!(out.changes.contains(&Change::Forget(name("gone.test"))));
    assert!(done(&out).contains(&Output::Forget { zone: name("gone.test") }));
    let mut out = script.wait();
    while !out.outputs.contains(&Output::Expire { zone: name("b.test") }) {
        out = script.wait();
    }
    assert_eq!(script.now, START + 1000);
}

#[test]
fn what_is_published_here_is_not_followed_until_it_is_published_no_more() {
    let (mut script, _) = Script::new(&["a.test"], &[("a.test", held(5, START))]);
    let published = |begun: &[&str], ended: &[&str]| {
        let names = |zones: &[&str]| zones.iter().copied().map(name).collect();
        Input::Published { begun: names(begun), ended: names(ended) }
    };
    script.step(published(&["a.test"], &[]));
    // The answer to what was asked before leads to nothing.
    assert_eq!(done(&script.answered("a.test", Ok(6))), []);
    assert_eq!(done(&script.notified("a.test", Some(9))), []);
    let (_, standing) = script.copies.standing(&name("a.test")).unwrap();
    assert!(standing.is_published && standing.due.is_none());
    let out = script.step(published(&[], &["a.test"]));
    assert_eq!(done(&out), [ask("a.test")]);
}

#[test]
fn a_member_comes_and_goes_with_its_catalogue_and_another_label_is_another_zone() {
    let (mut script, _) = Script::new(&["a.test"], &[("a.test", held(5, START))]);
    let list = |zones: &[(&str, u8)]| {
        let members: Members = zones.iter().map(|(zone, label)| (name(zone), Label(vec![*label]))).collect();
        Input::Listed { primary: ONE, members }
    };
    let label = |zone: &str, label: u8| Output::Transfer {
        primary: ONE,
        zone: name(zone),
        held: None,
        is_whole: true,
        label: Some(Label(vec![label])),
    };
    let forget = |zone: &str| Output::Forget { zone: name(zone) };
    assert_eq!(done(&script.step(list(&[("m.test", 1), ("a.test", 1)]))), [label("m.test", 1)]);
    // In the middle of a transfer it has to wait for the end of it.
    assert_eq!(done(&script.step(list(&[("m.test", 2)]))), []);
    let out = script.transferred("m.test", taken(9));
    assert_eq!(done(&out), [forget("m.test"), label("m.test", 2)]);
    assert!(out.changes.contains(&Change::Forget(name("m.test"))));
    script.transferred("m.test", taken(3));
    // Taken by name it stays, whatever is listed.
    let out = script.step(list(&[]));
    assert_eq!((done(&out), out.changes), (vec![forget("m.test")], vec![Change::Forget(name("m.test"))]));
    let followed: Vec<Name> = script.copies.followed().map(|(zone, _)| zone.clone()).collect();
    assert_eq!(followed, [name("a.test"), name("c.test")]);
}

#[test]
fn a_primary_that_is_silent_is_asked_one_thing_at_a_time_and_everything_when_it_is_back() {
    let names: Vec<String> = (0..100).map(|number| format!("z{number}.test")).collect();
    let zones: Vec<&str> = names.iter().map(String::as_str).collect();
    let on_disk: Vec<_> = zones.iter().map(|zone| (*zone, held(5, START))).collect();
    let (mut script, out) = Script::new(&zones, &on_disk);
    let mut asked: Vec<Name> = out
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Ask { zone, .. } => Some(zone.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 32);
    script.transferred("c.test", Outcome::Failed(Reason::TimedOut));
    let mut silent = 0;
    let mut exchanges = 0;
    while script.now < START + 100_000 {
        for zone in std::mem::take(&mut asked) {
            let out = script.step(Input::Answered { zone, serial: Err(Reason::Unreachable) });
            for output in out.outputs {
                match output {
                    Output::Ask { zone, .. } => asked.push(zone),
                    Output::Silent { .. } => silent += 1,
                    Output::Transfer { zone, .. } => {
                        drop(
                            script.step(Input::Transferred {
                                zone,
                                outcome: Outcome::Failed(Reason::TimedOut),
                            }),
                        );
                    }
                    _ => {}
                }
            }
        }
        exchanges += 1;
        for output in script.wait().outputs {
            match output {
                Output::Ask { zone, .. } => asked.push(zone),
                Output::Transfer { zone, .. } => {
                    drop(
                        script.step(Input::Transferred { zone, outcome: Outcome::Failed(Reason::TimedOut) }),
                    );
                }
                _ => {}
            }
        }
        assert!(asked.len() <= 1 || script.now == START, "{}", asked.len());
    }
    assert_eq!(silent, 1);
    assert!(exchanges < 300, "{exchanges} steps in a hundred seconds");
    let zone = asked.pop().unwrap_or_else(|| {
        loop {
            if let Some(Output::Ask { zone, .. }) = script.wait().outputs.first() {
                break zone.clone();
            }
        }
    });
    let out = script.step(Input::Answered { zone, serial: Ok(Serial(5)) });
    let asks = out.outputs.iter().filter(|output| matches!(output, Output::Ask { .. })).count();
    assert_eq!(asks, 32, "all of them again, as many as may be at once");
    assert!(out.outputs.iter().any(|output| matches!(output, Output::Heard { .. })));
}

#[test]
fn what_a_primary_could_not_answer_is_asked_when_it_is_heard_again() {
    let on_disk = [("a.test", held(5, START)), ("b.test", held(5, START))];
    let (mut script, _) = Script::new(&["a.test", "b.test"], &on_disk);
    script.transferred("c.test", Outcome::Failed(Reason::TimedOut));
    script.answered("a.test", Err(Reason::TimedOut));
    let out = script.answered("b.test", Err(Reason::TimedOut));
    assert!(out.outputs.contains(&Output::Silent { primary: ONE }));
    assert_eq!(done(&script.notified("a.test", Some(6))), [transfer("a.test", Some(5), false)]);
    let out = script.transferred("a.test", taken(6));
    assert!(done(&out).contains(&ask("b.test")), "{:?}", out.outputs);
}
