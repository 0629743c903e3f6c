//! BIND, as secondary, as master and as resolver.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::giver::{FILE, Given};
use super::process::{Control, Port, Setup};
use super::{Anchor, Feed, LOOPBACK, LOOPBACKS, Mastered, TsigKey, bare, write_root_hints};

pub(super) fn secondary(home: &Path, address: SocketAddr, feed: &Feed<'_>) -> Setup {
    let key = feed.key.map(|key| format!("key {:?}", key.name)).unwrap_or_default();
    let notifiers = if key.is_empty() { String::new() } else { format!("{key};") };
    // By default BIND asks for 20 serials a second and makes 2 transfers at a time with one
    // primary, which takes ten seconds for 200 zones. What the SOA says is obeyed down to a second.
    let primaries: String = feed
        .primaries
        .iter()
        .map(|primary| format!("{} port {} {key}; ", primary.ip(), primary.port()))
        .collect();
    let catalogues: String = feed
        .catalogues
        .iter()
        .map(|catalogue| {
            format!(
                "zone {catalogue:?} default-primaries {{ {primaries}}} min-update-interval 0 in-memory yes; "
            )
        })
        .collect();
    let catalogues =
        if catalogues.is_empty() { catalogues } else { format!("catalog-zones {{ {catalogues}}};") };
    let mut text = format!(
        "options {{
    {COMMON}
    {catalogues}
    listen-on port {port} {{ 127.0.0.1; }};
    recursion no;
    dnssec-validation no;
    notify no;
    allow-notify {{ {LOOPBACKS}; {notifiers} }};
    serial-query-rate 1000;
    transfers-in 100;
    transfers-per-ns 100;
    min-refresh-time 1;
    min-retry-time 1;
    max-retry-time 2;
    request-ixfr yes;
}};\n",
        port = address.port(),
    );
    text += &feed.key.map(key_clause).unwrap_or_default();
    for zone in feed.zones.iter().chain(feed.catalogues).map(|zone| bare(zone)) {
        writeln!(
            text,
            "zone {zone:?} {{ type secondary; file \"{zone}.zone\"; primaries {{ {primaries}}}; }};"
        )
        .unwrap();
    }
    setup(home, text)
}

pub(super) fn master(home: &Path, address: SocketAddr, mastered: &Mastered<'_>) -> Setup {
    let Mastered { zone, key, part, .. } = mastered;
    let file = mastered.write(home);
    let clause = key_clause(key);
    let (port, name) = (address.port(), &key.name);
    let policy = match part {
        Some(part) => format!("grant {name:?} subdomain {part}. A AAAA CNAME TXT;"),
        None => format!("grant {name:?} zonesub ANY;"),
    };
    let text = format!(
        "options {{
    {COMMON}
    dnssec-validation no;
    listen-on port {port} {{ 127.0.0.1; }};
    recursion no;
    notify no;
}};
{clause}zone {zone:?} {{
    type primary;
    file {file:?};
    update-policy {{ {policy} }};
    allow-transfer {{ {LOOPBACKS}; }};
}};
"
    );
    setup(home, text)
}

pub(super) fn giver(home: &Path, address: SocketAddr, given: &Given<'_>) -> Setup {
    let Given { zone, follower, key, .. } = given;
    given.write(home);
    let named = key.map(|key| format!("key {:?}", key.name)).unwrap_or_default();
    let taker = key.map_or_else(|| LOOPBACKS.to_owned(), |key| format!("key {:?}", key.name));
    let (port, at) = (address.port(), format!("{} port {}", follower.ip(), follower.port()));
    let text = format!(
        "options {{
    {COMMON}
    dnssec-validation no;
    listen-on port {port} {{ 127.0.0.1; }};
    recursion no;
    notify-delay 0;
    notify-rate 1000;
}};
{clause}zone {zone:?} {{
    type primary;
    file {FILE:?};
    ixfr-from-differences yes;
    notify explicit;
    also-notify {{ {at} {named}; }};
    allow-transfer {{ {taker}; }};
}};
",
        clause = key.map(key_clause).unwrap_or_default(),
    );
    setup(home, text)
}

