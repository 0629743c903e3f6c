//! Versioned namespaces: against a model that keeps every version in a list, and on two sides.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use switchback_model::{Content, ContentId, Version};
use switchback_store::{
    Conditions, ConflictPolicy, Deletion, Error, ListRequest, VERSIONING, VersionEntry, VersionId,
    VersionsAfter, VersionsAsked,
};

use crate::line::{Carry, Line, carry, policy};
use crate::support::{EAST, NAMESPACE, System, converge, object, pair, report, run, total};

async fn set(system: &System, content: &Content, state: &str) {
    let set = system.catalogue.set_namespace_setting(content.id, NAMESPACE, VERSIONING, Some(state.into()));
    set.await.unwrap();
}

/// A page to the end of everything.
fn all(system: &System, content: ContentId) -> Vec<VersionEntry> {
    pages(system, content, VersionsAsked { entries_max: 1000, ..VersionsAsked::default() }).0
}

/// All pages joined: versions, and common prefixes.
fn pages(system: &System, content: ContentId, mut asked: VersionsAsked) -> (Vec<VersionEntry>, Vec<String>) {
    let (mut entries, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = system.catalogue.list_versions(content, NAMESPACE, &asked).unwrap();
        assert!(page.entries.len() + page.common_prefixes.len() <= asked.entries_max);
        entries.extend(page.entries);
        prefixes.extend(page.common_prefixes);
        match page.next {
            Some(next) => asked.after = Some(next),
            None => return (entries, prefixes),
        }
    }
}

async fn delete_version(system: &System, content: &Content, key: &str, version: VersionId) {
    let deletion = Deletion { version: Some(version), ..key.into() };
    let results = system.catalogue.delete_objects(content.id, NAMESPACE, vec![deletion]).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().version, Some(version));
}

/// A version: its id, and its body unless it is a delete marker.
type Kept = (VersionId, Option<String>);

/// What S3 says of a bucket: the versions of each key, the newest first.
#[derive(Default)]
struct Model {
    state: &'static str,
    keys: BTreeMap<String, Vec<Kept>>,
}

impl Model {
    fn write(&mut self, key: &str, id: Option<VersionId>, body: Option<String>) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        let id = match self.state {
            "Enabled" => id.expect("a version was made"),
            _ => VersionId::Null,
        };
        versions.retain(|(kept, _)| *kept != id);
        versions.insert(0, (id, body));
    }

    fn remove(&mut self, key: &str, id: VersionId) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        versions.retain(|(kept, _)| *kept != id);
    }

    /// Id, body and whether it is the latest, in the order of listings.
    fn listed(&self, prefix: &str) -> Vec<(String, Kept, bool)> {
        let keys = self.keys.iter().filter(|(key, _)| key.starts_with(prefix));
        keys.flat_map(|(key, versions)| {
            versions.iter().enumerate().map(|(place, kept)| (key.clone(), kept.clone(), place == 0))
        })
        .collect()
    }

    fn visible(&self) -> BTreeMap<String, String> {
        let first =
            |(key, versions): (&String, &Vec<Kept>)| Some((key.clone(), versions.first()?.1.clone()?));
        self.keys.iter().filter_map(first).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(bool),
    Put(u8),
    Delete(u8),
    /// Of the version at this place, counted round.
    DeleteVersion(u8, usize),
    Tag(u8, usize),
    Pass,
}

const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b", "b\0c", "é/\u{10ffff}"];

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..KEYS.len() as u8;
    prop_oneof![
        1 => any::<bool>().prop_map(Step::Set),
        6 => key().prop_map(Step::Put),
        3 => key().prop_map(Step::Delete),
        2 => (key(), 0usize..4).prop_map(|(key, place)| Step::DeleteVersion(key, place)),
        2 => (key(), 0usize..4).prop_map(|(key, place)| Step::Tag(key, place)),
        1 => Just(Step::Pass),
    ]
}

/// The model's and the store's version at a place.
fn nth(model: &Model, key: &str, place: usize) -> Option<Kept> {
    let versions = model.keys.get(key).filter(|versions| !versions.is_empty())?;
    Some(versions[place % versions.len()].clone())
}

