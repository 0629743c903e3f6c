//! The next edition of what is served: every zone under its serial, and signed when zones are signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::core::apply::Record;
use crate::core::catalogue;
use crate::core::dnssec::key::PublicKey;
use crate::core::dnssec::renewal::{Basis, Changes, Renewals, Wanted};
use crate::core::dnssec::sign::{Signing, Unsigned};
use crate::core::dnssec::{Denial, Times};
use crate::core::name::{Name, upward};
use crate::core::own;
use crate::core::zone::{Policy, Serial, Snapshot, System, Tenant, Tenants, Zone};
use crate::signer::Keyring;

mod changed;

/// What zones are made of.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) record: &'a Record,
    /// Zones of links that nobody has confirmed since the start.
    pub(crate) held: &'a BTreeSet<Name>,
    /// The operator's own records in the system's zone.
    pub(crate) own_records: &'a own::Records,
    /// The operator's own zones.
    pub(crate) own_zones: &'a BTreeMap<Name, Arc<Zone>>,
    /// What is remembered of the zones that are signed, or were.
    pub(crate) renewals: &'a Renewals,
    /// What the system's zone was made of last.
    pub(crate) shown: Option<&'a Arc<Shown>>,
}

/// The system's zone, before it was signed, and what it was made of: with other tenants, or other records of
/// the operator's, it is made from that, in the time that those take.
pub(crate) struct Shown {
    zone: Arc<Zone>,
    system: System,
    tenants: Tenants,
    own: own::Records,
}

impl Shown {
    /// The zone.
    pub(crate) fn zone(&self) -> &Zone {
        &self.zone
    }
}

/// How zones are published.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) policy: &'a Policy,
    /// `None`: zones are not signed.
    pub(crate) keyring: Option<&'a Keyring>,
    pub(crate) denial: Denial,
    pub(crate) times: Times,
    /// Nothing was served before it in this run.
    pub(crate) is_start: bool,
}

/// See the module.
pub(crate) struct Edition {
    pub(crate) snapshot: Arc<Snapshot>,
    /// What of it may be served before it is durable: the very snapshot when that is all, and nothing when
    /// nothing may.
    pub(crate) early: Option<Arc<Snapshot>>,
    /// What has to be durable before it is served.
    pub(crate) renewed: Changes,
    pub(crate) shown: Option<Arc<Shown>>,
}

