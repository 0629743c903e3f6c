//! Zones: what the link manager wants them to be, and the records that follow from it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::dnssec::key::PublicKey;
use super::dnssec::sign::Signed;
use super::gateway::{Gateway, address_sets};
use super::history::History;
use super::map::Map;
use super::name::Name;
use super::own::{self, Digest, Nodes};
use super::packed::PackedSet;
use super::record::{Kind, Rdata, Set, Soa};
use super::table::Table;

mod others;
mod snapshot;

pub use self::snapshot::{Difference, Snapshot};

/// Names beneath a system's domain that belong to the system, hence to no tenant.
pub const SYSTEM_LABELS: [&str; 3] = [NAME_SERVER_LABEL, "s3", "admin"];
/// The system's own name server, `ns1.<domain>`.
pub const NAME_SERVER_LABEL: &str = "ns1";

/// The tenant that is there from the start and on no link.
const FIRST_TENANT: &str = "default";

/// Beneath a tenant: a TXT record there says which state of the link an answer is of. No host has such a
/// name.
pub const WATCH_LABEL: &str = "_switchback";

/// A zone's serial, in the circular order of RFC 1982.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serial(pub u32);

impl Serial {
    /// What a zone comes with that follows no link: it is numbered here.
    pub const ABSENT: Self = Self(0);

    /// RFC 1982 section 3.2. Two serials exactly half the circle apart have no order: neither is
    /// newer, so that the one on record stays.
    #[must_use]
    pub fn is_newer_than(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 1 << 31
    }

    /// The next serial of a zone that this service numbers by itself: the seconds on a clock, so
    /// that it grows across a lost disk as well, or one more when that is no step ahead.
    #[must_use]
    pub fn next(self, now_seconds: u32) -> Self {
        let by_clock = Self(now_seconds);
        let next = if by_clock.is_newer_than(self) { by_clock } else { self.following() };
        if next == Self::ABSENT { Self(1) } else { next }
    }

    /// The one right after it.
    #[must_use]
    pub fn following(self) -> Self {
        let next = Self(self.0.wrapping_add(1));
        if next == Self::ABSENT { Self(1) } else { next }
    }
}

/// The system's own zone, as desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The system's domain.
    pub domain: Name,
    /// Its gateway.
    pub gateway: Gateway,
    /// Addresses of its name server, in order and once each.
    pub name_server_addresses: Vec<IpAddr>,
    /// The operator's own records in it.
    pub own: Digest,
}

/// Tenants' zones, by name.
pub type Tenants = Map<Tenant>;

/// A tenant's zone, as desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// `<tenant>.<domain>`.
    pub name: Name,
    /// Given by the link manager, and grows with the link's epoch; [`Serial::ABSENT`] in what is
    /// desired for a zone on no link.
    pub serial: Serial,
    /// What the zone answers.
    pub content: TenantContent,
    /// The link that the zone follows; empty for none.
    pub link: String,
    /// The system that the names lead to, for people.
    pub target: String,
    /// Keys of the other system, which answers for the zone too and signs with them; in order and once
    /// each.
    pub peer_keys: Vec<PublicKey>,
}

/// The part of a tenant's zone that a serial stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantContent {
    /// Where the names lead; somewhere.
    pub gateway: Gateway,
    /// By name, so that both systems name the same primary in the SOA; never empty, and none
    /// within the zone, where its name would make a hole in the wildcard.
    pub name_servers: Vec<NameServer>,
    /// Seconds that an answer may be kept.
    pub ttl: u32,
    /// Where the link is that the serial follows; none for a zone on no link.
    pub place: Option<Place>,
}

/// What a serial of a link's zone stands for: both systems give the same one to the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The link's epoch.
    pub epoch: u64,
    /// Changes within it.
    pub generation: u32,
}

/// Serial, epoch and generation, as words of one text.
pub(super) fn state(serial: Serial, place: Option<Place>) -> String {
    let place = place.map_or_else(String::new, |Place { epoch, generation }| {
        format!(" epoch={epoch} generation={generation}")
    });
    format!("switchback serial={}{place}", serial.0)
}

