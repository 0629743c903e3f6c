//! What is asked of the mover, and what it tells.

use switchback_link_core::{Access, ContentView, DamageView, FlowSpec, FlowView, LinkFlowsView, MoverView};
use switchback_model::{AccessMode, Epoch, Flux, LinkId, Pace};
use switchback_proto::model::v1 as model;
use switchback_proto::mover::v1 as wire;

use super::peer::{digest, link_id, link_id_out, position};
use super::{
    Malformed, compression_out, content, content_out, mode, mode_out, policy_out, priority_out, schedule_out,
    side_out,
};

pub(crate) fn access_out(access: &Access) -> wire::SetAccessRequest {
    wire::SetAccessRequest {
        contents: access.contents.iter().map(content_out).collect(),
        mode: mode_out(Some(access.mode)).into(),
        epoch: access.epoch.0,
        link_id: link_id_out(access.link),
        link: access.name.clone(),
        side: side_out(access.side).into(),
        writer: Some(model::Writer {
            domain: access.writer.domain.clone(),
            both_read_only: access.writer.both_read_only,
        }),
        primary_system_id: access.primary.as_bytes().to_vec().into(),
        replica_system_id: access.replica.as_bytes().to_vec().into(),
    }
}

pub(crate) fn flows_out(spec: &FlowSpec) -> wire::ApplyFlowsRequest {
    let contents = spec.contents.iter().map(|flow| wire::ContentFlow {
        content: Some(content_out(&flow.content)),
        send: flow.send,
        receive: flow.receive,
        paused: flow.paused,
    });
    wire::ApplyFlowsRequest {
        generation: spec.generation,
        link_id: link_id_out(spec.link),
        link: spec.name.clone(),
        epoch: spec.epoch.0,
        side: side_out(spec.side).into(),
        local_incarnation: spec.local_incarnation.0,
        peer_incarnation: spec.peer_incarnation.0,
        peer_system_id: spec.peer_system.as_bytes().to_vec().into(),
        local_system_id: spec.local_system.as_bytes().to_vec().into(),
        local_name: spec.local_name.clone(),
        peer_name: spec.peer_name.clone(),
        peer_address: spec.peer_address.clone(),
        peer_domain: spec.peer_domain.clone(),
        contents: contents.collect(),
        conflict_policy: policy_out(spec.conflict_policy).into(),
        suspended: spec.suspended,
        silent: spec.silent,
        schedule: schedule_out(&spec.schedule),
        priority: priority_out(spec.priority).into(),
        compression: compression_out(spec.compression).into(),
    }
}

pub(crate) fn mover(wire: &wire::MoverStatus) -> Result<MoverView, Malformed> {
    Ok(MoverView {
        boot: wire.boot_id,
        store: wire.store_id,
        contents: wire.contents.iter().map(content_view).collect::<Result<_, _>>()?,
        links: wire.links.iter().map(link_flows).collect::<Result<_, _>>()?,
        damage: damage(wire.damage.clone().unwrap_or_default()),
    })
}

fn damage(wire: wire::StorageDamage) -> DamageView {
    let wire::StorageDamage { waiting, unrepairable, found, storage } = wire;
    DamageView { waiting, unrepairable, found, storage }
}

fn content_view(wire: &wire::ContentStatus) -> Result<ContentView, Malformed> {
    let content = content(wire.content.as_ref().ok_or(Malformed("contents.content"))?)?;
    let mut head = position(wire.head.as_ref().ok_or(Malformed("contents.head"))?)?;
    head.content = content.id;
    Ok(ContentView {
        content,
        mode: mode(wire.mode()).unwrap_or(AccessMode::ReadOnly),
        epoch: Epoch(wire.epoch),
        link: LinkId::from_slice(&wire.link_id),
        orphaned: wire.orphaned,
        head,
        digest: digest(wire.digest.as_ref()),
    })
}

fn link_flows(wire: &wire::LinkFlows) -> Result<LinkFlowsView, Malformed> {
    Ok(LinkFlowsView {
        generation: wire.generation,
        link: link_id(&wire.link_id)?,
        contact: wire.contact,
        peer_epoch: Epoch(wire.peer_epoch),
        flows: wire.flows.iter().map(flow).collect::<Result<_, _>>()?,
        trouble: wire.trouble.clone(),
    })
}

fn flow(wire: &wire::FlowStatus) -> Result<FlowView, Malformed> {
    let content = content(wire.content.as_ref().ok_or(Malformed("flows.content"))?)?.id;
    let applied = wire.peer_head.as_ref().map(|head| switchback_link_core::Position {
        content,
        feed: switchback_model::FeedId(head.feed_id),
        sequence: wire.applied_sequence,
    });
    Ok(FlowView {
        content,
        applied,
        pending_objects: wire.pending_objects,
        pending_bytes: wire.pending_bytes,
        peer_pending_objects: wire.peer_pending_objects,
        peer_pending_bytes: wire.peer_pending_bytes,
        sent_objects: wire.sent_objects,
        sent_bytes: wire.sent_bytes,
        plain_bytes: wire.plain_bytes,
        packed_bytes: wire.packed_bytes,
        compared_objects: wire.compared_objects,
        received_objects: wire.received_objects,
        received_bytes: wire.received_bytes,
        sending_objects_rate: wire.sending_objects_rate,
        sending_bytes_rate: wire.sending_bytes_rate,
        receiving_objects_rate: wire.receiving_objects_rate,
        receiving_bytes_rate: wire.receiving_bytes_rate,
        sending: pace(wire.sending_pace.as_ref()),
        receiving: pace(wire.receiving_pace.as_ref()),
        up_to_date_as_of: u64::try_from(wire.up_to_date_as_of_unix_ms).unwrap_or(0),
        retries: wire.retries,
        divergences: wire.divergences,
        in_sync: wire.in_sync,
        peer_rolled_back: wire.peer_rolled_back,
        local_rolled_back: wire.local_rolled_back,
        trouble: wire.trouble.clone(),
    })
}

/// What is no number is not known.
fn pace(wire: Option<&wire::Pace>) -> Pace {
    let finite = |number: f64| if number.is_finite() { number } else { 0.0 };
    let flux = |flux: Option<&wire::Flux>| {
        flux.map_or_else(Flux::default, |flux| Flux {
            left: finite(flux.left),
            moved: finite(flux.moved),
            net: finite(flux.net),
            variance: finite(flux.variance),
        })
    };
    wire.map_or_else(Pace::default, |pace| Pace {
        seconds: finite(pace.seconds),
        objects: flux(pace.objects.as_ref()),
        bytes: flux(pace.bytes.as_ref()),
    })
}
