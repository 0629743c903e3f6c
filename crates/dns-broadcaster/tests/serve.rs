//! The service as its users meet it: gRPC in, DNS out, over real sockets and a real disk.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use broadcaster::{Bound, Broadcaster, FOR_EVER, PATIENCE, request, zone};
use switchback_dns::access::Secondary;
use switchback_dns::client::{self, Code, Error, Reason};
use switchback_dns::core::rate::Rate;
use switchback_kit::grpc;
use switchback_proto::dns::v1::{ApplyZonesRequest, ListZonesRequest, NameServer, TenantZone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

trait Asked {
    async fn addresses(&self, name: &str) -> Vec<String>;
    async fn refuses(&self, name: &str, with: Code) -> bool;
}

impl Asked for Broadcaster {
    async fn addresses(&self, name: &str) -> Vec<String> {
        self.lookup(name).await.unwrap().addresses.iter().map(ToString::to_string).collect()
    }

    async fn refuses(&self, name: &str, with: Code) -> bool {
        declined(&self.lookup(name).await, with)
    }
}

fn declined(answer: &Result<client::Answer, Error>, with: Code) -> bool {
    matches!(answer, Err(Error::NoAnswer(attempts))
        if attempts.iter().all(|(_, reason)| matches!(reason, Reason::Declined(code) if *code == with)))
}

#[tokio::test]
async fn names_of_both_systems_are_answered_and_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    assert!(server.refuses("west.example.com", Code::Refused).await, "a fresh system knows nothing");

    let acme = zone("acme.east.example.com", 8, &["192.0.2.7", "2001:db8::7"], "link");
    assert!(
        server.apply(1, vec![acme, zone("own.west.example.com", 1, &["192.0.2.2"], "")]).await.is_empty()
    );

    assert_eq!(server.addresses("ACME.east.example.com").await, ["192.0.2.7", "2001:db8::7"]);
    assert_eq!(server.addresses("a.bucket.acme.east.example.com.").await, ["192.0.2.7", "2001:db8::7"]);
    assert_eq!(server.addresses("own.west.example.com").await, ["192.0.2.2"]);
    assert_eq!(server.addresses("s3.west.example.com").await, ["192.0.2.2"]);
    assert_eq!(server.addresses("ns1.west.example.com").await, ["192.0.2.53"]);
    let found = server.lookup("acme.east.example.com").await.unwrap();
    assert_eq!((found.ttl, found.authoritative, found.server), (3, true, server.dns));

    let absent = server.lookup("absent.west.example.com").await.unwrap();
    assert_eq!((absent.code, absent.ttl), (Code::NxDomain, 5));
    assert!(server.refuses("east.example.com", Code::Refused).await, "the other system's own zone");
    assert!(server.refuses("example.org", Code::Refused).await);

    assert_eq!(client::soa(server.dns, "acme.east.example.com", PATIENCE).await.unwrap(), Some(8));
    assert_eq!(client::soa(server.dns, "example.org", PATIENCE).await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_cannot_say() {
    let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let empty = Broadcaster::start(one.path(), FOR_EVER).await;
    let mut server = Broadcaster::start(two.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 8, &["192.0.2.7"], "link")]).await;
    let found = client::lookup(&[empty.dns, server.dns], "acme.east.example.com", PATIENCE).await.unwrap();
    assert_eq!(found.server, server.dns);
    empty.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_restart_holds_the_zones_of_links_until_they_are_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let zones = vec![
        zone("acme.east.example.com", 8, &["192.0.2.7"], "link"),
        zone("own.west.example.com", 1, &["192.0.2.2"], ""),
    ];
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, zones.clone()).await;
    assert_eq!(server.addresses("acme.east.example.com").await, ["192.0.2.7"], "new zones are not held");
    server.stop().await;

    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    assert!(server.refuses("x.acme.east.example.com", Code::ServFail).await);
    assert_eq!(server.addresses("own.west.example.com").await, ["192.0.2.2"], "no link, no hold");
    assert_eq!(server.addresses("s3.west.example.com").await, ["192.0.2.2"]);
    let listed = server.client.list_zones(ListZonesRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.held, ["acme.east.example.com"]);
    assert_eq!(listed.tenants, zones_as_listed(&zones));

    // An older serial confirms nothing and changes nothing.
    let stale = server
        .apply(2, vec![zone("acme.east.example.com", 7, &["192.0.2.9"], "link"), zones[1].clone()])
        .await;
    assert_eq!(stale, ["acme.east.example.com"]);
    assert!(server.refuses("acme.east.example.com", Code::ServFail).await);

    server.apply(3, zones).await;
    assert_eq!(server.addresses("acme.east.example.com").await, ["192.0.2.7"]);
    assert!(server.client.list_zones(ListZonesRequest {}).await.unwrap().into_inner().held.is_empty());
    server.stop().await;
}

