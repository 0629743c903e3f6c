//! DNS by TLS and HTTPS, asked by Knot's client, which verifies the certificate; and by QUIC.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod broadcaster;
mod peer;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use broadcaster::{Bound, Broadcaster, zone};
use switchback_dns::config::{Config, Tls};
use switchback_kit::config::Source;

/// A certificate of its own authority for `ns1.west.example.com`, and its key.
fn certificate(folder: &Path) -> Tls {
    let (certificate, key) = (folder.join("tls.pem"), folder.join("tls.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=ns1.west.example.com"])
        .args([
            "-addext",
            "subjectAltName=DNS:ns1.west.example.com",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let any = || vec![([127, 0, 0, 1], 0).into()];
    Tls { listen: any(), https: any(), quic: any(), certificate, key }
}

fn kdig(server: SocketAddr, authority: &Path, host: &str, asked: &[&str]) -> String {
    let output = Command::new("kdig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+timeout=10", "+retry=0"])
        .arg(format!("+tls-ca={}", authority.display()))
        .arg(format!("+tls-hostname={host}"))
        .args(asked)
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

async fn start(folder: &Path, tls: Tls) -> (Broadcaster, SocketAddr) {
    let bound = Bound::with_tls(folder, ([127, 0, 0, 1], 0).into(), Some(tls)).await;
    let secure = bound.tls.unwrap();
    (bound.serve(), secure)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_verifies_the_certificate_is_answered_by_tls() {
    if !peer::require(&["kdig", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let authority = tls.certificate.clone();
    let (mut server, secure) = start(folder.path(), tls).await;
    server.apply(1, vec![zone("acme.west.example.com", 1, &["192.0.2.7"], "")]).await;
    let ask = |host: &'static str, name: &'static str| {
        let authority = authority.clone();
        tokio::task::spawn_blocking(move || kdig(secure, &authority, host, &["+tls", name]))
    };
    let answer = ask("ns1.west.example.com", "photos.acme.west.example.com").await.unwrap();
    assert!(answer.contains("status: NOERROR") && answer.contains("192.0.2.7"), "{answer}");
    assert!(answer.contains("TLS session (TLS1.3)"), "{answer}");
    let refused = ask("ns1.west.example.com", "example.org").await.unwrap();
    assert!(refused.contains("status: REFUSED"), "{refused}");
    let stranger = ask("ns1.east.example.com", "photos.acme.west.example.com").await.unwrap();
    assert!(!stranger.contains("192.0.2.7"), "a certificate of another host is taken: {stranger}");
    server.stop().await;
}

/// A question for the addresses of `name`, under `id`, padded for who reads sizes.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message[..2].copy_from_slice(&id.to_be_bytes());
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    // OPT with an empty PADDING option (RFC 7830).
    message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 12, 0, 0]);
    message
}

fn curl(server: SocketAddr, authority: &Path, arguments: &[&str]) -> (Vec<u8>, String) {
    let to = format!("ns1.west.example.com:{}:{}", server.port(), server.ip());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--output", "-", "--resolve", &to])
        .args([
            "--write-out",
            "%{stderr}%{http_version} %{response_code} %{content_type} %header{cache-control}",
        ])
        .arg("--cacert")
        .arg(authority)
        .args(arguments)
        .output()
        .unwrap();
    (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_a_request_by_https() {
    if !peer::require(&["kdig", "openssl", "curl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let authority = tls.certificate.clone();
    let bound = Bound::with_tls(folder.path(), ([127, 0, 0, 1], 0).into(), Some(tls)).await;
    let https = bound.https.unwrap();
    let mut server = bound.serve();
    server.apply(1, vec![zone("acme.west.example.com", 1, &["192.0.2.7"], "")]).await;
    let name = "photos.acme.west.example.com";
    let asked = tokio::task::spawn_blocking(move || {
        for transport in ["+https=/dns-query", "+https-get"] {
            let answer =
                kdig(https, &authority, "ns1.west.example.com", &[transport, "+https=/dns-query", name]);
            assert!(answer.contains("192.0.2.7") && answer.contains("HTTP session (HTTP/2"), "{answer}");
        }
        let body = folder.path().join("question");
        std::fs::write(&body, question(0, name)).unwrap();
        let url = format!("https://ns1.west.example.com:{}", https.port());
        let (dns, data) = (format!("{url}/dns-query"), format!("@{}", body.display()));
        let posted = ["--data-binary", &data, "--header", "Content-Type: application/dns-message"];
        for version in ["--http1.1", "--http2"] {
            let (answer, told) = curl(https, &authority, &[&[version, &*dns], &posted[..]].concat());
            let number = version.trim_start_matches("--http");
            assert_eq!(told, format!("{number} 200 application/dns-message max-age=3"));
            assert_eq!((answer.len(), &answer[6..8]), (468, &[0, 1][..]), "one address, padded");
        }
        let absent = base64::engine::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            question(0, "none.west.example.com"),
        );
        let (_, told) = curl(https, &authority, &[&format!("{dns}?dns={absent}")]);
        assert!(told.ends_with("200 application/dns-message max-age=5"), "a denial's time: {told}");
        std::fs::write(&body, vec![0; 65_536]).unwrap();
        for (status, arguments) in [
            (404, vec![&*url]),
            (400, vec![&*dns]),
            (400, vec!["--globoff", &*format!("{dns}?dns=Zm9v")]),
            (405, vec!["--request", "PUT", &*dns]),
            (415, vec!["--data-binary", "foo", &*dns]),
            (413, [&[&*dns], &posted[..]].concat()),
        ] {
            let (reason, told) = curl(https, &authority, &[&["--http1.1"], &arguments[..]].concat());
            assert!(told.contains(&format!(" {status} text/plain")), "{arguments:?}: {told}");
            assert!(!reason.is_empty());
        }
    });
    asked.await.unwrap();
    server.stop().await;
}

/// Trusts the authority at this path.
fn quic_client(authority: &Path) -> quinn::Endpoint {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"doq".into()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut client = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(std::sync::Arc::new(config)));
    client
}

/// Sends `framed` on a stream of its own; what comes back.
async fn exchange(connection: &quinn::Connection, framed: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(framed).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(65_537).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_question_has_its_stream_by_quic() {
    if !peer::require(&["openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let client = quic_client(&tls.certificate);
    let bound = Bound::with_tls(folder.path(), ([127, 0, 0, 1], 0).into(), Some(tls)).await;
    let quic = bound.quic.unwrap();
    let mut server = bound.serve();
    server.apply(1, vec![zone("acme.west.example.com", 1, &["192.0.2.7"], "")]).await;
    let connect = async || client.connect(quic, "ns1.west.example.com").unwrap().await.unwrap();
    let framed = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    let asked = framed(question(0, "photos.acme.west.example.com"));

    // Who begins a handshake and says no more holds up nobody: the server hears only the first of it.
    let between = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let half = client.connect(between.local_addr().unwrap(), "ns1.west.example.com").unwrap();
    let mut datagram = vec![0; 2048];
    let (bytes, _) = between.recv_from(&mut datagram).await.unwrap();
    between.send_to(&datagram[..bytes], quic).await.unwrap();

    let connection = connect().await;
    // One that is asked slowly holds up no other.
    let (mut slow, mut slow_answer) = connection.open_bi().await.unwrap();
    slow.write_all(&asked[..9]).await.unwrap();
    for _ in 0..200 {
        let answer = exchange(&connection, &asked).await.unwrap();
        assert_eq!((answer.len(), &answer[..4], &answer[8..10]), (470, &[1, 212, 0, 0][..], &[0, 1][..]));
    }
    slow.write_all(&asked[9..]).await.unwrap();
    slow.finish().unwrap();
    assert_eq!(slow_answer.read_to_end(65_537).await.unwrap().len(), 470);
    // Zones are not given here; who wants one is told so.
    let mut transfer = question(0, "acme.west.example.com");
    let kind = transfer.len() - 15 - 4;
    transfer[kind..kind + 2].copy_from_slice(&252_u16.to_be_bytes());
    let answer = exchange(&connection, &framed(transfer)).await.unwrap();
    assert_eq!(answer[5] & 0xf, 5);

    // What RFC 9250 does not allow ends the connection, and nobody else's.
    let mut longer = asked.clone();
    longer.push(0);
    let mut answer = question(0, "photos.acme.west.example.com");
    answer[2] |= 0x80;
    for wrong in [framed(question(7, "photos.acme.west.example.com")), longer, vec![0], framed(answer)] {
        let connection = connect().await;
        exchange(&connection, &wrong).await.unwrap_err();
        let quinn::ConnectionError::ApplicationClosed(closed) = connection.closed().await else {
            panic!("{wrong:?}");
        };
        assert_eq!(closed.error_code, 2_u8.into());
    }
    assert_eq!(exchange(&connection, &asked).await.unwrap().len(), 470);
    server.stop().await;
    let quinn::ConnectionError::ApplicationClosed(closed) = connection.closed().await else { panic!() };
    assert_eq!(closed.error_code, 0_u8.into());
    drop(half);
}

/// What a configuration with these lines of `[dns_broadcaster]` is judged to be.
fn judged(folder: &Path, lines: &str) -> Result<Config, String> {
    let text = format!(
        "[system]\nname = \"west\"\ndomain = \"west.example.com\"\nid = \"{}\"\nsecret_file = \"s\"\n\
         data_dir = \"d\"\n[dns_broadcaster]\nlisten = \"127.0.0.1:1\"\ndns_listen = [\"127.0.0.1:53\"]\n{lines}\n",
        "0123456789abcdef0123456789abcdef"
    );
    let path = folder.join("switchback.toml");
    std::fs::write(&path, text).unwrap();
    let source = Source::load(&path).map_err(|error| error.to_string())?;
    Config::from_source(&source).map_err(|error| error.to_string())
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("transfer.key");
    let text = "key \"transfer.example.com\" {\n algorithm hmac-sha256;\n secret \"c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz\";\n};\n";
    std::fs::write(&file, text).unwrap();
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let keys = format!("tsig_key_files = [\"{}\"]", file.display());
    let secondary =
        "secondaries = [{ name = \"ns-a\", address = \"192.0.2.53:53\", key = \"transfer.example.com\" }]";
    let target = "update_targets = [{ name = \"corp\", address = \"192.0.2.53:53\", zone = \"example.com\", key = \"transfer.example.com\" }]";

    mode(0o644);
    let open = judged(folder.path(), &keys).unwrap_err();
    assert!(open.contains("chmod 600"), "{open}");
    mode(0o600);
    let good = judged(folder.path(), &format!("{keys}\n{secondary}\n{target}")).unwrap();
    assert_eq!(
        (&good.update_targets[0].key, good.update_targets.len()),
        (good.keys.get(&good.update_targets[0].key).unwrap().name(), 1)
    );
    assert_eq!(
        good.secondaries[0].key,
        good.keys.get(good.secondaries[0].key.as_ref().unwrap()).map(|key| key.name().clone())
    );
    assert!(!format!("{good:?}").contains("c3dp"), "a secret is shown");

    for (lines, told) in [
        (secondary.to_owned(), "no file in tsig_key_files holds key transfer.example.com"),
        (format!("tsig_key_files = [\"{0}\", \"{0}\"]", file.display()), "two keys with the name"),
        ("secondaries = [{ name = \"a\", address = \"192.0.2.1\" }]".into(), "is no address"),
        (
            "secondaries = [{ name = \"a\", address = \"192.0.2.1:53\" }, { name = \"a\", address = \"192.0.2.2:53\" }]".into(),
            "two have the name",
        ),
        (
            "secondaries = [{ name = \"a\", address = \"192.0.2.1:53\", zones = [\"a..b\"] }]".into(),
            "zones of \"a\": \"a..b\"",
        ),
        (
            "secondaries = [{ name = \"a\", address = \"192.0.2.1:53\", zones = [\"a.test\"], catalogue = true }]".into(),
            "leave out one of the two",
        ),
        (target.to_owned(), "no file in tsig_key_files holds key transfer.example.com"),
        (target.replace("example.com\", key", "-..-\", key"), "zone of \"corp\""),
        (target.replace(":53", ""), "is no address"),
        (target.replace(", key = \"transfer.example.com\"", ""), "missing"),
        ("tls_listen = [\"127.0.0.1:853\"]".into(), "expected both, for encrypted DNS"),
        ("quic_listen = [\"127.0.0.1:853\"]\ntls_key_file = \"k\"".into(), "expected both, for encrypted DNS"),
        ("https_listen = [\"443\"]".into(), "https_listen: \"443\" is no address"),
        ("tls_certificate_file = \"c\"\ntls_key_file = \"k\"".into(), "expected an address in one of them"),
        ("secondarys = []".into(), "secondarys"),
    ] {
        let error = judged(folder.path(), &lines).unwrap_err();
        assert!(error.contains(told), "{lines}: {error}");
    }
}
