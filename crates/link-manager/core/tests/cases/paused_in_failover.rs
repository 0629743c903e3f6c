//! A content that is paused when a failover is lost in the middle.

use switchback_link_core::{CommandKind, LinkState};
use switchback_model::AccessMode;

use crate::world::{EAST, WEST, World, acme};

/// Found by the simulator's layer of cores: the replica failed over, fenced the primary, and came back from
/// a backup from before that. The primary's status told to let the paused content go on, and the command
/// was refused for as long as the failover lasted, which nobody would end.
#[test]
fn what_is_paused_can_be_let_go_on_in_a_failover_whose_replica_was_lost() {
    let mut world = World::linked();
    let backup = world.systems[WEST].durable.clone();
    world.command(EAST, CommandKind::Pause(acme())).unwrap();
    world.run(1_000);
    world.ask(WEST, CommandKind::FailOver { no_drain: true, accept_loss: String::new() }, "fail over");
    while world.mode(EAST) == AccessMode::ReadWrite {
        world.run(10);
    }
    world.go_back(WEST, backup);
    world.run(3_000);
    world.renew(WEST);
    world.run(1_000);
    assert_eq!(world.state(EAST), LinkState::FailingOver);
    assert!(world.command(EAST, CommandKind::Pause(acme())).is_err(), "a failover is not to be held");
    world.command(EAST, CommandKind::Unpause(acme())).unwrap();
    world.command(EAST, CommandKind::DeclareLost { confirm: "acme".into() }).unwrap();
    world.command(EAST, CommandKind::Restore).unwrap();
    world.run(3_000);
    world.assert_back_to_normal(4);
}
