//! Between the wire and the core: parse, don't validate. A message that cannot be parsed is
//! refused as a whole, with the field that was wrong.

pub(crate) mod command;
pub(crate) mod mover;
pub(crate) mod peer;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod view;

use switchback_link_core::{ConflictPolicy, Gateway, Https, LinkState, Settings};
use switchback_model::{
    AccessMode, Compression, Content, ContentId, ContentKind, Priority, Schedule, Side, SystemId,
};
use switchback_proto::link::v1 as wire;
use switchback_proto::model::v1 as model;

/// A message field that is missing or malformed.
#[derive(Debug, thiserror::Error)]
#[error("{0} is missing or malformed")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn content(wire: &model::Content) -> Result<Content, Malformed> {
    let id = ContentId::from_slice(&wire.id).ok_or(Malformed("content.id"))?;
    Ok(Content { id, ..content_name(wire)? })
}

/// A content by kind and name, as operators name it.
pub(crate) fn content_name(wire: &model::Content) -> Result<Content, Malformed> {
    let kind = match wire.kind() {
        model::ContentKind::Tenant => ContentKind::Tenant,
        model::ContentKind::Directory => ContentKind::Directory,
        model::ContentKind::Unspecified => return Err(Malformed("content.kind")),
    };
    if wire.name.is_empty() {
        return Err(Malformed("content.name"));
    }
    Ok(Content { kind, name: wire.name.clone(), id: ContentId::default() })
}

pub(crate) fn content_out(content: &Content) -> model::Content {
    let kind = match content.kind {
        ContentKind::Tenant => model::ContentKind::Tenant,
        ContentKind::Directory => model::ContentKind::Directory,
    };
    model::Content {
        kind: kind.into(),
        name: content.name.clone(),
        id: content.id.as_bytes().to_vec().into(),
    }
}

pub(crate) fn side(side: model::Side) -> Result<Side, Malformed> {
    match side {
        model::Side::Primary => Ok(Side::Primary),
        model::Side::Replica => Ok(Side::Replica),
        model::Side::Unspecified => Err(Malformed("side")),
    }
}

pub(crate) fn side_out(side: Side) -> model::Side {
    match side {
        Side::Primary => model::Side::Primary,
        Side::Replica => model::Side::Replica,
    }
}

pub(crate) fn gateway(addresses: &[String], host: &str, https: Option<&model::HttpsService>) -> Gateway {
    let https = https.and_then(|https| {
        // What cannot be a port is not published; names must be able to move all the same.
        Some(Https { port: https.port.try_into().ok()?, alpn: https.alpn.clone() })
    });
    Gateway { addresses: addresses.to_vec(), host: host.into(), https }
}

pub(crate) fn https_out(https: Option<&Https>) -> Option<model::HttpsService> {
    https.map(|https| model::HttpsService { port: https.port.into(), alpn: https.alpn.clone() })
}

pub(crate) fn mode(mode: model::AccessMode) -> Option<AccessMode> {
    match mode {
        model::AccessMode::ReadOnly => Some(AccessMode::ReadOnly),
        model::AccessMode::ReadWrite => Some(AccessMode::ReadWrite),
        model::AccessMode::Unspecified => None,
    }
}

pub(crate) fn mode_out(mode: Option<AccessMode>) -> model::AccessMode {
    match mode {
        Some(AccessMode::ReadOnly) => model::AccessMode::ReadOnly,
        Some(AccessMode::ReadWrite) => model::AccessMode::ReadWrite,
        None => model::AccessMode::Unspecified,
    }
}

pub(crate) fn system_id(bytes: &[u8]) -> Result<SystemId, Malformed> {
    SystemId::from_slice(bytes).ok_or(Malformed("system_id"))
}

