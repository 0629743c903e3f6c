//! Digests: an order-independent hash of what is visible, kept up to date by every batch.
//!
//! Each visible record is hashed with its key, version and content; a range's digest is the sum of
//! these numbers, wrapping at 256 bits, with their count. Adding and taking away are each other's
//! undoing, so a change costs two hashes whatever the content holds. (A sum of strong hashes
//! resists accidents, not an adversary who may choose thousands of records: neither side of a link
//! is one.)

use crate::access::Digest;
use crate::codec::{self, payload_bytes};
use crate::error::{Error, Result};
use crate::key;
use crate::record::{Payload, Record, RecordKey};

/// A count of records and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) records: u64,
    pub(crate) total: [u8; 32],
}

impl Sum {
    /// Counts `hash` in.
    pub(crate) fn add(&mut self, hash: &[u8; 32]) {
        self.records += 1;
        let mut carry = 0;
        for (sum, byte) in self.total.iter_mut().zip(hash).rev() {
            let wide = u16::from(*sum) + u16::from(*byte) + carry;
            *sum = wide.to_be_bytes()[1];
            carry = wide >> 8;
        }
    }

    /// Takes `hash`, which was counted in, out again.
    pub(crate) fn subtract(&mut self, hash: &[u8; 32]) {
        self.records -= 1;
        let mut borrow = 0;
        for (sum, byte) in self.total.iter_mut().zip(hash).rev() {
            let wide = 0x100 + u16::from(*sum) - u16::from(*byte) - borrow;
            *sum = wide.to_be_bytes()[1];
            borrow = u16::from(wide < 0x100);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.records.to_be_bytes()[..], &self.total].concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self> {
        let corrupt = || Error::Corrupt { what: "digest" };
        let (records, total) = row.split_at_checked(8).ok_or_else(corrupt)?;
        Ok(Self { records: key::number(records)?, total: total.try_into().map_err(|_| corrupt())? })
    }
}

impl From<Sum> for Digest {
    fn from(sum: Sum) -> Self {
        Self { total: sum.total, records: sum.records }
    }
}

/// True for what a digest counts, delete markers among it: neither tombstones nor the notes of conflicts, which say how
/// content came to be and not what it is.
pub(crate) fn is_counted(record: &Record) -> bool {
    !matches!(record.payload, Payload::Deleted | Payload::Divergence(_))
}

/// The range of a record.
pub(crate) fn range_of(key: &RecordKey) -> u8 {
    blake3::hash(&key::name(key)).as_bytes()[0]
}

/// The hash of a counted record.
pub(crate) fn hash(record: &Record) -> [u8; 32] {
    let name = key::name(&record.key);
    let mut lock = Vec::new();
    let content = match &record.payload {
        Payload::Object(object) => {
            lock = codec::lock_bytes(object);
            object.content_hash
        }
        Payload::Deleted
        | Payload::DeleteMarker
        | Payload::Tenant(_)
        | Payload::Namespace(_)
        | Payload::Credential(_)
        | Payload::Divergence(_) => *blake3::hash(&payload_bytes(&record.payload)).as_bytes(),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(name.len() as u64).to_be_bytes());
    hasher.update(&name);
    hasher.update(&record.version.hlc.0.to_be_bytes());
    hasher.update(&record.version.site.0.to_be_bytes());
    hasher.update(&content).update(&lock);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_sum_does_not_depend_on_order_and_can_be_undone(
            hashes in prop::collection::vec(any::<[u8; 32]>(), 1..8),
            extra in any::<[u8; 32]>(),
        ) {
            let sum = |hashes: &mut dyn Iterator<Item = &[u8; 32]>| {
                let mut sum = Sum::default();
                hashes.for_each(|hash| sum.add(hash));
                sum
            };
            let forwards = sum(&mut hashes.iter());
            prop_assert_eq!(forwards, sum(&mut hashes.iter().rev()));
            let mut with_extra = forwards;
            with_extra.add(&extra);
            prop_assert_ne!(with_extra, forwards);
            with_extra.subtract(&extra);
            prop_assert_eq!(with_extra, forwards);
            prop_assert_eq!(Sum::decode(&forwards.encode()).unwrap(), forwards);
        }
    }
}
