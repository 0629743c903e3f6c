//! A signed zone after a change: made of the one before it, in the time that the difference takes.
//!
//! What is to be signed is compared with what the one before was signed from, and the two share what did not
//! change ([`Table`]). So the names that are others are found. They are signed as in a zone that is signed whole,
//! and with them the names or hashes that come before those that appear or go, since a denial says what comes next.
//! Everything else is the previous zone's. Signatures that are due are looked for only when some may be:
//! that reads the whole zone, and signs what is due.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::name::Name;
use super::super::nodes::above;
use super::super::packed::Node;
use super::super::record::Kind;
use super::super::table::Table;
use super::super::zone::Zone;
use super::hash;
use super::key::PublicKey;
use super::seal::{Seal, Sheet, earlier, expiries};
use super::sign::{BATCH, Links, Signed, Unsigned};
use super::{Times, WHOLE_NAMES_MAX};

/// A zone of this server right beneath, which is secure, with its keys.
type Child = (Name, Vec<PublicKey>);

/// What a zone was signed from.
#[derive(Debug)]
pub(super) struct Source {
    /// Its nodes before that.
    nodes: Table,
    children: Arc<Vec<Child>>,
    signer: PublicKey,
    /// Seconds that a denial may be kept.
    ttl: u32,
}

/// A signed zone on which the next one can be built.
pub(super) struct Base<'a> {
    previous: &'a Zone,
    signed: &'a Signed,
    source: &'a Source,
}

/// Signatures that are due.
#[derive(Default)]
struct Due {
    /// The names that have some.
    names: BTreeSet<Name>,
    /// Of hashes.
    hashed: BTreeSet<Name>,
    /// When the first of the others expires, at the earliest.
    expires: Option<u32>,
}

impl Source {
    /// That of a zone which is signed so.
    pub(super) fn of(seal: &Seal<'_>) -> Self {
        let with = seal.with;
        Self {
            nodes: seal.zone.nodes.clone(),
            children: Arc::clone(with.children),
            signer: with.signer.key().clone(),
            ttl: seal.ttl,
        }
    }
}

impl<'a> Base<'a> {
    /// `previous`, if it was signed here, in the same way, and is not to be renewed whole.
    pub(super) fn of(previous: &'a Zone, seal: &Seal<'_>) -> Option<Self> {
        let signed = previous.signed.as_ref()?;
        let source = signed.source.as_deref()?;
        let times = seal.with.times;
        let (names, is_hashed) = match &signed.links {
            Links::Names(chain) => (chain.len(), false),
            Links::Hashes(_) => (previous.hashed.len(), true),
        };
        let is_same = source.signer == *seal.with.signer.key()
            && source.ttl == seal.ttl
            && is_hashed == seal.hashing.is_some();
        let is_renewed_whole = names <= WHOLE_NAMES_MAX && times.is_due(signed.expires);
        (is_same && !is_renewed_whole).then_some(Self { previous, signed, source })
    }

    fn due(&self, times: Times) -> Due {
        let Self { previous, signed, .. } = self;
        if !times.is_renewed(signed.expires) {
            return Due { expires: Some(signed.expires), ..Due::default() };
        }
        let mut due = Due::default();
        for (nodes, names) in [(&previous.nodes, &mut due.names), (&previous.hashed, &mut due.hashed)] {
            for (name, node) in nodes.iter() {
                let (renewed, kept): (Vec<_>, Vec<_>) =
                    expiries(Node::of(node)).partition(|expires| times.is_renewed(*expires));
                if !renewed.is_empty() {
                    names.insert(Name::from_key(name));
                }
                due.expires = kept.into_iter().fold(due.expires, |first, other| Some(earlier(first, other)));
            }
        }
        due
    }
}

impl<'a> Seal<'a> {
    /// The zone, signed upon the one before it.
    pub(super) fn upon(mut self, base: &Base<'a>) -> Result<Zone, Unsigned> {
        let Base { previous, signed, source } = *base;
        let zone = self.zone;
        let origin = zone.origin.as_bytes();
        self.previous = Some(previous);
        let Due { mut names, hashed: mut owners, expires } = base.due(self.with.times);
        let (mut nodes, mut hashed) = (previous.nodes.clone(), previous.hashed.clone());
        let mut links = signed.links.clone();
        // Names that appear in the chain, or go, or their hashes.
        let mut moved: Vec<Name> = Vec::new();
        for name in self.changed(source) {
            let key = name.as_bytes();
            let is_in = self.standing(&name).is_some();
            match &mut links {
                Links::Names(chain) => {
                    if chain.set(key, is_in) {
                        moved.push(name.clone());
                    }
                }
                Links::Hashes(hashing) => {
                    let Some(owner) = hashing.owner(origin, key) else { continue };
                    if hashed.get(owner.as_bytes()).is_some() != is_in {
                        if is_in {
                            hashed.insert(owner.as_bytes(), &[])
                        } else {
                            hashed.remove(owner.as_bytes())
                        }
                        moved.push(Name::from(&owner));
                    }
                }
            }
            if is_in {
                names.insert(name);
            } else {
                match zone.nodes.get(key) {
                    Some((key, node)) => nodes.insert(key, node),
                    None => nodes.remove(key),
                }
            }
        }
        match &links {
            Links::Names(chain) => {
                names.extend(moved.iter().filter_map(|name| chain.preceding(name.as_bytes())));
                self.names = chain.len();
            }
            Links::Hashes(_) => {
                let before = moved.iter().filter_map(|owner| hashed.preceding(owner.as_bytes()));
                owners.extend(before.map(|(owner, _)| Name::from_key(owner)));
                self.names = hashed.len();
            }
        }
        let kinds = self.sign_names(names, &links, &mut nodes)?;
        owners.extend(kinds.keys().cloned());
        self.sign_hashes(&owners, &kinds, &links, &mut hashed)?;
        let expires = expires.into_iter().fold(self.expires, |first, other| Some(earlier(first, other)));
        let expires = expires.unwrap_or_else(|| self.with.times.end(0));
        let signed = Some(Signed { links, expires, source: Some(Arc::new(Source::of(&self))) });
        Ok(Zone { nodes, hashed, signed, ..zone.clone() })
    }

