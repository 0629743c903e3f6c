//! What a plan says of the data: what is known, what the other side told and when, and what cannot
//! be known from here. Each has fields of its own; only the last is words.

use switchback_link_core::LinkView;
use switchback_model::{AccessMode, Content};
use switchback_proto::link::v1 as wire;
use switchback_proto::model::v1::PeerKnowledge;
use switchback_proto::mover::v1 as mover_wire;

use crate::convert::content_name;

/// For operators.
pub(crate) fn pending_out(answer: mover_wire::ListPendingResponse, view: Option<&LinkView>) -> wire::Pending {
    let peer = answer.peer.unwrap_or_default();
    let name = match view {
        // A rebuilt system holds nothing of what is told here.
        Some(view) if view.broken => format!("the former {}", view.link.peer.name),
        Some(view) => view.link.peer.name.clone(),
        None => "the other system".to_owned(),
    };
    wire::Pending {
        objects: answer.objects,
        bytes: answer.bytes,
        records: answer.records.iter().map(record_name).collect(),
        truncated: answer.truncated,
        unknown: unknown(&name, peer.knowledge(), view),
        peer: Some(peer_out(name, peer)),
    }
}

fn peer_out(system: String, peer: mover_wire::PeerPending) -> wire::PeerPending {
    wire::PeerPending {
        system,
        knowledge: peer.knowledge,
        told_unix_ms: peer.told_unix_ms,
        objects: peer.objects,
        bytes: peer.bytes,
        records: peer.records.iter().map(record_name).collect(),
        truncated: peer.truncated,
        listed_unix_ms: peer.listed_unix_ms,
        complete_as_of_unix_ms: peer.complete_as_of_unix_ms,
        positions: peer.positions,
    }
}

/// What the other side held alone when this side went on without it.
pub(crate) fn absence_out(absence: mover_wire::Absence) -> wire::Absence {
    wire::Absence {
        epoch: absence.epoch,
        noted_unix_ms: absence.noted_unix_ms,
        missing: Some(peer_out(absence.system, absence.missing.unwrap_or_default())),
        gone_unix_ms: absence.gone_unix_ms,
        arrived: absence.arrived,
    }
}

fn record_name(record: &mover_wire::PendingRecord) -> String {
    let content = record.content.as_ref().and_then(|content| content_name(content).ok());
    let content = content.map_or_else(String::new, |content: Content| content.to_string());
    let deleted = if record.deleted { " (delete)" } else { "" };
    let namespace =
        if record.namespace.is_empty() { String::new() } else { format!("{}/", record.namespace) };
    format!("{content} {namespace}{}{deleted}", record.key)
}

/// What cannot be known from here.
fn unknown(peer: &str, knowledge: PeerKnowledge, view: Option<&LinkView>) -> String {
    let writes = view.is_none_or(|view| view.peer_mode != Some(AccessMode::ReadOnly));
    let contact = view.is_some_and(|view| view.contact);
    match knowledge {
        PeerKnowledge::Asked if writes => format!("what {peer} accepts after this answer"),
        PeerKnowledge::Asked => String::new(),
        PeerKnowledge::Told if contact => {
            format!("the names of what only {peer} holds, because its data mover did not answer")
        }
        PeerKnowledge::Told => format!(
            "what {peer} has accepted since it last told, and the names of what it told of unless they are listed"
        ),
        PeerKnowledge::None | PeerKnowledge::Unspecified => {
            format!("what only {peer} holds: it has told nothing that this system remembers")
        }
    }
}
