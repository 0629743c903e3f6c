//! What a name server is sent that takes a zone: whole (RFC 5936), or what changed (RFC 1995).

use alloc::boxed::Box;

use super::history::Piece;
use super::packed::PackedSet;
use super::record::{Kind, Set, Value};
use super::zone::{Serial, Zone};

/// One record of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key of its name.
    pub owner: &'a [u8],
    /// Its type.
    pub kind: Kind,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Its value.
    pub data: Value<'a>,
}

impl<'a> Record<'a> {
    fn of(owner: &'a [u8], (kind, ttl): (Kind, u32), data: Value<'a>) -> Self {
        Self { owner, kind, ttl: data.ttl(kind, ttl), data }
    }
}

/// The records of a transfer, in their order.
pub type Records<'a> = Box<dyn Iterator<Item = Record<'a>> + Send + 'a>;

/// The whole zone: its SOA, everything else, its SOA again (RFC 5936 section 2.2).
#[must_use]
pub fn whole(zone: &Zone) -> Records<'_> {
    let rest = zone.nodes.sets().chain(zone.hashed.sets()).filter(|(_, set)| set.kind() != Kind::SOA);
    Box::new(start(zone).chain(rest.flat_map(|(owner, set)| packed(owner, set))).chain(start(zone)))
}

/// What a server that holds `serial` has to change: the SOA alone when it has nothing to, the
/// differences as RFC 1995 section 4 orders them when they are remembered, and the whole zone
/// otherwise.
#[must_use]
pub fn since(zone: &Zone, serial: Serial) -> Records<'_> {
    if !zone.serial.is_newer_than(serial) {
        return Box::new(start(zone));
    }
    let Some(steps) = zone.history.since(serial) else { return whole(zone) };
    let steps = steps.flat_map(move |step| {
        records(zone.origin.as_bytes(), &step.soa_before)
            .chain(pieces(&step.removed))
            .chain(records(zone.origin.as_bytes(), &step.soa_after))
            .chain(pieces(&step.added))
    });
    Box::new(start(zone).chain(steps).chain(start(zone)))
}

/// The zone's SOA alone: what a server is sent by UDP for whom nothing else fits (RFC 1995 section 2).
pub fn start(zone: &Zone) -> impl Iterator<Item = Record<'_>> + Send {
    zone.soa().into_iter().flat_map(|soa| packed(zone.origin.as_bytes(), soa))
}

fn pieces(pieces: &[Piece]) -> impl Iterator<Item = Record<'_>> + Send {
    pieces.iter().flat_map(|piece| records(piece.owner.as_bytes(), &piece.set))
}

fn records<'a>(owner: &'a [u8], set: &'a Set) -> impl Iterator<Item = Record<'a>> + Send {
    set.data.iter().map(move |data| Record::of(owner, (set.kind, set.ttl), data.value()))
}

fn packed<'a>(owner: &'a [u8], set: PackedSet<'a>) -> impl Iterator<Item = Record<'a>> + Send {
    set.values().map(move |data| Record::of(owner, (set.kind(), set.ttl()), data))
}