/// A name server of a zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameServer {
    /// Its host name.
    pub name: Name,
    /// Its addresses, in order and once each.
    pub addresses: Vec<IpAddr>,
}

/// The times that zones carry and nobody desires one by one.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// SOA REFRESH, seconds.
    pub refresh: u32,
    /// SOA RETRY, seconds.
    pub retry: u32,
    /// SOA EXPIRE, seconds.
    pub expire: u32,
    /// TTL of the system zone's records, seconds.
    pub system_ttl: u32,
    /// SOA MINIMUM of the system zone, seconds: how long a resolver may believe that a tenant
    /// which was just created does not exist (RFC 2308).
    pub negative_ttl: u32,
}

/// A zone that this server is authoritative for, as it is under one serial.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(super) origin: Name,
    pub(super) serial: Serial,
    pub(super) is_unique: bool,
    pub(super) held: bool,
    /// Whether name servers that follow this one may take the zone from it.
    pub(super) transferable: bool,
    /// Whether nothing of it is anybody's but a name server's that takes it: a catalogue.
    pub(super) private: bool,
    /// Whether a name that it does not hold does not exist.
    pub(super) denies: bool,
    /// Packed nodes.
    pub(super) nodes: Table,
    /// Addresses of name servers outside the zone, for the additional section.
    pub(super) glue: Table,
    /// Its SOA set, packed, for denials.
    pub(super) start: Box<[u8]>,
    /// NSEC3 records, packed nodes by hashed names, when it is signed and denies with those. They are the
    /// zone's, and found by no question (RFC 5155 section 7.2.8).
    pub(super) hashed: Table,
    /// How the zone came to this serial.
    pub(super) history: History,
    /// `None` while it is not signed.
    pub(super) signed: Option<Signed>,
}

impl Zone {
    /// The system's zone. `tenants` are the tenants of the server: those beneath the zone are
    /// delegated from it. This server answers from the tenants' own zones and never refers to them,
    /// but one that takes only this zone from it has to. `own` are the operator's records; those
    /// whose names are published are left out.
    ///
    /// Without any tenant but the one that every system has, this server denies no name: a system that
    /// lost everything knows nothing of tenants for whom the other system of a link answers, and a
    /// resolver has to go on to that one.
    #[must_use]
    pub fn of_system(
        system: &System,
        serial: Serial,
        tenants: &Tenants,
        own: &own::Records,
        policy: &Policy,
    ) -> Self {
        let origin = &system.domain;
        let ttl = policy.system_ttl;
        let mut nodes = own.served(origin, tenants);
        nodes.add(origin, origin, &[system.servers(ttl)]);
        for tenant in tenants.values().filter(|tenant| tenant.name.is_within(origin)) {
            nodes.add(origin, &tenant.name, &tenant.content.name_server_sets(ttl));
        }
        Self::of_system_nodes((system, serial), tenants, nodes, policy)
    }

    /// The system's zone of these nodes, which may lack its SOA set and its names beneath the apex.
    fn of_system_nodes(
        (system, serial): (&System, Serial),
        tenants: &Tenants,
        mut nodes: Table,
        policy: &Policy,
    ) -> Self {
        let origin = &system.domain;
        let ttl = policy.system_ttl;
        let gateway = SYSTEM_LABELS.iter().filter(|label| **label != NAME_SERVER_LABEL);
        for name in gateway.filter_map(|label| origin.child(label)).chain([origin.clone()]) {
            let held = nodes.node(name.as_bytes()).map(|(_, node)| node).unwrap_or_default();
            let is_alone = name != *origin && held.sets().all(|set| own::is_published(set.kind(), false));
            let mut sets = if is_alone { system.gateway.sets(ttl) } else { system.gateway.sets_beside(ttl) };
            // An operator's own say of HTTPS goes before what is said in general.
            sets.retain(|set| set.kind != Kind::HTTPS || held.set(Kind::HTTPS).is_none());
            nodes.add(origin, &name, &sets);
        }
        nodes.add(origin, &system.name_server(), &address_sets(&system.name_server_addresses, ttl));
        let start = policy.start(origin, &system.name_server(), serial, policy.negative_ttl);
        nodes.add(origin, origin, &[start]);
        Self { denies: knows_tenants(&system.domain, tenants), ..Self::of_table(origin, serial, nodes) }
    }

