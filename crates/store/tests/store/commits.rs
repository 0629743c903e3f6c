//! Durability, group commit, and the rules of a write.

use std::collections::BTreeMap;

use switchback_model::{AccessMode, ContentKind, Grant, Right, Rights, Side};
use switchback_store::{BlobId, Body, Conditions, ContentStatus, CredentialRecord, Error, Object, Segment};

use crate::support::{EAST, NAMESPACE, System, link, object, run};

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        system.put(&content, "a", "one").await.unwrap();
        system.put(&content, "b", "two").await.unwrap();
        system.delete(&content, "b").await;
        let credential = CredentialRecord {
            access_key: "AK1".into(),
            secret_key: "secret".into(),
            ..CredentialRecord::default()
        };
        system.catalogue.create_credential(content.id, credential).await.unwrap();
        let (store, before) = (system.catalogue.store_id(), system.catalogue.content(content.id).unwrap());
        let digest = system.catalogue.digest(content.id).unwrap();

        let system = system.reopen();
        assert_eq!(system.catalogue.store_id(), store);
        let after = system.catalogue.content(content.id).unwrap();
        assert_eq!(after.lineage.runs().len(), before.lineage.runs().len() + 1, "this is another run");
        assert_eq!(ContentStatus { lineage: before.lineage.clone(), ..after }, before);
        assert_eq!(system.catalogue.digest(content.id).unwrap(), digest);
        assert_eq!(system.body(&content, "a").as_deref(), Some("one"));
        assert_eq!(system.body(&content, "b"), None);
        let (owner, found) = system.catalogue.find_credential("AK1").unwrap().unwrap();
        assert_eq!((owner, found.secret_key.as_str()), (content, "secret"));
    });
}

#[test]
fn versions_grow_even_when_the_clock_went_back_over_a_restart() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let first = system.put(&content, "a", "one").await.unwrap();
        let system = system.reopen();
        system.clock.set(5);
        let second = system.put(&content, "a", "two").await.unwrap();
        assert!(second.version.hlc > first.version.hlc);
    });
}

#[test]
fn concurrent_writes_of_one_key_see_each_other_and_leave_one_feed_entry() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let before = system.changes(&content, None, 0).len();
        let writes = (0..200).map(|number| {
            let (catalogue, id) = (system.catalogue.clone(), content.id);
            tokio::spawn(async move {
                let object = object(&format!("body {number}"));
                catalogue.put_object(id, NAMESPACE, "a", object, Conditions::default()).await.unwrap()
            })
        });
        let mut written = Vec::new();
        for write in writes.collect::<Vec<_>>() {
            written.push(write.await.unwrap());
        }
        written.sort_by_key(|written| written.sequence);
        assert!(written.windows(2).all(|pair| pair[0].version.hlc < pair[1].version.hlc));
        let last = written.last().unwrap();
        let changes = system.changes(&content, None, 0);
        assert_eq!(changes.len(), before + 1);
        let change = changes.last().unwrap();
        assert_eq!((change.sequence, change.record.version), (last.sequence, last.version));
        assert!(written.iter().all(|other| other == last || change.record.replaced.contains(other.version)));
    });
}

#[test]
fn of_many_who_create_a_key_if_it_is_not_there_exactly_one_succeeds() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let writes = (0..50).map(|number| {
            let (catalogue, id) = (system.catalogue.clone(), content.id);
            tokio::spawn(async move {
                let absent = Conditions { if_none_match: vec!["*".into()], ..Conditions::default() };
                catalogue.put_object(id, NAMESPACE, "a", object(&number.to_string()), absent).await
            })
        });
        let mut won = 0;
        for write in writes.collect::<Vec<_>>() {
            match write.await.unwrap() {
                Ok(_) => won += 1,
                Err(Error::PreconditionFailed) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1);
    });
}

#[test]
fn conditions_are_judged_on_the_current_object() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let put = async |conditions| {
            system.catalogue.put_object(content.id, NAMESPACE, "a", object("x"), conditions).await
        };
        let matching = |etag: &str| Conditions { if_match: vec![etag.into()], ..Conditions::default() };
        assert!(matches!(put(matching("*")).await, Err(Error::NoSuchKey)));
        put(Conditions::default()).await.unwrap();
        put(matching("etag-x")).await.unwrap();
        assert!(matches!(put(matching("other")).await, Err(Error::PreconditionFailed)));
    });
}

