//! What the link manager is shown: one snapshot of everything.

use switchback_proto::mover::v1::{ContentStatus, FlowStatus, LinkFlows, MoverStatus, StorageDamage};
use switchback_store as store;

use crate::convert::{
    content_to_wire, digest_to_wire, mode_to_wire, pace_to_wire, position, position_to_wire,
};
use crate::flow::agree::{Agreement, compare};
use crate::flow::limit::DIFFERENCE_TIME;
use crate::link::{Flow, FlowState, Link};
use crate::mover::Mover;
use tokio::time::Instant;

pub(crate) fn report(mover: &Mover) -> store::Result<MoverStatus> {
    let contents = mover.catalogue.contents()?;
    let storage = mover.presence.check().err().map(|gone| gone.to_string()).unwrap_or_default();
    let mut links = Vec::new();
    for link in mover.links() {
        links.push(link_flows(mover, &link, &storage)?);
    }
    Ok(MoverStatus {
        boot_id: mover.boot_id,
        store_id: mover.catalogue.store_id(),
        damage: Some(storage_damage(mover, storage)),
        contents: contents.iter().map(content_status).collect(),
        links,
    })
}

fn storage_damage(mover: &Mover, storage: String) -> StorageDamage {
    let state = mover.scrub.state();
    let (waiting, unrepairable) = state.damages.counts(|_| true);
    StorageDamage { waiting, unrepairable, found: state.rounds.found, storage }
}

fn content_status(status: &store::ContentStatus) -> ContentStatus {
    ContentStatus {
        content: Some(content_to_wire(&status.content)),
        mode: mode_to_wire(status.mode()).into(),
        epoch: status.access.epoch.0,
        link_id: status.access.link.map(|link| link.as_bytes().to_vec().into()).unwrap_or_default(),
        orphaned: status.access.orphaned,
        head: Some(position_to_wire(&status.head)),
        digest: Some(digest_to_wire(status.digest)),
        objects: status.objects,
        bytes: status.bytes,
    }
}

fn link_flows(mover: &Mover, link: &Link, storage: &str) -> store::Result<LinkFlows> {
    let mut flows = Vec::new();
    for flow in link.flows() {
        let mut shown = flow_status(mover, link, &flow)?;
        // Nothing else counts without it.
        if !storage.is_empty() {
            shown.trouble = storage.to_owned();
        }
        flows.push(shown);
    }
    Ok(LinkFlows {
        link_id: link.id.as_bytes().to_vec().into(),
        generation: link.desired().generation,
        contact: link.in_contact(),
        peer_epoch: link.peer_epoch().0,
        flows,
        trouble: link.trouble(),
    })
}

fn flow_status(mover: &Mover, link: &Link, flow: &Flow) -> store::Result<FlowStatus> {
    let own = match mover.status(link.id, flow.content.id)? {
        Some(status) => Some((mover.own_head(flow, &status)?, status)),
        None => None,
    };
    let divergences = mover.catalogue.divergence_count(link.id, flow.content.id).unwrap_or_default();
    let state = flow.state();
    let mut shown = observed(flow, &state);
    shown.divergences = divergences;
    if let Some((own, status)) = own {
        // Beyond what the peer acknowledged there may only be what came from it.
        let acknowledged =
            if own.pending.objects == 0 && state.peer.is_some() { own.head } else { own.acknowledged };
        shown.sent_head = Some(position(&flow.content, own.feed, own.head));
        shown.acknowledged_sequence = acknowledged;
        shown.pending_objects = own.pending.objects;
        shown.pending_bytes = own.pending.bytes;
        shown.digest = Some(digest_to_wire(status.digest));
        if let Some(peer) = &state.peer {
            shown.applied_sequence = peer.effective_cursor(own.cursor);
            // Without contact the peer may have gone on.
            shown.in_sync = link.in_contact()
                && shown.retries == 0
                && !state.peer_rolled_back
                && !state.local_rolled_back
                && compare(&own, peer, link.wished(flow.content.id)) == Agreement::Equal;
        }
    }
    shown.trouble = trouble(link, flow, &state);
    if shown.trouble.is_empty() {
        shown.trouble = damage(mover.scrub.counts_of(flow.content.id));
    }
    Ok(shown)
}

/// The part that does not depend on the store.
fn observed(flow: &Flow, state: &FlowState) -> FlowStatus {
    let now = Instant::now();
    let (sending_objects_rate, sending_bytes_rate) = state.sent.rates(now);
    let (receiving_objects_rate, receiving_bytes_rate) = state.received.rates(now);
    let (retries, set_aside) = state.retries.counts();
    let (plain_bytes, packed_bytes) = flow.gain.bytes();
    let mut shown = FlowStatus {
        content: Some(content_to_wire(&flow.content)),
        up_to_date_as_of_unix_ms: state.horizon.as_of(),
        sent_objects: state.sent.objects,
        sent_bytes: state.sent.bytes,
        compared_objects: state.compared,
        received_objects: state.received.objects,
        received_bytes: state.received.bytes,
        sending_objects_rate,
        sending_bytes_rate,
        receiving_objects_rate,
        receiving_bytes_rate,
        retries,
        set_aside,
        peer_rolled_back: state.peer_rolled_back,
        local_rolled_back: state.local_rolled_back,
        sending_pace: Some(pace_to_wire(&state.gauges.sending.pace())),
        receiving_pace: Some(pace_to_wire(&state.gauges.receiving.pace())),
        plain_bytes,
        packed_bytes,
        ..FlowStatus::default()
    };
    if let Some(peer) = &state.peer {
        shown.peer_head = Some(position(&flow.content, peer.feed, peer.head));
        shown.peer_pending_objects = peer.pending.objects;
        shown.peer_pending_bytes = peer.pending.bytes;
        shown.peer_digest = peer.digest.map(digest_to_wire);
    }
    shown
}

/// Bodies that are damaged on this system: how many wait for their repair, and how many have none.
fn damage((waiting, unrepairable): (u64, u64)) -> String {
    match (waiting, unrepairable) {
        (0, 0) => String::new(),
        (waiting, 0) => {
            format!(
                "the bytes of {waiting} objects are damaged here and wait for their repair; see `switchback store scrub`"
            )
        }
        (_, unrepairable) => {
            format!(
                "the bytes of {unrepairable} objects are damaged here and no other copy is known; see `switchback store scrub`"
            )
        }
    }
}

/// The first thing that the operator should look at.
fn trouble(link: &Link, flow: &Flow, state: &FlowState) -> String {
    let desired = link.desired();
    if state.local_rolled_back {
        return "this system's store went back in time: exchange certificates and restore the link".into();
    }
    if state.peer_rolled_back {
        return "the other system's store went back in time or was replaced: exchange certificates and restore the link".into();
    }
    if state.differing_since.is_some_and(|since| since.elapsed() > DIFFERENCE_TIME) {
        return "the two systems differ though nothing is left to move; what differs is being sent again"
            .into();
    }
    if desired.sends(flow.content.id) && !state.sending_trouble.is_empty() {
        return state.sending_trouble.clone();
    }
    if desired.receives(flow.content.id) {
        return state.receiving_trouble.clone();
    }
    String::new()
}
