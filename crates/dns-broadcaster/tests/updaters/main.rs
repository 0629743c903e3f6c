//! Updates that a running service takes: from the clients that people have, and from whoever means harm.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

#[path = "../broadcaster/mod.rs"]
mod broadcaster;
mod clients;
mod crash;
mod differential;
mod files;
mod follow;
mod guide;
mod ours;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../random/mod.rs"]
mod random;
mod refuse;
mod replay;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};

use broadcaster::{Bound, Broadcaster, PATIENCE, zone};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use switchback_dns::client;
use switchback_dns::core::name::Name;
use switchback_dns::core::receive::{Grant, Grants};
use switchback_dns::core::record::Kind;
use switchback_dns::tsig::{Algorithm, Key};
use switchback_proto::dns::v1::{self as wire, TenantZone};
use tokio::io::AsyncWriteExt as _;

const WEST: &str = "west.example.com";
const REVERSE: &str = "2.0.192.in-addr.arpa";
const SECRET: &str = "c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz";
/// Servers so far: each has an address of its own.
static SERVERS: AtomicU8 = AtomicU8::new(1);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A key that all here share the secret of.
fn key(text: &str) -> Key {
    Key::from_base64(&name(text), Algorithm::HmacSha256, SECRET).unwrap()
}

fn grant(key: &str, zone: &str, names: &[&str], types: &[u16]) -> Grant {
    Grant {
        key: name(key),
        zone: name(zone),
        names: names.iter().map(|text| text.parse().unwrap()).collect(),
        kinds: types.iter().copied().map(Kind).collect(),
    }
}

/// One for certificates, one for hosts, and one for everything that can be granted.
fn grants() -> Grants {
    const ALL: [u16; 9] = [1, 2, 5, 12, 15, 16, 28, 33, 65];
    Grants(vec![
        grant("acme.key", WEST, &["_acme-challenge.s3.west.example.com"], &[16]),
        grant("hosts.key", WEST, &["*.hosts.west.example.com"], &[1, 28]),
        grant("hosts.key", REVERSE, &["*.2.0.192.in-addr.arpa"], &[12]),
        grant("all.key", WEST, &[WEST, "*.west.example.com"], &ALL),
        grant("all.key", REVERSE, &[REVERSE, "*.2.0.192.in-addr.arpa"], &ALL),
        grant("all.key", "acme.west.example.com", &["*.acme.west.example.com"], &ALL),
    ])
}

fn reverse(serial: u32, more: &str) -> String {
    format!(
        "$ORIGIN {REVERSE}.\n$TTL 60\n@ SOA ns1.{WEST}. hostmaster.{WEST}. {serial} 30 10 604800 5\n@ NS ns1.{WEST}.\n{more}"
    )
}

const OWN: &str = "$TTL 300\nwww A 192.0.2.80\nfixed.hosts A 192.0.2.81\n@ MX 10 www\n";

/// A system with files of the operator's, and its state.
struct System {
    folder: tempfile::TempDir,
    dns: SocketAddr,
    running: Option<Broadcaster>,
}

impl System {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = Ipv4Addr::new(127, 79, SERVERS.fetch_add(1, Ordering::Relaxed), 1);
        let mut system = Self { folder, dns: (address, 0).into(), running: None };
        system.write("own.zone", OWN);
        system.write("reverse.zone", &reverse(7, "10 PTR s3.west.example.com.\n"));
        system.start().await;
        let acme = zone("acme.west.example.com", 64, &["192.0.2.7"], "");
        system.apply(1, vec![acme]).await;
        system
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    async fn bound(&self) -> Bound {
        let files = ["own.zone", "reverse.zone"].map(|file| self.path(file)).to_vec();
        let keys = ["acme.key", "hosts.key", "all.key", "nobody.key"].map(key);
        let bound = Bound::at(&self.path("state"), self.dns).await;
        bound.zone_files(files).updaters(grants(), &keys)
    }

    async fn start(&mut self) {
        let bound = self.bound().await;
        self.dns = bound.dns;
        self.running = Some(bound.serve());
    }

    async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    async fn apply(&mut self, generation: u64, tenants: Vec<TenantZone>) {
        self.running.as_mut().unwrap().apply(generation, tenants).await;
    }

    async fn serial(&self, zone: &str) -> u32 {
        client::soa(self.dns, zone, PATIENCE).await.unwrap().unwrap()
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        peer::question(self.dns, name, kind).await.unwrap()
    }

    /// The answers, in the words of a zone file.
    async fn texts(&self, name: &str, kind: RecordType) -> Vec<String> {
        let answer = self.ask(name, kind).await;
        answer.answers.iter().map(|record| format!("{} {}", record.ttl, record.data)).collect()
    }

    /// Has `nsupdate` send these lines as one update of `zone`.
    async fn update(&self, key: &str, zone: &str, lines: &[&str]) -> Result<(), String> {
        run("nsupdate", &[], self.dns, key, zone, lines).await
    }
}

/// Has a program send these lines as one update; what it says when that is not taken.
async fn run(
    program: &str,
    arguments: &[&str],
    server: SocketAddr,
    key: &str,
    zone: &str,
    lines: &[&str],
) -> Result<(), String> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .args(["-y", &format!("hmac-sha256:{key}:{SECRET}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!(
        "server {} {}\nzone {zone}.\n{}\nsend\nanswer\n",
        server.ip(),
        server.port(),
        lines.join("\n")
    );
    child.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
    let done = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    if done.status.success() && said.contains("NOERROR") { Ok(()) } else { Err(said) }
}
