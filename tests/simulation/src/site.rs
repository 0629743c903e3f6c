//! The two systems, their services, and where each is found.
//!
//! Every service is a host of the simulated network, so that it can crash alone. They have one
//! name together, the system's: its ports lead to the services, as on one machine.

use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use switchback_kit::secret::Secret;

/// The link, and the tenant on it.
pub const NAME: &str = "acme";
/// The tenant's namespace.
pub const NAMESPACE: &str = "photos";
/// What S3 clients sign for.
pub const REGION: &str = "us-east-1";
/// Port of the S3 listener.
pub const S3_PORT: u16 = 9000;
/// Port of the link listener.
pub const LINK_PORT: u16 = 5748;
/// Port of the replication listener.
pub const REPLICATION_PORT: u16 = 5749;

/// A system: East is the link's primary, West its replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum System {
    /// The primary.
    East,
    /// The replica.
    West,
}

impl System {
    /// Both.
    pub const ALL: [Self; 2] = [Self::East, Self::West];

    /// Its name, which is also what its ports are under.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::East => "east",
            Self::West => "west",
        }
    }

    /// Its domain.
    #[must_use]
    pub fn domain(self) -> String {
        format!("{}.example.com", self.name())
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::East => Self::West,
            Self::West => Self::East,
        }
    }

    fn address(self) -> &'static str {
        match self {
            Self::East => "192.0.2.1",
            Self::West => "198.51.100.1",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A service of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Service {
    /// Store and flows.
    DataMover,
    /// Links.
    LinkManager,
    /// DNS.
    DnsBroadcaster,
    /// Identity and trust.
    CertificateService,
    /// S3.
    Gateway,
}

impl Service {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::DataMover, Self::LinkManager, Self::DnsBroadcaster, Self::CertificateService, Self::Gateway];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DataMover => "data-mover",
            Self::LinkManager => "link-manager",
            Self::DnsBroadcaster => "dns-broadcaster",
            Self::CertificateService => "certificate-service",
            Self::Gateway => "gateway",
        }
    }

    /// The port of its internal listener.
    #[must_use]
    pub fn port(self) -> u16 {
        7101 + self as u16
    }

    /// Whose port this is.
    #[must_use]
    pub fn of_port(port: u16) -> Option<Self> {
        match port {
            S3_PORT => Some(Self::Gateway),
            LINK_PORT => Some(Self::LinkManager),
            REPLICATION_PORT => Some(Self::DataMover),
            port => Self::ALL.into_iter().find(|service| service.port() == port),
        }
    }
}

/// One service of one system: a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place(pub System, pub Service);

impl Place {
    /// All ten.
    #[must_use]
    pub fn all() -> Vec<Self> {
        System::ALL.into_iter().flat_map(Self::of).collect()
    }

    /// The five of one system.
    #[must_use]
    pub fn of(system: System) -> Vec<Self> {
        Service::ALL.into_iter().map(|service| Self(system, service)).collect()
    }

    /// The name of the host.
    #[must_use]
    pub fn host(self) -> String {
        format!("{}-{}", self.0, self.1.name())
    }

    /// `system:port` of the internal listener.
    #[must_use]
    pub fn address(self) -> String {
        format!("{}:{}", self.0, self.1.port())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1.name())
    }
}

/// Makes a new, empty system in `folder`, as `switchback system init` would, and returns the number
/// that its writes will carry: the first eight bytes of its id.
///
/// # Errors
/// The folder cannot be written.
pub fn create(system: System, folder: &Path) -> anyhow::Result<u64> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).context("create the data folder")?;
    Secret::create(&folder.join("secret")).context("create the secret")?;
    let mut id = [0; 16];
    switchback_kit::world::random::fill(&mut id).context("make an id")?;
    let grpc = |service: Service| format!("{system}:{}", service.port());
    let listen = |port: u16| format!("0.0.0.0:{port}");
    let mut text = format!(
        "[system]\nname = \"{system}\"\ndomain = \"{}\"\nid = \"{}\"\nsecret_file = \"{}\"\ndata_dir = \"{}\"\n\n[services]\n",
        system.domain(),
        hex::encode(id),
        folder.join("secret").display(),
        data.display(),
    );
    // Writing to a String cannot fail.
    for service in Service::ALL {
        let _ = writeln!(text, "{} = \"{}\"", service.name().replace('-', "_"), grpc(service));
    }
    let address = system.address();
    for service in Service::ALL {
        let section = service.name().replace('-', "_");
        let _ = writeln!(text, "\n[{section}]\nlisten = \"{}\"", listen(service.port()));
        let _ = match service {
            Service::DataMover => writeln!(text, "replication_listen = [\"{}\"]", listen(REPLICATION_PORT)),
            Service::LinkManager => writeln!(
                text,
                "peer_listen = [\"{}\"]\ngateway_addresses = [\"{address}\"]\nname_server_addresses = [\"{address}\"]\nreplication_port = {REPLICATION_PORT}\nadvertise = \"{system}:{LINK_PORT}\"",
                listen(LINK_PORT)
            ),
            Service::DnsBroadcaster => writeln!(text, "dns_listen = [\"{address}:53\"]"),
            Service::CertificateService => Ok(()),
            Service::Gateway => writeln!(text, "s3_listen = [\"{}\"]", listen(S3_PORT)),
        };
    }
    std::fs::write(folder.join("switchback.toml"), text).context("write the configuration")?;
    let [site @ .., _, _, _, _, _, _, _, _] = id;
    Ok(u64::from_be_bytes(site))
}
