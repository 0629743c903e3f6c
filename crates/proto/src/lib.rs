//! The wire: gRPC services and messages, and the records the services keep.
//!
//! All but [`rights`] is generated from `proto/` when the crate is built; nothing generated is
//! committed. A package `switchback.link.v1` is the module [`link::v1`]. What a field means, its
//! unit and who sets it stands beside it in the `.proto` file and in the generated docs.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    clippy::large_futures,
    rustdoc::all,
    reason = "generated code"
)]

pub mod rights;

include!(concat!(env!("OUT_DIR"), "/tree.rs"));
