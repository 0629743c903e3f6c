//! Multipart uploads that nobody goes on with.
//!
//! Their parts take room that no listing of objects shows, and clients that were killed never abort
//! theirs. An upload is idle when neither it was begun nor any part of it was put for a while.
//!
//! Uploads are not kept in order of their last activity: that would cost each part two rows more, to
//! spare a look now and then at what is open, which is little beside what is stored. So every open
//! upload is looked at, in rounds, on a snapshot and away from the writer. Each end is a commit of its
//! own, as large as when the client aborts, and looks again: a part may have come in between.

use std::ops::Bound;
use std::time::Duration;

use crate::batch::Batch;
use crate::catalogue::Catalogue;
use crate::codec;
use crate::engine::{Family, Rows as _};
use crate::error::{Error, Result};
use crate::key;
use crate::multipart::remove_upload;
use crate::upload::UploadId;

/// Uploads that one round looks at.
const ROUND_MAX: usize = 256;

/// What one round has seen.
struct Round {
    /// Rows of idle uploads.
    idle: Vec<Vec<u8>>,
    /// The last row looked at; absent at the end.
    last: Option<Vec<u8>>,
}

/// Ends every upload that was idle for longer than `idle_time`, whatever the access of its content:
/// uploads are local. Its parts' blobs are left to the sweep. Returns how many. Run it on a timer.
pub async fn expire_uploads(catalogue: &Catalogue, idle_time: Duration) -> Result<u64> {
    let idle_ms = u64::try_from(idle_time.as_millis()).unwrap_or(u64::MAX);
    let (mut ended, mut from) = (0, Bound::Included(key::UPLOADS.to_vec()));
    loop {
        let reader = catalogue.clone();
        let look = switchback_world::aside(move || look(&reader, from, idle_ms));
        let round = look.await.unwrap_or(Err(Error::Poisoned))?;
        for row in round.idle {
            ended += u64::from(catalogue.commit(move |batch| end_if_idle(batch, row, idle_ms)).await?);
        }
        match round.last {
            Some(last) => from = Bound::Excluded(last),
            None => return Ok(ended),
        }
    }
}

fn look(catalogue: &Catalogue, from: Bound<Vec<u8>>, idle_ms: u64) -> Result<Round> {
    let (view, since) = (catalogue.view(), catalogue.now_unix_ms().saturating_sub(idle_ms));
    let mut round = Round { idle: Vec::new(), last: None };
    for (count, row) in view.scan(Family::Upload, key::UPLOADS, from).enumerate() {
        let (row, upload) = row?;
        let id = key::last_upload(&row)?;
        let parts = view.prefix(Family::Upload, &key::parts(id)).map(|part| part.map(|(_, part)| part));
        if is_idle(id, &upload, parts, since)? {
            round.idle.push(row.clone());
        }
        if count + 1 == ROUND_MAX {
            round.last = Some(row);
            break;
        }
    }
    Ok(round)
}

/// True when nothing happened at `since` or later.
fn is_idle(
    id: UploadId,
    upload: &[u8],
    parts: impl Iterator<Item = Result<Vec<u8>>>,
    since: u64,
) -> Result<bool> {
    if codec::decode_upload(id, String::new(), upload)?.initiated_unix_ms >= since {
        return Ok(false);
    }
    for part in parts {
        if codec::decode_part(0, &part?)?.last_modified_unix_ms >= since {
            return Ok(false);
        }
    }
    Ok(true)
}

fn end_if_idle(batch: &mut Batch<'_>, row: Vec<u8>, idle_ms: u64) -> Result<bool> {
    let Some(upload) = batch.row(Family::Upload, &row)? else { return Ok(false) };
    let (id, since) = (key::last_upload(&row)?, batch.now_unix_ms.saturating_sub(idle_ms));
    let parts = batch.first(Family::Upload, &key::parts(id), usize::MAX)?;
    let is_idle = is_idle(id, &upload, parts.into_iter().map(|(_, part)| Ok(part)), since)?;
    if is_idle {
        remove_upload(batch, row, id)?;
    }
    Ok(is_idle)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use switchback_model::{ContentKind, SiteId};

    use super::*;
    use crate::catalogue::Options;
    use crate::clock::ManualClock;
    use crate::record::{BlobId, Segment};
    use crate::upload::{Part, Upload};

    #[tokio::test]
    async fn an_upload_that_gets_a_part_after_the_look_goes_on() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(1_000)));
        let options = Options { clock: clock.clone(), reserve_bytes: 0, ..Options::new(SiteId(1)) };
        let catalogue = Catalogue::open(folder.path(), options).unwrap();
        let content = catalogue.create_content(ContentKind::Directory, "photos", "").await.unwrap().id;
        let upload = Upload { key: "a".into(), ..Upload::default() };
        let upload = catalogue.create_upload(content, "photos", upload).await.unwrap();
        clock.advance(11);
        let looked = look(&catalogue, Bound::Included(key::UPLOADS.to_vec()), 10).unwrap();
        assert_eq!(looked.idle.len(), 1);
        let blob = BlobId::random();
        catalogue.lease_blobs(vec![blob]).await.unwrap();
        let part = Part { number: 1, segments: vec![Segment { blob, size: 0 }], ..Part::default() };
        catalogue.put_part(content, "photos", "a", upload.id, part).await.unwrap();
        let row = looked.idle[0].clone();
        assert!(!catalogue.commit(move |batch| end_if_idle(batch, row, 10)).await.unwrap());
        assert_eq!(catalogue.uploads(content, "photos", "", None, 10).unwrap().uploads.len(), 1);
    }
}
