//! What a plan may say of data that is on one side only: known, as last told, or nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use pair::{LINK, Pair, System, Way};
use switchback_proto::model::v1::PeerKnowledge;
use switchback_proto::mover::v1::*;

async fn pending(system: &System) -> ListPendingResponse {
    let request = ListPendingRequest { link_id: LINK.to_vec().into(), records_max: 100, ask_peer: true };
    system.mover().list_pending(request).await.unwrap().into_inner()
}

fn names(records: &[PendingRecord]) -> Vec<(&str, bool)> {
    records.iter().map(|record| (record.key.as_str(), record.deleted)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_peer_holds_is_named_in_contact_and_told_with_its_age_after() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.put(&content, "gone", b"old").await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    pair.west.until_in_sync().await;
    pair.steer(&content, 0, Way::Neither).await;
    pair.east.put(&content, "a", b"12345").await;
    pair.east.put(&content, "b", b"12345").await;
    pair.east.delete(&content, "gone").await;
    pair.west.until_flow("three are told of", |flow| flow.peer_pending_objects == 3).await;

    let asked = pending(&pair.west).await.peer.unwrap();
    assert_eq!(asked.knowledge(), PeerKnowledge::Asked);
    assert_eq!((asked.objects, asked.bytes, asked.truncated), (3, 10, false));
    assert_eq!(names(&asked.records), [("a", false), ("b", false), ("gone", true)]);
    // The writer itself names the same, as its own.
    assert_eq!(names(&pending(&pair.east).await.records), names(&asked.records));

    pair.cut();
    pair.west.until("contact is lost", |status| !status.links[0].contact).await;
    pair.east.put(&content, "after", b"x").await;
    let told = pending(&pair.west).await.peer.unwrap();
    assert_eq!(told.knowledge(), PeerKnowledge::Told);
    assert_eq!((told.objects, told.bytes), (3, 10));
    assert_eq!(names(&told.records), names(&asked.records));
    assert!(told.told_unix_ms > 0 && told.listed_unix_ms == asked.listed_unix_ms);
    assert!((1..=told.told_unix_ms).contains(&told.complete_as_of_unix_ms));
    assert!(told.positions[0].applied_sequence < told.positions[0].head.as_ref().unwrap().sequence);

    // Nobody tells it again after a restart: it is remembered.
    pair.west.stop().await;
    pair.west.start().await;
    let remembered = pending(&pair.west).await.peer.unwrap();
    assert_eq!(remembered.knowledge(), PeerKnowledge::Told);
    assert_eq!((remembered.objects, remembered.told_unix_ms), (3, told.told_unix_ms));
    assert_eq!(remembered.complete_as_of_unix_ms, told.complete_as_of_unix_ms);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_peer_that_never_spoke_nothing_is_said_to_be_known() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.cut();
    pair.steer(&content, 0, Way::West).await;
    let never = pending(&pair.west).await.peer.unwrap();
    assert_eq!((never.knowledge(), never.told_unix_ms), (PeerKnowledge::None, 0));
    pair.stop().await;
}

async fn absences(system: &System, epoch_min: u64) -> Vec<Absence> {
    let request = ListDivergencesRequest {
        link_id: LINK.to_vec().into(),
        epoch_min,
        ..ListDivergencesRequest::default()
    };
    system.mover().list_divergences(request).await.unwrap().into_inner().absences
}

/// West goes on alone in epoch 1, while East holds `a` and `b` alone, as it has told.
async fn go_on_alone() -> (Pair, switchback_proto::model::v1::Content) {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    pair.west.until_in_sync().await;
    pair.steer(&content, 0, Way::Neither).await;
    pair.east.put(&content, "a", b"12345").await;
    pair.east.put(&content, "b", b"12345").await;
    pair.west.until_flow("two are told of", |flow| flow.peer_pending_objects == 2).await;
    pending(&pair.west).await;
    assert_eq!(absences(&pair.west, 0).await, []);
    pair.cut();
    pair.west.until("contact is lost", |status| !status.links[0].contact).await;
    pair.steer_west(&content, 1, Way::Neither).await;
    (pair, content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missing_when_a_side_went_on_alone_is_noted_until_it_arrives() {
    let (mut pair, content) = go_on_alone().await;
    let noted = absences(&pair.west, 0).await;
    let [absence] = &noted[..] else { panic!("{noted:?}") };
    assert_eq!((absence.epoch, absence.gone_unix_ms, absence.arrived), (1, 0, false));
    let missing = absence.missing.as_ref().unwrap();
    assert_eq!((missing.objects, missing.bytes), (2, 10));
    assert_eq!(names(&missing.records), [("a", false), ("b", false)]);
    assert_eq!(absences(&pair.west, 2).await, []);
    pair.heal();
    pair.steer(&content, 1, Way::Both).await;
    pair.west.until_in_sync().await;
    let after = absences(&pair.west, 0).await;
    assert!(after[0].arrived && after[0].gone_unix_ms == 0);
    assert_eq!(after[0].missing, absence.missing, "what was known then stays as it was");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replaced_side_held_alone_stays_listed_as_lost() {
    let (mut pair, content) = go_on_alone().await;
    pair.renew_east(33).await;
    pair.steer_west(&content, 1, Way::Neither).await;
    pair.west.stop().await;
    pair.west.start().await;
    let lost = absences(&pair.west, 1).await;
    assert_eq!(lost.len(), 1);
    assert!(lost[0].gone_unix_ms > 0 && !lost[0].arrived);
    let missing = lost[0].missing.as_ref().unwrap();
    assert_eq!(names(&missing.records), [("a", false), ("b", false)]);
    pair.stop().await;
}
