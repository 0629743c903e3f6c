//! Who may take zones, whom they are announced to, whose are taken, and where names are put.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::core::follow::Scope;
use crate::core::name::Name;
use crate::core::secondary::Follow;
use crate::core::zone::Zone;

/// A name server that follows this one.
#[derive(Clone, Debug)]
pub struct Secondary {
    /// For people.
    pub name: String,
    /// Where it is told of changes, and asked for what it serves.
    pub address: SocketAddr,
    /// The TSIG key that it shares with this system. Without one it is known by its address alone.
    pub key: Option<Name>,
    /// Whether it takes the system's catalogue, and the zones that it serves from there.
    pub catalogue: bool,
    /// It takes zones of these names and beneath them; all when there are none.
    pub zones: BTreeSet<Name>,
}

impl Secondary {
    /// What it takes, `catalogue` being the name of the system's.
    pub(crate) fn scope(&self, catalogue: Option<&Name>) -> Scope {
        let without = catalogue.filter(|_| !self.catalogue);
        Scope { within: self.zones.clone(), without: without.into_iter().cloned().collect() }
    }
}

/// A name server whose zones this one holds copies of.
#[derive(Clone, Debug)]
pub struct Primary {
    /// For people.
    pub name: String,
    /// Where it is asked, and gives zones.
    pub address: SocketAddr,
    /// The TSIG key that it shares with this system. Without one it is believed by its address alone.
    pub key: Option<Name>,
    /// Zones that are taken by name, and its catalogue, which lists others.
    pub follow: Follow,
}

/// A name server that masters a zone in which this one keeps tenants' names.
#[derive(Clone, Debug)]
pub struct UpdateTarget {
    /// For people.
    pub name: String,
    /// Where it takes updates, and is asked for what it serves.
    pub address: SocketAddr,
    /// The zone.
    pub zone: Name,
    /// The TSIG key that updates are signed with. An address alone, which anybody may write on a
    /// datagram, is not enough to change a zone.
    pub key: Name,
}

/// Whether somebody at `source`, who proved to hold `key`, is one of `secondaries`, whatever it takes. One with a key is
/// taken from any address, since a transfer may leave a server by another one than it listens on; its
/// address without the key is not enough.
#[must_use]
pub fn may_transfer(secondaries: &[Secondary], source: IpAddr, key: Option<&Name>) -> bool {
    known(secondaries, source, key).next().is_some()
}

/// As [`may_transfer`], for `zone`.
#[must_use]
pub fn may_take(secondaries: &[Secondary], source: IpAddr, key: Option<&Name>, zone: &Zone) -> bool {
    let catalogue = zone.is_private().then(|| zone.origin());
    known(secondaries, source, key).any(|secondary| secondary.scope(catalogue).holds(zone.origin()))
}

fn known<'a>(
    secondaries: &'a [Secondary],
    source: IpAddr,
    key: Option<&Name>,
) -> impl Iterator<Item = &'a Secondary> {
    secondaries.iter().filter(move |secondary| match &secondary.key {
        Some(shared) => key == Some(shared),
        None => secondary.address.ip() == source.to_canonical(),
    })
}

/// Whether one of `secondaries` is at this address.
#[must_use]
pub fn is_secondary(secondaries: &[Secondary], source: IpAddr) -> bool {
    secondaries.iter().any(|secondary| secondary.address.ip() == source.to_canonical())
}
