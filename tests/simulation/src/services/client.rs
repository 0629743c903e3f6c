//! S3 clients: real requests, signed, over the simulated network. They choose a side and stay with
//! it until it refuses, as clients do whose resolver is late.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{ETAG, HOST, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use switchback_world::net::Stream;
use tokio::time::timeout;

use crate::chance::Chance;
use crate::services::story::{Stage, Story};
use crate::site::{NAMESPACE, REGION, S3_PORT, System};

/// Keys that all clients share: few, so that they meet.
const KEYS: u64 = 12;
/// A client waits no longer for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a signature counts.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// Bodies stay below what the store keeps in its catalogue, which is the simulated disk.
const BODY_BYTES_MAX: u64 = 2_000;

/// What a gateway answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Without quotes; it stands for the body, which is read to its end.
    pub etag: String,
}

/// A connection to the gateway of one system.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    bucket: Bucket,
    credentials: Credentials,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn open(system: System, credentials: &Credentials) -> anyhow::Result<Self> {
        let host = format!("{system}:{S3_PORT}");
        let endpoint = format!("http://{host}").parse().context("endpoint")?;
        let bucket = Bucket::new(endpoint, UrlStyle::Path, NAMESPACE, REGION).context("bucket")?;
        let opened = async {
            let stream = Stream::connect(&host).await?;
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
        };
        let (sender, connection) = timeout(PATIENCE, opened).await??;
        tokio::spawn(connection);
        Ok(Self { sender, bucket, credentials: credentials.clone() })
    }

    /// Writes.
    ///
    /// # Errors
    /// There was no answer: it may have been done.
    pub async fn put(
        &mut self,
        key: &str,
        body: Bytes,
        condition: Option<(HeaderName, String)>,
    ) -> anyhow::Result<Answer> {
        let url = self.bucket.put_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        self.send(Method::PUT, url.as_str(), body, condition).await
    }

    /// Reads.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn get(&mut self, key: &str) -> anyhow::Result<Answer> {
        let url = self.bucket.get_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        self.send(Method::GET, url.as_str(), Bytes::new(), None).await
    }

    /// Deletes.
    ///
    /// # Errors
    /// There was no answer: it may have been done.
    pub async fn delete(&mut self, key: &str) -> anyhow::Result<Answer> {
        let url = self.bucket.delete_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        self.send(Method::DELETE, url.as_str(), Bytes::new(), None).await
    }

    async fn send(
        &mut self,
        method: Method,
        url: &str,
        body: Bytes,
        condition: Option<(HeaderName, String)>,
    ) -> anyhow::Result<Answer> {
        let (host, path) = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .context("the address of an object has a host and a path")?;
        let mut request = Request::builder().method(method).uri(format!("/{path}")).header(HOST, host);
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body))?;
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let etag = head.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
            let etag = etag.trim_matches('"').to_owned();
            body.collect().await?;
            Ok::<_, hyper::Error>(Answer { status: head.status, etag })
        };
        Ok(timeout(PATIENCE, exchange).await??)
    }
}

/// Writes, reads and deletes at random while the story is live.
pub async fn run(story: Rc<Story>, number: u64) {
    let mut chance = Chance::new(story.seed, &format!("client {number}"));
    let mut system = chance.pick(&System::ALL);
    let mut connection = None;
    let mut turn = 0;
    while story.stage() < Stage::Live {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while story.stage() == Stage::Live {
        tokio::time::sleep(Duration::from_millis(chance.between(10, 500))).await;
        if chance.one_in(20) {
            system = system.other();
            connection = None;
        }
        turn += 1;
        let done = operate(&story, system, &mut connection, &mut chance, number, turn).await;
        if done.is_none() {
            connection = None;
            if chance.one_in(2) {
                system = system.other();
            }
        }
    }
}

/// One operation; `None` when it was not acknowledged.
async fn operate(
    story: &Story,
    system: System,
    connection: &mut Option<Connection>,
    chance: &mut Chance,
    number: u64,
    turn: u64,
) -> Option<()> {
    let key = format!("k{}", chance.below(KEYS));
    let what = chance.below(10);
    let filler = usize::try_from(chance.below(BODY_BYTES_MAX)).unwrap_or(0);
    let credentials = story.credentials.borrow().clone()?;
    if connection.is_none() {
        *connection = Connection::open(system, &credentials).await.ok();
    }
    let open = connection.as_mut()?;
    let (name, answer) = match what {
        0..=5 => {
            let body = format!("{number}.{turn}.{}", "x".repeat(filler));
            let condition = match what {
                0 => Some((IF_NONE_MATCH, "*".to_owned())),
                1 => {
                    let etag =
                        open.get(&key).await.ok().filter(|answer| answer.status == StatusCode::OK)?.etag;
                    Some((IF_MATCH, format!("\"{etag}\"")))
                }
                _ => None,
            };
            ("put", open.put(&key, body.into(), condition).await)
        }
        6 | 7 => ("delete", open.delete(&key).await),
        _ => ("get", open.get(&key).await),
    };
    let answered = answer.as_ref().map_or("no answer", |answer| answer.status.as_str());
    story.record.event(&format!("client {number} {name} {key} at {system}: {answered}"));
    story.record.count(&format!("client: {name} {answered}"));
    let answer = answer.ok()?;
    match (name, answer.status) {
        ("put", StatusCode::OK) => story.watch.acknowledged(system, &key, &answer.etag),
        ("get", StatusCode::OK) => story.watch.read(system, &key, &answer.etag),
        ("get", StatusCode::NOT_FOUND) | ("delete", StatusCode::NO_CONTENT) => {}
        (_, StatusCode::PRECONDITION_FAILED) => {}
        _ => return None,
    }
    Some(())
}
