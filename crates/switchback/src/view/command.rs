//! What a command on a link did, or would do.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use switchback_proto::link::v1 as proto;

use super::link::LinkView;
use super::mode_short;
use crate::output::Show;
use crate::time::{bytes, duration};

/// What is not known to be on the other side.
#[derive(Clone, Debug, Serialize)]
pub struct PendingView {
    /// Number of changes.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first thousand, by name.
    pub records: Vec<String>,
    /// There are more.
    pub truncated: bool,
    /// What cannot be known from here.
    pub unknown: String,
}

/// What a command on a link did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct CommandView {
    /// Repeating the command with this id does nothing and gives this answer.
    pub request_id: String,
    /// Nothing was changed.
    pub plan: bool,
    /// What was done, or would be, in order.
    pub steps: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// With a plan of a command that moves authority.
    pub pending: Option<PendingView>,
    /// From the command to the end of its last step.
    pub took_ms: u64,
    /// The link after the command; absent when it was deleted.
    pub link: Option<LinkView>,
}

impl CommandView {
    /// The answer to the command `request_id`.
    #[must_use]
    pub fn new(request_id: String, plan: bool, from: proto::CommandResponse) -> Self {
        Self {
            request_id,
            plan,
            steps: from.steps,
            warnings: from.warnings,
            pending: from.pending.map(|pending| PendingView {
                objects: pending.objects,
                bytes: pending.bytes,
                records: pending.records,
                truncated: pending.truncated,
                unknown: pending.unknown,
            }),
            took_ms: from.took_ms,
            link: from.link.map(Into::into),
        }
    }
}

impl Show for CommandView {
    fn show(&self) -> String {
        let mut out = String::new();
        if self.plan {
            out += "plan: nothing was changed; this would happen\n";
        }
        for (number, step) in self.steps.iter().enumerate() {
            let _ = writeln!(out, "{:3}. {step}", number + 1);
        }
        if let Some(pending) = &self.pending {
            let _ = writeln!(
                out,
                "not known to be on the other side: {} objects, {}",
                pending.objects,
                bytes(pending.bytes)
            );
            for record in &pending.records {
                let _ = writeln!(out, "     {record}");
            }
            if pending.truncated {
                out += "     ... and more\n";
            }
            if !pending.unknown.is_empty() {
                let _ = writeln!(out, "not known from here: {}", pending.unknown);
            }
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "! {warning}");
        }
        if !self.plan {
            let _ = writeln!(out, "done in {}", duration(Duration::from_millis(self.took_ms)));
        }
        if let Some(link) = self.link.as_ref().filter(|_| !self.plan) {
            let _ = write!(out, "link {} is {}", link.name, link.state_line());
            // A mode that is just being changed is not known for a moment.
            let _ = match mode_short(link.mode) {
                "?" => writeln!(out),
                mode => writeln!(out, ", {mode} here"),
            };
            if !link.next_step.is_empty() {
                let _ = writeln!(out, "next: {}", link.next_step);
            }
        }
        out
    }
}
