//! Targets that are silent, and many zones: who waits for whom.

use switchback_dns::core::follow::{Exchange, Output, Overdue, Policy, Reason, State, Target};
use switchback_machine::Timestamp;

use crate::script::*;
use crate::{acknowledge_and_answer, answer_behind};

fn is_unreachable(output: &Output) -> bool {
    matches!(output, Output::Unreachable { .. })
}

/// A target whose only zone has converged and which then fell silent, 3 failures ago.
fn silent() -> Script {
    let mut script = Script::new(&["bind"], Policy::default());
    script.converge("bind", "a", 7);
    let all = script.live(secs(60), 1_000, vec![], |_| None);
    assert_eq!(times(&all, is_unreachable), [43_000], "at 30, 36 and 42 s a question was lost");
    script
}

#[test]
fn a_silent_target_is_overdue_once_it_matters() {
    let mut script = Script::new(&["bind"], Policy::default());
    script.converge("bind", "a", 7);
    let all = script.live(secs(55), 1_000, vec![], |_| None);
    assert_eq!(times(&all, is_unreachable), [43_000]);
    assert_eq!(script.overdue("bind"), None, "it is silent for 25 s");
    script.live(secs(5), 1_000, vec![], |_| None);
    assert!(matches!(script.overdue("bind"), Some(Overdue::Silent { .. })));
}

#[test]
fn a_target_has_no_more_exchanges_outstanding_than_the_limit() {
    let mut script = Script::new(&["bind", "knot"], Policy::default());
    let told = script.publish_all(&labels(600), 7);
    assert_eq!(told.len(), 2 * 256);
    assert_eq!(script.summary("bind").outstanding, 256);
    assert_eq!(script.acknowledge("bind", "z000003"), [notify("bind", "z000256", 7)]);
}

#[test]
fn a_dead_target_delays_no_other() {
    let mut script = Script::new(&["dead", "live"], Policy::default());
    let begin = script.publish_all(&labels(1_000), 7);
    let all = script.live(secs(5), 3_000, begin, |output| match output {
        Output::Notify { target, .. } | Output::Ask { target, .. } if target.as_str() == "dead" => None,
        _ => acknowledge_and_answer(output, 7),
    });
    assert_eq!(script.summary("live").counts.converged, 1_000);
    let last = times(&all, |output| matches!(output, Output::Followed { .. })).into_iter().max();
    assert!(last.unwrap() <= 10, "{last:?}");
    assert_eq!(script.summary("dead").counts.unknown, 1_000);
}

#[test]
fn a_change_of_one_zone_does_not_wait_for_the_thousands_of_another_change() {
    let mut script = Script::new(&["bind"], Policy::default());
    script.converge("bind", "a", 7);
    let told = script.publish_all(&labels(5_000), 7);
    assert_eq!(script.publish(&[("a", 8)]), [], "256 are outstanding");
    let Output::Notify { zone, .. } = &told[0] else { panic!("{told:?}") };
    let label = zone.to_string();
    let next = script.acknowledge("bind", label.strip_suffix(".test").unwrap());
    assert_eq!(next, [notify("bind", "a", 8)]);
}

#[test]
fn a_large_change_is_not_starved_by_small_ones_that_keep_coming() {
    let mut script = Script::new(&["bind"], Policy { outstanding_max: 1, ..Policy::default() });
    let mut outstanding = script.publish_all(&labels(10), 1);
    let mut large = 0;
    for serial in 1..200 {
        script.publish(&[("a", serial)]);
        script.publish(&[("b", serial)]);
        let [Output::Notify { zone, .. }] = &outstanding[..] else { panic!("{outstanding:?}") };
        large += usize::from(zone.to_string().starts_with('z'));
        let label = zone.to_string();
        // Losses bring no question that measures, so that all exchanges are about changes.
        outstanding = script.acknowledge("bind", label.strip_suffix(".test").unwrap());
    }
    assert_eq!(large, 10);
}

#[test]
fn zones_that_keep_changing_together_are_told_each() {
    let mut script = Script::new(&["bind"], Policy { outstanding_max: 1, ..Policy::default() });
    let mut outstanding = script.publish_all(&labels(10), 1);
    let mut told = std::collections::BTreeSet::new();
    for serial in 2..80 {
        script.publish_all(&labels(10), serial);
        let [Output::Notify { zone, .. }] = &outstanding[..] else { panic!("{outstanding:?}") };
        let label = zone.to_string();
        told.insert(label.clone());
        outstanding = script.acknowledge("bind", label.strip_suffix(".test").unwrap());
    }
    assert_eq!(told.len(), 10, "a new change takes no zone's turn away");
}

