//! What must not happen, whatever a message says and whenever it comes: each guard of the protocol
//! alone, by a message that only it stops.
#![expect(clippy::unwrap_used, reason = "a test fails where it panics")]

mod world;

use switchback_link_core::{
    CommandKind, DigestView, Header, Heartbeat, Input, LinkState, Message, Overdue, Position, Sealed,
    Severity, TenantZone, Update,
};
use switchback_model::AccessMode::{ReadOnly, ReadWrite};
use switchback_model::{Content, ContentId, Epoch, FeedId, Incarnation};
use world::{EAST, LINK, WEST, World, acme};

/// A header as the side `from` would write it.
fn header(world: &World, from: usize, epoch: u64) -> Header {
    let incarnation = |at: usize| world.systems[at].identity.incarnation;
    Header { link: LINK, sender: incarnation(from), receiver: incarnation(1 - from), epoch: Epoch(epoch) }
}

/// Hands a message of `from` to the other side, whatever the network does.
fn deliver(world: &mut World, from: usize, message: Message) {
    let domain = world.systems[from].identity.domain.clone();
    world.input(1 - from, Input::MessageReceived { domain, message });
}

/// The primary's request, with everything in it as it should be.
fn seal(world: &World) -> Sealed {
    let (east, west) = (&world.systems[EAST], &world.systems[WEST]);
    let position = |feed, count| Position { content: acme().id, feed: FeedId(feed), sequence: count };
    let count = west.written.len() as u64;
    Sealed {
        applied: position(west.feed, count),
        head: position(east.feed, east.written.len() as u64),
        digest: DigestView { total: west.written.iter().sum::<u64>().to_be_bytes().to_vec(), records: count },
    }
}

/// Names that come from another link, whose serials many failovers have carried ahead of the clock.
#[test]
fn a_links_serials_begin_ahead_of_those_that_its_names_had() {
    for floor in [1, u32::MAX / 4] {
        let mut world = World::new();
        world.zone_floor = floor;
        world.create("acme").unwrap();
        world.run(2_000);
        let serials = [EAST, WEST].map(|at| zone(&world, at).unwrap().serial);
        assert_eq!(serials[0], serials[1]);
        assert!(serials[0] > floor, "{serials:?} after {floor}");
    }
}

/// A failover waits for no name server; who does not follow is told of once, and once that it does.
#[test]
fn a_name_server_that_does_not_follow_is_told_of_once() {
    let mut world = World::linked();
    let mut say = |overdue: &[(&str, Overdue)]| {
        let before = world.systems[EAST].events.len();
        let overdue = overdue.iter().map(|(name, what)| ((*name).into(), *what)).collect();
        world.input(EAST, Input::NameServersOverdue(overdue));
        let events = world.systems[EAST].events[before..].iter();
        events.map(|event| (event.id.clone(), event.severity)).collect::<Vec<_>>()
    };
    let behind = ("name-server-behind".to_string(), Severity::Warning);
    assert_eq!(say(&[("a", Overdue::Late)]), std::slice::from_ref(&behind));
    assert_eq!(say(&[("a", Overdue::Late)]), []);
    assert_eq!(say(&[("a", Overdue::Silent), ("b", Overdue::Late)]), [behind.clone(), behind]);
    assert_eq!(say(&[("b", Overdue::Late)]), [("name-server-follows".into(), Severity::Notice)]);
}

/// A replica that completes, read-only and equal, and has not heard the primary's request.
fn completing() -> World {
    let mut world = World::linked();
    world.fail_over().unwrap();
    world.write(WEST).unwrap();
    world.command(WEST, CommandKind::BeginRecovery).unwrap();
    world.run(1_000);
    world.deaf = Some(WEST);
    world.ask(WEST, CommandKind::CompleteRecovery { anyway: false }, "complete");
    world.run(300);
    assert_eq!((world.state(WEST), world.modes()), (LinkState::Completing, (ReadOnly, ReadOnly)));
    world
}

/// Asks for the grant in `epoch`; what the replica answers, if it does.
fn ask(world: &mut World, epoch: u64, sealed: Vec<Sealed>) -> Option<Result<Epoch, String>> {
    let request = Message::GrantRequest(header(world, EAST, epoch), 77, sealed);
    deliver(world, EAST, request);
    world.wires[EAST].iter().find_map(|message| match message {
        Message::Grant(_, 77, answer) => Some(answer.clone()),
        _ => None,
    })
}

