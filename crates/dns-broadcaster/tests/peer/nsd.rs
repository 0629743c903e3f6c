//! NSD, as secondary, and as master that takes no updates.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::giver::{FILE, Given};
use super::process::{Control, Setup};
use super::{Feed, LOOPBACKS, Mastered, TsigKey, bare};

pub(super) fn secondary(home: &Path, address: SocketAddr, feed: &Feed<'_>) -> Setup {
    let mut text = server_section(home, address);
    text += &key_section(feed.key);
    let key = feed.key.map_or("NOKEY", |key| &key.name);
    for zone in feed.zones.iter().map(|zone| bare(zone)) {
        write!(
            text,
            "zone:
    name: {zone:?}
    zonefile: \"{zone}.zone\"
    min-refresh-time: 1
    min-retry-time: 1
    max-retry-time: 2
    allow-axfr-fallback: yes
    allow-notify: {LOOPBACKS} NOKEY
"
        )
        .unwrap();
        if feed.key.is_some() {
            writeln!(text, "    allow-notify: {LOOPBACKS} {key}").unwrap();
        }
        for primary in feed.primaries {
            writeln!(text, "    request-xfr: {}@{} {key}", primary.ip(), primary.port()).unwrap();
        }
    }
    setup(home, &text)
}

pub(super) fn master(home: &Path, address: SocketAddr, mastered: &Mastered<'_>) -> Setup {
    let mut text = server_section(home, address);
    text += &key_section(Some(mastered.key));
    writeln!(text, "zone:\n    name: {:?}\n    zonefile: {:?}", mastered.zone, mastered.write(home)).unwrap();
    setup(home, &text)
}

pub(super) fn giver(home: &Path, address: SocketAddr, given: &Given<'_>) -> Setup {
    given.write(home);
    let mut text = server_section(home, address);
    text += &key_section(given.key);
    let key = given.key.map_or("NOKEY", |key| &key.name);
    let (zone, follower) = (given.zone, given.follower);
    write!(
        text,
        "zone:
    name: {zone:?}
    zonefile: {FILE:?}
    provide-xfr: {LOOPBACKS} {key}
    notify: {}@{} {key}
    store-ixfr: yes
    create-ixfr: yes
",
        follower.ip(),
        follower.port()
    )
    .unwrap();
    setup(home, &text)
}

fn server_section(home: &Path, address: SocketAddr) -> String {
    // `database` "" keeps zones in memory and in their files only; `xfrd-reload-timeout` 0 answers
    // from a transferred zone at once, not a second later. `username` "" stays who started it. Who asks
    // here is no flood.
    format!(
        "server:
    ip-address: {}
    port: {}
    do-ip6: no
    server-count: 1
    username: \"\"
    chroot: \"\"
    database: \"\"
    zonesdir: \".\"
    pidfile: \"nsd.pid\"
    zonelistfile: \"zone.list\"
    xfrdfile: \"xfrd.state\"
    xfrdir: \".\"
    xfrd-reload-timeout: 0
    rrl-ratelimit: 0
    verbosity: 2
remote-control:
    control-enable: yes
    control-interface: \"{}\"
",
        address.ip(),
        address.port(),
        home.join("nsd.ctl").display(),
    )
}

fn key_section(key: Option<&TsigKey>) -> String {
    let Some(TsigKey { name, algorithm, secret_base64 }) = key else { return String::new() };
    format!("key:\n    name: {name:?}\n    algorithm: {algorithm}\n    secret: {secret_base64:?}\n")
}

fn setup(home: &Path, text: &str) -> Setup {
    fs::write(home.join("nsd.conf"), text).unwrap();
    let mut server = super::command("nsd");
    server.args(["-d", "-c", "nsd.conf"]);
    let arguments = ["-c", "nsd.conf"].map(str::to_owned);
    Setup {
        server,
        control: Some(Control { program: "nsd-control", arguments: arguments.into(), port: None }),
    }
}
