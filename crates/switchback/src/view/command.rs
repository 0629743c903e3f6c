//! What a command on a link did, or would do.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use switchback_proto::link::v1 as proto;
use switchback_proto::model::v1::{FeedGap, PeerKnowledge};

use super::link::LinkView;
use super::{kind_name, mode_short};
use crate::output::Show;
use crate::time::{ago, bytes, duration, timestamp};

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
    /// What the other side has and this one has not.
    pub peer: Option<PeerPendingView>,
}

/// What the other side has and this one has not.
#[derive(Clone, Debug, Serialize)]
pub struct PeerPendingView {
    /// The other system's name.
    pub system: String,
    /// `asked`: it was asked just now. `told`: this is what it told last. `none`: it told nothing.
    pub knowledge: &'static str,
    /// When it was asked, or last told; 0 when never.
    pub told_unix_ms: i64,
    /// Exact when asked, else at most.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those known by name, without those that have arrived since; a thousand at most.
    pub records: Vec<String>,
    /// There are more.
    pub truncated: bool,
    /// When it gave the names; 0 when never.
    pub listed_unix_ms: i64,
    /// What it had made durable before this instant, by its clock, is here; 0 when not known.
    pub complete_as_of_unix_ms: i64,
    /// By content: how far its feed goes, as told, and how far it is applied here.
    pub positions: Vec<FeedGapView>,
}

/// The other side's feed of one content.
#[derive(Clone, Debug, Serialize)]
pub struct FeedGapView {
    /// `tenant` or `directory`.
    pub kind: &'static str,
    /// The content's name.
    pub content: String,
    /// Number of its last change, as told.
    pub head_sequence: u64,
    /// Number of the last change that is applied here.
    pub applied_sequence: u64,
}

impl From<proto::PeerPending> for PeerPendingView {
    fn from(from: proto::PeerPending) -> Self {
        let knowledge = match from.knowledge() {
            PeerKnowledge::Asked => "asked",
            PeerKnowledge::Told => "told",
            PeerKnowledge::None | PeerKnowledge::Unspecified => "none",
        };
        let position = |gap: FeedGap| {
            let head = gap.head.unwrap_or_default();
            let content = head.content.unwrap_or_default();
            FeedGapView {
                kind: kind_name(content.kind),
                content: content.name,
                head_sequence: head.sequence,
                applied_sequence: gap.applied_sequence,
            }
        };
        Self {
            system: from.system,
            knowledge,
            told_unix_ms: from.told_unix_ms,
            objects: from.objects,
            bytes: from.bytes,
            records: from.records,
            truncated: from.truncated,
            listed_unix_ms: from.listed_unix_ms,
            complete_as_of_unix_ms: from.complete_as_of_unix_ms,
            positions: from.positions.into_iter().map(position).collect(),
        }
    }
}

impl From<proto::Pending> for PendingView {
    fn from(from: proto::Pending) -> Self {
        Self {
            objects: from.objects,
            bytes: from.bytes,
            records: from.records,
            truncated: from.truncated,
            unknown: from.unknown,
            peer: from.peer.map(Into::into),
        }
    }
}

impl PendingView {
    fn lines(&self) -> String {
        let peer = self.peer.as_ref().map_or("the other side", |peer| peer.system.as_str());
        let count = format!("{} changes, {}", self.objects, bytes(self.bytes));
        let mut out = format!("known: here and not known to be on {peer}: {count}\n");
        out += &list(&self.records, self.truncated);
        if let Some(peer) = &self.peer {
            out += &peer.lines();
        }
        if !self.unknown.is_empty() {
            let _ = writeln!(out, "cannot be known from here: {}", self.unknown);
        }
        out
    }
}

impl PeerPendingView {
    /// For people.
    pub(crate) fn lines(&self) -> String {
        let (system, count) = (&self.system, format!("{} changes, {}", self.objects, bytes(self.bytes)));
        let when = |unix_ms: i64| format!("{} ({})", timestamp(unix_ms), ago(unix_ms));
        let mut out = String::new();
        match self.knowledge {
            "asked" => {
                let _ = writeln!(out, "known: on {system} and not here, as it says now: {count}");
                out += &list(&self.records, self.truncated);
            }
            "told" => {
                let told = when(self.told_unix_ms);
                let _ = writeln!(out, "as last told at {told}: on {system} and not here, at most: {count}");
                if !self.records.is_empty() {
                    let _ = writeln!(out, "   of these it named, at {}:", when(self.listed_unix_ms));
                    out += &list(&self.records, self.truncated);
                }
            }
            _ => {}
        }
        if self.complete_as_of_unix_ms != 0 {
            let as_of = when(self.complete_as_of_unix_ms);
            let _ = writeln!(out, "known: what {system} acknowledged before {as_of} is here");
        }
        out
    }
}

fn list(records: &[String], truncated: bool) -> String {
    let mut out: String = records.iter().map(|record| format!("     {record}\n")).collect();
    if truncated && !records.is_empty() {
        out += "     ... and more\n";
    }
    out
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
            pending: from.pending.map(Into::into),
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
            out += &pending.lines();
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
