//! Names by their hashes (RFC 5155): what a denial is proved from where a zone's names are not to be
//! listed.
//!
//! The records stand beside those of the zone, in a table of their own, and not in the chain themselves:
//! nobody asks for a hashed name, and it exists no more than any other that is not in the zone (RFC 5155
//! section 7.2.8), so that a question finds neither it nor what encloses it.
//!
//! Zones that are signed here have no salt and no iterations (RFC 9276 section 3.1), and no delegation is
//! left out of the chain (RFC 5155 section 6): that saves where millions of them are unsigned, and would
//! let anybody forge one. Zones that are taken from elsewhere may have all three.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::super::name::{Name, NameBuf, Wire};
use super::super::record::Rdata;

/// RFC 5155 section 11: SHA-1, the only one. Who could make two names of one hash could have one of them
/// denied; nobody has made a collision that short, and names here are labels of hosts.
const ALGORITHM: u8 = 1;
const HASH_BYTES: usize = 20;
/// In base32, five bits a letter.
const LABEL_BYTES: usize = 32;
/// RFC 4648 section 7, in the case of keys: its order is that of the bits.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// RFC 9276 section 3.2: validators take a zone with more for unsigned, or refuse it.
const ITERATIONS_MAX: u16 = 100;

/// A name's hash.
pub(super) type Hash = [u8; HASH_BYTES];

/// How names are hashed in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashing {
    iterations: u16,
    salt: Box<[u8]>,
}

impl Hashing {
    /// RFC 9276 section 3.1.
    pub(super) fn plain() -> Self {
        Self { iterations: 0, salt: Box::default() }
    }

    /// That of the NSEC3PARAM or NSEC3 record with this value (RFC 5155 sections 3.2 and 4.2); `None` when
    /// it is none that is computed here.
    pub(super) fn of_rdata(data: &[u8]) -> Option<Self> {
        let (&[ALGORITHM, _, high, low, length], rest) = data.split_first_chunk()? else { return None };
        let iterations = u16::from_be_bytes([high, low]);
        let salt = rest.get(..length.into())?.into();
        (iterations <= ITERATIONS_MAX).then_some(Self { iterations, salt })
    }

    /// RFC 5155 section 5.
    pub(super) fn hash(&self, name: &[u8]) -> Hash {
        use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
        let once = |bytes: &[u8]| {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(bytes);
            context.update(&self.salt);
            context.finish().as_ref().first_chunk().copied().unwrap_or_default()
        };
        (0..self.iterations).fold(once(Wire::of(name).as_slice()), |hash: Hash, _| once(&hash))
    }

    /// The key of the name in the zone of `origin` whose NSEC3 record is that of `name`, if it has one.
    pub(super) fn owner(&self, origin: &[u8], name: &[u8]) -> Option<NameBuf> {
        owner(origin, &self.hash(name))
    }

    /// The value of the zone's NSEC3PARAM record (RFC 5155 section 4.2).
    pub(super) fn parameters(&self) -> Rdata {
        Rdata::from_wire(self.start())
    }

    /// The value of the NSEC3 record of a name that has records of `kinds`, written as it has them, when `next` is
    /// the next hash (RFC 5155 section 3.2).
    pub(super) fn nsec3(&self, next: &Hash, kinds: &[u8]) -> Rdata {
        let mut data = self.start();
        data.push(HASH_BYTES as u8);
        data.extend(next);
        data.extend(kinds);
        Rdata::from_wire(data)
    }

    /// The types in the NSEC3 record with this value, which [`Hashing::nsec3`] gave.
    pub(super) fn kinds<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        data.get(self.start().len() + 1 + HASH_BYTES..)
    }

    fn start(&self) -> Vec<u8> {
        let [high, low] = self.iterations.to_be_bytes();
        // A salt came behind its length.
        let mut data = [ALGORITHM, 0, high, low, self.salt.len() as u8].to_vec();
        data.extend(&self.salt);
        data
    }
}

/// The key of the name of a hash in the zone of `origin`, when there is room for it.
pub(super) fn owner(origin: &[u8], hash: &Hash) -> Option<NameBuf> {
    NameBuf::child(origin, &label(hash))
}

