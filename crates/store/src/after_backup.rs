//! What two stores do not know of each other, one of which went back to a backup and wrote on.
//!
//! Such a store writes what replaces a version older than one that it had written before, and forgot. By
//! their vectors the two are in an order, and neither knew of the other. The peer has what was forgotten; it
//! learns from the runs of the store's feed where that parted from what it had read ([`Parting`]), keeps it
//! beside its cursor, and tells the store. Both judge by the same place and time, whoever meets first.

use switchback_model::{ContentId, FeedId, SiteId};

use crate::access::Cursor;
use crate::batch::Batch;
use crate::codec::Stored;
use crate::error::Result;
use crate::feed::Sender;
use crate::join::Unread;
use crate::key::LOCAL;
use crate::lineage::{Lineage, Parting};
use crate::record::Record;

/// The partings of both stores, of which one at most is of now.
pub(crate) struct AfterBackup {
    /// Of the sender's store.
    pub(crate) sender: Option<Parting>,
    /// Of this store.
    local: Option<Parting>,
    feed: FeedId,
    site: SiteId,
    /// How far the owner of the sender's feed has ours: what it has, it judged itself.
    given: u64,
}

impl AfterBackup {
    pub(crate) fn of(batch: &mut Batch<'_>, id: ContentId, sender: &Sender) -> Result<Self> {
        let site = batch.site();
        let row = batch.content(id)?;
        let given = row.acknowledged.filter(|(feed, _)| *feed == sender.feed);
        Ok(Self {
            sender: parting(&row.cursors, &row.peer_lineage, sender.feed, &sender.lineage),
            local: sender.local_parting,
            feed: sender.feed,
            site,
            given: given.map_or(0, |(_, through)| through),
        })
    }

    /// Of what is here and what comes from the sender's place `sequence`.
    pub(crate) fn unread(&self, old: &Stored, incoming: &Record, sequence: u64) -> Unread {
        let (ours, theirs) = (old.record.version, incoming.version);
        let is_own = theirs.site == self.site;
        // Written there, or here, by a store that had gone back.
        let there = self.sender.filter(|parting| !is_own && sequence >= parting.from);
        let here = self.local.filter(|parting| old.source == LOCAL && old.sequence >= parting.from);
        let is_forgotten_there = there
            .is_some_and(|parting| ours.site == theirs.site && ours.hlc > parting.after)
            && old.source != self.feed.0
            && old.sequence > self.given;
        let is_forgotten_here = here.is_some_and(|parting| is_own && theirs.hlc > parting.after);
        Unread {
            current: is_forgotten_there || is_forgotten_here || (here.is_some() && !is_own),
            incoming: there.is_some() || is_forgotten_here,
        }
    }
}

/// Where the store with the feed `feed` and this lineage parted from what was applied of it here: the runs
/// `read`, the last ones at the last of `cursors`.
pub(crate) fn parting(
    cursors: &[Cursor],
    read: &Lineage,
    feed: FeedId,
    lineage: &Lineage,
) -> Option<Parting> {
    match cursors.iter().find(|cursor| cursor.feed == feed) {
        Some(cursor) => cursor.parting,
        None => lineage.parting(read, cursors.last()?.through),
    }
}
