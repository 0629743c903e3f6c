//! The next edition, made of what is different from what the one before it was made of.
//!
//! It is the one that would be made of everything, and takes as long as the zones that are others: a tenant's
//! own, when its names move; the system's, when it delegates in another way; and where zones are signed, the
//! one above a zone that is secure or has its keys in another way than before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Edition, Plot, Press, Rules, Source, Sources};
use crate::core::catalogue;
use crate::core::dnssec::key::PublicKey;
use crate::core::dnssec::sign::Unsigned;
use crate::core::name::{Name, upward};
use crate::core::zone::Snapshot;
use crate::signer::Keyring;

impl<'a> Sources<'a> {
    /// As [`Sources::edition`], when `before` was made of `last` by the same rules.
    pub(crate) fn edition_after(
        self,
        last: Sources<'_>,
        before: &Snapshot,
        rules: Rules<'_>,
    ) -> Result<Edition, Unsigned> {
        // Whether tenants' zones may be transferred is a question of the system's domain.
        let domain = |sources: Sources<'_>| Some(sources.record.system.as_ref()?.domain.clone());
        if domain(self) != domain(last) || self.renewals.due_in(rules.times) == Some(0) {
            return self.edition(before, rules);
        }
        let keys = rules.keyring.map(Keyring::public).unwrap_or_default();
        let (mut plots, mut gone) = (Vec::new(), Vec::new());
        let changed = self.changed(last, &keys);
        for name in &changed {
            match self.plot(name, &keys) {
                Some(plot) => plots.push((name, plot)),
                None => gone.push(name),
            }
        }
        let wanted: Vec<_> = plots.iter().map(|(name, plot)| plot.wanted(name, rules)).collect();
        let renewed = self.renewals.settle_some(&wanted, gone.iter().copied(), rules.times);
        let mut press = Press::new(self, before, rules, renewed);
        let mut snapshot = before.clone();
        gone.into_iter().for_each(|name| snapshot.remove(name));
        for (name, plot) in &plots {
            match press.zone(name, plot)? {
                Some(zone) => snapshot.put(zone),
                None => snapshot.remove(name),
            }
        }
        Ok(press.edition(snapshot))
    }

    /// Names whose zones may be others than they were.
    fn changed(self, last: Sources<'_>, keys: &[PublicKey]) -> BTreeSet<Name> {
        let (before, now) = (last.record, self.record);
        let tenants = before.tenants.differences(&now.tenants);
        let mut changed: BTreeSet<_> = tenants.into_iter().map(|(name, _, _)| name.clone()).collect();
        changed.extend(last.held.symmetric_difference(self.held).cloned());
        if (&before.system, before.system_serial) != (&now.system, now.system_serial) {
            changed.extend(now.system.iter().map(|system| system.domain.clone()));
        }
        if before.catalogue() != now.catalogue() {
            changed.extend(now.system.iter().filter_map(|system| catalogue::origin(&system.domain)));
        }
        if !std::ptr::eq(last.own_zones, self.own_zones) {
            let is_other = |name: &&Name| {
                let [was, is] = [last, self].map(|sources| sources.own_zones.get(*name).map(Arc::as_ptr));
                was != is
            };
            let names = last.own_zones.keys().chain(self.own_zones.keys());
            changed.extend(names.filter(is_other).cloned());
        }
        if !keys.is_empty() {
            let is_other = |name: &&Name| last.security(name, keys) != self.security(name, keys);
            // If that is not the one it was, that one has gone, or has itself another one beneath it by now.
            let above: Vec<_> =
                changed.iter().filter(is_other).filter_map(|name| self.parent(name)).collect();
            changed.extend(above);
        }
        changed
    }

