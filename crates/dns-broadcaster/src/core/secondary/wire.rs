//! The messages that a primary sends (RFC 1035 section 4): read once, forwards, every length checked
//! against what is there, names decompressed.
//!
//! Not with the codec of the questions: that one makes a typed value of each record, only for us to
//! take it apart again, and a transfer is a million of them.

use alloc::vec::Vec;

use super::super::layout;
use super::super::name::NameBuf;
use super::super::record::Kind;

/// RFC 1035 section 2.3.4.
const NAME_BYTES_MAX: usize = 255;
const CLASS_IN: u16 = 1;
/// RFC 2181 section 8.
const TTL_MAX: u32 = i32::MAX as u32;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Malformed {
    #[error("it ends within a record")]
    Short,
    #[error("a name is malformed")]
    Name,
    #[error("a value is not what its type has")]
    Value,
    #[error("it is no answer to what was asked")]
    NoAnswer,
    #[error("a record is of another class than IN, or of a type that no zone holds")]
    Meta,
}

/// A record as it came.
#[derive(Clone)]
pub struct Incoming<'a> {
    /// Its name.
    pub owner: NameBuf,
    /// Its type.
    pub kind: Kind,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// With names uncompressed.
    pub value: &'a [u8],
}

/// A message of an answer, and how far it was read.
pub struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u16,
    /// Chosen by who asked.
    pub id: u16,
    /// The response code in the header.
    pub code: u8,
    /// What it repeats of the question; a message behind the first may leave it out.
    pub question: Option<(NameBuf, Kind)>,
}

impl<'a> Message<'a> {
    /// The header and the question.
    ///
    /// # Errors
    /// They are malformed, or those of no answer.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        const RESPONSE: u8 = 0x80;
        const OPERATION: u8 = 0x78;
        let &[id_high, id_low, flags, code, q_high, q_low, a_high, a_low, _, _, _, _, ..] = bytes else {
            return Err(Malformed::Short);
        };
        if flags & (RESPONSE | OPERATION) != RESPONSE {
            return Err(Malformed::NoAnswer);
        }
        let left = u16::from_be_bytes([a_high, a_low]);
        let id = u16::from_be_bytes([id_high, id_low]);
        let mut message = Self { bytes, at: 12, left, id, code: code & 0xf, question: None };
        match u16::from_be_bytes([q_high, q_low]) {
            0 => {}
            1 => {
                let mut name = Vec::new();
                message.name(&mut name)?;
                let kind = message.u16()?;
                message.u16()?;
                message.question = Some((NameBuf::read(&name).ok_or(Malformed::Name)?, Kind(kind)));
            }
            _ => return Err(Malformed::NoAnswer),
        }
        Ok(message)
    }

    /// The next record of the answer section, its value written into `value`; `None` behind the last.
    ///
    /// # Errors
    /// It is malformed.
    pub fn next<'v>(&mut self, value: &'v mut Vec<u8>) -> Result<Option<Incoming<'v>>, Malformed> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        value.clear();
        self.name(value)?;
        let owner = NameBuf::read(value).ok_or(Malformed::Name)?;
        let (kind, class) = (Kind(self.u16()?), self.u16()?);
        let ttl = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        if end > self.bytes.len() {
            return Err(Malformed::Short);
        }
        if class != CLASS_IN || kind.is_meta() {
            return Err(Malformed::Meta);
        }
        value.clear();
        self.value(kind, end, value)?;
        let ttl = if ttl > TTL_MAX { 0 } else { ttl };
        Ok(Some(Incoming { owner, kind, ttl, value }))
    }

    /// A value that ends at `end`.
    fn value(&mut self, kind: Kind, end: usize, value: &mut Vec<u8>) -> Result<(), Malformed> {
        let data = &self.bytes[self.at..end];
        let (before, names) = layout::names(kind, data);
        value.extend(data.get(..before).ok_or(Malformed::Value)?);
        self.at += before;
        for _ in 0..names {
            self.name(value)?;
        }
        let rest = self.bytes.get(self.at..end).ok_or(Malformed::Value)?;
        let fits = match kind {
            Kind::A => rest.len() == 4,
            Kind::AAAA => rest.len() == 16,
            _ => names == 0 || rest.len() == layout::bytes_behind(kind),
        };
        value.extend(rest);
        self.at = end;
        // Decompressed it may be longer than a record can be.
        if fits && u16::try_from(value.len()).is_ok() { Ok(()) } else { Err(Malformed::Value) }
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(Malformed::Short)?;
        self.at += 2;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// Appends the name that stands here, uncompressed, and goes behind it. Each pointer leads further back
    /// than the one before, so that it ends.
    fn name(&mut self, name: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = name.len();
        let (mut at, mut behind, mut earliest) = (self.at, None, self.at);
        loop {
            let length = *self.bytes.get(at).ok_or(Malformed::Short)?;
            match length {
                0 => {
                    name.push(0);
                    self.at = behind.unwrap_or(at + 1);
                    return Ok(());
                }
                1..=63 => {
                    let end = at + 1 + usize::from(length);
                    name.extend(self.bytes.get(at..end).ok_or(Malformed::Short)?);
                    if name.len() - start >= NAME_BYTES_MAX {
                        return Err(Malformed::Name);
                    }
                    at = end;
                }
                0xc0.. => {
                    let low = *self.bytes.get(at + 1).ok_or(Malformed::Short)?;
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if to >= earliest {
                        return Err(Malformed::Name);
                    }
                    behind = behind.or(Some(at + 2));
                    (at, earliest) = (to, to);
                }
                _ => return Err(Malformed::Name),
            }
        }
    }
}

