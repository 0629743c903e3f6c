//! The data mover: the store's service, and the flows that replicate and recover it.
//!
//! It owns the store of its system. The gateway and operators reach it as `switchback.store.v1`,
//! the system's link manager drives it as `switchback.mover.v1`, and the movers of other systems
//! send it their changes as `switchback.replication.v1`, over pinned mutual TLS.
//!
//! What it promises: a success is durable; content on a link is read-only after every start until
//! the link manager has said otherwise in this run; a higher epoch heard from a peer is on record
//! before anything else is done; a change leaves a flow only by being durable on the other side or
//! by standing on a durable retry list.
//!
//! What it is not: it never makes anything writable by itself, and it knows nothing of links but
//! the flows that it was told to run.

mod absence;
mod bell;
mod config;
mod convert;
mod desired;
pub mod flow;
mod lifecycle;
mod link;
mod memory;
mod mover;
mod progress;
mod report;
mod request;
mod retry;
mod rpc;
mod scrub;
mod share;
mod status;
mod sweep;
mod told;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use switchback_kit::background::Background;
use switchback_kit::config::Source;
use switchback_kit::durable::Db;
use switchback_kit::tls::IdentityWatch;
use switchback_kit::world::aside;
use switchback_kit::world::net::Listener;
use switchback_model::SiteId;
use switchback_proto::mover::v1::mover_service_server::MoverServiceServer;
use switchback_proto::replication::v1::replication_service_server::ReplicationServiceServer;
use switchback_proto::store::v1::store_service_server::StoreServiceServer;
use switchback_store::{BlobClaim, BlobPlace, Blobs, Catalogue, Options, Presence};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use bell::Bells;
pub use config::Config;
use flow::limit::MESSAGE_BYTES_MAX;
use memory::Memory;
use mover::{Mover, Store};
use rpc::mover::MoverRpc;
use rpc::replication::ReplicationRpc;
use rpc::store::StoreRpc;
use scrub::Scrub;
use share::{Counted, Share};

/// Time for the flows to end after the listeners have.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The listeners, bound by the caller, so that tests can take ports that the system chooses.
pub struct Listeners {
    /// For the services of this system.
    pub internal: Listener,
    /// For the movers of other systems.
    pub replication: Vec<Listener>,
}

/// Runs the service as `source` describes it until `shutdown`, then drains it.
///
/// # Errors
/// The configuration is wrong, a listener cannot be bound, or the store failed: the process must
/// then end, and start again from disk.
pub async fn run(source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config = Config::read(&source)?;
    let channel = switchback_kit::grpc::channel(&config.certificate_service, &config.secret)
        .context("[services] certificate_service")?;
    let identity = IdentityWatch::follow(channel, shutdown.clone());
    let internal = bind(&config.listen).await?;
    let mut replication = Vec::new();
    for address in &config.replication_listen {
        replication.push(bind(address).await?);
    }
    serve(config, identity, Listeners { internal, replication }, shutdown).await
}

async fn bind(address: &str) -> anyhow::Result<Listener> {
    Listener::bind(address).await.with_context(|| format!("bind [data_mover] listener {address}"))
}

