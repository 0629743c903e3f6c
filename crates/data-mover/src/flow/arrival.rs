//! Batches that came and are not durable yet. Whole ones that wait while a commit is under way are
//! made durable together by the next: a flush costs the same for one batch and for many. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use switchback_proto::replication::v1::RefusedChange;
use switchback_store::{Applied, Body, Change, Record};

use super::lease::Lease;
use super::limit::{COMMIT_BYTES_MAX, COMMIT_RECORDS_MAX};

/// A batch that is not being made durable yet.
#[derive(Default)]
pub(crate) struct Arriving {
    pub(crate) number: u64,
    pub(crate) through: u64,
    pub(crate) changes: Vec<Arrived>,
    /// Bodies that are not durable here yet, by the places of their changes: their hashes.
    pub(crate) bodies: Vec<(u32, [u8; 32])>,
    /// Of these bodies, and of those that have become durable since.
    pub(crate) leases: Vec<Arc<Lease>>,
}

/// One change of it.
pub(crate) struct Arrived {
    pub(crate) change: Change,
    /// Why it cannot be applied.
    pub(crate) refused: Option<String>,
    /// The sender keeps it on its own list: nothing is to be said about it.
    pub(crate) withdrawn: bool,
}

impl Arriving {
    /// Nothing that belongs to it is on its way any more.
    fn is_whole(&self) -> bool {
        self.bodies.is_empty()
    }

    /// A body of these bytes is on its way.
    pub(crate) fn awaits(&self, hash: &[u8; 32]) -> bool {
        self.bodies.iter().any(|(_, of)| of == hash)
    }
}

/// Batches that become durable in one commit.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) batches: Vec<Gathered>,
    /// Everything up to here has been given and nothing of it is refused; 0 when that says nothing.
    pub(crate) through: u64,
    /// Hashes of bodies in several pieces.
    pub(crate) hashes: Vec<[u8; 32]>,
    records: usize,
    bytes: u64,
}

/// One batch of a group, without its changes.
pub(crate) struct Gathered {
    pub(crate) number: u64,
    pub(crate) through: u64,
    pub(crate) refused: Vec<RefusedChange>,
    /// Where each change that is applied was, and its bytes that came with it.
    places: Vec<(u32, u64)>,
}

impl Group {
    /// Takes the next batches that are whole, and their changes; none when there is no such batch.
    pub(crate) fn gather(arriving: &mut VecDeque<Arriving>) -> Option<(Self, Vec<Change>)> {
        let (mut group, mut changes) = (Self::default(), Vec::new());
        while let Some(next) = arriving.front() {
            let fits = group.batches.is_empty()
                || (group.records + next.changes.len() <= COMMIT_RECORDS_MAX
                    && group.bytes < COMMIT_BYTES_MAX);
            if !next.is_whole() || !fits {
                break;
            }
            let Some(next) = arriving.pop_front() else { break };
            // What was given after a refusal counts when the sender has noted it.
            if !group.take(next, &mut changes) {
                break;
            }
        }
        (!group.batches.is_empty()).then_some((group, changes))
    }

    /// False: something in it was refused.
    fn take(&mut self, arriving: Arriving, changes: &mut Vec<Change>) -> bool {
        let (mut refused, mut places) = (Vec::new(), Vec::new());
        self.records += arriving.changes.len();
        for (index, arrived) in (0..).zip(arriving.changes) {
            if let Some(reason) = arrived.refused {
                refused.push(RefusedChange { index, reason });
            } else if !arrived.withdrawn {
                let object = arrived.change.record.as_object();
                if let Some(object) = object.filter(|object| object.body.segments().len() > 1) {
                    self.hashes.push(object.content_hash);
                }
                let bytes = inline_size(&arrived.change.record);
                self.bytes += bytes;
                places.push((index, bytes));
                changes.push(arrived.change);
            }
        }
        let is_sound = refused.is_empty();
        if is_sound {
            self.through = self.through.max(arriving.through);
        }
        let (number, through) = (arriving.number, arriving.through);
        self.batches.push(Gathered { number, through, refused, places });
        is_sound
    }
}

impl Gathered {
    /// Takes in what came of its changes; answers how many were applied, and their bytes.
    pub(crate) fn settle(&mut self, results: &mut impl Iterator<Item = Applied>) -> (u64, u64) {
        let (mut objects, mut bytes) = (0, 0);
        for ((index, size), result) in self.places.drain(..).zip(results) {
            if let Some(reason) = reason_of(&result) {
                self.refused.push(RefusedChange { index, reason });
            } else {
                (objects, bytes) = (objects + 1, bytes + size);
            }
        }
        (objects, bytes)
    }
}

