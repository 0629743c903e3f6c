//! `[gateway]`: what the gateway listens on and how much it takes on at once.

use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use serde::Deserialize;
use switchback_kit::config::{Services, Source};
use switchback_kit::secret::Secret;
use switchback_model::SystemId;
use switchback_store::{BlobPlace, BlobSection};

use crate::origin::range;

/// Connections at once. Each may hold a file open besides its socket; two of these and the rest
/// of the process fit under the usual limit of 1,024 files.
const CONNECTIONS_MAX: usize = 448;

/// Bodies being received at once. Each holds pieces in memory on their way to the disk.
const UPLOADS_MAX: usize = 128;

/// Memory for bodies that arrive in signed chunks: a chunk is held whole until its signature is
/// checked, and the client says how large it is.
const CHUNKED_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Memory for forms, apart from the other: strangers can take all of it.
const FORM_BYTES_MAX: usize = 128 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    s3_listen: Vec<String>,
    region: Option<String>,
    connections_max: Option<usize>,
    uploads_max: Option<usize>,
    body_idle_seconds: Option<u64>,
    #[serde(default)]
    proxies: Vec<String>,
}

/// The gateway's configuration, parsed and judged.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the internal listener.
    pub listen: String,
    /// `host:port` of each S3 listener.
    pub s3_listen: Vec<String>,
    /// The domain of this system.
    pub domain: String,
    /// Where the other services are.
    pub services: Services,
    /// What every call inside the system carries.
    pub secret: Secret,
    /// This system.
    pub system_id: SystemId,
    /// Where the blobs are; the data mover has the same place open.
    pub blobs: BlobPlace,
    /// The region that S3 clients are told.
    pub region: String,
    /// How much is taken on at once.
    pub limits: Limits,
    /// Whose word is taken for where a request came from: proxies in front of the S3 listeners.
    pub proxies: Vec<IpNet>,
}

/// Bounds of what the S3 listeners take on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, over all listeners; more wait to be accepted.
    pub connections_max: usize,
    /// Bodies being received at once; more wait a little, then are told to slow down.
    pub uploads_max: usize,
    /// Memory for bodies in signed chunks.
    pub chunked_bytes_max: usize,
    /// Memory for bodies that are forms.
    pub form_bytes_max: usize,
    /// A client that sends or takes nothing of a body for this long is given up.
    pub body_idle_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            uploads_max: UPLOADS_MAX,
            chunked_bytes_max: CHUNKED_BYTES_MAX,
            form_bytes_max: FORM_BYTES_MAX,
            body_idle_time: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Reads and judges the configuration.
    ///
    /// # Errors
    /// A key is missing, unknown or of the wrong form, or the secret cannot be read.
    pub fn load(source: &Source) -> anyhow::Result<Self> {
        let raw: Raw = source.section("gateway")?;
        let system = source.system()?;
        let default = Limits::default();
        let limits = Limits {
            connections_max: raw.connections_max.unwrap_or(default.connections_max),
            uploads_max: raw.uploads_max.unwrap_or(default.uploads_max),
            body_idle_time: raw.body_idle_seconds.map_or(default.body_idle_time, Duration::from_secs),
            ..default
        };
        if raw.s3_listen.is_empty() {
            return Err(source
                .refuse("gateway", "s3_listen: expected addresses such as [\"0.0.0.0:9000\"]")
                .into());
        }
        if limits.connections_max == 0 || limits.uploads_max == 0 || limits.body_idle_time.is_zero() {
            return Err(source
                .refuse("gateway", "connections_max, uploads_max, body_idle_seconds: expected at least 1")
                .into());
        }
        let region = raw.region.unwrap_or_else(|| "us-east-1".into());
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(source.refuse("gateway", "region: expected a name such as \"us-east-1\"").into());
        }
        let proxies: Option<_> = raw.proxies.iter().map(|text| range(text)).collect();
        let Some(proxies) = proxies else {
            return Err(source
                .refuse("gateway", "proxies: expected addresses or ranges such as [\"10.0.0.0/8\"]")
                .into());
        };
        let blobs = source
            .optional_section::<BlobSection>("blobs")?
            .judge(system.data_dir.join("blobs"), system.id)
            .map_err(|reason| source.refuse("blobs", &reason))?;
        Ok(Self {
            listen: raw.listen,
            s3_listen: raw.s3_listen,
            domain: system.domain,
            services: source.services()?,
            secret: Secret::load(&system.secret_file).context("read the system's secret")?,
            system_id: system.id,
            blobs,
            region,
            limits,
            proxies,
        })
    }
}
