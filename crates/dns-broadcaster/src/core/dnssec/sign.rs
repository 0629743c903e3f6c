//! A zone, signed: every set that it speaks of with its signature, and the chain of its names.
//!
//! Signatures and denials are records among the others, so that they are answered, compared and
//! transferred as those are, and a question finds them where it finds what it asked for. They are made
//! when the zone is, never for a question. What did not change keeps its signature until that is due.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::name::Name;
use super::super::packed::Node;
use super::super::record::Kind;
use super::super::table::{Builder, Entry, Table};
use super::super::zone::Zone;
use super::chain::Chain;
use super::change::{Base, Source};
use super::hash::{self, Hash, Hashing};
use super::key::PublicKey;
use super::seal::Seal;
use super::{Denial, Times, WHOLE_NAMES_MAX};

/// Names whose sets are signed at once: so many that who signs them can share them out, and so few that
/// what is signed takes little memory.
pub(super) const BATCH: usize = 2_048;

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

    /// The signatures of all these messages, in their order.
    ///
    /// # Errors
    /// See [`Unsigned`].
    fn sign_all(&self, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Unsigned> {
        messages.iter().map(|message| self.sign(message)).collect()
    }
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
    /// Zones of this server right beneath the zone that are secure, by name, with their keys: where it delegates to
    /// them, its DS says that they are signed. They are kept with the zone, for the next one.
    pub children: &'a Arc<Vec<(Name, Vec<PublicKey>)>>,
    /// From what it denies. A zone whose name leaves no room for hashes beneath it denies from its names.
    pub denial: Denial,
    /// When signatures begin and end.
    pub times: Times,
}

/// What a signed zone has beyond its records.
#[derive(Clone, Debug)]
pub struct Signed {
    pub(super) links: Links,
    /// When the first of its signatures expires, or earlier: of those that were replaced since all were looked at
    /// it may have been one.
    pub(super) expires: u32,
    /// `None` when somebody else signed it.
    pub(super) source: Option<Arc<Source>>,
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
    /// Until when none of its signatures expires, in seconds since 1970 on the circle of RFC 1982.
    #[must_use]
    pub fn expires(&self) -> u32 {
        self.expires
    }
}

impl Zone {
    /// This zone, signed. Signatures of the same sets in `previous` are kept while they are not due; and when
    /// that was signed here with the same key, in the same way, this takes the time of what is different.
    ///
    /// # Errors
    /// See [`Unsigned`].
    pub fn signed(&self, previous: Option<&Self>, with: &Signing<'_>) -> Result<Self, Unsigned> {
        let seal = Seal::of(self, with);
        match previous.and_then(|previous| Base::of(previous, &seal)) {
            Some(base) => seal.upon(&base),
            None => seal.whole(previous),
        }
    }
}

impl<'a> Seal<'a> {
    /// The zone, signed name by name. Signatures of the same sets in `previous` are kept.
    pub(super) fn whole(mut self, previous: Option<&'a Zone>) -> Result<Zone, Unsigned> {
        let Self { zone, with, .. } = self;
        let names = authoritative(&zone.origin, &zone.nodes, self.hashing.is_some());
        // A part of a small zone is not worth a serial.
        let is_renewed_whole = |previous: &&Zone| {
            let signed = previous.signed.as_ref();
            names.len() <= WHOLE_NAMES_MAX && signed.is_some_and(|signed| with.times.is_due(signed.expires))
        };
        self.previous = previous.filter(|previous| !is_renewed_whole(previous));
        self.names = names.len();
        let links = self.hashing.clone().map_or_else(
            || Links::Names(Chain::of(zone.nodes.key(), names.iter().map(|(name, _)| *name))),
            Links::Hashes,
        );
        let mut nodes = Builder::keyed(zone.nodes.key());
        let mut hashes: Vec<(Hash, Vec<u8>)> = Vec::new();
        let mut names = names.into_iter().peekable();
        let entries: Vec<Entry<'_>> = zone.nodes.iter().collect();
        for batch in entries.chunks(BATCH) {
            let mut sheets = Vec::with_capacity(batch.len());
            for (entry, _) in batch {
                if let Some((name, is_cut)) = names.next_if(|(name, _)| name == entry) {
                    let sheet = self.sheet(name, is_cut, &links);
                    if let Links::Hashes(hashing) = &links {
                        hashes.push((hashing.hash(name), sheet.kinds.clone()));
                    }
                    sheets.push(sheet);
                }
            }
            let mut sealed = self.sealed(sheets)?.into_iter().peekable();
            for (name, node) in batch {
                let sealed = sealed.next_if(|(owner, _)| owner.as_bytes() == *name);
                nodes.push(name, sealed.as_ref().map_or(node, |(_, node)| node));
            }
        }
        let hashed = match &links {
            Links::Names(_) => Table::default(),
            Links::Hashes(hashing) => self.hashed(hashing, hashes)?,
        };
        let expires = self.expires.unwrap_or_else(|| with.times.end(0));
        let source = Some(Arc::new(Source::of(&self)));
        let signed = Some(Signed { links, expires, source });
        Ok(Zone { nodes: nodes.finish(), hashed, signed, ..zone.clone() })
    }
}

/// The keys of the names of the chain, by key, and whether another zone begins there: all that own something
/// and are not beneath such a name. A name that only lies between others is none (RFC 4035 section 2.3),
/// unless names are hashed (RFC 5155 section 7.1): then its place is not known from the others'.
fn authoritative<'a>(origin: &Name, nodes: &'a Table, is_hashed: bool) -> Vec<(&'a [u8], bool)> {
    let mut cut: Option<&[u8]> = None;
    let mut kept = Vec::with_capacity(nodes.len());
    for (name, node) in nodes.iter().map(|(name, node)| (name, Node::of(node))) {
        // Behind a name come those beneath it, and no other in between.
        if cut.is_some_and(|cut| name.starts_with(cut)) || !is_hashed && node.is_empty() {
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

impl Seal<'_> {
    /// The NSEC3 records of names with these hashes and types, signed.
    fn hashed(&mut self, hashing: &Hashing, mut hashes: Vec<(Hash, Vec<u8>)>) -> Result<Table, Unsigned> {
        hashes.sort_unstable_by_key(|(hash, _)| *hash);
        // Two names of one hash would be one name's twice.
        hashes.dedup_by_key(|(hash, _)| *hash);
        let following: Vec<_> =
            hashes.iter().map(|(hash, _)| *hash).cycle().skip(1).take(hashes.len()).collect();
        let mut table = Builder::keyed(self.zone.nodes.key());
        let origin = self.zone.origin.as_bytes();
        let pairs: Vec<_> = hashes.into_iter().zip(following).collect();
        for batch in pairs.chunks(BATCH) {
            let sheet = |((hash, kinds), next): &((Hash, Vec<u8>), Hash)| {
                Some(self.hashed_sheet(hashing, hash::owner(origin, hash)?.as_bytes(), next, kinds))
            };
            let sheets = batch.iter().filter_map(sheet).collect();
            for (owner, node) in self.sealed(sheets)? {
                table.push(owner.as_bytes(), &node);
            }
        }
        Ok(table.finish())
    }
}
