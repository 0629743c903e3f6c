//! Versions in the journal: their ids on both sides.
//!
//! A line of a version is written when it has arrived, with the id that it got in the target. What a version will
//! be known by there is noted before it is written where the listing of the source does not say it: an ETag that is no MD5.
//! One that is left out has a line, too: what comes after it takes its place for good.

use switchback_store::Lock;

use super::{Journal, Line};
use crate::import::entry::{Entry, of_version};

/// Of a reason that is kept: an endpoint may say anything, and a line has a limit.
const REASON_CHARACTERS_MAX: usize = 500;

impl Journal {
    /// Notes that the source still has the version, and says whether it arrived before.
    pub(crate) fn see_version(&mut self, entry: &Entry) -> bool {
        let Some(known) = self.known.get_mut(&entry.identity()) else { return false };
        known.listed = true;
        known.arrived
    }

    /// True for a version that has arrived, in this run or before.
    pub(crate) fn has_version(&self, entry: &Entry) -> bool {
        self.known.get(&entry.identity()).is_some_and(|known| known.arrived)
    }

    /// True for a version of the target that was imported.
    pub(crate) fn is_ours(&self, key: &str, here: &str) -> bool {
        self.ours.contains(&of_version(key, here))
    }

    /// The id in the target of a version that has arrived.
    pub(crate) fn here(&self, entry: &Entry) -> anyhow::Result<Option<String>> {
        let known = self.known.get(&entry.identity());
        known.map_or(Ok(None), |known| Ok(self.line(known.at)?.here))
    }

    /// The ETag that a version has in the target if it arrived unnoted.
    pub(crate) fn expected(&self, entry: &Entry) -> anyhow::Result<String> {
        let begun = self.known.get(&entry.identity()).filter(|known| !known.arrived);
        begun.map_or_else(|| Ok(entry.etag.clone()), |known| Ok(self.line(known.at)?.held))
    }

    /// Notes that a version is about to be written that will have this ETag. The line is on the disk when this returns:
    /// without it, what arrives would not be known again.
    pub(crate) fn begun(&mut self, entry: &Entry, etag: &str) -> anyhow::Result<()> {
        let line = Line { held: etag.to_owned(), ..Line::of(entry) };
        let at = self.append(&line)?;
        self.know(&line, at, true);
        self.keep()
    }

    /// Notes that a version has arrived: with this ETag, empty of a delete marker, under this id, and with this lock.
    pub(crate) fn version_arrived(
        &mut self,
        entry: &Entry,
        etag: &str,
        here: &str,
        lock: Lock,
    ) -> anyhow::Result<()> {
        let (held, here) = (etag.to_owned(), Some(here.to_owned()));
        let line = Line { held, here, lock: lock.into(), ..Line::of(entry) };
        let at = self.append(&line)?;
        self.know(&line, at, true);
        Ok(())
    }

    /// Why a version was left out, in this run or before; `None` of any other.
    pub(crate) fn skipped(&self, entry: &Entry) -> anyhow::Result<Option<String>> {
        let skipped = self.known.get(&entry.identity()).filter(|known| known.skipped);
        skipped.map_or(Ok(None), |known| Ok(self.line(known.at)?.skipped))
    }

    /// True for a version that was left out.
    pub(crate) fn is_skipped(&self, entry: &Entry) -> bool {
        self.known.get(&entry.identity()).is_some_and(|known| known.skipped)
    }