    /// A tenant's zone: its apex, and a wildcard that leads to the same gateway (RFC 4592). What anybody who
    /// watches a failover wants to know stands beside them, at [`WATCH_LABEL`].
    #[must_use]
    pub fn of_tenant(tenant: &Tenant, held: bool, transferable: bool, policy: &Policy) -> Self {
        let (origin, content) = (&tenant.name, &tenant.content);
        let ttl = content.ttl;
        let primary = content.name_servers.first().map_or(origin, |server| &server.name);
        let mut apex = content.gateway.sets_beside(ttl);
        apex.push(policy.start(origin, primary, tenant.serial, ttl));
        apex.extend(content.name_server_sets(ttl));
        let wildcard = origin.child("*").map(|wildcard| (wildcard, content.gateway.sets(ttl)));
        let state = || [Set::new(Kind::TXT, ttl, [tenant.state()])].into();
        let watched = origin.child(WATCH_LABEL).map(|watched| (watched, state()));
        let nodes = [(origin.clone(), apex)].into_iter().chain(wildcard).chain(watched).collect();
        let glue = content.name_servers.iter();
        let glue: Nodes =
            glue.map(|server| (server.name.clone(), address_sets(&server.addresses, ttl))).collect();
        Self { held, transferable, glue: (&glue).into(), ..Self::of_nodes(origin, tenant.serial, nodes) }
    }

    /// The zone of these nodes, the SOA set at its origin.
    pub(super) fn of_nodes(origin: &Name, serial: Serial, nodes: Nodes) -> Self {
        let mut nodes = Table::from(&nodes);
        nodes.fill(origin);
        Self::of_table(origin, serial, nodes)
    }

    /// As [`Zone::of_nodes`], of nodes that are packed already, with all names between them and the apex.
    pub(super) fn of_table(origin: &Name, serial: Serial, nodes: Table) -> Self {
        let apex = nodes.node(origin.as_bytes());
        let start = apex.and_then(|(_, apex)| apex.set(Kind::SOA)).map(PackedSet::to_packed);
        Self {
            origin: origin.clone(),
            serial,
            is_unique: true,
            held: false,
            transferable: true,
            private: false,
            denies: true,
            start: start.unwrap_or_default(),
            nodes,
            glue: Table::default(),
            hashed: Table::default(),
            history: History::default(),
            signed: None,
        }
    }

    /// This zone under another serial.
    #[must_use]
    pub fn under(&self, serial: Serial) -> Self {
        let mut nodes = self.nodes.clone();
        if let Some(soa) = self.soa() {
            let start = Set::new(Kind::SOA, soa.ttl(), [soa.first().with_serial(serial)]);
            nodes.take(self.origin.as_bytes(), Kind::SOA);
            nodes.add(&self.origin, &self.origin, &[start]);
        }
        let Self { held, transferable, private, denies, .. } = *self;
        let glue = self.glue.clone();
        Self { held, transferable, private, denies, glue, ..Self::of_table(&self.origin, serial, nodes) }
    }

    /// This zone, from which no differences lead on: under its serial another system, or an earlier run
    /// of this one, gives the same with other signatures.
    #[must_use]
    pub fn without_differences(self) -> Self {
        Self { is_unique: false, ..self }
    }

