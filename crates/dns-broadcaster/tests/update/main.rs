//! How names are kept in zones of others, by a script and against a model of a server.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod property;
mod script;

use std::time::Duration;

use switchback_dns::core::follow::Overdue;
use switchback_dns::core::update::{
    Change, Declined, Doubt, Found, Input, Leads, Output, State, Trouble, Verdict, Wish,
};

use switchback_machine::Timestamp;

use script::{EAST, Script, content, fence, found, here, name, nothing};

#[test]
fn a_new_name_is_put_where_no_fence_stands_and_shown_when_it_is_answered() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    script.looks(&look);
    let (put, demand) = script.answer(&look, nothing());
    assert!(demand.is_empty());
    assert_eq!(script.changes, [Change::Remember(script.target(), name("a.east.test"))]);
    assert_eq!(put.content.serial.0, 64);
    assert_ne!(script.state("a.east.test"), State::Converged, "accepted is not answered");
    let asked = script.accept();
    script.answer_only(&asked, found(64, EAST));
    assert_eq!(script.state("a.east.test"), State::Converged);
}

#[test]
fn what_was_seen_last_is_demanded_at_once_when_the_names_move() {
    let mut script = Script::of(EAST);
    script.converge("a.east.test", 64);
    let outputs = script.step(Input::Published(vec![(name("a.east.test"), Wish::Put(content(128)))]));
    let [Output::Update { demand, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(*demand, [fence(64, EAST)], "no question before");
}

#[test]
fn a_newer_fence_is_never_written_over_and_told_once() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    let outputs = script.reply(&look, Ok(found(128, "west.test")));
    let [Output::Overtaken { fence, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((fence.serial.0, &fence.system), (128, &name("west.test")));
    for _ in 0..5 {
        let look = script.next().expect("it is asked about now and then");
        assert_eq!(script.reply(&look, Ok(found(128, "west.test"))), [], "and not told again");
    }
}

#[test]
fn a_serial_half_the_circle_away_has_no_order_and_is_not_written_over() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64 + (1 << 31)));
    let outputs = script.reply(&look, Ok(found(64, "west.test")));
    assert!(matches!(outputs[..], [Output::Overtaken { .. }]), "{outputs:?}");
}

#[test]
fn the_system_of_the_domain_takes_over_the_fence_and_the_other_leaves_it() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    let (put, demand) = script.answer(&look, found(64, "west.test"));
    assert_eq!((put.fence, demand), (fence(64, EAST), vec![fence(64, "west.test")]));

    let mut script = Script::of("west.test");
    let look = script.publish("a.east.test", content(64));
    script.answer_only(&look, found(64, EAST));
    assert_eq!(script.state("a.east.test"), State::Converged);
    let look = script.next().unwrap();
    script.answer_only(&look, Found { tenant: here(), ..found(64, EAST) });
    assert_eq!(script.state("a.east.test"), State::Differs, "whose fence it is mends it");
}

#[test]
fn addresses_that_somebody_changed_are_put_right_under_the_same_fence() {
    let mut script = Script::of(EAST);
    script.converge("a.east.test", 64);
    let look = script.next().unwrap();
    let (put, demand) = script.answer(&look, Found { wildcard: Leads::default(), ..found(64, EAST) });
    assert_eq!((put.fence, demand), (fence(64, EAST), vec![fence(64, EAST)]));
}

#[test]
fn an_update_that_is_accepted_and_not_answered_is_sent_again_ever_more_slowly() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    script.answer(&look, nothing());
    let mut sent = vec![script.now];
    let mut outputs = vec![script.accept()];
    while sent.len() < 8 {
        let look = outputs.pop().or_else(|| script.next()).unwrap();
        let followed = match &look {
            Output::Look { .. } => script.reply(&look, Ok(Found { tenant: here(), ..found(64, EAST) })),
            Output::Update { .. } => {
                sent.push(script.now);
                vec![script.accept()]
            }
            other => vec![other.clone()],
        };
        outputs = followed.into_iter().filter(|output| !matches!(output, Output::Late { .. })).collect();
    }
    let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && gaps[6] > 10_000, "{gaps:?}");
}

#[test]
fn what_no_system_put_stays_unless_it_is_a_wildcards() {
    let foreign = || Found { fence: vec![script::txt("v=spf1 -all")], ..Found::default() };
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    let (_, demand) = script.answer(&look, foreign());
    assert!(demand.is_empty(), "a wildcard's record stands nowhere: the target knows");
    let look = script.refuse();
    script.answer_only(&look, foreign());
    assert_eq!(script.state("a.east.test"), State::Foreign);
}

#[test]
fn a_lost_race_is_looked_at_at_once_and_then_with_pauses() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    script.answer(&look, nothing());
    let began = script.now;
    let look = script.refuse();
    assert_eq!(script.now, began);
    script.answer(&look, nothing());
    script.refuse();
    assert!(script.now > began, "a target that contradicts itself is not asked without end");
}

