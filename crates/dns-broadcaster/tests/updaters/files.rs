//! What files say and what was taken, beside each other.

use hickory_proto::rr::RecordType;
use switchback_proto::dns::v1::{ReloadZoneFilesRequest, RemoveRecordsRequest};

use super::{OWN, REVERSE, System, WEST, peer, reverse};

async fn reload(system: &System) -> Result<(), String> {
    let mut client = system.running.as_ref().unwrap().client.clone();
    let reloaded = client.reload_zone_files(ReloadZoneFilesRequest {}).await;
    reloaded.map(|_| ()).map_err(|status| status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_says_what_was_taken_is_refused_with_its_line_and_stands_after_a_start() {
    if !peer::require(&["nsupdate"]) {
        return;
    }
    let mut system = System::new().await;
    let host = "a.hosts.west.example.com";
    system.update("hosts.key", WEST, &[&format!("update add {host}. 30 A 192.0.2.99")]).await.unwrap();
    let lines = OWN.lines().count();
    for more in ["a.hosts A 192.0.2.98", "a.hosts CNAME www"] {
        system.write("own.zone", &format!("{OWN}{more}\n"));
        let error = reload(&system).await.unwrap_err();
        assert!(error.contains(&format!("own.zone, line {}: ", lines + 1)), "{error}");
        assert!(error.contains("A was taken here by update, with key hosts.key"), "{error}");
        assert_eq!(system.texts(host, RecordType::A).await, ["30 192.0.2.99"]);
    }
    // Beside it, the file may say other sets of the name, which the update then cannot take away.
    system.write("own.zone", &format!("{OWN}a.hosts TXT x\n"));
    reload(&system).await.unwrap();
    assert_eq!(system.texts(host, RecordType::A).await, ["30 192.0.2.99"]);
    assert_eq!(system.texts(host, RecordType::TXT).await, ["300 x"]);

    system.write("own.zone", &format!("{OWN}a.hosts A 192.0.2.98\n"));
    system.restart().await;
    assert_eq!(
        system.texts(host, RecordType::A).await,
        ["300 192.0.2.98"],
        "a restart is no time to be strict"
    );
    let said = system.update("hosts.key", WEST, &[&format!("update delete {host}. A")]).await.unwrap_err();
    assert!(said.contains("REFUSED"), "{said}");
    // Until an operator decides: what was taken goes,
    let removal = RemoveRecordsRequest { name: host.into(), r#type: "A".into() };
    system.running.as_mut().unwrap().client.remove_records(removal).await.unwrap();
    assert_eq!(system.texts(host, RecordType::A).await, ["300 192.0.2.98"]);
    reload(&system).await.unwrap();
    // or the line of the file does, and what was taken meanwhile is there again.
    system.write("own.zone", OWN);
    reload(&system).await.unwrap();
    system.update("hosts.key", WEST, &[&format!("update add {host}. 30 A 192.0.2.97")]).await.unwrap();
    assert_eq!(system.texts(host, RecordType::A).await, ["30 192.0.2.97"]);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_serial_of_a_zone_moves_ahead_with_updates_and_with_its_file() {
    if !peer::require(&["nsupdate"]) {
        return;
    }
    let mut system = System::new().await;
    assert_eq!(system.serial(REVERSE).await, 7);
    let mut last = 7;
    let pointers = "10 PTR s3.west.example.com.\n";
    for number in 20..23 {
        let line = format!("update add {number}.{REVERSE}. 30 PTR a.hosts.{WEST}.");
        system.update("hosts.key", REVERSE, &[&line]).await.unwrap();
        let serial = system.serial(REVERSE).await;
        assert_eq!(serial, last + 1);
        last = serial;
    }
    // The file as it was is no change, with another content it needs a newer serial than it had,
    reload(&system).await.unwrap();
    assert_eq!(system.serial(REVERSE).await, 10);
    system.write("reverse.zone", &reverse(7, ""));
    let error = reload(&system).await.unwrap_err();
    assert!(error.contains("serial 7 is not newer than 7"), "{error}");
    // which may be one that updates have used.
    system.write("reverse.zone", &reverse(8, pointers));
    reload(&system).await.unwrap();
    assert_eq!(system.serial(REVERSE).await, 11);
    assert_eq!(
        system.texts(&format!("20.{REVERSE}"), RecordType::PTR).await.len(),
        1,
        "what was taken stays"
    );
    system.restart().await;
    assert_eq!(system.serial(REVERSE).await, 11);
    // Also when it is read by a start.
    system.write("reverse.zone", &reverse(9, pointers));
    system.restart().await;
    assert_eq!(system.serial(REVERSE).await, 12);
    system.restart().await;
    assert_eq!(system.serial(REVERSE).await, 12);
    // One that is ahead of all is taken as it is.
    system.write("reverse.zone", &reverse(100, pointers));
    reload(&system).await.unwrap();
    assert_eq!(system.serial(REVERSE).await, 100);
    system.restart().await;
    assert_eq!(system.serial(REVERSE).await, 100);
    system.update("hosts.key", REVERSE, &[&format!("update delete 20.{REVERSE}. PTR")]).await.unwrap();
    assert_eq!(system.serial(REVERSE).await, 101);
    system.stop().await;
}