    /// The zone's name.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// The zone's serial.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Whether its serial stands for these very records, wherever and whenever they were taken. If not,
    /// no differences lead on from it.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.is_unique
    }

    /// What it has beyond its records when it is signed.
    #[must_use]
    pub fn signed_state(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// Whether nothing is answered from it for now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether name servers that follow this one may take it from here.
    #[must_use]
    pub fn is_transferable(&self) -> bool {
        self.transferable
    }

    /// Whether it is a catalogue, which is given to name servers that take it and to nobody else.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// This zone, from which nothing is answered.
    #[must_use]
    pub fn expired(&self) -> Self {
        Self { held: true, ..self.clone() }
    }

    /// Its start of authority.
    pub(crate) fn soa(&self) -> Option<PackedSet<'_>> {
        PackedSet::of(&self.start)
    }
}

impl System {
    /// The name of its name server.
    fn name_server(&self) -> Name {
        self.domain.child(NAME_SERVER_LABEL).unwrap_or_else(|| self.domain.clone())
    }

    /// The name servers of its zone.
    fn servers(&self, ttl: u32) -> Set {
        Set::new(Kind::NS, ttl, [Rdata::name(&self.name_server())])
    }
}

impl Tenant {
    /// Whether the other system answers for the zone too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.content.name_servers.len() > 1
    }

    fn state(&self) -> Rdata {
        Rdata::text(&state(self.serial, self.content.place))
    }

    /// Whether name servers that follow this one may take the zone from it: if it follows a link,
    /// because then both systems give it the same serial, or if it lies beneath the system's own
    /// `domain`. The other system numbers its own zones, and this one does not know how.
    #[must_use]
    pub fn is_transferable(&self, domain: Option<&Name>) -> bool {
        !self.link.is_empty() || domain.is_some_and(|domain| self.name.is_within(domain))
    }
}

impl TenantContent {
    fn name_server_sets(&self, ttl: u32) -> Vec<Set> {
        let servers: Vec<_> = self.name_servers.iter().map(|server| Rdata::name(&server.name)).collect();
        if servers.is_empty() { Vec::new() } else { [Set::new(Kind::NS, ttl, servers)].into() }
    }
}

impl Policy {
    /// The SOA set of a zone.
    fn start(&self, origin: &Name, primary: &Name, serial: Serial, minimum: u32) -> Set {
        let soa = Soa {
            mname: primary.clone(),
            rname: origin.child("hostmaster").unwrap_or_else(|| origin.clone()),
            serial,
            refresh: self.refresh,
            retry: self.retry,
            expire: self.expire,
            minimum,
        };
        Set::new(Kind::SOA, minimum, [Rdata::soa(&soa)])
    }
}

/// Whether the system of this domain has been told of tenants beside the one that is there from the start.
fn knows_tenants(domain: &Name, tenants: &Tenants) -> bool {
    let first = domain.child(FIRST_TENANT);
    tenants.keys().any(|name| Some(name) != first.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_compared_on_the_circle() {
        let newer = |a: u32, b: u32| Serial(a).is_newer_than(Serial(b));
        assert!(
            newer(1, 0)
                && newer(44, 0)
                && newer(100, 44)
                && newer(200, 100)
                && newer(0, 200_u32.wrapping_neg())
        );
        assert!(newer(0, u32::MAX) && !newer(u32::MAX, 0));
        assert!(!newer(7, 7));
        // RFC 1982 section 3.2 leaves these two without an order.
        assert!(!newer(1 << 31, 0) && !newer(0, 1 << 31));
        assert!(newer((1 << 31) - 1, 0) && !newer((1 << 31) + 1, 0));
    }

    #[test]
    fn a_serial_of_ours_always_grows() {
        assert_eq!(Serial(5).next(1_700_000_000), Serial(1_700_000_000));
        assert_eq!(Serial(1_700_000_000).next(1_700_000_000), Serial(1_700_000_001));
        assert_eq!(Serial(1_700_000_000).next(3), Serial(1_700_000_001), "a clock set back");
        assert_eq!(Serial(u32::MAX).next(u32::MAX), Serial(1), "no zone is without a serial");
    }
}
