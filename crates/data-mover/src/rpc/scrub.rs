//! What operators are shown of the scrub, and its start.

use std::collections::BTreeMap;

use switchback_proto::mover::v1::{Damage, GetScrubRequest, GetScrubResponse, StartScrubResponse};
use switchback_store::RecordKey;
use tonic::Code;

use super::mover::RECORDS_MAX;
use crate::convert::{boxed, content_to_wire, version_to_wire};
use crate::mover::{Mover, now_unix_ms};
use crate::scrub::damage::Entry;
use crate::scrub::round::{cost, time_ms};
use crate::status::{Answer, refuse};

pub(super) fn get(mover: &Mover, r: &GetScrubRequest) -> Answer<GetScrubResponse> {
    let contents = mover.catalogue.contents().map_err(boxed)?;
    let contents: BTreeMap<_, _> = contents.into_iter().map(|status| (status.content.id, status)).collect();
    let (objects, bytes) = contents
        .values()
        .fold((0, 0), |(objects, bytes), status| (objects + status.objects, bytes + status.bytes));
    let rate = mover.scrub.rate;
    let state = mover.scrub.state();
    let now = now_unix_ms();
    let all = cost(objects, bytes);
    let left = if state.rounds.round.is_some() { all.saturating_sub(state.rounds.done()) } else { 0 };
    let (waiting, unrepairable) = state.damages.counts(|_| true);
    let max = (r.damages_max as usize).min(RECORDS_MAX);
    let shown = |entry: Entry| Damage {
        content: contents.get(&entry.content).map(|status| content_to_wire(&status.content)),
        namespace: entry.key.namespace().to_owned(),
        key: entry.key.label(),
        version_id: match &entry.key {
            RecordKey::Version { id, .. } => Some(version_to_wire(*id)),
            _ => None,
        },
        version: Some(version_to_wire(entry.version)),
        size: entry.size,
        blob_id: entry.blob.map(|blob| blob.as_bytes().to_vec().into()).unwrap_or_default(),
        fault: entry.fault,
        found_unix_ms: entry.found_unix_ms,
        state: entry.state.into(),
        reason: entry.reason,
        attempts: entry.attempts,
        next_attempt_unix_ms: entry.next_attempt_unix_ms,
        repaired_unix_ms: entry.repaired_unix_ms,
        upload_id: entry.part.map(|part| part.upload.to_string()).unwrap_or_default(),
        part_number: entry.part.map_or(0, |part| part.number),
    };
    Ok(GetScrubResponse {
        bytes_per_second: rate,
        round: state.rounds.round,
        last: state.rounds.last,
        next_unix_ms: state.rounds.due_unix_ms(now).filter(|_| rate > 0).unwrap_or(0),
        objects,
        bytes,
        round_ms: time_ms(all, rate),
        left_ms: time_ms(left, rate),
        trouble: state.trouble.clone(),
        waiting,
        unrepairable,
        found: state.rounds.found,
        repaired: state.rounds.repaired,
        damages: state.damages.listed().into_iter().take(max).map(shown).collect(),
    })
}

pub(super) fn start(mover: &Mover) -> Answer<StartScrubResponse> {
    if mover.scrub.rate == 0 {
        let text = "scrubbing is switched off: set scrub_bytes_per_second in [data_mover], and start the data mover again";
        return Err(refuse(Code::FailedPrecondition, "INVALID", text));
    }
    mover.scrub.start();
    Ok(StartScrubResponse {})
}
