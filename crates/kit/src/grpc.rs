//! gRPC inside a system: a listener that asks every caller for the system's secret, channels that
//! carry it, and refusals whose reason a client can switch on.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost::Message;
use switchback_proto::store::v1::ErrorDetail;
use switchback_world::net::{Listener, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, Routes};
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server, Uri};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::secret::Secret;

/// The metadata key of the system's secret.
pub const SECRET_KEY: &str = "x-switchback-secret";

/// Calls at once on one connection; more wait at the client.
const STREAMS_MAX: u32 = 1024;

/// Frames of 256 KiB carry large messages two to three times as fast as the default of 16 KiB.
const FRAME_BYTES: u32 = 256 * 1024;

/// How long a drain waits for calls in flight and open streams before it cuts them.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// Time for the TCP connection to a service of the same system.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// A service that does not say within this time that it is well is not well.
const HEALTH_TIME: Duration = Duration::from_secs(2);

/// Adds the system's secret to each call.
#[derive(Clone, Debug)]
pub struct WithSecret(MetadataValue<Ascii>);

impl Interceptor for WithSecret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(SECRET_KEY, self.0.clone());
        Ok(request)
    }
}

/// A channel to a service of the same system. Connects when it is first used, and again after a
/// failure.
pub type Channel = InterceptedService<tonic::transport::Channel, WithSecret>;

/// A channel to the service at `address` (`host:port`).
///
/// # Errors
/// The address is no `host:port`.
pub fn channel(address: &str, secret: &Secret) -> anyhow::Result<Channel> {
    let mut value = MetadataValue::try_from(secret.reveal())?;
    value.set_sensitive(true);
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIME)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024);
    let channel = if switchback_world::is_simulated() {
        endpoint.connect_with_connector_lazy(tower::service_fn(dial))
    } else {
        endpoint.connect_lazy()
    };
    Ok(InterceptedService::new(channel, WithSecret(value)))
}

/// The connector of a simulation. In production it is the library's, which knows more: names with
/// several addresses, and the options above.
async fn dial(uri: Uri) -> io::Result<TokioIo<Stream>> {
    let address = uri.authority().map_or("", |authority| authority.as_str());
    let dialled = tokio::time::timeout(CONNECT_TIME, Stream::connect(address)).await;
    dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(TokioIo::new)
}

/// Serves `routes` and `grpc.health.v1` on `listener` until `shutdown`, then drains. Every call
/// but those for health must carry `secret`.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: impl Into<Listener>,
    secret: &Secret,
    routes: Routes,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let ask = tonic::service::InterceptorLayer::new(AskSecret(secret.clone()));
    let guarded = Routes::from(routes.into_axum_router().layer(ask));
    let incoming = futures::stream::unfold(listener.into(), async |listener| {
        let accepted = listener.accept().await;
        Some((accepted, listener))
    });
    let incoming = Box::pin(incoming.filter_map(accepted));
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_routes(guarded.add_service(health_service))
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    tokio::select! {
        biased;
        ended = server => ended.map_err(Into::into),
        () = drained(shutdown) => Ok(()),
    }
}

/// An open stream would hold a drain for ever; this ends it.
async fn drained(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_TIME).await;
}

/// A connection that failed before it was accepted concerns nobody; the listener goes on.
fn accepted(connection: io::Result<(Stream, SocketAddr)>) -> Option<io::Result<Incoming>> {
    let (connection, _) =
        connection.inspect_err(|error| tracing::debug!(%error, "connection not accepted")).ok()?;
    connection.set_nodelay().is_ok().then_some(Ok(Incoming(connection)))
}

/// A connection of a caller, who is known by the secret and not by the address.
struct Incoming(Stream);

impl Connected for Incoming {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Asks each call for the system's secret. It guards all routes but health.
#[derive(Clone)]
struct AskSecret(Secret);

impl Interceptor for AskSecret {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let offered = request.metadata().get(SECRET_KEY).map(MetadataValue::as_bytes);
        if offered.is_some_and(|offered| self.0.matches(offered)) {
            Ok(request)
        } else {
            Err(Status::unauthenticated(
                "the system's secret is missing or wrong; pass the system's configuration",
            ))
        }
    }
}

/// Asks the service at `address` (`host:port`) whether it is well (grpc.health.v1). That needs no
/// secret.
///
/// # Errors
/// It cannot be reached, or says that it is not; the text says which.
pub async fn health(address: &str) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(HEALTH_TIME)
        .timeout(HEALTH_TIME);
    let channel = endpoint.connect().await.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    })?;
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest { service: String::new() })
        .await
        .map_err(|status| status.message().to_owned())?;
    match answer.into_inner().status {
        1 => Ok(()),
        _ => Err("not serving".into()),
    }
}

/// A refusal with a reason that clients switch on, carried in the status details.
#[must_use]
pub fn refusal(code: Code, reason: &str, message: impl Into<String>, detail: Option<ErrorDetail>) -> Status {
    let detail = ErrorDetail { reason: reason.into(), ..detail.unwrap_or_default() };
    Status::with_details(code, message, detail.encode_to_vec().into())
}

/// The reason a refusal carries, if it is one of ours.
#[must_use]
pub fn reason(status: &Status) -> Option<ErrorDetail> {
    ErrorDetail::decode(status.details()).ok().filter(|detail| !detail.reason.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_proto::store::v1::ListContentsRequest;
    use switchback_proto::store::v1::store_service_client::StoreServiceClient;

    fn secret(folder: &tempfile::TempDir, name: &str) -> Secret {
        Secret::create(&folder.path().join(name)).unwrap()
    }

    #[tokio::test]
    async fn a_call_without_the_systems_secret_is_refused_and_health_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (ours, other) = (secret(&folder, "ours"), secret(&folder, "other"));
        let shutdown = CancellationToken::new();
        let (serving, stop) = (ours.clone(), shutdown.clone());
        let server = tokio::spawn(async move { serve(listener, &serving, Routes::default(), stop).await });

        let call = async |secret: &Secret| {
            let mut client = StoreServiceClient::new(channel(&address, secret).unwrap());
            client.list_contents(ListContentsRequest {}).await.unwrap_err().code()
        };
        // No service is routed: who knows the secret learns that, who does not learns nothing.
        assert_eq!(call(&ours).await, Code::Unimplemented);
        assert_eq!(call(&other).await, Code::Unauthenticated);

        assert_eq!(health(&address).await, Ok(()));

        shutdown.cancel();
        server.await.unwrap().unwrap();
        assert!(health(&address).await.is_err());
    }

    #[test]
    fn a_refusal_carries_its_reason() {
        let status = refusal(Code::FailedPrecondition, "READ_ONLY", "read-only", None);
        assert_eq!(reason(&status).map(|detail| detail.reason), Some("READ_ONLY".into()));
        assert_eq!(reason(&Status::internal("no detail")), None);
    }
}
