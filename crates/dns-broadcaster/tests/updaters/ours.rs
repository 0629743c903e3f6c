//! This service on both ends: one keeps names of its tenants in a zone that another one has from a file.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use switchback_dns::access::UpdateTarget;
use switchback_dns::core::receive::Grants;

use super::broadcaster::{Bound, request_of};
use super::peer::{address_of, eventually, question};
use super::{SERVERS, grant, key, name, zone};

const ZONE: &str = "example.com";
const ACME: &str = "acme.east.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_tenants_are_kept_in_a_zone_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let address = || Ipv4Addr::new(127, 79, SERVERS.fetch_add(1, Ordering::Relaxed), 1);
    let file = folder.path().join("example.zone");
    let text = "$ORIGIN example.com.\n$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 5\n@ NS ns1\nns1 A 192.0.2.53\n";
    std::fs::write(&file, text).unwrap();
    let master = Bound::at(&folder.path().join("master"), (address(), 0).into()).await;
    let types = [1, 28, 5, 16];
    let grants = Grants(vec![grant("update.key", ZONE, &["*.east.example.com"], &types)]);
    let master = master.domain("elsewhere.test").zone_files(vec![file]);
    let master = master.updaters(grants, &[key("update.key")]).serve();
    let target =
        UpdateTarget { name: "corp".into(), address: master.dns, zone: name(ZONE), key: name("update.key") };
    let east = Bound::at(&folder.path().join("east"), (address(), 0).into()).await;
    let east = east.hold(Duration::ZERO).domain("east.example.com");
    let mut east = east.updates(vec![target], &key("update.key")).serve();
    for (generation, serial, leads) in [(1, 64, "192.0.2.1"), (2, 128, "192.0.2.2")] {
        let request = request_of("east.example.com", generation, vec![zone(ACME, serial, &[leads], "link")]);
        east.client.apply_zones(request).await.unwrap();
        let expected: Ipv4Addr = leads.parse().unwrap();
        for name in [ACME.to_owned(), format!("photos.{ACME}")] {
            eventually(&format!("{name} is {leads}"), String::new, async || {
                address_of(master.dns, &name).await.filter(|(found, _)| *found == expected)
            })
            .await;
        }
    }
    let fence = question(master.dns, &format!("_switchback.{ACME}"), RecordType::TXT).await.unwrap();
    assert!(fence.answers[0].data.to_string().contains("serial=128"), "{fence}");
    east.client.apply_zones(request_of("east.example.com", 3, Vec::new())).await.unwrap();
    eventually("the names are gone", String::new, async || {
        let answer = question(master.dns, ACME, RecordType::A).await?;
        answer.answers.is_empty().then_some(())
    })
    .await;
    east.stop().await;
    master.stop().await;
}
