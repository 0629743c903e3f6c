//! Domain names, in the one form in which they are compared.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;

/// RFC 1035 section 2.3.4, with the root's zero byte left out.
const NAME_BYTES_MAX: usize = 254;
/// RFC 1035 section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// A name of one-byte labels has 127 of them.
const LABELS_MAX: usize = 127;

/// A domain name in lower case: its labels from the root down, each behind its length.
///
/// So the bytes of an ancestor are a prefix of the bytes of its descendants, and a map ordered by
/// these bytes finds a name, its zone and its closest encloser by looking up slices of one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why a text is no name of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name has no label, or a label has no letter.
    #[error("{0:?} has an empty label")]
    EmptyLabel(String),
    /// A label or the whole name exceeds RFC 1035 section 2.3.4.
    #[error("{0:?} is too long: a label has at most 63 bytes, a name at most 253")]
    TooLong(String),
    /// Zones and name servers are host names.
    #[error("{0:?} may hold only letters, digits, '-' and '_'")]
    Character(String),
}

impl Name {
    /// Parses a host name; a final dot and upper case are taken.
    ///
    /// # Errors
    /// It is empty, too long, or holds a character that is no host name's.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.split('.').any(str::is_empty) {
            return Err(InvalidName::EmptyLabel(text.to_owned()));
        }
        if !bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(InvalidName::Character(text.to_owned()));
        }
        Self::from_root(bare.rsplit('.').map(str::as_bytes))
            .ok_or_else(|| InvalidName::TooLong(text.to_owned()))
    }

    /// The name of these labels, the one next to the root first. `None` when a label is empty or
    /// it is too long.
    pub fn from_root<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(64);
        for label in labels {
            let length = u8::try_from(label.len()).ok()?;
            if !(1..=LABEL_BYTES_MAX).contains(&label.len()) {
                return None;
            }
            bytes.push(length);
            bytes.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        (bytes.len() <= NAME_BYTES_MAX).then(|| Self(bytes.into()))
    }

    /// `label.self`, when that is a name.
    #[must_use]
    pub fn child(&self, label: &str) -> Option<Self> {
        Self::from_root(self.from_the_root().chain([label.as_bytes()]))
    }

    /// The labels, the one next to the root first.
    pub fn from_the_root(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        core::iter::from_fn(move || {
            let (&length, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at(usize::from(length));
            rest = tail;
            Some(label)
        })
    }

    /// Bytes of the name on the wire.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.0.len() + 1
    }

    /// Appends the name as the wire carries it, uncompressed (RFC 1035 section 3.1).
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        let mut labels: Vec<&[u8]> = self.from_the_root().collect();
        labels.reverse();
        for label in labels {
            bytes.extend(u8::try_from(label.len()));
            bytes.extend(label);
        }
        bytes.push(0);
    }

    /// The uncompressed name that `bytes` begin with.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut rest = bytes;
        loop {
            let (&length, tail) = rest.split_first()?;
            if length == 0 {
                return Self::from_root(labels.into_iter().rev());
            }
            let (label, tail) = tail.split_at_checked(usize::from(length))?;
            labels.push(label);
            rest = tail;
        }
    }

    /// Number of labels; the root has none.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.from_the_root().count()
    }

    /// True for `other` itself and for every name beneath it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// This name and its ancestors, itself first and the root last, as keys for maps of names.
    pub(crate) fn upward(&self) -> Upward<'_> {
        let mut ends = [0; LABELS_MAX + 1];
        let (mut count, mut end) = (1, 0);
        for label in self.from_the_root() {
            end += 1 + label.len();
            ends[count] = end;
            count += 1;
        }
        Upward { name: &self.0, ends, count }
    }

    /// The key of the wildcard beneath the ancestor whose key is `encloser`.
    pub(crate) fn wildcard_key(encloser: &[u8]) -> Vec<u8> {
        [encloser, b"\x01*"].concat()
    }
}

/// See [`Name::upward`].
pub(crate) struct Upward<'a> {
    name: &'a [u8],
    ends: [usize; LABELS_MAX + 1],
    count: usize,
}

impl<'a> Iterator for Upward<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        Some(&self.name[..self.ends[self.count]])
    }
}

/// Sound because `Name` derives its order from the same bytes.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.from_the_root().collect();
        if labels.is_empty() {
            return f.write_str(".");
        }
        for (at, label) in labels.into_iter().rev().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            write!(f, "{}", label.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_name_is_compared_without_case_and_final_dot() {
        assert_eq!(
            Name::parse("Acme.East.example.COM.").unwrap(),
            Name::parse("acme.east.example.com").unwrap()
        );
        assert_eq!(Name::parse("Acme.East.example.com").unwrap().to_string(), "acme.east.example.com");
    }

    #[test]
    fn an_ancestor_is_told_from_a_name_that_only_ends_alike() {
        let [zone, below, alike] =
            ["east.com", "a.east.com", "least.com"].map(|text| Name::parse(text).unwrap());
        assert!(below.is_within(&zone) && zone.is_within(&zone));
        assert!(!alike.is_within(&zone) && !zone.is_within(&below));
    }

    #[test]
    fn a_name_walks_up_to_the_root() {
        let name = Name::parse("a.bc.d").unwrap();
        let keys: Vec<_> = name.upward().map(<[u8]>::to_vec).collect();
        assert_eq!(
            keys,
            vec![b"\x01d\x02bc\x01a".to_vec(), b"\x01d\x02bc".to_vec(), b"\x01d".to_vec(), vec![]]
        );
    }

    #[test]
    fn a_name_goes_over_the_wire_and_back() {
        let name = Name::parse("a.bc.d").unwrap();
        let mut bytes = Vec::new();
        name.write(&mut bytes);
        assert_eq!((bytes.as_slice(), bytes.len()), (&b"\x01a\x02bc\x01d\0"[..], name.wire_bytes()));
        bytes.extend(b"what follows");
        assert_eq!(Name::read(&bytes), Some(name));
        for broken in [&b""[..], b"\x01a", b"\x05a\0", b"\xc0\x0c"] {
            assert_eq!(Name::read(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        for text in ["", ".", "a..b", ".a"] {
            assert!(matches!(Name::parse(text), Err(InvalidName::EmptyLabel(_))), "{text}");
        }
        assert!(matches!(Name::parse("*.a"), Err(InvalidName::Character(_))));
        assert!(matches!(Name::parse(&"a".repeat(64)), Err(InvalidName::TooLong(_))));
        assert!(matches!(Name::parse(&vec!["abcdefg"; 32].join(".")), Err(InvalidName::TooLong(_))));
        // The longest name there is has 127 labels; walking up it stays within bounds.
        let deepest = Name::parse(&vec!["a"; 127].join(".")).unwrap();
        assert_eq!(deepest.upward().count(), 128);
    }
}
