//! Before and behind s3s: what it would take on without a bound, and what every answer carries.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures::stream;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use ipnet::IpNet;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3Result, s3_error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Door;
use crate::auth::Keys;
use crate::config::Config;
use crate::cors::{Cors, Crossing};
use crate::epochs::{Epochs, Seen};
use crate::host::{Domains, host_of};
use crate::intake::{Intake, Unread};
use crate::origin::Origin;
use crate::s3::Gateway;
use crate::{signature, status};
use switchback_kit::world::random;

/// The longest body that s3s holds in memory: one in signed chunks, since it holds a chunk whole, of
/// the size that the client says, and some clients send one chunk a body; and a form.
const HELD_BODY_MAX: u64 = 64 * 1024 * 1024;

/// Memory for such bodies is handed out in pieces of this many bytes.
const PIECE: u64 = 64 * 1024;

/// How long such a body waits for memory before its client is told to slow down.
const TURN_TIME: Duration = Duration::from_secs(5);

/// How long a form may take to come. It is received whole before anybody is asked who signed it, so
/// that its memory must come back whatever a stranger does.
const FORM_TIME: Duration = Duration::from_secs(300);

/// s3s looks for the end of the file in at most twice as much.
const FORM_PIECE: usize = 32 * 1024;

/// The longest field of a form. S3 gives all of them together 20 kB; the longest is the policy.
const FORM_FIELD_MAX: usize = 64 * 1024;

/// The fields of a form together, with what comes of the file in the same piece.
const FORM_FIELDS_MAX: usize = 256 * 1024;

/// Fields of a form.
const FORM_PARTS_MAX: usize = 100;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");

/// Answers S3 requests.
#[derive(Clone)]
pub(crate) struct Edge {
    s3: S3Service,
    cors: Cors,
    proxies: Arc<[IpNet]>,
    domains: Domains,
    pub(crate) epochs: Epochs,
    chunk_memory: Arc<Semaphore>,
    form_memory: Arc<Semaphore>,
    requests: Arc<AtomicU64>,
}

/// An answer, and whether the connection that it goes out on should end.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) last: bool,
}

