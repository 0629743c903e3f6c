//! A bucket of any S3 endpoint.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderName};
use switchback_store::Lock;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;

use super::{Described, History, Listed};
use crate::import::entry::Entry;
use crate::import::history::{Found, Gathering, ordered};
use crate::import::lock;
use crate::import::s3::{Bucket, Failure, VERSIONS_OF_KEY_MAX, etag};

/// Of what a client set, what it gets back.
const KEPT: [HeaderName; 7] = [
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_TYPE,
    EXPIRES,
    HeaderName::from_static("x-amz-website-redirect-location"),
];
const USER_METADATA: &str = "x-amz-meta-";
const TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");
const TAGGING_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");
const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");

/// Versions that are listed ahead, and those of the keys on their way: 25 MB or so. A key that has more takes all.
const VERSIONS_AHEAD: usize = 100_000;

/// The objects of a bucket whose keys begin with a prefix.
#[derive(Clone)]
pub struct Remote {
    bucket: Bucket,
    endpoint: String,
    prefix: String,
    versions: bool,
}

impl Remote {
    /// Objects of `bucket`, which is at `endpoint`, whose keys begin with `prefix`.
    #[must_use]
    pub fn new(bucket: Bucket, endpoint: String, prefix: String) -> Self {
        Self { bucket, endpoint, prefix, versions: false }
    }

    /// All versions of these objects, delete markers too.
    #[must_use]
    pub fn with_versions(self) -> Self {
        Self { versions: true, ..self }
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}/{}", self.endpoint.trim_end_matches('/'), self.bucket.name(), self.prefix)
    }

    pub(super) async fn list(&self, sender: &Sender<Listed>) {
        if self.versions {
            // Told or not: who takes no more has ended.
            if let Err(failure) = self.list_versions(sender).await {
                drop(sender.send(Listed::Broken(failure)).await);
            }
            return;
        }
        let mut token = None;
        loop {
            let page = match self.bucket.list(&self.prefix, token.as_deref()).await {
                Ok(page) => page,
                Err(failure) => return drop(sender.send(Listed::Broken(failure)).await),
            };
            for entry in page.entries {
                if sender.send(Listed::Entry(entry)).await.is_err() {
                    return;
                }
            }
            // An endpoint that gives the same page for ever would be listed for ever.
            if page.next.is_some() && page.next == token {
                let reason = "the endpoint goes on listing with the page that it just gave".to_owned();
                return drop(sender.send(Listed::Broken(Failure::Unusable(reason))).await);
            }
            token = page.next;
            if token.is_none() {
                return;
            }
        }
    }

    async fn list_versions(&self, sender: &Sender<Listed>) -> Result<(), Failure> {
        let memory = Arc::new(Semaphore::new(VERSIONS_AHEAD));
        let (mut gathering, mut after) = (Gathering::default(), None);
        loop {
            let page = self.bucket.versions(&self.prefix, after.as_ref(), None).await?;
            for found in gathering.take(page.entries, page.next.as_ref()) {
                let room = u32::try_from(found.len().min(VERSIONS_AHEAD)).unwrap_or(u32::MAX);
                let room = Arc::clone(&memory).acquire_many_owned(room).await;
                let history = History { found, _memory: room.expect("the semaphore is never closed") };
                if sender.send(Listed::History(history)).await.is_err() {
                    return Ok(());
                }
            }
            if gathering.longest() > VERSIONS_OF_KEY_MAX {
                return Err(Failure::Unusable(format!(
                    "a key has more than {VERSIONS_OF_KEY_MAX} versions; expire some of them at the source, or import the other keys by prefix"
                )));
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The versions of a key in their order, the newest first, but for those that went since they were listed; asks
    /// once more where the listing left it open.
    pub(super) async fn ordered(&self, found: &[Found]) -> Result<Vec<Entry>, Failure> {
        if let Some(ordered) = ordered(found) {
            return Ok(ordered);
        }
        let Some(Found { entry: Entry { key, .. }, .. }) = found.first() else { return Ok(Vec::new()) };
        let mut told = self.bucket.one_by_one(key).await?;
        let listed: HashSet<_> = found.iter().map(|found| found.entry.identity()).collect();
        // What came since belongs to the next run.
        told.retain(|entry| listed.contains(&entry.identity()));
        Ok(told)
    }

    pub(super) async fn whole(&self, entry: &Entry) -> Result<(Described, Bytes), Failure> {
        let (headers, bytes) = self.bucket.read(entry, None).await?;
        Ok((self.described(entry, &headers).await?, bytes))
    }

    pub(super) async fn describe(&self, entry: &Entry) -> Result<Described, Failure> {
        // By its first byte: not every endpoint tells in an answer to `HEAD` that there are tags.
        let (headers, _) = self.bucket.read(entry, Some(0..1)).await?;
        self.described(entry, &headers).await
    }

    async fn described(&self, entry: &Entry, given: &HeaderMap) -> Result<Described, Failure> {
        let mut headers = kept(given);
        if given.get(TAGGING_COUNT).is_some_and(|count| count != "0") {
            let tags = self.bucket.tags(entry).await?;
            let tags = tags.parse().map_err(|_| Failure::Unusable("its tags fit into no header".into()))?;
            headers.insert(TAGGING, tags);
        }
        let etag_is_opaque = given.get(ENCRYPTION).is_some_and(|by| by != "AES256");
        Ok(Described { headers, lock: lock::told(given)?, etag_is_opaque })
    }

    pub(super) async fn lock(&self, entry: &Entry) -> Result<Option<Lock>, Failure> {
        let Some(headers) = self.bucket.head(&entry.key, entry.version.as_deref()).await? else {
            return Ok(None);
        };
        // What stands there now comes with its own lock.
        if entry.version.is_none() && etag(&headers)? != entry.etag {
            return Ok(None);
        }
        lock::told(&headers).map(Some)
    }

    pub(super) async fn now(&self, entry: &Entry) -> Result<Option<Entry>, Failure> {
        self.bucket.now(&entry.key).await
    }

    pub(super) async fn lists(&self, entry: &Entry) -> Result<bool, Failure> {
        self.bucket.lists(entry).await
    }

    pub(super) async fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes, Failure> {
        Ok(self.bucket.read(entry, Some(range)).await?.1)
    }

    pub(super) async fn part_size(&self, entry: &Entry) -> Result<Option<u64>, Failure> {
        let Some(parts) = entry.parts() else { return Ok(None) };
        let told = self.bucket.parts(entry).await?;
        Ok(told.filter(|(count, _)| *count == parts).map(|(_, size)| size))
    }
}

fn kept(given: &HeaderMap) -> HeaderMap {
    let kept = |name: &HeaderName| KEPT.contains(name) || name.as_str().starts_with(USER_METADATA);
    given.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_set_is_kept_and_what_the_endpoint_adds_is_not() {
        let given = [
            ("content-type", "a/b"),
            ("content-encoding", "gzip"),
            ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ("x-amz-meta-a", "1"),
            ("content-length", "3"),
            ("etag", "\"e\""),
            ("date", "today"),
            ("x-amz-request-id", "7"),
            ("x-amz-storage-class", "GLACIER_IR"),
        ];
        let headers = given.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let kept = kept(&HeaderMap::from_iter(headers));
        let mut names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-encoding", "content-type", "expires", "x-amz-meta-a"]);
    }
}
