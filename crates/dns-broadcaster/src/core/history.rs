//! How a zone came to its serial: what name servers that hold an older one have to change
//! (RFC 1995).
//!
//! It is kept in memory alone. After a start a server that follows takes the zone whole, once.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::name::Name;
use super::record::{Kind, Node, Set};
use super::zone::{Serial, Zone};

/// Steps that are remembered. A zone's steps never hold more records than the zone either: a server
/// that missed more is quicker with all of it (RFC 1995 section 5).
const STEPS_MAX: usize = 64;

/// Records of one set at one name that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The name.
    pub owner: Name,
    /// The records.
    pub set: Set,
}

/// From one serial to the next.
#[derive(Debug)]
pub struct Step {
    /// The serial before it.
    pub from: Serial,
    /// The SOA set before it.
    pub soa_before: Set,
    /// The SOA set after it.
    pub soa_after: Set,
    /// What went, without the SOA.
    pub removed: Vec<Piece>,
    /// What came, without the SOA.
    pub added: Vec<Piece>,
}

/// The steps that led to a zone, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    steps: VecDeque<Arc<Step>>,
}

impl History {
    /// The steps that lead on from `serial`; `None` when they are not remembered.
    #[must_use]
    pub fn since(&self, serial: Serial) -> Option<impl Iterator<Item = &Step>> {
        let first = self.steps.iter().position(|step| step.from == serial)?;
        Some(self.steps.range(first..).map(AsRef::as_ref))
    }
}

impl Step {
    /// Records that it moves, with its two SOA.
    #[must_use]
    pub fn records(&self) -> usize {
        let pieces = self.removed.iter().chain(&self.added);
        2 + pieces.map(|piece| piece.set.data.len()).sum::<usize>()
    }
}

impl Zone {
    /// This zone, with the history of the one that it takes the place of.
    #[must_use]
    pub fn after(mut self, previous: &Self) -> Self {
        if self.serial == previous.serial {
            self.history = previous.history.clone();
        } else if let (true, Some(before), Some(after)) =
            (self.serial.is_newer_than(previous.serial), previous.soa(), self.soa())
        {
            let (removed, added) = compare(previous, &self);
            let (soa_before, soa_after) = (before.clone(), after.clone());
            let step = Step { from: previous.serial, soa_before, soa_after, removed, added };
            self.history = previous.history.clone();
            self.history.steps.push_back(Arc::new(step));
            self.history.shorten(self.records());
        }
        self
    }

    /// How many records it holds.
    #[must_use]
    pub fn records(&self) -> usize {
        self.nodes.iter().flat_map(|(_, node)| node).map(|set| set.data.len()).sum()
    }
}

impl History {
    fn shorten(&mut self, records_max: usize) {
        let mut records: usize = self.steps.iter().map(|step| step.records()).sum();
        while self.steps.len() > STEPS_MAX || records > records_max {
            let Some(oldest) = self.steps.pop_front() else { return };
            records -= oldest.records();
        }
    }
}

/// What `after` lacks of `before`, and what it has beyond it.
fn compare(before: &Zone, after: &Zone) -> (Vec<Piece>, Vec<Piece>) {
    (missing(before, after), missing(after, before))
}

/// What of `one` is not in `other`, without the SOA.
fn missing(one: &Zone, other: &Zone) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (owner, node) in one.nodes.iter() {
        let counterpart = other.nodes.get(owner.as_bytes()).map(|(_, node)| node);
        for set in node.iter().filter(|set| set.kind != Kind::SOA) {
            if let Some(set) = beyond(set, counterpart) {
                pieces.push(Piece { owner: owner.clone(), set });
            }
        }
    }
    pieces
}

/// The records of `set` that `node` does not hold under the same time to live.
fn beyond(set: &Set, node: Option<&Node>) -> Option<Set> {
    let same = node.into_iter().flatten().find(|other| other.kind == set.kind && other.ttl == set.ttl);
    let Some(same) = same else { return Some(set.clone()) };
    let rest = set.data.iter().filter(|data| same.data.binary_search(data).is_err());
    let rest = Set { kind: set.kind, ttl: set.ttl, data: rest.cloned().collect() };
    (!rest.data.is_empty()).then_some(rest)
}
