//! A store that went back to a backup: what the peer had and deleted, what it wrote and forgot, and how it is known.

use switchback_model::{AccessMode, Content, FeedId, Hlc, Side, Version};
use switchback_store::{Change, Clock, ConflictPolicy, RecordKey, Sender};

use crate::support::{NAMESPACE, System, link, pair, report, run, sender, sender_to};

const NEWEST: ConflictPolicy = ConflictPolicy::NewestWins;

fn version(system: &System, content: &Content, key: &RecordKey) -> Version {
    system.catalogue.record(content.id, key).unwrap().unwrap().version
}

fn keys(keys: &[&str]) -> Vec<RecordKey> {
    keys.iter().map(|key| RecordKey::object(NAMESPACE, *key)).collect()
}

/// East retires `keys`, in the versions that it has; answers those that it goes on holding.
async fn retire(east: &System, content: &Content, peer: Sender, keys: Vec<RecordKey>) -> Vec<RecordKey> {
    let records = keys.into_iter().map(|key| (key.clone(), version(east, content, &key))).collect();
    east.catalogue.retire(content.id, peer, records).await.unwrap()
}

/// East, and East from a backup that was made just now; both may write.
async fn backed_up(east: System, content: &Content) -> (System, System) {
    let (east, restored) = east.backed_up();
    for system in [&east, &restored] {
        link(system, content, Side::Primary, AccessMode::ReadWrite, 0).await;
    }
    (east, restored)
}

/// West has acknowledged "old" of East, East has "theirs" of West; "new" is East's alone.
async fn apart() -> (System, System, Content) {
    let (east, west, content) = pair().await;
    east.put(&content, "old", "x").await.unwrap();
    east.send(&content, &west, NEWEST).await;
    east.hear(&content, &west).await;
    west.put(&content, "theirs", "y").await.unwrap();
    west.send(&content, &east, NEWEST).await;
    east.put(&content, "new", "z").await.unwrap();
    (east, west, content)
}

#[test]
fn what_the_peer_is_known_to_have_had_goes_and_is_kept_aside_and_noted() {
    run(async {
        let (east, west, content) = apart().await;
        east.catalogue.renew_feed(content.id).await.unwrap();
        let before = east.catalogue.content(content.id).unwrap();
        let left = retire(&east, &content, sender(&west, &content), keys(&["old", "theirs", "new"])).await;
        assert_eq!(left, keys(&["new"]), "nobody knows that the peer ever had it");
        let visible = east.visible(&content);
        let aside: Vec<_> =
            visible.keys().filter(|key| key.starts_with(".lost+found/replication/")).collect();
        assert_eq!((visible.len(), aside.len()), (3, 2), "{visible:?}");
        assert!(visible.contains_key("new"));
        let mut found = report(&east);
        found.sort_by_key(|entry| entry.kept_at.clone());
        assert_eq!(found.len(), 2);
        for (entry, (key, body)) in found.iter().zip([("old", "x"), ("theirs", "y")]) {
            assert_eq!(entry.key, RecordKey::object(NAMESPACE, key));
            assert!(entry.winner_deleted && !entry.loser_deleted && entry.winner > entry.loser);
            assert!(entry.rule.contains("deleted on the other system"), "{}", entry.rule);
            assert_eq!(visible[entry.kept_at.as_ref().unwrap()], body);
        }
        let after = east.catalogue.content(content.id).unwrap();
        assert_eq!((after.tombstones, after.objects), (before.tombstones, before.objects));
        // The peer, which had deleted them, takes the copies and the notes and comes to the same.
        west.delete(&content, "old").await;
        west.delete(&content, "theirs").await;
        east.send(&content, &west, NEWEST).await;
        assert_eq!(west.visible(&content), visible);
        assert_eq!(report(&west).len(), 2);
    });
}

