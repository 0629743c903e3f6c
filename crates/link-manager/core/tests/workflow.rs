//! The operator's workflow, row by row, on two machines.

mod world;

use switchback_link_core::{CommandKind, Error, LinkState, Update};
use switchback_model::AccessMode::{ReadOnly, ReadWrite};
use switchback_model::{Compression, Epoch, Priority, Schedule, Side};
use world::{EAST, LINK, WEST, World};

#[test]
fn a_new_link_makes_the_replica_read_only_and_copies() {
    let world = World::linked();
    world.assert_back_to_normal(0);
    assert_eq!(world.link(WEST).side, Side::Replica);
}

#[test]
fn with_contact_the_primary_is_fenced_and_its_tail_drained_before_the_replica_writes() {
    let mut world = World::linked();
    let write = world.write(EAST).unwrap();
    world.fail_over().unwrap();
    assert_eq!(world.modes(), (ReadOnly, ReadWrite));
    assert!(world.systems[WEST].written.contains(&write), "the tail was drained");
    assert_eq!(world.link(WEST).zone.as_ref().map(|zone| zone.target), Some(Side::Replica));
    world.run(1_000);
    assert_eq!(world.link(EAST).zone.as_ref().map(|zone| zone.target), Some(Side::Replica));
    world.recover();
    world.assert_back_to_normal(2);
    assert!(world.logged(EAST, "recovery-completed") && world.logged(WEST, "recovery-completed"));
}

#[test]
fn a_returning_primary_demotes_itself_before_serving_a_write() {
    let mut world = World::linked();
    world.crash(EAST);
    world.fail_over().unwrap();
    world.write(WEST).unwrap();
    world.start(EAST);
    assert!(world.write(EAST).is_err(), "read-only until the peer's epoch is heard");
    world.run(2_000);
    assert_eq!(world.modes(), (ReadOnly, ReadWrite));
    assert!(world.logged(EAST, "demoted"));
    world.recover();
    world.assert_back_to_normal(2);
}

#[test]
fn an_isolated_primary_stays_writable_and_its_writes_survive_the_recovery() {
    let mut world = World::linked();
    world.cut();
    world.fail_over().unwrap();
    let tail = world.write(EAST).expect("isolated, it was not told");
    let ahead = world.write(WEST).unwrap();
    world.heal();
    world.run(1_000);
    assert!(world.write(EAST).is_err());
    world.recover();
    world.assert_back_to_normal(2);
    for at in [EAST, WEST] {
        assert!(world.systems[at].written.contains(&tail) && world.systems[at].written.contains(&ahead));
    }
}

#[test]
fn a_primary_alone_after_a_start_writes_again_only_after_the_contact_wait() {
    let mut world = World::linked();
    world.crash(WEST);
    world.crash(EAST);
    world.start(EAST);
    world.run(4_500);
    assert!(world.write(EAST).is_err());
    world.run(1_000);
    assert!(world.write(EAST).is_ok());
}

#[test]
fn a_rebuilt_primary_is_restored_and_recovered() {
    let mut world = World::linked();
    world.crash(EAST);
    world.fail_over().unwrap();
    let write = world.write(WEST).unwrap();
    world.rebuild(EAST);
    world.run(2_000);
    assert!(!world.has_link(EAST));
    let refused = world.command(WEST, CommandKind::BeginRecovery).unwrap_err();
    assert!(refused.to_string().contains("restore"), "{refused}");
    world.command(WEST, CommandKind::Restore).unwrap();
    world.run(1_000);
    assert_eq!(world.modes(), (ReadOnly, ReadWrite));
    world.recover();
    world.assert_back_to_normal(4);
    assert!(world.systems[EAST].written.contains(&write));
}

#[test]
fn a_rebuilt_replica_is_restored_while_the_primary_writes_throughout() {
    let mut world = World::linked();
    world.command(EAST, CommandKind::Suspend).unwrap();
    world.rebuild(WEST);
    world.write(EAST).unwrap();
    world.run(1_000);
    world.command(EAST, CommandKind::Restore).unwrap();
    world.write(EAST).unwrap();
    world.command(EAST, CommandKind::Resume).unwrap();
    let early = world.command(WEST, CommandKind::FailOver { no_drain: false, accept_loss: String::new() });
    assert!(world.write(EAST).is_ok() || early.is_ok());
    world.run(3_000);
    assert_eq!(world.systems[EAST].written, world.systems[WEST].written);
}

#[test]
fn a_replica_that_was_never_in_sync_is_not_failed_over_without_the_operators_word() {
    let mut world = World::linked();
    world.command(EAST, CommandKind::Suspend).unwrap();
    world.rebuild(WEST);
    world.run(1_000);
    world.command(EAST, CommandKind::Restore).unwrap();
    world.crash(EAST);
    let refused = world.fail_over().unwrap_err();
    assert!(refused.to_string().contains("--accept-loss acme"), "{refused}");
    let kind = CommandKind::FailOver { no_drain: false, accept_loss: "acme".into() };
    world.command(WEST, kind).unwrap();
    assert_eq!(world.mode(WEST), ReadWrite);
}

