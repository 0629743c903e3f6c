//! What an import did.

use std::time::Duration;

use serde::Serialize;

use crate::output::{Show, fields};
use crate::time::{bytes, duration};

/// One run of an import.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImportView {
    /// The folder, or the endpoint, bucket and prefix.
    pub source: String,
    /// The endpoint, bucket and prefix.
    pub target: String,
    /// What is counted here as objects are versions and delete markers.
    pub versions: bool,
    /// Nothing was moved: what is due was counted.
    pub plan: bool,
    /// Objects that are due; of a plan only.
    pub due_objects: u64,
    /// Their bytes; of a plan only.
    pub due_bytes: u64,
    /// Objects that the source lists.
    pub listed: u64,
    /// Of these, those that were there from an earlier run.
    pub unchanged: u64,
    /// Of these, those that were moved.
    pub objects: u64,
    /// What arrived, that of objects which failed in the end included.
    pub bytes: u64,
    /// Objects that were deleted since the source has them no more.
    pub deleted: u64,
    /// Objects that were brought, and are kept though the source has them no more.
    pub gone: u64,
    /// Objects that the source had no more when they were to be read.
    pub vanished: u64,
    /// What became of retentions and legal holds.
    pub locks: LocksView,
    /// Of what was moved, objects that arrived with the lock that they have at the source.
    pub locked: u64,
    /// Objects of earlier runs whose lock was made stronger now.
    pub strengthened: u64,
    /// Of what was moved, objects that arrived without the lock that they have at the source.
    pub unlocked: u64,
    /// Versions that wait for an earlier one of their key, which failed.
    pub waiting: u64,
    /// Objects that failed.
    pub failed: u64,
    /// Of these, versions that the source lists and does not give, and that can be left out.
    pub unreadable: u64,
    /// The first thousand objects that failed.
    pub failures: Vec<FailedView>,
    /// Versions that the source lists and that were left out, in this run or before, since it did not give them.
    pub skipped: u64,
    /// The first thousand of them.
    pub skips: Vec<FailedView>,
    /// From begin to end.
    pub elapsed_ms: u64,
}

/// What becomes of the retentions and legal holds of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocksView {
    /// There are none: the source has no object lock.
    #[default]
    None,
    /// They are brought.
    Brought,
    /// They are left out, since that was asked for.
    LeftOut,
    /// Whether there are any is not told to who asks unsigned.
    Untold,
}

/// An object that failed, or that was left out.
#[derive(Clone, Debug, Serialize)]
pub struct FailedView {
    /// In the source.
    pub key: String,
    /// Of a version, its id in the source, or in the target if it could not be deleted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why.
    pub reason: String,
}

/// What an import counts.
pub(crate) fn noun(versions: bool) -> &'static str {
    if versions { "versions" } else { "objects" }
}

impl ImportView {
    fn locks(&self) -> String {
        match self.locks {
            LocksView::None => String::new(),
            LocksView::Brought => format!("{} brought, {} made stronger", self.locked, self.strengthened),
            LocksView::LeftOut => format!("left out, {} of what was moved", self.unlocked),
            LocksView::Untold => "the source does not tell of any to requests without a signature".into(),
        }
    }
}

impl Show for ImportView {
    fn show(&self) -> String {
        let noun = noun(self.versions);
        if self.plan {
            let due = format!("{} {noun}, {}", self.due_objects, bytes(self.due_bytes));
            return fields(&[("from", self.source.clone()), ("to", self.target.clone()), ("due", due)]);
        }
        let time = Duration::from_millis(self.elapsed_ms);
        let rate = bytes((self.bytes as f64 / time.as_secs_f64().max(0.001)) as u64);
        let unless_none = |count: u64| if count == 0 { String::new() } else { format!("{count} {noun}") };
        fields(&[
            ("from", self.source.clone()),
            ("to", self.target.clone()),
            ("listed", format!("{} {noun}", self.listed)),
            ("unchanged", unless_none(self.unchanged)),
            (
                "moved",
                format!("{} {noun}, {} in {} ({rate}/s)", self.objects, bytes(self.bytes), duration(time)),
            ),
            ("locks", self.locks()),
            ("deleted", unless_none(self.deleted)),
            ("gone", unless_none(self.gone)),
            ("vanished", unless_none(self.vanished)),
            ("left out", unless_none(self.skipped)),
            ("failed", unless_none(self.failed)),
            ("waiting", unless_none(self.waiting)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_was_done_and_nothing_of_what_was_not() {
        let view = ImportView {
            listed: 3,
            objects: 2,
            bytes: 2048,
            failed: 1,
            elapsed_ms: 2000,
            ..Default::default()
        };
        assert_eq!(
            view.show(),
            "listed     3 objects\nmoved      2 objects, 2.00 KiB in 2.0 s (1.00 KiB/s)\nfailed     1 objects\n"
        );
        let plan = ImportView { plan: true, due_objects: 7, due_bytes: 1024, ..view };
        assert_eq!(plan.show(), "due   7 objects, 1.00 KiB\n");
        let versions = ImportView { versions: true, gone: 1, failed: 1, waiting: 2, ..Default::default() };
        assert_eq!(
            versions.show(),
            "listed     0 versions\nmoved      0 versions, 0 B in 0.0 s (0 B/s)\ngone       1 versions\n\
            failed     1 versions\nwaiting    2 versions\n"
        );
        let locks =
            |locks| ImportView { locks, locked: 1, strengthened: 2, unlocked: 3, ..Default::default() };
        assert!(locks(LocksView::Brought).show().contains("locks      1 brought, 2 made stronger\n"));
        assert!(locks(LocksView::LeftOut).show().contains("locks      left out, 3 of what was moved\n"));
        let left_out = ImportView { versions: true, vanished: 1, skipped: 2, ..Default::default() };
        assert!(left_out.show().ends_with("vanished   1 versions\nleft out   2 versions\n"));
    }
}
