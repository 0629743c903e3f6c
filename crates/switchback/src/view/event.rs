//! The system log.

use std::fmt::Write as _;

use serde::Serialize;
use switchback_proto::link::v1 as proto;

use crate::output::Show;
use crate::time::timestamp;

/// A line of the system log.
#[derive(Clone, Debug, Serialize)]
pub struct EventView {
    /// Grows by one with each event of this system.
    pub sequence: u64,
    /// When.
    pub unix_ms: i64,
    /// Stable: what scripts switch on.
    pub id: String,
    /// `notice`, `warning`, `error`.
    pub severity: &'static str,
    /// For people.
    pub text: String,
    /// Empty when it is about no link.
    pub link: String,
}

impl From<proto::Event> for EventView {
    fn from(from: proto::Event) -> Self {
        let severity = match from.severity() {
            proto::Severity::Error => "error",
            proto::Severity::Warning => "warning",
            proto::Severity::Notice | proto::Severity::Unspecified => "notice",
        };
        Self {
            sequence: from.sequence,
            unix_ms: from.unix_ms,
            id: from.id,
            severity,
            text: from.text,
            link: from.link,
        }
    }
}

impl Show for EventView {
    fn show(&self) -> String {
        let link = if self.link.is_empty() { String::new() } else { format!(" [{}]", self.link) };
        format!("{}  {:7}{link}  {}  ({})\n", timestamp(self.unix_ms), self.severity, self.text, self.id)
    }
}

/// A part of the system log.
#[derive(Clone, Debug, Serialize)]
pub struct EventsView {
    /// Oldest first.
    pub events: Vec<EventView>,
}

impl Show for EventsView {
    fn show(&self) -> String {
        if self.events.is_empty() {
            return "the system log is empty\n".into();
        }
        self.events.iter().fold(String::new(), |mut out, event| {
            let _ = out.write_str(&event.show());
            out
        })
    }
}