/// A resolver that iterates from the stub zones' servers (`static-stub`), which it asks at the one
/// port that it takes all name servers of the world to listen at (the option `port`; an address of
/// a `static-stub` has none of its own, and a `type stub` finds its servers by their NS records).
/// So servers that are to be told apart need addresses of their own and a port in common. Where
/// the ports differ it forwards (`forward only`) instead, as does many a company's resolver: with
/// RD = 1, and the answers are believed as they are.
pub(super) fn resolver(
    home: &Path,
    address: SocketAddr,
    stubs: &[(&str, &[SocketAddr])],
    anchors: &[Anchor],
) -> Setup {
    let ports: BTreeSet<u16> =
        stubs.iter().flat_map(|(_, servers)| servers.iter().map(SocketAddr::port)).collect();
    let port = match ports.len() {
        1 => format!("port {};", ports.first().expect("there is one")),
        _ => String::new(),
    };
    let mut text = format!(
        "options {{
    {COMMON}
    {port}
    listen-on port {} {{ 127.0.0.1; }};
    recursion yes;
    dnssec-validation {};
    allow-recursion {{ {LOOPBACKS}; }};
    empty-zones-enable no;
}};
zone \".\" {{ type hint; file \"{}\"; }};\n",
        address.port(),
        if anchors.is_empty() { "no" } else { "yes" },
        write_root_hints(home),
    );
    for Anchor { zone, ds } in anchors {
        let (numbers, digest) = ds.rsplit_once(' ').unwrap();
        writeln!(text, "trust-anchors {{ {:?} static-ds {numbers} {digest:?}; }};", bare(zone)).unwrap();
    }
    for (zone, servers) in stubs {
        let zone = bare(zone);
        let text = &mut text;
        if ports.len() == 1 {
            let servers: String = servers.iter().map(|server| format!("{}; ", server.ip())).collect();
            writeln!(text, "zone {zone:?} {{ type static-stub; server-addresses {{ {servers}}}; }};")
        } else {
            let servers: String =
                servers.iter().map(|server| format!("{} port {}; ", server.ip(), server.port())).collect();
            writeln!(text, "zone {zone:?} {{ type forward; forward only; forwarders {{ {servers}}}; }};")
        }
        .unwrap();
    }
    setup(home, text)
}

/// Nothing is kept outside its own folder, which is its working directory; nobody on the Internet is
/// asked for the keys of the root.
const COMMON: &str = "directory \".\"; pid-file none; session-keyfile none; listen-on-v6 { none; };";

fn key_clause(key: &TsigKey) -> String {
    let TsigKey { name, algorithm, secret_base64 } = key;
    format!("key {name:?} {{ algorithm {algorithm}; secret {secret_base64:?}; }};\n")
}

/// Orders reach BIND only by TCP and only with a key, which protects nothing here.
fn setup(home: &Path, mut text: String) -> Setup {
    let port = Port::reserve(LOOPBACK);
    let order = key_clause(&TsigKey {
        name: "order".into(),
        algorithm: "hmac-sha256".into(),
        secret_base64: "b3JkZXJzIG9mIHRlc3Rz".into(),
    });
    fs::write(home.join("order.key"), &order).unwrap();
    text += &order;
    let at = port.address();
    writeln!(
        text,
        "controls {{ inet {} port {} allow {{ {LOOPBACKS}; }} keys {{ \"order\"; }}; }};",
        at.ip(),
        at.port()
    )
    .unwrap();
    fs::write(home.join("named.conf"), text).unwrap();
    let mut server = super::command("named");
    // -g: in the foreground, the log to the standard error. -n 1: threads for one core.
    server.args(["-g", "-n", "1", "-c", "named.conf"]);
    let arguments = ["-s", "127.0.0.1", "-p", &at.port().to_string(), "-k", "order.key"].map(str::to_owned);
    Setup {
        server,
        control: Some(Control { program: "rndc", arguments: arguments.into(), port: Some(port) }),
    }
}
