//! A zone, signed: every set that it speaks of with its signature, and the chain of its names.
//!
//! Signatures and denials are records among the others, so that they are answered, compared and
//! transferred as those are, and a question finds them where it finds what it asked for. They are made
//! when the zone is, never for a question. What did not change keeps its signature until that is due.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::super::name::{Name, Wire};
use super::super::packed::{self, Node, PackedSet};
use super::super::record::{Kind, Rdata, Set, Value};
use super::super::table::{Builder, Key, Table};
use super::super::zone::{Serial, Zone};
use super::canonical::Ordered;
use super::chain::{self, Chain};
use super::hash::{self, Hash, Hashing};
use super::key::{self, PublicKey};
use super::{Denial, Times, WHOLE_NAMES_MAX, canonical};

/// A signature could not be made: there is no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a zone could not be signed; the system gives no random numbers")]
pub struct Unsigned;

/// The private half of a key, wherever it is.
pub trait Signer {
    /// Its public half.
    fn key(&self) -> &PublicKey;

    /// The signature of `message`, in the form of the algorithm's RFC.
    ///
    /// # Errors
    /// See [`Unsigned`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned>;
}

/// What a zone is signed with.
#[derive(Clone, Copy)]
pub struct Signing<'a> {
    /// Signs every set. One key for the keys and for everything else (RFC 6781 section 3.1): a second one
    /// helps where its private half is kept elsewhere, and here both would lie on the same disk. So
    /// answers are smaller, and one roll is a roll.
    pub signer: &'a dyn Signer,
    /// All keys of the zone, the signer's among them.
    pub keys: &'a [PublicKey],
    /// Whether the zone above it shall say that it is signed.
    pub is_secure: bool,
    /// Zones of this server right beneath the zone that are secure, with their keys: where it delegates to them, its DS
    /// says that they are signed.
    pub children: &'a [(Name, Vec<PublicKey>)],
    /// From what it denies. A zone whose name leaves no room for hashes beneath it denies from its names.
    pub denial: Denial,
    /// When signatures begin and end.
    pub times: Times,
}

/// What a signed zone has beyond its records.
#[derive(Clone, Debug)]
pub struct Signed {
    pub(super) links: Links,
    /// When the first of its signatures expires.
    pub(super) expires: u32,
}

/// How the record is found that denies a name.
#[derive(Clone, Debug)]
pub(super) enum Links {
    /// It is at the name, or at the one before it.
    Names(Chain),
    /// It is at the name's hash, or at the one before it, among the zone's hashed names.
    Hashes(Hashing),
}

impl Signed {
    /// When the first of its signatures expires, in seconds since 1970 on the circle of RFC 1982.
    #[must_use]
    pub fn expires(&self) -> u32 {
        self.expires
    }
}

