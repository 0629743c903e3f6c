//! Merging: whatever was written on both sides, both sides end equal, and nothing is forgotten.

use std::collections::BTreeMap;

use proptest::prelude::*;
use switchback_model::{Hlc, Rights, SiteId, Version};
use switchback_store::{Applied, Clock, Conditions, ConflictPolicy, CredentialRecord, Payload, RecordKey};

use crate::line::{Carry, Line, carry, policy};
use crate::support::{
    ALL_EPOCHS, EAST, LINK, NAMESPACE, System, WEST, converge, object, pair, report, run, sender, total,
};

#[test]
fn the_loser_of_a_conflict_is_kept_and_both_sides_report_it() {
    run(async {
        let (east, west, content) = pair().await;
        let lost = east.put(&content, "a", "east").await.unwrap().version;
        west.clock.advance(10);
        let won = west.put(&content, "a", "west").await.unwrap().version;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        let kept_at = format!(".lost+found/replication/link1/a@{lost}");
        let expected =
            BTreeMap::from([("a".to_owned(), "west".to_owned()), (kept_at.clone(), "east".to_owned())]);
        for system in [&east, &west] {
            assert_eq!(system.visible(&content), expected);
            let page = system.catalogue.divergences(LINK, ALL_EPOCHS, None, 10).unwrap();
            assert_eq!(page.divergences.len(), 1);
            let (_, divergence) = &page.divergences[0];
            assert_eq!(divergence.key, RecordKey::object(NAMESPACE, "a"));
            assert_eq!((divergence.winner, divergence.loser), (won, lost));
            assert_eq!(divergence.kept_at.as_ref(), Some(&kept_at));
            assert_eq!(divergence.rule, "newer hybrid logical time");
            assert_eq!(system.catalogue.divergence_count(LINK, content.id).unwrap(), 1);
        }
        assert_eq!(total(&east, content.id), total(&west, content.id));
    });
}

/// Found by the simulator's layer of cores: each side frees the mark of a delete in its own time, and a key
/// that was written again in between was reported as a conflict with its own delete.
#[test]
fn a_key_that_is_written_again_after_its_delete_was_forgotten_is_no_conflict() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "first").await.unwrap();
        east.send(&content, &west, ConflictPolicy::NewestWins).await;
        east.delete(&content, "a").await;
        east.send(&content, &west, ConflictPolicy::NewestWins).await;
        east.hear(&content, &west).await;
        let tombstones = |system: &System| system.catalogue.content(content.id).unwrap().tombstones;
        assert_eq!((tombstones(&east), tombstones(&west)), (0, 1));
        east.clock.advance(10);
        east.put(&content, "a", "second").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        assert_eq!(west.body(&content, "a").as_deref(), Some("second"));
        assert!(report(&east).is_empty() && report(&west).is_empty());
    });
}

#[test]
fn the_primary_wins_a_tie() {
    run(async {
        let (east, west, content) = pair().await;
        // West has seen as much of the clock as East, so the two get the same time.
        for system in [&east, &west] {
            system.catalogue.see(Hlc::from_unix_ms(system.clock.now_unix_ms() + 1_000)).await.unwrap();
        }
        let ours = east.put(&content, "a", "east").await.unwrap().version;
        let theirs = west.put(&content, "a", "west").await.unwrap().version;
        assert_eq!((ours.hlc, ours.site, theirs.site), (theirs.hlc, EAST, WEST));
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        assert_eq!(west.body(&content, "a").as_deref(), Some("east"));
        let page = west.catalogue.divergences(LINK, ALL_EPOCHS, None, 10).unwrap();
        assert_eq!(page.divergences[0].1.rule, "primary wins the tie");
    });
}

#[test]
fn the_replica_wins_when_the_link_says_so() {
    run(async {
        let (east, west, content) = pair().await;
        west.put(&content, "a", "west").await.unwrap();
        east.clock.advance(10);
        east.put(&content, "a", "east").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::ReplicaWins).await;
        for system in [&east, &west] {
            assert_eq!(system.body(&content, "a").as_deref(), Some("west"));
        }
        assert_eq!(total(&east, content.id), total(&west, content.id));
    });
}

#[test]
fn both_are_kept_when_the_link_says_so() {
    run(async {
        let (east, west, content) = pair().await;
        let lost = east.put(&content, "a", "east").await.unwrap().version;
        west.clock.advance(10);
        west.put(&content, "a", "west").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::KeepBoth).await;
        for system in [&east, &west] {
            assert_eq!(system.body(&content, "a").as_deref(), Some("west"));
            assert_eq!(system.body(&content, &format!("a@{lost}")).as_deref(), Some("east"));
        }
    });
}

