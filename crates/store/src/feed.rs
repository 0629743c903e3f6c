//! The change feed: what a sender reads and what a receiver applies.

use std::time::Duration;

use switchback_model::{FeedId, LinkId, SiteId, Version};

use crate::lineage::{Lineage, Parting};
use crate::record::Record;

/// How many changes [`crate::Catalogue::changes`] answers at most in one call, whatever is asked.
pub const CHANGES_MAX: usize = 4096;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its place in the feed it was read from.
    pub sequence: u64,
    /// The record, whole.
    pub record: Record,
}

/// A stretch of a feed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeBatch {
    /// The feed's life.
    pub feed: FeedId,
    /// In order of sequence, without what came from the excluded feed.
    pub changes: Vec<Change>,
    /// Everything up to here has been given or needs not be: the next call's `after`.
    pub through: u64,
    /// The feed's head when this was read. Equal to `through`: nothing is left.
    pub head: u64,
}

/// Which part of a feed to read.
#[derive(Clone, Copy, Debug)]
pub struct ChangesRequest {
    /// The peer's feed: what came from it is not sent back to it.
    pub exclude: Option<FeedId>,
    /// Only what has a greater sequence.
    pub after: u64,
    /// Only tenant, namespace and credential records. The answer's `through` then speaks of these
    /// alone and must not become the flow's cursor.
    pub configuration_only: bool,
    /// At most this many changes (and never more than [`CHANGES_MAX`]).
    pub changes_max: usize,
    /// Stop after this many bytes of inline bodies and metadata, but give at least one change.
    pub bytes_max: usize,
}

/// What is not yet past a cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Changes of any kind.
    pub objects: u64,
    /// Bytes of the objects among them.
    pub bytes: u64,
}

/// The feed whose changes are applied, and how its link settles conflicts.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The sender's feed.
    pub feed: FeedId,
    /// Which run of its store wrote which part of it, as far as it says so.
    pub lineage: Lineage,
    /// Where our own store parted from what it has read of us ([`ContentStatus::parting`]).
    ///
    /// [`ContentStatus::parting`]: crate::ContentStatus::parting
    pub local_parting: Option<Parting>,
    /// The link; the content must be on it.
    pub link: LinkId,
    /// Wins ties.
    pub primary_site: SiteId,
    /// How conflicts are decided. Must be the same on both sides.
    pub policy: ConflictPolicy,
    /// Names of the link's systems, for the notes of conflicts.
    pub systems: Systems,
}

/// Which name a system has, by the site that its versions carry. A few entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Systems(pub Vec<(SiteId, String)>);

impl Systems {
    /// The name of `site`; empty when it is not known.
    #[must_use]
    pub fn name(&self, site: SiteId) -> String {
        self.0.iter().find(|(known, _)| *known == site).map(|(_, name)| name.clone()).unwrap_or_default()
    }
}

/// How concurrent versions of one key are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConflictPolicy {
    /// The later hybrid logical time; the link's primary at a tie.
    #[default]
    NewestWins,
    /// Any site but the primary; between two such, the newest.
    ReplicaWins,
    /// As newest wins, and the loser stays beside the winner as `<key>@<version>` as well.
    KeepBoth,
}

/// What came of one applied change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It replaced what was here, or was new.
    Stored,
    /// It was here already, or something newer is.
    Ignored,
    /// A conflict: it won, and what was here is kept aside.
    Won {
        /// The version that lost.
        loser: Version,
    },
    /// A conflict: what was here won, and it is kept aside.
    Lost {
        /// The version that won.
        winner: Version,
    },
    /// Not applied: its clock is this far ahead of ours. Try again later.
    Quarantined {
        /// Milliseconds.
        ahead_ms: u64,
    },
    /// Not applied: a blob it names is neither leased nor named by a record here.
    LeaseExpired,
}

impl Applied {
    /// False for what must be tried again.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Quarantined { .. } | Self::LeaseExpired)
    }
}

/// The answer to an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// In the order of the changes.
    pub results: Vec<Applied>,
    /// The cursor that is now durable. It stops before the first change that was not settled, so
    /// that a crash cannot lose it: note that change durably, then move on with an empty apply.
    pub cursor: u64,
    /// The head of our own feed afterwards.
    pub head: u64,
    /// How long it waited for what was to be written before.
    pub waited: Duration,
}
