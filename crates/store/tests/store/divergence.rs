//! The divergence report: what each kind of conflict leaves in it, the same on both systems.

use std::collections::BTreeMap;

use switchback_model::{AccessMode, Content, Epoch, Side};
use switchback_store::{
    Catalogue, Conditions, ConflictPolicy, CredentialRecord, Divergence, Error, ListRequest, Payload,
    RecordKey,
};

use crate::support::{LINK, NAMESPACE, System, converge, link, object, pair, report, run, sender, total};

const NEWEST: ConflictPolicy = ConflictPolicy::NewestWins;

/// Lets both sides send all, and returns the report that both must then hold.
async fn agreed(east: &System, west: &System, content: &Content) -> Vec<Divergence> {
    converge(east, west, content, NEWEST).await;
    assert_eq!(total(east, content.id), total(west, content.id));
    let found = report(east);
    assert_eq!(found, report(west));
    found
}

#[test]
fn an_entry_names_sites_times_sizes_and_the_epoch_of_its_failover() {
    run(async {
        let (east, west, content) = pair().await;
        let lost = east.put(&content, "a", "east's").await.unwrap().version;
        west.clock.advance(10);
        let won = west.put(&content, "a", "west").await.unwrap().version;
        let found = agreed(&east, &west, &content).await;
        let entry = &found[0];
        assert_eq!((entry.winner, entry.loser, entry.epoch), (won, lost, Epoch(1)));
        assert_eq!((entry.winner_trace.system.as_str(), entry.loser_trace.system.as_str()), ("west", "east"));
        assert_eq!((entry.winner_trace.size, entry.loser_trace.size), (4, 6));
        assert_eq!(entry.loser_trace.etag, "etag-east's");
    });
}

#[test]
fn both_reports_name_the_winner_that_stands_though_the_sides_met_others() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "east").await.unwrap();
        west.clock.advance(10);
        west.put(&content, "a", "west 1").await.unwrap();
        // East meets the first of West's versions; its own is on the way and meets the second.
        let on_the_way = east.changes(&content, Some(west.feed(&content)), 0);
        west.send(&content, &east, NEWEST).await;
        let won = west.put(&content, "a", "west 2").await.unwrap().version;
        west.catalogue.apply(content.id, sender(&east, &content), on_the_way, None).await.unwrap();
        let found = agreed(&east, &west, &content).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].winner, won);
    });
}

#[test]
fn a_loser_with_the_longest_key_is_kept_where_a_client_can_ask_for_it() {
    run(async {
        let (east, west, content) = pair().await;
        // Three bytes a character: the cut must not fall inside of one.
        let key = "€".repeat(341);
        east.put(&content, &key, "east").await.unwrap();
        west.clock.advance(10);
        west.put(&content, &key, "west").await.unwrap();
        let found = agreed(&east, &west, &content).await;
        let kept_at = found[0].kept_at.clone().unwrap();
        assert!(kept_at.len() <= switchback_store::KEY_MAX);
        assert_eq!(east.body(&content, &kept_at).as_deref(), Some("east"));
        assert_eq!(west.body(&content, &kept_at).as_deref(), Some("east"));
    });
}

#[test]
fn tags_that_were_set_apart_are_a_conflict_of_the_whole_object() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "base").await.unwrap();
        converge(&east, &west, &content, NEWEST).await;
        let tag = |value: &str| BTreeMap::from([("colour".to_owned(), value.to_owned())]);
        east.catalogue.set_tags(content.id, NAMESPACE, "a", None, tag("red")).await.unwrap();
        west.clock.advance(10);
        west.catalogue.set_tags(content.id, NAMESPACE, "a", None, tag("blue")).await.unwrap();
        let found = agreed(&east, &west, &content).await;
        let kept_at = found[0].kept_at.clone().unwrap();
        for system in [&east, &west] {
            let tags =
                |key: &str| system.catalogue.object(content.id, NAMESPACE, key, false).unwrap().object.tags;
            assert_eq!((tags("a"), tags(&kept_at)), (tag("blue"), tag("red")));
        }
    });
}