/// A zone that is to be served.
struct Plot<'a> {
    source: Source<'a>,
    keys: Vec<PublicKey>,
    /// Whether every server of the zone signs it, as far as is known: else the zone above must not say
    /// that it is signed, or the answers of the others would be refused.
    is_secure: bool,
    /// Zones right beneath it that are secure.
    children: Arc<Vec<(Name, Vec<PublicKey>)>>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Own(&'a Arc<Zone>),
    System(&'a System, Serial),
    Tenant(&'a Tenant),
    /// Which nobody asks for anything: it is not signed.
    Catalogue(&'a Name, Serial),
}

impl Source<'_> {
    fn given(self) -> Serial {
        match self {
            Self::Own(zone) => zone.serial(),
            Self::System(_, serial) | Self::Catalogue(_, serial) => serial,
            Self::Tenant(tenant) => tenant.serial,
        }
    }

    fn is_linked(self) -> bool {
        matches!(self, Self::Tenant(tenant) if !tenant.link.is_empty())
    }
}

impl<'a> Sources<'a> {
    /// The edition that follows `before`. A zone that is under the same serial there says the same,
    /// and is taken from there.
    pub(crate) fn edition(self, before: &Snapshot, rules: Rules<'_>) -> Result<Edition, Unsigned> {
        let plots = self.plots(rules.keyring);
        let wanted: Vec<_> = plots.iter().map(|(name, plot)| plot.wanted(name, rules)).collect();
        let renewed = self.renewals.settle(&wanted, rules.times, rules.is_start);
        let mut press = Press::new(self, before, rules, renewed);
        let zones = plots.iter().map(|(name, plot)| press.zone(name, plot));
        let zones = zones.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        Ok(press.edition(Snapshot::new(zones)))
    }

    /// What is published takes the place of a zone of that name.
    fn plots(self, keyring: Option<&Keyring>) -> BTreeMap<Name, Plot<'a>> {
        let Self { record, own_zones, .. } = self;
        let own = own_zones.iter().map(|(name, zone)| (name, Source::Own(zone)));
        let system = record.system.iter();
        let system = system.map(|system| (&system.domain, Source::System(system, record.system_serial)));
        let tenants = record.tenants.iter().map(|(name, tenant)| (name, Source::Tenant(tenant)));
        let keys = keyring.map(Keyring::public).unwrap_or_default();
        let plots = own.chain(system).chain(tenants);
        let mut plots: BTreeMap<_, _> =
            plots.map(|(name, source)| (name.clone(), Plot::of(source, &keys))).collect();
        plots.extend(self.catalogue());
        if keyring.is_some() {
            let parent = |name: &Name| {
                let mut above = upward(name.as_bytes()).skip(1);
                above.find_map(|key| plots.get_key_value(key)).map(|(parent, _)| parent.clone())
            };
            let pairs: Vec<_> = plots.keys().filter_map(|name| Some((name.clone(), parent(name)?))).collect();
            for (name, parent) in pairs {
                let keys = plots.get(&name).filter(|plot| plot.is_secure).map(|plot| plot.keys.clone());
                if let (Some(keys), Some(parent)) = (keys, plots.get_mut(&parent)) {
                    Arc::make_mut(&mut parent.children).push((name, keys));
                }
            }
        }
        plots
    }

    fn catalogue(self) -> Option<(Name, Plot<'a>)> {
        let serial = self.record.catalogue()?.serial;
        let domain = &self.record.system.as_ref()?.domain;
        let source = Source::Catalogue(domain, serial);
        let plot = Plot { source, keys: Vec::new(), is_secure: false, children: Arc::default() };
        Some((catalogue::origin(domain)?, plot))
    }

    /// The signed zones whose parents are not among them, with their keys.
    pub(crate) fn secure_zones(self, keyring: &Keyring) -> Vec<(Name, Vec<PublicKey>)> {
        let plots = self.plots(Some(keyring));
        let has_parent = |name: &Name| upward(name.as_bytes()).skip(1).any(|key| plots.contains_key(key));
        let tops = plots.iter().filter(|(name, plot)| plot.is_secure && !has_parent(name));
        tops.map(|(name, plot)| (name.clone(), plot.keys.clone())).collect()
    }

    fn standing(self, name: &Name, plot: &Plot<'_>) -> (bool, bool) {
        let domain = self.record.system.as_ref().map(|system| &system.domain);
        match plot.source {
            Source::Tenant(tenant) => (self.held.contains(name), tenant.is_transferable(domain)),
            Source::Own(_) | Source::System(..) | Source::Catalogue(..) => (false, true),
        }
    }

    fn same(self, name: &Name, plot: &Plot<'_>, served: Serial, before: &Snapshot) -> Option<Arc<Zone>> {
        // It has a history of its own.
        if let Source::Own(zone) = plot.source
            && plot.keys.is_empty()
            && zone.serial() == served
        {
            return Some(Arc::clone(zone));
        }
        let (held, transferable) = self.standing(name, plot);
        let same = before.zone(name).filter(|zone| {
            (zone.serial(), zone.is_held(), zone.is_transferable()) == (served, held, transferable)
        });
        same.map(Arc::clone)
    }

    fn zone(
        self,
        name: &Name,
        plot: &Plot<'_>,
        served: Serial,
        before: &Snapshot,
        rules: Rules<'_>,
        shown: &mut Option<Arc<Shown>>,
    ) -> Result<Option<Arc<Zone>>, Unsigned> {
        let Rules { policy, keyring, denial, times, is_start } = rules;
        let (held, transferable) = self.standing(name, plot);
        let mut zone = match plot.source {
            Source::Own(zone) => zone.under(served),
            Source::System(system, _) => {
                let (tenants, own) = (&self.record.tenants, self.own_records);
                let zone = match shown.take().filter(|shown| shown.system == *system) {
                    Some(shown) => {
                        let before = (&shown.tenants, &shown.own);
                        shown.zone.with_others(before, (system, served), tenants, own, policy)
                    }
                    None => Zone::of_system(system, served, tenants, own, policy),
                };
                *shown = Some(Arc::new(Shown {
                    zone: Arc::new(zone.clone()),
                    system: system.clone(),
                    tenants: tenants.clone(),
                    own: own.clone(),
                }));
                zone
            }
            Source::Tenant(tenant) => {
                let tenant = Tenant { serial: served, ..tenant.clone() };
                Zone::of_tenant(&tenant, held, transferable, policy)
            }
            Source::Catalogue(domain, _) => {
                let members = self.record.members(self.own_zones.keys());
                let Some(zone) = Zone::of_catalogue(domain, served, members, policy) else { return Ok(None) };
                zone
            }
        };
        let previous = before.zone(name).map(AsRef::as_ref);
        if let Some(keyring) = keyring.filter(|_| !plot.keys.is_empty()) {
            let Plot { source, ref keys, is_secure, ref children } = *plot;
            let times = if source.is_linked() { times.seldom() } else { times };
            let signer = keyring.signer();
            zone = zone.signed(previous, &Signing { signer, keys, is_secure, children, denial, times })?;
            if is_start || source.is_linked() {
                zone = zone.without_differences();
            }
        }
        Ok(Some(Arc::new(match previous {
            Some(previous) => zone.after(previous),
            None => zone,
        })))
    }
}

/// An edition that is being made.
struct Press<'a> {
    sources: Sources<'a>,
    before: &'a Snapshot,
    rules: Rules<'a>,
    renewed: Changes,
    shown: Option<Arc<Shown>>,
    early: Vec<Arc<Zone>>,
}