/// Counted by the simulator before: the backup was made before the peer's word had come.
#[test]
fn what_the_peer_had_read_goes_too_when_the_backup_does_not_know_of_it() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "acknowledged", "x").await.unwrap();
        east.send(&content, &west, NEWEST).await;
        east.hear(&content, &west).await;
        east.put(&content, "read", "y").await.unwrap();
        east.put(&content, "unread", "z").await.unwrap();
        let (east, restored) = backed_up(east, &content).await;
        // All but the last one.
        let after = west.catalogue.content(content.id).unwrap().cursor(east.feed(&content));
        let change = east.changes(&content, None, after).remove(0);
        let through = Some(change.sequence);
        west.catalogue.apply(content.id, sender(&east, &content), vec![change], through).await.unwrap();
        restored.put(&content, "after", "v").await.unwrap();
        restored.catalogue.renew_feed(content.id).await.unwrap();
        let peer = sender_to(&west, &restored, &content);
        assert!(peer.local_parting.is_some());
        let all = keys(&["acknowledged", "read", "unread", "after"]);
        assert_eq!(retire(&restored, &content, peer, all).await, keys(&["unread", "after"]));
    });
}

#[test]
fn a_store_that_did_not_go_back_takes_nothing_away() {
    run(async {
        let (east, west, content) = apart().await;
        let all = keys(&["new", "old", "theirs"]);
        assert_eq!(retire(&east, &content, sender(&west, &content), all.clone()).await, all);
        east.catalogue.renew_feed(content.id).await.unwrap();
        assert!(east.catalogue.content(content.id).unwrap().went_back);
        let head = east.catalogue.content(content.id).unwrap().head.sequence;
        east.catalogue.acknowledge(content.id, west.feed(&content), head).await.unwrap();
        assert!(
            !east.catalogue.content(content.id).unwrap().went_back,
            "the peer knows this life of the feed"
        );
        assert_eq!(retire(&east, &content, sender(&west, &content), all.clone()).await, all);
    });
}

#[test]
fn what_was_acknowledged_by_another_peer_or_overwritten_since_stays() {
    run(async {
        let (east, west, content) = apart().await;
        east.catalogue.renew_feed(content.id).await.unwrap();
        let rebuilt = Sender { feed: FeedId(77), ..sender(&west, &content) };
        let all = keys(&["old", "theirs"]);
        assert_eq!(retire(&east, &content, rebuilt, all.clone()).await, all);
        let [old, _] = &all[..] else { panic!() };
        let asked = version(&east, &content, old);
        east.put(&content, "old", "written meanwhile").await.unwrap();
        let peer = sender(&west, &content);
        let left = east.catalogue.retire(content.id, peer, vec![(old.clone(), asked)]).await.unwrap();
        assert_eq!(left, std::slice::from_ref(old));
        assert_eq!(east.body(&content, "old").as_deref(), Some("written meanwhile"));
    });
}

