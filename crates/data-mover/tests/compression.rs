//! What two movers do where a link's bytes are to be compressed: what pays is, and nothing else changes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use pair::{Pair, Way, flows, noise, text};
use switchback_proto::model::v1::{Compression, Content};

/// A link from east to west in epoch 0, in sync.
async fn start() -> (Pair, Content) {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.steer(&content, 0, Way::West).await;
    pair.west.until_in_sync().await;
    (pair, content)
}

/// As the link managers do when the setting was changed; `generation` grows.
async fn set(pair: &Pair, content: &Content, compression: Compression, generation: u64) {
    for (own, peer) in [(&pair.east, &pair.west), (&pair.west, &pair.east)] {
        let mut wanted = flows(own, peer, content, 0, Way::West, generation);
        wanted.compression = compression.into();
        own.mover().apply_flows(wanted).await.unwrap();
    }
}

/// Writes one object with each of these bodies, and answers how many bytes the line took for them.
async fn carried(pair: &Pair, content: &Content, name: &str, bodies: &[Vec<u8>]) -> u64 {
    let before = pair.west.line.carried();
    for (number, body) in bodies.iter().enumerate() {
        let key = format!("{name}/{number:04}");
        if body.len() <= 32 << 10 {
            pair.east.put(content, &key, body).await;
        } else {
            pair.east.put_blob(content, &key, body).await;
        }
    }
    let head =
        pair.east.until_flow("counted", |flow| flow.sent_head.is_some()).await.sent_head.unwrap().sequence;
    pair.east
        .until_flow("it is there", |flow| {
            flow.pending_objects == 0 && flow.acknowledged_sequence >= head && flow.in_sync
        })
        .await;
    for (number, body) in bodies.iter().enumerate() {
        let key = format!("{name}/{number:04}");
        let (object, bytes) = pair.west.get(content, &key).await.unwrap();
        assert!(bytes == *body && object.size == body.len() as u64, "{key}");
    }
    pair.west.line.carried() - before
}

fn bytes(bodies: &[Vec<u8>]) -> u64 {
    bodies.iter().map(|body| body.len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shrinks_is_compressed_from_one_change_of_the_setting_to_the_next() {
    let (pair, content) = start().await;
    let small: Vec<_> = (0..100).map(|seed| text(seed, 16 << 10)).collect();
    let medium: Vec<_> = (0..20).map(|seed| text(seed, 100_000)).collect();
    let large: Vec<_> = (0..2).map(|seed| text(seed, 20 << 20)).collect();
    for (round, compression) in
        [Compression::Zstd, Compression::None, Compression::Zstd].into_iter().enumerate()
    {
        set(&pair, &content, compression, 10 + round as u64).await;
        for (name, bodies) in [("small", &small), ("medium", &medium), ("large", &large)] {
            let line = carried(&pair, &content, &format!("{round}/{name}"), bodies).await;
            let of = bytes(bodies);
            match compression {
                Compression::Zstd => assert!(line < of / 2, "{name}: {line} bytes for {of}"),
                Compression::None | Compression::Unspecified => {
                    assert!(line > of, "{name}: {line} bytes for {of}")
                }
            }
        }
    }
    // What is counted for people is the objects' own bytes.
    let of = 3 * (bytes(&small) + bytes(&medium) + bytes(&large));
    let sent = pair.east.until_flow("counted", |flow| flow.sent_bytes >= of).await.sent_bytes;
    let received = pair.west.until_flow("counted", |flow| flow.received_bytes >= of).await.received_bytes;
    assert_eq!((sent, received), (of, of));
    // Of the rounds with compression it is said what that came to.
    let of = of / 3 * 2;
    let shown = pair.east.until_flow("measured", |flow| flow.plain_bytes >= of).await;
    assert!(shown.plain_bytes < of + of / 20, "{} bytes for {of}", shown.plain_bytes);
    assert!(shown.packed_bytes * 2 < shown.plain_bytes, "{} of {}", shown.packed_bytes, shown.plain_bytes);
    let idle = pair.west.until_flow("it sends nothing", |_| true).await;
    assert_eq!((idle.plain_bytes, idle.packed_bytes), (0, 0));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_shrink_is_sent_as_it_is_and_so_are_the_parts_that_do_not() {
    let (pair, content) = start().await;
    set(&pair, &content, Compression::Zstd, 10).await;
    let mixed = |seed: u64| {
        let mut body = Vec::new();
        for stretch in 0..16 {
            body.extend(text(seed + stretch, 1 << 20));
            body.extend(noise(seed + stretch, 1 << 20));
        }
        body
    };
    let of_noise: Vec<_> =
        (0..40).map(|seed| noise(seed, if seed % 2 == 0 { 16 << 10 } else { 1 << 20 })).collect();
    let of_both = [mixed(100), mixed(200)];
    let line = carried(&pair, &content, "noise", &of_noise).await;
    let of = bytes(&of_noise);
    assert!((of..of + of / 20).contains(&line), "{line} bytes for {of}");
    let shown = pair.east.until_flow("measured", |flow| flow.plain_bytes >= of).await;
    assert!(shown.packed_bytes > of, "what does not shrink counts: {} of {}", shown.packed_bytes, of);
    let line = carried(&pair, &content, "both", &of_both).await;
    // Of the text some is passed over, after as much noise.
    let of = bytes(&of_both);
    assert!((of / 2..of * 9 / 10).contains(&line), "{line} bytes for {of}");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_was_cut_off_goes_on_compressed_where_it_was_not_and_the_other_way_round() {
    const SIZE: usize = 64 << 20;
    for (first, then) in [(Compression::None, Compression::Zstd), (Compression::Zstd, Compression::None)] {
        let (mut pair, content) = start().await;
        pair.west.line.cut();
        set(&pair, &content, first, 10).await;
        let large = text(7, SIZE);
        pair.east.put_blob(&content, "large", &large).await;
        pair.heal();
        let part = if first == Compression::None { 40 << 20 } else { 10 << 20 };
        pair.west.line.break_after(part);
        pair.west.line.until_cut().await;
        pair.west.stop().await;
        pair.west.start().await;
        let before = pair.west.line.carried();
        pair.heal();
        set(&pair, &content, then, 11).await;
        pair.steer(&content, 0, Way::West).await;
        pair.east.until_in_sync().await;
        assert!(pair.west.get(&content, "large").await.unwrap().1 == large);
        let rest = pair.west.line.carried() - before;
        let whole = if then == Compression::None { SIZE as u64 } else { SIZE as u64 / 4 };
        assert!(rest < whole, "{rest} bytes after the cut: it began anew");
        pair.stop().await;
    }
}
