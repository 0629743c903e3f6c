//! A system that came back from a backup of its whole state.

use switchback_link_core::CommandKind;
use switchback_model::AccessMode;

use crate::world::{EAST, LINK, WEST, World};

/// Found by the simulator: the movers noticed it, the link manager only repeated what they said. Its
/// status named no command, and after the next start of the mover it knew nothing of it.
#[test]
fn a_side_that_went_back_to_an_older_state_is_silent_until_it_is_restored() {
    let mut world = World::linked();
    world.systems[WEST].rolled_back = true;
    world.run(1_000);
    assert!(world.logged(WEST, "store-lost"));
    // A start of its services makes the mover forget what it had heard.
    world.systems[WEST].rolled_back = false;
    world.crash(WEST);
    world.start(WEST);
    world.run(1_000);
    let view = world.systems[WEST].machine.view(LINK).unwrap();
    let told = view.health.troubles.iter().any(|text| text.contains("certificate renew --new-incarnation"));
    assert!(told, "{:?}", view.health.troubles);
    assert!(world.systems[WEST].flows.as_ref().is_some_and(|flows| flows.silent));
    world.renew(WEST);
    world.run(1_000);
    world.command(EAST, CommandKind::Restore).unwrap();
    world.run(3_000);
    world.assert_back_to_normal(2);
}

/// What the mover said of the life before is not held against the new one.
#[test]
fn a_new_incarnation_is_not_judged_by_what_was_said_of_the_old_one() {
    let mut world = World::linked();
    world.systems[WEST].rolled_back = true;
    world.run(1_000);
    world.renew(WEST);
    world.run(1_000);
    assert!(world.systems[WEST].rolled_back, "its mover has not been given new flows yet");
    world.command(EAST, CommandKind::Restore).unwrap();
    world.run(3_000);
    world.assert_back_to_normal(2);
}

/// Found by the simulator: the replica came back as it was before it failed over. It heard of the
/// epoch that it had made, so its content stayed read-only; the primary could neither restore the link,
/// because that epoch is not its own, nor declare lost a peer that is there.
#[test]
fn a_side_whose_record_is_older_than_an_epoch_of_its_own_is_silent_until_it_is_restored() {
    let mut world = World::linked();
    let backup = world.systems[WEST].durable.clone();
    world.fail_over().unwrap();
    world.run(1_000);
    world.go_back(WEST, backup);
    world.run(3_000);
    assert!(world.logged(WEST, "store-lost"));
    assert_eq!(world.modes(), (AccessMode::ReadOnly, AccessMode::ReadOnly), "nobody holds epoch 1");
    world.renew(WEST);
    world.run(3_000);
    world.command(EAST, CommandKind::DeclareLost { confirm: "acme".into() }).unwrap();
    world.command(EAST, CommandKind::Restore).unwrap();
    world.run(3_000);
    world.assert_back_to_normal(4);
}
