//! What users of the store rely on, through its public interface only.

mod access;
mod blobs;
mod commits;
mod feeds;
mod listing;
mod merge;
mod support;
mod uploads;
