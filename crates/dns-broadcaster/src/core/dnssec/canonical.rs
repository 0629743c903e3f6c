//! The form in which names and values are signed and put in order (RFC 4034 section 6).

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::super::layout;
use super::super::name::Wire;
use super::super::record::{Kind, Rdata, Set};

/// The order of names by their keys: label by label from the root, each as bytes (RFC 4034 section
/// 6.1). The order of keys is another one, where a label's length comes first.
pub(super) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        match (split(one), split(other)) {
            (Some((label, rest)), Some((other_label, other_rest))) => match label.cmp(other_label) {
                Ordering::Equal => (one, other) = (rest, other_rest),
                order => return order,
            },
            (one, other) => return one.is_some().cmp(&other.is_some()),
        }
    }
}

/// The label that a key begins with, and what follows.
fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = key.split_first()?;
    rest.split_at_checked(length.into())
}

/// Labels that an RRSIG of the name with this key counts: neither the root nor a leading `*`
/// (RFC 4034 section 3.1.3).
pub(super) fn labels(key: &[u8]) -> u8 {
    let (mut count, mut rest, mut last) = (0, key, &[][..]);
    while let Some((label, tail)) = split(rest) {
        (count, rest, last) = (count + 1, tail, label);
    }
    count - u8::from(last == b"*")
}

/// Appends the records of `set` at the name whose key is `owner`, as they are signed (RFC 4034
/// section 3.1.8.1): each whole, in the order of their values, once each.
pub(super) fn write(owner: &[u8], set: &Set, bytes: &mut Vec<u8>) {
    let mut values: Vec<Vec<u8>> = set.data.iter().map(|data| value(set.kind, data.as_bytes())).collect();
    values.sort();
    values.dedup();
    let owner = Wire::of(owner);
    for value in values {
        bytes.extend(owner.as_slice());
        bytes.extend(set.kind.0.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(set.ttl.to_be_bytes());
        // A value keeps the limits of the wire.
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value);
    }
}

/// The value with its names in lower case, in the types that have some.
pub(in crate::core) fn value(kind: Kind, data: &[u8]) -> Vec<u8> {
    let mut value = data.to_vec();
    let (start, names) = layout::names(kind, data);
    let mut at = start;
    for _ in 0..names {
        while let Some(&length @ 1..) = value.get(at) {
            let end = at + 1 + usize::from(length);
            if let Some(label) = value.get_mut(at + 1..end) {
                label.make_ascii_lowercase();
            }
            at = end;
        }
        at += 1;
    }
    value
}

/// Whether two values are the same, whatever the letters of the names in them (RFC 2136 section 1.1.1).
pub(in crate::core) fn is_same(kind: Kind, one: &Rdata, other: &Rdata) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    one == other || one.eq_ignore_ascii_case(other) && value(kind, one) == value(kind, other)
}

#[cfg(test)]
mod tests {
    use super::super::super::name::Name;
    use super::*;

    fn key(labels: &[&[u8]]) -> Name {
        Name::from_root(labels.iter().rev().copied()).unwrap()
    }

    #[test]
    fn names_are_in_the_order_of_the_rfcs_example() {
        // RFC 4034 section 6.1.
        let sorted: [&[&[u8]]; 9] = [
            &[b"example"],
            &[b"a", b"example"],
            &[b"yljkjljk", b"a", b"example"],
            &[b"Z", b"a", b"example"],
            &[b"zABC", b"a", b"EXAMPLE"],
            &[b"z", b"example"],
            &[b"\x01", b"z", b"example"],
            &[b"*", b"z", b"example"],
            &[b"\xc8", b"z", b"example"],
        ];
        let keys: Vec<_> = sorted.iter().map(|labels| key(labels)).collect();
        for pair in keys.windows(2) {
            assert_eq!(compare(pair[0].as_bytes(), pair[1].as_bytes()), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1].as_bytes(), pair[0].as_bytes()), Ordering::Greater, "{pair:?}");
            assert_eq!(compare(pair[0].as_bytes(), pair[0].as_bytes()), Ordering::Equal);
        }
    }

    #[test]
    fn a_wildcard_counts_one_label_less() {
        assert_eq!(labels(&[]), 0);
        assert_eq!(labels(key(&[b"a", b"example"]).as_bytes()), 2);
        assert_eq!(labels(key(&[b"*", b"a", b"example"]).as_bytes()), 2);
        assert_eq!(labels(key(&[b"a", b"*", b"example"]).as_bytes()), 3);
    }

    #[test]
    fn names_in_values_are_signed_in_lower_case_and_nothing_else_is() {
        for (kind, spelled, signed) in [
            (2, &b"\x02Ns\x01X\0"[..], &b"\x02ns\x01x\0"[..]),
            (6, b"\x01A\0\x01B\0AAAABBBBCCCCDDDDEEEE", b"\x01a\0\x01b\0AAAABBBBCCCCDDDDEEEE"),
            (15, b"AA\x01A\0", b"AA\x01a\0"),
            (33, b"AABBCC\x01A\0", b"AABBCC\x01a\0"),
            (35, b"AAAA\x01U\x03E2U\x00\x01A\0", b"AAAA\x01U\x03E2U\x00\x01a\0"),
            (16, b"\x03TXT", b"\x03TXT"),
            // RFC 6840 section 5.1.
            (47, b"\x01A\0\x00\x01\x40", b"\x01A\0\x00\x01\x40"),
        ] {
            assert_eq!(value(Kind(kind), spelled), signed, "{kind}");
        }
    }

    #[test]
    fn values_that_are_the_same_without_case_are_signed_once_and_in_order() {
        let data = [&b"\x01b\0"[..], b"\x01B\0", b"\x01a\0"].map(|data| Rdata::from_wire(data.to_vec()));
        let mut bytes = Vec::new();
        write(key(&[b"Z"]).as_bytes(), &Set::new(Kind::NS, 7, data), &mut bytes);
        assert_eq!(
            bytes,
            b"\x01z\0\0\x02\0\x01\0\0\0\x07\0\x03\x01a\0\x01z\0\0\x02\0\x01\0\0\0\x07\0\x03\x01b\0"
        );
    }
}
