//! A client of any S3 endpoint, of the few calls that an import needs.
//!
//! It is put together from parts that are well kept elsewhere: the signature is AWS's own crate, the
//! answers are read by `rusty-s3`, HTTP and TLS are hyper and rustls. `aws-sdk-s3` would be all of it in one:
//! 239,000 lines in twenty-four more crates, to be compiled by everybody who builds this command. What builds
//! its requests on the `url` crate (`rusty-s3` whole, `object_store`'s HTTP client) is none for this: a URL has
//! no segment `..`, and an S3 key may.
//!
//! Every body is held in memory, and is as long as the caller says at most; so that each request can be
//! repeated, and is, for as long as it may still succeed.

mod answer;
mod lock;
mod object;
mod signer;
mod version;

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{sleep, timeout};

pub use self::lock::Locking;
pub(crate) use self::object::{Part, Repeats, Replaces, Written, etag};
pub use self::signer::Keys;
pub use self::version::Versioning;
pub(crate) use self::version::{After, VERSIONS_OF_KEY_MAX};

use self::signer::Signer;

/// How often a request is sent before it has failed: with the pauses, for about half a minute, which is longer
/// than a failover.
pub(crate) const ATTEMPTS_MAX: u32 = 8;

/// Before the second attempt; then twice as long each time.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// For one attempt, body and answer: a part of 8 MiB at 64 KiB a second and as much again.
const EXCHANGE_TIME: Duration = Duration::from_secs(256);

/// For a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// An answer that is no object's content: a page of a listing has at most 1,000 keys of 1,024 bytes, each of
/// which the encoding may make three times as long.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was answered, and refused.
    #[error("{code} ({}): {message}", status.as_u16())]
    Refused {
        /// Of HTTP.
        status: StatusCode,
        /// S3's, or the status's own words when there was none (to `HEAD`).
        code: String,
        /// For people.
        message: String,
    },
    /// It was not answered, however often.
    #[error("no answer from {endpoint}: {reason}")]
    Unreachable {
        /// As it was given.
        endpoint: String,
        /// Of the last attempt.
        reason: String,
    },
    /// It was answered with something that is not S3's, or cannot be asked.
    #[error("{0}")]
    Unusable(String),
}

impl Failure {
    /// The status of the refusal, if it is one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Unusable(_) => None,
        }
    }

    /// True where the same request may succeed later, or may have succeeded unheard.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => may_pass(*status),
            Self::Unreachable { .. } => true,
            Self::Unusable(_) => false,
        }
    }
}

/// Where a bucket is and how to be let in.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://` or `https://`, host and port; buckets are named in the path.
    pub endpoint: String,
    /// Signatures are for one.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Nobody's when there are none: the bucket is public.
    pub keys: Option<Keys>,
}

/// One bucket.
#[derive(Clone)]
pub struct Bucket {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: String,
    name: String,
    signer: Option<Signer>,
}

/// One request. Its path is that of a key, or of the bucket when there is none.
struct Call<'a> {
    method: Method,
    key: Option<&'a str>,
    /// In any order, not encoded.
    query: Vec<(&'a str, &'a str)>,
    headers: HeaderMap,
    body: Bytes,
    /// A longer answer is refused.
    answer_bytes_max: usize,
    repeats: Repeats,
}

impl<'a> Call<'a> {
    fn new(method: Method, key: Option<&'a str>) -> Self {
        Self {
            method,
            key,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            answer_bytes_max: ANSWER_BYTES_MAX,
            repeats: Repeats::Harmless,
        }
    }

    /// About an object, or one version of it.
    fn of(method: Method, key: &'a str, version: Option<&'a str>) -> Self {
        let mut call = Self::new(method, Some(key));
        call.query.extend(version.map(|version| ("versionId", version)));
        call
    }
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Bucket {
    /// A client of the bucket at `address`. Nothing is asked yet.
    ///
    /// # Errors
    /// The endpoint is no URL, or this machine's certificates cannot be read.
    pub fn new(address: Address) -> anyhow::Result<Self> {
        let endpoint = address.endpoint.trim_end_matches('/').to_owned();
        let authority = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
        let authority =
            authority.filter(|authority| !authority.is_empty() && !authority.contains(['/', '?']));
        authority.with_context(|| {
            format!("{endpoint} is no S3 endpoint; give its scheme, host and port, as in https://s3.example.com:9000")
        })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .context("read the certificates that this machine trusts; SSL_CERT_FILE names others")?;
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let signer = address.keys.map(|keys| Signer::new(keys, address.region));
        Ok(Self { http, endpoint, name: address.bucket, signer })
    }

    /// Sends until there is an answer that another attempt would not change; once where that might be done twice.
    async fn send(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        if call.repeats == Repeats::Twofold {
            return accepted(self.once(call).await?);
        }
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.once(call).await {
                Ok(answer) if !may_pass(answer.status) => return accepted(answer),
                Err(failure @ Failure::Unusable(_)) => return Err(failure),
                _ => sleep(pause).await,
            }
            pause *= 2;
        }
        accepted(self.once(call).await?)
    }

    async fn once(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let unreachable = |reason: String| Failure::Unreachable { endpoint: self.endpoint.clone(), reason };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(self.uri(call))
            .body(Full::new(call.body.clone()))
            .map_err(|error| Failure::Unusable(format!("this cannot be asked for: {error}")))?;
        *request.headers_mut() = call.headers.clone();
        if let Some(signer) = &self.signer {
            signer.sign(&mut request)?;
        }
        let exchange = async {
            let answer =
                self.http.request(request).await.map_err(|error| unreachable(with_causes(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, call.answer_bytes_max).collect().await;
            let body = body.map_err(|error| unreachable(with_causes(error.as_ref())))?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        let ended = timeout(EXCHANGE_TIME, exchange).await;
        ended.unwrap_or_else(|_| Err(unreachable(format!("none within {} s", EXCHANGE_TIME.as_secs()))))
    }

    fn uri(&self, call: &Call<'_>) -> String {
        let mut uri = format!("{}/{}", self.endpoint, encoded(&self.name, false));
        if let Some(key) = call.key {
            uri += "/";
            uri += &encoded(key, true);
        }
        for (number, (name, value)) in call.query.iter().enumerate() {
            uri += if number == 0 { "?" } else { "&" };
            uri += &format!("{}={}", encoded(name, false), encoded(value, false));
        }
        uri
    }
}

/// True for answers that say nothing of the request itself.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

fn accepted(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() { Ok(answer) } else { Err(answer::refusal(answer.status, &answer.body)) }
}

/// Everything but the unreserved characters (RFC 3986, section 2.3), and the slash where it parts a path.
fn encoded(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(endpoint: &str) -> anyhow::Result<Bucket> {
        Bucket::new(Address { endpoint: endpoint.into(), region: "r".into(), bucket: "b".into(), keys: None })
    }

    #[test]
    fn a_key_is_asked_for_as_it_is() {
        let uri =
            |key| bucket("http://s3.example.com:9000/").unwrap().uri(&Call::new(Method::GET, Some(key)));
        assert_eq!(uri("../a//b/./+ %é"), "http://s3.example.com:9000/b/../a//b/./%2B%20%25%C3%A9");
        let parsed: http::Uri = uri("../a/..").parse().unwrap();
        assert_eq!(parsed.path(), "/b/../a/..");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_in_words_that_help() {
        for wrong in ["s3.example.com", "ftp://s3.example.com", "https://", "https://s3.example.com/bucket"] {
            let refused = bucket(wrong).err().expect(wrong);
            assert!(refused.to_string().contains("https://s3.example.com:9000"), "{refused}");
        }
    }
}