/// Why a change that was given was not applied, for the operator; none when it was.
fn reason_of(result: &Applied) -> Option<String> {
    match result {
        Applied::Stored | Applied::Ignored | Applied::Won { .. } | Applied::Lost { .. } => None,
        Applied::Quarantined { ahead_ms } => Some(format!(
            "its time is {} s ahead of the other system's clock: compare the clocks of the two systems",
            ahead_ms / 1_000
        )),
        Applied::LeaseExpired => Some("its bytes were given up before they were named".into()),
    }
}

/// Bytes of a body that came with its record.
pub(crate) fn inline_size(record: &Record) -> u64 {
    match record.as_object().map(|object| &object.body) {
        Some(Body::Inline(bytes)) => bytes.len() as u64,
        Some(Body::Segments(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_model::{Epoch, Version, VersionVector};
    use switchback_store::{Payload, RecordKey};

    fn batch(number: u64, changes: usize, refused: Option<usize>) -> Arriving {
        let arrived = |place: usize| {
            let record = Record {
                key: RecordKey::object("photos", format!("{number}/{place}")),
                version: Version::default(),
                replaced: VersionVector::default(),
                absorbed: VersionVector::default(),
                epoch: Epoch(0),
                payload: Payload::Deleted,
            };
            let refused = (refused == Some(place)).then(|| "damaged".to_owned());
            Arrived { change: Change { sequence: number, record }, refused, withdrawn: false }
        };
        Arriving {
            number,
            through: number * 10,
            changes: (0..changes).map(arrived).collect(),
            ..Arriving::default()
        }
    }

    fn numbers(group: &Group) -> Vec<u64> {
        group.batches.iter().map(|batch| batch.number).collect()
    }

    #[test]
    fn whole_batches_go_together_and_one_that_waits_holds_back_those_behind_it() {
        let mut waiting = batch(3, 1, None);
        waiting.bodies.push((0, [7; 32]));
        let mut arriving = VecDeque::from([batch(1, 2, None), batch(2, 1, None), waiting, batch(4, 1, None)]);
        let (group, changes) = Group::gather(&mut arriving).unwrap();
        assert_eq!((numbers(&group), changes.len(), group.through), (vec![1, 2], 3, 20));
        assert!(Group::gather(&mut arriving).is_none());
        arriving[0].bodies.clear();
        let (group, _) = Group::gather(&mut arriving).unwrap();
        assert_eq!(numbers(&group), [3, 4]);
    }

    #[test]
    fn a_commit_is_no_larger_than_others_can_wait_for() {
        let mut arriving: VecDeque<_> =
            (1..=4).map(|number| batch(number, COMMIT_RECORDS_MAX / 2, None)).collect();
        arriving.push_front(batch(0, COMMIT_RECORDS_MAX * 2, None));
        let mut sizes = Vec::new();
        while let Some((group, _)) = Group::gather(&mut arriving) {
            sizes.push(group.batches.len());
        }
        assert_eq!(sizes, [1, 2, 2], "a batch that is too large alone goes alone");
    }

    #[test]
    fn the_place_in_the_feed_stops_before_a_refusal_and_each_batch_answers_for_its_own() {
        let mut arriving = VecDeque::from([batch(1, 2, None), batch(2, 2, Some(0)), batch(3, 1, None)]);
        let (mut group, changes) = Group::gather(&mut arriving).unwrap();
        assert_eq!((numbers(&group), changes.len(), group.through), (vec![1, 2], 3, 10));
        let mut results =
            vec![Applied::Stored, Applied::LeaseExpired, Applied::Quarantined { ahead_ms: 70_000 }]
                .into_iter();
        let applied: Vec<_> = group.batches.iter_mut().map(|batch| batch.settle(&mut results).0).collect();
        assert_eq!(applied, [1, 0]);
        let refused =
            |batch: &Gathered| batch.refused.iter().map(|refused| refused.index).collect::<Vec<_>>();
        assert_eq!(group.batches.iter().map(refused).collect::<Vec<_>>(), [vec![1], vec![0, 1]]);
        let (group, _) = Group::gather(&mut arriving).unwrap();
        assert_eq!(numbers(&group), [3]);
    }
}
