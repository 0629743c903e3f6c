//! Stored records.

use switchback_link_core::{Event, Goal, Link, Meta, Peer, Proposing, RequestRecord, Severity, ZoneRecord};
use switchback_model::{Epoch, Incarnation};
use switchback_proto::link::record::v1 as record;
use switchback_proto::link::v1 as wire;

use super::peer::{link_id, link_id_out, shared, shared_out};
use super::{Malformed, gateway, https_out, side, side_out, system_id};

pub(crate) fn link(stored: &record::Link) -> Result<Link, Malformed> {
    let peer = stored.peer.as_ref().ok_or(Malformed("link.peer"))?;
    let zone = |zone: &record::Zone| {
        Ok::<_, Malformed>(ZoneRecord {
            target: side(zone.target())?,
            epoch: Epoch(zone.epoch),
            generation: zone.generation,
            gateway: gateway(&zone.addresses, &zone.host, zone.https.as_ref()),
        })
    };
    Ok(Link {
        id: link_id(&stored.id)?,
        side: side(stored.side())?,
        peer_address: stored.peer_address.clone(),
        peer: Peer {
            system: system_id(&peer.system_id)?,
            incarnation: Incarnation(peer.incarnation),
            domain: peer.domain.clone(),
            name: peer.name.clone(),
            replication_address: peer.replication_address.clone(),
            gateway: gateway(&peer.gateway_addresses, &peer.gateway_host, peer.gateway_https.as_ref()),
            name_server_addresses: peer.name_server_addresses.clone(),
            dnskeys: peer.dnskeys.iter().map(|key| key.to_vec()).collect(),
        },
        local_incarnation: Incarnation(stored.local_incarnation),
        shared: shared(stored.shared.as_ref().ok_or(Malformed("link.shared"))?)?,
        heard: Epoch(stored.heard),
        was_in_sync: stored.was_in_sync,
        granted: stored.granted.map(Epoch),
        proposing: stored.proposing.map(|one| Proposing { nonce: one.nonce, restore: one.restore }),
        announce: stored.announce,
        zone: stored.zone.as_ref().map(zone).transpose()?,
    })
}

pub(crate) fn link_out(link: &Link) -> record::Link {
    record::Link {
        id: link_id_out(link.id),
        side: side_out(link.side).into(),
        peer_address: link.peer_address.clone(),
        peer: Some(record::Peer {
            system_id: link.peer.system.as_bytes().to_vec().into(),
            incarnation: link.peer.incarnation.0,
            domain: link.peer.domain.clone(),
            name: link.peer.name.clone(),
            replication_address: link.peer.replication_address.clone(),
            gateway_addresses: link.peer.gateway.addresses.clone(),
            gateway_host: link.peer.gateway.host.clone(),
            gateway_https: https_out(link.peer.gateway.https.as_ref()),
            name_server_addresses: link.peer.name_server_addresses.clone(),
            dnskeys: link.peer.dnskeys.iter().map(|key| key.clone().into()).collect(),
        }),
        local_incarnation: link.local_incarnation.0,
        shared: Some(shared_out(&link.shared)),
        heard: link.heard.0,
        was_in_sync: link.was_in_sync,
        granted: link.granted.map(|epoch| epoch.0),
        proposing: link
            .proposing
            .as_ref()
            .map(|one| record::Proposing { nonce: one.nonce, restore: one.restore }),
        announce: link.announce,
        zone: link.zone.as_ref().map(|zone| record::Zone {
            target: side_out(zone.target).into(),
            epoch: zone.epoch.0,
            generation: zone.generation,
            addresses: zone.gateway.addresses.clone(),
            host: zone.gateway.host.clone(),
            https: https_out(zone.gateway.https.as_ref()),
        }),
    }
}

pub(crate) fn request(stored: &record::Request) -> Result<RequestRecord, Malformed> {
    let goal = match stored.goal() {
        record::Goal::Unspecified => return Err(Malformed("request.goal")),
        record::Goal::Recorded => Goal::Recorded,
        record::Goal::Established => Goal::Established,
        record::Goal::Reached => Goal::Reached(Epoch(stored.epoch)),
    };
    Ok(RequestRecord { sequence: stored.sequence, link: link_id(&stored.link_id)?, goal })
}

pub(crate) fn request_out(request: &RequestRecord) -> record::Request {
    let (goal, epoch) = match request.goal {
        Goal::Recorded => (record::Goal::Recorded, 0),
        Goal::Established => (record::Goal::Established, 0),
        Goal::Reached(epoch) => (record::Goal::Reached, epoch.0),
    };
    record::Request {
        sequence: request.sequence,
        link_id: link_id_out(request.link),
        goal: goal.into(),
        epoch,
    }
}

pub(crate) fn meta(stored: record::Meta) -> Meta {
    Meta { store_id: stored.store_id, incarnation: Incarnation(stored.incarnation) }
}

pub(crate) fn meta_out(meta: &Meta) -> record::Meta {
    record::Meta { store_id: meta.store_id, incarnation: meta.incarnation.0 }
}

pub(crate) fn event_out(event: &Event) -> wire::Event {
    let severity = match event.severity {
        Severity::Notice => wire::Severity::Notice,
        Severity::Warning => wire::Severity::Warning,
        Severity::Error => wire::Severity::Error,
    };
    wire::Event {
        sequence: event.sequence,
        unix_ms: i64::try_from(event.at.0).unwrap_or(i64::MAX),
        id: event.id.clone(),
        severity: severity.into(),
        text: event.text.clone(),
        link: event.link.clone(),
    }
}
