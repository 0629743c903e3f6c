//! What one side has and the other has not, as far as it can be known here: ours from our own feed,
//! exactly; the other side's by asking it, or else as it last told.

use std::sync::Arc;
use std::time::Duration;

use switchback_kit::tls::Peer;
use switchback_model::{ContentId, FeedId};
use switchback_proto::model::v1 as model;
use switchback_proto::mover::v1::{ListPendingRequest, ListPendingResponse, PeerPending, PendingRecord};
use switchback_proto::replication::v1 as wire;
use switchback_proto::replication::v1::replication_service_client::ReplicationServiceClient;
use switchback_store::{Catalogue, Change, ChangesRequest, Pending, RecordKey};
use tonic::Status;

use super::mover::{RECORDS_MAX, find};
use crate::convert::{boxed, content_to_wire, position, version_from_wire, version_to_wire};
use crate::flow::exchange::{find_link, header};
use crate::flow::feed::blocking;
use crate::flow::key::from_label;
use crate::link::Link;
use crate::mover::{Mover, known_of_peer, now_unix_ms};
use crate::status::Answer;

/// How long the other side may take to answer: an operator waits, and is told what is known without.
const ASK_TIME: Duration = Duration::from_secs(3);

/// Names that the other side gave, and when.
pub(crate) type Listed = (i64, Vec<PendingRecord>);

pub(crate) async fn list(mover: &Arc<Mover>, r: &ListPendingRequest) -> Answer<ListPendingResponse> {
    let link = find(mover, &r.link_id)?;
    let max = (r.records_max as usize).min(RECORDS_MAX);
    let (reading, of) = (Arc::clone(mover), Arc::clone(&link));
    let read = move || Ok((own(&reading, &of, max)?, told(&reading, &of)?));
    let (mut listed, told) = blocking(read).await.map_err(boxed)?;
    let asked = if r.ask_peer && link.in_contact() { ask(mover, &link, max).await } else { None };
    listed.peer = Some(match asked {
        Some(answer) => with_answer(&link, told, answer),
        None => told,
    });
    Ok(listed)
}

/// Answers the other side that asks what it has not got of ours.
pub(crate) async fn answer(
    mover: &Arc<Mover>,
    peer: &Peer,
    r: wire::ListMissingRequest,
) -> Result<wire::ListMissingResponse, Status> {
    let link = find_link(mover, peer, &r.header.clone().unwrap_or_default())
        .map_err(|refusal| Status::failed_precondition(refusal.text))?;
    let max = (r.records_max as usize).min(RECORDS_MAX);
    let reading = Arc::clone(mover);
    let listed = blocking(move || own(&reading, &link, max)).await;
    let listed = listed.map_err(|error| Status::unavailable(error.to_string()))?;
    let records = listed.records.into_iter().map(|record| wire::MissingRecord {
        content: record.content,
        namespace: record.namespace,
        key: record.key,
        version: record.version,
        size: record.size,
        deleted: record.deleted,
        version_id: record.version_id,
    });
    let (objects, bytes, truncated) = (listed.objects, listed.bytes, listed.truncated);
    Ok(wire::ListMissingResponse { objects, bytes, records: records.collect(), truncated })
}

/// What the other side is not known to have of ours. The counts are exact.
fn own(mover: &Mover, link: &Link, max: usize) -> switchback_store::Result<ListPendingResponse> {
    let mut listed = ListPendingResponse::default();
    for flow in link.flows() {
        let Some(status) = mover.status(link.id, flow.content.id)? else { continue };
        let (peer_feed, after) = known_of_peer(&flow, &status);
        let Pending { objects, bytes } = mover.catalogue.pending(flow.content.id, peer_feed, after)?;
        listed.objects += objects;
        listed.bytes += bytes;
        let room = max.saturating_sub(listed.records.len());
        if room > 0 && objects > 0 {
            let records = first_changes(&mover.catalogue, flow.content.id, peer_feed, after, room)?;
            listed.records.extend(records.iter().map(|change| PendingRecord {
                content: Some(content_to_wire(&flow.content)),
                namespace: change.record.key.namespace().to_owned(),
                key: change.record.key.label(),
                version: Some(version_to_wire(change.record.version)),
                size: change.record.size(),
                deleted: change.record.is_without_object(),
                version_id: version_id(&change.record.key),
            }));
        }
    }
    listed.truncated = listed.objects > listed.records.len() as u64;
    Ok(listed)
}

fn version_id(key: &RecordKey) -> Option<model::Version> {
    match key {
        RecordKey::Version { id, .. } => Some(version_to_wire(*id)),
        RecordKey::Tenant
        | RecordKey::Namespace(_)
        | RecordKey::Credential(_)
        | RecordKey::Object { .. }
        | RecordKey::Divergence { .. } => None,
    }
}

