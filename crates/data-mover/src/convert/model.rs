//! The vocabulary that all services share.

use switchback_model::{
    AccessMode, Compression, Content, ContentId, ContentKind, FeedId, Flux, Hlc, LinkId, Pace, Priority,
    Side, SiteId, SystemId, Version,
};
use switchback_proto::model::v1 as wire;
use switchback_proto::mover::v1 as mover;
use switchback_proto::replication::v1 as replication;
use switchback_store as store;

use crate::status::{Answer, invalid};

pub(crate) fn content_to_wire(content: &Content) -> wire::Content {
    wire::Content {
        kind: kind_to_wire(content.kind).into(),
        name: content.name.clone(),
        id: content.id.as_bytes().to_vec().into(),
    }
}

/// A content that the request names in full.
pub(crate) fn content_from_wire(content: &wire::Content) -> Answer<Content> {
    let kind = kind_from_wire(content.kind())?;
    let id = ContentId::from_slice(&content.id).ok_or_else(|| invalid("content.id: expected 16 bytes"))?;
    Ok(Content { kind, name: content.name.clone(), id })
}

pub(crate) fn kind_to_wire(kind: ContentKind) -> wire::ContentKind {
    match kind {
        ContentKind::Tenant => wire::ContentKind::Tenant,
        ContentKind::Directory => wire::ContentKind::Directory,
    }
}

pub(crate) fn kind_from_wire(kind: wire::ContentKind) -> Answer<ContentKind> {
    match kind {
        wire::ContentKind::Tenant => Ok(ContentKind::Tenant),
        wire::ContentKind::Directory => Ok(ContentKind::Directory),
        wire::ContentKind::Unspecified => Err(invalid("kind: expected a tenant or a directory")),
    }
}

pub(crate) fn mode_to_wire(mode: AccessMode) -> wire::AccessMode {
    match mode {
        AccessMode::ReadOnly => wire::AccessMode::ReadOnly,
        AccessMode::ReadWrite => wire::AccessMode::ReadWrite,
    }
}

/// Absence is read-only.
pub(crate) fn mode_from_wire(mode: wire::AccessMode) -> AccessMode {
    match mode {
        wire::AccessMode::ReadWrite => AccessMode::ReadWrite,
        wire::AccessMode::ReadOnly | wire::AccessMode::Unspecified => AccessMode::ReadOnly,
    }
}

pub(crate) fn side_from_wire(side: wire::Side) -> Answer<Side> {
    match side {
        wire::Side::Primary => Ok(Side::Primary),
        wire::Side::Replica => Ok(Side::Replica),
        wire::Side::Unspecified => Err(invalid("side: expected primary or replica")),
    }
}

pub(crate) fn version_to_wire(version: Version) -> wire::Version {
    wire::Version { hlc: version.hlc.0, site: version.site.0 }
}

pub(crate) fn version_from_wire(version: &wire::Version) -> Version {
    Version { hlc: Hlc(version.hlc), site: SiteId(version.site) }
}

pub(crate) fn position_to_wire(position: &store::FeedPosition) -> wire::FeedPosition {
    wire::FeedPosition {
        content: Some(content_to_wire(&position.content)),
        feed_id: position.feed.0,
        sequence: position.sequence,
    }
}

pub(crate) fn position(content: &Content, feed: FeedId, sequence: u64) -> wire::FeedPosition {
    wire::FeedPosition { content: Some(content_to_wire(content)), feed_id: feed.0, sequence }
}

pub(crate) fn digest_to_wire(digest: store::Digest) -> wire::Digest {
    wire::Digest { total: digest.total.to_vec().into(), records: digest.records }
}

/// A digest of another length than ours equals none of ours.
pub(crate) fn digest_from_wire(digest: &wire::Digest) -> Option<store::Digest> {
    Some(store::Digest { total: digest.total.as_ref().try_into().ok()?, records: digest.records })
}

pub(crate) fn lineage_to_wire(lineage: &store::Lineage) -> Vec<replication::Run> {
    let run = |run: &store::Run| replication::Run { id: run.id, first: run.first, began: run.began.0 };
    lineage.runs().iter().map(run).collect()
}

pub(crate) fn lineage_from_wire(runs: &[replication::Run]) -> store::Lineage {
    let run = |run: &replication::Run| store::Run { id: run.id, first: run.first, began: Hlc(run.began) };
    store::Lineage::new(runs.iter().map(run))
}

pub(crate) fn parting_to_wire(parting: store::Parting) -> replication::Parting {
    replication::Parting { from: parting.from, after: parting.after.0, read: parting.read }
}

pub(crate) fn parting_from_wire(parting: replication::Parting) -> store::Parting {
    store::Parting { from: parting.from, after: Hlc(parting.after), read: parting.read }
}

pub(crate) fn link_id(bytes: &[u8]) -> Answer<LinkId> {
    LinkId::from_slice(bytes).ok_or_else(|| invalid("link_id: expected 16 bytes"))
}

pub(crate) fn system_id(bytes: &[u8], field: &str) -> Answer<SystemId> {
    SystemId::from_slice(bytes).ok_or_else(|| invalid(format!("{field}: expected 16 bytes")))
}

pub(crate) fn policy_from_wire(policy: wire::ConflictPolicy) -> store::ConflictPolicy {
    match policy {
        wire::ConflictPolicy::Unspecified | wire::ConflictPolicy::NewestWins => {
            store::ConflictPolicy::NewestWins
        }
        wire::ConflictPolicy::ReplicaWins => store::ConflictPolicy::ReplicaWins,
        wire::ConflictPolicy::KeepBoth => store::ConflictPolicy::KeepBoth,
    }
}

pub(crate) fn priority_from_wire(priority: wire::FlowPriority) -> Priority {
    match priority {
        wire::FlowPriority::Unspecified | wire::FlowPriority::Fair => Priority::Fair,
        wire::FlowPriority::OldestFirst => Priority::OldestFirst,
    }
}

/// What another version wrote there is not known here, and nothing is packed by it.
pub(crate) fn compression_from_wire(compression: wire::Compression) -> Compression {
    match compression {
        wire::Compression::Unspecified | wire::Compression::None => Compression::None,
        wire::Compression::Zstd => Compression::Zstd,
    }
}

pub(crate) fn pace_to_wire(pace: &Pace) -> mover::Pace {
    let flux = |flux: &Flux| mover::Flux {
        left: flux.left,
        moved: flux.moved,
        net: flux.net,
        variance: flux.variance,
    };
    mover::Pace { seconds: pace.seconds, objects: Some(flux(&pace.objects)), bytes: Some(flux(&pace.bytes)) }
}
