//! What the broadcaster shall serve, kept from one step of the machine to the next.
//!
//! A link's zones are made of the link as it is on record and of who we are, so they are made anew when one of
//! both is another. A machine of many links takes a step every few milliseconds, and hardly any of them
//! moves a name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use switchback_link_core::{Change, Identity, LinkMachine, TenantZone};
use switchback_model::{Content, ContentId, LinkId};
use switchback_proto::dns::v1 as wire;

use super::Desired;
use crate::convert::view::zone_out;

/// See the module.
#[derive(Debug)]
pub struct Zones {
    ttl_seconds: u32,
    own: Option<Identity>,
    /// Those of the mover, and whether they wait for their release.
    contents: Vec<(Content, bool)>,
    links: BTreeMap<LinkId, Part>,
    /// Names of zones on no link.
    free: Vec<String>,
    /// Of one name the first counts, as in [`LinkMachine::zones`].
    made: BTreeMap<(String, Origin), Arc<wire::TenantZone>>,
    /// Links that are on record in another way since their zones were made.
    changed: BTreeSet<LinkId>,
    /// All that was made, by name.
    tenants: Arc<[Arc<wire::TenantZone>]>,
}

/// What was made of one link.
#[derive(Debug, Default)]
struct Part {
    names: Vec<String>,
    contents: BTreeSet<ContentId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Link(LinkId),
    Free,
}

impl Zones {
    /// Nothing was made. Answers may be kept for `ttl_seconds`.
    #[must_use]
    pub fn new(ttl_seconds: u32) -> Self {
        Self {
            ttl_seconds,
            own: None,
            contents: Vec::new(),
            links: BTreeMap::new(),
            free: Vec::new(),
            made: BTreeMap::new(),
            changed: BTreeSet::new(),
            tenants: Arc::default(),
        }
    }

    /// Hears of a change of what is on record.
    pub fn note(&mut self, change: &Change) {
        if let Change::PutLink(link) = change {
            self.changed.insert(link.id);
        } else if let Change::RemoveLink(link) = change {
            self.changed.insert(*link);
        }
    }

    /// What the broadcaster shall serve by what the machine knows. `None` while it is too early to say.
    pub fn desired(&mut self, machine: &LinkMachine) -> Option<Desired> {
        if !machine.knows_zones() {
            return None;
        }
        self.follow(machine);
        let life = machine.life().map(|life| life.to_string()).unwrap_or_default();
        Some(Desired { tenants: Arc::clone(&self.tenants), life })
    }

    /// Makes what is made of something else by now.
    fn follow(&mut self, machine: &LinkMachine) {
        let is_other_system = self.own.as_ref() != machine.identity();
        if is_other_system {
            self.own = machine.identity().cloned();
            self.changed.extend(self.links.keys().chain(machine.state().links.keys()));
        }
        let mut is_free_changed = is_other_system;
        if !machine.contents().eq(self.contents.iter().map(|(content, orphaned)| (content, *orphaned))) {
            is_free_changed = true;
            let contents = machine.contents();
            self.contents = contents.map(|(content, orphaned)| (content.clone(), orphaned)).collect();
        }
        if self.changed.is_empty() && !is_free_changed {
            return;
        }
        for link in std::mem::take(&mut self.changed) {
            let before = self.links.remove(&link).unwrap_or_default();
            self.forget(Origin::Link(link), before.names);
            let on_record = machine.state().links.get(&link).filter(|link| link.is_established());
            let contents = on_record.into_iter().flat_map(|link| &link.shared.contents);
            let contents: BTreeSet<_> = contents.map(|content| content.id).collect();
            is_free_changed |= before.contents != contents;
            if on_record.is_some() {
                let names = self.make(Origin::Link(link), &machine.zones_of(link));
                self.links.insert(link, Part { names, contents });
            }
        }
        if is_free_changed {
            let before = std::mem::take(&mut self.free);
            self.forget(Origin::Free, before);
            self.free = self.make(Origin::Free, &machine.free_zones());
        }
        let mut last = None;
        let first = self.made.iter().filter(|((name, _), _)| last.replace(name) != Some(name));
        self.tenants = first.map(|(_, zone)| Arc::clone(zone)).collect();
    }

    fn forget(&mut self, origin: Origin, names: Vec<String>) {
        for name in names {
            self.made.remove(&(name, origin));
        }
    }

    /// The names of `zones`, which are made.
    fn make(&mut self, origin: Origin, zones: &[TenantZone]) -> Vec<String> {
        for zone in zones {
            let made = self.made.entry((zone.name.clone(), origin));
            made.or_insert_with(|| Arc::new(zone_out(zone, self.ttl_seconds)));
        }
        zones.iter().map(|zone| zone.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use switchback_link_core::{ContentView, DigestView, Gateway, Input, MoverView, Policy, Position, State};
    use switchback_machine::{Machine as _, Outbox, Timestamp};
    use switchback_model::{AccessMode, ContentKind, Epoch, FeedId, Incarnation, SystemId};

    use super::*;

    fn content(name: &str, sequence: u64) -> ContentView {
        let id = ContentId::from_slice(&[name.as_bytes()[0]; 16]).unwrap();
        ContentView {
            content: Content { kind: ContentKind::Tenant, name: name.into(), id },
            mode: AccessMode::ReadWrite,
            epoch: Epoch(0),
            link: None,
            orphaned: false,
            head: Position { content: id, feed: FeedId(1), sequence },
            digest: DigestView::default(),
        }
    }

    fn seen(contents: Vec<ContentView>) -> Input {
        Input::MoverSeen(Box::new(MoverView { boot: 1, store: 1, contents, ..MoverView::default() }))
    }

    fn identity(address: &str) -> Input {
        Input::IdentityKnown(Identity {
            system: SystemId::from_slice(&[1; 16]).unwrap(),
            incarnation: Incarnation(1),
            domain: "east.test".into(),
            name: "east".into(),
            gateway: Gateway { addresses: vec![address.into()], ..Gateway::default() },
            name_server_addresses: Vec::new(),
        })
    }

    #[test]
    fn a_step_that_moves_no_name_makes_nothing() {
        let mut machine = LinkMachine::recover(Policy::default(), State::default(), 1, Timestamp(1));
        let mut zones = Zones::new(5);
        let mut after = |input| {
            let mut outbox = Outbox::new();
            machine.step(Timestamp(1), input, &mut outbox);
            outbox.changes.iter().for_each(|change| zones.note(change));
            let desired = zones.desired(&machine);
            assert_eq!(desired, Zones::new(5).desired(&machine), "what it makes of everything");
            desired
        };
        assert_eq!(after(identity("192.0.2.1")), None, "what there is must be known first");
        let first = after(seen(vec![content("acme", 1), content("other", 1)])).unwrap();
        let written = after(seen(vec![content("acme", 2), content("other", 1)])).unwrap();
        assert!(Arc::ptr_eq(&first.tenants, &written.tenants));
        assert_eq!(after(seen(vec![content("acme", 2)])).unwrap().tenants.len(), 1);
        let moved = after(identity("192.0.2.2")).unwrap();
        assert_eq!(moved.tenants[0].addresses, ["192.0.2.2"]);
    }
}
