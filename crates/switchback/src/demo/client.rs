//! An S3 client that finds the gateway through the lab's DNS and keeps following it: it asks at
//! every new connection, and makes a new one whenever the old one failed or led to a side that does
//! not accept writes. It keeps no answer, and it never repeats a request by itself, so that its
//! caller knows what may have been done.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{HOST, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::lab::layout::{Lab, System};

/// How long a name server is waited for before the next one is asked.
const DNS_PATIENCE: Duration = Duration::from_millis(500);
/// Time for a connection on one machine.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// Time for an answer. A busy machine syncs slowly; a dead one says nothing for ever.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long a signature counts.
const SIGNED_FOR: Duration = Duration::from_secs(300);

/// BLAKE3 of an object's bytes: names a value, because no two writes of the demo have the same.
pub type Value = [u8; 32];

/// The value of `bytes`.
#[must_use]
pub fn value(bytes: &[u8]) -> Value {
    *blake3::hash(bytes).as_bytes()
}

/// What an object was when it was read: nothing, or bytes and their `ETag`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of the bytes.
    pub value: Value,
    /// As the gateway sent it.
    pub etag: String,
}

/// What the write expects to replace.
#[derive(Clone, Copy, Debug)]
pub enum Replaces<'a> {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Nothing,
    /// The object with this `ETag`.
    This(&'a str),
}

/// Why a request did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// It was surely not done.
    NotDone(String),
    /// What was to be replaced is not there any more; surely not done.
    Changed,
    /// It may have been done.
    InDoubt(String),
}

enum Target {
    /// The host name and port, and the name servers to ask, in order.
    Follow {
        host: String,
        port: u16,
        servers: Vec<SocketAddr>,
    },
    Pinned(SocketAddr),
}

/// One client with one connection.
pub struct Client {
    target: Target,
    bucket: Bucket,
    credentials: Credentials,
    connection: Option<(SendRequest<Full<Bytes>>, SocketAddr)>,
}

impl Client {
    /// A client that follows the name of the lab's tenant.
    ///
    /// # Errors
    /// The lab has no tenant.
    pub fn follow(lab: &Lab) -> anyhow::Result<Self> {
        let system = lab.systems.values().next().context("a lab has systems")?;
        let (host, port) = authority(&system.s3.tenant_url)?;
        let servers = lab.systems.values().map(|system| system.dns.parse().context("parse dns in lab.json"));
        let servers = servers.collect::<anyhow::Result<_>>()?;
        Self::new(Target::Follow { host, port, servers }, &system.s3.tenant_url, system)
    }

    /// A client that stays with one system, whatever DNS says.
    ///
    /// # Errors
    /// The lab has no tenant.
    pub fn pinned(system: &System) -> anyhow::Result<Self> {
        let (host, port) = authority(&system.s3.url)?;
        let address = SocketAddr::new(host.parse().context("parse s3.url in lab.json")?, port);
        Self::new(Target::Pinned(address), &system.s3.url, system)
    }

    fn new(target: Target, url: &str, system: &System) -> anyhow::Result<Self> {
        let (bucket, region) = (system.s3.bucket.clone(), system.s3.region.clone());
        let bucket = Bucket::new(url.parse().context("parse the S3 URL")?, UrlStyle::Path, bucket, region)
            .context("address the bucket")?;
        let credentials = Credentials::new(system.s3.access_key.as_str(), system.s3.secret_key.as_str());
        Ok(Self { target, bucket, credentials, connection: None })
    }

    /// Connects if there is no connection, and says where to.
    ///
    /// # Errors
    /// The name has no answer, or nobody accepts there.
    pub async fn connect(&mut self) -> Result<SocketAddr, Failure> {
        if let Some((_, address)) = self.connection.as_ref().filter(|(sender, _)| !sender.is_closed()) {
            return Ok(*address);
        }
        self.connection = None;
        let failed = |text: String| Failure::NotDone(text);
        let address = match &self.target {
            Target::Pinned(address) => *address,
            Target::Follow { host, port, servers } => {
                let answer = switchback_dns::client::lookup(servers, host, DNS_PATIENCE).await;
                let answer = answer.map_err(|error| failed(error.to_string()))?;
                let address = answer.addresses.first();
                SocketAddr::new(*address.ok_or_else(|| failed(format!("{host} has no address")))?, *port)
            }
        };
        let stream = timeout(CONNECT_TIME, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| failed(format!("{address} does not answer")))?;
        let stream = stream.map_err(|error| failed(format!("{address}: {error}")))?;
        // Without it small requests wait for acknowledgements; nothing breaks if it cannot be set.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = timeout(CONNECT_TIME, handshake(TokioIo::new(stream)))
            .await
            .map_err(|_| failed(format!("{address} does not answer")))?
            .map_err(|error| failed(error.to_string()))?;
        // Its end shows at the sender.
        tokio::spawn(connection);
        self.connection = Some((sender, address));
        Ok(address)
    }

