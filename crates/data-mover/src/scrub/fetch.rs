//! A whole body from the other system, in blobs of our own.

use std::sync::Arc;

use switchback_proto::replication::v1::replication_service_client::ReplicationServiceClient;
use switchback_proto::replication::v1::{Chunk, FetchBodyRequest, FetchBodyResponse};
use switchback_store::{Body, ContentHasher, Object, StoredBody};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use crate::flow::exchange::header;
use crate::flow::incoming::{self, Alive, IncomingBody, Outcome};
use crate::flow::key::to_wire;
use crate::flow::lease;
use crate::flow::limit::{CHUNKS_AHEAD, CONTACT_TIME, MESSAGE_BYTES_MAX, STALL_TIME};
use crate::link::Link;
use crate::mover::Mover;

/// Why there is no whole body.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Another time there may be.
    Waits(String),
    /// The other system has none.
    NoCopy(String),
}

impl From<incoming::Error> for Failed {
    fn from(error: incoming::Error) -> Self {
        Self::Waits(crate::status::chain(&error))
    }
}

/// Fetches the bytes that `body` should have. Its blobs are durable and leased, and not named yet.
pub(crate) async fn fetch(mover: &Arc<Mover>, link: &Link, body: &StoredBody) -> Result<Body, Failed> {
    mover.presence.check().map_err(|error| Failed::Waits(error.to_string()))?;
    let pieces = ask(mover, link, body).await?;
    match &body.object.body {
        Body::Inline(_) => take_inline(pieces, link, &body.object).await,
        Body::Segments(_) => take_blobs(mover, pieces, link, body).await,
    }
}

async fn ask(mover: &Mover, link: &Link, body: &StoredBody) -> Result<Streaming<FetchBodyResponse>, Failed> {
    let desired = link.desired();
    let request = FetchBodyRequest {
        header: Some(header(link, &desired)),
        content_id: body.content.as_bytes().to_vec().into(),
        key: Some(to_wire(&body.key)),
        size: body.object.size,
        content_hash: body.object.content_hash.to_vec().into(),
    };
    let dial = link.bulk(&mover.identity);
    let mut client =
        ReplicationServiceClient::new(dial.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    match tokio::time::timeout(CONTACT_TIME * 2, client.fetch_body(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => {
            if dial.trouble().is_some() {
                link.drop_bulk();
            }
            Err(refused(link, &status))
        }
        Err(_) => {
            link.drop_bulk();
            Err(Failed::Waits(format!("{} does not answer", desired.peer_name)))
        }
    }
}

/// What a refusal means for the repair.
fn refused(link: &Link, status: &Status) -> Failed {
    let peer = &link.desired().peer_name;
    match status.code() {
        Code::NotFound => Failed::NoCopy(format!("{peer} has no copy of these bytes")),
        Code::DataLoss => Failed::NoCopy(format!("the copy of {peer} is damaged too")),
        Code::Unimplemented => {
            Failed::Waits(format!("{peer} runs a version that gives no bodies: update it"))
        }
        _ => Failed::Waits(format!("{peer}: {}", status.message())),
    }
}

/// The next bytes; none at the end.
async fn next(
    pieces: &mut Streaming<FetchBodyResponse>,
    link: &Link,
) -> Result<Option<bytes::Bytes>, Failed> {
    match tokio::time::timeout(STALL_TIME, pieces.message()).await {
        Ok(Ok(piece)) => Ok(piece.map(|piece| piece.bytes)),
        Ok(Err(status)) => Err(refused(link, &status)),
        Err(_) => {
            link.drop_bulk();
            Err(Failed::Waits(format!("{} stopped in the middle of a body", link.desired().peer_name)))
        }
    }
}

fn damaged_on_the_way() -> Failed {
    Failed::Waits("the bytes that came were not those that were asked for; trying again".into())
}

async fn take_inline(
    mut pieces: Streaming<FetchBodyResponse>,
    link: &Link,
    object: &Object,
) -> Result<Body, Failed> {
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut pieces, link).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > object.size {
            return Err(damaged_on_the_way());
        }
    }
    let mut hasher = ContentHasher::of(object);
    hasher.update(&bytes);
    if bytes.len() as u64 != object.size || hasher.finish() != object.content_hash {
        return Err(damaged_on_the_way());
    }
    Ok(Body::Inline(bytes.into()))
}

async fn take_blobs(
    mover: &Arc<Mover>,
    pieces: Streaming<FetchBodyResponse>,
    link: &Link,
    body: &StoredBody,
) -> Result<Body, Failed> {
    // Not remembered: a flow may be bringing the same bytes, and one blob has one writer. What does not
    // come whole is given up: the next attempt makes other blobs.
    let incoming = IncomingBody::begin(mover, body.content, &body.object, false)?;
    let lease = incoming.lease();
    lease::renew(&mover.catalogue, [&lease]).await.map_err(incoming::Error::from)?;
    let (give, chunks) = mpsc::channel(CHUNKS_AHEAD);
    // It begins anew, so nothing is read back, and nobody has to be told meanwhile.
    let alive = Alive { answers: mpsc::channel(1).0, batch: 0 };
    let receiving = Box::pin(incoming.receive(mover, chunks, &alive));
    let (came, received) = tokio::select! {
        biased;
        both = async { tokio::join!(fill(pieces, link, give), receiving) } => both,
        error = lease::keep(&mover.catalogue, &lease) => return Err(incoming::Error::from(error).into()),
    };
    match received? {
        Outcome::Durable(segments) => Ok(Body::Segments(segments)),
        // The other system may have said that its own bytes are damaged, behind the last of them.
        Outcome::Damaged | Outcome::Withdrawn => came.and_then(|()| Err(damaged_on_the_way())),
    }
}

async fn fill(
    mut pieces: Streaming<FetchBodyResponse>,
    link: &Link,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), Failed> {
    let mut offset = 0;
    while let Some(bytes) = next(&mut pieces, link).await? {
        let length = bytes.len() as u64;
        let chunk = Chunk { offset, bytes, ..Chunk::default() };
        // Whoever takes no more has its own reason.
        if chunks.send(chunk).await.is_err() {
            return Ok(());
        }
        offset += length;
    }
    Ok(())
}
