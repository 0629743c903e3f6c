//! The calls: list, look, read, write, delete.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};

use super::{Answer, Bucket, Call, Failure, answer};
use crate::import::entry::Entry;

pub(super) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const VERSION: HeaderName = HeaderName::from_static("x-amz-version-id");
const PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");

/// What a write may replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Replaces {
    /// Whatever is there.
    Anything,
    /// Nothing.
    Nothing,
    /// The object with this ETag.
    This(String),
}

/// What becomes of a write that is sent again since its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// The same as of one.
    Harmless,
    /// Another version.
    Twofold,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) etag: String,
    /// Absent where the bucket keeps no versions.
    pub(crate) version: Option<String>,
}

/// A page of a listing.
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// Where the next one begins, if there is one.
    pub(crate) next: Option<String>,
}

/// A part of an upload that was taken.
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) etag: String,
}

impl Bucket {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finds out, by a listing of one key, whether the bucket is there and lets us in; that says why it does not,
    /// which an answer to `HEAD` cannot.
    ///
    /// # Errors
    /// It is not, or does not, or nobody answers.
    pub async fn exists(&self) -> Result<(), Failure> {
        let mut call = Call::new(Method::GET, None);
        call.query = vec![("list-type", "2"), ("max-keys", "1")];
        self.send(&call).await.map(drop)
    }