/// Serves on `listeners` with the state that `config` names, until `shutdown`.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    config: Config,
    identity: IdentityWatch,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (catalogue, presence, blobs) = open_store(&config).await?;
    let db = open_state(&config.state_dir.join("state")).await?;
    let requests = request::Requests::load(db.clone()).context("read requests")?;
    let bells = Bells::new();
    let memory = Memory::new(db.clone());
    let scrub =
        Arc::new(Scrub::load(&memory, config.scrub_bytes_per_second).context("read the scrub's state")?);
    let share = Share::new(config.flow_share_percent);
    let store = Store { catalogue: catalogue.clone(), blobs, presence, scrub, share: share.clone() };
    let store_rpc = StoreRpc {
        catalogue: store.catalogue.clone(),
        presence: store.presence.clone(),
        scrub: Arc::clone(&store.scrub),
        bells: bells.clone(),
        requests,
    };
    // Whatever ends first ends the rest: a service that is half there helps nobody.
    let stop = shutdown.child_token();
    let _stop_at_the_end = stop.clone().drop_guard();
    let background = Background::start(config.flow_share_percent).context("start threads for flows")?;
    let mover =
        Mover::new(store, memory, bells, identity.clone(), background.handle().clone(), stop.clone())?;
    mover.resume().context("resume flows")?;
    mover.spawn(sweep::run(Arc::clone(&mover), config.sweep_interval, config.multipart_expiry));
    mover.spawn(lifecycle::run(Arc::clone(&mover), config.lifecycle_interval));
    mover.spawn(scrub::walk::run(Arc::clone(&mover)));
    mover.spawn(scrub::repair::run(Arc::clone(&mover)));

    let internal = Routes::new(Counted::new(
        StoreServiceServer::new(store_rpc)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
        share,
    ))
    .add_service(
        MoverServiceServer::new(MoverRpc(Arc::clone(&mover))).max_encoding_message_size(MESSAGE_BYTES_MAX),
    );
    let replication = Routes::new(
        ReplicationServiceServer::new(ReplicationRpc(Arc::clone(&mover)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    );
    let peers = listeners.replication.into_iter().map(|listener| {
        let (identity, routes, stop) = (identity.clone(), replication.clone(), stop.clone());
        background.run(async move {
            let limits = flow::limit::limits();
            switchback_kit::tls::serve_with(listener, identity, routes, &limits, stop).await
        })
    });
    let serving = async {
        tokio::try_join!(
            switchback_kit::grpc::serve(listeners.internal, &config.secret, internal, stop.clone()),
            futures::future::try_join_all(peers),
        )
        .map(|_| ())
    };
    let ended = tokio::select! {
        biased;
        ended = serving => ended,
        () = catalogue.poisoned() => Err(anyhow::anyhow!(
            "the store failed to make a write durable: start the service again"
        )),
        () = db.poisoned() => Err(anyhow::anyhow!(
            "what the mover remembers could not be made durable: start the service again"
        )),
    };
    stop.cancel();
    mover.tasks.close();
    // What is not yet acknowledged is sent again by whoever waits for it.
    let _ = tokio::time::timeout(DRAIN_TIME, mover.tasks.wait()).await;
    ended
}

async fn open_store(config: &Config) -> anyhow::Result<(Catalogue, Presence, Blobs)> {
    let folder = config.catalogue_dir();
    let (place, system) = (config.blobs.clone(), config.system_id);
    let options = Options { cache_bytes: config.cache_bytes, ..Options::new(SiteId::from(config.system_id)) };
    let opening = move || {
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Catalogue::open(&folder, options).with_context(|| format!("open store in {}", folder.display()))
    };
    let catalogue = aside(opening).await??;
    let presence = match &place {
        BlobPlace::Folder(path) => Presence::establish(&catalogue, path).await.context("open blobs")?,
        BlobPlace::Bucket(_) => Presence::of_bucket(),
    };
    let claim = BlobClaim { system, has_blobs: Some(catalogue.has_blobs().context("look for blobs")?) };
    let opening = move || Blobs::at(&place, claim).with_context(|| format!("open blobs in {place}"));
    let blobs = aside(opening).await??;
    match blobs.verify().await {
        // Authority and small objects do not need them, and what does looks again.
        Err(error @ switchback_store::Error::Blob { .. }) => {
            tracing::warn!(
                error = status::chain(&error),
                "blobs cannot be reached yet, going on without them"
            );
        }
        verified => verified.context("open blobs")?,
    }
    Ok((catalogue, presence, blobs))
}

async fn open_state(folder: &Path) -> anyhow::Result<Db> {
    let folder = folder.to_owned();
    aside(move || {
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Db::open(&folder).context("open state")
    })
    .await?
}
