//! Question to answer: RFC 1034 section 4.3.2 for a server that holds every zone it knows of, with
//! wildcards after RFC 4592 and ANY after RFC 8482. A few map look-ups, never a scan.

use alloc::vec::Vec;

use super::name::Name;
use super::record::{Kind, Node, Rdata, Set};
use super::zone::{Snapshot, Zone};

/// The response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The name exists, with or without records of this type.
    NoError,
    /// The name does not exist.
    NxDomain,
    /// No zone of this server.
    Refused,
    /// A zone of this server that is held back: ask the other server.
    ServFail,
}

/// An answer, borrowed from the snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The response code.
    pub code: Code,
    /// The records, whose owner is the name that was asked for.
    pub answer: Option<&'a Set>,
    /// For a negative answer: the zone and its SOA (RFC 2308).
    pub authority: Option<(&'a Name, &'a Set)>,
    /// Addresses of the name servers in `answer`.
    pub additional: Vec<(&'a Name, &'a Set)>,
}

/// Answers a question for records of type `kind` at `name`.
#[must_use]
pub fn answer<'a>(snapshot: &'a Snapshot, name: &Name, kind: Kind) -> Answer<'a> {
    let Some(zone) = snapshot.zone_of(name, kind) else { return Answer::without(Code::Refused) };
    if zone.held {
        return Answer::without(Code::ServFail);
    }
    let Some(node) = zone.node_of(name) else { return Answer::negative(Code::NxDomain, zone) };
    // RFC 8482 section 4.1: one set is answer enough, and not the SOA, which nobody looks for.
    let wanted = |set: &&Set| if kind == Kind::ANY { set.kind != Kind::SOA } else { set.kind == kind };
    let found = node.iter().find(wanted);
    match found {
        Some(set) => {
            let additional = zone.additional(set);
            Answer { code: Code::NoError, answer: Some(set), authority: None, additional }
        }
        None => Answer::negative(Code::NoError, zone),
    }
}

impl<'a> Answer<'a> {
    fn without(code: Code) -> Self {
        Self { code, answer: None, authority: None, additional: Vec::new() }
    }

    fn negative(code: Code, zone: &'a Zone) -> Self {
        Self { authority: zone.soa().map(|soa| (&zone.origin, soa)), ..Self::without(code) }
    }

    /// True when a zone of this server speaks.
    #[must_use]
    pub fn is_authoritative(&self) -> bool {
        matches!(self.code, Code::NoError | Code::NxDomain)
    }
}

impl Snapshot {
    /// The deepest zone that holds `name`. DS at a zone's own name belongs to the zone above it,
    /// unless that is somebody else's.
    fn zone_of(&self, name: &Name, kind: Kind) -> Option<&Zone> {
        let too_deep = name.depth().saturating_sub(self.depth_max);
        let mut zones = name.upward().skip(too_deep).filter_map(|key| self.zones.get(key)).map(AsRef::as_ref);
        let deepest = zones.next()?;
        if kind == Kind::DS && deepest.origin == *name {
            return Some(zones.next().unwrap_or(deepest));
        }
        Some(deepest)
    }
}

impl Zone {
    /// The node of `name`, or of the wildcard that stands for it: `*` beneath the closest name
    /// that exists (RFC 4592 section 3.3.1).
    fn node_of(&self, name: &Name) -> Option<&Node> {
        let encloser = name.upward().find_map(|key| self.nodes.get_key_value(key))?;
        if encloser.0 == name {
            return Some(encloser.1);
        }
        self.nodes.get(Name::wildcard_key(core::borrow::Borrow::borrow(encloser.0)).as_slice())
    }

    /// Addresses of the name servers in `set`, which may lie beside the zone.
    fn additional(&self, set: &Set) -> Vec<(&Name, &Set)> {
        if set.kind != Kind::NS {
            return Vec::new();
        }
        let servers = set.data.iter().filter_map(Rdata::first_name);
        servers
            .filter_map(|name| self.nodes.get_key_value(&name).or_else(|| self.glue.get_key_value(&name)))
            .flat_map(|(name, node)| node.iter().map(move |set| (name, set)))
            .filter(|(_, set)| matches!(set.kind, Kind::A | Kind::AAAA))
            .collect()
    }
}
