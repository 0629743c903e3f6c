//! The configuration reference in `deploy/config`: it is what the services read, no more and no less.

#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use switchback_kit::config::Source;
use switchback_kit::secret::Secret;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn reference() -> String {
    fs::read_to_string(repository().join("deploy/config/switchback.toml")).unwrap()
}

/// What each service makes of a configuration.
fn read(text: &str) -> [String; 5] {
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("switchback.toml"), folder.path().join("system.secret"));
    Secret::create(&secret).unwrap();
    let text = text.replace("/etc/switchback/system.secret", &secret.to_string_lossy());
    fs::write(&path, text).unwrap();
    let source = Source::load(&path).unwrap();
    let shown = [
        format!("{:?}", switchback_mover::Config::read(&source).unwrap()),
        format!("{:?}", switchback_link::Config::parse(&source).unwrap()),
        format!("{:?}", switchback_dns::config::Config::from_source(&source).unwrap()),
        format!("{:?}", switchback_certificate::Config::read(&source).unwrap()),
        format!("{:?}", switchback_gateway::Config::load(&source).unwrap()),
    ];
    shown.map(|config| config.replace(&*folder.path().to_string_lossy(), ""))
}

#[test]
fn every_service_takes_the_reference_as_its_configuration() {
    for config in read(&reference()) {
        assert!(config.starts_with("Config {"), "{config}");
    }
}

#[test]
fn what_the_reference_calls_a_default_is_one() {
    let text = reference();
    let (defaults, bare): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.ends_with("# default"));
    assert!(!defaults.is_empty());
    assert_eq!(read(&bare.join("\n")), read(&text));
}

#[test]
fn the_reference_names_every_key_that_a_service_reads() {
    let table: toml::Table = reference().parse().unwrap();
    for folder in ["data-mover", "link-manager", "dns-broadcaster", "certificate-service", "gateway"] {
        let section = table[&folder.replace('-', "_")].as_table().unwrap();
        let code =
            fs::read_to_string(repository().join("crates").join(folder).join("src/config.rs")).unwrap();
        let (_, raw) = code.split_once("struct Raw {").expect("each service reads its section into a Raw");
        let (raw, _) = raw.split_once("\n}").unwrap();
        let fields = raw.lines().map(str::trim).filter(|line| !line.starts_with(['/', '#']));
        let keys: Vec<_> = fields.filter_map(|line| line.split_once(':')).map(|(key, _)| key).collect();
        assert!(!keys.is_empty(), "{folder}");
        for key in keys {
            assert!(section.contains_key(key), "deploy/config/switchback.toml lacks {key} of {folder}");
        }
    }
}

#[test]
fn the_reference_names_every_key_of_the_blobs() {
    let table: toml::Table = reference().parse().unwrap();
    let place = repository().join("crates/store/src/blob/place.rs");
    let code = fs::read_to_string(place).unwrap();
    let (_, raw) = code.split_once("struct BlobSection {").unwrap();
    let (raw, _) = raw.split_once("\n}").unwrap();
    let fields = raw.lines().map(str::trim).filter(|line| !line.starts_with('/'));
    let keys: BTreeSet<_> = fields.filter_map(|line| line.split_once(':')).map(|(key, _)| key).collect();
    assert_eq!(keys, table["blobs"].as_table().unwrap().keys().map(String::as_str).collect());
}

/// A bucket for both who read it, and its secret in no line that shows a configuration.
#[test]
fn a_bucket_is_read_alike_by_the_gateway_and_the_mover_and_its_secret_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, "aws_access_key_id = AKIA1\naws_secret_access_key = hidden\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = reference()
        .replace("backend = \"local\"", "backend = \"s3\"")
        .replace("bucket = \"\"", "bucket = \"bytes\"")
        .replace("credentials_file = \"\"", &format!("credentials_file = {:?}", path.display().to_string()));
    let [mover, .., gateway] = read(&text);
    for shown in [mover, gateway] {
        assert!(shown.contains("bucket: \"bytes\"") && !shown.contains("hidden"), "{shown}");
    }
}