#[test]
fn the_acknowledgement_of_the_life_before_outlasts_lives_that_nobody_acknowledged() {
    run(async {
        let (east, west, content) = apart().await;
        for _ in 0..2 {
            east.catalogue.renew_feed(content.id).await.unwrap();
            east.catalogue.acknowledge(content.id, west.feed(&content), 0).await.unwrap();
        }
        let east = east.reopen();
        link(&east, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        let left = retire(&east, &content, sender(&west, &content), keys(&["old", "new"])).await;
        assert_eq!(left, keys(&["new"]));
    });
}

#[test]
fn a_namespace_goes_when_it_holds_nothing_and_a_kept_copy_goes_without_another() {
    run(async {
        let (east, west, content) = pair().await;
        east.catalogue.create_namespace(content.id, "empty").await.unwrap();
        east.put(&content, "a", "east").await.unwrap();
        west.clock.advance(10);
        west.put(&content, "a", "west").await.unwrap();
        west.send(&content, &east, NEWEST).await;
        let aside = report(&east)[0].kept_at.clone().unwrap();
        let head = east.catalogue.content(content.id).unwrap().head.sequence;
        east.catalogue.acknowledge(content.id, west.feed(&content), head).await.unwrap();
        east.catalogue.renew_feed(content.id).await.unwrap();
        let [full, empty] = [NAMESPACE, "empty"].map(|name| RecordKey::Namespace(name.into()));
        let all = vec![full.clone(), empty.clone(), RecordKey::object(NAMESPACE, aside)];
        assert_eq!(retire(&east, &content, sender(&west, &content), all).await, std::slice::from_ref(&full));
        assert_eq!(east.visible(&content).into_keys().collect::<Vec<_>>(), ["a"]);
        assert!(report(&east).iter().any(|entry| entry.key == empty) && report(&east).len() == 2);
        east.delete(&content, "a").await;
        assert!(retire(&east, &content, sender(&west, &content), vec![full]).await.is_empty());
    });
}

/// Found by the simulator: the store wrote on after it had gone back, and what it had written in between,
/// which only the peer had, counted as replaced by that.
#[test]
fn what_a_store_wrote_and_forgot_is_kept_when_it_overwrites_it_unknowing() {
    run(async {
        let (east, west, content) = pair().await;
        for key in ["overwritten", "forgotten", "known"] {
            east.put(&content, key, "before").await.unwrap();
        }
        east.send(&content, &west, NEWEST).await;
        let (east, restored) = backed_up(east, &content).await;
        east.clock.advance(10);
        let lost = east.put(&content, "forgotten", "in between").await.unwrap().version;
        east.send(&content, &west, NEWEST).await;
        restored.clock.advance(10);
        for body in ["after 1", "after 2"] {
            restored.put(&content, "forgotten", body).await.unwrap();
        }
        restored.put(&content, "overwritten", "after").await.unwrap();
        restored.catalogue.renew_feed(content.id).await.unwrap();
        // A comparison sends what differs, and moves no cursor.
        let peer = sender(&restored, &content);
        west.catalogue.apply(content.id, peer, differing(&restored, &content), None).await.unwrap();
        let found = report(&west);
        assert_eq!(found.iter().map(|entry| entry.loser).collect::<Vec<_>>(), [lost], "and nothing else");
        let visible = west.visible(&content);
        assert_eq!(visible[found[0].kept_at.as_ref().unwrap()], "in between");
        assert_eq!((visible["forgotten"].as_str(), visible["overwritten"].as_str()), ("after 2", "after"));
    });
}

/// Found by the simulator's layer of cores: the store had written more after it went back than the peer had
/// of what it wrote before, so that the peer's place told nothing.
#[test]
fn a_store_that_went_back_and_wrote_as_much_again_is_known_by_its_runs() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "before").await.unwrap();
        east.send(&content, &west, NEWEST).await;
        let (east, restored) = east.backed_up();
        let ahead = |system: &System| {
            let status = system.catalogue.content(content.id).unwrap();
            let there = west.catalogue.content(content.id).unwrap();
            there.is_ahead_of(status.head.feed, status.head.sequence, &status.lineage)
        };
        let behind = |system: &System| {
            let there = west.catalogue.content(content.id).unwrap();
            let status = system.catalogue.content(content.id).unwrap();
            status.is_behind(there.cursors.last(), &there.peer_lineage)
        };
        assert!(!ahead(&east) && !ahead(&restored), "the backup holds all that the peer has");
        assert!(!behind(&east) && !behind(&restored));
        link(&east, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        link(&restored, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        east.put(&content, "b", "in between").await.unwrap();
        east.send(&content, &west, NEWEST).await;
        assert!(!ahead(&east) && ahead(&restored), "its head is behind");
        assert!(!behind(&east) && behind(&restored));
        for key in ["c", "d", "e"] {
            restored.put(&content, key, "after").await.unwrap();
        }
        assert!(ahead(&restored) && behind(&restored), "its head is not, but another run wrote there");
        let east = east.reopen();
        link(&east, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        east.put(&content, "c", "after a start").await.unwrap();
        assert!(!ahead(&east) && !behind(&east));
        east.send(&content, &west, NEWEST).await;
        assert!(!ahead(&east) && !behind(&east));
    });
}

