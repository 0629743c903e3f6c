//! The operator's own records and zones, from files: served beside what links publish, followed by
//! name servers, and refused with the line when they cannot be.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use broadcaster::{Bound, Broadcaster, PATIENCE, zone};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use switchback_dns::client;
use switchback_proto::dns::v1::{ReloadZoneFilesRequest, ReloadZoneFilesResponse};
use tokio::net::UdpSocket;

const RECORDS: &str = "; ours
$TTL 300
www     A     192.0.2.80
        AAAA  2001:db8::80
@       NS    ns1.east.example.com.
        MX    10 mail
        TXT   \"v=spf1 mx -all\" ; one
mail    A     192.0.2.25
alias   CNAME more.alias
more.alias CNAME www
away    CNAME www.example.net.
_443._tcp.www TLSA 3 1 1 (
        d2abde240d7cd3ee6b4b28c54df034b9
        7983a1d16e8a410e4561cb106618e971 )
s3      HTTPS 1 . alpn=h2
*.wild  TXT   \"any\"
lab     NS    ns.lab
ns.lab  A     192.0.2.99
";

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(texts: &[(&str, &str)]) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        for (name, text) in texts {
            files.write(name, text);
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    async fn bound(&self, names: &[&str]) -> Bound {
        let files = names.iter().map(|name| self.path(name)).collect();
        Bound::at(&self.folder.path().join("state"), ([127, 0, 0, 1], 0).into()).await.zone_files(files)
    }
}

async fn reload(server: &Broadcaster) -> Result<ReloadZoneFilesResponse, String> {
    let reloaded = server.client.clone().reload_zone_files(ReloadZoneFilesRequest {}).await;
    reloaded.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
}

async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    query.add_query(Query::query(name, kind));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 1232];
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

/// The answer section, in the words of a zone file.
async fn texts(server: &Broadcaster, name: &str, kind: RecordType) -> Vec<String> {
    let answer = ask(server.dns, name, kind).await;
    assert!(answer.metadata.authoritative);
    answer.answers.iter().map(|record| format!("{} {} {}", record.name, record.ttl, record.data)).collect()
}

async fn serial(server: &Broadcaster, zone: &str) -> u32 {
    client::soa(server.dns, zone, PATIENCE).await.unwrap().unwrap()
}

#[tokio::test]
async fn records_stand_beside_what_is_published() {
    let files = Files::new(&[("own.zone", RECORDS)]);
    let mut server = files.bound(&["own.zone"]).await.serve();
    server.apply(1, vec![zone("acme.west.example.com", 1, &["192.0.2.2"], "")]).await;
    let all = async |name, kind| texts(&server, name, kind).await;
    assert_eq!(all("www.west.example.com", RecordType::A).await, ["www.west.example.com. 300 192.0.2.80"]);
    assert_eq!(
        all("west.example.com", RecordType::MX).await,
        ["west.example.com. 300 10 mail.west.example.com."]
    );
    // Name servers beside the system's own, under the lower time to live of the two.
    assert_eq!(
        all("west.example.com", RecordType::NS).await,
        ["west.example.com. 60 ns1.east.example.com.", "west.example.com. 60 ns1.west.example.com."]
    );
    assert_eq!(all("west.example.com", RecordType::A).await, ["west.example.com. 60 192.0.2.2"], "published");
    assert_eq!(all("s3.west.example.com", RecordType::HTTPS).await.len(), 1);
    assert_eq!(all("_443._tcp.www.west.example.com", RecordType::TLSA).await.len(), 1);
    assert_eq!(all("a.b.wild.west.example.com", RecordType::TXT).await.len(), 1);
    assert_eq!(
        all("alias.west.example.com", RecordType::AAAA).await,
        [
            "alias.west.example.com. 300 more.alias.west.example.com.",
            "more.alias.west.example.com. 300 www.west.example.com.",
            "www.west.example.com. 300 2001:db8::80",
        ]
    );
    assert_eq!(
        all("away.west.example.com", RecordType::A).await,
        ["away.west.example.com. 300 www.example.net."]
    );
    assert_eq!(all("acme.west.example.com", RecordType::A).await, ["acme.west.example.com. 3 192.0.2.2"]);

    let referral = ask(server.dns, "x.lab.west.example.com", RecordType::A).await;
    assert!(!referral.metadata.authoritative && referral.answers.is_empty());
    assert_eq!(referral.authorities[0].name.to_string(), "lab.west.example.com.");
    assert_eq!(referral.additionals[0].data.to_string(), "192.0.2.99");
    let denied = ask(server.dns, "nobody.west.example.com", RecordType::A).await;
    assert_eq!(denied.metadata.response_code, ResponseCode::NXDomain);
    server.stop().await;
}

