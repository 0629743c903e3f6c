//! Signed zones of a system that is gone, answered by the other one: a resolver that validates finds the
//! chain from the system's zone to its tenants, and has what is not there proved to it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};
use switchback_dns::config::Dnssec;
use switchback_dns::core::dnssec::key::Algorithm;
use switchback_dns::core::dnssec::{Denial, Lifetime};
use switchback_proto::dns::v1::{ListKeysRequest, PublishCatalogueRequest, TenantZone};

use crate::broadcaster::{Bound, Broadcaster, POLICY, request_of, zone};
use crate::peer::{Anchor, Resolver, ResolverKind, eventually, secure_question};
use crate::{converges, primary, secondary};

const EAST: &str = "east.example.com";
const WEST: &str = "west.example.com";
/// On a link between the two.
const ACME: &str = "acme.west.example.com";
/// On none.
const ALONE: &str = "alone.west.example.com";
const CATALOGUE: &str = "_catalog.west.example.com";
/// Pairs of systems so far: servers are told apart by their addresses, at one port.
static PAIRS: AtomicU8 = AtomicU8::new(100);

async fn pair(folder: &Path) -> [Bound; 2] {
    loop {
        let number = PAIRS.fetch_add(1, Ordering::Relaxed);
        let at = |last, port| SocketAddr::from((Ipv4Addr::new(127, 78, number, last), port));
        let east = Bound::at(&folder.join("east"), at(1, 0)).await.domain(EAST);
        if TcpListener::bind(at(2, east.dns.port())).is_ok() {
            let west = Bound::at(&folder.join("west"), at(2, east.dns.port())).await.domain(WEST);
            return [east, west];
        }
    }
}

fn acme(serial: u32, address: &str, peer_keys: &[Vec<u8>]) -> TenantZone {
    let dnskeys = peer_keys.iter().map(|key| key.clone().into()).collect();
    TenantZone { dnskeys, ..zone(ACME, serial, &[address], "link") }
}

fn alone() -> TenantZone {
    let mut zone = zone(ALONE, 0, &["192.0.2.7"], "");
    zone.name_servers.truncate(1);
    zone
}

/// The system's keys, as the link manager hears them.
async fn apply(
    system: &Broadcaster,
    domain: &str,
    generation: u64,
    tenants: Vec<TenantZone>,
) -> Vec<Vec<u8>> {
    let applied = system.client.clone().apply_zones(request_of(domain, generation, tenants)).await.unwrap();
    applied.into_inner().dnskeys.iter().map(|key| key.to_vec()).collect()
}

async fn holds_while_its_system_is_gone(kind: ResolverKind, denial: Denial) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [east, west] = pair(folder.path()).await;
    let servers = [east.dns, west.dns];
    let lifetime = Lifetime::of_expire(POLICY.expire);
    let signed = Dnssec { algorithm: Algorithm::EcdsaP256, denial, lifetime };
    let west = west.dnssec(signed).followed_by_all(vec![secondary(servers[0], true, None)]).serve();
    let east = east.dnssec(signed).follows(vec![primary(servers[1], &[], Some(CATALOGUE), None)], None);
    let east = east.serve();
    let easts = apply(&east, EAST, 1, vec![acme(64, "192.0.2.1", &[])]).await;
    let wests = apply(&west, WEST, 1, vec![acme(64, "192.0.2.1", &easts), alone()]).await;
    apply(&east, EAST, 2, vec![acme(64, "192.0.2.1", &wests)]).await;
    west.client.clone().publish_catalogue(PublishCatalogueRequest {}).await.unwrap();
    let listed = west.client.clone().list_keys(ListKeysRequest {}).await.unwrap().into_inner();
    let top = listed.zones.into_iter().find(|zone| zone.name == WEST).unwrap();
    let anchors: Vec<_> = top.ds.into_iter().map(|ds| Anchor { zone: WEST.into(), ds }).collect();
    for zone in [WEST, ALONE] {
        eventually(zone, String::new, async || {
            switchback_dns::client::soa(servers[0], zone, crate::PATIENCE).await.ok().flatten()
        })
        .await;
        converges(servers[0], servers[1], zone, String::new).await;
    }

    west.stop().await;
    apply(&east, EAST, 3, vec![acme(128, "192.0.2.9", &wests)]).await;
    // In the world of this test no name server's name leads anywhere.
    let stubs = [WEST, ACME, ALONE].map(|zone| (zone, &servers[..]));
    let resolver = Resolver::validating(kind, folder.path(), &stubs, &anchors).await;
    let ask = async |name: &str, kind: RecordType| {
        let log = || format!("{name}\n{}", resolver.log());
        let answered = async || {
            let answer = secure_question(resolver.address(), name, kind).await?;
            (answer.metadata.response_code != ResponseCode::ServFail).then_some(answer)
        };
        let answer = eventually("it is answered", log, answered).await;
        assert!(answer.metadata.authentic_data, "not proved: {name} {kind}: {answer}\n{}", resolver.log());
        answer
    };
    for (name, expected) in [
        ("s3.west.example.com", [192, 0, 2, 2]),
        ("photos.acme.west.example.com", [192, 0, 2, 9]),
        ("photos.alone.west.example.com", [192, 0, 2, 7]),
    ] {
        let answer = ask(name, RecordType::A).await;
        let address = answer.answers.iter().find_map(|record| match &record.data {
            RData::A(address) => Some(address.0.octets()),
            _ => None,
        });
        assert_eq!(address, Some(expected), "{name}");
    }
    let absent = ask("nobody.west.example.com", RecordType::A).await;
    assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
    let empty = ask("s3.west.example.com", RecordType::TXT).await;
    assert!(empty.metadata.response_code == ResponseCode::NoError && empty.answers.is_empty());
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_finds_the_chain_while_its_system_is_gone() {
    holds_while_its_system_is_gone(ResolverKind::Unbound, Denial::Nsec).await;
    holds_while_its_system_is_gone(ResolverKind::Unbound, Denial::Nsec3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_finds_the_chain_while_its_system_is_gone() {
    holds_while_its_system_is_gone(ResolverKind::Bind, Denial::Nsec).await;
    holds_while_its_system_is_gone(ResolverKind::Bind, Denial::Nsec3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_resolver_finds_the_chain_while_its_system_is_gone() {
    holds_while_its_system_is_gone(ResolverKind::Knot, Denial::Nsec).await;
    holds_while_its_system_is_gone(ResolverKind::Knot, Denial::Nsec3).await;
}
