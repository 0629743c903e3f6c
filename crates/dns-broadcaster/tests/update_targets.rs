//! Real name servers that master a zone in which both systems keep names: BIND, Knot and PowerDNS, and NSD,
//! which takes no updates.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use broadcaster::{Bound, Broadcaster, request, zone};
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use peer::{Kind, Master, TsigKey, address_of, eventually};
use switchback_dns::access::UpdateTarget;
use switchback_dns::core::name::Name;
use switchback_dns::tsig::{Algorithm, Key};
use switchback_proto::dns::v1::{self as wire, ListSecondariesRequest, TenantZone};
use tokio::net::UdpSocket;

const ZONE: &str = "example.com";
const ACME: &str = "acme.east.example.com";
const EAST: &str = "east.example.com";
const WEST: &str = "west.example.com";
/// What the zone holds besides.
const RECORDS: [[&str; 3]; 4] = [
    [ZONE, "SOA", "ns1.example.com. hostmaster.example.com. 1 3600 600 86400 5"],
    [ZONE, "NS", "ns1.example.com."],
    ["ns1.example.com", "A", "192.0.2.53"],
    ["www.example.com", "A", "192.0.2.80"],
];
/// Systems so far: each has an address of its own.
static SYSTEMS: AtomicU8 = AtomicU8::new(1);

fn shared() -> TsigKey {
    TsigKey {
        name: "update.example.com".into(),
        algorithm: "hmac-sha256".into(),
        secret_base64: "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz".into(),
    }
}

fn key_of(shared: &TsigKey) -> Key {
    let name = Name::parse(&shared.name).unwrap();
    Key::from_base64(&name, Algorithm::HmacSha256, &shared.secret_base64).unwrap()
}

fn key() -> Key {
    key_of(&shared())
}

/// `acme` as a link says it in the epoch `serial / 64`.
fn acme(serial: u32, address: &str) -> TenantZone {
    zone(ACME, serial, &[address, "2001:db8::1"], "link")
}

const BALANCER: &str = "balancer.example.net";

async fn master(kind: Kind, folder: &Path) -> Master {
    Master::start(kind, folder, ZONE, &RECORDS, &shared(), EAST).await
}

/// One of the two systems that put names.
struct System {
    folder: PathBuf,
    domain: &'static str,
    dns: SocketAddr,
    target: UpdateTarget,
    key: Key,
    generation: u64,
    running: Option<Broadcaster>,
}

impl System {
    async fn of(folder: &Path, domain: &'static str, master: &Master) -> Self {
        let folder = folder.join(domain);
        let address = Ipv4Addr::new(127, 76, SYSTEMS.fetch_add(1, Ordering::Relaxed), 1);
        let dns = Bound::at(&folder, (address, 0).into()).await.dns;
        let target = UpdateTarget {
            name: "corp".into(),
            address: master.address(),
            zone: Name::parse(ZONE).unwrap(),
            key: key().name().clone(),
        };
        let mut system = Self { folder, domain, dns, target, key: key(), generation: 0, running: None };
        system.start().await;
        system
    }

    /// Says what it remembers at once, as a side does that hears nobody.
    async fn start(&mut self) {
        let bound = Bound::at(&self.folder, self.dns).await.hold(Duration::ZERO).domain(self.domain);
        self.running = Some(bound.updates(vec![self.target.clone()], &self.key).serve());
    }

    async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    async fn apply(&mut self, tenants: Vec<TenantZone>) {
        self.generation += 1;
        let mut request = request(self.generation, tenants);
        request.system.as_mut().unwrap().domain = self.domain.into();
        request.run.clear();
        self.running.as_mut().unwrap().client.apply_zones(request).await.unwrap();
    }

    /// What it knows of the target, once it `holds`.
    async fn knows(
        &self,
        what: &str,
        log: impl Fn() -> String,
        holds: impl Fn(&wire::UpdateTarget) -> bool,
    ) -> wire::UpdateTarget {
        let client = &self.running.as_ref().unwrap().client;
        let seen = std::cell::RefCell::new(None);
        let log = || format!("{:?}\n{}", seen.borrow(), log());
        eventually(what, log, async || {
            let listed = client.clone().list_secondaries(ListSecondariesRequest::default()).await.unwrap();
            let target = listed.into_inner().update_targets.into_iter().next();
            *seen.borrow_mut() = target.clone();
            target.filter(|target| holds(target))
        })
        .await
    }
}