async fn take(system: &System, content: &Content, model: &mut Model, number: usize, step: &Step) {
    let catalogue = &system.catalogue;
    match *step {
        Step::Set(on) => {
            model.state = if on { "Enabled" } else { "Suspended" };
            set(system, content, model.state).await;
        }
        Step::Put(key) => {
            let (key, body) = (KEYS[usize::from(key)], format!("body {number}"));
            let written = system.put(content, key, &body).await.unwrap();
            assert_eq!(written.id.is_none(), model.state.is_empty());
            model.write(key, written.id, Some(body));
        }
        Step::Delete(key) => {
            let key = KEYS[usize::from(key)];
            let deleted = catalogue.delete_objects(content.id, NAMESPACE, vec![key.into()]).await.unwrap();
            let deleted = *deleted[0].as_ref().unwrap();
            assert_eq!(deleted.is_marker, !model.state.is_empty());
            if model.state.is_empty() {
                model.remove(key, VersionId::Null);
            } else {
                model.write(key, deleted.version, None);
            }
        }
        Step::DeleteVersion(key, place) => {
            let key = KEYS[usize::from(key)];
            if let Some((id, _)) = nth(model, key, place) {
                delete_version(system, content, key, id).await;
                model.remove(key, id);
            }
        }
        Step::Tag(key, place) => {
            let key = KEYS[usize::from(key)];
            let Some((id, body)) = nth(model, key, place) else { return };
            let tags = BTreeMap::from([("step".to_owned(), number.to_string())]);
            let tagged = catalogue.set_tags(content.id, NAMESPACE, key, Some(id), tags.clone()).await;
            match body {
                Some(_) => {
                    tagged.unwrap();
                    let found =
                        catalogue.object_version(content.id, NAMESPACE, key, Some(id), false).unwrap();
                    assert_eq!(found.object.tags, tags);
                }
                None => assert!(matches!(tagged, Err(Error::DeleteMarker { marker, .. }) if marker == id)),
            }
        }
        Step::Pass => system.clock.advance(1),
    }
}

/// The bytes of what is listed.
fn body(system: &System, content: ContentId, entry: &VersionEntry) -> Option<String> {
    entry.object.as_ref()?;
    let found =
        system.catalogue.object_version(content, NAMESPACE, &entry.key, Some(entry.id), true).unwrap();
    Some(found.object.etag.strip_prefix("etag-").unwrap().to_owned())
}

fn shown(system: &System, content: ContentId, entries: &[VersionEntry]) -> Vec<(String, Kept, bool)> {
    let one =
        |entry: &VersionEntry| (entry.key.clone(), (entry.id, body(system, content, entry)), entry.is_latest);
    entries.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_versioned_namespace_is_what_s3_says(
        steps in prop::collection::vec(step(), 1..60),
        max in 1usize..7,
        prefix in "(|a|a/|b|b\u{0})",
    ) {
        run(async {
            let system = System::new(EAST);
            let content = system.tenant("alpha").await;
            let mut model = Model::default();
            for (number, step) in steps.iter().enumerate() {
                take(&system, &content, &mut model, number, step).await;
            }
            let system = system.reopen();
            let asked = |prefix: &str, delimiter: &str, entries_max| VersionsAsked {
                prefix: prefix.into(), delimiter: delimiter.into(), after: None, entries_max,
            };
            let (entries, _) = pages(&system, content.id, asked(&prefix, "", max));
            prop_assert_eq!(shown(&system, content.id, &entries), model.listed(&prefix));
            // Grouped: what is under a slash shows as one prefix.
            let (entries, prefixes) = pages(&system, content.id, asked("", "/", max));
            let (grouped, plain): (Vec<_>, Vec<_>) =
                model.listed("").into_iter().partition(|(key, ..)| key.contains('/'));
            prop_assert_eq!(shown(&system, content.id, &entries), plain);
            let groups: BTreeSet<_> =
                grouped.iter().map(|(key, ..)| key[..=key.find('/').unwrap()].to_owned()).collect();
            prop_assert_eq!(prefixes, groups.into_iter().collect::<Vec<_>>());
            // Current versions alone, in pages.
            let mut request = ListRequest { keys_max: max, ..ListRequest::default() };
            let mut visible = BTreeMap::new();
            loop {
                let page = system.catalogue.list(content.id, NAMESPACE, &request).unwrap();
                for entry in page.objects {
                    visible.insert(entry.key, entry.object.etag.strip_prefix("etag-").unwrap().to_owned());
                }
                let Some(next) = page.next_start_after else { break };
                request.start_after = next;
            }
            prop_assert_eq!(&visible, &model.visible());
            for key in KEYS {
                prop_assert_eq!(system.body(&content, key), visible.get(key).cloned());
                // A condition is one on the current version.
                let absent = Conditions { if_none_match: vec!["*".into()], ..Conditions::default() };
                let put = system.catalogue.put_object(content.id, NAMESPACE, key, object("x"), absent).await;
                prop_assert_eq!(put.is_err(), visible.contains_key(key));
            }
            Ok(())
        })?;
    }
}

