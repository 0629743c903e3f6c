//! What a pass over a namespace does, against S3's words for it on random histories; and that it does nothing
//! about what was changed, locked, or made read-only since it was looked at.

use std::collections::BTreeMap;

use proptest::prelude::*;
use switchback_model::{AccessMode, Content, Side};
use switchback_store::{
    Acted, BlobId, Clock as _, Conditions, ConflictPolicy, Deletion, Due, Error, Expiration, LIFECYCLE,
    Lifecycle, LifecycleFilter, LifecyclePlace, LifecycleRequest, LifecycleRule, Lock, LockChange,
    NoncurrentExpiration, OBJECT_LOCK, Object, Part, Segment, Upload, VERSIONING, VersionEntry, VersionId,
    VersionsAsked,
};

use crate::support::{EAST, NAMESPACE, System, converge, link, object, pair, report, run, total};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

async fn set(system: &System, content: &Content, setting: &str, value: &str) {
    let value = Some(value.to_owned());
    system.catalogue.set_namespace_setting(content.id, NAMESPACE, setting, value).await.unwrap();
}

async fn rule(system: &System, content: &Content, rules: &Lifecycle) {
    set(system, content, LIFECYCLE, &rules.setting()).await;
}

fn all(system: &System, content: &Content) -> Vec<VersionEntry> {
    let asked = VersionsAsked { entries_max: 1000, ..VersionsAsked::default() };
    let page = system.catalogue.list_versions(content.id, NAMESPACE, &asked).unwrap();
    assert!(page.next.is_none());
    page.entries
}

/// Expires current objects, and noncurrent versions, after a day.
fn daily() -> Lifecycle {
    let rule = LifecycleRule {
        id: "daily".into(),
        enabled: true,
        expiration: Some(Expiration::Days(1)),
        noncurrent: Some(NoncurrentExpiration { days: 1, kept: None }),
        abort_uploads_days: Some(1),
        ..LifecycleRule::default()
    };
    Lifecycle { rules: vec![rule] }
}

/// All that is due now.
fn due(system: &System, content: &Content, rules: &Lifecycle, looked_max: usize) -> Vec<Due> {
    let (mut due, mut place) = (Vec::new(), LifecyclePlace::at(""));
    loop {
        let now_unix_ms = system.clock.now_unix_ms();
        let request = LifecycleRequest { rules, place: &place, now_unix_ms, looked_max };
        let page = system.catalogue.look_for_due(content.id, NAMESPACE, &request).unwrap();
        assert!(page.looked <= looked_max);
        due.extend(page.due);
        match page.next {
            Some(next) => place = next,
            None => return due,
        }
    }
}

async fn act(system: &System, content: &Content, rules: &Lifecycle, due: Vec<Due>) -> Acted {
    let acted = system.catalogue.expire(content.id, NAMESPACE, &rules.setting(), due).await;
    acted.unwrap().expect("the rules are those that were looked at")
}

