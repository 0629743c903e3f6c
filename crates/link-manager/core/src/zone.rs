//! What the names of tenants answer: names follow authority, after it has moved.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use switchback_machine::Timestamp;
use switchback_model::{AccessMode, Content, ContentKind, Epoch, LinkId, Side};

use crate::machine::{Observed, Out};
use crate::{Identity, Link, LinkMachine, Overdue, Severity, ZoneRecord};

/// Serials an epoch has room for, so that (epoch, generation) grows as RFC 1982 compares.
const GENERATIONS_PER_EPOCH: u32 = 64;

/// Serials from one generation to the next. Those between are the broadcaster's, which signs the zone
/// again under them (`renewal` there): a record that is not another one has no other serial here, and
/// name servers that follow take new signatures only under a newer one. On both systems they are behind
/// the next generation and the next epoch, so that authority goes before signatures.
const SERIALS_PER_GENERATION: u32 = 16;

/// A name server of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    /// Host name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// What names lead to, as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// IP addresses.
    pub addresses: Vec<String>,
    /// A host name that somebody else keeps, such as a load balancer's; empty for none.
    pub host: String,
    /// How it is reached by HTTPS; `None` when nothing is to be said of that.
    pub https: Option<Https>,
}

/// What HTTPS records say (RFC 9460).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Https {
    /// The port.
    pub port: u16,
    /// Protocols beside HTTP/1.1, as ALPN names them.
    pub alpn: Vec<String>,
}

impl Gateway {
    /// Whether names would lead nowhere.
    fn is_nowhere(&self) -> bool {
        self.addresses.is_empty() && self.host.is_empty()
    }
}

/// The value of a DNSKEY record: a key that a name server signs zones with.
pub type DnsKey = Vec<u8>;

/// `<tenant>.<domain>` and everything beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantZone {
    /// Without a final dot.
    pub name: String,
    /// 0 for a zone on no link.
    pub serial: u32,
    /// Where it leads.
    pub gateway: Gateway,
    /// Of both systems.
    pub name_servers: Vec<NameServer>,
    /// The link it follows; empty for none.
    pub link: String,
    /// Name of the system it leads to.
    pub target: String,
    /// What the serial stands for: an epoch of the link, and changes within it.
    pub place: Option<(Epoch, u32)>,
    /// Keys of the other system, which answers for the zone too: each publishes the keys of both, so that
    /// what either of them signs is valid whoever was asked for the keys (RFC 8901 section 2.1.2).
    pub dnskeys: Vec<DnsKey>,
}

/// The next record of where a link's names lead, if it differs from the present one or a side writes in
/// a later epoch: name servers may have heard of an epoch between that both sides have forgotten. Names
/// move only to a side that is known to accept writes; until then they stay where they are. A side that
/// was told of the link after a failover does not know where that is, and says nothing: the other
/// side may have said another thing under the same serial.
pub(crate) fn decide(link: &Link, observed: &Observed, own: &Identity) -> Option<ZoneRecord> {
    let epoch = link.shared.epoch;
    let holder = epoch.holder();
    let writes = if holder == link.side {
        observed.is_confirmed(AccessMode::ReadWrite, epoch)
    } else {
        observed.peer_writes(epoch)
    };
    let present = link.zone.as_ref();
    let target = match present {
        _ if !link.shared.settings.dns_failover => Side::Primary,
        _ if writes => holder,
        Some(record) => record.target,
        None if holder == Side::Primary => Side::Primary,
        None => return None,
    };
    let told = if target == link.side { &own.gateway } else { &link.peer.gateway };
    let gateway = match present {
        Some(record) if record.target == target && told.is_nowhere() => &record.gateway,
        _ => told,
    };
    let (of, generation) = match present {
        Some(record)
            if record.target == target
                && record.gateway == *gateway
                && (record.epoch == epoch || !writes) =>
        {
            return None;
        }
        Some(record) if record.epoch == epoch => {
            (epoch, (record.generation + 1).min(GENERATIONS_PER_EPOCH - 1))
        }
        _ => (epoch, 0),
    };
    Some(ZoneRecord { target, epoch: of, generation, gateway: gateway.clone() })
}

