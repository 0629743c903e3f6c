//! Rules by which the objects of a bucket expire: a setting of its namespace, in the store's own words
//! ([`switchback_store::Lifecycle`]). The data mover carries them out; here they are set and shown, and
//! clients are told when an object expires.

mod rules;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1 as store;
use switchback_store::{Expiry, LIFECYCLE, Lifecycle, Standing, Subject};

use super::list::percent_encoded;
use super::time::{http_date, stamp};
use super::{Gateway, place, refused, setting};
use crate::auth::Place;

/// `PutBucketLifecycleConfiguration`.
pub(super) async fn put(
    gateway: &Gateway,
    request: S3Request<PutBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let Some(configuration) = request.input.lifecycle_configuration else {
        return Err(s3_error!(MalformedXML, "the request has no LifecycleConfiguration"));
    };
    let rules = rules::read(configuration)?;
    setting::set(gateway, place, LIFECYCLE, Some(rules.setting())).await?;
    Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
}

/// `GetBucketLifecycleConfiguration`.
pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let Some(text) = setting::get(&gateway.store, place, LIFECYCLE).await.map_err(refused)? else {
        return Err(s3_error!(NoSuchLifecycleConfiguration, "the bucket has no lifecycle rules"));
    };
    let rules: Lifecycle = text.parse().map_err(|_| setting::unreadable())?;
    Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
        rules: Some(rules::written(rules)),
        ..Default::default()
    }))
}

/// `DeleteBucketLifecycle`.
pub(super) async fn delete(
    gateway: &Gateway,
    request: S3Request<DeleteBucketLifecycleInput>,
) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    let place = place(&request, &request.input.bucket)?;
    setting::set(gateway, place, LIFECYCLE, None).await?;
    Ok(S3Response::with_status(DeleteBucketLifecycleOutput::default(), http::StatusCode::NO_CONTENT))
}

/// What `x-amz-expiration` says of the current version of an object: when it expires, and by which rule.
/// Nothing where no rule is about it, and where the rules are not known now: it promises nothing.
pub(super) async fn expiration(
    gateway: &Gateway,
    place: &Place,
    key: &str,
    object: &store::Object,
) -> Option<String> {
    let set = gateway.buckets.of(place).await.ok()?;
    let known = switchback_store::Object {
        size: object.size,
        tags: object.tags.clone().into_iter().collect(),
        ..Default::default()
    };
    let subject = Subject {
        key,
        object: Some(&known),
        written_unix_ms: u64::try_from(object.last_modified_unix_ms).ok()?,
        standing: Standing::Current { is_only: true },
    };
    set.lifecycle.as_ref()?.expiry(&subject).map(|expiry| told(&expiry))
}

fn told(Expiry { at_unix_ms, rule }: &Expiry<'_>) -> String {
    let date = http_date(i64::try_from(*at_unix_ms).unwrap_or(i64::MAX));
    format!("expiry-date=\"{date}\", rule-id=\"{}\"", percent_encoded(rule))
}

/// When an upload that was begun now is aborted, and by which rule.
pub(super) async fn abort(
    gateway: &Gateway,
    place: &Place,
    upload: &store::Upload,
) -> Option<(Timestamp, String)> {
    let set = gateway.buckets.of(place).await.ok()?;
    let initiated = u64::try_from(upload.initiated_unix_ms).ok()?;
    let expiry = set.lifecycle.as_ref()?.upload_expiry(&upload.key, initiated)?;
    Some((stamp(i64::try_from(expiry.at_unix_ms).ok()?), percent_encoded(expiry.rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_told_as_in_the_documentation() {
        // API Reference, PutObject, "x-amz-expiration".
        let expiry = Expiry { at_unix_ms: 1_356_048_000_000, rule: "Rule for testfile.txt" };
        assert_eq!(
            told(&expiry),
            "expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\", rule-id=\"Rule%20for%20testfile.txt\""
        );
    }
}