impl Zone {
    /// This zone, signed. Signatures of the same sets in `previous` are kept while they are not due.
    ///
    /// # Errors
    /// See [`Unsigned`].
    pub fn signed(&self, previous: Option<&Self>, with: &Signing<'_>) -> Result<Self, Unsigned> {
        let minimum = |soa: PackedSet<'_>| soa.first().minimum().unwrap_or(0).min(soa.ttl());
        let ttl = self.soa().map_or(0, minimum);
        let is_hashed = with.denial == Denial::Nsec3 && hash::has_room(&self.origin);
        let hashing = is_hashed.then(Hashing::plain);
        let names = authoritative(&self.origin, &self.nodes, is_hashed);
        // A part of a small zone is not worth a serial.
        let is_renewed_whole = |previous: &&Self| {
            let signed = previous.signed.as_ref();
            names.len() <= WHOLE_NAMES_MAX && signed.is_some_and(|signed| with.times.is_due(signed.expires))
        };
        let previous = previous.filter(|previous| !is_renewed_whole(previous));
        let (origin, key) = (&self.origin, self.nodes.key());
        let mut seal = Seal { origin, previous, with, names: names.len(), key, expires: None };
        let mut signed: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
        let mut hashes: Vec<(Hash, Vec<Kind>)> = Vec::new();
        let following = names.iter().cycle().skip(1);
        for (&(name, is_cut), (next, _)) in names.iter().zip(following) {
            let held = self.node(name).unwrap_or_default();
            let mut sets: Vec<Set> = held.sets().map(Set::from).collect();
            with.add(&self.origin, name, &mut sets);
            if let Some(hashing) = hashing.as_ref().filter(|_| name == self.origin.as_bytes()) {
                sets.push(Set::new(Kind::NSEC3PARAM, ttl, [hashing.parameters()]));
            }
            let mut kinds: Vec<_> = sets.iter().map(|set| set.kind).collect();
            if is_cut {
                // What else is there belongs to the zone beneath (RFC 4035 section 2.3).
                kinds.retain(|kind| matches!(*kind, Kind::NS | Kind::DS));
            }
            let is_signed = |kind| !is_cut || matches!(kind, Kind::DS | Kind::NSEC);
            match &hashing {
                None => {
                    kinds.extend([Kind::NSEC, Kind::RRSIG]);
                    sets.push(Set::new(Kind::NSEC, ttl, [chain::nsec(next, &mut kinds)]));
                }
                Some(hashing) => {
                    // RFC 5155 section 7.1: the NSEC3 record and its signature are at another name.
                    if kinds.iter().any(|kind| is_signed(*kind)) {
                        kinds.push(Kind::RRSIG);
                    }
                    hashes.push((hashing.hash(name), kinds));
                }
            }
            let signed_sets = sets.iter().filter(|set| is_signed(set.kind));
            let signatures =
                signed_sets.map(|set| seal.signature(name, set)).collect::<Result<Vec<_>, _>>()?;
            add_signatures(&mut sets, signatures);
            packed::pack(&sets, signed.entry(name).or_default());
        }
        let hashed = match &hashing {
            Some(hashing) => seal.hashed(hashing, hashes, ttl)?,
            None => Table::default(),
        };
        let expires = seal.expires.unwrap_or_else(|| with.times.end(0));
        let links = hashing.map_or_else(
            || Links::Names(Chain::of(self.nodes.key(), names.iter().map(|(name, _)| *name))),
            Links::Hashes,
        );
        let mut nodes = Builder::keyed(self.nodes.key());
        for (name, node) in self.nodes.iter() {
            nodes.push(name, signed.get(name).map_or(node, |node| node));
        }
        Ok(Self { nodes: nodes.finish(), hashed, signed: Some(Signed { links, expires }), ..self.clone() })
    }
}

impl Signing<'_> {
    /// Adds what the zone of `origin` says of keys at `name`.
    fn add(&self, origin: &Name, name: &[u8], sets: &mut Vec<Set>) {
        if name == origin.as_bytes() {
            sets.extend(key::apex_sets(origin, self.keys, self.is_secure, self.times.key_ttl));
        }
        let is = |kind| sets.iter().any(|set| set.kind == kind);
        let child = self.children.binary_search_by(|(child, _)| child.as_bytes().cmp(name)).ok();
        if let Some((child, keys)) = child.map(|at| &self.children[at])
            && is(Kind::NS)
            && !is(Kind::DS)
        {
            sets.push(key::ds_set(child, keys, self.times.key_ttl));
        }
    }
}

/// The signatures at a name are one set. Each has the time to live of what it signs.
fn add_signatures(sets: &mut Vec<Set>, signatures: Vec<Rdata>) {
    if !signatures.is_empty() {
        sets.push(Set { kind: Kind::RRSIG, ttl: 0, data: signatures });
    }
}

/// The keys of the names of the chain in canonical order, and whether another zone begins there: all that
/// own something and are not beneath such a name. A name that only lies between others is none (RFC
/// 4035 section 2.3), unless names are hashed (RFC 5155 section 7.1): then its place is not known from
/// the others'.
fn authoritative<'a>(origin: &Name, nodes: &'a Table, is_hashed: bool) -> Vec<(&'a [u8], bool)> {
    let mut names: Vec<_> = nodes.iter().map(|(name, node)| (name, Node::of(node))).collect();
    names.retain(|(_, node)| is_hashed || !node.is_empty());
    names.sort_by_cached_key(|(name, _)| Vec::from(Ordered::of(name).as_bytes()));
    let mut cut: Option<&[u8]> = None;
    let mut kept = Vec::with_capacity(names.len());
    for (name, node) in names {
        if cut.is_some_and(|cut| name.starts_with(cut)) {
            continue;
        }
        let is_cut = name != origin.as_bytes() && node.set(Kind::NS).is_some();
        if is_cut {
            cut = Some(name);
        }
        kept.push((name, is_cut));
    }
    kept
}

/// Signs the sets of one zone.
struct Seal<'a> {
    origin: &'a Name,
    previous: Option<&'a Zone>,
    with: &'a Signing<'a>,
    names: usize,
    /// Of its table.
    key: Key,
    expires: Option<u32>,
}

