//! What two movers do for each other's disks: whatever one has damaged is fetched from the other, and nothing else
//! changes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pair;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pair::{Card, LINK, Pair, System, Way, flows, noise};
use switchback_kit::tls::{Expect, Limits};
use switchback_model::{Incarnation, SystemId};
use switchback_proto::model::v1::Content;
use switchback_proto::mover::v1::damage::State;
use switchback_proto::mover::v1::*;
use switchback_proto::replication::v1::record_key::Kind;
use switchback_proto::replication::v1::replication_service_client::ReplicationServiceClient;
use switchback_proto::replication::v1::{FetchBodyRequest, LinkHeader, RecordKey};
use switchback_proto::store::v1::{GetObjectRequest, ReportDamageRequest};
use switchback_store::BlobId;
use tonic::Code;

/// Bytes of an object that takes a file.
const LARGE: usize = 300_000;

async fn scrub(system: &System) -> GetScrubResponse {
    system.mover().get_scrub(GetScrubRequest { damages_max: 1_000 }).await.unwrap().into_inner()
}

async fn until(system: &System, what: &str, wanted: impl Fn(&GetScrubResponse) -> bool) -> GetScrubResponse {
    for _ in 0..1_200 {
        let seen = scrub(system).await;
        if wanted(&seen) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}: waited in vain until {what}; last seen {:#?}", system.domain, scrub(system).await);
}

/// Begins a round, and waits for its end.
async fn whole_round(system: &System) -> GetScrubResponse {
    let before = scrub(system).await.last.map_or(0, |last| last.ended_unix_ms);
    system.mover().start_scrub(StartScrubRequest {}).await.unwrap();
    let is_over = |seen: &GetScrubResponse| {
        seen.round.is_none() && seen.last.as_ref().is_some_and(|last| last.ended_unix_ms > before)
    };
    until(system, "a round is over", is_over).await
}

/// The blobs of an object.
async fn blobs(system: &System, content: &Content, key: &str) -> Vec<BlobId> {
    let request = GetObjectRequest {
        content: Some(content.clone()),
        namespace: "photos".into(),
        key: key.into(),
        with_body: true,
        ..Default::default()
    };
    let body = system.store().get_object(request).await.unwrap().into_inner().body.unwrap();
    body.segments.iter().map(|segment| BlobId::from_slice(&segment.blob_id).unwrap()).collect()
}

/// The files of an object.
async fn files(system: &System, content: &Content, key: &str) -> Vec<PathBuf> {
    blobs(system, content, key).await.iter().map(|blob| file(system, blob.as_bytes())).collect()
}

/// The file of a blob.
fn file(system: &System, blob: &[u8]) -> PathBuf {
    let name = hex::encode(blob);
    system.folder.join("blobs").join(&name[..2]).join(name)
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn state_of(seen: &GetScrubResponse, key: &str) -> (State, String) {
    let damage = seen.damages.iter().find(|damage| damage.key == key);
    damage.map(|damage| (damage.state(), damage.reason.clone())).unwrap_or_default()
}

/// Five objects of a file each on both sides, and a small one.
async fn replicated() -> (Pair, Content) {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for number in 0..5 {
        pair.east.put_blob(&content, &format!("k/{number}"), &noise(number, LARGE)).await;
    }
    pair.east.put(&content, "small", b"small").await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    pair.west.until_in_sync().await;
    (pair, content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_are_repaired_from_each_other_and_nothing_else_changes() {
    let (pair, content) = replicated().await;
    let (before_east, before_west) = (pair.east.until_in_sync().await, pair.west.until_in_sync().await);
    let east = [0, 1].map(|number| format!("k/{number}"));
    flip(&files(&pair.east, &content, &east[0]).await[0]);
    std::fs::remove_file(&files(&pair.east, &content, &east[1]).await[0]).unwrap();
    let short = files(&pair.west, &content, "k/2").await;
    std::fs::write(&short[0], b"short").unwrap();

    // While the writer reads itself again, and on the side that clients only read.
    for (system, keys) in [(&pair.east, vec!["k/0", "k/1"]), (&pair.west, vec!["k/2"])] {
        let round = whole_round(system).await.last.unwrap();
        assert_eq!((round.bodies, round.damaged, round.skipped), (6, keys.len() as u64, 0));
        let count = keys.len() as u64;
        let seen = until(system, "all are repaired", |seen| seen.repaired == count).await;
        assert_eq!((seen.found, seen.waiting, seen.unrepairable), (count, 0, 0));
        for key in keys {
            assert_eq!(state_of(&seen, key), (State::Repaired, String::new()));
        }
    }
    for number in 0..5 {
        for system in [&pair.east, &pair.west] {
            let (_, bytes) = system.get(&content, &format!("k/{number}")).await.unwrap();
            assert_eq!(bytes, noise(number, LARGE));
        }
    }
    for (system, before) in [(&pair.east, before_east), (&pair.west, before_west)] {
        let after = system.until_in_sync().await;
        assert_eq!((&after.digest, &after.sent_head), (&before.digest, &before.sent_head));
        assert_eq!((after.sent_objects, after.trouble), (before.sent_objects, String::new()));
        assert_eq!(whole_round(system).await.last.unwrap().damaged, 0);
    }
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_waits_for_contact_and_for_a_link_that_is_not_suspended() {
    let (mut pair, content) = replicated().await;
    pair.cut();
    pair.west.until("contact is lost", |status| !status.links[0].contact).await;
    flip(&files(&pair.west, &content, "k/0").await[0]);
    whole_round(&pair.west).await;
    let waits = |word: &'static str| {
        move |seen: &GetScrubResponse| {
            let (state, reason) = state_of(seen, "k/0");
            state == State::Waiting && reason.contains(word)
        }
    };
    until(&pair.west, "it waits for contact", waits("no contact")).await;
    let shown = pair.west.until_flow("the link shows it", |flow| flow.trouble.contains("damaged here")).await;
    assert!(shown.trouble.contains("switchback store scrub"), "{}", shown.trouble);
    // It is remembered.
    pair.west.stop().await;
    pair.west.start().await;
    let remembered = scrub(&pair.west).await;
    assert_eq!((remembered.waiting, remembered.found), (1, 1));

    let suspended =
        ApplyFlowsRequest { suspended: true, ..flows(&pair.west, &pair.east, &content, 0, Way::West, 100) };
    pair.west.mover().apply_flows(suspended).await.unwrap();
    pair.heal();
    until(&pair.west, "it waits for the link", waits("suspended")).await;
    let resumed = flows(&pair.west, &pair.east, &content, 0, Way::West, 101);
    pair.west.mover().apply_flows(resumed).await.unwrap();
    pair.west.mover().start_scrub(StartScrubRequest {}).await.unwrap();
    until(&pair.west, "it is repaired", |seen| seen.repaired == 1).await;
    assert_eq!(pair.west.get(&content, "k/0").await.unwrap().1, noise(0, LARGE));

    // Failed over, in contact and without a flow; and recovering.
    for (epoch, way, key) in [(1, Way::Neither, "k/1"), (1, Way::Both, "k/2")] {
        pair.steer(&content, epoch, way).await;
        pair.east.until("in contact", |status| status.links[0].contact).await;
        let repaired = scrub(&pair.east).await.repaired;
        flip(&files(&pair.east, &content, key).await[0]);
        whole_round(&pair.east).await;
        until(&pair.east, "it is repaired", |seen| seen.repaired == repaired + 1).await;
    }
    pair.stop().await;
}

/// Bytes of an object that a receiver cuts into three pieces.
const HUGE: usize = 24 << 20;
const PIECE: u64 = 8 << 20;

/// Every file of a blob.
fn all_files(system: &System) -> BTreeSet<PathBuf> {
    let entries =
        |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let folders = entries(&system.folder.join("blobs")).into_iter().filter(|path| path.is_dir());
    folders.flat_map(|folder| entries(&folder)).collect()
}

/// A large object, damaged in the west, whose repair was cut off when two of its three pieces were there; their files.
async fn cut_off() -> (Pair, Content, Vec<PathBuf>) {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    pair.east.put_blob(&content, "huge", &noise(1, HUGE)).await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    pair.west.until_in_sync().await;
    until(&pair.west, "the first round is over", |seen| seen.last.is_some() && seen.round.is_none()).await;
    flip(&files(&pair.west, &content, "huge").await[0]);
    let before = all_files(&pair.west);
    pair.east.line.break_after_returned(5 * PIECE / 2);
    pair.west.mover().start_scrub(StartScrubRequest {}).await.unwrap();
    pair.east.line.until_cut().await;
    let is_tried = |seen: &GetScrubResponse| seen.damages.iter().any(|damage| damage.attempts > 0);
    until(&pair.west, "it waits", is_tried).await;
    let whole = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| file.len() >= PIECE);
    let came: Vec<_> =
        all_files(&pair.west).difference(&before).filter(|path| whole(path)).cloned().collect();
    assert_eq!(came.len(), 2, "{came:?}");
    (pair, content, came)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_was_cut_off_goes_on_behind_the_last_piece_also_after_a_restart() {
    let (mut pair, content, came) = cut_off().await;
    pair.west.stop().await;
    pair.west.start().await;
    let before = pair.east.line.returned();
    pair.heal();
    until(&pair.west, "it is repaired", |seen| seen.repaired == 1).await;
    let answered = pair.east.line.returned() - before;
    assert!((PIECE..PIECE * 3 / 2).contains(&answered), "{answered} bytes for a piece of {PIECE}");
    assert!(came.iter().all(|path| path.exists()), "they are the object's now");
    assert_eq!(pair.west.get(&content, "huge").await.unwrap().1, noise(1, HUGE));
    assert_eq!(whole_round(&pair.west).await.last.unwrap().damaged, 0);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_whose_first_pieces_are_damaged_in_their_turn_begins_anew() {
    let (pair, content, came) = cut_off().await;
    flip(&came[1]);
    pair.heal();
    until(&pair.west, "it is repaired", |seen| seen.repaired == 1).await;
    assert_eq!(pair.west.get(&content, "huge").await.unwrap().1, noise(1, HUGE));
    assert_eq!(whole_round(&pair.west).await.last.unwrap().damaged, 0);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_on_both_sides_stays_listed_until_it_is_written_again_or_deleted() {
    let (pair, content) = replicated().await;
    let alone = pair.east.tenant("alone").await;
    pair.east.put_blob(&alone, "only", &noise(9, LARGE)).await;
    for system in [&pair.east, &pair.west] {
        flip(&files(system, &content, "k/0").await[0]);
        // Other bytes, which are as they were written: only the object's hash tells.
        system.rewrite_blob(blobs(system, &content, "k/1").await[0], &noise(7, LARGE)).await;
    }
    flip(&files(&pair.east, &alone, "only").await[0]);
    whole_round(&pair.east).await;
    let seen = until(&pair.east, "there is no copy", |seen| seen.unrepairable == 3).await;
    for (key, word) in [("k/0", "damaged too"), ("k/1", "damaged too"), ("only", "on no link")] {
        let (state, reason) = state_of(&seen, key);
        assert_eq!(state, State::Unrepairable);
        assert!(reason.contains(word) && reason.contains("write the object again"), "{reason}");
    }
    // The side that was asked has looked at its own, too.
    until(&pair.west, "the other side knows", |seen| seen.unrepairable == 2).await;

    pair.east.put(&content, "k/0", b"new").await;
    pair.east.delete(&content, "k/1").await;
    pair.east.delete(&alone, "only").await;
    pair.east.until_in_sync().await;
    for system in [&pair.east, &pair.west] {
        system.mover().start_scrub(StartScrubRequest {}).await.unwrap();
        let seen = until(system, "nothing is damaged", |seen| seen.unrepairable + seen.waiting == 0).await;
        assert!(seen.damages.iter().all(|damage| damage.state() == State::Repaired), "{seen:?}");
    }
    pair.stop().await;
}

/// A part is on one system only: no object is made of a damaged one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_part_of_an_open_upload_is_listed_until_it_is_uploaded_again() {
    let (mut pair, content) = replicated().await;
    let east = &pair.east;
    let (upload, given_up) =
        (east.create_upload(&content, "m").await, east.create_upload(&content, "given up").await);
    let mut blobs = Vec::new();
    for number in 1..=3 {
        blobs.push(east.put_part(&content, "m", &upload, number, &noise(u64::from(number), LARGE)).await);
    }
    let other = east.put_part(&content, "given up", &given_up, 1, &noise(4, LARGE)).await;
    let round = whole_round(east).await.last.unwrap();
    assert_eq!((round.bodies, round.parts, round.part_bytes, round.damaged), (6, 4, 4 * LARGE as u64, 0));
    for blob in [blobs[1], blobs[2], other] {
        flip(&file(east, blob.as_bytes()));
    }
    assert_eq!(whole_round(east).await.last.unwrap().damaged, 3);
    let seen = until(east, "all are listed", |seen| seen.unrepairable == 3).await;
    let listed: BTreeSet<_> =
        seen.damages.iter().map(|damage| (damage.upload_id.as_str(), damage.part_number)).collect();
    assert_eq!(listed, BTreeSet::from([(&*upload, 2), (&*upload, 3), (&*given_up, 1)]));
    let (state, reason) = state_of(&seen, "given up");
    assert_eq!(state, State::Unrepairable);
    assert!(reason.contains(&format!("upload part 1 of {given_up} again")), "{reason}");
    assert_eq!(east.until_in_sync().await.trouble, "", "of the link's content all is whole");

    // The list is remembered, and what is on it is not made into an object.
    pair.east.stop().await;
    pair.east.start().await;
    pair.steer(&content, 0, Way::West).await;
    let east = &pair.east;
    for parts in [&[1, 2, 3][..], &[1, 3], &[2]] {
        let refused = east.complete(&content, "m", &upload, parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("its bytes are damaged: upload it again"), "{refused}");
    }
    assert!(east.get(&content, "m").await.is_none());
    east.put_part(&content, "m", &upload, 2, &noise(2, LARGE)).await;
    until(east, "one is whole", |seen| seen.unrepairable == 2).await;
    east.complete(&content, "m", &upload, &[1, 2]).await.unwrap();
    east.abort_upload(&content, "given up", &given_up).await;
    until(east, "nothing is damaged", |seen| seen.unrepairable + seen.waiting == 0).await;
    let whole = [noise(1, LARGE), noise(2, LARGE)].concat();
    assert_eq!(east.get(&content, "m").await.unwrap().1, whole);
    east.until_in_sync().await;
    let round = whole_round(east).await.last.unwrap();
    assert_eq!((round.bodies, round.parts, round.damaged), (7, 0, 0));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reader_finds_damaged_is_repaired_without_a_round() {
    let (pair, content) = replicated().await;
    until(&pair.west, "the first round is over", |seen| seen.last.is_some() && seen.round.is_none()).await;
    std::fs::remove_file(&files(&pair.west, &content, "k/3").await[0]).unwrap();
    let report = |key: &str| ReportDamageRequest {
        content: Some(content.clone()),
        namespace: "photos".into(),
        key: key.into(),
        version_id: String::new(),
    };
    // A reader may be wrong, too.
    for key in ["k/4", "gone", "k/3"] {
        pair.west.store().report_damage(report(key)).await.unwrap();
    }
    let seen = until(&pair.west, "it is repaired", |seen| seen.repaired == 1).await;
    assert_eq!((seen.found, seen.damages.len(), seen.round), (1, 1, None));
    assert_eq!(pair.west.get(&content, "k/3").await.unwrap().1, noise(3, LARGE));
    pair.stop().await;
}

/// A flow that meets a damaged body of its own, which the other side had before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_meets_a_damaged_body_lists_it() {
    let mut pair = Pair::start().await;
    let content = pair.east.tenant("acme").await;
    for (number, key) in [(1, "rotten"), (2, "lost")] {
        pair.east.put_blob(&content, key, &noise(number, LARGE)).await;
    }
    until(&pair.east, "the first round is over", |seen| seen.last.is_some() && seen.round.is_none()).await;
    flip(&files(&pair.east, &content, "rotten").await[0]);
    std::fs::remove_file(&files(&pair.east, &content, "lost").await[0]).unwrap();
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_flow("both are aside", |flow| flow.retries == 2).await;
    let seen = until(&pair.east, "both are listed", |seen| seen.unrepairable == 2).await;
    for key in ["rotten", "lost"] {
        assert!(state_of(&seen, key).1.contains("no copy of these bytes"), "{seen:?}");
    }
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_there_is_not_a_store_that_lost_everything() {
    let (mut pair, content) = replicated().await;
    until(&pair.west, "the first round is over", |seen| seen.last.is_some() && seen.round.is_none()).await;
    let (folder, away) = (pair.west.folder.join("blobs"), pair.west.folder.join("away"));
    std::fs::rename(&folder, &away).unwrap();
    std::fs::create_dir(&folder).unwrap();
    pair.west.mover().start_scrub(StartScrubRequest {}).await.unwrap();
    let seen = until(&pair.west, "it says so", |seen| seen.trouble.contains("mount its file system")).await;
    assert_eq!((seen.found, seen.damages.len()), (0, 0));
    pair.west.until_flow("the link says so", |flow| flow.trouble.contains("mount its file system")).await;
    // What comes meanwhile is not taken: it would be hidden.
    pair.east.put_blob(&content, "new", &noise(7, LARGE)).await;
    pair.east.put(&content, "small too", b"x").await;
    pair.east.until_flow("the flow waits", |flow| flow.trouble.contains("mount its file system")).await;
    assert!(pair.west.get(&content, "new").await.is_none());

    // Nor does it start with an empty store in its place.
    let refused = pair.west.stop_and_fail_to_start().await;
    assert!(refused.contains("mount its file system"), "{refused}");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    pair.west.start().await;
    pair.steer(&content, 0, Way::West).await;
    pair.east.until_in_sync().await;
    pair.west.until_in_sync().await;
    for (key, body) in [("k/0", noise(0, LARGE)), ("new", noise(7, LARGE)), ("small too", b"x".to_vec())] {
        assert_eq!(pair.west.get(&content, key).await.unwrap().1, body);
    }
    assert_eq!(whole_round(&pair.west).await.last.unwrap().damaged, 0);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_goes_on_after_a_restart_and_the_next_waits_for_its_day() {
    let (mut pair, _) = replicated().await;
    until(&pair.west, "the first round is over", |seen| seen.last.is_some() && seen.round.is_none()).await;
    pair.west.stop().await;
    // A body and what it costs take a second.
    pair.west.scrub_bytes_per_second = LARGE as u64;
    pair.west.start().await;
    let before = scrub(&pair.west).await;
    let last = before.last.unwrap();
    assert!(
        before.round.is_none() && before.next_unix_ms > last.began_unix_ms,
        "a day has not passed: {before:?}"
    );
    assert_eq!((before.objects, before.round_ms / 1_000), (6, 5));
    pair.west.mover().start_scrub(StartScrubRequest {}).await.unwrap();
    let read = |seen: &GetScrubResponse| seen.round.as_ref().map_or(0, |round| round.bodies);
    let half = until(&pair.west, "some are read", |seen| read(seen) >= 2).await;
    pair.west.stop().await;
    pair.west.scrub_bytes_per_second = 1 << 30;
    pair.west.start().await;
    let whole = until(&pair.west, "the round is over", |seen| seen.last != Some(last)).await.last.unwrap();
    assert_eq!(
        (whole.began_unix_ms, whole.bodies),
        (half.round.unwrap().began_unix_ms, 6),
        "it was not begun anew"
    );
    pair.stop().await;
}

/// The bytes of an object are given to the peer of its link, and to nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_peer_of_the_link_is_given_bytes_and_only_of_its_content() {
    let (pair, content) = replicated().await;
    let alone = pair.west.tenant("alone").await;
    pair.west.put(&alone, "small", b"small").await;
    let hash = blake3::hash(b"small").as_bytes().to_vec();
    let request = |content: &Content, incarnation: u64, hash: Vec<u8>| FetchBodyRequest {
        header: Some(LinkHeader {
            link_id: LINK.to_vec().into(),
            sender_incarnation: incarnation,
            receiver_incarnation: pair.west.incarnation,
            epoch: 0,
        }),
        content_id: content.id.clone(),
        key: Some(RecordKey {
            kind: Kind::Object.into(),
            namespace: "photos".into(),
            name: "small".into(),
            loser: None,
            version_id: None,
        }),
        size: 5,
        content_hash: hash.into(),
        offset: 0,
    };
    let dial = |identity: &switchback_kit::tls::IdentityWatch| {
        let expect = Expect::Incarnation(SystemId(pair.west.id), Incarnation(pair.west.incarnation));
        let dial =
            switchback_kit::tls::channel(&pair.west.line.address(), identity, expect, &Limits::default());
        ReplicationServiceClient::new(dial.channel())
    };
    let mut east = dial(&pair.east.identity);
    let mut given = east.fetch_body(request(&content, 11, hash.clone())).await.unwrap().into_inner();
    assert_eq!(given.message().await.unwrap().unwrap().bytes[..], b"small"[..]);
    assert!(given.message().await.unwrap().is_none());
    let rest = FetchBodyRequest { offset: 2, ..request(&content, 11, hash.clone()) };
    let mut given = east.fetch_body(rest.clone()).await.unwrap().into_inner();
    let piece = given.message().await.unwrap().unwrap();
    assert_eq!((&piece.bytes[..], piece.offset), (&b"all"[..], 2));
    assert!(given.message().await.unwrap().is_none());
    for (asked, code) in [
        (FetchBodyRequest { offset: 6, ..rest }, Code::InvalidArgument),
        (request(&alone, 11, hash.clone()), Code::PermissionDenied),
        (request(&content, 12, hash.clone()), Code::FailedPrecondition),
        (request(&content, 11, vec![7; 32]), Code::NotFound),
    ] {
        assert_eq!(east.fetch_body(asked).await.unwrap_err().code(), code);
    }
    let stranger = Card::new([3; 16], 11, "north.example.com");
    let refused = dial(&stranger.identity(&[])).fetch_body(request(&content, 11, hash)).await.unwrap_err();
    assert_ne!(refused.code(), Code::NotFound);
    pair.stop().await;
}
