//! Before and behind s3s: what it would take on without a bound, and what every answer carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Limited;
use hyper::body::Incoming;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3Result, s3_error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Keys;
use crate::config::Limits;
use crate::host::Domains;
use crate::s3::Gateway;
use crate::status;

/// The longest body in signed chunks. s3s holds a chunk whole, of the size that the client says,
/// and some clients send one chunk a body.
const CHUNKED_BODY_MAX: u64 = 64 * 1024 * 1024;

/// Memory for chunks is handed out in pieces of this many bytes.
const CHUNK_PIECE: u64 = 64 * 1024;

/// How long a body in chunks waits for memory before its client is told to slow down.
const TURN_TIME: Duration = Duration::from_secs(5);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// Answers S3 requests.
#[derive(Clone)]
pub(crate) struct Edge {
    s3: S3Service,
    chunk_memory: Arc<Semaphore>,
    requests: Arc<AtomicU64>,
}

/// An answer, and whether the connection that it goes out on should end.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) last: bool,
}

impl Edge {
    pub(crate) fn new(gateway: Gateway, keys: Keys, domains: Domains, limits: Limits) -> Self {
        let mut builder = S3ServiceBuilder::new(gateway);
        builder.set_host(domains);
        builder.set_auth(keys.clone());
        builder.set_access(keys);
        let pieces = limits.chunked_bytes_max / usize::try_from(CHUNK_PIECE).unwrap_or(1);
        Self {
            s3: builder.build(),
            chunk_memory: Arc::new(Semaphore::new(pieces)),
            requests: Arc::new(AtomicU64::new(first_request())),
        }
    }

    /// The answer to one request. Refusals are answers too: this does not fail.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (method, version) = (request.method().clone(), request.version());
        let id = format!("{:016X}", self.requests.fetch_add(1, Ordering::Relaxed));
        let mut response = match self.admitted(request).await {
            Ok(response) => response,
            Err(error) => refusal(error),
        };
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
        let last = response.headers().contains_key(CONNECTION);
        if version == Version::HTTP_2 {
            // HTTP/2 has no such header (RFC 9113, section 8.2.2): the server sends GOAWAY instead.
            response.headers_mut().remove(CONNECTION);
        }
        Answer { response, last }
    }

    async fn admitted(&self, request: Request<Incoming>) -> S3Result<Response<Body>> {
        refuse_unoffered(&request)?;
        let (request, _memory) = match chunked_length(request.headers())? {
            None => (request.map(Body::from), None),
            Some(length) => {
                let memory = self.memory(length).await?;
                // Framing is small beside the bytes; what is longer than this is not what was
                // declared, and would be held in memory.
                let framed = usize::try_from(length * 2 + 1024 * 1024).unwrap_or(usize::MAX);
                (request.map(|body| Body::http_body_unsync(Limited::new(body, framed))), Some(memory))
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

    async fn memory(&self, length: u64) -> S3Result<OwnedSemaphorePermit> {
        let pieces = u32::try_from(length.div_ceil(CHUNK_PIECE) + 1).unwrap_or(u32::MAX);
        let permit = self.chunk_memory.clone().acquire_many_owned(pieces);
        match tokio::time::timeout(TURN_TIME, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(status::slow_down("too many uploads at once; try again")),
        }
    }
}

/// Request ids of one life of the process follow each other; those of two do not meet.
fn first_request() -> u64 {
    let mut random = [0; 8];
    // Without randomness the ids are only less unique.
    let _ = getrandom::fill(&mut random[..4]);
    u64::from_be_bytes(random)
}

/// What s3s would accept and we do not.
fn refuse_unoffered<B>(request: &Request<B>) -> S3Result<()> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let query = request.uri().query().unwrap_or_default();
    let signed_v2 = header(AUTHORIZATION).is_some_and(|given| given.starts_with("AWS "))
        || query.split('&').any(|pair| pair.starts_with("AWSAccessKeyId=") || pair.starts_with("Signature="));
    if signed_v2 {
        return Err(s3_error!(
            InvalidRequest,
            "this signature version is not supported: sign with AWS4-HMAC-SHA256 (version 4)"
        ));
    }
    let form = header(CONTENT_TYPE)
        .is_some_and(|given| given.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"));
    if form && request.method() == Method::POST {
        return Err(s3_error!(NotImplemented, "uploads by browser forms are not offered here: use PUT"));
    }
    Ok(())
}

/// The declared length of a body in chunks, which must be declared and bounded.
fn chunked_length(headers: &HeaderMap) -> S3Result<Option<u64>> {
    let kind = headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("STREAMING-") {
        return Ok(None);
    }
    let length =
        headers.get("x-amz-decoded-content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        None => {
            Err(s3_error!(MissingContentLength, "x-amz-decoded-content-length is missing or not a number"))
        }
        Some(length) if length > CHUNKED_BODY_MAX => Err(s3_error!(
            EntityTooLarge,
            "a body in signed chunks has at most {CHUNKED_BODY_MAX} bytes here: use multipart"
        )),
        Some(length) => Ok(Some(length)),
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

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_body_in_chunks_is_bounded_and_its_refusal_says_what_to_do() {
        let streaming = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let length = |value| chunked_length(&headers(&[streaming, ("x-amz-decoded-content-length", value)]));
        assert_eq!(length("8388608").unwrap(), Some(8_388_608));
        let error = length("67108865").unwrap_err();
        assert_eq!(error.code().as_str(), "EntityTooLarge");
        assert!(error.message().unwrap().contains("use multipart"));
        assert!(chunked_length(&headers(&[streaming])).is_err());
        assert_eq!(chunked_length(&headers(&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")])).unwrap(), None);
    }

    #[test]
    fn the_old_signature_and_browser_forms_are_refused() {
        let request = |uri: &str, name: &str, value: &str| {
            Request::builder().method("POST").uri(uri).header(name, value).body(()).unwrap()
        };
        assert!(refuse_unoffered(&request("/b/k", "authorization", "AWS AKID:sig")).is_err());
        assert!(refuse_unoffered(&request("/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", "x", "y")).is_err());
        assert!(refuse_unoffered(&request("/b", "content-type", "multipart/form-data; boundary=x")).is_err());
        assert!(
            refuse_unoffered(&request("/b/k?X-Amz-Signature=b", "authorization", "AWS4-HMAC-SHA256 x"))
                .is_ok()
        );
    }
}