#[test]
fn a_question_is_not_starved_by_changes_that_keep_coming() {
    let mut script = Script::new(&["bind"], Policy { outstanding_max: 1, ..Policy::default() });
    script.publish(&[("a", 1)]);
    script.acknowledge("bind", "a");
    assert_eq!(script.publish(&[("b", 1)]), [notify("bind", "b", 1)]);
    script.publish(&[("c", 1), ("d", 1)]);
    script.now += 5;
    assert_eq!(script.acknowledge("bind", "b"), [ask("bind", "a")]);
}

#[test]
fn a_change_does_not_wait_for_thousands_of_questions() {
    let mut script = Script::new(&["bind"], Policy::default());
    script.converge("bind", "a", 7);
    let begin = script.publish_all(&labels(3_000), 7);
    // All of them are acknowledged, none is followed: after 2 s all wait for questions.
    script.live(secs(2), 700, begin, |output| match output {
        Output::Notify { .. } => acknowledge_and_answer(output, 6),
        _ => answer_behind(output, 6),
    });
    let begin = script.publish(&[("a", 8)]);
    assert!(begin.contains(&notify("bind", "a", 8)), "{begin:?}");
    let all = script.live(ms(20), 700, begin, |output| {
        let serial = if matches!(output, Output::Ask { zone, .. } if *zone == name("a")) { 8 } else { 6 };
        acknowledge_and_answer(output, serial)
    });
    assert!(all.contains(&(5, followed("bind", "a", ms(5), false))), "{:?}", script.standing("bind", "a"));
}

#[test]
fn the_last_quarter_of_the_exchanges_is_kept_for_changes() {
    let policy = Policy { outstanding_max: 4, round_gap: ms(0), ..Policy::default() };
    let mut script = Script::new(&["bind"], policy);
    let begin = script.publish_all(&labels(20), 7);
    script.live(secs(1), 700, begin, |output| acknowledge_and_answer(output, 7));
    assert_eq!(script.pass(secs(31)).len(), 3, "questions of the round, none of them answered");
    assert_eq!(script.publish(&[("z000019", 8)]), [notify("bind", "z000019", 8)]);
    assert_eq!(script.summary("bind").outstanding, 4);
}

#[test]
fn a_silent_target_is_shown_with_the_time_since_which_it_is() {
    let script = silent();
    let summary = script.summary("bind");
    let since = summary.unreachable_since.unwrap();
    assert_eq!(since.since(summary.last_heard.unwrap()), secs(30), "the first lost question was sent then");
    assert_eq!(script.state("bind", "a"), State::Converged, "as of its last answer");
}

#[test]
fn a_silent_target_is_probed_by_one_exchange_at_a_time_after_1_s_doubling_to_30_s() {
    let mut script = Script::new(&["bind"], Policy::default());
    let begin = script.publish_all(&labels(1_000), 7);
    let all = script.live(secs(300), 1_000, begin, |_| None);
    assert_eq!(times(&all, is_unreachable), [1_000]);
    let asked = times(&all, is_exchange);
    assert_eq!(asked[..258], [[0; 256].as_slice(), &[1_000; 2]].concat(), "two failures are not silence yet");
    // The back-off counts from the time-out of a probe.
    assert_eq!(asked[258], 2_000);
    assert_eq!(
        gaps(&asked[258..]),
        [3_000, 5_000, 9_000, 17_000, 31_000, 31_000, 31_000, 31_000, 31_000, 31_000, 31_000, 31_000]
    );
    assert!(!all.iter().any(|(_, output)| matches!(output, Output::Late { .. })), "one line says it all");
}

#[test]
fn every_other_probe_is_a_notify_because_some_firewalls_let_only_that_pass() {
    let mut script = Script::new(&["bind"], Policy::default());
    let begin = script.publish_all(&labels(20), 7);
    let all = script.live(secs(100), 1_000, begin, |_| None);
    let probes: Vec<_> = all.into_iter().filter(|(at, output)| *at > 1_000 && is_exchange(output)).collect();
    let kinds: Vec<_> = probes.iter().map(|(_, output)| matches!(output, Output::Notify { .. })).collect();
    assert_eq!(kinds[..5], [false, true, false, true, false]);
    assert_ne!(probes[0].1, probes[2].1, "each asks about another zone");
}

