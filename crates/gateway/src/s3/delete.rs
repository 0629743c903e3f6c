//! Deletes: of objects, which where a bucket is versioned leave a delete marker, and of versions for good.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{self as store, DeleteObjectsRequest};

use super::{Gateway, asked_version, offered, place, refused, told_version};
use crate::auth::Place;
use crate::status;
use crate::store::answer;

/// Most keys in one request to delete.
const DELETES_MAX: usize = 1000;

/// A key, and which version of it; none if that is empty.
type Doomed = (String, String);

/// What became of one.
type Outcome = (store::ErrorDetail, store::Deleted);

/// `DeleteObject`. What does not exist is deleted too.
pub(super) async fn one(
    gateway: &Gateway,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = &request.input;
    let version_id = asked_version(input.version_id.as_deref())?;
    offered([(
        "deleting under a condition",
        input.if_match.is_some()
            || input.if_match_size.is_some()
            || input.if_match_last_modified_time.is_some(),
    )])?;
    let bypass = input.bypass_governance_retention == Some(true);
    let outcomes = delete(gateway, place, vec![(input.key.clone(), version_id)], bypass).await?;
    let (detail, deleted) = outcomes.into_iter().next().unwrap_or_default();
    if !detail.reason.is_empty() {
        return Err(refused_for(&detail));
    }
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: deleted.delete_marker.then_some(true),
        version_id: told_version(deleted.version_id),
        request_charged: None,
    }))
}

/// Of one of several, whose text the store does not send.
fn refused_for(detail: &store::ErrorDetail) -> s3s::S3Error {
    let text = match detail.reason.as_str() {
        "LOCKED" => "the version is locked: it is under a legal hold, or its retention has not ended",
        _ => "the object was not deleted",
    };
    status::refused_for(detail, text)
}

async fn delete(
    gateway: &Gateway,
    place: Place,
    doomed: Vec<Doomed>,
    bypass_governance: bool,
) -> S3Result<Vec<Outcome>> {
    let asked = doomed.len();
    let (keys, version_ids) = doomed.into_iter().unzip();
    let (content, namespace) = (Some(place.content), place.namespace);
    let call = DeleteObjectsRequest { content, namespace, keys, version_ids, bypass_governance };
    let done = answer(gateway.store.client().delete_objects(call)).await.map_err(refused)?;
    if done.results.len() != asked || done.deleted.len() != asked {
        return Err(s3_error!(InternalError, "the store answered for other keys"));
    }
    Ok(done.results.into_iter().zip(done.deleted).collect())
}

/// `DeleteObjects`.
pub(super) async fn many(
    gateway: &Gateway,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let bypass = request.input.bypass_governance_retention == Some(true);
    let Delete { objects, quiet } = request.input.delete;
    if objects.is_empty() || objects.len() > DELETES_MAX {
        return Err(s3_error!(MalformedXML, "a request deletes 1 to {DELETES_MAX} keys"));
    }
    let mut output = DeleteObjectsOutput::default();
    let (mut deleted, mut errors, mut doomed) = (Vec::new(), Vec::new(), Vec::new());
    for object in objects {
        match asked_version(object.version_id.as_deref()) {
            Ok(version_id) => doomed.push((object.key, version_id)),
            Err(error) => errors.push(entry(object.key, object.version_id, &error)),
        }
    }
    let outcomes =
        if doomed.is_empty() { Vec::new() } else { delete(gateway, place, doomed.clone(), bypass).await? };
    // Nothing was deleted since the content is read-only: one refusal, which clients retry or
    // follow as they do that of any other write, and not a success full of errors.
    if let Some((first, _)) = outcomes.first()
        && outcomes.iter().all(|(detail, _)| detail.reason == "READ_ONLY")
    {
        return Err(status::refused_for(first, "content is read-only on this system"));
    }
    for ((key, version_id), (detail, done)) in doomed.into_iter().zip(outcomes) {
        let version_id = told_version(version_id);
        if detail.reason.is_empty() {
            deleted.push(DeletedObject {
                key: Some(key),
                version_id,
                delete_marker: done.delete_marker.then_some(true),
                delete_marker_version_id: told_version(done.version_id).filter(|_| done.delete_marker),
            });
        } else {
            errors.push(entry(key, version_id, &refused_for(&detail)));
        }
    }
    output.deleted = (quiet != Some(true)).then_some(deleted);
    output.errors = (!errors.is_empty()).then_some(errors);
    Ok(S3Response::new(output))
}

fn entry(key: String, version_id: Option<String>, error: &s3s::S3Error) -> Error {
    Error {
        key: Some(key),
        code: Some(error.code().as_str().to_owned()),
        message: error.message().map(str::to_owned),
        version_id,
    }
}