/// The hash that [`owner`] gave this key for.
pub(super) fn of_owner(owner: &[u8]) -> Option<Hash> {
    let label: &[u8; LABEL_BYTES] = owner.last_chunk()?;
    let mut hash = Hash::default();
    for (bytes, letters) in hash.chunks_exact_mut(5).zip(label.chunks_exact(8)) {
        let mut bits = 0_u64;
        for letter in letters {
            bits = bits << 5 | LETTERS.binary_search(letter).ok()? as u64;
        }
        bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(hash)
}

/// Whether names beneath this one have room for a hash.
pub(super) fn has_room(origin: &Name) -> bool {
    owner(origin.as_bytes(), &Hash::default()).is_some()
}

/// In base32 with the extended hex alphabet (RFC 5155 section 1.3): twenty bytes leave nothing to fill up.
fn label(hash: &Hash) -> [u8; LABEL_BYTES] {
    let mut label = [0; LABEL_BYTES];
    for (letters, bytes) in label.chunks_exact_mut(8).zip(hash.chunks_exact(5)) {
        let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for (letter, shift) in letters.iter_mut().zip((0..40).step_by(5).rev()) {
            *letter = LETTERS[(bits >> shift & 31) as usize];
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Kind;
    use super::super::chain;
    use super::*;

    #[test]
    fn names_are_hashed_as_the_rfc_hashes_them() {
        // RFC 5155 appendix A.
        let hashing = Hashing::of_rdata(b"\x01\x01\x00\x0c\x04\xaa\xbb\xcc\xdd and the rest").unwrap();
        for (name, hash) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("x.w.example", "b4um86eghhds6nea196smvmlo4ors995"),
            ("xx.example", "t644ebqk9bibcna874givr6joj62mlhv"),
        ] {
            let key = Name::parse(name).unwrap();
            let owner = hashing.owner(b"\x07example", key.as_bytes()).unwrap();
            assert_eq!(Name::from(&owner).to_string(), format!("{hash}.example"), "{name}");
            assert_eq!(of_owner(owner.as_bytes()), Some(hashing.hash(key.as_bytes())));
        }
        let wildcard = Name::from_root([&b"example"[..], b"w", b"*"].into_iter()).unwrap();
        let hash = hashing.hash(wildcard.as_bytes());
        assert_eq!(&label(&hash), b"r53bq7cc2uvmubfu5ocmm6pers9tk9en");
    }

    #[test]
    fn a_value_is_the_one_of_the_rfcs_example() {
        // RFC 5155 appendix A, of the zone's own name, but for its opt-out.
        let hashing = Hashing::of_rdata(b"\x01\x00\x00\x0c\x04\xaa\xbb\xcc\xdd").unwrap();
        assert_eq!(hashing.parameters().as_bytes(), b"\x01\x00\x00\x0c\x04\xaa\xbb\xcc\xdd");
        let next = hashing.hash(Name::parse("ns1.example").unwrap().as_bytes());
        assert_eq!(&label(&next), b"2t7b4g4vsa5smi47k61mv5bv1a22bojr");
        let mut kinds = [Kind::MX, Kind::DNSKEY, Kind::NS, Kind::SOA, Kind::NSEC3PARAM, Kind::RRSIG];
        let mut written = Vec::new();
        chain::write_kinds(&mut kinds, &mut written);
        let value = hashing.nsec3(&next, &written);
        assert_eq!(hashing.kinds(value.as_bytes()), Some(&written[..]));
        let [before, behind] = [&value.as_bytes()[..10], &value.as_bytes()[30..]];
        assert_eq!(before, b"\x01\x00\x00\x0c\x04\xaa\xbb\xcc\xdd\x14");
        assert_eq!(behind, b"\x00\x07\x22\x01\x00\x00\x00\x02\x90");
        let bare = Hashing::plain().nsec3(&next, &[]);
        assert_eq!(bare.as_bytes().len(), 5 + 1 + HASH_BYTES, "of a name without records");
    }

    #[test]
    fn what_would_take_long_is_not_computed() {
        assert_eq!(Hashing::of_rdata(b"\x01\x00\x00\x65\x00"), None);
        assert_eq!(Hashing::of_rdata(b"\x02\x00\x00\x00\x00"), None, "another algorithm");
        assert_eq!(Hashing::of_rdata(b"\x01\x00\x00\x00\x04\xaa"), None, "a salt that is cut off");
        assert_eq!(Hashing::of_rdata(b"\x01\x00\x00\x00\x00"), Some(Hashing::plain()));
    }
}
