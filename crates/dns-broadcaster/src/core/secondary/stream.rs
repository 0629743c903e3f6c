//! The records of one transfer in a row, as they came and as they are kept on disk.

use alloc::vec::Vec;

use super::super::record::{Kind, Value};
use super::super::transfer;
use super::super::zone::Zone;

/// What a transfer says: the whole zone, or what changed; see [`super::intake`]. SOA records stand where
/// RFC 5936 and RFC 1995 have them, but for the one that ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The whole zone; else differences.
    pub is_whole: bool,
    bytes: Vec<u8>,
}

/// A record of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The key of its name.
    pub owner: &'a [u8],
    /// Its type.
    pub kind: Kind,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Its value, with names uncompressed.
    pub value: &'a [u8],
}

/// Of the type, the time to live and the length of the value.
const FIELDS: usize = 8;
/// Of the sort of a stream and its length.
const HEAD: usize = 5;
const WHOLE: u8 = 1;
const DIFFERENCES: u8 = 2;

impl Stream {
    /// A stream without records.
    #[must_use]
    pub fn new(is_whole: bool) -> Self {
        Self { is_whole, bytes: Vec::new() }
    }

    /// The whole of `zone`.
    #[must_use]
    pub fn of(zone: &Zone) -> Self {
        let mut stream = Self::new(true);
        let mut is_first = true;
        for transfer::Record { owner, kind, ttl, data } in transfer::whole(zone) {
            // Its SOA stands at both ends.
            if kind != Kind::SOA || core::mem::take(&mut is_first) {
                stream.push(Line { owner, kind, ttl, value: data.as_bytes() });
            }
        }
        stream
    }

    /// Adds a record.
    pub fn push(&mut self, line: Line<'_>) {
        let Line { owner, kind, ttl, value } = line;
        self.bytes.reserve(1 + owner.len() + FIELDS + value.len());
        // A key and a value keep the limits of the wire.
        self.bytes.push(owner.len() as u8);
        self.bytes.extend(owner);
        self.bytes.extend(kind.0.to_be_bytes());
        self.bytes.extend(ttl.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
    }

    /// Bytes of all records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The records, in order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut rest = &self.bytes[..];
        core::iter::from_fn(move || {
            let (line, behind) = split(rest)?;
            rest = behind;
            Some(line)
        })
    }

    /// As it is kept: behind what it is and how long.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(if self.is_whole { WHOLE } else { DIFFERENCES });
        // A transfer keeps its limits.
        bytes.extend((self.bytes.len() as u32).to_be_bytes());
        bytes.extend(&self.bytes);
    }

    /// Bytes that [`Stream::write`] writes.
    #[must_use]
    pub fn written_bytes(&self) -> usize {
        HEAD + self.bytes.len()
    }

    /// The stream that `bytes` begin with, and what is behind it; `None` when it is none, or not all of it
    /// is there.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&sort, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (bytes, behind) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let is_whole = match sort {
            WHOLE => true,
            DIFFERENCES => false,
            _ => return None,
        };
        let stream = Self { is_whole, bytes: bytes.into() };
        let lines: usize = stream.lines().map(|line| 1 + line.owner.len() + FIELDS + line.value.len()).sum();
        (lines == stream.len()).then_some((stream, behind))
    }
}

impl Line<'_> {
    /// Seconds that its set may be kept: a signature's own say nothing, it has those of what it signs.
    pub(super) fn set_ttl(&self) -> u32 {
        if self.kind == Kind::RRSIG { 0 } else { self.ttl }
    }

    pub(super) fn rdata(&self) -> Value<'_> {
        Value(self.value)
    }
}

fn split(bytes: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (owner, rest) = rest.split_at_checked(length.into())?;
    let (&[k0, k1, t0, t1, t2, t3, l0, l1], rest) = rest.split_first_chunk::<FIELDS>()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
    let (kind, ttl) = (Kind(u16::from_be_bytes([k0, k1])), u32::from_be_bytes([t0, t1, t2, t3]));
    Some((Line { owner, kind, ttl, value }, rest))
}
