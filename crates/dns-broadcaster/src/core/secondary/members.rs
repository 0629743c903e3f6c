//! The zones that the catalogue of a primary lists (RFC 9432).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::super::name::{Name, NameBuf};
use super::super::packed::Node;
use super::super::record::Kind;
use super::super::zone::Zone;

/// As many as are followed of all primaries.
pub const MEMBERS_MAX: usize = 200_000;

/// Stands for one life of a member: under another label the zone is another one, and what is known of it
/// is forgotten (RFC 9432 section 5.6).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(pub Vec<u8>);

/// Zones, each with its label.
pub type Members = BTreeMap<Name, Label>;

/// Why a catalogue is not heeded (RFC 9432 section 5.1): what it listed before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Unheeded {
    #[error("it has not the one version that is known, \"2\" (RFC 9432 section 4.2.1)")]
    Version,
    #[error("{0} has more than one PTR record, or one that is no name (RFC 9432 section 4.1)")]
    Pointer(Name),
    #[error("{0} is listed twice (RFC 9432 section 4.1)")]
    Twice(Name),
    #[error("it lists more than {MEMBERS_MAX} zones")]
    TooMany,
}

/// What `catalogue` lists. Whatever else it says is not for us: properties that nobody knows are left
/// alone (RFC 9432 section 4.2).
///
/// # Errors
/// It is broken, and nothing in it counts.
pub fn members(catalogue: &Zone) -> Result<Members, Unheeded> {
    let origin = catalogue.origin();
    let at = |label| origin.child(label).and_then(|name| catalogue.node(name.as_bytes()));
    let version = at("version").and_then(|node| node.set(Kind::TXT)).filter(|set| set.len() == 1);
    if version.is_none_or(|set| set.first().as_bytes() != VERSION) {
        return Err(Unheeded::Version);
    }
    let Some(zones) = origin.child("zones") else { return Ok(Members::new()) };
    let mut members = Members::new();
    let start = zones.as_bytes().len();
    for (owner, node) in catalogue.nodes.within(zones.as_bytes()) {
        // One label beneath it.
        let Some((&length, label)) = owner.get(start..).and_then(<[u8]>::split_first) else { continue };
        if label.len() != usize::from(length) {
            continue;
        }
        let Some(set) = Node::of(node).set(Kind::PTR) else { continue };
        let zone = NameBuf::read(set.first().as_bytes()).filter(|_| set.len() == 1);
        let zone = zone.ok_or_else(|| Unheeded::Pointer(Name::from_key(owner)))?;
        if members.len() == MEMBERS_MAX {
            return Err(Unheeded::TooMany);
        }
        let zone = Name::from(&zone);
        if members.insert(zone.clone(), Label(label.to_vec())).is_some() {
            return Err(Unheeded::Twice(zone));
        }
    }
    Ok(members)
}

/// The one string of the TXT record.
const VERSION: &[u8] = b"\x012";
