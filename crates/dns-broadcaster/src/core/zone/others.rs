//! The system's zone with other tenants, or other records of the operator's, without making it anew.

use alloc::vec::Vec;

use super::{Policy, Serial, System, Tenant, Tenants, Zone};
use crate::core::name::{Name, upward};
use crate::core::own;
use crate::core::record::Kind;

impl Zone {
    /// As [`Zone::of_system`], made of `self`, which is that zone with the tenants and the operator's records
    /// `before`: takes as long as those that are others, and no longer for a zone of many names.
    #[must_use]
    pub fn with_others(
        &self,
        (before, own_before): (&Tenants, &own::Records),
        (system, serial): (&System, Serial),
        tenants: &Tenants,
        own: &own::Records,
        policy: &Policy,
    ) -> Self {
        let origin = &system.domain;
        let servers = |tenant: &Tenant| tenant.content.name_server_sets(policy.system_ttl);
        let mut nodes = self.nodes.clone();
        for (name, was, is) in before.differences(tenants) {
            if !name.is_within(origin) || was.map(servers) == is.map(servers) {
                continue;
            }
            // All that the change shows or hides is at the tenant's name or beneath it.
            let beneath: Vec<_> = nodes.within(name.as_bytes()).map(|(key, _)| key.to_vec()).collect();
            for key in &beneath {
                nodes.remove(key);
            }
            for (key, node) in own.served_within(name, tenants) {
                nodes.insert(key, node);
            }
            for (key, tenant) in tenants.within(name.as_bytes()) {
                nodes.add(origin, key, &servers(tenant));
            }
            nodes.settle(origin, name.as_bytes());
        }
        for key in own.apart(own_before) {
            if upward(key).any(|above| tenants.contains_key(above)) {
                continue;
            }
            let mut sets = own.served_at(key, origin);
            if key == origin.as_bytes() {
                sets.push(system.servers(policy.system_ttl));
            }
            nodes.lay(origin, &Name::from_key(key), &sets);
        }
        nodes.take(origin.as_bytes(), Kind::SOA);
        Self::of_system_nodes((system, serial), tenants, nodes, policy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NameServer, TenantContent};
    use super::*;
    use crate::core::gateway::{Gateway, Https};
    use crate::core::own::Nodes;
    use crate::core::record::{Rdata, Set};
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;

    const POLICY: Policy = Policy { refresh: 1, retry: 2, expire: 3, system_ttl: 60, negative_ttl: 5 };

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    const OWN: [&str; 10] = [
        "a.east.test",
        "c.b.a.east.test",
        "p.q.b.a.east.test",
        "y.east.test",
        "z.x.y.east.test",
        "v.w.east.test",
        "east.test",
        "ns1.east.test",
        "s3.east.test",
        "u.x.ns1.east.test",
    ];

    fn tenants(chosen: &[(&str, bool)]) -> Tenants {
        let of = |(text, west): &(&str, bool)| {
            let server = if *west { "ns1.west.test" } else { "ns1.east.test" };
            let content = TenantContent {
                gateway: Gateway::at(vec![[192, 0, 2, 1].into()]),
                name_servers: vec![NameServer { name: name(server), addresses: vec![] }],
                ttl: 5,
                place: None,
            };
            let (link, target) = (String::new(), String::new());
            (
                name(text),
                Tenant { name: name(text), serial: Serial(1), content, link, target, peer_keys: Vec::new() },
            )
        };
        chosen.iter().map(of).collect()
    }

    fn chosen() -> impl Strategy<Value = Vec<(&'static str, bool)>> {
        let all = [
            "a.east.test",
            "b.a.east.test",
            "x.y.east.test",
            "q.b.a.east.test",
            "x.ns1.east.test",
            "a.west.test",
        ];
        prop::sample::subsequence(all.to_vec(), 0..=all.len()).prop_flat_map(|names| {
            let servers = prop::collection::vec(any::<bool>(), names.len());
            (Just(names), servers).prop_map(|(names, servers)| names.into_iter().zip(servers).collect())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn a_zone_with_others_in_it_is_the_one_that_is_made_of_them(
            (before, after) in (chosen(), chosen()),
            (own_before, own) in (prop::sample::subsequence(OWN.to_vec(), 0..=10), prop::sample::subsequence(OWN.to_vec(), 0..=10)),
            is_moved in any::<bool>(),
            (host, https) in any::<(bool, bool)>(),
        ) {
            let sets = |number: u8| [
                Set::new(Kind::TXT, 60, [Rdata::from_wire(vec![1, number])]),
                Set::new(Kind::A, 60, [Rdata::from_wire(vec![192, 0, 2, number])]),
                Set::new(Kind::HTTPS, 60, [Rdata::https(1, None, &[])]),
            ];
            // Without the last of them an HTTPS record of the gateway stands.
            let sets = |number: u8| sets(number)[..if is_moved { 2 } else { 3 }].to_vec();
            let domain = name("east.test");
            let records = |own: &[&str], number| {
                let nodes: Nodes = own.iter().map(|owner| (name(owner), sets(number))).collect();
                let mut records = own::Records::default();
                records.add(&domain, (&nodes).into());
                records
            };
            let own_before = records(&own_before, 1);
            let number = if is_moved { 2 } else { 1 };
            let mut laid = own_before.clone();
            for owner in OWN {
                let sets = if own.contains(&owner) { sets(number) } else { Vec::new() };
                laid.lay(&domain, &name(owner), &sets);
            }
            let own = records(&own, number);
            prop_assert!(laid.sets().eq(own.sets()));
            let gateway = Gateway {
                addresses: vec![[192, 0, 2, 1].into()],
                host: host.then(|| name("balancer.test")),
                https: https.then(|| Https { port: 443, alpn: Vec::new() }),
            };
            let system = System { domain, gateway, name_server_addresses: vec![], own: [0; 32] };
            let (before, after) = (tenants(&before), tenants(&after));
            let first = Zone::of_system(&system, Serial(1), &before, &own_before, &POLICY);
            let made = Zone::of_system(&system, Serial(2), &after, &own, &POLICY);
            for own in [own, laid] {
            let changed = first.with_others((&before, &own_before), (&system, Serial(2)), &after, &own, &POLICY);
            prop_assert_eq!(changed.denies, made.denies);
            prop_assert!(changed.nodes.iter().eq(made.nodes.iter()), "{:?}\n{:?}",
                changed.nodes.iter().map(|(key, _)| Name::from_key(key)).collect::<Vec<_>>(),
                made.nodes.iter().map(|(key, _)| Name::from_key(key)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn one_record_of_many_costs_what_one_costs() {
        let domain = name("east.test");
        let set = |number: u8| [Set::new(Kind::TXT, 60, [Rdata::from_wire(vec![1, number])])];
        let nodes: Nodes =
            (0..20_000).map(|n| (name(&alloc::format!("h{n}.east.test")), set(1).to_vec())).collect();
        let mut before = own::Records::default();
        before.add(&domain, (&nodes).into());
        let mut after = before.clone();
        after.lay(&domain, &name("h4711.east.test"), &set(2));
        after.lay(&domain, &name("new.east.test"), &set(1));
        assert!(after.apart(&before).count() == 2);
        let gateway = Gateway::at(vec![[192, 0, 2, 1].into()]);
        let system = System { domain, gateway, name_server_addresses: vec![], own: [0; 32] };
        let nobody = Tenants::default();
        let first = Zone::of_system(&system, Serial(1), &nobody, &before, &POLICY);
        let changed = first.with_others((&nobody, &before), (&system, Serial(2)), &nobody, &after, &POLICY);
        // Chunks that hold the two names, and those of the apex and of what is published.
        assert!(changed.nodes.apart(&first.nodes).count() < 1000);
    }
}