#[test]
fn a_delete_that_knew_of_the_write_wins_without_a_conflict_and_does_not_resurrect() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        let old = east.changes(&content, None, 0);
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        west.delete(&content, "a").await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        assert_eq!(east.visible(&content), BTreeMap::new());
        // The old write comes once more, late.
        let sender = sender(&east, &content);
        west.catalogue.apply(content.id, sender, old, None).await.unwrap();
        assert_eq!(west.visible(&content), BTreeMap::new());
        assert_eq!(west.catalogue.divergence_count(LINK, content.id).unwrap(), 0);
    });
}

#[test]
fn a_write_that_lost_to_a_delete_is_kept_and_a_delete_that_lost_is_listed() {
    run(async {
        let (east, west, content) = pair().await;
        for key in ["a", "b"] {
            east.put(&content, key, "base").await.unwrap();
        }
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        east.put(&content, "a", "lost").await.unwrap();
        east.delete(&content, "b").await;
        west.clock.advance(10);
        west.delete(&content, "a").await;
        west.put(&content, "b", "won").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            let visible = system.visible(&content);
            assert_eq!(visible.get("b").map(String::as_str), Some("won"));
            assert_eq!(visible.get("a"), None);
            assert_eq!(visible.values().filter(|body| *body == "lost").count(), 1);
            let page = system.catalogue.divergences(LINK, ALL_EPOCHS, None, 10).unwrap();
            let of = |key: &str| {
                let found = page.divergences.iter().find(|(_, divergence)| divergence.key.label() == key);
                found.map(|(_, divergence)| divergence.clone()).unwrap()
            };
            assert!(of("a").winner_deleted && of("a").kept_at.is_some());
            assert!(of("b").loser_deleted && of("b").kept_at.is_none());
        }
    });
}

#[test]
fn two_deletes_of_one_key_agree() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        east.delete(&content, "a").await;
        west.delete(&content, "a").await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        assert_eq!(total(&east, content.id), total(&west, content.id));
        assert_eq!(east.catalogue.divergence_count(LINK, content.id).unwrap(), 0);
    });
}

#[test]
fn rights_go_to_the_other_side_and_the_newer_ones_win() {
    run(async {
        let (east, west, content) = pair().await;
        let credential =
            CredentialRecord { access_key: "AK".into(), secret_key: "s".into(), ..Default::default() };
        east.catalogue.create_credential(content.id, credential).await.unwrap();
        let granted = |grant: &str| Rights::Granted(vec![grant.parse().unwrap()]);
        let both = |rights: Rights| {
            for system in [&east, &west] {
                assert_eq!(system.catalogue.find_credential("AK").unwrap().unwrap().1.rights, rights);
            }
            assert_eq!(total(&east, content.id), total(&west, content.id));
        };
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        both(Rights::All);
        east.catalogue.set_credential_rights(content.id, "AK", granted("photos=read")).await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        both(granted("photos=read"));
        east.catalogue.set_credential_rights(content.id, "AK", granted("photos=write")).await.unwrap();
        west.clock.advance(10);
        west.catalogue.set_credential_rights(content.id, "AK", Rights::Granted(vec![])).await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        both(Rights::Granted(vec![]));
        let page = west.catalogue.divergences(LINK, ALL_EPOCHS, None, 10).unwrap();
        let lost = page.divergences[0].1.loser_record.as_ref().unwrap();
        let Payload::Credential(lost) = &lost.payload else { panic!("not a credential: {lost:?}") };
        assert_eq!(lost.rights, granted("photos=write"));
    });
}

#[test]
fn a_conflict_of_configuration_is_listed_with_what_lost() {
    run(async {
        let (east, west, content) = pair().await;
        let credential = |secret: &str| CredentialRecord {
            access_key: "AK".into(),
            secret_key: secret.into(),
            ..CredentialRecord::default()
        };
        east.catalogue.create_credential(content.id, credential("east")).await.unwrap();
        west.clock.advance(10);
        west.catalogue.create_credential(content.id, credential("west")).await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            let (_, found) = system.catalogue.find_credential("AK").unwrap().unwrap();
            assert_eq!(found.secret_key, "west");
            let page = system.catalogue.divergences(LINK, ALL_EPOCHS, None, 10).unwrap();
            assert!(page.divergences[0].1.loser_record.is_some());
        }
    });
}

