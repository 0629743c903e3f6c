//! `primaries` in a configuration: the guide's, and those that cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use switchback_dns::config::Config;
use switchback_kit::config::Source;

use crate::name;

const KEY: &str = "key \"transfer.example.com\" { algorithm hmac-sha256; secret \"c3dpdGNoYmFjayBzaGFyZXMgdGhpcyBvbmx5IGluIHRlc3Rz\"; };\n";

/// The configuration of the east that has this in `[dns_broadcaster]`.
fn load(section: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("transfer.key");
    fs::write(&key, KEY).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let section = section.replace("/etc/switchback/transfer.key", &key.display().to_string());
    let text = format!(
        "[system]\nname = \"east\"\ndomain = \"east.example.com\"\nid = \"6b1f0c7e94d24a31b5d0c2a97e5f8d03\"\n\
         secret_file = \"secret\"\ndata_dir = \"data\"\n{section}\nlisten = \"127.0.0.1:0\"\n\
         dns_listen = [\"127.0.0.1:0\"]\n"
    );
    let path = folder.path().join("switchback.toml");
    fs::write(&path, text).unwrap();
    Config::from_source(&Source::load(&path).unwrap()).map_err(|error| error.to_string())
}

fn block(kind: &str) -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dns.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, rest) = guide.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("no block {kind}"));
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_service_takes_the_copies_of_the_guide() {
    let config = load(&block("toml-copies")).unwrap();
    let [west] = &config.primaries[..] else { panic!("{:?}", config.primaries) };
    assert_eq!(west.follow.catalogue, Some(name("_catalog.west.example.com")));
    assert_eq!(west.key, Some(name("transfer.example.com")));
    let config = load(&block("toml-primary")).unwrap();
    assert!(config.secondaries[0].catalogue && config.secondaries[0].key.is_some());
}

#[test]
fn primaries_that_cannot_be_are_refused_with_what_to_do() {
    let with =
        |primaries: &str| load(&format!("[dns_broadcaster]\nprimaries = [{primaries}]\n")).unwrap_err();
    let of = |rest: &str| format!("{{ name = \"west\", address = \"192.0.2.2:53\", {rest} }}");
    let zones = |zone: &str| of(&format!("zones = [\"{zone}\"]"));
    let many = (0..33).map(|number| zones(&format!("z{number}.test")).replace("west", &format!("w{number}")));
    for (primaries, said) in [
        (zones("west.test").replace("192.0.2.2:53", "west"), "expected \"192.0.2.1:53\""),
        (
            of("key = \"other.test\", zones = [\"west.test\"]"),
            "no file in tsig_key_files holds key other.test",
        ),
        (zones("a..b"), "empty label"),
        (zones("east.example.com"), "this system's own; leave it out"),
        (of("catalogue = \"_catalog.east.example.com\""), "this system's own; leave it out"),
        (of("zones = []"), "neither zones nor a catalogue; name what to take"),
        (format!("{}, {}", zones("a.test"), zones("b.test")), "two have the name \"west\""),
        (format!("{}, {}", zones("a.test"), zones("a.test").replace("west", "w")), "a zone has one primary"),
        (of("zones = [\"a.test\"], secret = 1"), "secret"),
        (many.collect::<Vec<_>>().join(", "), "33 are more than 32; let another name server take some"),
    ] {
        let error = with(&primaries);
        assert!(error.contains(said), "{primaries}: {error}");
    }
}