impl<'a> Press<'a> {
    /// `renewed` is what has to be remembered of its zones.
    fn new(sources: Sources<'a>, before: &'a Snapshot, rules: Rules<'a>, renewed: Changes) -> Self {
        Self { sources, before, rules, renewed, shown: sources.shown.cloned(), early: Vec::new() }
    }

    /// The zone of a plot.
    fn zone(&mut self, name: &Name, plot: &Plot<'_>) -> Result<Option<Arc<Zone>>, Unsigned> {
        let Self { sources, before, rules, .. } = *self;
        let change = self.renewed.get_mut(name);
        let served = match &change {
            None => sources.renewals.served(name, plot.source.given()),
            Some(change) => change.as_ref().map_or(plot.source.given(), |renewal| renewal.served),
        };
        let same = if change.is_none() { sources.same(name, plot, served, before) } else { None };
        let zone = same.map_or_else(
            || sources.zone(name, plot, served, before, rules, &mut self.shown),
            |same| Ok(Some(same)),
        )?;
        let Some(zone) = zone else { return Ok(None) };
        if let (Some(Some(renewal)), Some(signed)) = (change, zone.signed_state()) {
            renewal.expire_by(signed.expires());
            if before.zone(name).is_some_and(|before| before.serial() == served) {
                tracing::warn!(
                    zone = %name,
                    serial = served.0,
                    "signed again without another serial, for the link leaves no more: have the name servers that follow take the zone anew"
                );
            }
        } else if plot.source.is_linked() && before.zone(name).is_none_or(|it| !Arc::ptr_eq(it, &zone)) {
            self.early.push(Arc::clone(&zone));
        }
        Ok(Some(zone))
    }

