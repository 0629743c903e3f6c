//! `nsupdate` and `knsupdate`, by datagram and by stream.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use switchback_proto::dns::v1::{ListRecordsRequest, RemoveRecordsRequest};

use super::{REVERSE, System, WEST, peer, run};

const CHALLENGE: &str = "_acme-challenge.s3.west.example.com";

/// What a certificate's client does, and what gives out addresses.
async fn updates(program: &str, arguments: &[&str]) {
    if !peer::require(&[program]) {
        return;
    }
    let mut system = System::new().await;
    let dns = system.dns;
    let update = async |key, zone, lines: &[&str]| run(program, arguments, dns, key, zone, lines).await;
    let before = system.serial(WEST).await;
    let first = format!("update add {CHALLENGE}. 60 TXT \"first\"");
    update("acme.key", WEST, &[&first]).await.unwrap();
    assert_eq!(system.texts(CHALLENGE, RecordType::TXT).await, ["60 first"]);
    let after = system.serial(WEST).await;
    assert!(after > before);
    // Once more, and nothing moves.
    update("acme.key", WEST, &[&first]).await.unwrap();
    assert_eq!(system.serial(WEST).await, after);
    // Two at once, as for a name and its wildcard; then one by one they go.
    update("acme.key", WEST, &[&format!("update add {CHALLENGE}. 60 TXT \"second\"")]).await.unwrap();
    assert_eq!(system.texts(CHALLENGE, RecordType::TXT).await.len(), 2);
    update("acme.key", WEST, &[&format!("update delete {CHALLENGE}. TXT \"first\"")]).await.unwrap();
    assert_eq!(system.texts(CHALLENGE, RecordType::TXT).await, ["60 second"]);
    update("acme.key", WEST, &[&format!("update delete {CHALLENGE}. TXT")]).await.unwrap();
    assert_eq!(system.ask(CHALLENGE, RecordType::TXT).await.response_code, ResponseCode::NXDomain);

    let host = "a.hosts.west.example.com";
    let lines = [format!("prereq nxdomain {host}."), format!("update add {host}. 30 A 192.0.2.99")];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    update("hosts.key", WEST, &lines).await.unwrap();
    let refused = update("hosts.key", WEST, &lines).await.unwrap_err();
    assert!(refused.contains("YXDOMAIN"), "{refused}");
    let pointer = format!("update add 99.{REVERSE}. 30 PTR {host}.");
    update("hosts.key", REVERSE, &[&pointer]).await.unwrap();
    assert_eq!(system.texts(&format!("99.{REVERSE}"), RecordType::PTR).await, [format!("30 {host}.")]);
    assert_eq!(system.texts(&format!("10.{REVERSE}"), RecordType::PTR).await, ["60 s3.west.example.com."]);
    assert_eq!(system.serial(REVERSE).await, 8, "the file's is 7");

    system.restart().await;
    system.apply(2, vec![super::zone("acme.west.example.com", 64, &["192.0.2.7"], "")]).await;
    assert_eq!(system.texts(host, RecordType::A).await, ["30 192.0.2.99"]);
    assert_eq!(system.texts(&format!("99.{REVERSE}"), RecordType::PTR).await, [format!("30 {host}.")]);
    assert_eq!(system.serial(REVERSE).await, 8);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nsupdate_changes_records_by_datagram() {
    updates("nsupdate", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nsupdate_changes_records_by_stream() {
    updates("nsupdate", &["-v"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knsupdate_changes_records_by_datagram() {
    updates("knsupdate", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knsupdate_changes_records_by_stream() {
    updates("knsupdate", &["-v"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_what_was_taken_and_removes_it() {
    if !peer::require(&["nsupdate"]) {
        return;
    }
    let mut system = System::new().await;
    system
        .update("hosts.key", WEST, &["update add a.hosts.west.example.com. 30 A 192.0.2.99"])
        .await
        .unwrap();
    system
        .update("acme.key", WEST, &[&format!("update add {CHALLENGE}. 60 TXT \"a b\" \"c\"")])
        .await
        .unwrap();
    let client = &mut system.running.as_mut().unwrap().client;
    let listed = client.list_records(ListRecordsRequest {}).await.unwrap().into_inner();
    let shown: Vec<_> = listed
        .sets
        .iter()
        .map(|set| (&*set.zone, &*set.name, &*set.r#type, set.ttl_seconds, &*set.values[0], &*set.key))
        .collect();
    assert_eq!(
        shown,
        [
            (WEST, CHALLENGE, "TXT", 60, "\"a b\" \"c\"", "acme.key"),
            (WEST, "a.hosts.west.example.com", "A", 30, "192.0.2.99", "hosts.key"),
        ]
    );
    assert!(listed.records == 2 && listed.sets.iter().all(|set| set.taken_unix_ms > 0 && !set.left_out));

    let removal = |name: &str, kind: &str| RemoveRecordsRequest { name: name.into(), r#type: kind.into() };
    client.remove_records(removal("a.hosts.west.example.com.", "a")).await.unwrap();
    let error = client.remove_records(removal("www.west.example.com", "A")).await.unwrap_err();
    assert!(error.message().contains("no A records were taken"), "{error}");
    let code = system.ask("a.hosts.west.example.com", RecordType::A).await.response_code;
    assert_eq!(code, ResponseCode::NXDomain);
    system.restart().await;
    let client = &mut system.running.as_mut().unwrap().client;
    let listed = client.list_records(ListRecordsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.sets.len(), 1, "{listed:?}");
    system.stop().await;
}
