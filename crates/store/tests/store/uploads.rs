//! Multipart uploads.

use std::time::Duration;

use switchback_model::{AccessMode, ContentId, Side};
use switchback_store::{
    BlobId, Body, Catalogue, CompletedPart, Completion, Conditions, Error, Lock, Part, Segment, Upload,
    UploadId, expire_uploads,
};

use crate::support::{EAST, NAMESPACE, System, link, run};

fn begun(key: &str) -> Upload {
    Upload {
        id: UploadId::default(),
        key: key.into(),
        initiated_unix_ms: 0,
        metadata: switchback_store::Metadata { content_type: "text/plain".into(), ..Default::default() },
        tags: [("a".to_owned(), "b".to_owned())].into(),
        checksum_algorithm: "CRC32".into(),
        lock: Lock::default(),
        checksum_type: "FULL_OBJECT".into(),
    }
}

async fn create(catalogue: &Catalogue, content: ContentId, key: &str) -> UploadId {
    catalogue.create_upload(content, NAMESPACE, begun(key)).await.unwrap().id
}

async fn put(catalogue: &Catalogue, content: ContentId, upload: UploadId, number: u32, etag: &str) -> BlobId {
    let blob = BlobId::random();
    catalogue.lease_blobs(vec![blob]).await.unwrap();
    let part = Part {
        number,
        size: 10,
        etag: etag.into(),
        segments: vec![Segment { blob, size: 10 }],
        ..Part::default()
    };
    catalogue.put_part(content, NAMESPACE, "a", upload, part).await.unwrap();
    blob
}

fn completion(parts: &[(u32, &str)]) -> Completion {
    Completion {
        parts: parts
            .iter()
            .map(|(number, etag)| CompletedPart { number: *number, etag: (*etag).into() })
            .collect(),
        etag: "whole-2".into(),
        checksums: Vec::new(),
    }
}

async fn swept(system: &System) -> Vec<BlobId> {
    system.clock.advance(60_000);
    let mut blobs = system.catalogue.sweep().await.unwrap().blobs;
    blobs.sort();
    blobs
}

#[test]
fn an_object_is_made_of_its_parts_and_the_rest_is_given_up() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let upload = create(&system.catalogue, content.id, "a").await;
        let replaced = put(&system.catalogue, content.id, upload, 1, "one").await;
        let first = put(&system.catalogue, content.id, upload, 1, "one again").await;
        let unused = put(&system.catalogue, content.id, upload, 2, "two").await;
        let last = put(&system.catalogue, content.id, upload, 7, "seven").await;
        // The parts are durable, and outlive the blobs' leases.
        let system = system.reopen();
        system.clock.advance(48 * 60 * 60 * 1000);
        assert_eq!(swept(&system).await, [replaced]);
        let finished = completion(&[(1, "one again"), (7, "seven")]);
        let (written, object) = system
            .catalogue
            .complete_upload(content.id, NAMESPACE, "a", upload, finished, Conditions::default())
            .await
            .unwrap();
        let entry = system.catalogue.object(content.id, NAMESPACE, "a", true).unwrap();
        assert_eq!((entry.version, &entry.object), (written.version, &object));
        assert_eq!((object.size, object.part_sizes.as_slice()), (20, &[10, 10][..]));
        assert_eq!((object.etag.as_str(), object.metadata.content_type.as_str()), ("whole-2", "text/plain"));
        let blobs = [first, last].map(|blob| Segment { blob, size: 10 });
        assert_eq!(object.body, Body::Segments(blobs.to_vec()));
        assert_eq!(swept(&system).await, [unused]);
        let again = system.catalogue.parts(content.id, NAMESPACE, "a", upload, 0, 10);
        assert!(matches!(again, Err(Error::NoSuchUpload)));
    });
}

#[test]
fn a_completion_that_names_other_parts_is_refused_and_can_be_repeated_right() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let upload = create(&system.catalogue, content.id, "a").await;
        put(&system.catalogue, content.id, upload, 1, "one").await;
        put(&system.catalogue, content.id, upload, 2, "two").await;
        let complete = async |parts: &[(u32, &str)]| {
            let conditions = Conditions::default();
            system
                .catalogue
                .complete_upload(content.id, NAMESPACE, "a", upload, completion(parts), conditions)
                .await
        };
        for wrong in [&[(1, "other")][..], &[(3, "three")], &[(2, "two"), (1, "one")], &[]] {
            assert!(matches!(complete(wrong).await, Err(Error::InvalidPart { .. })), "{wrong:?}");
        }
        complete(&[(1, "one"), (2, "two")]).await.unwrap();
    });
}