    /// The edition of these zones.
    fn edition(self, snapshot: Snapshot) -> Edition {
        let snapshot = Arc::new(snapshot);
        let early = early_snapshot(&snapshot, self.before, self.early);
        Edition { snapshot, early, renewed: self.renewed, shown: self.shown }
    }
}

/// What may be served before it is durable, of the edition that follows `before`: zones of links that are not
/// signed. Their serials and what those stand for are on the link manager's record, which says them again
/// after a crash. What is numbered here could have one serial for two contents then, and of a signature
/// nobody would know when it expires. What is left: a link that is deleted and made again after a crash
/// in that moment, before it was said again, is numbered by what is on the disk.
fn early_snapshot(
    snapshot: &Arc<Snapshot>,
    before: &Snapshot,
    early: Vec<Arc<Zone>>,
) -> Option<Arc<Snapshot>> {
    if early.is_empty() {
        return None;
    }
    let mut with_early = before.clone();
    early.into_iter().for_each(|zone| with_early.put(zone));
    let is_all = with_early.differences(snapshot).is_empty();
    Some(if is_all { Arc::clone(snapshot) } else { Arc::new(with_early) })
}

impl<'a> Plot<'a> {
    /// `own_keys` are those of this system; none when zones are not signed.
    fn of(source: Source<'a>, own_keys: &[PublicKey]) -> Self {
        let mut keys = own_keys.to_vec();
        let mut is_secure = !keys.is_empty();
        if let (Source::Tenant(tenant), true) = (source, is_secure) {
            keys.extend(tenant.peer_keys.iter().cloned());
            keys.sort();
            keys.dedup();
            is_secure = !tenant.is_shared() || !tenant.peer_keys.is_empty();
        }
        Self { source, keys, is_secure, children: Arc::default() }
    }

