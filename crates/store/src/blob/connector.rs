//! HTTP for `object_store`, on the hyper and rustls that this workspace uses anyway.
//!
//! Its own client is `reqwest`, which would bring a second provider of cryptography, or a second way to find the
//! certificates that a machine trusts. Here they are the machine's (`SSL_CERT_FILE` names others).

use std::error::Error as _;
use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use tokio::time::{Instant, Sleep, timeout};

/// For a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// From the first byte of a request to the head of its answer: a part of 5 MiB at 200 KiB a second.
const EXCHANGE_TIME: Duration = Duration::from_secs(30);

/// A body whose next bytes do not come for this long is given up.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// A connection that is not used is closed after this, which is less than servers as a rule wait.
const POOL_TIME: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) struct Connector(Client<HttpsConnector<HttpConnector>, HttpRequestBody>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// # Errors
    /// The certificates that this machine trusts cannot be read.
    pub(super) fn new() -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?;
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_TIME)
            .build(connector);
        Ok(Self(client))
    }

    pub(super) fn client(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }
}

impl object_store::client::HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.client())
    }
}

#[async_trait::async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answered = timeout(EXCHANGE_TIME, self.0.request(request)).await;
        let answer = answered.map_err(|_| late("no answer", EXCHANGE_TIME))?.map_err(refused)?;
        let (head, body) = answer.into_parts();
        let body = Answer { body, idle: Box::pin(tokio::time::sleep(IDLE_TIME)) };
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

fn late(what: &str, time: Duration) -> HttpError {
    let words = format!("{what} within {} s", time.as_secs());
    HttpError::new(HttpErrorKind::Timeout, io::Error::new(io::ErrorKind::TimedOut, words))
}

fn refused(error: Error) -> HttpError {
    let kind = if error.is_connect() { HttpErrorKind::Connect } else { kind_of(error.source()) };
    HttpError::new(kind, error)
}

/// What may be tried again, as far as it can be told: `object_store` repeats an interrupted request that
/// changes nothing by being repeated.
fn kind_of(mut cause: Option<&(dyn std::error::Error + 'static)>) -> HttpErrorKind {
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_canceled() || error.is_closed() {
                return HttpErrorKind::Request;
            }
            if error.is_incomplete_message() || error.is_body_write_aborted() {
                return HttpErrorKind::Interrupted;
            }
        }
        if error.downcast_ref::<io::Error>().is_some() {
            return HttpErrorKind::Interrupted;
        }
        cause = error.source();
    }
    HttpErrorKind::Unknown
}

/// A body that must keep coming.
struct Answer {
    body: Incoming,
    idle: Pin<Box<Sleep>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(frame)) => {
                self.idle.as_mut().reset(Instant::now() + IDLE_TIME);
                Poll::Ready(Some(frame.map_err(|error| HttpError::new(kind_of(Some(&error)), error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let waited = self.idle.as_mut().poll(context);
                waited.map(|()| Some(Err(late("nothing more of an answer", IDLE_TIME))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
