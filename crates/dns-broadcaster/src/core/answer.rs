//! Question to answer: RFC 1034 section 4.3.2 for a server that holds every zone it knows of, with
//! wildcards after RFC 4592 and ANY after RFC 8482. A few map look-ups, never a scan.

use super::name::{NameBuf, upward};
use super::packed::{Node, PackedSet};
use super::rate::Sort;
use super::record::Kind;
use super::zone::{Snapshot, Zone};

/// Aliases that are followed for one question; the client follows the others.
pub const ALIASES_MAX: usize = 8;

/// The response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The name exists, with or without records of this type.
    NoError,
    /// The name does not exist.
    NxDomain,
    /// No zone of this server.
    Refused,
    /// This server cannot say, since its zone is held back or denies nothing: ask the other one.
    ServFail,
}

/// An answer, borrowed from the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The response code.
    pub code: Code,
    /// The zone that speaks; `None` with [`Code::Refused`] and [`Code::ServFail`].
    pub zone: Option<&'a Zone>,
    aliases: [Option<Held<'a>>; ALIASES_MAX],
    /// How each name on the way was found, the last one behind the aliases.
    pub(super) matches: [Match; ALIASES_MAX + 1],
    pub(super) end: End<'a>,
}

/// A set, and all that is at its name: with its signature, if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'a> {
    pub(super) set: PackedSet<'a>,
    pub(super) node: Node<'a>,
}

/// How a zone has a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Match {
    /// As such.
    Itself,
    /// By the wildcard beneath its closest ancestor, whose key has so many bytes.
    Wildcard(u8),
    /// Not at all; so with its closest ancestor.
    Nothing(u8),
}

/// Where a question leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    /// To what was asked for.
    Found(Held<'a>),
    /// To a name without it, or to no name.
    Absent,
    /// To a zone beneath this one: its key, and its name servers.
    Referred(&'a [u8], Held<'a>),
    /// To a name that the client has to ask for itself.
    Elsewhere,
}

/// The set of an authority section.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// The key of its name.
    pub owner: &'a [u8],
    /// The records.
    pub set: PackedSet<'a>,
    /// Seconds that they may be kept: under a SOA, how long a denial may (RFC 2308 section 5).
    pub ttl: u32,
}

/// Answers a question for records of type `kind` at the name whose key is `name`
/// ([`NameBuf::as_bytes`]).
#[must_use]
pub fn answer<'a>(snapshot: &'a Snapshot, name: &[u8], kind: Kind) -> Answer<'a> {
    let mut found = Answer {
        code: Code::Refused,
        zone: None,
        aliases: [None; ALIASES_MAX],
        matches: [Match::Itself; ALIASES_MAX + 1],
        end: End::Elsewhere,
    };
    let Some(zone) = snapshot.zone_of(name, kind) else { return found };
    // Its serial is no secret, and name servers that follow ask for it as anybody does (RFC 9432 section 7).
    if zone.private && !(kind == Kind::SOA && name == zone.origin.as_bytes()) {
        return found;
    }
    if zone.held {
        found.code = Code::ServFail;
        return found;
    }
    found.zone = Some(zone);
    found.code = Code::NoError;
    let mut followed = 0;
    let asked = name;
    let mut target: NameBuf;
    let mut name = asked;
    loop {
        let (node, found_by) = match zone.look(name, kind) {
            Look::Node(node, found_by) => (Some(node), found_by),
            Look::Cut(key, servers) => {
                found.end = End::Referred(key, servers);
                return found;
            }
            Look::Nothing(_) if !zone.denies && followed > 0 => return found,
            Look::Nothing(_) if !zone.denies => {
                (found.code, found.zone) = (Code::ServFail, None);
                return found;
            }
            Look::Nothing(found_by) => (None, found_by),
        };
        found.matches[followed] = found_by;
        let Some(node) = node else {
            found.code = Code::NxDomain;
            found.end = End::Absent;
            return found;
        };
        // RFC 8482 section 4.1: one set is answer enough, and none that nobody looks for.
        let wanted = |set: &PackedSet<'_>| match kind {
            Kind::ANY => !matches!(set.kind(), Kind::SOA | Kind::RRSIG | Kind::NSEC),
            _ => set.kind() == kind,
        };
        if let Some(set) = node.sets().find(wanted) {
            found.end = End::Found(Held { set, node });
            return found;
        }
        let Some(alias) = node.set(Kind::CNAME) else {
            found.end = End::Absent;
            return found;
        };
        let data = alias.first().as_bytes();
        let (Some(place), Some(next)) = (found.aliases.get_mut(followed), NameBuf::read(data)) else {
            return found;
        };
        *place = Some(Held { set: alias, node });
        let mut names = found.aliases[..followed].iter().flatten().map(|alias| alias.set.first());
        let is_circle =
            next.as_bytes() == asked || names.any(|name| name.as_bytes().eq_ignore_ascii_case(data));
        if is_circle {
            return found;
        }
        followed += 1;
        target = next;
        name = target.as_bytes();
        // What another zone says of the name is for a question of its own: that zone may move.
        if !snapshot.zone_of(name, kind).is_some_and(|other| core::ptr::eq(other, zone)) {
            return found;
        }
    }
}

