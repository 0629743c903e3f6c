//! Multipart uploads that a crash left in a bucket of S3: their parts are kept, and paid for, and no listing of objects
//! shows them. `object_store` does not list them, so they are asked for here (`ListMultipartUploads`), signed by its
//! own signature.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpRequestBody};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path as Location;
use serde::Deserialize;

use super::connector::Connector;
use super::failed;
use crate::error::Result;

/// A page has 1,000 uploads. Who has more than this many pages has another problem, and a sweep ends.
const PAGES_MAX: usize = 100;

pub(super) struct Uploads {
    store: Arc<AmazonS3>,
    http: HttpClient,
    bucket: String,
    region: String,
}

/// `ListMultipartUploadsResult`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}

impl Upload {
    /// True when it began `age` before `now` or earlier. One whose time cannot be read is not touched.
    fn is_older(&self, age: Duration, now: SystemTime) -> bool {
        let began = DateTime::parse_from_rfc3339(&self.initiated).ok();
        let began = began.and_then(|time| u64::try_from(time.timestamp_millis()).ok());
        began.is_some_and(|began| UNIX_EPOCH + Duration::from_millis(began) + age <= now)
    }
}

impl Uploads {
    pub(super) fn new(
        store: Arc<AmazonS3>,
        connector: Connector,
        endpoint: &str,
        bucket: &str,
        region: &str,
    ) -> Self {
        let bucket = format!("{endpoint}/{bucket}");
        Self { store, http: connector.client(), bucket, region: region.to_owned() }
    }

    /// Ends the uploads beneath `prefix` that began `age` ago or earlier.
    pub(super) async fn end(&self, prefix: &Location, age: Duration) -> Result<()> {
        let (mut keys, mut ids) = (String::new(), String::new());
        for _ in 0..PAGES_MAX {
            let page = self.page(prefix, &keys, &ids).await?;
            for upload in page.uploads.iter().filter(|upload| upload.is_older(age, SystemTime::now())) {
                let key = Location::from(upload.key.as_str());
                match self.store.abort_multipart(&key, &upload.upload_id).await {
                    // Finished or ended meanwhile.
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {
                        tracing::info!(
                            key = upload.key,
                            "ended an upload of a blob that an earlier crash left"
                        );
                    }
                    Err(error) => return Err(failed("end an upload", error)),
                }
            }
            match (page.is_truncated, page.next_key_marker) {
                (true, Some(next)) => (keys, ids) = (next, page.next_upload_id_marker.unwrap_or_default()),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    async fn page(&self, prefix: &Location, keys: &str, ids: &str) -> Result<Page> {
        let other = |words: String| failed("list uploads", std::io::Error::other(words));
        // The prefix is plain by its form, and so are our keys; an upload's id may be anything.
        let mut uri = format!("{}?uploads=&prefix={}%2F", self.bucket, encoded(prefix.as_ref()));
        if !keys.is_empty() {
            uri += &format!("&key-marker={}&upload-id-marker={}", encoded(keys), encoded(ids));
        }
        let mut request = http::Request::get(uri)
            .body(HttpRequestBody::empty())
            .map_err(|error| failed("list uploads", error))?;
        let credential = self.store.credentials().get_credential().await;
        let credential = credential.map_err(|error| failed("list uploads", error))?;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| failed("list uploads", error))?;
        let answer = self.http.execute(request).await.map_err(|error| failed("list uploads", error))?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(|error| failed("list uploads", error))?;
        if !status.is_success() {
            let words: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(other(format!("{status}: {words}")));
        }
        parse(&body).map_err(|error| failed("list uploads", error))
    }
}

fn parse(body: &[u8]) -> Result<Page, quick_xml::DeError> {
    quick_xml::de::from_reader(body)
}

/// Everything but the unreserved characters (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_that_are_old_enough_are_ended() {
        let page = parse(
            br#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Bucket>b</Bucket><KeyMarker/><UploadIdMarker/><NextKeyMarker>p/2</NextKeyMarker>
              <NextUploadIdMarker>y&amp;</NextUploadIdMarker><MaxUploads>2</MaxUploads><IsTruncated>true</IsTruncated>
              <Upload><Key>p/1</Key><UploadId>x</UploadId><Owner><ID>o</ID></Owner><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>
              <Upload><Key>p/2</Key><UploadId>y&amp;</UploadId><Initiated>yesterday</Initiated></Upload>
            </ListMultipartUploadsResult>"#,
        )
        .unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next_upload_id_marker.as_deref(), Some("y&"));
        let began = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let day = Duration::from_secs(24 * 60 * 60);
        let [first, second] = &page.uploads[..] else { panic!("two uploads") };
        assert!(first.is_older(day, began + day));
        assert!(!first.is_older(day, began + day - Duration::from_millis(1)));
        assert!(!second.is_older(day, began + 9 * day));
        let none = parse(
            b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
        );
        assert_eq!(none.unwrap().uploads.len(), 0);
    }
}
