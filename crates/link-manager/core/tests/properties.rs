//! What holds whatever happens, in whatever order: random commands on either side, cuts, crashes
//! of whole systems and writes, then an operator who brings the link back to health.

mod world;

use proptest::prelude::*;
use switchback_link_core::{CommandKind, LinkState};
use switchback_model::{AccessMode, Epoch, Side};
use world::{EAST, WEST, World};

#[derive(Clone, Debug)]
enum Action {
    Command(usize, CommandKind),
    Write(usize),
    Cut,
    Heal,
    Crash(usize),
    Start(usize),
    RestartManager(usize),
    Run(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let at = prop_oneof![Just(EAST), Just(WEST)];
    let command = prop_oneof![
        4 => Just(CommandKind::FailOver { no_drain: false, accept_loss: String::new() }),
        4 => Just(CommandKind::BeginRecovery),
        4 => Just(CommandKind::CompleteRecovery { anyway: false }),
        1 => Just(CommandKind::DeclareLost { confirm: "acme".into() }),
        1 => Just(CommandKind::Suspend),
        2 => Just(CommandKind::Resume),
        1 => Just(CommandKind::Restore),
    ];
    prop_oneof![
        6 => (at.clone(), command).prop_map(|(at, kind)| Action::Command(at, kind)),
        6 => at.clone().prop_map(Action::Write),
        2 => Just(Action::Cut),
        3 => Just(Action::Heal),
        1 => at.clone().prop_map(Action::Crash),
        3 => at.clone().prop_map(Action::Start),
        2 => at.prop_map(Action::RestartManager),
        6 => (1u64..40).prop_map(|tens| Action::Run(tens * 50)),
    ]
}

fn perform(world: &mut World, number: usize, action: Action) {
    match action {
        Action::Command(at, kind) if world.systems[at].up => {
            world.ask(at, kind, &format!("random-{number}"));
        }
        Action::Write(at) => {
            world.write(at).ok();
        }
        Action::Cut => world.cut(),
        Action::Heal => world.heal(),
        Action::Crash(at) if world.systems[at].up => world.crash(at),
        Action::Start(at) if !world.systems[at].up => world.start(at),
        Action::RestartManager(at) if world.systems[at].up => world.restart_manager(at),
        Action::Run(ms) => world.run(ms),
        Action::Command(..) | Action::Crash(_) | Action::Start(_) | Action::RestartManager(_) => {}
    }
}

fn check(world: &World, before: &mut [Epoch; 2]) {
    for at in [EAST, WEST] {
        let link = world.link(at);
        assert!(link.shared.epoch >= before[at], "an epoch never goes back");
        before[at] = link.shared.epoch;
        let side = link.side;
        assert!(
            world.systems[at].wrote_in.iter().all(|epoch| epoch.holder() == side),
            "only the side that an epoch names writes in it"
        );
        let (mode, epoch) = world.systems[at].access;
        let known = epoch == link.shared.epoch || mode == AccessMode::ReadOnly || epoch < link.shared.epoch;
        assert!(known, "no mover is writable in an epoch that its link manager has not taken");
    }
}

/// What an operator does who follows the status until the link is healthy.
fn bring_back(world: &mut World) {
    for at in [EAST, WEST] {
        if !world.systems[at].up {
            world.start(at);
        }
    }
    world.heal();
    for round in 0..40 {
        world.run(2_000);
        let (state, suspended) = (world.state(WEST), world.link(WEST).shared.suspended);
        let settled = world.link(EAST).shared.epoch == world.link(WEST).shared.epoch;
        let next = match state {
            _ if suspended => Some(CommandKind::Resume),
            LinkState::FailedOver if settled => Some(CommandKind::BeginRecovery),
            LinkState::Recovering if settled => Some(CommandKind::CompleteRecovery { anyway: false }),
            LinkState::Replicating
                if settled
                    && world.mode(EAST) == AccessMode::ReadWrite
                    && world.mode(WEST) == AccessMode::ReadOnly =>
            {
                return;
            }
            _ => None,
        };
        if let Some(kind) = next {
            world.ask(WEST, kind, &format!("operator-{round}"));
        }
    }
    panic!(
        "not healthy: east {:?} {:?}, west {:?} {:?}",
        world.link(EAST).shared,
        world.mode(EAST),
        world.link(WEST).shared,
        world.mode(WEST)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn one_side_writes_in_an_epoch_nothing_is_lost_and_health_is_always_reachable(
        actions in proptest::collection::vec(action(), 1..60)
    ) {
        let mut world = World::linked();
        let mut before = [Epoch(0); 2];
        for (number, action) in actions.into_iter().enumerate() {
            perform(&mut world, number, action);
            check(&world, &mut before);
        }
        let acknowledged: std::collections::BTreeSet<u64> =
            world.systems[EAST].written.union(&world.systems[WEST].written).copied().collect();
        bring_back(&mut world);
        check(&world, &mut before);
        world.run(3_000);
        for at in [EAST, WEST] {
            prop_assert!(world.systems[at].written.is_superset(&acknowledged), "every acknowledged write is on both sides");
        }
        prop_assert_eq!(world.link(EAST).shared.epoch.holder(), Side::Primary);
    }
}
