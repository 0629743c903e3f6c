//! How many connections there are, whatever carries them, and what each may take.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// All connections together: each holds some queries and answers of 64 KiB at most.
const CONNECTIONS_MAX: usize = 1024;
/// Of one address, so that nobody takes all of them.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 128;
/// Transfers at once; more wait. Each keeps the zone as it was when it began.
const TRANSFERS_MAX: usize = 32;
/// After an error of `accept`, such as too many open files, which would come again at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What the connections of all listeners share.
pub(crate) struct Limits {
    transfers: Semaphore,
    open: Mutex<BTreeMap<IpAddr, usize>>,
    idle: Duration,
}

impl Limits {
    /// Each connection must ask, and take its answers, within `idle`.
    pub(crate) fn new(idle: Duration) -> Self {
        Self { transfers: Semaphore::new(TRANSFERS_MAX), open: Mutex::default(), idle }
    }

    /// A place for a connection of `address`; it is given back when it is dropped.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let its = open.get(&address).copied().unwrap_or(0);
        if all >= CONNECTIONS_MAX || its >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        open.insert(address, its + 1);
        Some(Place { limits: Arc::clone(self), address })
    }

    /// How long a connection may be without a question.
    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    /// A turn for a transfer.
    pub(crate) async fn transfer(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.transfers.acquire().await
    }
}

/// Accepts until the shutdown, and runs what `connect` makes of each connection; ends when all of them have.
pub(crate) async fn accept<C: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    limits: &Arc<Limits>,
    shutdown: &CancellationToken,
    connect: impl Fn(TcpStream, SocketAddr, Place) -> C,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Some(place) = limits.admit(source.ip()) else {
            tracing::debug!(%source, "connection closed: too many are open");
            continue;
        };
        connections.spawn(connect(stream, source, place));
    }
    while connections.join_next().await.is_some() {}
}

/// The right to one connection.
pub(crate) struct Place {
    limits: Arc<Limits>,
    address: IpAddr,
}

impl Place {
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(crate) fn idle(&self) -> Duration {
        self.limits.idle()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(its) = open.get_mut(&self.address) {
            *its -= 1;
            if *its == 0 {
                open.remove(&self.address);
            }
        }
    }
}
