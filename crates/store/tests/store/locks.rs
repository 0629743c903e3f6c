//! Object lock: what is kept, from whom, and that no merge makes it weaker.

use std::collections::BTreeMap;

use proptest::prelude::*;
use switchback_model::Content;
use switchback_store::{
    Clock as _, Conditions, ConflictPolicy, Deletion, Error, Lock, LockChange, OBJECT_LOCK, Object,
    Retention, RetentionMode, VERSIONING, VersionId,
};

use crate::line::resend;
use crate::support::{EAST, NAMESPACE, System, converge, object, pair, report, run, total};

use RetentionMode::{Compliance, Governance};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

async fn set(system: &System, content: &Content, setting: &str, value: Option<&str>) -> Result<(), Error> {
    let value = value.map(str::to_owned);
    system.catalogue.set_namespace_setting(content.id, NAMESPACE, setting, value).await
}

async fn enable(system: &System, content: &Content, lock: &str) {
    set(system, content, VERSIONING, Some("Enabled")).await.unwrap();
    set(system, content, OBJECT_LOCK, Some(lock)).await.unwrap();
}

fn retained(mode: RetentionMode, until_unix_ms: u64) -> Lock {
    Lock { retention: Some(Retention { mode, until_unix_ms }), hold: false }
}

async fn put(system: &System, content: &Content, lock: Lock) -> Result<VersionId, Error> {
    let object = Object { lock, ..object("x") };
    let written =
        system.catalogue.put_object(content.id, NAMESPACE, "a", object, Conditions::default()).await;
    written.map(|written| written.id.unwrap())
}

async fn change(
    system: &System,
    content: &Content,
    id: VersionId,
    change: LockChange,
    bypass: bool,
) -> Result<(), Error> {
    let set = system.catalogue.set_lock(content.id, NAMESPACE, "a", Some(id), change, bypass);
    set.await.map(|_| ())
}

async fn delete(system: &System, content: &Content, id: VersionId, bypass_governance: bool) -> bool {
    let deletion = Deletion { key: "a".into(), version: Some(id), bypass_governance };
    let results = system.catalogue.delete_objects(content.id, NAMESPACE, vec![deletion]).await.unwrap();
    match &results[0] {
        Ok(_) => true,
        Err(Error::Locked { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

fn lock(system: &System, content: &Content, id: VersionId) -> Option<Lock> {
    let found = system.catalogue.object_version(content.id, NAMESPACE, "a", Some(id), false);
    found.ok().map(|entry| entry.object.lock)
}

#[test]
fn a_locked_version_is_kept_from_who_may_not_delete_it() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        enable(&system, &content, "Enabled").await;
        let soon = system.clock.now_unix_ms() + 1_000;
        let held = put(&system, &content, Lock { hold: true, ..Lock::default() }).await.unwrap();
        let governed = put(&system, &content, retained(Governance, soon)).await.unwrap();
        let compliant = put(&system, &content, retained(Compliance, soon)).await.unwrap();
        let free = put(&system, &content, Lock::default()).await.unwrap();
        // A marker hides what is locked, and a new version stands before it.
        system.delete(&content, "a").await;
        let system = system.reopen();
        for id in [held, governed, compliant] {
            assert!(!delete(&system, &content, id, false).await);
        }
        for id in [held, compliant] {
            assert!(!delete(&system, &content, id, true).await);
        }
        assert!(
            delete(&system, &content, free, false).await && delete(&system, &content, governed, true).await
        );
        system.clock.advance(1_000);
        assert!(delete(&system, &content, compliant, false).await, "its retention has ended");
        assert!(!delete(&system, &content, held, true).await, "a hold has no end");
        change(&system, &content, held, LockChange::Hold(false), false).await.unwrap();
        assert!(delete(&system, &content, held, false).await);
    });
}

#[test]
fn a_namespace_is_made_with_its_lock_or_not_at_all() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let settings = |versioning: &str, lock: &str| {
            let pairs = [(VERSIONING, versioning), (OBJECT_LOCK, lock)];
            pairs
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let head = || system.catalogue.content(content.id).unwrap().head.sequence;
        let before = head();
        let make = |settings| system.catalogue.create_namespace_with(content.id, "locked", settings);
        make(settings("Enabled", "Enabled")).await.unwrap();
        assert_eq!(head(), before + 1, "one change: nobody sees it without");
        for (versioning, lock) in [("", "Enabled"), ("Suspended", "Enabled"), ("Enabled", "On"), ("On", "")] {
            let refused =
                system.catalogue.create_namespace_with(content.id, "other", settings(versioning, lock));
            refused.await.unwrap_err();
        }
        assert!(system.catalogue.namespace(content.id, "other").is_err());
    });
}

