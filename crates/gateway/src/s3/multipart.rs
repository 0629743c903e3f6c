//! Multipart uploads: begin, parts, abort. How one ends is in `complete`, which are open in `uploads`.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{
    self as store, AbortUploadRequest, CreateUploadRequest, ListPartsRequest, PutPartRequest,
};

use super::bucket::owner;
use super::checksum::{Algorithm, Claims, set_checksums};
use super::lock::given_lock;
use super::metadata::given_metadata;
use super::object::{declared_length, is_public};
use super::time::stamp;
use super::{Gateway, caller, lifecycle, offered, page, place, refused, signed, strong, tagging, writable};
use crate::store::answer;

/// S3's own limit.
const PART_NUMBER_MAX: u32 = 10_000;

pub(super) fn part_number(given: i32) -> S3Result<u32> {
    let number = u32::try_from(given).ok().filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| s3_error!(InvalidArgument, "a part number is 1 to {PART_NUMBER_MAX}"))
}

/// True for a checksum made of the parts' checksums, by the client's word (empty when it gave none)
/// or S3's default.
pub(super) fn is_composite(algorithm: Algorithm, given: &str) -> S3Result<bool> {
    let composite = match given {
        "" => algorithm != Algorithm::Crc64Nvme,
        ChecksumType::COMPOSITE => true,
        ChecksumType::FULL_OBJECT => false,
        other => {
            return Err(s3_error!(
                InvalidRequest,
                "unknown checksum type {other}: expected COMPOSITE or FULL_OBJECT"
            ));
        }
    };
    if composite && algorithm == Algorithm::Crc64Nvme || !composite && algorithm.crc().is_none() {
        let name = algorithm.name();
        return Err(s3_error!(InvalidRequest, "{name} does not go with this checksum type"));
    }
    Ok(composite)
}

/// The type of the checksum that an upload's object will have.
pub(super) fn checksum_type(upload: &store::Upload) -> Option<ChecksumType> {
    let composite =
        is_composite(Algorithm::named(&upload.checksum_algorithm)?, &upload.checksum_type).ok()?;
    Some(ChecksumType::from_static(kind(composite)))
}

fn kind(composite: bool) -> &'static str {
    if composite { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT }
}

/// Algorithm and type of the checksum that a new upload asks for; an empty type without one.
fn asked_checksum(input: &CreateMultipartUploadInput) -> S3Result<(Option<Algorithm>, &'static str)> {
    let given = input.checksum_type.as_ref().map(ChecksumType::as_str).unwrap_or_default();
    match input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str) {
        Some(name) => {
            let algorithm = Algorithm::named(name)
                .ok_or_else(|| s3_error!(InvalidRequest, "unknown checksum algorithm {name}"))?;
            Ok((Some(algorithm), kind(is_composite(algorithm, given)?)))
        }
        None if given.is_empty() => Ok((None, "")),
        None => Err(s3_error!(InvalidRequest, "a checksum type needs an algorithm: send both or neither")),
    }
}

/// `CreateMultipartUpload`.
pub(super) async fn create(
    gateway: &Gateway,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    writable(&input.key)?;
    offered([
        ("an ACL", is_public(input.acl.as_ref())),
        (
            "server-side encryption",
            input.server_side_encryption.is_some() || input.sse_customer_algorithm.is_some(),
        ),
    ])?;
    let (algorithm, kind) = asked_checksum(&input)?;
    let upload = store::Upload {
        key: input.key.clone(),
        metadata: Some(given_metadata!(input)),
        tags: tagging::of_header(input.tagging.as_deref())?,
        lock: given_lock!(input),
        checksum_algorithm: algorithm.map(Algorithm::name).unwrap_or_default().into(),
        checksum_type: kind.into(),
        ..Default::default()
    };
    let call = CreateUploadRequest {
        content: Some(place.content.clone()),
        namespace: place.namespace.clone(),
        upload: Some(upload),
    };
    let made = answer(gateway.store.client().create_upload(call)).await.map_err(refused)?;
    let upload =
        made.upload.ok_or_else(|| s3_error!(InternalError, "the store answered without the upload"))?;
    let (abort_date, abort_rule_id) = lifecycle::abort(gateway, &place, &upload).await.unzip();
    Ok(S3Response::new(CreateMultipartUploadOutput {
        abort_date,
        abort_rule_id,
        bucket: Some(input.bucket),
        key: Some(input.key),
        checksum_type: checksum_type(&upload),
        upload_id: Some(upload.upload_id),
        checksum_algorithm: algorithm.map(|known| ChecksumAlgorithm::from_static(known.name())),
        ..Default::default()
    }))
}