#[test]
fn a_lost_grant_is_asked_for_again() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.write(WEST).unwrap();
    world.run(1_000);
    world.lose_grants = 3;
    world.recover();
    world.run(3_000);
    assert_eq!(world.lose_grants, 0);
    world.assert_back_to_normal(2);
}

#[test]
fn a_failover_in_the_middle_of_completion_leaves_one_writer() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.run(1_000);
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    world.run(500);
    world.lose_grants = usize::MAX;
    world.command(WEST, World::complete()).unwrap();
    world.run(1_000);
    assert_eq!(world.modes(), (ReadOnly, ReadOnly));
    // The grant is recorded at the replica, and on its way for ever: taken back by a failover.
    assert_eq!(world.link(WEST).shared.epoch, Epoch(2));
    world.fail_over().unwrap();
    world.lose_grants = 0;
    world.run(2_000);
    assert_eq!(world.modes(), (ReadOnly, ReadWrite));
    assert_eq!(world.link(EAST).shared.epoch, Epoch(3));
    world.recover();
    world.assert_back_to_normal(4);
}

#[test]
fn a_line_cut_one_way_is_healthy_on_neither_side() {
    let mut world = World::linked();
    world.run(1_000);
    assert!(world.systems[EAST].machine.view(LINK).is_some_and(|view| view.health.healthy));
    world.deaf = Some(WEST);
    world.run(4_000);
    for at in [EAST, WEST] {
        assert!(world.systems[at].machine.view(LINK).is_some_and(|view| !view.health.healthy));
    }
}

#[test]
fn a_failover_in_the_middle_of_recovery_is_the_next_odd_epoch() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.run(1_000);
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    world.fail_over().unwrap();
    assert_eq!(world.link(WEST).shared.epoch, Epoch(3));
    assert_eq!(world.modes(), (ReadOnly, ReadWrite));
    world.run(1_000);
    world.recover();
    world.assert_back_to_normal(4);
}

#[test]
fn a_primary_whose_replica_is_gone_during_recovery_goes_on_when_it_is_declared_lost() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.run(1_000);
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    let here = world.command(EAST, CommandKind::DeclareLost { confirm: "acme".into() }).unwrap_err();
    assert!(here.to_string().contains("other side is here"), "{here}");
    let last = world.write(WEST).unwrap();
    world.crash(WEST);
    world.run(5_000);
    let unconfirmed = world.command(EAST, CommandKind::DeclareLost { confirm: String::new() }).unwrap_err();
    assert!(unconfirmed.to_string().contains("--confirm acme"), "{unconfirmed}");
    world.command(EAST, CommandKind::DeclareLost { confirm: "acme".into() }).unwrap();
    let own = world.write(EAST).expect("the survivor writes");
    // The lost side returns: it has a lower epoch, demotes itself, and its writes are merged.
    world.start(WEST);
    world.run(3_000);
    assert_eq!(world.modes(), (ReadWrite, ReadOnly));
    assert!(world.systems[EAST].written.contains(&last) && world.systems[WEST].written.contains(&own));
}

#[test]
fn a_crash_in_the_middle_of_a_failover_is_driven_on() {
    let mut world = World::linked();
    world.cut();
    world.ask(WEST, CommandKind::FailOver { no_drain: false, accept_loss: String::new() }, "again");
    world.crash(WEST);
    world.start(WEST);
    world.run(8_000);
    assert_eq!(world.mode(WEST), ReadWrite);
    // The operator's tool asks again with the same id: the first command's end is its answer.
    let kind = CommandKind::FailOver { no_drain: false, accept_loss: String::new() };
    world.command_as(WEST, kind, "again").unwrap();
    assert_eq!(world.link(WEST).shared.epoch, Epoch(1));
}

#[test]
fn a_repeated_command_does_nothing_twice() {
    let mut world = World::linked();
    let kind = || CommandKind::FailOver { no_drain: false, accept_loss: String::new() };
    world.command_as(WEST, kind(), "one").unwrap();
    world.command_as(WEST, kind(), "one").unwrap();
    assert_eq!(world.link(WEST).shared.epoch, Epoch(1));
    let second = world.command_as(WEST, kind(), "two").unwrap_err();
    assert!(matches!(second, Error::WrongState { .. }), "{second}");
}

#[test]
fn commands_go_to_the_side_and_the_state_they_belong_to() {
    let mut world = World::linked();
    let kind = || CommandKind::FailOver { no_drain: false, accept_loss: String::new() };
    let wrong = world.command(EAST, kind()).unwrap_err();
    assert!(wrong.to_string().contains("run the command on the replica (west)"), "{wrong}");
    assert!(world.command(WEST, CommandKind::BeginRecovery).is_err());
    assert!(world.command(WEST, World::complete()).is_err());
    assert!(world.command(WEST, CommandKind::Restore).is_err());
    world.fail_over().unwrap();
    world.run(1_000);
    assert!(world.command(WEST, World::complete()).is_err());
    let frozen = Update { remove: vec![world::acme()], ..Update::default() };
    let frozen = world.command(EAST, CommandKind::Update(Box::new(frozen))).unwrap_err();
    assert!(frozen.to_string().contains("frozen"), "{frozen}");
}

