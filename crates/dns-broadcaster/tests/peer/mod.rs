//! Real name servers and resolvers for tests: each is written a configuration, started on a free
//! port of 127.0.0.1 by the user who runs the tests, and ended with its handle.
//!
//! A [`Secondary`] fetches zones from hidden primaries, as an operator's name server does; a [`Master`] has
//! a zone of its own and takes updates of it; a [`Giver`] has one and gives it to whoever follows; a
//! [`Resolver`] asks the servers of its stub zones as if the world had delegated them; a
//! [`Primary`] of the harness's own shows that both work before ours is put to the test.
//!
//! What holds for all of them:
//! - NOTIFY is taken from all of 127.0.0.0/8, signed or not. Give each primary an address of its
//!   own there (and send its NOTIFY from it) when a secondary has several: Knot and PowerDNS take
//!   a NOTIFY for one of their first primary at that address, whatever its port, and ask no other.
//! - Start primaries first. A secondary that met nobody, or was refused, asks again after a second
//!   or two; PowerDNS only after twenty and more, whatever it is told.
//! - Nothing waits for a fixed time: [`eventually`] polls, and fails with the server's log.
//!
//! A confined program may not read a temporary folder, so where AppArmor is active servers are
//! started through `aa-exec -p unconfined`.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part of the harness")]
#![allow(clippy::unwrap_used, reason = "a harness that cannot go on fails the test")]

mod bind;
mod giver;
mod knot;
mod knot_resolver;
mod nsd;
mod powerdns;
mod process;
mod question;
mod unbound;

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

pub(crate) use self::giver::{Giver, Row};
pub(crate) use self::knot::Primary;
use self::process::Running;
pub(crate) use self::process::processes;
pub(crate) use self::question::{PATIENCE, address_of, eventually, notify, question, secure_question};

/// The secret that the servers of a zone share (RFC 8945).
#[derive(Clone, Debug)]
pub(crate) struct TsigKey {
    /// A domain name, without the dot at its end.
    pub(crate) name: String,
    /// As configuration files spell it, such as `hmac-sha256`.
    pub(crate) algorithm: String,
    pub(crate) secret_base64: String,
}

/// A name server that can be a secondary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bind,
    Nsd,
    Knot,
    PowerDns,
}

impl Kind {
    /// Whether it takes catalogues. NSD does from its version 4.9 on, which Debian 12 does not have.
    pub(crate) fn takes_catalogues(self) -> bool {
        self != Self::Nsd
    }

    /// See [`require`].
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Bind => require(&["named", "rndc"]),
            Self::Nsd => require(&["nsd", "nsd-control"]),
            Self::Knot => require(&["knotd", "knotc"]),
            Self::PowerDns => require(&["pdns_server", "pdns_control", "sqlite3"]),
        }
    }
}

/// A resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResolverKind {
    Unbound,
    Bind,
    Knot,
}

impl ResolverKind {
    /// See [`require`].
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Unbound => require(&["unbound"]),
            Self::Bind => require(&["named", "rndc"]),
            Self::Knot => require(&["kresd"]),
        }
    }
}

/// What a secondary is told.
struct Feed<'a> {
    zones: &'a [&'a str],
    /// Zones that say which others it fetches from the same primaries (RFC 9432).
    catalogues: &'a [&'a str],
    /// Whether the zones come signed.
    is_signed: bool,
    primaries: &'a [SocketAddr],
    key: Option<&'a TsigKey>,
}

/// A real secondary; ends when dropped.
#[derive(Debug)]
pub(crate) struct Secondary {
    kind: Kind,
    running: Running,
}

impl Secondary {
    /// Starts a secondary that fetches each of `zones` from any of `primaries`, signed with `key`
    /// where there is one, and waits until it answers, though not for its first transfer. What it
    /// keeps is put below `folder`, which any number of servers may share.
    pub(crate) async fn start(
        kind: Kind,
        folder: &Path,
        zones: &[&str],
        primaries: &[SocketAddr],
        key: Option<&TsigKey>,
    ) -> Self {
        Self::fed(kind, folder, &Feed { zones, catalogues: &[], is_signed: false, primaries, key }).await
    }

    /// As [`Secondary::start`], for zones that come signed.
    pub(crate) async fn of_signed(
        kind: Kind,
        folder: &Path,
        zones: &[&str],
        primaries: &[SocketAddr],
    ) -> Self {
        Self::fed(kind, folder, &Feed { zones, catalogues: &[], is_signed: true, primaries, key: None }).await
    }

