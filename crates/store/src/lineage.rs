//! The lives of a store behind a feed: what tells a store that goes on from one that went back to a
//! backup and then wrote as much again, and what such a store wrote without knowing what it had forgotten.

use switchback_model::Hlc;

/// Runs that are remembered of one feed. A peer whose place is in an older one than that is asked nothing.
pub(crate) const RUNS_MAX: usize = 64;

/// One run of a store, from its start to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// A random number.
    pub id: u64,
    /// The first place of the feed that it wrote.
    pub first: u64,
    /// The highest time that the store knew when the run began: all that it writes is later.
    pub began: Hlc,
}

/// Where a store wrote on that had gone back to a backup, unknowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// From this place of its feed on it wrote what its peer did not know, and did not know what its peer
    /// had of it.
    pub from: u64,
    /// What it had written later than that, and is on no feed of its own any more, it has forgotten.
    pub after: Hlc,
    /// Through this place, before that one, its peer had read it.
    pub read: u64,
}

/// From which place on a feed was written by which run of its store.
///
/// A store that goes on has all of its runs. One that went back to a backup lacks those after it, and what
/// it writes from there on is of a new one: a peer that is further knows the places by another name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Vec<Run>);

impl Lineage {
    /// Of runs in order; no more than a store remembers.
    #[must_use]
    pub fn new(runs: impl IntoIterator<Item = Run>) -> Self {
        Self(runs.into_iter().take(RUNS_MAX).collect())
    }

    /// The runs, in order.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.0
    }

    /// The run `id` writes from `first` on, if it does not do so already.
    pub(crate) fn go_on(&mut self, run: Run) {
        if self.0.last().is_some_and(|last| last.id == run.id) {
            return;
        }
        if self.0.len() == RUNS_MAX {
            self.0.remove(0);
        }
        self.0.push(run);
    }

    /// The run that wrote at `sequence`, as far as it is remembered.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Option<u64> {
        self.0.iter().rev().find(|run| run.first <= sequence).map(|run| run.id)
    }

    /// What it was when the feed had come to `sequence`.
    pub(crate) fn until(&self, sequence: u64) -> Self {
        Self(self.0.iter().copied().take_while(|run| run.first <= sequence).collect())
    }

    /// Where this store parted from what a peer has read of it, the runs `read` to the place `through`: with
    /// the first run after those. Not known, of which runs there are or which were read: nowhere.
    #[must_use]
    pub fn parting(&self, read: &Self, through: u64) -> Option<Parting> {
        let is_read = |id: u64| read.0.iter().any(|run| run.id == id);
        let last = self.0.iter().rposition(|run| is_read(run.id))?;
        let run = self.0.get(last + 1)?;
        Some(Parting { from: run.first, after: run.began, read: through.min(run.first.saturating_sub(1)) })
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

    fn run(id: u64, first: u64) -> Run {
        Run { id, first, began: Hlc(100 * first) }
    }

    #[test]
    fn a_store_that_goes_on_is_told_from_one_that_wrote_as_much_again() {
        let mut before = Lineage::default();
        before.go_on(run(7, 1));
        before.go_on(run(8, 10));
        let known = before.at(15);
        assert_eq!((before.at(9), known), (Some(7), Some(8)));
        let (mut on, mut back) = (before.clone(), Lineage::new([run(7, 1)]));
        on.go_on(run(9, 20));
        back.go_on(run(9, 10));
        assert!(!on.differs(15, known) && back.differs(15, known));
        assert!(!back.differs(9, before.at(9)), "the backup holds all that this peer has");
    }

    #[test]
    fn a_store_parts_from_who_read_on_where_it_began_after_a_backup() {
        let read = Lineage::new([run(7, 1), run(8, 10), run(9, 20)]);
        let back = Lineage::new([run(7, 1), run(8, 10), run(5, 14), run(6, 30)]);
        let parting = |through, read_to| {
            let expected = Parting { from: 14, after: Hlc(1_400), read: read_to };
            assert_eq!(back.parting(&read, through), Some(expected));
        };
        parting(25, 13);
        parting(12, 12);
        assert_eq!(read.parting(&read, 25), None);
        assert_eq!(read.until(20), read);
        for nothing in [Lineage::default(), Lineage::new([run(3, 1)])] {
            assert_eq!((back.parting(&nothing, 9), nothing.parting(&back, 9)), (None, None));
        }
    }

    #[test]
    fn what_is_not_remembered_accuses_nobody() {
        let mut lineage = Lineage::default();
        assert!(!lineage.differs(5, Some(1)) && !lineage.differs(0, Some(1)));
        for id in 0..100 {
            lineage.go_on(run(id, 1 + 10 * id));
            lineage.go_on(run(id, 5 + 10 * id));
        }
        assert_eq!(lineage.runs().len(), RUNS_MAX);
        assert!(
            !lineage.differs(5, Some(77)) && !lineage.differs(995, None) && lineage.differs(995, Some(77))
        );
    }
}