impl Kind {
    /// Asks for something, or is about the message: no zone holds such a record (RFC 6895 section 3.1).
    fn is_meta(self) -> bool {
        const OPT: u16 = 41;
        self.0 == OPT || self.0 == 0 || (128..=255).contains(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn message(records: &[u8], count: u8) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x80, 0, 0, 1, 0, count, 0, 0, 0, 0];
        bytes.extend(b"\x01z\0\0\xfc\0\x01");
        bytes.extend(records);
        bytes
    }

    #[test]
    fn names_are_decompressed_where_a_type_has_them() {
        // x.z MX 10 x.z, and the same as TXT, which has none.
        let mx = b"\x01x\xc0\x0c\0\x0f\0\x01\0\0\0\x07\0\x04\0\x0a\xc0\x13";
        let txt = b"\xc0\x13\0\x10\0\x01\xff\xff\xff\xff\0\x03\x02\xc0\x13";
        let bytes = message(&[&mx[..], txt].concat(), 2);
        let mut read = Message::read(&bytes).unwrap();
        let mut value = Vec::new();
        let record = read.next(&mut value).unwrap().unwrap();
        assert_eq!((record.owner.as_bytes(), record.kind, record.ttl), (&b"\x01z\x01x"[..], Kind::MX, 7));
        assert_eq!(record.value, b"\0\x0a\x01x\x01z\0");
        let record = read.next(&mut value).unwrap().unwrap();
        assert_eq!((record.kind, record.ttl, record.value), (Kind::TXT, 0, &b"\x02\xc0\x13"[..]));
        assert!(read.next(&mut value).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_a_record_is_refused() {
        for (record, expected) in [
            // A pointer that leads nowhere but to itself.
            (&b"\xc0\x13\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04"[..], Malformed::Name),
            (b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x05\x01\x02\x03\x04\x05", Malformed::Value),
            (b"\xc0\x0c\0\x01\0\x03\0\0\0\0\0\x04\x01\x02\x03\x04", Malformed::Meta),
            (b"\xc0\x0c\0\xfa\0\x01\0\0\0\0\0\0", Malformed::Meta),
            (b"\xc0\x0c\0\x02\0\x01\0\0\0\0\0\x03\xc0\x0c\0", Malformed::Value),
            (b"\xc0\x0c\0\x02\0\x01\0\0\0\0\0\x01\xc0\x0c", Malformed::Value),
            (b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x01\x02\x03", Malformed::Short),
        ] {
            let bytes = message(record, 1);
            let read = Message::read(&bytes).unwrap().next(&mut Vec::new()).map(|_| ());
            assert_eq!(read, Err(expected), "{}", record.escape_ascii());
        }
        // It asks.
        assert_eq!(Message::read(&[0; 12]).map(|_| ()), Err(Malformed::NoAnswer));
    }
}