#[test]
fn a_refused_write_changes_nothing() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let before = system.catalogue.content(content.id).unwrap();
        let blob = BlobId::random();
        let unleased =
            Object { size: 5, body: Body::Segments(vec![Segment { blob, size: 5 }]), ..Object::default() };
        let catalogue = &system.catalogue;
        let put = async |namespace: &str, key: &str, object: Object| {
            catalogue.put_object(content.id, namespace, key, object, Conditions::default()).await.unwrap_err()
        };
        assert!(
            matches!(put(NAMESPACE, "a", unleased).await, Error::LeaseExpired { blob: named } if named == blob)
        );
        assert!(matches!(put("absent", "a", object("x")).await, Error::NoSuchNamespace { .. }));
        assert!(matches!(put(NAMESPACE, ".lost+found/x", object("x")).await, Error::Reserved { .. }));
        assert!(matches!(put(NAMESPACE, "", object("x")).await, Error::Invalid { .. }));
        let lying = Object { size: 9, ..object("x") };
        assert!(matches!(put(NAMESPACE, "a", lying).await, Error::Invalid { .. }));
        let large = object(&"x".repeat(switchback_store::INLINE_MAX + 1));
        assert!(matches!(put(NAMESPACE, "a", large).await, Error::Invalid { .. }));
        assert_eq!(catalogue.content(content.id).unwrap(), before);
    });
}

#[test]
fn tags_change_without_the_body_or_its_time() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let written = system.put(&content, "a", "one").await.unwrap();
        system.clock.advance(5_000);
        let tags = BTreeMap::from([("colour".to_owned(), "red".to_owned())]);
        let tagged = system.catalogue.set_tags(content.id, NAMESPACE, "a", None, tags.clone()).await.unwrap();
        assert_eq!(tagged.last_modified_unix_ms, written.last_modified_unix_ms);
        let entry = system.catalogue.object(content.id, NAMESPACE, "a", true).unwrap();
        assert_eq!((entry.version, entry.object.tags), (tagged.version, tags));
        assert_eq!(system.body(&content, "a").as_deref(), Some("one"));
    });
}

#[test]
fn counts_follow_what_is_visible() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        system.put(&content, "a", "12345").await.unwrap();
        system.put(&content, "b", "123").await.unwrap();
        system.put(&content, "a", "1").await.unwrap();
        system.delete(&content, "b").await;
        system.delete(&content, "never").await;
        let status = system.catalogue.content(content.id).unwrap();
        assert_eq!((status.objects, status.bytes), (1, 1));
        let namespace = system.catalogue.namespace(content.id, NAMESPACE).unwrap();
        assert_eq!((namespace.objects, namespace.bytes), (1, 1));
        // Content that is on no link has nobody to tell of a delete.
        assert_eq!(status.tombstones, 0);
    });
}

#[test]
fn only_what_is_empty_can_be_deleted() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let catalogue = &system.catalogue;
        system.put(&content, "a", "x").await.unwrap();
        let refused = catalogue.delete_namespace(content.id, NAMESPACE).await;
        assert!(matches!(refused, Err(Error::NamespaceNotEmpty)));
        system.delete(&content, "a").await;
        assert!(matches!(catalogue.delete_content(content.id).await, Err(Error::ContentNotEmpty { .. })));
        catalogue.delete_namespace(content.id, NAMESPACE).await.unwrap();
        catalogue.delete_content(content.id).await.unwrap();
        assert!(matches!(catalogue.content(content.id), Err(Error::NoSuchContent)));
        assert_eq!(catalogue.find_content(ContentKind::Tenant, "alpha").unwrap(), None);
        let again = system.tenant("alpha").await;
        assert_ne!(again.id, content.id);
    });
}

#[test]
fn names_are_taken_once() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let catalogue = &system.catalogue;
        let again = catalogue.create_content(ContentKind::Tenant, "alpha", "").await;
        assert!(matches!(again, Err(Error::ContentExists { .. })));
        let namespace = catalogue.create_namespace(content.id, NAMESPACE).await;
        assert!(matches!(namespace, Err(Error::NamespaceExists)));
        let reserved = catalogue.create_content(ContentKind::Tenant, "default", "").await;
        assert!(matches!(reserved, Err(Error::Reserved { .. })));
        let invalid = catalogue.create_content(ContentKind::Tenant, "Not A Label", "").await;
        assert!(matches!(invalid, Err(Error::Invalid { .. })));
        let credential = || CredentialRecord {
            access_key: "AK1".into(),
            secret_key: "s".into(),
            ..CredentialRecord::default()
        };
        catalogue.create_credential(content.id, credential()).await.unwrap();
        let other = system.tenant("beta").await;
        let taken = catalogue.create_credential(other.id, credential()).await;
        assert!(matches!(taken, Err(Error::CredentialExists)));
        catalogue.delete_credential(content.id, "AK1").await.unwrap();
        catalogue.create_credential(other.id, credential()).await.unwrap();
        assert_eq!(catalogue.find_credential("AK1").unwrap().unwrap().0, other);
    });
}

