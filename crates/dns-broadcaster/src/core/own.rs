//! The operator's own records: in the system's zone beside what is published there, and zones of
//! their own. What is published always wins: clients follow it through a failover.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::name::{Name, upward};
use super::packed::{Node, PackedSet};
use super::record::{Kind, Set};
use super::table::{Entry, Key, Table};
use super::zone::{SYSTEM_LABELS, Serial, Tenants, Zone};

/// Sets of records, by name, while they are put together.
pub type Nodes = BTreeMap<Name, Vec<Set>>;

/// Which records are served, without saying what they are: a digest (SHA-256), or zeros for none.
pub type Digest = [u8; 32];

/// A set that cannot be served as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{owner} {kind}: {reason}")]
pub struct Refusal {
    /// The name.
    pub owner: Name,
    /// The type.
    pub kind: Kind,
    /// Why not.
    pub reason: Reason,
}

/// Why a set cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Reason {
    #[error("lies outside {0}")]
    Outside(Name),
    #[error("is published by this system; leave it out")]
    Published,
    #[error("belongs to the tenant {0}, whose names follow its content")]
    OfTenant(Name),
    #[error("stands beside an alias (CNAME) of the same name, which must be alone (RFC 1034 section 3.6.2)")]
    BesideAlias,
    #[error("a name has one alias at most (RFC 2181 section 10.1)")]
    SecondAlias,
    #[error("only the zone's own name has a SOA record, and one")]
    StraySoa,
    #[error(
        "{kind} was taken here by update, with key {key}: remove that (`switchback dns records --remove`), or leave this out"
    )]
    Taken { kind: Kind, key: Name },
    #[error("another zone file has the zone too")]
    SecondZone,
    #[error("the zone needs an NS record of its own name")]
    NoServers,
    #[error("the zone has changed since it was last read, and its serial {} is not newer than {}; raise it", .offered.0, .current.0)]
    SerialNotNewer { offered: Serial, current: Serial },
}

impl Refusal {
    /// Of a zone as a whole.
    #[must_use]
    pub fn of_zone(origin: &Name, reason: Reason) -> Self {
        Self::of(origin.as_bytes(), Kind::SOA, reason)
    }

    fn of(owner: &[u8], kind: Kind, reason: Reason) -> Self {
        Self { owner: Name::from_key(owner), kind, reason }
    }
}

/// The operator's records in the system's zone.
#[derive(Clone, Debug, Default)]
pub struct Records(Table);

impl Records {
    /// None, in a table with this key.
    #[must_use]
    pub fn keyed(key: Key) -> Self {
        Self(Table::keyed(key))
    }

    /// Adds what a file says: packed nodes of the zone of `domain`.
    pub fn add(&mut self, domain: &Name, nodes: Table) {
        if self.0.is_empty() {
            self.0 = nodes;
        } else {
            for (owner, node) in nodes.iter() {
                let sets: Vec<_> = Node::of(node).sets().map(Set::from).collect();
                self.0.add(domain, &Name::from_key(owner), &sets);
            }
        }
        self.0.fill(domain);
    }

    /// Has these sets, and no others, at `name`.
    pub fn lay(&mut self, domain: &Name, name: &Name, sets: &[Set]) {
        self.0.lay(domain, name, sets);
    }

    /// The keys of names at which there are other sets than in `other`: found in the time that those take, when
    /// one is a changed copy of the other.
    pub(super) fn apart<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a [u8]> {
        self.0.changed(&other.0)
    }

    /// All sets, by name and type.
    pub fn sets(&self) -> impl Iterator<Item = (&[u8], PackedSet<'_>)> {
        self.0.sets()
    }

