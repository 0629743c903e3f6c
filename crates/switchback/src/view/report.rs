//! The divergence report and the retry list.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use switchback_proto::link::v1 as proto;
use switchback_proto::model::v1::{Divergence, Version};

use super::command::PeerPendingView;
use super::kind_name;
use crate::output::{Show, table};
use crate::time::{bytes, timestamp};

/// A version, as reports name it.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    /// Hybrid logical clock, 16 hexadecimal digits.
    pub hlc: String,
    /// The clock's physical part.
    pub unix_ms: i64,
    /// Where it was written: 16 hexadecimal digits.
    pub site: String,
    /// That system's name, where known.
    pub system: String,
    /// It was a delete.
    pub deleted: bool,
    /// An object's; 0 for everything else.
    pub size: u64,
    /// An object's; empty for everything else.
    pub etag: String,
}

/// A configuration record that lost, so that it can be made anew.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigurationView {
    /// When it was made.
    pub created_unix_ms: i64,
    /// The operator's words.
    pub description: String,
    /// Free settings, by name.
    pub settings: BTreeMap<String, String>,
    /// Of a credential: what it might do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rights: String,
}

impl VersionView {
    fn new(version: Option<Version>, system: String, deleted: bool, size: u64, etag: String) -> Self {
        let version = version.unwrap_or_default();
        // 48 bits of milliseconds always fit.
        let unix_ms = i64::try_from(version.hlc >> 16).unwrap_or(0);
        Self {
            hlc: format!("{:016x}", version.hlc),
            unix_ms,
            site: format!("{:016x}", version.site),
            system,
            deleted,
            size,
            etag,
        }
    }

    fn cell(&self) -> String {
        let what = if self.deleted { "deleted" } else { "written" };
        let system = if self.system.is_empty() { &self.site } else { &self.system };
        let mut cell = format!("{what} on {system} at {}", timestamp(self.unix_ms));
        if !self.etag.is_empty() {
            let _ = write!(cell, ", {}, ETag {}", bytes(self.size), self.etag);
        }
        cell
    }
}

/// A conflict that was decided.
#[derive(Clone, Debug, Serialize)]
pub struct DivergenceView {
    /// `tenant` or `directory`.
    pub kind: &'static str,
    /// The content's name.
    pub content: String,
    /// Empty for a configuration record.
    pub namespace: String,
    /// The object's key.
    pub key: String,
    /// What is current.
    pub winner: VersionView,
    /// What was superseded.
    pub loser: VersionView,
    /// Which rule decided.
    pub rule: String,
    /// Where the loser's content can be read; empty when it had none.
    pub kept_at: String,
    /// Odd: of the failover that the conflict belongs to. Even: of the grant or loss that ended it.
    pub epoch: u64,
    /// What the loser said, when it was configuration and no delete.
    pub loser_configuration: Option<ConfigurationView>,
}

impl From<Divergence> for DivergenceView {
    fn from(from: Divergence) -> Self {
        let content = from.content.unwrap_or_default();
        Self {
            kind: kind_name(content.kind),
            content: content.name,
            namespace: from.namespace,
            key: from.key,
            winner: VersionView::new(
                from.winner,
                from.winner_system,
                from.winner_deleted,
                from.winner_size,
                from.winner_etag,
            ),
            loser: VersionView::new(
                from.loser,
                from.loser_system,
                from.loser_deleted,
                from.loser_size,
                from.loser_etag,
            ),
            rule: from.rule,
            kept_at: from.kept_at,
            epoch: from.epoch,
            loser_configuration: from.loser_configuration.map(|was| ConfigurationView {
                created_unix_ms: was.created_unix_ms,
                description: was.description,
                settings: was.settings,
                rights: was.rights,
            }),
        }
    }
}

impl DivergenceView {
    /// An object by namespace and key, a configuration record by its kind and name.
    fn name(&self) -> String {
        if self.namespace.is_empty() { self.key.clone() } else { format!("{}/{}", self.namespace, self.key) }
    }
}

impl ConfigurationView {
    fn cell(&self) -> String {
        let mut cell = format!("made at {}", timestamp(self.created_unix_ms));
        if !self.description.is_empty() {
            let _ = write!(cell, ", {:?}", self.description);
        }
        for (name, value) in &self.settings {
            let _ = write!(cell, ", {name}={value}");
        }
        if !self.rights.is_empty() {
            let _ = write!(cell, ", rights: {}", self.rights);
        }
        cell
    }
}

/// The divergence report of a link.
#[derive(Clone, Debug, Serialize)]
pub struct DivergencesView {
    /// By content, then the oldest loser first: the same order on both systems.
    pub divergences: Vec<DivergenceView>,
    /// What the other side held alone whenever this side went on without it: this side's own
    /// knowledge, by epoch.
    pub absences: Vec<AbsenceView>,
}

