//! What an answer has to prove beside what it says (RFC 4035 section 3.1.3, RFC 5155 section 7.2): that a
//! name has no record of the type, that there is no such name, that no name is closer than a wildcard, that
//! a delegation is unsigned.

use super::super::answer::{ALIASES_MAX, Answer, End, Held, Match};
use super::super::name::{NameBuf, upward};
use super::super::packed::Node;
use super::super::record::Kind;
use super::super::zone::Zone;
use super::sign::Links;

/// One for each alias that a wildcard gave, and three for a denial.
const PROOFS_MAX: usize = ALIASES_MAX + 3;

/// The names whose NSEC or NSEC3 records prove an answer: each once.
#[derive(Clone, Copy)]
pub(crate) struct Proof<'a> {
    zone: &'a Zone,
    links: &'a Links,
    denials: [Option<(&'a [u8], Held<'a>)>; PROOFS_MAX],
}

impl<'a> Proof<'a> {
    /// The proof of `found`, the answer to a question for the name whose key is `name`; `None` when its
    /// zone is not signed.
    pub(crate) fn of(found: &Answer<'a>, name: &[u8]) -> Option<Self> {
        let zone = found.zone?;
        let mut proof = Self { zone, links: &zone.signed.as_ref()?.links, denials: [None; PROOFS_MAX] };
        let mut target: NameBuf;
        let mut name = name;
        let mut followed = 0;
        for alias in found.aliases() {
            if let Match::Wildcard(encloser) = found.matches[followed] {
                proof.closer(name, encloser.into());
            }
            target = NameBuf::read(alias.first().as_bytes())?;
            name = target.as_bytes();
            followed += 1;
        }
        let found_by = found.matches.get(followed).copied().unwrap_or(Match::Itself);
        match (found.end, found_by) {
            (End::Found(_), Match::Wildcard(encloser)) => proof.closer(name, encloser.into()),
            (End::Absent, Match::Itself) => proof.lacks(name),
            (End::Absent, Match::Wildcard(encloser) | Match::Nothing(encloser)) => {
                let encloser = proof.absent(name, encloser.into());
                let wildcard = name.get(..encloser).and_then(NameBuf::wildcard);
                if let Some(wildcard) = wildcard {
                    proof.add(wildcard.as_bytes());
                }
            }
            (End::Referred(cut, held), _) if held.node.set(Kind::DS).is_none() => proof.lacks(cut),
            (End::Found(_) | End::Referred(..) | End::Elsewhere, _) => {}
        }
        Some(proof)
    }

    /// That there is nothing between a name and the wildcard that stands for it, beneath the ancestor whose
    /// key has `encloser` bytes. With hashes: that there is not the ancestor one label below (RFC 5155 section
    /// 7.2.6).
    fn closer(&mut self, name: &[u8], encloser: usize) {
        match self.links {
            Links::Names(_) => self.add(name),
            Links::Hashes(_) => self.add(next_closer(name, encloser)),
        };
    }

    /// That a name has no more types than its record says. Where delegations are left out of a zone's chain,
    /// that it is one of those (RFC 5155 section 7.2.4).
    fn lacks(&mut self, name: &[u8]) {
        if !self.add(name) && matches!(self.links, Links::Hashes(_)) {
            let parent = upward(name).nth(1).map_or(0, <[u8]>::len);
            self.absent(name, parent);
        }
    }

    /// That there is no such name, whose closest ancestor has a key of `encloser` bytes. With hashes: which
    /// ancestor there is, and that there is not the one below (RFC 5155 section 7.2.1). Returns which it is:
    /// of a zone whose chain leaves delegations out, the closest that can be proved.
    fn absent(&mut self, name: &[u8], encloser: usize) -> usize {
        let Links::Hashes(_) = self.links else {
            self.add(name);
            return encloser;
        };
        let apex = self.zone.origin.as_bytes().len();
        let mut above = upward(name.get(..encloser).unwrap_or_default()).take_while(|key| key.len() >= apex);
        let proved = above.find(|key| self.add_if_there(key)).map_or(encloser, <[u8]>::len);
        self.add(next_closer(name, proved));
        proved
    }

    /// Adds the record of the name, or the one that covers it; whether it is the name's own.
    fn add(&mut self, name: &[u8]) -> bool {
        let Some((owner, held, is_own)) = self.find(name) else { return false };
        self.push(owner, held);
        is_own
    }

    /// Adds the record of the name if it has one.
    fn add_if_there(&mut self, name: &[u8]) -> bool {
        match self.find(name) {
            Some((owner, held, true)) => {
                self.push(owner, held);
                true
            }
            _ => false,
        }
    }

    /// The record of the name, or the last one before it, which covers it.
    fn find(&self, name: &[u8]) -> Option<(&'a [u8], Held<'a>, bool)> {
        let zone = self.zone;
        match self.links {
            Links::Names(chain) => {
                let (owner, node) = zone.nodes.node(chain.last_until(name)?.as_slice())?;
                Some((owner, Held { set: node.set(Kind::NSEC)?, node }, owner == name))
            }
            Links::Hashes(hashing) => {
                let hashed = hashing.owner(zone.origin.as_bytes(), name)?;
                let last = || zone.hashed.iter().next_back();
                let (owner, node) = zone.hashed.last_until(hashed.as_bytes()).or_else(last)?;
                let node = Node::of(node);
                Some((owner, Held { set: node.set(Kind::NSEC3)?, node }, owner == hashed.as_bytes()))
            }
        }
    }

    fn push(&mut self, owner: &'a [u8], held: Held<'a>) {
        for place in &mut self.denials {
            match place {
                Some((other, _)) if *other == owner => return,
                Some(_) => {}
                None => {
                    *place = Some((owner, held));
                    return;
                }
            }
        }
    }

    /// The keys of the names, each with its record.
    pub(crate) fn denials(&self) -> impl Iterator<Item = (&'a [u8], Held<'a>)> {
        self.denials.into_iter().map_while(|denial| denial)
    }
}

/// The ancestor of the name whose key is `name`, or itself, that has one label more than the one whose key
/// has `encloser` bytes.
fn next_closer(name: &[u8], encloser: usize) -> &[u8] {
    let label = name.get(encloser).copied().unwrap_or_default();
    name.get(..encloser + 1 + usize::from(label)).unwrap_or(name)
}
