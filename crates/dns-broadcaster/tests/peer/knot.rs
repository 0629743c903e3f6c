//! Knot, as secondary, as master and as the harness's own primary.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::giver::{FILE, Given};
use super::process::{self, Control, Running, Setup};
use super::{Feed, LOOPBACKS, Mastered, TsigKey, bare, eventually};

pub(super) fn secondary(home: &Path, address: SocketAddr, feed: &Feed<'_>) -> Setup {
    let mut text = server_section(address);
    text += &key_section(feed.key);
    text += "remote:\n";
    for (at, primary) in feed.primaries.iter().enumerate() {
        text += &remote(&format!("primary{at}"), *primary, feed.key);
    }
    // A list without a key takes only what is not signed, so both kinds need one.
    text += "acl:\n";
    text += &acl("plain", "notify", None);
    if feed.key.is_some() {
        text += &acl("signed", "notify", feed.key);
    }
    text += &acl("asked", "[notify, transfer]", feed.key);
    let primaries: Vec<_> = (0..feed.primaries.len()).map(|at| format!("primary{at}")).collect();
    write!(
        text,
        "template:
  - id: default
    storage: .
    file: \"%s.zone\"
    master: [{primaries}]
    acl: [plain{signed}]
    refresh-min-interval: 2
    retry-min-interval: 1
    retry-max-interval: 2
zone:
",
        primaries = primaries.join(", "),
        signed = if feed.key.is_some() { ", signed" } else { "" },
    )
    .unwrap();
    for zone in feed.zones {
        writeln!(text, "  - domain: {}", bare(zone)).unwrap();
    }
    for catalogue in feed.catalogues {
        // The default template is that of the zones in it. Its serial is told to who may take it, by TCP.
        let options = "catalog-role: interpret\n    catalog-template: default\n    acl: [plain, asked]";
        writeln!(text, "  - domain: {}\n    {options}", bare(catalogue)).unwrap();
    }
    setup(home, &text)
}

pub(super) fn master(home: &Path, address: SocketAddr, mastered: &Mastered<'_>) -> Setup {
    let Mastered { zone, key, part, .. } = mastered;
    let file = mastered.write(home);
    let mut text = server_section(address);
    text += &key_section(Some(key));
    text += "acl:\n";
    text += &acl("update", "update", Some(key));
    if let Some(part) = part {
        write!(
            text,
            "    update-type: [A, AAAA, CNAME, TXT]
    update-owner: name
    update-owner-match: sub-or-equal
    update-owner-name: {part}.
"
        )
        .unwrap();
    }
    text += &acl("transfer", "transfer", None);
    write!(
        text,
        "zone:
  - domain: {zone}
    storage: .
    file: {file}
    acl: [update, transfer]
"
    )
    .unwrap();
    setup(home, &text)
}

pub(super) fn giver(home: &Path, address: SocketAddr, given: &Given<'_>) -> Setup {
    given.write(home);
    let mut text = server_section(address);
    text += &key_section(given.key);
    text += "remote:\n";
    text += &remote("follower", given.follower, given.key);
    text += "acl:\n";
    text += &acl("transfer", "transfer", given.key);
    let zone = given.zone;
    write!(
        text,
        "zone:
  - domain: {zone}
    storage: .
    file: {FILE}
    zonefile-sync: -1
    zonefile-load: difference
    acl: [transfer]
    notify: [follower]
"
    )
    .unwrap();
    setup(home, &text)
}

/// A real primary of one zone, which tells its secondaries of every change at once.
#[derive(Debug)]
pub(crate) struct Primary {
    running: Running,
    zone: String,
    key: Option<TsigKey>,
}