/// Name servers are kept by name, whatever their order on the wire.
fn zones_as_listed(zones: &[TenantZone]) -> Vec<TenantZone> {
    let mut zones = zones.to_vec();
    for zone in &mut zones {
        zone.name_servers.sort_by(|a, b| a.name.cmp(&b.name));
    }
    zones.sort_by(|a, b| {
        let reversed = |zone: &TenantZone| zone.name.rsplit('.').map(str::to_owned).collect::<Vec<_>>();
        reversed(a).cmp(&reversed(b))
    });
    zones
}

#[tokio::test]
async fn a_caller_says_what_is_different_and_everything_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let acme = |serial, address| zone("acme.east.example.com", serial, &[address], "link");
    let other = zone("other.east.example.com", 8, &["192.0.2.7"], "link");
    let different = |generation, base, tenants, gone: &[&str]| ApplyZonesRequest {
        base,
        gone: gone.iter().map(|&name| name.into()).collect(),
        ..request(generation, tenants)
    };
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    let refused = zone("bad.east.example.com", 1, &[], "link");
    server.apply(1, vec![acme(8, "192.0.2.7"), other.clone(), refused]).await;
    let stale = different(
        2,
        1,
        vec![acme(9, "192.0.2.8"), zone("other.east.example.com", 7, &["192.0.2.9"], "link")],
        &[],
    );
    server.client.apply_zones(stale).await.unwrap();
    assert_eq!(server.addresses("acme.east.example.com").await, ["192.0.2.8"]);
    let repeat = server.client.apply_zones(different(2, 2, vec![], &[])).await.unwrap().into_inner();
    assert!(!repeat.incomplete);
    assert_eq!(repeat.current_generation, 2);
    assert_eq!(repeat.stale_zones, ["other.east.example.com"], "as long as it is desired so");
    assert_eq!(repeat.refused_zones[0].name, "bad.east.example.com");
    let gone = different(3, 2, vec![other], &["acme.east.example.com", "bad.east.example.com"]);
    let gone = server.client.apply_zones(gone).await.unwrap().into_inner();
    assert!(gone.stale_zones.is_empty() && gone.refused_zones.is_empty());
    assert!(server.refuses("acme.east.example.com", Code::Refused).await);
    assert_eq!(server.addresses("other.east.example.com").await, ["192.0.2.7"]);
    server.stop().await;

    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    let new = different(4, 3, vec![acme(10, "192.0.2.9")], &[]);
    let answer = server.client.apply_zones(new).await.unwrap().into_inner();
    assert!(answer.incomplete, "what is on record may be old");
    assert!(server.refuses("other.east.example.com", Code::ServFail).await);
    assert!(server.refuses("acme.east.example.com", Code::Refused).await);
    server.stop().await;
}