/// What the other side held alone when this side went on without it.
#[derive(Clone, Debug, Serialize)]
pub struct AbsenceView {
    /// The epoch in which this side went on.
    pub epoch: u64,
    /// When.
    pub noted_unix_ms: i64,
    /// As known then.
    pub missing: PeerPendingView,
    /// When the other system was replaced; 0: it was not. What had not arrived is lost then.
    pub gone_unix_ms: i64,
    /// All that it had told of has arrived since.
    pub arrived: bool,
}

impl From<proto::ListDivergencesResponse> for DivergencesView {
    fn from(from: proto::ListDivergencesResponse) -> Self {
        let absence = |absence: proto::Absence| AbsenceView {
            epoch: absence.epoch,
            noted_unix_ms: absence.noted_unix_ms,
            missing: absence.missing.unwrap_or_default().into(),
            gone_unix_ms: absence.gone_unix_ms,
            arrived: absence.arrived,
        };
        Self {
            divergences: from.divergences.into_iter().map(Into::into).collect(),
            absences: from.absences.into_iter().map(absence).collect(),
        }
    }
}

impl AbsenceView {
    fn lines(&self) -> String {
        let system = &self.missing.system;
        let mut out =
            format!("epoch {}: went on without {system} at {}\n", self.epoch, timestamp(self.noted_unix_ms));
        out += &self.missing.lines();
        out += &match (self.arrived, self.gone_unix_ms) {
            (true, 0) => format!("all that {system} had told of has arrived since\n"),
            (false, 0) => format!("not lost while {system} can come back with it\n"),
            (true, gone) => format!(
                "{system} was replaced at {}: what it had told of had arrived; what it never told of is lost\n",
                timestamp(gone)
            ),
            (false, gone) => format!(
                "LOST: {system} was replaced at {}, and what is named here with it, and what it never told of\n",
                timestamp(gone)
            ),
        };
        out
    }
}

impl Show for DivergencesView {
    fn show(&self) -> String {
        let absences: String = self.absences.iter().map(AbsenceView::lines).collect();
        if self.divergences.is_empty() {
            return format!("no divergences\n{absences}");
        }
        let divergences = self.divergences.iter().fold(String::new(), |mut out, divergence| {
            let _ = writeln!(
                out,
                "{} {} {}\n  won         {}\n  superseded  {}\n  rule        {}, epoch {}",
                divergence.kind,
                divergence.content,
                divergence.name(),
                divergence.winner.cell(),
                divergence.loser.cell(),
                divergence.rule,
                divergence.epoch,
            );
            if let Some(was) = &divergence.loser_configuration {
                let _ = writeln!(out, "  it said     {}", was.cell());
            }
            if !divergence.kept_at.is_empty() {
                let _ = writeln!(out, "  kept at     {}/{}", divergence.namespace, divergence.kept_at);
            }
            out
        });
        divergences + &absences
    }
}

/// An object that fails, and is retried beside the flow.
#[derive(Clone, Debug, Serialize)]
pub struct RetryView {
    /// `tenant` or `directory`.
    pub kind: &'static str,
    /// The content's name.
    pub content: String,
    /// The bucket.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// Why it fails.
    pub reason: String,
    /// So far.
    pub attempts: u32,
    /// When it is tried again.
    pub next_attempt_unix_ms: i64,
    /// An operator said that recovery may complete without it.
    pub set_aside: bool,
}

impl From<proto::Retry> for RetryView {
    fn from(from: proto::Retry) -> Self {
        let content = from.content.unwrap_or_default();
        Self {
            kind: kind_name(content.kind),
            content: content.name,
            namespace: from.namespace,
            key: from.key,
            reason: from.reason,
            attempts: from.attempts,
            next_attempt_unix_ms: from.next_attempt_unix_ms,
            set_aside: from.set_aside,
        }
    }
}

/// The retry list of a link.
#[derive(Clone, Debug, Serialize)]
pub struct RetriesView {
    /// In the order in which they are tried.
    pub retries: Vec<RetryView>,
}

impl Show for RetriesView {
    fn show(&self) -> String {
        let rows = self.retries.iter().map(|retry| {
            let next =
                if retry.set_aside { "set aside".into() } else { timestamp(retry.next_attempt_unix_ms) };
            vec![
                format!("{} {}", retry.kind, retry.content),
                format!("{}/{}", retry.namespace, retry.key),
                retry.attempts.to_string(),
                next,
                retry.reason.clone(),
            ]
        });
        let head = ["content", "object", "attempts", "next attempt", "reason"];
        table(&head, rows.collect(), "nothing is failing")
    }
}
