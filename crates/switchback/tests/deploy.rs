//! The configuration reference in `deploy/config`: it is what the services read, no more and no less.

#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

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
