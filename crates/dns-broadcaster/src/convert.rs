//! The wire's zones to the core's and back. Parsed once, here; the core trusts its types.

mod primary;
mod record;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use switchback_proto::dns::v1 as wire;
use switchback_proto::model::v1::HttpsService;

use crate::Error;
use crate::announce::{Following, View};
use crate::core::apply::{Desired, Record};
use crate::core::catalogue;
use crate::core::contact::Target;
use crate::core::dnssec::key::PublicKey;
use crate::core::dnssec::roll::Stage;
use crate::core::dnssec::sign::Signer as _;
use crate::core::follow::{Exchange, Reason, Standing, State};
use crate::core::gateway::{Gateway, Https};
use crate::core::heard::{Heard, Refused, Since};
use crate::core::name::Name;
use crate::core::own::Digest;
use crate::core::zone::{
    NAME_SERVER_LABEL, NameServer, Place, SYSTEM_LABELS, Serial, System, Tenant, TenantContent,
};
use crate::desk::Delay;
use crate::signer::{Kept, Keyring};

/// One that signs, one that will and one that did, and another one; a larger set would not fit into an
/// answer by UDP.
const PEER_KEYS_MAX: usize = 4;

/// RFC 7301 section 3.1.
const ALPN_BYTES_MAX: usize = 255;
/// More are not in use, and every answer would carry them.
const ALPN_MAX: usize = 8;

pub(crate) use self::primary::primaries;
pub(crate) use self::record::{records, set_name};
pub(crate) use self::target::{trouble_text, update_targets};

/// RFC 2181 section 8.
const TTL_SECONDS_MAX: u32 = i32::MAX as u32;

/// A request, parsed. A tenant's zone that cannot be served is refused with the reason and stops
/// no other: the names of all other tenants must still be able to move.
///
/// # Errors
/// The system's zone is missing or malformed.
pub(crate) fn desired(
    request: wire::ApplyZonesRequest,
    ttl_default: u32,
    own: Digest,
) -> Result<Desired, Error> {
    let system = request.system.ok_or_else(|| Error::Malformed("the system's zone is missing".into()))?;
    let system = System {
        domain: name(&system.domain).map_err(Error::Malformed)?,
        gateway: gateway(&system.addresses, &system.host, system.https.as_ref()).map_err(Error::Malformed)?,
        name_server_addresses: addresses(&system.name_server_addresses).map_err(Error::Malformed)?,
        own,
    };
    let (mut tenants, mut refused) = (BTreeMap::new(), Refused::new());
    for zone in request.tenants {
        let named = one_form(&zone.name);
        match tenant(zone, &system, ttl_default) {
            Ok(tenant) => _ = tenants.insert(tenant.name.clone(), tenant),
            Err(reason) => _ = refused.insert(named, reason),
        }
    }
    let gone = request.gone.iter().map(|name| one_form(name)).collect();
    let since = (request.base != 0).then_some(Since { base: request.base, gone });
    let (run, generation, life) = (request.run, request.generation, request.life);
    Ok(Desired { run, generation, system, tenants, refused, since, life })
}

/// The name as it is written whenever it means this zone, if there can be one.
fn one_form(text: &str) -> String {
    Name::parse(text).map_or_else(|_| text.into(), |name| name.to_string())
}

fn tenant(zone: wire::TenantZone, system: &System, ttl_default: u32) -> Result<Tenant, String> {
    let zone_name = name(&zone.name)?;
    if system.domain.is_within(&zone_name) {
        return Err(format!("{zone_name} holds the system's own domain {}", system.domain));
    }
    if SYSTEM_LABELS.iter().any(|label| system.domain.child(label).as_ref() == Some(&zone_name)) {
        return Err(format!("{zone_name} is a name of the system itself; give the tenant another name"));
    }
    let gateway = gateway(&zone.addresses, &zone.host, zone.https.as_ref())?;
    if gateway.is_nowhere() {
        return Err(format!("{zone_name} leads nowhere: it has no address and no host"));
    }
    if let Some(host) = gateway.host.as_ref().filter(|host| host.is_within(&zone_name)) {
        return Err(format!("the host {host} lies within {zone_name}, whose names are to lead there"));
    }
    let name_servers = name_servers(zone.name_servers, system)?;
    if let Some(inside) = name_servers.iter().find(|server| server.name.is_within(&zone_name)) {
        return Err(format!(
            "name server {} must lie outside {zone_name}, which belongs to its tenant",
            inside.name
        ));
    }
    let ttl = if zone.ttl_seconds == 0 { ttl_default } else { zone.ttl_seconds };
    if ttl > TTL_SECONDS_MAX {
        return Err(format!("a time to live of {ttl} s is more than {TTL_SECONDS_MAX}"));
    }
    Ok(Tenant {
        serial: Serial(zone.serial),
        content: TenantContent {
            gateway,
            name_servers,
            ttl,
            place: place(&zone.link, zone.epoch, zone.generation),
        },
        name: zone_name,
        link: zone.link,
        target: zone.target,
        peer_keys: keys(&zone.dnskeys),
    })
}

