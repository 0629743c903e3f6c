//! The words that two or more crates share: identifiers, epochs, versions, access modes, rights, schedules,
//! compression and estimates.
//!
//! A type is admitted here only when two crates speak it. Everything is a plain value: no clock,
//! no I/O, no randomness, so that it can live inside a deterministic core.
#![no_std]

extern crate alloc;

mod compression;
mod content;
mod epoch;
mod eta;
mod hlc;
mod id;
mod rights;
mod schedule;
mod version;

pub use compression::Compression;
pub use content::{AccessMode, Content, ContentId, ContentKind};
pub use epoch::{Epoch, Side};
pub use eta::{Backlog, Eta, Flux, Gauge, Outlook, Pace};
pub use hlc::{Hlc, Salt};
pub use id::{FeedId, Incarnation, LinkId, ParseIdError, RequestId, SiteId, SystemId};
pub use rights::{Grant, ParseGrantError, Right, Rights};
pub use schedule::{ParseScheduleError, Priority, Rate, Schedule};
pub use version::{Order, Version, VersionVector};
