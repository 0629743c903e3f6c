//! A content that is paused when a completion begins.

use switchback_link_core::{CommandKind, LinkState};
use switchback_model::AccessMode;

use crate::world::{EAST, WEST, World, acme};

/// Found by the simulator: the primary's side was told to pause a content at the moment at which the
/// replica's was told to complete, and heard of it first in the completion. That could not end then,
/// and the order to let the data flow was refused on both sides: nobody could write until somebody
/// failed over.
#[test]
fn a_content_that_was_paused_just_before_a_completion_can_be_let_go_on() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    world.run(1_000);
    world.ask(EAST, CommandKind::Pause(acme()), "pause");
    world.ask(WEST, World::complete(), "complete");
    world.run(3_000);
    assert_eq!((world.state(EAST), world.state(WEST)), (LinkState::Completing, LinkState::Completing));
    assert_eq!(world.modes(), (AccessMode::ReadOnly, AccessMode::ReadOnly));
    for at in [EAST, WEST] {
        assert!(world.command(at, CommandKind::Pause(acme())).is_err(), "a completion is not to be held");
    }
    world.command(WEST, CommandKind::Unpause(acme())).unwrap();
    world.run(3_000);
    world.assert_back_to_normal(2);
}
