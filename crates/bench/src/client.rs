//! A plain S3 client that streams bodies both ways: one connection, unless the server ends it with its answer; no
//! retries, no DNS.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::{Method, Request, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::net::TcpStream;

/// How long a signature counts.
const SIGNED_FOR: Duration = Duration::from_secs(3600);

/// Where a bucket is, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `http://address:port`.
    pub(crate) url: String,
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>;

/// One connection.
pub(crate) struct Client {
    bucket: Bucket,
    credentials: Credentials,
    host: String,
    connection: SendRequest<Body>,
    /// The server ends the connection behind its answer.
    is_last: bool,
}

impl Client {
    pub(crate) async fn connect(place: &Place) -> anyhow::Result<Self> {
        let url = place.url.parse().context("parse the S3 URL")?;
        let bucket = Bucket::new(url, UrlStyle::Path, place.bucket.clone(), place.region.clone())
            .context("address the bucket")?;
        let credentials = Credentials::new(place.access_key.as_str(), place.secret_key.as_str());
        let host = place.url.strip_prefix("http://").context("only http")?.to_owned();
        let connection = connect(&host).await?;
        Ok(Self { bucket, credentials, host, connection, is_last: false })
    }

    /// Makes the bucket.
    pub(crate) async fn create_bucket(&mut self) -> anyhow::Result<()> {
        let url = self.bucket.create_bucket(&self.credentials).sign(SIGNED_FOR);
        let none = futures::stream::empty().boxed();
        self.send(Method::PUT, url.as_str(), 0, none, |_| ()).await.context("make the bucket")
    }

    /// Writes an object of `size` bytes.
    pub(crate) async fn put(
        &mut self,
        key: &str,
        size: u64,
        body: BoxStream<'static, Bytes>,
    ) -> anyhow::Result<()> {
        let url = self.bucket.put_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        self.send(Method::PUT, url.as_str(), size, body, |_| ()).await.with_context(|| format!("write {key}"))
    }

    /// Reads an object; gives its pieces to `take`.
    pub(crate) async fn get(&mut self, key: &str, take: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let url = self.bucket.get_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let none = futures::stream::empty().boxed();
        self.send(Method::GET, url.as_str(), 0, none, take).await.with_context(|| format!("read {key}"))
    }

    /// Reads a page of at most `keys` keys behind `after`.
    pub(crate) async fn list(&mut self, after: &str, keys: usize) -> anyhow::Result<()> {
        let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
        action.with_start_after(after);
        action.with_max_keys(keys);
        let url = action.sign(SIGNED_FOR);
        let none = futures::stream::empty().boxed();
        self.send(Method::GET, url.as_str(), 0, none, |_| ()).await.context("list the bucket")
    }

    async fn send(
        &mut self,
        method: Method,
        url: &str,
        size: u64,
        body: BoxStream<'static, Bytes>,
        mut take: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        let path = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).context("a path")?.1;
        let request = Request::builder()
            .method(method)
            .uri(format!("/{path}"))
            .header(HOST, &self.host)
            .header(CONTENT_LENGTH, size)
            .body(StreamBody::new(body.map(|piece| Ok(Frame::data(piece))).boxed()))?;
        if self.is_last {
            self.connection = connect(&self.host).await?;
        }
        self.connection.ready().await?;
        let answer = self.connection.send_request(request).await?;
        let status = answer.status();
        let ends = answer.headers().get(CONNECTION).is_some_and(|value| value.as_bytes() == b"close");
        self.is_last = ends || answer.version() == Version::HTTP_10;
        let mut body = answer.into_body();
        if !status.is_success() {
            let text = body.collect().await?.to_bytes();
            bail!("{status}: {}", String::from_utf8_lossy(&text));
        }
        while let Some(frame) = body.frame().await {
            if let Some(piece) = frame?.data_ref() {
                take(piece);
            }
        }
        Ok(())
    }
}

async fn connect(host: &str) -> anyhow::Result<SendRequest<Body>> {
    let stream = TcpStream::connect(host).await.with_context(|| format!("connect to {host}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its end shows at the sender.
    tokio::spawn(connection);
    Ok(sender)
}
