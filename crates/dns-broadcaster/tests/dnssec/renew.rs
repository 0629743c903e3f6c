//! Zones that are signed again and again, across changes, time and restarts, and the name servers that
//! follow them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use switchback_dns::client;
use switchback_dns::config::Dnssec;
use switchback_dns::core::dnssec::key::Algorithm;
use switchback_dns::core::dnssec::{Denial, Lifetime};
use switchback_dns::core::zone::Serial;

use crate::broadcaster::{Bound, Broadcaster};
use crate::peer::{Kind, PATIENCE, Secondary, eventually, notify, require, secure_question};
use crate::{dnssec, follower, own_zone, transferred, verify};

const SYSTEM: &str = "west.example.com";
const TENANT: &str = "acme.west.example.com";

async fn west(folder: &Path, dns: SocketAddr, dnssec: Option<Dnssec>) -> Broadcaster {
    let bound = Bound::at(&folder.join("west"), dns).await.followed_by(&follower(), None);
    let mut west = dnssec.into_iter().fold(bound, Bound::dnssec).serve();
    west.apply(1, vec![own_zone(TENANT)]).await;
    west
}

async fn serial(server: SocketAddr, zone: &str) -> Option<Serial> {
    client::soa(server, zone, PATIENCE).await.ok().flatten().map(Serial)
}

/// The zone at `server`, verified.
async fn verified(folder: &Path, server: SocketAddr, zone: &'static str) -> BTreeSet<String> {
    let folder = folder.to_owned();
    let whole = tokio::task::spawn_blocking(move || {
        let text = transferred(server, zone);
        verify(&folder, zone, &text).unwrap_or_else(|fault| panic!("{zone} at {server}: {fault}\n{text}"));
        text.lines().map(str::to_owned).collect()
    });
    whole.await.unwrap()
}

/// The type of a record, as `dig` writes it.
fn kind_of(line: &str) -> Option<&str> {
    line.split_whitespace().nth(3)
}

