//! Applying a peer's changes: the join of each, and the cursor, in one batch. What loses is kept
//! and noted in `loser`.

use std::time::Duration;

use switchback_model::{ContentId, Hlc};

use crate::access::Cursor;
use crate::after_backup::AfterBackup;
use crate::batch::Batch;
use crate::codec::Stored;
use crate::error::{Error, Result};
use crate::feed::{Applied, Change, Receipt, Sender};
use crate::join::{Verdict, judge};
use crate::lineage::Parting;
use crate::lock::{self, Lock};
use crate::loser::{keep_loser, keep_namespace, put_note};
use crate::record::{Record, RecordKey};

/// A version may be this far ahead of our wall clock. One that is further would drag our own clock
/// with it and win conflicts it should lose: it waits.
const SKEW_MAX_MS: u64 = 60_000;

/// Peers' cursors and sources kept per content; the oldest goes. A rebuilt peer has a new feed.
const CURSORS_MAX: usize = 16;

pub(crate) fn apply(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    changes: Vec<Change>,
    through: Option<u64>,
) -> Result<Receipt> {
    if batch.content(id)?.access.link != Some(sender.link) {
        return Err(Error::NotOnLink);
    }
    batch.check_room()?;
    let after_backup = AfterBackup::of(batch, id, sender)?;
    let mut settled_through = through;
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        let sequence = change.sequence;
        let result = apply_record(batch, id, sender, &after_backup, change)?;
        if !result.is_settled() {
            settled_through = settled_through.map(|through| through.min(sequence.saturating_sub(1)));
        }
        results.push(result);
    }
    let cursor = move_cursor(batch, id, sender, after_backup.sender, settled_through)?;
    Ok(Receipt { results, cursor, head: batch.content(id)?.head, waited: Duration::ZERO })
}

fn move_cursor(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    parting: Option<Parting>,
    through: Option<u64>,
) -> Result<u64> {
    let row = batch.content(id)?;
    let cursors = &mut row.cursors;
    let place = cursors.iter().position(|cursor| cursor.feed == sender.feed);
    let before = place.map_or(0, |place| cursors[place].through);
    let Some(through) = through.filter(|through| *through > before || place.is_none()) else {
        return Ok(before);
    };
    let cursor = Cursor { feed: sender.feed, through, run: sender.lineage.at(through), parting };
    match place {
        Some(place) => cursors[place] = cursor,
        None => {
            if cursors.len() == CURSORS_MAX {
                cursors.remove(0);
            }
            cursors.push(cursor);
        }
    }
    if through > 0 {
        row.peer_lineage = sender.lineage.until(through);
    }
    Ok(through)
}

/// Takes note of the peer's clock, if it is not too far ahead of ours.
pub(crate) fn see(batch: &mut Batch<'_>, clock: Hlc) {
    if ahead_ms(batch, clock) <= SKEW_MAX_MS {
        batch.hlc = batch.hlc.max(clock);
    }
}

/// How far `hlc` is ahead of our wall clock.
fn ahead_ms(batch: &Batch<'_>, hlc: Hlc) -> u64 {
    hlc.unix_ms().saturating_sub(batch.now_unix_ms)
}

fn apply_record(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    after_backup: &AfterBackup,
    Change { sequence, record: incoming }: Change,
) -> Result<Applied> {
    let ahead_ms = ahead_ms(batch, incoming.version.hlc);
    if ahead_ms > SKEW_MAX_MS {
        return Ok(Applied::Quarantined { ahead_ms });
    }
    if incoming.is_note() {
        batch.hlc = batch.hlc.max(incoming.version.hlc);
        return put_note(batch, id, incoming, sender.feed.0);
    }
    let old = batch.stored(id, &incoming.key)?;
    let verdict = match &old {
        Some(old) => {
            let unread = after_backup.unread(old, &incoming, sequence);
            judge(&old.record, &incoming, unread, sender.primary_site, sender.policy)
        }
        None => Verdict::Take,
    };
    if verdict == Verdict::Ignore {
        discard_blobs(batch, &incoming)?;
        return Ok(Applied::Ignored);
    }
    for segment in segments(&incoming) {
        if !batch.is_live(segment)? {
            return Ok(Applied::LeaseExpired);
        }
    }
    batch.hlc = batch.hlc.max(incoming.version.hlc);
    keep_namespace(batch, id, sender, &incoming)?;
    match (verdict, old) {
        (Verdict::Conflict { incoming_wins, rule }, Some(old)) => {
            let (incoming_wins, rule) = match lock::favoured(&old.record, &incoming) {
                Some(incoming_wins) => (incoming_wins, "a version that was locked stays"),
                None => (incoming_wins, rule),
            };
            settle(batch, id, sender, old, incoming, incoming_wins, rule)
        }
        (Verdict::Take | Verdict::Ignore | Verdict::Conflict { .. }, old) => {
            batch.put(id, incoming, old, sender.feed.0)?;
            Ok(Applied::Stored)
        }
    }
}

fn segments(record: &Record) -> Vec<crate::BlobId> {
    let segments = record.as_object().map(|object| object.body.segments()).unwrap_or_default();
    segments.iter().map(|segment| segment.blob).collect()
}

/// Gives up the blobs that the mover wrote for a record that is not wanted.
fn discard_blobs(batch: &mut Batch<'_>, record: &Record) -> Result<()> {
    segments(record).into_iter().try_for_each(|blob| batch.discard(blob))
}

fn settle(
    batch: &mut Batch<'_>,
    id: ContentId,
    sender: &Sender,
    mut old: Stored,
    mut incoming: Record,
    incoming_wins: bool,
    rule: &'static str,
) -> Result<Applied> {
    batch.load_body(id, &mut old.record)?;
    if incoming_wins {
        let loser = old.record.version;
        let joined = lock::joined(&incoming, &old.record);
        keep_loser(batch, id, sender, &old.record, &incoming, rule)?;
        absorb(&mut incoming, &old.record);
        let key = incoming.key.clone();
        batch.put(id, incoming, Some(old), sender.feed.0)?;
        join_locks(batch, id, &key, joined)?;
        Ok(Applied::Won { loser })
    } else {
        let winner = old.record.version;
        let joined = lock::joined(&old.record, &incoming);
        keep_loser(batch, id, sender, &incoming, &old.record, rule)?;
        discard_blobs(batch, &incoming)?;
        absorb(&mut old.record, &incoming);
        batch.annotate(id, &old);
        join_locks(batch, id, &old.record.key, joined)?;
        Ok(Applied::Lost { winner })
    }
}

/// Where what is current must be locked as the other one was as well.
fn join_locks(batch: &mut Batch<'_>, id: ContentId, key: &RecordKey, joined: Option<Lock>) -> Result<()> {
    joined.map_or(Ok(()), |lock| lock::relock(batch, id, key, lock))
}

/// What `winner` won against: the next local write of the key replaces that too.
fn absorb(winner: &mut Record, loser: &Record) {
    winner.absorbed.merge(&loser.replaced);
    winner.absorbed.merge(&loser.absorbed);
    winner.absorbed.include(loser.version);
}
