//! Found by a model checker in the first draft of the protocol, where the end of a recovery was a
//! message that gave authority: while it was on its way the replica failed over again, and the
//! primary opened on the old message. Two sides wrote by the rules.

use switchback_link_core::{CommandKind, Message};
use switchback_model::AccessMode::{ReadOnly, ReadWrite};
use switchback_model::Epoch;

use crate::world::{EAST, WEST, World};

#[test]
fn a_grant_that_comes_after_another_failover_opens_nothing() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.run(1_000);
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    world.run(500);
    world.lose_grants = usize::MAX;
    world.command(WEST, World::complete()).unwrap();
    world.run(1_000);
    assert_eq!(world.link(WEST).shared.epoch, Epoch(2), "given, and on its way");
    let is_grant = |message: &&Message| matches!(message, Message::Grant(_, _, Ok(_)));
    let grants: Vec<_> = world.sent_to[EAST].iter().filter(is_grant).cloned().collect();
    assert!(!grants.is_empty());
    // The replica cannot be heard when it fails over again.
    world.cut();
    world.run(200);
    world.fail_over().unwrap();
    let write = world.write(WEST).unwrap();
    world.heal();
    world.deaf = Some(EAST);
    for grant in &grants {
        world.replay(EAST, grant.clone());
        world.run(100);
        assert_eq!(world.modes(), (ReadOnly, ReadWrite), "an old grant opened the primary");
    }
    world.deaf = None;
    world.run(2_000);
    for grant in &grants {
        world.replay(EAST, grant.clone());
        world.run(100);
        assert_eq!(world.modes(), (ReadOnly, ReadWrite));
    }
    world.lose_grants = 0;
    world.recover();
    world.assert_back_to_normal(4);
    assert!(world.systems[EAST].written.contains(&write));
}