#[test]
fn a_second_link_over_the_same_content_is_refused() {
    let mut world = World::linked();
    let refused = world.create("other").unwrap_err();
    assert!(refused.to_string().contains("protected by link acme"), "{refused}");
}

#[test]
fn a_tenant_of_the_same_name_on_the_other_side_is_refused() {
    let mut world = World::new();
    let other = switchback_model::Content { id: switchback_model::ContentId([9; 16]), ..world::acme() };
    world.systems[WEST].content = Some(other);
    world.run(500);
    let refused = world.create("acme").unwrap_err();
    assert!(refused.to_string().contains("exists there as a different tenant"), "{refused}");
    assert!(!world.has_link(EAST) && !world.has_link(WEST));
}

#[test]
fn an_edit_made_apart_never_brings_back_an_old_state() {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.run(1_000);
    world.cut();
    for text in ["one", "two", "three"] {
        let update = Update { description: Some(text.into()), ..Update::default() };
        world.command(EAST, CommandKind::Update(Box::new(update))).unwrap();
    }
    world.heal();
    world.run(1_000);
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    world.run(1_000);
    assert_eq!((world.state(EAST), world.state(WEST)), (LinkState::Recovering, LinkState::Recovering));
    assert_eq!(world.link(WEST).shared.settings.description, "three");
}

#[test]
fn a_primary_restored_from_an_old_backup_is_read_only_until_the_link_is_restored() {
    let mut world = World::linked();
    let backup = world.systems[EAST].durable.clone();
    world.fail_over().unwrap();
    world.run(1_000);
    world.recover();
    world.assert_back_to_normal(2);
    world.crash(EAST);
    world.systems[EAST].durable = backup;
    world.start(EAST);
    world.run(2_000);
    assert!(world.write(EAST).is_err(), "epoch 2 is in force, and this side only knows of 0");
}

#[test]
fn a_deleted_link_leaves_the_writer_free_and_the_other_read_only() {
    let mut world = World::linked();
    world.command(EAST, CommandKind::Delete { without_peer: false }).unwrap();
    world.run(1_000);
    assert!(!world.has_link(EAST) && !world.has_link(WEST));
    assert_eq!(world.modes(), (ReadWrite, ReadOnly));
    assert!(!world.systems[EAST].machine.state().deleted.contains(&LINK), "the other side was told");
}

#[test]
fn a_link_manager_without_contact_still_fences_through_the_movers() {
    let mut world = World::linked();
    // Only the link managers' stream is gone; the movers talk.
    for at in [EAST, WEST] {
        let domain = world.systems[1 - at].identity.domain.clone();
        world.input(at, switchback_link_core::Input::PeerDown { domain });
    }
    world.fail_over().unwrap();
    world.run(500);
    assert_eq!(world.modes(), (ReadOnly, ReadWrite));
}

#[test]
fn a_schedule_holds_replication_and_neither_a_failovers_drain_nor_a_recovery() {
    let mut world = World::linked();
    let nothing: Schedule = "0".parse().unwrap();
    let update = Update {
        schedule: Some(nothing.clone()),
        priority: Some(Priority::OldestFirst),
        compression: Some(Compression::Zstd),
        ..Update::default()
    };
    world.command(EAST, CommandKind::Update(Box::new(update))).unwrap();
    world.run(1_000);
    let held = world.write(EAST).unwrap();
    world.run(5_000);
    assert!(!world.systems[WEST].written.contains(&held), "both movers were told of the schedule");
    assert_eq!(world.link(WEST).shared.settings.schedule, nothing, "the other side has it too");
    world.fail_over().unwrap();
    assert!(world.systems[WEST].written.contains(&held), "what was held was drained");
    world.run(1_000);
    let there = world.write(WEST).unwrap();
    world.recover();
    assert!(world.systems[EAST].written.contains(&there));
    let held = world.write(EAST).unwrap();
    world.run(5_000);
    assert!(!world.systems[WEST].written.contains(&held), "the schedule is in force again");
    for at in [EAST, WEST] {
        let flows = world.systems[at].flows.as_ref().unwrap();
        let steered = (&flows.schedule, flows.priority, flows.compression);
        assert_eq!(steered, (&nothing, Priority::OldestFirst, Compression::Zstd));
    }
    let update = Update { schedule: Some(Schedule::default()), ..Update::default() };
    world.command(EAST, CommandKind::Update(Box::new(update))).unwrap();
    world.run(1_000);
    assert!(world.systems[WEST].written.contains(&held));
    world.assert_back_to_normal(2);
}
