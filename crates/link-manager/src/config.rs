//! `[link_manager]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use switchback_kit::config::{Error, Services, Source, System};
use switchback_link_core::{Gateway, Https, Policy};

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    peer_listen: OneOrMany,
    #[serde(default)]
    gateway_addresses: Vec<String>,
    #[serde(default)]
    gateway_host: String,
    #[serde(default)]
    gateway_https_port: u16,
    #[serde(default)]
    gateway_https_alpn: Vec<String>,
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

/// More are not in use, and every answer would carry them.
const PROTOCOLS_MAX: usize = 8;
/// As are no longer ones.
const PROTOCOL_BYTES_MAX: usize = 16;

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
    pub gateway: Gateway,
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
        let gateway = Gateway {
            host: host(&raw.gateway_host).map_err(|reason| source.refuse("link_manager", &reason))?,
            https: https(raw.gateway_https_port, raw.gateway_https_alpn)
                .map_err(|reason| source.refuse("link_manager", &reason))?,
            addresses: raw.gateway_addresses,
        };
        Ok(Self {
            state_dir: system.data_dir.join("link-manager"),
            services: source.services()?,
            system,
            listen: raw.listen,
            peer_listen,
            gateway,
            name_server_addresses: raw.name_server_addresses,
            replication_port: raw.replication_port.unwrap_or(REPLICATION_PORT),
            advertise: raw.advertise.unwrap_or_default(),
            ttl_seconds: raw.ttl_seconds.unwrap_or(TTL_SECONDS),
            policy,
        })
    }
}

/// A host name as DNS has it, without a final dot and in lower case; empty for none.
fn host(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        let is_edge = |edge: Option<char>| edge.is_some_and(|edge| edge.is_ascii_alphanumeric());
        let is_inside = |inside: char| inside.is_ascii_alphanumeric() || "-_".contains(inside);
        label.len() <= 63
            && is_edge(label.chars().next_back())
            && label.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && label.chars().all(is_inside)
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_name = name.len() <= 253 && name.contains('.') && name.split('.').all(is_label);
    if text.is_empty() || is_name && name.parse::<std::net::IpAddr>().is_err() {
        Ok(name.to_ascii_lowercase())
    } else {
        Err(format!("gateway_host: {text:?} is no host name such as \"balancer.example.net\""))
    }
}

/// Port 0: nothing is said of HTTPS.
fn https(port: u16, alpn: Vec<String>) -> Result<Option<Https>, String> {
    let is_protocol = |name: &String| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-./".contains(&byte);
        !name.is_empty() && name.len() <= PROTOCOL_BYTES_MAX && name.bytes().all(is_plain)
    };
    match (port, alpn.iter().find(|name| !is_protocol(name))) {
        (_, Some(name)) => {
            Err(format!("gateway_https_alpn: {name:?} is no name of a protocol, such as \"h2\" or \"h3\""))
        }
        (0, None) if !alpn.is_empty() => {
            Err("gateway_https_alpn: expected gateway_https_port with it, such as 443".into())
        }
        (_, None) if alpn.len() > PROTOCOLS_MAX => {
            Err(format!("gateway_https_alpn: expected at most {PROTOCOLS_MAX} protocols"))
        }
        (0, None) => Ok(None),
        (port, None) => Ok(Some(Https { port, alpn })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_no_address() {
        assert_eq!(host("").unwrap(), "");
        assert_eq!(host("LB-1.Example.net.").unwrap(), "lb-1.example.net");
        assert_eq!(host("_lb.example.net").unwrap(), "_lb.example.net");
        for wrong in [
            "192.0.2.1",
            "2001:db8::1",
            "balancer",
            "a..b",
            "-a.b",
            "a-.b",
            "a b.c",
            ".",
            "lb.example.net:443",
        ] {
            assert!(host(wrong).unwrap_err().contains("no host name"), "{wrong}");
        }
        assert!(host(&format!("{}.net", "a".repeat(64))).is_err());
        assert!(host(&vec!["abc"; 64].join(".")).is_err());
    }

    #[test]
    fn https_is_published_with_a_port_alone() {
        let alpn = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(https(0, vec![]), Ok(None));
        let said = https(8443, alpn(&["h2", "http/1.1"])).unwrap().unwrap();
        assert_eq!((said.port, said.alpn), (8443, alpn(&["h2", "http/1.1"])));
        assert!(https(0, alpn(&["h2"])).unwrap_err().contains("gateway_https_port"));
        for wrong in ["", "h 2", "h2,h3", "seventeen-letters"] {
            assert!(https(443, alpn(&[wrong])).unwrap_err().contains("no name of a protocol"), "{wrong}");
        }
        assert!(https(443, alpn(&["h2"; 9])).is_err());
    }
}
