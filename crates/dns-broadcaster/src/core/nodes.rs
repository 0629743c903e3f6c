//! What a zone's table holds: packed nodes, and every name between them and the apex.

use alloc::vec::Vec;

use super::name::{Name, upward};
use super::own::Nodes;
use super::packed::{self, Node, PackedSet};
use super::record::{Kind, Set};
use super::table::{Builder, Table};

impl From<&Nodes> for Table {
    fn from(nodes: &Nodes) -> Self {
        let (mut table, mut bytes) = (Builder::default(), Vec::new());
        for (name, sets) in nodes {
            bytes.clear();
            packed::pack(sets, &mut bytes);
            table.push(name.as_bytes(), &bytes);
        }
        table.finish()
    }
}

impl Table {
    /// The key and the node of the name whose key is `name`.
    pub(super) fn node(&self, name: &[u8]) -> Option<(&[u8], Node<'_>)> {
        self.get(name).map(|(key, node)| (key, Node::of(node)))
    }

    /// The sets at a name.
    #[must_use]
    pub fn sets_at(&self, name: &Name) -> Vec<Set> {
        self.node(name.as_bytes()).map(|(_, node)| node.sets().map(Set::from).collect()).unwrap_or_default()
    }

    /// All sets, by name and type.
    pub fn sets(&self) -> impl Iterator<Item = (&[u8], PackedSet<'_>)> {
        self.iter().flat_map(|(name, node)| Node::of(node).sets().map(move |set| (name, set)))
    }

    /// Adds sets to those that `name` has, in the zone of `origin`.
    pub(super) fn add(&mut self, origin: &Name, name: &Name, sets: &[Set]) {
        let key = name.as_bytes();
        let held = self.node(key).map(|(_, node)| node).unwrap_or_default();
        let mut all: Vec<Set> = held.sets().map(Set::from).collect();
        all.extend_from_slice(sets);
        let mut bytes = Vec::new();
        packed::pack(&all, &mut bytes);
        self.insert(key, &bytes);
        self.stand(origin, key);
    }

    /// Has these sets, and no others, at `name`, in the zone of `origin`.
    pub(super) fn lay(&mut self, origin: &Name, name: &Name, sets: &[Set]) {
        let key = name.as_bytes();
        if sets.is_empty() {
            self.remove(key);
        } else {
            let mut bytes = Vec::new();
            packed::pack(sets, &mut bytes);
            self.insert(key, &bytes);
        }
        self.settle(origin, key);
    }

    /// Takes the set of a type from the name whose key is `name`.
    pub(super) fn take(&mut self, name: &[u8], kind: Kind) {
        let held = self.node(name).map(|(_, node)| node).unwrap_or_default();
        let rest: Vec<Set> = held.sets().filter(|set| set.kind() != kind).map(Set::from).collect();
        let mut bytes = Vec::new();
        packed::pack(&rest, &mut bytes);
        self.insert(name, &bytes);
    }

    /// Lets the names between all names and the apex exist with them (RFC 4592 section 2.2.2).
    pub(super) fn fill(&mut self, origin: &Name) {
        let (mut before, mut bare) = (&[][..], Vec::new());
        for (name, _) in self.iter() {
            // An ancestor comes before all of its descendants, and nothing else comes in between.
            if above(name, origin).next().is_some_and(|parent| !before.starts_with(parent)) {
                bare.push(name.to_vec());
            }
            before = name;
        }
        for name in bare {
            self.stand(origin, &name);
        }
    }

    /// Lets the names between `name` and the apex exist if it does or anything beneath it, and forgets those
    /// that have no records and nothing beneath them any more.
    pub(super) fn settle(&mut self, origin: &Name, name: &[u8]) {
        if self.within(name).next().is_some() {
            if self.get(name).is_none() {
                self.insert(name, &[]);
            }
            return self.stand(origin, name);
        }
        for parent in above(name, origin) {
            let bare = self.node(parent).is_some_and(|(_, node)| node.is_empty());
            if !bare || self.within(parent).nth(1).is_some() {
                return;
            }
            self.remove(parent);
        }
    }

    /// As [`Table::fill`], for one name.
    fn stand(&mut self, origin: &Name, name: &[u8]) {
        for parent in above(name, origin) {
            if self.get(parent).is_some() {
                return;
            }
            self.insert(parent, &[]);
        }
    }
}

/// The names between `name` and the apex, the deepest first.
pub(super) fn above<'a>(name: &'a [u8], origin: &Name) -> impl Iterator<Item = &'a [u8]> {
    let apex = origin.as_bytes().len();
    upward(name).skip(1).take_while(move |key| key.len() > apex)
}
