//! The catalogue of a system's zones (RFC 9432): name servers that follow pick up tenants from it by
//! themselves, and let go of what it does not list any more.
//!
//! So it must never list less by accident. A system that lost its state knows no tenants, and the zones
//! of those on a link are answered by the other system meanwhile: a catalogue without them would have the
//! name servers drop them, in the middle of a failover. Nobody here can tell a system that is new from
//! one that is rebuilt; an operator can. Hence a catalogue is published once by an operator, holds for
//! that life of the system, and is withheld in any other until it is published again. Name servers that
//! do not get it keep what they have.
//!
//! A system lists what is its own: its domain, the tenants beneath it, the operator's zones. A tenant of
//! the other system of a link is in the catalogue of that one, also while this one answers for it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::apply::Record;
use super::name::Name;
use super::own::Nodes;
use super::record::{Kind, Rdata, Set, Soa};
use super::zone::{Policy, Serial, Zone};

/// Beneath the system's domain. No tenant is named so: a tenant's name is a host's.
const LABEL: &str = "_catalog";
/// RFC 9432 section 4.1: zones are listed beneath it.
const ZONES: &str = "zones";
/// RFC 9432 section 4.2.1: the version of the schema.
const VERSION: &str = "2";
/// Nobody looks a catalogue up. Name servers must know a TTL.
const TTL: u32 = 0;
/// So long a name server keeps the catalogue of a system that is gone, seconds: for ever, or its zones
/// might go with it (RFC 9432 section 5.1 leaves that to the name server).
const EXPIRE: u32 = i32::MAX as u32;

/// A published catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// The life of the system in which it was published.
    pub life: String,
    /// Numbered here, by the clock: so it grows across a lost disk.
    pub serial: Serial,
    /// What it lists.
    pub members: Members,
}

/// Tells sets of zones from each other, whatever their order: the sum of their names' hashes. No
/// protection against an operator who would have two sets look alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members(pub u128);

/// Why there is nothing to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Unpublishable {
    #[error("the link manager has not said yet which zones there are; is it running?")]
    NothingKnown,
    #[error(
        "this system's state was lost or rolled back, and its catalogue would drop zones that are in use; restore its links first"
    )]
    LifeOver,
    #[error("the system's domain is so long that no name beneath it has room for a catalogue")]
    NoRoom,
}

/// The name of the catalogue of the system with this domain; none when the domain leaves no room for the
/// names in it.
#[must_use]
pub fn origin(domain: &Name) -> Option<Name> {
    let origin = domain.child(LABEL)?;
    origin.child(ZONES)?.child(&label(0)).map(|_| origin)
}

/// Whether `name` is the one that [`origin`] gives, if it gives one: told without making names.
#[must_use]
pub fn may_be_origin(name: &Name, domain: &Name) -> bool {
    let label = name.as_bytes().strip_prefix(domain.as_bytes()).and_then(<[u8]>::split_first);
    label.is_some_and(|(_, label)| label == LABEL.as_bytes())
}

impl Members {
    /// Of these zones.
    pub fn of<'a>(zones: impl Iterator<Item = &'a Name>) -> Self {
        Self(zones.fold(0, |sum, zone| sum.wrapping_add(hash(zone))))
    }
}

impl Record {
    /// The zones that a catalogue of this system lists, `own` those of the operator.
    pub fn members<'a>(&'a self, own: impl Iterator<Item = &'a Name>) -> impl Iterator<Item = &'a Name> {
        let domain = self.system.as_ref().map(|system| &system.domain);
        let is_within = move |name: &&Name| domain.is_some_and(|domain| name.is_within(domain));
        let others = own.filter(move |zone| domain != Some(*zone) && !self.tenants.contains_key(*zone));
        domain.into_iter().chain(self.tenants.keys().filter(is_within)).chain(others)
    }

    /// Whether the catalogue is of this life.
    #[must_use]
    pub fn catalogue(&self) -> Option<&Catalogue> {
        self.catalogue.as_ref().filter(|catalogue| !self.life.is_empty() && catalogue.life == self.life)
    }

    /// Publishes the catalogue in this life.
    ///
    /// # Errors
    /// It would be missing zones.
    pub(super) fn publish_catalogue(&mut self) -> Result<(), Unpublishable> {
        let system = self.system.as_ref().ok_or(Unpublishable::NothingKnown)?;
        origin(&system.domain).ok_or(Unpublishable::NoRoom)?;
        if self.life.is_empty() {
            return Err(Unpublishable::LifeOver);
        }
        if self.catalogue().is_none() {
            let serial = self.catalogue.as_ref().map_or(Serial::ABSENT, |catalogue| catalogue.serial);
            // Of nothing, so that it is numbered even if it lists what the one of the life before does.
            let members = Members::default();
            self.catalogue = Some(Catalogue { life: self.life.clone(), serial, members });
        }
        Ok(())
    }

    /// Has the catalogue, if it is of this life, list what there is now.
    pub(super) fn renew_catalogue<'a>(&mut self, own: impl Iterator<Item = &'a Name>, now_seconds: u32) {
        if self.catalogue().is_none() {
            return;
        }
        let own: Vec<_> = own.collect();
        let members = Members::of(self.members(own.into_iter()));
        if let Some(catalogue) = self.catalogue.as_mut().filter(|catalogue| catalogue.members != members) {
            catalogue.members = members;
            catalogue.serial = catalogue.serial.next(now_seconds);
        }
    }
}

impl Zone {
    /// The catalogue of `domain` that lists `members`: a PTR record each, at a name that is always the
    /// same for the same zone (RFC 9432 section 4.1).
    #[must_use]
    pub fn of_catalogue<'a>(
        domain: &Name,
        serial: Serial,
        members: impl Iterator<Item = &'a Name>,
        policy: &Policy,
    ) -> Option<Self> {
        let origin = origin(domain)?;
        // RFC 9432 section 4.1: what stands there is not used, and must be something.
        let nobody = Name::parse("invalid").ok()?;
        let soa = Rdata::soa(&Soa {
            mname: nobody.clone(),
            rname: nobody.clone(),
            serial,
            refresh: policy.refresh,
            retry: policy.retry,
            expire: EXPIRE,
            minimum: TTL,
        });
        let apex = [Set::new(Kind::SOA, TTL, [soa]), Set::new(Kind::NS, TTL, [Rdata::name(&nobody)])];
        let version = Set::new(Kind::TXT, TTL, [Rdata::text(VERSION)]);
        let zones = origin.child(ZONES)?;
        let listed = members.filter_map(|member| {
            let owner = zones.child(&label(hash(member)))?;
            Some((owner, [Set::new(Kind::PTR, TTL, [Rdata::name(member)])].into()))
        });
        let mut nodes: Nodes = listed.collect();
        nodes.insert(origin.child("version")?, [version].into());
        nodes.insert(origin.clone(), apex.into());
        Some(Self { private: true, ..Self::of_nodes(&origin, serial, nodes) })
    }
}

fn label(hash: u128) -> String {
    format!("{hash:032x}")
}

fn hash(name: &Name) -> u128 {
    let mut hasher = SipHasher24::new();
    hasher.write(name.as_bytes());
    hasher.finish128().as_u128()
}
