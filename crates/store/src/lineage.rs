//! The lives of a store behind a feed: what tells a store that goes on from one that went back to a
//! backup and then wrote as much again.

/// Runs that are remembered of one feed. A peer whose place is in an older one than that is asked nothing.
pub(crate) const RUNS_MAX: usize = 64;

/// From which place on a feed was written by which run of its store. A run is named by a random number.
///
/// A store that goes on has all of its runs. One that went back to a backup lacks those after it, and what
/// it writes from there on is of a new one: a peer that is further knows the places by another name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Vec<(u64, u64)>);

impl Lineage {
    /// Of runs and the first place of each, in order; no more than a store remembers.
    #[must_use]
    pub fn new(runs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        Self(runs.into_iter().take(RUNS_MAX).collect())
    }

    /// Runs and the first place of each, in order.
    #[must_use]
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// `run` writes from `first` on, if it does not do so already.
    pub(crate) fn go_on(&mut self, run: u64, first: u64) {
        if self.0.last().is_some_and(|(last, _)| *last == run) {
            return;
        }
        if self.0.len() == RUNS_MAX {
            self.0.remove(0);
        }
        self.0.push((run, first));
    }

    /// The run that wrote at `sequence`, as far as it is remembered.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Option<u64> {
        self.0.iter().rev().find(|(_, first)| *first <= sequence).map(|(run, _)| *run)
    }

    /// What it was when the feed had come to `sequence`.
    pub(crate) fn until(&self, sequence: u64) -> Self {
        Self(self.0.iter().copied().take_while(|(_, first)| *first <= sequence).collect())
    }

    /// The first place that was written after the last run that is in `read`, too: whoever has read those
    /// runs knows nothing of what is there. Not known, of which runs there are or which were read: none.
    pub(crate) fn unread(&self, read: &Self) -> Option<u64> {
        let is_read = |run: u64| read.0.iter().any(|(known, _)| *known == run);
        let last = self.0.iter().rposition(|(run, _)| is_read(*run))?;
        self.0.get(last + 1).map(|(_, first)| *first)
    }

    /// Who has come to `sequence` knows it to be of `run`, and here it is of another one: the store went
    /// back in time. Not known, on either side: no.
    #[must_use]
    pub fn differs(&self, sequence: u64, run: Option<u64>) -> bool {
        sequence > 0 && run.is_some_and(|run| self.at(sequence).is_some_and(|here| here != run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_goes_on_is_told_from_one_that_wrote_as_much_again() {
        let mut before = Lineage::default();
        before.go_on(7, 1);
        before.go_on(8, 10);
        let known = before.at(15);
        assert_eq!((before.at(9), known), (Some(7), Some(8)));
        let (mut on, mut back) = (before.clone(), Lineage::new([(7, 1)]));
        on.go_on(9, 20);
        back.go_on(9, 10);
        assert!(!on.differs(15, known) && back.differs(15, known));
        assert!(!back.differs(9, before.at(9)), "the backup holds all that this peer has");
    }

    #[test]
    fn what_was_written_after_a_backup_is_not_read_by_who_read_on_before() {
        let read = Lineage::new([(7, 1), (8, 10), (9, 20)]);
        let back = Lineage::new([(7, 1), (8, 10), (5, 14), (6, 30)]);
        assert_eq!(back.unread(&read), Some(14));
        assert_eq!(read.unread(&read), None);
        assert_eq!(read.unread(&read.until(19)), Some(20), "nor by who has not come so far");
        assert_eq!(read.until(20), read);
        for nothing in [Lineage::default(), Lineage::new([(3, 1)])] {
            assert_eq!((back.unread(&nothing), nothing.unread(&back)), (None, None));
        }
    }

    #[test]
    fn what_is_not_remembered_accuses_nobody() {
        let mut lineage = Lineage::default();
        assert!(!lineage.differs(5, Some(1)) && !lineage.differs(0, Some(1)));
        for run in 0..100 {
            lineage.go_on(run, 1 + 10 * run);
            lineage.go_on(run, 5 + 10 * run);
        }
        assert_eq!(lineage.runs().len(), RUNS_MAX);
        assert!(
            !lineage.differs(5, Some(77)) && !lineage.differs(995, None) && lineage.differs(995, Some(77))
        );
    }
}
