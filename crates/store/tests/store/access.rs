//! Who may write, and from when on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use switchback_model::{AccessMode, Content, ContentId, ContentKind, Epoch, LinkId, Side};
use switchback_store::{BlobId, Body, Conditions, Error, Object, ReadOnly, Segment};

use crate::support::{EAST, LINK, NAMESPACE, System, WEST, access, link, object, pair, run, sender};

async fn refusal(system: &System, content: &Content) -> Box<ReadOnly> {
    match system.put(content, "refused", "x").await {
        Err(Error::ReadOnly(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn once_a_switch_to_read_only_returns_no_older_write_lands() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        link(&system, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        let switched = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (catalogue, id, switched) = (system.catalogue.clone(), content.id, switched.clone());
                tokio::spawn(async move {
                    let (mut last, mut late) = (0, 0);
                    for number in 0.. {
                        let begun_late = switched.load(Ordering::SeqCst);
                        let key = format!("{writer}/{number}");
                        match catalogue
                            .put_object(id, NAMESPACE, &key, object("x"), Conditions::default())
                            .await
                        {
                            Ok(written) => {
                                last = last.max(written.sequence);
                                late += u64::from(begun_late);
                            }
                            Err(Error::ReadOnly(_)) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    (last, late)
                })
            })
            .collect();
        while system.catalogue.content(content.id).unwrap().objects < 20 {
            tokio::task::yield_now().await;
        }
        let read_only = access(Side::Primary, AccessMode::ReadOnly, 1);
        let positions = system.catalogue.set_access(vec![content.clone()], read_only).await.unwrap();
        switched.store(true, Ordering::SeqCst);
        for writer in writers {
            let (last, late) = writer.await.unwrap();
            assert!(last <= positions[0].sequence, "an acknowledged write lies beyond the barrier");
            assert_eq!(late, 0);
        }
        let head = system.catalogue.content(content.id).unwrap().head;
        assert_eq!(head, positions[0]);
    });
}

#[test]
fn linked_content_is_read_only_after_a_start_until_its_access_is_set() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let free = system.tenant("beta").await;
        link(&system, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        system.put(&content, "a", "x").await.unwrap();

        let system = system.reopen();
        assert!(refusal(&system, &content).await.held);
        assert_eq!(system.catalogue.mode(content.id).unwrap(), AccessMode::ReadOnly);
        assert_eq!(system.body(&content, "a").as_deref(), Some("x"));
        system.put(&free, "a", "x").await.unwrap();

        link(&system, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        system.put(&content, "a", "y").await.unwrap();
    });
}

#[test]
fn a_refusal_names_the_link_and_who_writes_instead() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        link(&system, &content, Side::Primary, AccessMode::ReadOnly, 1).await;
        let refusal = refusal(&system, &content).await;
        assert_eq!(refusal.link, Some(LINK));
        assert_eq!(refusal.link_name, "link1");
        assert_eq!(refusal.writer.as_deref(), Some("west.example.com"));
        assert_eq!((refusal.epoch, refusal.both_read_only, refusal.held), (Epoch(1), false, false));
    });
}

#[test]
fn every_kind_of_write_is_refused_by_read_only_content() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        system.put(&content, "a", "x").await.unwrap();
        link(&system, &content, Side::Primary, AccessMode::ReadOnly, 1).await;
        let (catalogue, id) = (&system.catalogue, content.id);
        let before = catalogue.content(id).unwrap();
        assert!(matches!(catalogue.create_namespace(id, "other").await, Err(Error::ReadOnly(_))));
        assert!(matches!(catalogue.delete_namespace(id, NAMESPACE).await, Err(Error::ReadOnly(_))));
        assert!(matches!(catalogue.set_settings(id, [].into()).await, Err(Error::ReadOnly(_))));
        let set = catalogue.set_namespace_setting(id, NAMESPACE, "cors", Some("x".into())).await;
        assert!(matches!(set, Err(Error::ReadOnly(_))));
        assert!(matches!(
            catalogue.set_tags(id, NAMESPACE, "a", None, [].into()).await,
            Err(Error::ReadOnly(_))
        ));
        let deleted = catalogue.delete_objects(id, NAMESPACE, vec!["a".into()]).await.unwrap();
        assert!(matches!(deleted[0], Err(Error::ReadOnly(_))));
        assert_eq!(catalogue.content(id).unwrap(), before);
    });
}

#[test]
fn a_lease_for_a_write_is_refused_where_the_write_would_be_and_promises_it_nothing() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let (catalogue, blob) = (&system.catalogue, BlobId::random());
        link(&system, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        let elsewhere = catalogue.lease_blobs_for(content.id, "nowhere", vec![blob]).await;
        assert!(matches!(elsewhere, Err(Error::NoSuchNamespace { .. })));
        assert!(catalogue.is_orphan(blob).unwrap(), "a refusal leases nothing");
        catalogue.lease_blobs_for(content.id, NAMESPACE, vec![blob]).await.unwrap();
        assert!(!catalogue.is_orphan(blob).unwrap());

        link(&system, &content, Side::Primary, AccessMode::ReadOnly, 1).await;
        let object =
            Object { size: 1, body: Body::Segments(vec![Segment { blob, size: 1 }]), ..Object::default() };
        let late = catalogue.put_object(content.id, NAMESPACE, "late", object, Conditions::default()).await;
        assert!(matches!(late, Err(Error::ReadOnly(_))), "{late:?}");
        let refused = catalogue.lease_blobs_for(content.id, NAMESPACE, vec![BlobId::random()]).await;
        assert!(matches!(refused, Err(Error::ReadOnly(_))), "{refused:?}");
    });
}

