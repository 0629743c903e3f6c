//! Records, in the form in which the wire carries them: every type is held, compared and
//! transferred alike, and a type that this code has no word for as well (RFC 3597).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::name::Name;
use super::zone::Serial;

/// A record type, as the registry numbers it (RFC 1035 section 3.2.2 and what followed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u16);

impl Kind {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A name server.
    pub const NS: Self = Self(2);
    /// Another name of the same.
    pub const CNAME: Self = Self(5);
    /// Start of authority.
    pub const SOA: Self = Self(6);
    /// A name, as a rule of an address.
    pub const PTR: Self = Self(12);
    /// A mail exchange.
    pub const MX: Self = Self(15);
    /// Texts.
    pub const TXT: Self = Self(16);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// The parent's half of a signed delegation (RFC 4034 section 5).
    pub const DS: Self = Self(43);
    /// A signature (RFC 4034 section 3).
    pub const RRSIG: Self = Self(46);
    /// What there is at a name, and the next name (RFC 4034 section 4).
    pub const NSEC: Self = Self(47);
    /// A key of a zone (RFC 4034 section 2).
    pub const DNSKEY: Self = Self(48);
    /// What there is at a name that is hashed, and the next hash (RFC 5155 section 3).
    pub const NSEC3: Self = Self(50);
    /// How a zone's names are hashed (RFC 5155 section 4).
    pub const NSEC3PARAM: Self = Self(51);
    /// The DS that the parent shall have (RFC 7344 section 3.1).
    pub const CDS: Self = Self(59);
    /// The key of the DS that the parent shall have (RFC 7344 section 3.2).
    pub const CDNSKEY: Self = Self(60);
    /// RFC 9460 section 9.
    pub const HTTPS: Self = Self(65);
    /// A question for whatever there is.
    pub const ANY: Self = Self(255);
}

/// The value of one record: its RDATA, with names uncompressed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rdata(Box<[u8]>);

impl Rdata {
    /// The record of an address, and its type.
    #[must_use]
    pub fn address(address: IpAddr) -> (Kind, Self) {
        match address {
            IpAddr::V4(address) => (Kind::A, Self(address.octets().into())),
            IpAddr::V6(address) => (Kind::AAAA, Self(address.octets().into())),
        }
    }

    /// A name: an NS or a PTR record's.
    #[must_use]
    pub fn name(name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(name.wire_bytes());
        name.write(&mut bytes);
        Self(bytes.into())
    }

    /// An HTTPS record's (RFC 9460 section 2.2): of that priority, for `target` or the record's own name, with
    /// these parameters, in the order of their keys.
    #[must_use]
    pub fn https(priority: u16, target: Option<&Name>, parameters: &[(u16, Vec<u8>)]) -> Self {
        let mut bytes: Vec<u8> = priority.to_be_bytes().into();
        match target {
            Some(target) => target.write(&mut bytes),
            None => bytes.push(0),
        }
        for (key, value) in parameters {
            bytes.extend(key.to_be_bytes());
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend(value);
        }
        Self(bytes.into())
    }

    /// A TXT record's: this text, in the parts that a string has room for (RFC 1035 section 3.3.14).
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for string in text.as_bytes().chunks(u8::MAX.into()) {
            bytes.push(string.len() as u8);
            bytes.extend(string);
        }
        Self(bytes.into())
    }

    /// A SOA record's.
    #[must_use]
    pub fn soa(soa: &Soa) -> Self {
        let mut bytes = Vec::with_capacity(soa.mname.wire_bytes() + soa.rname.wire_bytes() + 20);
        soa.mname.write(&mut bytes);
        soa.rname.write(&mut bytes);
        for number in [soa.serial.0, soa.refresh, soa.retry, soa.expire, soa.minimum] {
            bytes.extend(number.to_be_bytes());
        }
        Self(bytes.into())
    }

    /// As it stands on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value of these bytes, with names uncompressed: as the wire carries a record of its type.
    #[must_use]
    pub fn from_wire(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The same, without a heap.
    #[must_use]
    pub fn value(&self) -> Value<'_> {
        Value(&self.0)
    }
}