impl Primary {
    /// Starts Knot at `ip` with the zone file `text`, which secondaries may transfer, only with `key`
    /// where there is one, and waits until it serves the zone.
    pub(crate) async fn knot(
        folder: &Path,
        ip: Ipv4Addr,
        zone: &str,
        text: &str,
        key: Option<&TsigKey>,
    ) -> Self {
        let zone = bare(zone).to_owned();
        let running = process::start_at(ip, "primary", folder, |home, address| {
            fs::write(home.join("primary.zone"), text).unwrap();
            setup(home, &primary(address, &zone, key, &[]))
        })
        .await;
        let started = Self { running, zone, key: key.cloned() };
        eventually("the primary serves its zone", || started.log(), async || started.serial().await).await;
        started
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// All that it said so far: a line for each transfer, and the reason for each that it refused.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// Who is told of changes from now on, signed where the zone has a key.
    pub(crate) async fn notify(&self, secondaries: &[SocketAddr]) {
        let text = primary(self.address(), &self.zone, self.key.as_ref(), secondaries);
        fs::write(self.running.home().join("knot.conf"), text).unwrap();
        self.running.control(&["reload"]).await;
    }

    /// Gives a name (relative to the zone, `@` for the zone itself) this one record of its type in
    /// place of all that it had, and returns the zone's new serial.
    pub(crate) async fn set(&self, owner: &str, ttl: u32, kind: &str, data: &str) -> u32 {
        let before = self.serial().await.expect("the primary answers");
        self.stage(owner, ttl, kind, data).await;
        self.running.control(&["zone-commit", &self.zone]).await;
        eventually(
            "the zone has a new serial",
            || self.log(),
            async || self.serial().await.filter(|serial| *serial != before),
        )
        .await
    }

    /// As [`Primary::set`], but not committed.
    pub(crate) async fn stage(&self, owner: &str, ttl: u32, kind: &str, data: &str) {
        let zone = &self.zone;
        self.running.control(&["zone-begin", zone]).await;
        self.running.control(&["zone-unset", zone, owner, kind]).await;
        self.running.control(&["zone-set", zone, owner, &ttl.to_string(), kind, data]).await;
    }

    /// Commits what is staged, without starting a program for it (which takes longer than the change, not
    /// least since `knotc` flushes a configuration of its own). The reply can be read from what it returns.
    pub(crate) fn commit(&self) -> UnixStream {
        // As libknot's control interface has it (`ctl.c`): data are a code and its text behind its length, then the
        // block ends.
        let (order, flags, zone, end) = (16, 17, 22, 3);
        let mut block = vec![1];
        for (code, text) in [(order, "zone-commit"), (flags, ""), (zone, &self.zone)] {
            block.push(code);
            block.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            block.extend(text.as_bytes());
        }
        block.push(end);
        let mut socket = UnixStream::connect(self.running.home().join("knot.sock")).unwrap();
        socket.write_all(&block).unwrap();
        socket
    }

    /// The serial that it answers with.
    pub(crate) async fn serial(&self) -> Option<u32> {
        let patience = super::PATIENCE;
        switchback_dns::client::soa(self.address(), &self.zone, patience).await.ok().flatten()
    }

    /// Asks it to end and waits until it has; as dropping it does.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

fn primary(address: SocketAddr, zone: &str, key: Option<&TsigKey>, secondaries: &[SocketAddr]) -> String {
    let mut text = server_section(address);
    text += &key_section(key);
    if !secondaries.is_empty() {
        text += "remote:\n";
    }
    for (at, secondary) in secondaries.iter().enumerate() {
        text += &remote(&format!("secondary{at}"), *secondary, key);
        writeln!(text, "    via: {}", address.ip()).unwrap();
    }
    text += "acl:\n";
    text += &acl("transfer", "transfer", key);
    write!(
        text,
        "zone:
  - domain: {zone}
    storage: .
    file: primary.zone
    zonefile-sync: -1
    acl: [transfer]
"
    )
    .unwrap();
    // Knot takes no empty list.
    if !secondaries.is_empty() {
        let secondaries: Vec<_> = (0..secondaries.len()).map(|at| format!("secondary{at}")).collect();
        writeln!(text, "    notify: [{}]", secondaries.join(", ")).unwrap();
    }
    text
}

/// One worker of each kind, and small maps, of which the journal's would be 20 GiB.
fn server_section(address: SocketAddr) -> String {
    format!(
        "server:
    rundir: .
    listen: {}@{}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: knot.sock
database:
    storage: .
    journal-db-max-size: 64M
    kasp-db-max-size: 8M
    timer-db-max-size: 8M
    catalog-db-max-size: 8M
log:
  - target: stderr
    any: debug
",
        address.ip(),
        address.port()
    )
}

fn key_section(key: Option<&TsigKey>) -> String {
    let Some(TsigKey { name, algorithm, secret_base64 }) = key else { return String::new() };
    format!("key:\n  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret_base64}\n")
}

fn remote(id: &str, address: SocketAddr, key: Option<&TsigKey>) -> String {
    format!("  - id: {id}\n    address: {}@{}\n{}", address.ip(), address.port(), key_line(key))
}

fn acl(id: &str, action: &str, key: Option<&TsigKey>) -> String {
    format!("  - id: {id}\n    address: {LOOPBACKS}\n    action: {action}\n{}", key_line(key))
}

fn key_line(key: Option<&TsigKey>) -> String {
    key.map(|key| format!("    key: {}\n", key.name)).unwrap_or_default()
}

fn setup(home: &Path, text: &str) -> Setup {
    fs::write(home.join("knot.conf"), text).unwrap();
    let mut server = super::command("knotd");
    server.args(["-c", "knot.conf"]);
    let arguments = ["-c", "knot.conf"].map(str::to_owned);
    Setup { server, control: Some(Control { program: "knotc", arguments: arguments.into(), port: None }) }
}