    /// Notes that a version is left out. The line is on the disk when this returns: without it, what comes after it
    /// would be taken for somebody else's.
    pub(crate) fn skip(&mut self, entry: &Entry, reason: &str) -> anyhow::Result<()> {
        let skipped = Some(reason.chars().take(REASON_CHARACTERS_MAX).collect());
        let line = Line { held: self.expected(entry)?, skipped, ..Line::of(entry) };
        let at = self.append(&line)?;
        self.know(&line, at, true);
        self.keep()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Journal {
        Journal::open(&folder.path().join("journal"), "here", "there", true).unwrap()
    }

    fn version(id: &str, modified: &str) -> Entry {
        let (version, modified) = (Some(id.to_owned()), modified.to_owned());
        Entry { key: "k".into(), version, modified, etag: "listed".into(), ..Default::default() }
    }

    #[test]
    fn a_version_has_arrived_once_its_id_is_known_and_is_gone_when_it_is_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        journal.begun(&version("0", "t"), "would be").unwrap();
        journal.begun(&version("1", "t"), "would be").unwrap();
        journal.version_arrived(&version("2", "t"), "listed", "here-2", Lock::default()).unwrap();
        drop(journal);
        let mut journal = open(&folder);
        assert!(!journal.has_version(&version("1", "t")) && journal.is_due(&version("1", "t")));
        assert!(!journal.see_version(&version("1", "t")));
        assert_eq!(journal.expected(&version("1", "t")).unwrap(), "would be");
        assert_eq!(journal.expected(&version("3", "t")).unwrap(), "listed");
        // Another way to write its time makes no other version of it.
        assert!(journal.has_version(&version("2", "T")) && !journal.is_due(&version("2", "T")));
        assert_eq!(journal.here(&version("2", "t")).unwrap().as_deref(), Some("here-2"));
        assert!(
            journal.is_ours("k", "here-2") && !journal.is_ours("k", "2") && !journal.is_ours("l", "here-2")
        );
        // One that never arrived is not gone.
        let gone = journal.gone();
        assert_eq!(gone.len(), 1);
        let gone = journal.imported(gone[0]).unwrap();
        assert_eq!(gone.here.as_deref(), Some("here-2"));
        journal.deleted(&gone).unwrap();
        assert!(!journal.is_ours("k", "here-2"));
        drop(journal);
        let journal = open(&folder);
        assert!(!journal.has_version(&version("2", "t")) && !journal.is_ours("k", "here-2"));
    }

    #[test]
    fn a_version_that_was_left_out_is_neither_due_nor_gone_until_it_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        journal.begun(&version("1", "t"), "would be").unwrap();
        journal.skip(&version("1", "t"), &"\u{1}é".repeat(1000)).unwrap();
        drop(journal);
        let mut journal = open(&folder);
        let left_out = version("1", "t");
        assert_eq!(journal.skipped(&left_out).unwrap().unwrap().chars().count(), REASON_CHARACTERS_MAX);
        assert!(journal.is_skipped(&left_out) && !journal.is_due(&left_out));
        assert!(!journal.see_version(&left_out) && !journal.has_version(&left_out));
        assert!(journal.gone().is_empty() && !journal.is_skipped(&version("2", "t")));
        assert_eq!(journal.skipped(&version("2", "t")).unwrap(), None);
        // An earlier try may have arrived after all.
        assert_eq!(journal.expected(&left_out).unwrap(), "would be");
        journal.begun(&left_out, "would be").unwrap();
        assert!(!journal.is_skipped(&left_out) && journal.is_due(&left_out));
    }

    #[test]
    fn a_null_version_that_was_overwritten_is_gone_and_another_one_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(&folder);
        journal.version_arrived(&version("null", "1"), "listed", "here-1", Lock::default()).unwrap();
        drop(journal);
        let mut journal = open(&folder);
        assert!(!journal.see_version(&version("null", "2")) && journal.is_due(&version("null", "2")));
        assert_eq!(journal.gone().len(), 1);
        journal.version_arrived(&version("null", "2"), "listed", "here-2", Lock::default()).unwrap();
        let gone = journal.imported(journal.gone()[0]).unwrap();
        assert_eq!(gone.here.as_deref(), Some("here-1"));
        journal.deleted(&gone).unwrap();
        drop(journal);
        let mut journal = open(&folder);
        assert!(journal.see_version(&version("null", "2")) && journal.gone().is_empty());
    }
}
