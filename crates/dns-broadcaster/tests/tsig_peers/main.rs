//! Signatures that other programs make and verify: RFC 8945 has no test vectors, so what counts is
//! that two implementations agree. `dig` and `kdig` ask a server of ours; BIND, Knot and NSD are
//! asked by our client, and fetch a zone of ours as its secondaries.
//!
//! Debian has them as bind9, bind9-dnsutils, knot, knot-dnsutils and nsd.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod daemon;
mod ours;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use switchback_dns::core::name::Name;
use switchback_dns::tsig::{Algorithm, Key, Keys, Mismatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::daemon::{Daemon, Kind};
use crate::ours::{Fault, Ours};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &[u8] = b"a secret that the tests share, of more than thirty-two bytes";
const OTHER_SECRET: &[u8] = b"a secret that only one side has, of more bytes than needed";
const ALGORITHMS: [Algorithm; 2] = [Algorithm::HmacSha256, Algorithm::HmacSha512];
const HOUR: u64 = 3600;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Each key is named after its algorithm.
fn key(algorithm: Algorithm) -> Key {
    key_with(algorithm, SECRET)
}

fn key_with(algorithm: Algorithm, secret: &[u8]) -> Key {
    Key::new(&Name::parse(&key_name(algorithm)).unwrap(), algorithm, secret).unwrap()
}

fn key_name(algorithm: Algorithm) -> String {
    format!("{algorithm}.key.example")
}

fn keys() -> Keys {
    Keys::new(ALGORITHMS.map(key)).unwrap()
}

/// Where a program is; those of administrators too, which users' paths lack.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// True when all of these are here; where one is missing that is said, and in CI it is a failure.
fn has(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|name| program(name).is_none()).collect();
    if missing.is_empty() {
        return true;
    }
    let why = format!("not installed: {missing:?} (packages bind9 bind9-dnsutils knot knot-dnsutils nsd)");
    eprintln!("!!!! SKIPPED: TSIG against real name servers: {why}");
    assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI: {why}");
    false
}

/// One address for both transports, chosen by the kernel.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

/// What a program prints when it asks `server`; it ends by itself.
async fn printed(name: &str, server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(program(name).unwrap());
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    command.args([&at, "-p", &port]).args(arguments).kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = timeout(PATIENCE, command.output()).await.expect("it ends by itself").unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.concat()
}

/// The argument with which both programs take a key.
fn signing(algorithm: &str, name: &str, secret: &[u8]) -> String {
    format!("-y{algorithm}:{name}:{}", STANDARD.encode(secret))
}

fn dig_key(algorithm: Algorithm) -> String {
    signing(&algorithm.to_string(), &key_name(algorithm), SECRET)
}

async fn dig(server: &Ours, key: &str, kind: &str) -> String {
    printed("dig", server.address, &[key, ours::ZONE, kind, "+tries=1", "+time=10"]).await
}

async fn kdig(server: &Ours, key: &str, kind: &str) -> String {
    printed("kdig", server.address, &[key, ours::ZONE, kind, "+retry=0", "+time=10"]).await
}

/// `dig` says nothing about a signature that it has verified, and this about any other.
fn is_doubted(printed: &str) -> bool {
    ["Couldn't verify", "could not be validated", "reply verification"]
        .iter()
        .any(|text| printed.contains(text))
}

#[tokio::test]
async fn dig_verifies_what_we_sign_and_complains_when_it_is_broken() {
    if !has(&["dig"]) {
        return;
    }
    for algorithm in ALGORITHMS {
        let key = dig_key(algorithm);
        let whole = Ours::start(keys(), 0, Fault::None).await;
        let text = dig(&whole, &key, "SOA").await;
        assert!(text.contains("status: NOERROR") && text.contains("ANSWER: 1,"), "{text}");
        assert!(text.contains("TSIG PSEUDOSECTION") && !is_doubted(&text), "{text}");

        let text = dig(&whole, &key, "AXFR").await;
        let size = format!("XFR size: {} records (messages {}", ours::TRANSFERRED, ours::MESSAGES);
        assert!(text.contains(&size) && !is_doubted(&text), "{text}");

        let broken = Ours::start(keys(), 0, Fault::Mac(0)).await;
        assert!(is_doubted(&dig(&broken, &key, "SOA").await));
        for fault in [Fault::Mac(ours::MESSAGES - 1), Fault::Lost(7)] {
            let broken = Ours::start(keys(), 0, fault).await;
            let text = dig(&broken, &key, "AXFR").await;
            assert!(is_doubted(&text), "{fault:?}: {text}");
        }
    }
}