#[test]
fn a_grant_is_given_to_a_primary_that_is_equal_to_the_sealed_content() {
    let mut world = completing();
    let sealed = seal(&world);
    assert_eq!(ask(&mut world, 1, vec![sealed]), Some(Ok(Epoch(2))));
    assert_eq!(world.link(WEST).shared.epoch, Epoch(2));
}

#[test]
fn no_grant_is_given_to_a_primary_that_lacks_or_changed_anything() {
    let good = seal(&completing());
    let shorter = Position { sequence: good.applied.sequence - 1, ..good.applied };
    let of_another_feed = Position { feed: FeedId(99), ..good.applied };
    let other = DigestView { total: vec![9; 8], records: good.digest.records };
    for (why, sealed) in [
        ("a change is missing", vec![Sealed { applied: shorter, ..good.clone() }]),
        ("another feed was applied", vec![Sealed { applied: of_another_feed, ..good.clone() }]),
        ("the digest differs", vec![Sealed { digest: other, ..good }]),
        ("a content is missing", Vec::new()),
    ] {
        let mut world = completing();
        assert!(matches!(ask(&mut world, 1, sealed), Some(Err(_))), "{why}");
        assert_eq!(world.link(WEST).shared.epoch, Epoch(1), "{why}");
    }
}

#[test]
fn no_grant_is_given_before_the_replicas_own_mover_has_proven_that_both_are_equal() {
    let mut world = completing();
    world.systems[EAST].mover_up = false;
    world.run(200);
    let sealed = seal(&world);
    assert!(matches!(ask(&mut world, 1, vec![sealed]), Some(Err(_))));
}

#[test]
fn no_grant_is_given_once_the_operator_has_failed_over_again() {
    let mut world = completing();
    world.ask(WEST, CommandKind::FailOver { no_drain: false, accept_loss: String::new() }, "again");
    world.run(300);
    assert_eq!((world.state(WEST), world.mode(WEST)), (LinkState::FailingOver, ReadOnly));
    let sealed = seal(&world);
    assert!(matches!(ask(&mut world, 3, vec![sealed]), Some(Err(_))));
    assert_eq!(world.link(WEST).shared.epoch, Epoch(3));
}

#[test]
fn only_the_grant_that_was_asked_for_makes_the_primary_writable() {
    let mut world = completing();
    world.run(1_000);
    let asked = world.systems[EAST].machine.state().links[&LINK].shared.state;
    assert_eq!(asked, LinkState::Completing);
    let granted = Message::Grant(header(&world, WEST, 1), 12_345, Ok(Epoch(2)));
    deliver(&mut world, WEST, granted);
    world.run(100);
    assert_eq!((world.mode(EAST), world.link(EAST).shared.epoch), (ReadOnly, Epoch(1)));
}

#[test]
fn a_message_between_other_incarnations_changes_nothing() {
    let mut world = World::linked();
    let good = header(&world, WEST, 1);
    for header in [Header { sender: Incarnation(999), ..good }, Header { receiver: Incarnation(999), ..good }]
    {
        deliver(&mut world, WEST, Message::Fence(header));
        world.run(100);
        assert_eq!((world.mode(EAST), world.link(EAST).shared.epoch), (ReadWrite, Epoch(0)));
    }
    deliver(&mut world, WEST, Message::Fence(good));
    world.run(100);
    assert_eq!((world.mode(EAST), world.link(EAST).shared.epoch), (ReadOnly, Epoch(1)));
}

#[test]
fn a_side_that_hears_of_a_later_epoch_of_its_own_is_read_only() {
    let mut world = World::linked();
    let later = Message::Fence(header(&world, WEST, 2));
    deliver(&mut world, WEST, later);
    world.run(100);
    assert_eq!(world.mode(EAST), ReadOnly, "its record went back in time");
    assert_eq!(world.link(EAST).shared.epoch, Epoch(0), "authority is not taken by hearsay");
}

#[test]
fn a_side_whose_store_was_replaced_is_read_only() {
    let mut world = World::linked();
    world.systems[EAST].store += 1;
    world.run(1_000);
    assert_eq!(world.mode(EAST), ReadOnly);
    assert!(world.logged(EAST, "store-lost"));
}

