//! Random zones and questions, answered by this server and by BIND, NSD and Knot, which take the
//! zones from it: what one says the others say. In a test run a sample; more, from a seed, with
//!
//! `SWITCHBACK_DIFFERENTIAL=100000 [SWITCHBACK_SEED=1] cargo test -p switchback-dns --test differential`
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;
mod random;

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use broadcaster::Bound;
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use peer::{Kind, PATIENCE, Primary, Secondary, eventually};
use random::{Dice, owner, zone_text};
use switchback_dns::config::Dnssec;
use switchback_dns::core::dnssec::key::Algorithm;
use switchback_dns::core::dnssec::{Denial, Lifetime};
use switchback_dns::{access, client};

/// Questions in a test run.
const SAMPLE: usize = 3_000;
const ZONES: usize = 24;

/// What of an answer must be the same.
#[derive(PartialEq, Eq)]
struct Said {
    code: String,
    is_authoritative: bool,
    answers: BTreeSet<String>,
    /// Of denials and referrals, and proofs. Some servers name the zone's servers with an answer, which
    /// nobody needs.
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
    let kind = record.record_type();
    if let Some(data) = opaque(record) {
        return format!("{name} {} {kind} {}", record.ttl, data.escape_ascii());
    }
    format!("{name} {} {kind} {}", record.ttl, record.data.to_string().to_lowercase())
}

/// The value of a record that DNSSEC adds.
fn opaque(record: &Record) -> Option<&[u8]> {
    match &record.data {
        RData::Unknown { rdata, .. } => Some(&rdata.anything),
        _ => None,
    }
}

/// Whether it is a denial, or the signature of one.
fn is_proof(record: &Record) -> bool {
    let is_denial = |kind: RecordType| matches!(kind, RecordType::NSEC | RecordType::NSEC3);
    let covered = opaque(record).and_then(|data| data.first_chunk());
    let signed = covered.map(|kind| RecordType::from(u16::from_be_bytes(*kind)));
    let kind = record.record_type();
    is_denial(kind) || kind == RecordType::RRSIG && signed.is_some_and(is_denial)
}

impl Said {
    fn of(message: &Message) -> Self {
        let is_referral = message.authorities.iter().any(|record| record.record_type() == RecordType::NS)
            && !message.authorities.iter().any(|record| record.record_type() == RecordType::SOA)
            && message
                .answers
                .iter()
                .all(|record| matches!(record.record_type(), RecordType::CNAME | RecordType::RRSIG))
            && !message.metadata.authoritative;
        let is_denial = message.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
        let said = |record: &&Record| is_referral || is_denial || is_proof(record);
        let authorities = message.authorities.iter().filter(said).map(text).collect();
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
    /// Whether proofs are asked for.
    dnssec_ok: bool,
}

impl Asker {
    fn new(server: SocketAddr, dnssec_ok: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        Self { socket, id: 0, dnssec_ok }
    }