/// A whole pass, each page carried out before the next is looked at.
async fn pass(system: &System, content: &Content, rules: &Lifecycle, looked_max: usize) -> Acted {
    let (mut acted, mut place) = (Acted::default(), LifecyclePlace::at(""));
    loop {
        let now_unix_ms = system.clock.now_unix_ms();
        let request = LifecycleRequest { rules, place: &place, now_unix_ms, looked_max };
        let page = system.catalogue.look_for_due(content.id, NAMESPACE, &request).unwrap();
        acted.add(act(system, content, rules, page.due).await);
        match page.next {
            Some(next) => place = next,
            None => return acted,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    DeleteVersion(u8, usize),
    Suspend(bool),
    Tag(u8),
    /// Time goes on, by hours.
    Wait(u8),
}

const KEYS: [&str; 4] = ["a", "a/1", "b", "c"];

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..KEYS.len() as u8;
    prop_oneof![
        6 => (key(), 0u8..4).prop_map(|(key, size)| Step::Put(key, size)),
        3 => key().prop_map(Step::Delete),
        1 => (key(), 0usize..3).prop_map(|(key, place)| Step::DeleteVersion(key, place)),
        1 => any::<bool>().prop_map(Step::Suspend),
        1 => key().prop_map(Step::Tag),
        5 => (1u8..60).prop_map(Step::Wait),
    ]
}

fn some_rule() -> impl Strategy<Value = LifecycleRule> {
    let expiration = prop_oneof![
        3 => (1u32..4).prop_map(Expiration::Days),
        1 => (0u64..12).prop_map(|day| Expiration::Date(day * DAY_MS)),
        1 => Just(Expiration::Markers(true)),
    ];
    let noncurrent =
        (1u32..4, proptest::option::of(1u32..4)).prop_map(|(days, kept)| NoncurrentExpiration { days, kept });
    let filter = prop_oneof![
        3 => Just(LifecycleFilter::default()),
        1 => Just(LifecycleFilter { prefix: Some("a".into()), ..LifecycleFilter::default() }),
        1 => Just(LifecycleFilter { larger_than: Some(1), ..LifecycleFilter::default() }),
        1 => Just(LifecycleFilter {
            tags: BTreeMap::from([("k".into(), "v".into())]),
            ..LifecycleFilter::default()
        }),
    ];
    let enabled = prop_oneof![5 => Just(true), 1 => Just(false)];
    (enabled, filter, proptest::option::of(expiration), proptest::option::of(noncurrent)).prop_map(
        |(enabled, filter, expiration, noncurrent)| LifecycleRule {
            enabled,
            expiration: expiration.filter(|expiration| {
                // No such rule can be set.
                !matches!(expiration, Expiration::Markers(_))
                    || (filter.tags.is_empty() && filter.larger_than.is_none())
            }),
            filter,
            noncurrent: noncurrent.or(Some(NoncurrentExpiration { days: 40, kept: None })),
            ..LifecycleRule::default()
        },
    )
}

async fn take(system: &System, content: &Content, step: &Step, versioned: bool) {
    let catalogue = &system.catalogue;
    match *step {
        Step::Put(key, size) => {
            system.put(content, KEYS[usize::from(key)], &"x".repeat(usize::from(size))).await.unwrap();
        }
        Step::Delete(key) => system.delete(content, KEYS[usize::from(key)]).await,
        Step::DeleteVersion(key, place) => {
            let key = KEYS[usize::from(key)];
            let mine: Vec<_> = all(system, content).into_iter().filter(|entry| entry.key == key).collect();
            if let Some(entry) = mine.get(place) {
                let deletion = Deletion { version: Some(entry.id), ..key.into() };
                catalogue.delete_objects(content.id, NAMESPACE, vec![deletion]).await.unwrap();
            }
        }
        Step::Suspend(off) => {
            if versioned {
                set(system, content, VERSIONING, if off { "Suspended" } else { "Enabled" }).await;
            }
        }
        Step::Tag(key) => {
            let tags = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
            let tagged = catalogue.set_tags(content.id, NAMESPACE, KEYS[usize::from(key)], None, tags);
            match tagged.await {
                Ok(_) | Err(Error::NoSuchKey | Error::Hidden { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        Step::Wait(hours) => system.clock.advance(u64::from(hours) * 60 * 60 * 1000),
    }
}

/// The first midnight UTC behind `days` whole days after `unix_ms`, by counting.
fn ends(unix_ms: u64, days: u32) -> u64 {
    let first = (0..).map(|day| day * DAY_MS).find(|midnight| *midnight > unix_ms).unwrap();
    first + u64::from(days) * DAY_MS
}

fn is_meant(rule: &LifecycleRule, entry: &VersionEntry) -> bool {
    let has_conditions = !rule.filter.tags.is_empty() || rule.filter.larger_than.is_some();
    rule.enabled
        && entry.key.starts_with(rule.filter.prefix.as_deref().unwrap_or_default())
        && match &entry.object {
            None => !has_conditions,
            Some(object) => {
                rule.filter.tags.iter().all(|tag| object.tags.iter().any(|has| has == tag))
                    && rule.filter.larger_than.is_none_or(|than| object.size > than)
            }
        }
}

/// What is to be there after a pass at `now`: the versions that stay, the newest first, and whether a new
/// marker is before them.
fn expected(
    before: &[VersionEntry],
    rules: &Lifecycle,
    versioning: Option<bool>,
    now: u64,
) -> BTreeMap<String, (bool, Vec<VersionId>)> {
    let mut after = BTreeMap::new();
    for key in KEYS {
        let mine: Vec<_> = before.iter().filter(|entry| entry.key == key).collect();
        let Some(newest) = mine.first() else { continue };
        let is_over = |rule: &LifecycleRule, entry: &VersionEntry| match rule.expiration {
            Some(Expiration::Days(days)) => ends(entry.last_modified_unix_ms, days) <= now,
            Some(Expiration::Date(date)) => date <= now,
            Some(Expiration::Markers(does)) => does && entry.object.is_none(),
            None => false,
        };
        let expires = rules.rules.iter().any(|rule| is_meant(rule, newest) && is_over(rule, newest));
        let is_marker = newest.object.is_none();
        let mut stay = Vec::new();
        if !(expires && is_marker && mine.len() == 1) {
            stay.push(newest.id);
        }
        let mut kept = 0;
        for (newer, entry) in mine.iter().zip(mine.iter().skip(1)) {
            let since = newer.last_modified_unix_ms;
            let goes = rules.rules.iter().any(|rule| {
                rule.noncurrent.is_some_and(|noncurrent| {
                    is_meant(rule, entry)
                        && ends(since, noncurrent.days) <= now
                        && noncurrent.kept.is_none_or(|limit| kept >= limit)
                })
            });
            if !goes {
                stay.push(entry.id);
                kept += u32::from(entry.object.is_some());
            }
        }
        let mut hidden = expires && !is_marker;
        if hidden && versioning.is_none() {
            // Nothing is kept of it.
            (hidden, stay) = (false, Vec::new());
        }
        if hidden && versioning == Some(false) {
            // The new marker is the null version.
            stay.retain(|id| *id != VersionId::Null);
        }
        if hidden || !stay.is_empty() {
            after.insert(key.to_owned(), (hidden, stay));
        }
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_pass_does_what_the_documentation_says(
        versioned in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..40),
        rules in proptest::collection::vec(some_rule(), 1..4),
        looked_max in prop_oneof![1usize..4, Just(1000)],
    ) {
        run(async {
            let system = System::new(EAST);
            let content = system.tenant("alpha").await;
            if versioned {
                set(&system, &content, VERSIONING, "Enabled").await;
            }
            let mut enabled = versioned.then_some(true);
            for step in &steps {
                take(&system, &content, step, versioned).await;
                // Two versions of one moment have no order to speak of.
                system.clock.advance(1);
                if let (Step::Suspend(off), true) = (step, versioned) {
                    enabled = Some(!off);
                }
            }
            let mut rules = Lifecycle { rules };
            for (number, rule) in rules.rules.iter_mut().enumerate() {
                rule.id = number.to_string();
            }
            rule(&system, &content, &rules).await;
            let (before, now) = (all(&system, &content), system.clock.now_unix_ms());
            let wanted = expected(&before, &rules, enabled, now);
            let acted = pass(&system, &content, &rules, looked_max).await;
            let mut found = BTreeMap::new();
            for entry in all(&system, &content) {
                let (hidden, stay) = found.entry(entry.key.clone()).or_insert((false, Vec::new()));
                let is_known = before.iter().any(|known| {
                    (&known.key, known.id, known.version) == (&entry.key, entry.id, entry.version)
                });
                if is_known {
                    stay.push(entry.id);
                } else {
                    assert!(entry.object.is_none() && entry.is_latest && !*hidden, "{entry:?}");
                    *hidden = true;
                }
            }
            prop_assert_eq!(&found, &wanted, "{:?} of {:?}", acted, before);
            // A new null marker takes the place of a null version that was due as well.
            prop_assert!(acted.locked == 0 && (acted.changed == 0 || enabled == Some(false)), "{:?}", acted);
            // What a pass hid is noncurrent, and can be one of those that are kept before an older one. It
            // comes to rest.
            let mut passes = 0;
            while pass(&system, &content, &rules, looked_max).await.done() > 0 {
                passes += 1;
                prop_assert!(passes < 4);
            }
            Ok(())
        })?;
    }
}

#[test]
fn what_is_written_or_tagged_after_the_look_stays() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        for key in ["written", "tagged", "again", "old"] {
            system.put(&content, key, "x").await.unwrap();
        }
        rule(&system, &content, &daily()).await;
        system.clock.advance(3 * DAY_MS);
        let due = due(&system, &content, &daily(), 1000);
        assert_eq!(due.len(), 4);
        system.put(&content, "written", "x").await.unwrap();
        let tags = BTreeMap::from([("keep".to_owned(), "yes".to_owned())]);
        system.catalogue.set_tags(content.id, NAMESPACE, "tagged", None, tags).await.unwrap();
        system.delete(&content, "again").await;
        system.put(&content, "again", "x").await.unwrap();
        let acted = act(&system, &content, &daily(), due).await;
        assert_eq!(acted, Acted { deleted: 1, changed: 3, ..Acted::default() });
        let left: Vec<_> = system.visible(&content).into_keys().collect();
        assert_eq!(left, ["again", "tagged", "written"]);
    });
}

#[test]
fn a_version_that_is_current_again_after_the_look_stays() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        set(&system, &content, VERSIONING, "Enabled").await;
        let first = system.put(&content, "a", "1").await.unwrap().id.unwrap();
        let second = system.put(&content, "a", "2").await.unwrap().id.unwrap();
        let noncurrent = Some(NoncurrentExpiration { days: 1, kept: None });
        let mut rules = daily();
        (rules.rules[0].expiration, rules.rules[0].noncurrent) = (None, noncurrent);
        rule(&system, &content, &rules).await;
        system.clock.advance(3 * DAY_MS);
        let found = due(&system, &content, &rules, 1000);
        assert_eq!(found.len(), 1);
        let deletion = Deletion { version: Some(second), .."a".into() };
        system.catalogue.delete_objects(content.id, NAMESPACE, vec![deletion]).await.unwrap();
        let acted = act(&system, &content, &rules, found).await;
        assert_eq!(acted, Acted { changed: 1, ..Acted::default() });
        assert_eq!(system.body(&content, "a").as_deref(), Some("1"), "{first}");
    });
}

