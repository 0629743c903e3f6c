//! Random zones and questions, answered by this server and by BIND, NSD and Knot, which take the
//! zones from it: what one says the others say. In a test run a sample; more, from a seed, with
//!
//! `SWITCHBACK_DIFFERENTIAL=100000 [SWITCHBACK_SEED=1] cargo test -p switchback-dns --test differential`
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use broadcaster::Bound;
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use peer::{Kind, PATIENCE, Primary, Secondary, eventually};
use switchback_dns::{access, client};

/// Questions in a test run.
const SAMPLE: usize = 3_000;
const ZONES: usize = 24;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const LABELS: [&str; 8] = ["a", "b", "c", "*", "ns", "x-1", "_tcp", "d"];

/// A name beneath `zone`, of one to four labels.
fn owner(dice: &mut Dice, zone: &str, asked: bool) -> String {
    let depth = 1 + dice.below(if asked { 4 } else { 3 });
    let labels: Vec<&str> = (0..depth).map(|_| *dice.pick(&LABELS)).collect();
    // A wildcard is the first label, or no wildcard; that too is asked for.
    let labels: Vec<&str> = labels
        .iter()
        .enumerate()
        .map(|(at, label)| if at > 0 && !asked && *label == "*" { "w" } else { label })
        .collect();
    format!("{}.{zone}", labels.join("."))
}

/// The text of a zone.
fn zone_text(dice: &mut Dice, zone: &str) -> String {
    let mut nodes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..3 + dice.below(14) {
        let name = owner(dice, zone, false);
        let is_wildcard = name.starts_with("*.");
        let target = if dice.one_in(4) { "out.example.net".to_owned() } else { owner(dice, zone, false) };
        let number = dice.below(250);
        let records = nodes.entry(name.clone()).or_default();
        match dice.below(12) {
            0..=2 => _ = records.insert(format!("A 192.0.2.{number}")),
            3 => _ = records.insert(format!("AAAA 2001:db8::{number:x}")),
            4 => _ = records.insert(format!("TXT \"t{number}\" \"second; string\"")),
            5 => _ = records.insert(format!("MX {number} {target}.")),
            6 => _ = records.insert(format!("SRV 1 2 {number} {target}.")),
            7 => _ = records.insert("CAA 0 issue \"ca.example.net\"".to_owned()),
            8 | 9 => *records = [format!("CNAME {target}.")].into(),
            // A wildcard that delegates is undefined (RFC 4592 section 4.2).
            10 | 11 if !is_wildcard => {
                let server = if dice.one_in(2) { format!("ns.{name}") } else { target };
                records.insert(format!("NS {server}."));
                if server.ends_with(&format!(".{name}")) {
                    nodes.entry(server).or_default().insert(format!("A 192.0.2.{number}"));
                }
            }
            _ => _ = records.insert(format!("A 192.0.2.{number}")),
        }
    }
    // An alias is alone.
    for records in nodes.values_mut() {
        if records.len() > 1 {
            records.retain(|record| !record.starts_with("CNAME"));
        }
    }
    let ttl = 60 + dice.below(100);
    let mut text = format!(
        "$ORIGIN {zone}.\n$TTL {ttl}\n@ 300 SOA ns1 admin 1 3600 600 86400 {}\n",
        5 + dice.below(400)
    );
    text += "@ NS ns1\n@ NS ns.elsewhere.test.\nns1 A 192.0.2.53\n";
    for (name, records) in nodes {
        for record in records {
            writeln!(text, "{name}. {record}").unwrap();
        }
    }
    text
}

/// What of an answer must be the same.
#[derive(PartialEq, Eq)]
struct Said {
    code: String,
    is_authoritative: bool,
    answers: BTreeSet<String>,
    /// Of denials and referrals. Some servers name the zone's servers with an answer, which nobody needs.
    authorities: BTreeSet<String>,
    /// Addresses that a referral cannot do without: of servers within the zone that it leads to.
    glue: BTreeSet<String>,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, is_authoritative, answers, authorities, glue } = self;
        write!(
            f,
            "{code} aa={is_authoritative}\n  answer {answers:#?}\n  authority {authorities:#?}\n  glue {glue:#?}"
        )
    }
}

fn text(record: &Record) -> String {
    let name = record.name.to_lowercase();
    format!("{name} {} {} {}", record.ttl, record.record_type(), record.data.to_string().to_lowercase())
}

impl Said {
    fn of(message: &Message) -> Self {
        let is_referral = message.authorities.iter().any(|record| record.record_type() == RecordType::NS)
            && !message.authorities.iter().any(|record| record.record_type() == RecordType::SOA)
            && !message.answers.iter().any(|record| record.record_type() != RecordType::CNAME)
            && !message.metadata.authoritative;
        let is_denial = message.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
        let authorities = message.authorities.iter().filter(|_| is_referral || is_denial).map(text).collect();
        let cut = message.authorities.first().map(|record| record.name.to_lowercase());
        let servers: BTreeSet<_> = message
            .authorities
            .iter()
            .filter_map(|record| match &record.data {
                RData::NS(server) => Some(server.0.to_lowercase()),
                _ => None,
            })
            .collect();
        let needed = |record: &&Record| {
            let name = record.name.to_lowercase();
            is_referral && servers.contains(&name) && cut.as_ref().is_some_and(|cut| cut.zone_of(&name))
        };
        Self {
            code: message.metadata.response_code.to_string(),
            is_authoritative: message.metadata.authoritative,
            answers: message.answers.iter().map(text).collect(),
            authorities,
            glue: message.additionals.iter().filter(needed).map(text).collect(),
        }
    }
}

