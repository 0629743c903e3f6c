//! The two systems, their services, and where each is found.
//!
//! Every service is a host of its own, so that it can crash alone. They have one name together, the
//! system's: its ports lead to the services, as on one machine.

use std::fmt;

use serde::{Deserialize, Serialize};

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

    /// Where its gateway and its name server answer.
    #[must_use]
    pub fn address(self) -> &'static str {
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
