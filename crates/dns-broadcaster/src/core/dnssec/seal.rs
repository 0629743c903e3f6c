//! The sets that a name has when its zone is signed, and their signatures.

use alloc::vec::Vec;

use super::super::name::Name;
use super::super::name::Wire;
use super::super::packed::{self, Node, PackedSet};
use super::super::record::{Kind, Rdata, Set, Value};
use super::super::zone::{Serial, Zone};
use super::hash::{self, Hash, Hashing};
use super::sign::{Links, Signing, Unsigned};
use super::{Denial, canonical, chain, key};

/// Signs the sets of one zone.
pub(super) struct Seal<'a> {
    /// Before it is signed.
    pub(super) zone: &'a Zone,
    /// Whose signatures are kept.
    pub(super) previous: Option<&'a Zone>,
    pub(super) with: &'a Signing<'a>,
    /// How names are hashed, when it denies from that.
    pub(super) hashing: Option<Hashing>,
    /// Seconds that a denial may be kept.
    pub(super) ttl: u32,
    /// Number of its names.
    pub(super) names: usize,
    /// When the first of the signatures so far expires.
    pub(super) expires: Option<u32>,
}

/// What will stand at one name, before it is signed.
pub(super) struct Sheet {
    pub(super) owner: Name,
    sets: Vec<Set>,
    is_cut: bool,
    /// The types that the name has, when its NSEC3 record has to tell them: as that does.
    pub(super) kinds: Vec<u8>,
}

impl<'a> Seal<'a> {
    /// For a zone that is not signed yet.
    pub(super) fn of(zone: &'a Zone, with: &'a Signing<'a>) -> Self {
        let minimum = |soa: PackedSet<'_>| soa.first().minimum().unwrap_or(0).min(soa.ttl());
        let ttl = zone.soa().map_or(0, minimum);
        let is_hashed = with.denial == Denial::Nsec3 && hash::has_room(&zone.origin);
        let hashing = is_hashed.then(Hashing::plain);
        Self { zone, previous: None, with, hashing, ttl, names: 0, expires: None }
    }

    /// What stands at a name of the chain; `is_cut`: where another zone begins.
    pub(super) fn sheet(&self, name: &[u8], is_cut: bool, links: &Links) -> Sheet {
        let origin = &self.zone.origin;
        let held = self.zone.node(name).unwrap_or_default();
        let mut sets: Vec<Set> = held.sets().map(Set::from).collect();
        self.add_keys(name, &mut sets);
        if let Some(hashing) = self.hashing.as_ref().filter(|_| name == origin.as_bytes()) {
            sets.push(Set::new(Kind::NSEC3PARAM, self.ttl, [hashing.parameters()]));
        }
        let mut kinds: Vec<_> = sets.iter().map(|set| set.kind).collect();
        if is_cut {
            // What else is there belongs to the zone beneath (RFC 4035 section 2.3).
            kinds.retain(|kind| matches!(*kind, Kind::NS | Kind::DS));
        }
        let mut listed = Vec::new();
        match links {
            Links::Names(chain) => {
                kinds.extend([Kind::NSEC, Kind::RRSIG]);
                // Behind the last name of a chain there is the first.
                if let Some(next) = chain.following(name) {
                    sets.push(Set::new(Kind::NSEC, self.ttl, [chain::nsec(next.as_slice(), &mut kinds)]));
                }
            }
            Links::Hashes(_) => {
                // RFC 5155 section 7.1: the NSEC3 record and its signature are at another name.
                if kinds.iter().any(|kind| is_signed(*kind, is_cut)) {
                    kinds.push(Kind::RRSIG);
                }
                chain::write_kinds(&mut kinds, &mut listed);
            }
        }
        Sheet { owner: Name::from_key(name), sets, is_cut, kinds: listed }
    }

    /// What stands at a hash whose name has these types, when `next` is the next hash.
    pub(super) fn hashed_sheet(&self, hashing: &Hashing, owner: &[u8], next: &Hash, kinds: &[u8]) -> Sheet {
        // RFC 9077 section 3.
        let sets = [Set::new(Kind::NSEC3, self.ttl, [hashing.nsec3(next, kinds)])].into();
        Sheet { owner: Name::from_key(owner), sets, is_cut: false, kinds: Vec::new() }
    }

    /// Adds what the zone says of keys at `name`.
    fn add_keys(&self, name: &[u8], sets: &mut Vec<Set>) {
        let (origin, with) = (&self.zone.origin, self.with);
        if name == origin.as_bytes() {
            sets.extend(key::apex_sets(origin, with.keys, with.is_secure, with.times.key_ttl));
        }
        let is = |kind| sets.iter().any(|set| set.kind == kind);
        let child = with.children.binary_search_by(|(child, _)| child.as_bytes().cmp(name)).ok();
        if let Some((child, keys)) = child.map(|at| &with.children[at])
            && is(Kind::NS)
            && !is(Kind::DS)
        {
            sets.push(key::ds_set(child, keys, with.times.key_ttl));
        }
    }

