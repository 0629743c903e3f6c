//! A zone that both systems answer for, each signing with a key of its own, through a failover and back:
//! a resolver that validates never has a reason to refuse an answer.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use switchback_dns::core::dnssec::Denial;
use switchback_dns::core::dnssec::key::Algorithm;
use switchback_proto::dns::v1::{ListKeysRequest, TenantZone};

use crate::broadcaster::{Bound, Broadcaster, request, zone};
use crate::dnssec;
use crate::peer::{Anchor, Resolver, ResolverKind, eventually, secure_question};

const ACME: &str = "acme.east.example.com";
const NAME: &str = "photos.acme.east.example.com";
/// Longer than a tenant's answer may be kept.
const KEPT: Duration = Duration::from_secs(4);
/// Pairs of systems so far: servers are told apart by their addresses, at one port.
static PAIRS: AtomicU8 = AtomicU8::new(100);

/// Both systems, at one port.
async fn pair(folder: &Path) -> [Bound; 2] {
    loop {
        let number = PAIRS.fetch_add(1, Ordering::Relaxed);
        let at = |last, port| SocketAddr::from((Ipv4Addr::new(127, 77, number, last), port));
        let east = Bound::at(&folder.join("east"), at(1, 0)).await;
        if TcpListener::bind(at(2, east.dns.port())).is_ok() {
            let west = Bound::at(&folder.join("west"), at(2, east.dns.port())).await;
            return [east, west];
        }
    }
}

fn acme(serial: u32, address: &str, peer_keys: &[Vec<u8>]) -> TenantZone {
    let dnskeys = peer_keys.iter().map(|key| key.clone().into()).collect();
    TenantZone { dnskeys, ..zone(ACME, serial, &[address], "link") }
}

/// The system's keys, as the link manager hears them.
async fn keys(system: &mut Broadcaster, zones: Vec<TenantZone>) -> Vec<Vec<u8>> {
    let applied = system.client.apply_zones(request(1, zones)).await.unwrap().into_inner();
    applied.dnskeys.iter().map(|key| key.to_vec()).collect()
}

/// What the zone above has to say, as a system tells its operator.
async fn anchors(system: &Broadcaster) -> Vec<Anchor> {
    let listed = system.client.clone().list_keys(ListKeysRequest {}).await.unwrap().into_inner();
    let zone = listed.zones.into_iter().find(|zone| zone.name == ACME).unwrap();
    zone.ds.into_iter().map(|ds| Anchor { zone: ACME.into(), ds }).collect()
}

/// The name leads to `expected` in the end, and whatever is answered until then is proved.
async fn turns_to(resolver: &Resolver, expected: [u8; 4], when: &str) {
    let ask = async || {
        let answer = secure_question(resolver.address(), NAME, RecordType::A).await?;
        let log = || format!("{when}: {answer} {:?}\n{}", answer.edns, resolver.log());
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{}", log());
        assert!(answer.metadata.authentic_data, "not proved {}", log());
        answer.answers.iter().find_map(|record| match &record.data {
            RData::A(address) => Some(address.0.octets()),
            _ => None,
        })
    };
    let arrived = async || ask().await.filter(|address| *address == expected);
    eventually(when, || resolver.log(), arrived).await;
    let until = Instant::now() + KEPT;
    while Instant::now() < until {
        assert!(ask().await.is_none_or(|address| address == expected), "{when}: it went back");
    }
    // And so is what is not there.
    let denied = async || secure_question(resolver.address(), NAME, RecordType::MX).await;
    let denied = eventually(when, || resolver.log(), denied).await;
    let log = format!("{when}: {denied}\n{}", resolver.log());
    assert_eq!(denied.metadata.response_code, ResponseCode::NoError, "{log}");
    assert!(denied.answers.is_empty() && denied.metadata.authentic_data, "{log}");
}

async fn stays_secure(kind: ResolverKind) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [east, west] = pair(folder.path()).await;
    let servers = [east.dns, west.dns];
    let algorithm = Algorithm::EcdsaP256;
    // Each denies in its own way (RFC 8901 section 4.2).
    let (mut east, mut west) = (
        east.dnssec(dnssec(algorithm, Denial::Nsec)).serve(),
        west.dnssec(dnssec(algorithm, Denial::Nsec3)).serve(),
    );
    let easts = keys(&mut east, vec![acme(64, "192.0.2.1", &[])]).await;
    let wests = keys(&mut west, vec![acme(64, "192.0.2.1", &easts)]).await;
    assert_ne!(easts, wests);
    east.apply(2, vec![acme(64, "192.0.2.1", &wests)]).await;
    let anchors = anchors(&east).await;
    assert_eq!(anchors.len(), 2, "of each system one: {anchors:?}");
    let resolver = Resolver::validating(kind, folder.path(), &[(ACME, &servers)], &anchors).await;
    turns_to(&resolver, [192, 0, 2, 1], "at first").await;

    east.stop().await;
    west.apply(2, vec![acme(128, "192.0.2.2", &easts)]).await;
    turns_to(&resolver, [192, 0, 2, 2], "after the failover").await;

    let bound = Bound::at(&folder.path().join("east"), servers[0]).await;
    let mut east = bound.dnssec(dnssec(algorithm, Denial::Nsec)).serve();
    east.apply(3, vec![acme(192, "192.0.2.1", &wests)]).await;
    west.apply(3, vec![acme(192, "192.0.2.1", &easts)]).await;
    turns_to(&resolver, [192, 0, 2, 1], "after the failback").await;
    west.stop().await;
    turns_to(&resolver, [192, 0, 2, 1], "without the other side").await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_finds_it_proved_on_both_sides() {
    stays_secure(ResolverKind::Unbound).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_finds_it_proved_on_both_sides() {
    stays_secure(ResolverKind::Bind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_resolver_finds_it_proved_on_both_sides() {
    stays_secure(ResolverKind::Knot).await;
}

/// The zone above must not say that a zone is signed which one of its servers does not sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_one_system_signs_is_not_said_to_be_signed() {
    let folder = tempfile::tempdir().unwrap();
    let at = (Ipv4Addr::new(127, 77, PAIRS.fetch_add(1, Ordering::Relaxed), 1), 0);
    let mut west =
        Bound::at(folder.path(), at.into()).await.dnssec(dnssec(Algorithm::EcdsaP256, Denial::Nsec)).serve();
    const SHARED: &str = "acme.west.example.com";
    let says = async |server, kind| {
        let answer = secure_question(server, SHARED, kind).await.unwrap();
        answer.answers.iter().filter(|record| record.record_type() == kind).count()
    };
    let mut generation = 0;
    let key = keys(&mut west, vec![zone(SHARED, 64, &["192.0.2.1"], "link")]).await.remove(0);
    let mut other = key.clone();
    other[5] ^= 1;
    for (peer_keys, ds) in [(vec![], 0), (vec![other.into()], 2), (vec![], 0)] {
        generation += 1;
        let shared = TenantZone { dnskeys: peer_keys, ..zone(SHARED, 64, &["192.0.2.1"], "link") };
        west.apply(generation, vec![shared]).await;
        assert_eq!(says(west.dns, RecordType::DS).await, ds);
        assert_eq!(says(west.dns, RecordType::CDS).await, ds);
        assert_eq!(says(west.dns, RecordType::DNSKEY).await, ds.max(1));
    }
    west.stop().await;
}
