//! The TSIG record on the wire: found and split off, written, and turned into what a MAC covers.
//!
//! The bytes come from anybody. So they are walked once, forwards, and every length is checked
//! against what is there; a record costs at least eleven bytes, so the counts in the header bound
//! nothing and need not be trusted. Only the owner name of the TSIG record follows compression
//! pointers, and each of them has to point further back than the one before.

use ring::hmac;

use crate::core::name::Name;

/// RFC 1035 section 4.1.1.
const HEADER_BYTES: usize = 12;
/// Where the header holds ARCOUNT, the number of additional records.
const ADDITIONALS_AT: usize = 10;
/// RFC 1035 section 4.2.2: a length of two bytes precedes a message on TCP.
const MESSAGE_BYTES_MAX: usize = u16::MAX as usize;
/// RFC 1035 section 2.3.4.
const NAME_BYTES_MAX: usize = 255;
/// RFC 8945 section 4.2.
const TYPE_TSIG: u16 = 250;
/// RFC 8945 section 4.2.
const CLASS_ANY: u16 = 255;

/// Why a message, or the TSIG record in it, cannot be interpreted (RFC 8945 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The header promises more than there is, or a field exceeds what encloses it.
    #[error("the message ends within a record")]
    Short,
    /// A label is of a kind that RFC 1035 section 4.1.4 does not know, a pointer does not point
    /// back, or the name is too long.
    #[error("a name is malformed")]
    Name,
    /// RFC 8945 section 5.2: there is one TSIG record at most, and nothing follows it.
    #[error("a TSIG record is not the last of the message")]
    NotLast,
    /// RFC 8945 section 4.2 fixes both.
    #[error("the TSIG record has another class than ANY or another TTL than 0")]
    ClassOrTtl,
    /// RFC 8945 section 5.2.2.1: longer than the algorithm's, or too short to be cut from one.
    #[error("the MAC has a length that the algorithm cannot give")]
    MacSize,
}

/// Why a message cannot carry a TSIG record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsignable {
    /// It is no DNS message.
    #[error("a message without a header cannot be signed")]
    NoHeader,
    /// RFC 8945 section 5.3: send the question alone, signed and with TC, or less per message.
    #[error("the message leaves no room for a TSIG record; make it shorter by what signing adds")]
    TooLong,
}

/// The fields of a TSIG record (RFC 8945 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tsig {
    /// The key.
    pub(super) owner: Name,
    /// Its algorithm, which a name stands for.
    pub(super) algorithm: Name,
    /// Seconds since 1970; 48 bits of them travel.
    pub(super) time: u64,
    /// Seconds.
    pub(super) fudge: u16,
    pub(super) mac: Vec<u8>,
    pub(super) original_id: u16,
    pub(super) error: u16,
    pub(super) other: Vec<u8>,
}

/// The message as it was before the record was added (RFC 8945 section 5.2), and the record.
/// The message keeps the id with which it travelled: that is the one to answer to.
///
/// `None` when the message has no TSIG record.
pub(super) fn split(message: &[u8]) -> Result<Option<(Vec<u8>, Tsig)>, Malformed> {
    let mut reader = Reader { bytes: message, at: 0 };
    reader.take(4)?;
    let [questions, answers, authorities, additionals] =
        [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    for _ in 0..questions {
        reader.skip_name()?;
        reader.take(4)?;
    }
    let records = u32::from(answers) + u32::from(authorities) + u32::from(additionals);
    for left in (0..records).rev() {
        let start = reader.at;
        reader.skip_name()?;
        let [kind, class] = [reader.u16()?, reader.u16()?];
        let ttl = reader.u32()?;
        let length = reader.u16()?;
        let data = reader.take(usize::from(length))?;
        if kind != TYPE_TSIG {
            continue;
        }
        if left > 0 || additionals == 0 || reader.at != message.len() {
            return Err(Malformed::NotLast);
        }
        if class != CLASS_ANY || ttl != 0 {
            return Err(Malformed::ClassOrTtl);
        }
        let owner = Reader { bytes: message, at: start }.name()?;
        let tsig = Tsig::parse(owner, data)?;
        let mut bare = message[..start].to_vec();
        bare[ADDITIONALS_AT..HEADER_BYTES].copy_from_slice(&(additionals - 1).to_be_bytes());
        return Ok(Some((bare, tsig)));
    }
    Ok(None)
}

/// The id of a message.
pub(super) fn id(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*message.first()?, *message.get(1)?]))
}

/// The response code in the header of a message (RFC 1035 section 4.1.1).
pub(super) fn rcode(message: &[u8]) -> Option<u8> {
    message.get(3).map(|byte| byte & 0x0f)
}

/// Digests a message, without its TSIG record, under the id that it was given by whoever asked
/// first: a forwarder may have changed it on the way (RFC 8945 section 4.3.2).
pub(super) fn digest_message(context: &mut hmac::Context, original_id: u16, bare: &[u8]) {
    context.update(&original_id.to_be_bytes());
    context.update(bare.get(2..).unwrap_or_default());
}

/// Digests the MAC that precedes a message, with its length (RFC 8945 section 4.3.1).
pub(super) fn digest_prior(context: &mut hmac::Context, mac: &[u8]) {
    context.update(&length(mac));
    context.update(mac);
}