/// Found by the simulator's layer of cores: the clock had been ahead, so that time stood still, and the
/// store gave each time twice, before it went back and after.
#[test]
fn no_write_after_a_backup_has_the_name_of_one_that_was_undone() {
    run(async {
        let (east, _, content) = pair().await;
        let mut differ = [false; 2];
        let mut east = east;
        // Each is by chance, of one in 32,768 at least.
        for _ in 0..3 {
            for (case, is_ahead) in [true, false].into_iter().enumerate() {
                if is_ahead {
                    let ahead = Hlc::from_unix_ms(east.clock.now_unix_ms() + 20_000);
                    east.catalogue.see(ahead).await.unwrap();
                }
                let (went_on, restored) = east.backed_up();
                went_on.clock.advance(100);
                for system in [&went_on, &restored] {
                    link(system, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
                }
                let undone = went_on.put(&content, "a", "undone").await.unwrap().version;
                let after = restored.put(&content, "a", "after").await.unwrap().version;
                differ[case] |= undone != after;
                went_on.clock.advance(60_000);
                east = went_on;
            }
        }
        assert_eq!(differ, [true, true]);
    });
}

/// Found by the simulator's layer of cores: after a backup the clock was set back as well, and the peer took
/// what was written then for something older, of the same site, that it had.
#[test]
fn a_store_that_went_back_goes_on_after_what_its_peer_has_seen_of_it() {
    run(async {
        let (east, west, content) = pair().await;
        let (east, restored) = backed_up(east, &content).await;
        let began_ms = east.clock.now_unix_ms();
        east.clock.advance(10_000);
        east.put(&content, "a", "undone").await.unwrap();
        east.send(&content, &west, NEWEST).await;
        restored.clock.set(began_ms);
        restored.catalogue.see(west.catalogue.clock().unwrap()).await.unwrap();
        let after = restored.put(&content, "a", "after").await.unwrap().version;
        assert!(after.hlc > version(&west, &content, &RecordKey::object(NAMESPACE, "a")).hlc);
        let absurd = Hlc::from_unix_ms(restored.clock.now_unix_ms() + 3_600_000);
        restored.catalogue.see(absurd).await.unwrap();
        assert!(restored.catalogue.clock().unwrap() < absurd, "an hour ahead is believed of nobody");
    });
}

/// Found by the simulator's layer of cores: a store that went back wrote on before it was in contact, and
/// its clock had been set back further. Its writes counted as older than what it had forgotten.
#[test]
fn what_a_store_writes_after_a_backup_with_its_clock_set_back_is_kept() {
    run(async {
        let (east, west, content) = pair().await;
        for key in ["both", "forgotten", "theirs"] {
            east.put(&content, key, "before").await.unwrap();
        }
        east.send(&content, &west, NEWEST).await;
        let (east, restored) = backed_up(east, &content).await;
        let backup_ms = east.clock.now_unix_ms();
        east.clock.set(backup_ms + 10_000);
        for key in ["both", "forgotten"] {
            for body in ["undone 1", "undone 2"] {
                east.put(&content, key, body).await.unwrap();
            }
        }
        east.send(&content, &west, NEWEST).await;
        west.put(&content, "theirs", "west").await.unwrap();
        restored.clock.set(backup_ms + 1_000);
        let after = restored.put(&content, "both", "after").await.unwrap().version;
        let undone = version(&west, &content, &RecordKey::object(NAMESPACE, "both"));
        assert!(undone.hlc > after.hlc);
        restored.catalogue.renew_feed(content.id).await.unwrap();
        let local_parting = sender_to(&west, &restored, &content).local_parting;
        assert!(local_parting.is_some());
        // One after the other, as a feed does, so that the cursor moves on the way; and then back.
        for change in restored.changes(&content, None, 0) {
            let (peer, through) = (sender_to(&restored, &west, &content), Some(change.sequence));
            west.catalogue.apply(content.id, peer, vec![change], through).await.unwrap();
        }
        // It had begun when the other side had not read so far.
        let back = Sender { local_parting, ..sender(&west, &content) };
        restored.catalogue.apply(content.id, back, differing(&west, &content), None).await.unwrap();
        for system in [&west, &restored] {
            let found: Vec<_> = report(system).iter().map(|entry| (entry.winner, entry.loser)).collect();
            assert_eq!(found, [(undone, after)], "and nothing else is a conflict");
        }
        // Also to one who asks later on.
        assert_eq!(sender_to(&west, &restored, &content).local_parting, local_parting);
        let visible = west.visible(&content);
        assert_eq!(restored.visible(&content), visible);
        assert_eq!(visible[report(&west)[0].kept_at.as_ref().unwrap()], "after");
        let kept = ["both", "forgotten", "theirs"].map(|key| visible[key].as_str());
        assert_eq!(kept, ["undone 2", "undone 2", "west"]);
    });
}

/// The objects of `system` as a comparison of all of them sends them.
fn differing(system: &System, content: &Content) -> Vec<Change> {
    let mut changes = system.changes(content, None, 0);
    changes.retain(|change| matches!(change.record.key, RecordKey::Object { .. }));
    changes
}
