//! The harness of real name servers, proved with a real primary: what a later test blames on our
//! broadcaster is then not the harness's fault.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod peer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use peer::{
    Kind, PATIENCE, Primary, Resolver, ResolverKind, Secondary, TsigKey, address_of, eventually, notify,
    processes, question,
};
use switchback_dns::client;

const ZONE: &str = "acme.example.com";
const NAME: &str = "www.acme.example.com";
/// So long that a secondary that follows within a test's patience was told.
const REFRESH: u32 = 3600;
/// Of the name that moves, in seconds.
const TTL: u32 = 2;

fn zone_file(server: Ipv4Addr) -> String {
    format!(
        "$ORIGIN {ZONE}.
@ {REFRESH} SOA ns hostmaster 1 {REFRESH} {REFRESH} 86400 1
@ {REFRESH} NS ns
ns {REFRESH} A {server}
www {TTL} A 192.0.2.1
text {TTL} TXT \"two\" \"parts\"
",
    )
}

fn key(secret_base64: &str) -> TsigKey {
    TsigKey {
        name: "acme.switchback".into(),
        algorithm: "hmac-sha256".into(),
        secret_base64: secret_base64.into(),
    }
}

async fn start_primary(folder: &Path, key: Option<&TsigKey>) -> Primary {
    Primary::knot(folder, Ipv4Addr::LOCALHOST, ZONE, &zone_file(Ipv4Addr::LOCALHOST), key).await
}

async fn answers(server: SocketAddr, expected: [u8; 4], log: impl Fn() -> String) {
    let expected = Ipv4Addr::from(expected);
    eventually(&format!("{NAME} is {expected}"), log, async || {
        address_of(server, NAME).await.filter(|(found, _)| *found == expected)
    })
    .await;
}

/// One secondary and one primary, from the first transfer to a change.
async fn follows(kind: Kind, key: Option<&TsigKey>) {
    if !kind.is_installed() || !Kind::Knot.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let primary = start_primary(folder.path(), key).await;
    let secondary = Secondary::start(kind, folder.path(), &[ZONE], &[primary.address()], key).await;
    let log = || format!("{}\n--- the primary:\n{}", secondary.log(), primary.log());
    answers(secondary.address(), [192, 0, 2, 1], log).await;

    primary.notify(&[secondary.address()]).await;
    let serial = primary.set("www", TTL, "A", "192.0.2.2").await;
    answers(secondary.address(), [192, 0, 2, 2], log).await;
    let found = client::soa(secondary.address(), ZONE, PATIENCE).await.unwrap();
    assert_eq!(found, Some(serial), "{}", log());
    assert!(primary.log().contains("IXFR, outgoing"), "the change came by itself:\n{}", log());

    // A NOTIFY that nobody signed, whether or not the zone has a key.
    primary.notify(&[]).await;
    primary.set("www", TTL, "A", "192.0.2.3").await;
    let told = eventually("it hears", log, async || notify(secondary.address(), ZONE).await).await;
    assert_eq!(told.metadata.response_code, ResponseCode::NoError, "{}", log());
    answers(secondary.address(), [192, 0, 2, 3], log).await;

    let texts = question(secondary.address(), &format!("text.{ZONE}"), RecordType::TXT).await.unwrap();
    assert_eq!((texts.metadata.response_code, texts.answers.len()), (ResponseCode::NoError, 1));
    assert!(texts.metadata.authoritative);
}

/// Whose key is another's gets nothing: so the key of [`follows`] is really used.
async fn needs_its_key(kind: Kind) {
    if !kind.is_installed() || !Kind::Knot.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let primary = start_primary(folder.path(), Some(&key("cmlnaHQ="))).await;
    let wrong = key("d3Jvbmc=");
    let secondary = Secondary::start(kind, folder.path(), &[ZONE], &[primary.address()], Some(&wrong)).await;
    let log = || format!("{}\n--- the primary:\n{}", secondary.log(), primary.log());
    eventually("the primary refuses", log, async || primary.log().contains("BADSIG").then_some(())).await;
    assert_eq!(address_of(secondary.address(), NAME).await, None, "{}", log());
}

/// It fetches the zone when it is told to, and goes on after it has read its configuration again.
async fn takes_orders(kind: Kind) {
    if !kind.is_installed() || !Kind::Knot.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let primary = start_primary(folder.path(), None).await;
    let secondary = Secondary::start(kind, folder.path(), &[ZONE], &[primary.address()], None).await;
    let log = || format!("{}\n--- the primary:\n{}", secondary.log(), primary.log());
    answers(secondary.address(), [192, 0, 2, 1], log).await;

    // Whatever it has, it asks for it again.
    let transfers = || primary.log().matches("XFR, outgoing").count();
    let before = transfers();
    secondary.retransfer(ZONE).await;
    eventually("the zone is asked for again", log, async || (transfers() > before).then_some(())).await;
    secondary.reload().await;
    answers(secondary.address(), [192, 0, 2, 1], log).await;
}