    /// As [`Secondary::start`], for whatever zones the catalogues of these names list.
    pub(crate) async fn of_catalogues(
        kind: Kind,
        folder: &Path,
        catalogues: &[&str],
        primaries: &[SocketAddr],
        key: Option<&TsigKey>,
    ) -> Self {
        Self::fed(kind, folder, &Feed { zones: &[], catalogues, is_signed: false, primaries, key }).await
    }

    async fn fed(kind: Kind, folder: &Path, feed: &Feed<'_>) -> Self {
        let running = match kind {
            Kind::Bind => process::start("bind", folder, |home, at| bind::secondary(home, at, feed)).await,
            Kind::Nsd => process::start("nsd", folder, |home, at| nsd::secondary(home, at, feed)).await,
            Kind::Knot => process::start("knot", folder, |home, at| knot::secondary(home, at, feed)).await,
            Kind::PowerDns => {
                process::start("powerdns", folder, |home, at| powerdns::secondary(home, at, feed)).await
            }
        };
        Self { kind, running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// All that it said so far.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// Has it read its configuration and zones again.
    pub(crate) async fn reload(&self) {
        self.running.control(&["reload"]).await;
    }

    /// Has it fetch the whole zone now, whatever its serial.
    pub(crate) async fn retransfer(&self, zone: &str) {
        let order = match self.kind {
            Kind::Bind => "retransfer",
            Kind::Nsd => "force_transfer",
            Kind::Knot => "zone-retransfer",
            // By IXFR, which brings nothing when its serial is that of the primary.
            Kind::PowerDns => "retrieve",
        };
        self.running.control(&[order, bare(zone)]).await;
    }

    /// Asks it to end and waits until it has; as dropping it does.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

/// A zone that somebody else masters, and who may update it.
struct Mastered<'a> {
    zone: &'a str,
    /// Its records, the SOA among them: name, type and value, all names whole and without a final dot, but
    /// in values.
    records: &'a [[&'a str; 3]],
    key: &'a TsigKey,
    /// The key may change addresses and texts at this name and beneath it; without one everything
    /// everywhere.
    part: Option<&'a str>,
}

impl Mastered<'_> {
    /// Writes its zone file and returns the file's name.
    fn write(&self, home: &Path) -> &'static str {
        let line = |[owner, kind, value]: &[&str; 3]| format!("{owner}. 60 {kind} {value}\n");
        fs::write(home.join("mastered.zone"), self.records.iter().map(line).collect::<String>()).unwrap();
        "mastered.zone"
    }
}

/// A real server that masters a zone and takes updates of it; ends when dropped.
#[derive(Debug)]
pub(crate) struct Master {
    running: Running,
}

impl Master {
    /// Starts a server with `zone`, whose `records` are a name, a type and a value each. Who holds `key` may change A, AAAA, CNAME and TXT
    /// records at `part` and beneath it; with PowerDNS what the operators' guide allows, and with NSD nothing.
    pub(crate) async fn start(
        kind: Kind,
        folder: &Path,
        zone: &str,
        records: &[[&str; 3]],
        key: &TsigKey,
        part: &str,
    ) -> Self {
        Self::of(kind, folder, &Mastered { zone, records, key, part: Some(part) }).await
    }

    /// As [`Master::start`]; who holds `key` may change whatever the server lets anybody change.
    pub(crate) async fn open(
        kind: Kind,
        folder: &Path,
        zone: &str,
        records: &[[&str; 3]],
        key: &TsigKey,
    ) -> Self {
        Self::of(kind, folder, &Mastered { zone, records, key, part: None }).await
    }

