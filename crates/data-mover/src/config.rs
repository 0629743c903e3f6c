//! `[data_mover]`: parsed and judged before anything is opened or bound.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use switchback_kit::config::Source;
use switchback_kit::secret::Secret;
use switchback_model::SystemId;
use switchback_store::{BlobPlace, BlobSection};

/// The section as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    replication_listen: Listen,
    #[serde(default = "cache_bytes")]
    cache_bytes: u64,
    #[serde(default = "sweep_interval_seconds")]
    sweep_interval_seconds: u64,
    #[serde(default = "multipart_expiry_seconds")]
    multipart_expiry_seconds: u64,
    #[serde(default = "lifecycle_interval_seconds")]
    lifecycle_interval_seconds: u64,
    #[serde(default = "scrub_bytes_per_second")]
    scrub_bytes_per_second: u64,
    #[serde(default = "flow_share_percent")]
    flow_share_percent: u32,
}

/// One address or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Listen {
    One(String),
    Many(Vec<String>),
}

fn cache_bytes() -> u64 {
    64 << 20
}

fn sweep_interval_seconds() -> u64 {
    10
}

fn multipart_expiry_seconds() -> u64 {
    7 * 24 * 60 * 60
}

fn lifecycle_interval_seconds() -> u64 {
    24 * 60 * 60
}

/// Ten terabytes in a week, for a tenth of what one spinning disk reads.
fn scrub_bytes_per_second() -> u64 {
    16 << 20
}

/// Enough for a replica to keep up with clients who write as fast as they can: to send a write, or to apply it, takes
/// the store less than a third of what the write itself does.
fn flow_share_percent() -> u32 {
    25
}

/// What the service needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The internal listener.
    pub listen: String,
    /// The listeners for other systems' movers.
    pub replication_listen: Vec<String>,
    /// This system.
    pub system_id: SystemId,
    /// The catalogue and the flows' state.
    pub state_dir: PathBuf,
    /// Where the blobs are; the gateway has the same place open.
    pub blobs: BlobPlace,
    /// The system's secret.
    pub secret: Secret,
    /// Where the system's identity is watched.
    pub certificate_service: String,
    /// Bytes of catalogue blocks kept in memory.
    pub cache_bytes: u64,
    /// Pause between two sweeps for blobs that nothing names.
    pub sweep_interval: Duration,
    /// A multipart upload without activity for longer is aborted.
    pub multipart_expiry: Duration,
    /// Namespaces that have lifecycle rules are looked through this often.
    pub lifecycle_interval: Duration,
    /// Bytes of bodies that are read again in a second, to find what a disk has damaged; 0: none are.
    pub scrub_bytes_per_second: u64,
    /// Of the store's time, while clients use it, what flows have; those of a drain or a recovery have the
    /// larger part, of this and of what it leaves.
    pub flow_share_percent: u32,
}

impl Config {
    /// The catalogue's folder.
    #[must_use]
    pub fn catalogue_dir(&self) -> PathBuf {
        self.state_dir.join("catalogue")
    }

    /// Reads the section and what it rests on.
    ///
    /// # Errors
    /// A section or the secret's file is missing or malformed; the words name it.
    pub fn read(source: &Source) -> anyhow::Result<Self> {
        let raw: Raw = source.section("data_mover")?;
        let system = source.system()?;
        let secret = Secret::load(&system.secret_file)
            .with_context(|| format!("read the secret in {}", system.secret_file.display()))?;
        if raw.sweep_interval_seconds == 0 {
            return Err(source.refuse("data_mover", "sweep_interval_seconds: must be at least 1").into());
        }
        if raw.multipart_expiry_seconds == 0 {
            let reason = "multipart_expiry_seconds: must be at least 1; a day or more spares slow clients";
            return Err(source.refuse("data_mover", reason).into());
        }
        if raw.lifecycle_interval_seconds == 0 {
            let reason = "lifecycle_interval_seconds: must be at least 1; objects come due once a day, at midnight UTC";
            return Err(source.refuse("data_mover", reason).into());
        }
        if !(1..=100).contains(&raw.flow_share_percent) {
            let reason = "flow_share_percent: must be 1 to 100; 100 lets flows wait for no client";
            return Err(source.refuse("data_mover", reason).into());
        }
        let replication_listen = match raw.replication_listen {
            Listen::One(address) => vec![address],
            Listen::Many(addresses) => addresses,
        };
        if replication_listen.is_empty() {
            let reason = "replication_listen: expected at least one \"address:port\"";
            return Err(source.refuse("data_mover", reason).into());
        }
        let blobs = source
            .optional_section::<BlobSection>("blobs")?
            .judge(system.data_dir.join("blobs"), system.id)
            .map_err(|reason| source.refuse("blobs", &reason))?;
        Ok(Self {
            listen: raw.listen,
            replication_listen,
            system_id: system.id,
            state_dir: system.data_dir.join("data-mover"),
            blobs,
            secret,
            certificate_service: source.services()?.certificate_service,
            cache_bytes: raw.cache_bytes,
            sweep_interval: Duration::from_secs(raw.sweep_interval_seconds),
            multipart_expiry: Duration::from_secs(raw.multipart_expiry_seconds),
            lifecycle_interval: Duration::from_secs(raw.lifecycle_interval_seconds),
            scrub_bytes_per_second: raw.scrub_bytes_per_second,
            flow_share_percent: raw.flow_share_percent,
        })
    }
}
