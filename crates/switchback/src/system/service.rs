//! The five services by name, and the one place where this binary meets their code.

use std::fmt;

use switchback_kit::config::{Services, Source};
use tokio_util::sync::CancellationToken;

/// A service of a system. The number is the offset of its internal port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[repr(u16)]
pub enum Service {
    /// The store and its flows.
    DataMover = 0,
    /// Links and the system log.
    LinkManager = 1,
    /// DNS.
    DnsBroadcaster = 2,
    /// Identity and trust.
    CertificateService = 3,
    /// HTTP edge, and the operators' door.
    Gateway = 4,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 5] =
        [Self::DataMover, Self::LinkManager, Self::DnsBroadcaster, Self::CertificateService, Self::Gateway];

    /// Its name, as commands, logs and folders spell it.
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

    /// The service of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Its internal listener, from `[services]`.
    #[must_use]
    pub fn address(self, services: &Services) -> &str {
        match self {
            Self::DataMover => &services.data_mover,
            Self::LinkManager => &services.link_manager,
            Self::DnsBroadcaster => &services.dns_broadcaster,
            Self::CertificateService => &services.certificate_service,
            Self::Gateway => &services.gateway,
        }
    }

    /// Runs it in this process until `shutdown`, then drains it.
    ///
    /// # Errors
    /// Its configuration is bad, its state cannot be opened, a listener cannot be bound, or it failed
    /// while it ran.
    pub async fn run(self, source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
        match self {
            Self::DataMover => switchback_mover::run(source, shutdown).await,
            Self::LinkManager => switchback_link::run(source, shutdown).await,
            Self::DnsBroadcaster => switchback_dns::run(source, shutdown).await,
            Self::CertificateService => switchback_certificate::run(source, shutdown).await,
            Self::Gateway => switchback_gateway::run(source, shutdown).await,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
