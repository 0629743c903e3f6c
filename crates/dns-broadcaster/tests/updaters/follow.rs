//! Name servers that follow take what was taken by update, as differences; and signed zones are signed again.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use hickory_proto::rr::RecordType;
use switchback_dns::access;
use switchback_dns::config::Dnssec;
use switchback_dns::core::dnssec::key::Algorithm;
use switchback_dns::core::dnssec::{Denial, Lifetime};

use super::broadcaster::{Bound, POLICY};
use super::peer::{self, Kind, Secondary, eventually};
use super::{REVERSE, SERVERS, System, WEST, grants, key, reverse, run};

async fn follows(kind: Kind) {
    if !kind.is_installed() || !peer::require(&["nsupdate"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reverse.zone");
    std::fs::write(&file, reverse(7, "10 PTR s3.west.example.com.\n")).unwrap();
    let address = Ipv4Addr::new(127, 79, SERVERS.fetch_add(1, Ordering::Relaxed), 1);
    let known = |address| access::Secondary {
        name: "ns".into(),
        address,
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    // It is there before its primary knows where: it asks by itself until it is told.
    let state = folder.path().join("state");
    let first = Bound::at(&state, (address, 0).into()).await.zone_files(vec![file.clone()]);
    let dns = first.dns;
    let first = first.followed_by_all(vec![known(([127, 0, 0, 1], 9).into())]).serve();
    let secondary = Secondary::start(kind, folder.path(), &[REVERSE], &[dns], None).await;
    let log = || secondary.log();
    let pointer = async |number: u8, expected: Option<&str>| {
        let name = format!("{number}.{REVERSE}");
        eventually(&format!("{name} is {expected:?}"), log, async || {
            let answer = peer::question(secondary.address(), &name, RecordType::PTR).await?;
            let found = answer.answers.first().map(|record| record.data.to_string());
            (found.as_deref() == expected).then_some(())
        })
        .await;
    };
    pointer(10, Some("s3.west.example.com.")).await;
    first.stop().await;
    let bound = Bound::at(&state, dns).await.zone_files(vec![file]);
    let keys = ["acme.key", "hosts.key", "all.key"].map(key);
    let bound = bound.updaters(grants(), &keys).followed_by_all(vec![known(secondary.address())]);
    let ours = bound.serve();
    for number in 20..23 {
        let line = format!("update add {number}.{REVERSE}. 30 PTR host.west.example.com.");
        run("nsupdate", &[], dns, "hosts.key", REVERSE, &[&line]).await.unwrap();
        pointer(number, Some("host.west.example.com.")).await;
    }
    let line = format!("update delete 20.{REVERSE}. PTR");
    run("nsupdate", &[], dns, "hosts.key", REVERSE, &[&line]).await.unwrap();
    pointer(20, None).await;
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_follows_updates() {
    follows(Kind::Bind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_follows_updates() {
    follows(Kind::Knot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_zone_is_signed_again_with_what_was_taken() {
    is_signed_again(Denial::Nsec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_denies_by_hashes_is_signed_again_with_what_was_taken() {
    is_signed_again(Denial::Nsec3).await;
}

async fn is_signed_again(denial: Denial) {
    if !peer::require(&["nsupdate", "dig", "dnssec-verify"]) {
        return;
    }
    let mut system = System::new().await;
    system.stop().await;
    let lifetime = Lifetime::of_expire(POLICY.expire);
    let dnssec = Dnssec { algorithm: Algorithm::Ed25519, denial, lifetime };
    let follower = access::Secondary {
        name: "all".into(),
        address: ([127, 0, 0, 1], 9).into(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let bound = system.bound().await.dnssec(dnssec).followed_by_all(vec![follower]);
    system.running = Some(bound.serve());
    for (zone, line) in [
        (WEST, "update add a.b.hosts.west.example.com. 60 A 192.0.2.99".to_owned()),
        (REVERSE, format!("update add 99.{REVERSE}. 60 PTR a.b.hosts.west.example.com.")),
        (WEST, "update delete a.b.hosts.west.example.com. A".to_owned()),
    ] {
        let before = system.serial(zone).await;
        system.update("hosts.key", zone, &[&line]).await.unwrap();
        assert!(system.serial(zone).await > before);
        let dns = system.dns;
        let path = system.path("transferred");
        let dig = std::process::Command::new("dig")
            .args(["+noall", "+answer", "+onesoa", "+nomultiline", "axfr", zone])
            .arg(format!("@{}", dns.ip()))
            .args(["-p", &dns.port().to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8(dig.stdout).unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let is_there = text.lines().any(|line| line.split_whitespace().next() == Some(words[2]));
        assert_eq!(is_there, words[1] == "add", "{text}");
        std::fs::write(&path, text).unwrap();
        let verify = std::process::Command::new("dnssec-verify").args(["-z", "-o", zone]).arg(&path).output();
        let verify = verify.unwrap();
        assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    }
    system.stop().await;
}
