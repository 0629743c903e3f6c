//! What becomes of a content that is taken off a link.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use pair::{Pair, System, Way, flows};
use switchback_proto::model::v1::AccessMode;
use switchback_proto::mover::v1::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_taken_off_a_link_is_free_where_it_was_written_and_waits_for_release_elsewhere() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    for (own, peer) in [(&pair.east, &pair.west), (&pair.west, &pair.east)] {
        let without =
            ApplyFlowsRequest { contents: Vec::new(), ..flows(own, peer, &content, 0, Way::Both, 99) };
        own.mover().apply_flows(without).await.unwrap();
    }
    let status = async |system: &System| {
        let status = system.until("it is told", |status| status.links[0].flows.is_empty()).await;
        status
            .contents
            .into_iter()
            .find(|one| one.content.as_ref().is_some_and(|one| one.name == "acme"))
            .unwrap()
    };
    let (east, west) = (status(&pair.east).await, status(&pair.west).await);
    assert!(east.link_id.is_empty() && east.mode() == AccessMode::ReadWrite);
    assert!(west.orphaned && west.mode() == AccessMode::ReadOnly);
    pair.stop().await;
}
