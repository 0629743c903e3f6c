//! Domain names, in the one form in which they are compared.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;

/// RFC 1035 section 2.3.4, with the root's zero byte left out.
pub(super) const NAME_BYTES_MAX: usize = 254;
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
        labels(&self.0)
    }

    /// The key for maps of names.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name of this key, which is one of a name's.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Self {
        Self(key.into())
    }

    /// The name of this key; `None` when it is no name's.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let mut rest = key;
        let mut labels = Vec::new();
        while let Some((&length, tail)) = rest.split_first() {
            let (label, tail) = tail.split_at_checked(length.into())?;
            labels.push(label);
            rest = tail;
        }
        Self::from_root(labels.into_iter())
    }

    /// Bytes of the name on the wire.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.0.len() + 1
    }

    /// Appends the name as the wire carries it, uncompressed (RFC 1035 section 3.1).
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(Wire::of(&self.0).as_slice());
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
}

/// A name that was read from a message, in the form of [`Name`] and without a heap.
#[derive(Clone)]
pub struct NameBuf {
    bytes: [u8; NAME_BYTES_MAX],
    length: u8,
}

impl NameBuf {
    /// The uncompressed name that `bytes` begin with; `None` when they do not, or it is too long
    /// (RFC 1035 section 2.3.4).
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        // Where each label's length stands.
        let mut starts = [0_u8; LABELS_MAX];
        let (mut count, mut at) = (0, 0_usize);
        loop {
            let length = usize::from(*bytes.get(at)?);
            if length == 0 {
                break;
            }
            if length > LABEL_BYTES_MAX || at + 1 + length > NAME_BYTES_MAX {
                return None;
            }
            *starts.get_mut(count)? = u8::try_from(at).ok()?;
            count += 1;
            at += 1 + length;
        }
        let mut name = Self { bytes: [0; NAME_BYTES_MAX], length: u8::try_from(at).ok()? };
        let mut rest = &mut name.bytes[..at];
        for &start in starts[..count].iter().rev() {
            let start = usize::from(start);
            let end = start + 1 + usize::from(bytes[start]);
            let (label, tail) = rest.split_at_mut(end - start);
            // A length is below 64, so that it is no letter.
            label.copy_from_slice(&bytes[start..end]);
            label.make_ascii_lowercase();
            rest = tail;
        }
        Some(name)
    }

    /// The key of the wildcard beneath the ancestor whose key is `encloser`, when that is a name.
    pub(crate) fn wildcard(encloser: &[u8]) -> Option<Self> {
        Self::child(encloser, b"*")
    }

    /// The key of the name with this label beneath the one whose key is `parent`, when that is a name. The
    /// label is in lower case.
    pub(crate) fn child(parent: &[u8], label: &[u8]) -> Option<Self> {
        let (at, behind) = (parent.len(), parent.len() + 1);
        let length = u8::try_from(behind + label.len()).ok()?;
        let mut name = Self { bytes: [0; NAME_BYTES_MAX], length };
        name.bytes.get_mut(..at)?.copy_from_slice(parent);
        *name.bytes.get_mut(at)? = u8::try_from(label.len()).ok()?;
        name.bytes.get_mut(behind..behind + label.len())?.copy_from_slice(label);
        Some(name)
    }

    /// The key for maps of names.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Bytes of the name on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        usize::from(self.length) + 1
    }
}

impl From<&NameBuf> for Name {
    fn from(name: &NameBuf) -> Self {
        Self(name.as_bytes().into())
    }
}

/// A name as the wire carries it, without a heap.
pub(crate) struct Wire {
    bytes: [u8; NAME_BYTES_MAX + 1],
    start: u8,
}

impl Wire {
    /// The name whose key is `name`.
    pub(crate) fn of(name: &[u8]) -> Self {
        // Its labels from the root up, each before the last one; the root's zero stands already.
        let mut wire = Self { bytes: [0; NAME_BYTES_MAX + 1], start: NAME_BYTES_MAX as u8 };
        let mut rest = name;
        while let Some(&length) = rest.first() {
            let (label, tail) = rest.split_at(1 + usize::from(length));
            let end = usize::from(wire.start);
            wire.start -= 1 + length;
            wire.bytes[usize::from(wire.start)..end].copy_from_slice(label);
            rest = tail;
        }
        wire
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start.into()..]
    }
}

/// The labels of the name whose key is `name`, the one next to the root first.
pub(crate) fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    core::iter::from_fn(move || {
        let (&length, tail) = rest.split_first()?;
        let (label, tail) = tail.split_at(usize::from(length));
        rest = tail;
        Some(label)
    })
}

/// The name whose key is `name` and its ancestors, itself first and the root last, as keys for maps of
/// names.
pub(crate) fn upward(name: &[u8]) -> Upward<'_> {
    let mut ends = [0; LABELS_MAX + 1];
    let (mut depth, mut end) = (0, 0_u8);
    while let Some(length) = name.get(usize::from(end)) {
        end += 1 + length;
        depth += 1;
        ends[depth] = end;
    }
    Upward { name, ends, count: depth + 1 }
}

/// See [`upward`].
pub(crate) struct Upward<'a> {
    name: &'a [u8],
    /// Where each ancestor's key ends, the root's first.
    ends: [u8; LABELS_MAX + 1],
    count: usize,
}

impl Upward<'_> {
    /// Number of labels of the next name.
    pub(crate) fn depth(&self) -> usize {
        self.count.saturating_sub(1)
    }
}

impl<'a> Iterator for Upward<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        Some(&self.name[..usize::from(self.ends[self.count])])
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
        let keys: Vec<_> = upward(name.as_bytes()).map(<[u8]>::to_vec).collect();
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
        assert_eq!(NameBuf::read(&bytes).unwrap().as_bytes(), name.as_bytes());
        assert_eq!(NameBuf::read(&bytes).unwrap().wire_bytes(), name.wire_bytes());
        let long = b"\x01a".repeat(127);
        for broken in [&b""[..], b"\x01a", b"\x05a\0", b"\xc0\x0c", &[&long[..], b"\x01a\0"].concat()] {
            assert!(NameBuf::read(broken).is_none(), "{broken:?}");
        }
        assert_eq!(NameBuf::read(&[&long[..], b"\0"].concat()).unwrap().wire_bytes(), 255);
    }

    #[test]
    fn a_wildcard_stands_beneath_its_encloser() {
        let encloser = Name::parse("Bc.d").unwrap();
        assert_eq!(NameBuf::wildcard(encloser.as_bytes()).unwrap().as_bytes(), b"\x01d\x02bc\x01*");
        let longest = Name::parse(&vec!["a"; 127].join(".")).unwrap();
        assert!(NameBuf::wildcard(longest.as_bytes()).is_none());
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
        assert_eq!(upward(deepest.as_bytes()).count(), 128);
    }
}
