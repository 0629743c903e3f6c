//! The zone that a transfer makes: the next one is built beside the one that is held, and is that zone or
//! nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::super::draft::Draft;
use super::super::name::Name;
use super::super::packed::{self, Node, Row};
use super::super::record::Kind;
use super::super::table::{Key, Table};
use super::super::zone::{Serial, Zone};
use super::stream::{Line, Stream};

/// Why a zone is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Unfit {
    #[error("{0} {1} lies outside the zone")]
    Outside(Name, Kind),
    #[error("{0} has an alias (CNAME) beside something else, or two (RFC 1034 section 3.6.2)")]
    Alias(Name),
    #[error(
        "{0} has a DNAME record, which this server does not answer for; leave the zone to other name servers"
    )]
    Dname(Name),
    #[error("the zone has no NS record at its own name")]
    NoServers,
    #[error("the zone has no SOA record, or a broken one")]
    NoStart,
    #[error("what changed does not fit to what is held: {0} {1} {2}")]
    Mismatch(Name, Kind, &'static str),
    #[error("what changed leads on from serial {}, and {} is held", .from.0, .held.0)]
    Gap { from: Serial, held: Serial },
}

impl Unfit {
    /// Whether the whole zone may yet be taken.
    #[must_use]
    pub fn is_of_differences(&self) -> bool {
        matches!(self, Self::Mismatch(..) | Self::Gap { .. })
    }
}

impl Zone {
    /// The zone of `origin` that `stream` makes, of which `held` is held. A whole one has its names hashed with
    /// `key`: somebody else has chosen them.
    ///
    /// # Errors
    /// A record cannot be served, or the differences do not fit.
    pub fn of_stream(origin: &Name, stream: &Stream, held: Option<&Self>, key: Key) -> Result<Self, Unfit> {
        let zone = match (stream.is_whole, held) {
            (true, _) => whole(origin, stream, key)?,
            (false, Some(held)) => changed(held, stream)?,
            (false, None) => return Err(Unfit::NoStart),
        };
        Ok(match held {
            Some(held) if zone.serial().is_newer_than(held.serial()) => zone.after(held),
            _ => zone,
        })
    }
}

fn whole(origin: &Name, stream: &Stream, key: Key) -> Result<Zone, Unfit> {
    let mut draft = Draft::keyed(key);
    for line in stream.lines() {
        draft.push(line.owner, line.kind, line.set_ttl(), line.value);
    }
    let mut nodes = draft.finish();
    for (owner, node) in nodes.iter() {
        judge(origin, owner, Node::of(node))?;
    }
    nodes.fill(origin);
    zone(origin, nodes)
}

/// The zone of nodes that are judged one by one.
fn zone(origin: &Name, nodes: Table) -> Result<Zone, Unfit> {
    let apex = nodes.node(origin.as_bytes()).map(|(_, apex)| apex).unwrap_or_default();
    let soa = apex.set(Kind::SOA).filter(|soa| soa.len() == 1);
    let serial = soa.and_then(|soa| soa.first().serial()).ok_or(Unfit::NoStart)?;
    if apex.set(Kind::NS).is_none() {
        return Err(Unfit::NoServers);
    }
    Ok(Zone::of_table(origin, serial, nodes).signed_elsewhere())
}

/// What holds at every name. Only what proves an answer stands beside an alias (RFC 4034 sections 3 and 4).
fn judge(origin: &Name, owner: &[u8], node: Node<'_>) -> Result<(), Unfit> {
    let mut has_alias = false;
    let mut others = 0;
    for set in node.sets() {
        let kind = set.kind();
        if !owner.starts_with(origin.as_bytes()) {
            return Err(Unfit::Outside(Name::from_key(owner), kind));
        }
        match kind {
            Kind::CNAME if set.len() > 1 => return Err(Unfit::Alias(Name::from_key(owner))),
            Kind::CNAME => has_alias = true,
            Kind::RRSIG | Kind::NSEC => {}
            DNAME => return Err(Unfit::Dname(Name::from_key(owner))),
            _ => others += 1,
        }
    }
    if has_alias && others > 0 { Err(Unfit::Alias(Name::from_key(owner))) } else { Ok(()) }
}

const DNAME: Kind = Kind(39);

/// What one step does to a name.
#[derive(Default)]
struct Edit<'a> {
    removed: Vec<Line<'a>>,
    added: Vec<Line<'a>>,
}

/// `held` after the steps of `stream`.
fn changed(held: &Zone, stream: &Stream) -> Result<Zone, Unfit> {
    let origin = held.origin();
    let mut nodes = held.taken_nodes();
    let mut serial = held.serial();
    let mut lines = stream.lines().peekable();
    while let Some(before) = lines.next() {
        // RFC 1995 section 4: from the older SOA what went, from the newer one what came.
        let from = before.rdata().serial().ok_or(Unfit::NoStart)?;
        if from != serial {
            return Err(Unfit::Gap { from, held: serial });
        }
        let mut edits: BTreeMap<&[u8], Edit<'_>> = BTreeMap::new();
        while let Some(line) = lines.next_if(|line| line.kind != Kind::SOA) {
            edits.entry(line.owner).or_default().removed.push(line);
        }
        let after = lines.next().ok_or(Unfit::NoStart)?;
        while let Some(line) = lines.next_if(|line| line.kind != Kind::SOA) {
            edits.entry(line.owner).or_default().added.push(line);
        }
        serial = after.rdata().serial().ok_or(Unfit::NoStart)?;
        nodes.take(origin.as_bytes(), Kind::SOA);
        edits.entry(origin.as_bytes()).or_default().added.push(after);
        for (owner, edit) in edits {
            apply(origin, &mut nodes, owner, &edit)?;
        }
    }
    zone(origin, nodes)
}

/// Carries an edit out.
fn apply(origin: &Name, nodes: &mut Table, owner: &[u8], edit: &Edit<'_>) -> Result<(), Unfit> {
    let held = nodes.node(owner).map(|(_, node)| node).unwrap_or_default();
    let mut rows: BTreeMap<(Kind, &[u8]), u32> = BTreeMap::new();
    for set in held.sets() {
        rows.extend(set.values().map(|value| ((set.kind(), value.as_bytes()), set.ttl())));
    }
    let mismatch = |line: &Line<'_>, what| Err(Unfit::Mismatch(Name::from_key(line.owner), line.kind, what));
    for line in &edit.removed {
        if rows.remove(&(line.kind, line.value)).is_none() {
            return mismatch(line, "goes that is not there");
        }
    }
    for line in &edit.added {
        if rows.insert((line.kind, line.value), line.set_ttl()).is_some() {
            return mismatch(line, "comes that is there");
        }
    }
    let rows: Vec<_> = rows.into_iter().map(|((kind, value), ttl)| Row { kind, value, ttl }).collect();
    let mut bytes = Vec::new();
    packed::pack_rows(&rows, &mut bytes);
    judge(origin, owner, Node::of(&bytes))?;
    if bytes.is_empty() {
        nodes.remove(owner);
    } else {
        nodes.insert(owner, &bytes);
    }
    nodes.settle(origin, owner);
    Ok(())
}
