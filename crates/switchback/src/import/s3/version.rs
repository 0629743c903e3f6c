//! Buckets that keep versions: whether one does, what versions it lists, and delete markers.
//!
//! `rusty-s3` has no listing of versions, so it is read here.

use http::{HeaderValue, Method};
use instant_xml::FromXml;
use percent_encoding::percent_decode_str;

use super::object::{unquoted, version};
use super::{Bucket, Call, Failure, Repeats, answer};
use crate::import::entry::Entry;
use crate::import::history::{Found, ordered};

const S3: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What a delete marker is answered with.
const DELETE_MARKER: &str = "x-amz-delete-marker";

/// Versions of one key that are listed at most: so many are held in memory, and S3 itself slows down at as many.
pub(crate) const VERSIONS_OF_KEY_MAX: usize = 1_000_000;

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Off,
    /// Every write makes a version.
    Enabled,
    /// The versions that are there stay; a write replaces the `null` version.
    Suspended,
}

/// Where a page of a listing of versions begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct After {
    pub(crate) key: String,
    /// Absent: behind all versions of the key.
    pub(crate) version: Option<String>,
}

/// A page of a listing of versions.
pub(crate) struct VersionsPage {
    /// As they stand in the answer: of one key the newest first, but perhaps all delete markers apart.
    pub(crate) entries: Vec<Entry>,
    /// Where the next one begins, if there is one.
    pub(crate) next: Option<After>,
}

#[derive(FromXml)]
#[xml(rename = "VersioningConfiguration", ns(S3))]
struct Configured {
    #[xml(rename = "Status")]
    status: Option<String>,
}

/// As endpoints answer that name the element after the call; SDKs do not look at its name.
#[derive(FromXml)]
#[xml(rename = "GetBucketVersioningResponse", ns(S3))]
struct ConfiguredByCall {
    #[xml(rename = "Status")]
    status: Option<String>,
}

#[derive(FromXml)]
#[xml(rename = "ListVersionsResult", ns(S3))]
struct ListVersions {
    entries: Vec<Listed>,
    #[xml(rename = "EncodingType")]
    encoding_type: Option<String>,
    #[xml(rename = "IsTruncated")]
    is_truncated: Option<bool>,
    #[xml(rename = "NextKeyMarker")]
    next_key_marker: Option<String>,
    #[xml(rename = "NextVersionIdMarker")]
    next_version_id_marker: Option<String>,
}

/// In the order of the document.
#[derive(FromXml)]
#[xml(forward)]
enum Listed {
    Version(Version),
    DeleteMarker(DeleteMarker),
}

#[derive(FromXml)]
#[xml(rename = "Version", ns(S3))]
struct Version {
    #[xml(rename = "Key")]
    key: String,
    #[xml(rename = "VersionId")]
    version: String,
    #[xml(rename = "LastModified")]
    modified: Option<String>,
    #[xml(rename = "ETag")]
    etag: Option<String>,
    #[xml(rename = "Size")]
    size: Option<u64>,
}

#[derive(FromXml)]
#[xml(rename = "DeleteMarker", ns(S3))]
struct DeleteMarker {
    #[xml(rename = "Key")]
    key: String,
    #[xml(rename = "VersionId")]
    version: String,
    #[xml(rename = "LastModified")]
    modified: Option<String>,
}

impl Bucket {
    /// Whether it keeps versions.
    ///
    /// # Errors
    /// It is not told.
    pub async fn versioning(&self) -> Result<Versioning, Failure> {
        let mut call = Call::new(Method::GET, None);
        call.query = vec![("versioning", "")];
        configured(&self.send(&call).await?.body)
    }

