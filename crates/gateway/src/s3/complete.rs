//! The end of a multipart upload: the object is made of the blobs of its parts, in one commit.

use std::collections::BTreeMap;

use s3s::dto::{ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{self as store, CompleteUploadRequest, ListPartsRequest};

use super::checksum::{
    Algorithm, decode, given_checksums, kind_of, multipart_etag, of_parts, set_checksums, value_of,
};
use super::condition::of_write;
use super::multipart::{is_composite, part_number};
use super::object::lookup;
use super::{Gateway, lifecycle, place, refused, strong, told_version, writable};
use crate::auth::Place;
use crate::status;
use crate::store::answer;

/// Parts asked for at once.
const PAGE: u32 = 1000;

/// `CompleteMultipartUpload`.
pub(super) async fn complete(
    gateway: &Gateway,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = &request.input;
    writable(&input.key)?;
    let named = named_parts(input)?;
    let etag =
        multipart_etag(named.iter().map(|(_, part)| part.e_tag.as_ref().map_or("", |etag| etag.value())))
            .ok_or_else(|| s3_error!(InvalidPart, "a part is named without the ETag it was given"))?;
    let known = match parts(gateway, &place, input).await {
        Ok(known) => known,
        Err(status) if status::is_reason(&status, "NO_SUCH_UPLOAD") => {
            return repeated(gateway, &place, input, &etag, &status).await;
        }
        Err(status) => return Err(refused(status)),
    };
    let (upload, parts) = known;
    let chosen = chosen(&named, &parts)?;
    let size: u64 = chosen.iter().map(|part| part.size).sum();
    if input.mpu_object_size.is_some_and(|given| u64::try_from(given) != Ok(size)) {
        return Err(s3_error!(
            InvalidRequest,
            "the parts have {size} bytes together, not what the request says"
        ));
    }
    let checksums = checksums(input, &upload, &chosen)?;
    let call = CompleteUploadRequest {
        content: Some(place.content.clone()),
        namespace: place.namespace.clone(),
        key: input.key.clone(),
        upload_id: input.upload_id.clone(),
        parts: chosen
            .iter()
            .map(|part| store::CompletedPart { number: part.number, etag: part.etag.clone() })
            .collect(),
        conditions: of_write(input.if_match.as_ref(), input.if_none_match.as_ref()),
        etag: etag.clone(),
        checksums: checksums.clone(),
    };
    match answer(gateway.store.client().complete_upload(call)).await {
        Ok(done) => {
            let made = done.object.unwrap_or_default();
            let mut response = completed(input, &etag, &checksums, made.version_id.clone());
            response.output.expiration = lifecycle::expiration(gateway, &place, &input.key, &made).await;
            Ok(response)
        }
        Err(status) if status::is_reason(&status, "NO_SUCH_UPLOAD") => {
            repeated(gateway, &place, input, &etag, &status).await
        }
        Err(status) => Err(refused(status)),
    }
}

fn completed(
    input: &CompleteMultipartUploadInput,
    etag: &str,
    checksums: &[store::Checksum],
    version_id: String,
) -> S3Response<CompleteMultipartUploadOutput> {
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        key: Some(input.key.clone()),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        e_tag: Some(strong(etag)),
        checksum_type: kind_of(checksums),
        version_id: told_version(version_id),
        ..Default::default()
    };
    set_checksums!(output, checksums);
    S3Response::new(output)
}

/// A client whose answer was lost asks again and finds the upload gone. When the current object
/// is the one that it asks for, that is a success.
async fn repeated(
    gateway: &Gateway,
    place: &Place,
    input: &CompleteMultipartUploadInput,
    etag: &str,
    status: &tonic::Status,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    match lookup(gateway, place, &input.key, "", false).await {
        Ok((object, _)) if object.etag == etag => {
            Ok(completed(input, etag, &object.checksums, object.version_id))
        }
        _ => Err(status::refused(status)),
    }
}

