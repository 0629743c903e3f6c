//! The S3 listeners: connections, bounded in number and in how long they may be idle.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use switchback_kit::world::net::{Listener, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::edge::Edge;
use crate::epochs::Seen;
use crate::intake::{Socket, Unread};

/// How long a client may take for the head of a request, and may keep a connection without one.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// A drain waits this long for requests in flight; less than the process waits for its services.
const DRAIN_TIME: Duration = Duration::from_secs(8);

/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// After an accept that failed for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves S3 on `listeners` until `shutdown`, then drains.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    edge: Edge,
    limits: Limits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (connections, slots) = (TaskTracker::new(), Arc::new(Semaphore::new(limits.connections_max)));
    let cut = CancellationToken::new();
    for listener in listeners {
        let accepting = Accepting {
            edge: edge.clone(),
            slots: slots.clone(),
            connections: connections.clone(),
            shutdown: shutdown.clone(),
            cut: cut.clone(),
        };
        connections.spawn(shutdown.clone().run_until_cancelled_owned(accepting.accept(listener)));
    }
    shutdown.cancelled().await;
    connections.close();
    if tokio::time::timeout(DRAIN_TIME, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were cut at the end of the drain");
        cut.cancel();
    }
    Ok(())
}

struct Accepting {
    edge: Edge,
    slots: Arc<Semaphore>,
    connections: TaskTracker,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Accepting {
    async fn accept(self, listener: Listener) {
        // The slot is taken before the accept: beyond the limit clients wait in the backlog.
        while let Ok(slot) = self.slots.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (edge, came) = (self.edge.clone(), self.edge.epochs.seen());
                    let connection = connection(stream, peer.ip(), edge, came, self.shutdown.clone(), slot);
                    self.connections.spawn(self.cut.clone().run_until_cancelled_owned(connection));
                }
                Err(error) => {
                    tracing::debug!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(
    mut stream: Stream,
    peer: IpAddr,
    edge: Edge,
    came: Seen,
    shutdown: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    // A client that never says anything must not hold its slot: the server waits without a limit
    // for the bytes that tell HTTP/1 from HTTP/2.
    let spoke = tokio::time::timeout(HEAD_TIME, stream.spoke()).await;
    if stream.set_nodelay().is_err() || !matches!(spoke, Ok(Ok(true))) {
        return;
    }
    let (last, unread) = (CancellationToken::new(), Unread::default());
    let (ending, socket) = (last.clone(), Socket::new(stream, unread.clone()));
    let service = service_fn(move |request| {
        let (edge, last, unread, came) = (edge.clone(), last.clone(), unread.clone(), came.clone());
        async move {
            let answer = edge.answer(request, peer, unread, &came).await;
            if answer.last {
                last.cancel();
            }
            Ok::<_, Infallible>(answer.response)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(10));
    let mut served = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = async { tokio::select! { () = shutdown.cancelled() => {}, () = ending.cancelled() => {} } } => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