fn first_changes(
    catalogue: &Catalogue,
    content: ContentId,
    exclude: Option<FeedId>,
    mut after: u64,
    max: usize,
) -> switchback_store::Result<Vec<Change>> {
    let mut changes = Vec::new();
    loop {
        let request = ChangesRequest {
            exclude,
            after,
            configuration_only: false,
            changes_max: max - changes.len(),
            bytes_max: 1 << 20,
        };
        let batch = catalogue.changes(content, &request)?;
        changes.extend(batch.changes);
        after = batch.through;
        if changes.len() >= max || batch.through >= batch.head {
            return Ok(changes);
        }
    }
}

/// What the other side has beyond us, as it last told; names only if it was asked before, and then
/// only those that have not arrived since.
pub(crate) fn told(mover: &Mover, link: &Link) -> switchback_store::Result<PeerPending> {
    let mut told = PeerPending::default();
    let mut complete_as_of = i64::MAX;
    for flow in link.flows() {
        let Some(status) = mover.status(link.id, flow.content.id)? else { continue };
        let what = flow.state().told.clone();
        if what.at_unix_ms == 0 {
            complete_as_of = 0;
            continue;
        }
        let cursor = status.cursor(what.feed);
        let missing = what.missing(cursor);
        told.objects += missing.objects;
        told.bytes += missing.bytes;
        told.told_unix_ms = told.told_unix_ms.max(what.at_unix_ms);
        complete_as_of = complete_as_of.min(what.complete_as_of());
        told.positions.push(model::FeedGap {
            head: Some(position(&flow.content, what.feed, what.head)),
            applied_sequence: cursor,
        });
    }
    if told.told_unix_ms == 0 {
        told.set_knowledge(model::PeerKnowledge::None);
        return Ok(told);
    }
    told.set_knowledge(model::PeerKnowledge::Told);
    told.complete_as_of_unix_ms = complete_as_of;
    if let Some((at, records)) = link.listed() {
        for record in records {
            if !has_arrived(mover, &record)? {
                told.records.push(record);
            }
        }
        told.listed_unix_ms = at;
    }
    told.truncated = told.objects > told.records.len() as u64;
    Ok(told)
}

fn has_arrived(mover: &Mover, record: &PendingRecord) -> switchback_store::Result<bool> {
    let content = record.content.as_ref().and_then(|content| ContentId::from_slice(&content.id));
    let id = record.version_id.as_ref().map(version_from_wire);
    let (Some(content), Some(key)) = (content, from_label(&record.namespace, &record.key, id)) else {
        return Ok(false);
    };
    let version = version_from_wire(&record.version.unwrap_or_default());
    Ok(match mover.catalogue.record(content, &key)? {
        Some(here) => {
            here.version == version || here.replaced.contains(version) || here.absorbed.contains(version)
        }
        // A delete of what is not here either.
        None => record.deleted,
    })
}

async fn ask(mover: &Arc<Mover>, link: &Arc<Link>, max: usize) -> Option<wire::ListMissingResponse> {
    let mut client = ReplicationServiceClient::new(link.dial(&mover.identity).channel())
        .max_decoding_message_size(crate::flow::limit::MESSAGE_BYTES_MAX);
    let request = wire::ListMissingRequest {
        header: Some(header(link, &link.desired())),
        records_max: u32::try_from(max).unwrap_or(u32::MAX),
    };
    match tokio::time::timeout(ASK_TIME, client.list_missing(request)).await {
        Ok(Ok(answer)) => Some(answer.into_inner()),
        Ok(Err(status)) => {
            tracing::debug!(reason = status.message(), "the other system did not say what is missing here");
            None
        }
        Err(_) => None,
    }
}

fn with_answer(link: &Link, told: PeerPending, answer: wire::ListMissingResponse) -> PeerPending {
    let now = now_unix_ms();
    let records: Vec<PendingRecord> = answer
        .records
        .into_iter()
        .map(|record| PendingRecord {
            content: record.content,
            namespace: record.namespace,
            key: record.key,
            version: record.version,
            size: record.size,
            deleted: record.deleted,
            version_id: record.version_id,
        })
        .collect();
    link.set_listed(Some((now, records.clone())));
    PeerPending {
        knowledge: model::PeerKnowledge::Asked.into(),
        told_unix_ms: now,
        objects: answer.objects,
        bytes: answer.bytes,
        records,
        truncated: answer.truncated,
        listed_unix_ms: now,
        ..told
    }
}
