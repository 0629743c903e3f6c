//! A whole body from the other system, in blobs of our own.
//!
//! A large one is cut into pieces, each durable on its own and remembered, so that a fetch that was cut off goes on behind
//! the last of them, also after a restart. What nobody goes on with is swept when the promise of its blobs ends.

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
use crate::memory::PartialKey;
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
    match &body.object.body {
        Body::Inline(_) => take_inline(ask(mover, link, body, 0).await?, link, &body.object).await,
        Body::Segments(_) => take_blobs(mover, link, body).await,
    }
}

/// As what the pieces of `body` that are here are remembered.
pub(crate) fn partial_key(body: &StoredBody) -> PartialKey {
    PartialKey::Repair(body.content, body.object.content_hash)
}

async fn ask(
    mover: &Mover,
    link: &Link,
    body: &StoredBody,
    offset: u64,
) -> Result<Streaming<FetchBodyResponse>, Failed> {
    let desired = link.desired();
    let request = FetchBodyRequest {
        header: Some(header(link, &desired)),
        content_id: body.content.as_bytes().to_vec().into(),
        key: Some(to_wire(&body.key)),
        size: body.object.size,
        content_hash: body.object.content_hash.to_vec().into(),
        offset,
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
) -> Result<Option<FetchBodyResponse>, Failed> {
    match tokio::time::timeout(STALL_TIME, pieces.message()).await {
        Ok(Ok(piece)) => Ok(piece),
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
        bytes.extend_from_slice(&piece.bytes);
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

async fn take_blobs(mover: &Arc<Mover>, link: &Link, body: &StoredBody) -> Result<Body, Failed> {
    let incoming = IncomingBody::begin(mover, &body.object, Some(partial_key(body)))?;
    let offset = incoming.offset();
    // All may be here already: it was only not named yet.
    let pieces = if incoming.left() > 0 { Some(ask(mover, link, body, offset).await?) } else { None };
    let lease = incoming.lease();
    lease::renew(&mover.catalogue, [&lease]).await.map_err(incoming::Error::from)?;
    let (give, chunks) = mpsc::channel(CHUNKS_AHEAD);
    // Nobody has to be told anything while what was here is read back.
    let alive = Alive { answers: mpsc::channel(1).0, batch: 0 };
    let receiving = Box::pin(incoming.receive(mover, chunks, &alive));
    let (came, received) = tokio::select! {
        biased;
        both = async { tokio::join!(fill(pieces, link, offset, give), receiving) } => both,
        error = lease::keep(&mover.catalogue, &lease) => return Err(incoming::Error::from(error).into()),
    };
    match received? {
        Outcome::Durable(segments) => Ok(Body::Segments(segments)),
        // The other system may have said that its own bytes are damaged, behind the last of them.
        Outcome::Damaged | Outcome::Withdrawn => came.and_then(|()| Err(damaged_on_the_way())),
    }
}

/// Gives on what comes, from byte `offset` of the body.
async fn fill(
    pieces: Option<Streaming<FetchBodyResponse>>,
    link: &Link,
    offset: u64,
    chunks: mpsc::Sender<Chunk>,
) -> Result<(), Failed> {
    let Some(mut pieces) = pieces else { return Ok(()) };
    let mut rest = Rest { offset, next: None };
    while let Some(piece) = next(&mut pieces, link).await? {
        let Some(chunk) = rest.chunk(piece) else { continue };
        // Whoever takes no more has its own reason.
        if chunks.send(chunk).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Where the pieces that come are in the body. Pure.
struct Rest {
    /// What is before it is here.
    offset: u64,
    /// Where the next piece begins; none before the first, which says so.
    next: Option<u64>,
}

impl Rest {
    /// What of the next piece is not here yet. An older version begins at byte 0 whatever it was asked for, and says
    /// nothing: what it gives again is left out.
    fn chunk(&mut self, piece: FetchBodyResponse) -> Option<Chunk> {
        let FetchBodyResponse { mut bytes, offset } = piece;
        let begins = self.next.unwrap_or(offset);
        let ends = begins.saturating_add(bytes.len() as u64);
        self.next = Some(ends);
        if ends <= self.offset {
            return None;
        }
        let known = usize::try_from(self.offset.saturating_sub(begins)).unwrap_or(bytes.len());
        let bytes = bytes.split_off(known);
        Some(Chunk { offset: begins.max(self.offset), bytes, ..Chunk::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that are given on, and where the first of them is.
    fn given(offset: u64, says: u64, pieces: &[&'static [u8]]) -> (Option<u64>, Vec<u8>) {
        let mut rest = Rest { offset, next: None };
        let (mut first, mut given) = (None, Vec::new());
        for (number, bytes) in pieces.iter().enumerate() {
            let offset = if number == 0 { says } else { 0 };
            let bytes = bytes::Bytes::from_static(bytes);
            let Some(chunk) = rest.chunk(FetchBodyResponse { bytes, offset }) else { continue };
            let at = *first.get_or_insert(chunk.offset);
            assert_eq!(chunk.offset, at + given.len() as u64, "one after the other");
            given.extend_from_slice(&chunk.bytes);
        }
        (first, given)
    }

    #[test]
    fn what_comes_is_put_where_it_belongs_whichever_version_gives_it() {
        assert_eq!(given(0, 0, &[b"0123", b"45"]), (Some(0), b"012345".to_vec()));
        assert_eq!(given(4, 4, &[b"45", b"67"]), (Some(4), b"4567".to_vec()));
        // Versions that always begin at byte 0.
        assert_eq!(given(4, 0, &[b"0123", b"4567"]), (Some(4), b"4567".to_vec()));
        assert_eq!(given(5, 0, &[b"012", b"3456", b"", b"7"]), (Some(5), b"567".to_vec()));
        // What leaves something out is not moved to where it would fit: whoever takes it refuses it.
        assert_eq!(given(4, 6, &[b"67"]), (Some(6), b"67".to_vec()));
        assert_eq!(given(4, u64::MAX, &[b"67"]).0, Some(u64::MAX));
    }
}
