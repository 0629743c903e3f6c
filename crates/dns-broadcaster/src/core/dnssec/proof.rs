//! What an answer has to prove beside what it says (RFC 4035 section 3.1.3): that a name has no record of
//! the type, that there is no such name, that no name is closer than a wildcard, that a delegation is
//! unsigned.

use super::super::answer::{ALIASES_MAX, Answer, End, Held, Match};
use super::super::name::NameBuf;
use super::super::record::Kind;
use super::super::zone::Zone;
use super::chain::Chain;

/// One for each alias that a wildcard gave, and two for a denial.
const PROOFS_MAX: usize = ALIASES_MAX + 2;

/// The names whose NSEC records prove an answer: each once.
#[derive(Clone, Copy)]
pub(crate) struct Proof<'a> {
    zone: &'a Zone,
    chain: &'a Chain,
    denials: [Option<(&'a [u8], Held<'a>)>; PROOFS_MAX],
}

impl<'a> Proof<'a> {
    /// The proof of `found`, the answer to a question for the name whose key is `name`; `None` when its
    /// zone is not signed.
    pub(crate) fn of(found: &Answer<'a>, name: &[u8]) -> Option<Self> {
        let zone = found.zone?;
        let mut proof = Self { zone, chain: &zone.signed.as_ref()?.chain, denials: [None; PROOFS_MAX] };
        let mut target: NameBuf;
        let mut name = name;
        let mut followed = 0;
        for alias in found.aliases() {
            if let Match::Wildcard(_) = found.matches[followed] {
                proof.add(name);
            }
            target = NameBuf::read(alias.first().as_bytes())?;
            name = target.as_bytes();
            followed += 1;
        }
        let found_by = found.matches.get(followed).copied().unwrap_or(Match::Itself);
        match (found.end, found_by) {
            (End::Found(_), Match::Wildcard(_)) | (End::Absent, Match::Itself) => proof.add(name),
            (End::Absent, Match::Wildcard(bytes) | Match::Nothing(bytes)) => {
                proof.add(name);
                let wildcard = name.get(..bytes.into()).and_then(NameBuf::wildcard);
                if let Some(wildcard) = wildcard {
                    proof.add(wildcard.as_bytes());
                }
            }
            (End::Referred(cut, held), _) if held.node.set(Kind::DS).is_none() => proof.add(cut),
            (End::Found(_) | End::Referred(..) | End::Elsewhere, _) => {}
        }
        Some(proof)
    }

    /// Adds the name that is `name` or comes last before it.
    fn add(&mut self, name: &[u8]) {
        let Some((owner, node)) = self.zone.nodes.node(self.chain.last_until(name)) else { return };
        let Some(set) = node.set(Kind::NSEC) else { return };
        for place in &mut self.denials {
            match place {
                Some((other, _)) if *other == owner => return,
                Some(_) => {}
                None => {
                    *place = Some((owner, Held { set, node }));
                    return;
                }
            }
        }
    }

    /// The keys of the names, each with its NSEC.
    pub(crate) fn denials(&self) -> impl Iterator<Item = (&'a [u8], Held<'a>)> {
        self.denials.into_iter().map_while(|denial| denial)
    }
}