/// The value of one record, where it is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value<'a>(pub(super) &'a [u8]);

impl<'a> Value<'a> {
    /// As it stands on the wire, with names uncompressed.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The same, by itself.
    #[must_use]
    pub fn to_rdata(self) -> Rdata {
        Rdata(self.0.into())
    }

    /// The serial that it is, if it is a SOA record's.
    #[must_use]
    pub fn serial(self) -> Option<Serial> {
        // Four times stand behind it.
        let numbers = self.0.last_chunk::<20>()?;
        Some(Serial(u32::from_be_bytes(*numbers.first_chunk()?)))
    }

    /// A SOA record's with another serial; any other as it is.
    #[must_use]
    pub fn with_serial(self, serial: Serial) -> Rdata {
        let mut bytes = self.0.to_vec();
        if let Some(numbers) = bytes.last_chunk_mut::<20>() {
            numbers[..4].copy_from_slice(&serial.0.to_be_bytes());
        }
        Rdata(bytes.into())
    }

    /// The type that it signs, if it is a RRSIG record's.
    #[must_use]
    pub fn covers(self) -> Option<Kind> {
        self.0.first_chunk().map(|kind| Kind(u16::from_be_bytes(*kind)))
    }

    /// Seconds that a record of `kind` with this value may be kept, whose set has `ttl`: a signature has the
    /// time of what it signs, and says it (RFC 4034 section 3.1.4).
    #[must_use]
    pub fn ttl(self, kind: Kind, ttl: u32) -> u32 {
        let signed = self.0.get(4..).and_then(|behind| behind.first_chunk());
        let signed = signed.filter(|_| kind == Kind::RRSIG);
        signed.map_or(ttl, |signed| u32::from_be_bytes(*signed))
    }

    /// Seconds that a denial may be kept, if it is a SOA record's.
    #[must_use]
    pub fn minimum(self) -> Option<u32> {
        self.0.last_chunk().copied().map(u32::from_be_bytes)
    }

    /// The address that it is, if it has the length of one: of A and AAAA records.
    #[must_use]
    pub fn as_address(self) -> Option<IpAddr> {
        match self.0.len() {
            4 => <[u8; 4]>::try_from(self.0).ok().map(|octets| Ipv4Addr::from(octets).into()),
            16 => <[u8; 16]>::try_from(self.0).ok().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    /// By its name where this code has one, and otherwise as RFC 3597 section 5 writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::A => "A",
            Self::NS => "NS",
            Self::CNAME => "CNAME",
            Self::SOA => "SOA",
            Self::PTR => "PTR",
            Self::MX => "MX",
            Self::TXT => "TXT",
            Self::AAAA => "AAAA",
            Self::DS => "DS",
            Self::RRSIG => "RRSIG",
            Self::NSEC => "NSEC",
            Self::DNSKEY => "DNSKEY",
            Self::NSEC3 => "NSEC3",
            Self::NSEC3PARAM => "NSEC3PARAM",
            Self::CDS => "CDS",
            Self::CDNSKEY => "CDNSKEY",
            Self::HTTPS => "HTTPS",
            Self::ANY => "ANY",
            Self(number) => return write!(f, "TYPE{number}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// RFC 1035 section 3.3.13; times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the RFC's")]
pub struct Soa {
    pub mname: Name,
    pub rname: Name,
    pub serial: Serial,
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub minimum: u32,
}

/// All records of one type at one name, while they are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Their type.
    pub kind: Kind,
    /// Seconds that they may be kept.
    pub ttl: u32,
    /// Their values, in order and once each; never empty.
    pub data: Vec<Rdata>,
}

impl Set {
    /// The set of these values.
    #[must_use]
    pub fn new(kind: Kind, ttl: u32, data: impl IntoIterator<Item = Rdata>) -> Self {
        let mut data: Vec<_> = data.into_iter().collect();
        data.sort();
        data.dedup();
        Self { kind, ttl, data }
    }
}
