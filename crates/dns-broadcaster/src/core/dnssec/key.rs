//! Keys as zones publish them: DNSKEY, and DS, CDS and CDNSKEY made of it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::super::name::Name;
use super::super::record::{Kind, Rdata, Set};

/// RFC 4034 section 2.1.1: a key of the zone, to which the parent's DS points. The key that signs
/// everything has both bits.
const FLAGS: u16 = 0x0101;
/// RFC 4034 section 2.1.2.
const PROTOCOL: u8 = 3;
/// SHA-256 (RFC 4509), which every validator knows.
const DIGEST_SHA256: u8 = 2;

/// How a key signs. Those of RFC 8624 section 3.1 that are recommended for signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605).
    EcdsaP256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl Algorithm {
    /// As the registry numbers it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::EcdsaP256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// The algorithm of this number, if it is one of ours.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::EcdsaP256, Self::Ed25519].into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// Bytes of its public keys.
    fn key_bytes(self) -> usize {
        match self {
            Self::EcdsaP256 => 64,
            Self::Ed25519 => 32,
        }
    }
}

/// The public half of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// The key of these bytes, in the form of its algorithm's RFC; `None` when it has another length.
    #[must_use]
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.key_bytes()).then(|| Self { algorithm, bytes: bytes.into() })
    }

    /// The key of this DNSKEY value; `None` when it is not one of ours.
    #[must_use]
    pub fn of_rdata(data: &[u8]) -> Option<Self> {
        let (&[high, low, PROTOCOL, algorithm], bytes) = data.split_first_chunk()? else { return None };
        let algorithm = Algorithm::of_number(algorithm)?;
        if u16::from_be_bytes([high, low]) == FLAGS { Self::new(algorithm, bytes) } else { None }
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value of its DNSKEY record.
    #[must_use]
    pub fn rdata(&self) -> Vec<u8> {
        let [high, low] = FLAGS.to_be_bytes();
        let mut data = [high, low, PROTOCOL, self.algorithm.number()].to_vec();
        data.extend(&self.bytes);
        data
    }

    /// Its number, which other keys may have too (RFC 4034 appendix B).
    #[must_use]
    pub fn tag(&self) -> u16 {
        let words = self.rdata();
        let words = words.chunks(2).map(|word| match *word {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(high) << 8,
            _ => 0,
        });
        let sum: u32 = words.sum();
        // So the RFC folds it: once.
        (sum.wrapping_add(sum >> 16) & 0xffff) as u16
    }

    /// The value of the DS record of `zone` (RFC 4034 section 5.1).
    #[must_use]
    pub fn ds(&self, zone: &Name) -> Vec<u8> {
        let mut signed = Vec::new();
        zone.write(&mut signed);
        signed.extend(self.rdata());
        let digest = ring::digest::digest(&ring::digest::SHA256, &signed);
        let [high, low] = self.tag().to_be_bytes();
        let mut data = [high, low, self.algorithm.number(), DIGEST_SHA256].to_vec();
        data.extend(digest.as_ref());
        data
    }
}

impl PublicKey {
    /// The value of the DS record of `zone`, as a zone file has it (RFC 4034 section 5.3).
    #[must_use]
    pub fn ds_text(&self, zone: &Name) -> String {
        let ds = self.ds(zone);
        let digest: String = ds.iter().skip(4).map(|byte| format!("{byte:02X}")).collect();
        format!("{} {} {DIGEST_SHA256} {digest}", self.tag(), self.algorithm.number())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Ed25519 => "ed25519",
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.algorithm, self.tag())
    }
}

/// What a zone says of its keys: DNSKEY, and what the parent shall take over (RFC 7344), if it shall.
pub(super) fn apex_sets(zone: &Name, keys: &[PublicKey], is_secure: bool, ttl: u32) -> Vec<Set> {
    let keyed = |kind| Set::new(kind, ttl, keys.iter().map(|key| Rdata::from_wire(key.rdata())));
    let mut sets = [keyed(Kind::DNSKEY)].to_vec();
    if is_secure {
        sets.extend([Set { kind: Kind::CDS, ..ds_set(zone, keys, ttl) }, keyed(Kind::CDNSKEY)]);
    }
    sets
}

/// What the zone above `zone` says of its keys.
#[must_use]
pub fn ds_set(zone: &Name, keys: &[PublicKey], ttl: u32) -> Set {
    Set::new(Kind::DS, ttl, keys.iter().map(|key| Rdata::from_wire(key.ds(zone))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    #[test]
    fn a_ds_is_the_one_of_the_rfcs_example() {
        // RFC 6605 section 6.1 and RFC 8080 section 6.1.
        let decode = |text| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let ecdsa =
            "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==";
        for (algorithm, key, tag, digest) in [
            (
                Algorithm::EcdsaP256,
                ecdsa,
                55648,
                "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
            ),
            (
                Algorithm::Ed25519,
                "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
                3613,
                "3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
            ),
        ] {
            let key = PublicKey::new(algorithm, &decode(key)).unwrap();
            assert_eq!(key.tag(), tag);
            let ds = key.ds(&Name::parse(if tag == 3613 { "example.com" } else { "example.net" }).unwrap());
            assert_eq!(ds[4..].iter().map(|byte| format!("{byte:02x}")).collect::<String>(), digest);
            assert_eq!(ds[..4], [(tag >> 8) as u8, tag as u8, algorithm.number(), 2]);
            assert_eq!(PublicKey::of_rdata(&key.rdata()), Some(key));
        }
    }
}