    /// Reads an object; `None` when there is none.
    ///
    /// # Errors
    /// No answer, or another one.
    pub async fn get(&mut self, key: &str) -> Result<Option<Seen>, Failure> {
        let url = self.bucket.get_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let (status, etag, body) = self.send(Method::GET, url.as_str(), Bytes::new(), None).await?;
        match status {
            StatusCode::OK => Ok(Some(Seen { value: value(&body), etag })),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.refused(status, &body)),
        }
    }

    /// Writes an object and returns its `ETag`.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub async fn put(&mut self, key: &str, body: Bytes, replaces: Replaces<'_>) -> Result<String, Failure> {
        let url = self.bucket.put_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let condition = match replaces {
            Replaces::Anything => None,
            Replaces::Nothing => Some((IF_NONE_MATCH, "*")),
            Replaces::This(etag) => Some((IF_MATCH, etag)),
        };
        let (status, etag, body) = self.send(Method::PUT, url.as_str(), body, condition).await?;
        match status {
            StatusCode::OK => Ok(etag),
            status => Err(self.refused(status, &body)),
        }
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub async fn delete(&mut self, key: &str) -> Result<(), Failure> {
        let url = self.bucket.delete_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let (status, _, body) = self.send(Method::DELETE, url.as_str(), Bytes::new(), None).await?;
        match status {
            StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            status => Err(self.refused(status, &body)),
        }
    }

    /// A refusal ends the connection: the next request asks DNS who accepts writes now.
    fn refused(&mut self, status: StatusCode, body: &[u8]) -> Failure {
        self.connection = None;
        let text = format!("{status}: {}", message(body));
        match status {
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Failure::Changed,
            status if status.is_client_error() => Failure::NotDone(text),
            // Behind a 5xx there may be a service that was killed after its commit.
            _ => Failure::InDoubt(text),
        }
    }

    /// Sends on the connection there is; it never makes another one.
    async fn send(
        &mut self,
        method: Method,
        url: &str,
        body: Bytes,
        condition: Option<(HeaderName, &str)>,
    ) -> Result<(StatusCode, String, Bytes), Failure> {
        let Some((sender, _)) = self.connection.as_mut() else {
            return Err(Failure::NotDone("not connected".into()));
        };
        let Some((host, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
            return Err(Failure::NotDone(format!("{url} is no address of ours")));
        };
        let target = format!("/{path}");
        let mut request = Request::builder().method(method).uri(target).header(HOST, host);
        if let Some((name, text)) = condition {
            request = request.header(name, text);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure::NotDone(format!("build request: {error}")))?;
        let exchange = async {
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
        };
        let ended = timeout(ANSWER_TIME, exchange).await;
        let failure = match ended {
            Ok(Ok((head, body))) => {
                let etag = head.headers.get(http::header::ETAG).and_then(|etag| etag.to_str().ok());
                return Ok((head.status, etag.unwrap_or_default().to_owned(), body));
            }
            Ok(Err(error)) => Failure::InDoubt(error.to_string()),
            Err(_) => Failure::InDoubt(format!("no answer within {} s", ANSWER_TIME.as_secs())),
        };
        self.connection = None;
        Err(failure)
    }
}

/// The text between `<Message>` and `</Message>` of an S3 error.
fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let inner = text.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
    let Some((message, _)) = inner else { return text.chars().take(200).collect() };
    // The ampersand last, so that nothing is decoded twice.
    let entities = [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    entities.iter().fold(message.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

fn authority(url: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.rsplit_once(':'))
        .context("lab.json names no tenant; this takes a lab that is not bare")?;
    Ok((host.to_owned(), port.parse().context("parse the S3 port in lab.json")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_an_s3_error_is_found() {
        assert_eq!(
            message(b"<Error><Code>A</Code><Message>link &quot;a&quot;</Message></Error>"),
            "link \"a\""
        );
        assert_eq!(message(b"plain"), "plain");
    }
}