/// Of a zone on a link.
pub(crate) fn place(link: &str, epoch: u64, generation: u32) -> Option<Place> {
    (!link.is_empty()).then_some(Place { epoch, generation })
}

fn name_servers(servers: Vec<wire::NameServer>, system: &System) -> Result<Vec<NameServer>, String> {
    let mut parsed = servers
        .into_iter()
        .map(|server| Ok(NameServer { name: name(&server.name)?, addresses: addresses(&server.addresses)? }))
        .collect::<Result<Vec<_>, String>>()?;
    if parsed.is_empty() {
        let own = system.domain.child(NAME_SERVER_LABEL).ok_or("the system's domain is too long")?;
        parsed.push(NameServer { name: own, addresses: system.name_server_addresses.clone() });
    }
    parsed.sort();
    parsed.dedup_by(|again, first| again.name == first.name);
    Ok(parsed)
}

pub(crate) fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

/// In order and once each. What is no key that this service knows how to publish is left out: names must
/// be able to move, whatever the other system signs with.
pub(crate) fn keys(values: &[Bytes]) -> Vec<PublicKey> {
    let keys: BTreeSet<_> = values.iter().filter_map(|value| PublicKey::of_rdata(value)).collect();
    keys.into_iter().take(PEER_KEYS_MAX).collect()
}

/// In order and once each, so that equal sets compare equal.
pub(crate) fn addresses(texts: &[String]) -> Result<Vec<IpAddr>, String> {
    let parsed: Result<BTreeSet<IpAddr>, String> = texts
        .iter()
        .map(|text| {
            text.parse().map_err(|_| format!("{text:?} is not an IP address (no port, no host name)"))
        })
        .collect();
    Ok(parsed?.into_iter().collect())
}

/// What names lead to.
pub(crate) fn gateway(texts: &[String], host: &str, https: Option<&HttpsService>) -> Result<Gateway, String> {
    let host = if host.is_empty() { None } else { Some(name(host)?) };
    let https = https.map(|https| {
        let port = u16::try_from(https.port).map_err(|_| format!("{} is no port", https.port))?;
        let is_name = |name: &String| (1..=ALPN_BYTES_MAX).contains(&name.len());
        if !https.alpn.iter().all(is_name) || https.alpn.len() > ALPN_MAX {
            return Err("a protocol has no name that ALPN could carry, or there are too many".into());
        }
        Ok::<_, String>(Https { port, alpn: https.alpn.clone() })
    });
    Ok(Gateway { addresses: addresses(texts)?, host, https: https.transpose()? })
}

/// The host of a gateway, and how it is reached by HTTPS, as the wire has them.
pub(crate) fn gateway_parts(gateway: &Gateway) -> (String, Option<HttpsService>) {
    let host = gateway.host.as_ref().map_or_else(String::new, ToString::to_string);
    let https = gateway.https.as_ref();
    (host, https.map(|https| HttpsService { port: https.port.into(), alpn: https.alpn.clone() }))
}

pub(crate) fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// The catalogue as it stands, `own` the operator's zones.
pub(crate) fn catalogue<'a>(
    record: &'a Record,
    own: impl Iterator<Item = &'a Name>,
) -> Option<wire::Catalogue> {
    let (catalogue, system) = (record.catalogue.as_ref()?, record.system.as_ref()?);
    Some(wire::Catalogue {
        name: catalogue::origin(&system.domain)?.to_string(),
        serial: catalogue.serial.0,
        members: count(record.members(own).count()),
        withheld: record.catalogue().is_none(),
    })
}

/// Zones that are desired and not taken: those that are stale, and those that cannot be served.
pub(crate) fn not_taken(heard: &Heard) -> (Vec<String>, Vec<wire::RefusedZone>) {
    let refused = heard.refused.iter();
    let refused =
        refused.map(|(name, reason)| wire::RefusedZone { name: name.clone(), reason: reason.clone() });
    (heard.stale.iter().cloned().collect(), refused.collect())
}

/// What is on record and what is held, for `ListZones`.
pub(crate) fn listing(
    record: &Record,
    held: &BTreeSet<Name>,
    catalogue: Option<wire::Catalogue>,
) -> wire::ListZonesResponse {
    wire::ListZonesResponse {
        generation: record.generation,
        system: record.system.as_ref().map(|system| {
            let (host, https) = gateway_parts(&system.gateway);
            wire::SystemZone {
                domain: system.domain.to_string(),
                addresses: texts(&system.gateway.addresses),
                name_server_addresses: texts(&system.name_server_addresses),
                host,
                https,
            }
        }),
        tenants: record.tenants.values().map(tenant_zone).collect(),
        held: held.iter().map(ToString::to_string).collect(),
        catalogue,
    }
}

