//! Where values have names: in the types that RFC 4034 section 6.2 lists and RFC 6840 section 5.1 leaves,
//! but for A6, which is history (RFC 6563). In those alone names may be compressed on the way (RFC 3597
//! section 4).

use super::record::Kind;

/// Where the first name of a value of `kind` begins, and how many there are, one behind the other.
pub(super) fn names(kind: Kind, data: &[u8]) -> (usize, usize) {
    match kind.0 {
        NS | MD | MF | CNAME | MB | MG | MR | PTR | DNAME => (0, 1),
        SOA | MINFO | RP => (0, 2),
        MX | AFSDB | RT | KX => (2, 1),
        PX => (2, 2),
        SRV => (6, 1),
        NAPTR => (after_strings(data, 4, 3), 1),
        _ => (0, 0),
    }
}

/// Bytes behind the names of a value of `kind` that has some.
pub(super) fn bytes_behind(kind: Kind) -> usize {
    if kind == Kind::SOA { 20 } else { 0 }
}

/// Where so many character-strings end that begin at `at` (RFC 1035 section 3.3).
fn after_strings(data: &[u8], at: usize, count: usize) -> usize {
    (0..count).fold(at, |at, _| at + 1 + data.get(at).copied().map_or(0, usize::from))
}

const NS: u16 = Kind::NS.0;
const MD: u16 = 3;
const MF: u16 = 4;
const CNAME: u16 = Kind::CNAME.0;
const SOA: u16 = Kind::SOA.0;
const MB: u16 = 7;
const MG: u16 = 8;
const MR: u16 = 9;
const PTR: u16 = Kind::PTR.0;
const MINFO: u16 = 14;
const MX: u16 = Kind::MX.0;
const RP: u16 = 17;
const AFSDB: u16 = 18;
const RT: u16 = 21;
const PX: u16 = 26;
const SRV: u16 = 33;
const NAPTR: u16 = 35;
const KX: u16 = 36;
const DNAME: u16 = 39;
