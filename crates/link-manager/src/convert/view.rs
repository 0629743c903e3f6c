//! Links as operators see them.

use switchback_link_core::{FlowView, LinkView, TenantZone};
use switchback_proto::dns::v1 as dns;
use switchback_proto::link::v1 as wire;

use super::peer::link_id_out;
use super::{content_out, mode_out, settings_out, side_out, state_out};

pub(crate) fn link_out(view: &LinkView) -> wire::Link {
    let link = &view.link;
    let contents = link.shared.contents.iter().map(|content| {
        let flow = view.flows.iter().find(|flow| flow.content == content.id).cloned().unwrap_or_default();
        wire::LinkContent {
            content: Some(content_out(content)),
            paused: link.shared.paused.contains(&content.id),
            mode: mode_out(view.mode).into(),
            sending: Some(sending(view.sends, std::slice::from_ref(&flow))),
            receiving: Some(receiving(view.receives, std::slice::from_ref(&flow))),
            in_sync: flow.in_sync,
            trouble: flow.trouble,
        }
    });
    wire::Link {
        id: link_id_out(link.id),
        name: link.shared.name.clone(),
        side: side_out(link.side).into(),
        state: state_out(link.shared.state).into(),
        epoch: link.shared.epoch.0,
        revision: link.shared.revision,
        suspended: link.shared.suspended,
        peer_address: link.peer_address.clone(),
        peer_name: link.peer.name.clone(),
        peer_domain: link.peer.domain.clone(),
        peer_system_id: link.peer.system.as_bytes().to_vec().into(),
        settings: Some(settings_out(&link.shared.settings)),
        contents: contents.collect(),
        mode: mode_out(view.mode).into(),
        peer_mode: mode_out(view.peer_mode).into(),
        contact: view.contact,
        contact_since_unix_ms: i64::try_from(view.contact_since.0).unwrap_or(0),
        trust: view.trust.clone(),
        broken: view.broken,
        healthy: view.health.healthy,
        troubles: view.health.troubles.clone(),
        next_step: view.health.next_step.clone(),
        sending: Some(sending(view.sends, &view.flows)),
        receiving: Some(receiving(view.receives, &view.flows)),
        retries: view.flows.iter().map(|flow| flow.retries).sum(),
        divergences: view.flows.iter().map(|flow| flow.divergences).sum(),
        was_in_sync: link.was_in_sync,
        in_sync: view.in_sync,
    }
}

fn sending(active: bool, flows: &[FlowView]) -> wire::Progress {
    let mut progress = wire::Progress { active, ..Default::default() };
    for flow in flows {
        progress.pending_objects += flow.pending_objects;
        progress.pending_bytes += flow.pending_bytes;
        progress.moved_objects += flow.sent_objects;
        progress.moved_bytes += flow.sent_bytes;
        progress.compared_objects += flow.compared_objects;
        progress.objects_rate += flow.sending_objects_rate;
        progress.bytes_rate += flow.sending_bytes_rate;
    }
    let oldest = flows.iter().map(|flow| flow.up_to_date_as_of).min().unwrap_or(0);
    progress.up_to_date_as_of_unix_ms = i64::try_from(oldest).unwrap_or(0);
    progress.eta_seconds = eta(&progress);
    progress
}

fn receiving(active: bool, flows: &[FlowView]) -> wire::Progress {
    let mut progress = wire::Progress { active, ..Default::default() };
    for flow in flows {
        progress.pending_objects += flow.peer_pending_objects;
        progress.pending_bytes += flow.peer_pending_bytes;
        progress.moved_objects += flow.received_objects;
        progress.moved_bytes += flow.received_bytes;
        progress.objects_rate += flow.receiving_objects_rate;
        progress.bytes_rate += flow.receiving_bytes_rate;
    }
    progress.eta_seconds = eta(&progress);
    progress
}

/// Seconds until nothing is pending at the present rate: the longer of objects and bytes.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate for people"
)]
fn eta(progress: &wire::Progress) -> Option<u64> {
    let left = |pending: u64, rate: f64| match (pending, rate) {
        (0, _) => Some(0.0),
        (_, rate) if rate > 0.0 => Some(pending as f64 / rate),
        _ => None,
    };
    let objects = left(progress.pending_objects, progress.objects_rate)?;
    let bytes = left(progress.pending_bytes, progress.bytes_rate)?;
    Some(objects.max(bytes).ceil() as u64)
}

pub(crate) fn zone_out(zone: &TenantZone, ttl_seconds: u32) -> dns::TenantZone {
    let name_server = |server: &switchback_link_core::NameServer| dns::NameServer {
        name: server.name.clone(),
        addresses: server.addresses.clone(),
    };
    dns::TenantZone {
        name: zone.name.clone(),
        serial: zone.serial,
        addresses: zone.gateway.addresses.clone(),
        name_servers: zone.name_servers.iter().map(name_server).collect(),
        ttl_seconds,
        link: zone.link.clone(),
        target: zone.target.clone(),
        epoch: zone.place.map_or(0, |(epoch, _)| epoch.0),
        generation: zone.place.map_or(0, |(_, generation)| generation),
        dnskeys: zone.dnskeys.iter().map(|key| key.clone().into()).collect(),
        host: zone.gateway.host.clone(),
        https: super::https_out(zone.gateway.https.as_ref()),
    }
}
