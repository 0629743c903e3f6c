//! Real resolvers that are sent to both systems, as by a delegation: Unbound, BIND and Knot Resolver,
//! through a failover, the return of a stale primary, a failback, a tenant that was just denied, and the return of a primary that lost everything.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use broadcaster::{Bound, Broadcaster, FOR_EVER, request_of, zone};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use peer::{Resolver, ResolverKind, address_of, eventually, question};
use switchback_proto::dns::v1::TenantZone;

const ACME: &str = "acme.east.example.com";
const NAME: &str = "photos.acme.east.example.com";
/// Of the tenants' zones here.
const TTL: Duration = Duration::from_secs(3);
/// Of denials in the system's zone here.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// Pairs of systems so far: servers are told apart by their addresses, at one port.
static PAIRS: AtomicU8 = AtomicU8::new(1);

fn acme(serial: u32, address: &str) -> TenantZone {
    zone(ACME, serial, &[address], "link")
}

/// Both systems, at one port.
async fn pair(folder: &Path) -> [Bound; 2] {
    loop {
        let number = PAIRS.fetch_add(1, Ordering::Relaxed);
        let at = |last, port| SocketAddr::from((Ipv4Addr::new(127, 72, number, last), port));
        let east = Bound::at(&folder.join("east"), at(1, 0)).await;
        if std::net::TcpListener::bind(at(2, east.dns.port())).is_ok() {
            let west = Bound::at(&folder.join("west"), at(2, east.dns.port())).await;
            return [east, west];
        }
    }
}

