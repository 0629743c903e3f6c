//! The divergence report and the retry list.

use std::fmt::Write as _;

use serde::Serialize;
use switchback_proto::link::v1 as proto;
use switchback_proto::model::v1::{Divergence, Version};

use super::kind_name;
use crate::output::{Show, table};
use crate::time::timestamp;

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
}

impl VersionView {
    fn new(version: Option<Version>, system: String, deleted: bool) -> Self {
        let version = version.unwrap_or_default();
        // 48 bits of milliseconds always fit.
        let unix_ms = i64::try_from(version.hlc >> 16).unwrap_or(0);
        Self {
            hlc: format!("{:016x}", version.hlc),
            unix_ms,
            site: format!("{:016x}", version.site),
            system,
            deleted,
        }
    }

    fn cell(&self) -> String {
        let what = if self.deleted { "deleted" } else { "written" };
        let system = if self.system.is_empty() { &self.site } else { &self.system };
        format!("{what} on {system} at {}", timestamp(self.unix_ms))
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
}

impl From<Divergence> for DivergenceView {
    fn from(from: Divergence) -> Self {
        let content = from.content.unwrap_or_default();
        Self {
            kind: kind_name(content.kind),
            content: content.name,
            namespace: from.namespace,
            key: from.key,
            winner: VersionView::new(from.winner, from.winner_system, from.winner_deleted),
            loser: VersionView::new(from.loser, from.loser_system, from.loser_deleted),
            rule: from.rule,
            kept_at: from.kept_at,
        }
    }
}

/// The divergence report of a link.
#[derive(Clone, Debug, Serialize)]
pub struct DivergencesView {
    /// Oldest first.
    pub divergences: Vec<DivergenceView>,
}

impl Show for DivergencesView {
    fn show(&self) -> String {
        if self.divergences.is_empty() {
            return "no divergences\n".into();
        }
        self.divergences.iter().fold(String::new(), |mut out, divergence| {
            let _ = writeln!(
                out,
                "{} {} {}/{}\n  current     {}\n  superseded  {}\n  rule        {}",
                divergence.kind,
                divergence.content,
                divergence.namespace,
                divergence.key,
                divergence.winner.cell(),
                divergence.loser.cell(),
                divergence.rule,
            );
            if !divergence.kept_at.is_empty() {
                let _ = writeln!(out, "  kept at     {}/{}", divergence.namespace, divergence.kept_at);
            }
            out
        })
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
