//! Name servers that pick up zones by themselves: BIND, Knot and PowerDNS, from the catalogue of a
//! system, while the tenants in it are answered by both.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broadcaster::{Bound, Broadcaster, LIFE, request_of, zone};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use peer::{Kind, Secondary, TsigKey, address_of, eventually, notify, question};
use switchback_dns::core::name::Name;
use switchback_dns::tsig::{Algorithm, Key};
use switchback_dns::{access, client};
use switchback_proto::dns::v1::{
    ApplyZonesRequest, ListSecondariesRequest, ListZonesRequest, PublishCatalogueRequest, TenantZone,
};
use tonic::Code;

const CATALOGUE: &str = "_catalog.east.example.com";
const ACME: &str = "acme.east.example.com";
const OLD: &str = "old.east.example.com";
/// On no link.
const FREE: &str = "free.east.example.com";

/// A system that a name server follows.
struct System {
    domain: &'static str,
    generation: u64,
    running: Broadcaster,
}

impl System {
    async fn start(
        folder: &Path,
        domain: &'static str,
        dns: SocketAddr,
        known: &access::Secondary,
        key: Option<&Key>,
    ) -> Self {
        let bound = Bound::at(&folder.join(domain), dns).await.hold(Duration::ZERO).domain(domain);
        let running = bound.followed_by(known, key).serve();
        Self { domain, generation: 0, running }
    }

    async fn apply(&mut self, life: &str, tenants: Vec<TenantZone>) {
        self.generation += 1;
        let request = request_of(self.domain, self.generation, tenants);
        let request = ApplyZonesRequest { life: life.into(), ..request };
        self.running.client.apply_zones(request).await.unwrap();
    }

    async fn publish(&self) -> Result<u32, tonic::Status> {
        let published = self.running.client.clone().publish_catalogue(PublishCatalogueRequest {}).await?;
        Ok(published.into_inner().catalogue.unwrap().members)
    }
}

/// The tenant of a link in the epoch `serial / 64`.
fn acme(serial: u32, address: &str) -> TenantZone {
    zone(ACME, serial, &[address], "link")
}

/// Another, that never moves.
fn old() -> TenantZone {
    zone(OLD, 64, &["192.0.2.6"], "link")
}

fn free() -> TenantZone {
    zone(FREE, 0, &["192.0.2.9"], "")
}

fn shared() -> TsigKey {
    TsigKey {
        name: "transfer.example.com".into(),
        algorithm: "hmac-sha256".into(),
        secret_base64: "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz".into(),
    }
}

async fn leads_to(follower: &Secondary, name: &str, address: &str) {
    let expected: Ipv4Addr = address.parse().unwrap();
    eventually(
        &format!("{name} is {expected}"),
        || follower.log(),
        async || address_of(follower.address(), name).await.filter(|(found, _)| *found == expected),
    )
    .await;
}

/// The zone is no longer there; the one above it may say so.
async fn lets_go_of(follower: &Secondary, zone: &str) {
    eventually(
        &format!("{zone} is gone"),
        || follower.log(),
        async || {
            let answer = question(follower.address(), zone, RecordType::SOA).await?;
            answer.answers.is_empty().then_some(())
        },
    )
    .await;
}