    /// The sets that are not served since the name is published, and why not.
    pub fn left_out<'a>(
        &'a self,
        domain: &'a Name,
        tenants: &'a Tenants,
    ) -> impl Iterator<Item = Refusal> + 'a {
        let hidden = left_out(&self.0, domain, tenants);
        hidden.map(|(owner, set, reason)| Refusal::of(owner, set.kind(), reason))
    }

    /// The nodes of the others.
    pub(super) fn served(&self, domain: &Name, tenants: &Tenants) -> Table {
        let mut nodes = self.0.clone();
        for (owner, set) in published(&self.0, domain) {
            nodes.take(owner, set.kind());
        }
        for (owner, _) in outermost(domain, tenants).flat_map(|tenant| self.0.within(tenant.as_bytes())) {
            nodes.remove(owner);
        }
        nodes
    }

    /// The sets at this name that the system does not publish itself.
    pub(super) fn served_at(&self, name: &[u8], domain: &Name) -> Vec<Set> {
        let node = self.0.node(name).map(|(_, node)| node).unwrap_or_default();
        let is_system = is_system(name, domain);
        let is_served =
            |set: &PackedSet<'_>| !is_system || !is_published(set.kind(), name == domain.as_bytes());
        node.sets().filter(is_served).map(Set::from).collect()
    }

    /// Of the nodes at this name and beneath it those that no tenant hides.
    pub(super) fn served_within<'a>(
        &'a self,
        name: &'a Name,
        tenants: &'a Tenants,
    ) -> impl Iterator<Item = Entry<'a>> {
        let within = self.0.within(name.as_bytes());
        within.filter(|(key, _)| of_tenant(key, tenants).is_none())
    }
}

/// Judges records of the system's zone by themselves and beside what is published there.
///
/// # Errors
/// The first that cannot be served.
pub fn judge(nodes: &Table, domain: &Name, tenants: &Tenants) -> Result<(), Refusal> {
    alone(nodes, domain)?;
    match left_out(nodes, domain, tenants).next() {
        Some((owner, set, reason)) => Err(Refusal::of(owner, set.kind(), reason)),
        None => Ok(()),
    }
}

/// Why a zone of the operator's own cannot have this name.
#[must_use]
pub fn zone_taken(origin: &Name, domain: &Name, tenants: &Tenants) -> Option<Reason> {
    if origin == domain { Some(Reason::Published) } else { of_tenant(origin.as_bytes(), tenants) }
}

impl Zone {
    /// A zone whose records, its SOA among them, are the operator's.
    ///
    /// # Errors
    /// The first set that cannot be served.
    pub fn of_own(origin: &Name, mut nodes: Table) -> Result<Self, Refusal> {
        alone(&nodes, origin)?;
        let refused = |kind, reason| Refusal::of(origin.as_bytes(), kind, reason);
        let apex = nodes.node(origin.as_bytes()).map(|(_, apex)| apex).unwrap_or_default();
        let soa = apex.set(Kind::SOA).filter(|soa| soa.len() == 1);
        let Some(soa) = soa else { return Err(refused(Kind::SOA, Reason::StraySoa)) };
        if apex.set(Kind::NS).is_none() {
            return Err(refused(Kind::NS, Reason::NoServers));
        }
        let Some(serial) = soa.first().serial() else { return Err(refused(Kind::SOA, Reason::StraySoa)) };
        nodes.fill(origin);
        Ok(Self::of_table(origin, serial, nodes))
    }

    /// This zone with these sets, and no others, at these names, under another serial.
    #[must_use]
    pub fn laid<'a>(&self, nodes: impl Iterator<Item = (&'a Name, Vec<Set>)>, serial: Serial) -> Self {
        let mut changed = self.clone();
        for (name, sets) in nodes {
            changed.nodes.lay(&self.origin, name, &sets);
        }
        changed.under(serial)
    }

    /// The sets at a name.
    #[must_use]
    pub fn sets_at(&self, name: &Name) -> Vec<Set> {
        self.nodes.sets_at(name)
    }

    /// Whether this zone may take the place of `current`: it says the same, or its serial is newer.
    ///
    /// # Errors
    /// It may not.
    pub fn judge_after(&self, current: &Self) -> Result<(), Refusal> {
        let (offered, current_serial) = (self.serial(), current.serial());
        if offered.is_newer_than(current_serial)
            || (offered == current_serial && self.nodes.iter().eq(current.nodes.iter()))
        {
            return Ok(());
        }
        let reason = Reason::SerialNotNewer { offered, current: current_serial };
        Err(Refusal::of_zone(self.origin(), reason))
    }
}