#[test]
fn an_aborted_upload_gives_up_all_its_parts() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let upload = create(&system.catalogue, content.id, "a").await;
        let mut blobs = vec![
            put(&system.catalogue, content.id, upload, 1, "one").await,
            put(&system.catalogue, content.id, upload, 2, "two").await,
        ];
        blobs.sort();
        let abort = async || system.catalogue.abort_upload(content.id, NAMESPACE, "a", upload).await;
        abort().await.unwrap();
        assert!(matches!(abort().await, Err(Error::NoSuchUpload)));
        assert_eq!(swept(&system).await, blobs);
    });
}

#[test]
fn an_upload_that_nobody_goes_on_with_is_ended_and_its_blobs_are_swept() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let catalogue = &system.catalogue;
        let (expiry, day) = (Duration::from_secs(7 * 86_400), 86_400_000);
        let idle = create(catalogue, content.id, "a").await;
        let blob = put(catalogue, content.id, idle, 1, "one").await;
        let active = create(catalogue, content.id, "a").await;
        let kept = create(catalogue, content.id, "b").await;
        system.clock.advance(6 * day);
        put(catalogue, content.id, active, 1, "one").await;
        assert_eq!(expire_uploads(catalogue, expiry).await.unwrap(), 0);
        let fresh = create(catalogue, content.id, "c").await;
        catalogue.abort_upload(content.id, NAMESPACE, "b", kept).await.unwrap();

        // Where the content is read-only uploads end too: they are on this system only.
        link(&system, &content, Side::Primary, AccessMode::ReadOnly, 1).await;
        system.clock.advance(day + 1);
        assert_eq!(expire_uploads(catalogue, expiry).await.unwrap(), 1);
        let open = catalogue.uploads(content.id, NAMESPACE, "", None, 10).unwrap().uploads;
        assert_eq!(open.iter().map(|upload| upload.id).collect::<Vec<_>>(), [active, fresh]);
        let gone = catalogue.parts(content.id, NAMESPACE, "a", idle, 0, 10);
        assert!(matches!(gone, Err(Error::NoSuchUpload)));
        assert_eq!(swept(&system).await, [blob]);
    });
}

#[test]
fn more_idle_uploads_than_one_round_looks_at_are_all_ended() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let (catalogue, expiry) = (&system.catalogue, Duration::from_secs(60));
        let many = (0..600).map(|number| create_numbered(catalogue, content.id, number));
        futures::future::join_all(many).await;
        system.clock.advance(30_000);
        create(catalogue, content.id, "key/300/fresh").await;
        system.clock.advance(30_001);
        assert_eq!(expire_uploads(catalogue, expiry).await.unwrap(), 600);
        let open = catalogue.uploads(content.id, NAMESPACE, "", None, 10).unwrap().uploads;
        assert_eq!(open.len(), 1);
    });
}

async fn create_numbered(catalogue: &Catalogue, content: ContentId, number: u32) {
    create(catalogue, content, &format!("key/{number}")).await;
}

#[test]
fn uploads_and_parts_are_paged_in_order() {
    run(async {
        let system = System::new(EAST);
        let content = system.tenant("alpha").await;
        let catalogue = &system.catalogue;
        for key in ["b", "ab", "a", "a", "c/d"] {
            create(catalogue, content.id, key).await;
        }
        let (mut after, mut seen): (Option<(String, UploadId)>, Vec<String>) = (None, Vec::new());
        loop {
            let place = after.as_ref().map(|(key, id)| (key.as_str(), *id));
            let page = catalogue.uploads(content.id, NAMESPACE, "", place, 2).unwrap();
            seen.extend(page.uploads.iter().map(|upload| upload.key.clone()));
            if !page.truncated {
                break;
            }
            after = page.uploads.last().map(|upload| (upload.key.clone(), upload.id));
        }
        assert_eq!(seen, ["a", "a", "ab", "b", "c/d"]);
        let page = catalogue.uploads(content.id, NAMESPACE, "a", None, 10).unwrap();
        assert_eq!(page.uploads.len(), 3);

        let upload = create(catalogue, content.id, "a").await;
        for number in [3, 1, 2] {
            put(catalogue, content.id, upload, number, "x").await;
        }
        let page = catalogue.parts(content.id, NAMESPACE, "a", upload, 1, 1).unwrap();
        assert_eq!(page.upload, Upload { id: upload, initiated_unix_ms: 1_000_000, ..begun("a") });
        assert_eq!(page.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [2]);
        assert!(page.truncated);
    });
}
