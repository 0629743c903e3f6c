//! Real name servers that follow: BIND, NSD, Knot and PowerDNS, fed by both systems of a link at
//! once, with and without keys.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use broadcaster::{Bound, Broadcaster, zone};
use peer::{Kind, Secondary, TsigKey, address_of, eventually};
use switchback_dns::core::name::Name;
use switchback_dns::core::zone::Policy;
use switchback_dns::tsig::{Algorithm, Key};
use switchback_dns::{access, client};
use switchback_proto::dns::v1::{self as wire, ListSecondariesRequest, TenantZone};

const ACME: &str = "acme.east.example.com";
/// Systems so far: each has an address of its own, as name servers tell them apart by it, and so that
/// nobody else takes its port while it is down.
static SYSTEMS: AtomicU8 = AtomicU8::new(1);

fn key() -> TsigKey {
    TsigKey {
        name: "transfer.example.com".into(),
        algorithm: "hmac-sha256".into(),
        secret_base64: "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz".into(),
    }
}

/// `acme` as a link says it in the epoch `serial / 64`.
fn acme(serial: u32, address: &str) -> TenantZone {
    zone(ACME, serial, &[address], "link")
}

/// One of the two systems that a name server is fed by.
struct System {
    folder: PathBuf,
    dns: SocketAddr,
    known: access::Secondary,
    key: Option<Key>,
    generation: u64,
    policy: Policy,
    running: Option<Broadcaster>,
}

impl System {
    /// With `zones` on record, for whoever asks first: BIND, NSD and PowerDNS come back late to a
    /// server that did not know a zone.
    async fn of(home: &Home, zones: &[TenantZone], known: &access::Secondary, key: Option<&Key>) -> Self {
        let mut alone = Bound::at(&home.folder, ([127, 0, 0, 1], 0).into()).await.serve();
        alone.apply(1, zones.to_vec()).await;
        alone.stop().await;
        let mut system = Self {
            folder: home.folder.clone(),
            dns: home.dns,
            known: known.clone(),
            key: key.cloned(),
            generation: 1,
            policy: broadcaster::POLICY,
            running: None,
        };
        system.start().await;
        system
    }

    async fn apply(&mut self, zones: Vec<TenantZone>) {
        self.generation += 1;
        self.running.as_mut().unwrap().apply(self.generation, zones).await;
    }

    async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    /// Answers what it remembers at once, as a side does that hears nobody.
    async fn start(&mut self) {
        let bound = Bound::at(&self.folder, self.dns).await.hold(Duration::ZERO);
        let bound = bound.policy(self.policy).followed_by(&self.known, self.key.as_ref());
        self.running = Some(bound.serve());
    }

    /// What it knows of the name server, once it `holds`.
    async fn knows(&self, what: &str, log: impl Fn() -> String, holds: impl Fn(&wire::Secondary) -> bool) {
        let client = &self.running.as_ref().unwrap().client;
        eventually(what, log, async || {
            let listed = client.clone().list_secondaries(ListSecondariesRequest::default()).await.unwrap();
            listed.into_inner().secondaries.into_iter().find(|secondary| holds(secondary))
        })
        .await;
    }
}

/// Where a system will be.
struct Home {
    folder: PathBuf,
    dns: SocketAddr,
}

impl Home {
    async fn new(folder: PathBuf) -> Self {
        let address = Ipv4Addr::new(127, 71, SYSTEMS.fetch_add(1, Ordering::Relaxed), 1);
        let dns = Bound::at(&folder, (address, 0).into()).await.dns;
        Self { folder, dns }
    }
}

/// Two systems and a name server that takes zones from both.
struct Trio {
    east: System,
    west: System,
    follower: Secondary,
}

impl Trio {
    /// Both with `on_record`, the name server for `zones`.
    async fn start(
        folder: &Path,
        kind: Kind,
        on_record: &[TenantZone],
        zones: &[&str],
        shared: Option<TsigKey>,
    ) -> Self {
        let east = Home::new(folder.join("east")).await;
        let west = Home::new(folder.join("west")).await;
        let key = shared.as_ref().map(|shared| {
            let name = Name::parse(&shared.name).unwrap();
            Key::from_base64(&name, Algorithm::HmacSha256, &shared.secret_base64).unwrap()
        });
        // Whoever follows asks at once, and its address is known only when it runs: the systems are
        // there before, followed by nobody, and again when they can name it.
        let address = free_address();
        let known = access::Secondary {
            name: format!("{kind:?}"),
            address,
            key: key.as_ref().map(|key| key.name().clone()),
            catalogue: false,
            zones: Default::default(),
        };
        let mut east = System::of(&east, on_record, &known, key.as_ref()).await;
        let mut west = System::of(&west, on_record, &known, key.as_ref()).await;
        let follower = Secondary::start(kind, folder, zones, &[east.dns, west.dns], shared.as_ref()).await;
        for system in [&mut east, &mut west] {
            system.stop().await;
            system.known.address = follower.address();
            system.start().await;
        }
        Self { east, west, follower }
    }