#[test]
fn rights_are_replaced_alone_and_only_where_credentials_can_be_written() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let catalogue = &system.catalogue;
        let granted =
            |grants: &[&str]| Rights::Granted(grants.iter().map(|grant| grant.parse().unwrap()).collect());
        let made = CredentialRecord {
            access_key: "AK1".into(),
            secret_key: "s".into(),
            description: "of the camera".into(),
            ..CredentialRecord::default()
        };
        let made = catalogue.create_credential(content.id, made).await.unwrap();
        assert_eq!(made.rights, Rights::All);
        let rights = granted(&["photos=read", "logs-*=write"]);
        catalogue.set_credential_rights(content.id, "AK1", rights.clone()).await.unwrap();
        let (_, found) = catalogue.find_credential("AK1").unwrap().unwrap();
        assert_eq!(found, CredentialRecord { rights: rights.clone(), ..made });
        let head = catalogue.content(content.id).unwrap().head;
        catalogue.set_credential_rights(content.id, "AK1", rights.clone()).await.unwrap();
        assert_eq!(catalogue.content(content.id).unwrap().head, head, "what is so already is no change");

        let unknown = catalogue.set_credential_rights(content.id, "AK2", rights.clone()).await;
        assert!(matches!(unknown, Err(Error::NoSuchCredential)));
        let shapeless =
            Rights::Granted(vec![Grant { namespaces: "a*b".into(), rights: [Right::Read].into() }]);
        let many = Rights::Granted(vec!["a=read".parse().unwrap(); 101]);
        for invalid in [shapeless, many] {
            let refused = catalogue.set_credential_rights(content.id, "AK1", invalid.clone()).await;
            assert!(matches!(refused, Err(Error::Invalid { what: "rights", .. })));
            let credential = CredentialRecord {
                access_key: "AK3".into(),
                secret_key: "s".into(),
                rights: invalid,
                ..CredentialRecord::default()
            };
            let refused = catalogue.create_credential(content.id, credential).await;
            assert!(matches!(refused, Err(Error::Invalid { what: "rights", .. })));
        }
        link(&system, &content, Side::Replica, AccessMode::ReadOnly, 0).await;
        let read_only = catalogue.set_credential_rights(content.id, "AK1", Rights::All).await;
        assert!(matches!(read_only, Err(Error::ReadOnly(_))));
    });
}

#[test]
fn a_directory_is_its_one_namespace() {
    run(async {
        let system = System::new(EAST);
        let catalogue = &system.catalogue;
        let directory = catalogue.create_content(ContentKind::Directory, "shared", "").await.unwrap();
        let namespaces = catalogue.namespaces(directory.id).unwrap();
        assert_eq!(
            namespaces.iter().map(|status| status.namespace.name.as_str()).collect::<Vec<_>>(),
            ["shared"]
        );
        catalogue
            .put_object(directory.id, "shared", "a/b", object("x"), Conditions::default())
            .await
            .unwrap();
        let second = catalogue.create_namespace(directory.id, "other").await;
        assert!(matches!(second, Err(Error::Reserved { .. })));
        assert!(matches!(catalogue.delete_content(directory.id).await, Err(Error::ContentNotEmpty { .. })));
    });
}

#[test]
fn a_nearly_full_disk_refuses_what_needs_room_and_lets_go_of_what_frees_it() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        system.put(&content, "a", "x").await.unwrap();
        let system = system.reopen_with(u64::MAX);
        assert!(matches!(system.put(&content, "b", "x").await, Err(Error::StorageFull)));
        system.delete(&content, "a").await;
        assert_eq!(system.body(&content, "a"), None);
    });
}

#[test]
fn a_namespace_keeps_its_settings_one_by_one() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let (catalogue, id) = (&system.catalogue, content.id);
        let set = async |setting: &str, value: Option<&str>| {
            catalogue.set_namespace_setting(id, NAMESPACE, setting, value.map(Into::into)).await
        };
        set("cors", Some("one")).await.unwrap();
        set("policy", Some("two")).await.unwrap();
        let changes = system.changes(&content, None, 0).len();
        let head = catalogue.content(id).unwrap().head;
        set("cors", Some("one")).await.unwrap();
        set("absent", None).await.unwrap();
        assert_eq!(catalogue.content(id).unwrap().head, head, "nothing has changed");
        set("cors", None).await.unwrap();
        assert_ne!(catalogue.content(id).unwrap().head, head);
        assert_eq!(system.changes(&content, None, 0).len(), changes, "one entry for the namespace");
        let long = set("long", Some(&"x".repeat(256 * 1024))).await;
        assert!(matches!(long, Err(Error::Invalid { what: "settings", .. })));
        let elsewhere = catalogue.set_namespace_setting(id, "absent", "cors", None).await;
        assert!(matches!(elsewhere, Err(Error::NoSuchNamespace { .. })));
        let system = system.reopen();
        let kept = system.catalogue.namespace(id, NAMESPACE).unwrap().namespace.settings;
        assert_eq!(kept, BTreeMap::from([("policy".to_owned(), "two".to_owned())]));
    });
}
