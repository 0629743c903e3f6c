//! Changes of access: who may write a content here, from which batch on.
//!
//! They pass through the same writer as the commits, so each is a barrier: a commit is either in
//! the feed before it, or is judged by the new record.

use switchback_model::{AccessMode, Content, ContentId, Epoch, FeedId};

use crate::access::{AccessRecord, FeedPosition};
use crate::batch::Batch;
use crate::codec::ContentRow;
use crate::configure::empty_content;
use crate::engine::{Family, Rows as _};
use crate::error::{Error, Result};
use crate::key;

/// The head of a content's feed.
pub(crate) fn position(row: &ContentRow) -> FeedPosition {
    FeedPosition { content: row.content.clone(), feed: row.feed, sequence: row.head }
}

pub(crate) fn set_access(
    batch: &mut Batch<'_>,
    contents: &[Content],
    access: &AccessRecord,
) -> Result<Vec<FeedPosition>> {
    if access.mode == AccessMode::ReadWrite && access.link.is_some() && access.epoch.holder() != access.side {
        return Err(Error::NotTheHolder { epoch: access.epoch });
    }
    for content in contents {
        check_access(batch, content, access)?;
    }
    let mut positions = Vec::with_capacity(contents.len());
    for content in contents {
        if let Err(Error::NoSuchContent) = batch.content(content.id) {
            let row = empty_content(content.clone(), access.clone(), batch.now_unix_ms);
            batch.add_content(row);
        }
        batch.confirm.insert(content.id, true);
        let row = batch.content(content.id)?;
        row.access = access.clone();
        positions.push(position(row));
    }
    Ok(positions)
}

fn check_access(batch: &mut Batch<'_>, content: &Content, access: &AccessRecord) -> Result<()> {
    let row = match batch.content(content.id) {
        Ok(row) => row,
        Err(Error::NoSuchContent) => return check_adoption(batch, content, access),
        Err(error) => return Err(error),
    };
    let current = &row.access;
    if let Some(link) = current.link
        && access.link != Some(link)
    {
        return Err(Error::ContentOnLink { link, link_name: current.link_name.clone() });
    }
    if current.link.is_some() && access.epoch < current.epoch {
        return Err(Error::StaleEpoch { current: current.epoch, offered: access.epoch });
    }
    Ok(())
}

/// Content of the peer that is not here yet may be taken in, empty and read-only.
fn check_adoption(batch: &Batch<'_>, content: &Content, access: &AccessRecord) -> Result<()> {
    let taken = batch.row(Family::Meta, &key::content_name(content.kind, &content.name))?;
    if taken.is_some() {
        return Err(Error::NameTaken { kind: content.kind, name: content.name.clone() });
    }
    if access.mode == AccessMode::ReadWrite || content.id == ContentId::default() {
        return Err(Error::NoSuchContent);
    }
    Ok(())
}

/// A mover may make itself read-only on hearing of a higher epoch; never the other way.
pub(crate) fn demote(
    batch: &mut Batch<'_>,
    contents: &[ContentId],
    epoch: Epoch,
    writer: Option<&String>,
) -> Result<()> {
    for id in contents {
        let row = batch.content(*id)?;
        if row.access.link.is_some() && epoch > row.access.epoch {
            row.access.mode = AccessMode::ReadOnly;
            row.access.epoch = epoch;
            row.access.writer = writer.cloned();
            row.access.both_read_only = false;
        }
    }
    Ok(())
}

pub(crate) fn release(batch: &mut Batch<'_>, contents: &[ContentId]) -> Result<()> {
    for id in contents {
        batch.content(*id)?.access = AccessRecord::unlinked();
        batch.confirm.insert(*id, false);
    }
    Ok(())
}

pub(crate) fn orphan(batch: &mut Batch<'_>, contents: &[ContentId]) -> Result<()> {
    for id in contents {
        let access = &mut batch.content(*id)?.access;
        if access.link.is_some() {
            access.mode = AccessMode::ReadOnly;
            access.orphaned = true;
            access.writer = None;
            access.both_read_only = false;
        }
    }
    Ok(())
}

pub(crate) fn renew_feed(batch: &mut Batch<'_>, id: ContentId) -> Result<FeedId> {
    let row = batch.content(id)?;
    row.feed = FeedId(crate::random::number());
    // The head goes on growing, so places in the former feed are places in this one.
    row.acknowledged_before = match row.acknowledged {
        Some((_, 0)) | None => row.acknowledged_before.or(row.acknowledged),
        acknowledged => acknowledged,
    };
    row.acknowledged = None;
    // A comparison makes the peer skip what the feed held so far.
    row.notes_given = FeedId::default();
    Ok(row.feed)
}