#[test]
fn a_write_over_the_winner_replaces_what_it_had_won_against() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "east").await.unwrap();
        west.clock.advance(10);
        west.put(&content, "a", "west").await.unwrap();
        // Only East has seen the conflict when it writes again.
        west.send(&content, &east, ConflictPolicy::NewestWins).await;
        east.clock.advance(20);
        east.put(&content, "a", "after").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            assert_eq!(system.body(&content, "a").as_deref(), Some("after"));
            assert_eq!(system.catalogue.divergence_count(LINK, content.id).unwrap(), 1);
        }
        assert_eq!(total(&east, content.id), total(&west, content.id));
    });
}

#[test]
fn a_write_that_knew_of_a_conflict_is_none() {
    run(async {
        let (east, west, content) = pair().await;
        west.put(&content, "a", "west").await.unwrap();
        east.clock.advance(10);
        east.put(&content, "a", "east").await.unwrap();
        // East has seen West's version lose when it writes again; West has seen nothing.
        west.send(&content, &east, ConflictPolicy::NewestWins).await;
        east.put(&content, "a", "after").await.unwrap();
        let receipt = east.send(&content, &west, ConflictPolicy::NewestWins).await.unwrap();
        assert!(receipt.results.iter().all(|result| *result == Applied::Stored), "{receipt:?}");
        assert!(west.visible(&content).values().any(|body| body == "west"));
    });
}

#[test]
fn the_report_is_paged() {
    run(async {
        let (east, west, content) = pair().await;
        for number in 0..5 {
            east.put(&content, &format!("{number}"), "east").await.unwrap();
            west.put(&content, &format!("{number}"), "west").await.unwrap();
        }
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        let (mut after, mut seen) = (None, 0);
        loop {
            let page = east.catalogue.divergences(LINK, ALL_EPOCHS, after.as_deref(), 2).unwrap();
            assert!(page.divergences.len() <= 2);
            seen += page.divergences.len();
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, 5);
    });
}

/// One step of a history on two systems.
#[derive(Clone, Debug)]
enum Step {
    Put { east: bool, key: u8 },
    Delete { east: bool, key: u8 },
    Carry(Carry),
    Pass { east: bool, ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 0u8..4).prop_map(|(east, key)| Step::Put { east, key }),
        2 => (any::<bool>(), 0u8..4).prop_map(|(east, key)| Step::Delete { east, key }),
        7 => carry().prop_map(Step::Carry),
        2 => (any::<bool>(), 0u64..3).prop_map(|(east, ms)| Step::Pass { east, ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_on_two_sides_converges_and_forgets_nothing(
        steps in prop::collection::vec(step(), 1..40),
        policy in policy(),
    ) {
        run(async {
            let (east, west, content) = pair().await;
            // Every body that was acknowledged, by its version, with what its write replaced.
            let mut written: BTreeMap<Version, String> = BTreeMap::new();
            let mut replaced: Vec<(SiteId, Version)> = Vec::new();
            let mut line = Line::default();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put { east: at_east, key } | Step::Delete { east: at_east, key } => {
                        let system = if at_east { &east } else { &west };
                        let key = key.to_string();
                        if let Ok(entry) = system.catalogue.object(content.id, NAMESPACE, &key, false) {
                            replaced.push((system.site, entry.version));
                        }
                        if matches!(step, Step::Delete { .. }) {
                            system.delete(&content, &key).await;
                        } else {
                            let body = format!("body {number}");
                            let put = system.catalogue.put_object(
                                content.id, NAMESPACE, &key, object(&body), Conditions::default());
                            written.insert(put.await.unwrap().version, body);
                        }
                    }
                    Step::Carry(carry) => line.carry(carry, [&east, &west], &content, policy).await,
                    Step::Pass { east: at_east, ms } => {
                        (if at_east { &east } else { &west }).clock.advance(ms);
                    }
                }
            }
            converge(&east, &west, &content, policy).await;
            prop_assert_eq!(east.visible(&content), west.visible(&content));
            let (left, right) = (
                east.catalogue.digest(content.id).unwrap(),
                west.catalogue.digest(content.id).unwrap(),
            );
            prop_assert_eq!((left.total, left.ranges), (right.total, right.ranges));
            // A body is visible, unless somebody who saw it replaced or deleted it.
            let visible = east.visible(&content);
            for (version, body) in &written {
                let seen_and_replaced = replaced.iter().any(|(_, by)| by == version);
                prop_assert!(seen_and_replaced || visible.values().any(|other| other == body),
                    "{body} is neither current, nor replaced, nor kept");
            }
            prop_assert_eq!(report(&east), report(&west));
            Ok(())
        })?;
    }
}