/// The names lead to `address`, asked of the master.
async fn leads_to(master: &Master, address: &str) {
    let expected: Ipv4Addr = address.parse().unwrap();
    for name in [ACME.to_owned(), format!("photos.{ACME}")] {
        eventually(
            &format!("{name} is {expected}"),
            || master.log(),
            async || address_of(master.address(), &name).await.filter(|(found, _)| *found == expected),
        )
        .await;
    }
}

async fn is_gone(master: &Master) {
    for (name, kind) in [
        (ACME.to_owned(), RecordType::A),
        (ACME.to_owned(), RecordType::AAAA),
        (format!("photos.{ACME}"), RecordType::A),
        (format!("_switchback.{ACME}"), RecordType::TXT),
    ] {
        eventually(
            &format!("{name} is gone"),
            || master.log(),
            async || {
                let answer = peer::question(master.address(), &name, kind).await?;
                answer.answers.is_empty().then_some(())
            },
        )
        .await;
    }
}

/// What `system` puts there under this serial.
fn text(serial: u32, system: &str) -> String {
    let epoch = acme(serial, "192.0.2.1").epoch;
    format!("switchback serial={serial} epoch={epoch} generation=0 system={system}")
}

/// The text of the fence.
async fn fence(master: &Master) -> Option<String> {
    let answer = peer::question(master.address(), &format!("_switchback.{ACME}"), RecordType::TXT).await?;
    let [record] = &answer.answers[..] else { return None };
    match &record.data {
        RData::TXT(text) => Some(text.to_string()),
        _ => None,
    }
}

/// What a side sends that has read `fence` and was held up since: the master's answer to it.
async fn sends_late(master: &Master, fence: Option<&str>, address: &str) -> ResponseCode {
    let name = |text: &str| WireName::from_ascii(format!("{text}.")).unwrap();
    let owner = name(&format!("_switchback.{ACME}"));
    let mut update = Message::query();
    update.metadata.op_code = OpCode::Update;
    update.metadata.recursion_desired = false;
    update.add_query(Query::query(name(ZONE), RecordType::SOA));
    update.answers = vec![match fence {
        Some(text) => Record::from_rdata(owner, 0, RData::TXT(TXT::new(vec![text.into()]))),
        None => {
            let mut none = Record::update0(owner, 0, RecordType::TXT);
            none.dns_class = DNSClass::NONE;
            none
        }
    }];
    let mut any = Record::update0(name(ACME), 0, RecordType::A);
    any.dns_class = DNSClass::ANY;
    let address = RData::A(A(address.parse().unwrap()));
    update.authorities = vec![any, Record::from_rdata(name(ACME), 3, address)];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (bytes, _) = key().sign_request(update.to_vec().unwrap(), now).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&bytes, master.address()).await.unwrap();
    let mut buffer = [0; 4096];
    let (length, _) =
        tokio::time::timeout(peer::PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap().response_code
}

