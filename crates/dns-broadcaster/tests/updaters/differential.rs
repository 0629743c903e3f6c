//! The same random updates for BIND, for Knot and for this server: the same answers, and the same zone.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::Ordering;

use switchback_dns::access::Secondary;
use switchback_dns::core::receive::Grants;

use super::broadcaster::Bound;
use super::peer::{Kind, Master, TsigKey, require};
use super::random::Dice;
use super::{SECRET, SERVERS, grant, key, run};

const ZONE: &str = "z.test";
const KEY: &str = "all.key";
const UPDATES: usize = 80;
const START: [[&str; 3]; 5] = [
    [ZONE, "SOA", "ns1.z.test. hostmaster.z.test. 1 3600 600 86400 5"],
    [ZONE, "NS", "ns1.z.test."],
    [ZONE, "NS", "ns2.z.test."],
    ["ns1.z.test", "A", "192.0.2.53"],
    ["ns2.z.test", "A", "192.0.2.54"],
];

const NAMES: [&str; 7] =
    ["z.test", "a.z.test", "b.z.test", "y.z.test", "x.y.z.test", "*.w.z.test", "c.z.test"];
const KINDS: [&str; 5] = ["A", "TXT", "CNAME", "NS", "MX"];

fn value(dice: &mut Dice, kind: &str) -> String {
    let number = dice.below(3);
    let host = ["ns1.z.test.", "ns.example.net.", "NS.Example.NET."][number];
    match kind {
        "A" => format!("192.0.2.{number}"),
        "TXT" => format!("\"text {number}\""),
        "MX" => format!("10 {host}"),
        _ => host.to_owned(),
    }
}

/// At the apex the name servers are the file's here, as the SOA record is; the others may have them changed.
/// BIND passes over a wildcard that delegates, which is undefined (RFC 4592 section 4.2).
fn kind_at(dice: &mut Dice, owner: &str) -> &'static str {
    let kind = *dice.pick(&KINDS);
    if kind == "NS" && (owner == ZONE || owner.starts_with('*')) { "TXT" } else { kind }
}

fn line(dice: &mut Dice, ttls: &[u32]) -> String {
    let owner = *dice.pick(&NAMES);
    let kind = kind_at(dice, owner);
    let data = value(dice, kind);
    let ttl = dice.pick(ttls);
    match dice.below(16) {
        0 => format!("prereq nxdomain {owner}."),
        1 => format!("prereq yxdomain {owner}."),
        2 => format!("prereq nxrrset {owner}. {kind}"),
        3 => format!("prereq yxrrset {owner}. {kind}"),
        4 => format!("prereq yxrrset {owner}. {kind} {data}"),
        5 => format!("update delete {owner}."),
        6 => format!("update delete {owner}. {kind}"),
        7 | 8 => format!("update delete {owner}. {kind} {data}"),
        // What no zone loses, and a serial that is not ahead.
        9 if dice.one_in(2) => format!("update delete {ZONE}. {}", dice.pick(&["SOA", "NS"])),
        9 => format!("update add {ZONE}. 60 SOA ns1.z.test. other.z.test. 1 1 2 3 4"),
        10 if dice.one_in(4) => "update add elsewhere.test. 60 TXT x".to_owned(),
        _ => format!("update add {owner}. {ttl} {kind} {data}"),
    }
}

async fn answer(server: SocketAddr, lines: &[&str]) -> String {
    let said = match run("nsupdate", &[], server, KEY, ZONE, lines).await {
        Ok(()) => return "NOERROR".into(),
        Err(said) => said,
    };
    let code = said.split_once("status: ").and_then(|(_, rest)| rest.split_once(','));
    code.unwrap_or_else(|| panic!("{lines:?}: {said}")).0.into()
}

/// The zone as it is transferred, but for its serial.
fn records(server: SocketAddr) -> BTreeSet<String> {
    let dig = Command::new("dig")
        .args(["+noall", "+answer", "+nomultiline", "axfr", ZONE])
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(dig.stdout).unwrap();
    let line = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().map(str::to_ascii_lowercase).collect();
        if words.get(3).is_some_and(|kind| kind == "soa") {
            words[6] = "serial".into();
        }
        words.join(" ")
    };
    let records: BTreeSet<_> = text.lines().filter(|line| !line.is_empty()).map(line).collect();
    assert!(records.iter().any(|record| record.contains(" soa ")), "{text}");
    records
}

async fn agrees(kind: Kind, ttls: &[u32]) {
    if !kind.is_installed() || !require(&["nsupdate", "dig"]) {
        return;
    }
    let seed = u64::from(std::process::id());
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let shared = TsigKey { name: KEY.into(), algorithm: "hmac-sha256".into(), secret_base64: SECRET.into() };
    let theirs = Master::open(kind, folder.path(), ZONE, &START, &shared).await;
    let file = folder.path().join("z.zone");
    let lines = START.iter().map(|[owner, kind, data]| format!("{owner}. 60 {kind} {data}\n"));
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let address = Ipv4Addr::new(127, 79, SERVERS.fetch_add(1, Ordering::Relaxed), 1);
    let bound = Bound::at(&folder.path().join("state"), (address, 0).into()).await;
    let grants = Grants(vec![grant(KEY, ZONE, &[ZONE, "*.z.test"], &[1, 2, 5, 6, 15, 16])]);
    let follower = Secondary {
        name: "all".into(),
        address: ([127, 0, 0, 1], 9).into(),
        key: None,
        catalogue: false,
        zones: Default::default(),
    };
    let bound = bound.zone_files(vec![file]).updaters(grants, &[key(KEY)]).followed_by_all(vec![follower]);
    let ours = bound.serve();
    let mut told = Vec::new();
    for number in 0..UPDATES {
        let count = 1 + dice.below(4);
        let lines: Vec<_> = (0..count).map(|_| line(&mut dice, ttls)).collect();
        // BIND looks for names outside the zone before it looks at prerequisites, the RFC (section 3) behind.
        let is_outside = lines.iter().any(|line| line.contains("elsewhere"));
        let lines = lines.iter().map(String::as_str);
        let lines: Vec<_> = lines.filter(|line| !is_outside || line.starts_with("update")).collect();
        let answers = [answer(theirs.address(), &lines).await, answer(ours.dns, &lines).await];
        told.push(lines.join("\n    "));
        let shown = || told.join("\n- ");
        assert_eq!(answers[0], answers[1], "seed {seed}, the last of:\n- {}\n{}", shown(), theirs.log());
        if number % 10 == 9 || number + 1 == UPDATES {
            assert_eq!(records(theirs.address()), records(ours.dns), "seed {seed}, after:\n- {}", shown());
        }
    }
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_becomes_what_bind_makes_of_it() {
    agrees(Kind::Bind, &[60, 300]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_becomes_what_knot_makes_of_it() {
    // A record that is there keeps its time to live there when it comes with another. RFC 2136 section 3.4.2.2
    // has it replaced.
    agrees(Kind::Knot, &[60]).await;
}
