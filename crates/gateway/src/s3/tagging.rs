//! Tags of objects, and of buckets.

use std::collections::BTreeMap;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{GetObjectRequest, SetTagsRequest};

use super::{Gateway, asked_version, place, refused, setting, told_version, writable};
use crate::auth::Place;
use crate::query::decoded;
use crate::store::answer;

/// S3's own limits.
const TAGS_MAX: usize = 10;
const BUCKET_TAGS_MAX: usize = 50;
const NAME_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;

/// The tags of the header `x-amz-tagging`, which has the form of a query.
pub(crate) fn of_header(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    let pairs = header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    });
    let decoded: Option<Vec<_>> = decoded.collect();
    let pairs = decoded.ok_or_else(|| s3_error!(InvalidTag, "x-amz-tagging is not encoded as a query"))?;
    checked(pairs, TAGS_MAX)
}

fn checked(pairs: Vec<(String, String)>, tags_max: usize) -> S3Result<BTreeMap<String, String>> {
    if pairs.len() > tags_max {
        return Err(s3_error!(InvalidTag, "there are at most {tags_max} tags"));
    }
    let count = pairs.len();
    for (name, value) in &pairs {
        if name.is_empty()
            || name.chars().count() > NAME_CHARACTERS_MAX
            || value.chars().count() > VALUE_CHARACTERS_MAX
        {
            return Err(s3_error!(
                InvalidTag,
                "a tag's name has 1 to {NAME_CHARACTERS_MAX} characters, its value at most {VALUE_CHARACTERS_MAX}"
            ));
        }
    }
    let tags: BTreeMap<_, _> = pairs.into_iter().collect();
    if tags.len() < count {
        return Err(s3_error!(InvalidTag, "a tag is named twice"));
    }
    Ok(tags)
}

/// `PutObjectTagging`.
pub(super) async fn put(
    gateway: &Gateway,
    request: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let version_id = asked_version(input.version_id.as_deref())?;
    let tags = checked(pairs(input.tagging), TAGS_MAX)?;
    let version_id = set(gateway, place, input.key, version_id, tags).await?;
    Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
}

fn pairs(tagging: Tagging) -> Vec<(String, String)> {
    let tags = tagging.tag_set.into_iter();
    tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect()
}

fn tag_set(tags: impl IntoIterator<Item = (String, String)>) -> TagSet {
    tags.into_iter().map(|(name, value)| Tag { key: Some(name), value: Some(value) }).collect()
}

/// Where a namespace keeps those of its bucket.
const SETTING: &str = "tagging";

/// `PutBucketTagging`.
pub(super) async fn put_bucket(
    gateway: &Gateway,
    request: S3Request<PutBucketTaggingInput>,
) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let tags = checked(pairs(request.input.tagging), BUCKET_TAGS_MAX)?;
    let value = setting::written(&Tagging { tag_set: tag_set(tags) })?;
    setting::set(gateway, place, SETTING, Some(value)).await?;
    Ok(S3Response::new(PutBucketTaggingOutput::default()))
}

/// `GetBucketTagging`.
pub(super) async fn get_bucket(
    gateway: &Gateway,
    request: S3Request<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let Some(text) = setting::get(&gateway.store, place, SETTING).await.map_err(refused)? else {
        return Err(s3_error!(NoSuchTagSet, "the bucket has no tags"));
    };
    let Tagging { tag_set } = setting::read(&text)?;
    Ok(S3Response::new(GetBucketTaggingOutput { tag_set }))
}

/// `DeleteBucketTagging`.
pub(super) async fn delete_bucket(
    gateway: &Gateway,
    request: S3Request<DeleteBucketTaggingInput>,
) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    let place = place(&request, &request.input.bucket)?;
    setting::set(gateway, place, SETTING, None).await?;
    Ok(S3Response::with_status(DeleteBucketTaggingOutput::default(), http::StatusCode::NO_CONTENT))
}

/// `DeleteObjectTagging`.
pub(super) async fn delete(
    gateway: &Gateway,
    request: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let version_id = asked_version(request.input.version_id.as_deref())?;
    let version_id = set(gateway, place, request.input.key, version_id, BTreeMap::new()).await?;
    Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
}

/// Answers which version has the tags.
async fn set(
    gateway: &Gateway,
    Place { content, namespace }: Place,
    key: String,
    version_id: String,
    tags: BTreeMap<String, String>,
) -> S3Result<Option<String>> {
    writable(&key)?;
    let call = SetTagsRequest { content: Some(content), namespace, key, tags, version_id };
    let set = answer(gateway.store.client().set_tags(call)).await.map_err(refused)?;
    Ok(told_version(set.version_id))
}

/// `GetObjectTagging`.
pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let version_id = asked_version(request.input.version_id.as_deref())?;
    let call = GetObjectRequest {
        content: Some(place.content),
        namespace: place.namespace,
        key: request.input.key,
        with_body: false,
        version_id,
    };
    let object =
        answer(gateway.store.client().get_object(call)).await.map_err(refused)?.object.unwrap_or_default();
    let version_id = told_version(object.version_id);
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set: tag_set(object.tags), version_id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_of_the_header_are_decoded() {
        let tags = of_header(Some("project=blue+whale&na%C3%AFve=%26&empty")).unwrap();
        let expected = [("empty", ""), ("naïve", "&"), ("project", "blue whale")];
        assert_eq!(tags.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
        assert!(of_header(None).unwrap().is_empty());
    }

    #[test]
    fn tags_beyond_the_limits_of_s3_are_refused() {
        let many = (0..11).map(|n| format!("t{n}=v")).collect::<Vec<_>>().join("&");
        for header in [many.as_str(), "a=1&a=2", "a=%zz", "=x"] {
            assert_eq!(of_header(Some(header)).unwrap_err().code().as_str(), "InvalidTag", "{header}");
        }
    }
}
