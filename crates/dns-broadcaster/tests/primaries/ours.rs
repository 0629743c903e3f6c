//! Two of our own, each the primary of the other's zones.

use std::path::Path;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name as WireName, RecordType};
use switchback_dns::client;
use switchback_dns::core::zone::Policy;
use switchback_proto::dns::v1::{self as wire, ReloadZoneFilesRequest, TenantZone};
use tokio::net::UdpSocket;

use crate::broadcaster::{Bound, Broadcaster, PATIENCE, request_of, zone};
use crate::{address, converges, key, knows, name, peer, primary, secondary};

const EAST: &str = "east.example.com";
const WEST: &str = "west.example.com";

fn none() -> String {
    String::new()
}

/// A tenant on no link.
fn own(name: &str, address: &str) -> TenantZone {
    zone(name, 0, &[address], "")
}

async fn apply(system: &Broadcaster, domain: &str, generation: u64, tenants: Vec<TenantZone>) {
    system.client.clone().apply_zones(request_of(domain, generation, tenants)).await.unwrap();
}

/// What a system answers for a name's address.
async fn leads(system: &Broadcaster, asked: &str) -> Result<Vec<String>, String> {
    match system.lookup(asked).await {
        Ok(answer) => Ok(answer.addresses.iter().map(ToString::to_string).collect()),
        Err(client::Error::NoAnswer(reasons)) => Err(reasons[0].1.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// Both systems, each with the other's zones.
struct Pair {
    east: Broadcaster,
    west: Broadcaster,
}

impl Pair {
    async fn start(folder: &Path, is_signed: bool) -> Self {
        let key = key();
        let key = is_signed.then_some(&key);
        let east = Bound::at(&folder.join("east"), address()).await.domain(EAST);
        let west = Bound::at(&folder.join("west"), address()).await.domain(WEST);
        let (at_east, at_west) = (east.dns, west.dns);
        let east = east
            .followed_by(&secondary(at_west, false, key), key)
            .follows(vec![primary(at_west, &[WEST], None, key)], key)
            .serve();
        let west = west
            .followed_by(&secondary(at_east, false, key), key)
            .follows(vec![primary(at_east, &[EAST], None, key)], key)
            .serve();
        Self { east, west }
    }
}

async fn each_answers_for_both(is_signed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let Pair { east, west } = Pair::start(folder.path(), is_signed).await;
    apply(&east, EAST, 1, vec![own("a.east.example.com", "192.0.2.1")]).await;
    apply(&west, WEST, 1, vec![own("b.west.example.com", "192.0.2.3")]).await;
    converges(east.dns, west.dns, WEST, none).await;
    converges(west.dns, east.dns, EAST, none).await;
    // What changes is followed by NOTIFY: nobody is asked for half a minute.
    for generation in 2..6 {
        let tenants = (1..=generation).map(|number| own(&format!("b{number}.west.example.com"), "192.0.2.3"));
        apply(&west, WEST, generation, tenants.collect()).await;
        converges(east.dns, west.dns, WEST, none).await;
    }
    // It is answered a moment before it is known to be durable, and when it is asked for next.
    let is_shown = |primary: &wire::Primary| primary.held == 1 && primary.zones[0].due_ms.is_some();
    let shown = knows(&east, "what is held is shown", none, is_shown).await;
    let copy = &shown.zones[0];
    assert_eq!((copy.name.as_str(), copy.expired, copy.reason.as_str()), (WEST, false, ""));
    assert!(copy.word_ms.is_some() && copy.expires_ms > copy.due_ms, "{copy:?}");
    // A name server that both feed is told of west's zone by west, and not of the copy by east.
    let told = east.client.clone().list_secondaries(wire::ListSecondariesRequest::default()).await.unwrap();
    let told = told.into_inner().secondaries;
    let zones = |secondary: &wire::Secondary| {
        secondary.converged + secondary.behind + secondary.ahead + secondary.not_held + secondary.unknown
    };
    assert_eq!(told.iter().map(zones).sum::<u32>(), 2, "its own zone and its tenant's: {told:?}");
    west.stop().await;
    assert_eq!(leads(&east, "s3.west.example.com").await, Ok(vec!["192.0.2.2".into()]));
    assert!(leads(&east, "nobody.west.example.com").await.is_ok_and(|found| found.is_empty()));
    let answer = client::lookup(&[east.dns], "s3.west.example.com", PATIENCE).await.unwrap();
    assert!(answer.authoritative);
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_two_systems_answers_for_both() {
    each_answers_for_both(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_two_systems_answers_for_both_with_keys() {
    each_answers_for_both(true).await;
}

/// A primary at `at` whose zone file has these records, and who follows it.
async fn filed(folder: &Path, at: std::net::SocketAddr, text: &str, follower: std::net::SocketAddr) -> Bound {
    let file = folder.join("own.zone");
    std::fs::write(&file, text).unwrap();
    let bound = Bound::at(&folder.join("west"), at).await.domain(WEST);
    bound.zone_files(vec![file]).followed_by_all(vec![secondary(follower, false, None)])
}

const ZONE: &str = "z.example.org";

fn text(serial: u32, expire: u32, last: &str) -> String {
    format!(
        "$ORIGIN {ZONE}.\n$TTL 60\n@ SOA ns1 admin {serial} 1 1 {expire} 5\n@ NS ns1\nns1 A 192.0.2.53\nlast A {last}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_outlives_both_systems_and_ends_when_its_zone_says() {
    let folder = tempfile::tempdir().unwrap();
    let east = Bound::at(&folder.path().join("east"), address()).await.domain(EAST);
    let (at, at_west) = (east.dns, address());
    let west = filed(folder.path(), at_west, &text(1, 4, "192.0.2.1"), at).await;
    let at_west = west.dns;
    let west = west.serve();
    let of_west = || vec![primary(at_west, &[ZONE], None, None)];
    let last = format!("last.{ZONE}");
    let east = east.follows(of_west(), None).serve();
    converges(east.dns, at_west, ZONE, none).await;
    // What changed is on the disk too.
    std::fs::write(folder.path().join("own.zone"), text(2, 4, "192.0.2.2")).unwrap();
    west.client.clone().reload_zone_files(ReloadZoneFilesRequest {}).await.unwrap();
    converges(east.dns, at_west, ZONE, none).await;
    west.stop().await;
    east.stop().await;
    let east = Bound::at(&folder.path().join("east"), at).await.domain(EAST).follows(of_west(), None).serve();
    let found = leads(&east, &last).await;
    // A slow machine may be past the end by now.
    assert!(found == Ok(vec!["192.0.2.2".into()]) || found == Err("answered SERVFAIL".into()), "{found:?}");
    let expired = |primary: &wire::Primary| primary.expired == 1 && primary.zones[0].expired;
    let shown = knows(&east, "it expires", none, expired).await;
    assert!(!shown.zones[0].reason.is_empty(), "{shown:?}");
    peer::eventually("it is not answered", none, async || {
        leads(&east, &last).await.err().filter(|why| why == "answered SERVFAIL")
    })
    .await;
    // The same serial is word enough.
    let west = filed(folder.path(), at_west, &text(2, 4, "192.0.2.2"), at).await.serve();
    peer::eventually("it is answered again", none, async || leads(&east, &last).await.ok()).await;
    west.stop().await;
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_of_many_names_is_taken_and_one_change_of_it_costs_what_it_is_long() {
    const NAMES: u32 = 50_000;
    let folder = tempfile::tempdir().unwrap();
    let east = Bound::at(&folder.path().join("east"), address()).await.domain(EAST);
    let at = east.dns;
    let many = |serial, last: &str| {
        let rest = (0..NAMES).map(|number| format!("h{number} A 192.0.2.7\n"));
        text(serial, 1000, last) + &rest.collect::<String>()
    };
    let west = filed(folder.path(), address(), &many(1, "192.0.2.1"), at).await;
    let at_west = west.dns;
    let west = west.serve();
    let of_west = || vec![primary(at_west, &[ZONE], None, None)];
    let east = east.follows(of_west(), None).serve();
    converges(east.dns, at_west, ZONE, none).await;
    std::fs::write(folder.path().join("own.zone"), many(2, "192.0.2.2")).unwrap();
    west.client.clone().reload_zone_files(ReloadZoneFilesRequest {}).await.unwrap();
    converges(east.dns, at_west, ZONE, none).await;
    west.stop().await;
    east.stop().await;
    let east = Bound::at(&folder.path().join("east"), at).await.domain(EAST).follows(of_west(), None).serve();
    for (label, address) in [("last", "192.0.2.2"), ("h0", "192.0.2.7"), ("h49999", "192.0.2.7")] {
        assert_eq!(leads(&east, &format!("{label}.{ZONE}")).await, Ok(vec![address.into()]));
    }
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_with_a_link_is_never_answered_from_a_copy() {
    const ACME: &str = "acme.west.example.com";
    let folder = tempfile::tempdir().unwrap();
    let east = Bound::at(&folder.path().join("east"), address()).await.domain(EAST);
    let at = east.dns;
    let west = Bound::at(&folder.path().join("west"), address()).await.domain(WEST);
    let at_west = west.dns;
    let west = west.followed_by_all(vec![secondary(at, false, None)]).serve();
    let linked = |serial, address| zone(ACME, serial, &[address], "link");
    apply(&west, WEST, 1, vec![linked(64, "192.0.2.1")]).await;
    let east = east.follows(vec![primary(at_west, &[WEST, ACME], None, None)], None).serve();
    converges(east.dns, at_west, ACME, none).await;
    let asked = format!("photos.{ACME}");
    assert_eq!(leads(&east, &asked).await, Ok(vec!["192.0.2.1".into()]));
    // The east takes over: west goes on to say otherwise.
    apply(&east, EAST, 1, vec![linked(128, "192.0.2.9")]).await;
    assert_eq!(leads(&east, &asked).await, Ok(vec!["192.0.2.9".into()]));
    apply(&west, WEST, 2, vec![linked(192, "192.0.2.5")]).await;
    knows(&east, "it is published here", none, |primary| primary.published == 1 && primary.held == 1).await;
    assert_eq!(leads(&east, &asked).await, Ok(vec!["192.0.2.9".into()]));
    // The link is gone from here.
    apply(&east, EAST, 2, vec![own("x.east.example.com", "192.0.2.1")]).await;
    converges(east.dns, at_west, ACME, none).await;
    assert_eq!(leads(&east, &asked).await, Ok(vec!["192.0.2.5".into()]));
    east.stop().await;
    west.stop().await;
}

/// What a NOTIFY for `zone` from `from` is answered.
async fn told(server: std::net::SocketAddr, from: [u8; 4], zone: &str, class: DNSClass) -> ResponseCode {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Notify;
    let mut asked = Query::query(WireName::from_ascii(format!("{zone}.")).unwrap(), RecordType::SOA);
    asked.set_query_class(class);
    message.add_query(asked);
    let socket = UdpSocket::bind((std::net::Ipv4Addr::from(from), 0)).await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 512];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    let answer = Message::from_vec(&buffer[..received]).unwrap();
    assert_eq!((answer.id, answer.op_code), (message.id, OpCode::Notify));
    assert_eq!(answer.queries, message.queries);
    answer.response_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notify_is_taken_from_the_zones_primary_alone() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = address();
    let std::net::IpAddr::V4(at) = nobody.ip() else { unreachable!() };
    let bound = Bound::at(folder.path(), address()).await.domain(EAST);
    let primary = primary((at, 9).into(), &[WEST], None, None);
    let other = switchback_dns::access::Primary {
        name: "other".into(),
        address: ([127, 78, 255, 1], 9).into(),
        follow: switchback_dns::core::secondary::Follow {
            zones: [name("other.test")].into(),
            catalogue: None,
        },
        key: None,
    };
    let east = bound.follows(vec![primary, other], None).serve();
    let (from, of_other, stranger) = (at.octets(), [127, 78, 255, 1], [127, 78, 255, 2]);
    knows(&east, "it is followed", none, |primary| primary.missing == 1).await;
    for (from, zone, class, expected) in [
        (from, WEST, DNSClass::IN, ResponseCode::NoError),
        (from, "other.test", DNSClass::IN, ResponseCode::NotAuth),
        (from, "nobodys.test", DNSClass::IN, ResponseCode::NotAuth),
        (of_other, WEST, DNSClass::IN, ResponseCode::NotAuth),
        (of_other, "other.test", DNSClass::IN, ResponseCode::NoError),
        (stranger, WEST, DNSClass::IN, ResponseCode::Refused),
        (from, WEST, DNSClass::CH, ResponseCode::Refused),
    ] {
        assert_eq!(told(east.dns, from, zone, class).await, expected, "{zone} from {from:?}");
    }
    east.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_catalogue_come_and_go_and_stay_while_it_is_broken_or_gone() {
    const CATALOGUE: &str = "_catalog.west.example.com";
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { refresh: 1, retry: 1, expire: 1000, system_ttl: 60, negative_ttl: 5 };
    let east = Bound::at(&folder.path().join("east"), address()).await.domain(EAST).policy(policy);
    let at = east.dns;
    let west = Bound::at(&folder.path().join("west"), address()).await.domain(WEST).policy(policy);
    let at_west = west.dns;
    let west = west.followed_by_all(vec![secondary(at, true, None)]).serve();
    let tenants = |labels: &[&str]| -> Vec<TenantZone> {
        labels.iter().map(|label| own(&format!("{label}.{WEST}"), "192.0.2.1")).collect()
    };
    apply(&west, WEST, 1, tenants(&["a", "b"])).await;
    west.client.clone().publish_catalogue(wire::PublishCatalogueRequest {}).await.unwrap();
    let of_west = || vec![primary(at_west, &[], Some(CATALOGUE), None)];
    let east = east.follows(of_west(), None).serve();
    for zone in [WEST, "a.west.example.com", "b.west.example.com"] {
        peer::eventually(zone, none, async || client::soa(at, zone, PATIENCE).await.ok().flatten()).await;
    }
    // What it lists is given to nobody.
    assert!(client::soa(at, CATALOGUE, PATIENCE).await.unwrap().is_none());
    apply(&west, WEST, 2, tenants(&["b", "c"])).await;
    let soa = async |zone: &str| client::soa(at, zone, PATIENCE).await.ok().flatten();
    peer::eventually("c comes", none, async || soa("c.west.example.com").await).await;
    peer::eventually("a goes", none, async || soa("a.west.example.com").await.is_none().then_some(())).await;
    // The system was rebuilt: its catalogue is withheld, and says nothing.
    let mut rebuilt = request_of(WEST, 3, tenants(&["b", "c"]));
    rebuilt.life = "second".into();
    west.client.clone().apply_zones(rebuilt).await.unwrap();
    let is_refused = |primary: &wire::Primary| {
        primary.zones.iter().any(|zone| zone.name == CATALOGUE && !zone.reason.is_empty())
    };
    knows(&east, "the catalogue is refused", none, is_refused).await;
    assert!(soa("b.west.example.com").await.is_some());
    west.stop().await;
    east.stop().await;
    // Nor does it take west to know what there is.
    let bound = Bound::at(&folder.path().join("east"), at).await.domain(EAST);
    let east = bound.follows(of_west(), None).serve();
    for zone in [WEST, "b.west.example.com", "c.west.example.com"] {
        assert!(soa(zone).await.is_some(), "{zone}");
    }
    east.stop().await;
}
