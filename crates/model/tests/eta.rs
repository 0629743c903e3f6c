//! Estimates against backlogs that are simulated to their end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use proptest::prelude::*;
use switchback_model::{Backlog, Eta, Flux, Gauge, Outlook, Pace};

/// A second of a flow: how many bytes are moved, and how many are written.
type Second = (u64, u64);

/// Watches a backlog for `seconds`, then waits until it is gone: what was said, and what was true.
fn run(backlog: u64, seconds: u64, mut flow: impl FnMut() -> Second) -> (Outlook, Option<u64>) {
    let mut gauge = Gauge::default();
    let (mut left, mut moved) = (backlog, 0);
    let mut look = |gauge: &mut Gauge, at: u64| {
        let backlog = |bytes| Backlog { objects: 0, bytes };
        gauge.look(Duration::from_secs(at), backlog(left), backlog(moved));
        let (out, new) = flow();
        let out = out.min(left + new);
        moved += out;
        left = left + new - out;
        left
    };
    for at in 0..seconds {
        look(&mut gauge, at);
    }
    let mut last = gauge.clone();
    let mut after = look(&mut last, seconds);
    let said = last.pace().outlook();
    let mut took = 1;
    while after > 0 && took < 1_000_000 {
        after = look(&mut gauge, seconds + took);
        took += 1;
    }
    (said, (after == 0).then_some(took))
}

fn ends(outlook: Outlook) -> Eta {
    match outlook {
        Outlook::Ends(eta) => eta,
        other => panic!("{other:?}"),
    }
}

#[test]
fn constant_rates_give_the_exact_end() {
    for (backlog, moved, new) in
        [(10_000, 100, 0), (100_000, 100, 40), (7_000, 30, 29), (100_000_000, 9_000, 0)]
    {
        let (said, truth) = run(backlog, 20, || (moved, new));
        let (eta, truth) = (ends(said), truth.unwrap());
        assert!(eta.seconds.abs_diff(truth) <= 1, "{eta:?}, {truth}");
        assert!(eta.low.abs_diff(truth) <= 1 && eta.high.unwrap().abs_diff(truth) <= 1, "{eta:?}, {truth}");
    }
}

#[test]
fn a_backlog_that_does_not_grow_smaller_is_not_caught_up_with() {
    for new in [100, 101, 1_000] {
        assert_eq!(run(10_000, 20, || (100, new)).0, Outlook::FallsBehind);
    }
    // A few seconds' worth stays, and is always sent at once: that is no backlog.
    let in_balance = run(300, 20, || (100, 100)).0;
    assert_eq!(ends(in_balance).seconds, 3);
}

#[test]
fn a_burst_that_is_over_says_nothing_of_what_comes() {
    let mut second = 0;
    let burst = move || {
        second += 1;
        (10, if second <= 20 { 100 } else { 0 })
    };
    assert_eq!(run(1_000, 20, burst).0, Outlook::FallsBehind);
    // Twenty seconds of writing, and six without: 2,740 are left.
    let (said, truth) = run(1_000, 26, burst);
    assert_eq!((ends(said).seconds, ends(said).high, truth), (274, Some(274), Some(274)));
}

#[test]
fn what_stands_still_or_was_hardly_seen_has_no_end_that_is_known() {
    assert_eq!(run(10_000, 20, || (0, 0)).0, Outlook::Unknown);
    assert_eq!(run(10_000, 3, || (100, 0)).0, Outlook::Unknown);
    assert_eq!(ends(Gauge::default().pace().outlook()).seconds, 0, "nothing is left");
    let mut gauge = Gauge::default();
    for at in 0..20 {
        let backlog = Backlog { objects: 100 - at, bytes: 0 };
        gauge.look(Duration::from_secs(at), backlog, Backlog { objects: at, bytes: 0 });
    }
    assert_eq!(ends(gauge.pace().outlook()).seconds, 81);
    gauge.forget();
    assert_eq!(gauge.pace().outlook(), Outlook::Unknown, "other rates hold since");
}

