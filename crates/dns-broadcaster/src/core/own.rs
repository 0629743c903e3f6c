//! The operator's own records: in the system's zone beside what is published there, and zones of
//! their own. What is published always wins: clients follow it through a failover.

use alloc::collections::BTreeMap;

use super::name::{Name, upward};
use super::record::{Kind, Node, Set};
use super::zone::{SYSTEM_LABELS, Serial, Tenant, Zone};

/// Sets of records, by name.
pub type Nodes = BTreeMap<Name, Node>;

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
        Self::of(origin, Kind::SOA, reason)
    }

    fn of(owner: &Name, kind: Kind, reason: Reason) -> Self {
        Self { owner: owner.clone(), kind, reason }
    }
}

/// Judges records of the system's zone by themselves and beside what is published there.
///
/// # Errors
/// The first that cannot be served.
pub fn judge(nodes: &Nodes, domain: &Name, tenants: &BTreeMap<Name, Tenant>) -> Result<(), Refusal> {
    alone(nodes, domain)?;
    for (owner, set) in sets(nodes) {
        if let Some(reason) = taken(owner, set.kind, domain, tenants) {
            return Err(Refusal::of(owner, set.kind, reason));
        }
    }
    Ok(())
}

/// What is served of `nodes`, and what is not since the name is published.
pub fn beside<'a>(
    nodes: &'a Nodes,
    domain: &'a Name,
    tenants: &'a BTreeMap<Name, Tenant>,
) -> impl Iterator<Item = Result<(&'a Name, &'a Set), Refusal>> {
    sets(nodes).map(move |(owner, set)| match taken(owner, set.kind, domain, tenants) {
        None => Ok((owner, set)),
        Some(reason) => Err(Refusal::of(owner, set.kind, reason)),
    })
}

/// Why a zone of the operator's own cannot have this name.
#[must_use]
pub fn zone_taken(origin: &Name, domain: &Name, tenants: &BTreeMap<Name, Tenant>) -> Option<Reason> {
    if origin == domain { Some(Reason::Published) } else { of_tenant(origin, tenants) }
}

impl Zone {
    /// A zone whose records, its SOA among them, are the operator's.
    ///
    /// # Errors
    /// The first set that cannot be served.
    pub fn of_own(origin: &Name, mut nodes: Nodes) -> Result<Self, Refusal> {
        alone(&nodes, origin)?;
        let apex = nodes.entry(origin.clone()).or_default();
        let soa = apex.iter().position(|set| set.kind == Kind::SOA && set.data.len() == 1);
        let Some(soa) = soa else { return Err(Refusal::of(origin, Kind::SOA, Reason::StraySoa)) };
        if !apex.iter().any(|set| set.kind == Kind::NS) {
            return Err(Refusal::of(origin, Kind::NS, Reason::NoServers));
        }
        apex.swap(0, soa);
        let serial = apex[0].data[0].serial();
        let Some(serial) = serial else { return Err(Refusal::of(origin, Kind::SOA, Reason::StraySoa)) };
        Ok(Self::of_nodes(origin, serial, nodes))
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
        Err(Refusal::of(self.origin(), Kind::SOA, reason))
    }
}

fn sets(nodes: &Nodes) -> impl Iterator<Item = (&Name, &Set)> {
    nodes.iter().flat_map(|(owner, node)| node.iter().map(move |set| (owner, set)))
}

/// What holds in every zone.
fn alone(nodes: &Nodes, origin: &Name) -> Result<(), Refusal> {
    for (owner, node) in nodes {
        let has_alias = node.iter().any(|set| set.kind == Kind::CNAME);
        for set in node {
            let reason = if !owner.is_within(origin) {
                Reason::Outside(origin.clone())
            } else if has_alias && set.kind != Kind::CNAME {
                Reason::BesideAlias
            } else if set.kind == Kind::CNAME && set.data.len() > 1 {
                Reason::SecondAlias
            } else if set.kind == Kind::SOA && owner != origin {
                Reason::StraySoa
            } else {
                continue;
            };
            return Err(Refusal::of(owner, set.kind, reason));
        }
    }
    Ok(())
}

/// Why a set in the system's zone is not the operator's to say.
fn taken(owner: &Name, kind: Kind, domain: &Name, tenants: &BTreeMap<Name, Tenant>) -> Option<Reason> {
    let is_address = matches!(kind, Kind::A | Kind::AAAA | Kind::CNAME);
    let is_systems = || SYSTEM_LABELS.iter().any(|label| domain.child(label).as_ref() == Some(owner));
    if owner == domain && (is_address || matches!(kind, Kind::NS | Kind::SOA))
        || (is_address || kind == Kind::NS) && is_systems()
    {
        return Some(Reason::Published);
    }
    of_tenant(owner, tenants)
}

fn of_tenant(owner: &Name, tenants: &BTreeMap<Name, Tenant>) -> Option<Reason> {
    let tenant = upward(owner.as_bytes()).find_map(|key| tenants.get_key_value(key));
    tenant.map(|(tenant, _)| Reason::OfTenant(tenant.clone()))
}
