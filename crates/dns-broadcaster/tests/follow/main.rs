//! What other name servers are told and asked, and what an operator sees of them.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod property;
mod reach;
mod script;

use script::*;
use switchback_dns::core::follow::{
    Counts, Exchange, Followers, Footprint, Input, Output, Overdue, Policy, Reason, State, TARGETS_MAX,
    Target, ZONES_MAX,
};
use switchback_dns::core::zone::Serial;
use switchback_machine::Timestamp;

fn one() -> Script {
    Script::new(&["bind"], Policy::default())
}

#[test]
fn a_change_is_told_to_every_target_at_once() {
    let mut script = Script::new(&["bind", "knot", "nsd"], Policy::default());
    let told = script.publish(&[("a", 7)]);
    assert_eq!(told, [notify("bind", "a", 7), notify("knot", "a", 7), notify("nsd", "a", 7)]);
    assert_eq!(script.state("nsd", "a"), State::Unknown);
}

#[test]
fn a_serial_that_is_known_is_no_change() {
    let mut script = one();
    script.converge("bind", "a", 7);
    let before = script.standing("bind", "a");
    assert_eq!(script.publish(&[("a", 7)]), []);
    assert_eq!(script.standing("bind", "a"), before);
}

#[test]
fn a_target_that_answers_the_new_serial_has_converged_and_its_time_is_shown() {
    let mut script = one();
    script.publish(&[("a", 7)]);
    script.now += 2;
    assert_eq!(script.acknowledge("bind", "a"), []);
    assert_eq!(script.pass(ms(5)), [(5, ask("bind", "a"))]);
    script.now += 1;
    assert_eq!(script.answer("bind", "a", Some(6)), []);
    assert_eq!(script.state("bind", "a"), State::Behind { theirs: Serial(6), by: 1 });
    assert_eq!(script.pass(ms(10)), [(10, ask("bind", "a"))]);
    script.now += 1;
    assert_eq!(script.answer("bind", "a", Some(7)), [followed("bind", "a", ms(19), false)]);
    let standing = script.standing("bind", "a");
    assert_eq!((standing.state, standing.converged_after), (State::Converged, Some(ms(19))));
    assert_eq!((standing.behind_since, standing.answered_at), (None, Some(Timestamp(script.now))));
}

#[test]
fn after_an_acknowledgement_the_soa_is_asked_at_5_ms_doubling_to_1_s_then_every_5_s() {
    // Nor is the target told again meanwhile, which would be a reason to ask.
    let never = secs(3600);
    let policy = Policy { notify_again: never, notify_again_max: never, ..Policy::default() };
    let mut script = Script::new(&["bind"], policy);
    script.publish(&[("a", 7)]);
    let begin = script.acknowledge("bind", "a");
    let all = script.live(secs(25), 100, begin, |output| answer_behind(output, 6));
    let asked = times(&all, |output| *output == ask("bind", "a"));
    assert_eq!(asked[0], 5);
    assert_eq!(gaps(&asked), [10, 20, 40, 80, 160, 320, 640, 1_000, 5_000, 5_000, 5_000, 5_000]);
}

