//! Links as operators see them.

use switchback_kit::world::time::unix_ms;
use switchback_link_core::{LinkView, TenantZone};
use switchback_proto::dns::v1 as dns;
use switchback_proto::link::v1 as wire;

use super::peer::link_id_out;
use super::progress::{Steering, Way};
use super::{content_out, mode_out, settings_out, side_out, state_out};

pub(crate) fn link_out(view: &LinkView) -> wire::Link {
    let link = &view.link;
    let now = i64::try_from(unix_ms()).unwrap_or(i64::MAX);
    let steering = Steering::of(view, now);
    let sending = steering.progress(Way::Out, &view.flows);
    let receiving = steering.progress(Way::In, &view.flows);
    let mut troubles = view.health.troubles.clone();
    troubles.extend(steering.troubles(&sending, &receiving));
    let contents = link.shared.contents.iter().map(|content| {
        let flow = view.flows.iter().find(|flow| flow.content == content.id).cloned().unwrap_or_default();
        wire::LinkContent {
            content: Some(content_out(content)),
            paused: link.shared.paused.contains(&content.id),
            mode: mode_out(view.mode).into(),
            sending: Some(steering.progress(Way::Out, std::slice::from_ref(&flow))),
            receiving: Some(steering.progress(Way::In, std::slice::from_ref(&flow))),
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
        healthy: view.health.healthy && troubles.is_empty(),
        troubles,
        next_step: view.health.next_step.clone(),
        sending: Some(sending),
        receiving: Some(receiving),
        retries: view.flows.iter().map(|flow| flow.retries).sum(),
        divergences: view.flows.iter().map(|flow| flow.divergences).sum(),
        was_in_sync: link.was_in_sync,
        in_sync: view.in_sync,
        rate_bytes_per_second: steering.rate(),
        rate_until_unix_ms: steering.until_unix_ms(),
        schedule_overridden: steering.is_overridden(),
    }
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