    /// The names at which something is signed that was not, or otherwise.
    fn changed(&self, source: &Source) -> BTreeSet<Name> {
        let (before, now) = (&source.nodes, &self.zone.nodes);
        let origin = &self.zone.origin;
        let mut names: BTreeSet<Name> = now.changed(before).map(Name::from_key).collect();
        names.extend(children_apart(&source.children, self.with.children).cloned());
        // What it says of keys may be another.
        names.insert(origin.clone());
        let is_cut = |nodes: &Table, name: &Name| {
            nodes.node(name.as_bytes()).is_some_and(|(_, node)| node.set(Kind::NS).is_some())
        };
        let turned = names.iter().filter(|name| *name != origin && is_cut(before, name) != is_cut(now, name));
        // It hides what is beneath it, or no longer.
        let beneath = turned.flat_map(|name| now.within(name.as_bytes()));
        let beneath: Vec<_> = beneath.map(|(name, _)| Name::from_key(name)).collect();
        names.extend(beneath);
        names
    }

    /// Whether another zone begins at a name of the chain; `None` when it is none of its names, as
    /// `authoritative` says.
    fn standing(&self, name: &Name) -> Option<bool> {
        let (origin, nodes) = (&self.zone.origin, &self.zone.nodes);
        let is_cut = |key: &[u8]| nodes.node(key).is_some_and(|(_, node)| node.set(Kind::NS).is_some());
        let (key, node) = nodes.node(name.as_bytes())?;
        let is_hidden = above(key, origin).any(is_cut);
        let is_named = self.hashing.is_some() || !node.is_empty();
        (is_named && !is_hidden).then(|| name != origin && is_cut(key))
    }

    /// Signs what is at these names. Returns the types of each by its hash, when names are hashed.
    fn sign_names(
        &mut self,
        names: BTreeSet<Name>,
        links: &Links,
        nodes: &mut Table,
    ) -> Result<BTreeMap<Name, Vec<u8>>, Unsigned> {
        let mut kinds = BTreeMap::new();
        let names: Vec<_> = names.into_iter().collect();
        for batch in names.chunks(BATCH) {
            let sheet = |name: &Name| Some(self.sheet(name.as_bytes(), self.standing(name)?, links));
            let sheets: Vec<Sheet> = batch.iter().filter_map(sheet).collect();
            if let Links::Hashes(hashing) = links {
                let origin = self.zone.origin.as_bytes();
                let of = |sheet: &Sheet| {
                    let owner = hashing.owner(origin, sheet.owner.as_bytes())?;
                    Some((Name::from(&owner), sheet.kinds.clone()))
                };
                kinds.extend(sheets.iter().filter_map(of));
            }
            for (name, node) in self.sealed(sheets)? {
                nodes.insert(name.as_bytes(), &node);
            }
        }
        Ok(kinds)
    }

    /// Signs the NSEC3 records of these hashes, of which some have other types than before.
    fn sign_hashes(
        &mut self,
        owners: &BTreeSet<Name>,
        kinds: &BTreeMap<Name, Vec<u8>>,
        links: &Links,
        hashed: &mut Table,
    ) -> Result<(), Unsigned> {
        let Links::Hashes(hashing) = links else { return Ok(()) };
        let owners: Vec<_> = owners.iter().collect();
        for batch in owners.chunks(BATCH) {
            let sheet = |owner: &&Name| {
                let (key, node) = hashed.node(owner.as_bytes())?;
                let kinds = match kinds.get(*owner) {
                    Some(kinds) => kinds,
                    None => hashing.kinds(node.set(Kind::NSEC3)?.first().as_bytes())?,
                };
                let (next, _) = hashed.following(key)?;
                Some(self.hashed_sheet(hashing, key, &hash::of_owner(next)?, kinds))
            };
            let sheets = batch.iter().filter_map(sheet).collect();
            for (owner, node) in self.sealed(sheets)? {
                hashed.insert(owner.as_bytes(), &node);
            }
        }
        Ok(())
    }
}

/// The names of the children that are not in both, or have other keys there.
fn children_apart<'a>(before: &'a [Child], now: &'a [Child]) -> impl Iterator<Item = &'a Name> {
    let (mut one, mut other) = (before, now);
    // What changes are few of many.
    while let ([first, rest @ ..], [other_first, other_rest @ ..]) = (one, other)
        && first == other_first
    {
        (one, other) = (rest, other_rest);
    }
    while let ([rest @ .., last], [other_rest @ .., other_last]) = (one, other)
        && last == other_last
    {
        (one, other) = (rest, other_rest);
    }
    let gone = one.iter().filter(move |child| other.binary_search(child).is_err());
    let come = other.iter().filter(move |child| one.binary_search(child).is_err());
    gone.chain(come).map(|(name, _)| name)
}

#[cfg(test)]
mod tests;