/// A failover, a primary that returns with what it knew, a failback, and the end of the link.
async fn keeps(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let master = master(kind, folder.path()).await;
    let log = || master.log();
    let mut east = System::of(folder.path(), EAST, &master).await;
    let mut west = System::of(folder.path(), WEST, &master).await;
    east.apply(vec![acme(64, "192.0.2.1")]).await;
    west.apply(vec![acme(64, "192.0.2.1")]).await;
    leads_to(&master, "192.0.2.1").await;
    east.knows("east sees that they stand there", log, |seen| seen.converged == 1).await;
    west.knows("west sees it too", log, |seen| seen.converged == 1).await;

    east.stop().await;
    west.apply(vec![acme(128, "192.0.2.2")]).await;
    leads_to(&master, "192.0.2.2").await;
    let in_time = |seen: &wire::UpdateTarget| {
        let change = seen.last_change.unwrap_or_default();
        seen.converged == 1 && change.open == 0 && change.slowest_ms.is_some()
    };
    west.knows("west sees how fast", log, in_time).await;
    let west_put = fence(&master).await;
    assert_eq!(west_put.as_deref(), Some(&*text(128, WEST)));

    // The old primary says what it remembers, and sees that it is the stale one.
    east.start().await;
    let seen = east.knows("east is overtaken", log, |seen| seen.overtaken == 1).await;
    assert_eq!(seen.lagging[0].served_serial, Some(128));
    assert!(seen.lagging[0].reason.contains(WEST), "{seen:?}");
    // Even if it had not seen that, or a message of before were under way for long: it is the server that
    // refuses.
    let old = text(64, EAST);
    assert_eq!(sends_late(&master, Some(&old), "192.0.2.1").await, ResponseCode::NXRRSet, "{}", log());
    assert_eq!(sends_late(&master, None, "192.0.2.1").await, ResponseCode::YXRRSet, "{}", log());
    assert_eq!(fence(&master).await, west_put);
    leads_to(&master, "192.0.2.2").await;

    east.apply(vec![acme(192, "192.0.2.1")]).await;
    west.apply(vec![acme(192, "192.0.2.1")]).await;
    leads_to(&master, "192.0.2.1").await;
    east.knows("east has its names back", log, |seen| seen.converged == 1).await;
    west.knows("west agrees", log, |seen| seen.converged == 1).await;
    let owner = text(192, EAST);
    eventually("the fence is east's", log, async || fence(&master).await.filter(|text| *text == owner)).await;

    // East's gateway is moved behind a balancer that has a name only, and back.
    let balanced = TenantZone { addresses: vec![], host: BALANCER.into(), ..acme(193, "192.0.2.1") };
    east.apply(vec![balanced.clone()]).await;
    west.apply(vec![balanced]).await;
    for name in [ACME.to_owned(), format!("photos.{ACME}")] {
        eventually(&format!("{name} is an alias"), log, async || {
            let answer = peer::question(master.address(), &name, RecordType::CNAME).await?;
            let [record] = &answer.answers[..] else { return None };
            (record.data.to_string() == format!("{BALANCER}.")).then_some(())
        })
        .await;
    }
    west.knows("west sees the alias", log, |seen| seen.converged == 1).await;
    east.apply(vec![acme(194, "192.0.2.1")]).await;
    west.apply(vec![acme(194, "192.0.2.1")]).await;
    leads_to(&master, "192.0.2.1").await;
    east.knows("east sees that they stand there again", log, |seen| seen.converged == 1).await;
    west.knows("west sees it too", log, |seen| seen.converged == 1).await;

    // West forgets the link: the names are not its own to take away. East does too: now they go, and only
    // they.
    west.apply(vec![]).await;
    west.knows("west leaves them", log, |seen| seen.leaving == 1).await;
    leads_to(&master, "192.0.2.1").await;
    // What was to go while the master could not be reached goes after a restart.
    east.stop().await;
    east.target.address = SocketAddr::from((east.dns.ip(), 1));
    east.start().await;
    east.apply(vec![]).await;
    east.knows("east could not take them away", log, |seen| seen.leaving == 1).await;
    east.stop().await;
    leads_to(&master, "192.0.2.1").await;
    east.target.address = master.address();
    east.start().await;
    is_gone(&master).await;
    let www = address_of(master.address(), "www.example.com").await;
    assert_eq!(www.map(|(found, _)| found), Some(Ipv4Addr::new(192, 0, 2, 80)));
    east.stop().await;
    west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_kept_in_a_zone_of_bind() {
    keeps(Kind::Bind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_kept_in_a_zone_of_knot() {
    keeps(Kind::Knot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_kept_in_a_zone_of_powerdns() {
    keeps(Kind::PowerDns).await;
}

/// More addresses than go into a datagram, either way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_a_datagram_goes_by_tcp() {
    for kind in [Kind::Bind, Kind::Knot, Kind::PowerDns].into_iter().filter(|kind| kind.is_installed()) {
        let folder = tempfile::tempdir().unwrap();
        let master = master(kind, folder.path()).await;
        let mut east = System::of(folder.path(), EAST, &master).await;
        let addresses: Vec<_> = (1..=60).map(|number| format!("2001:db8::{number:x}")).collect();
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        east.apply(vec![zone(ACME, 64, &addresses, "link")]).await;
        east.knows("all of them stand there", || master.log(), |seen| seen.converged == 1).await;
        east.stop().await;
    }
}

/// A master that stands still while the names move, and then works off all that it was sent.
async fn comes_back(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let master = master(kind, folder.path()).await;
    let log = || master.log();
    let mut east = System::of(folder.path(), EAST, &master).await;
    let mut west = System::of(folder.path(), WEST, &master).await;
    east.apply(vec![acme(64, "192.0.2.1")]).await;
    west.apply(vec![acme(64, "192.0.2.1")]).await;
    east.knows("they stand there", log, |seen| seen.converged == 1).await;
    west.knows("west sees it", log, |seen| seen.converged == 1).await;
    master.pause();
    east.apply(vec![acme(65, "192.0.2.3")]).await;
    west.apply(vec![acme(128, "192.0.2.2")]).await;
    for system in [&east, &west] {
        let is_silent = |seen: &wire::UpdateTarget| seen.unreachable_ms.is_some();
        system.knows("it is silent", String::new, is_silent).await;
    }
    master.resume();
    leads_to(&master, "192.0.2.2").await;
    west.knows("it is heard again", log, |seen| seen.converged == 1 && seen.unreachable_ms.is_none()).await;
    east.knows("east hears it again", log, |seen| seen.unreachable_ms.is_none()).await;
    assert_eq!(fence(&master).await.as_deref(), Some(&*text(128, WEST)));
    leads_to(&master, "192.0.2.2").await;
    east.stop().await;
    west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bind_is_brought_up_to_date_when_it_comes_back() {
    comes_back(Kind::Bind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_is_brought_up_to_date_when_it_comes_back() {
    comes_back(Kind::Knot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_is_brought_up_to_date_when_it_comes_back() {
    comes_back(Kind::PowerDns).await;
}

/// What an operator is told of a master that will not, with `change` made to how it is spoken to.
async fn is_told(kind: Kind, tenant: TenantZone, change: impl FnOnce(&mut System), words: &str) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let master = master(kind, folder.path()).await;
    let mut east = System::of(folder.path(), EAST, &master).await;
    east.stop().await;
    change(&mut east);
    east.start().await;
    east.apply(vec![tenant]).await;
    let says = |seen: &wire::UpdateTarget| seen.lagging.iter().any(|zone| zone.reason.contains(words));
    let seen = east.knows(words, || master.log(), says).await;
    assert!(seen.unreachable_ms.is_none(), "it lives: {seen:?}");
    assert_eq!(fence(&master).await, None);
    east.stop().await;
}

fn use_key(system: &mut System, shared: &TsigKey) {
    system.key = key_of(shared);
    system.target.key = system.key.name().clone();
}

fn wrong_secret(system: &mut System) {
    let shared = shared();
    use_key(system, &TsigKey { secret_base64: shared.secret_base64.replace('c', "d"), ..shared });
}

fn unknown_key(system: &mut System) {
    use_key(system, &TsigKey { name: "nobody.example.com".into(), ..shared() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_named_as_such() {
    is_told(Kind::Bind, acme(64, "192.0.2.1"), wrong_secret, "the same secret").await;
    is_told(Kind::Knot, acme(64, "192.0.2.1"), wrong_secret, "the same secret").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_known_there_is_named_as_such() {
    is_told(Kind::Bind, acme(64, "192.0.2.1"), unknown_key, "does not know the key").await;
    is_told(Kind::Knot, acme(64, "192.0.2.1"), unknown_key, "does not know the key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powerdns_says_less_of_a_key_that_it_does_not_take() {
    is_told(Kind::PowerDns, acme(64, "192.0.2.1"), wrong_secret, "key").await;
    is_told(Kind::PowerDns, acme(64, "192.0.2.1"), unknown_key, "key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_key_may_not_change_is_refused_and_so_told() {
    let elsewhere = || zone("acme.north.example.com", 64, &["192.0.2.1"], "link");
    is_told(Kind::Bind, elsewhere(), |_| {}, "REFUSED to an update").await;
    // PowerDNS leaves out what is not allowed, and says that it is done.
    is_told(Kind::PowerDns, elsewhere(), |_| {}, "answers otherwise").await;
    // Knot says of the key that it does not know it.
    is_told(Kind::Knot, elsewhere(), |_| {}, "allow it to update").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_master_the_zone_is_told_from_one_that_does() {
    let another = |system: &mut System| system.target.zone = Name::parse(EAST).unwrap();
    is_told(Kind::Bind, acme(64, "192.0.2.1"), another, "not the primary").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nsd_takes_no_updates_and_is_named_as_such() {
    is_told(Kind::Nsd, acme(64, "192.0.2.1"), |_| {}, "as NSD").await;
}
