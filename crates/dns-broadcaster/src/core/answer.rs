//! Question to answer: RFC 1034 section 4.3.2 for a server that holds every zone it knows of, with
//! wildcards after RFC 4592 and ANY after RFC 8482. A few map look-ups, never a scan.

use super::name::{NameBuf, upward};
use super::record::{Kind, Node, Set};
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
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The response code.
    pub code: Code,
    /// The zone that speaks; `None` with [`Code::Refused`] and [`Code::ServFail`].
    pub zone: Option<&'a Zone>,
    /// The records, whose owner is the name that was asked for.
    pub answer: Option<&'a Set>,
}

/// Answers a question for records of type `kind` at the name whose key is `name`
/// ([`NameBuf::as_bytes`]).
#[must_use]
pub fn answer<'a>(snapshot: &'a Snapshot, name: &[u8], kind: Kind) -> Answer<'a> {
    let Some(zone) = snapshot.zone_of(name, kind) else { return Answer::without(Code::Refused) };
    if zone.held {
        return Answer::without(Code::ServFail);
    }
    let Some(node) = zone.node_of(name) else {
        return Answer { code: Code::NxDomain, zone: Some(zone), answer: None };
    };
    // RFC 8482 section 4.1: one set is answer enough, and not the SOA, which nobody looks for.
    let wanted = |set: &&Set| if kind == Kind::ANY { set.kind != Kind::SOA } else { set.kind == kind };
    Answer { code: Code::NoError, zone: Some(zone), answer: node.iter().find(wanted) }
}

impl<'a> Answer<'a> {
    fn without(code: Code) -> Self {
        Self { code, zone: None, answer: None }
    }

    /// For a negative answer: the SOA of the zone, whose TTL is that of the denial (RFC 2308).
    #[must_use]
    pub fn authority(&self) -> Option<&'a Set> {
        if self.answer.is_some() { None } else { self.zone?.soa() }
    }

    /// Addresses of the name servers in the answer, which may lie beside the zone, behind the
    /// servers' names as the wire carries them.
    pub fn additional(&self) -> impl Iterator<Item = (&'a [u8], &'a Set)> {
        let servers = self.answer.filter(|set| set.kind == Kind::NS).into_iter().flat_map(|set| &set.data);
        let zone = self.zone;
        servers.flat_map(move |server| {
            let name = NameBuf::read(server.as_bytes());
            let node = name.and_then(|name| zone?.beside(name.as_bytes()));
            let sets = node.into_iter().flatten().filter(|set| matches!(set.kind, Kind::A | Kind::AAAA));
            sets.map(|set| (server.as_bytes(), set))
        })
    }
}

impl Snapshot {
    /// The deepest zone that holds `name`. DS at a zone's own name belongs to the zone above it,
    /// unless that is somebody else's.
    fn zone_of(&self, name: &[u8], kind: Kind) -> Option<&Zone> {
        let mut above = upward(name);
        while above.depth() > self.depth_max {
            above.next();
        }
        let mut zones = above.filter_map(|key| self.zones.get(key)).map(AsRef::as_ref);
        let deepest = zones.next()?;
        if kind == Kind::DS && deepest.origin.as_bytes() == name {
            return Some(zones.next().unwrap_or(deepest));
        }
        Some(deepest)
    }
}

impl Zone {
    /// The node of `name`, or of the wildcard that stands for it: `*` beneath the closest name
    /// that exists (RFC 4592 section 3.3.1).
    fn node_of(&self, name: &[u8]) -> Option<&Node> {
        let (encloser, node) = upward(name).find_map(|key| Some((key, self.nodes.get(key)?)))?;
        if encloser == name {
            return Some(node);
        }
        self.nodes.get(NameBuf::wildcard(encloser)?.as_bytes())
    }

    /// What is known of a name that the zone speaks of.
    fn beside(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.get(name).or_else(|| self.glue.get(name))
    }
}
