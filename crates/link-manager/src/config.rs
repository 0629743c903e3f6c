//! `[link_manager]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use switchback_kit::config::{Error, Services, Source, System};
use switchback_link_core::Policy;

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    peer_listen: OneOrMany,
    #[serde(default)]
    gateway_addresses: Vec<String>,
    #[serde(default)]
    name_server_addresses: Vec<String>,
    replication_port: Option<u16>,
    advertise: Option<String>,
    contact_wait_ms: Option<u64>,
    ttl_seconds: Option<u32>,
}

/// One address, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Where other systems find our movers unless configured: the port beside the link listener's.
const REPLICATION_PORT: u16 = 5749;

/// TTL of tenants' names: short, because clients follow a failover no sooner.
const TTL_SECONDS: u32 = 5;

/// What the link manager needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The system it belongs to.
    pub system: System,
    /// Where the other services are.
    pub services: Services,
    /// The internal listener.
    pub listen: String,
    /// Listeners for other systems.
    pub peer_listen: Vec<String>,
    /// Where this system's gateway is reached, for DNS.
    pub gateway_addresses: Vec<String>,
    /// Where this system's name server is reached, for DNS.
    pub name_server_addresses: Vec<String>,
    /// Port of this system's replication listener.
    pub replication_port: u16,
    /// `host:port` at which other systems reach the link listener; empty when not known.
    pub advertise: String,
    /// TTL of tenants' names.
    pub ttl_seconds: u32,
    /// Durations of the protocol.
    pub policy: Policy,
    /// Durable state.
    pub state_dir: PathBuf,
}

impl Config {
    /// Parses and judges the configuration.
    ///
    /// # Errors
    /// A section or key is missing or malformed.
    pub fn parse(source: &Source) -> Result<Self, Error> {
        let raw: Raw = source.section("link_manager")?;
        let system = source.system()?;
        let mut policy = Policy::default();
        if let Some(wait) = raw.contact_wait_ms {
            policy.contact_wait = Duration::from_millis(wait);
        }
        let peer_listen = match raw.peer_listen {
            OneOrMany::One(address) => vec![address],
            OneOrMany::Many(addresses) => addresses,
        };
        if peer_listen.is_empty() {
            return Err(source.refuse("link_manager", "peer_listen: expected at least one host:port"));
        }
        for address in raw.gateway_addresses.iter().chain(&raw.name_server_addresses) {
            if address.parse::<std::net::IpAddr>().is_err() {
                let reason =
                    format!("gateway_addresses, name_server_addresses: {address:?} is no IP address");
                return Err(source.refuse("link_manager", &reason));
            }
        }
        Ok(Self {
            state_dir: system.data_dir.join("link-manager"),
            services: source.services()?,
            system,
            listen: raw.listen,
            peer_listen,
            gateway_addresses: raw.gateway_addresses,
            name_server_addresses: raw.name_server_addresses,
            replication_port: raw.replication_port.unwrap_or(REPLICATION_PORT),
            advertise: raw.advertise.unwrap_or_default(),
            ttl_seconds: raw.ttl_seconds.unwrap_or(TTL_SECONDS),
            policy,
        })
    }
}