/// What the resolver says from now on, until it says `expected`; it never says it and then another thing.
async fn turns_to(resolver: &Resolver, expected: &str, log: &str) {
    let expected: Ipv4Addr = expected.parse().unwrap();
    eventually(
        &format!("{log}: {NAME} is {expected}"),
        || resolver.log(),
        async || address_of(resolver.address(), NAME).await.filter(|(found, _)| *found == expected),
    )
    .await;
    // Longer than anything may be kept.
    let until = Instant::now() + TTL + Duration::from_secs(1);
    while Instant::now() < until {
        if let Some((found, ttl)) = address_of(resolver.address(), NAME).await {
            assert_eq!(found, expected, "{log}: it went back\n{}", resolver.log());
            assert!(Duration::from_secs(ttl.into()) <= TTL, "{log}: it keeps it for {ttl} s");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Answers what it remembers only when somebody confirms it.
async fn again(folder: &Path, dns: SocketAddr) -> Broadcaster {
    Bound::at(folder, dns).await.hold(FOR_EVER).serve()
}

async fn follows(kind: ResolverKind) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [east, west] = pair(folder.path()).await;
    let servers = [east.dns, west.dns];
    let (mut east, mut west) = (east.serve(), west.serve());
    for system in [&mut east, &mut west] {
        system.apply(1, vec![acme(64, "192.0.2.1")]).await;
    }
    let resolver = Resolver::start(kind, folder.path(), &[(ACME, &servers)]).await;
    turns_to(&resolver, "192.0.2.1", "at first").await;

    east.stop().await;
    west.apply(2, vec![acme(128, "192.0.2.2")]).await;
    turns_to(&resolver, "192.0.2.2", "after the failover").await;

    // It knows what was before, and that nobody has confirmed it.
    let mut east = again(&folder.path().join("east"), servers[0]).await;
    turns_to(&resolver, "192.0.2.2", "with the stale primary").await;

    for (generation, system) in [(2, &mut east), (3, &mut west)] {
        system.apply(generation, vec![acme(192, "192.0.2.1")]).await;
    }
    turns_to(&resolver, "192.0.2.1", "after the failback").await;
    east.stop().await;
    west.stop().await;
}

/// A primary that was lost comes back and knows no tenant but the one that it begins with; the resolver is sent to both systems for its
/// whole domain.
async fn is_not_misled_by_a_rebuilt_primary(kind: ResolverKind) {
    if !kind.is_installed() {
        return;
    }
    const EAST: &str = "east.example.com";
    const WEST: &str = "west.example.com";
    let folder = tempfile::tempdir().unwrap();
    let [east, west] = pair(folder.path()).await;
    let servers = [east.dns, west.dns];
    // As BIND also asks whom a zone names as its servers, they are where they are said to be.
    let says = |domain: &str, dns: SocketAddr, mut tenants: Vec<TenantZone>| {
        let addresses = servers.map(|server| vec![server.ip().to_string()]);
        for server in tenants.iter_mut().flat_map(|tenant| &mut tenant.name_servers) {
            server.addresses = addresses[usize::from(server.name.ends_with(WEST))].clone();
        }
        let mut request = request_of(domain, 1, tenants);
        let system = request.system.iter_mut();
        system.for_each(|system| system.name_server_addresses = vec![dns.ip().to_string()]);
        request
    };
    let mut west = west.serve();
    west.client.apply_zones(says(WEST, servers[1], vec![acme(128, "192.0.2.2")])).await.unwrap();
    let first = zone("default.east.example.com", 0, &["192.0.2.3"], "");
    let mut east = east.domain(EAST).serve();
    east.client.apply_zones(says(EAST, servers[0], vec![first])).await.unwrap();
    let stubs: [(&str, &[SocketAddr]); 2] = [(EAST, &servers), (WEST, &servers)];
    let resolver = Resolver::start(kind, folder.path(), &stubs).await;
    // Each is asked anew, of one system or the other.
    for number in 0..60 {
        let name = format!("photos{number}.{ACME}");
        let answer = eventually(
            &format!("an answer for {name}"),
            || resolver.log(),
            async || {
                question(resolver.address(), &name, RecordType::A)
                    .await
                    .filter(|answer| answer.metadata.response_code != ResponseCode::ServFail)
            },
        )
        .await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}\n{}", resolver.log());
    }
    // The rebuilt one has its say about its own names.
    eventually(
        "the rebuilt primary answers",
        || resolver.log(),
        async || address_of(resolver.address(), &format!("ns1.{EAST}")).await,
    )
    .await;
    east.stop().await;
    west.stop().await;
}

/// A name that was denied is found once its tenant is there, within the time that a denial may be kept.
async fn forgets_a_denial(kind: ResolverKind) {
    if !kind.is_installed() {
        return;
    }
    const SYSTEM: &str = "west.example.com";
    const NEW: &str = "new.west.example.com";
    let folder = tempfile::tempdir().unwrap();
    let mut west = Broadcaster::start(folder.path(), FOR_EVER).await;
    west.apply(1, vec![zone("old.west.example.com", 0, &["192.0.2.6"], "")]).await;
    let resolver = Resolver::start(kind, folder.path(), &[(SYSTEM, &[west.dns])]).await;
    let answer = eventually(
        "an answer",
        || resolver.log(),
        async || {
            question(resolver.address(), NEW, RecordType::A)
                .await
                .filter(|answer| answer.metadata.response_code != ResponseCode::ServFail)
        },
    )
    .await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{}", resolver.log());
    let denied = Instant::now();
    west.apply(2, vec![zone(NEW, 0, &["192.0.2.7"], "")]).await;
    eventually(
        "the tenant is found",
        || resolver.log(),
        async || {
            address_of(resolver.address(), NEW)
                .await
                .filter(|(found, _)| *found == Ipv4Addr::new(192, 0, 2, 7))
        },
    )
    .await;
    // A second for counting in whole ones, and one for a loaded machine.
    let kept = denied.elapsed();
    assert!(
        kept <= NEGATIVE_TTL + Duration::from_secs(2),
        "it kept the denial for {kept:?}\n{}",
        resolver.log()
    );
    west.stop().await;
}

macro_rules! for_each_resolver {
    ($($follows:ident $forgets:ident $is_not_misled:ident $kind:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $follows() {
            follows(ResolverKind::$kind).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $forgets() {
            forgets_a_denial(ResolverKind::$kind).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $is_not_misled() {
            is_not_misled_by_a_rebuilt_primary(ResolverKind::$kind).await;
        }
    )*};
}

for_each_resolver! {
    unbound_follows_both_sides unbound_forgets_a_denial unbound_is_not_misled Unbound;
    bind_follows_both_sides bind_forgets_a_denial bind_is_not_misled Bind;
    knot_resolver_follows_both_sides knot_resolver_forgets_a_denial knot_resolver_is_not_misled Knot;
}
