//! Dialling another system.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use switchback_model::{Incarnation, SystemId};
use switchback_world::net::Stream;
use switchback_world::time::wall;
use tokio::io::AsyncBufReadExt;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Limits;
use super::certificate::Peer;
use super::connection::{Buffered, Connection, buffered, set_options};
use super::identity::IdentityWatch;
use super::trouble::Trouble;
use super::verify::{HTTP2, client_config};

/// Who may answer a dial, among the systems that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any trusted system: for the first contact with an address.
    Any,
    /// The system of this domain.
    Domain(String),
    /// The system with this id, whatever its incarnation.
    System(SystemId),
    /// The system with this id, in this incarnation.
    Incarnation(SystemId, Incarnation),
}

impl Expect {
    pub(super) fn check(&self, peer: &Peer) -> Result<(), Trouble> {
        let (fits, expected) = match self {
            Self::Any => return Ok(()),
            Self::Domain(domain) => (peer.domain.eq_ignore_ascii_case(domain), domain.clone()),
            Self::System(id) => (peer.system_id == *id, id.to_string()),
            Self::Incarnation(id, incarnation) => (
                (peer.system_id, peer.incarnation) == (*id, *incarnation),
                format!("{id} in its incarnation {incarnation}"),
            ),
        };
        let found = format!("{} ({}:{})", peer.domain, peer.system_id, peer.incarnation);
        if fits { Ok(()) } else { Err(Trouble::WrongSystem { expected, found }) }
    }
}

/// Dials `address` (`host:port`) now. The channel dials again by itself after a failure, but only
/// to the same system in the same incarnation: what was learnt from the [`Peer`] stays true.
///
/// # Errors
/// Why there is no connection, for the operator.
pub async fn connect(
    address: &str,
    identity: &IdentityWatch,
    expect: Expect,
    limits: &Limits,
) -> Result<(Channel, Peer), Trouble> {
    let dialer = Dialer::new(address, identity, expect, limits, true);
    let contact = Arc::clone(&dialer.contact);
    let connected = endpoint(limits).connect_with_connector(dialer).await;
    let channel = connected.map_err(|error| {
        Trouble::find(&error).unwrap_or_else(|| Trouble::Unreachable(format!("{error:?}")))
    })?;
    let peer = contact.lock().peer.clone();
    peer.map(|peer| (channel, peer)).ok_or_else(|| Trouble::Unreachable("no handshake was made".into()))
}

/// A channel to `address` (`host:port`) that dials when it is first used and again after a
/// failure. A call that cannot be made fails with `Unavailable`; see [`Trouble::of`].
#[must_use]
pub fn channel(address: &str, identity: &IdentityWatch, expect: Expect, limits: &Limits) -> Dial {
    let dialer = Dialer::new(address, identity, expect, limits, false);
    let contact = Arc::clone(&dialer.contact);
    Dial { channel: endpoint(limits).connect_with_connector_lazy(dialer), contact }
}

/// A lazy channel, and what became of its last dial. Cheap to clone.
#[derive(Clone)]
pub struct Dial {
    channel: Channel,
    contact: Arc<Contact>,
}

impl Dial {
    /// The channel.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Who answered last.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        self.contact.lock().peer.clone()
    }

    /// Why the last dial failed; none when it did not.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.contact.lock().trouble.clone()
    }
}

#[derive(Default)]
struct Contact(Mutex<LastDial>);

#[derive(Default)]
struct LastDial {
    peer: Option<Peer>,
    trouble: Option<Trouble>,
}

impl Contact {
    fn lock(&self) -> std::sync::MutexGuard<'_, LastDial> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn endpoint(limits: &Limits) -> Endpoint {
    // The scheme must be http: TLS is the connector's, not the library's.
    Endpoint::from_static("http://peer.switchback")
        .http2_keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_time)
        .keep_alive_while_idle(true)
        .max_frame_size(limits.frame_bytes)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
}

/// Makes the connections of one channel.
#[derive(Clone)]
struct Dialer {
    address: Arc<str>,
    identity: IdentityWatch,
    expect: Expect,
    limits: Limits,
    /// After the first answer, only that system will do.
    faithful: bool,
    contact: Arc<Contact>,
}

type Io = TokioIo<Connection<TlsStream<Buffered>>>;

impl Dialer {
    fn new(address: &str, identity: &IdentityWatch, expect: Expect, limits: &Limits, faithful: bool) -> Self {
        Self {
            address: address.into(),
            identity: identity.clone(),
            expect,
            limits: limits.clone(),
            faithful,
            contact: Arc::default(),
        }
    }

    fn expected(&self) -> Expect {
        match &self.contact.lock().peer {
            Some(peer) if self.faithful => Expect::Incarnation(peer.system_id, peer.incarnation),
            _ => self.expect.clone(),
        }
    }

    async fn dial(self) -> Result<Io, Trouble> {
        let dialled = self.handshake().await;
        let mut last = self.contact.lock();
        match dialled {
            Ok((connection, peer)) => {
                last.peer = Some(peer);
                last.trouble = None;
                Ok(TokioIo::new(connection))
            }
            Err(trouble) => {
                last.trouble = Some(trouble.clone());
                Err(trouble)
            }
        }
    }

    async fn handshake(&self) -> Result<(Connection<TlsStream<Buffered>>, Peer), Trouble> {
        let identity = self.identity.current().ok_or(Trouble::NoIdentity)?;
        let socket = self.reach().await?;
        let verdict = Arc::new(OnceLock::new());
        let config = client_config(&identity, self.expected(), Arc::clone(&verdict));
        let name = ServerName::try_from("peer.switchback").expect("a DNS name");
        let handshake = async {
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, buffered(socket)).await?;
            // In TLS 1.3 the client is done before the server has judged it. The server speaks
            // first (HTTP/2 settings): wait for that, and a refusal arrives here, as its alert.
            let spoke = !stream.fill_buf().await?.is_empty();
            Ok((stream, spoke))
        };
        let unreachable = |reason: &str| Trouble::Unreachable(reason.into());
        let (stream, spoke) = match timeout(self.limits.handshake_time, handshake).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => {
                let judged = verdict.get().cloned();
                let refused = || Trouble::of_handshake(&error, identity.own(), wall());
                return Err(judged.unwrap_or_else(refused));
            }
            Err(_) => return Err(unreachable("the handshake took too long")),
        };
        let session = stream.get_ref().1;
        if !spoke || session.alpn_protocol() != Some(HTTP2) {
            return Err(unreachable("it closed the connection or speaks another protocol"));
        }
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let peer = shown.and_then(|shown| Peer::read(shown).ok());
        let peer = peer.ok_or_else(|| unreachable("it showed no certificate"))?;
        let watch = self.identity.clone();
        let connection = Connection::guard(stream, peer.clone(), &identity, watch, CancellationToken::new());
        Ok((connection, peer))
    }

    async fn reach(&self) -> Result<Stream, Trouble> {
        let unreachable = |reason: String| Trouble::Unreachable(format!("{}: {reason}", self.address));
        let socket = timeout(self.limits.connect_time, Stream::connect(&self.address))
            .await
            .map_err(|_| unreachable("no answer".into()))?
            .map_err(|error| unreachable(error.to_string()))?;
        set_options(&socket).map_err(|error| unreachable(error.to_string()))?;
        Ok(socket)
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = Io;
    type Error = Trouble;
    type Future = Pin<Box<dyn Future<Output = Result<Io, Trouble>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}