#[derive(Clone, Debug)]
enum Apart {
    Put { east: bool, key: u8 },
    Delete { east: bool, key: u8 },
    DeleteVersion { east: bool, place: usize },
    Tag { east: bool, place: usize },
    Suspend { east: bool, on: bool },
    Carry(Carry),
    Pass { east: bool },
}

fn apart() -> impl Strategy<Value = Apart> {
    prop_oneof![
        5 => (any::<bool>(), 0u8..3).prop_map(|(east, key)| Apart::Put { east, key }),
        2 => (any::<bool>(), 0u8..3).prop_map(|(east, key)| Apart::Delete { east, key }),
        1 => (any::<bool>(), 0usize..9).prop_map(|(east, place)| Apart::DeleteVersion { east, place }),
        1 => (any::<bool>(), 0usize..9).prop_map(|(east, place)| Apart::Tag { east, place }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(east, on)| Apart::Suspend { east, on }),
        5 => carry().prop_map(Apart::Carry),
        2 => any::<bool>().prop_map(|east| Apart::Pass { east }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn versions_made_apart_all_stay_and_both_sides_agree_which_is_current(
        steps in prop::collection::vec(apart(), 1..40),
        policy in policy(),
        suspends in any::<bool>(),
    ) {
        run(async {
            let (east, west, content) = pair().await;
            set(&east, &content, "Enabled").await;
            converge(&east, &west, &content, policy).await;
            let (mut written, mut deleted) = (BTreeMap::<Version, String>::new(), BTreeSet::new());
            let mut line = Line::default();
            for (number, step) in steps.into_iter().enumerate() {
                let at = |is_east: bool| if is_east { &east } else { &west };
                match step {
                    Apart::Put { east, key } => {
                        let body = format!("body {number}");
                        let put = at(east).put(&content, KEYS[usize::from(key)], &body).await.unwrap();
                        if let Some(VersionId::Of(id)) = put.id {
                            written.insert(id, body);
                        }
                    }
                    Apart::Delete { east, key } => at(east).delete(&content, KEYS[usize::from(key)]).await,
                    Apart::DeleteVersion { east, place } => {
                        if let Some(entry) = all(at(east), content.id).get(place) {
                            delete_version(at(east), &content, &entry.key, entry.id).await;
                            deleted.insert(entry.id.to_string());
                        }
                    }
                    Apart::Tag { east, place } => {
                        let entries = all(at(east), content.id);
                        if let Some(entry) = entries.get(place).filter(|entry| entry.object.is_some()) {
                            let tags = BTreeMap::from([("step".to_owned(), number.to_string())]);
                            let id = Some(entry.id);
                            let tagged = at(east).catalogue.set_tags(content.id, NAMESPACE, &entry.key, id, tags);
                            tagged.await.unwrap();
                        }
                    }
                    Apart::Suspend { east, on } if suspends => {
                        set(at(east), &content, if on { "Suspended" } else { "Enabled" }).await;
                    }
                    Apart::Suspend { .. } => {}
                    Apart::Carry(carry) => line.carry(carry, [&east, &west], &content, policy).await,
                    Apart::Pass { east } => at(east).clock.advance(2),
                }
            }
            converge(&east, &west, &content, policy).await;
            let (there, here) = (all(&east, content.id), all(&west, content.id));
            prop_assert_eq!(&there, &here);
            prop_assert_eq!(east.visible(&content), west.visible(&content));
            prop_assert_eq!(total(&east, content.id), total(&west, content.id));
            prop_assert_eq!(report(&east), report(&west));
            let kept: BTreeMap<_, _> = shown(&west, content.id, &here)
                .into_iter()
                .filter_map(|(_, (id, body), _)| Some((id.to_string(), body?)))
                .collect();
            for (id, body) in &written {
                let id = id.to_string();
                prop_assert!(kept.get(&id) == Some(body) || deleted.contains(&id), "{body} is lost");
            }
            Ok(())
        })?;
    }
}

#[test]
fn two_writes_of_one_key_made_apart_are_no_conflict_where_versions_are_kept() {
    run(async {
        let (east, west, content) = pair().await;
        set(&east, &content, "Enabled").await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        east.put(&content, "a", "east").await.unwrap();
        west.clock.advance(10);
        west.put(&content, "a", "west").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            let entries = all(system, content.id);
            let bodies: Vec<_> = entries.iter().filter_map(|entry| body(system, content.id, entry)).collect();
            assert_eq!(bodies, ["west", "east"]);
            assert!(report(system).is_empty());
        }
    });
}

#[test]
fn what_is_deleted_for_good_is_kept_aside_if_the_other_side_changed_it_meanwhile() {
    run(async {
        let (east, west, content) = pair().await;
        set(&east, &content, "Enabled").await;
        let id = east.put(&content, "a", "bytes").await.unwrap().id.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        let tags = BTreeMap::from([("keep".to_owned(), "me".to_owned())]);
        east.catalogue.set_tags(content.id, NAMESPACE, "a", Some(id), tags).await.unwrap();
        west.clock.advance(10);
        delete_version(&west, &content, "a", id).await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            assert_eq!(all(system, content.id), []);
            let visible = system.visible(&content);
            assert_eq!(visible.values().collect::<Vec<_>>(), ["bytes"], "kept aside");
            assert_eq!(report(system).len(), 1);
        }
    });
}

