//! What a link protects.

use alloc::string::String;
use core::fmt;

/// Whether content accepts writes on a system. Unknown is read-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessMode {
    /// Reads only.
    #[default]
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "RO",
            Self::ReadWrite => "RW",
        })
    }
}

/// The kind of a [`Content`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentKind {
    /// A tenant with its namespaces, credentials and settings.
    Tenant,
    /// A top-level directory of the default namespace, with the tree beneath it.
    Directory,
}

impl fmt::Display for ContentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Directory => "directory",
        })
    }
}

/// Names one content for ever, on every system that holds it: random, made with the content. Two
/// tenants of the same name made on two systems have different ids, and are never merged blindly.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub [u8; 16]);

impl ContentId {
    /// The identifier held in `bytes`, if there are exactly sixteen of them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The sixteen bytes, as the wire carries them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tenant or a directory: the unit that a link protects and that an access mode governs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// Tenant or directory.
    pub kind: ContentKind,
    /// Unique among the contents of its kind on one system.
    pub name: String,
    /// What tells it from another content of the same name.
    pub id: ContentId,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
