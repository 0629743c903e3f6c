//! How a zone came to its serial: what name servers that hold an older one have to change
//! (RFC 1995).
//!
//! It is kept in memory alone. After a start a server that follows takes the zone whole, once.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::name::Name;
use super::packed::{BEFORE_VALUE, Node, PackedSet};
use super::record::{Kind, Set, Value};
use super::table::Table;
use super::zone::{Serial, Zone};

/// Steps that are remembered. A zone's steps never hold more bytes than the zone either: a server
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
    /// Bytes of the records that it moves, its two SOA among them.
    fn bytes(&self) -> usize {
        let pieces = self.removed.iter().chain(&self.added);
        let of = |piece: &Piece| bytes(piece.owner.as_bytes().len(), &piece.set);
        pieces.map(of).sum::<usize>() + bytes(0, &self.soa_before) + bytes(0, &self.soa_after)
    }
}

fn bytes(owner: usize, set: &Set) -> usize {
    set.data.iter().map(|data| owner + BEFORE_VALUE + data.as_bytes().len()).sum()
}

impl Zone {
    /// This zone, with the history of the one that it takes the place of.
    #[must_use]
    pub fn after(mut self, previous: &Self) -> Self {
        if self.serial == previous.serial {
            self.history = previous.history.clone();
        } else if let (true, Some(before), Some(after)) = (
            self.serial.is_newer_than(previous.serial) && previous.is_unique && self.is_unique,
            previous.soa(),
            self.soa(),
        ) {
            let (removed, added) = compare(previous, &self);
            let (soa_before, soa_after) = (before.into(), after.into());
            let step = Step { from: previous.serial, soa_before, soa_after, removed, added };
            self.history = previous.history.clone();
            self.history.steps.push_back(Arc::new(step));
            self.history.shorten(self.bytes());
        }
        self
    }

    /// Bytes of its names and records, as they are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.nodes.bytes() + self.hashed.bytes()
    }
}

impl History {
    fn shorten(&mut self, bytes_max: usize) {
        let mut bytes: usize = self.steps.iter().map(|step| step.bytes()).sum();
        while self.steps.len() > STEPS_MAX || bytes > bytes_max {
            let Some(oldest) = self.steps.pop_front() else { return };
            bytes -= oldest.bytes();
        }
    }
}

/// What `after` lacks of `before`, and what it has beyond it.
fn compare(before: &Zone, after: &Zone) -> (Vec<Piece>, Vec<Piece>) {
    let beyond = |one: &Zone, other: &Zone| {
        let mut pieces = missing(&one.nodes, &other.nodes);
        pieces.extend(missing(&one.hashed, &other.hashed));
        pieces
    };
    (beyond(before, after), beyond(after, before))
}

/// What of `one` is not in `other`, without the SOA.
fn missing(one: &Table, other: &Table) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (owner, node) in one.apart(other) {
        let counterpart = other.node(owner).map(|(_, node)| node).unwrap_or_default();
        for set in Node::of(node).sets().filter(|set| set.kind() != Kind::SOA) {
            if let Some(set) = beyond(set, counterpart) {
                pieces.push(Piece { owner: Name::from_key(owner), set });
            }
        }
    }
    pieces
}

/// The records of `set` that `node` does not hold under the same time to live.
fn beyond(set: PackedSet<'_>, node: Node<'_>) -> Option<Set> {
    let same = node.set(set.kind()).filter(|other| other.ttl() == set.ttl());
    let Some(same) = same else { return Some(set.into()) };
    if same == set {
        return None;
    }
    let held: Vec<_> = same.values().collect();
    let rest = set.values().filter(|value| held.binary_search(value).is_err());
    let rest = Set { kind: set.kind(), ttl: set.ttl(), data: rest.map(Value::to_rdata).collect() };
    (!rest.data.is_empty()).then_some(rest)
}
