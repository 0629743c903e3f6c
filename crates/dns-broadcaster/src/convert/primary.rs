//! How copies of others' zones stand, for `ListSecondaries`.

use switchback_machine::Timestamp;
use switchback_proto::dns::v1 as wire;

use super::{count, millis};
use crate::core::name::Name;
use crate::core::secondary::Standing;
use crate::primary::{Taking, View};

/// All primaries, each with its zones.
pub(crate) fn primaries(view: &View) -> Vec<wire::Primary> {
    view.servers.iter().map(|taking| primary(view.now, taking)).collect()
}

fn primary(now: Timestamp, taking: &Taking) -> wire::Primary {
    let Taking { server: primary, summary, lagging: zones } = taking;
    let ago = |at| millis(now.since(at));
    wire::Primary {
        name: primary.name.clone(),
        address: primary.address.to_string(),
        catalogue: primary.follow.catalogue.as_ref().map(ToString::to_string).unwrap_or_default(),
        held: count(summary.held),
        missing: count(summary.missing),
        expired: count(summary.expired),
        published: count(summary.published),
        unreachable_ms: summary.silent_since.map(ago),
        heard_ms: summary.heard.map(ago),
        zones: zones.iter().map(|(name, standing)| copy(now, name, standing)).collect(),
    }
}

fn copy(now: Timestamp, name: &Name, standing: &Standing) -> wire::Copy {
    let until = |at: Timestamp| millis(at.since(now));
    wire::Copy {
        name: name.to_string(),
        serial: standing.serial.map(|serial| serial.0),
        word_ms: standing.word.map(|at| millis(now.since(at))),
        due_ms: standing.due.map(until),
        expires_ms: standing.expires.map(until),
        expired: standing.is_expired,
        published: standing.is_published,
        reason: standing.trouble.as_ref().map(|(reason, _)| reason.to_string()).unwrap_or_default(),
    }
}