#[test]
fn an_epoch_never_goes_back() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        link(&system, &content, Side::Primary, AccessMode::ReadOnly, 3).await;
        let set = async |access| system.catalogue.set_access(vec![content.clone()], access).await;
        let stale = set(access(Side::Primary, AccessMode::ReadWrite, 2)).await;
        assert!(matches!(stale, Err(Error::StaleEpoch { current: Epoch(3), offered: Epoch(2) })));
        // The same epoch again is no step back.
        set(access(Side::Primary, AccessMode::ReadOnly, 3)).await.unwrap();
        let system = system.reopen();
        let stale = system
            .catalogue
            .set_access(vec![content.clone()], access(Side::Primary, AccessMode::ReadWrite, 2))
            .await;
        assert!(matches!(stale, Err(Error::StaleEpoch { .. })));
    });
}

#[test]
fn nobody_writes_in_an_epoch_of_the_other_side() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        for (side, epoch) in [(Side::Primary, 1), (Side::Replica, 2)] {
            let taken = system
                .catalogue
                .set_access(vec![content.clone()], access(side, AccessMode::ReadWrite, epoch))
                .await;
            assert!(matches!(taken, Err(Error::NotTheHolder { .. })));
        }
    });
}

#[test]
fn a_higher_epoch_heard_of_demotes_and_a_lower_one_does_nothing() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        link(&system, &content, Side::Primary, AccessMode::ReadWrite, 2).await;
        let demote = async |epoch| {
            system.catalogue.demote(vec![content.id], Epoch(epoch), Some("w.example".into())).await.unwrap();
        };
        demote(1).await;
        demote(2).await;
        system.put(&content, "a", "x").await.unwrap();
        demote(3).await;
        let refusal = refusal(&system, &content).await;
        assert_eq!((refusal.epoch, refusal.writer.as_deref()), (Epoch(3), Some("w.example")));
    });
}

#[test]
fn all_contents_change_their_access_or_none() {
    run(async {
        let system = System::new(EAST);
        let (ready, ahead) = (system.tenant("alpha").await, system.tenant("beta").await);
        link(&system, &ahead, Side::Primary, AccessMode::ReadOnly, 5).await;
        let both = vec![ready.clone(), ahead];
        let set = system.catalogue.set_access(both, access(Side::Primary, AccessMode::ReadOnly, 3)).await;
        assert!(matches!(set, Err(Error::StaleEpoch { .. })));
        assert_eq!(system.catalogue.content(ready.id).unwrap().access.link, None);
        system.put(&ready, "a", "x").await.unwrap();
    });
}

#[test]
fn a_name_that_another_content_has_is_not_adopted() {
    run(async {
        let (east, west) = (System::new(EAST), System::new(WEST));
        let theirs = east.tenant("alpha").await;
        west.tenant("alpha").await;
        let read_only = access(Side::Replica, AccessMode::ReadOnly, 0);
        let adopted = west.catalogue.set_access(vec![theirs], read_only).await;
        assert!(matches!(adopted, Err(Error::NameTaken { .. })));
    });
}

#[test]
fn content_that_is_not_here_is_adopted_read_only_and_never_read_write() {
    run(async {
        let west = System::new(WEST);
        let theirs = Content { kind: ContentKind::Tenant, name: "alpha".into(), id: ContentId([3; 16]) };
        let read_write = access(Side::Replica, AccessMode::ReadWrite, 1);
        let refused = west.catalogue.set_access(vec![theirs.clone()], read_write).await;
        assert!(matches!(refused, Err(Error::NoSuchContent)));
        link(&west, &theirs, Side::Replica, AccessMode::ReadOnly, 1).await;
        let status = west.catalogue.content(theirs.id).unwrap();
        assert_eq!((status.objects, status.mode()), (0, AccessMode::ReadOnly));
        assert_eq!(west.catalogue.find_content(ContentKind::Tenant, "alpha").unwrap(), Some(theirs));
    });
}

#[test]
fn content_that_lost_its_link_stays_read_only_until_it_is_released() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        link(&system, &content, Side::Primary, AccessMode::ReadWrite, 0).await;
        system.catalogue.orphan(vec![content.id]).await.unwrap();
        assert!(refusal(&system, &content).await.orphaned);
        let system = system.reopen();
        assert!(refusal(&system, &content).await.orphaned);
        let mut other = access(Side::Primary, AccessMode::ReadWrite, 0);
        other.link = Some(LinkId([1; 16]));
        let taken = system.catalogue.set_access(vec![content.clone()], other).await;
        assert!(matches!(taken, Err(Error::ContentOnLink { link: LINK, .. })));
        system.catalogue.release(vec![content.id]).await.unwrap();
        system.put(&content, "a", "x").await.unwrap();
        let system = system.reopen();
        system.put(&content, "a", "y").await.unwrap();
    });
}

#[test]
fn content_on_a_link_is_not_deleted_and_takes_changes_from_no_other() {
    run(async {
        let (east, west, content) = pair().await;
        east.put(&content, "a", "x").await.unwrap();
        assert!(matches!(east.catalogue.delete_content(content.id).await, Err(Error::ContentOnLink { .. })));
        west.catalogue.release(vec![content.id]).await.unwrap();
        let changes = east.changes(&content, None, 0);
        let sender = sender(&east, &content);
        let applied = west.catalogue.apply(content.id, sender, changes, None).await;
        assert!(matches!(applied, Err(Error::NotOnLink)));
    });
}
