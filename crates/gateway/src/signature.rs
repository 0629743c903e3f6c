//! Which of S3's signatures are accepted.
//!
//! Version 4 everywhere. Version 2 only where stock clients still make it: boto3 presigns URLs and
//! forms with it in the regions that are older than version 4, `us-east-1` among them, unless it is
//! told otherwise. In the header it stays refused: no client sends it there by itself any more, and
//! it covers neither the host nor the body.
//!
//! s3s checks both versions; that of version 2 it compares byte by byte and not in constant time,
//! which is one more reason to accept it nowhere else. What it does not know is that a URL of version
//! 2 also carries, in its query, headers that its maker signed and that whoever uses it need not
//! send: [`carry_headers`].

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request};
use s3s::{S3Result, s3_error};

use crate::query;

/// Refuses what s3s would accept and we do not.
pub(crate) fn refuse_unaccepted<B>(request: &Request<B>) -> S3Result<()> {
    let given = request.headers().get_all(AUTHORIZATION).iter();
    if given.map(HeaderValue::as_bytes).any(|given| given.starts_with(b"AWS ")) {
        return Err(s3_error!(
            InvalidRequest,
            "this signature version is not supported: sign with AWS4-HMAC-SHA256 (version 4)"
        ));
    }
    Ok(())
}

/// True for a URL that was presigned with version 2.
pub(crate) fn is_presigned_v2<B>(request: &Request<B>) -> bool {
    query::pairs(request.uri().query().unwrap_or_default()).any(|(name, _)| name == "Signature")
}

/// Makes headers of those that a URL of version 2 carries in its query. A header that the client
/// sends too is left alone: where the two differ, the signature does not match.
pub(crate) fn carry_headers<B>(request: &mut Request<B>) {
    let carried: Vec<_> = query::pairs(request.uri().query().unwrap_or_default())
        .filter(|(name, _)| is_signed_header(name))
        .filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::try_from(value).ok()?))
        })
        .collect();
    for (name, value) in carried {
        request.headers_mut().entry(name).or_insert(value);
    }
}

/// The headers that version 2 signs.
fn is_signed_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("x-amz-") || name == "content-md5" || name == "content-type"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, name: &str, value: &str) -> Request<()> {
        Request::builder().method("PUT").uri(uri).header(name, value).body(()).unwrap()
    }

    #[test]
    fn version_2_is_accepted_in_a_url_and_refused_in_a_header() {
        let error = refuse_unaccepted(&request("/b/k", "authorization", "AWS AKID:sig")).unwrap_err();
        assert!(error.message().unwrap().contains("version 4"));
        let presigned = request("/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", "x", "y");
        assert!(refuse_unaccepted(&presigned).is_ok() && is_presigned_v2(&presigned));
        let fourth = request("/b/k?X-Amz-Signature=b", "authorization", "AWS4-HMAC-SHA256 x");
        assert!(refuse_unaccepted(&fourth).is_ok() && !is_presigned_v2(&fourth));
    }

    #[test]
    fn headers_in_the_query_of_a_url_become_headers_and_replace_none() {
        let uri = "/b/k?x-amz-meta-by=a%20b&content-type=text%2Fplain&Signature=b&prefix=p";
        let mut carrying = request(uri, "content-type", "text/html");
        carry_headers(&mut carrying);
        let header = |name| carrying.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap());
        assert_eq!(header("x-amz-meta-by"), Some("a b"));
        assert_eq!(header("content-type"), Some("text/html"));
        assert_eq!(carrying.headers().len(), 2);
    }
}