#[test]
fn as_many_newer_versions_as_a_rule_keeps_must_be_there_in_the_commit() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        set(&system, &content, VERSIONING, "Enabled").await;
        let mut ids = Vec::new();
        for body in ["1", "2", "3", "4"] {
            ids.push(system.put(&content, "a", body).await.unwrap().id.unwrap());
        }
        let mut rules = daily();
        rules.rules[0].expiration = None;
        rules.rules[0].noncurrent = Some(NoncurrentExpiration { days: 1, kept: Some(2) });
        rule(&system, &content, &rules).await;
        system.clock.advance(3 * DAY_MS);
        let found = due(&system, &content, &rules, 1000);
        assert_eq!(found.len(), 1, "two of three are kept");
        // One of the two goes by another hand.
        let deletion = Deletion { version: Some(ids[2]), .."a".into() };
        system.catalogue.delete_objects(content.id, NAMESPACE, vec![deletion]).await.unwrap();
        let acted = act(&system, &content, &rules, found).await;
        assert_eq!(acted, Acted { changed: 1, ..Acted::default() });
        assert_eq!(all(&system, &content).len(), 3);
    });
}

#[test]
fn a_marker_that_hides_something_again_stays() {
    run(async {
        let (east, west, content) = pair().await;
        set(&east, &content, VERSIONING, "Enabled").await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        // Written apart, before the delete: it comes in behind the marker.
        west.put(&content, "a", "of the other side").await.unwrap();
        east.clock.advance(5);
        east.delete(&content, "a").await;
        let mut rules = daily();
        (rules.rules[0].expiration, rules.rules[0].noncurrent) = (Some(Expiration::Markers(true)), None);
        rule(&east, &content, &rules).await;
        let found = due(&east, &content, &rules, 1000);
        assert_eq!(found.len(), 1);
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        let acted = act(&east, &content, &rules, found.clone()).await;
        assert_eq!(acted, Acted { changed: 1, ..Acted::default() });
        assert_eq!(east.body(&content, "a"), None, "it was deleted, and does not rise");
        let behind = all(&east, &content).pop().unwrap();
        let deletion = Deletion { version: Some(behind.id), .."a".into() };
        east.catalogue.delete_objects(content.id, NAMESPACE, vec![deletion]).await.unwrap();
        assert_eq!(act(&east, &content, &rules, found).await, Acted { markers: 1, ..Acted::default() });
        assert_eq!(all(&east, &content), []);
    });
}