#[tokio::test]
async fn aliases_are_followed_so_far_and_in_no_circle() {
    let mut text = String::from("$TTL 60\nround CNAME about\nabout CNAME round\n*.self CNAME it.self\n");
    for number in 0..12 {
        text.push_str(&format!("c{number} CNAME c{}\n", number + 1));
    }
    text.push_str("c12 A 192.0.2.12\n");
    let files = Files::new(&[("own.zone", &text)]);
    let mut server = files.bound(&["own.zone"]).await.serve();
    server.apply(1, Vec::new()).await;
    let count =
        async |name: &str| texts(&server, &format!("{name}.west.example.com"), RecordType::A).await.len();
    assert_eq!(count("c5").await, 7 + 1, "seven aliases and what they lead to");
    assert_eq!(count("c0").await, 8, "the client follows the others");
    assert_eq!((count("round").await, count("x.self").await, count("it.self").await), (2, 2, 1));
    server.stop().await;
}

#[tokio::test]
async fn the_files_of_the_guide_are_taken() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/dns.md")).unwrap();
    let block = |kind: &str| {
        let (_, rest) = guide.split_once(&format!("```{kind}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let files = Files::new(&[("own.zone", block("own")), ("reverse.zone", block("reverse"))]);
    let mut server = files.bound(&["own.zone", "reverse.zone"]).await.serve();
    server.apply(1, Vec::new()).await;
    assert_eq!(texts(&server, "s3.west.example.com", RecordType::HTTPS).await.len(), 1);
    assert_eq!(texts(&server, "10.2.0.192.in-addr.arpa", RecordType::PTR).await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_change_moves_the_serial_also_across_a_restart() {
    let files = Files::new(&[("own.zone", RECORDS)]);
    let mut server = files.bound(&["own.zone"]).await.serve();
    let tenants = vec![zone("acme.west.example.com", 0, &["192.0.2.7"], "")];
    server.apply(1, tenants.clone()).await;
    let first = serial(&server, "west.example.com").await;
    assert_eq!(reload(&server).await.unwrap(), ReloadZoneFilesResponse { records: 14, zones: 0 });
    assert_eq!(serial(&server, "west.example.com").await, first, "nothing has changed");

    files.write("own.zone", &RECORDS.replace("192.0.2.80", "192.0.2.81"));
    reload(&server).await.unwrap();
    let second = serial(&server, "west.example.com").await;
    assert!(second > first);
    assert_eq!(texts(&server, "www.west.example.com", RecordType::A).await.len(), 1);
    // What the link manager says next does not undo it.
    server.apply(2, tenants).await;
    assert_eq!(serial(&server, "west.example.com").await, second);
    server.stop().await;

    files.write("own.zone", "www 5 A 192.0.2.82\n");
    let server = files.bound(&["own.zone"]).await.serve();
    assert!(serial(&server, "west.example.com").await > second);
    assert_eq!(
        texts(&server, "www.west.example.com", RecordType::A).await,
        ["www.west.example.com. 5 192.0.2.82"]
    );
    server.stop().await;
    let server = files.bound(&[]).await.serve();
    assert_eq!(
        ask(server.dns, "www.west.example.com", RecordType::A).await.metadata.response_code,
        ResponseCode::NXDomain
    );
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_its_line_and_changes_nothing() {
    let files = Files::new(&[("own.zone", RECORDS)]);
    let mut server = files.bound(&["own.zone"]).await.serve();
    server.apply(1, vec![zone("acme.west.example.com", 1, &["192.0.2.2"], "")]).await;
    let before = serial(&server, "west.example.com").await;
    let lines = RECORDS.lines().count();
    for (added, reason) in [
        ("s3 A 192.0.2.1", "is published by this system"),
        ("ns1 NS ns.example.net.", "is published by this system"),
        ("acme A 192.0.2.1", "belongs to the tenant acme.west.example.com"),
        ("a.b.acme TXT x", "belongs to the tenant acme.west.example.com"),
        ("www.example.net. A 192.0.2.1", "lies outside west.example.com"),
        ("alias TXT x", "stands beside an alias"),
        ("odd DNAME www", "not served"),
        ("odd A 192.0.2.300", "address"),
        ("odd CH TXT x", "class"),
        ("odd NSEC www A", "not served"),
        ("a..b A 192.0.2.1", ""),
        ("odd TXT ( open", ""),
        ("odd 1h A 192.0.2.1", ""),
    ] {
        files.write("own.zone", &format!("{RECORDS}{added}\nlast A 192.0.2.1\n"));
        let error = reload(&server).await.unwrap_err();
        assert!(error.contains(&format!("own.zone, line {}: ", lines + 1)), "{added}: {error}");
        assert!(error.contains(reason), "{added}: {error}");
        assert_eq!(serial(&server, "west.example.com").await, before);
        assert_eq!(texts(&server, "mail.west.example.com", RecordType::A).await.len(), 1);
    }
    fs::remove_file(files.path("own.zone")).unwrap();
    let error = reload(&server).await.unwrap_err();
    assert!(error.contains("own.zone: No such file"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_name_that_is_published_later_takes_the_place_of_a_record() {
    let files = Files::new(&[("own.zone", RECORDS)]);
    let mut server = files.bound(&["own.zone"]).await.serve();
    server.apply(1, Vec::new()).await;
    server.apply(2, vec![zone("www.west.example.com", 1, &["192.0.2.7"], "")]).await;
    let leads = ["www.west.example.com. 3 192.0.2.7"];
    assert_eq!(texts(&server, "www.west.example.com", RecordType::A).await, leads);
    server.stop().await;
    // A restart is no time to be strict.
    let mut server = files.bound(&["own.zone"]).await.serve();
    assert_eq!(texts(&server, "www.west.example.com", RecordType::A).await, leads);
    assert!(reload(&server).await.unwrap_err().contains("line 3"));
    server.apply(3, Vec::new()).await;
    assert_eq!(
        texts(&server, "www.west.example.com", RecordType::A).await,
        ["www.west.example.com. 300 192.0.2.80"]
    );
    server.stop().await;
}

fn reverse(serial: u32, address: u8) -> String {
    format!(
        "$ORIGIN 2.0.192.in-addr.arpa.
$TTL 60
@ 3600 SOA ns1.west.example.com. hostmaster.west.example.com. {serial} 30 10 604800 5
@ NS ns1.west.example.com.
{address} PTR gateway.west.example.com.
"
    )
}

#[tokio::test]
async fn a_file_with_a_soa_is_a_zone_of_its_own() {
    let files = Files::new(&[("own.zone", RECORDS), ("reverse.zone", &reverse(7, 2))]);
    let mut server = files.bound(&["own.zone", "reverse.zone"]).await.serve();
    server.apply(1, Vec::new()).await;
    let pointers = async |name: &str| texts(&server, name, RecordType::PTR).await;
    assert_eq!(
        pointers("2.2.0.192.in-addr.arpa").await,
        ["2.2.0.192.in-addr.arpa. 60 gateway.west.example.com."]
    );
    assert_eq!(serial(&server, "2.0.192.in-addr.arpa").await, 7);
    let denied = ask(server.dns, "9.2.0.192.in-addr.arpa", RecordType::PTR).await;
    assert_eq!(
        (denied.metadata.response_code, denied.authorities[0].ttl),
        (ResponseCode::NXDomain, 5),
        "RFC 2308"
    );

    files.write("reverse.zone", &reverse(7, 3));
    let error = reload(&server).await.unwrap_err();
    assert!(error.contains("reverse.zone, line 3: ") && error.contains("serial 7 is not newer"), "{error}");
    assert_eq!(pointers("2.2.0.192.in-addr.arpa").await.len(), 1);
    files.write("reverse.zone", &reverse(8, 3));
    assert_eq!(reload(&server).await.unwrap().zones, 1);
    assert_eq!(pointers("3.2.0.192.in-addr.arpa").await.len(), 1);
    assert_eq!(serial(&server, "2.0.192.in-addr.arpa").await, 8);

    let zone = "@ SOA ns1 hostmaster 1 30 10 604800 5\n";
    for (text, reason) in [
        (format!("$TTL 5\n{zone}@ NS ns1\n"), "is published by this system"),
        (format!("$ORIGIN other.\n$TTL 5\n{zone}"), "needs an NS record"),
        (format!("{}x SOA a b 1 2 3 4 5\n", reverse(9, 1)), "only the zone's own name has a SOA"),
        (format!("{}x.example.com. A 192.0.2.1\n", reverse(9, 1)), "lies outside"),
    ] {
        files.write("reverse.zone", &text);
        let error = reload(&server).await.unwrap_err();
        assert!(error.contains("reverse.zone") && error.contains(reason), "{text}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_long_file_is_read_in_portions_and_its_wrong_line_found() {
    let mut text = String::from("$TTL 60\n");
    for number in 0..5000 {
        text.push_str(&format!("h{number} A 192.0.2.{}\n\tTXT ( \"a ; b (\"\n \"c\" )\n", number % 250));
    }
    let files = Files::new(&[("own.zone", &text)]);
    let mut server = files.bound(&["own.zone"]).await.serve();
    server.apply(1, Vec::new()).await;
    for number in [0, 340, 341, 1023, 4999] {
        let name = format!("h{number}.west.example.com");
        assert_eq!(texts(&server, &name, RecordType::A).await.len(), 1, "{name}");
        assert_eq!(texts(&server, &name, RecordType::TXT).await, [format!("{name}. 60 a ; b (c")], "{name}");
    }
    // Line 1 sets the TTL, an entry of two lines follows one of one line.
    files.write("own.zone", &text.replace("h4321 A", "h4321 AA"));
    assert!(reload(&server).await.unwrap_err().contains(&format!("line {}: ", 2 + 3 * 4321)));
    server.stop().await;
}

#[tokio::test]
async fn a_start_with_a_file_that_cannot_be_read_says_so() {
    let files = Files::new(&[("own.zone", "www A\n")]);
    let bound = files.bound(&["own.zone"]).await;
    let error = bound.serve().ended().await.unwrap_err();
    assert!(format!("{error:#}").contains("own.zone, line 1: "), "{error:#}");
}