impl<'a> Answer<'a> {
    /// The CNAME sets on the way: the first is of the name that was asked for, each has one value, and
    /// that is the next name.
    pub fn aliases(&self) -> impl Iterator<Item = PackedSet<'a>> {
        self.held_aliases().map(|alias| alias.set)
    }

    pub(super) fn held_aliases(&self) -> impl Iterator<Item = Held<'a>> {
        self.aliases.into_iter().map_while(|alias| alias)
    }

    /// The records, whose owner is the name that was asked for, or the one to which the aliases lead.
    #[must_use]
    pub fn answer(&self) -> Option<PackedSet<'a>> {
        self.held_answer().map(|held| held.set)
    }

    pub(super) fn held_answer(&self) -> Option<Held<'a>> {
        match self.end {
            End::Found(held) => Some(held),
            _ => None,
        }
    }

    /// The key of the zone that speaks; empty for none.
    #[must_use]
    pub fn zone_key(&self) -> &'a [u8] {
        self.zone.map_or(&[], |zone| zone.origin.as_bytes())
    }

    /// Of which sort it is, for who limits answers.
    #[must_use]
    pub fn sort(&self) -> Sort {
        match (self.zone, self.end) {
            (None, _) => Sort::Error,
            (Some(_), End::Found(_) | End::Elsewhere) => Sort::Found,
            (Some(_), End::Referred(..)) => Sort::Referral,
            (Some(_), End::Absent) if self.code == Code::NxDomain => Sort::Absent,
            (Some(_), End::Absent) => Sort::Empty,
        }
    }

    /// Whether a zone of this server speaks of a name of its own: of the first, when there are aliases
    /// (RFC 1035 section 4.1.1).
    #[must_use]
    pub fn is_authoritative(&self) -> bool {
        let is_referred = matches!(self.end, End::Referred(..));
        self.zone.is_some() && (!is_referred || self.aliases().next().is_some())
    }

    /// What stands in the authority section: the name servers to ask instead; or, in a negative answer,
    /// the SOA.
    #[must_use]
    pub fn authority(&self) -> Option<Authority<'a>> {
        match self.end {
            End::Found(_) | End::Elsewhere => None,
            End::Absent => {
                let (zone, soa) = self.zone.and_then(|zone| Some((zone, zone.soa()?)))?;
                let ttl = soa.first().minimum().map_or(soa.ttl(), |minimum| soa.ttl().min(minimum));
                Some(Authority { owner: zone.origin.as_bytes(), set: soa, ttl })
            }
            End::Referred(owner, Held { set, .. }) => Some(Authority { owner, set, ttl: set.ttl() }),
        }
    }

    /// Addresses of the name servers in the answer or the referral, which may lie beside the zone,
    /// behind the servers' names as the wire carries them.
    pub fn additional(&self) -> impl Iterator<Item = (&'a [u8], PackedSet<'a>)> {
        let servers = match self.end {
            End::Found(Held { set, .. }) | End::Referred(_, Held { set, .. }) if set.kind() == Kind::NS => {
                Some(set)
            }
            _ => None,
        };
        let zone = self.zone;
        servers.into_iter().flat_map(PackedSet::values).flat_map(move |server| {
            let name = NameBuf::read(server.as_bytes());
            let node = name.and_then(|name| zone?.beside(name.as_bytes()));
            let sets = node.into_iter().flat_map(Node::sets);
            let addresses = sets.filter(|set| matches!(set.kind(), Kind::A | Kind::AAAA));
            addresses.map(move |set| (server.as_bytes(), set))
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
        let mut zones = above.filter_map(|key| self.at(key)).map(AsRef::as_ref);
        let deepest = zones.next()?;
        if kind == Kind::DS && deepest.origin.as_bytes() == name {
            return Some(zones.next().unwrap_or(deepest));
        }
        Some(deepest)
    }
}

/// What a zone has for a name.
enum Look<'a> {
    Node(Node<'a>, Match),
    /// A zone beneath it has the name: that one's key and name servers.
    Cut(&'a [u8], Held<'a>),
    Nothing(Match),
}

impl Zone {
    /// The node of `name`, or of the wildcard that stands for it: `*` beneath the closest name
    /// that exists (RFC 4592 section 3.3.1). The delegation that is nearest to the apex hides what
    /// is beneath it, and not its own DS (RFC 4035 section 3.1.4.1).
    fn look(&self, name: &[u8], kind: Kind) -> Look<'_> {
        let apex = self.origin.as_bytes();
        let (mut encloser, mut cut) = (None, None);
        for key in upward(name).take_while(|key| key.len() > apex.len()) {
            let Some((owner, node)) = self.nodes.node(key) else { continue };
            encloser.get_or_insert((key, node));
            cut = node.set(Kind::NS).map(|set| (owner, Held { set, node })).or(cut);
        }
        if let Some((key, servers)) = cut.filter(|(key, _)| kind != Kind::DS || *key != name) {
            return Look::Cut(key, servers);
        }
        let (node, found_by) = match encloser {
            Some((key, node)) if key == name => (Some(node), Match::Itself),
            None if name == apex => (self.node(apex), Match::Itself),
            _ => {
                let encloser = encloser.map_or(apex, |(key, _)| key);
                let wildcard =
                    NameBuf::wildcard(encloser).and_then(|wildcard| self.node(wildcard.as_bytes()));
                // A key is no longer than a name.
                let bytes = encloser.len() as u8;
                (wildcard, if wildcard.is_some() { Match::Wildcard(bytes) } else { Match::Nothing(bytes) })
            }
        };
        node.map_or(Look::Nothing(found_by), |node| Look::Node(node, found_by))
    }

    /// What is known of a name that the zone speaks of.
    fn beside(&self, name: &[u8]) -> Option<Node<'_>> {
        self.node(name).or_else(|| Some(self.glue.node(name)?.1))
    }

    pub(super) fn node(&self, name: &[u8]) -> Option<Node<'_>> {
        Some(self.nodes.node(name)?.1)
    }
}
