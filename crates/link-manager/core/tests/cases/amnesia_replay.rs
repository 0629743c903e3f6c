//! Found by a model checker in the first draft of the protocol, where messages named no incarnation:
//! a rebuilt primary, its epoch forgotten, took old messages out of a retry queue and opened, empty.

use switchback_link_core::CommandKind;
use switchback_model::AccessMode::{ReadOnly, ReadWrite};

use crate::world::{EAST, WEST, World};

#[test]
fn a_rebuilt_primary_obeys_nothing_that_was_said_to_its_earlier_life() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.recover();
    world.assert_back_to_normal(2);
    let said = world.sent_to[EAST].clone();
    world.crash(EAST);
    world.fail_over().unwrap();
    let write = world.write(WEST).unwrap();
    world.rebuild(EAST);
    for message in &said {
        world.replay(EAST, message.clone());
    }
    world.run(2_000);
    assert!(!world.has_link(EAST), "an old message made the link again");
    assert!(world.write(EAST).is_err());
    world.command(WEST, CommandKind::Restore).unwrap();
    world.run(500);
    for message in &said {
        world.replay(EAST, message.clone());
        assert_eq!(world.modes(), (ReadOnly, ReadWrite), "{message:?}");
    }
    world.run(500);
    world.recover();
    world.assert_back_to_normal(6);
    assert!(world.systems[EAST].written.contains(&write));
}
