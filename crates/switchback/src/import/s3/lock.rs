//! Object lock: whether a bucket has it, and the locks of single versions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use md5::{Digest as _, Md5};
use switchback_store::Retention;

use super::object::{CONTENT_MD5, value};
use super::{Bucket, Call, Failure};
use crate::import::lock::until;

const S3: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

const BYPASS: HeaderName = HeaderName::from_static("x-amz-bypass-governance-retention");

/// Whether versions of a bucket can be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// They cannot, or the endpoint knows nothing of it.
    Off,
    /// They can.
    Enabled,
    /// That is not for who asks.
    Untold,
}

impl Bucket {
    /// Whether its versions can be locked.
    ///
    /// # Errors
    /// Nobody answers, or only with errors of his own.
    pub async fn locking(&self) -> Result<Locking, Failure> {
        let mut call = Call::new(Method::GET, None);
        call.query = vec![("object-lock", "")];
        match self.send(&call).await {
            Ok(answer) => Ok(configured(&answer.body)),
            Err(failure) if is_denied(&failure) => Ok(Locking::Untold),
            // Without a lock it is 404; who does not know the call says so in many ways.
            Err(failure) if failure.status().is_some() && !failure.may_pass() => Ok(Locking::Off),
            Err(failure) => Err(failure),
        }
    }

    /// Whether who asks is told of the locks of single objects, or with `versions` of versions: by one whose key begins
    /// with `prefix`. S3 leaves locks out of its answers to GET and HEAD to those who may not know, as if there were none.
    ///
    /// # Errors
    /// The bucket cannot be listed.
    pub async fn tells_locks(&self, prefix: &str, versions: bool) -> Result<bool, Failure> {
        let listed = if versions {
            self.versions(prefix, None, None).await?.entries
        } else {
            self.list(prefix, None).await?.entries
        };
        // An endpoint that does not know the call may give the whole object.
        let tried = listed.into_iter().filter(|entry| !entry.marker).min_by_key(|entry| entry.size);
        let Some(tried) = tried else { return Ok(true) };
        for kind in ["retention", "legal-hold"] {
            let mut call = Call::of(Method::GET, &tried.key, tried.version.as_deref());
            call.query.push((kind, ""));
            // Without a lock it is refused, too.
            if self.send(&call).await.is_err_and(|failure| is_denied(&failure)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Retains a version.
    pub(crate) async fn retain(
        &self,
        key: &str,
        version: &str,
        retention: &Retention,
        bypasses: bool,
    ) -> Result<(), Failure> {
        let (mode, until) = (retention.mode.name(), until(retention));
        let body = format!(
            "<Retention xmlns=\"{S3}\"><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
        );
        let mut call = Call::of(Method::PUT, key, Some(version));
        call.query.push(("retention", ""));
        if bypasses {
            call.headers.insert(BYPASS, HeaderValue::from_static("true"));
        }
        self.put_lock(call, body).await
    }

    /// Holds a version.
    pub(crate) async fn hold(&self, key: &str, version: &str) -> Result<(), Failure> {
        let mut call = Call::of(Method::PUT, key, Some(version));
        call.query.push(("legal-hold", ""));
        self.put_lock(call, format!("<LegalHold xmlns=\"{S3}\"><Status>ON</Status></LegalHold>")).await
    }

    async fn put_lock(&self, mut call: Call<'_>, body: String) -> Result<(), Failure> {
        call.headers.insert(CONTENT_MD5, value(&STANDARD.encode(Md5::digest(&body)))?);
        call.body = body.into();
        self.send(&call).await.map(drop)
    }
}

fn is_denied(failure: &Failure) -> bool {
    failure.status().is_some_and(|status| [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status))
}

/// What the document is named, and in which namespace it is, differs; what is overlooked here would leave all locks behind.
/// An endpoint that does not know the call may answer with something else, with a listing for one.
fn configured(body: &[u8]) -> Locking {
    let says_so = String::from_utf8_lossy(body).contains("ObjectLockEnabled>Enabled<");
    if says_so { Locking::Enabled } else { Locking::Off }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_object_lock_where_it_says_so() {
        let enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";
        let rule = "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>";
        for body in [
            format!("<ObjectLockConfiguration xmlns=\"{S3}\">{enabled}{rule}</ObjectLockConfiguration>"),
            format!("<ObjectLockConfiguration>{enabled}</ObjectLockConfiguration>"),
            "<s:A xmlns:s=\"s\"><s:ObjectLockEnabled>Enabled</s:ObjectLockEnabled></s:A>".into(),
        ] {
            assert_eq!(configured(body.as_bytes()), Locking::Enabled, "{body}");
        }
        assert_eq!(configured(b"<ObjectLockEnabled>Disabled</ObjectLockEnabled>"), Locking::Off);
        assert_eq!(configured(b"<ListBucketResult/>"), Locking::Off);
    }
}
