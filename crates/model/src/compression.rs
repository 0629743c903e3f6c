//! How bytes are packed on their way between two systems.

use core::fmt;

/// What a link does to what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Bytes leave as they are.
    #[default]
    None,
    /// Zstandard (RFC 8878), where it makes them shorter.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Zstd => "zstd",
        })
    }
}