    /// The names with their packed nodes, signed.
    pub(super) fn sealed(&mut self, sheets: Vec<Sheet>) -> Result<Vec<(Name, Vec<u8>)>, Unsigned> {
        // Of each set that is signed the signature that is kept; of the others what is to be signed.
        let (mut signatures, mut messages) = (Vec::new(), Vec::new());
        for Sheet { owner, sets, is_cut, .. } in &sheets {
            for set in sets.iter().filter(|set| is_signed(set.kind, *is_cut)) {
                let kept = self.kept(owner.as_bytes(), set).map(Value::to_rdata);
                if kept.is_none() {
                    messages.push(self.message(owner.as_bytes(), set));
                }
                signatures.push(kept);
            }
        }
        let made = self.with.signer.sign_all(&messages)?;
        let head = self.head_bytes();
        let mut made = messages.iter().zip(made).map(|(message, signature)| {
            let head = message.get(..head).unwrap_or_default();
            Rdata::from_wire([head, &signature[..]].concat())
        });
        let mut signatures = signatures.into_iter().filter_map(|kept| kept.or_else(|| made.next()));
        let mut nodes = Vec::with_capacity(sheets.len());
        for Sheet { owner, mut sets, is_cut, .. } in sheets {
            let count = sets.iter().filter(|set| is_signed(set.kind, is_cut)).count();
            // The signatures at a name are one set. Each has the time to live of what it signs.
            let data: Vec<_> = signatures.by_ref().take(count).collect();
            for Fields { expires, .. } in data.iter().filter_map(|data| Fields::of(data.as_bytes())) {
                self.expires = Some(earlier(self.expires, expires));
            }
            if !data.is_empty() {
                sets.push(Set { kind: Kind::RRSIG, ttl: 0, data });
            }
            let mut node = Vec::new();
            packed::pack(&sets, &mut node);
            nodes.push((owner, node));
        }
        Ok(nodes)
    }

    fn kept(&self, owner: &[u8], set: &Set) -> Option<Value<'a>> {
        let previous = self.previous?;
        let table = if set.kind == Kind::NSEC3 { &previous.hashed } else { &previous.nodes };
        let (_, node) = table.node(owner)?;
        let before = node.set(set.kind).filter(|before| before.ttl() == set.ttl)?;
        let signature = node.signature(set.kind)?;
        let fields = Fields::of(signature.as_bytes())?;
        let key = self.with.signer.key();
        let is_of_key = (fields.algorithm, fields.tag) == (key.algorithm().number(), key.tag());
        let is_due = self.with.times.is_renewed(fields.expires);
        let is_same = before.values().eq(set.data.iter().map(Rdata::value));
        (is_of_key && !is_due && is_same).then_some(signature)
    }

    /// Bytes of a signature's value before the signature itself.
    fn head_bytes(&self) -> usize {
        FIELDS_BYTES + self.zone.origin.wire_bytes()
    }

    /// What is signed for a set: the signature's value up to the signature itself, and the set (RFC 4034 section
    /// 3.1.8.1).
    fn message(&self, owner: &[u8], set: &Set) -> Vec<u8> {
        let Signing { signer, times, .. } = self.with;
        let (key, origin) = (signer.key(), self.zone.origin.as_bytes());
        // RFC 4034 section 3.1.
        let mut message = Vec::with_capacity(256);
        message.extend(set.kind.0.to_be_bytes());
        message.extend([key.algorithm().number(), canonical::labels(owner)]);
        message.extend(set.ttl.to_be_bytes());
        let part = times.part(origin, owner, self.names);
        message.extend(times.end(part).to_be_bytes());
        message.extend(times.start().to_be_bytes());
        message.extend(key.tag().to_be_bytes());
        message.extend(Wire::of(origin).as_slice());
        canonical::write(owner, set, &mut message);
        message
    }
}

/// Whether a set is signed at a name where another zone begins or not.
fn is_signed(kind: Kind, is_cut: bool) -> bool {
    !is_cut || matches!(kind, Kind::DS | Kind::NSEC)
}

/// The earlier of two times, on the circle of RFC 1982.
pub(super) fn earlier(one: Option<u32>, other: u32) -> u32 {
    one.filter(|one| !Serial(*one).is_newer_than(Serial(other))).unwrap_or(other)
}

/// When the signatures at a name expire.
pub(super) fn expiries(node: Node<'_>) -> impl Iterator<Item = u32> {
    let signatures = node.set(Kind::RRSIG).into_iter().flat_map(PackedSet::values);
    signatures.filter_map(|data| Some(Fields::of(data.as_bytes())?.expires))
}

/// Bytes of [`Fields`].
const FIELDS_BYTES: usize = 18;

/// What an RRSIG record says of itself (RFC 4034 section 3.1).
struct Fields {
    algorithm: u8,
    expires: u32,
    tag: u16,
}

impl Fields {
    fn of(data: &[u8]) -> Option<Self> {
        let head: &[u8; FIELDS_BYTES] = data.first_chunk()?;
        let &[_, _, algorithm, _, _, _, _, _, e0, e1, e2, e3, _, _, _, _, high, low] = head;
        let expires = u32::from_be_bytes([e0, e1, e2, e3]);
        Some(Self { algorithm, expires, tag: u16::from_be_bytes([high, low]) })
    }
}