pub(crate) fn state(state: wire::LinkState) -> Result<LinkState, Malformed> {
    match state {
        wire::LinkState::Replicating => Ok(LinkState::Replicating),
        wire::LinkState::FailingOver => Ok(LinkState::FailingOver),
        wire::LinkState::FailedOver => Ok(LinkState::FailedOver),
        wire::LinkState::Recovering => Ok(LinkState::Recovering),
        wire::LinkState::Completing => Ok(LinkState::Completing),
        wire::LinkState::Unspecified => Err(Malformed("state")),
    }
}

pub(crate) fn state_out(state: LinkState) -> wire::LinkState {
    match state {
        LinkState::Replicating => wire::LinkState::Replicating,
        LinkState::FailingOver => wire::LinkState::FailingOver,
        LinkState::FailedOver => wire::LinkState::FailedOver,
        LinkState::Recovering => wire::LinkState::Recovering,
        LinkState::Completing => wire::LinkState::Completing,
    }
}

pub(crate) fn policy(policy: model::ConflictPolicy) -> ConflictPolicy {
    match policy {
        model::ConflictPolicy::Unspecified | model::ConflictPolicy::NewestWins => ConflictPolicy::NewestWins,
        model::ConflictPolicy::ReplicaWins => ConflictPolicy::ReplicaWins,
        model::ConflictPolicy::KeepBoth => ConflictPolicy::KeepBoth,
    }
}

pub(crate) fn policy_out(policy: ConflictPolicy) -> model::ConflictPolicy {
    match policy {
        ConflictPolicy::NewestWins => model::ConflictPolicy::NewestWins,
        ConflictPolicy::ReplicaWins => model::ConflictPolicy::ReplicaWins,
        ConflictPolicy::KeepBoth => model::ConflictPolicy::KeepBoth,
    }
}

pub(crate) fn schedule(text: &str) -> Result<Schedule, Malformed> {
    text.parse().map_err(|_| {
        Malformed("schedule (such as \"UTC+02:00; Mon-Fri 08:00-18:00 20MB/s; else unlimited\")")
    })
}

/// Nothing is written of a schedule that holds nothing back.
fn schedule_out(schedule: &Schedule) -> String {
    if schedule.is_unlimited() { String::new() } else { schedule.to_string() }
}

pub(crate) fn priority(priority: model::FlowPriority) -> Priority {
    match priority {
        model::FlowPriority::Unspecified | model::FlowPriority::Fair => Priority::Fair,
        model::FlowPriority::OldestFirst => Priority::OldestFirst,
    }
}

fn priority_out(priority: Priority) -> model::FlowPriority {
    match priority {
        Priority::Fair => model::FlowPriority::Fair,
        Priority::OldestFirst => model::FlowPriority::OldestFirst,
    }
}

pub(crate) fn compression(compression: model::Compression) -> Compression {
    match compression {
        model::Compression::Unspecified | model::Compression::None => Compression::None,
        model::Compression::Zstd => Compression::Zstd,
    }
}

fn compression_out(compression: Compression) -> model::Compression {
    match compression {
        Compression::None => model::Compression::None,
        Compression::Zstd => model::Compression::Zstd,
    }
}

pub(crate) fn settings(wire: Option<&wire::LinkSettings>) -> Result<Settings, Malformed> {
    let wire = wire.cloned().unwrap_or_default();
    Ok(Settings {
        dns_failover: wire.dns_failover,
        conflict_policy: policy(wire.conflict_policy()),
        fence_time_ms: wire.fence_time_ms,
        drain_time_ms: wire.drain_time_ms,
        schedule: schedule(&wire.schedule)?,
        priority: priority(wire.priority()),
        compression: compression(wire.compression()),
        description: wire.description,
    })
}

pub(crate) fn settings_out(settings: &Settings) -> wire::LinkSettings {
    wire::LinkSettings {
        dns_failover: settings.dns_failover,
        conflict_policy: policy_out(settings.conflict_policy).into(),
        fence_time_ms: settings.fence_time_ms,
        drain_time_ms: settings.drain_time_ms,
        description: settings.description.clone(),
        schedule: schedule_out(&settings.schedule),
        priority: priority_out(settings.priority).into(),
        compression: compression_out(settings.compression).into(),
    }
}
