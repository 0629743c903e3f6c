//! The feed: what a sender reads, cursors, tombstones, what is pending.

use std::collections::BTreeMap;

use switchback_model::{AccessMode, FeedId, Side};
use switchback_store::{Applied, Change, ChangesRequest, ConflictPolicy, Pending, RecordKey};

use crate::support::{EAST, System, link, pair, request, run, sender, total};

#[test]
fn a_feed_keeps_the_latest_change_of_each_key_in_order() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        link(&system, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        let mut latest = BTreeMap::new();
        for number in 0..30 {
            let key = format!("key{}", number % 7);
            latest.insert(key.clone(), system.put(&content, &key, "x").await.unwrap().sequence);
        }
        let changes = system.changes(&content, None, 2);
        let sequences: Vec<u64> = changes.iter().map(|change| change.sequence).collect();
        assert!(sequences.is_sorted());
        let objects: BTreeMap<String, u64> = changes
            .into_iter()
            .filter_map(|change| match change.record.key {
                RecordKey::Object { key, .. } => Some((key, change.sequence)),
                _ => None,
            })
            .collect();
        assert_eq!(objects, latest);
    });
}

#[test]
fn a_reader_in_small_steps_gets_everything_once() {
    run(async {
        let (east, west, content) = pair().await;
        for number in 0..25 {
            east.put(&content, &format!("e{number}"), "x").await.unwrap();
            west.put(&content, &format!("w{number}"), "x").await.unwrap();
        }
        // East's feed is now of two sources, mixed.
        west.send(&content, &east, ConflictPolicy::NewestWins).await;
        let all: Vec<u64> = east.changes(&content, None, 0).iter().map(|change| change.sequence).collect();
        let (mut after, mut read) = (0, Vec::new());
        loop {
            let step = ChangesRequest { changes_max: 3, ..request(None, after) };
            let batch = east.catalogue.changes(content.id, &step).unwrap();
            read.extend(batch.changes.iter().map(|change| change.sequence));
            assert!(batch.through > after || batch.through == batch.head);
            after = batch.through;
            if after == batch.head {
                break;
            }
        }
        assert_eq!(read, all);
    });
}

#[test]
fn nothing_is_echoed_to_where_it_came_from() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        east.send(&content, &west, ConflictPolicy::NewestWins).await;
        let (to_east, to_anyone) = (Some(east.feed(&content)), Some(FeedId(77)));
        assert_eq!(west.changes(&content, to_east, 0), []);
        let batch = west.catalogue.changes(content.id, &request(to_east, 0)).unwrap();
        assert_eq!(batch.through, batch.head);
        assert_eq!(west.catalogue.pending(content.id, to_east, 0).unwrap(), Pending::default());
        // A rebuilt peer has another feed, and gets it all.
        assert_eq!(west.changes(&content, to_anyone, 0).len(), east.changes(&content, None, 0).len());
        // What is written here over what came from there goes back.
        west.put(&content, "a", "y").await.unwrap();
        assert_eq!(west.changes(&content, to_east, 0).len(), 1);
    });
}

#[test]
fn configuration_can_be_read_ahead_of_objects() {
    run(async {
        let (east, _, content) = pair().await;
        for number in 0..5 {
            east.put(&content, &format!("{number}"), "x").await.unwrap();
        }
        east.catalogue.create_namespace(content.id, "late").await.unwrap();
        let ahead = ChangesRequest { configuration_only: true, ..request(None, 3) };
        let batch = east.catalogue.changes(content.id, &ahead).unwrap();
        let keys: Vec<RecordKey> = batch.changes.into_iter().map(|change| change.record.key).collect();
        assert_eq!(keys, [RecordKey::Namespace("late".into())]);
    });
}

#[test]
fn pending_counts_what_a_scan_would_find() {
    run(async {
        let (east, _, content) = pair().await;
        for number in 0..40 {
            east.put(&content, &format!("{}", number % 13), &"x".repeat(number)).await.unwrap();
        }
        for after in 0..50 {
            let changes = east.changes(&content, None, after);
            let scanned = Pending {
                objects: changes.len() as u64,
                bytes: changes.iter().map(|change| change.record.size()).sum(),
            };
            assert_eq!(east.catalogue.pending(content.id, None, after).unwrap(), scanned);
        }
    });
}

/// Counts are kept for every 4,096 numbers of a feed.
#[test]
fn pending_counts_wherever_it_begins_in_a_long_feed() {
    run(async {
        let (east, _, content) = pair().await;
        for round in 0..18 {
            // Each round writes a tenth of the keys of the one before again.
            let keys = (0..500).map(|number| (round * 450 + number).to_string());
            let puts = keys.map(|key| {
                let (east, content) = (&east, &content);
                async move { east.put(content, &key, &key).await.unwrap() }
            });
            futures::future::join_all(puts).await;
        }
        let mut every = Vec::new();
        let head = loop {
            let after = every.last().map_or(0, |change: &Change| change.sequence);
            let batch = east.catalogue.changes(content.id, &request(None, after)).unwrap();
            every.extend(batch.changes);
            if batch.through == batch.head {
                break batch.head;
            }
        };
        assert!(head > 2 * 4096);
        for after in [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 6143, 6144, 8191, 8192, head - 1, head] {
            let left = every.iter().filter(|change| change.sequence > after);
            let (objects, bytes) =
                left.fold((0, 0), |(objects, bytes), change| (objects + 1, bytes + change.record.size()));
            let scanned = Pending { objects, bytes };
            assert_eq!(east.catalogue.pending(content.id, None, after).unwrap(), scanned, "after {after}");
        }
    });
}

