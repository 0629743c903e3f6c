//! The sets at one name, packed into bytes: each record as an answer carries it, so that an answer is
//! mostly one copy.
//!
//! A set is the bytes of its records, their number, and the records: a pointer to the question's name
//! (RFC 1035 section 4.1.4), type, class, time to live, length and value. Sets stand in the order of their
//! types, values in their own, each once: what says the same has the same bytes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::record::{Kind, Set, Value};

/// Of the number of bytes, and of that of records.
const WORD: usize = 4;
/// What stands before the value of a record.
pub(super) const BEFORE_VALUE: usize = 12;
/// A pointer to what stands behind the header: the name of the question.
pub(super) const QUESTION: u16 = 0xc00c;
const CLASS_IN: u16 = 1;

/// The sets at one name. Without any the name exists and has no records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node<'a>(&'a [u8]);

/// All records of one type at one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedSet<'a>(&'a [u8]);

impl<'a> Node<'a> {
    /// What [`pack`] has packed.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The sets, by type.
    pub fn sets(self) -> impl Iterator<Item = PackedSet<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk()?;
            let (set, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = behind;
            Some(PackedSet(set))
        })
    }

    /// The set of this type.
    #[must_use]
    pub fn set(self, kind: Kind) -> Option<PackedSet<'a>> {
        self.sets().find(|set| set.kind() == kind)
    }

    /// The signature of the set of this type. A name's signatures are one set.
    #[must_use]
    pub fn signature(self, kind: Kind) -> Option<Value<'a>> {
        let mut signatures = self.set(Kind::RRSIG)?.values();
        signatures.find(|signature| signature.covers() == Some(kind))
    }

    /// Whether the name has no records.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> PackedSet<'a> {
    /// The set alone, which [`pack`] has packed.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        Node(bytes).sets().next()
    }

    /// The set alone, packed.
    pub(super) fn to_packed(self) -> Box<[u8]> {
        [&(self.0.len() as u32).to_le_bytes()[..], self.0].concat().into()
    }

    /// The type of its records.
    #[must_use]
    pub fn kind(self) -> Kind {
        Kind(self.0[WORD + 2..].first_chunk().map_or(0, |kind| u16::from_be_bytes(*kind)))
    }

    /// Seconds that they may be kept.
    #[must_use]
    pub fn ttl(self) -> u32 {
        self.0[WORD + 6..].first_chunk().map_or(0, |ttl| u32::from_be_bytes(*ttl))
    }

    /// Number of records; never zero.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(self) -> usize {
        self.0.first_chunk().map_or(0, |count| u32::from_le_bytes(*count)) as usize
    }

    /// The values, in order.
    pub fn values(self) -> impl Iterator<Item = Value<'a>> {
        let mut rest = self.records();
        core::iter::from_fn(move || {
            let (length, behind) = rest.get(BEFORE_VALUE - 2..)?.split_first_chunk()?;
            let (value, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = behind;
            Some(Value(value))
        })
    }

    /// The first value.
    #[must_use]
    pub fn first(self) -> Value<'a> {
        self.values().next().unwrap_or(Value(&[]))
    }

    /// As an answer carries them whose question has their name, but for what can be compressed in the
    /// values.
    pub(super) fn records(self) -> &'a [u8] {
        &self.0[WORD..]
    }
}

impl From<PackedSet<'_>> for Set {
    fn from(set: PackedSet<'_>) -> Self {
        Self { kind: set.kind(), ttl: set.ttl(), data: set.values().map(Value::to_rdata).collect() }
    }
}

/// Packs sets, in any order, into `bytes`. Of two of one type the records are taken together, under the
/// lower time to live (RFC 2181 section 5.2).
pub(super) fn pack(sets: &[Set], bytes: &mut Vec<u8>) {
    let mut rows: Vec<Row<'_>> = Vec::with_capacity(sets.len());
    for set in sets {
        let value = |data| Row { kind: set.kind, ttl: set.ttl, value: data };
        rows.extend(set.data.iter().map(|data| value(data.as_bytes())));
    }
    rows.sort();
    pack_rows(&rows, bytes);
}

/// A record without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row<'a> {
    pub(super) kind: Kind,
    pub(super) value: &'a [u8],
    pub(super) ttl: u32,
}

/// As [`pack`], of records in their order; of two that are the same one is taken.
pub(super) fn pack_rows(rows: &[Row<'_>], bytes: &mut Vec<u8>) {
    for set in rows.chunk_by(|one, other| one.kind == other.kind) {
        let ttl = set.iter().map(|row| row.ttl).min().unwrap_or(0);
        let start = bytes.len();
        bytes.extend([0; 2 * WORD]);
        let mut count = 0_u32;
        for once in set.chunk_by(|one, other| one.value == other.value) {
            let Row { kind, value, .. } = once[0];
            bytes.extend(QUESTION.to_be_bytes());
            bytes.extend(kind.0.to_be_bytes());
            bytes.extend(CLASS_IN.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            // A value came from the wire or keeps its limits.
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend(value);
            count += 1;
        }
        // A set keeps the limits of a file.
        let length = (bytes.len() - start - WORD) as u32;
        bytes[start..start + WORD].copy_from_slice(&length.to_le_bytes());
        bytes[start + WORD..start + 2 * WORD].copy_from_slice(&count.to_le_bytes());
    }
}
