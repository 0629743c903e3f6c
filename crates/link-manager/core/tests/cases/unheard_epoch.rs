//! A side that took an epoch of which the other never heard, and then lost its store.

use switchback_link_core::CommandKind;
use switchback_model::{Epoch, Side};

use crate::world::{EAST, WEST, World};

fn declare_lost() -> CommandKind {
    CommandKind::DeclareLost { confirm: "acme".into() }
}

/// Found by the simulator's layer of cores: the side that lost its store could not restore the link, the
/// other one's restore was refused for the epoch that it had not heard of, and, as the writer, it could
/// not take a later one.
#[test]
fn a_lost_side_that_knows_a_later_epoch_is_restored_after_it_was_declared_lost() {
    let mut world = World::linked();
    world.cut();
    world.run(4_000);
    world.command(WEST, declare_lost()).unwrap();
    world.run(1_000);
    world.systems[WEST].rolled_back = true;
    world.run(1_000);
    assert!(world.logged(WEST, "store-lost"));
    world.heal();
    world.renew(WEST);
    world.run(4_000);
    let refused = world.command(EAST, CommandKind::Restore).unwrap_err();
    assert!(refused.to_string().contains("link declare-lost"), "{refused}");
    world.command(EAST, declare_lost()).unwrap();
    world.command(EAST, CommandKind::Restore).unwrap();
    world.run(4_000);
    world.assert_back_to_normal(4);
}

/// Found by the simulator's layer of cores: the restored side said under the present serial that the names
/// lead to it, while the other one, which writes, said under the same serial that they lead to it.
#[test]
fn a_side_that_is_told_of_the_link_after_a_failover_says_nothing_of_names_it_does_not_know() {
    let mut world = World::linked();
    world.crash(EAST);
    world.fail_over().unwrap();
    world.rebuild(EAST);
    world.run(1_000);
    // Until its answer arrives, it hears nothing more of the side that writes.
    world.deaf = Some(WEST);
    world.ask(WEST, CommandKind::Restore, "once");
    world.run(2_000);
    assert!(world.has_link(EAST) && world.link(EAST).zone.is_none(), "the replica writes");
    world.deaf = None;
    world.run(12_000);
    world.command(WEST, CommandKind::Restore).unwrap();
    world.run(4_000);
    let target = |at| world.link(at).zone.as_ref().map(|zone| zone.target);
    assert_eq!((target(EAST), target(WEST)), (Some(Side::Replica), Some(Side::Replica)));
}

/// Found by the simulator's layer of cores: a name server had taken what the replica said in an epoch that
/// went with the replica's state; the link was restored at a lower one, under whose serial it took nothing.
#[test]
fn names_told_in_an_epoch_that_nobody_remembers_are_overtaken_when_the_link_is_restored() {
    let mut world = World::linked();
    let serial = |world: &World, at: usize| {
        let zones = world.systems[at].machine.zones().unwrap();
        zones.iter().find(|zone| zone.name == "acme.east.example.com").unwrap().serial
    };
    let (backup, flows) = (world.systems[WEST].durable.clone(), world.systems[WEST].flows.clone());
    world.cut();
    world.run(4_000);
    world.fail_over().unwrap();
    world.run(4_000);
    let told = serial(&world, WEST);
    assert!(told > serial(&world, EAST), "the failover moved the names");
    world.crash(WEST);
    world.systems[WEST].durable = backup;
    world.systems[WEST].flows = flows;
    world.systems[WEST].access.1 = Epoch(0);
    world.systems[WEST].rolled_back = true;
    world.start(WEST);
    world.run(1_000);
    world.renew(WEST);
    world.heal();
    world.run(4_000);
    world.command(EAST, CommandKind::Restore).unwrap();
    world.run(4_000);
    world.assert_back_to_normal(2);
    for at in [EAST, WEST] {
        assert!(serial(&world, at) > told, "{} after {told}", serial(&world, at));
    }
}
