//! DNS over QUIC (RFC 9250): each question has a stream of its own, and none waits for another.
//!
//! hickory's server takes one handshake after the other, so that who begins one and says no more would hold up
//! everybody for seconds (seen in 0.26.3). Here quinn carries it.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, TransportConfig, VarInt,
};
use switchback_kit::tls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connections::{Limits, Place};
use crate::framed;
use crate::respond::Responder;

/// ALPN of DNS over QUIC (RFC 9250 section 4.1.1).
pub(crate) const PROTOCOL: &[u8] = b"doq";

/// Questions at once on one connection.
const STREAMS_MAX: u32 = 100;
/// A message behind its length.
const STREAM_BYTES_MAX: usize = 2 + u16::MAX as usize;
/// Handshakes at once. Beyond it a client has to show first that it is where it says (RFC 9000 section 8.1.2),
/// and beyond twice as many nobody is let in.
const HANDSHAKES_MAX: usize = 128;
/// Of a drain: a client that does not take its last answer must not hold up the end.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// RFC 9250 section 4.3.
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Where DNS over QUIC is answered.
pub(crate) struct Server {
    endpoint: Endpoint,
    responder: Arc<Responder>,
    limits: Arc<Limits>,
    handshakes: [Arc<Semaphore>; 2],
}

/// DNS over QUIC cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The certificate's configuration is without TLS 1.3.
    #[error("QUIC needs TLS 1.3")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// The socket cannot be used.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

impl Server {
    /// Answers on `socket`, showing the certificate of `tls`.
    pub(crate) fn new(
        socket: UdpSocket,
        tls: Arc<ServerConfig>,
        responder: Arc<Responder>,
        limits: Arc<Limits>,
    ) -> Result<Self, Error> {
        let mut transport = TransportConfig::default();
        let idle = limits.idle().try_into().unwrap_or(VarInt::MAX.into());
        transport
            .max_idle_timeout(Some(idle))
            .max_concurrent_bidi_streams(STREAMS_MAX.into())
            .max_concurrent_uni_streams(0_u8.into())
            .stream_receive_window((STREAM_BYTES_MAX as u32).into())
            .datagram_receive_buffer_size(None);
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)?;
        let handshakes = || Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Ok(Self { endpoint, responder, limits, handshakes: [handshakes(), handshakes()] })
    }

    /// Answers until the shutdown; then what was asked.
    pub(crate) async fn serve(self, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let Some((incoming, turn)) = self.turn(incoming) else { continue };
            let source = incoming.remote_address();
            let Some(place) = self.limits.admit(source.ip()) else {
                tracing::debug!(%source, "connection refused: too many are open");
                incoming.refuse();
                continue;
            };
            let responder = Arc::clone(&self.responder);
            connections.spawn(connection(incoming, turn, place, responder, shutdown.clone()));
        }
        while connections.join_next().await.is_some() {}
        self.endpoint.close(NO_ERROR, &[]);
        _ = timeout(DRAIN_TIME, self.endpoint.wait_idle()).await;
    }

    /// The right to a handshake.
    fn turn(&self, incoming: Incoming) -> Option<(Incoming, OwnedSemaphorePermit)> {
        let [first, proven] = &self.handshakes;
        if let Ok(turn) = Arc::clone(first).try_acquire_owned() {
            return Some((incoming, turn));
        }
        if !incoming.remote_address_validated() {
            // It can be told to come again, since it has not been yet.
            drop(incoming.retry());
            return None;
        }
        match Arc::clone(proven).try_acquire_owned() {
            Ok(turn) => Some((incoming, turn)),
            Err(_) => {
                incoming.refuse();
                None
            }
        }
    }
}

async fn connection(
    incoming: Incoming,
    turn: OwnedSemaphorePermit,
    place: Place,
    responder: Arc<Responder>,
    shutdown: CancellationToken,
) {
    let source = incoming.remote_address();
    let shaken = async { incoming.accept()?.await };
    let connection = match shutdown.run_until_cancelled(timeout(place.idle(), shaken)).await {
        None => return,
        Some(Ok(Ok(connection))) => connection,
        Some(Ok(Err(error))) => return tracing::debug!(%source, %error, "no handshake"),
        Some(Err(_)) => return tracing::debug!(%source, "no handshake in time"),
    };
    drop(turn);
    let mut questions = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = questions.join_next() => continue,
            stream = connection.accept_bi() => stream,
        };
        // Closed, or idle for too long.
        let Ok((answer, question)) = stream else { break };
        let (connection, responder, idle) = (connection.clone(), Arc::clone(&responder), place.idle());
        questions.spawn(async move {
            let exchanged = timeout(idle, exchange(&connection, question, answer, &responder)).await;
            if exchanged.is_err() {
                connection.close(EXCESSIVE_LOAD, b"a question took too long");
            }
        });
    }
    while questions.join_next().await.is_some() {}
}

/// Reads a question and answers it. What is none ends the connection (RFC 9250 section 4.3.3).
async fn exchange(
    connection: &Connection,
    mut question: RecvStream,
    mut answer: SendStream,
    responder: &Responder,
) {
    // A client that gives up, or whose connection ends, is owed nothing.
    let Ok(bytes) = question.read_to_end(STREAM_BYTES_MAX).await else { return };
    let source = connection.remote_address().ip();
    let answered = message(&bytes).and_then(|message| responder.respond_alone(message, source));
    let Some(message) = answered else {
        return connection.close(PROTOCOL_ERROR, b"expected one message behind its length, under id 0");
    };
    if framed::write(&mut answer, &message).await.is_ok() {
        _ = answer.finish();
        // Until the client has it: the connection may be closed behind it.
        _ = answer.stopped().await;
    }
}

/// The one message of a stream (RFC 9250 section 4.2), whose id is 0 (section 4.2.1).
fn message(framed: &[u8]) -> Option<&[u8]> {
    let (length, message) = framed.split_first_chunk()?;
    let is_whole = usize::from(u16::from_be_bytes(*length)) == message.len();
    (is_whole && message.starts_with(&[0, 0])).then_some(message)
}