#[test]
fn what_is_locked_is_left_and_goes_when_the_lock_is_over() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        set(&system, &content, VERSIONING, "Enabled").await;
        set(&system, &content, OBJECT_LOCK, "Enabled").await;
        rule(&system, &content, &daily()).await;
        let held = Object { lock: Lock { hold: true, ..Lock::default() }, ..object("x") };
        let put = system.catalogue.put_object(content.id, NAMESPACE, "a", held, Conditions::default());
        let id = put.await.unwrap().id;
        system.clock.advance(3 * DAY_MS);
        // A marker takes nothing away: the current version is hidden.
        let acted = pass(&system, &content, &daily(), 1000).await;
        assert_eq!(acted, Acted { hidden: 1, ..Acted::default() });
        system.clock.advance(3 * DAY_MS);
        let acted = pass(&system, &content, &daily(), 1000).await;
        assert_eq!((acted.locked, acted.noncurrent), (1, 0));
        assert!(all(&system, &content).iter().any(|entry| Some(entry.id) == id));
        let lift = LockChange::Hold(false);
        system.catalogue.set_lock(content.id, NAMESPACE, "a", id, lift, false).await.unwrap();
        let acted = pass(&system, &content, &daily(), 1000).await;
        assert_eq!((acted.locked, acted.noncurrent), (0, 1));
    });
}