/// When the signature of the zone's SOA expires.
async fn expires(server: SocketAddr, zone: &str) -> Option<u32> {
    let answer = secure_question(server, zone, RecordType::SOA).await?;
    answer.answers.iter().find_map(|record| match &record.data {
        RData::Unknown { code: RecordType::RRSIG, rdata } => {
            rdata.anything.get(8..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
        }
        _ => None,
    })
}

async fn is_signed_again_in_time(kind: Kind, denial: Denial) {
    if !kind.is_installed() || !require(&["dig", "dnssec-verify"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lifetime = Lifetime { period: 2, margin: 60 };
    let algorithm = Algorithm::EcdsaP256;
    let west =
        west(folder.path(), ([127, 0, 0, 1], 0).into(), Some(Dnssec { algorithm, denial, lifetime })).await;
    let secondary = Secondary::of_signed(kind, folder.path(), &[SYSTEM, TENANT], &[west.dns]).await;
    let zones: &[_] = if denial == Denial::Nsec { &[SYSTEM, TENANT] } else { &[TENANT] };
    for &zone in zones {
        let log = || secondary.log();
        let at = secondary.address();
        let first = eventually("it follows", log, async || expires(at, zone).await).await;
        eventually("new signatures come", log, async || {
            notify(at, zone).await;
            expires(at, zone).await.filter(|expires| *expires >= first + 3)
        })
        .await;
        verified(folder.path(), west.dns, zone).await;
    }
    drop(secondary);
    west.stop().await;
}

/// What is sent is what changed, and it fits to what the name server has.
async fn follows_differences(kind: Kind, denial: Denial) {
    if !kind.is_installed() || !require(&["dig", "dnssec-verify"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut west =
        west(folder.path(), ([127, 0, 0, 1], 0).into(), Some(dnssec(Algorithm::Ed25519, denial))).await;
    let secondary = Secondary::of_signed(kind, folder.path(), &[SYSTEM], &[west.dns]).await;
    let (at, log) = (secondary.address(), || secondary.log());
    let mut tenants = vec![own_zone(TENANT)];
    // What a step does to a chain of hashes is seen in some.
    let steps = if denial == Denial::Nsec { 6 } else { 3 };
    for generation in 2..2 + steps {
        let before = eventually("it follows", log, async || serial(at, SYSTEM).await).await;
        tenants.push(own_zone(&format!("t{generation}.{SYSTEM}")));
        west.apply(generation, tenants.clone()).await;
        let now = serial(west.dns, SYSTEM).await.unwrap();
        eventually("it follows", log, async || {
            notify(at, SYSTEM).await;
            serial(at, SYSTEM).await.filter(|serial| *serial == now)
        })
        .await;
        if kind == Kind::Bind {
            assert_eq!(
                verified(folder.path(), at, SYSTEM).await,
                verified(folder.path(), west.dns, SYSTEM).await
            );
        }
        let (dns, since) = (west.dns, format!("ixfr={}", before.0));
        let moved = tokio::task::spawn_blocking(move || {
            let dig = Command::new("dig")
                .args(["+noall", "+answer", "+tcp", &since, SYSTEM, &format!("@{}", dns.ip())])
                .args(["-p", &dns.port().to_string()])
                .output();
            String::from_utf8(dig.unwrap().stdout).unwrap()
        });
        let moved = moved.await.unwrap();
        // Of the SOA, of the new delegation's DS and its denial, and of the denial before it, which all but
        // the first two replace another.
        let signatures = moved.lines().filter(|line| kind_of(line) == Some("RRSIG")).count();
        assert!((6..=7).contains(&signatures), "{signatures}: {moved}");
    }
    for name in [SYSTEM, TENANT, "t3.west.example.com", "absent.west.example.com"] {
        let records = async |server| {
            let answer = secure_question(server, name, RecordType::DS).await.unwrap();
            let all = answer.answers.iter().chain(&answer.authorities);
            all.map(ToString::to_string).collect::<BTreeSet<_>>()
        };
        assert_eq!(records(at).await, records(west.dns).await, "{name}");
    }
    drop(secondary);
    west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_key_and_no_serial_goes_back() {
    if !require(&["dig", "dnssec-verify"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let anywhere = ([127, 0, 0, 1], 0).into();
    let keys = |zone: &BTreeSet<String>| -> Vec<String> {
        zone.iter().filter(|line| line.contains("\tDNSKEY\t")).cloned().collect()
    };
    let unsigned = west(folder.path(), anywhere, None).await;
    let before = serial(unsigned.dns, SYSTEM).await.unwrap();
    unsigned.stop().await;

    let first = west(folder.path(), anywhere, Some(dnssec(Algorithm::EcdsaP256, Denial::Nsec))).await;
    let signed = serial(first.dns, SYSTEM).await.unwrap();
    assert!(signed.is_newer_than(before), "who has the unsigned zone must take the signed one");
    let key = keys(&verified(folder.path(), first.dns, SYSTEM).await);
    first.stop().await;

    let second = west(folder.path(), anywhere, Some(dnssec(Algorithm::EcdsaP256, Denial::Nsec))).await;
    assert_eq!(serial(second.dns, SYSTEM).await, Some(signed), "nothing has changed");
    for zone in [SYSTEM, TENANT] {
        verified(folder.path(), second.dns, zone).await;
    }
    assert_eq!(keys(&verified(folder.path(), second.dns, SYSTEM).await), key);
    second.stop().await;

    let third = west(folder.path(), anywhere, None).await;
    assert!(serial(third.dns, SYSTEM).await.unwrap().is_newer_than(signed), "and the unsigned one again");
    third.stop().await;
}

/// From names to hashes and back, as an operator does it, and everybody who follows comes along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_denies_in_another_way_has_a_newer_serial() {
    // PowerDNS comes along as well, half a minute after it was told while nobody answered.
    let kinds = [Kind::Bind, Kind::Nsd, Kind::Knot];
    if !kinds.iter().all(|kind| kind.is_installed()) || !require(&["dig", "dnssec-verify"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut dns = ([127, 80, 1, 1], 0).into();
    let (mut secondaries, mut last) = (Vec::new(), None::<Serial>);
    for denial in [Denial::Nsec, Denial::Nsec3, Denial::Nsec] {
        let west = west(folder.path(), dns, Some(dnssec(Algorithm::EcdsaP256, denial))).await;
        dns = west.dns;
        let served = serial(dns, SYSTEM).await.unwrap();
        assert!(last.is_none_or(|last| served.is_newer_than(last)), "{denial:?}: {last:?} {served:?}");
        last = Some(served);
        if secondaries.is_empty() {
            for kind in kinds {
                secondaries.push(Secondary::of_signed(kind, folder.path(), &[SYSTEM], &[dns]).await);
            }
        }
        let verified = verified(folder.path(), dns, SYSTEM).await;
        let has = |kind| verified.iter().any(|line| kind_of(line) == Some(kind));
        let is_hashed = denial == Denial::Nsec3;
        let found = ["NSEC", "NSEC3", "NSEC3PARAM"].map(has);
        assert_eq!(found, [!is_hashed, is_hashed, is_hashed], "{denial:?}");
        let denies = async |server| {
            let answer = secure_question(server, "absent.west.example.com", RecordType::A).await?;
            let all = answer.authorities.iter().map(ToString::to_string);
            (answer.metadata.response_code == ResponseCode::NXDomain).then(|| all.collect::<BTreeSet<_>>())
        };
        for secondary in &secondaries {
            let at = secondary.address();
            eventually(
                "it follows",
                || secondary.log(),
                async || {
                    notify(at, SYSTEM).await;
                    serial(at, SYSTEM).await.filter(|serial| *serial == served)
                },
            )
            .await;
            assert_eq!(denies(at).await, denies(dns).await, "{denial:?}\n{}", secondary.log());
        }
        west.stop().await;
    }
}

macro_rules! for_each_secondary {
    ($($renewed:ident $differences:ident $renewed_hashes:ident $hashed_differences:ident $kind:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $renewed() {
            is_signed_again_in_time(Kind::$kind, Denial::Nsec).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $differences() {
            follows_differences(Kind::$kind, Denial::Nsec).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $renewed_hashes() {
            is_signed_again_in_time(Kind::$kind, Denial::Nsec3).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $hashed_differences() {
            follows_differences(Kind::$kind, Denial::Nsec3).await;
        }
    )*};
}

for_each_secondary! {
    bind_has_new_signatures_in_time bind_follows_signed_differences
        bind_has_new_signatures_of_hashes_in_time bind_follows_hashed_differences Bind;
    nsd_has_new_signatures_in_time nsd_follows_signed_differences
        nsd_has_new_signatures_of_hashes_in_time nsd_follows_hashed_differences Nsd;
    knot_has_new_signatures_in_time knot_follows_signed_differences
        knot_has_new_signatures_of_hashes_in_time knot_follows_hashed_differences Knot;
    powerdns_has_new_signatures_in_time powerdns_follows_signed_differences
        powerdns_has_new_signatures_of_hashes_in_time powerdns_follows_hashed_differences PowerDns;
}
