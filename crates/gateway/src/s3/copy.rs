//! Copies inside one tenant: the bytes are streamed to a fresh blob, so that source and copy live
//! and die apart.

use std::ops::Range;
use switchback_kit::world::time::wall;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, MetadataDirective,
    TaggingDirective, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{self as store, PutObjectRequest, PutObjectResponse, PutPartRequest};

use super::checksum::{Algorithm, Claims, kind_of, set_checksums};
use super::condition::ReadConditions;
use super::lock::given_lock;
use super::metadata::given_metadata;
use super::multipart::part_number;
use super::object::{Opened, is_public, open};
use super::receive::{BODY_BYTES_MAX, Received};
use super::time::stamp;
use super::{
    Gateway, asked_version, caller, lifecycle, offered, place, refused, strong, tagging, told_version,
    writable,
};
use crate::auth::Place;

/// Opens the source of a copy.
async fn open_source(
    gateway: &Gateway,
    place: &Place,
    key: &str,
    version_id: &str,
    part: impl Fn(&store::Object) -> S3Result<Option<Range<u64>>>,
) -> S3Result<Opened> {
    open(gateway, place, key, version_id, part).await.map_err(|error| {
        // As S3 has it; a read of the marker itself is what its method does not allow.
        if *error.code() == S3ErrorCode::MethodNotAllowed {
            return s3_error!(
                InvalidRequest,
                "the source of a copy cannot be a delete marker: name a version that is an object"
            );
        }
        error
    })
}

/// The conditions that a copy puts on its source.
macro_rules! source_conditions {
    ($input:expr) => {
        ReadConditions {
            if_match: $input.copy_source_if_match.as_ref(),
            if_none_match: $input.copy_source_if_none_match.as_ref(),
            if_modified_since: $input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.as_ref(),
        }
    };
}

/// Bucket, key and version of the source.
fn named(source: &CopySource) -> S3Result<(&str, &str, String)> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            Ok((bucket, key, asked_version(version_id.as_deref())?))
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => Err(s3_error!(
            NotImplemented,
            "access points are not offered here: name the source by bucket and key"
        )),
    }
}

/// Refuses what one copy cannot carry, and says how many bytes it has.
fn length(opened: &Opened) -> S3Result<u64> {
    let size = opened.part.as_ref().map_or(opened.object.size, |part| part.end - part.start);
    if size > BODY_BYTES_MAX {
        return Err(s3_error!(InvalidRequest, "one copy has at most 5 GiB: copy by parts (UploadPartCopy)"));
    }
    Ok(size)
}

/// What was read must be what was written. The hash of a multipart object is that of its parts'
/// hashes and cannot be compared.
fn undamaged(source: &store::Object, received: &Received) -> S3Result<()> {
    if source.part_sizes.is_empty() && source.content_hash != received.digests.content[..] {
        tracing::error!(size = source.size, "the bytes of an object are not those that were written");
        return Err(s3_error!(
            InternalError,
            "the source's bytes are damaged: copy it from the other system"
        ));
    }
    Ok(())
}

/// Checksums of the source, to be computed for the copy too.
fn kept_algorithms(source: &store::Object) -> impl Iterator<Item = Algorithm> {
    source.checksums.iter().filter_map(|checksum| Algorithm::named(&checksum.algorithm))
}

/// `CopyObject`.
pub(super) async fn object(
    gateway: &Gateway,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let input = &request.input;
    let target = place(&request, &input.bucket)?;
    let (bucket, key, version_id) = named(&input.copy_source)?;
    let source = caller(&request)?.place(bucket);
    writable(&input.key)?;
    offered([
        ("an ACL", is_public(input.acl.as_ref())),
        (
            "server-side encryption",
            input.server_side_encryption.is_some() || input.sse_customer_algorithm.is_some(),
        ),
    ])?;
    let lock = given_lock!(input);
    let new_metadata = directed(input.metadata_directive.as_ref().map(MetadataDirective::as_str))?;
    let new_tags = directed(input.tagging_directive.as_ref().map(TaggingDirective::as_str))?;
    let is_itself = bucket == input.bucket && key == input.key && version_id.is_empty();
    if is_itself && !new_metadata && !new_tags {
        return Err(s3_error!(
            InvalidRequest,
            "this copies an object to itself and changes nothing: replace its metadata"
        ));
    }
    let conditions = source_conditions!(input);
    let picked = |object: &store::Object| conditions.check_source(object).map(|()| None);
    let opened = open_source(gateway, &source, key, &version_id, picked).await?;
    let asked = input.checksum_algorithm.as_ref().and_then(|algorithm| Algorithm::named(algorithm.as_str()));
    let claims = Claims::wanting(kept_algorithms(&opened.object).chain(asked));
    let length = length(&opened)?;
    let Opened { object: from, pieces, .. } = opened;
    let received = gateway.receiver.object(&target, pieces, Some(length), &claims).await?;
    undamaged(&from, &received)?;
    let copy = store::Object {
        key: input.key.clone(),
        size: received.size,
        etag: hex::encode(received.digests.md5),
        content_hash: received.digests.content.to_vec().into(),
        checksums: received.digests.checksums.clone(),
        metadata: if new_metadata { Some(given_metadata!(input)) } else { from.metadata },
        lock,
        tags: if new_tags { tagging::of_header(input.tagging.as_deref())? } else { from.tags },
        ..Default::default()
    };
    let written = commit(gateway, target.clone(), copy.clone(), received).await?;
    let made = store::Object { last_modified_unix_ms: written.last_modified_unix_ms, ..copy.clone() };
    let mut result = CopyObjectResult {
        e_tag: Some(strong(&copy.etag)),
        last_modified: Some(stamp(written.last_modified_unix_ms)),
        checksum_type: kind_of(&copy.checksums),
        ..Default::default()
    };
    set_checksums!(result, &copy.checksums);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        expiration: lifecycle::expiration(gateway, &target, &input.key, &made).await,
        copy_source_version_id: told_version(from.version_id),
        version_id: told_version(written.version_id),
        ..Default::default()
    }))
}