/// `UploadPart`.
pub(super) async fn put_part(
    gateway: &Gateway,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let given = request.input.body.take().unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    writable(&request.input.key)?;
    offered([("server-side encryption", request.input.sse_customer_algorithm.is_some())])?;
    let number = part_number(request.input.part_number)?;
    let claims = Claims::of(&request.headers, request.trailing_headers.clone())?;
    let received = gateway.receiver.part(&place, given, declared_length(&request.headers)?, &claims).await?;
    let part = store::Part {
        number,
        size: received.size,
        etag: hex::encode(received.digests.md5),
        content_hash: received.digests.content.to_vec().into(),
        checksums: received.digests.checksums.clone(),
        ..Default::default()
    };
    let mut output = UploadPartOutput { e_tag: Some(strong(&part.etag)), ..Default::default() };
    set_checksums!(output, &part.checksums);
    let call = PutPartRequest {
        content: Some(place.content),
        namespace: place.namespace,
        key: request.input.key,
        upload_id: request.input.upload_id,
        part: Some(part),
        body: Some(received.body.clone()),
    };
    received.commit(gateway.store.client().put_part(call)).await.map_err(refused)?;
    Ok(S3Response::new(output))
}

/// `ListParts`.
pub(super) async fn list_parts(
    gateway: &Gateway,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let owner = owner(caller(&request)?);
    let place = place(&request, &request.input.bucket)?;
    let input = request.input;
    let parts_max = page(input.max_parts)?;
    let call = ListPartsRequest {
        content: Some(place.content),
        namespace: place.namespace,
        key: input.key.clone(),
        upload_id: input.upload_id.clone(),
        after_number: u32::try_from(input.part_number_marker.unwrap_or(0)).unwrap_or(0),
        parts_max: parts_max.max(1),
    };
    let mut found = answer(gateway.store.client().list_parts(call)).await.map_err(refused)?;
    if parts_max == 0 {
        // A page of nothing has found out that the upload is there, and leads nowhere.
        (found.parts, found.truncated) = (Vec::new(), false);
    }
    let upload = found.upload.unwrap_or_default();
    let algorithm = Algorithm::named(&upload.checksum_algorithm);
    let last = found.parts.last().and_then(|part| i32::try_from(part.number).ok());
    let entry = |part: store::Part| {
        let mut entry = Part {
            e_tag: Some(strong(&part.etag)),
            last_modified: Some(stamp(part.last_modified_unix_ms)),
            part_number: i32::try_from(part.number).ok(),
            size: Some(signed(part.size)),
            ..Default::default()
        };
        set_checksums!(entry, &part.checksums);
        entry
    };
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: i32::try_from(parts_max).ok(),
        part_number_marker: Some(input.part_number_marker.unwrap_or(0)),
        next_part_number_marker: last.filter(|_| found.truncated),
        is_truncated: Some(found.truncated),
        parts: Some(found.parts.into_iter().map(entry).collect()),
        checksum_algorithm: algorithm.map(|known| ChecksumAlgorithm::from_static(known.name())),
        checksum_type: checksum_type(&upload),
        initiator: Some(Initiator { display_name: owner.display_name.clone(), id: owner.id.clone() }),
        owner: Some(owner),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    }))
}

/// `AbortMultipartUpload`.
pub(super) async fn abort(
    gateway: &Gateway,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let call = AbortUploadRequest {
        content: Some(place.content),
        namespace: place.namespace,
        key: request.input.key,
        upload_id: request.input.upload_id,
    };
    answer(gateway.store.client().abort_upload(call)).await.map_err(refused)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}