    /// A page of the versions and delete markers whose keys begin with `prefix`; of `max` of them, or as many as
    /// the endpoint likes.
    pub(crate) async fn versions(
        &self,
        prefix: &str,
        after: Option<&After>,
        max: Option<u16>,
    ) -> Result<VersionsPage, Failure> {
        let max = max.map(|max| max.to_string());
        let mut call = Call::new(Method::GET, None);
        call.query = vec![("versions", ""), ("encoding-type", "url"), ("prefix", prefix)];
        call.query.extend(max.as_deref().map(|max| ("max-keys", max)));
        if let Some(After { key, version }) = after {
            call.query.push(("key-marker", key));
            call.query.extend(version.as_deref().map(|version| ("version-id-marker", version)));
        }
        let page = listed(&self.send(&call).await?.body)?;
        // An endpoint that gives the same page for ever would be listed for ever.
        if page.next.is_some() && page.next.as_ref() == after {
            return Err(Failure::Unusable(
                "the endpoint goes on listing with the page that it just gave".into(),
            ));
        }
        Ok(page)
    }

    /// All versions and delete markers of one key, the newest first.
    pub(crate) async fn history(&self, key: &str) -> Result<Vec<Entry>, Failure> {
        let found = self.found(key, None).await?;
        match ordered(&found) {
            Some(ordered) => Ok(ordered),
            None => self.one_by_one(key).await,
        }
    }

    /// The same, by pages of one entry, whose order leaves nothing open.
    pub(crate) async fn one_by_one(&self, key: &str) -> Result<Vec<Entry>, Failure> {
        let found = self.found(key, Some(1)).await?;
        Ok(found.into_iter().map(|found| found.entry).collect())
    }

    /// The object of this key, as a listing says now.
    pub(crate) async fn now(&self, key: &str) -> Result<Option<Entry>, Failure> {
        Ok(self.list(key, None).await?.entries.into_iter().find(|listed| listed.key == key))
    }

    /// Whether a version that was listed still is.
    pub(crate) async fn lists(&self, entry: &Entry) -> Result<bool, Failure> {
        let mut after = None;
        loop {
            let page = self.versions(&entry.key, after.as_ref(), None).await?;
            if page.entries.iter().any(|listed| listed.identity() == entry.identity()) {
                return Ok(true);
            }
            if page.next.is_none() || page.entries.iter().any(|listed| listed.key != entry.key) {
                return Ok(false);
            }
            after = page.next;
        }
    }

    async fn found(&self, key: &str, max: Option<u16>) -> Result<Vec<Found>, Failure> {
        let (mut found, mut after) = (Vec::new(), None);
        for number in 0.. {
            let page = self.versions(key, after.as_ref(), max).await?;
            // Keys that are longer come behind all versions of this one.
            let is_last = page.next.is_none() || page.entries.iter().any(|entry| entry.key != key);
            let entries = page.entries.into_iter().filter(|entry| entry.key == key);
            found.extend(entries.map(|entry| Found { page: number, entry }));
            if is_last {
                break;
            }
            if found.len() > VERSIONS_OF_KEY_MAX {
                let reason =
                    format!("the key has more than {VERSIONS_OF_KEY_MAX} versions; expire some of them");
                return Err(Failure::Unusable(reason));
            }
            after = page.next;
        }
        Ok(found)
    }

    /// Puts a delete marker on a key and returns its version id, absent where the bucket keeps no versions.
    /// It is asked for once: each time would leave another one.
    pub(crate) async fn mark_deleted(&self, key: &str) -> Result<Option<String>, Failure> {
        let mut call = Call::new(Method::DELETE, Some(key));
        call.repeats = Repeats::Twofold;
        let headers = self.send(&call).await?.headers;
        let is_marker = headers.get(DELETE_MARKER) == Some(&HeaderValue::from_static("true"));
        Ok(version(&headers).filter(|_| is_marker))
    }
}

fn configured(body: &[u8]) -> Result<Versioning, Failure> {
    let what = "the bucket's versioning";
    let status = match answer::read::<Configured>(what, body) {
        Ok(read) => read.status,
        Err(failure) => answer::read::<ConfiguredByCall>(what, body).map_err(|_| failure)?.status,
    };
    Ok(match status.as_deref() {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        _ => Versioning::Off,
    })
}

