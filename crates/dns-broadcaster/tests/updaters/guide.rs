//! What the operators' guide says of updates: the service takes its configuration, and the update in it.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use hickory_proto::rr::RecordType;
use switchback_dns::config::Config;
use switchback_dns::core::record::Kind;
use switchback_dns::{Listeners, serve};
use switchback_kit::config::Source;
use switchback_kit::grpc;
use switchback_kit::secret::Secret;
use switchback_proto::dns::v1::dns_service_client::DnsServiceClient;
use tokio_util::sync::CancellationToken;

use super::broadcaster::request_of;
use super::{SECRET, SERVERS, name, peer};

const EAST: &str = "east.example.com";

fn block(kind: &str) -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dns.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, rest) = guide.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("no block {kind}"));
    rest.split_once("```").unwrap().0.to_owned()
}

/// The configuration of the guide, with what it leaves out, below `folder`.
fn source(folder: &Path, updaters: &str) -> Source {
    for key in ["acme", "dhcp"] {
        let path = folder.join(format!("{key}.key"));
        let clause =
            format!("key \"{key}.example.com\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
        fs::write(&path, clause).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(folder.join("reverse.zone"), block("reverse")).unwrap();
    let address = Ipv4Addr::new(127, 79, SERVERS.fetch_add(1, Ordering::Relaxed), 1);
    let rest = "listen = \"127.0.0.1:0\"\ndns_listen = [\"ADDRESS:0\"]\nhold_ms = 3600000\n";
    let system = "[system]\nname = \"east\"\ndomain = \"east.example.com\"\n\
        id = \"6b1f0c7e94d24a31b5d0c2a97e5f8d03\"\nsecret_file = \"FOLDER/secret\"\ndata_dir = \"FOLDER/state\"\n";
    let text = format!("{updaters}{rest}{system}").replace("/etc/switchback", "FOLDER");
    let text = text.replace("FOLDER", folder.to_str().unwrap()).replace("ADDRESS", &address.to_string());
    fs::write(folder.join("config.toml"), text).unwrap();
    Source::load(&folder.join("config.toml")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_update_of_the_guide_is_taken_under_its_configuration() {
    if !peer::require(&["nsupdate"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = Config::from_source(&source(folder.path(), &block("updaters"))).unwrap();
    let challenge = name("_acme-challenge.s3.east.example.com");
    assert!(config.updaters.allow(&name("acme.example.com"), &name(EAST), &challenge, Kind::TXT));
    let listeners = Listeners::bind(&config).await.unwrap();
    let dns = listeners.udp[0].local_addr().unwrap();
    let secret = Secret::create(&folder.path().join("secret")).unwrap();
    let channel = grpc::channel(&listeners.grpc.local_addr().unwrap().to_string(), &secret).unwrap();
    let end = CancellationToken::new();
    let running = tokio::spawn({
        let end = end.clone();
        async move { serve(config, listeners, &secret, end).await }
    });
    DnsServiceClient::new(channel).apply_zones(request_of(EAST, 1, Vec::new())).await.unwrap();
    let script =
        block("nsupdate").replace("server 192.0.2.10 53", &format!("server {} {}", dns.ip(), dns.port()));
    fs::write(folder.path().join("script"), script).unwrap();
    let path = folder.path().to_owned();
    let sent = tokio::task::spawn_blocking(move || {
        Command::new("nsupdate").args(["-k", "dhcp.key", "script"]).current_dir(path).output().unwrap()
    });
    let sent = sent.await.unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let answer = peer::question(dns, "laptop.hosts.east.example.com", RecordType::A).await.unwrap();
    assert_eq!(answer.answers[0].data.to_string(), "192.0.2.99");
    end.cancel();
    running.await.unwrap().unwrap();
}

/// No more than that they name the key of the guide's configuration.
#[test]
fn clients_for_certificates_are_told_the_key_of_the_guide() {
    let pairs = |kind: &str| -> BTreeMap<String, String> {
        let text = block(kind);
        let pairs = text.lines().map(|line| line.split_once('=').unwrap());
        pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
    };
    let (certbot, lego) = (pairs("certbot"), pairs("lego"));
    assert_eq!(certbot["dns_rfc2136_name"], "acme.example.com.");
    assert_eq!(certbot["dns_rfc2136_algorithm"], "HMAC-SHA256");
    assert_eq!(lego["RFC2136_TSIG_KEY"], "acme.example.com.");
    assert_eq!(lego["RFC2136_TSIG_ALGORITHM"], "hmac-sha256.");
    assert_eq!([&certbot["dns_rfc2136_secret"], &lego["RFC2136_TSIG_SECRET"]], [SECRET, SECRET]);
    assert!(block("updaters").contains("key = \"acme.example.com\""));
}

#[test]
fn a_grant_that_cannot_be_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let right = "key = \"acme.example.com\", zone = \"east.example.com\", names = [\"x.east.example.com\"], types = [\"TXT\"]";
    for (from, to, reason) in [
        ("", "", None),
        (
            "acme.example.com",
            "nobody.example.com",
            Some("no file in tsig_key_files holds key nobody.example.com"),
        ),
        ("x.east", "x.west", Some("\"x.west.example.com\" does not lie in its zone east.example.com")),
        ("x.east", "x.*.east", Some("may hold only letters")),
        ("[\"x.east.example.com\"]", "[]", Some("expected at least one of each")),
        ("[\"TXT\"]", "[]", Some("expected at least one of each")),
        ("TXT", "TEXT", Some("\"TEXT\" is no type of records")),
        ("TXT", "DNSKEY", Some("records of type DNSKEY are not taken by update")),
        ("TXT", "SOA", Some("records of type SOA are not taken by update")),
        ("TXT", "ANY", Some("records of type ANY are not taken by update")),
    ] {
        let grant = if from.is_empty() { right.to_owned() } else { right.replacen(from, to, 1) };
        let text = format!(
            "[dns_broadcaster]\ntsig_key_files = [\"/etc/switchback/acme.key\"]\nupdaters = [{{ {grant} }}]\n"
        );
        let read = Config::from_source(&source(folder.path(), &text)).map(drop);
        match (read, reason) {
            (Ok(()), None) => {}
            (Err(error), Some(reason)) => {
                let error = error.to_string();
                assert!(error.contains("updaters: ") && error.contains(reason), "{to}: {error}");
            }
            (read, _) => panic!("{to}: {read:?}"),
        }
    }
}