#[tokio::test]
async fn a_zone_that_nobody_confirms_is_answered_after_the_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 8, &["192.0.2.7"], "link")]).await;
    server.stop().await;

    let server = Broadcaster::start(folder.path(), Duration::from_millis(1)).await;
    while server.refuses("acme.east.example.com", Code::ServFail).await {}
    assert_eq!(server.addresses("acme.east.example.com").await, ["192.0.2.7"]);
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_zone_stops_no_other_and_a_malformed_system_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 8, &["192.0.2.7"], "link")]).await;

    let inside = NameServer { name: "ns.in.east.example.com".into(), addresses: vec![] };
    let bad = vec![
        zone("acme.east.example.com", 9, &["not-an-address"], "link"),
        zone("empty.east.example.com", 1, &[], "link"),
        zone("s3.west.example.com", 1, &["192.0.2.9"], ""),
        zone("example.com", 1, &["192.0.2.9"], ""),
        TenantZone { name_servers: vec![inside], ..zone("in.east.example.com", 1, &["192.0.2.9"], "") },
        zone("good.east.example.com", 1, &["192.0.2.8"], "link"),
    ];
    let applied = server.client.apply_zones(request(2, bad)).await.unwrap().into_inner();
    let refused: Vec<_> = applied.refused_zones.iter().map(|zone| zone.name.as_str()).collect();
    let expected = [
        "acme.east.example.com",
        "empty.east.example.com",
        "example.com",
        "in.east.example.com",
        "s3.west.example.com",
    ];
    assert_eq!(refused, expected);
    assert_eq!(server.addresses("good.east.example.com").await, ["192.0.2.8"]);
    assert_eq!(server.addresses("acme.east.example.com").await, ["192.0.2.7"], "what was on record stays");

    let mut broken = request(3, vec![]);
    broken.system.as_mut().unwrap().domain = "not a domain".into();
    let status = server.client.apply_zones(broken).await.unwrap_err();
    assert_eq!(grpc::reason(&status).unwrap().reason, "MALFORMED_ZONE");
    assert_eq!(server.addresses("good.east.example.com").await, ["192.0.2.8"]);
    server.stop().await;
}