    fn ask(&mut self, name: &Name, kind: RecordType) -> Message {
        for _ in 0..5 {
            self.id = self.id.wrapping_add(1);
            let mut query = Message::query();
            query.metadata.id = self.id;
            query.add_query(Query::query(name.clone(), kind));
            let mut edns = Edns::new();
            edns.set_max_payload(1232).set_dnssec_ok(self.dnssec_ok);
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
        && message.answers.iter().filter(|record| record.record_type() != RecordType::RRSIG).all(|record| {
            match &record.data {
                RData::CNAME(target) => owners.contains(&target.0.to_lowercase()),
                _ => false,
            }
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
    says_the_same(None).await;
}

/// The others prove what they say with the records that ours gave them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_proves_the_same() {
    let lifetime = Lifetime::of_expire(86400);
    says_the_same(Some(Dnssec { algorithm: Algorithm::EcdsaP256, denial: Denial::Nsec, lifetime })).await;
}

/// And from hashes of names as from names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_proves_the_same_by_hashes() {
    let lifetime = Lifetime::of_expire(86400);
    says_the_same(Some(Dnssec { algorithm: Algorithm::EcdsaP256, denial: Denial::Nsec3, lifetime })).await;
}

async fn says_the_same(dnssec: Option<Dnssec>) {
    let is_signed = dnssec.is_some();
    let is_hashed = dnssec.is_some_and(|dnssec| dnssec.denial == Denial::Nsec3);
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
        zones: Default::default(),
    };
    let bound = Bound::at(&folder.path().join("state"), ([127, 0, 0, 1], 0).into()).await;
    let bound = bound.zone_files(files.clone()).followed_by(&follower, None);
    let ours = dnssec.into_iter().fold(bound, Bound::dnssec).serve();
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
        let mut ours = Asker::new(dns, is_signed);
        let asker = |(kind, at): &(Kind, SocketAddr)| (*kind, Asker::new(*at, is_signed));
        let mut askers: Vec<_> = addresses.iter().map(asker).collect();
        let (mut differences, mut circles) = (Vec::new(), 0);
        let is_soa = |record: &Record| record.record_type() == RecordType::SOA;
        // Names of which there are records, and which are not there (RFC 5155 section 7.2.8).
        let mut hashed: Vec<(String, String)> = Vec::new();
        for _ in 0..questions {
            let is_hashed_name = !hashed.is_empty() && dice.one_in(12);
            let (zone, name) = if is_hashed_name {
                let (zone, name) = dice.pick(&hashed).clone();
                (zone, if dice.one_in(3) { format!("below.{name}") } else { name })
            } else {
                let zone = dice.pick(&zones).clone();
                let name = if dice.one_in(12) { zone.clone() } else { owner(&mut dice, &zone, true) };
                (zone, name)
            };
            let kind = *dice.pick(&KINDS);
            let mut asked = Name::from_ascii(&name).unwrap();
            asked.set_fqdn(true);
            let message = ours.ask(&asked, kind);
            let said = Said::of(&message);
            let denials = message.authorities.iter().filter(|one| one.record_type() == RecordType::NSEC3);
            hashed.extend(denials.map(|denial| (zone.clone(), denial.name.to_string())));
            assert_eq!(said.answers.len(), message.answers.len(), "{name} {kind}: a record comes twice");
            if leads_nowhere(&message) {
                circles += 1;
                continue;
            }
            // NSD 4.6 has hashed names enclose what is below them, as if they were there.
            let is_meant = |server: Kind| server != Kind::Nsd || !is_hashed_name;
            for (server, asker) in askers.iter_mut().filter(|(server, _)| is_meant(*server)) {
                let mut other = Said::of(&asker.ask(&asked, kind));
                // BIND lets nobody keep that there is no SOA (`zero-no-soa-ttl`, its own invention).
                if *server == Kind::Bind && kind == RecordType::SOA && !message.answers.iter().any(is_soa) {
                    other.authorities.clone_from(&said.authorities);
                }
                // Knot 3.2 leaves out, of a name that begins with `*`, that no name is closer than the
                // wildcard that stands for it (RFC 4035 section 3.1.3.3).
                let leads_to_wildcard = |text: &String| text.starts_with("*.") || text.contains(" CNAME *.");
                let is_wildcard = name.starts_with("*.") || said.answers.iter().any(leads_to_wildcard);
                if *server == Kind::Knot && is_signed && is_wildcard {
                    other.authorities.clone_from(&said.authorities);
                }
                // NSD proves, of a name that begins with `*` and lacks the type, its parent as well.
                if *server == Kind::Nsd && is_wildcard && other.authorities.is_superset(&said.authorities) {
                    other.authorities.clone_from(&said.authorities);
                }
                if other != said {
                    differences.push(format!("{name} {kind}: ours {said:?}\n{server:?} {other:?}"));
                }
            }
        }
        println!("{questions} questions to each, {circles} of them about aliases in a circle left out");
        assert_eq!(hashed.is_empty(), !is_hashed);
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
        zones: Default::default(),
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