#[test]
fn settings_that_lost_are_in_the_report() {
    run(async {
        let (east, west, content) = pair().await;
        let settings = |value: &str| BTreeMap::from([("quota".to_owned(), value.to_owned())]);
        east.catalogue.set_settings(content.id, settings("1")).await.unwrap();
        west.clock.advance(10);
        west.catalogue.set_settings(content.id, settings("2")).await.unwrap();
        let found = agreed(&east, &west, &content).await;
        assert_eq!(found[0].key, RecordKey::Tenant);
        match &found[0].loser_record.as_ref().unwrap().payload {
            Payload::Tenant(tenant) => assert_eq!(tenant.settings, settings("1")),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_credential_that_was_deleted_on_one_side_and_made_anew_on_the_other_is_listed() {
    run(async {
        let (east, west, content) = pair().await;
        let credential = |secret: &str| CredentialRecord {
            access_key: "AK".into(),
            secret_key: secret.into(),
            ..CredentialRecord::default()
        };
        let create = async |catalogue: &Catalogue, secret| {
            catalogue.create_credential(content.id, credential(secret)).await.unwrap();
        };
        create(&east.catalogue, "first").await;
        converge(&east, &west, &content, NEWEST).await;
        west.catalogue.delete_credential(content.id, "AK").await.unwrap();
        create(&west.catalogue, "west").await;
        east.clock.advance(10);
        east.catalogue.delete_credential(content.id, "AK").await.unwrap();
        let found = agreed(&east, &west, &content).await;
        assert_eq!(found.len(), 1);
        assert!(found[0].winner_deleted && found[0].loser_record.is_some());
        assert!(west.catalogue.find_credential("AK").unwrap().is_none());
    });
}

#[test]
fn a_namespace_made_on_both_sides_holds_the_objects_of_both_and_is_listed() {
    run(async {
        let (east, west, content) = pair().await;
        let put = async |system: &System, key: &str, body: &str| {
            system
                .catalogue
                .put_object(content.id, "videos", key, object(body), Conditions::default())
                .await
                .unwrap();
        };
        for (system, name) in [(&east, "east"), (&west, "west")] {
            system.catalogue.create_namespace(content.id, "videos").await.unwrap();
            put(system, name, name).await;
            put(system, "both", name).await;
            west.clock.advance(10);
        }
        let found = agreed(&east, &west, &content).await;
        let labels: Vec<String> = found.iter().map(|entry| entry.key.label()).collect();
        assert!(labels.contains(&"namespace:videos".to_owned()), "{labels:?}");
        assert!(labels.contains(&"both".to_owned()), "{labels:?}");
        for system in [&east, &west] {
            let request = ListRequest { keys_max: 10, ..ListRequest::default() };
            let listed = system.catalogue.list(content.id, "videos", &request).unwrap();
            let keys: Vec<_> = listed.objects.iter().map(|entry| entry.key.as_str()).collect();
            assert_eq!(keys, ["both", "east", "west"]);
        }
    });
}

#[test]
fn a_namespace_that_was_deleted_here_and_written_to_there_stays_and_the_delete_is_listed() {
    run(async {
        for deleted_by_east in [true, false] {
            let (east, west, content) = pair().await;
            let (deleter, writer) = if deleted_by_east { (&east, &west) } else { (&west, &east) };
            deleter.clock.advance(10);
            deleter.catalogue.delete_namespace(content.id, NAMESPACE).await.unwrap();
            writer.put(&content, "a", "acknowledged").await.unwrap();
            let found = agreed(&east, &west, &content).await;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].key, RecordKey::Namespace(NAMESPACE.into()));
            assert!(found[0].loser_deleted && !found[0].winner_deleted);
            for system in [&east, &west] {
                assert_eq!(system.body(&content, "a").as_deref(), Some("acknowledged"));
                let namespaces = system.catalogue.namespaces(content.id).unwrap();
                assert_eq!(namespaces.iter().filter(|one| one.namespace.name == NAMESPACE).count(), 1);
            }
            // It is a namespace like any other again, also when it is empty.
            link(&east, &content, Side::Primary, AccessMode::ReadWrite, 2).await;
            east.delete(&content, "a").await;
            east.put(&content, "b", "later").await.unwrap();
        }
    });
}

#[test]
fn a_namespace_that_was_emptied_and_deleted_goes_without_a_conflict() {
    run(async {
        let (east, west, content) = pair().await;
        west.put(&content, "a", "x").await.unwrap();
        converge(&east, &west, &content, NEWEST).await;
        west.delete(&content, "a").await;
        west.catalogue.delete_namespace(content.id, NAMESPACE).await.unwrap();
        // Configuration travels ahead: what is in it is not hidden before its own delete comes.
        let mut changes = west.changes(&content, Some(east.feed(&content)), 0);
        changes.retain(|change| change.record.key.is_configuration());
        east.catalogue.apply(content.id, sender(&west, &content), changes, None).await.unwrap();
        assert_eq!(east.body(&content, "a").as_deref(), Some("x"));
        assert!(east.catalogue.namespace(content.id, NAMESPACE).is_ok());
        assert_eq!(agreed(&east, &west, &content).await, []);
        assert!(matches!(
            east.catalogue.namespace(content.id, NAMESPACE),
            Err(Error::NoSuchNamespace { .. })
        ));
    });
}

#[test]
fn a_report_can_be_asked_for_by_epoch() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "east").await.unwrap();
        west.put(&content, "a", "west").await.unwrap();
        converge(&east, &west, &content, NEWEST).await;
        link(&east, &content, Side::Primary, AccessMode::ReadWrite, 2).await;
        link(&west, &content, Side::Replica, AccessMode::ReadWrite, 3).await;
        east.put(&content, "b", "east").await.unwrap();
        west.put(&content, "b", "west").await.unwrap();
        converge(&east, &west, &content, NEWEST).await;
        let keys = |epochs| {
            let page = east.catalogue.divergences(LINK, epochs, None, 1).unwrap();
            assert_eq!(page.next, None);
            page.divergences.iter().map(|(_, entry)| entry.key.label()).collect::<Vec<_>>()
        };
        assert_eq!(keys(Epoch(1)..=Epoch(2)), ["a"]);
        assert_eq!(keys(Epoch(3)..=Epoch(u64::MAX)), ["b"]);
    });
}
