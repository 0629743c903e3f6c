//! Small enough for every run; `cargo run --release -p switchback-model-check` goes further.

use stateright::{Checker, Model};
use switchback_model_check::bounds::Bounds;
use switchback_model_check::memo::Memo;
use switchback_model_check::model::LinkModel;
use switchback_model_check::{tell, walk};

/// Explores everything within `bounds`: nothing is broken, and at least `states_min` were seen.
fn explore(bounds: Bounds, states_min: usize) {
    let checker = LinkModel::new(bounds).checker().spawn_bfs().join();
    for (name, path) in checker.discoveries() {
        let property = checker.model().property(name);
        assert!(!property.expectation.discovery_is_failure(), "{name}: {:?}", path.into_actions());
    }
    assert!(checker.unique_state_count() > states_min, "{}", checker.unique_state_count());
}

#[test]
fn every_interleaving_of_one_command_and_one_write_holds_every_property() {
    explore(Bounds { commands: 1, few_commands: true, health_sample: 997, ..Bounds::default() }, 10_000);
}

#[test]
fn three_commands_in_order_lead_through_a_whole_recovery_and_hold_every_property() {
    let bounds =
        Bounds { commands: 3, in_order: true, few_commands: true, health_sample: 997, ..Bounds::default() };
    explore(bounds, 50_000);
}

#[test]
fn one_message_held_for_ever_breaks_nothing() {
    let bounds = Bounds {
        commands: 2,
        held: 1,
        in_order: true,
        few_commands: true,
        health_sample: 997,
        ..Bounds::default()
    };
    explore(bounds, 100_000);
}

#[test]
fn systems_that_come_back_empty_break_nothing() {
    let bounds = Bounds {
        commands: 2,
        rebuilds: 1,
        in_order: true,
        few_commands: true,
        health_sample: 997,
        ..Bounds::default()
    };
    explore(bounds, 50_000);
}

#[test]
fn random_walks_with_crashes_and_cuts_hold_every_property_and_lead_back_to_health() {
    let bounds = Bounds {
        commands: 5,
        writes: 4,
        deletes: 2,
        ticks: 6,
        crashes: 3,
        cuts: 3,
        repeats: 2,
        ..Bounds::default()
    };
    let memo = Memo::new(true);
    for seed in 1..=150 {
        if let Err(fall) = walk::walk(&bounds, seed, 150, &memo) {
            let trace = tell::trace(&fall.start, &fall.actions, &memo);
            panic!("seed {seed} breaks {}\n{trace}", fall.broken);
        }
    }
}
