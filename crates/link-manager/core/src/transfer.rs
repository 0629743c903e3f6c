//! How long it takes to move what is left, if nothing new is written: while a recovery is completed
//! nobody can write.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use switchback_model::{Eta, Outlook, Pace};

use crate::FlowView;

/// Assumed while no rate has been measured yet: slow enough to be true of a poor line.
const BYTES_RATE_ASSUMED: f64 = 1_000_000.0;
const OBJECTS_RATE_ASSUMED: f64 = 50.0;

/// Of both directions, which go at the same time.
pub(crate) fn left(flows: &[FlowView]) -> Eta {
    let sending = flows.iter().map(|flow| {
        let objects = (flow.pending_objects, flow.sending_objects_rate);
        (flow.sending, assumed(objects, (flow.pending_bytes, flow.sending_bytes_rate)))
    });
    let receiving = flows.iter().map(|flow| {
        let objects = (flow.peer_pending_objects, flow.receiving_objects_rate);
        (flow.receiving, assumed(objects, (flow.peer_pending_bytes, flow.receiving_bytes_rate)))
    });
    let (sending, receiving) = (one_way(sending.collect()), one_way(receiving.collect()));
    if sending.seconds > receiving.seconds { sending } else { receiving }
}

/// Those flows whose pace is known share the line; of the others the longest counts.
fn one_way(flows: Vec<(Pace, u64)>) -> Eta {
    let is_known =
        |pace: &Pace| pace.seconds > 0.0 && pace.without_new_writes().outlook() != Outlook::Unknown;
    let longest = flows.iter().filter(|(pace, _)| !is_known(pace)).map(|(_, assumed)| *assumed).max();
    let assumed = longest.unwrap_or(0);
    let assumed = Eta { seconds: assumed, low: assumed, high: Some(assumed) };
    let known = Pace::join(flows.into_iter().map(|(pace, _)| pace).filter(is_known));
    match known.without_new_writes().outlook() {
        Outlook::Ends(eta) if eta.seconds > assumed.seconds => eta,
        Outlook::Ends(_) | Outlook::Unknown | Outlook::FallsBehind => assumed,
    }
}

/// Seconds, at the rate of the last moments or one that a poor line has.
fn assumed(objects: (u64, f64), bytes: (u64, f64)) -> u64 {
    let objects = count(objects.0) / objects.1.max(OBJECTS_RATE_ASSUMED);
    let bytes = count(bytes.0) / bytes.1.max(BYTES_RATE_ASSUMED);
    whole(objects.max(bytes))
}

/// For people.
pub(crate) fn words(eta: Eta) -> String {
    match eta.high {
        Some(high) if (eta.low, high) == (eta.seconds, eta.seconds) => format!("{} s", eta.seconds),
        Some(high) => format!("{} s ({}-{high} s)", eta.seconds, eta.low),
        None => format!("{} s ({} s or more)", eta.seconds, eta.low),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's cast saturates, which is right for an estimate"
)]
fn whole(seconds: f64) -> u64 {
    (seconds + 0.999) as u64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for people; 52 bits are plenty")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use switchback_model::Flux;

    use super::*;

    fn pending(objects: u64, pace: Pace) -> FlowView {
        FlowView { pending_objects: objects, sending: pace, ..FlowView::default() }
    }

    fn pace(left: f64, moved: f64, net: f64) -> Pace {
        let objects = Flux { left, moved, net, variance: 0.0 };
        Pace { seconds: 60.0, objects, bytes: Flux::default() }
    }

    #[test]
    fn new_writes_do_not_count_for_nobody_can_write_then() {
        let falls_behind = pending(900, pace(900.0, 10.0, -3.0));
        assert_eq!(left(&[falls_behind]).seconds, 90);
    }

    #[test]
    fn flows_that_share_a_line_end_together_and_one_that_was_not_seen_moving_is_assumed_to_be_slow() {
        let known = [pending(900, pace(900.0, 10.0, 10.0)), pending(0, Pace::default())];
        assert_eq!(left(&known).seconds, 90);
        let two = [pending(900, pace(900.0, 10.0, 10.0)), pending(100, pace(100.0, 10.0, 10.0))];
        assert_eq!(left(&two).seconds, 50);
        let unknown = [pending(50, pace(50.0, 10.0, 10.0)), pending(5_000, Pace::default())];
        assert_eq!(left(&unknown).seconds, 100, "fifty a second");
        assert_eq!(words(left(&unknown)), "100 s");
    }
}
