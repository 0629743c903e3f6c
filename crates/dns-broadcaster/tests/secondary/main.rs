//! Copies of other servers' zones: how a transfer becomes one, and how they are kept.
#![allow(clippy::unwrap_used, reason = "what the tests share stands outside their functions")]

mod beside;
mod fuzz;
mod keep;
mod members;
mod property;
#[path = "../random/mod.rs"]
mod random;
mod take;
mod zones;

use switchback_dns::core::name::Name;

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}