fn tenant_zone(tenant: &Tenant) -> wire::TenantZone {
    let server = |server: &NameServer| wire::NameServer {
        name: server.name.to_string(),
        addresses: texts(&server.addresses),
    };
    let (host, https) = gateway_parts(&tenant.content.gateway);
    wire::TenantZone {
        name: tenant.name.to_string(),
        serial: tenant.serial.0,
        addresses: texts(&tenant.content.gateway.addresses),
        name_servers: tenant.content.name_servers.iter().map(server).collect(),
        ttl_seconds: tenant.content.ttl,
        link: tenant.link.clone(),
        target: tenant.target.clone(),
        epoch: tenant.content.place.map_or(0, |place| place.epoch),
        generation: tenant.content.place.map_or(0, |place| place.generation),
        dnskeys: tenant.peer_keys.iter().map(|key| key.rdata().into()).collect(),
        host,
        https,
    }
}

/// The keys of this system and the zones that it signs, for `ListKeys`.
pub(crate) fn key_listing<'a>(
    keyring: Option<&Keyring>,
    zones: impl Iterator<Item = (&'a Name, Vec<PublicKey>)>,
) -> wire::ListKeysResponse {
    let key = |kept: &Kept| wire::Key {
        tag: kept.pair.key().tag().into(),
        algorithm: kept.pair.key().algorithm().to_string(),
        stage: match kept.stage {
            Stage::Active => "active",
            Stage::Next => "next",
            Stage::Retired => "retired",
        }
        .into(),
        since_unix_ms: kept.since.saturating_mul(1000),
    };
    let zone = |(name, keys): (&Name, Vec<PublicKey>)| wire::SecureZone {
        name: name.to_string(),
        ds: keys.iter().map(|key| key.ds_text(name)).collect(),
    };
    wire::ListKeysResponse {
        keys: keyring.into_iter().flat_map(Keyring::keys).map(key).collect(),
        zones: zones.map(zone).collect(),
    }
}

pub(crate) fn overdue((target, delay): (Target, Delay)) -> wire::OverdueSecondary {
    let (silent_ms, zones) = match delay {
        Delay::Silent(since) => (Some(millis(since)), 0),
        Delay::Late(zones) => (None, count(zones)),
    };
    wire::OverdueSecondary { name: target.as_str().into(), silent_ms, zones }
}

/// How far everybody has followed, for `ListSecondaries`.
pub(crate) fn secondaries(view: &View) -> Vec<wire::Secondary> {
    view.servers.iter().map(|following| secondary(view, following)).collect()
}

fn secondary(view: &View, following: &Following) -> wire::Secondary {
    let Following { server, summary, lagging } = following;
    let ago = |at| millis(view.now.since(at));
    wire::Secondary {
        name: server.name.clone(),
        address: server.address.to_string(),
        converged: count(summary.counts.converged),
        behind: count(summary.counts.behind),
        ahead: count(summary.counts.ahead),
        not_held: count(summary.counts.not_held),
        unknown: count(summary.counts.unknown),
        unreachable_ms: summary.unreachable_since.map(ago),
        heard_ms: summary.last_heard.map(ago),
        last_change: summary.last_change.map(|change| wire::LastChange {
            ago_ms: ago(change.at),
            zones: count(change.zones),
            open: count(change.open),
            slowest_ms: change.slowest.map(millis),
        }),
        lagging: lagging
            .iter()
            .map(|(zone, standing)| wire::LaggingZone {
                name: zone.to_string(),
                serial: standing.ours.0,
                served_serial: match standing.state {
                    State::Behind { theirs, .. } | State::Ahead { theirs } => Some(theirs.0),
                    State::Converged => Some(standing.ours.0),
                    State::Unknown | State::NotHeld => None,
                },
                reason: reason(standing),
                behind_ms: standing.behind_since.map(ago),
            })
            .collect(),
    }
}

/// What an operator is told about a zone that is not followed.
fn reason(standing: &Standing) -> String {
    let state = match standing.state {
        State::Unknown | State::Converged => None,
        State::Behind { by, .. } => Some(format!("behind by {by}")),
        State::Ahead { .. } => Some("serves a later zone, from the other system".into()),
        State::NotHeld => Some("does not serve the zone; configure it there as a secondary".into()),
    };
    let trouble = standing.trouble.map(|trouble| {
        let exchange = match trouble.exchange {
            Exchange::Notify => "NOTIFY",
            Exchange::Ask => "the question for its SOA",
        };
        let why = match trouble.reason {
            Reason::TimedOut => "was not answered",
            Reason::Unreachable => "did not reach it",
            Reason::Malformed => "was answered with something malformed",
            Reason::Unproven => {
                "was answered without a valid signature; compare the key and the clocks on both sides"
            }
        };
        format!("{exchange} {why}")
    });
    // Who does not serve the zone refuses what it is told of it.
    let refuses = standing.notify_refused && standing.state != State::NotHeld;
    let refused = refuses.then(|| "refuses NOTIFY; allow this system's address or key".into());
    [state, trouble.filter(|_| standing.failures > 0), refused]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
