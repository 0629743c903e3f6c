//! Copies of others' zones, of primaries of our own and of those that people run.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

#[path = "../broadcaster/mod.rs"]
mod broadcaster;
mod chain;
mod config;
mod ours;
#[path = "../peer/mod.rs"]
mod peer;
mod theirs;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use broadcaster::{Broadcaster, PATIENCE};
use peer::eventually;
use switchback_dns::access::{Primary, Secondary};
use switchback_dns::client;
use switchback_dns::core::name::Name;
use switchback_dns::core::secondary::Follow;
use switchback_dns::tsig::{Algorithm, Key};
use switchback_proto::dns::v1::{self as wire, ListSecondariesRequest};

/// Systems so far: servers are told apart by their addresses.
static SYSTEMS: AtomicU8 = AtomicU8::new(1);

/// An address that nobody else has.
pub(crate) fn address() -> SocketAddr {
    (Ipv4Addr::new(127, 78, SYSTEMS.fetch_add(1, Ordering::Relaxed), 1), 0).into()
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn key() -> Key {
    let secret = "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz";
    Key::from_base64(&name("transfer.example.com"), Algorithm::HmacSha256, secret).unwrap()
}

pub(crate) fn primary(
    address: SocketAddr,
    zones: &[&str],
    catalogue: Option<&str>,
    key: Option<&Key>,
) -> Primary {
    Primary {
        name: "west".into(),
        address,
        key: key.map(|key| key.name().clone()),
        follow: Follow { zones: zones.iter().copied().map(name).collect(), catalogue: catalogue.map(name) },
    }
}

pub(crate) fn secondary(address: SocketAddr, catalogue: bool, key: Option<&Key>) -> Secondary {
    Secondary {
        name: "east".into(),
        address,
        key: key.map(|key| key.name().clone()),
        catalogue,
        zones: Default::default(),
    }
}

/// What `server` says of its primary, once it `holds`.
pub(crate) async fn knows(
    server: &Broadcaster,
    what: &str,
    log: impl Fn() -> String,
    holds: impl Fn(&wire::Primary) -> bool,
) -> wire::Primary {
    let seen = std::sync::Mutex::new(None);
    let ask = async || {
        let listed = server.client.clone().list_secondaries(ListSecondariesRequest::default()).await.ok()?;
        let primary = listed.into_inner().primaries.into_iter().next()?;
        *seen.lock().unwrap() = Some(primary.clone());
        Some(primary).filter(|primary| holds(primary))
    };
    eventually(what, || format!("{:#?}\n{}", seen.lock().unwrap(), log()), ask).await
}

/// Waits until `server` answers the serial that `primary` has.
pub(crate) async fn converges(
    server: SocketAddr,
    primary: SocketAddr,
    zone: &str,
    log: impl Fn() -> String,
) -> u32 {
    let newest = client::soa(primary, zone, PATIENCE).await.unwrap().unwrap();
    let what = format!("{zone} at {server} has serial {newest}");
    let ask = async || client::soa(server, zone, PATIENCE).await.ok()?.filter(|serial| *serial == newest);
    eventually(&what, log, ask).await
}
