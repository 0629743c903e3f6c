//! The form in which names and values are signed and put in order (RFC 4034 section 6).

use alloc::vec::Vec;

use super::super::layout;
use super::super::name::{NAME_BYTES_MAX, Wire};
use super::super::record::{Kind, Rdata, Set};

/// A name in the form whose order as bytes is the canonical one: label by label from the root, each as bytes
/// (RFC 4034 section 6.1). The order of keys is another one, where a label's length comes first; here each label
/// ends with a zero byte instead, and its own bytes are above that. There is room for them, since keys have no
/// capitals, so that the form is as long as the key.
pub(super) struct Ordered(Bytes);

/// At most as many bytes as a key has, without a heap.
pub(super) struct Bytes {
    bytes: [u8; NAME_BYTES_MAX],
    length: usize,
}

impl Ordered {
    /// That of the name whose key is `key`.
    pub(super) fn of(key: &[u8]) -> Self {
        let mut form = Bytes::empty();
        let mut rest = key;
        while let Some((label, tail)) = split(rest) {
            label.iter().for_each(|&byte| form.push(if byte < b'A' { byte + 1 } else { byte }));
            form.push(0);
            rest = tail;
        }
        Self(form)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The key of the name that has this form.
    pub(super) fn key_of(form: &[u8]) -> Bytes {
        let mut key = Bytes::empty();
        for label in form.split_inclusive(|&byte| byte == 0) {
            // A label keeps the limits of names.
            key.push((label.len() - 1) as u8);
            let bytes = label.iter().filter(|&&byte| byte != 0);
            bytes.for_each(|&byte| key.push(if byte <= b'A' { byte - 1 } else { byte }));
        }
        key
    }
}

impl Bytes {
    fn empty() -> Self {
        Self { bytes: [0; NAME_BYTES_MAX], length: 0 }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
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
    use proptest::prelude::*;

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
        let forms: Vec<_> = keys.iter().map(|key| Ordered::of(key.as_bytes())).collect();
        for pair in forms.windows(2) {
            assert!(pair[0].as_bytes() < pair[1].as_bytes(), "{}", pair[1].as_bytes().escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn names_are_in_the_order_of_their_labels(
            names in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4), 0..4), 2..8),
        ) {
            for pair in names.windows(2) {
                let lower = |name: &[Vec<u8>]| name.iter().map(|label| label.to_ascii_lowercase()).collect::<Vec<_>>();
                let [one, other] = [&pair[0], &pair[1]].map(|name| {
                    let name = Name::from_root(name.iter().map(Vec::as_slice)).unwrap();
                    let form = Ordered::of(name.as_bytes());
                    assert_eq!(Ordered::key_of(form.as_bytes()).as_slice(), name.as_bytes());
                    form
                });
                prop_assert_eq!(one.as_bytes().cmp(other.as_bytes()), lower(&pair[0]).cmp(&lower(&pair[1])));
            }
        }
    }

    #[test]
    fn the_longest_name_has_room() {
        let name = Name::from_root([&[b'!'; 63][..], &[0; 63], &[255; 63], &[b'z'; 61]].into_iter()).unwrap();
        assert_eq!(Ordered::key_of(Ordered::of(name.as_bytes()).as_bytes()).as_slice(), name.as_bytes());
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
