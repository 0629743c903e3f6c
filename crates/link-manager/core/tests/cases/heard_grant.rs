//! Movers that are ahead of their link managers.

use switchback_link_core::CommandKind;
use switchback_model::Epoch;

use crate::world::{EAST, WEST, World};

/// Found by killing link managers at the end of a recovery: the movers had told each other of the
/// granted epoch, and the primary's could not be asked to be read-only as of the one before.
#[test]
fn a_primary_whose_mover_has_heard_of_the_grant_still_gets_it() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.run(1_000);
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    world.run(500);
    world.lose_grants = usize::MAX;
    world.command(WEST, World::complete()).unwrap();
    world.run(1_000);
    assert_eq!(world.systems[EAST].access.1, Epoch(2), "its mover has heard");
    world.restart_manager(EAST);
    world.lose_grants = 0;
    world.run(5_000);
    world.assert_back_to_normal(2);
}