impl Kind {
    /// Whether an operator may say records of this type. What DNSSEC adds is not his to write, and what asks
    /// for a behaviour of the server (DNAME) would only be carried.
    #[must_use]
    pub fn is_operators(self) -> bool {
        const OPT: u16 = 41;
        const DNAME: u16 = 39;
        // SIG, KEY, NXT, RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM, CDS, CDNSKEY, ZONEMD.
        const SIGNING: [u16; 11] = [24, 25, 30, 46, 47, 48, 50, 51, 59, 60, 63];
        !(128..=255).contains(&self.0) && ![OPT, DNAME].contains(&self.0) && !SIGNING.contains(&self.0)
    }
}

/// What holds in every zone.
fn alone(nodes: &Table, origin: &Name) -> Result<(), Refusal> {
    for (owner, node) in nodes.iter().map(|(owner, node)| (owner, Node::of(node))) {
        let has_alias = node.set(Kind::CNAME).is_some();
        for set in node.sets() {
            let kind = set.kind();
            let reason = if !owner.starts_with(origin.as_bytes()) {
                Reason::Outside(origin.clone())
            } else if has_alias && kind != Kind::CNAME {
                Reason::BesideAlias
            } else if kind == Kind::CNAME && set.len() > 1 {
                Reason::SecondAlias
            } else if kind == Kind::SOA && owner != origin.as_bytes() {
                Reason::StraySoa
            } else {
                continue;
            };
            return Err(Refusal::of(owner, kind, reason));
        }
    }
    Ok(())
}

/// The sets in the system's zone that are not the operator's to say, and why not. Looks only where
/// something is published.
fn left_out<'a>(
    nodes: &'a Table,
    domain: &'a Name,
    tenants: &'a Tenants,
) -> impl Iterator<Item = (&'a [u8], PackedSet<'a>, Reason)> {
    let published = published(nodes, domain).map(|(owner, set)| (owner, set, Reason::Published));
    let of_tenants = outermost(domain, tenants).flat_map(|tenant| {
        let within = nodes.within(tenant.as_bytes());
        let sets = within.flat_map(|(owner, node)| Node::of(node).sets().map(move |set| (owner, set)));
        sets.map(|(owner, set)| (owner, set, Reason::OfTenant(tenant.clone())))
    });
    published.chain(of_tenants)
}

/// The sets that the system publishes itself.
fn published<'a>(nodes: &'a Table, domain: &'a Name) -> impl Iterator<Item = (&'a [u8], PackedSet<'a>)> {
    let labels = SYSTEM_LABELS.iter().filter_map(|label| domain.child(label));
    let names: Vec<_> = labels.filter_map(|name| nodes.node(name.as_bytes())).collect();
    nodes.node(domain.as_bytes()).into_iter().chain(names).flat_map(move |(owner, node)| {
        let sets = node.sets().filter(move |set| is_published(set.kind(), owner == domain.as_bytes()));
        sets.map(move |set| (owner, set))
    })
}

/// Whether the system publishes something itself at the name with this key.
fn is_system(name: &[u8], domain: &Name) -> bool {
    let mut labels = SYSTEM_LABELS.iter().filter_map(|label| domain.child(label));
    name == domain.as_bytes() || labels.any(|label| label.as_bytes() == name)
}

/// Whether a set is the system's to say in its zone, whatever there is.
#[must_use]
pub fn is_published_at(name: &Name, kind: Kind, domain: &Name) -> bool {
    is_system(name.as_bytes(), domain) && is_published(kind, name == domain)
}

/// The tenants beneath the domain; one beneath another hides nothing more.
fn outermost<'a>(domain: &Name, tenants: &'a Tenants) -> impl Iterator<Item = &'a Name> {
    tenants.keys().filter(move |name| {
        let mut above = upward(name.as_bytes()).skip(1);
        name.is_within(domain) && !above.any(|key| tenants.contains_key(key))
    })
}

/// Whether sets of this type are the system's at its domain, or at a name of its own beneath that. Name
/// servers beside its own are the operator's to name: nobody else knows who holds copies of the zone.
pub(super) fn is_published(kind: Kind, at_domain: bool) -> bool {
    match kind {
        Kind::A | Kind::AAAA | Kind::CNAME => true,
        Kind::NS => !at_domain,
        Kind::SOA => at_domain,
        _ => false,
    }
}

fn of_tenant(owner: &[u8], tenants: &Tenants) -> Option<Reason> {
    let tenant = upward(owner).find_map(|key| tenants.get_key_value(key));
    tenant.map(|(tenant, _)| Reason::OfTenant(tenant.clone()))
}
