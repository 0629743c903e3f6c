//! The common query and its answer, byte by byte.
//!
//! Nearly every query is one question with perhaps an OPT record behind it. That form is read here
//! without an allocation, and its answer is written into a buffer of the caller's; every other form
//! is the codec's. Names are compressed against the question, whose spelling they so repeat.

use alloc::vec::Vec;

use super::answer::{Answer, Authority, Code, Held};
use super::cookie;
use super::dnssec::proof::Proof;
use super::name::{NameBuf, Wire};
use super::packed::{BEFORE_VALUE, Node, PackedSet, QUESTION};
use super::record::{Kind, Value};

/// No UDP answer is larger: it would be fragmented on some path, and fragments are lost or forged
/// (DNS Flag Day 2020).
pub const UDP_BYTES_MAX: u16 = 1232;
/// RFC 1035 section 2.3.4: what a client without EDNS takes.
pub const UDP_BYTES_PLAIN: u16 = 512;

const HEADER_BYTES: usize = 12;
const CLASS_IN: [u8; 2] = [0, 1];
/// RFC 1035 section 4.1.4.
const POINTER: u16 = 0xc000;
/// It reaches no further into the message.
const POINTER_MAX: u16 = 0x4000;
/// RFC 6891 section 6.1.2: an OPT record without options.
const OPT_BYTES: usize = 11;
/// Code and length of an option.
const OPTION_BYTES: usize = 4;
/// RFC 7873 section 4.
const COOKIE: u16 = 10;
/// RFC 7830 section 3.
const PADDING: u16 = 12;
/// RFC 8467 section 4.1: with answers of so many sizes only, little is told by theirs.
const PADDED_BYTES: usize = 468;
/// RFC 1035 section 4.1.1.
const FORMERR: u8 = 1;

/// Bits of the header (RFC 1035 section 4.1.1, RFC 4035 section 3), of its third byte and its fourth.
mod bit {
    pub(super) const ANSWER: u8 = 0x80;
    pub(super) const OP_CODE: u8 = 0x78;
    pub(super) const AUTHORITATIVE: u8 = 0x04;
    pub(super) const TRUNCATED: u8 = 0x02;
    pub(super) const RECURSION_DESIRED: u8 = 0x01;
    pub(super) const CHECKING_DISABLED: u8 = 0x10;
    /// Of the flags of an OPT record (RFC 3225 section 3).
    pub(super) const DNSSEC_OK: u8 = 0x80;
}

/// A part of a query is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A query of the common form.
#[derive(Clone)]
pub struct Query<'a> {
    id: [u8; 2],
    recursion_desired: u8,
    checking_disabled: u8,
    /// As it was spelled.
    question: &'a [u8],
    name: NameBuf,
    kind: Kind,
    edns: Option<Edns<'a>>,
}

#[derive(Clone, Copy)]
struct Edns<'a> {
    /// The largest datagram that the client takes.
    bytes_max: u16,
    dnssec_ok: u8,
    /// The value of the first COOKIE option.
    cookie: Option<&'a [u8]>,
    /// Whether there is a PADDING option.
    is_padded: bool,
}

/// What an answer has beside what is found.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// What exceeds so many bytes is left out: first what is only helpful, then everything, with TC.
    pub bytes_max: usize,
    /// Everything is left out, with TC, whatever its size.
    pub is_cut: bool,
    /// For who showed one.
    pub cookie: Option<cookie::Given>,
    /// Whether it goes encrypted: then it is padded for who padded the query (RFC 7830 section 4).
    pub is_padded: bool,
}

