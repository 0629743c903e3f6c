//! The names of a zone that own something, in a circle: what a denial is proved from (RFC 4034
//! section 4).
//!
//! NSEC, and the whole chain, rather than answers made up for each question (RFC 9824): those need the
//! private key at the moment of the question, and a name server that follows and has no key has to
//! prove its denials from what it was transferred. That the chain lets everybody list the zone's names
//! is no loss for names of systems and tenants, whose certificates are in public logs.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::super::name::{Name, Wire};
use super::super::record::{Kind, Rdata};
use super::super::table::{Builder, Key, Table};
use super::canonical::{Bytes, Ordered};

/// See the module. A copy shares what it has with what it was made from, and one name more or less costs what
/// that takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain(Table);

impl Chain {
    /// The chain of the names with these keys, in any order, in a table with the key `key`.
    pub(super) fn of<'a>(key: Key, names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut forms: Vec<Box<[u8]>> = names.map(|name| Ordered::of(name).as_bytes().into()).collect();
        forms.sort_unstable();
        let mut table = Builder::keyed(key);
        forms.iter().for_each(|form| table.push(form, &[]));
        Self(table.finish())
    }

    /// Number of names.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Lets the name be in the chain, or not; whether it was otherwise before.
    pub(super) fn set(&mut self, name: &[u8], is_in: bool) -> bool {
        let form = Ordered::of(name);
        let form = form.as_bytes();
        let is_other = self.0.get(form).is_some() != is_in;
        if is_other && is_in {
            self.0.insert(form, &[]);
        } else if is_other {
            self.0.remove(form);
        }
        is_other
    }

    /// The name of the chain that is `name` or comes last before it: its NSEC matches the name, or
    /// covers it. The zone's own name comes before every other.
    pub(super) fn last_until(&self, name: &[u8]) -> Option<Bytes> {
        let (form, _) = self.0.last_until(Ordered::of(name).as_bytes())?;
        Some(Ordered::key_of(form))
    }

    /// The name behind this one, in a circle.
    pub(super) fn following(&self, name: &[u8]) -> Option<Bytes> {
        let (form, _) = self.0.following(Ordered::of(name).as_bytes())?;
        Some(Ordered::key_of(form))
    }

    /// The name before this one, in a circle.
    pub(super) fn preceding(&self, name: &[u8]) -> Option<Name> {
        let (form, _) = self.0.preceding(Ordered::of(name).as_bytes())?;
        Some(Name::from_key(Ordered::key_of(form).as_slice()))
    }
}

/// The value of the NSEC record of a name that has records of `kinds`, when `next` is the key of the next one
/// (RFC 4034 section 4.1).
pub(super) fn nsec(next: &[u8], kinds: &mut [Kind]) -> Rdata {
    let mut data = Wire::of(next).as_slice().to_vec();
    write_kinds(kinds, &mut data);
    Rdata::from_wire(data)
}

/// Appends which of all types there are (RFC 4034 section 4.1.2).
pub(super) fn write_kinds(kinds: &mut [Kind], data: &mut Vec<u8>) {
    kinds.sort_unstable();
    for window in kinds.chunk_by(|one, other| one.0 >> 8 == other.0 >> 8) {
        let mut map = [0_u8; 32];
        let mut bytes = 0;
        for kind in window {
            let [number, low] = kind.0.to_be_bytes();
            let at = usize::from(low / 8);
            map[at] |= 0x80 >> (low % 8);
            if bytes == 0 {
                data.push(number);
            }
            bytes = at + 1;
        }
        data.push(bytes as u8);
        data.extend(&map[..bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_one_of_the_rfcs_example() {
        // RFC 4034 section 4.3.
        let next = Name::parse("host.example.com").unwrap();
        let mut kinds = [Kind(1234), Kind::A, Kind::MX, Kind::NSEC, Kind::RRSIG];
        let mut expected = b"\x04host\x07example\x03com\0\x00\x06\x40\x01\x00\x00\x00\x03\x04\x1b".to_vec();
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(nsec(next.as_bytes(), &mut kinds).as_bytes(), expected);
    }

    #[test]
    fn the_name_before_is_found() {
        let names = ["c.z", "bb.z", "z", "c.bb.z", "a.z"].map(|name| Name::parse(name).unwrap());
        let chain = Chain::of(Key::default(), names.iter().map(Name::as_bytes));
        for (asked, found) in [
            ("z", "z"),
            ("0.z", "z"),
            ("a.z", "a.z"),
            ("x.a.z", "a.z"),
            ("b.z", "a.z"),
            ("bbb.z", "c.bb.z"),
            ("b.bb.z", "bb.z"),
            ("d.z", "c.z"),
        ] {
            let key = |text| Name::parse(text).unwrap();
            let until = chain.last_until(key(asked).as_bytes()).unwrap();
            assert_eq!(until.as_slice(), key(found).as_bytes(), "{asked}");
        }
    }
}