async fn commit(
    gateway: &Gateway,
    target: Place,
    copy: store::Object,
    received: Received,
) -> S3Result<PutObjectResponse> {
    let call = PutObjectRequest {
        content: Some(target.content),
        namespace: target.namespace,
        object: Some(copy),
        body: Some(received.body.clone()),
        conditions: None,
    };
    received.commit(gateway.store.client().put_object(call)).await.map_err(refused)
}

/// True for `REPLACE`.
fn directed(directive: Option<&str>) -> S3Result<bool> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(s3_error!(InvalidArgument, "unknown directive {other}: expected COPY or REPLACE")),
    }
}

/// `UploadPartCopy`.
pub(super) async fn part(
    gateway: &Gateway,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = &request.input;
    let target = place(&request, &input.bucket)?;
    let (bucket, key, version_id) = named(&input.copy_source)?;
    let source = caller(&request)?.place(bucket);
    writable(&input.key)?;
    let number = part_number(input.part_number)?;
    let conditions = source_conditions!(input);
    let picked = |object: &store::Object| {
        conditions.check_source(object)?;
        input.copy_source_range.as_deref().map(|range| source_range(range, object.size)).transpose()
    };
    let opened = open_source(gateway, &source, key, &version_id, picked).await?;
    let claims = Claims::wanting(kept_algorithms(&opened.object));
    let (length, whole) = (length(&opened)?, opened.part.is_none());
    let received = gateway.receiver.part(&target, opened.pieces, Some(length), &claims).await?;
    if whole {
        undamaged(&opened.object, &received)?;
    }
    let part = store::Part {
        number,
        size: received.size,
        etag: hex::encode(received.digests.md5),
        content_hash: received.digests.content.to_vec().into(),
        checksums: received.digests.checksums.clone(),
        ..Default::default()
    };
    let mut result = CopyPartResult { e_tag: Some(strong(&part.etag)), ..Default::default() };
    set_checksums!(result, &part.checksums);
    let call = PutPartRequest {
        content: Some(target.content),
        namespace: target.namespace,
        key: input.key.clone(),
        upload_id: input.upload_id.clone(),
        part: Some(part),
        body: Some(received.body.clone()),
    };
    received.commit(gateway.store.client().put_part(call)).await.map_err(refused)?;
    result.last_modified = Some(wall().into());
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: told_version(opened.object.version_id),
        ..Default::default()
    }))
}

/// The whole range must be there; it is not cut short, as that of a read is.
fn source_range(range: &str, size: u64) -> S3Result<Range<u64>> {
    let parsed = s3s::dto::Range::parse(range).ok();
    match parsed {
        Some(s3s::dto::Range::Int { first, last: Some(last) }) if last < size => Ok(first..last + 1),
        Some(s3s::dto::Range::Int { .. }) => {
            Err(s3_error!(InvalidRange, "the range {range} is not inside the source, which has {size} bytes"))
        }
        Some(s3s::dto::Range::Suffix { .. }) | None => {
            Err(s3_error!(InvalidArgument, "x-amz-copy-source-range has the form bytes=FIRST-LAST"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_a_source_is_never_cut_short() {
        assert_eq!(source_range("bytes=0-9", 10).unwrap(), 0..10);
        assert_eq!(source_range("bytes=5-10", 10).unwrap_err().code().as_str(), "InvalidRange");
        assert_eq!(source_range("bytes=-5", 10).unwrap_err().code().as_str(), "InvalidArgument");
    }
}
