//! Objects expire on the side that writes, and their deletes travel.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use std::time::Duration;

use pair::{Pair, System, Way};
use switchback_proto::model::v1::Content;
use switchback_store::{Expiration, LIFECYCLE, Lifecycle, LifecycleFilter, LifecycleRule};

/// Everything under `old/` expires as soon as it is looked at: its day was in 1970.
fn rules() -> String {
    let rule = LifecycleRule {
        id: "old".into(),
        enabled: true,
        filter: LifecycleFilter { prefix: Some("old/".into()), ..LifecycleFilter::default() },
        expiration: Some(Expiration::Date(0)),
        ..LifecycleRule::default()
    };
    Lifecycle { rules: vec![rule] }.setting()
}

async fn until_gone(system: &System, content: &Content, key: &str) {
    let gone = async {
        while system.get(content, key).await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("it did not expire");
}

/// A round after this moment has gone by: what is on no link expired in it. The round looks at one content
/// after the other, so the second one that expires says that the first round is over.
async fn a_round_goes_by(system: &System, alone: &Content) {
    for _ in 0..2 {
        system.put(alone, "old/sign", b"x").await;
        until_gone(system, alone, "old/sign").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_expire_where_they_may_be_written_and_their_deletes_travel() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.set(&content, LIFECYCLE, &rules()).await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    for key in ["old/a", "kept"] {
        pair.east.put(&content, key, b"x").await;
    }
    until_gone(&pair.east, &content, "old/a").await;
    until_gone(&pair.west, &content, "old/a").await;
    pair.east.until_in_sync().await;
    assert_eq!(pair.west.keys(&content).await, ["kept"]);

    // The replica took over: its rules are those that came with the content.
    pair.steer(&content, 1, Way::Neither).await;
    pair.west.put(&content, "old/b", b"x").await;
    until_gone(&pair.west, &content, "old/b").await;

    // It stands alone, and goes on: clients write to it.
    pair.cut();
    pair.west.until("contact is lost", |status| !status.links[0].contact).await;
    pair.west.put(&content, "old/c", b"x").await;
    until_gone(&pair.west, &content, "old/c").await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_stands_alone_deletes_nothing_until_it_is_in_contact() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    let alone = pair.east.tenant("alone").await;
    for content in [&content, &alone] {
        pair.east.set(content, LIFECYCLE, &rules()).await;
    }
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    pair.cut();
    pair.east.until("contact is lost", |status| !status.links[0].contact).await;
    pair.east.put(&content, "old/a", b"x").await;
    a_round_goes_by(&pair.east, &alone).await;
    assert!(pair.east.get(&content, "old/a").await.is_some());
    pair.heal();
    until_gone(&pair.east, &content, "old/a").await;
    until_gone(&pair.west, &content, "old/a").await;
    pair.stop().await;
}
