//! Requests from pages of other sites (CORS; Fetch standard, section 3.3): what the rules of a bucket let
//! browsers do.
//!
//! Before a browser sends what a page could not send by a form it asks (`OPTIONS`, the preflight), without
//! a signature; and of every answer to such a page it shows the page no more than the headers say. Both are
//! answered from the bucket's rules, as S3 does: the first that fits decides. Rules give no rights: a
//! request is judged ([`crate::access`]) with them as without.

mod rules;

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use s3s::{Body, S3Result, s3_error};

pub(crate) use self::rules::{Asked, Rules};
use crate::auth::{Caller, Keys, Place};
use crate::buckets::{Buckets, Set};
use crate::host::{Domains, host_of};
use crate::query;

/// Where a namespace keeps them: the XML that S3 clients send.
pub(crate) const SETTING: &str = "cors";

/// What an answer depends on beside the address: caches keep one for each (RFC 9110 section 12.5.5).
const VARIES: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-headers, access-control-request-method");

/// Applies the rules of buckets.
#[derive(Clone)]
pub(crate) struct Cors {
    keys: Keys,
    domains: Domains,
    buckets: Buckets,
}

/// A request from a page of another site.
pub(crate) struct Crossing {
    origin: HeaderValue,
    method: Method,
    place: Option<Place>,
}

impl Cors {
    pub(crate) fn new(keys: Keys, domains: Domains, buckets: Buckets) -> Self {
        Self { keys, domains, buckets }
    }

    /// What `request` is, if a page of another site sent it.
    pub(crate) async fn crossing<B>(&self, request: &Request<B>) -> Option<Crossing> {
        let origin = request.headers().get(ORIGIN)?.clone();
        Some(Crossing { origin, method: request.method().clone(), place: self.place(request).await })
    }

    /// Whose bucket is meant: by the host's name, or by who signed. A preflight is not signed, unless it is
    /// for a presigned URL.
    async fn place<B>(&self, request: &Request<B>) -> Option<Place> {
        let named = self.domains.named(host_of(request).unwrap_or_default());
        let bucket = match named.bucket {
            Some(bucket) => bucket,
            None => query::path_decoded(request.uri().path().trim_start_matches('/').split('/').next()?)?,
        };
        let caller = match named.tenant {
            Some(tenant) => Caller::of(&tenant),
            None => self.keys.find(&access_key(request)?).await.ok()?,
        };
        (!bucket.is_empty()).then(|| caller.place(&bucket))
    }

    /// The answer to a preflight with these headers.
    ///
    /// # Errors
    /// The bucket's rules do not allow what it asks for.
    pub(crate) async fn preflight(
        &self,
        crossing: Option<&Crossing>,
        headers: &HeaderMap,
    ) -> S3Result<Response<Body>> {
        let Some(crossing) = crossing else {
            return Err(s3_error!(
                InvalidRequest,
                "a preflight names the page's site: the Origin header is missing"
            ));
        };
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(method) = header(ACCESS_CONTROL_REQUEST_METHOD) else {
            return Err(s3_error!(
                InvalidRequest,
                "a preflight names the method that is to follow: Access-Control-Request-Method is missing"
            ));
        };
        let headers = header(ACCESS_CONTROL_REQUEST_HEADERS);
        let set = self.set(crossing.place.as_ref()).await?;
        let rules = set.rules()?;
        let origin = crossing.origin.to_str().unwrap_or_default();
        let Some(allowed) = rules.allow(&Asked { origin, method, headers, is_preflight: true }) else {
            return Err(s3_error!(
                AccessDenied,
                "CORSResponse: this CORS request is not allowed: no rule of the bucket fits its origin, method and headers"
            ));
        };
        let mut response = Response::new(Body::empty());
        write(response.headers_mut(), allowed);
        Ok(response)
    }

    /// Says in `headers`, of the answer to `crossing`, what the page may see of it. Rules that cannot be had
    /// allow nothing.
    pub(crate) async fn mark(&self, crossing: &Crossing, headers: &mut HeaderMap) {
        let Ok(set) = self.set(crossing.place.as_ref()).await else { return };
        let Ok(rules) = set.rules() else { return };
        let (origin, method) = (crossing.origin.to_str().unwrap_or_default(), crossing.method.as_str());
        let allowed = rules.allow(&Asked { origin, method, headers: None, is_preflight: false });
        if let Some(allowed) = allowed {
            write(headers, allowed);
        }
    }

    async fn set(&self, place: Option<&Place>) -> S3Result<Arc<Set>> {
        match place {
            Some(place) => self.buckets.of(place).await,
            None => Ok(Arc::default()),
        }
    }
}

/// What has no form of a header is left out.
fn write(headers: &mut HeaderMap, allowed: Vec<(HeaderName, String)>) {
    headers.append(VARY, VARIES);
    for (name, value) in allowed {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// With what a request says to be signed.
fn access_key<B>(request: &Request<B>) -> Option<String> {
    const CREDENTIAL: &str = "Credential=";
    let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let credential = match header {
        Some(header) => header.split_once(CREDENTIAL)?.1.to_owned(),
        None => {
            let mut pairs = query::pairs(request.uri().query().unwrap_or_default());
            pairs.find(|(name, _)| matches!(name.as_str(), "X-Amz-Credential" | "AWSAccessKeyId"))?.1
        }
    };
    Some(credential.split(['/', ',']).next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_with_which_key_it_is_signed() {
        let request = |uri: &str, header: Option<&str>| {
            let request = Request::builder().uri(uri);
            let request =
                header.into_iter().fold(request, |request, value| request.header("authorization", value));
            access_key(&request.body(()).unwrap())
        };
        let signed =
            "AWS4-HMAC-SHA256 Credential=AKID/20261129/us-east-1/s3/aws4_request, SignedHeaders=host";
        assert_eq!(request("/b/k", Some(signed)).unwrap(), "AKID");
        assert_eq!(request("/b/k?X-Amz-Credential=AKID%2F20261129%2Fx", None).unwrap(), "AKID");
        assert_eq!(request("/b/k?AWSAccessKeyId=AKID&Signature=x", None).unwrap(), "AKID");
        assert_eq!(request("/b/k", None), None);
    }
}
