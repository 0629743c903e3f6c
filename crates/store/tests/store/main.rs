//! What users of the store rely on, through its public interface only.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod blobs;
mod commits;
mod divergence;
mod feeds;
mod lifecycle;
mod line;
mod listing;
mod locks;
mod merge;
mod retire;
mod support;
mod uploads;
mod versions;