#[test]
fn a_link_whose_sides_disagree_says_so() {
    let mut world = World::linked();
    world.deaf = Some(EAST);
    world.ask(WEST, CommandKind::FailOver { no_drain: true, accept_loss: String::new() }, "over");
    world.systems[EAST].flows = None;
    world.run(2_500);
    let view = world.systems[WEST].machine.view(LINK).unwrap();
    assert!(view.health.troubles.iter().any(|trouble| trouble.contains("disagree")), "{:?}", view.health);
    assert!(!view.health.healthy);
}

/// The zone of the link's tenant, as one side would have it served.
fn zone(world: &World, at: usize) -> Option<TenantZone> {
    let zones = world.systems[at].machine.zones()?;
    zones.into_iter().find(|zone| zone.name == "acme.east.example.com")
}

#[test]
fn names_lead_to_a_side_only_while_or_after_it_writes() {
    let mut world = World::linked();
    world.systems[WEST].mover_up = false;
    world.ask(WEST, CommandKind::FailOver { no_drain: true, accept_loss: String::new() }, "over");
    for _ in 0..400 {
        world.run(10);
        for at in [EAST, WEST] {
            let leads_west = zone(&world, at).is_some_and(|zone| zone.target == "west");
            assert!(!leads_west || world.mode(WEST) == ReadWrite, "names ahead of authority on {at}");
        }
    }
    world.systems[WEST].mover_up = true;
    world.run(3_000);
    assert_eq!(zone(&world, WEST).unwrap().target, "west");
}

/// A heartbeat of the primary whose operator has put one more content on the link.
fn with_content_added(world: &World, content: Content) -> Message {
    let mut shared = world.link(EAST).shared.clone();
    shared.edited.1 += 1;
    shared.contents.push(content);
    let beat = Heartbeat { shared, mode: Some(ReadWrite), in_sync: true, trouble: String::new() };
    Message::Heartbeat(header(world, EAST, 0), Box::new(beat))
}

#[test]
fn a_content_that_is_another_one_here_is_left_off_the_link_and_the_rest_fails_over() {
    let mut world = World::linked();
    let other = Content { id: ContentId([77; 16]), ..acme() };
    let message = with_content_added(&world, other.clone());
    deliver(&mut world, EAST, message);
    assert_eq!(world.link(WEST).shared.contents, [acme()]);
    // One that is not here is taken.
    let new = Content { name: "beta".into(), ..other };
    let message = with_content_added(&world, new.clone());
    deliver(&mut world, EAST, message);
    assert_eq!(world.link(WEST).shared.contents, [acme(), new]);
}

#[test]
fn names_stay_where_dns_failover_is_disabled() {
    let mut world = World::linked();
    let update = Update { dns_failover: Some(false), ..Update::default() };
    world.command(EAST, CommandKind::Update(Box::new(update))).unwrap();
    world.run(1_000);
    world.fail_over().unwrap();
    world.run(1_000);
    for at in [EAST, WEST] {
        assert_eq!(zone(&world, at).unwrap().target, "east");
    }
    assert!(world.logged(WEST, "redirect-clients"));
}

#[test]
fn a_zones_serial_grows_alike_on_both_systems_with_each_change_of_authority() {
    let mut world = World::linked();
    let mut last = 0;
    for round in 0..3 {
        for step in 0..2 {
            if step == 0 {
                world.fail_over().unwrap();
            } else {
                world.command(WEST, CommandKind::BeginRecovery).unwrap();
                world.run(500);
                world.command(WEST, CommandKind::CompleteRecovery { anyway: false }).unwrap();
            }
            world.run(2_000);
            let serials = [EAST, WEST].map(|at| zone(&world, at).unwrap().serial);
            assert_eq!(serials[0], serials[1], "round {round}, step {step}");
            for at in [EAST, WEST] {
                let keys = zone(&world, at).unwrap().dnskeys;
                assert_eq!(keys, [[1 - at as u8]], "{at} publishes the keys of the other system");
            }
            assert!(serials[0] > last, "round {round}, step {step}: {} after {last}", serials[0]);
            last = serials[0];
        }
    }
}
