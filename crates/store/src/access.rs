//! Who may write a content on this system.

use switchback_model::{AccessMode, Content, Epoch, FeedId, Incarnation, LinkId, Side, SiteId};

use crate::after_backup;
use crate::lineage::{Lineage, Parting};

/// The access of one content, as it is durably on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// The mode on record. After a start it counts only once it was set again ([`held`]).
    ///
    /// [`held`]: ContentStatus::held
    pub mode: AccessMode,
    /// The link's epoch.
    pub epoch: Epoch,
    /// Absent: never on a link, or released.
    pub link: Option<LinkId>,
    /// The link's name; it is part of the names under `.lost+found/`.
    pub link_name: String,
    /// Our side of the link.
    pub side: Side,
    /// Our incarnation that the epoch was agreed with.
    pub local_incarnation: Incarnation,
    /// The peer's incarnation that the epoch was agreed with.
    pub peer_incarnation: Incarnation,
    /// The link's primary: wins ties between concurrent versions.
    pub primary_site: SiteId,
    /// The link's replica.
    pub replica_site: SiteId,
    /// Domain of the system that accepts writes, where known and not this one.
    pub writer: Option<String>,
    /// True while neither side writes at the end of a recovery.
    pub both_read_only: bool,
    /// The link's record is gone; read-only until released.
    pub orphaned: bool,
}

impl AccessRecord {
    /// Content that is on no link: read-write.
    #[must_use]
    pub fn unlinked() -> Self {
        Self {
            mode: AccessMode::ReadWrite,
            epoch: Epoch::default(),
            link: None,
            link_name: String::new(),
            side: Side::Primary,
            local_incarnation: Incarnation::default(),
            peer_incarnation: Incarnation::default(),
            primary_site: SiteId::default(),
            replica_site: SiteId::default(),
            writer: None,
            both_read_only: false,
            orphaned: false,
        }
    }
}

/// A place in one content's feed on this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPosition {
    /// Whose feed.
    pub content: Content,
    /// One life of it.
    pub feed: FeedId,
    /// The last change counted in; 0 before the first.
    pub sequence: u64,
}

/// How far a peer's feed has been applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which feed.
    pub feed: FeedId,
    /// The last change applied.
    pub through: u64,
    /// The run of the peer's store that wrote it, if that is known.
    pub run: Option<u64>,
    /// Where the peer's store had gone back to a backup before it began this feed, if it had.
    pub parting: Option<Parting>,
}

/// What is visible in a content, comparable in one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Order-independent sum of the visible records' hashes.
    pub total: [u8; 32],
    /// How many they are.
    pub records: u64,
}

/// The digest in 256 ranges, to find where two systems differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentDigest {
    /// The position that this digest belongs to.
    pub position: FeedPosition,
    /// The sum of all ranges.
    pub total: Digest,
    /// By the first byte of the BLAKE3 of the record's key: 256 of them.
    pub ranges: Vec<Digest>,
}

/// Everything there is to know about one content at one instant, without its records.
#[derive(Clone, Debug, PartialEq)]
pub struct ContentStatus {
    /// Which.
    pub content: Content,
    /// The operator's words.
    pub description: String,
    /// Unix milliseconds.
    pub created_unix_ms: u64,
    /// Who may write, as on record.
    pub access: AccessRecord,
    /// True from a start of the service until the access mode is set again: read-only whatever the
    /// record says.
    pub held: bool,
    /// The feed's head.
    pub head: FeedPosition,
    /// What is visible.
    pub digest: Digest,
    /// Visible objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Tombstones kept for the peer.
    pub tombstones: u64,
    /// Per peer feed, how far it has been applied here.
    pub cursors: Vec<Cursor>,
    /// Which run of this store wrote which part of the feed; the last one is the present one.
    pub lineage: Lineage,
    /// The runs of the peer's store whose changes were applied here.
    pub peer_lineage: Lineage,
    /// The peer's feed to whose owner all notes of conflicts have been given.
    pub notes_given: FeedId,
    /// The peer's feed that last acknowledged ours, and how far it had made ours durable.
    pub acknowledged: Option<(FeedId, u64)>,
    /// The feed began a new life, which the peer has not acknowledged yet: what is here may have been
    /// deleted there since ([`Catalogue::retire`]).
    ///
    /// [`Catalogue::retire`]: crate::Catalogue::retire
    pub went_back: bool,
}

impl ContentStatus {
    /// The mode that a write meets now.
    #[must_use]
    pub fn mode(&self) -> AccessMode {
        if self.held { AccessMode::ReadOnly } else { self.access.mode }
    }

    /// How far the peer's feed `feed` has been applied here; 0 when never.
    #[must_use]
    pub fn cursor(&self, feed: FeedId) -> u64 {
        self.cursors.iter().find(|cursor| cursor.feed == feed).map_or(0, |cursor| cursor.through)
    }

    /// The owner of the feed `feed`, whose head is `head` and whose history is `lineage`, is not the one, or
    /// not any more, whose changes were applied here: it went back in time.
    #[must_use]
    pub fn is_ahead_of(&self, feed: FeedId, head: u64, lineage: &Lineage) -> bool {
        let cursor = self.cursors.iter().find(|cursor| cursor.feed == feed);
        cursor.is_some_and(|cursor| head < cursor.through || lineage.differs(cursor.through, cursor.run))
    }

    /// A peer whose last cursor of this store is `there`, at the end of the runs `read`, has more of it than
    /// there is, or something else: this store went back in time.
    #[must_use]
    pub fn is_behind(&self, there: Option<&Cursor>, read: &Lineage) -> bool {
        there.is_some_and(|Cursor { feed, through, .. }| {
            let is_other = self.lineage.differs(*through, read.at(*through));
            self.head.feed == *feed && (*through > self.head.sequence || is_other)
        })
    }

    /// Where this store parted from a peer whose last cursor of it is `there`, at the end of the runs `read`.
    #[must_use]
    pub fn parting(&self, there: Option<&Cursor>, read: &Lineage) -> Option<Parting> {
        let there = there?;
        if self.head.feed == there.feed { there.parting } else { self.lineage.parting(read, there.through) }
    }

    /// Where the peer, whose feed is `feed` with this lineage, parted from what was applied of it here.
    #[must_use]
    pub fn peer_parting(&self, feed: FeedId, lineage: &Lineage) -> Option<Parting> {
        after_backup::parting(&self.cursors, &self.peer_lineage, feed, lineage)
    }
}