/// A name as it travels: from the label that is furthest from the root, uncompressed.
pub(super) fn name_bytes(name: &Name) -> Vec<u8> {
    let mut labels: Vec<_> = name.from_the_root().collect();
    labels.reverse();
    let mut bytes = Vec::with_capacity(NAME_BYTES_MAX);
    for label in labels {
        // A `Name` keeps the limit of 63 bytes for a label.
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes
}

/// Two bytes that precede a field; what is longer than they can say never gets into a `Tsig`.
fn length(field: &[u8]) -> [u8; 2] {
    u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes()
}

impl Tsig {
    fn parse(owner: Name, data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes: data, at: 0 };
        // Read for itself, the data holds nothing that a pointer could point at: RFC 8945 section
        // 4.2 forbids to compress this name.
        let algorithm = reader.name()?;
        let time = (u64::from(reader.u16()?) << 32) | u64::from(reader.u32()?);
        let fudge = reader.u16()?;
        let mac = reader.field()?;
        let [original_id, error] = [reader.u16()?, reader.u16()?];
        let other = reader.field()?;
        if reader.at != data.len() {
            return Err(Malformed::Short);
        }
        Ok(Self { owner, algorithm, time, fudge, mac, original_id, error, other })
    }

    /// The server's time in an answer with BADTIME (RFC 8945 section 5.2.3).
    pub(super) fn server_time(&self) -> Option<u64> {
        let other: [u8; 6] = self.other.as_slice().try_into().ok()?;
        Some(other.into_iter().fold(0, |time, byte| (time << 8) | u64::from(byte)))
    }

    /// Time signed and fudge: all that a MAC covers of the record from the second message of an
    /// answer on (RFC 8945 section 5.3.1).
    pub(super) fn timers(&self) -> [u8; 8] {
        let [_, _, time @ ..] = self.time.to_be_bytes();
        let mut timers = [0; 8];
        timers[..6].copy_from_slice(&time);
        timers[6..].copy_from_slice(&self.fudge.to_be_bytes());
        timers
    }

    /// What a MAC covers of the record otherwise (RFC 8945 section 4.3.3).
    pub(super) fn variables(&self) -> Vec<u8> {
        let mut bytes = name_bytes(&self.owner);
        bytes.extend(CLASS_ANY.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(name_bytes(&self.algorithm));
        bytes.extend(self.timers());
        bytes.extend(self.error.to_be_bytes());
        bytes.extend(length(&self.other));
        bytes.extend(&self.other);
        bytes
    }

    /// Adds the record to `message` and counts it in the header; changes nothing on an error.
    pub(super) fn append(&self, message: &mut Vec<u8>) -> Result<(), Unsignable> {
        let record = self.record();
        let header = message.first_chunk_mut::<HEADER_BYTES>().ok_or(Unsignable::NoHeader)?;
        let additionals = u16::from_be_bytes([header[ADDITIONALS_AT], header[ADDITIONALS_AT + 1]]);
        let additionals = additionals.checked_add(1).ok_or(Unsignable::TooLong)?.to_be_bytes();
        if message.len() + record.len() > MESSAGE_BYTES_MAX {
            return Err(Unsignable::TooLong);
        }
        message[ADDITIONALS_AT..HEADER_BYTES].copy_from_slice(&additionals);
        message.extend(record);
        Ok(())
    }

    /// The whole record.
    pub(super) fn record(&self) -> Vec<u8> {
        let mut data = name_bytes(&self.algorithm);
        data.extend(self.timers());
        data.extend(length(&self.mac));
        data.extend(&self.mac);
        data.extend(self.original_id.to_be_bytes());
        data.extend(self.error.to_be_bytes());
        data.extend(length(&self.other));
        data.extend(&self.other);
        let mut record = name_bytes(&self.owner);
        record.extend(TYPE_TSIG.to_be_bytes());
        record.extend(CLASS_ANY.to_be_bytes());
        record.extend([0; 4]);
        record.extend(length(&data));
        record.extend(data);
        record
    }
}

/// Reads forwards, never beyond the end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A step of a name.
enum Label<'a> {
    Root,
    Text(&'a [u8]),
    /// The name goes on there.
    Pointer(usize),
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count)).ok_or(Malformed::Short)?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed::Short)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Bytes behind their length.
    fn field(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.u16()?;
        Ok(self.take(usize::from(length))?.to_vec())
    }

    fn label(&mut self) -> Result<Label<'a>, Malformed> {
        let [first] = self.array()?;
        match first {
            0 => Ok(Label::Root),
            1..=0x3f => Ok(Label::Text(self.take(usize::from(first))?)),
            0xc0.. => {
                let [second] = self.array()?;
                Ok(Label::Pointer(usize::from(u16::from_be_bytes([first & 0x3f, second]))))
            }
            _ => Err(Malformed::Name),
        }
    }

    /// Passes over a name without following its pointer.
    fn skip_name(&mut self) -> Result<(), Malformed> {
        while let Label::Text(_) = self.label()? {}
        Ok(())
    }

    /// Reads a name; afterwards the reader stands where the last pointer led it.
    fn name(&mut self) -> Result<Name, Malformed> {
        let (mut labels, mut start, mut length) = (Vec::new(), self.at, 1);
        loop {
            match self.label()? {
                Label::Root => break,
                Label::Text(label) => {
                    length += 1 + label.len();
                    if length > NAME_BYTES_MAX {
                        return Err(Malformed::Name);
                    }
                    labels.push(label);
                }
                // Each part of the name begins before all that were read, so there is an end.
                Label::Pointer(target) if target < start => {
                    (start, self.at) = (target, target);
                }
                Label::Pointer(_) => return Err(Malformed::Name),
            }
        }
        Name::from_root(labels.into_iter().rev()).ok_or(Malformed::Name)
    }
}