#[tokio::test]
async fn more_zones_than_one_commit_takes_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let zones: Vec<_> =
        (0..250).map(|n| zone(&format!("t{n}.west.example.com"), 1, &["192.0.2.2"], "")).collect();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, zones.clone()).await;
    server.stop().await;
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    assert_eq!(server.client.list_zones(ListZonesRequest {}).await.unwrap().into_inner().tenants.len(), 250);
    assert_eq!(server.addresses("b.t249.west.example.com").await, ["192.0.2.2"]);
    server.apply(2, zones[..1].to_vec()).await;
    server.stop().await;
    let server = Broadcaster::start(folder.path(), FOR_EVER).await;
    assert_eq!(server.lookup("t249.west.example.com").await.unwrap().code, Code::NxDomain);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_never_absent_while_it_moves() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "link")]).await;
    let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood: Vec<_> = (0..4)
        .map(|asker| {
            let (dns, over, seen) = (server.dns, Arc::clone(&over), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut last = 0;
                while !over.load(Ordering::Relaxed) {
                    let name = format!("b{asker}.acme.east.example.com");
                    let found = client::lookup(&[dns], &name, PATIENCE).await.unwrap();
                    assert_eq!((found.code, found.addresses.len()), (Code::NoError, 1));
                    let serial = client::soa(dns, "acme.east.example.com", PATIENCE).await.unwrap().unwrap();
                    assert!(serial >= last, "the serial went back from {last} to {serial}");
                    last = serial;
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // As many moves as it takes for every asker to have met many of them.
    let mut serial = 1;
    while seen.load(Ordering::Relaxed) < 400 || serial < 50 {
        serial += 1;
        let side = ["192.0.2.1", "192.0.2.2"][serial as usize % 2];
        let stale =
            server.apply(serial.into(), vec![zone("acme.east.example.com", serial, &[side], "link")]).await;
        assert!(stale.is_empty());
        assert_eq!(server.addresses("acme.east.example.com").await, [side], "applied means answered");
    }
    over.store(true, Ordering::Relaxed);
    for asker in flood {
        asker.await.unwrap();
    }
    server.stop().await;
}

/// A query by hand: header, question, and an OPT record when `edns` gives a version.
fn query(id: u16, flags: u16, name: &str, kind: u16, class: u16, edns: Option<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, 1, 0, 0, u16::from(edns.is_some())] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([kind, class].map(u16::to_be_bytes).concat());
    if let Some(version) = edns {
        bytes.extend([0, 0, 41, 0x10, 0, 0, version, 0, 0, 0, 0]);
    }
    bytes
}

async fn exchange(server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    // Connected, so that what comes from any other address is no answer.
    let own: SocketAddr = if server.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(own).await.unwrap();
    socket.connect(server).await.unwrap();
    let mut buffer = vec![0; 4096];
    socket.send(bytes).await.unwrap();
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(length);
    buffer
}

fn rcode(response: &[u8]) -> u8 {
    response[3] & 15
}

#[tokio::test]
async fn what_is_no_plain_question_gets_a_plain_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
    let (name, dns) = ("acme.east.example.com", server.dns);
    let ask = async |flags, kind, class, edns| exchange(dns, &query(7, flags, name, kind, class, edns)).await;
    const IN: u16 = 1;
    const A: u16 = 1;

    assert_eq!(rcode(&ask(0, 252, IN, None).await), 5, "AXFR");
    assert_eq!(rcode(&ask(0, 251, IN, None).await), 5, "IXFR");
    assert_eq!(rcode(&ask(4 << 11, 6, IN, None).await), 4, "NOTIFY");
    assert_eq!(rcode(&ask(5 << 11, 6, IN, None).await), 4, "UPDATE");
    assert_eq!(rcode(&ask(0, A, 3, None).await), 5, "class CH");
    assert_eq!(rcode(&ask(0, 41, IN, None).await), 1, "OPT as a question");
    let version = ask(0, A, IN, Some(1)).await;
    assert_eq!(
        (rcode(&version), version[version.len() - 6]),
        (0, 1),
        "BADVERS, in the OPT record's high bits"
    );

    let plain = ask(0x0100, A, IN, None).await;
    assert_eq!(plain[2] & 0b1000_0101, 0b1000_0101, "QR, AA and the client's RD");
    assert_eq!(plain[3] & 0x80, 0, "no recursion");
    server.stop().await;
}

#[tokio::test]
async fn the_question_comes_back_in_the_clients_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
    let asked = query(9, 0, "bUcKeT.aCmE.EaSt.eXaMpLe.CoM", 1, 1, None);
    let answer = exchange(server.dns, &asked).await;
    assert_eq!(answer[12..asked.len()], asked[12..]);
    assert_eq!((rcode(&answer), answer[7]), (0, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_wildcard_address_answers_from_the_one_that_was_asked() {
    for (any, asked) in [("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.71.9.9"][..]), ("[::]:0", &["::1"])] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Bound::at(folder.path(), any.parse().unwrap()).await.serve();
        server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
        for address in asked {
            let address = SocketAddr::new(address.parse().unwrap(), server.dns.port());
            let answer = exchange(address, &query(7, 0, "acme.east.example.com", 1, 1, Some(0))).await;
            assert_eq!((rcode(&answer), answer[7]), (0, 1), "{address}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn what_comes_at_once_is_answered_each_to_its_own() {
    const CLIENTS: u16 = 20;
    const QUERIES: u16 = 30;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Bound::at(folder.path(), ([0, 0, 0, 0], 0).into()).await.serve();
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        // Two addresses of the server in turn, so that one batch has answers from both.
        let address = if number % 2 == 0 { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
        socket.connect(SocketAddr::from((address, server.dns.port()))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        clients.push(socket);
    }
    for id in 0..QUERIES {
        for (number, client) in clients.iter().enumerate() {
            let name = format!("b{number}.acme.east.example.com");
            // Some are no common queries, and go another way.
            let class = if id % 3 == 0 { 3 } else { 1 };
            client.send(&query(id, 0, &name, 1, class, Some(0))).unwrap();
        }
    }
    for (number, client) in clients.iter().enumerate() {
        let mut open: Vec<_> = (0..QUERIES).collect();
        let mut answer = [0; 1232];
        while !open.is_empty() {
            let length = client.recv(&mut answer).unwrap();
            let id = u16::from_be_bytes([answer[0], answer[1]]);
            let at = open.iter().position(|waiting| *waiting == id).expect("each is answered once");
            open.swap_remove(at);
            let expected = if id % 3 == 0 { (5, 0) } else { (0, 1) };
            assert_eq!((rcode(&answer[..length]), answer[7]), expected, "{id}");
            let name = format!("b{number}");
            assert_eq!(answer[13..13 + name.len()], *name.as_bytes());
        }
    }
    server.stop().await;
}

/// How many of `count` queries are answered whole, and how many with TC.
fn flooded(client: &std::net::UdpSocket, query: &[u8], count: usize) -> (usize, usize) {
    let (mut whole, mut cut) = (0, 0);
    for _ in 0..count {
        client.send(query).unwrap();
    }
    let mut answer = [0; 1232];
    while let Ok(length) = client.recv(&mut answer) {
        let is_cut = answer[2] & 2 != 0;
        assert_eq!((rcode(&answer[..length]), answer[7]), (0, u8::from(!is_cut)));
        if is_cut { cut += 1 } else { whole += 1 }
    }
    (whole, cut)
}

#[tokio::test]
async fn a_flood_is_limited_but_for_who_is_no_forger() {
    let folder = tempfile::tempdir().unwrap();
    let bound = Bound::at(folder.path(), ([127, 0, 0, 1], 0).into()).await;
    let secondary = Secondary {
        name: "ns".into(),
        address: ([127, 0, 7, 53], 53).into(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let bound = bound.rate(Rate { per_second: 10, slip: 2 }).followed_by(&secondary, None);
    let mut server = bound.serve();
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
    let client = |from: [u8; 4]| {
        let socket = std::net::UdpSocket::bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(server.dns).unwrap();
        // Longer than a loaded machine takes for what it has received.
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket
    };
    let plain = query(7, 0, "acme.east.example.com", 1, 1, Some(0));
    let (whole, cut) = flooded(&client([127, 0, 5, 1]), &plain, 200);
    // Ten at once, and a few while it lasts.
    assert!((10..60).contains(&whole), "{whole}");
    assert!((60..=95).contains(&cut) && cut + whole < 150, "{whole} {cut}");
    assert_eq!(flooded(&client([127, 0, 6, 1]), &plain, 1), (1, 0), "another network");
    assert_eq!(flooded(&client([127, 0, 7, 53]), &plain, 100), (100, 0), "who follows");

    // A cookie of its own; the first query shows none of ours, and is given one.
    let with_cookie = |cookie: &[u8]| {
        let mut bytes = plain.clone();
        let length = bytes.len();
        bytes[length - 1] = u8::try_from(4 + cookie.len()).unwrap();
        bytes.extend([0, 10, 0, u8::try_from(cookie.len()).unwrap()]);
        bytes.extend(cookie);
        bytes
    };
    let asking = client([127, 0, 8, 1]);
    asking.send(&with_cookie(b"8 bytes.")).unwrap();
    let mut answer = [0; 1232];
    let length = asking.recv(&mut answer).unwrap();
    let given = answer[length - 24..length].to_vec();
    assert_eq!(
        (&given[..8], answer[length - 28..length - 24].to_vec()),
        (&b"8 bytes."[..], vec![0, 10, 0, 24])
    );
    assert_eq!(flooded(&asking, &with_cookie(&given), 100), (100, 0));
    let forged = [&given[..23], &[given[23] ^ 1]].concat();
    assert!(flooded(&asking, &with_cookie(&forged), 100).0 < 60);
    asking.send(&with_cookie(b"9 bytes..")).unwrap();
    let length = asking.recv(&mut answer).unwrap();
    assert_eq!(rcode(&answer[..length]), 1, "no cookie has nine bytes");

    // Whoever is cut off comes by TCP.
    let mut stream = TcpStream::connect(server.dns).await.unwrap();
    for _ in 0..100 {
        stream
            .write_all(&[&u16::try_from(plain.len()).unwrap().to_be_bytes()[..], &plain].concat())
            .await
            .unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!((rcode(&answer), answer[7]), (0, 1));
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn garbage_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
    let whole = query(7, 0, "acme.east.example.com", 1, 1, Some(0));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.dns).await.unwrap();
    for cut in 0..whole.len() {
        socket.send(&whole[..cut]).await.unwrap();
    }
    for at in 0..whole.len() {
        for bits in [0xff, 0x80, 0xc0, 0x01] {
            let mut bent = whole.clone();
            bent[at] ^= bits;
            socket.send(&bent).await.unwrap();
        }
    }
    // A name that points at itself, and counts that promise what never comes.
    socket.send(b"\0\x01\0\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01").await.unwrap();
    socket.send(b"\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff").await.unwrap();
    let none = exchange(server.dns, b"\0\x01\0\0\0\0\0\0\0\0\0\0").await;
    assert_eq!(rcode(&none), 1, "no question is a malformed query");
    assert_eq!(server.addresses("acme.east.example.com").await, ["192.0.2.1"]);
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_comes_by_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    let many: Vec<_> = (1..=200).map(|n| format!("192.0.2.{n}")).collect();
    let texts: Vec<_> = many.iter().map(String::as_str).collect();
    server.apply(1, vec![zone("acme.east.example.com", 1, &texts, "")]).await;

    let asked = query(7, 0, "acme.east.example.com", 1, 1, Some(0));
    let short = exchange(server.dns, &asked).await;
    assert_eq!(short[2] & 2, 2, "TC");
    assert!(short.len() <= 1232);
    assert_eq!(short[short.len() - 11..short.len() - 8], [0, 0, 41], "the OPT record is still there");
    assert_eq!(server.addresses("acme.east.example.com").await.len(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_tcp_connection_carries_many_queries_and_ends_when_idle() {
    let folder = tempfile::tempdir().unwrap();
    let mut server =
        Bound::at(folder.path(), ([127, 0, 0, 1], 0).into()).await.idle(Duration::from_secs(1)).serve();
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
    let mut stream = TcpStream::connect(server.dns).await.unwrap();
    let pipelined: Vec<u8> = (0..20_u16)
        .flat_map(|id| {
            let bytes = query(id, 0, "acme.east.example.com", 1, 1, None);
            [u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec(), bytes].concat()
        })
        .collect();
    stream.write_all(&pipelined).await.unwrap();
    for _ in 0..20 {
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!((rcode(&answer), answer[7]), (0, 1));
    }
    let ended =
        tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("the server ends an idle connection");
    assert!(ended.is_err());
    server.stop().await;
}

#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    const PER_ADDRESS: usize = 128;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Broadcaster::start(folder.path(), FOR_EVER).await;
    server.apply(1, vec![zone("acme.east.example.com", 1, &["192.0.2.1"], "")]).await;
    let open = async |from: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(server.dns).await.unwrap()
    };
    let whole = query(7, 0, "acme.east.example.com", 1, 1, None);
    let framed = [&u16::try_from(whole.len()).unwrap().to_be_bytes()[..], &whole].concat();
    // Whoever is not let in is cut off, at once or with the first byte.
    let answered = async |stream: &mut TcpStream| {
        stream.write_all(&framed).await.is_ok() && stream.read_u16().await.is_ok()
    };
    let mut held = Vec::new();
    for _ in 0..PER_ADDRESS {
        let mut stream = open([127, 0, 0, 1]).await;
        assert!(answered(&mut stream).await);
        held.push(stream);
    }
    assert!(!answered(&mut open([127, 0, 0, 1]).await).await, "one too many");
    assert!(answered(&mut open([127, 0, 0, 2]).await).await, "another client");
    drop(held.pop());
    let again = tokio::time::timeout(PATIENCE, async {
        while !answered(&mut open([127, 0, 0, 1]).await).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    again.await.expect("a place that was given back is taken again");
    drop(held);
    server.stop().await;
}
