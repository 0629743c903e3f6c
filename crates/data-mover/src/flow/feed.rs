//! What goes into a batch: the feed after a cursor, configuration ahead, or records by their keys.

use std::time::Duration;

use switchback_kit::world::aside;
use switchback_model::{ContentId, FeedId};
use switchback_proto::replication::v1::Change as WireChange;
use switchback_store::{
    Body, Catalogue, Change, ChangeBatch, ChangesRequest, Error, Record, RecordKey, Result,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::limit::{BATCH_BYTES_MAX, BATCH_FOLLOWING_MAX, BATCH_RECORDS_MAX};
use super::pack::kind_of;
use super::window::Flown;
use crate::mover::now_unix_ms;

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
            kind: record.as_object().map_or(0, |object| kind_of(&record.key, object)),
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
    place: Place,
    /// When the feed was last read, Unix ms, and its head then.
    seen: (i64, u64),
    /// There was more when the feed was last read.
    has_more: bool,
    /// How long the reads took that were not counted yet.
    took: Duration,
    ahead: Option<JoinHandle<Result<Stretch>>>,
}

/// How far a feed has been read.
#[derive(Clone, Copy)]
struct Place {
    after: u64,
    /// Configuration up to here has been given ahead of its place.
    configuration_after: u64,
}

/// What came of one read.
struct Stretch {
    /// None at the end of the feed.
    draft: Option<Draft>,
    /// Where the next read begins.
    place: Place,
    seen: (i64, u64),
    /// There is more.
    has_more: bool,
    took: Duration,
}

impl Reader {
    /// Of the feed of `content`, from the cursor of the peer whose feed is `peer_feed`.
    #[must_use]
    pub fn new(content: ContentId, peer_feed: FeedId, cursor: u64) -> Self {
        let place = Place { after: cursor, configuration_after: cursor };
        Self {
            content,
            peer_feed,
            place,
            seen: (0, cursor),
            has_more: false,
            took: Duration::ZERO,
            ahead: None,
        }
    }

    /// When the feed was read for the last batch, Unix ms, and its head then.
    #[must_use]
    pub fn seen(&self) -> (i64, u64) {
        self.seen
    }

    /// There was more when the feed was read for the last batch.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// How long the store was read for what was given since this was last asked.
    pub(crate) fn take_time(&mut self) -> Duration {
        std::mem::take(&mut self.took)
    }

    /// Everything through `sequence` is on the other side by other means.
    pub fn skip_to(&mut self, sequence: u64) {
        self.ahead = None;
        self.place.after = self.place.after.max(sequence);
        self.place.configuration_after = self.place.configuration_after.max(sequence);
    }

    /// The next batch; none when the feed has been read to its end. A stretch that holds nothing
    /// for this peer is told as progress.
    ///
    /// # Errors
    /// The store failed.
    pub async fn next(&mut self, catalogue: &Catalogue) -> Result<Option<Draft>> {
        let stretch = match self.ahead.take() {
            Some(ahead) => ahead.await.unwrap_or(Err(Error::Poisoned))?,
            None => self.read(catalogue).await?,
        };
        (self.place, self.seen, self.has_more) = (stretch.place, stretch.seen, stretch.has_more);
        self.took += stretch.took;
        Ok(stretch.draft)
    }

    /// Begins to read the batch after the last one, if there is one, while that is on its way.
    pub(crate) fn read_ahead(&mut self, catalogue: &Catalogue) {
        if self.has_more && self.ahead.is_none() {
            self.ahead = Some(tokio::spawn(self.read(catalogue)));
        }
    }

    fn read(&self, catalogue: &Catalogue) -> impl Future<Output = Result<Stretch>> + Send + use<> {
        let (catalogue, content) = (catalogue.clone(), self.content);
        let (peer_feed, place) = (self.peer_feed, self.place);
        blocking(move || {
            let since = Instant::now();
            let stretch = place.read(&catalogue, content, peer_feed)?;
            Ok(Stretch { took: since.elapsed(), ..stretch })
        })
    }
}

impl Place {
    fn read(self, catalogue: &Catalogue, content: ContentId, peer_feed: FeedId) -> Result<Stretch> {
        let request = |after, configuration_only| ChangesRequest {
            exclude: Some(peer_feed),
            after,
            configuration_only,
            changes_max: BATCH_RECORDS_MAX,
            bytes_max: BATCH_BYTES_MAX,
        };
        let at_unix_ms = now_unix_ms();
        let ahead = catalogue.changes(content, &request(self.configuration_after, true))?;
        if !ahead.changes.is_empty() {
            let mut draft = Draft::default();
            ahead.changes.iter().for_each(|change| draft.push(change.sequence, &change.record));
            let configuration_after = ahead.changes.last().map_or(ahead.through, |last| last.sequence);
            let place = Self { configuration_after, ..self };
            // Nothing was seen of the rest of the feed.
            return Ok(Stretch {
                draft: Some(draft),
                place,
                seen: (0, self.after),
                has_more: true,
                took: Duration::ZERO,
            });
        }
        let batch = catalogue.changes(content, &request(self.after, false))?;
        let seen = (at_unix_ms, batch.head);
        if batch.through <= self.after {
            return Ok(Stretch { draft: None, place: self, seen, has_more: false, took: Duration::ZERO });
        }
        let draft = self.draft(&batch);
        let place = Self { after: draft.through, ..self };
        let has_more = place.after < batch.head;
        Ok(Stretch { has_more, draft: Some(draft), place, seen, took: Duration::ZERO })
    }

    fn draft(self, batch: &ChangeBatch) -> Draft {
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
