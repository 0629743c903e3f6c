//! The internal listener: each gRPC call is passed on, as it is, to the service that it is for.
//!
//! The caller's secret is checked here and goes along, so that the service checks it again. A
//! call, its answer and their trailers are streamed; nothing is decoded.

use std::convert::Infallible;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use switchback_kit::config::Services;
use switchback_kit::grpc;
use switchback_kit::world::net::Listener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::service_fn;

use crate::config::Config;

/// Time for the TCP connection to a service.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Serves `grpc.health.v1` for the gateway itself and forwards everything else until `shutdown`.
pub(crate) async fn serve(
    listener: Listener,
    config: &Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let targets = Targets::new(&config.services)?;
    let client = client();
    let forward = service_fn(move |request: Request<_>| {
        let (targets, client) = (targets.clone(), client.clone());
        async move { Ok::<_, Infallible>(forward(&targets, &client, request.map(Body::new)).await) }
    });
    let routes = Routes::from(Routes::default().into_axum_router().fallback_service(forward));
    grpc::serve(listener, &config.secret, routes, shutdown).await
}

type Forwarder = Client<HttpConnector, Body>;

fn client() -> Forwarder {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIME));
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(5))
        .http2_initial_stream_window_size(4 * 1024 * 1024)
        .http2_initial_connection_window_size(16 * 1024 * 1024)
        .build(connector)
}

/// Which service a call is for, by the package in its path.
#[derive(Clone)]
struct Targets([(&'static str, Authority); 5]);

impl Targets {
    fn new(services: &Services) -> anyhow::Result<Self> {
        Ok(Self([
            ("/switchback.link.v1.", services.link_manager.parse()?),
            ("/switchback.store.v1.", services.data_mover.parse()?),
            ("/switchback.mover.v1.", services.data_mover.parse()?),
            ("/switchback.dns.v1.", services.dns_broadcaster.parse()?),
            ("/switchback.certificate.v1.", services.certificate_service.parse()?),
        ]))
    }

    fn of(&self, path: &str) -> Option<&Authority> {
        self.0.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, authority)| authority)
    }
}

async fn forward(targets: &Targets, client: &Forwarder, mut request: Request<Body>) -> Response<Body> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let Some(authority) = targets.of(path.path()) else {
        return Status::unimplemented(format!("no service of this system answers {}", path.path()))
            .into_http();
    };
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone()).path_and_query(path).build();
    let Ok(uri) = uri else { return Status::internal("the call has no path").into_http() };
    *request.uri_mut() = uri;
    match client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::debug!(%error, %authority, "call was not forwarded");
            let what = if error.is_connect() { "is not running or not reachable" } else { "ended the call" };
            Status::unavailable(format!("the service at {authority} {what}")).into_http()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_to_the_service_of_its_package() {
        let services = Services {
            data_mover: "127.0.0.1:1".into(),
            link_manager: "127.0.0.1:2".into(),
            dns_broadcaster: "127.0.0.1:3".into(),
            certificate_service: "127.0.0.1:4".into(),
            gateway: "127.0.0.1:5".into(),
        };
        let targets = Targets::new(&services).unwrap();
        let target = |path| targets.of(path).map(|authority| authority.as_str().to_owned());
        assert_eq!(target("/switchback.link.v1.LinkService/FailOver").as_deref(), Some("127.0.0.1:2"));
        assert_eq!(target("/switchback.store.v1.StoreService/ListContents").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(target("/switchback.mover.v1.MoverService/SetAccess").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(target("/switchback.peer.v1.PeerService/Converse"), None);
    }
}