#[test]
fn what_is_written_without_a_word_gets_the_default_retention() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        enable(&system, &content, "Enabled COMPLIANCE 2 days").await;
        let now = system.clock.now_unix_ms();
        let id = put(&system, &content, Lock::default()).await.unwrap();
        assert_eq!(lock(&system, &content, id), Some(retained(Compliance, now + 2 * DAY_MS)));
        let id = put(&system, &content, retained(Governance, now + 5)).await.unwrap();
        assert_eq!(lock(&system, &content, id), Some(retained(Governance, now + 5)));
        let late = put(&system, &content, retained(Governance, now)).await;
        assert!(matches!(late, Err(Error::Invalid { what: "retention", .. })));
    });
}

#[test]
fn a_namespace_with_object_lock_keeps_it_and_its_versioning() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let early = set(&system, &content, OBJECT_LOCK, Some("Enabled")).await;
        assert!(matches!(early, Err(Error::LockStays)), "it keeps no versions yet");
        let unlocked = put(&system, &content, retained(Governance, u64::MAX)).await;
        assert!(matches!(unlocked, Err(Error::NoObjectLock)));
        enable(&system, &content, "Enabled").await;
        for (setting, value) in [(OBJECT_LOCK, None), (VERSIONING, Some("Suspended"))] {
            assert!(matches!(set(&system, &content, setting, value).await, Err(Error::LockStays)));
        }
        let wrong = set(&system, &content, OBJECT_LOCK, Some("Enabled SOMETIMES 1 days")).await;
        assert!(matches!(wrong, Err(Error::Invalid { .. })));
        set(&system, &content, OBJECT_LOCK, Some("Enabled GOVERNANCE 1 years")).await.unwrap();
    });
}

#[test]
fn a_delete_that_did_not_know_of_a_lock_loses_to_it_whichever_travels_first() {
    for delete_first in [false, true] {
        run(a_delete_meets_a_lock(delete_first));
    }
}

async fn a_delete_meets_a_lock(delete_first: bool) {
    let (east, west, content) = pair().await;
    enable(&east, &content, "Enabled").await;
    let id = put(&east, &content, Lock::default()).await.unwrap();
    converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
    change(&east, &content, id, LockChange::Hold(true), false).await.unwrap();
    west.clock.advance(10);
    assert!(delete(&west, &content, id, false).await);
    if delete_first {
        west.send(&content, &east, ConflictPolicy::NewestWins).await;
    }
    converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
    for system in [&east, &west] {
        assert!(lock(system, &content, id).unwrap().hold);
        assert!(!delete(system, &content, id, true).await);
        let (found, name) = (report(system), "a version that was locked stays");
        assert!(found.len() == 1 && found[0].loser_deleted && found[0].rule == name, "{found:?}");
    }
    // Who has seen the hold lifts it, and deletes.
    change(&west, &content, id, LockChange::Hold(false), false).await.unwrap();
    assert!(delete(&west, &content, id, false).await);
    converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
    assert_eq!((lock(&east, &content, id), lock(&west, &content, id)), (None, None));
}

#[test]
fn a_hold_that_was_lifted_is_lifted_unless_somebody_set_another_meanwhile() {
    run(async {
        let (east, west, content) = pair().await;
        enable(&east, &content, "Enabled").await;
        let held = Lock { hold: true, ..Lock::default() };
        let id = put(&east, &content, held).await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        change(&west, &content, id, LockChange::Hold(false), false).await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        assert_eq!(lock(&east, &content, id), Some(Lock::default()));
        // Apart: East sets it again, West, later and unknowing, a retention.
        change(&east, &content, id, LockChange::Hold(true), false).await.unwrap();
        west.clock.advance(10);
        let retention = Retention { mode: Governance, until_unix_ms: u64::MAX };
        change(&west, &content, id, LockChange::Retention(Some(retention)), false).await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            assert_eq!(lock(system, &content, id), Some(Lock { hold: true, retention: Some(retention) }));
            assert!(report(system).is_empty(), "nothing was lost");
            assert_eq!(system.visible(&content).len(), 1, "and nothing is kept aside");
        }
    });
}

