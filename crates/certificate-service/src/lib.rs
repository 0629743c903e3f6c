//! The certificate service: the system's identity and the certificates it trusts.
//!
//! It makes the system's replication server certificate at the first start, keeps the key, and
//! tells the system's other services of both ([`rpc`], `WatchIdentity`). Operators upload the
//! certificate of another system here; nothing else makes a system trusted. It promises:
//!
//! - What was answered is on the disk; a repeat with the same request id gets the same answer.
//! - A change reaches every watching service at once, and counts from the next handshake on.
//! - The private key leaves the process only to the system's own services, over calls that carry
//!   the system's secret, and is never logged.
//!
//! Why no authority above the systems: two sites that protect each other must not both depend on a
//! third. Why no renewal by itself: the other side pins the exact certificate, so a new one must be
//! carried there by somebody; a warning in the log comes a month before.
//!
//! What it is not: it opens no connection to another system; `switchback_kit::tls` does, with what
//! this service hands out.

extern crate alloc;

pub mod config;
pub mod core;
mod expiry;
mod keeper;
mod read;
pub mod rpc;
mod signer;
mod store;

use anyhow::Context;
use switchback_kit::config::Source;
use switchback_kit::durable::Db;
use switchback_kit::grpc;
use switchback_kit::world::net::Listener;
use switchback_proto::certificate::v1::certificate_service_server::CertificateServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use config::Config;
use keeper::Keeper;

/// A request is one certificate and a few words; more is not ours.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Why the service cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state cannot be read or made durable.
    #[error("the state of the certificate service failed")]
    State(#[from] switchback_kit::durable::Error),
    /// A record on disk does not say what it should.
    #[error(
        "the record {record} is damaged; restore the folder of the certificate service from a backup, or remove it: that makes a new identity, which must be uploaded to the other systems again"
    )]
    Damaged {
        /// Which.
        record: String,
    },
    /// The state is another system's.
    #[error(
        "the state belongs to the system {stored}, but the configuration's [system] id is {configured}; correct the id, or use an empty data_dir"
    )]
    OtherSystem {
        /// Whose certificate is stored.
        stored: String,
        /// Who is configured.
        configured: String,
    },
    /// The operating system gave no random bytes, or the domain fits into no certificate.
    #[error("a certificate could not be made ({0})")]
    Sign(String),
}

/// Runs the service as `source` configures it, until `shutdown`.
///
/// # Errors
/// A bad configuration, unusable state, an address in use, or state that could not be kept.
pub async fn run(source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config = Config::read(&source)?;
    let listener = Listener::bind(&config.listen)
        .await
        .with_context(|| format!("listen on {} for internal calls", config.listen))?;
    serve(config, listener, shutdown).await
}

/// Serves on `listener` until `shutdown`.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    config: Config,
    listener: impl Into<Listener>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let db = Db::open(&config.state_dir).context("open the state of the certificate service")?;
    let keeper = Keeper::open(db, &config).await?;
    let service = rpc::Certificates::new(keeper.clone(), shutdown.clone());
    let service = CertificateServiceServer::new(service).max_decoding_message_size(REQUEST_BYTES_MAX);
    let watch = tokio::spawn(expiry::warn_each_minute(keeper.clone()));
    let ended = tokio::select! {
        biased;
        ended = grpc::serve(listener, &config.secret, Routes::new(service), shutdown) => ended,
        () = keeper.failed() => Err(anyhow::anyhow!("state could not be made durable")),
    };
    // It holds the state: who starts the service again in this process must find it closed.
    watch.abort();
    let _ = watch.await;
    ended
}
