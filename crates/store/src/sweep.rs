//! Housekeeping: blobs that nothing names, leases that ended, tombstones that nobody waits for.
//!
//! Each round costs what it finds: garbage and leases are ordered by time, tombstones by sequence.
//! Only [`sweep_orphans`] looks at everything on disk, once after a start, for what a crash left.

use switchback_model::{ContentId, FeedId};

use crate::batch::Batch;
use crate::blob::Blobs;
use crate::catalogue::{Catalogue, Sweep};
use crate::codec::ContentRow;
use crate::engine::{Family, Rows as _};
use crate::error::Result;
use crate::key;
use crate::record::BlobId;

/// How long a lease lasts unless it is renewed: longer than any single upload of a part.
pub(crate) const LEASE_MS: u64 = 24 * 60 * 60 * 1000;

/// Bytes stay this long after the last name is gone, for readers that are in the middle of them.
const GRACE_MS: u64 = 60_000;

/// Rows of each kind that one round takes, so that it never delays a commit by much.
const ROUND_MAX: usize = 256;

pub(crate) fn lease_blobs(batch: &mut Batch<'_>, blobs: &[BlobId]) -> Result<u64> {
    batch.check_room()?;
    let ends = batch.now_unix_ms + LEASE_MS;
    for blob in blobs {
        batch.end_lease(*blob)?;
        batch.set_row(Family::Blob, key::lease(*blob), Some(ends.to_be_bytes().to_vec()));
        batch.set_row(Family::Blob, key::lease_end(ends, *blob), Some(Vec::new()));
    }
    Ok(ends)
}

pub(crate) fn sweep(batch: &mut Batch<'_>) -> Result<Sweep> {
    let mut sweep = Sweep::default();
    let (now, grace) = (batch.now_unix_ms, batch.now_unix_ms.saturating_sub(GRACE_MS));
    for (_, blob) in due(batch, key::LEASE_ENDS, now, &mut sweep)? {
        batch.end_lease(blob)?;
        collect(batch, blob, &mut sweep)?;
    }
    for (row, blob) in due(batch, key::GARBAGE, grace, &mut sweep)? {
        batch.set_row(Family::Blob, row, None);
        collect(batch, blob, &mut sweep)?;
    }
    for (row, _) in batch.first(Family::Meta, b"c", usize::MAX)? {
        let id = ContentId::from_slice(&row[1..]).unwrap_or_default();
        sweep.more |= free_tombstones(batch, id)?;
    }
    Ok(sweep)
}

/// The rows of one kind whose time has come, at most a round of them.
fn due(batch: &Batch<'_>, prefix: &[u8], until: u64, sweep: &mut Sweep) -> Result<Vec<(Vec<u8>, BlobId)>> {
    let rows = batch.first(Family::Blob, prefix, ROUND_MAX)?;
    let full = rows.len() == ROUND_MAX;
    let mut found = Vec::new();
    for (row, _) in rows {
        let (time, blob) = key::parse_timed_blob(&row)?;
        if time > until {
            return Ok(found);
        }
        found.push((row, blob));
    }
    sweep.more |= full;
    Ok(found)
}

/// Asked again at the end, because a blob may have been named or leased since.
fn collect(batch: &Batch<'_>, blob: BlobId, sweep: &mut Sweep) -> Result<()> {
    if !batch.is_live(blob)? {
        sweep.blobs.push(blob);
    }
    Ok(())
}

/// Up to which sequence nobody waits for a tombstone. A peer that was declared lost is waited for
/// all the same: should it come back, what was deleted meanwhile would otherwise rise from the dead.
/// Who is sure that it does not deletes the link.
fn freed_through(row: &ContentRow) -> u64 {
    match (row.access.link, row.acknowledged) {
        (None, _) => u64::MAX,
        (Some(_), acknowledged) => acknowledged.map_or(0, |(_, through)| through),
    }
}

/// Drops a round of tombstones; true when there may be more to drop.
pub(crate) fn free_tombstones(batch: &mut Batch<'_>, id: ContentId) -> Result<bool> {
    let row = batch.content(id)?;
    if row.tombstones == 0 {
        return Ok(false);
    }
    let through = freed_through(row);
    let rows = batch.first(Family::Meta, &key::tombstone_prefix(id), ROUND_MAX)?;
    let full = rows.len() == ROUND_MAX;
    for (row, name) in rows {
        if key::last_number(&row)? > through {
            return Ok(false);
        }
        if let Some(stored) = batch.stored(id, &key::parse_name(&name)?)? {
            batch.forget(id, &stored)?;
        }
    }
    Ok(full)
}

pub(crate) fn acknowledge(batch: &mut Batch<'_>, id: ContentId, peer: FeedId, sequence: u64) -> Result<()> {
    let row = batch.content(id)?;
    // A peer with another feed was rebuilt or replaced: what its former self had counts no more.
    row.acknowledged = match row.acknowledged {
        Some((feed, through)) if feed == peer => Some((feed, through.max(sequence))),
        Some(_) | None => Some((peer, sequence)),
    };
    if sequence > 0 {
        row.acknowledged_before = None;
    }
    free_tombstones(batch, id).map(|_| ())
}

/// Sweeps until there is nothing left to sweep; returns how many blobs were deleted. Run it on a
/// timer.
pub async fn sweep_garbage(catalogue: &Catalogue, blobs: &Blobs) -> Result<u64> {
    let mut deleted = 0;
    loop {
        let sweep = catalogue.sweep().await?;
        for blob in sweep.blobs {
            blobs.delete(blob).await?;
            deleted += 1;
        }
        if !sweep.more {
            return Ok(deleted);
        }
    }
}

/// Looks at every blob there is, and deletes what a crash left behind: blobs that no record, part or
/// lease knows, and halves of blobs. Run it once after a start, in the background.
pub async fn sweep_orphans(catalogue: &Catalogue, blobs: &Blobs) -> Result<u64> {
    let mut deleted = 0;
    for shard in 0..=u8::MAX {
        for (blob, _) in blobs.list_to_sweep(shard).await? {
            if catalogue.is_orphan(blob)? {
                blobs.delete(blob).await?;
                deleted += 1;
            }
        }
    }
    blobs.end_abandoned_uploads().await?;
    Ok(deleted)
}