#[test]
fn nothing_is_done_by_other_rules_than_were_looked_at() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        system.put(&content, "a", "x").await.unwrap();
        rule(&system, &content, &daily()).await;
        system.clock.advance(3 * DAY_MS);
        let found = due(&system, &content, &daily(), 1000);
        let mut later = daily();
        later.rules[0].expiration = Some(Expiration::Days(30));
        rule(&system, &content, &later).await;
        let by = daily().setting();
        let acted = system.catalogue.expire(content.id, NAMESPACE, &by, found.clone()).await.unwrap();
        assert_eq!(acted, None);
        system.catalogue.set_namespace_setting(content.id, NAMESPACE, LIFECYCLE, None).await.unwrap();
        let acted = system.catalogue.expire(content.id, NAMESPACE, &by, found).await.unwrap();
        assert_eq!(acted, None);
        assert_eq!(system.body(&content, "a").as_deref(), Some("x"));
        let wrong = Some("{}".to_owned());
        let refused = system.catalogue.set_namespace_setting(content.id, NAMESPACE, LIFECYCLE, wrong).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    });
}

#[test]
fn read_only_content_is_left_alone_and_deletes_reach_the_other_side() {
    run(async {
        let (east, west, content) = pair().await;
        for key in ["a", "b"] {
            east.put(&content, key, "x").await.unwrap();
        }
        rule(&east, &content, &daily()).await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        link(&west, &content, Side::Replica, AccessMode::ReadOnly, 2).await;
        for system in [&east, &west] {
            system.clock.advance(3 * DAY_MS);
        }
        let (before, found) = (total(&west, content.id), due(&west, &content, &daily(), 1000));
        assert_eq!(found.len(), 2);
        let refused = west.catalogue.expire(content.id, NAMESPACE, &daily().setting(), found).await;
        assert!(matches!(refused, Err(Error::ReadOnly(_))), "{refused:?}");
        assert_eq!(total(&west, content.id), before);
        let acted = pass(&east, &content, &daily(), 1).await;
        assert_eq!(acted, Acted { deleted: 2, ..Acted::default() });
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        assert_eq!((west.visible(&content).len(), report(&west).len()), (0, 0));
        assert_eq!(total(&west, content.id), total(&east, content.id));
    });
}

#[test]
fn what_was_set_aside_is_meant_only_by_its_own_prefix() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "of east").await.unwrap();
        west.clock.advance(5);
        west.put(&content, "a", "of west").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        assert_eq!(east.visible(&content).len(), 2);
        east.clock.advance(3 * DAY_MS);
        rule(&east, &content, &daily()).await;
        assert_eq!(pass(&east, &content, &daily(), 1000).await.deleted, 1);
        assert_eq!(east.visible(&content).len(), 1, "a rule about everything spares it");
        let mut aside = daily();
        aside.rules[0].filter.prefix = Some(".lost+found/".into());
        rule(&east, &content, &aside).await;
        assert_eq!(pass(&east, &content, &aside, 1000).await.deleted, 1);
        assert_eq!(east.visible(&content).len(), 0);
    });
}

#[test]
fn uploads_end_by_the_day_they_were_begun_whatever_came_since() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        rule(&system, &content, &daily()).await;
        let upload = Upload { key: "a".into(), ..Upload::default() };
        let old = system.catalogue.create_upload(content.id, NAMESPACE, upload.clone()).await.unwrap();
        system.clock.advance(2 * DAY_MS - 1);
        let blob = BlobId::random();
        system.catalogue.lease_blobs(vec![blob]).await.unwrap();
        let part = Part { number: 1, segments: vec![Segment { blob, size: 0 }], ..Part::default() };
        system.catalogue.put_part(content.id, NAMESPACE, "a", old.id, part).await.unwrap();
        let young = system.catalogue.create_upload(content.id, NAMESPACE, upload).await.unwrap();
        assert_eq!(pass(&system, &content, &daily(), 1).await, Acted { uploads: 1, ..Acted::default() });
        let open = system.catalogue.uploads(content.id, NAMESPACE, "", None, 10).unwrap().uploads;
        assert_eq!(open.iter().map(|upload| upload.id).collect::<Vec<_>>(), [young.id]);
    });
}