#[tokio::test]
async fn kdig_verifies_what_we_sign_and_complains_when_it_is_broken() {
    if !has(&["kdig"]) {
        return;
    }
    for algorithm in ALGORITHMS {
        let key = dig_key(algorithm);
        let whole = Ours::start(keys(), 0, Fault::None).await;
        let text = kdig(&whole, &key, "SOA").await;
        assert!(text.contains("status: NOERROR") && !is_doubted(&text), "{text}");
        // Of a transfer it verifies the first message only; the secondaries below verify all.
        let text = kdig(&whole, &key, "AXFR").await;
        let size = format!("({} messages, {} records)", ours::MESSAGES, ours::TRANSFERRED);
        assert!(text.contains(&size) && !is_doubted(&text), "{text}");

        let broken = Ours::start(keys(), 0, Fault::Mac(0)).await;
        for kind in ["SOA", "AXFR"] {
            assert!(is_doubted(&kdig(&broken, &key, kind).await));
        }
    }
}

#[tokio::test]
async fn dig_understands_each_of_our_refusals() {
    if !has(&["dig"]) {
        return;
    }
    let (right, own) = (Algorithm::HmacSha256, key_name(Algorithm::HmacSha256));
    let cases = [
        ("BADSIG", 0, signing("hmac-sha256", &own, OTHER_SECRET), "tsig indicates error"),
        ("BADKEY", 0, signing("hmac-sha256", "unknown", SECRET), "tsig indicates error"),
        ("BADKEY", 0, signing("hmac-sha384", &own, SECRET), "tsig indicates error"),
        // These two are signed: `dig` would say "tsig verify failure" if it could not verify them.
        ("BADTRUNC", 0, signing("hmac-sha256-128", &own, SECRET), "tsig indicates error"),
        ("BADTIME", HOUR, dig_key(right), "clocks are unsynchronized"),
    ];
    for (error, ahead, key, says) in cases {
        let server = Ours::start(keys(), ahead, Fault::None).await;
        let text = dig(&server, &key, "SOA").await;
        let is_refused = text.contains("status: NOTAUTH") && text.contains(&format!(" {error} "));
        assert!(is_refused && text.contains(says), "{error}: {text}");
    }
    let unsigned =
        printed("dig", Ours::start(keys(), 0, Fault::None).await.address, &[ours::ZONE, "SOA"]).await;
    assert!(unsigned.contains("status: REFUSED") && !unsigned.contains("TSIG"), "{unsigned}");
}

#[tokio::test]
async fn what_tsig_keygen_prints_is_a_key() {
    if !has(&["tsig-keygen"]) {
        return;
    }
    for algorithm in ALGORITHMS {
        let algorithm = algorithm.to_string();
        let output = Command::new(program("tsig-keygen").unwrap())
            .args(["-a", &algorithm, "East.West.example"])
            .kill_on_drop(true)
            .output();
        let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
        let key = Key::from_file_text(&text, None, None).unwrap();
        assert_eq!(key.name().to_string(), "east.west.example");
        assert_eq!(key.algorithm().to_string(), algorithm);
    }
}

#[tokio::test]
async fn bind_and_we_verify_each_other() {
    with_peer(Kind::Bind).await;
}

#[tokio::test]
async fn knot_and_we_verify_each_other() {
    with_peer(Kind::Knot).await;
}

#[tokio::test]
async fn nsd_and_we_verify_each_other() {
    with_peer(Kind::Nsd).await;
}

async fn with_peer(kind: Kind) {
    if !has(&[kind.program()]) {
        return;
    }
    let ours = Ours::start(keys(), 0, Fault::None).await;
    let peer = Daemon::start(kind, ours.address).await;
    let question = |id| wire::question(id, false, daemon::ZONE, wire::SOA);
    for algorithm in ALGORITHMS {
        let (query, mut checking) = key(algorithm).sign_request(question(2), now()).unwrap();
        let answer = ask(peer.address, &query).await;
        let proven = checking.verify(&answer, now()).unwrap();
        assert_eq!(proven.iter().map(|message| wire::answers(message)).collect::<Vec<_>>(), [[wire::SOA]]);
        transfer(&peer, algorithm).await;
    }
    refusals(&peer).await;
    notify(&peer).await;
    assert!(is_secondary(&peer).await, "{}", peer.log());
}

/// One datagram there and one back.
async fn ask(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(query).await.unwrap();
    let mut buffer = vec![0; 4096];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an answer in time").unwrap();
    buffer.truncate(length);
    buffer
}