#[test]
fn a_namespace_that_holds_versions_or_markers_is_not_empty() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        set(&system, &content, "Enabled").await;
        let id = system.put(&content, "a", "x").await.unwrap().id.unwrap();
        system.delete(&content, "a").await;
        let marker = all(&system, content.id)[0].id;
        assert_eq!(system.visible(&content), BTreeMap::new());
        for left in [id, marker] {
            let refused = system.catalogue.delete_namespace(content.id, NAMESPACE).await.unwrap_err();
            assert!(matches!(refused, Error::NamespaceNotEmpty));
            let status = system.catalogue.namespace(content.id, NAMESPACE).unwrap();
            assert_eq!(status.objects, if left == id { 2 } else { 1 });
            delete_version(&system, &content, "a", left).await;
        }
        system.catalogue.delete_namespace(content.id, NAMESPACE).await.unwrap();
    });
}

#[test]
fn a_deleted_namespace_into_which_a_version_was_written_stays_versioned() {
    run(async {
        let (east, west, content) = pair().await;
        set(&east, &content, "Enabled").await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        east.catalogue.delete_namespace(content.id, NAMESPACE).await.unwrap();
        west.put(&content, "a", "x").await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            assert_eq!(system.body(&content, "a").as_deref(), Some("x"));
            let namespace = system.catalogue.namespace(content.id, NAMESPACE).unwrap().namespace;
            assert_eq!(namespace.settings.get(VERSIONING).map(String::as_str), Some("Enabled"));
        }
    });
}

#[test]
fn a_delete_uncovers_no_older_version_though_the_namespace_forgot_that_it_keeps_them() {
    run(async {
        let (east, west, content) = pair().await;
        set(&east, &content, "Enabled").await;
        east.put(&content, "a", "first").await.unwrap();
        // The other side sets something else of the namespace, apart and later.
        west.clock.advance(10);
        let other = west.catalogue.set_namespace_setting(content.id, NAMESPACE, "cors", Some("x".into()));
        other.await.unwrap();
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        let settings = east.catalogue.namespace(content.id, NAMESPACE).unwrap().namespace.settings;
        assert_eq!(settings.get(VERSIONING), None);
        west.put(&content, "a", "second").await.unwrap();
        west.delete(&content, "a").await;
        converge(&east, &west, &content, ConflictPolicy::NewestWins).await;
        for system in [&east, &west] {
            assert_eq!(system.body(&content, "a"), None);
            assert_eq!(all(system, content.id).len(), 2, "the first one, behind a marker");
        }
    });
}

