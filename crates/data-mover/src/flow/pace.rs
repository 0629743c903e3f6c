//! Looks at what is pending, so that its end can be estimated.

use switchback_model::Backlog;

use super::agree::{Directions, OwnHead};
use crate::link::{FlowState, Link};
use crate::progress::Meter;
use tokio::time::Instant;

/// Takes one look, in contact, while the directions `wished` flow. What was seen before counts no more
/// when something else is in force since.
pub(crate) fn look(link: &Link, state: &mut FlowState, own: &OwnHead, wished: Directions) {
    let rate = link.rate();
    let moves = link.in_contact() && state.gauges.rate == rate;
    state.gauges.rate = rate;
    let at = Instant::now().saturating_duration_since(state.gauges.began);
    if moves && wished.sends {
        // Counted as pending until it is acknowledged; a large body would move in one jump.
        let on_its_way = state.sent.bytes.saturating_sub(state.landed_bytes);
        let bytes = own.pending.bytes.saturating_sub(on_its_way);
        let left = Backlog { objects: own.pending.objects, bytes };
        state.gauges.sending.look(at, left, moved(&state.sent));
    } else {
        state.gauges.sending.forget();
    }
    match &state.peer {
        Some(peer) if moves && wished.receives => {
            let left = Backlog { objects: peer.pending.objects, bytes: peer.pending.bytes };
            state.gauges.receiving.look(at, left, moved(&state.received));
        }
        Some(_) | None => state.gauges.receiving.forget(),
    }
}

fn moved(meter: &Meter) -> Backlog {
    Backlog { objects: meter.objects, bytes: meter.bytes }
}
