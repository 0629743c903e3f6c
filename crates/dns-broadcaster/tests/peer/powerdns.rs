//! PowerDNS, as secondary and as master; it keeps its zones in SQLite.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use super::giver::{Given, Row};
use super::process::{Control, Setup};
use super::{Feed, LOOPBACKS, Mastered, TsigKey, bare};

/// The tables, as its package brings them.
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

pub(super) fn secondary(home: &Path, address: SocketAddr, feed: &Feed<'_>) -> Setup {
    fill(home, feed);
    // `xfr-cycle-interval` is how often it looks which zones are due.
    // Beside another transfer it finds its database locked, and forgets a part of the catalogue.
    let retrievals = if feed.catalogues.is_empty() { 2 } else { 1 };
    let own = format!(
        "secondary=yes
autosecondary=no
xfr-cycle-interval=1
allow-notify-from={LOOPBACKS}
retrieval-threads={retrievals}
gsqlite3-dnssec={}
",
        if feed.is_signed { "yes" } else { "no" },
    );
    setup(home, address, &own)
}

pub(super) fn master(home: &Path, address: SocketAddr, mastered: &Mastered<'_>) -> Setup {
    let Mastered { zone, records, key, .. } = mastered;
    let mut sql = insert_key(Some(key));
    writeln!(sql, "INSERT INTO domains (name, type) VALUES ('{zone}', 'NATIVE');").unwrap();
    let rows: Vec<_> = records.iter().map(|row| row.map(str::to_owned)).collect();
    sql += &insert_rows(zone, &rows);
    for (kind, content) in [("TSIG-ALLOW-DNSUPDATE", key.name.as_str()), ("ALLOW-DNSUPDATE-FROM", LOOPBACKS)]
    {
        sql += &insert_metadata(zone, kind, content);
    }
    fill_with(home, &sql);
    fs::write(home.join("policy.lua"), policy()).unwrap();
    setup(home, address, "dnsupdate=yes\nlua-dnsupdate-policy-script=policy.lua\n")
}

pub(super) fn giver(home: &Path, address: SocketAddr, given: &Given<'_>) -> Setup {
    let Given { zone, rows, follower, key } = given;
    let mut sql = insert_key(*key);
    writeln!(sql, "INSERT INTO domains (name, type) VALUES ('{zone}', 'MASTER');").unwrap();
    sql += &insert_rows(zone, rows);
    let taker = key.map(|key| ("TSIG-ALLOW-AXFR", key.name.clone()));
    for (kind, content) in taker.into_iter().chain([("ALSO-NOTIFY", follower.to_string())]) {
        sql += &insert_metadata(zone, kind, &content);
    }
    fill_with(home, &sql);
    // With a key nobody is given it by address.
    let takers = if key.is_some() { "" } else { LOOPBACKS };
    let own = format!(
        "primary=yes
only-notify=
allow-axfr-ips={takers}
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
"
    );
    setup(home, address, &own)
}

/// The zone has these records and no others.
pub(super) fn put(home: &Path, zone: &str, rows: &[Row]) {
    let all = insert_rows(zone, rows);
    run(home, &format!("BEGIN;\nDELETE FROM records;\n{all}COMMIT;\n"));
}

fn insert_rows(zone: &str, rows: &[Row]) -> String {
    let mut sql = String::new();
    for [owner, kind, value] in rows {
        // Without the dots at the ends of names.
        let value = value.split(' ').map(bare).collect::<Vec<_>>().join(" ");
        writeln!(
            sql,
            "INSERT INTO records (domain_id, name, type, content, ttl, auth)
             SELECT id, '{owner}', '{kind}', '{value}', 60, 1 FROM domains WHERE name = '{zone}';"
        )
        .unwrap();
    }
    sql
}

/// That of the operators' guide, which none of its tools would check.
fn policy() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dns.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, rest) = guide.split_once("```lua\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn setup(home: &Path, address: SocketAddr, own: &str) -> Setup {
    let text = format!(
        "local-address={}
local-port={}
socket-dir=.
launch=gsqlite3
gsqlite3-database={}
{own}receiver-threads=1
distributor-threads=1
daemon=no
guardian=no
disable-syslog=yes
write-pid=no
loglevel=6
",
        address.ip(),
        address.port(),
        home.join("zones.sqlite3").display(),
    );
    fs::write(home.join("pdns.conf"), text).unwrap();
    let mut server = super::command("pdns_server");
    server.arg("--config-dir=.");
    Setup {
        server,
        control: Some(Control {
            program: "pdns_control",
            arguments: vec!["--config-dir=.".into()],
            port: None,
        }),
    }
}

/// Creates the zones by SQL: `pdnsutil create-slave-zone`, whose name changes with versions, is a
/// process for each zone and each property of it, which 200 zones would wait for.
fn fill(home: &Path, feed: &Feed<'_>) {
    let mut sql = insert_key(feed.key);
    let primaries: Vec<_> = feed.primaries.iter().map(ToString::to_string).collect();
    let primaries = primaries.join(",");
    let zones = feed.zones.iter().map(|zone| (zone, "SLAVE"));
    for (zone, kind) in zones.chain(feed.catalogues.iter().map(|catalogue| (catalogue, "CONSUMER"))) {
        let zone = bare(zone).to_ascii_lowercase();
        writeln!(sql, "INSERT INTO domains (name, type, master) VALUES ('{zone}', '{kind}', '{primaries}');")
            .unwrap();
        let key = feed.key.map(|key| ("AXFR-MASTER-TSIG", key.name.as_str()));
        // By IXFR its version 4.7 takes a catalogue and loses it again; and where it answers with
        // signatures, it has names by IXFR that it then does not find.
        let parts = (kind == "SLAVE" && !feed.is_signed).then_some(("IXFR", "1"));
        for (kind, content) in key.into_iter().chain(parts) {
            sql += &insert_metadata(&zone, kind, content);
        }
    }
    fill_with(home, &sql);
}

fn insert_key(key: Option<&TsigKey>) -> String {
    let Some(TsigKey { name, algorithm, secret_base64 }) = key else { return String::new() };
    format!(
        "INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('{name}', '{algorithm}', '{secret_base64}');\n"
    )
}

fn insert_metadata(zone: &str, kind: &str, content: &str) -> String {
    format!(
        "INSERT INTO domainmetadata (domain_id, kind, content)
         SELECT id, '{kind}', '{content}' FROM domains WHERE name = '{zone}';\n"
    )
}

/// Makes its tables, and what `sql` puts into them.
fn fill_with(home: &Path, sql: &str) {
    let schema = fs::read_to_string(SCHEMA)
        .unwrap_or_else(|error| panic!("{SCHEMA}: {error}: apt-get install pdns-backend-sqlite3"));
    run(home, &format!("PRAGMA journal_mode=WAL;\n{schema}\nBEGIN;\n{sql}COMMIT;\n"));
}

fn run(home: &Path, sql: &str) {
    let mut child = super::command("sqlite3")
        .args(["-bail", "zones.sqlite3"])
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().expect("it is piped").write_all(sql.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "sqlite3 took not:\n{sql}");
}