impl<'a> Query<'a> {
    /// Reads a query; `None` when `message` is anything else, malformed or asks for what is no type
    /// of a record.
    #[must_use]
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let (&[high, low, flags, more_flags, 0, 1, 0, 0, 0, 0, 0, additional], rest) =
            message.split_first_chunk::<HEADER_BYTES>()?
        else {
            return None;
        };
        if flags & (bit::ANSWER | bit::OP_CODE) != 0 {
            return None;
        }
        let name = NameBuf::read(rest)?;
        let (question, rest) = rest.split_at_checked(name.wire_bytes() + 4)?;
        let (kind, class) = question.get(name.wire_bytes()..)?.split_first_chunk()?;
        let kind = Kind(u16::from_be_bytes(*kind));
        if class != CLASS_IN || !kind.is_asked_for() {
            return None;
        }
        let edns = match (additional, rest) {
            (0, []) => None,
            (1, rest) => Some(Edns::read(rest)?),
            _ => return None,
        };
        Some(Self {
            id: [high, low],
            recursion_desired: flags & bit::RECURSION_DESIRED,
            checking_disabled: more_flags & bit::CHECKING_DISABLED,
            question,
            name,
            kind,
            edns,
        })
    }

    /// The key of the name that is asked for.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// The type that is asked for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The largest datagram that its answer may be.
    #[must_use]
    pub fn udp_bytes_max(&self) -> usize {
        let taken = self.edns.map_or(UDP_BYTES_PLAIN, |edns| edns.bytes_max);
        taken.clamp(UDP_BYTES_PLAIN, UDP_BYTES_MAX).into()
    }

    /// Whether the client asks for signatures and proofs (RFC 3225 section 3).
    fn is_dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok != 0)
    }

    /// What the client shows of cookies: `None` for nothing.
    ///
    /// # Errors
    /// It is malformed: such a query is to be refused with [`Query::refuse`].
    pub fn cookie(&self) -> Result<Option<cookie::Shown<'a>>, Malformed> {
        let value = self.edns.and_then(|edns| edns.cookie);
        value.map(|value| cookie::Shown::read(value).ok_or(Malformed)).transpose()
    }

    /// Writes FORMERR into `message`, in the place of what is there.
    pub fn refuse(&self, message: &mut Vec<u8>) {
        self.write_head(0, FORMERR, message);
        if let Some(edns) = self.edns {
            message[11] = 1;
            edns.write(None, false, message);
        }
    }

    fn write_head(&self, authoritative: u8, code: u8, message: &mut Vec<u8>) {
        let [high, low] = self.id;
        let flags = bit::ANSWER | authoritative | self.recursion_desired;
        message.clear();
        message.extend_from_slice(&[high, low, flags, self.checking_disabled | code, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend_from_slice(self.question);
    }

    /// Writes the answer into `message`, in the place of what is there.
    pub fn write(&self, found: &Answer<'_>, frame: Frame, message: &mut Vec<u8>) {
        let Frame { bytes_max, is_cut, cookie, is_padded } = frame;
        let authoritative = if found.is_authoritative() { bit::AUTHORITATIVE } else { 0 };
        self.write_head(authoritative, found.code.number(), message);
        let cookie_bytes = cookie.map_or(0, |cookie| OPTION_BYTES + cookie.len());
        let is_padded = is_padded && self.edns.is_some_and(|edns| edns.is_padded);
        let (bytes_max, padding_bytes) = match is_padded {
            true => (bytes_max / PADDED_BYTES * PADDED_BYTES, OPTION_BYTES),
            false => (bytes_max, 0),
        };
        let edns_bytes = self.edns.map_or(0, |_| OPT_BYTES + cookie_bytes + padding_bytes);
        let (head, room) = (message.len(), bytes_max.saturating_sub(edns_bytes));
        let proof = if self.is_dnssec_ok() { Proof::of(found, self.name()) } else { None };
        let question = &self.question[..self.name.wire_bytes()];
        let mut writer = Writer { message, question, is_signed: proof.is_some() };
        let mut counts = [0; 3];
        // What a set is of stands in the message already: in the question, or as the value of an alias.
        let mut owner = QUESTION;
        for alias in found.held_aliases() {
            let value = POINTER | (writer.message.len() + BEFORE_VALUE) as u16;
            counts[0] += writer.held(Owner::Pointer(owner), alias, alias.set.ttl());
            owner = value;
        }
        if let Some(held) = found.held_answer() {
            counts[0] += writer.held(Owner::Pointer(owner), held, held.set.ttl());
        }
        if let Some(Authority { owner, set, ttl }) = found.authority() {
            let (name, at) = (Wire::of(owner), writer.message.len());
            counts[1] = writer.set(Owner::Name(name.as_slice()), set, ttl);
            if let Some(node) = found.zone.and_then(|zone| zone.node(owner)).filter(|_| writer.is_signed) {
                let name = writer.again(Owner::Name(name.as_slice()), at);
                counts[1] += writer.signature(name, node, set.kind(), ttl);
                // At the edge of the zone: that the one beneath it is signed.
                if let (Kind::NS, Some(set)) = (set.kind(), node.set(Kind::DS)) {
                    counts[1] += writer.held(name, Held { set, node }, set.ttl());
                }
            }
        }
        for (owner, denial) in proof.iter().flat_map(Proof::denials) {
            counts[1] += writer.held(Owner::Name(Wire::of(owner).as_slice()), denial, denial.set.ttl());
        }
        if writer.message.len() > room || is_cut {
            writer.message.truncate(head);
            writer.message[2] |= bit::TRUNCATED;
            counts = [0; 3];
        } else {
            let needed = writer.message.len();
            for (owner, set) in found.additional() {
                counts[2] += writer.set(Owner::Name(owner), set, set.ttl());
                let key = NameBuf::read(owner).filter(|_| writer.is_signed);
                let node = key.and_then(|key| found.zone?.node(key.as_bytes()));
                let signed =
                    node.map(|node| writer.signature(Owner::Name(owner), node, set.kind(), set.ttl()));
                counts[2] += signed.unwrap_or(0);
            }
            if writer.message.len() > room {
                writer.message.truncate(needed);
                counts[2] = 0;
            }
        }
        if let Some(edns) = self.edns {
            counts[2] += 1;
            edns.write(cookie.as_ref(), is_padded, message);
        }
        for (at, count) in (6..).step_by(2).zip(counts) {
            message[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
    }
}

impl Kind {
    /// RFC 6895 section 3.1: 128 to 255 ask for something other than records, and OPT is none.
    fn is_asked_for(self) -> bool {
        const OPT: Kind = Kind(41);
        self == Self::ANY || !(self == OPT || (128..=255).contains(&self.0))
    }
}

impl Code {
    /// RFC 1035 section 4.1.1.
    fn number(self) -> u8 {
        match self {
            Self::NoError => 0,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::Refused => 5,
        }
    }
}

impl<'a> Edns<'a> {
    /// An OPT record of version 0, with which the message ends (RFC 6891 section 6.1.2). Of its options
    /// only COOKIE and PADDING are followed, but they must be some.
    fn read(record: &'a [u8]) -> Option<Self> {
        let (&[0, 0, 41, high, low, 0, 0, flags, _, length_high, length_low], mut options) =
            record.split_first_chunk::<OPT_BYTES>()?
        else {
            return None;
        };
        if options.len() != usize::from(u16::from_be_bytes([length_high, length_low])) {
            return None;
        }
        let (mut cookie, mut is_padded) = (None, false);
        while !options.is_empty() {
            let (&[kind_high, kind_low, high, low], rest) = options.split_first_chunk()?;
            let (value, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
            match u16::from_be_bytes([kind_high, kind_low]) {
                COOKIE => cookie = cookie.or(Some(value)),
                PADDING => is_padded = true,
                _ => {}
            }
            options = rest;
        }
        let bytes_max = u16::from_be_bytes([high, low]);
        Some(Self { bytes_max, dnssec_ok: flags & bit::DNSSEC_OK, cookie, is_padded })
    }

    /// What this server takes, and the client's own DO (RFC 3225 section 3).
    fn write(self, cookie: Option<&cookie::Given>, is_padded: bool, message: &mut Vec<u8>) {
        let [high, low] = UDP_BYTES_MAX.to_be_bytes();
        message.extend_from_slice(&[0, 0, 41, high, low, 0, 0, self.dnssec_ok, 0, 0, 0]);
        let start = message.len();
        let mut option = |kind: u16, value: &[u8]| {
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&(value.len() as u16).to_be_bytes());
            message.extend_from_slice(value);
            message.len()
        };
        let mut end = start;
        if let Some(cookie) = cookie {
            end = option(COOKIE, cookie);
        }
        if is_padded {
            let missing = (end + OPTION_BYTES).next_multiple_of(PADDED_BYTES) - end - OPTION_BYTES;
            end = option(PADDING, &[0; PADDED_BYTES][..missing]);
        }
        message[start - 2..start].copy_from_slice(&((end - start) as u16).to_be_bytes());
    }
}

/// Whether records of this type go out as they are packed: their values hold no names that may be compressed,
/// and they have the time to live of their set.
fn is_copied(kind: Kind) -> bool {
    !matches!(kind, Kind::NS | Kind::CNAME | Kind::PTR | Kind::SOA | Kind::MX | Kind::RRSIG)
}

#[derive(Clone, Copy)]
enum Owner<'a> {
    /// A name that stands in the message already.
    Pointer(u16),
    /// A name as the wire carries it.
    Name(&'a [u8]),
}

struct Writer<'a> {
    message: &'a mut Vec<u8>,
    /// The name in the question.
    question: &'a [u8],
    /// Whether signatures go with what they sign.
    is_signed: bool,
}

impl Writer<'_> {
    /// Appends the records of a set, with its signature if that is asked for, and counts them.
    fn held(&mut self, owner: Owner<'_>, held: Held<'_>, ttl: u32) -> u16 {
        let at = self.message.len();
        let count = self.set(owner, held.set, ttl);
        if self.is_signed {
            count + self.signature(self.again(owner, at), held.node, held.set.kind(), ttl)
        } else {
            count
        }
    }

    /// Appends the signature of the set of a type, if `node` has one, and counts it.
    fn signature(&mut self, owner: Owner<'_>, node: Node<'_>, kind: Kind, ttl: u32) -> u16 {
        let Some(signature) = node.signature(kind) else { return 0 };
        self.record(owner, (Kind::RRSIG, ttl), signature);
        1
    }

    /// Appends the records of `set`, and counts them.
    fn set(&mut self, owner: Owner<'_>, set: PackedSet<'_>, ttl: u32) -> u16 {
        let kind = set.kind();
        if let (Owner::Pointer(QUESTION), true) = (owner, is_copied(kind)) {
            self.message.extend_from_slice(set.records());
            return set.len() as u16;
        }
        let (at, mut owner) = (self.message.len(), owner);
        for value in set.values() {
            self.record(owner, (kind, value.ttl(kind, ttl)), value);
            owner = self.again(owner, at);
        }
        set.len() as u16
    }

    /// The same name for what follows a record of its that stands at `at`.
    fn again<'o>(&self, owner: Owner<'o>, at: usize) -> Owner<'o> {
        // A name that is a pointer itself is as short.
        let is_spelled = self.message.get(at).is_some_and(|&first| u16::from(first) << 8 < POINTER);
        match (owner, u16::try_from(at)) {
            (Owner::Name(_), Ok(at)) if is_spelled && at < POINTER_MAX => Owner::Pointer(POINTER | at),
            _ => owner,
        }
    }

    fn record(&mut self, owner: Owner<'_>, (kind, ttl): (Kind, u32), value: Value<'_>) {
        let ([kind_high, kind_low], [a, b, c, d]) = (kind.0.to_be_bytes(), ttl.to_be_bytes());
        match owner {
            Owner::Pointer(pointer) => self.message.extend_from_slice(&pointer.to_be_bytes()),
            Owner::Name(name) => _ = self.name(name),
        }
        self.message.extend_from_slice(&[kind_high, kind_low, 0, 1, a, b, c, d, 0, 0]);
        let length = self.message.len() - 2;
        self.data(kind, value.as_bytes());
        // A value came from the wire or keeps its limits, and compression only shortens it.
        let bytes = (self.message.len() - length - 2) as u16;
        self.message[length..length + 2].copy_from_slice(&bytes.to_be_bytes());
    }

    /// RFC 3597 section 4: only in the types of RFC 1035 may names be compressed.
    fn data(&mut self, kind: Kind, data: &[u8]) {
        let rest = match kind {
            Kind::NS | Kind::CNAME | Kind::PTR => self.name(data),
            Kind::SOA => {
                let rest = self.name(data);
                self.name(rest)
            }
            Kind::MX => match data.split_at_checked(2) {
                Some((preference, exchange)) => {
                    self.message.extend_from_slice(preference);
                    self.name(exchange)
                }
                None => data,
            },
            _ => data,
        };
        self.message.extend_from_slice(rest);
    }

    /// Appends the name that `data` begins with, as far as it is not in the question too; what follows
    /// it is returned.
    fn name<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let mut end = 0;
        while let Some(&length @ 1..) = data.get(end) {
            end += 1 + usize::from(length);
        }
        let Some((name, rest)) = data.split_at_checked(end + 1) else {
            // No name; it goes as it stands.
            return data;
        };
        let mut start = 0;
        while start < end {
            let tail = &name[start..];
            let above = self.question.len().checked_sub(tail.len());
            if let Some(above) = above.filter(|&above| self.question[above..].eq_ignore_ascii_case(tail)) {
                self.message.extend_from_slice(&name[..start]);
                self.message.extend_from_slice(&(QUESTION + above as u16).to_be_bytes());
                return rest;
            }
            start += 1 + usize::from(name[start]);
        }
        self.message.extend_from_slice(name);
        rest
    }
}
