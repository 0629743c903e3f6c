//! A restore of which the answer never came.

use switchback_link_core::CommandKind;

use crate::world::{EAST, WEST, World};

/// Found by the model checker: the answer to a restore was lost and the restored side then declared
/// the other lost. Each wrote on, neither obeyed the other, and no command was left for anybody.
#[test]
fn a_restore_whose_answer_was_lost_can_be_mended_from_the_side_that_went_on() {
    let mut world = World::linked();
    world.crash(EAST);
    world.fail_over().unwrap();
    let ahead = world.write(WEST).unwrap();
    world.rebuild(EAST);
    world.run(1_000);
    world.deaf = Some(WEST);
    world.ask(WEST, CommandKind::Restore, "lost");
    world.run(1_000);
    assert!(world.has_link(EAST), "the proposal was taken");
    world.cut();
    world.run(200);
    world.command(EAST, CommandKind::DeclareLost { confirm: "acme".into() }).unwrap();
    let own = world.write(EAST).unwrap();
    world.deaf = None;
    world.heal();
    world.run(12_000);
    let refused = world.command(WEST, CommandKind::Restore).unwrap_err();
    assert!(refused.to_string().contains("would lose what was written"), "{refused}");
    assert!(world.logged(EAST, "link-broken"), "the side that can restore is told so");
    world.command(EAST, CommandKind::Restore).unwrap();
    world.run(3_000);
    world.assert_back_to_normal(4);
    assert!(world.systems[EAST].written.contains(&ahead) && world.systems[WEST].written.contains(&own));
}
