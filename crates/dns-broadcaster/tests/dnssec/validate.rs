//! Resolvers that validate, with a system's key as what they believe.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use switchback_dns::core::dnssec::Denial;
use switchback_dns::core::dnssec::key::{Algorithm, PublicKey};
use switchback_dns::core::name::Name;
use tokio::net::UdpSocket;

use crate::broadcaster::{Bound, Broadcaster};
use crate::peer::{Anchor, Resolver, ResolverKind, eventually, question, require, secure_question};
use crate::{dnssec, own_zone};

const SYSTEM: &str = "west.example.com";
const TENANT: &str = "new.west.example.com";
/// Servers so far: each has an address of its own.
static SERVERS: AtomicU8 = AtomicU8::new(1);

/// An address for the next server, and any port.
fn next() -> SocketAddr {
    (Ipv4Addr::new(127, 77, SERVERS.fetch_add(1, Ordering::Relaxed), 1), 0).into()
}

async fn west(folder: &Path, algorithm: Algorithm, denial: Denial) -> Broadcaster {
    let mut west = Bound::at(&folder.join("west"), next()).await.dnssec(dnssec(algorithm, denial)).serve();
    west.apply(1, vec![own_zone(TENANT)]).await;
    west
}

/// What a resolver has to believe to believe this server.
async fn anchor(server: SocketAddr, zone: &str) -> Anchor {
    let answer =
        eventually("keys", String::new, async || question(server, zone, RecordType::DNSKEY).await).await;
    let keys = answer.answers.iter().filter_map(|record| match &record.data {
        RData::Unknown { rdata, .. } => PublicKey::of_rdata(&rdata.anything),
        _ => None,
    });
    let [key] = &keys.collect::<Vec<_>>()[..] else { panic!("{answer}") };
    let ds = key.ds(&Name::parse(zone).unwrap());
    let [high, low, algorithm, digest_kind] = *ds.first_chunk().unwrap();
    let digest: String = ds[4..].iter().map(|byte| format!("{byte:02X}")).collect();
    let tag = u16::from_be_bytes([high, low]);
    Anchor { zone: zone.into(), ds: format!("{tag} {algorithm} {digest_kind} {digest}") }
}

/// The answer, once there is one.
async fn answer(resolver: &Resolver, name: &str, kind: RecordType) -> Message {
    let ask = async || secure_question(resolver.address(), name, kind).await;
    eventually("an answer", || resolver.log(), ask).await
}

async fn believes(kind: ResolverKind, algorithm: Algorithm, denial: Denial) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let west = west(folder.path(), algorithm, denial).await;
    // Who hears of the tenant's own name servers asks those, which nobody here can reach.
    let stubs = [(SYSTEM, &[west.dns][..]), (TENANT, &[west.dns])];
    let anchors = [anchor(west.dns, SYSTEM).await];
    let resolver = Resolver::validating(kind, folder.path(), &stubs, &anchors).await;
    use RecordType::{A, AAAA, CDS, DNSKEY, DS, MX, SOA};
    use ResponseCode::{NXDomain, NoError};
    for (name, kind, code, records) in [
        ("west.example.com", A, NoError, 1),
        ("west.example.com", SOA, NoError, 1),
        ("west.example.com", DNSKEY, NoError, 1),
        ("west.example.com", CDS, NoError, 1),
        ("s3.west.example.com", A, NoError, 1),
        // No record of the type, and no name.
        ("s3.west.example.com", MX, NoError, 0),
        ("absent.west.example.com", A, NXDomain, 0),
        ("a.b.absent.west.example.com", A, NXDomain, 0),
        // A zone beneath it, which is delegated with a DS.
        ("new.west.example.com", DS, NoError, 1),
        ("new.west.example.com", A, NoError, 1),
        ("new.west.example.com", AAAA, NoError, 0),
        // By a wildcard, and nothing of the type there.
        ("photos.new.west.example.com", A, NoError, 1),
        ("a.b.new.west.example.com", A, NoError, 1),
        ("photos.new.west.example.com", AAAA, NoError, 0),
    ] {
        let answer = answer(&resolver, name, kind).await;
        let log = format!("{name} {kind}: {answer}\n{}", resolver.log());
        assert_eq!(answer.metadata.response_code, code, "{log}");
        assert!(answer.metadata.authentic_data, "not proved: {log}");
        let found = answer.answers.iter().filter(|record| record.record_type() == kind).count();
        assert_eq!(found, records, "{log}");
    }
    west.stop().await;
}

/// Between a server and who asks it: another address in what passes.
async fn forger(server: SocketAddr) -> SocketAddr {
    let front = UdpSocket::bind(next()).await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = front.recv_from(&mut buffer).await {
            let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            back.send_to(&buffer[..length], server).await.unwrap();
            let length = back.recv(&mut buffer).await.unwrap();
            let starts: Vec<_> =
                (0..length - 4).filter(|&at| buffer[at..].starts_with(&[192, 0, 2, 7])).collect();
            starts.into_iter().for_each(|at| buffer[at + 3] = 8);
            front.send_to(&buffer[..length], client).await.unwrap();
        }
    });
    address
}

