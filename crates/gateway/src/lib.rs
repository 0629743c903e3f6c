//! The gateway: the HTTP edge of one system.
//!
//! It decides nothing and remembers nothing. S3 requests are authenticated, translated to the
//! data mover's store service, and answered; the bytes of objects go between client and blobs
//! directly. On its internal listener it forwards gRPC calls to the service that they are for, so
//! that a tool needs one address.
//!
//! What it promises: success is answered only after the store has said that the commit is
//! durable; a checksum that a client sends is compared with the bytes before; memory held for
//! requests is bounded; and a write that is refused because the content is read-only says where
//! to write, or to try again.

mod access;
mod admin;
mod auth;
mod believed;
mod buckets;
mod config;
mod cors;
mod edge;
mod epochs;
mod guard;
mod host;
mod intake;
mod operation;
mod origin;
mod peers;
mod policy;
mod query;
mod s3;
mod server;
mod signature;
mod status;
mod store;

use anyhow::Context;
use switchback_kit::config::Source;
use switchback_kit::grpc;
use switchback_kit::world::net::Listener;
use switchback_store::{BlobClaim, Blobs};
use tokio_util::sync::CancellationToken;

pub use config::{Config, Limits};

/// Sockets bound by the caller, so that a test can let the system pick the ports.
#[derive(Debug)]
pub struct Listeners {
    /// Internal gRPC, forwarded to the services.
    pub admin: Listener,
    /// S3.
    pub s3: Vec<Listener>,
}

/// Runs the gateway that `source` describes until `shutdown`, then drains it.
///
/// # Errors
/// The configuration is wrong, the blobs cannot be opened, or an address cannot be bound.
pub async fn run(source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config = Config::load(&source)?;
    let bind = async |address: &str| {
        Listener::bind(address).await.with_context(|| format!("bind listener {address}"))
    };
    let mut s3 = Vec::new();
    for address in &config.s3_listen {
        s3.push(bind(address).await?);
    }
    let listeners = Listeners { admin: bind(&config.listen).await?, s3 };
    serve(config, listeners, shutdown).await
}

/// Serves on `listeners` until `shutdown`, then drains.
///
/// # Errors
/// The blobs cannot be opened, an address of a service is malformed, or a listener failed.
pub async fn serve(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let claim = BlobClaim { system: config.system_id, has_blobs: None };
    let blobs = Blobs::at(&config.blobs, claim).with_context(|| format!("open blobs in {}", config.blobs))?;
    match blobs.verify().await {
        // Reads and writes look again.
        Err(error @ switchback_store::Error::Blob { .. }) => {
            tracing::warn!(
                error = status::chain(&error),
                "blobs cannot be reached yet, going on without them"
            );
        }
        verified => verified.context("open blobs")?,
    }
    let channel = |address: &str| grpc::channel(address, &config.secret);
    let store = store::Store::new(channel(&config.services.data_mover).context("address of the data mover")?);
    let links = channel(&config.services.link_manager).context("address of the link manager")?;
    let (domains, epochs) = (host::Domains::new(&config.domain), epochs::Epochs::default());
    let (limits, keys) = (config.limits, auth::Keys::new(store.clone()));
    let gateway = s3::Gateway {
        receiver: s3::Receiver::new(store.clone(), blobs.clone(), limits.uploads_max, limits.body_idle_time),
        ahead: s3::Ahead::default(),
        buckets: buckets::Buckets::new(store.clone()),
        store,
        keys: keys.clone(),
        blobs,
        region: config.region.clone(),
    };
    let edge = edge::Edge::new(gateway, keys, domains.clone(), epochs.clone(), &config);
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(peers::follow(links, domains, epochs)));
    let stop = shutdown.clone();
    let internal = admin::serve(listeners.admin, &config, stop);
    let s3 = server::serve(listeners.s3, edge, limits, shutdown);
    tokio::try_join!(internal, s3)?;
    Ok(())
}
