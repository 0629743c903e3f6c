//! Signed zones, judged by others: `dnssec-verify` of BIND reads whole zones, and resolvers that validate
//! ask for what is there and for what is not.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

#[path = "../broadcaster/mod.rs"]
mod broadcaster;
mod failover;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../random/mod.rs"]
mod random;
mod renew;
mod roll;
mod validate;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use broadcaster::{Bound, POLICY, zone};
use peer::require;
use random::{Dice, zone_text};
use switchback_dns::access;
use switchback_dns::config::Dnssec;
use switchback_dns::core::dnssec::key::Algorithm;
use switchback_dns::core::dnssec::{Denial, Lifetime};
use switchback_proto::dns::v1::TenantZone;

const ZONES: usize = 40;

pub(crate) fn dnssec(algorithm: Algorithm, denial: Denial) -> Dnssec {
    Dnssec { algorithm, denial, lifetime: Lifetime::of_expire(POLICY.expire) }
}

/// A tenant's zone on no link, for which one system answers.
fn own_zone(name: &str) -> TenantZone {
    let mut zone = zone(name, 0, &["192.0.2.7"], "");
    zone.name_servers.truncate(1);
    zone
}

fn follower() -> access::Secondary {
    access::Secondary {
        name: "all".into(),
        address: ([127, 0, 0, 1], 9).into(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    }
}

/// The zone as its server gives it to who follows, as text.
fn transferred(server: SocketAddr, zone: &str) -> String {
    let dig = Command::new("dig")
        .args(["+noall", "+answer", "+onesoa", "+nomultiline", "axfr", zone])
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(dig.stdout).unwrap();
    assert!(text.contains("RRSIG"), "{zone}: {text}");
    text
}

/// What `dnssec-verify` finds wrong: every signature, the chain of names, and what each says to be there.
fn verify(folder: &Path, zone: &str, text: &str) -> Result<(), String> {
    let path = folder.join("transferred");
    fs::write(&path, text).unwrap();
    // -z: one key signs everything.
    let verify = Command::new("dnssec-verify").args(["-z", "-o", zone]).arg(&path).output().unwrap();
    if verify.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&verify.stderr).into_owned()) }
}

async fn whole_zones_are_signed(algorithm: Algorithm, denial: Denial) {
    if !require(&["dig", "dnssec-verify"]) {
        return;
    }
    let seed = u64::from(std::process::id());
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let zones: Vec<String> = (0..ZONES).map(|number| format!("z{number}.test")).collect();
    for zone in &zones {
        let path = folder.path().join(format!("{zone}.txt"));
        fs::write(&path, zone_text(&mut dice, zone)).unwrap();
        files.push(path);
    }
    let bound = Bound::at(&folder.path().join("state"), ([127, 0, 0, 1], 0).into()).await;
    let bound =
        bound.zone_files(files.clone()).followed_by(&follower(), None).dnssec(dnssec(algorithm, denial));
    let ours = bound.serve();
    let (dns, path) = (ours.dns, folder.path().to_owned());
    tokio::task::spawn_blocking(move || {
        for (zone, file) in zones.iter().zip(&files) {
            let text = transferred(dns, zone);
            if let Err(fault) = verify(&path, zone, &text) {
                panic!("seed {seed}, {zone}: {fault}\n{}\n{text}", fs::read_to_string(file).unwrap());
            }
            let changed = text.replace("192.0.2.53", "192.0.2.54");
            assert_ne!(changed, text);
            assert!(verify(&path, zone, &changed).is_err(), "it finds everything right");
        }
    })
    .await
    .unwrap();
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_zones_are_signed_with_ecdsa() {
    whole_zones_are_signed(Algorithm::EcdsaP256, Denial::Nsec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_zones_are_signed_with_ed25519_and_hashed() {
    whole_zones_are_signed(Algorithm::Ed25519, Denial::Nsec3).await;
}