#[test]
fn one_large_body_is_judged_by_its_bytes_and_many_small_objects_by_their_number() {
    let flux = |left, moved| Flux { left, moved, net: moved, variance: 0.0 };
    let body = Pace { seconds: 30.0, objects: flux(1.0, 0.0), bytes: flux(5_000.0, 50.0) };
    assert_eq!(ends(body.outlook()).seconds, 100);
    let small = Pace { seconds: 30.0, objects: flux(5_000.0, 10.0), bytes: flux(50_000.0, 500.0) };
    assert_eq!(ends(small.outlook()).seconds, 500);
    let deletes = Pace { seconds: 30.0, objects: flux(50.0, 10.0), bytes: Flux::default() };
    assert_eq!(ends(deletes.outlook()).seconds, 5);
    assert_eq!(ends(Pace::join([body, small, Pace::default()]).outlook()).seconds, 501);
    assert_eq!(body.without_new_writes().outlook(), body.outlook());
}

/// Numbers that repeat, from a seed (Steele, Lea and Flood 2014, SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Of a thousand flows, in how many the end was within what was said.
fn held(window: u64, backlog: u64, flow: impl Fn(&mut Chance, &mut u64) -> Second) -> u32 {
    let mut held = 0;
    for seed in 0..1_000 {
        let (mut chance, mut mood) = (Chance(seed), 0);
        let (said, truth) = run(backlog, window, || flow(&mut chance, &mut mood));
        held += match (said, truth) {
            (Outlook::Ends(eta), Some(truth)) => {
                u32::from(eta.low <= truth && eta.high.is_none_or(|high| truth <= high))
            }
            // It was said that there is no end, and there was one.
            (_, Some(_)) => 0,
            (_, None) => 1,
        };
    }
    held
}

#[test]
fn the_interval_holds_the_end_nine_times_in_ten() {
    // Each second by itself: what is moved and what is written vary by half of it and more.
    let noisy = |chance: &mut Chance, _: &mut u64| (500 + chance.below(1_000), chance.below(600));
    for (window, backlog) in [(10, 40_000), (20, 100_000), (60, 100_000), (60, 1_000_000)] {
        let held = held(window, backlog, noisy);
        assert!(held >= 900, "{held} of 1,000 after {window} s with {backlog}");
    }
    // Clients that write in bursts of some seconds, over a line that stays as it is.
    let bursts = |chance: &mut Chance, mood: &mut u64| {
        if chance.below(4) == 0 {
            *mood = chance.below(1_200);
        }
        (1_000, *mood)
    };
    for (window, backlog) in [(60, 60_000), (60, 100_000)] {
        let held = held(window, backlog, bursts);
        assert!(held >= 820, "{held} of 1,000 after {window} s with {backlog}, in bursts");
    }
}

#[test]
fn the_interval_says_something_when_the_rates_are_steady() {
    let mut chance = Chance(7);
    let (said, _) = run(100_000, 60, || (900 + chance.below(200), chance.below(100)));
    let eta = ends(said);
    assert!(eta.high.unwrap() - eta.low <= eta.seconds / 5, "{eta:?}");
}

fn any_flux() -> impl Strategy<Value = Flux> {
    let number = prop_oneof![Just(0.0), Just(f64::MIN_POSITIVE), -1e3..1e3_f64, -1e19..1e19_f64];
    (0.0..2e19_f64, number.clone(), number, prop_oneof![Just(0.0), 0.0..1e38_f64])
        .prop_map(|(left, moved, net, variance)| Flux { left, moved, net, variance })
}

proptest! {
    #[test]
    fn no_pace_breaks_it(objects in any_flux(), bytes in any_flux(), seconds in prop_oneof![Just(0.0), 0.0..1e9_f64]) {
        let pace = Pace { seconds, objects, bytes };
        for outlook in [pace.outlook(), pace.without_new_writes().outlook(), Pace::join([pace, pace]).outlook()] {
            if let Outlook::Ends(eta) = outlook {
                prop_assert!(eta.low <= eta.seconds, "{eta:?}");
                prop_assert!(eta.high.is_none_or(|high| eta.seconds <= high), "{eta:?}");
            }
        }
        prop_assert!(objects.added() >= 0.0);
    }

    #[test]
    fn no_looks_break_it(looks in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u64>()), 0..100)) {
        let mut gauge = Gauge::default();
        for (at, left, moved) in looks {
            let backlog = |bytes| Backlog { objects: bytes / 3, bytes };
            gauge.look(Duration::from_millis(at.into()), backlog(left), backlog(moved));
            let pace = gauge.pace();
            for flux in [pace.objects, pace.bytes] {
                prop_assert!([flux.left, flux.moved, flux.net, flux.variance].iter().all(|one| one.is_finite()));
                prop_assert!(flux.variance >= 0.0 && flux.moved >= 0.0);
            }
            let _ = pace.outlook();
        }
    }
}