#[test]
fn applying_again_changes_nothing() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        let changes = east.changes(&content, None, 0);
        let sender = sender(&east, &content);
        let apply = async |through| {
            west.catalogue.apply(content.id, sender.clone(), changes.clone(), through).await.unwrap()
        };
        apply(Some(4)).await;
        let before = west.catalogue.content(content.id).unwrap();
        assert_eq!(before.cursor(sender.feed), 4);
        let again = apply(Some(2)).await;
        assert!(again.results.iter().all(|result| *result == Applied::Ignored));
        assert_eq!(west.catalogue.content(content.id).unwrap(), before);
        assert_eq!(total(&west, content.id), total(&east, content.id));
    });
}

#[test]
fn cursor_and_content_survive_a_restart_together() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        east.send(&content, &west, ConflictPolicy::NewestWins).await;
        let cursor = west.catalogue.content(content.id).unwrap().cursor(east.feed(&content));
        let west = west.reopen();
        assert_eq!(west.catalogue.content(content.id).unwrap().cursor(east.feed(&content)), cursor);
        assert_eq!(cursor, east.catalogue.content(content.id).unwrap().head.sequence);
        assert_eq!(west.body(&content, "a").as_deref(), Some("x"));
    });
}

#[test]
fn a_tombstone_is_kept_until_the_peer_has_acknowledged_it() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        east.send(&content, &west, ConflictPolicy::NewestWins).await;
        east.delete(&content, "a").await;
        let head = east.catalogue.content(content.id).unwrap().head.sequence;
        let tombstones = |system: &System| system.catalogue.content(content.id).unwrap().tombstones;
        east.catalogue.acknowledge(content.id, west.feed(&content), head - 1).await.unwrap();
        east.catalogue.sweep().await.unwrap();
        assert_eq!(tombstones(&east), 1);
        east.send(&content, &west, ConflictPolicy::NewestWins).await;
        assert_eq!(west.body(&content, "a"), None);
        east.catalogue.acknowledge(content.id, west.feed(&content), head).await.unwrap();
        assert_eq!(tombstones(&east), 0);
        assert_eq!(east.catalogue.pending(content.id, None, head - 1).unwrap(), Pending::default());
        assert_eq!(total(&west, content.id), total(&east, content.id));
    });
}

#[test]
fn tombstones_wait_for_a_rebuilt_peer_until_the_content_leaves_its_link() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        let tombstones = || east.catalogue.content(content.id).unwrap().tombstones;
        east.catalogue.acknowledge(content.id, west.feed(&content), 100).await.unwrap();
        // Another feed, another peer: what the former one had counts no more.
        east.catalogue.acknowledge(content.id, FeedId(5), 0).await.unwrap();
        east.delete(&content, "a").await;
        east.catalogue.sweep().await.unwrap();
        assert_eq!(tombstones(), 1);
        east.catalogue.release(vec![content.id]).await.unwrap();
        east.catalogue.sweep().await.unwrap();
        assert_eq!(tombstones(), 0);
    });
}

#[test]
fn a_version_from_a_clock_far_ahead_waits_and_does_not_hold_up_what_follows() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "before", "x").await.unwrap();
        east.clock.advance(61_000);
        let skewed = east.put(&content, "skewed", "x").await.unwrap();
        let receipt = east.send(&content, &west, ConflictPolicy::NewestWins).await.unwrap();
        assert!(receipt.results.iter().any(|result| matches!(result, Applied::Quarantined { .. })));
        assert_eq!(receipt.cursor, skewed.sequence - 1);
        assert_eq!(west.body(&content, "before").as_deref(), Some("x"));
        assert_eq!(west.body(&content, "skewed"), None);
        west.clock.advance(61_000);
        let receipt = east.send(&content, &west, ConflictPolicy::NewestWins).await.unwrap();
        assert_eq!((receipt.results, receipt.cursor), (vec![Applied::Stored], skewed.sequence));
    });
}

#[test]
fn a_record_travels_whole() {
    run(async {
        let (east, _, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        east.put(&content, "a", "y").await.unwrap();
        east.delete(&content, "b").await;
        for change in east.changes(&content, None, 0) {
            let read = switchback_store::Record::from_bytes(&change.record.to_bytes()).unwrap();
            assert_eq!(read, change.record);
        }
    });
}

#[test]
fn a_new_life_of_a_feed_has_another_identity_and_the_same_changes() {
    run(async {
        let (east, _, content) = pair().await;
        let (feed, changes) = (east.feed(&content), east.changes(&content, None, 0));
        let renewed = east.catalogue.renew_feed(content.id).await.unwrap();
        assert_ne!(renewed, feed);
        assert_eq!(east.feed(&content), renewed);
        assert_eq!(east.changes(&content, None, 0), changes);
    });
}