impl Edge {
    pub(crate) fn new(
        gateway: Gateway,
        keys: Keys,
        domains: Domains,
        epochs: Epochs,
        config: &Config,
    ) -> Self {
        let limits = config.limits;
        let buckets = gateway.buckets.clone();
        let cors = Cors::new(keys.clone(), domains.clone(), buckets.clone());
        let door = Door::new(keys.clone(), domains.clone(), buckets);
        let mut builder = S3ServiceBuilder::new(gateway);
        builder.set_host(domains.clone());
        builder.set_auth(keys);
        builder.set_access(door);
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(form_limits()))));
        let memory =
            |bytes: usize| Arc::new(Semaphore::new(bytes / usize::try_from(PIECE).unwrap_or(usize::MAX)));
        Self {
            s3: builder.build(),
            cors,
            proxies: config.proxies.clone().into(),
            domains,
            epochs,
            chunk_memory: memory(limits.chunked_bytes_max),
            form_memory: memory(limits.form_bytes_max),
            requests: Arc::new(AtomicU64::new(first_request())),
        }
    }

    /// The answer to one request. Refusals are answers too: this does not fail.
    ///
    /// `unread` says afterwards whether the body was left on the connection, which then ends.
    /// `came` are the epochs in which the connection was made.
    pub(crate) async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: IpAddr,
        unread: Unread,
        came: &Seen,
    ) -> Answer {
        let origin = Origin::of(peer, request.headers(), &self.proxies);
        request.extensions_mut().insert(origin);
        let (method, version) = (request.method().clone(), request.version());
        let host = host_of(&request).map(str::to_owned);
        // A stream of HTTP/2 ends by itself, whatever was to come on it.
        let unread = if version == Version::HTTP_2 { Unread::default() } else { unread };
        let crossing = self.cors.crossing(&request).await;
        let request = request.map(|body| Intake::new(body, unread.clone()));
        let id = format!("{:016X}", self.requests.fetch_add(1, Ordering::Relaxed));
        let mut response = match self.admitted(request, crossing.as_ref()).await {
            Ok(response) => response,
            Err(error) => refusal(error),
        };
        let is_by_name = || host.as_deref().is_some_and(|host| self.domains.named(host).tenant.is_some());
        let has_moved = |link: &str, epoch| {
            came.is_before(link, epoch) || (is_by_name() && self.epochs.seen().is_recent(link, epoch))
        };
        if let Some(moved) = status::moved(response.headers_mut(), has_moved) {
            response = refusal(moved);
        }
        if let Some(crossing) = crossing.filter(|_| method != Method::OPTIONS) {
            self.cors.mark(&crossing, response.headers_mut()).await;
        }
        // A 501 and a 503 are answers that say what to do; the others somebody must look at.
        let said =
            [StatusCode::NOT_IMPLEMENTED, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status());
        if response.status().is_server_error() && !said {
            tracing::warn!(request = id, %method, status = response.status().as_u16(), "request failed");
        } else {
            tracing::debug!(request = id, %method, status = response.status().as_u16(), "request answered");
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if unread.get() && version != Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let last = response.headers().contains_key(CONNECTION);
        if version == Version::HTTP_2 {
            // HTTP/2 has no such header (RFC 9113, section 8.2.2): the server sends GOAWAY instead.
            response.headers_mut().remove(CONNECTION);
        }
        Answer { response, last }
    }

    async fn admitted(
        &self,
        mut request: Request<Intake>,
        crossing: Option<&Crossing>,
    ) -> S3Result<Response<Body>> {
        if request.method() == Method::OPTIONS {
            return self.cors.preflight(crossing, request.headers()).await;
        }
        signature::refuse_unaccepted(&request)?;
        if signature::is_presigned_v2(&request) {
            signature::carry_headers(&mut request);
        }
        let (request, _memory) = match Held::of(&request)? {
            None => (request.map(Body::http_body_unsync), None),
            Some(Held::Chunks(length)) => {
                let memory = memory(&self.chunk_memory, length).await?;
                // Framing is small beside the bytes; what is longer than this is not what was
                // declared, and would be held in memory.
                let framed = usize::try_from(length * 2 + 1024 * 1024).unwrap_or(usize::MAX);
                (request.map(|body| Body::http_body_unsync(Limited::new(body, framed))), Some(memory))
            }
            Some(Held::Form(length)) => {
                let memory = memory(&self.form_memory, length).await?;
                let (head, body) = request.into_parts();
                (Request::from_parts(head, form(body, length).await?), Some(memory))
            }
        };
        match self.s3.call(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                tracing::error!(?error, "request could not be answered");
                Err(s3_error!(InternalError))
            }
        }
    }
}

async fn memory(pieces: &Arc<Semaphore>, length: u64) -> S3Result<OwnedSemaphorePermit> {
    let wanted = u32::try_from(length.div_ceil(PIECE) + 1).unwrap_or(u32::MAX);
    match tokio::time::timeout(TURN_TIME, pieces.clone().acquire_many_owned(wanted)).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(status::slow_down("too many uploads at once; try again")),
    }
}

/// Takes a form in whole and hands it on in pieces of its own choice: s3s, which holds it anyway, reads
/// one wrongly whose first line, or whose file's end, comes in two pieces of some sizes.
async fn form(mut body: Intake, length: u64) -> S3Result<Body> {
    // One buffer, which is not more than was asked for.
    let mut taken = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    let taking = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| s3_error!(IncompleteBody, "the form ended early"))?;
            frame.data_ref().into_iter().for_each(|bytes| taken.extend_from_slice(bytes));
        }
        Ok::<_, S3Error>(())
    };
    tokio::time::timeout(FORM_TIME, taking)
        .await
        .map_err(|_| s3_error!(RequestTimeout, "the form did not come in time"))??;
    let mut rest = taken.freeze();
    let pieces = std::iter::from_fn(move || {
        let piece = rest.split_to(rest.len().min(FORM_PIECE));
        (!piece.is_empty()).then(|| Ok::<_, Infallible>(Frame::data(piece)))
    });
    Ok(Body::http_body_unsync(StreamBody::new(stream::iter(pieces))))
}