#[test]
fn a_change_during_an_outage_is_told_by_a_probe_at_once() {
    // One probe apart: whichever kind was next.
    for outage in [3_005, 3_036] {
        let mut script = silent();
        script.live(secs(outage), 1_000, vec![], |_| None);
        assert_eq!(script.summary("bind").outstanding, 0);
        let told = script.publish(&[("a", 8)]);
        assert_eq!(told, [notify("bind", "a", 8)]);
        assert_eq!(script.publish(&[("b", 1)]), [], "one probe at a time");
        let told = script.acknowledge("bind", "a");
        assert!(matches!(told[0], Output::Reachable { .. }), "{told:?}");
        assert_eq!(told[1..], [notify("bind", "b", 1)]);
    }
}

#[test]
fn a_target_that_comes_back_after_a_day_is_told_everything_in_order() {
    let mut script = Script::new(&["bind"], Policy::default());
    let begin = script.publish_all(&labels(100), 7);
    script.live(secs(5), 1_000, begin, |output| acknowledge_and_answer(output, 7));
    script.live(secs(40), 1_000, vec![], |_| None);
    let begin = script.publish_all(&labels(100), 8);
    script.live(secs(86_400), 1_000, begin, |_| None);
    let since = script.summary("bind").unreachable_since.unwrap();
    let all = script.live(secs(60), 1_000, vec![], |output| acknowledge_and_answer(output, 8));
    let back = all.iter().find(|(_, output)| matches!(output, Output::Reachable { .. })).unwrap();
    let Output::Reachable { target, after } = &back.1 else { panic!("{back:?}") };
    assert_eq!(*target, Target::new("bind"));
    assert!(*after >= secs(86_400) && Timestamp(script.now).since(since) > *after);
    assert!(back.0 <= 31_000, "{back:?}");
    assert_eq!(script.summary("bind").counts.converged, 100);
    let followed = times(&all, |output| matches!(output, Output::Followed { .. }));
    assert!(followed.len() == 100 && followed[99] <= back.0 + 10, "{followed:?}");
    let told: Vec<_> = all
        .iter()
        .filter(|(at, output)| *at == back.0 && matches!(output, Output::Notify { .. }))
        .map(|(_, output)| format!("{output:?}"))
        .collect();
    assert!(told.len() > 90 && told.is_sorted(), "{told:?}");
}

#[test]
fn a_target_that_is_back_is_given_time_before_a_zone_of_it_is_late() {
    let mut script = silent();
    script.publish(&[("a", 8)]);
    let all = script.live(secs(100), 1_000, vec![notify("bind", "a", 8)], |_| None);
    assert!(!all.iter().any(|(_, output)| matches!(output, Output::Late { .. })), "{all:?}");
    assert!(matches!(script.overdue("bind"), Some(Overdue::Silent { .. })));
    let all = script.live(secs(20), 1_000, vec![], |output| acknowledge_and_answer(output, 7));
    let back = times(&all, |output| matches!(output, Output::Reachable { .. }));
    assert_eq!(script.overdue("bind"), None, "it is back, and has time");
    let all = script.live(secs(80), 1_000, vec![], |output| acknowledge_and_answer(output, 7));
    let late = times(&all, |output| matches!(output, Output::Late { .. }));
    assert_eq!(late, [back[0] + 30_000 - 20_000]);
}

#[test]
fn an_answer_in_between_starts_the_count_of_failures_anew() {
    let mut script = Script::new(&["bind"], Policy::default());
    let told = script.publish_all(&labels(6), 7);
    for lost in [0, 1, 3, 4] {
        if lost == 3 {
            script.acknowledge("bind", "z000002");
        }
        script.time_out(&told[lost]);
    }
    assert_eq!(script.summary("bind").unreachable_since, None);
    script.time_out(&told[5]);
    assert!(script.summary("bind").unreachable_since.is_some());
}

#[test]
fn an_answer_that_is_not_understood_is_a_failure_of_a_target_that_lives() {
    let mut script = Script::new(&["bind"], Policy::default());
    script.publish_all(&labels(6), 7);
    for label in labels(6) {
        script.fail("bind", &label, Exchange::Notify, Reason::Malformed);
    }
    let summary = script.summary("bind");
    assert_eq!((summary.unreachable_since, summary.last_heard), (None, Some(Timestamp(script.now))));
    assert_eq!(script.standing("bind", "z000005").trouble.unwrap().reason, Reason::Malformed);
}

#[test]
fn a_silent_target_without_zones_has_nothing_to_do() {
    let mut script = silent();
    script.remove(&["a"]);
    script.live(secs(60), 1_000, vec![], |_| None);
    assert_eq!(script.pass(secs(1_000)), []);
    assert!(script.summary("bind").unreachable_since.is_some());
    assert_eq!(script.publish(&[("b", 1)]), [notify("bind", "b", 1)]);
}
