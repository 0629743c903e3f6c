//! What is not taken, and that nothing of it is.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use switchback_proto::model::v1::HttpsService;

use super::{REVERSE, System, WEST, peer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_clients_to_say_is_refused_whole() {
    if !peer::require(&["nsupdate"]) {
        return;
    }
    let mut system = System::new().await;
    let zones = [WEST, REVERSE, "acme.west.example.com"];
    let before =
        [system.serial(zones[0]).await, system.serial(zones[1]).await, system.serial(zones[2]).await];
    let fine = "update add fine.west.example.com. 60 TXT fine";
    for (key, zone, line, code) in [
        // Least privilege.
        ("acme.key", WEST, "update add _acme-challenge.www.west.example.com. 60 TXT x", "REFUSED"),
        ("acme.key", WEST, "update add _acme-challenge.s3.west.example.com. 60 CNAME x.test.", "REFUSED"),
        ("hosts.key", WEST, "update add hosts.west.example.com. 60 A 192.0.2.1", "REFUSED"),
        ("acme.key", REVERSE, "update add 99.2.0.192.in-addr.arpa. 60 PTR x.", "REFUSED"),
        ("nobody.key", WEST, fine, "REFUSED"),
        ("unknown.key", WEST, fine, "BADKEY"),
        // What the system publishes.
        ("all.key", WEST, "update add west.example.com. 60 A 192.0.2.1", "REFUSED"),
        ("all.key", WEST, "update delete west.example.com.", "REFUSED"),
        ("all.key", WEST, "update add west.example.com. 60 NS ns.example.net.", "REFUSED"),
        ("all.key", WEST, "update delete s3.west.example.com. A", "REFUSED"),
        ("all.key", WEST, "update add ns1.west.example.com. 60 AAAA 2001:db8::1", "REFUSED"),
        // What files say.
        ("all.key", WEST, "update add www.west.example.com. 60 A 192.0.2.1", "REFUSED"),
        ("all.key", WEST, "update delete www.west.example.com.", "REFUSED"),
        ("hosts.key", WEST, "update delete fixed.hosts.west.example.com. A", "REFUSED"),
        ("all.key", WEST, "update add west.example.com. 60 MX 5 x.example.net.", "REFUSED"),
        ("all.key", REVERSE, "update delete 10.2.0.192.in-addr.arpa. PTR", "REFUSED"),
        ("all.key", REVERSE, "update add 2.0.192.in-addr.arpa. 60 NS ns.example.net.", "REFUSED"),
        // Tenants.
        ("all.key", WEST, "update add _acme-challenge.acme.west.example.com. 60 TXT x", "REFUSED"),
        ("all.key", WEST, "update delete acme.west.example.com. NS", "REFUSED"),
        ("all.key", zones[2], "update add _acme-challenge.acme.west.example.com. 60 TXT x", "REFUSED"),
        // What signs.
        ("all.key", WEST, "update add x.west.example.com. 60 DNSKEY 256 3 13 AAAA", "REFUSED"),
        ("all.key", WEST, "update add x.west.example.com. 60 DNAME example.net.", "REFUSED"),
        // Elsewhere.
        ("all.key", "example.net", "update add x.example.net. 60 TXT x", "NOTAUTH"),
        (
            "all.key",
            "_catalog.west.example.com",
            "update add x._catalog.west.example.com. 60 TXT x",
            "NOTAUTH",
        ),
        ("all.key", WEST, "update add x.example.net. 60 TXT x", "NOTZONE"),
        ("all.key", WEST, "prereq yxdomain nobody.west.example.com.", "NXDOMAIN"),
        ("all.key", WEST, "prereq nxrrset www.west.example.com. A", "YXRRSET"),
        ("all.key", WEST, "prereq yxrrset www.west.example.com. A 192.0.2.7", "NXRRSET"),
    ] {
        let lines = [line, fine];
        let lines = if code == "NOTAUTH" || zone != WEST { &lines[..1] } else { &lines[..] };
        let said = system.update(key, zone, lines).await.unwrap_err();
        assert!(said.contains(code), "{line}: {said}");
        assert_eq!(
            system.ask("fine.west.example.com", RecordType::TXT).await.response_code,
            ResponseCode::NXDomain,
            "{line}"
        );
        for (zone, serial) in zones.iter().zip(before) {
            assert_eq!(system.serial(zone).await, serial, "{line}: {zone}");
        }
    }
    // Beside all that, the system's own names can have more, and an alias that stands is not added to.
    system.update("all.key", WEST, &["update add s3.west.example.com. 60 TXT x"]).await.unwrap();
    assert_eq!(system.texts("s3.west.example.com", RecordType::TXT).await, ["60 x"]);
    assert_eq!(system.texts("s3.west.example.com", RecordType::A).await, ["60 192.0.2.2"]);
    let changed = system.serial(WEST).await;
    system.update("all.key", WEST, &["update add www.west.example.com. 60 CNAME x.test."]).await.unwrap();
    assert_eq!(system.serial(WEST).await, changed, "ignored, as the RFC says");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_as_long_as_nobody_else_says_it_is_not_added_to() {
    if !peer::require(&["nsupdate"]) {
        return;
    }
    let mut system = System::new().await;
    let more = ["update add s3.west.example.com. 60 HTTPS 1 . alpn=h3"];
    let mut request = super::broadcaster::request(2, Vec::new());
    request.system.as_mut().unwrap().https = Some(HttpsService { port: 443, alpn: vec!["h2".into()] });
    system.running.as_mut().unwrap().client.apply_zones(request).await.unwrap();
    let published = system.texts("s3.west.example.com", RecordType::HTTPS).await;
    assert_eq!(published.len(), 1);
    let said = system.update("all.key", WEST, &more).await.unwrap_err();
    assert!(said.contains("REFUSED"), "{said}");
    assert_eq!(system.texts("s3.west.example.com", RecordType::HTTPS).await, published);
    // Where it publishes nothing of the type, it is the operator's to say.
    system.apply(3, Vec::new()).await;
    system.update("all.key", WEST, &more).await.unwrap();
    assert_eq!(system.texts("s3.west.example.com", RecordType::HTTPS).await.len(), 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_comes_later_takes_the_name_and_gives_it_back() {
    if !peer::require(&["nsupdate"]) {
        return;
    }
    let mut system = System::new().await;
    system.update("all.key", WEST, &["update add new.west.example.com. 60 A 192.0.2.1"]).await.unwrap();
    let acme = || super::zone("acme.west.example.com", 64, &["192.0.2.7"], "");
    let new = super::zone("new.west.example.com", 64, &["192.0.2.8"], "");
    system.apply(2, vec![acme(), new]).await;
    assert_eq!(system.texts("new.west.example.com", RecordType::A).await, ["3 192.0.2.8"]);
    let client = &mut system.running.as_mut().unwrap().client;
    let listed = client.list_records(super::wire::ListRecordsRequest {}).await.unwrap().into_inner();
    assert!(listed.sets[0].left_out, "{listed:?}");
    let said = system.update("all.key", WEST, &["update delete new.west.example.com. A"]).await.unwrap_err();
    assert!(said.contains("REFUSED"), "{said}");
    system.apply(3, vec![acme()]).await;
    assert_eq!(system.texts("new.west.example.com", RecordType::A).await, ["60 192.0.2.1"]);
    system.stop().await;
}