#[test]
fn a_key_with_many_versions_shows_once_and_its_tombstones_hide_nothing() {
    run(async {
        let (system, _, content) = pair().await;
        set(&system, &content, "Enabled").await;
        let mut ids = Vec::new();
        for key in ["a", "b", "c"] {
            for number in 0..40 {
                ids.push((key, system.put(&content, key, &number.to_string()).await.unwrap().id.unwrap()));
            }
        }
        let current = BTreeMap::from(["a", "b", "c"].map(|key| (key.to_owned(), "39".to_owned())));
        assert_eq!(system.visible(&content), current);
        // The tombstones of the newest stay until the other side has them.
        for (key, id) in ids.iter().filter(|(key, _)| *key == "b").skip(1) {
            delete_version(&system, &content, key, *id).await;
        }
        assert_eq!(system.body(&content, "b").as_deref(), Some("0"));
        delete_version(&system, &content, "b", ids[40].1).await;
        assert_eq!(system.body(&content, "b"), None);
        assert_eq!(system.visible(&content).keys().collect::<Vec<_>>(), ["a", "c"]);
    });
}

#[test]
fn a_listing_goes_on_where_it_was_though_the_null_version_is_overwritten() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        set(&system, &content, "Enabled").await;
        system.put(&content, "a", "oldest").await.unwrap();
        set(&system, &content, "Suspended").await;
        system.put(&content, "a", "null").await.unwrap();
        let asked = VersionsAsked { entries_max: 1, ..VersionsAsked::default() };
        let first = system.catalogue.list_versions(content.id, NAMESPACE, &asked).unwrap();
        assert_eq!(first.entries[0].id, VersionId::Null);
        system.put(&content, "a", "null again").await.unwrap();
        let (rest, _) = pages(&system, content.id, VersionsAsked { after: first.next, ..asked.clone() });
        assert_eq!(shown(&system, content.id, &rest).len(), 1);
        assert!(!rest[0].is_latest && rest[0].id != VersionId::Null);
        // By its name it is looked for where it is now.
        let after = Some(VersionsAfter { key: "a".into(), version: Some(VersionId::Null) });
        let (again, _) = pages(&system, content.id, VersionsAsked { after, ..asked });
        assert_eq!(again, rest);
    });
}

#[test]
fn a_version_that_is_not_there_and_one_that_is_a_marker_are_told_apart() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        system.put(&content, "a", "x").await.unwrap();
        let look = |version| system.catalogue.object_version(content.id, NAMESPACE, "a", version, false);
        assert_eq!(look(None).unwrap().id, None, "the namespace never kept versions");
        assert_eq!(look(Some(VersionId::Null)).unwrap().id, Some(VersionId::Null));
        set(&system, &content, "Enabled").await;
        assert_eq!(look(None).unwrap().id, Some(VersionId::Null));
        system.delete(&content, "a").await;
        let marker = all(&system, content.id)[0].id;
        assert!(matches!(look(None), Err(Error::Hidden { marker: found }) if found == marker));
        assert!(matches!(look(Some(marker)), Err(Error::DeleteMarker { .. })));
        let nobody = Some("00000000000000ff-0000000000000001".parse().unwrap());
        assert!(matches!(look(nobody), Err(Error::NoSuchVersion)));
        let off = system.catalogue.set_namespace_setting(content.id, NAMESPACE, VERSIONING, None).await;
        assert!(matches!(off, Err(Error::Invalid { .. })));
        for wrong in ["enabled", "Off"] {
            let set =
                system.catalogue.set_namespace_setting(content.id, NAMESPACE, VERSIONING, Some(wrong.into()));
            assert!(matches!(set.await, Err(Error::Invalid { .. })));
        }
    });
}