/// Asks one server again and again.
struct Asker {
    socket: UdpSocket,
    id: u16,
}

impl Asker {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        Self { socket, id: 0 }
    }

    fn ask(&mut self, name: &Name, kind: RecordType) -> Message {
        for _ in 0..5 {
            self.id = self.id.wrapping_add(1);
            let mut query = Message::query();
            query.metadata.id = self.id;
            query.add_query(Query::query(name.clone(), kind));
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            query.edns = Some(edns);
            self.socket.send(&query.to_vec().unwrap()).unwrap();
            let mut buffer = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let answer = Message::from_vec(&buffer[..length]).unwrap();
                if answer.metadata.id == self.id {
                    return answer;
                }
            }
        }
        panic!("{name} {kind}: no answer");
    }
}

/// Whether the aliases lead in a circle: BIND says SERVFAIL, and others what they have come by.
fn leads_nowhere(message: &Message) -> bool {
    let owners: BTreeSet<_> = message.answers.iter().map(|record| record.name.to_lowercase()).collect();
    !message.answers.is_empty()
        && message.answers.iter().all(|record| match &record.data {
            RData::CNAME(target) => owners.contains(&target.0.to_lowercase()),
            _ => false,
        })
}

const KINDS: [RecordType; 11] = [
    RecordType::A,
    RecordType::A,
    RecordType::AAAA,
    RecordType::NS,
    RecordType::SOA,
    RecordType::MX,
    RecordType::TXT,
    RecordType::CNAME,
    RecordType::DS,
    RecordType::SRV,
    RecordType::CAA,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_says_the_same() {
    let servers = [Kind::Bind, Kind::Nsd, Kind::Knot];
    if !servers.iter().all(|kind| kind.is_installed()) {
        return;
    }
    let number = |key: &str| env::var(key).ok().map(|text| text.parse().expect("a number"));
    let questions = number("SWITCHBACK_DIFFERENTIAL").unwrap_or(SAMPLE);
    let seed = number("SWITCHBACK_SEED").unwrap_or_else(|| std::process::id() as usize);
    println!("seed {seed}, {questions} questions");
    let mut dice = Dice(seed as u64);

    let folder = tempfile::tempdir().unwrap();
    let zones: Vec<String> = (0..ZONES).map(|number| format!("z{number}.test")).collect();
    let mut files = Vec::new();
    for zone in &zones {
        let path = folder.path().join(format!("{zone}.txt"));
        fs::write(&path, zone_text(&mut dice, zone)).unwrap();
        files.push(path);
    }
    let follower = access::Secondary {
        name: "all".into(),
        address: ([127, 0, 0, 1], 9).into(),
        key: None,
        catalogue: false,
    };
    let bound = Bound::at(&folder.path().join("state"), ([127, 0, 0, 1], 0).into()).await;
    let ours = bound.zone_files(files.clone()).followed_by(&follower, None).serve();
    let names: Vec<&str> = zones.iter().map(String::as_str).collect();
    let mut peers = Vec::new();
    for kind in servers {
        let peer = Secondary::start(kind, folder.path(), &names, &[ours.dns], None).await;
        for zone in &zones {
            eventually(
                &format!("{zone} at {kind:?}"),
                || peer.log(),
                async || client::soa(peer.address(), zone, PATIENCE).await.ok().flatten(),
            )
            .await;
        }
        peers.push((kind, peer));
    }

    let addresses: Vec<_> = peers.iter().map(|(kind, peer)| (*kind, peer.address())).collect();
    let dns = ours.dns;
    let differences = tokio::task::spawn_blocking(move || {
        let mut ours = Asker::new(dns);
        let mut askers: Vec<_> = addresses.iter().map(|(kind, at)| (*kind, Asker::new(*at))).collect();
        let (mut differences, mut circles) = (Vec::new(), 0);
        let is_soa = |record: &Record| record.record_type() == RecordType::SOA;
        for _ in 0..questions {
            let zone = dice.pick(&zones).clone();
            let name = if dice.one_in(12) { zone.clone() } else { owner(&mut dice, &zone, true) };
            let kind = *dice.pick(&KINDS);
            let mut asked = Name::from_ascii(&name).unwrap();
            asked.set_fqdn(true);
            let message = ours.ask(&asked, kind);
            let said = Said::of(&message);
            assert_eq!(said.answers.len(), message.answers.len(), "{name} {kind}: a record comes twice");
            if leads_nowhere(&message) {
                circles += 1;
                continue;
            }
            for (server, asker) in &mut askers {
                let mut other = Said::of(&asker.ask(&asked, kind));
                // BIND lets nobody keep that there is no SOA (`zero-no-soa-ttl`, its own invention).
                if *server == Kind::Bind && kind == RecordType::SOA && !message.answers.iter().any(is_soa) {
                    other.authorities.clone_from(&said.authorities);
                }
                if other != said {
                    differences.push(format!("{name} {kind}: ours {said:?}\n{server:?} {other:?}"));
                }
            }
        }
        println!("{questions} questions to each, {circles} of them about aliases in a circle left out");
        differences
    })
    .await
    .unwrap();
    let count = differences.len();
    assert!(
        count == 0,
        "seed {seed}: {count} differences, the first:\n{}",
        differences[..count.min(6)].join("\n")
    );
    drop(peers);
    ours.stop().await;
}

/// Every record of a zone, as a transfer gives them.
fn transferred(server: SocketAddr, zone: &str) -> BTreeSet<String> {
    let mut query = Message::query();
    let mut name = Name::from_ascii(zone).unwrap();
    name.set_fqdn(true);
    query.add_query(Query::query(name, RecordType::AXFR));
    let bytes = query.to_vec().unwrap();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.write_all(&[&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()).unwrap();
    let (mut records, mut starts) = (BTreeSet::new(), 0);
    while starts < 2 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut bytes).unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        assert!(!message.answers.is_empty(), "{}", message.metadata.response_code);
        starts += message.answers.iter().filter(|record| record.record_type() == RecordType::SOA).count();
        // As they stand on the wire: words would hide what differs in how strings are cut.
        records.extend(message.answers.iter().map(|record| {
            let data = hickory_proto::serialize::binary::BinEncodable::to_bytes(&record.data).unwrap();
            format!(
                "{} {} {} {}",
                record.name.to_lowercase(),
                record.ttl,
                record.record_type(),
                data.escape_ascii()
            )
        }));
    }
    records
}