/// The parts as the client names them, which must be in ascending order.
fn named_parts(input: &CompleteMultipartUploadInput) -> S3Result<Vec<(u32, &CompletedPart)>> {
    let parts =
        input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref()).unwrap_or_default();
    if parts.is_empty() {
        return Err(s3_error!(MalformedXML, "the request names no parts"));
    }
    let number = |part: &CompletedPart| part_number(part.part_number.unwrap_or(0));
    let named = parts.iter().map(|part| Ok((number(part)?, part))).collect::<S3Result<Vec<_>>>()?;
    if !named.is_sorted_by(|(before, _), (after, _)| before < after) {
        return Err(s3_error!(InvalidPartOrder, "the parts are not named in ascending order"));
    }
    Ok(named)
}

/// The upload and all its parts.
async fn parts(
    gateway: &Gateway,
    place: &Place,
    input: &CompleteMultipartUploadInput,
) -> Result<(store::Upload, BTreeMap<u32, store::Part>), tonic::Status> {
    let (mut upload, mut parts, mut after_number) = (store::Upload::default(), BTreeMap::new(), 0);
    loop {
        let call = ListPartsRequest {
            content: Some(place.content.clone()),
            namespace: place.namespace.clone(),
            key: input.key.clone(),
            upload_id: input.upload_id.clone(),
            after_number,
            parts_max: PAGE,
        };
        let page = answer(gateway.store.client().list_parts(call)).await?;
        upload = page.upload.unwrap_or(upload);
        parts.extend(page.parts.into_iter().map(|part| (part.number, part)));
        let last = parts.last_key_value().map_or(0, |(number, _)| *number);
        // A page that brings nothing new would be asked for again for ever.
        if !page.truncated || last <= after_number {
            return Ok((upload, parts));
        }
        after_number = last;
    }
}

/// The parts that the client names, as they were received.
fn chosen<'a>(
    named: &[(u32, &CompletedPart)],
    parts: &'a BTreeMap<u32, store::Part>,
) -> S3Result<Vec<&'a store::Part>> {
    let find = |(number, named): &(u32, &CompletedPart)| {
        let found = parts.get(number).filter(|part| {
            let etag = named.e_tag.as_ref().is_some_and(|etag| etag.value() == part.etag);
            let checksums = given_checksums!(named).all(|(algorithm, claimed)| {
                value_of(&part.checksums, algorithm).is_none_or(|value| value == claimed)
            });
            etag && checksums
        });
        found.ok_or_else(|| s3_error!(InvalidPart, "part {number} was not uploaded, or is another one"))
    };
    named.iter().map(find).collect()
}

/// The object's checksum, if one was asked for when the upload began and each part has one; and
/// the client's claim compared with it.
fn checksums(
    input: &CompleteMultipartUploadInput,
    upload: &store::Upload,
    parts: &[&store::Part],
) -> S3Result<Vec<store::Checksum>> {
    let claimed: Vec<(Algorithm, String)> = given_checksums!(input).collect();
    let algorithm = Algorithm::named(&upload.checksum_algorithm)
        .or_else(|| claimed.first().map(|(algorithm, _)| *algorithm));
    let Some(algorithm) = algorithm else { return Ok(Vec::new()) };
    let composite = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
        None => is_composite(algorithm, &upload.checksum_type)?,
        Some(given) if upload.checksum_algorithm.is_empty() => is_composite(algorithm, given)?,
        Some(given) => {
            let begun = is_composite(algorithm, &upload.checksum_type)?;
            if is_composite(algorithm, given)? != begun {
                return Err(s3_error!(
                    InvalidRequest,
                    "the upload was begun with another checksum type than {given}: leave it out or give the same"
                ));
            }
            begun
        }
    };
    let sums = parts.iter().map(|part| Some((decode(value_of(&part.checksums, algorithm)?)?, part.size)));
    let sums: Option<Vec<_>> = sums.collect();
    let computed = sums.and_then(|sums| of_parts(algorithm, &sums, composite));
    for (_, claimed) in claimed.iter().filter(|(claimed, _)| *claimed == algorithm) {
        // Some clients leave the number of parts out.
        let value = computed.as_ref().map(|computed| computed.value.as_str()).unwrap_or_default();
        if claimed != value && Some(claimed.as_str()) != value.split_once('-').map(|(sum, _)| sum) {
            return Err(s3_error!(
                BadDigest,
                "the object's {} is not what the request says",
                algorithm.name()
            ));
        }
    }
    Ok(computed.into_iter().collect())
}