fn form_limits() -> S3Config {
    let mut config = S3Config::default();
    config.post_object_max_file_size = HELD_BODY_MAX;
    config.form_max_field_size = FORM_FIELD_MAX;
    config.form_max_fields_size = FORM_FIELDS_MAX;
    config.form_max_parts = FORM_PARTS_MAX;
    config
}

/// Request ids of one life of the process follow each other; those of two do not meet.
fn first_request() -> u64 {
    let mut random = [0; 8];
    // Without randomness the ids are only less unique.
    let _ = random::fill(&mut random[..4]);
    u64::from_be_bytes(random)
}

/// A body that s3s holds in memory, and its length.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    /// In signed chunks.
    Chunks(u64),
    /// A form, with all around the file.
    Form(u64),
}

impl Held {
    /// The length of such a body must be declared and bounded.
    fn of<B>(request: &Request<B>) -> S3Result<Option<Self>> {
        let text = |name: HeaderName| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        if text(CONTENT_HASH).starts_with("STREAMING-") {
            if signature::is_presigned_v2(request) {
                return Err(s3_error!(
                    InvalidRequest,
                    "a URL of signature version 2 takes no body in chunks: send it plain"
                ));
            }
            let length = bounded("x-amz-decoded-content-length", text(DECODED_LENGTH), "use multipart")?;
            return Ok(Some(Self::Chunks(length)));
        }
        let is_form = text(CONTENT_TYPE).trim_start().to_ascii_lowercase().starts_with("multipart/form-data");
        if is_form && request.method() == Method::POST {
            return Ok(Some(Self::Form(bounded("content-length", text(CONTENT_LENGTH), "use PUT")?)));
        }
        Ok(None)
    }
}

fn bounded(name: &str, given: &str, otherwise: &str) -> S3Result<u64> {
    match given.parse() {
        Err(_) => Err(s3_error!(MissingContentLength, "{name} is missing or not a number")),
        Ok(length) if length > HELD_BODY_MAX => Err(s3_error!(
            EntityTooLarge,
            "a body in signed chunks or in a form has at most {HELD_BODY_MAX} bytes here: {otherwise}"
        )),
        Ok(length) => Ok(length),
    }
}

fn refusal(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(method: &str, uri: &str, headers: &[(&str, &str)]) -> S3Result<Option<Held>> {
        let request = Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Held::of(&request.body(()).unwrap())
    }

    #[test]
    fn a_body_that_is_held_in_memory_is_bounded_and_its_refusal_says_what_to_do() {
        let streaming = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let chunks = |length| held("PUT", "/b/k", &[streaming, ("x-amz-decoded-content-length", length)]);
        assert_eq!(chunks("8388608").unwrap(), Some(Held::Chunks(8_388_608)));
        let form = ("content-type", "multipart/form-data; boundary=x");
        let posted = |length| held("POST", "/b", &[form, ("content-length", length)]);
        assert_eq!(posted("8388608").unwrap(), Some(Held::Form(8_388_608)));
        for (refused, advice) in [(chunks("67108865"), "use multipart"), (posted("67108865"), "use PUT")] {
            let error = refused.unwrap_err();
            assert_eq!(error.code().as_str(), "EntityTooLarge");
            assert!(error.message().unwrap().contains(advice));
        }
        assert!(held("PUT", "/b/k", &[streaming]).is_err());
        assert!(held("POST", "/b", &[form]).is_err());
        assert_eq!(held("PUT", "/b/k", &[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]).unwrap(), None);
        assert_eq!(held("PUT", "/b/k", &[form]).unwrap(), None);
    }

    #[test]
    fn a_url_of_version_2_takes_no_chunks() {
        let streaming = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let length = ("x-amz-decoded-content-length", "5");
        let refused = held("PUT", "/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", &[streaming, length]);
        assert!(refused.unwrap_err().message().unwrap().contains("send it plain"));
    }
}
