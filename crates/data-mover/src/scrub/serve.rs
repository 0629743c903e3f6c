//! A body for the other system, whose own copy is damaged. Who asks must be the peer of a link that the content is
//! on; what it gets it could have had by the flow.

use std::sync::Arc;

use futures::StreamExt as _;
use switchback_kit::tls::Peer;
use switchback_model::ContentId;
use switchback_proto::replication::v1::{FetchBodyRequest, FetchBodyResponse};
use switchback_store::{Body, ContentHasher, Error as StoreError, StoredBody};
use tokio::sync::mpsc;
use tonic::Status;

use crate::flow::body::from_byte;
use crate::flow::exchange::{find_link, obey};
use crate::flow::key::from_wire;
use crate::flow::limit::{CHUNKS_AHEAD, STALL_TIME};
use crate::mover::Mover;

pub(crate) type Pieces = mpsc::Receiver<Result<FetchBodyResponse, Status>>;

/// Begins to give a body.
pub(crate) async fn answer(mover: &Arc<Mover>, peer: &Peer, r: FetchBodyRequest) -> Result<Pieces, Status> {
    let header = r.header.clone().unwrap_or_default();
    let refused =
        |refusal: switchback_proto::replication::v1::Refusal| Status::failed_precondition(refusal.text);
    let link = find_link(mover, peer, &header).map_err(refused)?;
    obey(mover, &link, &header).await.map_err(refused)?;
    let desired = link.desired();
    let no_copy = || Status::not_found("no such bytes are here under this key");
    let content =
        ContentId::from_slice(&r.content_id).ok_or_else(|| Status::invalid_argument("content_id"))?;
    let key = r.key.and_then(from_wire).ok_or_else(|| Status::invalid_argument("key"))?;
    let Some(flow) = desired.flow(content) else {
        return Err(Status::permission_denied("the content is not on this link"));
    };
    if desired.suspended || desired.silent || flow.paused {
        return Err(Status::failed_precondition("the link is suspended, paused or not restored there"));
    }
    let failed = |error: &StoreError| Status::unavailable(crate::status::chain(error));
    if mover.status(link.id, content).map_err(|error| failed(&error))?.is_none() {
        return Err(no_copy());
    }
    let body = mover.catalogue.body(content, &key).map_err(|error| failed(&error))?;
    let body =
        body.filter(|body| body.object.size == r.size && body.object.content_hash[..] == r.content_hash[..]);
    let body = body.ok_or_else(no_copy)?;
    if r.offset > body.object.size {
        return Err(Status::invalid_argument("offset"));
    }
    let turn = Arc::clone(&mover.scrub.serving).try_acquire_owned();
    let turn = turn.map_err(|_| Status::resource_exhausted("other bodies are being fetched; try again"))?;
    let (pieces, stream) = mpsc::channel(CHUNKS_AHEAD);
    let giving = Arc::clone(mover);
    mover.spawn(async move {
        let _turn = turn;
        tokio::select! {
            biased;
            () = giving.shutdown.cancelled() => {}
            () = give(&giving, &body, r.offset, &pieces) => {}
        }
    });
    Ok(stream)
}

/// Gives the bytes, and at last says whether they are those that were written. What goes on in the middle is not read
/// from its start for that: who has the rest of it compares the whole, and asks for all of it if it is another.
async fn give(
    mover: &Mover,
    body: &StoredBody,
    offset: u64,
    pieces: &mpsc::Sender<Result<FetchBodyResponse, Status>>,
) {
    let mut hasher = ContentHasher::of(&body.object);
    let failed = match read(mover, body, offset, &mut hasher, pieces).await {
        Ok(true) if offset > 0 => return,
        Ok(true) if hasher.finish() == body.object.content_hash => return,
        // Whoever asked has gone.
        Ok(false) => return,
        Ok(true) => damaged(mover, body),
        Err(error) => match mover.presence.check() {
            Ok(()) if error.is_damage() => damaged(mover, body),
            Ok(()) => {
                // The machine's trouble or the disk's: whoever looks at it can tell.
                mover.scrub.suspect(body.content, body.key.clone());
                Status::unavailable(crate::status::chain(&error))
            }
            Err(gone) => Status::unavailable(gone.to_string()),
        },
    };
    let _ = tokio::time::timeout(STALL_TIME, pieces.send(Err(failed))).await;
}

/// Ours is damaged too: it is looked at, and the other side is told.
fn damaged(mover: &Mover, body: &StoredBody) -> Status {
    mover.scrub.suspect(body.content, body.key.clone());
    Status::data_loss("the copy here is damaged")
}

/// Gives the bytes from `offset` on. False: whoever asked takes no more.
async fn read(
    mover: &Mover,
    body: &StoredBody,
    offset: u64,
    hasher: &mut ContentHasher,
    pieces: &mpsc::Sender<Result<FetchBodyResponse, Status>>,
) -> Result<bool, StoreError> {
    let mut begins = Some(offset);
    let mut give = async |bytes: bytes::Bytes| {
        let offset = begins.take().unwrap_or(0);
        let piece = pieces.send(Ok(FetchBodyResponse { bytes, offset }));
        matches!(tokio::time::timeout(STALL_TIME, piece).await, Ok(Ok(())))
    };
    let segments = match &body.object.body {
        Body::Inline(_) => {
            let record = mover.catalogue.record(body.content, &body.key)?;
            let Some(Body::Inline(bytes)) =
                record.as_ref().and_then(|record| record.as_object()).map(|object| &object.body)
            else {
                return Ok(true);
            };
            hasher.update(bytes);
            let given = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(give(bytes.slice(given..)).await);
        }
        Body::Segments(segments) => segments,
    };
    for (segment, from) in from_byte(segments, offset) {
        let mut bytes = mover.blobs.read(segment.blob, from..segment.size).await?;
        while let Some(piece) = bytes.next().await {
            let piece = piece?;
            hasher.update(&piece);
            if !give(piece).await {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
