//! DNS by HTTPS (RFC 8484): a question is a request, by HTTP/2 or HTTP/1.1.
//!
//! hickory's server takes no GET, which section 4.1 asks of every server, and as many connections and
//! requests as come (seen in 0.26.3). Here hyper carries it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hickory_proto::op::Message;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::connections::{self, Limits, Place};
use crate::respond::Responder;

/// ALPN of HTTP, the better one first.
pub(crate) const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What clients are told in every guide to them.
const PATH: &str = "/dns-query";
const DNS_MESSAGE: &str = "application/dns-message";
/// Questions at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// Of heads: a question in Base64 has at most 88 KiB, and nobody asks for a name of more than 255 bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Accepts until the shutdown; then what was asked is answered.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    responder: Arc<Responder>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    connections::accept(listener, &limits, &shutdown, |stream, source, place| {
        let connection = Connection { tls: tls.clone(), source, responder: Arc::clone(&responder), place };
        connection.run(stream, shutdown.clone())
    })
    .await;
}

struct Connection {
    tls: TlsAcceptor,
    source: SocketAddr,
    responder: Arc<Responder>,
    place: Place,
}

impl Connection {
    async fn run(self, stream: TcpStream, shutdown: CancellationToken) {
        let (source, idle) = (self.source, self.place.idle());
        _ = stream.set_nodelay(true);
        let shaken = timeout(idle, self.tls.accept(stream));
        let stream = match shutdown.run_until_cancelled(shaken).await {
            None => return,
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(error))) => return tracing::debug!(%source, %error, "no handshake"),
            Some(Err(_)) => return tracing::debug!(%source, "no handshake in time"),
        };
        let (asked, asking) = watch::channel(());
        let service = service_fn(|request| {
            asked.send_replace(());
            let responder = Arc::clone(&self.responder);
            async move { Ok::<_, Infallible>(answer(&responder, source.ip(), request, idle).await) }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32);
        let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            ended = served.as_mut() => ended,
            () = async { tokio::select! { () = shutdown.cancelled() => {}, () = silence(asking, idle) => {} } } => {
                served.as_mut().graceful_shutdown();
                // An answer that is not taken meanwhile is not wanted.
                timeout(idle, served).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%source, %error, "connection ended");
        }
    }
}

/// Ends when nothing was asked for so long.
async fn silence(mut asking: watch::Receiver<()>, idle: Duration) {
    while let Ok(Ok(())) = timeout(idle, asking.changed()).await {}
}

async fn answer(
    responder: &Responder,
    source: IpAddr,
    request: Request<Incoming>,
    idle: Duration,
) -> Response<Full<Bytes>> {
    let question = match timeout(idle, question(request)).await {
        Ok(Ok(question)) => question,
        Ok(Err(refusal)) => return refusal.response(),
        Err(_) => return Refusal(StatusCode::REQUEST_TIMEOUT, "the question took too long").response(),
    };
    let Some(answer) = responder.respond_alone(&question, source) else {
        return Refusal(StatusCode::BAD_REQUEST, "expected a DNS query (RFC 1035 section 4.1)").response();
    };
    let age = freshness(&answer).map_or_else(|| "no-cache".into(), |seconds| format!("max-age={seconds}"));
    let mut response = Response::new(Full::new(answer.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(DNS_MESSAGE));
    headers.extend(HeaderValue::try_from(age).ok().map(|age| (CACHE_CONTROL, age)));
    response
}

/// Why a request is no question, and what is said of that.
struct Refusal(StatusCode, &'static str);

impl Refusal {
    fn response(self) -> Response<Full<Bytes>> {
        let Self(status, text) = self;
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        response
    }
}

/// The message in a request (RFC 8484 section 4.1).
async fn question(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal(StatusCode::NOT_FOUND, "DNS is asked at /dns-query"));
    }
    match *request.method() {
        Method::GET | Method::HEAD => {
            let mut parameters = request.uri().query().unwrap_or_default().split('&');
            let dns = parameters.find_map(|parameter| parameter.strip_prefix("dns="));
            let message = dns.and_then(|dns| URL_SAFE_NO_PAD.decode(dns).ok());
            let expected = "expected ?dns= and a DNS query in Base64 for URLs, without padding";
            message.map(Bytes::from).ok_or(Refusal(StatusCode::BAD_REQUEST, expected))
        }
        Method::POST => {
            let kind = request.headers().get(CONTENT_TYPE);
            if kind.is_none_or(|kind| kind != DNS_MESSAGE) {
                let expected = "expected a body of type application/dns-message";
                return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, expected));
            }
            let body = Limited::new(request.into_body(), u16::MAX.into()).collect().await;
            let too_large =
                |_| Refusal(StatusCode::PAYLOAD_TOO_LARGE, "expected a body of at most 65,535 bytes");
            Ok(body.map_err(too_large)?.to_bytes())
        }
        _ => Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "DNS is asked with GET or POST")),
    }
}

/// Seconds that an answer may be kept: no longer than any of its records, or than its denial (RFC 8484
/// section 5.1). `None` when it says nothing of it.
fn freshness(answer: &[u8]) -> Option<u32> {
    let message = Message::from_vec(answer).ok()?;
    let said = if message.answers.is_empty() { &message.authorities } else { &message.answers };
    said.iter().map(|record| record.ttl).min()
}
