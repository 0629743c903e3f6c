//! `[dns_broadcaster]`, parsed and judged before anything is opened.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use domain::base::iana::Rtype;
use serde::Deserialize;
use switchback_kit::config::{Error, Source};
use switchback_kit::secret::Secret;

use crate::access::{Primary, Secondary, UpdateTarget};
use crate::core::catalogue;
use crate::core::dnssec::key::Algorithm;
use crate::core::dnssec::{Denial, Lifetime};
use crate::core::follow::TARGETS_MAX;
use crate::core::name::Name;
use crate::core::rate::Rate;
use crate::core::receive::{Grant, Grants, Pattern};
use crate::core::record::Kind;
use crate::core::secondary::{Follow, PRIMARIES_MAX};
use crate::core::zone::Policy;
use crate::tsig::{Key, Keys};

/// Beyond it nothing would ever be limited.
const RESPONSES_MAX: u32 = 1_000_000;

const ECDSA_P256: &str = "ecdsa-p256";
const ED25519: &str = "ed25519";
const NSEC: &str = "nsec";
const NSEC3: &str = "nsec3";
const SECTION: &str = "dns_broadcaster";
/// RFC 2181 section 8.
const SECONDS_MAX: u32 = i32::MAX as u32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    dns_listen: Vec<String>,
    #[serde(default = "hold_default")]
    hold_ms: u64,
    #[serde(default = "movable_default")]
    ttl_seconds: u32,
    #[serde(default = "system_default")]
    system_ttl_seconds: u32,
    #[serde(default = "movable_default")]
    negative_ttl_seconds: u32,
    #[serde(default = "refresh_default")]
    soa_refresh_seconds: u32,
    #[serde(default = "retry_default")]
    soa_retry_seconds: u32,
    #[serde(default = "expire_default")]
    soa_expire_seconds: u32,
    #[serde(default = "idle_default")]
    tcp_idle_ms: u64,
    #[serde(default)]
    tls_listen: Vec<String>,
    #[serde(default)]
    https_listen: Vec<String>,
    #[serde(default)]
    quic_listen: Vec<String>,
    #[serde(default)]
    tls_certificate_file: PathBuf,
    #[serde(default)]
    tls_key_file: PathBuf,
    #[serde(default)]
    tsig_key_files: Vec<PathBuf>,
    #[serde(default)]
    secondaries: Vec<RawSecondary>,
    #[serde(default)]
    primaries: Vec<RawPrimary>,
    #[serde(default)]
    update_targets: Vec<RawUpdateTarget>,
    #[serde(default)]
    updaters: Vec<RawUpdater>,
    #[serde(default)]
    zone_files: Vec<PathBuf>,
    #[serde(default)]
    dnssec: bool,
    #[serde(default = "algorithm_default")]
    dnssec_algorithm: String,
    #[serde(default = "denial_default")]
    dnssec_denial: String,
    #[serde(default = "rate_default")]
    responses_per_second: u32,
    #[serde(default = "slip_default")]
    responses_slip: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecondary {
    name: String,
    address: String,
    key: Option<String>,
    #[serde(default)]
    catalogue: bool,
    #[serde(default)]
    zones: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrimary {
    name: String,
    address: String,
    key: Option<String>,
    #[serde(default)]
    zones: Vec<String>,
    catalogue: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUpdateTarget {
    name: String,
    address: String,
    zone: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUpdater {
    key: String,
    zone: String,
    names: Vec<String>,
    types: Vec<String>,
}

/// Longer than a link manager takes to reach its peer after a start (`contact_wait`, 5 s) and to
/// say what is true; shorter than the patience of most clients.
fn hold_default() -> u64 {
    10_000
}
/// The time that a client may go to the old side after a failover.
fn movable_default() -> u32 {
    5
}
/// The system's own names move only when an operator moves the system.
fn system_default() -> u32 {
    60
}
/// A secondary that missed a NOTIFY is behind for no longer than this.
fn refresh_default() -> u32 {
    30
}
fn retry_default() -> u32 {
    10
}
/// A week: secondaries answer on while both systems are gone.
fn expire_default() -> u32 {
    604_800
}
/// RFC 7766 section 6.2.3 asks for a few seconds.
fn idle_default() -> u64 {
    10_000
}

/// Far more than a resolver asks of one zone, far less than floods anybody.
fn rate_default() -> u32 {
    2000
}
/// Small signatures that every validator knows (RFC 8624 section 3.1).
fn algorithm_default() -> String {
    ECDSA_P256.into()
}

/// The names of systems and tenants are in public logs of certificates already.
fn denial_default() -> String {
    NSEC.into()
}

/// So that nobody who is there waits for long.
fn slip_default() -> u32 {
    2
}

/// The broadcaster's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder of state.
    pub data_dir: PathBuf,
    /// Where the internal gRPC is served.
    pub listen: String,
    /// Where DNS is answered, UDP and TCP. A wildcard address answers from the address that was asked.
    pub dns_listen: Vec<SocketAddr>,
    /// How long the zones of links are held back after a start when nobody confirms them.
    pub hold: Duration,
    /// TTL of tenants' zones that name none, seconds.
    pub ttl: u32,
    /// A TCP connection without a query for this long is closed.
    pub tcp_idle: Duration,
    /// Encrypted DNS, if it is served.
    pub tls: Option<Tls>,
    /// TSIG keys shared with other name servers.
    pub keys: Keys,
    /// Name servers that follow this one.
    pub secondaries: Vec<Secondary>,
    /// Name servers whose zones this one holds copies of; none has a zone that another has.
    pub primaries: Vec<Primary>,
    /// Name servers in whose zones tenants' names are kept.
    pub update_targets: Vec<UpdateTarget>,
    /// Who may change what by update.
    pub updaters: Grants,
    /// The system's own domain.
    pub domain: Name,
    /// Files of the operator's own records and zones.
    pub zone_files: Vec<PathBuf>,
    /// How zones are signed, if they are.
    pub dnssec: Option<Dnssec>,
    /// How much is answered by UDP, in each thread.
    pub rate: Rate,
    /// The times in zones.
    pub policy: Policy,
}

/// How zones are signed.
#[derive(Clone, Copy, Debug)]
pub struct Dnssec {
    /// Of the first key.
    pub algorithm: Algorithm,
    /// From what is denied.
    pub denial: Denial,
    /// How long signatures last.
    pub lifetime: Lifetime,
}

/// DNS by TLS (RFC 7858), HTTPS (RFC 8484) and QUIC (RFC 9250).
#[derive(Clone, Debug)]
pub struct Tls {
    /// Where it is answered by TLS.
    pub listen: Vec<SocketAddr>,
    /// Where it is answered by HTTPS.
    pub https: Vec<SocketAddr>,
    /// Where it is answered by QUIC.
    pub quic: Vec<SocketAddr>,
    /// PEM file of the certificate that clients are shown, its chain behind it.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

impl Tls {
    fn is_served(&self) -> bool {
        [&self.listen, &self.https, &self.quic].into_iter().any(|addresses| !addresses.is_empty())
    }
}

impl Config {
    /// Reads `[dns_broadcaster]` and `[system]`.
    ///
    /// # Errors
    /// A key is missing, unknown or malformed; the error names file, section and key.
    pub fn from_source(source: &Source) -> Result<Self, Error> {
        let raw: Raw = source.section(SECTION)?;
        let refuse = |reason: String| source.refuse(SECTION, &reason);
        let dns_listen = parse_all("dns_listen", &raw.dns_listen).map_err(refuse)?;
        if dns_listen.is_empty() {
            return Err(refuse("dns_listen: expected at least one address such as \"192.0.2.1:53\"".into()));
        }
        for (key, value) in [
            ("ttl_seconds", raw.ttl_seconds),
            ("system_ttl_seconds", raw.system_ttl_seconds),
            ("negative_ttl_seconds", raw.negative_ttl_seconds),
            ("soa_refresh_seconds", raw.soa_refresh_seconds),
            ("soa_retry_seconds", raw.soa_retry_seconds),
            ("soa_expire_seconds", raw.soa_expire_seconds),
        ] {
            if value == 0 || value > SECONDS_MAX {
                return Err(refuse(format!("{key}: expected seconds from 1 to {SECONDS_MAX}")));
            }
        }
        if raw.responses_per_second > RESPONSES_MAX {
            return Err(refuse(format!(
                "responses_per_second: expected at most {RESPONSES_MAX}, or 0 for no limit"
            )));
        }
        if raw.tcp_idle_ms == 0 {
            return Err(refuse("tcp_idle_ms: expected at least 1".into()));
        }
        let files = [&raw.tls_certificate_file, &raw.tls_key_file].map(|file| !file.as_os_str().is_empty());
        let secure = Tls {
            listen: parse_all("tls_listen", &raw.tls_listen).map_err(refuse)?,
            https: parse_all("https_listen", &raw.https_listen).map_err(refuse)?,
            quic: parse_all("quic_listen", &raw.quic_listen).map_err(refuse)?,
            certificate: raw.tls_certificate_file,
            key: raw.tls_key_file,
        };
        let tls = match (secure.is_served(), files) {
            (false, [false, false]) => None,
            (true, [true, true]) => Some(secure),
            (true, _) => {
                return Err(refuse(
                    "tls_certificate_file, tls_key_file: expected both, for encrypted DNS".into(),
                ));
            }
            (false, _) => {
                let where_to = "tls_listen, https_listen, quic_listen: expected an address in one of them, for the certificate";
                return Err(refuse(where_to.into()));
            }
        };
        let algorithm = match raw.dnssec_algorithm.as_str() {
            ECDSA_P256 => Algorithm::EcdsaP256,
            ED25519 => Algorithm::Ed25519,
            other => {
                return Err(refuse(format!(
                    "dnssec_algorithm: expected {ECDSA_P256:?} or {ED25519:?}, not {other:?}"
                )));
            }
        };
        let denial = match raw.dnssec_denial.as_str() {
            NSEC => Denial::Nsec,
            NSEC3 => Denial::Nsec3,
            other => {
                return Err(refuse(format!("dnssec_denial: expected {NSEC:?} or {NSEC3:?}, not {other:?}")));
            }
        };
        let dnssec = Dnssec { algorithm, denial, lifetime: Lifetime::of_expire(raw.soa_expire_seconds) };
        let keys = raw.tsig_key_files.iter().map(|file| tsig_key(file)).collect::<Result<Vec<_>, _>>();
        let keys = keys.and_then(|keys| Keys::new(keys).map_err(|error| format!("tsig_key_files: {error}")));
        let keys = keys.map_err(refuse)?;
        let secondaries = secondaries(raw.secondaries, &keys).map_err(refuse)?;
        let update_targets = update_targets(raw.update_targets, &keys).map_err(refuse)?;
        let updaters = updaters(raw.updaters, &keys).map_err(refuse)?;
        let system = source.system()?;
        let domain =
            Name::parse(&system.domain).map_err(|error| refuse(format!("system.domain: {error}")))?;
        let primaries = primaries(raw.primaries, &keys, &domain).map_err(refuse)?;
        Ok(Self {
            data_dir: system.data_dir.join("dns-broadcaster"),
            listen: raw.listen,
            dns_listen,
            hold: Duration::from_millis(raw.hold_ms),
            ttl: raw.ttl_seconds,
            tcp_idle: Duration::from_millis(raw.tcp_idle_ms),
            tls,
            keys,
            secondaries,
            primaries,
            update_targets,
            updaters,
            domain,
            zone_files: raw.zone_files,
            dnssec: raw.dnssec.then_some(dnssec),
            rate: Rate { per_second: raw.responses_per_second, slip: raw.responses_slip },
            policy: Policy {
                refresh: raw.soa_refresh_seconds,
                retry: raw.soa_retry_seconds,
                expire: raw.soa_expire_seconds,
                system_ttl: raw.system_ttl_seconds,
                negative_ttl: raw.negative_ttl_seconds,
            },
        })
    }
}

/// The file that `tsig-keygen` printed: it names the key.
fn tsig_key(file: &Path) -> Result<Key, String> {
    let of = |error: &dyn std::fmt::Display| format!("tsig_key_files: {}: {error}", file.display());
    let text = Secret::load(file).map_err(|error| of(&error))?;
    Key::from_file_text(text.reveal(), None, None).map_err(|error| of(&error))
}

fn secondaries(raw: Vec<RawSecondary>, keys: &Keys) -> Result<Vec<Secondary>, String> {
    if raw.len() > TARGETS_MAX {
        let given = raw.len();
        return Err(format!("secondaries: {given} are more than {TARGETS_MAX}; let some follow each other"));
    }
    let mut names = BTreeSet::new();
    let parsed = raw.into_iter().map(|raw| {
        let of = |key: &str| format!("secondaries: {key} of {:?}", raw.name);
        let address = parse(&of("address"), &raw.address)?;
        let key = raw.key.as_ref().map(|key| known_key(&of("key"), key, keys)).transpose()?;
        if !names.insert(raw.name.clone()) {
            return Err(format!("secondaries: two have the name {:?}", raw.name));
        }
        let zone = |text| Name::parse(text).map_err(|error| format!("{}: {text:?}: {error}", of("zones")));
        let zones = raw.zones.iter().map(|text| zone(text)).collect::<Result<BTreeSet<_>, _>>()?;
        if raw.catalogue && !zones.is_empty() {
            return Err(format!(
                "{}: the catalogue lists every zone, and a name server that takes it asks for all; leave out one of the two",
                of("zones")
            ));
        }
        Ok(Secondary { address, key, name: raw.name, catalogue: raw.catalogue, zones })
    });
    parsed.collect()
}

fn primaries(raw: Vec<RawPrimary>, keys: &Keys, domain: &Name) -> Result<Vec<Primary>, String> {
    if raw.len() > PRIMARIES_MAX {
        let given = raw.len();
        return Err(format!(
            "primaries: {given} are more than {PRIMARIES_MAX}; let another name server take some"
        ));
    }
    let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
    let own = catalogue::origin(domain);
    let parsed = raw.into_iter().map(|raw| {
        let of = |key: &str| format!("primaries: {key} of {:?}", raw.name);
        let address = parse(&of("address"), &raw.address)?;
        let key = raw.key.as_ref().map(|key| known_key(&of("key"), key, keys)).transpose()?;
        let mut zone = |key: &str, text: &str| {
            let zone = Name::parse(text).map_err(|error| format!("{}: {error}", of(key)))?;
            if zone == *domain || Some(&zone) == own.as_ref() {
                return Err(format!("{}: {zone} is this system's own; leave it out", of(key)));
            }
            if !taken.insert(zone.clone()) {
                return Err(format!("{}: {zone} is named before; a zone has one primary", of(key)));
            }
            Ok(zone)
        };
        let zones = raw.zones.iter().map(|text| zone("zones", text)).collect::<Result<_, _>>()?;
        let catalogue = raw.catalogue.as_ref().map(|text| zone("catalogue", text)).transpose()?;
        let follow = Follow { zones, catalogue };
        if follow == Follow::default() {
            return Err(format!(
                "primaries: {:?} has neither zones nor a catalogue; name what to take",
                raw.name
            ));
        }
        if !names.insert(raw.name.clone()) {
            return Err(format!("primaries: two have the name {:?}", raw.name));
        }
        Ok(Primary { name: raw.name, address, key, follow })
    });
    parsed.collect()
}

fn update_targets(raw: Vec<RawUpdateTarget>, keys: &Keys) -> Result<Vec<UpdateTarget>, String> {
    if raw.len() > TARGETS_MAX {
        let given = raw.len();
        return Err(format!(
            "update_targets: {given} are more than {TARGETS_MAX}; delegate some zones instead"
        ));
    }
    let mut names = BTreeSet::new();
    let parsed = raw.into_iter().map(|raw| {
        let of = |key: &str| format!("update_targets: {key} of {:?}", raw.name);
        let address = parse(&of("address"), &raw.address)?;
        let zone = Name::parse(&raw.zone).map_err(|error| format!("{}: {error}", of("zone")))?;
        let key = known_key(&of("key"), &raw.key, keys)?;
        if !names.insert(raw.name.clone()) {
            return Err(format!("update_targets: two have the name {:?}", raw.name));
        }
        Ok(UpdateTarget { name: raw.name, address, zone, key })
    });
    parsed.collect()
}

fn updaters(raw: Vec<RawUpdater>, keys: &Keys) -> Result<Grants, String> {
    let parsed = raw.into_iter().map(|raw| {
        let of = |key: &str| format!("updaters: {key} of key {:?}", raw.key);
        let key = known_key("updaters: key", &raw.key, keys)?;
        let zone = Name::parse(&raw.zone).map_err(|error| format!("{}: {error}", of("zone")))?;
        let pattern = |text: &String| {
            let pattern: Pattern = text.parse().map_err(|error| format!("{}: {error}", of("names")))?;
            if pattern.name().is_within(&zone) {
                return Ok(pattern);
            }
            Err(format!("{}: {text:?} does not lie in its zone {zone}", of("names")))
        };
        let names = raw.names.iter().map(pattern).collect::<Result<Vec<_>, String>>()?;
        let kinds = raw.types.iter().map(|text| granted_type(text, &of("types")));
        let kinds = kinds.collect::<Result<BTreeSet<_>, _>>()?;
        if names.is_empty() || kinds.is_empty() {
            return Err(format!(
                "{}: expected at least one of each, such as names = [\"_acme-challenge.s3.{zone}\"], types = [\"TXT\"]",
                of("names and types")
            ));
        }
        Ok(Grant { key, zone, names, kinds })
    });
    parsed.collect::<Result<_, _>>().map(Grants)
}

fn granted_type(text: &str, of: &str) -> Result<Kind, String> {
    let kind = Rtype::from_str(text).map(|kind| Kind(kind.to_int()));
    let kind = kind.map_err(|_| format!("{of}: {text:?} is no type of records, as \"TXT\" is"))?;
    if matches!(kind, Kind::SOA) || !kind.is_operators() {
        return Err(format!("{of}: records of type {text} are not taken by update; leave it out"));
    }
    Ok(kind)
}

fn known_key(key: &str, text: &str, keys: &Keys) -> Result<Name, String> {
    let name = Name::parse(text).map_err(|error| format!("{key}: {error}"))?;
    match keys.get(&name) {
        Some(_) => Ok(name),
        None => Err(format!("{key}: no file in tsig_key_files holds key {name}")),
    }
}

fn parse_all(key: &str, texts: &[String]) -> Result<Vec<SocketAddr>, String> {
    texts.iter().map(|text| parse(key, text)).collect()
}

fn parse(key: &str, text: &str) -> Result<SocketAddr, String> {
    let expected = "expected \"192.0.2.1:53\" or \"[2001:db8::1]:53\"";
    text.parse().map_err(|_| format!("{key}: {text:?} is no address; {expected}"))
}