    async fn of(kind: Kind, folder: &Path, mastered: &Mastered<'_>) -> Self {
        let running = match kind {
            Kind::Bind => process::start("bind", folder, |home, at| bind::master(home, at, mastered)).await,
            Kind::Nsd => process::start("nsd", folder, |home, at| nsd::master(home, at, mastered)).await,
            Kind::Knot => process::start("knot", folder, |home, at| knot::master(home, at, mastered)).await,
            Kind::PowerDns => {
                process::start("powerdns", folder, |home, at| powerdns::master(home, at, mastered)).await
            }
        };
        Self { running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// All that it said so far.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// It stands still: what it is sent waits for it.
    pub(crate) fn pause(&self) {
        self.running.signal(Signal::SIGSTOP);
    }

    /// It goes on.
    pub(crate) fn resume(&self) {
        self.running.signal(Signal::SIGCONT);
    }
}

/// A real resolver; ends when dropped.
#[derive(Debug)]
pub(crate) struct Resolver {
    running: Running,
}

/// The key of a zone that a resolver believes.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub(crate) zone: String,
    /// Tag, algorithm, kind of digest and digest, as a DS record has them in a zone file.
    pub(crate) ds: String,
}

impl Resolver {
    /// Starts a resolver that asks the servers of `stubs` for what lies at or below their zones,
    /// and waits until it answers. It caches as in production and validates nothing.
    ///
    /// BIND asks the servers of a stub zone as a resolver does (RD = 0, whatever delegation they
    /// give is followed) only at one port for all: see `bind::resolver` for what it does otherwise.
    pub(crate) async fn start(kind: ResolverKind, folder: &Path, stubs: &[(&str, &[SocketAddr])]) -> Self {
        Self::validating(kind, folder, stubs, &[]).await
    }

    /// As [`Resolver::start`], and what lies at or below the zones of `anchors` is validated.
    pub(crate) async fn validating(
        kind: ResolverKind,
        folder: &Path,
        stubs: &[(&str, &[SocketAddr])],
        anchors: &[Anchor],
    ) -> Self {
        let running = match kind {
            ResolverKind::Unbound => {
                process::start("unbound", folder, |home, at| unbound::resolver(home, at, stubs, anchors))
                    .await
            }
            ResolverKind::Bind => {
                process::start("bind", folder, |home, at| bind::resolver(home, at, stubs, anchors)).await
            }
            ResolverKind::Knot => {
                process::start("kresd", folder, |home, at| knot_resolver::resolver(home, at, stubs, anchors))
                    .await
            }
        };
        Self { running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// All that it said so far.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// Asks it to end and waits until it has; as dropping it does.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

/// Whether all of `programs` are here. A test that lacks one says so and returns; in CI nothing is
/// skipped, and it panics with what to install.
pub(crate) fn require(programs: &[&str]) -> bool {
    for &program in programs {
        if find(program).is_none() {
            let why = format!("no {program}: apt-get install {}", package(program));
            eprintln!("!!!! SKIPPED: {why}");
            assert!(env::var_os("CI").is_none(), "nothing is skipped in CI: {why}");
            return false;
        }
    }
    true
}

/// The Debian package of a program.
fn package(program: &str) -> &'static str {
    match program {
        "named" => "bind9",
        "rndc" | "named-checkconf" | "named-checkzone" | "dnssec-verify" => "bind9-utils",
        "dig" | "delv" | "nsupdate" => "bind9-dnsutils",
        "nsd" | "nsd-control" | "nsd-checkconf" => "nsd",
        "knotd" | "knotc" => "knot",
        "pdns_server" | "pdns_control" => "pdns-server pdns-backend-sqlite3",
        "sqlite3" => "sqlite3",
        "unbound" | "unbound-checkconf" => "unbound",
        "kresd" => "knot-resolver",
        "kdig" | "knsupdate" => "knot-dnsutils",
        "openssl" => "openssl",
        other => panic!("no test needs {other:?}"),
    }
}

/// Debian keeps the folders of servers out of a user's `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// A command that runs `program`, which [`require`] has found.
fn command(program: &str) -> std::process::Command {
    let path = find(program).unwrap_or_else(|| panic!("no {program}: apt-get install {}", package(program)));
    let confined = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if confined.is_ok_and(|enabled| enabled.starts_with('Y')) {
        let mut command = std::process::Command::new("aa-exec");
        command.args(["-p", "unconfined", "--"]).arg(path);
        command
    } else {
        std::process::Command::new(path)
    }
}

/// Zone names as every server takes them.
fn bare(zone: &str) -> &str {
    zone.strip_suffix('.').unwrap_or(zone)
}

/// Makes an address where nobody answers the root of a resolver, so that no test asks the Internet.
/// Returns the file's name.
fn write_root_hints(home: &Path) -> &'static str {
    let text = ". 3600000 NS nobody.invalid.\nnobody.invalid. 3600000 A 127.254.254.253\n";
    fs::write(home.join("root.hints"), text).unwrap();
    "root.hints"
}

/// Where servers listen.
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Where whoever may notify them and transfer from them is.
const LOOPBACKS: &str = "127.0.0.0/8";
