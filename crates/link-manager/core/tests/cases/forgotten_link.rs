//! A link that was deleted, of which the mover was never told.

use switchback_link_core::CommandKind;
use switchback_model::AccessMode;

use crate::world::{EAST, LINK, WEST, World};

/// Found by the walk through every crash: a link manager was killed between recording that a link is no
/// more and telling its mover. The content stayed read-only, on a link that nobody knew, and could be
/// neither used nor released.
#[test]
fn content_of_a_deleted_link_is_let_go_of_after_a_start_if_it_was_not_before() {
    let mut world = World::linked();
    world.lose_forgets = 2;
    world.command(EAST, CommandKind::Delete { without_peer: false }).unwrap();
    world.run(50);
    assert_eq!(world.lose_forgets, 0, "both were killed");
    for at in [EAST, WEST] {
        world.crash(at);
        world.start(at);
    }
    world.run(1_000);
    let free = |at: usize| (world.systems[at].access.0, world.systems[at].linked, world.systems[at].orphaned);
    assert_eq!(free(EAST), (AccessMode::ReadWrite, false, false), "the writer goes on writing");
    assert_eq!(free(WEST), (AccessMode::ReadOnly, true, true), "an operator says when");
    assert!([EAST, WEST].iter().all(|at| world.systems[*at].durable.released.is_empty()));
}

/// As when the link manager's folder alone is lost.
#[test]
fn content_of_a_link_that_nobody_here_remembers_can_be_released() {
    let mut world = World::linked();
    world.cut();
    world.crash(WEST);
    world.systems[WEST].durable.links.remove(&LINK);
    world.start(WEST);
    world.cut();
    world.run(1_000);
    assert!(world.systems[WEST].orphaned);
}
