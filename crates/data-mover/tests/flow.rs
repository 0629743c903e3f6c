//! What two movers promise each other, over real sockets with real certificates.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use pair::{LINK, Pair, Way, flows, noise};
use switchback_proto::model::v1::AccessMode;
use switchback_proto::mover::v1::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_copy_is_followed_by_every_change() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for number in 0..1_500 {
        pair.east.put(&content, &format!("k/{number:04}"), &noise(number, 50)).await;
    }
    let large = noise(7, 300_000);
    pair.east.put_blob(&content, "large", &large).await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    let flow = pair.west.until_in_sync().await;
    assert_eq!(flow.digest, flow.peer_digest);
    assert_eq!(pair.west.keys(&content).await, pair.east.keys(&content).await);
    assert_eq!(pair.west.get(&content, "large").await.unwrap().1, large);
    let refused = pair.west.try_put(&content, "k", b"x").await.unwrap_err();
    let detail = switchback_kit::grpc::reason(&refused).unwrap();
    assert_eq!((detail.reason.as_str(), detail.link.as_str()), ("READ_ONLY", "payments"));
    assert_eq!(detail.writer.unwrap().domain, "east.example.com");

    // Put, overwrite, delete: the same keys and bytes, and nothing rises from the dead.
    let before = pair.east.until_flow("counted", |flow| flow.in_sync && flow.sent_objects >= 1_503).await;
    pair.east.put(&content, "new", b"one").await;
    pair.east.put(&content, "new", b"two").await;
    pair.east.delete(&content, "k/0000").await;
    let after = pair
        .east
        .until_flow("the changes are acknowledged", |flow| {
            flow.in_sync && flow.acknowledged_sequence > before.acknowledged_sequence
        })
        .await;
    assert_eq!(pair.west.get(&content, "new").await.unwrap().1, b"two");
    assert!(pair.west.get(&content, "k/0000").await.is_none());
    assert!(after.up_to_date_as_of_unix_ms >= before.up_to_date_as_of_unix_ms);
    assert!(after.sent_objects - before.sent_objects <= 3, "only what changed is sent");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_tags_travel_without_the_body() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    let large = noise(1, 4_000_000);
    pair.east.put_blob(&content, "large", &large).await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    let carried = pair.west.line.carried();
    pair.east.tag(&content, "large", "red").await;
    pair.east.until_flow("the tag is there", |flow| flow.in_sync && flow.acknowledged_sequence >= 4).await;
    let (object, bytes) = pair.west.get(&content, "large").await.unwrap();
    assert_eq!(object.tags.get("tag").map(String::as_str), Some("red"));
    assert_eq!(bytes, large);
    assert!(pair.west.line.carried() - carried < 1_000_000, "the body stayed where it was");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_the_flow_catches_up_from_its_cursor() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for number in 0..300 {
        pair.east.put(&content, &format!("a/{number}"), b"before").await;
    }
    pair.steer(&content, 0, Way::West).await;
    let before = pair.east.until_flow("counted", |flow| flow.in_sync && flow.sent_objects >= 302).await;
    pair.cut();
    pair.east.until("contact is lost", |status| !status.links[0].contact).await;
    for number in 0..20 {
        pair.east.put(&content, &format!("b/{number}"), b"meanwhile").await;
    }
    let apart = pair.east.until_flow("the changes wait", |flow| flow.pending_objects == 20).await;
    assert!(!apart.in_sync);
    let request = ListPendingRequest { link_id: LINK.to_vec().into(), records_max: 5, ask_peer: false };
    let pending = pair.east.mover().list_pending(request).await.unwrap().into_inner();
    assert_eq!((pending.objects, pending.records.len(), pending.truncated), (20, 5, true));
    pair.heal();
    // Heads travel on a stream of their own and may come before the acknowledgement is counted.
    let sent = before.sent_objects + 20;
    let after = pair.east.until_flow("counted", |flow| flow.in_sync && flow.sent_objects >= sent).await;
    assert_eq!(after.sent_objects, sent);
    assert_eq!(pair.west.keys(&content).await.len(), 320);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_resumes_in_the_middle_after_a_cut() {
    const SIZE: usize = 96 << 20;
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    let large = noise(3, SIZE);
    pair.east.put_blob(&content, "large", &large).await;
    pair.west.line.break_after(70 << 20);
    pair.steer(&content, 0, Way::West).await;
    pair.west.line.until_cut().await;
    assert!(pair.west.get(&content, "large").await.is_none(), "half a body is nobody's object");
    // Not only the line: the receiver itself begins again from disk.
    pair.west.stop().await;
    pair.west.start().await;
    pair.heal();
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    assert_eq!(pair.west.get(&content, "large").await.unwrap().1, large);
    let carried = pair.west.line.carried();
    // A stream's window of 20 MiB, a piece of 8, and what is not the body: all else came once.
    assert!(carried < (SIZE + (32 << 20)) as u64, "{carried} bytes were carried for {SIZE}");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_go_on_after_one_of_their_connections_ended() {
    const SIZE: usize = 48 << 20;
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    let bodies = [noise(3, SIZE), noise(4, SIZE)];
    pair.east.put_blob(&content, "a", &bodies[0]).await;
    pair.east.put_blob(&content, "b", &bodies[1]).await;
    pair.west.line.end_one_after(40 << 20);
    pair.steer(&content, 0, Way::West).await;
    pair.west.line.until_one_ended().await;
    let carried = pair.west.line.carried();
    assert_eq!(pair.west.line.connections_over(1 << 20), 2, "one for each body");
    pair.east.until_in_sync().await;
    for (key, body) in ["a", "b"].iter().zip(&bodies) {
        assert!(pair.west.get(&content, key).await.unwrap().1 == *body, "{key}");
    }
    let again = pair.west.line.carried() - carried;
    assert!(again < (2 * SIZE - (8 << 20)) as u64, "{again} bytes: what was durable was sent again");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_on_both_sides_converge_and_the_losers_are_kept_and_listed() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.put(&content, "both", b"old").await;
    pair.east.put(&content, "gone", b"old").await;
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    pair.cut();
    pair.east.until("contact is lost", |status| !status.links[0].contact).await;
    pair.east.put(&content, "both", b"east").await;
    pair.east.put(&content, "only-east", b"tail").await;
    pair.east.delete(&content, "gone").await;
    pair.steer_west(&content, 1, Way::Neither).await;
    pair.west.put(&content, "both", b"west").await;
    pair.west.put(&content, "only-west", b"new").await;
    pair.heal();
    pair.steer(&content, 1, Way::Both).await;
    let east = pair.east.until_in_sync().await;
    let west = pair.west.until_in_sync().await;
    assert_eq!(east.digest, west.digest);
    let keys = pair.east.keys(&content).await;
    assert_eq!(keys, pair.west.keys(&content).await);
    assert_eq!(keys, ["both", "only-east", "only-west"]);
    let kept = &pair.east.keys_under(&content, ".lost+found/").await[..];
    let [kept] = kept else { panic!("{kept:?}") };
    assert!(kept.starts_with(".lost+found/replication/payments/both@"), "{kept}");
    let mut reports = Vec::new();
    for system in [&pair.east, &pair.west] {
        assert_eq!(system.get(&content, "both").await.unwrap().1, b"west");
        assert_eq!(system.get(&content, kept).await.unwrap().1, b"east");
        assert_eq!(system.get(&content, "only-east").await.unwrap().1, b"tail");
        assert_eq!(system.get(&content, "only-west").await.unwrap().1, b"new");
        assert!(system.get(&content, "gone").await.is_none());
        let request = ListDivergencesRequest { link_id: LINK.to_vec().into(), ..Default::default() };
        let report = system.mover().list_divergences(request).await.unwrap().into_inner().divergences;
        let entry = &report[0];
        assert_eq!((entry.key.as_str(), &entry.kept_at, entry.epoch), ("both", kept, 1));
        assert_eq!(entry.winner_system, "west.example.com");
        assert_eq!(entry.loser_system, "east.example.com");
        reports.push(report);
    }
    assert_eq!(reports[0].len(), 1);
    assert_eq!(reports[0], reports[1]);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_epoch_makes_the_old_writer_read_only_even_while_suspended() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    pair.cut();
    pair.east.until("contact is lost", |status| !status.links[0].contact).await;
    pair.steer_west(&content, 1, Way::Neither).await;
    pair.east.put(&content, "still", b"writable").await;
    let suspended =
        ApplyFlowsRequest { suspended: true, ..flows(&pair.east, &pair.west, &content, 0, Way::West, 99) };
    pair.east.mover().apply_flows(suspended).await.unwrap();
    pair.heal();
    let status = pair.east.until("the epoch is heard", |status| status.links[0].peer_epoch == 1).await;
    let shown = status.contents.iter().find(|shown| shown.content.as_ref() == Some(&content)).unwrap();
    assert_eq!((shown.mode(), shown.epoch), (AccessMode::ReadOnly, 1));
    let refused = pair.east.try_put(&content, "too", b"late").await.unwrap_err();
    assert_eq!(switchback_kit::grpc::reason(&refused).unwrap().writer.unwrap().domain, "west.example.com");
    // After a restart it is still read-only, and the old epoch cannot be set again.
    pair.east.stop().await;
    pair.east.start().await;
    assert!(pair.east.try_put(&content, "too", b"late").await.is_err());
    let stale = SetAccessRequest {
        contents: vec![content.clone()],
        mode: AccessMode::ReadWrite.into(),
        epoch: 0,
        link_id: LINK.to_vec().into(),
        link: "payments".into(),
        side: pair.east.side.into(),
        writer: None,
        primary_system_id: vec![1; 16].into(),
        replica_system_id: vec![2; 16].into(),
    };
    let refused = pair.east.mover().set_access(stale).await.unwrap_err();
    assert_eq!(switchback_kit::grpc::reason(&refused).unwrap().reason, "STALE_EPOCH");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wishes_of_a_higher_epoch_leave_nobody_writable_until_the_access_mode_is_set() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.put(&content, "before", b"1").await;
    let ahead = flows(&pair.east, &pair.west, &content, 1, Way::Neither, 99);
    pair.east.mover().apply_flows(ahead).await.unwrap();
    assert!(pair.east.try_put(&content, "after", b"2").await.is_err());
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_incarnation_than_the_link_agreed_on_is_not_obeyed() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    // West believes in another incarnation of east, and is at a higher epoch.
    let mut other = flows(&pair.west, &pair.east, &content, 7, Way::Neither, 50);
    other.peer_incarnation = 12;
    pair.west.mover().apply_flows(other).await.unwrap();
    let west = pair.west.until("contact is refused", |status| !status.links[0].contact).await;
    assert_eq!(west.links[0].peer_epoch, 0);
    let east = pair
        .east
        .until("the refusal shows", |status| {
            status.links[0].trouble.contains("incarnation") && !status.links[0].contact
        })
        .await;
    assert_eq!(east.links[0].peer_epoch, 0);
    pair.east.put(&content, "still", b"writable").await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_object_stops_nothing_and_is_visible_until_it_is_set_aside() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.put(&content, "first", b"1").await;
    let damaged = pair.east.put_blob(&content, "damaged", &noise(1, 100_000)).await;
    let lost = pair.east.put_blob(&content, "lost", &noise(2, 3_000_000)).await.to_string();
    pair.east.put(&content, "last", b"2").await;
    let path = |name: &str| pair.east.folder.join("blobs").join(&name[..2]).join(name);
    // Only the receiver can see it: the bytes that are here are as they were written.
    pair.east.rewrite_blob(damaged, &noise(9, 100_000)).await;
    std::fs::remove_file(path(&lost)).unwrap();
    pair.steer(&content, 0, Way::West).await;
    let flow =
        pair.east.until_flow("both are aside", |flow| flow.retries == 2 && flow.pending_objects == 0).await;
    assert!(!flow.in_sync);
    assert_eq!(pair.west.keys(&content).await, ["first", "last"]);
    let listed = ListRetriesRequest { link_id: LINK.to_vec().into() };
    let retries = pair.east.mover().list_retries(listed.clone()).await.unwrap().into_inner().retries;
    let reason = |key: &str| retries.iter().find(|retry| retry.key == key).unwrap().reason.clone();
    assert!(reason("damaged").contains("content hash"), "{}", reason("damaged"));
    assert!(reason("lost").contains("cannot be read here"), "{}", reason("lost"));

    // They are remembered, before anything could be tried again.
    pair.cut();
    pair.east.stop().await;
    pair.east.start().await;
    pair.east.until_flow("both are remembered", |flow| flow.retries == 2).await;
    let again = pair.east.mover().list_retries(listed).await.unwrap().into_inner().retries;
    let reasons = |retries: &[Retry]| retries.iter().map(|retry| retry.reason.clone()).collect::<Vec<_>>();
    assert_eq!(reasons(&again), reasons(&retries));
    pair.heal();
    pair.steer(&content, 0, Way::West).await;

    // A good version of one heals it; the other is set aside by name, over a restart too.
    pair.east.put(&content, "damaged", b"good").await;
    pair.east.until_flow("one is healed", |flow| flow.retries == 1).await;
    assert_eq!(pair.west.get(&content, "damaged").await.unwrap().1, b"good");
    let aside = SetAsideRequest {
        link_id: LINK.to_vec().into(),
        content: Some(content.clone()),
        namespace: "photos".into(),
        key: "lost".into(),
    };
    pair.east.mover().set_aside(aside).await.unwrap();
    pair.east.stop().await;
    pair.east.start().await;
    pair.steer(&content, 0, Way::West).await;
    let flow = pair.east.until_in_sync().await;
    assert_eq!((flow.retries, flow.set_aside), (0, 1));
    pair.west.until_in_sync().await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_sends_what_changed_and_not_what_exists() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for number in 0..1_000 {
        pair.east.put(&content, &format!("{number:04}"), &noise(number, 200)).await;
    }
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    pair.cut();
    pair.east.until("contact is lost", |status| !status.links[0].contact).await;
    pair.steer_west(&content, 1, Way::Neither).await;
    for number in 0..10 {
        pair.west.put(&content, &format!("{number:04}"), b"changed on the west").await;
    }
    pair.west.delete(&content, "0999").await;
    pair.heal();
    pair.steer(&content, 1, Way::Both).await;
    let west = pair.west.until_flow("counted", |flow| flow.in_sync && flow.sent_objects >= 11).await;
    assert_eq!((west.sent_objects, west.compared_objects), (11, 0));
    assert!(pair.east.get(&content, "0999").await.is_none());
    assert_eq!(pair.east.get(&content, "0003").await.unwrap().1, b"changed on the west");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_went_back_in_time_is_recognised_and_then_repaired_by_comparison() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for number in 0..500 {
        pair.east.put(&content, &format!("{number:04}"), &noise(number, 200)).await;
    }
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    let backup = pair.east.back_up().await;
    pair.steer(&content, 0, Way::West).await;
    for number in 0..20 {
        pair.east.put(&content, &format!("after/{number}"), b"after the backup").await;
    }
    pair.east
        .until_flow("the later writes are there", |flow| flow.in_sync && flow.pending_objects == 0)
        .await;
    pair.east.restore(&backup).await;
    let east = pair.east.until_flow("it knows itself", |flow| flow.local_rolled_back).await;
    pair.west.until_flow("the other side knows it", |flow| flow.peer_rolled_back && !flow.in_sync).await;
    assert!(!east.in_sync);
    assert!(pair.east.try_put(&content, "x", b"x").await.is_err(), "read-only until told otherwise");

    // New certificates with a new incarnation, and the link is restored from the west.
    pair.renew_east(12).await;
    pair.steer(&content, 1, Way::Both).await;
    let west = pair.west.until_flow("counted", |flow| flow.in_sync && flow.sent_objects >= 20).await;
    let east = pair.east.until_in_sync().await;
    assert_eq!(west.sent_objects, 20, "what was missing, and nothing else");
    assert_eq!(east.sent_objects, 0);
    assert_eq!(pair.east.keys(&content).await.len(), 520);
    pair.stop().await;
}

/// Found by the simulator: once both sides had a deletion they forgot it, and the side from the backup
/// brought back what it still had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_after_the_backup_does_not_come_back_with_it() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for key in ["east/stays", "east/goes"] {
        pair.east.put(&content, key, key.as_bytes()).await;
    }
    for name in ["stays", "goes"] {
        pair.east.create_namespace(&content, name).await;
    }
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    pair.steer(&content, 1, Way::Both).await;
    for key in ["west/stays", "west/goes"] {
        pair.west.put(&content, key, key.as_bytes()).await;
    }
    pair.west.until_flow("all is sent", |flow| flow.in_sync && flow.pending_objects == 0).await;
    pair.east.until_in_sync().await;
    // What the other side has is noted a moment after it said so.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let backup = pair.east.back_up().await;
    pair.steer(&content, 1, Way::Both).await;
    for key in ["east/goes", "west/goes"] {
        pair.west.delete(&content, key).await;
    }
    pair.west.delete_namespace(&content, "goes").await;
    pair.west.until_flow("all is sent", |flow| flow.in_sync && flow.pending_objects == 0).await;
    pair.west.forget_deletions().await;
    pair.east.restore(&backup).await;

    pair.renew_east(12).await;
    pair.steer(&content, 1, Way::Both).await;
    pair.west.until_flow("both are noted", |flow| flow.in_sync && flow.divergences == 3).await;
    pair.east.until_flow("in sync", |flow| flow.in_sync && flow.divergences == 3).await;
    for side in [&pair.east, &pair.west] {
        assert_eq!(side.keys(&content).await, ["east/stays", "west/stays"], "{}", side.domain);
        let aside = side.keys_under(&content, ".lost+found/").await;
        assert!(
            aside.len() == 2 && aside[0].contains("east/goes") && aside[1].contains("west/goes"),
            "{aside:?}"
        );
        assert_eq!(side.namespaces(&content).await, ["photos", "stays"], "{}", side.domain);
    }
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_the_other_side_remembers_comes_from_there_and_is_no_conflict() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.put(&content, "goes", b"x").await;
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let backup = pair.east.back_up().await;
    pair.steer(&content, 1, Way::Neither).await;
    pair.west.delete(&content, "goes").await;
    pair.east.restore(&backup).await;

    // East compares first, and asks; then West may speak of what it knows.
    pair.renew_east(12).await;
    pair.steer(&content, 1, Way::West).await;
    pair.east.until_flow("compared", |flow| flow.compared_objects > 0 && flow.pending_objects == 0).await;
    pair.steer(&content, 1, Way::Both).await;
    pair.west.until_in_sync().await;
    let east = pair.east.until_in_sync().await;
    assert_eq!((east.divergences, pair.east.keys_under(&content, ".lost+found/").await.len()), (0, 0));
    assert!(pair.east.keys(&content).await.is_empty() && pair.west.keys(&content).await.is_empty());
    pair.stop().await;
}

