//! Dynamic updates that are received (RFC 2136): what becomes of a zone, and whether it may.
//!
//! An update is read against the zone as it is served, signatures aside: first what it demands
//! (`demand`), then what it changes (`edit`), exactly as the RFC says. Only then the outcome is judged,
//! set by set (`judge`): a key may change what it was granted ([`Grants`]), and only what is the operator's
//! to say by update. So one rule covers every way of saying a thing: a set that a zone file says, or
//! that the system publishes, can neither be added to, nor replaced, nor removed, nor go with all others
//! of its name. What changes nothing is always right.
//!
//! What was taken is remembered by [`Taken`], and which signed messages were by [`Seen`], so that none is
//! carried out twice.

mod demand;
mod edit;
mod grant;
mod judge;
mod seen;
mod taken;

pub use edit::Changes;
pub use grant::{Grant, Grants, InvalidPattern, Pattern};
pub use judge::{Holder, Reason, Refusal, decide};
pub use seen::{Seen, Sighting, Stamp};
pub use taken::{NAMES_MAX, Nodes, RECORDS_MAX, Taken, TakenSet, TooMany};

use alloc::vec::Vec;

use super::name::Name;
use super::record::{Kind, Rdata};

/// Response codes (RFC 2136 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum Code {
    NoError,
    FormErr,
    ServFail,
    NxDomain,
    Refused,
    YxDomain,
    YxRrset,
    NxRrset,
    NotAuth,
    NotZone,
}

impl Code {
    const ALL: [Self; 10] = [
        Self::NoError,
        Self::FormErr,
        Self::ServFail,
        Self::NxDomain,
        Self::Refused,
        Self::YxDomain,
        Self::YxRrset,
        Self::NxRrset,
        Self::NotAuth,
        Self::NotZone,
    ];

    /// As the header has it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::Refused => 5,
            Self::YxDomain => 6,
            Self::YxRrset => 7,
            Self::NxRrset => 8,
            Self::NotAuth => 9,
            Self::NotZone => 10,
        }
    }

    /// The code of this number, if an update can be answered with it.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

/// The class of a record in an update, which says what is meant by it (RFC 2136 sections 2.4 and 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The zone's: the record itself.
    In,
    /// Whatever there is.
    Any,
    /// Nothing of it.
    None,
    /// Another, which means nothing.
    Other,
}

/// A record of an update: of its first section a demand, of its second a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub owner: Name,
    /// The type.
    pub kind: Kind,
    /// The class.
    pub class: Class,
    /// Seconds.
    pub ttl: u32,
    /// The value, with names uncompressed; `None` when there are no bytes.
    pub data: Option<Rdata>,
}

/// An update, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The zone that it names.
    pub zone: Name,
    /// What it demands.
    pub demands: Vec<Entry>,
    /// What it changes, in order.
    pub edits: Vec<Entry>,
}