    fn log(&self) -> String {
        self.follower.log()
    }

    /// The name server serves `zone` as west does.
    async fn holds(&self, zone: &str) {
        let patience = broadcaster::PATIENCE;
        let expected = client::soa(self.west.dns, zone, patience).await.unwrap();
        assert!(expected.is_some());
        eventually(
            &format!("{zone} is served under {expected:?}"),
            || self.log(),
            async || {
                let served = client::soa(self.follower.address(), zone, patience).await.ok()?;
                (served == expected).then_some(())
            },
        )
        .await;
    }

    /// The name leads to `address`, asked of the name server that follows.
    async fn leads_to(&self, address: &str) {
        let expected: Ipv4Addr = address.parse().unwrap();
        let name = format!("photos.{ACME}");
        eventually(
            &format!("{name} is {expected}"),
            || self.log(),
            async || address_of(self.follower.address(), &name).await.filter(|(found, _)| *found == expected),
        )
        .await;
    }
}

/// Nobody listens there.
fn free_address() -> SocketAddr {
    std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A failover, a primary that returns with what it knew, and a failback.
async fn follows(kind: Kind, shared: Option<TsigKey>) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut it = Trio::start(folder.path(), kind, &[acme(64, "192.0.2.1")], &[ACME], shared).await;
    it.leads_to("192.0.2.1").await;
    it.east.knows("east sees that it follows", || it.log(), |seen| seen.converged == 1).await;

    it.east.stop().await;
    it.west.apply(vec![acme(128, "192.0.2.2")]).await;
    it.leads_to("192.0.2.2").await;
    // Anybody can see there what it follows.
    let name = format!("_switchback.{ACME}");
    let shown =
        peer::question(it.follower.address(), &name, hickory_proto::rr::RecordType::TXT).await.unwrap();
    assert_eq!(shown.answers[0].data.to_string(), "switchback serial=128 epoch=1 generation=0");
    let in_time = |seen: &wire::Secondary| {
        let change = seen.last_change.unwrap_or_default();
        seen.converged == 1 && change.open == 0 && change.slowest_ms.is_some()
    };
    it.west.knows("west sees how fast", || it.log(), in_time).await;

    // One that starts again takes up where it was: what it says next is followed.
    it.west.stop().await;
    it.west.start().await;
    it.west.apply(vec![acme(129, "192.0.2.3")]).await;
    it.leads_to("192.0.2.3").await;
    it.west.apply(vec![acme(130, "192.0.2.2")]).await;
    it.leads_to("192.0.2.2").await;

    // The old primary announces what it remembers; nobody follows it back.
    it.east.start().await;
    it.east.knows("east sees that it is behind", || it.log(), |seen| seen.ahead == 1).await;
    let served = client::soa(it.follower.address(), ACME, broadcaster::PATIENCE).await.unwrap();
    assert_eq!(served, Some(130), "{}", it.log());
    it.leads_to("192.0.2.2").await;

    it.east.apply(vec![acme(192, "192.0.2.1")]).await;
    it.west.apply(vec![acme(192, "192.0.2.1")]).await;
    it.leads_to("192.0.2.1").await;
    it.west.knows("west sees it too", || it.log(), |seen| seen.converged == 1).await;
    it.east.stop().await;
    it.west.stop().await;
}

