//! How far one direction of a link is, how fast it goes and when it will be done.

use std::time::Duration;

use serde::Serialize;
use switchback_proto::link::v1 as proto;

use crate::time::{ago, bytes, duration};

/// One direction of a link or of one content.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProgressView {
    /// False: nothing flows this way in this state.
    pub active: bool,
    /// Changes not yet on the other side.
    pub pending_objects: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Changes moved since the flow started.
    pub moved_objects: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Sending only, of what was to leave while the link compresses, since the flow started: bytes as they were.
    pub plain_bytes: u64,
    /// The same as they left.
    pub packed_bytes: u64,
    /// Sending only: keys listed to find what differs, since the flow started.
    pub compared_objects: u64,
    /// Changes a second.
    pub objects_rate: f64,
    /// Bytes a second.
    pub bytes_rate: f64,
    /// Absent when no rate is known yet, and when there is no end at the present rates.
    pub eta_seconds: Option<u64>,
    /// Nine times in ten it takes at least so long, if the rates go on as they were in the last minute.
    pub eta_low_seconds: Option<u64>,
    /// And at most so long; absent also when no end is certain.
    pub eta_high_seconds: Option<u64>,
    /// False: new writes come at least as fast as they are sent. Absent when not known.
    pub catching_up: Option<bool>,
    /// New writes a second while this was moved, as far as known.
    pub new_objects_rate: f64,
    /// Their bytes.
    pub new_bytes_rate: f64,
    /// Something is pending and the schedule lets nothing through now.
    pub held_by_schedule: bool,
    /// Every change before this is durable on the other side.
    pub up_to_date_as_of_unix_ms: i64,
}

impl From<proto::Progress> for ProgressView {
    fn from(from: proto::Progress) -> Self {
        Self {
            active: from.active,
            pending_objects: from.pending_objects,
            pending_bytes: from.pending_bytes,
            moved_objects: from.moved_objects,
            moved_bytes: from.moved_bytes,
            plain_bytes: from.plain_bytes,
            packed_bytes: from.packed_bytes,
            compared_objects: from.compared_objects,
            objects_rate: from.objects_rate,
            bytes_rate: from.bytes_rate,
            eta_seconds: from.eta_seconds,
            eta_low_seconds: from.eta_low_seconds,
            eta_high_seconds: from.eta_high_seconds,
            catching_up: from.catching_up,
            new_objects_rate: from.new_objects_rate,
            new_bytes_rate: from.new_bytes_rate,
            held_by_schedule: from.held_by_schedule,
            up_to_date_as_of_unix_ms: from.up_to_date_as_of_unix_ms,
        }
    }
}

impl ProgressView {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        if !self.active || (self.pending_objects == 0 && self.up_to_date_as_of_unix_ms == 0) {
            return "idle".into();
        }
        let as_of = ago(self.up_to_date_as_of_unix_ms);
        if self.pending_objects == 0 && self.pending_bytes == 0 {
            return format!("up to date as of {as_of}");
        }
        format!(
            "{} objects, {} pending; {}; up to date as of {as_of}",
            self.pending_objects,
            bytes(self.pending_bytes),
            self.speed()
        )
    }

    /// What compression comes to; empty where nothing left compressed.
    pub(super) fn gain_line(&self) -> String {
        if self.plain_bytes == 0 || self.packed_bytes == 0 {
            return String::new();
        }
        let percent = self.packed_bytes.saturating_mul(100).div_ceil(self.plain_bytes);
        format!("{} left as {}, {percent} %", bytes(self.plain_bytes), bytes(self.packed_bytes))
    }

    fn speed(&self) -> String {
        if self.held_by_schedule {
            return "held by the schedule".into();
        }
        let rates =
            |objects: f64, of_bytes: f64| format!("{objects:.0} objects/s, {}/s", bytes(whole(of_bytes)));
        let moved = rates(self.objects_rate, self.bytes_rate);
        if self.catching_up == Some(false) {
            let new = rates(self.new_objects_rate, self.new_bytes_rate);
            return format!("{moved}, cannot catch up at the present rates with new writes of {new}");
        }
        format!("{moved}, ETA {}", self.eta())
    }

    /// With its interval, as far as there is one.
    fn eta(&self) -> String {
        let words = |seconds| duration(Duration::from_secs(seconds));
        let Some(eta) = self.eta_seconds else { return "unknown".into() };
        match (self.eta_low_seconds, self.eta_high_seconds) {
            (Some(low), Some(high)) if low < high => {
                format!("{} ({} to {})", words(eta), words(low), words(high))
            }
            (Some(low), None) => format!("{} ({} or more)", words(eta), words(low)),
            (Some(_) | None, _) => words(eta),
        }
    }
}

/// A rate without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float's cast saturates, which is right for a rate that is shown"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_compression_comes_to() {
        assert_eq!(ProgressView::default().gain_line(), "");
        let view = ProgressView { plain_bytes: 6 << 20, packed_bytes: 2 << 20, ..ProgressView::default() };
        assert_eq!(view.gain_line(), "6.00 MiB left as 2.00 MiB, 34 %");
    }

    #[test]
    fn people_read_when_it_ends_or_why_it_does_not() {
        let pending = ProgressView {
            active: true,
            pending_objects: 7,
            pending_bytes: 2 << 20,
            objects_rate: 3.0,
            up_to_date_as_of_unix_ms: 1,
            ..ProgressView::default()
        };
        assert!(pending.line().contains("ETA unknown"), "{}", pending.line());
        let known = ProgressView { eta_seconds: Some(240), ..pending };
        assert!(known.line().contains("ETA 4 min 0 s;"), "{}", known.line());
        let known = ProgressView { eta_low_seconds: Some(180), ..known };
        assert!(known.line().contains("ETA 4 min 0 s (3 min 0 s or more);"), "{}", known.line());
        let known = ProgressView { eta_high_seconds: Some(420), ..known };
        assert!(known.line().contains("ETA 4 min 0 s (3 min 0 s to 7 min 0 s);"), "{}", known.line());
        let behind = ProgressView { catching_up: Some(false), new_objects_rate: 5.0, ..pending };
        assert!(
            behind.line().contains("cannot catch up at the present rates with new writes of 5 objects/s")
        );
        let held = ProgressView { held_by_schedule: true, ..pending };
        assert!(
            held.line().starts_with("7 objects, 2.00 MiB pending; held by the schedule; up to date as of")
        );
    }
}