impl Seal<'_> {
    /// The NSEC3 records of names with these hashes and types, signed.
    fn hashed(
        &mut self,
        hashing: &Hashing,
        mut hashes: Vec<(Hash, Vec<Kind>)>,
        ttl: u32,
    ) -> Result<Table, Unsigned> {
        hashes.sort_unstable_by_key(|(hash, _)| *hash);
        // Two names of one hash would be one name's twice.
        hashes.dedup_by_key(|(hash, _)| *hash);
        let following: Vec<_> =
            hashes.iter().map(|(hash, _)| *hash).cycle().skip(1).take(hashes.len()).collect();
        let (mut table, mut node) = (Builder::keyed(self.key), Vec::new());
        for ((hash, mut kinds), next) in hashes.into_iter().zip(following) {
            let Some(owner) = hash::owner(self.origin.as_bytes(), &hash) else { continue };
            // RFC 9077 section 3.
            let mut sets = [Set::new(Kind::NSEC3, ttl, [hashing.nsec3(&next, &mut kinds)])].to_vec();
            let signature = self.signature(owner.as_bytes(), &sets[0])?;
            add_signatures(&mut sets, [signature].to_vec());
            node.clear();
            packed::pack(&sets, &mut node);
            table.push(owner.as_bytes(), &node);
        }
        Ok(table.finish())
    }

    /// The signature of `set` at the name whose key is `owner`.
    fn signature(&mut self, owner: &[u8], set: &Set) -> Result<Rdata, Unsigned> {
        let kept = self.previous.and_then(|previous| self.kept(previous, owner, set));
        let signature = match kept {
            Some(kept) => kept.to_rdata(),
            None => self.made(owner, set)?,
        };
        if let Some(Fields { expires, .. }) = Fields::of(signature.as_bytes()) {
            self.expires = Some(earlier(self.expires, expires));
        }
        Ok(signature)
    }

    fn kept<'z>(&self, previous: &'z Zone, owner: &[u8], set: &Set) -> Option<Value<'z>> {
        let table = if set.kind == Kind::NSEC3 { &previous.hashed } else { &previous.nodes };
        let (_, node) = table.node(owner)?;
        let before = node.set(set.kind).filter(|before| before.ttl() == set.ttl)?;
        let signature = node.signature(set.kind)?;
        let fields = Fields::of(signature.as_bytes())?;
        let key = self.with.signer.key();
        let is_of_key = (fields.algorithm, fields.tag) == (key.algorithm().number(), key.tag());
        let is_due = !Serial(fields.expires).is_newer_than(Serial(self.with.times.renewed_before()));
        let is_same = before.values().eq(set.data.iter().map(Rdata::value));
        (is_of_key && !is_due && is_same).then_some(signature)
    }

    fn made(&self, owner: &[u8], set: &Set) -> Result<Rdata, Unsigned> {
        let Signing { signer, times, .. } = self.with;
        let key = signer.key();
        // RFC 4034 section 3.1, up to the signature.
        let mut data = Vec::with_capacity(128);
        data.extend(set.kind.0.to_be_bytes());
        data.extend([key.algorithm().number(), canonical::labels(owner)]);
        data.extend(set.ttl.to_be_bytes());
        let part = times.part(self.origin.as_bytes(), owner, self.names);
        data.extend(times.end(part).to_be_bytes());
        data.extend(times.start().to_be_bytes());
        data.extend(key.tag().to_be_bytes());
        data.extend(Wire::of(self.origin.as_bytes()).as_slice());
        let mut message = data.clone();
        canonical::write(owner, set, &mut message);
        data.extend(signer.sign(&message)?);
        Ok(Rdata::from_wire(data))
    }
}

/// The earlier of two times, on the circle of RFC 1982.
pub(super) fn earlier(one: Option<u32>, other: u32) -> u32 {
    one.filter(|one| !Serial(*one).is_newer_than(Serial(other))).unwrap_or(other)
}

/// What an RRSIG record says of itself (RFC 4034 section 3.1).
pub(super) struct Fields {
    algorithm: u8,
    pub(super) expires: u32,
    tag: u16,
}

impl Fields {
    pub(super) fn of(data: &[u8]) -> Option<Self> {
        let (&[_, _, algorithm, _, _, _, _, _, e0, e1, e2, e3, _, _, _, _, high, low], _) =
            data.split_first_chunk()?;
        let expires = u32::from_be_bytes([e0, e1, e2, e3]);
        Some(Self { algorithm, expires, tag: u16::from_be_bytes([high, low]) })
    }
}
