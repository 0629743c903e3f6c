//! The configurations in the operator's guide: each is loaded by the server that it is for.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod peer;

use std::fs;
use std::path::Path;
use std::process::Command;

fn guide() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dns.md")).unwrap()
}

/// The text of the one block that is marked as `kind`.
fn block(kind: &str) -> String {
    let guide = guide();
    let (_, rest) = guide.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("no block {kind}"));
    rest.split_once("```").unwrap().0.to_owned()
}

/// `program` finds nothing wrong with the block of `kind`, and something with a part of it.
fn takes(kind: &str, program: &str, file: &str, arguments: &[&str]) {
    if !peer::require(&[program]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        fs::write(folder.path().join(file), text).unwrap();
        let path = ["/usr/sbin", "/usr/bin"].map(|folder| Path::new(folder).join(program));
        let path = path.into_iter().find(|path| path.exists()).unwrap();
        Command::new(path).args(arguments).current_dir(folder.path()).output().unwrap()
    };
    let text = block(kind);
    let checked = check(&text);
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(checked.status.success(), "{kind}: {said}");
    let broken = check(&text.replacen(['=', ':', ';'], " nonsense ", 1));
    assert!(!broken.status.success(), "{kind}: the checker takes anything");
}

#[test]
fn bind_takes_the_configuration_of_the_guide() {
    takes("bind", "named-checkconf", "named.conf", &["named.conf"]);
}

#[test]
fn bind_takes_catalogues_as_the_guide_says() {
    takes("bind-catalogue", "named-checkconf", "named.conf", &["named.conf"]);
}

#[test]
fn knot_takes_catalogues_as_the_guide_says() {
    takes("knot-catalogue", "knotc", "knot.conf", &["-c", "knot.conf", "conf-check"]);
}

#[test]
fn bind_takes_the_guides_policy_of_updates() {
    takes("bind-update", "named-checkconf", "named.conf", &["named.conf"]);
}

#[test]
fn knot_takes_the_guides_policy_of_updates() {
    takes("knot-update", "knotc", "knot.conf", &["-c", "knot.conf", "conf-check"]);
}

#[test]
fn powerdns_takes_the_guides_configuration_of_updates() {
    takes("powerdns-update", "pdns_server", "pdns.conf", &["--config-dir=.", "--config=check"]);
}

#[test]
fn the_service_takes_the_guides_targets() {
    let table: toml::Table = block("targets").parse().unwrap();
    let section = table["dns_broadcaster"].as_table().unwrap();
    let [target] = &section["update_targets"].as_array().unwrap()[..] else { panic!("{section}") };
    for key in ["name", "address", "zone", "key"] {
        assert!(target[key].is_str(), "{key}");
    }
}

#[test]
fn nsd_takes_the_configuration_of_the_guide() {
    takes("nsd", "nsd-checkconf", "nsd.conf", &["nsd.conf"]);
}

#[test]
fn knot_takes_the_configuration_of_the_guide() {
    takes("knot", "knotc", "knot.conf", &["-c", "knot.conf", "conf-check"]);
}

#[test]
fn unbound_takes_the_configuration_of_the_guide() {
    takes("unbound", "unbound-checkconf", "unbound.conf", &["unbound.conf"]);
}

#[test]
fn powerdns_takes_the_configuration_of_the_guide() {
    takes("powerdns", "pdns_server", "pdns.conf", &["--config-dir=.", "--config=check"]);
}

#[test]
fn the_service_takes_the_configuration_of_the_guide() {
    let table: toml::Table = block("toml").parse().unwrap();
    let section = table["dns_broadcaster"].as_table().unwrap();
    assert_eq!(section["secondaries"].as_array().unwrap().len(), 2);
    assert!(section.contains_key("tsig_key_files"));
}

#[test]
fn zone_files_are_taken_by_the_checker_of_bind() {
    let own = "east.example.com";
    for (kind, zone) in [("reverse", "2.0.192.in-addr.arpa"), ("own", own), ("own-servers", own)] {
        if !peer::require(&["named-checkzone"]) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zone");
        let is_part = !block(kind).contains("SOA");
        let rest = "@ 60 SOA ns1 hostmaster 1 30 10 604800 5\n@ 60 NS ns1\nns1 60 A 192.0.2.53\n";
        fs::write(&file, format!("{}{}", if is_part { rest } else { "" }, block(kind))).unwrap();
        let checked = Command::new("named-checkzone").arg(zone).arg(&file).output().unwrap();
        assert!(checked.status.success(), "{kind}: {}", String::from_utf8_lossy(&checked.stdout));
    }
}
