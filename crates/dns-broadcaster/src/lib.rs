//! The DNS broadcaster: what each name answers, following the authority to write.
//!
//! It is told every zone by the link manager (`rpc` -> `publisher`), remembers them
//! (`store`), adds what the operator's own files say (`zone_file`) and what he lets others say by dynamic
//! update (`receive`), signs them (`edition`, `signer`, and
//! the pure [`core::dnssec`]), and answers by UDP (`datagram`), TCP (`stream`), TLS (`secure`), HTTPS (`https`) and QUIC (`quic`) from an immutable
//! snapshot (`respond`, and the pure [`core::answer`]). Name servers that follow it take the zones
//! from it, whole or what changed ([`core::transfer`]). Into a zone that somebody else masters names go by
//! dynamic update ([`update`]), and of name servers whose zones it shall answer for too it holds copies
//! ([`primary`]). It promises:
//!
//! - A query is answered from one snapshot: during a change it sees the old zones or the new ones,
//!   and a name that moves is never absent in between.
//! - What `ApplyZones` has answered is on the disk, and so is an update that was taken: whole, and once.
//! - A zone's serial never goes back (RFC 1982), whoever asks for it.
//! - What it publishes itself wins over every copy, and no copy is answered that its primary has not
//!   spoken for within the zone's own EXPIRE.
//! - After a start the zones of links are held (SERVFAIL, so that resolvers ask the other system)
//!   until somebody confirms them or the hold has passed: a side that returns may hold old answers.
//!
//! It is no resolver: other people's names are refused. hickory is named in this crate only, in `respond`, `secure`,
//! `correspondent`, `courier`, [`announce`], [`update`], [`primary`] and [`client`].

extern crate alloc;

pub mod access;
pub mod announce;
pub mod client;
pub mod config;
mod connections;
mod convert;
pub mod core;
mod correspondent;
mod courier;
mod datagram;
pub mod desk;
mod edition;
mod framed;
#[cfg(test)]
mod fuzz;
mod https;
mod own;
pub mod primary;
pub mod publisher;
mod quic;
mod receive;
mod respond;
pub mod rpc;
mod secure;
pub mod signer;
mod store;
mod stream;
pub mod tsig;
pub mod update;
mod zone_file;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::Context;
use switchback_kit::config::Source;
use switchback_kit::secret::Secret;
use switchback_kit::world::is_simulated;
use switchback_kit::world::net::Listener;
use switchback_kit::world::random;
use switchback_kit::{durable, grpc, tls};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::access::Secondary;
use crate::announce::Announcing;
use crate::config::Config;
use crate::connections::Limits;
use crate::core::catalogue::{self, Unpublishable};
use crate::core::cookie;
use crate::core::dnssec::roll::TooEarly;
use crate::core::dnssec::sign::Unsigned;
use crate::core::follow::{self, Followers, Target};
use crate::core::name::Name;
use crate::core::record::Kind;
use crate::primary::Holding;
use crate::publisher::Publisher;
use crate::respond::Responder;
use crate::update::Updating;

