//! DNS by TLS, asked by Knot's client, which verifies the certificate.
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
        .args(["-addext", "subjectAltName=DNS:ns1.west.example.com"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Tls { listen: vec![([127, 0, 0, 1], 0).into()], certificate, key }
}

fn kdig(server: SocketAddr, authority: &Path, host: &str, name: &str) -> String {
    let output = Command::new("kdig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+tls", "+timeout=10", "+retry=0"])
        .arg(format!("+tls-ca={}", authority.display()))
        .arg(format!("+tls-hostname={host}"))
        .args([name, "A"])
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
        tokio::task::spawn_blocking(move || kdig(secure, &authority, host, name))
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
        (target.to_owned(), "no file in tsig_key_files holds key transfer.example.com"),
        (target.replace("example.com\", key", "-..-\", key"), "zone of \"corp\""),
        (target.replace(":53", ""), "is no address"),
        (target.replace(", key = \"transfer.example.com\"", ""), "missing"),
        ("tls_listen = [\"127.0.0.1:853\"]".into(), "all of them, or none"),
        ("secondarys = []".into(), "secondarys"),
    ] {
        let error = judged(folder.path(), &lines).unwrap_err();
        assert!(error.contains(told), "{lines}: {error}");
    }
}
