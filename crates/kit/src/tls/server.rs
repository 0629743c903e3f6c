//! Answering other systems.
//!
//! Handshakes run beside one another, a bounded number of them, each under a deadline: one silent
//! client must not keep the others out. Only verified connections reach the gRPC server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchback_world::net::{Listener, Stream};
use switchback_world::time::unix_ms;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use super::Limits;
use super::certificate::Peer;
use super::connection::{Buffered, Connection, buffered, set_options};
use super::identity::IdentityWatch;
use super::trouble::Trouble;
use super::verify::HTTP2;

/// How long a drain waits for calls in flight before it cuts the connections.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// Verified connections on their way to the gRPC server, which takes them at once.
const QUEUE: usize = 16;

/// A listener that cannot accept (no descriptors left) tries again after this time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Refusals are logged at most this often: anybody who reaches the port can cause them.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Serves `routes` to trusted systems on `listener` until `shutdown`, then drains. A request's
/// extensions hold its [`Peer`].
///
/// # Errors
/// The server failed.
pub async fn serve(
    listener: impl Into<Listener>,
    identity: IdentityWatch,
    routes: Routes,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    serve_with(listener, identity, routes, &Limits::default(), shutdown).await
}

/// As [`serve`], with other limits than the default ones.
///
/// # Errors
/// The server failed.
pub async fn serve_with(
    listener: impl Into<Listener>,
    identity: IdentityWatch,
    routes: Routes,
    limits: &Limits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Connections are tasks of their own: they outlive the server unless they are cut.
    let cut = CancellationToken::new();
    let _cut_at_the_end = cut.clone().drop_guard();
    let (verified, incoming) = mpsc::channel(QUEUE);
    let door = Door {
        identity,
        handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
        connections: Arc::new(Semaphore::new(limits.connections_max)),
        handshake_time: limits.handshake_time,
        verified,
        cut,
    };
    let listener = listener.into();
    let accepting = shutdown.clone();
    let accept = async move {
        tokio::select! {
            biased;
            () = door.accept_all(listener) => {}
            () = accepting.cancelled() => {}
        }
    };
    let server = Server::builder()
        .max_concurrent_streams(limits.streams_max)
        .max_frame_size(limits.frame_bytes)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_time))
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), shutdown.clone().cancelled_owned());
    let serve = async { tokio::join!(accept, server).1 };
    tokio::select! {
        biased;
        ended = serve => ended.map_err(Into::into),
        () = drained(shutdown) => Ok(()),
    }
}

/// An open stream would hold a drain for ever; this ends it.
async fn drained(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_TIME).await;
}

type Admitted = Connection<TlsStream<Buffered>>;

#[derive(Clone)]
struct Door {
    identity: IdentityWatch,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    handshake_time: Duration,
    verified: mpsc::Sender<io::Result<Admitted>>,
    cut: CancellationToken,
}

impl Door {
    async fn accept_all(&self, listener: Listener) {
        loop {
            let (Ok(place), Ok(turn)) = (
                Arc::clone(&self.connections).acquire_owned().await,
                Arc::clone(&self.handshakes).acquire_owned().await,
            ) else {
                return;
            };
            match listener.accept().await {
                Ok((socket, from)) => {
                    tokio::spawn(self.clone().admit(socket, from, place, turn));
                }
                Err(error) => {
                    tracing::warn!(%error, "peer connections cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn admit(
        self,
        socket: Stream,
        from: SocketAddr,
        place: OwnedSemaphorePermit,
        turn: OwnedSemaphorePermit,
    ) {
        let shaken = tokio::select! {
            biased;
            shaken = timeout(self.handshake_time, self.handshake(socket)) => shaken,
            () = self.cut.cancelled() => return,
        };
        drop(turn);
        match shaken {
            Ok(Ok(connection)) => {
                // Fails only when the server is ending.
                let _ = self.verified.send(Ok(connection.holding(place))).await;
            }
            Ok(Err(error)) => tracing::debug!(%from, %error, "peer handshake failed"),
            Err(_) => tracing::debug!(%from, "peer handshake took too long"),
        }
    }

    async fn handshake(&self, socket: Stream) -> io::Result<Admitted> {
        set_options(&socket)?;
        let Some(identity) = self.identity.current() else {
            return Err(io::Error::other("own identity is not known yet"));
        };
        let stream = TlsAcceptor::from(identity.server()).accept(buffered(socket)).await?;
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::other("peer does not speak HTTP/2"));
        }
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let peer = shown.ok_or_else(|| io::Error::other("peer showed no certificate"))?;
        let peer = Peer::read(peer).map_err(io::Error::other)?;
        tracing::debug!(?peer, "peer connected");
        Ok(Connection::guard(stream, peer, &identity, self.identity.clone(), self.cut.child_token()))
    }
}

/// Notes in the log that a system was turned away, unless that was just done.
pub(super) fn refused(trouble: &Trouble) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = unix_ms() / 1000;
    let last = LAST.load(Ordering::Relaxed);
    let due = now >= last + REFUSAL_LOG_INTERVAL.as_secs() || now < last;
    if due && LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        tracing::warn!(reason = trouble.reason(), %trouble, "a system was turned away");
    } else {
        tracing::debug!(reason = trouble.reason(), %trouble, "a system was turned away");
    }
}