macro_rules! follows {
    ($($plain:ident $signed:ident $kind:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $plain() {
            follows(Kind::$kind, None).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $signed() {
            follows(Kind::$kind, Some(key())).await;
        }
    )*};
}

follows! {
    bind_follows_both_sides bind_follows_both_sides_with_a_key Bind;
    nsd_follows_both_sides nsd_follows_both_sides_with_a_key Nsd;
    knot_follows_both_sides knot_follows_both_sides_with_a_key Knot;
    powerdns_follows_both_sides powerdns_follows_both_sides_with_a_key PowerDns;
}

/// A name server that hears of no change asks by itself, as the SOA tells it to.
async fn follows_untold(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().join("west")).await;
    // It may take zones, and is told of them where nobody listens.
    let known = access::Secondary {
        name: format!("{kind:?}"),
        address: free_address(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let mut west = System::of(&home, &[acme(64, "192.0.2.1")], &known, None).await;
    west.stop().await;
    west.policy.refresh = 1;
    west.start().await;
    let follower = Secondary::start(kind, folder.path(), &[ACME], &[west.dns], None).await;
    let name = format!("photos.{ACME}");
    let is = async |address: [u8; 4]| {
        let expected = Ipv4Addr::from(address);
        eventually(
            &format!("{name} is {expected}"),
            || follower.log(),
            async || address_of(follower.address(), &name).await.filter(|(found, _)| *found == expected),
        )
        .await;
    };
    is([192, 0, 2, 1]).await;
    west.apply(vec![acme(65, "192.0.2.2")]).await;
    is([192, 0, 2, 2]).await;
    west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_follows_when_no_notify_arrives() {
    follows_untold(Kind::Bind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nsd_follows_when_no_notify_arrives() {
    follows_untold(Kind::Nsd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_follows_when_no_notify_arrives() {
    follows_untold(Kind::Knot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_follows_when_no_notify_arrives() {
    follows_untold(Kind::PowerDns).await;
}

/// All of them at once, from one primary; then one name in it changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_takes_a_hundred_thousand_names() {
    const NAMES: u32 = 100_000;
    const LARGE: &str = "large.example.com";
    let text = |serial: u32, last: &str| {
        let mut text = format!(
            "$ORIGIN {LARGE}.\n$TTL 60\n@ SOA ns1 admin {serial} 3600 600 86400 5\n@ NS ns1\nns1 A 192.0.2.53\n"
        );
        for number in 0..NAMES - 1 {
            text.push_str(&format!("h{number} A 192.0.2.1\n"));
        }
        text + &format!("last A {last}\n")
    };
    let kinds: Vec<_> = [Kind::Bind, Kind::Nsd, Kind::Knot, Kind::PowerDns]
        .into_iter()
        .filter(|kind| kind.is_installed())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.zone");
    std::fs::write(&file, text(1, "192.0.2.1")).unwrap();
    let known = access::Secondary {
        name: "all".into(),
        address: free_address(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let bound = Bound::at(&folder.path().join("west"), ([127, 0, 0, 1], 0).into()).await;
    let west = bound.zone_files(vec![file.clone()]).followed_by(&known, None).serve();
    let mut followers = Vec::new();
    for kind in kinds {
        followers.push(Secondary::start(kind, folder.path(), &[LARGE], &[west.dns], None).await);
    }
    let say = async |address: [u8; 4]| {
        for follower in &followers {
            let expected = Ipv4Addr::from(address);
            eventually(
                "the last name",
                || follower.log(),
                async || {
                    address_of(follower.address(), &format!("last.{LARGE}"))
                        .await
                        .filter(|(found, _)| *found == expected)
                },
            )
            .await;
            let first = address_of(follower.address(), &format!("h0.{LARGE}")).await;
            assert_eq!(first.map(|(found, _)| found), Some(Ipv4Addr::new(192, 0, 2, 1)));
        }
    };
    say([192, 0, 2, 1]).await;
    std::fs::write(&file, text(2, "192.0.2.2")).unwrap();
    west.client.clone().reload_zone_files(wire::ReloadZoneFilesRequest {}).await.unwrap();
    for follower in &followers {
        peer::notify(follower.address(), LARGE).await;
    }
    say([192, 0, 2, 2]).await;
    drop(followers);
    west.stop().await;
}

/// The system's zone with thousands of tenants, and then one more of them.
async fn takes_a_large_zone(kind: Kind) {
    const TENANTS: u32 = 5000;
    const SYSTEM: &str = "west.example.com";
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tenants = |count| -> Vec<TenantZone> {
        (0..count).map(|n| zone(&format!("t{n}.{SYSTEM}"), 0, &["192.0.2.1"], "")).collect()
    };
    let mut it = Trio::start(folder.path(), kind, &tenants(TENANTS), &[SYSTEM], Some(key())).await;
    it.east.stop().await;
    it.holds(SYSTEM).await;
    it.west.apply(tenants(TENANTS + 1)).await;
    it.holds(SYSTEM).await;
    for tenant in [0, TENANTS - 1, TENANTS] {
        let name = format!("t{tenant}.{SYSTEM}");
        let referral = peer::question(it.follower.address(), &name, hickory_proto::rr::RecordType::NS).await;
        assert_eq!(referral.unwrap().authorities.len(), 2, "{name} is delegated to both systems");
    }
    it.west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_takes_a_large_zone() {
    takes_a_large_zone(Kind::Bind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nsd_takes_a_large_zone() {
    takes_a_large_zone(Kind::Nsd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_takes_a_large_zone() {
    takes_a_large_zone(Kind::Knot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_takes_a_large_zone() {
    takes_a_large_zone(Kind::PowerDns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_secondary_or_lacks_the_key_is_given_nothing() {
    if !Kind::Knot.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().join("west")).await;
    let name = Name::parse(&key().name).unwrap();
    let right = Key::from_base64(&name, Algorithm::HmacSha256, &key().secret_base64).unwrap();
    let known = access::Secondary {
        name: "knot".into(),
        address: free_address(),
        key: Some(name),
        catalogue: false,
        zones: Default::default(),
    };
    let mut system = System::of(&home, &[acme(64, "192.0.2.1")], &known, Some(&right)).await;
    let wrong = TsigKey { secret_base64: key().secret_base64.replace('c', "d"), ..key() };
    let follower = Secondary::start(Kind::Knot, folder.path(), &[ACME], &[system.dns], Some(&wrong)).await;
    let unsigned = Secondary::start(Kind::Knot, folder.path(), &[ACME], &[system.dns], None).await;
    for (follower, told) in [(&follower, "failed to verify tsig"), (&unsigned, "refused")] {
        eventually(
            &format!("it is told {told}"),
            || follower.log(),
            async || follower.log().to_lowercase().contains(told).then_some(()),
        )
        .await;
        let served = client::soa(follower.address(), ACME, broadcaster::PATIENCE).await;
        assert!(!matches!(served, Ok(Some(_))), "{served:?}");
    }
    // Seen from this side: it lives, and the key is what is wrong.
    system.stop().await;
    system.known.address = follower.address();
    system.start().await;
    let is_named = |seen: &wire::Secondary| {
        seen.unreachable_ms.is_none()
            && seen.lagging.iter().any(|zone| zone.reason.contains("valid signature"))
    };
    system.knows("the key is named", || follower.log(), is_named).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_said_to_follow_what_was_published_a_moment_ago() {
    let folder = tempfile::tempdir().unwrap();
    // It answers for the zone, and takes it from nobody.
    let [stays, home] = ["stays", "west"].map(|name| folder.path().join(name));
    let mut stays = Bound::at(&stays, ([127, 0, 0, 1], 0).into()).await.hold(Duration::ZERO).serve();
    stays.apply(1, vec![acme(128, "192.0.2.1")]).await;
    let known = access::Secondary {
        name: "stays".into(),
        address: stays.dns,
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let mut system = System::of(&Home::new(home).await, &[acme(128, "192.0.2.1")], &known, None).await;
    for serial in 129..150 {
        system.knows("it follows", String::new, |seen| (seen.behind, seen.unknown) == (0, 0)).await;
        system.apply(vec![acme(serial, "192.0.2.2")]).await;
        let request = ListSecondariesRequest { link: "link".into() };
        let mut client = system.running.as_ref().unwrap().client.clone();
        let listed = client.list_secondaries(request).await.unwrap().into_inner();
        assert_eq!((listed.secondaries[0].converged, listed.secondaries[0].behind), (0, 1), "{serial}");
        assert_eq!(listed.epoch, Some((serial / 64 - 1).into()));
        stays.apply(serial.into(), vec![acme(serial, "192.0.2.2")]).await;
    }
    system.stop().await;
    stays.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secondary_is_told_of_the_zones_that_it_is_to_have_and_given_no_others() {
    if !Kind::Knot.is_installed() {
        return;
    }
    const OTHER: &str = "other.east.example.com";
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().join("west")).await;
    let follower = Secondary::start(Kind::Knot, folder.path(), &[ACME, OTHER], &[home.dns], None).await;
    let known = access::Secondary {
        name: "knot".into(),
        address: follower.address(),
        key: None,
        catalogue: false,
        zones: [Name::parse(ACME).unwrap()].into(),
    };
    let other = zone(OTHER, 64, &["192.0.2.1"], "link");
    let mut system = System::of(&home, &[acme(64, "192.0.2.1"), other], &known, None).await;
    let log = || follower.log();
    let served =
        async |name| client::soa(follower.address(), name, broadcaster::PATIENCE).await.ok().flatten();
    eventually("its zone is taken", log, async || served(ACME).await).await;
    let is_refused =
        || follower.log().to_lowercase().lines().any(|line| line.contains(OTHER) && line.contains("refused"));
    eventually("the other one is refused", log, async || is_refused().then_some(())).await;
    assert!(served(OTHER).await.is_none());
    let is_all = |seen: &wire::Secondary| (seen.converged, seen.not_held, seen.unknown) == (1, 0, 0);
    system.knows("that is all that it is to have", log, is_all).await;
    system.stop().await;
}
