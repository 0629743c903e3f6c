//! What is to stand in somebody else's zone.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::fence::Fence;
use crate::core::apply::Record;
use crate::core::gateway::Gateway;
use crate::core::name::Name;
use crate::core::zone::{Place, Serial, Tenant};

/// What is to become of a tenant's names at the targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// They stand there, under this serial.
    Put(Arc<Content>),
    /// They stay as they are: what this system has on record may be old.
    Wait,
    /// They are no longer this system's to say, and stay as they are: under the other system's domain,
    /// on no link, the other one numbers them by itself.
    LetGo,
    /// They go, where this system has put them.
    Remove,
}

/// What stands at a tenant's name, and at the wildcard beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Of the tenant's zone; grows with the epoch of its link, alike on both systems.
    pub serial: Serial,
    /// What the serial stands for.
    pub place: Option<Place>,
    /// Where; somewhere.
    pub leads: Leads,
    /// Seconds that an answer may be kept.
    pub ttl: u32,
}

/// Where a name leads: to addresses, or to where another name does. In a zone of somebody else's a tenant's own
/// name is one among others, and may be an alias.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    /// In order and once each.
    pub addresses: Vec<IpAddr>,
    /// The other name.
    pub alias: Option<Name>,
}

/// Where names lead, by what this system answers.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// What is answered.
    pub record: Record,
    /// Zones that nobody has confirmed since the start.
    pub held: BTreeSet<Name>,
}

impl Said {
    /// What is wished of the tenants that lie within one of `zones`. A tenant that is not named is to go.
    #[must_use]
    pub fn wishes(&self, zones: &BTreeSet<Name>) -> BTreeMap<Name, Wish> {
        let wished = |name: &Name| Some((name.clone(), self.wish(name, zones)?));
        self.record.tenants.keys().filter_map(wished).collect()
    }

    /// What is wished otherwise than when `before` was said, in the order of names: it takes as long as what
    /// is different.
    #[must_use]
    pub fn wishes_since(&self, before: &Self, zones: &BTreeSet<Name>) -> Vec<(Name, Wish)> {
        let (was, is) = (before.domain(), self.domain());
        let differences = before.record.tenants.differences(&self.record.tenants);
        let mut names: BTreeSet<&Name> = differences.into_iter().map(|(name, ..)| name).collect();
        names.extend(before.held.symmetric_difference(&self.held));
        if was != is {
            names.extend(before.record.tenants.keys().chain(self.record.tenants.keys()));
        }
        let changed = names.into_iter().filter_map(|name| {
            let (was, is) = (before.wish(name, zones), self.wish(name, zones));
            (was != is).then(|| (name.clone(), is.unwrap_or(Wish::Remove)))
        });
        changed.collect()
    }

    fn domain(&self) -> Option<&Name> {
        self.record.system.as_ref().map(|system| &system.domain)
    }

    fn wish(&self, name: &Name, zones: &BTreeSet<Name>) -> Option<Wish> {
        let tenant = self.record.tenants.get(name)?;
        // A name that has no room for a fence beneath it cannot be put.
        if Fence::owner(name).is_none() || !zones.iter().any(|zone| name.is_within(zone)) {
            return None;
        }
        Some(if self.held.contains(name) {
            Wish::Wait
        } else if tenant.is_transferable(self.domain()) {
            Wish::Put(Arc::new(Content::of(tenant)))
        } else {
            Wish::LetGo
        })
    }
}

impl Content {
    fn of(tenant: &Tenant) -> Self {
        let Gateway { addresses, host, .. } = &tenant.content.gateway;
        let leads = match host {
            Some(host) => Leads { addresses: Vec::new(), alias: Some(host.clone()) },
            None => Leads { addresses: addresses.clone(), alias: None },
        };
        Self { serial: tenant.serial, place: tenant.content.place, leads, ttl: tenant.content.ttl }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::zone::{System, TenantContent};
    use alloc::string::{String, ToString};
    use alloc::vec;

    #[test]
    fn only_what_both_systems_number_alike_is_put() {
        let name = |text: &str| Name::parse(text).unwrap();
        let tenant = |text: &str, link: &str| Tenant {
            name: name(text),
            serial: Serial(7),
            content: TenantContent {
                gateway: Gateway::at(vec!["192.0.2.1".parse().unwrap()]),
                name_servers: vec![],
                ttl: 5,
                place: None,
            },
            link: link.to_string(),
            target: String::new(),
            peer_keys: Vec::new(),
        };
        let tenants = [
            tenant("own.west.example.com", ""),
            tenant("linked.east.example.com", "link"),
            tenant("held.east.example.com", "link"),
            tenant("theirs.east.example.com", ""),
            tenant("elsewhere.example.net", "link"),
        ];
        let system = System {
            domain: name("west.example.com"),
            gateway: Gateway::default(),
            name_server_addresses: vec![],
            own: [0; 32],
        };
        let record = Record {
            system: Some(system),
            tenants: tenants.into_iter().map(|tenant| (tenant.name.clone(), tenant)).collect(),
            ..Record::default()
        };
        let zones = [name("example.com")].into();
        let said = Said { record, held: [name("held.east.example.com")].into() };
        let wished = said.wishes(&zones);
        let put = |wish: &Wish| matches!(wish, Wish::Put(content) if content.serial == Serial(7));
        assert_eq!(wished.len(), 4, "what lies in none of the zones is not mentioned");
        assert!(
            put(&wished[&name("own.west.example.com")]) && put(&wished[&name("linked.east.example.com")])
        );
        assert_eq!(wished[&name("held.east.example.com")], Wish::Wait);
        assert_eq!(wished[&name("theirs.east.example.com")], Wish::LetGo);

        // Each way in which something comes to be wished otherwise.
        let mut later = Said { held: BTreeSet::new(), ..said.clone() };
        later.record.tenants.remove(&name("own.west.example.com"));
        let mut moved = later.record.tenants[&name("linked.east.example.com")].clone();
        moved.serial = Serial(8);
        later.record.tenants.insert(moved.name.clone(), moved);
        let mut elsewhere = said.clone();
        elsewhere.record.system.as_mut().unwrap().domain = name("east.example.com");
        for (one, other) in [(&said, &later), (&later, &said), (&said, &elsewhere), (&Said::default(), &said)]
        {
            let (was, is) = (one.wishes(&zones), other.wishes(&zones));
            let mut told = was.clone();
            let changes = other.wishes_since(one, &zones);
            assert!(!changes.is_empty() && changes.iter().all(|(name, wish)| was.get(name) != Some(wish)));
            for (name, wish) in changes {
                match wish {
                    Wish::Remove => _ = told.remove(&name),
                    wish => _ = told.insert(name, wish),
                }
            }
            assert_eq!(told, is);
        }
        assert_eq!(said.wishes_since(&said, &zones), []);
    }
}
