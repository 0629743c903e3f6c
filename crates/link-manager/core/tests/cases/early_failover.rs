//! A failover before the two systems have met again.

use switchback_link_core::CommandKind;
use switchback_model::AccessMode::{ReadOnly, ReadWrite};

use crate::world::{EAST, WEST, World};

/// Found by the matrix: the replica had just been started, and opened at once.
#[test]
fn a_failover_commanded_right_after_a_start_fences_before_it_opens() {
    let mut world = World::linked();
    world.restart_manager(WEST);
    // Neither the link managers nor the movers have met yet.
    world.deaf = Some(WEST);
    let flows = world.systems[EAST].flows.take();
    world.run(300);
    world.ask(WEST, CommandKind::FailOver { no_drain: false, accept_loss: String::new() }, "early");
    assert_eq!(world.modes(), (ReadWrite, ReadOnly), "the fence is awaited");
    world.deaf = None;
    world.systems[EAST].flows = flows;
    for _ in 0..300 {
        world.run(10);
        assert_ne!(world.modes(), (ReadWrite, ReadWrite), "both write");
    }
    assert_eq!(world.modes(), (ReadOnly, ReadWrite));
}