#[test]
fn only_what_this_system_put_is_taken_away() {
    let mut script = Script::of(EAST);
    script.converge("a.east.test", 64);
    let outputs = script.step(Input::Published(vec![(name("a.east.test"), Wish::Remove)]));
    let [Output::Update { demand, put: None, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(*demand, [fence(64, EAST)]);

    let mut script = Script::of("west.test");
    script.converge("a.east.test", 64);
    let look = script.next().unwrap();
    script.answer_only(&look, found(64, EAST));
    let outputs = script.step(Input::Published(vec![(name("a.east.test"), Wish::Remove)]));
    let [look @ Output::Look { .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let outputs = script.reply(look, Ok(found(64, EAST)));
    assert!(matches!(outputs[..], [Output::LeftAlone { .. }]), "{outputs:?}");
}

#[test]
fn a_removed_name_is_forgotten_when_no_doubled_message_can_bring_it_back() {
    let mut script = Script::of(EAST);
    script.converge("a.east.test", 64);
    script.changes.clear();
    let outputs = script.step(Input::Published(vec![(name("a.east.test"), Wish::Remove)]));
    assert!(matches!(outputs[..], [Output::Update { .. }]));
    let look = script.accept();
    let outputs = script.reply(&look, Ok(nothing()));
    assert!(matches!(outputs[..], [Output::Removed { .. }]), "{outputs:?}");
    let began = script.now;
    let look = script.next().unwrap();
    assert!(script.now >= began + 300_000, "as long as a signature is good for");
    let outputs = script.reply(&look, Ok(found(64, EAST)));
    let [Output::Update { demand, put: None, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(*demand, [fence(64, EAST)], "one was doubled");
    let look = script.accept();
    assert_eq!(script.reply(&look, Ok(nothing())), []);
    assert_eq!(script.changes, [Change::Forget(script.target(), name("a.east.test"))]);
    assert!(script.next().is_none(), "nothing is left to do");
}

#[test]
fn what_waits_to_be_confirmed_or_was_never_put_is_not_touched() {
    let mut script = Script::remembering(EAST, &["a.east.test"]);
    assert_eq!(script.step(Input::Published(vec![(name("a.east.test"), Wish::Wait)])), []);
    assert_eq!(script.step(Input::Published(vec![(name("b.east.test"), Wish::Remove)])), []);
    assert_eq!(script.step(Input::Published(vec![(name("elsewhere.example"), Wish::Put(content(1)))])), []);
    assert!(script.next().is_none());
    let outputs = script.step(Input::Published(vec![(name("a.east.test"), Wish::LetGo)]));
    assert_eq!((outputs, script.changes.len()), (vec![], 1), "it is forgotten and stays");
    let look = script.publish("c.east.test", content(64));
    assert_eq!(script.step(Input::Published(vec![(name("c.east.test"), Wish::Remove)])), []);
    assert_eq!(script.reply(&look, Ok(nothing())), []);
    assert!(script.next().is_none(), "it went before anything was put");
}

#[test]
fn names_that_were_put_in_an_earlier_run_are_taken_away() {
    let mut script = Script::remembering(EAST, &["a.east.test"]);
    let outputs = script.step(Input::Published(vec![(name("a.east.test"), Wish::Remove)]));
    let outputs = script.reply(&outputs[0], Ok(found(64, EAST)));
    assert!(matches!(outputs[..], [Output::Update { put: None, .. }]), "{outputs:?}");
}

#[test]
fn why_a_target_will_not_is_told_once_and_does_not_hold_up_what_changes() {
    let refused = Trouble::Declined(Declined::Update(5));
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    script.answer(&look, nothing());
    let outputs = script.end_update(Err(refused));
    assert!(matches!(outputs[..], [Output::Declined { trouble, .. }] if trouble == refused), "{outputs:?}");
    assert_eq!(script.standing("a.east.test").trouble, Some(refused));
    for _ in 0..4 {
        let look = script.next().unwrap();
        script.answer(&look, nothing());
        let outputs = script.end_update(Err(refused));
        assert!(outputs.iter().all(|output| !matches!(output, Output::Declined { .. })), "{outputs:?}");
    }
    let clocks = |seconds| Trouble::Unproven(Doubt::Clocks(seconds));
    let look = script.next().unwrap();
    let outputs = script.reply(&look, Err(clocks(400)));
    assert!(matches!(outputs[..], [Output::Declined { .. }, ..]), "something else is: {outputs:?}");
    let look = script.next().unwrap();
    let outputs = script.reply(&look, Err(clocks(401)));
    assert!(outputs.iter().all(|output| !matches!(output, Output::Declined { .. })), "{outputs:?}");
}

#[test]
fn a_silent_target_costs_one_exchange_at_a_time_and_is_probed_when_names_move() {
    let mut script = Script::of(EAST);
    let names: Vec<_> = (0..100).map(|number| format!("t{number}.east.test")).collect();
    let wishes = names.iter().map(|text| (name(text), Wish::Put(content(64)))).collect();
    let mut looks = script.step(Input::Published(wishes));
    assert_eq!(looks.len(), 16, "not all at once");
    let mut told = 0;
    while !looks.is_empty() {
        let look = looks.remove(0);
        let outputs = script.reply(&look, Err(Trouble::TimedOut));
        told += outputs.iter().filter(|output| matches!(output, Output::Unreachable { .. })).count();
        looks.extend(outputs.into_iter().filter(|output| matches!(output, Output::Look { .. })));
    }
    assert_eq!(told, 1);
    let began = script.now;
    let probe = script.next().unwrap();
    assert!(script.now - began >= 1_000);
    assert!(script.next().is_none(), "the next one comes when it has ended");
    assert_eq!(script.reply(&probe, Err(Trouble::TimedOut)), []);
    let outputs = script.step(Input::Published(vec![(name("t5.east.test"), Wish::Put(content(128)))]));
    let [probe @ Output::Look { .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let outputs = script.reply(probe, Ok(nothing()));
    assert!(matches!(outputs[0], Output::Reachable { .. }), "{outputs:?}");
    assert_eq!(outputs.len(), 1 + 16, "all go on");
}

#[test]
fn a_name_that_comes_again_does_not_take_the_end_of_an_exchange_of_before() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    script.answer(&look, nothing());
    assert_eq!(script.step(Input::Published(vec![(name("a.east.test"), Wish::LetGo)])), []);
    let again = script.publish("a.east.test", content(128));
    assert_eq!(script.end_update(Ok(Verdict::Done)), [], "it is not that one's");
    let (_, demand) = script.answer(&again, found(64, EAST));
    assert_eq!(demand, [fence(64, EAST)]);
}

#[test]
fn a_name_that_does_not_stand_there_is_late_once() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    script.answer(&look, nothing());
    let mut late = Vec::new();
    let mut outputs = script.end_update(Err(Trouble::Malformed));
    while script.now < 1_000_000 + Duration::from_secs(300).as_millis() as u64 {
        late.extend(outputs.iter().filter(|output| matches!(output, Output::Late { .. })).cloned());
        let next = script.next().unwrap();
        outputs = script.reply(&next, Err(Trouble::Malformed));
    }
    assert!(matches!(late[..], [Output::Late { trouble: Some(Trouble::Malformed), .. }]), "{late:?}");
    let overdue =
        |script: &Script| script.updates.overdue(Timestamp(script.now)).map(|(_, what)| what).next();
    assert_eq!(overdue(&script), Some(Overdue::Late { zones: 1 }));
    let look = script.next().unwrap();
    let outputs = script.reply(&look, Ok(found(64, EAST)));
    assert!(matches!(outputs[..], [Output::Followed { was_late: true, .. }]), "{outputs:?}");
    assert_eq!(overdue(&script), None);
}

#[test]
fn names_that_are_declined_hold_up_none_that_changes() {
    let mut script = Script::of(EAST);
    let names: Vec<_> = (0..100).map(|number| format!("t{number}.east.test")).collect();
    let wishes = names.iter().map(|text| (name(text), Wish::Put(content(64)))).collect();
    let mut looks = script.step(Input::Published(wishes));
    let refused = Trouble::Declined(Declined::Question(5));
    let mut ended = 0;
    while let Some(look) = looks.pop().filter(|_| ended < 100) {
        let outputs = script.reply(&look, Err(refused));
        looks.extend(outputs.into_iter().filter(|output| matches!(output, Output::Look { .. })));
        ended += 1;
    }
    // All of them are due again.
    script.now += 60_000;
    let outputs = script.step(Input::Published(vec![(name("t99.east.test"), Wish::Put(content(128)))]));
    let first = outputs.iter().find_map(|output| match output {
        Output::Look { name, .. } => Some(name),
        _ => None,
    });
    assert_eq!(first, Some(&name("t99.east.test")));
}

#[test]
fn all_names_go_on_when_one_is_answered_again() {
    let mut script = Script::of(EAST);
    let wishes = ["a.east.test", "b.east.test"].map(|text| (name(text), Wish::Put(content(64))));
    let mut looks = script.step(Input::Published(wishes.to_vec()));
    let asked = loop {
        let look = looks.pop().or_else(|| script.next()).unwrap();
        if script.now > 1_000_000 + 300_000 {
            break look;
        }
        script.now += 2_000;
        let outputs = script.reply(&look, Err(Trouble::TimedOut));
        looks.extend(outputs.into_iter().filter(|output| matches!(output, Output::Look { .. })));
    };
    script.reply(&asked, Err(Trouble::TimedOut));
    // It is asked at once, when the other has just been asked in vain.
    let asked = script.publish("a.east.test", content(128));
    let outputs = script.reply(&asked, Ok(nothing()));
    let sent = outputs.iter().filter(|output| script::exchange(output).is_some()).count();
    assert_eq!(sent, 2, "{outputs:?}");
}

#[test]
fn what_is_wished_while_an_update_is_under_way_follows_it_at_once() {
    let mut script = Script::of(EAST);
    let look = script.publish("a.east.test", content(64));
    script.answer(&look, nothing());
    assert_eq!(script.step(Input::Published(vec![(name("a.east.test"), Wish::Put(content(128)))])), []);
    let outputs = script.end_update(Ok(Verdict::Done));
    let [Output::Update { demand, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(*demand, [fence(64, EAST)]);
}
