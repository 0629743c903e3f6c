//! Versioned buckets: the setting, and the listing of versions.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{ListVersionsRequest, ListVersionsResponse, VersionEntry};
use switchback_store::VERSIONING;

use super::bucket::owner;
use super::checksum::{Algorithm, kind_of};
use super::list::{Encoding, prefixes};
use super::time::stamp;
use super::{Gateway, asked_version, caller, page, place, refused, setting, signed, strong, told_version};
use crate::store::answer;

/// `PutBucketVersioning`. The store knows the words.
pub(super) async fn put(
    gateway: &Gateway,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let VersioningConfiguration { mfa_delete, status, .. } = request.input.versioning_configuration;
    if request.input.mfa.is_some() || mfa_delete.is_some_and(|asked| asked.as_str() == MFADelete::ENABLED) {
        return Err(s3_error!(NotImplemented, "MFA delete is not offered here: send the request without it"));
    }
    let Some(status) = status else {
        return Err(s3_error!(
            IllegalVersioningConfigurationException,
            "the request has no status: send Enabled or Suspended"
        ));
    };
    setting::set(gateway, place, VERSIONING, Some(status.as_str().to_owned())).await?;
    Ok(S3Response::new(PutBucketVersioningOutput::default()))
}

/// `GetBucketVersioning`: nothing of a bucket that never was versioned.
pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let status = setting::get(&gateway.store, place, VERSIONING).await.map_err(refused)?;
    Ok(S3Response::new(GetBucketVersioningOutput {
        status: status.map(BucketVersioningStatus::from),
        ..Default::default()
    }))
}

/// `ListObjectVersions`.
pub(super) async fn list(
    gateway: &Gateway,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let owner = owner(caller(&request)?);
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let (encoding, entries_max) = (Encoding::asked(input.encoding_type.as_ref())?, page(input.max_keys)?);
    let after_key = input.key_marker.clone().unwrap_or_default();
    let after_version_id = asked_version(input.version_id_marker.as_deref())?;
    if after_key.is_empty() && !after_version_id.is_empty() {
        return Err(s3_error!(
            InvalidArgument,
            "a version-id-marker needs the key-marker that it belongs to"
        ));
    }
    let call = ListVersionsRequest {
        content: Some(place.content),
        namespace: place.namespace,
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        after_key,
        after_version_id,
        entries_max: entries_max.max(1),
    };
    // A page of nothing still finds out whether the bucket is there.
    let found = answer(gateway.store.client().list_versions(call)).await.map_err(refused)?;
    let found = if entries_max == 0 { ListVersionsResponse::default() } else { found };
    let (markers, versions): (Vec<_>, Vec<_>) =
        found.entries.into_iter().partition(|entry| entry.delete_marker);
    let truncated = !found.next_after_key.is_empty();
    Ok(S3Response::new(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(encoding.write(input.prefix.unwrap_or_default())),
        key_marker: Some(encoding.write(input.key_marker.unwrap_or_default())),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        max_keys: i32::try_from(entries_max).ok(),
        is_truncated: Some(truncated),
        versions: Some(versions.into_iter().map(|entry| version(entry, encoding, &owner)).collect()),
        delete_markers: Some(markers.into_iter().map(|entry| marker(entry, encoding, &owner)).collect()),
        common_prefixes: Some(prefixes(found.common_prefixes, encoding)),
        delimiter: input.delimiter.map(|delimiter| encoding.write(delimiter)),
        next_key_marker: truncated.then(|| encoding.write(found.next_after_key)),
        next_version_id_marker: told_version(found.next_after_version_id),
        encoding_type: encoding.written(),
        request_charged: None,
    }))
}

fn version(entry: VersionEntry, encoding: Encoding, owner: &Owner) -> ObjectVersion {
    let object = entry.object.unwrap_or_default();
    let algorithms = object.checksums.iter().filter_map(|checksum| Algorithm::named(&checksum.algorithm));
    let algorithms: Vec<_> = algorithms.map(|known| ChecksumAlgorithm::from_static(known.name())).collect();
    ObjectVersion {
        checksum_type: kind_of(&object.checksums),
        checksum_algorithm: (!algorithms.is_empty()).then_some(algorithms),
        e_tag: Some(strong(&object.etag)),
        is_latest: Some(entry.is_latest),
        key: Some(encoding.write(object.key)),
        last_modified: Some(stamp(object.last_modified_unix_ms)),
        owner: Some(owner.clone()),
        restore_status: None,
        size: Some(signed(object.size)),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        version_id: Some(object.version_id),
    }
}

fn marker(entry: VersionEntry, encoding: Encoding, owner: &Owner) -> DeleteMarkerEntry {
    let object = entry.object.unwrap_or_default();
    DeleteMarkerEntry {
        is_latest: Some(entry.is_latest),
        key: Some(encoding.write(object.key)),
        last_modified: Some(stamp(object.last_modified_unix_ms)),
        owner: Some(owner.clone()),
        version_id: Some(object.version_id),
    }
}
