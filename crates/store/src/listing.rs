//! Listing objects with prefix and delimiter.

use switchback_model::Version;

use crate::record::Object;

/// S3's page size, and the most that one call answers.
pub const LIST_MAX: usize = 1000;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that share what follows the prefix up to this are one common prefix. Empty: none.
    pub delimiter: String,
    /// After this key or common prefix, exclusive. Empty: from the start.
    pub start_after: String,
    /// Objects and common prefixes together; at most [`LIST_MAX`].
    pub keys_max: usize,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// In order of key bytes, without their bodies.
    pub objects: Vec<ObjectEntry>,
    /// In order.
    pub common_prefixes: Vec<String>,
    /// Where the next page starts; absent at the end.
    pub next_start_after: Option<String>,
}

/// An object with its key and version. `object.body` is empty unless it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectEntry {
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// Everything else.
    pub object: Object,
}