/// The base of a link's serials from which those of the place `record` are ahead of `floor`: names that come to
/// a link may have been on another one, whose serials are ahead of the clock after many failovers, and name
/// servers do not go back.
pub(crate) fn base_after(base: u32, record: Option<&ZoneRecord>, floor: u32) -> u32 {
    let moved = record.map_or(0, moved);
    // RFC 1982 section 3.2.
    let ahead = base.wrapping_add(moved).wrapping_sub(floor);
    let is_ahead = ahead != 0 && ahead < 1 << 31;
    if floor == 0 || is_ahead { base } else { floor.wrapping_add(1).wrapping_sub(moved) }
}

/// The serial of a record: it grows with (epoch, generation) alike on both systems.
fn serial(link: &Link, record: &ZoneRecord) -> u32 {
    link.shared.zone_base.wrapping_add(moved(record)).max(1)
}

/// How far the place is from the link's beginning, in serials.
fn moved(record: &ZoneRecord) -> u32 {
    let epoch = u32::try_from(record.epoch.0 % (u64::from(u32::MAX) + 1)).unwrap_or(0);
    let moved = epoch.wrapping_mul(GENERATIONS_PER_EPOCH).wrapping_add(record.generation);
    moved.wrapping_mul(SERIALS_PER_GENERATION)
}

/// The zones of one link's tenants: the primary's names, which move, and the replica's own, which
/// do not.
pub(crate) fn of_link(link: &Link, own: &Identity) -> Vec<TenantZone> {
    let Some(record) = &link.zone else { return Vec::new() };
    let peer = &link.peer;
    let ours = (&own.domain, &own.name, &own.gateway);
    let theirs = (&peer.domain, &peer.name, &peer.gateway);
    let (primary, replica) = if link.side == Side::Primary { (ours, theirs) } else { (theirs, ours) };
    let target = if record.target == Side::Primary { primary.1 } else { replica.1 };
    let server = |domain: &String, addresses: &Vec<String>| NameServer {
        name: format!("ns1.{domain}"),
        addresses: addresses.clone(),
    };
    let name_servers = vec![
        server(&own.domain, &own.name_server_addresses),
        server(&peer.domain, &peer.name_server_addresses),
    ];
    let tenants = link.shared.contents.iter().filter(|content| content.kind == ContentKind::Tenant);
    tenants
        .flat_map(|tenant| {
            let moving = TenantZone {
                name: format!("{}.{}", tenant.name, primary.0),
                serial: serial(link, record),
                gateway: record.gateway.clone(),
                name_servers: name_servers.clone(),
                link: link.shared.name.clone(),
                target: target.clone(),
                place: Some((record.epoch, record.generation)),
                dnskeys: peer.dnskeys.clone(),
            };
            let fixed = TenantZone {
                name: format!("{}.{}", tenant.name, replica.0),
                serial: 0,
                gateway: replica.2.clone(),
                name_servers: name_servers.clone(),
                link: String::new(),
                target: replica.1.clone(),
                place: None,
                dnskeys: peer.dnskeys.clone(),
            };
            [moving, fixed]
        })
        .filter(|zone| !zone.gateway.is_nowhere())
        .collect()
}

impl LinkMachine {
    /// The zones that the broadcaster shall serve, by name; `None` while it is too early to say, because a
    /// side that returns may hold old answers.
    #[must_use]
    pub fn zones(&self) -> Option<Vec<TenantZone>> {
        if !self.knows_zones() {
            return None;
        }
        let mut zones: Vec<_> = self.state().links.keys().flat_map(|link| self.zones_of(*link)).collect();
        zones.extend(self.free_zones());
        zones.sort_by(|left, right| left.name.cmp(&right.name));
        zones.dedup_by(|left, right| left.name == right.name);
        Some(zones)
    }

    /// Whether it is time to say which zones there are.
    #[must_use]
    pub fn knows_zones(&self) -> bool {
        let is_held = self.observed.values().any(|observed| observed.hold_until.is_some());
        self.own.is_some() && self.mover.is_some() && !is_held
    }