/// All that zone files can look like, but for times with units, which are not in RFC 1035.
const FORMS: &str = r#"
; a comment ( with a parenthesis and a "quote
$ORIGIN forms.test.
$TTL 5400
@   IN  SOA ns1 admin\.dot (
        2026112801 ; serial
        3600 ; refresh ( retry
        600
        604800
        60 )
    IN NS ns1
    NS ns2.elsewhere.test.
ns1 A 192.0.2.53
upper A 192.0.2.1
UPPER2 3600 IN A 192.0.2.2
order IN 3600 A 192.0.2.3
blank   A 192.0.2.4
        A 192.0.2.5
        AAAA 2001:db8::5
multi MX (
   10
   mail ) ; behind it
mail A 192.0.2.25
dkim TXT ( "v=DKIM1; k=rsa; p=AAAA"
           "BBBB" ) ; key
one TXT "single"
two TXT "a" "b c"
bare TXT bare-word another
escaped TXT "a \"quoted\" word; and \\ that"
decimal TXT "\065\066\200"
empty TXT ""
service SRV 1 2 443 ns1
caa CAA 0 issue "ca.example.net; account=1"
ssh SSHFP 1 1 ( 450c7d19d5da9a3a5b7c19992d1fbde15d8dad34 )
tlsa TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971
alias CNAME upper
pointer PTR ns1
naptr NAPTR 100 10 "S" "SIP+D2U" "" _sip._udp
https HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1
svcb SVCB 1 ns1 port=53
*.wild A 192.0.2.6
esc\.aped A 192.0.2.7
esc\097ped A 192.0.2.8
_dmarc TXT "v=DMARC1; p=none"
$ORIGIN sub.forms.test.
relative A 192.0.2.9
@ TXT "at sub"
$TTL 5
short A 192.0.2.10
absolute.forms.test. A 192.0.2.11
hinfo HINFO "PC" "Linux"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zone_files_are_read_as_knot_reads_them() {
    if !Kind::Knot.is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forms.zone");
    fs::write(&path, FORMS).unwrap();
    let follower = access::Secondary {
        name: "all".into(),
        address: ([127, 0, 0, 1], 9).into(),
        key: None,
        catalogue: false,
    };
    let bound = Bound::at(&folder.path().join("state"), ([127, 0, 0, 1], 0).into()).await;
    let ours = bound.zone_files(vec![path]).followed_by(&follower, None).serve();
    if client::soa(ours.dns, "forms.test", PATIENCE).await.is_err() {
        panic!("{:?}", ours.ended().await);
    }
    let knot = Primary::knot(folder.path(), Ipv4Addr::LOCALHOST, "forms.test", FORMS, None).await;
    let (dns, other) = (ours.dns, knot.address());
    let [ours_says, knot_says] =
        tokio::task::spawn_blocking(move || [dns, other].map(|server| transferred(server, "forms.test")))
            .await
            .unwrap();
    let only =
        |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!(only(&ours_says, &knot_says), only(&knot_says, &ours_says));
    assert!(knot_says.len() > 30, "{knot_says:#?}");
    ours.stop().await;
}
