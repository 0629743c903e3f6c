//! What goes into a batch: the feed after a cursor, configuration ahead, or records by their keys.

use switchback_kit::world::aside;
use switchback_model::{ContentId, FeedId};
use switchback_proto::replication::v1::Change as WireChange;
use switchback_store::{
    Body, Catalogue, Change, ChangeBatch, ChangesRequest, Error, Record, RecordKey, Result,
};

use super::limit::{BATCH_BYTES_MAX, BATCH_FOLLOWING_MAX, BATCH_RECORDS_MAX};
use super::window::Flown;

/// A batch that has no number yet.
#[derive(Debug, Default)]
pub struct Draft {
    changes: Vec<WireChange>,
    flown: Vec<Flown>,
    /// 0: out of the feed's order.
    through: u64,
    bytes: usize,
    following: u64,
    /// Of the keys asked for, those without a record that is wanted.
    pub absent: Vec<RecordKey>,
}

impl Draft {
    /// No changes, only how far the feed has been given.
    #[must_use]
    pub fn progress(through: u64) -> Self {
        Self { through, ..Self::default() }
    }

    /// Keys that were looked up, found or not.
    #[must_use]
    pub fn looked_at(&self) -> usize {
        self.changes.len() + self.absent.len()
    }

    /// It holds no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// No more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.changes.len() >= BATCH_RECORDS_MAX
            || self.bytes >= BATCH_BYTES_MAX
            || self.following >= BATCH_FOLLOWING_MAX
    }

    /// Adds a change, at its place in the feed.
    pub fn push(&mut self, sequence: u64, record: &Record) {
        let body = record.as_object().map(|object| &object.body);
        let segments = body.map(Body::segments).unwrap_or_default();
        let bytes = record.to_bytes();
        self.bytes += bytes.len();
        self.following += if segments.is_empty() { 0 } else { record.size() };
        self.flown.push(Flown {
            key: record.key.clone(),
            version: record.version,
            size: record.size(),
            segments: segments.to_vec(),
            failed: false,
        });
        self.changes.push(WireChange { sequence, record: bytes, body_follows: !segments.is_empty() });
    }

    /// For the wire, for the window, and how far the feed has been given.
    #[must_use]
    pub fn into_parts(self) -> (Vec<WireChange>, Vec<Flown>, u64) {
        (self.changes, self.flown, self.through)
    }
}

/// Reads a content's feed for one peer, each change once.
pub struct Reader {
    content: ContentId,
    peer_feed: FeedId,
    after: u64,
    /// Configuration up to here has been given ahead of its place.
    configuration_after: u64,
    head: u64,
}

impl Reader {
    /// Of the feed of `content`, from the cursor of the peer whose feed is `peer_feed`.
    #[must_use]
    pub fn new(content: ContentId, peer_feed: FeedId, cursor: u64) -> Self {
        Self { content, peer_feed, after: cursor, configuration_after: cursor, head: cursor }
    }

    /// The feed's head when it was last read.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Everything through `sequence` is on the other side by other means.
    pub fn skip_to(&mut self, sequence: u64) {
        self.after = self.after.max(sequence);
        self.configuration_after = self.configuration_after.max(sequence);
    }

    /// The next batch; none when the feed has been read to its end. A stretch that holds nothing
    /// for this peer is told as progress.
    ///
    /// # Errors
    /// The store failed.
    pub async fn next(&mut self, catalogue: &Catalogue) -> Result<Option<Draft>> {
        let ahead = self.read(catalogue, self.configuration_after, true).await?;
        if !ahead.changes.is_empty() {
            let mut draft = Draft::default();
            ahead.changes.iter().for_each(|change| draft.push(change.sequence, &change.record));
            self.configuration_after = ahead.changes.last().map_or(ahead.through, |last| last.sequence);
            return Ok(Some(draft));
        }
        let batch = self.read(catalogue, self.after, false).await?;
        self.head = batch.head;
        if batch.through <= self.after {
            return Ok(None);
        }
        let draft = self.draft(&batch);
        self.after = draft.through;
        Ok(Some(draft))
    }

    fn draft(&self, batch: &ChangeBatch) -> Draft {
        let mut draft = Draft::progress(batch.through);
        for Change { sequence, record } in &batch.changes {
            let given = record.key.is_configuration() && *sequence <= self.configuration_after;
            if given {
                continue;
            }
            draft.push(*sequence, record);
            if draft.is_full() && Some(*sequence) != batch.changes.last().map(|last| last.sequence) {
                draft.through = *sequence;
                return draft;
            }
        }
        draft
    }

    async fn read(&self, catalogue: &Catalogue, after: u64, configuration_only: bool) -> Result<ChangeBatch> {
        let request = ChangesRequest {
            exclude: Some(self.peer_feed),
            after,
            configuration_only,
            changes_max: BATCH_RECORDS_MAX,
            bytes_max: BATCH_BYTES_MAX,
        };
        let (catalogue, content) = (catalogue.clone(), self.content);
        blocking(move || catalogue.changes(content, &request)).await
    }
}

/// The current records of some keys that are wanted, as many as fit; the rest is due again later.
///
/// # Errors
/// The store failed.
pub async fn by_key(
    catalogue: &Catalogue,
    content: ContentId,
    keys: Vec<RecordKey>,
    is_wanted: fn(&Record) -> bool,
) -> Result<Draft> {
    let catalogue = catalogue.clone();
    blocking(move || {
        let mut draft = Draft::default();
        for key in keys {
            if draft.is_full() {
                break;
            }
            match catalogue.change(content, &key)? {
                Some(change) if is_wanted(&change.record) => draft.push(change.sequence, &change.record),
                Some(_) | None => draft.absent.push(key),
            }
        }
        Ok(draft)
    })
    .await
}

/// Runs a read that scans where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    aside(read).await.unwrap_or(Err(Error::Poisoned))
}

#[cfg(test)]
mod tests {
    use switchback_model::{ContentKind, SiteId};
    use switchback_store::Options;

    use super::*;

    /// Found by the simulator's layer of cores: what a comparison sends was at the place 0, and counted as
    /// written before the backup that its sender was restored from.
    #[tokio::test]
    async fn a_record_that_is_sent_by_its_key_tells_its_place_in_the_feed() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(folder.path(), Options::new(SiteId(1))).unwrap();
        let content = catalogue.create_content(ContentKind::Tenant, "acme", "").await.unwrap().id;
        catalogue.create_namespace(content, "first").await.unwrap();
        catalogue.create_namespace(content, "second").await.unwrap();
        let head = catalogue.content(content).unwrap().head.sequence;
        let keys = ["second", "first"].map(|name| RecordKey::Namespace(name.to_owned())).to_vec();
        let (changes, ..) = by_key(&catalogue, content, keys, |_| true).await.unwrap().into_parts();
        let places: Vec<_> = changes.iter().map(|change| change.sequence).collect();
        assert_eq!(places, [head, head - 1]);
    }
}
