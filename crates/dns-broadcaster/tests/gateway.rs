//! What names lead to when a gateway is known by more than its addresses, as dig reads it.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;

use std::net::SocketAddr;
use std::process::Command;

use broadcaster::{Bound, request, zone};
use switchback_proto::dns::v1::TenantZone;
use switchback_proto::model::v1::HttpsService;

const ACME: &str = "acme.west.example.com";

/// The records of an answer, as a zone file has them.
async fn ask(server: SocketAddr, name: &str, kind: &str) -> Vec<String> {
    let (ip, port) = (format!("@{}", server.ip()), server.port().to_string());
    let words = [&ip, "-p", &port, "+noall", "+answer", "+time=5", "+tries=1", name, kind].map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || Command::new("dig").args(words).output().unwrap());
    let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
    let mut records: Vec<_> =
        text.lines().map(|line| line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")).collect();
    records.sort();
    records
}

fn https(port: u32, alpn: &[&str]) -> Option<HttpsService> {
    Some(HttpsService { port, alpn: alpn.iter().map(|&name| name.into()).collect() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_lead_to_a_balancers_name_where_they_can_and_back_to_addresses() {
    if !peer::require(&["dig"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.zone");
    let own = "$TTL 60\ns3 TXT \"beside\"\nadmin HTTPS 5 elsewhere.example.net.\n";
    std::fs::write(&file, format!("$ORIGIN west.example.com.\n{own}")).unwrap();
    let bound = Bound::at(folder.path(), ([127, 0, 0, 1], 0).into()).await;
    let mut server = bound.zone_files(vec![file]).serve();
    let dns = server.dns;
    let balanced = |serial: u32| TenantZone {
        host: "balancer.example.net".into(),
        https: https(8443, &["h2", "h3"]),
        ..zone(ACME, serial, &["192.0.2.7"], "link")
    };
    let mut first = request(1, vec![balanced(64)]);
    let system = first.system.as_mut().unwrap();
    system.host = "balancer.example.net".into();
    assert_eq!(server.client.apply_zones(first.clone()).await.unwrap().into_inner().refused_zones, []);

    let said = "HTTPS 1 balancer.example.net. alpn=\"h2,h3\" port=8443";
    for (name, kind, expected) in [
        (ACME, "A", vec!["A 192.0.2.7"]),
        (ACME, "HTTPS", vec![said]),
        ("photos.acme.west.example.com", "A", vec!["CNAME balancer.example.net."]),
        ("photos.acme.west.example.com", "HTTPS", vec!["CNAME balancer.example.net."]),
        // The system's own: an alias cannot stand beside what the operator says there.
        ("west.example.com", "A", vec!["A 192.0.2.2"]),
        ("west.example.com", "HTTPS", vec!["HTTPS 0 balancer.example.net."]),
        ("s3.west.example.com", "A", vec!["A 192.0.2.2"]),
        ("s3.west.example.com", "TXT", vec!["TXT \"beside\""]),
        ("admin.west.example.com", "HTTPS", vec!["HTTPS 5 elsewhere.example.net."]),
        ("ns1.west.example.com", "A", vec!["A 192.0.2.53"]),
    ] {
        assert_eq!(ask(dns, name, kind).await, expected, "{name} {kind}");
    }

    // As it is remembered.
    server.stop().await;
    let bound = Bound::at(folder.path(), dns).await.hold(std::time::Duration::ZERO);
    let mut server = bound.serve();
    let as_before = async || (ask(dns, ACME, "HTTPS").await == [said]).then_some(());
    peer::eventually("it is answered from disk", String::new, as_before).await;
    assert_eq!(ask(dns, "s3.west.example.com", "A").await, ["CNAME balancer.example.net."]);

    // The other system has addresses alone, and port 443.
    let away = TenantZone { https: https(443, &[]), ..zone(ACME, 128, &["192.0.2.8"], "link") };
    first.tenants = vec![away];
    first.generation = 2;
    server.client.apply_zones(first).await.unwrap();
    for (name, kind, expected) in [
        (ACME, "A", vec!["A 192.0.2.8"]),
        (ACME, "HTTPS", vec!["HTTPS 1 ."]),
        ("photos.acme.west.example.com", "A", vec!["A 192.0.2.8"]),
        ("photos.acme.west.example.com", "HTTPS", vec!["HTTPS 1 ."]),
    ] {
        assert_eq!(ask(dns, name, kind).await, expected, "{name} {kind}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_no_record_can_say_is_refused_and_what_stood_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Bound::at(folder.path(), ([127, 0, 0, 1], 0).into()).await.serve();
    server.apply(1, vec![zone(ACME, 64, &["192.0.2.7"], "link")]).await;
    let long = "x".repeat(256);
    for (change, told) in [
        (TenantZone { addresses: vec![], ..zone(ACME, 128, &[], "link") }, "leads nowhere"),
        (TenantZone { host: "-..".into(), ..zone(ACME, 128, &["192.0.2.8"], "link") }, "-.."),
        (TenantZone { host: format!("lb.{ACME}"), ..zone(ACME, 128, &[], "link") }, "lies within"),
        (TenantZone { https: https(65536, &[]), ..zone(ACME, 128, &["192.0.2.8"], "link") }, "no port"),
        (TenantZone { https: https(443, &[&long]), ..zone(ACME, 128, &["192.0.2.8"], "link") }, "ALPN"),
        (TenantZone { https: https(443, &[""]), ..zone(ACME, 128, &["192.0.2.8"], "link") }, "ALPN"),
    ] {
        let applied = server.client.apply_zones(request(2, vec![change])).await.unwrap().into_inner();
        assert!(applied.refused_zones[0].reason.contains(told), "{told}: {applied:?}");
        assert_eq!(
            server.lookup(ACME).await.unwrap().addresses,
            ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]
        );
    }
    server.stop().await;
}
