//! What `switchback store check` says.

use serde::Serialize;
use switchback_store::{Checked, Finding};

use crate::output::{Show, fields};
use crate::time::bytes;

/// One problem.
#[derive(Debug, Serialize)]
pub struct FindingView {
    /// A content, and what in it.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl From<Finding> for FindingView {
    fn from(Finding { place, problem }: Finding) -> Self {
        Self { place, problem }
    }
}

impl Show for FindingView {
    fn show(&self) -> String {
        format!("{}: {}\n", self.place, self.problem)
    }
}

/// The end of a check.
#[derive(Debug, Serialize)]
pub struct CheckedView {
    /// Tenants and directories, the reserved tenant included.
    pub contents: u64,
    /// Of all kinds, tombstones included.
    pub records: u64,
    /// Objects among them.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that something names.
    pub blobs: u64,
    /// Blobs that nothing knows: the data mover deletes them after its next start.
    pub orphans: u64,
    /// Problems.
    pub findings: u64,
}

impl From<Checked> for CheckedView {
    fn from(from: Checked) -> Self {
        let Checked { contents, records, objects, bytes, blobs, orphans, findings } = from;
        Self { contents, records, objects, bytes, blobs, orphans, findings }
    }
}

impl Show for CheckedView {
    fn show(&self) -> String {
        fields(&[
            ("contents", self.contents.to_string()),
            ("records", self.records.to_string()),
            ("objects", format!("{}, {}", self.objects, bytes(self.bytes))),
            ("blobs", format!("{}, and {} that nothing knows", self.blobs, self.orphans)),
            ("problems", self.findings.to_string()),
        ])
    }
}