#[test]
fn what_is_kept_aside_of_a_locked_version_can_be_deleted() {
    run(async {
        let (east, west, content) = pair().await;
        enable(&east, &content, "Enabled").await;
        let id = put(&east, &content, Lock { hold: true, ..Lock::default() }).await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for (system, tag) in [(&east, "red"), (&west, "blue")] {
            let tags = BTreeMap::from([("tag".to_owned(), tag.to_owned())]);
            system.catalogue.set_tags(content.id, NAMESPACE, "a", Some(id), tags).await.unwrap();
            west.clock.advance(10);
        }
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        let kept_at = report(&east)[0].kept_at.clone().unwrap();
        let deletion = Deletion { version: Some(VersionId::Null), ..kept_at.as_str().into() };
        let deleted = east.catalogue.delete_objects(content.id, NAMESPACE, vec![deletion]).await.unwrap();
        assert!(deleted[0].is_ok());
    });
}

#[derive(Clone, Debug)]
enum Step {
    Hold {
        east: bool,
        on: bool,
    },
    Retain {
        east: bool,
        mode: RetentionMode,
        until: u64,
        bypass: bool,
    },
    Tag {
        east: bool,
    },
    Delete {
        east: bool,
    },
    Send {
        from_east: bool,
    },
    /// Everything from the start again, in reverse order.
    Resend {
        from_east: bool,
    },
    Pass {
        east: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Governance), Just(Compliance)];
    prop_oneof![
        2 => any::<(bool, bool)>().prop_map(|(east, on)| Step::Hold { east, on }),
        3 => (any::<bool>(), mode, 1u64..9, any::<bool>())
            .prop_map(|(east, mode, until, bypass)| Step::Retain { east, mode, until, bypass }),
        1 => any::<bool>().prop_map(|east| Step::Tag { east }),
        1 => any::<bool>().prop_map(|east| Step::Delete { east }),
        2 => any::<bool>().prop_map(|from_east| Step::Send { from_east }),
        1 => any::<bool>().prop_map(|from_east| Step::Resend { from_east }),
        2 => any::<bool>().prop_map(|east| Step::Pass { east }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Both sides change one version in any way and exchange it in any way.
    #[test]
    fn no_merge_makes_a_lock_weaker_and_both_sides_end_with_the_same(
        steps in prop::collection::vec(step(), 1..30),
        policy in prop_oneof![Just(ConflictPolicy::NewestWins), Just(ConflictPolicy::ReplicaWins)],
    ) {
        run(async {
            let (east, west, content) = pair().await;
            enable(&east, &content, "Enabled").await;
            let id = put(&east, &content, Lock::default()).await.unwrap();
            converge(&east, &west, &content, policy).await;
            let end = east.clock.now_unix_ms() + DAY_MS;
            for (number, step) in steps.into_iter().enumerate() {
                let at = |is_east: bool| if is_east { &east } else { &west };
                match step {
                    Step::Hold { east, on } => {
                        drop(change(at(east), &content, id, LockChange::Hold(on), false).await);
                    }
                    Step::Retain { east, mode, until, bypass } => {
                        let retention = Some(Retention { mode, until_unix_ms: end + until });
                        drop(change(at(east), &content, id, LockChange::Retention(retention), bypass).await);
                    }
                    Step::Tag { east } => {
                        let tags = BTreeMap::from([("step".to_owned(), number.to_string())]);
                        drop(at(east).catalogue.set_tags(content.id, NAMESPACE, "a", Some(id), tags).await);
                    }
                    Step::Delete { east } => drop(delete(at(east), &content, id, false).await),
                    Step::Send { from_east } => {
                        let to = at(!from_east);
                        let before = lock(to, &content, id);
                        // What neither side has heard of the other's doing.
                        let receipt = at(from_east).send(&content, to, policy).await;
                        let met = receipt.is_some_and(|receipt| receipt.results.iter().any(|result| {
                            matches!(result, switchback_store::Applied::Won { .. } | switchback_store::Applied::Lost { .. })
                        }));
                        if let (true, Some(before)) = (met, before.filter(|before| !before.is_none())) {
                            let after = lock(to, &content, id).expect("a locked version stays");
                            prop_assert_eq!(after.join(before), after);
                        }
                    }
                    Step::Resend { from_east } => {
                        resend(at(from_east), at(!from_east), &content, policy).await;
                    }
                    Step::Pass { east } => at(east).clock.advance(2),
                }
            }
            converge(&east, &west, &content, policy).await;
            prop_assert_eq!(lock(&east, &content, id), lock(&west, &content, id));
            prop_assert_eq!(total(&east, content.id), total(&west, content.id));
            prop_assert_eq!(report(&east), report(&west));
            Ok(())
        })?;
    }
}