/// Found by the simulator: the comparison that brings such a side up to date looks at what is visible,
/// and what it had missed of the report stayed on the other side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_from_a_backup_is_told_of_the_conflicts_that_it_missed() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.put(&content, "both", b"old").await;
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    let backup = pair.east.back_up().await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    pair.cut();
    pair.east.until("contact is lost", |status| !status.links[0].contact).await;
    pair.east.put(&content, "both", b"east").await;
    pair.steer_west(&content, 1, Way::Neither).await;
    pair.west.put(&content, "both", b"west").await;
    pair.heal();
    pair.steer(&content, 1, Way::Both).await;
    pair.east.until_in_sync().await;
    pair.west.until_flow("it is noted", |flow| flow.in_sync && flow.divergences == 1).await;
    pair.east.restore(&backup).await;

    pair.renew_east(12).await;
    pair.steer(&content, 3, Way::Both).await;
    pair.west.until_in_sync().await;
    pair.east.until_flow("it is noted there, too", |flow| flow.in_sync && flow.divergences == 1).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuilt_empty_side_is_sent_everything_and_nothing_is_listed_for_it() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for number in 0..700 {
        pair.east.put(&content, &format!("{number:04}"), &noise(number, 200)).await;
    }
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    pair.east.stop().await;
    std::fs::remove_dir_all(&pair.east.folder).unwrap();
    pair.renew_east(12).await;
    pair.steer(&content, 1, Way::Both).await;
    let west = pair.west.until_flow("counted", |flow| flow.in_sync && flow.sent_objects >= 702).await;
    assert_eq!((west.sent_objects, west.compared_objects), (702, 0), "objects, tenant and namespace");
    assert_eq!(pair.east.keys(&content).await, pair.west.keys(&content).await);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_reaches_a_side_that_is_compared() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for number in 0..50 {
        pair.east.put(&content, &format!("{number:04}"), b"x").await;
    }
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    pair.cut();
    pair.east.until("contact is lost", |status| !status.links[0].contact).await;
    pair.east.delete(&content, "0007").await;
    // East's feed gets a new life: west has no cursor for it, and the deleted object.
    pair.heal();
    pair.renew_east(12).await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    assert!(pair.west.get(&content, "0007").await.is_none());
    assert_eq!(pair.west.keys(&content).await.len(), 49);
    pair.stop().await;
}