fn listed(body: &[u8]) -> Result<VersionsPage, Failure> {
    let read: ListVersions = answer::read("a listing of versions", body)?;
    let is_encoded = read.encoding_type.as_deref() == Some("url");
    let plain = |text: String| if is_encoded { decoded(&text).unwrap_or(text) } else { text };
    let next = match (read.is_truncated, read.next_key_marker) {
        (Some(true), Some(key)) => {
            let version = read.next_version_id_marker.filter(|version| !version.is_empty());
            Some(After { key: plain(key), version })
        }
        // Taken for the end, it would be short of versions.
        (Some(true), None) => {
            let reason = "the endpoint says that it has more versions to list, and not where they begin";
            return Err(Failure::Unusable(reason.into()));
        }
        _ => None,
    };
    let entries = read.entries.into_iter().map(|listed| match listed {
        Listed::Version(Version { key, version, modified, etag, size }) => Entry {
            key: plain(key),
            version: Some(version),
            marker: false,
            size: size.unwrap_or(0),
            modified: modified.unwrap_or_default(),
            etag: etag.map(unquoted).unwrap_or_default(),
        },
        Listed::DeleteMarker(DeleteMarker { key, version, modified }) => Entry {
            key: plain(key),
            version: Some(version),
            marker: true,
            modified: modified.unwrap_or_default(),
            ..Default::default()
        },
    });
    Ok(VersionsPage { entries: entries.collect(), next })
}

/// As AWS and MinIO encode names, which is that of HTML forms; others write no plus.
fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(inner: &str) -> Result<VersionsPage, Failure> {
        let text = format!("<ListVersionsResult xmlns=\"{S3}\"><Name>b</Name>{inner}</ListVersionsResult>");
        listed(text.as_bytes())
    }

    #[test]
    fn versions_and_delete_markers_stand_as_in_the_answer() {
        let entry = |kind: &str, version: &str, more: &str| {
            format!(
                "<{kind}><Key>a+b%2Bc</Key><VersionId>{version}</VersionId><IsLatest>false</IsLatest>\
                <LastModified>t{version}</LastModified>{more}<Owner><ID>1</ID></Owner></{kind}>"
            )
        };
        let version = "<ETag>&quot;e&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass>";
        let inner = format!(
            "<Prefix></Prefix><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>{}{}{}\
            <NextKeyMarker>a+b%2Bc</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>",
            entry("Version", "3", version),
            entry("DeleteMarker", "2", ""),
            entry("Version", "null", version),
        );
        let page = page(&inner).unwrap();
        let found: Vec<_> =
            page.entries.iter().map(|entry| (entry.version.as_deref().unwrap(), entry.marker)).collect();
        assert_eq!(found, [("3", false), ("2", true), ("null", false)]);
        let newest = &page.entries[0];
        assert_eq!((newest.key.as_str(), newest.etag.as_str(), newest.size), ("a b+c", "e", 7));
        assert_eq!(newest.modified, "t3");
        assert_eq!(page.next, Some(After { key: "a b+c".into(), version: Some("null".into()) }));
    }

    #[test]
    fn a_listing_that_does_not_say_where_it_goes_on_is_not_taken_for_its_end() {
        assert!(page("<IsTruncated>true</IsTruncated>").is_err());
        let ended = page("<IsTruncated>false</IsTruncated><NextKeyMarker>k</NextKeyMarker>").unwrap();
        assert!(ended.next.is_none() && ended.entries.is_empty());
    }

    #[test]
    fn a_bucket_that_says_nothing_of_versions_keeps_none() {
        let read = |inner: &str| {
            let text = format!("<VersioningConfiguration xmlns=\"{S3}\">{inner}</VersioningConfiguration>");
            configured(text.as_bytes()).unwrap()
        };
        assert_eq!(read(""), Versioning::Off);
        assert_eq!(read("<Status>Enabled</Status>"), Versioning::Enabled);
        assert_eq!(read("<Status>Suspended</Status>"), Versioning::Suspended);
        let by_call = format!(
            "<GetBucketVersioningResponse xmlns=\"{S3}\"><Status>Enabled</Status></GetBucketVersioningResponse>"
        );
        assert_eq!(configured(by_call.as_bytes()).unwrap(), Versioning::Enabled);
        assert!(configured(b"<html/>").is_err());
    }
}