    /// The plot of a name. `keys` are those of this system; none when zones are not signed.
    fn plot(self, name: &Name, keys: &[PublicKey]) -> Option<Plot<'a>> {
        let mut plot = self.bare_plot(name, keys)?;
        if !keys.is_empty() {
            plot.children = Arc::new(self.children(name, keys));
        }
        Some(plot)
    }

    /// The same, without zones beneath it.
    fn bare_plot(self, name: &Name, keys: &[PublicKey]) -> Option<Plot<'a>> {
        let Self { record, own_zones, .. } = self;
        let system = record.system.as_ref();
        if system.is_some_and(|system| catalogue::may_be_origin(name, &system.domain))
            && let Some((_, plot)) = self.catalogue()
        {
            return Some(plot);
        }
        let tenant = record.tenants.get(name).map(Source::Tenant);
        let system = system.filter(|system| system.domain == *name);
        let system = system.map(|system| Source::System(system, record.system_serial));
        let source = tenant.or(system).or_else(|| own_zones.get(name).map(Source::Own))?;
        Some(Plot::of(source, keys))
    }

    /// What the zone above one says of it; `None` when there is no zone of this name.
    fn security(self, name: &Name, keys: &[PublicKey]) -> Option<(bool, Vec<PublicKey>)> {
        self.bare_plot(name, keys).map(|plot| (plot.is_secure, plot.keys))
    }

    /// The zone that is right above this name.
    fn parent(self, name: &Name) -> Option<Name> {
        let mut above = upward(name.as_bytes()).skip(1).map(Name::from_key);
        above.find(|above| self.bare_plot(above, &[]).is_some())
    }

    /// The secure zones right beneath the one of this name, in order.
    fn children(self, name: &Name, keys: &[PublicKey]) -> Vec<(Name, Vec<PublicKey>)> {
        let tenants = self.record.tenants.within(name.as_bytes()).map(|(name, _)| name);
        let own = self.own_zones.range(name.clone()..).map(|(name, _)| name);
        let own = own.take_while(|other| other.is_within(name));
        let system = self.record.system.iter().map(|system| &system.domain);
        let catalogue = self.catalogue().map(|(origin, _)| origin);
        let names = tenants.chain(own).chain(system).chain(&catalogue);
        let names: BTreeSet<_> = names.filter(|other| other.is_within(name) && *other != name).collect();
        let (mut children, mut last) = (Vec::new(), None);
        for child in names {
            // What is beneath another one is that one's.
            if last.is_some_and(|last| child.is_within(last)) {
                continue;
            }
            last = Some(child);
            let plot = self.bare_plot(child, keys).filter(|plot| plot.is_secure);
            children.extend(plot.map(|plot| (child.clone(), plot.keys)));
        }
        children
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::core::apply::{self, Desired, Record};
    use crate::core::dnssec::key::Algorithm;
    use crate::core::dnssec::renewal::Renewals;
    use crate::core::dnssec::roll::Stage;
    use crate::core::dnssec::{Denial, Lifetime, Times};
    use crate::core::gateway::Gateway;
    use crate::core::heard::Heard;
    use crate::core::own::{self, Nodes};
    use crate::core::record::{Kind, Rdata, Set, Soa};
    use crate::core::zone::{NameServer, Policy, Serial, System, Tenant, TenantContent, Zone};
    use crate::signer::{Kept, KeyPair};

    const POLICY: Policy =
        Policy { refresh: 30, retry: 10, expire: 604_800, system_ttl: 60, negative_ttl: 5 };
    const START: u32 = 1_800_000_000;
    /// Tenants lie beneath one another, beneath the system's zone and beneath none; so do zones of the operator's.
    const TENANTS: [&str; 6] =
        ["a.west.test", "b.a.west.test", "c.d.west.test", "d.west.test", "a.east.test", "b.c.d.west.test"];
    const OWN: [&str; 4] = ["test", "x.a.west.test", "east.test", "west.test"];

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// How one tenant is desired.
    #[derive(Clone, Debug)]
    struct Wish {
        address: u8,
        is_linked: bool,
        is_shared: bool,
        is_signed_there: bool,
    }

    /// What changes from one edition to the next.
    #[derive(Clone, Debug)]
    struct Step {
        wishes: Vec<(usize, Option<Wish>)>,
        held: BTreeSet<usize>,
        own: Option<Vec<&'static str>>,
        publishes: bool,
        seconds: u32,
        moves_system: bool,
    }

    fn wish() -> impl Strategy<Value = Wish> {
        any::<(bool, bool, bool)>().prop_flat_map(|(is_linked, is_shared, is_signed_there)| {
            (0_u8..3).prop_map(move |address| Wish { address, is_linked, is_shared, is_signed_there })
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        let wishes = prop::collection::vec((0..TENANTS.len(), prop::option::weighted(0.7, wish())), 0..3);
        let own = prop::option::weighted(0.2, prop::sample::subsequence(OWN.to_vec(), 0..=OWN.len()));
        let held = prop::collection::btree_set(0..TENANTS.len(), 0..2);
        let seconds = prop_oneof![8 => Just(1_u32), 1 => Just(30 * 86_400_u32)];
        (wishes, held, own, prop::bool::weighted(0.1), seconds, prop::bool::weighted(0.1)).prop_map(
            |(wishes, held, own, publishes, seconds, moves_system)| Step {
                wishes,
                held,
                own,
                publishes,
                seconds,
                moves_system,
            },
        )
    }

    fn tenant(text: &str, wish: &Wish, serial: u32, peer: &PublicKey) -> Tenant {
        let server = |text: &str| NameServer { name: name(text), addresses: Vec::new() };
        let mut name_servers = vec![server("ns1.west.test")];
        name_servers.extend(wish.is_shared.then(|| server("ns1.other.test")));
        Tenant {
            name: name(text),
            serial: if wish.is_linked { Serial(serial) } else { Serial::ABSENT },
            content: TenantContent {
                gateway: Gateway::at(vec![[192, 0, 2, wish.address].into()]),
                name_servers,
                ttl: 5,
                place: None,
            },
            link: if wish.is_linked { "link".into() } else { String::new() },
            target: String::new(),
            peer_keys: if wish.is_signed_there { vec![peer.clone()] } else { Vec::new() },
        }
    }

    fn own_zone(text: &str) -> Arc<Zone> {
        let origin = name(text);
        let (mname, rname) = (origin.clone(), origin.clone());
        let soa = Soa { mname, rname, serial: Serial(7), refresh: 1, retry: 1, expire: 1, minimum: 1 };
        let apex =
            vec![Set::new(Kind::SOA, 60, [Rdata::soa(&soa)]), Set::new(Kind::NS, 60, [Rdata::name(&origin)])];
        let nodes: Nodes = [(origin.clone(), apex)].into();
        Arc::new(Zone::of_own(&origin, (&nodes).into()).unwrap())
    }

    fn keyring() -> (Keyring, PublicKey) {
        let pair = || Arc::new(KeyPair::generate(Algorithm::Ed25519).unwrap());
        let peer = Keyring::new(Kept { pair: pair(), stage: Stage::Active, since: 0 }, Vec::new());
        let peer = peer.public().remove(0);
        (Keyring::new(Kept { pair: pair(), stage: Stage::Active, since: 0 }, Vec::new()), peer)
    }

    fn shown(edition: &Edition) -> Vec<String> {
        let all = edition.snapshot.zones().map(|zone| format!("{zone:?}"));
        let early =
            edition.early.iter().flat_map(|early| early.zones()).map(|zone| format!("early {zone:?}"));
        let system = edition.shown.iter().map(|shown| format!("unsigned {:?}", shown.zone()));
        all.chain(early).chain(system).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

        #[test]
        fn it_is_the_edition_that_is_made_of_everything(
            steps in prop::collection::vec(step(), 1..16),
            signs: bool,
            is_hashed: bool,
        ) {
            let (keyring, peer) = keyring();
            let denial = if is_hashed { Denial::Nsec3 } else { Denial::Nsec };
            let (mut now, mut record, mut renewals) = (START, Record::default(), Renewals::default());
            let (mut wishes, mut own_zones) = (BTreeMap::new(), BTreeMap::new());
            let (mut held, own_records) = (BTreeSet::new(), own::Records::default());
            let (mut before, mut shown_before) = (Arc::<Snapshot>::default(), None);
            for (step, turn) in steps.into_iter().zip(1_u32..) {
                now += step.seconds;
                wishes.extend(step.wishes);
                let tenants = wishes.iter().filter_map(|(at, wish)| {
                    let tenant = tenant(TENANTS[*at], wish.as_ref()?, 64 * turn, &peer);
                    Some((tenant.name.clone(), tenant))
                });
                let system = System {
                    domain: name("west.test"),
                    gateway: Gateway::at(vec![[192, 0, 2, u8::from(step.moves_system)].into()]),
                    name_server_addresses: Vec::new(),
                    own: [0; 32],
                };
                // What stays as it is keeps its serial.
                let mut tenants: BTreeMap<_, _> = tenants.collect();
                for (name, tenant) in &mut tenants {
                    let current = record.tenants.get(name).filter(|current| current.content == tenant.content);
                    if let (Some(current), true) = (current, tenant.serial != Serial::ABSENT) {
                        tenant.serial = current.serial;
                    }
                }
                let own_after = step.own.map_or_else(
                    || own_zones.clone(),
                    |own| own.into_iter().map(|text| (name(text), own_zone(text))).collect(),
                );
                let desired = Desired {
                    run: String::new(),
                    generation: 1,
                    system,
                    tenants,
                    refused: BTreeMap::new(),
                    since: None,
                    life: "first".into(),
                };
                let mut next = apply::decide(&record, &Heard::default(), desired, own_after.keys(), now).next;
                if step.publishes && let Ok(Some(plan)) = apply::with_catalogue(&next, own_after.keys(), now) {
                    next = plan.next;
                }
                let held_after: BTreeSet<_> = step.held.iter().map(|at| name(TENANTS[*at])).collect();
                let last = Sources {
                    record: &record,
                    held: &held,
                    own_records: &own_records,
                    own_zones: &own_zones,
                    renewals: &renewals,
                    shown: shown_before.as_ref(),
                };
                let sources = Sources { record: &next, held: &held_after, own_zones: &own_after, ..last };
                let times = Times::at(now, Lifetime::of_expire(POLICY.expire));
                let keyring = signs.then_some(&keyring);
                let rules = Rules { policy: &POLICY, keyring, denial, times, is_start: turn == 1 };
                let whole = sources.edition(&before, rules).unwrap();
                let edition = if turn == 1 { whole } else {
                    let edition = sources.edition_after(last, &before, rules).unwrap();
                    prop_assert_eq!(shown(&edition), shown(&whole));
                    prop_assert_eq!(&edition.renewed, &whole.renewed);
                    edition
                };
                renewals.take(edition.renewed);
                (before, shown_before) = (edition.snapshot, edition.shown);
                (record, held, own_zones) = (next, held_after, own_after);
            }
        }
    }
}