/// All messages of a transfer verify; without one of them, or with two swapped, they do not.
async fn transfer(peer: &Daemon, algorithm: Algorithm) {
    let question = wire::question(3, false, daemon::ZONE, wire::AXFR);
    let signed_at = now();
    let (query, mut checking) = key(algorithm).sign_request(question.clone(), signed_at).unwrap();
    let mut stream = TcpStream::connect(peer.address).await.unwrap();
    stream
        .write_all(&[&u16::try_from(query.len()).unwrap().to_be_bytes(), &query[..]].concat())
        .await
        .unwrap();
    let (mut received, mut kinds) = (Vec::new(), Vec::new());
    while kinds.iter().filter(|&&kind| kind == wire::SOA).count() < 2 {
        let length = timeout(PATIENCE, stream.read_u16()).await.expect("more in time").unwrap();
        let mut message = vec![0; usize::from(length)];
        stream.read_exact(&mut message).await.unwrap();
        for proven in checking.verify(&message, now()).unwrap() {
            kinds.extend(wire::answers(&proven));
        }
        received.push(message);
    }
    let signed = received.iter().filter(|message| message[11] > 0).count();
    eprintln!("{algorithm}: {} records in {} messages, {signed} of them signed", kinds.len(), received.len());
    assert_eq!(kinds.len(), daemon::TRANSFERRED);
    assert!(received.len() > 10);

    let proven_of = |messages: &[Vec<u8>]| {
        // Signed again at the same time, so with the same MAC.
        let (_, mut checking) = key(algorithm).sign_request(question.clone(), signed_at).unwrap();
        messages.iter().map_while(|message| checking.verify(message, now()).ok()).flatten().count()
    };
    assert_eq!(proven_of(&received), received.len());
    let (mut swapped, mut lost) = (received.clone(), received.clone());
    swapped.swap(4, 5);
    lost.remove(4);
    assert!(proven_of(&swapped) <= 4 && proven_of(&lost) <= 4);
}

/// Each error that the peer answers is told apart.
async fn refusals(peer: &Daemon) {
    let algorithm = Algorithm::HmacSha256;
    let name = key(algorithm).name().clone();
    let other_name = Name::parse("unknown").unwrap();
    let unknown = Key::new(&other_name, algorithm, SECRET).unwrap();
    // As if our clock were an hour behind; to the second it cannot be said.
    let behind = now() - HOUR;
    for (key, at) in [(key_with(algorithm, OTHER_SECRET), now()), (unknown, now()), (key(algorithm), behind)]
    {
        let question = wire::question(4, false, daemon::ZONE, wire::SOA);
        let (query, mut checking) = key.sign_request(question, at).unwrap();
        let mismatch = checking.verify(&ask(peer.address, &query).await, at).unwrap_err();
        eprintln!("{mismatch}");
        if at == behind {
            let Mismatch::Clocks { server, now } = mismatch else { panic!("{mismatch}") };
            assert!(now == behind && server.abs_diff(behind + HOUR) < PATIENCE.as_secs());
        } else if *key.name() == name {
            assert_eq!(mismatch, Mismatch::AnotherSecret { key: name.clone() });
        } else {
            assert_eq!(mismatch, Mismatch::UnknownKey { key: other_name.clone(), algorithm });
        }
    }
}

/// A signed NOTIFY is taken, and the word that it was is signed.
async fn notify(peer: &Daemon) {
    let notify = wire::question(5, true, ours::ZONE, wire::SOA);
    let (query, mut checking) = key(Algorithm::HmacSha256).sign_request(notify, now()).unwrap();
    let proven = checking.verify(&ask(peer.address, &query).await, now()).unwrap();
    assert_eq!(wire::code(&proven[0]), 0);
}

/// It has fetched our zone, which we give to nobody who does not sign; and of what we signed it
/// has found every message right.
async fn is_secondary(peer: &Daemon) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let last = format!("r{}-{}.{}", ours::TEXT_MESSAGES - 1, ours::TEXTS - 1, ours::ZONE);
        let answer = ask(peer.address, &wire::question(6, false, &last, wire::TXT)).await;
        if wire::answers(&answer) == [wire::TXT] {
            return true;
        }
        sleep(Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test]
async fn a_secondary_does_not_take_a_transfer_whose_signature_is_broken() {
    for kind in [Kind::Bind, Kind::Knot, Kind::Nsd] {
        if !has(&[kind.program()]) {
            continue;
        }
        let ours = Ours::start(keys(), 0, Fault::Mac(9)).await;
        let peer = Daemon::start(kind, ours.address).await;
        let deadline = Instant::now() + PATIENCE;
        while !kind.says_broken(&peer.log()) {
            assert!(Instant::now() < deadline, "{kind:?}: {}", peer.log());
            sleep(Duration::from_millis(100)).await;
        }
        let question = wire::question(7, false, ours::ZONE, wire::SOA);
        assert_eq!(wire::answers(&ask(peer.address, &question).await), [0_u16; 0], "{kind:?}");
    }
}
