//! Zones: what the link manager wants them to be, and the records that follow from it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::name::Name;

/// Names beneath a system's domain that belong to the system, hence to no tenant.
pub const SYSTEM_LABELS: [&str; 3] = [NAME_SERVER_LABEL, "s3", "admin"];
/// The system's own name server, `ns1.<domain>`.
pub const NAME_SERVER_LABEL: &str = "ns1";

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
        let next = if by_clock.is_newer_than(self) { by_clock } else { Self(self.0.wrapping_add(1)) };
        if next == Self::ABSENT { Self(1) } else { next }
    }
}

/// The system's own zone, as desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The system's domain.
    pub domain: Name,
    /// Addresses of its gateway, in order and once each.
    pub addresses: Vec<IpAddr>,
    /// Addresses of its name server, in order and once each.
    pub name_server_addresses: Vec<IpAddr>,
}

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
}

/// The part of a tenant's zone that a serial stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantContent {
    /// Where the names lead, in order and once each; never empty.
    pub addresses: Vec<IpAddr>,
    /// By name, so that both systems name the same primary in the SOA; never empty, and none
    /// within the zone, where its name would make a hole in the wildcard.
    pub name_servers: Vec<NameServer>,
    /// Seconds that an answer may be kept.
    pub ttl: u32,
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

/// The types of records that zones hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Name servers.
    Ns,
    /// Start of authority.
    Soa,
}

/// The value of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A name server.
    Ns(Name),
    /// Start of authority.
    Soa(Soa),
}

/// RFC 1035 section 3.3.13; times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the RFC's")]
pub struct Soa {
    pub mname: Name,
    pub rname: Name,
    pub serial: Serial,
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub minimum: u32,
}

/// All records of one type at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Their type.
    pub kind: Kind,
    /// Seconds that they may be kept.
    pub ttl: u32,
    /// Their values; never empty.
    pub data: Vec<Data>,
}

/// The sets at one name. Empty: the name exists and has no records.
pub type Node = Vec<Set>;

/// A zone that this server is authoritative for.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(super) origin: Name,
    pub(super) held: bool,
    pub(super) nodes: BTreeMap<Name, Node>,
    /// Addresses of name servers outside the zone, for the additional section.
    pub(super) glue: BTreeMap<Name, Node>,
}

/// Every zone, at one instant. A query reads one snapshot from beginning to end.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) zones: BTreeMap<Name, Zone>,
    /// Labels of the deepest zone's name: no question looks for a zone below that.
    pub(super) depth_max: usize,
}

impl Snapshot {
    /// A snapshot of `zones`.
    pub fn new(zones: impl IntoIterator<Item = Zone>) -> Self {
        let zones: BTreeMap<_, _> = zones.into_iter().map(|zone| (zone.origin.clone(), zone)).collect();
        let depth_max = zones.keys().map(Name::depth).max().unwrap_or(0);
        Self { zones, depth_max }
    }
}

impl Zone {
    /// The system's zone. `cuts` are the tenant zones of the server that lie beneath it: they
    /// exist here, and all that is asked about them is answered from their own zones, so no
    /// referral is ever given and the cut carries no records.
    pub fn of_system<'a>(
        system: &System,
        serial: Serial,
        cuts: impl Iterator<Item = &'a Name>,
        policy: &Policy,
    ) -> Self {
        let origin = system.domain.clone();
        let server = origin.child(NAME_SERVER_LABEL).unwrap_or_else(|| origin.clone());
        let soa = policy.soa(&origin, &server, serial, policy.negative_ttl);
        let mut zone =
            Self { origin: origin.clone(), held: false, nodes: BTreeMap::new(), glue: BTreeMap::new() };
        let mut apex = address_sets(&system.addresses, policy.system_ttl);
        apex.push(Set { kind: Kind::Ns, ttl: policy.system_ttl, data: [Data::Ns(server)].into() });
        apex.push(Set { kind: Kind::Soa, ttl: policy.negative_ttl, data: [Data::Soa(soa)].into() });
        zone.insert(origin.clone(), apex);
        for label in SYSTEM_LABELS {
            let addresses =
                if label == NAME_SERVER_LABEL { &system.name_server_addresses } else { &system.addresses };
            if let Some(name) = origin.child(label) {
                zone.insert(name, address_sets(addresses, policy.system_ttl));
            }
        }
        for cut in cuts.filter(|cut| cut.is_within(&origin)) {
            zone.insert(cut.clone(), Node::new());
        }
        zone
    }

    /// A tenant's zone: its apex, and a wildcard with the same addresses (RFC 4592).
    #[must_use]
    pub fn of_tenant(tenant: &Tenant, held: bool, policy: &Policy) -> Self {
        let (origin, content) = (tenant.name.clone(), &tenant.content);
        let ttl = content.ttl;
        let mut zone = Self { origin: origin.clone(), held, nodes: BTreeMap::new(), glue: BTreeMap::new() };
        let addresses = address_sets(&content.addresses, ttl);
        let mut apex = addresses.clone();
        let servers: Vec<_> =
            content.name_servers.iter().map(|server| Data::Ns(server.name.clone())).collect();
        let primary = content.name_servers.first().map_or(&origin, |server| &server.name);
        let soa = policy.soa(&origin, primary, tenant.serial, ttl);
        if !servers.is_empty() {
            apex.push(Set { kind: Kind::Ns, ttl, data: servers });
        }
        apex.push(Set { kind: Kind::Soa, ttl, data: [Data::Soa(soa)].into() });
        zone.insert(origin.clone(), apex);
        if let Some(wildcard) = origin.child("*") {
            zone.insert(wildcard, addresses);
        }
        let glue = content.name_servers.iter();
        zone.glue = glue.map(|server| (server.name.clone(), address_sets(&server.addresses, ttl))).collect();
        zone
    }

    /// Adds a name, and the names between it and the apex, which exist with it (RFC 4592 section
    /// 2.2.2).
    fn insert(&mut self, name: Name, node: Node) {
        let labels: Vec<_> = name.from_the_root().collect();
        for depth in self.origin.depth() + 1..labels.len() {
            if let Some(between) = Name::from_root(labels[..depth].iter().copied()) {
                self.nodes.entry(between).or_default();
            }
        }
        let existing = self.nodes.entry(name).or_default();
        existing.extend(node);
    }
}

impl Policy {
    fn soa(&self, origin: &Name, primary: &Name, serial: Serial, minimum: u32) -> Soa {
        Soa {
            mname: primary.clone(),
            rname: origin.child("hostmaster").unwrap_or_else(|| origin.clone()),
            serial,
            refresh: self.refresh,
            retry: self.retry,
            expire: self.expire,
            minimum,
        }
    }
}

fn address_sets(addresses: &[IpAddr], ttl: u32) -> Node {
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(Data::A(*address)),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(Data::Aaaa(*address)),
    });
    [(Kind::A, v4.collect::<Vec<_>>()), (Kind::Aaaa, v6.collect())]
        .into_iter()
        .filter(|(_, data)| !data.is_empty())
        .map(|(kind, data)| Set { kind, ttl, data })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Serial;

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