async fn believes_nobody_else(kind: ResolverKind) {
    if !kind.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let west = west(folder.path(), Algorithm::EcdsaP256, Denial::Nsec3).await;
    let forger = forger(west.dns).await;
    let anchors = [anchor(west.dns, SYSTEM).await];
    let stubs = [(SYSTEM, &[forger][..]), (TENANT, &[forger])];
    let resolver = Resolver::validating(kind, folder.path(), &stubs, &anchors).await;
    let whole = answer(&resolver, "s3.west.example.com", RecordType::A).await;
    assert!(whole.metadata.authentic_data, "{whole}\n{}", resolver.log());
    for name in [TENANT, "photos.new.west.example.com"] {
        let forged = answer(&resolver, name, RecordType::A).await;
        assert_eq!(forged.metadata.response_code, ResponseCode::ServFail, "{forged}\n{}", resolver.log());
    }
    west.stop().await;
}

macro_rules! for_each_resolver {
    ($($believes:ident $believes_hashes:ident $believes_nobody_else:ident $kind:ident $algorithm:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $believes() {
            believes(ResolverKind::$kind, Algorithm::$algorithm, Denial::Nsec).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $believes_hashes() {
            believes(ResolverKind::$kind, Algorithm::$algorithm, Denial::Nsec3).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $believes_nobody_else() {
            believes_nobody_else(ResolverKind::$kind).await;
        }
    )*};
}

for_each_resolver! {
    unbound_believes_it unbound_believes_hashes unbound_believes_nobody_else Unbound EcdsaP256;
    bind_believes_it bind_believes_hashes bind_believes_nobody_else Bind Ed25519;
    knot_resolver_believes_it knot_resolver_believes_hashes knot_resolver_believes_nobody_else Knot EcdsaP256;
}

/// What `delv` says of an answer that it asks the server for itself, so that nothing is kept from the one
/// before.
fn judged(server: SocketAddr, anchors: &Path, name: &str, kind: &str) -> String {
    let delv = Command::new("delv")
        .args([&format!("@{}", server.ip()), "-p", &server.port().to_string()])
        .arg("-a")
        .arg(anchors)
        .args([&format!("+root={SYSTEM}"), name, kind])
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&delv.stdout), String::from_utf8_lossy(&delv.stderr))
}

async fn every_answer_is_proved(denial: Denial) {
    if !require(&["delv"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    let text = "a.b.c A 192.0.2.9\n*.w A 192.0.2.9\nx.w TXT x\nunsigned NS ns.elsewhere.test.\n\
                deep.er.unsigned2 NS ns.elsewhere.test.\n";
    fs::write(&own, format!("$TTL 60\n{text}")).unwrap();
    let bound = Bound::at(&folder.path().join("west"), next()).await.zone_files(vec![own]);
    let mut west = bound.dnssec(dnssec(Algorithm::EcdsaP256, denial)).serve();
    west.apply(1, vec![own_zone(TENANT)]).await;
    let Anchor { zone, ds } = anchor(west.dns, SYSTEM).await;
    let [tag, algorithm, digest_kind, digest] = ds.split(' ').collect::<Vec<_>>()[..] else { panic!("{ds}") };
    let anchors = folder.path().join("anchors");
    let text = format!("{zone} static-ds {tag} {algorithm} {digest_kind} \"{digest}\";");
    fs::write(&anchors, format!("trust-anchors {{ {text} }};\n")).unwrap();
    const FOUND: &str = "; fully validated";
    const DENIED: &str = "; negative response, fully validated";
    for (name, kind, said) in [
        ("west.example.com", "SOA", FOUND),
        ("a.b.c.west.example.com", "A", FOUND),
        ("a.b.c.west.example.com", "MX", DENIED),
        // A name that lies between others, and names that do not.
        ("b.c.west.example.com", "A", DENIED),
        ("absent.west.example.com", "A", DENIED),
        ("x.absent.b.c.west.example.com", "A", DENIED),
        // By a wildcard, and not.
        ("y.w.west.example.com", "A", FOUND),
        ("z.y.w.west.example.com", "A", FOUND),
        ("z.y.w.west.example.com", "MX", DENIED),
        ("y.x.w.west.example.com", "A", DENIED),
        ("photos.new.west.example.com", "A", FOUND),
        ("photos.new.west.example.com", "AAAA", DENIED),
        // Zones beneath it, signed and not.
        ("new.west.example.com", "DS", FOUND),
        ("unsigned.west.example.com", "DS", DENIED),
        ("deep.er.unsigned2.west.example.com", "DS", DENIED),
    ] {
        let (dns, anchors) = (west.dns, anchors.clone());
        let judged = tokio::task::spawn_blocking(move || judged(dns, &anchors, name, kind)).await.unwrap();
        assert!(judged.lines().any(|line| line == said), "{denial:?}, {name} {kind}: {judged}");
    }
    west.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_proved_by_names() {
    every_answer_is_proved(Denial::Nsec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_proved_by_hashes() {
    every_answer_is_proved(Denial::Nsec3).await;
}