/// Tenants come and go, the system is lost in the middle of it, and comes back empty.
async fn picks_up_tenants(kind: Kind, places: [[u8; 4]; 2], shared: Option<TsigKey>) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = shared.as_ref().map(|shared| {
        let name = Name::parse(&shared.name).unwrap();
        Key::from_base64(&name, Algorithm::HmacSha256, &shared.secret_base64).unwrap()
    });
    let [east_at, west_at] = places.map(|place| SocketAddr::from((place, 0)));
    // Its address is known only when it runs; it asks by itself until then.
    let mut known = access::Secondary {
        name: "ns".into(),
        address: std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap(),
        key: key.as_ref().map(|key| key.name().clone()),
        catalogue: true,
        zones: Default::default(),
    };
    let mut east = System::start(folder.path(), "east.example.com", east_at, &known, key.as_ref()).await;
    let mut west = System::start(folder.path(), "west.example.com", west_at, &known, key.as_ref()).await;
    let (east_at, west_at) = (east.running.dns, west.running.dns);
    let mut tenants = vec![acme(64, "192.0.2.1"), old()];
    west.apply(LIFE, tenants.clone()).await;
    // PowerDNS asks either system for a zone, by chance, and comes back late to the one that has it.
    let has_free = kind != Kind::PowerDns;
    tenants.extend(has_free.then(free));
    east.apply(LIFE, tenants.clone()).await;
    let listed = east.publish().await.unwrap();
    assert_eq!(listed as usize, 1 + tenants.len(), "the domain and its tenants");
    let follower =
        Secondary::of_catalogues(kind, folder.path(), &[CATALOGUE], &[east_at, west_at], shared.as_ref())
            .await;
    east.running.stop().await;
    west.running.stop().await;
    known.address = follower.address();
    let mut east = System::start(folder.path(), "east.example.com", east_at, &known, key.as_ref()).await;
    let mut west = System::start(folder.path(), "west.example.com", west_at, &known, key.as_ref()).await;
    leads_to(&follower, &format!("photos.{ACME}"), "192.0.2.1").await;
    leads_to(&follower, OLD, "192.0.2.6").await;
    if has_free {
        leads_to(&follower, &format!("photos.{FREE}"), "192.0.2.9").await;
    }

    let new = zone("new.east.example.com", 64, &["192.0.2.7"], "link");
    tenants.retain(|tenant| tenant.name != OLD);
    tenants.push(new.clone());
    west.apply(LIFE, vec![acme(64, "192.0.2.1"), new.clone()]).await;
    east.apply(LIFE, tenants.clone()).await;
    leads_to(&follower, "new.east.example.com", "192.0.2.7").await;
    lets_go_of(&follower, OLD).await;
    let east_client = east.running.client.clone();
    eventually(
        "east sees that it follows, the catalogue too",
        || follower.log(),
        async || {
            let seen = east_client.clone().list_secondaries(ListSecondariesRequest::default()).await.unwrap();
            let seen = seen.into_inner().secondaries.remove(0);
            (seen.converged as usize == 2 + tenants.len() && seen.lagging.is_empty()).then_some(())
        },
    )
    .await;
    let listed = east_client.clone().list_zones(ListZonesRequest {}).await.unwrap().into_inner();
    let serial = listed.catalogue.unwrap().serial;
    drop(east_client);

    // East is lost; what is on a link goes on.
    east.running.stop().await;
    west.apply(LIFE, vec![acme(128, "192.0.2.2"), new.clone()]).await;
    leads_to(&follower, &format!("photos.{ACME}"), "192.0.2.2").await;

    // It comes back and knows nothing of what there was: a serial is a time, and that has passed.
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    eventually("time passes", String::new, async || (seconds() > serial.into()).then_some(())).await;
    std::fs::remove_dir_all(folder.path().join("east.example.com")).unwrap();
    let mut east = System::start(folder.path(), "east.example.com", east_at, &known, key.as_ref()).await;
    east.apply("second", Vec::new()).await;
    // The name server hears of it and asks: of what it is refused it lets nothing go.
    let serial = || client::soa(east_at, "east.example.com", broadcaster::PATIENCE);
    let served = || client::soa(follower.address(), "east.example.com", broadcaster::PATIENCE);
    eventually(
        "it takes the new zone of the system",
        || follower.log(),
        async || {
            let expected = serial().await.unwrap();
            served().await.ok().filter(|served| *served == expected)
        },
    )
    .await;
    notify(follower.address(), CATALOGUE).await;
    leads_to(&follower, &format!("photos.{ACME}"), "192.0.2.2").await;
    leads_to(&follower, "new.east.example.com", "192.0.2.7").await;

    // The link is restored, one tenant is new, one is not there any more, and an operator says that these
    // are all.
    let back = zone("back.east.example.com", 64, &["192.0.2.8"], "link");
    let restored = vec![acme(128, "192.0.2.2"), back];
    west.apply(LIFE, restored.clone()).await;
    east.apply("second", restored).await;
    east.publish().await.unwrap();
    leads_to(&follower, "back.east.example.com", "192.0.2.8").await;
    lets_go_of(&follower, "new.east.example.com").await;
    leads_to(&follower, &format!("photos.{ACME}"), "192.0.2.2").await;
    east.running.stop().await;
    west.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_picks_up_tenants() {
    picks_up_tenants(Kind::Bind, [[127, 74, 1, 1], [127, 74, 1, 2]], None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_picks_up_tenants_with_a_key() {
    picks_up_tenants(Kind::Bind, [[127, 74, 2, 1], [127, 74, 2, 2]], Some(shared())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_picks_up_tenants() {
    picks_up_tenants(Kind::Knot, [[127, 74, 3, 1], [127, 74, 3, 2]], None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_picks_up_tenants_with_a_key() {
    picks_up_tenants(Kind::Knot, [[127, 74, 4, 1], [127, 74, 4, 2]], Some(shared())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_picks_up_tenants() {
    picks_up_tenants(Kind::PowerDns, [[127, 74, 5, 1], [127, 74, 5, 2]], None).await;
}

/// One name server takes the catalogue, one takes zones only, and strangers ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_is_for_who_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let known = access::Secondary {
        name: "ns".into(),
        address: ([127, 74, 6, 53], 53).into(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let at = ([127, 74, 6, 1], 0).into();
    let mut east = System::start(folder.path(), "east.example.com", at, &known, None).await;

    let refused = east.publish().await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "nobody has said yet what there is");
    east.apply("", vec![free()]).await;
    assert_eq!(east.publish().await.unwrap_err().code(), Code::FailedPrecondition, "state was lost");
    east.apply(LIFE, vec![free()]).await;
    assert_eq!(east.publish().await.unwrap(), 2);

    // Only its serial is anybody's.
    let asked = |name: &'static str, kind| question(east.running.dns, name, kind);
    let soa = asked(CATALOGUE, RecordType::SOA).await.unwrap();
    assert_eq!((soa.metadata.response_code, soa.answers.len()), (ResponseCode::NoError, 1));
    for (name, kind) in [
        (CATALOGUE, RecordType::NS),
        (CATALOGUE, RecordType::ANY),
        ("version._catalog.east.example.com", RecordType::TXT),
        ("nothing._catalog.east.example.com", RecordType::SOA),
    ] {
        let answer = asked(name, kind).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{name} {kind}");
    }

    // Who takes zones only is not told of it.
    let client = &mut east.running.client;
    let seen = client.list_secondaries(ListSecondariesRequest::default()).await.unwrap().into_inner();
    let lagging: Vec<_> = seen.secondaries[0].lagging.iter().map(|zone| &zone.name[..]).collect();
    assert_eq!(lagging, ["east.example.com", FREE]);

    let lists = east.running.client.clone();
    let catalogue = || async {
        let listed = lists.clone().list_zones(ListZonesRequest {}).await.unwrap();
        listed.into_inner().catalogue.unwrap()
    };
    let before = catalogue().await;
    assert!(!before.withheld && before.name == CATALOGUE);
    // Nothing came or went: it is as it was.
    assert_eq!(east.publish().await.unwrap(), 2);
    assert_eq!(catalogue().await, before);
    east.apply(LIFE, vec![zone(FREE, 0, &["192.0.2.10"], "")]).await;
    assert_eq!(catalogue().await.serial, before.serial);
    // In another life it is given to nobody.
    east.apply("second", vec![free()]).await;
    assert!(catalogue().await.withheld);
    let answer = question(east.running.dns, CATALOGUE, RecordType::SOA).await.unwrap();
    assert!(answer.answers.is_empty());
    east.running.stop().await;
}