/// Why the broadcaster cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request describes a zone that cannot be.
    #[error("the zones are malformed: {0}")]
    Malformed(String),
    /// The state cannot be read or made durable.
    #[error("the state of the DNS broadcaster failed")]
    State(#[from] durable::Error),
    /// A record on disk does not say what it should.
    #[error(
        "record {key:?} is damaged ({reason}); restore the folder, or remove it and let the link manager send every zone again"
    )]
    Damaged {
        /// The record's key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A catalogue would not say which zones there are.
    #[error("the catalogue cannot be published: {0}")]
    Catalogue(#[from] Unpublishable),
    /// A zone file cannot be served.
    #[error(transparent)]
    ZoneFile(#[from] zone_file::Error),
    /// A zone cannot be signed.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// There is nothing to remove.
    #[error("no {kind} records were taken at {owner} by update; `switchback dns records` lists what was")]
    NotTaken {
        /// The name.
        owner: Name,
        /// The type.
        kind: Kind,
    },
    /// There is no key to roll.
    #[error("zones are not signed; set dnssec = true in [dns_broadcaster]")]
    NotSigned,
    /// A step of a roll would break what somebody holds.
    #[error(transparent)]
    TooEarly(#[from] TooEarly),
    /// An address cannot be bound.
    #[error("cannot answer DNS on {address}; is another name server running there, or the port privileged?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A socket of the name server failed.
    #[error("the name server ended")]
    Answer(#[source] std::io::Error),
    /// DNS by TLS, HTTPS or QUIC cannot be served.
    #[error("encrypted DNS cannot be served")]
    Secure(#[source] anyhow::Error),
}

/// The sockets of a broadcaster, bound by the caller so that tests may choose port 0.
#[derive(Debug)]
pub struct Listeners {
    /// Internal gRPC.
    pub grpc: Listener,
    /// DNS by UDP, several sockets for each address.
    pub udp: Vec<UdpSocket>,
    /// DNS by TCP, on the same addresses.
    pub tcp: Vec<TcpListener>,
    /// DNS by TLS.
    pub tls: Vec<TcpListener>,
    /// DNS by HTTPS.
    pub https: Vec<TcpListener>,
    /// DNS by QUIC.
    pub quic: Vec<UdpSocket>,
}

impl Listeners {
    /// Binds what `config` names.
    ///
    /// # Errors
    /// An address is taken, privileged or not of this machine.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let grpc = Listener::bind(&config.listen)
            .await
            .with_context(|| format!("listen on {} for internal calls", config.listen))?;
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        // A simulation has no datagrams; there the zones are read by `ListZones`.
        let addresses = if is_simulated() { &[][..] } else { &config.dns_listen };
        for &address in addresses {
            let (sockets, listener) =
                bind_dns(address).map_err(|source| Error::Listen { address, source })?;
            udp.extend(sockets);
            tcp.push(listener);
        }
        let (mut tls, mut https, mut quic) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(secure) = &config.tls {
            for (addresses, listeners) in [(&secure.listen, &mut tls), (&secure.https, &mut https)] {
                for &address in addresses {
                    let bound = TcpListener::bind(address).await;
                    listeners.push(bound.map_err(|source| Error::Listen { address, source })?);
                }
            }
            for &address in &secure.quic {
                quic.push(UdpSocket::bind(address).map_err(|source| Error::Listen { address, source })?);
            }
        }
        Ok(Self { grpc, udp, tcp, tls, https, quic })
    }
}

/// One address for both transports. With port 0 the kernel chooses for TCP and UDP follows; it
/// chooses again when somebody else has that port for UDP.
fn bind_dns(address: SocketAddr) -> std::io::Result<(Vec<UdpSocket>, TcpListener)> {
    let mut attempts = 1..PORT_ATTEMPTS_MAX;
    loop {
        match bind_both(address) {
            Err(error)
                if address.port() == 0
                    && error.kind() == std::io::ErrorKind::AddrInUse
                    && attempts.next().is_some() => {}
            bound => return bound,
        }
    }
}

fn bind_both(address: SocketAddr) -> std::io::Result<(Vec<UdpSocket>, TcpListener)> {
    use socket2::{Domain, Protocol, Socket, Type};
    let bound = |kind, protocol, address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        if matches!(address.ip(), IpAddr::V6(_)) {
            // So that 0.0.0.0 and [::] can be listened on together.
            socket.set_only_v6(true)?;
        }
        if kind == Type::STREAM {
            socket.set_nonblocking(true)?;
            // A restart must not wait for the last connections' TIME_WAIT.
            socket.set_reuse_address(true)?;
        } else {
            // The kernel shares the queries out. That nobody else answers here is known by TCP.
            socket.set_reuse_port(true)?;
            // Bursts wait here and not in our memory; the kernel bounds it further.
            socket.set_recv_buffer_size(UDP_RECEIVE_BYTES)?;
        }
        socket.bind(&address.into())?;
        Ok::<_, std::io::Error>(socket)
    };
    let listener = bound(Type::STREAM, Protocol::TCP, address)?;
    listener.listen(TCP_BACKLOG)?;
    let listener = TcpListener::from_std(listener.into())?;
    let address = listener.local_addr()?;
    let sockets = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(UDP_SOCKETS_MAX));
    let sockets = (0..sockets).map(|_| bound(Type::DGRAM, Protocol::UDP, address).map(Into::into));
    Ok((sockets.collect::<Result<_, _>>()?, listener))
}

/// Of one address. A core answers more than a hundred thousand queries a second.
const UDP_SOCKETS_MAX: usize = 16;
/// More collisions in a row than this are no accident.
const PORT_ATTEMPTS_MAX: u32 = 16;
/// Some ten thousand queries.
const UDP_RECEIVE_BYTES: usize = 1024 * 1024;
/// Connections that wait to be accepted.
const TCP_BACKLOG: i32 = 1024;

/// Runs the broadcaster that `source` describes until `shutdown`.
///
/// # Errors
/// The configuration is bad, an address cannot be bound, or state or sockets failed.
pub async fn run(source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config = Config::from_source(&source)?;
    let system = source.system()?;
    let secret = Secret::load(&system.secret_file)
        .with_context(|| format!("read the system's secret {}", system.secret_file.display()))?;
    let listeners = Listeners::bind(&config).await?;
    serve(config, listeners, &secret, shutdown).await
}

/// Serves on `listeners` until `shutdown`, then drains.
///
/// # Errors
/// State or sockets failed.
pub async fn serve(
    config: Config,
    listeners: Listeners,
    secret: &Secret,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (idle, tls) = (config.tcp_idle, config.tls.clone());
    let (keys, secondaries, rate) = (config.keys.clone(), config.secondaries.clone(), config.rate);
    let (targets, system) = (config.update_targets.clone(), config.domain.clone());
    let followers = Followers::new(followed_by(&secondaries), follow::Policy::default())?;
    let catalogue = catalogue::origin(&config.domain);
    let followers = secondaries.iter().fold(followers, |followers, secondary| {
        followers.within(&Target::new(&secondary.name), secondary.scope(catalogue.as_ref()))
    });
    let (updates, worker) = receive::open(config.updaters.clone());
    let primaries = config.primaries.clone();
    let publisher = Arc::new(Publisher::open(config)?);
    let holding = Holding::open(primaries, Arc::clone(&publisher)).await.map_err(Error::State)?;
    let mut secret_bytes = [0; 16];
    random::fill(&mut secret_bytes).context("draw the secret of DNS cookies")?;
    let responder = Arc::new(Responder {
        snapshot: publisher.snapshot(),
        keys: keys.clone(),
        secondaries: secondaries.clone(),
        notices: holding.notices(),
        cookies: cookie::Secret::new(secret_bytes),
        rate,
        updates,
    });
    // The name server ends with the drain, and the drain begins when the name server ends.
    let end = shutdown.child_token();
    let mut secure = secure::server(Arc::clone(&responder));
    let (mut parts, limits) = (JoinSet::new(), Arc::new(Limits::new(idle)));
    if let Some(tls) = &tls {
        let shown = |protocols: &[&[u8]]| {
            let shown = tls::public(&tls.certificate, &tls.key, protocols);
            shown.map_err(|error| Error::Secure(error.into()))
        };
        for listener in listeners.tls {
            let shown = shown(&[secure::PROTOCOL])?;
            secure.register_tls_listener_with_tls_config(listener, idle, shown).map_err(Error::Answer)?;
        }
        for listener in listeners.https {
            let shown = TlsAcceptor::from(shown(&https::PROTOCOLS)?);
            let (responder, limits) = (Arc::clone(&responder), Arc::clone(&limits));
            parts.spawn(until_end(https::serve(listener, shown, responder, limits, end.clone())));
        }
        for socket in listeners.quic {
            let (responder, limits) = (Arc::clone(&responder), Arc::clone(&limits));
            let server = quic::Server::new(socket, shown(&[quic::PROTOCOL])?, responder, limits);
            parts.spawn(until_end(server.map_err(|error| Error::Secure(error.into()))?.serve(end.clone())));
        }
    }
    let own: Vec<_> =
        listeners.tcp.iter().filter_map(|listener| Some(listener.local_addr().ok()?.ip())).collect();
    let threads = datagram::Threads::start(listeners.udp, &responder, &mut parts);
    parts.spawn(until_end(worker.run(Arc::clone(&publisher), end.clone())));
    for listener in listeners.tcp {
        parts.spawn(until_end(stream::serve(
            listener,
            Arc::clone(&responder),
            Arc::clone(&limits),
            end.clone(),
        )));
    }
    let (followed, announcing) = Announcing {
        secondaries,
        keys: keys.clone(),
        own: own.clone(),
        snapshot: publisher.published_snapshot(),
        published: publisher.published(),
        db: publisher.db(),
    }
    .start(followers, end.clone());
    let (taken, taking) = holding.start(&keys, &own, end.clone());
    let updating = Updating { targets, keys, own, system, publisher: Arc::clone(&publisher) };
    let (updated, updating) = updating.start(end.clone())?;
    let routes = Routes::new(rpc::service(Arc::clone(&publisher), followed, updated, taken));
    let calls = grpc::serve(listeners.grpc, secret, routes, end.clone());
    tokio::pin!(calls);
    let hold = async {
        tokio::time::sleep(publisher.hold()).await;
        publisher.release().await?;
        std::future::pending::<Result<(), Error>>().await
    };
    let ended = tokio::select! {
        biased;
        ended = &mut calls => return ended,
        Some(ended) = parts.join_next() => ended.map_err(anyhow::Error::from).and_then(|ended| Ok(ended.map_err(Error::Answer)?)),
        ended = announcing => ended.map_err(|error| Error::State(error).into()),
        ended = updating => ended.map_err(|error| Error::State(error).into()),
        ended = taking => ended.map_err(|error| Error::State(error).into()),
        () = publisher.broken() => Err(Error::State(durable::Error::Poisoned).into()),
        () = end.cancelled() => Ok(()),
        ended = hold => ended.map_err(anyhow::Error::from),
        ended = publisher.renew() => ended.map_err(anyhow::Error::from),
    };
    end.cancel();
    drop(threads);
    let parts = async { while parts.join_next().await.is_some() {} };
    let (stopped, drained, ()) = tokio::join!(secure.shutdown_gracefully(), calls, parts);
    if let Err(error) = stopped {
        tracing::debug!(%error, "DNS by TLS did not end in order");
    }
    ended.and(drained)
}

/// A part of the name server, which ends when all of it does.
async fn until_end(serving: impl Future<Output = ()>) -> std::io::Result<()> {
    serving.await;
    Ok(())
}

fn followed_by(secondaries: &[Secondary]) -> impl Iterator<Item = Target> {
    secondaries.iter().map(|secondary| Target::new(&secondary.name))
}