/// Of two primaries it asks the one that tells it of a change, although the other knows nothing newer.
async fn hears_either_primary(kind: Kind) {
    if !kind.is_installed() || !Kind::Knot.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at =
        async |ip: [u8; 4]| Primary::knot(folder.path(), ip.into(), ZONE, &zone_file(ip.into()), None).await;
    let (first, second) = (at([127, 0, 0, 2]).await, at([127, 0, 0, 3]).await);
    let primaries = [first.address(), second.address()];
    let secondary = Secondary::start(kind, folder.path(), &[ZONE], &primaries, None).await;
    let log =
        || format!("{}\n--- the first:\n{}\n--- the second:\n{}", secondary.log(), first.log(), second.log());
    answers(secondary.address(), [192, 0, 2, 1], log).await;

    for (serial, primary) in [&second, &first].into_iter().enumerate() {
        primary.notify(&[secondary.address()]).await;
        // Past what the other one has.
        for data in ["192.0.2.3", "192.0.2.4", "192.0.2.5"].iter().take(serial + 1) {
            primary.set("www", TTL, "A", data).await;
        }
        let last = [3, 4][serial];
        answers(secondary.address(), [192, 0, 2, last], log).await;
    }
}

/// A resolver keeps what it heard for as long as it may, and then asks again.
async fn resolves(kind: ResolverKind) {
    if !kind.is_installed() || !Kind::Knot.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let primary = start_primary(folder.path(), None).await;
    let resolver = Resolver::start(kind, folder.path(), &[(ZONE, &[primary.address()])]).await;
    let log = || format!("{}\n--- the primary:\n{}", resolver.log(), primary.log());

    let before = Instant::now();
    answers(resolver.address(), [192, 0, 2, 1], log).await;
    primary.set("www", TTL, "A", "192.0.2.2").await;
    answers(resolver.address(), [192, 0, 2, 2], log).await;
    // Resolvers count whole seconds, so that the last one may be a short one.
    let kept = Duration::from_secs(u64::from(TTL) - 1);
    assert!(before.elapsed() >= kept, "it asks again for each question:\n{}", log());
    let (_, ttl) = address_of(resolver.address(), NAME).await.unwrap();
    assert!(ttl <= TTL, "it raised the time to live to {ttl}");

    let absent = question(resolver.address(), &format!("absent.{ZONE}"), RecordType::A).await.unwrap();
    assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain, "{}", log());
    assert!(absent.metadata.recursion_available);
}

macro_rules! for_each_secondary {
    ($($module:ident $kind:ident;)*) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn follows_a_primary() {
                follows(Kind::$kind, None).await;
            }

            #[tokio::test]
            async fn follows_a_primary_that_wants_signatures() {
                follows(Kind::$kind, Some(&key("cmlnaHQ="))).await;
            }

            #[tokio::test]
            async fn gets_nothing_with_the_wrong_key() {
                needs_its_key(Kind::$kind).await;
            }

            #[tokio::test]
            async fn hears_either_of_two_primaries() {
                hears_either_primary(Kind::$kind).await;
            }

            #[tokio::test]
            async fn takes_orders_while_it_runs() {
                takes_orders(Kind::$kind).await;
            }
        }
    )*};
}

for_each_secondary! {
    bind Bind;
    nsd Nsd;
    knot Knot;
    powerdns PowerDns;
}

#[tokio::test]
async fn unbound_answers_a_name_and_what_became_of_it() {
    resolves(ResolverKind::Unbound).await;
}

#[tokio::test]
async fn bind_answers_a_name_and_what_became_of_it() {
    resolves(ResolverKind::Bind).await;
}

#[tokio::test]
async fn knot_resolver_answers_a_name_and_what_became_of_it() {
    resolves(ResolverKind::Knot).await;
}

#[tokio::test]
async fn one_resolver_asks_servers_at_several_ports() {
    for kind in [ResolverKind::Unbound, ResolverKind::Bind, ResolverKind::Knot] {
        if !kind.is_installed() || !Kind::Knot.is_installed() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let ours = start_primary(folder.path(), None).await;
        let text = zone_file(Ipv4Addr::LOCALHOST).replace(ZONE, "example.net");
        let theirs = Primary::knot(folder.path(), Ipv4Addr::LOCALHOST, "example.net", &text, None).await;
        let stubs = [(ZONE, &[ours.address()][..]), ("example.net", &[theirs.address()][..])];
        let resolver = Resolver::start(kind, folder.path(), &stubs).await;
        answers(resolver.address(), [192, 0, 2, 1], || resolver.log()).await;
        let found = eventually(
            "the other zone too",
            || resolver.log(),
            async || address_of(resolver.address(), "www.example.net").await,
        );
        assert_eq!(found.await.0, Ipv4Addr::new(192, 0, 2, 1), "{kind:?}");
    }
}

#[tokio::test]
async fn no_process_outlives_its_handle() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = [SocketAddr::from((Ipv4Addr::LOCALHOST, 1))];
    for kind in [Kind::Bind, Kind::Nsd, Kind::Knot, Kind::PowerDns] {
        if kind.is_installed() {
            let server = Secondary::start(kind, folder.path(), &[ZONE], &nobody, None).await;
            assert!(!processes(folder.path()).is_empty(), "{kind:?} is found while it runs");
            server.stop();
            assert_eq!(processes(folder.path()), [], "{kind:?}");
        }
    }
    for kind in [ResolverKind::Unbound, ResolverKind::Bind, ResolverKind::Knot] {
        if kind.is_installed() {
            let server = Resolver::start(kind, folder.path(), &[(ZONE, &nobody)]).await;
            assert!(!processes(folder.path()).is_empty(), "{kind:?} is found while it runs");
            server.stop();
            assert_eq!(processes(folder.path()), [], "{kind:?}");
        }
    }
}
