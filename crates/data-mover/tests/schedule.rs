//! What two movers do by a link's schedule and by the order of its contents.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use std::time::Duration;

use pair::{LINK, Pair, Way, flows, noise};
use switchback_proto::model::v1::{AccessMode, Content, FlowPriority, Side, Writer};
use switchback_proto::mover::v1::{ContentFlow, FlowStatus, MoverStatus, SetAccessRequest};
use tokio::time::Instant;

/// A link from east to west in epoch 0.
struct Link {
    pair: Pair,
    contents: Vec<Content>,
    generation: u64,
}

impl Link {
    /// Of so many tenants, which are in sync.
    async fn start(tenants: &[&str]) -> Self {
        let pair = Pair::start().await;
        let mut contents = Vec::new();
        for tenant in tenants {
            contents.push(pair.east.tenant(tenant).await);
        }
        let mut link = Self { pair, contents, generation: 0 };
        for (own, peer) in [(&link.pair.east, &link.pair.west), (&link.pair.west, &link.pair.east)] {
            let writes = own.side == Side::Primary;
            let domain = if writes { String::new() } else { peer.domain.into() };
            let access = SetAccessRequest {
                contents: link.contents.clone(),
                mode: if writes { AccessMode::ReadWrite } else { AccessMode::ReadOnly }.into(),
                link_id: LINK.to_vec().into(),
                link: "payments".into(),
                side: own.side.into(),
                writer: Some(Writer { domain, both_read_only: false }),
                primary_system_id: vec![1; 16].into(),
                replica_system_id: vec![2; 16].into(),
                ..SetAccessRequest::default()
            };
            own.mover().set_access(access).await.unwrap();
        }
        link.steer("", FlowPriority::Fair).await;
        let all = |status: &MoverStatus| {
            let flows = &status.links[0].flows;
            flows.len() == tenants.len() && flows.iter().all(|flow| flow.in_sync)
        };
        link.pair.west.until("all are in sync", |status| !status.links.is_empty() && all(status)).await;
        link
    }

    async fn steer(&mut self, schedule: &str, priority: FlowPriority) {
        self.generation += 1;
        let (east, west) = (&self.pair.east, &self.pair.west);
        for (own, peer) in [(east, west), (west, east)] {
            let mut wanted = flows(own, peer, &self.contents[0], 0, Way::West, self.generation);
            let flow = wanted.contents[0].clone();
            let flows = self.contents.iter();
            wanted.contents =
                flows.map(|content| ContentFlow { content: Some(content.clone()), ..flow.clone() }).collect();
            wanted.schedule = schedule.into();
            wanted.priority = priority.into();
            own.mover().apply_flows(wanted).await.unwrap();
        }
    }
}

fn flow<'a>(status: &'a MoverStatus, content: &Content) -> &'a FlowStatus {
    status.links[0].flows.iter().find(|flow| flow.content.as_ref() == Some(content)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_of_nothing_holds_batches_and_bodies_and_a_failovers_drain_is_not_held() {
    let mut link = Link::start(&["acme"]).await;
    let content = link.contents[0].clone();
    link.steer("0", FlowPriority::Fair).await;
    for number in 0..50 {
        link.pair.east.put(&content, &format!("{number:04}"), b"small").await;
    }
    link.pair.east.put_blob(&content, "large", &noise(1, 3 << 20)).await;
    let before = link.pair.west.line.carried();
    // Heads and the epoch are told all the while.
    link.pair.west.until_flow("told what is held", |flow| flow.peer_pending_objects == 51).await;
    link.pair.east.until_flow("counted", |flow| flow.pending_objects == 51).await;
    assert!(link.pair.west.keys(&content).await.is_empty());
    let told = link.pair.west.line.carried() - before;
    assert!(told < 1 << 20, "{told} bytes of heartbeats");
    // The other side takes an epoch and waits for what is here. Nobody has told this side's mover that the
    // schedule is not for that.
    link.pair.steer_west(&content, 1, Way::West).await;
    link.pair.west.until_flow("it is drained", |flow| flow.peer_pending_objects == 0).await;
    assert_eq!(link.pair.west.keys(&content).await.len(), 51);
    link.pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_leaves_in_a_second_than_the_schedule_says_and_another_one_holds_at_once() {
    const RATE: u64 = 1_000_000;
    let mut link = Link::start(&["acme"]).await;
    let content = link.contents[0].clone();
    link.steer("1MB/s", FlowPriority::Fair).await;
    let (began, before) = (Instant::now(), link.pair.west.line.carried());
    link.pair.east.put_blob(&content, "large", &noise(1, 64 << 20)).await;
    for number in 0..32 {
        link.pair.east.put(&content, &format!("{number:04}"), &noise(number, 32 << 10)).await;
    }
    let flow = link
        .pair
        .east
        .until_flow("watched", |flow| flow.sending_pace.as_ref().is_some_and(|pace| pace.seconds > 0.0));
    let pace = flow.await.sending_pace.unwrap();
    let (took, carried) = (began.elapsed(), link.pair.west.line.carried() - before);
    // A batch of small objects and a chunk overdraw it, TLS and heartbeats come on top, and two connections'
    // buffers are on their way.
    let most = took.as_secs_f64() * 1.1 * RATE as f64 + f64::from(2 << 20);
    assert!((carried as f64) < most, "{carried} bytes in {took:?}");
    let bytes = pace.bytes.unwrap();
    assert!(bytes.moved > 0.0 && bytes.net > 0.0 && bytes.left > f64::from(32 << 20), "{bytes:?}");
    // A minute would be left.
    link.steer("", FlowPriority::Fair).await;
    link.pair.west.until_in_sync().await;
    assert!(began.elapsed() < Duration::from_secs(55), "the rest did not wait");
    assert_eq!(link.pair.west.keys(&content).await.len(), 33);
    link.pair.stop().await;
}

/// A tenant with much to send, and then another with little: whether the first was through when the second was.
async fn much_was_through_before_little(priority: FlowPriority) -> bool {
    let mut link = Link::start(&["much", "little"]).await;
    let (much, little) = (link.contents[0].clone(), link.contents[1].clone());
    link.steer("0", priority).await;
    for number in 0..96 {
        link.pair.east.put(&much, &format!("{number:04}"), &noise(number, 32 << 10)).await;
    }
    let is_older = |status: &MoverStatus| {
        let (much, little) = (flow(status, &much), flow(status, &little));
        much.pending_objects == 96 && much.up_to_date_as_of_unix_ms < little.up_to_date_as_of_unix_ms
    };
    link.pair.east.until("the first is behind", is_older).await;
    for number in 0..8 {
        link.pair.east.put(&little, &format!("{number:04}"), &noise(number, 32 << 10)).await;
    }
    link.pair.west.until("told of both", |status| flow(status, &little).peer_pending_objects == 8).await;
    link.steer("1MB/s", priority).await;
    let seen = link.pair.west.until("the second is through", |status| flow(status, &little).in_sync).await;
    let through = flow(&seen, &much).in_sync;
    link.steer("", priority).await;
    link.pair.west.until("all is through", |status| flow(status, &much).in_sync).await;
    link.pair.stop().await;
    through
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_little_does_not_wait_for_much_where_turns_are_fair() {
    assert!(!much_was_through_before_little(FlowPriority::Fair).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_furthest_behind_goes_first_where_that_was_said() {
    assert!(much_was_through_before_little(FlowPriority::OldestFirst).await);
}
