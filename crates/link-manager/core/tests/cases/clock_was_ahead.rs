//! Generations of flows that a wrong clock gave.

use switchback_link_core::CommandKind;

use crate::world::{EAST, WEST, World};

/// Found by the simulator: a link manager that started while its clock was ahead gave its flows
/// generations of that time. The mover kept the last of them, and ignored the next run's as older; the
/// link manager took that answer for success, and the link stayed suspended for ever.
#[test]
fn flows_from_a_run_whose_clock_was_ahead_do_not_stay_in_force() {
    let mut world = World::linked();
    world.systems[WEST].flows.as_mut().unwrap().generation += 80_000;
    world.restart_manager(WEST);
    for (command, suspended) in [(CommandKind::Suspend, true), (CommandKind::Resume, false)] {
        world.command(EAST, command).unwrap();
        world.run(3_000);
        assert_eq!(world.systems[WEST].flows.as_ref().unwrap().suspended, suspended);
    }
    world.write(EAST).unwrap();
    world.run(3_000);
    world.assert_back_to_normal(0);
}