    /// A page of the objects whose keys begin with `prefix`.
    pub(crate) async fn list(&self, prefix: &str, token: Option<&str>) -> Result<Page, Failure> {
        let mut call = Call::new(Method::GET, None);
        call.query = vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)];
        call.query.extend(token.map(|token| ("continuation-token", token)));
        let answer = self.send(&call).await?;
        let text = answer::text("a listing", &answer.body)?;
        let read = ListObjectsV2::parse_response(text);
        let read = read.map_err(|error| answer::unreadable("a listing", &error))?;
        let entries = read.contents.into_iter().map(|object| Entry {
            key: object.key,
            size: object.size.unwrap_or(0),
            modified: object.last_modified.unwrap_or_default(),
            etag: object.etag.map(unquoted).unwrap_or_default(),
            ..Default::default()
        });
        Ok(Page { entries: entries.collect(), next: read.next_continuation_token })
    }

    /// The headers of an object, of the version that is named; `None` when there is none.
    pub(crate) async fn head(&self, key: &str, version: Option<&str>) -> Result<Option<HeaderMap>, Failure> {
        match self.send(&Call::of(Method::HEAD, key, version)).await {
            Ok(answer) => Ok(Some(answer.headers)),
            Err(failure) if failure.status() == Some(http::StatusCode::NOT_FOUND) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// How many parts an object was made of, and the size of the first; `None` when the endpoint does not say.
    pub(crate) async fn parts(&self, entry: &Entry) -> Result<Option<(u64, u64)>, Failure> {
        let mut call = Call::of(Method::HEAD, &entry.key, entry.version.as_deref());
        call.query.push(("partNumber", "1"));
        let answer = match self.send(&call).await {
            Ok(answer) => answer,
            // Not every endpoint knows parts.
            Err(failure) if failure.status().is_some() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let number = |name| answer.headers.get(name)?.to_str().ok()?.parse().ok();
        Ok(number(PARTS_COUNT).zip(number(http::header::CONTENT_LENGTH)))
    }

    /// The tags of an object, as the header that sets them.
    pub(crate) async fn tags(&self, entry: &Entry) -> Result<String, Failure> {
        let mut call = Call::of(Method::GET, &entry.key, entry.version.as_deref());
        call.query.push(("tagging", ""));
        answer::tags(&self.send(&call).await?.body)
    }

    /// The bytes of `range`, all of them when there is none, of the object as it was listed.
    pub(crate) async fn read(
        &self,
        entry: &Entry,
        range: Option<Range<u64>>,
    ) -> Result<(HeaderMap, Bytes), Failure> {
        let wanted = range.as_ref().map_or(entry.size, |range| range.end - range.start);
        let mut call = Call::of(Method::GET, &entry.key, entry.version.as_deref());
        // An answer that is longer is read to its end, to be told from a broken one.
        call.answer_bytes_max = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_add(1024);
        if !entry.etag.is_empty() {
            call.headers.insert(IF_MATCH, value(&quoted(&entry.etag))?);
        }
        if let Some(range) = range {
            call.headers.insert(RANGE, value(&format!("bytes={}-{}", range.start, range.end - 1))?);
        }
        let Answer { headers, body, .. } = self.send(&call).await?;
        if body.len() as u64 == wanted {
            Ok((headers, body))
        } else {
            Err(Failure::Unusable(format!("{wanted} bytes were asked for, and {} came", body.len())))
        }
    }

    /// Writes an object.
    pub(crate) async fn put(
        &self,
        key: &str,
        headers: HeaderMap,
        body: Bytes,
        md5: [u8; 16],
        replaces: &Replaces,
        repeats: Repeats,
    ) -> Result<Written, Failure> {
        let mut call = Call::new(Method::PUT, Some(key));
        call.repeats = repeats;
        call.headers = headers;
        condition(&mut call.headers, replaces)?;
        call.headers.insert(CONTENT_MD5, value(&STANDARD.encode(md5))?);
        call.body = body;
        let headers = self.send(&call).await?.headers;
        Ok(Written { etag: etag(&headers)?, version: version(&headers) })
    }

    /// Begins an upload of parts.
    pub(crate) async fn begin(&self, key: &str, headers: HeaderMap) -> Result<String, Failure> {
        let mut call = Call::new(Method::POST, Some(key));
        call.query = vec![("uploads", "")];
        call.headers = headers;
        let answer = self.send(&call).await?;
        let text = answer::text("the begin of an upload", &answer.body)?;
        let read = CreateMultipartUpload::parse_response(text);
        let read = read.map_err(|error| answer::unreadable("the begin of an upload", &error))?;
        Ok(read.upload_id().to_owned())
    }

    /// Writes a part.
    pub(crate) async fn put_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        body: Bytes,
        md5: [u8; 16],
    ) -> Result<Part, Failure> {
        let written = number.to_string();
        let mut call = Call::new(Method::PUT, Some(key));
        call.query = vec![("partNumber", &written), ("uploadId", upload)];
        call.headers.insert(CONTENT_MD5, value(&STANDARD.encode(md5))?);
        call.body = body;
        Ok(Part { number, etag: etag(&self.send(&call).await?.headers)? })
    }

    /// Makes an object of the parts, which are in order. An upload is completed once, however often that is asked.
    pub(crate) async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[Part],
        replaces: &Replaces,
    ) -> Result<Written, Failure> {
        let mut call = Call::new(Method::POST, Some(key));
        call.query = vec![("uploadId", upload)];
        condition(&mut call.headers, replaces)?;
        let written = parts.iter().map(|Part { number, etag }| {
            // An ETag is what the endpoint itself said, in quotes; it holds nothing that XML would read.
            format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>")
        });
        let written: String = written.collect();
        call.body = format!("<CompleteMultipartUpload>{written}</CompleteMultipartUpload>").into();
        let answer = self.send(&call).await?;
        let etag = answer::completed(answer.status, &answer.body)?;
        Ok(Written { etag, version: version(&answer.headers) })
    }

    /// Gives an upload up.
    pub(crate) async fn abort(&self, key: &str, upload: &str) -> Result<(), Failure> {
        let mut call = Call::new(Method::DELETE, Some(key));
        call.query = vec![("uploadId", upload)];
        self.send(&call).await.map(drop)
    }

    /// Deletes an object, or for good the version of it that is named.
    pub(crate) async fn delete(&self, key: &str, version: Option<&str>) -> Result<(), Failure> {
        self.send(&Call::of(Method::DELETE, key, version)).await.map(drop)
    }
}

/// The ETag among `headers`, without its quotes.
pub(crate) fn etag(headers: &HeaderMap) -> Result<String, Failure> {
    let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(|etag| unquoted(etag.to_owned()));
    let plain = etag
        .filter(|etag| etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+=/".contains(&byte)));
    plain.ok_or_else(|| Failure::Unusable("the endpoint names no ETag that could be asked for again".into()))
}

/// The version that an answer is about.
pub(super) fn version(headers: &HeaderMap) -> Option<String> {
    headers.get(VERSION)?.to_str().ok().map(str::to_owned)
}

fn condition(headers: &mut HeaderMap, replaces: &Replaces) -> Result<(), Failure> {
    match replaces {
        Replaces::Anything => {}
        Replaces::Nothing => drop(headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"))),
        Replaces::This(etag) => drop(headers.insert(IF_MATCH, value(&quoted(etag))?)),
    }
    Ok(())
}

pub(super) fn value(text: &str) -> Result<HeaderValue, Failure> {
    text.parse().map_err(|_| Failure::Unusable(format!("{text:?} cannot be sent in a header")))
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

pub(super) fn unquoted(etag: String) -> String {
    etag.trim_matches('"').to_owned()
}
