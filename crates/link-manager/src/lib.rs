//! The link manager: who may write, and how that changes.
//!
//! It runs the link protocol's core (`switchback-link-core`) and is the only place where a link's
//! state changes. Around the core stand: operators' commands ([`run`] serves them on the internal
//! listener), one stream to the link manager of each peer (mutual TLS), the own data mover that
//! is told access modes and flows, and the DNS broadcaster that is told where names lead.
//!
//! [`store`] and [`dns`] are public for who runs the core without this shell: what is remembered,
//! and what names are to answer, are the same there.
//!
//! What it is not: it moves no data and answers no client. When it is down, what it has decided
//! stays in force, and the movers of the two systems still tell each other the epoch.

mod config;
mod convert;
pub mod dns;
mod mover;
mod peer;
mod plan;
mod rpc;
mod shell;
mod status;
pub mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
pub use config::Config;
use switchback_kit::config::Source;
use switchback_kit::drive::{Clock, INBOX_MAX, drive};
use switchback_kit::durable::Db;
use switchback_kit::grpc;
use switchback_kit::secret::Secret;
use switchback_kit::tls::{self, IdentityWatch};
use switchback_kit::world::net::Listener;
use switchback_kit::world::{aside, random};
use switchback_link_core::{Identity, Input, LinkMachine};
use switchback_proto::dns::v1::SystemZone;
use switchback_proto::link::v1::link_service_server::LinkServiceServer;
use switchback_proto::peer::v1::peer_service_server::PeerServiceServer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// Runs the service that `source` describes until `shutdown`.
///
/// # Errors
/// The configuration is wrong, a listener cannot be bound, or state cannot be read or kept.
pub async fn run(source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config = Config::parse(&source)?;
    let listeners = Listeners::bind(&config).await?;
    serve(config, listeners, shutdown).await
}

/// The listeners of the service, bound by the caller.
#[derive(Debug)]
pub struct Listeners {
    /// Operators and the system's own services.
    pub internal: Listener,
    /// Other systems.
    pub peer: Vec<Listener>,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// An address is taken or not ours.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind =
            async |address: &String| Listener::bind(address).await.with_context(|| format!("bind {address}"));
        let mut peer = Vec::new();
        for address in &config.peer_listen {
            peer.push(bind(address).await?);
        }
        Ok(Self { internal: bind(&config.listen).await?, peer })
    }
}

/// Serves on bound listeners until `shutdown`. Everything of the service meets here.
///
/// # Errors
/// State cannot be read, or could not be made durable: the process must then end.
pub async fn serve(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let secret = Secret::load(&config.system.secret_file).context("read the system's secret")?;
    let state_dir = config.state_dir.clone();
    let db = aside(move || Db::open(&state_dir)).await??;
    let clock = Clock::start();
    let state = store::load(&db).context("read the links")?;
    let boot = random::number()?;
    let machine = LinkMachine::recover(config.policy, state, boot, clock.now());

    let identity = IdentityWatch::follow(
        grpc::channel(&config.services.certificate_service, &secret)?,
        shutdown.clone(),
    );
    let (inbox, inputs) = mpsc::channel(INBOX_MAX);
    let mover = mover::Mover::new(
        grpc::channel(&config.services.data_mover, &secret)?,
        inbox.clone(),
        shutdown.clone(),
    );
    let (dnskeys, own_dnskeys) = watch::channel(None);
    let peers =
        peer::Peers::new(card(&config, own_dnskeys), identity.clone(), inbox.clone(), shutdown.clone());
    let replies = shell::Replies::default();
    let (snapshots, snapshot) = watch::channel(Arc::default());
    let (desired, desired_zones) = watch::channel(None);
    let shell = shell::LinkShell {
        asker: mover::Asker::new(mover.clone()),
        peers: peers.clone(),
        replies: replies.clone(),
        snapshot: snapshots,
        desired,
        dials: BTreeSet::new(),
        zones: dns::Zones::new(config.ttl_seconds),
    };
    let dns_channel = grpc::channel(&config.services.dns_broadcaster, &secret)?;
    let rpc = rpc::Rpc {
        config: config.clone(),
        db: db.clone(),
        identity: identity.clone(),
        inbox: inbox.clone(),
        mover: mover.clone(),
        dns: dns_channel.clone(),
        replies,
        snapshot,
        shutdown: shutdown.clone(),
    };

    let mut tasks = JoinSet::new();
    let system_zone = SystemZone {
        domain: config.system.domain.clone(),
        addresses: config.gateway.addresses.clone(),
        name_server_addresses: config.name_server_addresses.clone(),
        host: config.gateway.host.clone(),
        https: convert::https_out(config.gateway.https.as_ref()),
    };
    tokio::spawn(dns::publish(
        dns_channel,
        dns::Offers::new(system_zone, format!("{boot:016x}")),
        desired_zones,
        dnskeys,
        inbox.clone(),
        shutdown.clone(),
    ));
    tokio::spawn(peers.clone().greet());
    tokio::spawn(mover.watch());
    tokio::spawn(introduce(config.clone(), identity.clone(), inbox));
    for listener in listeners.peer {
        let routes = Routes::new(PeerServiceServer::new(peers.clone()));
        tasks.spawn(tls::serve(listener, identity.clone(), routes, shutdown.clone()));
    }
    let routes = Routes::new(LinkServiceServer::new(rpc));
    let stop = shutdown.clone();
    tasks.spawn(async move { grpc::serve(listeners.internal, &secret, routes, stop).await });
    let stop = shutdown.clone();
    tasks
        .spawn(async move { drive(machine, shell, db, clock, inputs, stop).await.context("keep the links") });
    tracing::info!(service = "link-manager", system = config.system.name, "ready");

    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        // The first part that ends takes the others with it; its error is the service's.
        shutdown.cancel();
        ended = ended.and(task.context("run a part of the service").and_then(|result| result));
    }
    ended
}

fn card(config: &Config, dnskeys: watch::Receiver<Option<Vec<Bytes>>>) -> peer::Card {
    peer::Card {
        name: config.system.name.clone(),
        replication_port: config.replication_port,
        link_address: config.advertise.clone(),
        gateway: config.gateway.clone(),
        name_server_addresses: config.name_server_addresses.clone(),
        dnskeys,
    }
}

/// Tells the machine who we are, at the start and whenever that changes.
async fn introduce(config: Config, mut identity: IdentityWatch, inbox: mpsc::Sender<Input>) {
    let mut present = Some(identity.ready().await);
    while let Some(own) = present {
        let known = Identity {
            system: own.system_id(),
            incarnation: own.incarnation(),
            domain: config.system.domain.clone(),
            name: config.system.name.clone(),
            gateway: config.gateway.clone(),
            name_server_addresses: config.name_server_addresses.clone(),
        };
        if inbox.send(Input::IdentityKnown(known)).await.is_err() {
            return;
        }
        present = identity.changed().await;
    }
}
