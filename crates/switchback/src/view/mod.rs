//! What commands answer with: stable structures, the same in tables and in JSON.
//!
//! In JSON, keys are `snake_case`, ids are lower-case hexadecimal, enumerations are lower-case words
//! with `_`, times are Unix milliseconds in keys that end in `_unix_ms` (0: never). Keys are added
//! and never renamed or removed.

pub mod certificate;
pub mod command;
pub mod content;
pub mod dns;
pub mod event;
pub mod import;
pub mod lab;
pub mod link;
pub mod progress;
pub mod report;
pub mod scrub;
pub mod store;
pub mod system;

use switchback_proto::model::v1::{AccessMode, ContentKind};

/// `read_write`, `read_only` or `unknown`.
pub(crate) fn mode_name(mode: i32) -> &'static str {
    match AccessMode::try_from(mode) {
        Ok(AccessMode::ReadWrite) => "read_write",
        Ok(AccessMode::ReadOnly) => "read_only",
        // An isolated primary may well be writable: what is not known is not shown as harmless.
        Ok(AccessMode::Unspecified) | Err(_) => "unknown",
    }
}

/// `RW`, `RO` or `?`, as people write it.
pub(crate) fn mode_short(mode: &str) -> &'static str {
    match mode {
        "read_write" => "RW",
        "read_only" => "RO",
        _ => "?",
    }
}

/// `tenant` or `directory`.
pub(crate) fn kind_name(kind: i32) -> &'static str {
    match ContentKind::try_from(kind) {
        Ok(ContentKind::Tenant) => "tenant",
        Ok(ContentKind::Directory) => "directory",
        Ok(ContentKind::Unspecified) | Err(_) => "unknown",
    }
}
