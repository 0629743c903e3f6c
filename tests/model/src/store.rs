//! What a system holds of the link's content: one key, its current version, and what lost against
//! it. The order of versions is the product's own ([`Version::order`], [`Version::rank`]).

use std::collections::BTreeMap;

use switchback_link_core::DigestView;
use switchback_model::{FeedId, Hlc, Order, SiteId, Version, VersionVector};

use crate::fingerprint::fingerprint;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The one object.
    Object,
    /// A version of it that lost a conflict and is kept aside.
    Lost(Version),
}

/// The latest change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Which write it is.
    pub version: Version,
    /// What it replaced.
    pub replaced: VersionVector,
    /// What it won against later; the next write here replaces that too.
    pub absorbed: VersionVector,
    /// A tombstone.
    pub deleted: bool,
    /// Its place in this store's feed.
    pub sequence: u64,
    /// The feed it came by; 0 when it was made here.
    pub source: FeedId,
}

/// One store. A feed keeps the latest change of each key, as the product's does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// This life of the feed.
    pub feed: FeedId,
    /// The end of the feed.
    pub head: u64,
    /// By key.
    pub rows: BTreeMap<Key, Row>,
    /// How far the feeds of others are applied.
    pub cursors: BTreeMap<FeedId, u64>,
    clock: Hlc,
}

/// Changes on their way from one store to the other, applied in one commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Whose.
    pub feed: FeedId,
    /// The feed's end when it was read.
    pub through: u64,
    /// In order.
    pub rows: Vec<(Key, Row)>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(feed: FeedId) -> Self {
        Self { feed, head: 0, rows: BTreeMap::new(), cursors: BTreeMap::new(), clock: Hlc::default() }
    }

    /// A client's write or delete.
    pub fn write(&mut self, site: SiteId, deleted: bool) -> Version {
        self.clock = Hlc(self.clock.0 + 1);
        let version = Version { hlc: self.clock, site };
        let mut replaced = VersionVector::default();
        if let Some(old) = self.rows.get(&Key::Object) {
            replaced.merge(&old.replaced);
            replaced.merge(&old.absorbed);
            replaced.include(old.version);
        }
        let absorbed = VersionVector::default();
        self.put(Key::Object, Row { version, replaced, absorbed, deleted, sequence: 0, source: FeedId(0) });
        version
    }

    fn put(&mut self, key: Key, row: Row) {
        self.head += 1;
        self.rows.insert(key, Row { sequence: self.head, ..row });
    }

    /// Changes made here or heard of elsewhere that the owner of feed `except`, who has this one up
    /// to `after`, does not hold.
    #[must_use]
    pub fn pending(&self, except: Option<FeedId>, after: u64) -> u64 {
        self.rows.values().filter(|row| row.sequence > after && Some(row.source) != except).count() as u64
    }

    /// What the owner of feed `to` lacks, as far as it has this feed (`after`).
    #[must_use]
    pub fn batch(&self, to: FeedId, after: u64) -> Batch {
        let missing = self.rows.iter().filter(|(_, row)| row.sequence > after && row.source != to);
        let mut rows: Vec<_> = missing.map(|(key, row)| (*key, row.clone())).collect();
        rows.sort_by_key(|(_, row)| row.sequence);
        Batch { feed: self.feed, through: self.head, rows }
    }

    /// Applies a peer's changes and moves its cursor.
    pub fn apply(&mut self, batch: &Batch, primary: SiteId) {
        for (key, incoming) in &batch.rows {
            let mut incoming = incoming.clone();
            incoming.source = batch.feed;
            self.join(*key, incoming, primary);
        }
        let cursor = self.cursors.entry(batch.feed).or_insert(0);
        *cursor = (*cursor).max(batch.through);
    }

    fn join(&mut self, key: Key, mut incoming: Row, primary: SiteId) {
        let Some(current) = self.rows.get(&key).cloned() else {
            self.clock = self.clock.max(incoming.version.hlc);
            self.put(key, incoming);
            return;
        };
        match incoming.version.order(&incoming.replaced, current.version, &current.replaced) {
            Order::Same | Order::Older => {}
            Order::Newer => {
                self.clock = self.clock.max(incoming.version.hlc);
                self.put(key, incoming);
            }
            Order::Concurrent => {
                self.clock = self.clock.max(incoming.version.hlc);
                if incoming.version.rank(current.version, primary).is_gt() {
                    self.keep_aside(&current);
                    absorb(&mut incoming, &current);
                    self.put(key, incoming);
                } else {
                    self.keep_aside(&incoming);
                    if let Some(row) = self.rows.get_mut(&key) {
                        absorb(row, &incoming);
                    }
                }
            }
        }
    }

    fn keep_aside(&mut self, loser: &Row) {
        let key = Key::Lost(loser.version);
        if !self.rows.contains_key(&key) {
            self.put(key, Row { source: FeedId(0), absorbed: VersionVector::default(), ..loser.clone() });
        }
    }

    /// `version` is current, or was replaced by a version that is, or is kept aside: a reader can
    /// find out what became of it.
    #[must_use]
    pub fn covers(&self, version: Version) -> bool {
        self.rows.values().any(|row| row.version == version || row.replaced.contains(version))
    }

    /// The version that readers get, tombstones included.
    #[must_use]
    pub fn current(&self) -> Option<Version> {
        self.rows.get(&Key::Object).map(|row| row.version)
    }

    /// Of what is visible.
    #[must_use]
    pub fn digest(&self) -> DigestView {
        let visible = self.rows.iter().filter(|(key, row)| **key != Key::Object || !row.deleted);
        let named: Vec<_> = visible.map(|(key, row)| (*key, row.version)).collect();
        let total = fingerprint(&named, 0).to_be_bytes().to_vec();
        DigestView { total, records: named.len() as u64 }
    }
}

/// What `winner` won against: the next local write of the key replaces that too.
fn absorb(winner: &mut Row, loser: &Row) {
    winner.absorbed.merge(&loser.replaced);
    winner.absorbed.merge(&loser.absorbed);
    winner.absorbed.include(loser.version);
}