    /// The zones of one link's tenants. They follow from the link as it is on record, and from who we are.
    #[must_use]
    pub fn zones_of(&self, link: LinkId) -> Vec<TenantZone> {
        let link = self.state().links.get(&link).filter(|link| link.is_established());
        link.zip(self.own.as_ref()).map(|(link, own)| of_link(link, own)).unwrap_or_default()
    }

    /// The zones of the tenants that are on no link. They follow from which contents there are, here and on
    /// links, and from who we are.
    #[must_use]
    pub fn free_zones(&self) -> Vec<TenantZone> {
        let Some(own) = &self.own else { return Vec::new() };
        let links = self.state().links.values().filter(|link| link.is_established());
        let linked: BTreeSet<_> =
            links.flat_map(|link| &link.shared.contents).map(|content| content.id).collect();
        let tenants = self.contents().filter(|(content, orphaned)| {
            content.kind == ContentKind::Tenant && !orphaned && !linked.contains(&content.id)
        });
        tenants.map(|(content, _)| of_tenant(&content.name, own)).collect()
    }

    /// What the mover holds, as it was seen last, and whether it has lost its link and awaits its release.
    pub fn contents(&self) -> impl Iterator<Item = (&Content, bool)> {
        let contents = self.mover.iter().flat_map(|mover| &mover.contents);
        contents.map(|view| (&view.content, view.orphaned))
    }

    /// Tells of each name server once when it falls behind, and once when it has caught up: for a
    /// failover waits for none of them.
    pub(crate) fn name_servers_overdue(
        &mut self,
        now: Timestamp,
        overdue: BTreeMap<String, Overdue>,
        out: &mut Out,
    ) {
        let before = core::mem::replace(&mut self.overdue, overdue.clone());
        for (name, what) in &overdue {
            if before.get(name) == Some(what) {
                continue;
            }
            let text = match what {
                Overdue::Silent => {
                    format!("name server {name} does not answer: look at it, and at the network to it")
                }
                Overdue::Late => format!(
                    "name server {name} does not serve what this system publishes, and may lead clients to where names led before: `switchback dns status` says why"
                ),
            };
            self.event(now, Severity::Warning, "name-server-behind", "", text, out);
        }
        for name in before.keys().filter(|name| !overdue.contains_key(*name)) {
            let text = format!("name server {name} serves what this system publishes");
            self.event(now, Severity::Notice, "name-server-follows", "", text, out);
        }
    }
}

/// The zone of a tenant on no link.
pub(crate) fn of_tenant(tenant: &str, own: &Identity) -> TenantZone {
    TenantZone {
        name: format!("{tenant}.{}", own.domain),
        serial: 0,
        gateway: own.gateway.clone(),
        name_servers: vec![NameServer {
            name: format!("ns1.{}", own.domain),
            addresses: own.name_server_addresses.clone(),
        }],
        link: String::new(),
        target: own.name.clone(),
        place: None,
        dnskeys: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_model::Epoch;

    #[test]
    fn a_links_serials_begin_ahead_of_those_that_its_names_had() {
        let record = |epoch, generation| ZoneRecord {
            target: Side::Primary,
            epoch: Epoch(epoch),
            generation,
            gateway: Gateway::default(),
        };
        for (base, floor, place) in [
            (1_000, 0, None),
            (1_000, 999, None),
            (1_000, 1_000, None),
            (1_000, 50_000, None),
            (1_000, 50_000, Some(record(3, 2))),
            (50_000, 1_000, Some(record(3, 2))),
            // Around the circle.
            (5, u32::MAX - 3, None),
            (u32::MAX - 3, 5, None),
        ] {
            let after = base_after(base, place.as_ref(), floor);
            let serial = after.wrapping_add(place.as_ref().map_or(0, moved));
            let ahead = serial.wrapping_sub(floor);
            assert!(floor == 0 || ahead != 0 && ahead < 1 << 31, "{serial} after {floor}");
            // One that is ahead already is left alone.
            let before = base.wrapping_add(place.as_ref().map_or(0, moved)).wrapping_sub(floor);
            assert!(after == base || before == 0 || before >= 1 << 31, "{base} {floor}");
        }
    }
}
