//! `[certificate_service]`, parsed and judged before anything is opened or bound.

use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;
use switchback_kit::config::Source;
use switchback_kit::secret::Secret;
use switchback_model::SystemId;

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
}

/// What the service needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The internal listener, `host:port`.
    pub listen: String,
    /// This system, as its certificate names it.
    pub system_id: SystemId,
    /// The system's domain, as its certificate names it.
    pub domain: String,
    /// Keys and certificates.
    pub state_dir: PathBuf,
    /// The system's secret.
    pub secret: Secret,
}

impl Config {
    /// Reads the section and what it rests on.
    ///
    /// # Errors
    /// A section or the secret's file is missing or malformed; the words name it.
    pub fn read(source: &Source) -> anyhow::Result<Self> {
        let raw: Raw = source.section("certificate_service")?;
        let system = source.system()?;
        let secret = Secret::load(&system.secret_file)
            .with_context(|| format!("read the secret in {}", system.secret_file.display()))?;
        Ok(Self {
            listen: raw.listen,
            system_id: system.id,
            domain: system.domain,
            state_dir: system.data_dir.join("certificate-service"),
            secret,
        })
    }
}