    fn wanted<'p>(&self, name: &'p Name, rules: Rules<'_>) -> Wanted<'p> {
        let Self { keys, is_secure, children, .. } = self;
        let keyring = rules.keyring.filter(|_| !keys.is_empty());
        let basis = keyring
            .map(|keyring| Basis::of(keyring.signer().key(), keys, *is_secure, rules.denial, children));
        let basis = basis.unwrap_or_default();
        Wanted { name, given: self.source.given(), basis, is_linked: self.source.is_linked() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::core::dnssec::key::Algorithm;
    use crate::core::dnssec::roll::Stage;
    use crate::core::dnssec::{Denial, Lifetime};
    use crate::core::gateway::Gateway;
    use crate::core::zone::{NameServer, TenantContent};
    use crate::signer::{Kept, KeyPair};

    const POLICY: Policy =
        Policy { refresh: 30, retry: 10, expire: 604_800, system_ttl: 60, negative_ttl: 5 };

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn tenant(text: &str, link: &str, address: &str) -> (Name, Tenant) {
        let address: IpAddr = address.parse().unwrap();
        let content = TenantContent {
            gateway: Gateway::at(vec![address]),
            name_servers: vec![NameServer { name: name("ns1.west.example.com"), addresses: vec![address] }],
            ttl: 5,
            place: None,
        };
        let (link, target) = (link.into(), String::new());
        let tenant =
            Tenant { name: name(text), serial: Serial(16), content, link, target, peer_keys: Vec::new() };
        (tenant.name.clone(), tenant)
    }

    fn moved(record: &Record, tenants: &[&str]) -> Record {
        let mut record = record.clone();
        for text in tenants {
            let mut tenant = record.tenants[&name(text)].clone();
            tenant.content.gateway = Gateway::at(vec!["192.0.2.2".parse().unwrap()]);
            tenant.serial = Serial(tenant.serial.0 + 16);
            record.tenants.insert(name(text), tenant);
        }
        record
    }

    /// What follows one after the other, and the last edition of them.
    fn last(keyring: Option<&Keyring>, records: &[Record]) -> (Arc<Snapshot>, Edition) {
        let (own_records, own_zones, held) = Default::default();
        let times = Times::at(1_000_000, Lifetime::of_expire(POLICY.expire));
        let mut renewals = Renewals::default();
        let (mut before, mut shown) = (Arc::<Snapshot>::default(), None);
        for (record, turn) in records.iter().zip(1..) {
            let sources = Sources {
                record,
                held: &held,
                own_records: &own_records,
                own_zones: &own_zones,
                renewals: &renewals,
                shown: shown.as_ref(),
            };
            let rules = Rules { policy: &POLICY, keyring, denial: Denial::Nsec, times, is_start: turn == 1 };
            let edition = sources.edition(&before, rules).unwrap();
            if turn == records.len() {
                return (before, edition);
            }
            renewals.take(edition.renewed);
            (before, shown) = (edition.snapshot, edition.shown);
        }
        unreachable!("there is a last one")
    }

    fn record() -> Record {
        let system = System {
            domain: name("west.example.com"),
            gateway: Gateway::at(vec!["192.0.2.1".parse().unwrap()]),
            name_server_addresses: vec!["192.0.2.1".parse().unwrap()],
            own: [0; 32],
        };
        let tenants = [
            tenant("one.west.example.com", "link", "192.0.2.1"),
            tenant("two.west.example.com", "link", "192.0.2.1"),
            tenant("alone.west.example.com", "", "192.0.2.1"),
        ];
        Record {
            system: Some(system),
            system_serial: Serial(1),
            tenants: tenants.into_iter().collect(),
            ..Record::default()
        }
    }

    #[test]
    fn names_of_links_move_before_the_disk_knows() {
        let after = moved(&record(), &["one.west.example.com"]);
        let (before, edition) = last(None, &[record(), after]);
        let early = edition.early.unwrap();
        assert!(Arc::ptr_eq(&early, &edition.snapshot), "it is all that changes");
        let serial = |snapshot: &Snapshot, text| snapshot.zone(&name(text)).unwrap().serial();
        assert_eq!(serial(&before, "one.west.example.com"), Serial(16));
        assert_eq!(serial(&early, "one.west.example.com"), Serial(32));
    }

    #[test]
    fn what_is_numbered_here_waits_for_the_disk() {
        let mut after = moved(&record(), &["one.west.example.com", "alone.west.example.com"]);
        after.tenants.remove(&name("two.west.example.com"));
        after.system_serial = Serial(2);
        let (before, edition) = last(None, &[record(), after]);
        let (early, whole) = (edition.early.unwrap(), edition.snapshot);
        for text in ["west.example.com", "alone.west.example.com", "two.west.example.com"] {
            let [before, early] = [&before, &early].map(|snapshot| snapshot.zone(&name(text)).unwrap());
            assert!(Arc::ptr_eq(before, early), "{text}");
        }
        let one = |snapshot: &Snapshot| Arc::clone(snapshot.zone(&name("one.west.example.com")).unwrap());
        assert!(Arc::ptr_eq(&one(&early), &one(&whole)) && one(&early).serial() == Serial(32));
        assert!(whole.zone(&name("two.west.example.com")).is_none());

        let (_, edition) = last(None, &[record(), moved(&record(), &["alone.west.example.com"])]);
        assert!(edition.early.is_none());
    }

    #[test]
    fn what_is_signed_waits_until_it_is_known_how_long_that_holds() {
        let pair = Arc::new(KeyPair::generate(Algorithm::Ed25519).unwrap());
        let keyring = Keyring::new(Kept { pair, stage: Stage::Active, since: 0 }, Vec::new());
        let (_, edition) = last(Some(&keyring), &[record(), moved(&record(), &["one.west.example.com"])]);
        assert!(edition.early.is_none() && edition.renewed.contains_key(&name("one.west.example.com")));
    }
}