#[test]
fn a_lost_notify_is_sent_again_after_1_s_doubling_to_60_s_for_a_day() {
    let mut script = one();
    let begin = script.publish(&[("a", 7)]);
    // A firewall drops NOTIFYs and lets questions pass.
    let all = script.live(secs(86_400), 700, begin, |output| answer_behind(output, 6));
    let told = gaps(&times(&all, |output| *output == notify("bind", "a", 7)));
    assert_eq!(told[..8], [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    assert!(told[6..].iter().all(|gap| *gap == 60_000) && told.len() > 1_440, "{}", told.len());
    assert_eq!(script.summary("bind").unreachable_since, None, "it answers");
}

#[test]
fn a_target_that_acknowledges_and_does_not_follow_is_told_again_after_2_s_doubling_to_60_s() {
    let mut script = one();
    let begin = script.publish(&[("a", 7)]);
    let all = script.live(secs(600), 700, begin, |output| acknowledge_and_answer(output, 6));
    let told = gaps(&times(&all, |output| *output == notify("bind", "a", 7)));
    assert_eq!(told[..5], [2_000, 4_000, 8_000, 16_000, 32_000]);
    assert!(told[5..].iter().all(|gap| *gap == 60_000) && told.len() > 12, "{told:?}");
    // And asked no faster for it.
    let asked = times(&all, |output| *output == ask("bind", "a"));
    assert!(asked.len() < 600 / 5 + 9 + 2 * told.len(), "{}", asked.len());
}

#[test]
fn a_change_starts_every_back_off_anew() {
    for end in ["acknowledged", "refused", "lost"] {
        let mut script = one();
        for serial in 7..9 {
            let begin = script.publish(&[("a", serial)]);
            let all = script.live(secs(10), 700, begin, |output| match (output, end) {
                (Output::Notify { target, zone, .. }, "refused") => {
                    Some(Input::NotifyRefused { target: target.clone(), zone: zone.clone() })
                }
                (Output::Notify { .. }, "lost") => None,
                _ => acknowledge_and_answer(output, 6),
            });
            let asked = times(&all, |output| *output == ask("bind", "a"));
            let told = times(&all, |output| *output == notify("bind", "a", serial));
            match end {
                "acknowledged" => assert_eq!((asked[0], &gaps(&asked)[..3]), (5, &[10, 20, 40][..])),
                "refused" => assert_eq!((asked[0], &gaps(&asked)[..3]), (0, &[5, 10, 20][..])),
                _ => assert_eq!(told[..3], [0, 1_000, 3_000]),
            }
        }
    }
}

#[test]
fn an_acknowledgement_starts_the_back_off_of_losses_anew() {
    let mut script = one();
    let begin = script.publish(&[("a", 7)]);
    let mut told = 0;
    let all = script.live(secs(100), 700, begin, |output| {
        told += u32::from(matches!(output, Output::Notify { .. }));
        if matches!(output, Output::Notify { .. }) && told != 4 {
            return None;
        }
        acknowledge_and_answer(output, 6)
    });
    let told = gaps(&times(&all, |output| matches!(output, Output::Notify { .. })));
    assert_eq!(told[..5], [1_000, 2_000, 4_000, 2_000, 1_000], "the fourth is acknowledged");
}

#[test]
fn a_zone_whose_notify_does_not_end_is_asked_about_after_5_s() {
    let mut script = one();
    script.publish(&[("a", 7)]);
    assert_eq!(script.pass(secs(5)), [(5_000, ask("bind", "a"))]);
}

#[test]
fn a_lost_notify_brings_a_question_because_its_acknowledgement_may_be_what_was_lost() {
    let mut script = one();
    let told = script.publish(&[("a", 7)]);
    script.now += 500;
    assert_eq!(script.time_out(&told[0]), [ask("bind", "a")]);
    assert_eq!(script.answer("bind", "a", Some(7)), [followed("bind", "a", ms(500), false)]);
    let later = script.pass(secs(29));
    assert_eq!(later, [], "what has followed is told no more");
}

#[test]
fn a_change_while_a_notify_is_outstanding_is_told_right_after() {
    for end in ["acknowledged", "refused", "lost"] {
        let mut script = one();
        let told = script.publish(&[("a", 7)]);
        assert_eq!(script.publish(&[("a", 8)]), [], "one NOTIFY of a zone at a time");
        assert_eq!(script.publish(&[("a", 9)]), []);
        script.now += 300;
        let next = match end {
            "acknowledged" => script.acknowledge("bind", "a"),
            "refused" => script.refuse("bind", "a"),
            _ => script.time_out(&told[0]),
        };
        assert!(next.contains(&notify("bind", "a", 9)), "{end}: {next:?}");
        assert!(!next.contains(&notify("bind", "a", 8)), "{end}: {next:?}");
    }
}

#[test]
fn a_change_does_not_wait_for_a_question_that_is_outstanding() {
    let mut script = one();
    script.converge("bind", "a", 7);
    assert_eq!(script.pass(secs(30)), [(30_000, ask("bind", "a"))]);
    assert_eq!(script.publish(&[("a", 8)]), [notify("bind", "a", 8)]);
}

#[test]
fn a_target_that_is_ahead_is_shown_and_neither_told_nor_warned_of() {
    let mut script = one();
    script.publish(&[("a", 7)]);
    script.acknowledge("bind", "a");
    script.pass(ms(5));
    let told = script.answer("bind", "a", Some(9));
    let (target, zone) = (Target::new("bind"), name("a"));
    assert_eq!(told, [Output::Overtaken { target, zone, ours: Serial(7), theirs: Serial(9) }]);
    assert_eq!(script.state("bind", "a"), State::Ahead { theirs: Serial(9) });
    assert_eq!(script.standing("bind", "a").behind_since, None);
    let all = script.live(secs(100), 700, vec![], |output| answer_behind(output, 9));
    let asked: Vec<_> = [30_000, 60_000, 90_000].map(|at| (at, ask("bind", "a"))).into();
    assert_eq!(all, asked, "told once, and asked in the round");
}

#[test]
fn a_change_to_the_serial_that_a_target_holds_already_is_followed_and_verified() {
    let mut script = one();
    script.publish(&[("a", 7)]);
    script.acknowledge("bind", "a");
    script.pass(ms(5));
    script.answer("bind", "a", Some(9));
    script.now += 1_000;
    assert_eq!(
        script.publish(&[("a", 9)]),
        [followed("bind", "a", ms(0), false), ask("bind", "a")],
        "by its last answer, which may be old"
    );
    assert_eq!(script.state("bind", "a"), State::Converged);
    assert_eq!(script.summary("bind").last_change.unwrap().open, 0);
    assert_eq!(script.answer("bind", "a", Some(6)), [notify("bind", "a", 9)]);
}

#[test]
fn half_the_circle_counts_as_behind() {
    let mut script = one();
    script.publish(&[("a", 1 << 31)]);
    script.acknowledge("bind", "a");
    script.pass(ms(5));
    script.answer("bind", "a", Some(0));
    assert_eq!(script.state("bind", "a"), State::Behind { theirs: Serial(0), by: 1 << 31 });
}

#[test]
fn a_target_that_refuses_notify_is_asked_all_the_same_and_told_every_10_minutes() {
    let mut script = one();
    script.publish(&[("a", 7)]);
    assert_eq!(script.refuse("bind", "a"), [ask("bind", "a")]);
    let begin = script.answer("bind", "a", None);
    assert_eq!(script.state("bind", "a"), State::NotHeld);
    assert!(script.standing("bind", "a").notify_refused);
    let all = script.live(secs(1_500), 700, begin, |output| match output {
        Output::Notify { target, zone, .. } => {
            Some(Input::NotifyRefused { target: target.clone(), zone: zone.clone() })
        }
        _ => answer(output, None),
    });
    assert_eq!(times(&all, |output| *output == notify("bind", "a", 7)), [600_000, 1_200_000]);
    assert!(times(&all, |output| *output == ask("bind", "a")).len() >= 300);
    assert_eq!(script.publish(&[("a", 8)]), [notify("bind", "a", 8)], "a change is told even so");
    script.acknowledge("bind", "a");
    assert!(!script.standing("bind", "a").notify_refused, "its configuration was mended");
}

#[test]
fn what_has_converged_is_asked_again_every_30_s() {
    let mut script = one();
    script.converge("bind", "a", 7);
    let all = script.live(secs(95), 700, vec![], |output| answer_behind(output, 7));
    assert_eq!(all, [30_000, 60_000, 90_000].map(|at| (at, ask("bind", "a"))));
}

#[test]
fn a_question_of_the_round_that_is_lost_is_asked_again_after_5_s() {
    let mut script = one();
    script.converge("bind", "a", 7);
    script.pass(secs(30));
    script.fail("bind", "a", Exchange::Ask, Reason::TimedOut);
    let standing = script.standing("bind", "a");
    assert_eq!((standing.state, standing.failures), (State::Converged, 1));
    assert_eq!(standing.trouble.unwrap().reason, Reason::TimedOut);
    assert_eq!(script.pass(secs(5)), [(5_000, ask("bind", "a"))]);
    script.answer("bind", "a", Some(7));
    assert_eq!(script.standing("bind", "a").failures, 0);
}

#[test]
fn the_round_asks_a_target_no_more_than_100_times_a_second() {
    let mut script = one();
    let begin = script.publish_all(&labels(5_000), 7);
    let all = script.live(secs(20), 700, begin, |output| acknowledge_and_answer(output, 7));
    assert_eq!(script.summary("bind").counts.converged, 5_000);
    assert_eq!(times(&all, |output| matches!(output, Output::Followed { .. })).len(), 5_000);
    let all = script.live(secs(100), 700, vec![], |output| acknowledge_and_answer(output, 7));
    let asked = times(&all, is_exchange);
    assert!(asked.len() > 8_000, "the round goes on: {}", asked.len());
    assert!(gaps(&asked).iter().all(|gap| *gap >= 10));
    let zones: std::collections::BTreeSet<_> = all.iter().map(|(_, output)| format!("{output:?}")).collect();
    assert_eq!(zones.len(), 5_000, "each in its turn");
}

#[test]
fn a_target_that_fell_back_is_told_again_and_is_behind_since_then() {
    let mut script = one();
    script.converge("bind", "a", 7);
    script.pass(secs(30));
    assert_eq!(script.answer("bind", "a", Some(3)), [notify("bind", "a", 7)]);
    let standing = script.standing("bind", "a");
    assert_eq!(standing.state, State::Behind { theirs: Serial(3), by: 4 });
    assert_eq!(standing.behind_since, Some(Timestamp(script.now)));
    assert_eq!(script.pass(ms(5)), [(5, ask("bind", "a"))], "as soon as after a change");
    assert_eq!(script.answer("bind", "a", Some(7)), [followed("bind", "a", ms(5), false)]);
    let converged_after = script.standing("bind", "a").converged_after;
    assert_eq!(converged_after, Some(ms(5)), "that of the change stays");
}

#[test]
fn a_target_that_lost_the_zone_is_told_and_shown() {
    let mut script = one();
    script.converge("bind", "a", 7);
    script.pass(secs(30));
    let begin = script.answer("bind", "a", None);
    assert_eq!(begin, [notify("bind", "a", 7)]);
    assert_eq!(script.summary("bind").counts, Counts { not_held: 1, ..Counts::default() });
    let all = script.live(secs(40), 700, begin, |output| match output {
        Output::Ask { .. } => answer(output, None),
        _ => acknowledge_and_answer(output, 7),
    });
    assert!(all.contains(&(30_000, late("bind", "a", secs(30)))), "{all:?}");
}

#[test]
fn a_target_that_followed_some_of_several_changes_is_behind_since_the_first_that_it_misses() {
    let mut script = one();
    script.converge("bind", "a", 1);
    let changed_at = [2, 3, 4].map(|serial| {
        script.now += 1_000;
        script.publish(&[("a", serial)]);
        assert_eq!(script.standing("bind", "a").converged_after, None);
        Timestamp(script.now)
    });
    script.acknowledge("bind", "a");
    assert_eq!(script.standing("bind", "a").behind_since, Some(changed_at[0]));
    script.acknowledge("bind", "a");
    script.pass(ms(5));
    script.answer("bind", "a", Some(2));
    assert_eq!(script.standing("bind", "a").behind_since, Some(changed_at[1]));
    script.pass(ms(10));
    script.answer("bind", "a", Some(1));
    assert_eq!(script.standing("bind", "a").behind_since, Some(changed_at[1]), "never earlier again");
    script.pass(ms(20));
    assert_eq!(script.answer("bind", "a", Some(4)), [followed("bind", "a", ms(35), false)]);
}

#[test]
fn the_summary_counts_and_names_the_slowest_of_the_last_change() {
    let mut script = Script::new(&["bind", "knot"], Policy::default());
    let start = Timestamp(script.now);
    script.publish(&[("a", 7), ("b", 7), ("c", 7), ("d", 7)]);
    for label in ["a", "b", "c"] {
        script.acknowledge("bind", label);
    }
    script.pass(ms(5));
    script.answer("bind", "a", Some(7));
    script.now += 15;
    script.answer("bind", "b", Some(7));
    script.answer("bind", "c", Some(4));
    let summary = script.summary("bind");
    assert_eq!(summary.counts, Counts { converged: 2, behind: 1, unknown: 1, ..Counts::default() });
    let change = summary.last_change.unwrap();
    assert_eq!((change.at, change.zones, change.open, change.slowest), (start, 4, 2, Some(ms(20))));
    assert_eq!(summary.last_heard, Some(Timestamp(script.now)));
    assert_eq!(script.summary("knot").last_heard, None);
    script.remove(&["d"]);
    assert_eq!(script.summary("bind").last_change.unwrap().open, 1, "what is gone is waited for no more");
    script.publish(&[("a", 8)]);
    let change = script.summary("bind").last_change.unwrap();
    assert_eq!((change.zones, change.open, change.slowest), (1, 1, None));
    let shown: Vec<_> = script.followers.standings(&Target::new("bind"), Some(&name("a"))).collect();
    assert_eq!(shown.iter().map(|(zone, _)| (*zone).clone()).collect::<Vec<_>>(), [name("b"), name("c")]);
}

#[test]
fn a_zone_is_late_once_per_change_and_its_following_is_told() {
    let mut script = one();
    script.converge("bind", "a", 7);
    script.publish(&[("a", 8)]);
    let begin = script.acknowledge("bind", "a");
    let all = script.live(secs(100), 700, begin, |output| acknowledge_and_answer(output, 7));
    let is_late = |output: &Output| matches!(output, Output::Late { .. });
    assert_eq!(times(&all, is_late), [30_000]);
    assert!(all.contains(&(30_000, late("bind", "a", secs(30)))));
    assert_eq!(script.overdue("bind"), Some(Overdue::Late { zones: 1 }));
    let begin = script.publish(&[("a", 9)]);
    let all = script.live(secs(100), 700, begin, |output| acknowledge_and_answer(output, 7));
    assert!(all.contains(&(30_000, late("bind", "a", secs(130)))), "once more for the next change");
    assert_eq!(times(&all, is_late), [30_000]);
    assert_eq!(script.overdue("bind"), Some(Overdue::Late { zones: 1 }), "it is one zone");
    let all = script.live(secs(60), 700, vec![], |output| acknowledge_and_answer(output, 9));
    assert!(matches!(all[1].1, Output::Followed { was_late: true, .. }), "{all:?}");
    assert_eq!(script.overdue("bind"), None);
}

#[test]
fn a_zone_that_goes_is_not_overdue() {
    let mut script = one();
    script.converge("bind", "a", 7);
    script.publish(&[("a", 8)]);
    let begin = script.acknowledge("bind", "a");
    script.live(secs(40), 700, begin, |output| acknowledge_and_answer(output, 7));
    assert_eq!(script.overdue("bind"), Some(Overdue::Late { zones: 1 }));
    script.remove(&["a"]);
    assert_eq!(script.overdue("bind"), None);
}

/// A name server that takes some zones only is not told of the others, not asked, and misses nothing.
#[test]
fn a_zone_that_a_target_leaves_out_is_no_business_of_it() {
    let mut script = Script::new(&["bind", "nsd"], Policy::default());
    script.leave_out("nsd", "a");
    let told = script.publish(&[("a", 7), ("b", 7)]);
    assert_eq!(told, [notify("bind", "a", 7), notify("bind", "b", 7), notify("nsd", "b", 7)]);
    assert_eq!(script.publish(&[("a", 8)]), [], "one of it is on its way to bind");
    let summary = script.summary("nsd");
    assert_eq!((summary.counts.unknown, summary.last_change.unwrap().zones), (1, 1));
}

#[test]
fn changes_that_keep_coming_do_not_put_a_warning_off() {
    let mut script = one();
    let mut begin = script.publish(&[("a", 1)]);
    let mut warned = Vec::new();
    for serial in 2..8 {
        let all = script.live(secs(10), 700, begin, |output| acknowledge_and_answer(output, 0));
        warned.extend(all.into_iter().filter(|(_, output)| matches!(output, Output::Late { .. })));
        begin = script.publish(&[("a", serial)]);
    }
    assert_eq!(warned, [(10_000, late("bind", "a", secs(30))), (10_000, late("bind", "a", secs(60)))]);
}

#[test]
fn a_target_that_lags_behind_changes_that_keep_coming_and_follows_each_is_not_late() {
    let mut script = one();
    let mut begin = script.publish(&[("a", 1)]);
    for serial in 2..20 {
        let all = script.live(secs(10), 700, begin, |output| acknowledge_and_answer(output, serial - 2));
        assert!(!all.iter().any(|(_, output)| matches!(output, Output::Late { .. })), "{serial}: {all:?}");
        begin = script.publish(&[("a", serial)]);
    }
    script.live(secs(1), 700, begin, |output| acknowledge_and_answer(output, 6));
    script.remove(&["a"]);
    assert_eq!(script.followers.footprint(), Footprint::default(), "no warning is left behind");
}

#[test]
fn many_late_zones_are_told_over_several_steps() {
    let mut script = one();
    let begin = script.publish_all(&labels(600), 7);
    let all = script.live(secs(31), 700, begin, |output| acknowledge_and_answer(output, 6));
    let told = times(&all, |output| matches!(output, Output::Late { .. }));
    assert_eq!(told.len(), 600);
    assert_eq!((told[0], told[255], told[256], told[599]), (30_000, 30_000, 30_001, 30_002));
}

#[test]
fn a_zone_that_goes_leaves_nothing_once_its_exchanges_have_ended() {
    let mut script = Script::new(&["bind", "knot"], Policy::default());
    let mut begin = script.publish_all(&labels(100), 7);
    begin.extend(script.publish(&[("a", 7)]));
    let answers = |output: &Output| match output {
        Output::Notify { zone, .. } | Output::Ask { zone, .. } if *zone == name("a") => None,
        _ => acknowledge_and_answer(output, 6),
    };
    script.live(secs(3), 100_000, begin, answers);
    let gone = labels(100);
    script.remove(&gone.iter().map(String::as_str).chain(["a"]).collect::<Vec<_>>());
    let outstanding = script.followers.footprint().outstanding;
    assert_eq!(script.followers.footprint(), Footprint { outstanding, ..Footprint::default() });
    assert!(outstanding >= 2);
    for target in ["bind", "knot"] {
        assert_eq!(script.acknowledge(target, "a"), []);
        script.answer(target, "a", Some(7));
        assert_eq!(script.summary(target).counts, Counts::default());
    }
    assert_eq!(script.followers.footprint(), Footprint::default());
    assert_eq!(script.pass(secs(1_000)), []);
}

#[test]
fn a_zone_that_comes_again_takes_over_what_is_outstanding() {
    let mut script = one();
    script.publish(&[("a", 7)]);
    script.remove(&["a"]);
    assert_eq!(script.publish(&[("a", 8)]), [], "a NOTIFY of that name is outstanding");
    assert_eq!(script.acknowledge("bind", "a"), [notify("bind", "a", 8)]);
    assert_eq!(script.summary("bind").outstanding, 1);
}

#[test]
fn what_was_not_asked_for_is_ignored() {
    let mut script = one();
    script.converge("bind", "a", 7);
    let before = (script.standing("bind", "a"), script.summary("bind"));
    script.now += 1;
    script.answer("bind", "a", Some(3));
    script.acknowledge("bind", "a");
    script.refuse("bind", "a");
    script.fail("bind", "a", Exchange::Ask, Reason::TimedOut);
    script.answer("knot", "a", Some(3));
    assert_eq!((script.standing("bind", "a"), script.summary("bind")), before);
}

#[test]
fn what_is_followed_is_limited() {
    let targets = |count| (0..count).map(|number| Target::new(&format!("t{number}")));
    assert!(Followers::new(targets(TARGETS_MAX), Policy::default()).is_ok());
    let refused = Followers::new(targets(TARGETS_MAX + 1), Policy::default()).unwrap_err();
    assert_eq!(refused.given, TARGETS_MAX + 1);

    let mut script = Script::new(&[], Policy::default());
    script.publish_all(&labels(ZONES_MAX + 3), 1);
    let footprint = script.followers.footprint();
    assert_eq!((footprint.zones, footprint.left_out), (ZONES_MAX, 3));
}

/// Ends a question with this answer.
fn answer(output: &Output, serial: Option<u32>) -> Option<Input> {
    match output {
        Output::Ask { target, zone } => Some(Input::SoaAnswered {
            target: target.clone(),
            zone: zone.clone(),
            serial: serial.map(Serial),
        }),
        _ => None,
    }
}

/// NOTIFYs are lost, questions answered.
fn answer_behind(output: &Output, serial: u32) -> Option<Input> {
    answer(output, Some(serial))
}

fn acknowledge_and_answer(output: &Output, serial: u32) -> Option<Input> {
    match output {
        Output::Notify { target, zone, .. } => {
            Some(Input::NotifyAcknowledged { target: target.clone(), zone: zone.clone() })
        }
        _ => answer_behind(output, serial),
    }
}

/// Nor of those beyond the ones that it is to have.
#[test]
fn a_target_with_zones_of_its_own_is_told_of_those_and_what_is_beneath() {
    let mut script = Script::new(&["bind", "nsd"], Policy::default());
    script.keep_within("nsd", "a");
    let told = script.publish(&[("a", 7), ("b", 7), ("x.a", 7), ("xa", 7)]);
    let of_nsd = [notify("nsd", "a", 7), notify("nsd", "x.a", 7)];
    assert!(told.len() == 6 && of_nsd.iter().all(|one| told.contains(one)), "{told:?}");
    assert_eq!((script.summary("nsd").counts.unknown, script.summary("bind").counts.unknown), (2, 4));
}
