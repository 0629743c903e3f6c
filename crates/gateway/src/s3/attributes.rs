//! `GetObjectAttributes`.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::checksum::{kind_of, set_checksums};
use super::object::lookup;
use super::time::stamp;
use super::{Gateway, asked_version, page, place, signed, strong, told_version};

pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = &request.input;
    let version_id = asked_version(input.version_id.as_deref())?;
    let (object, _) = lookup(gateway, &place, &input.key, &version_id, false).await?;
    // Clients send the names in one header or in several; s3s does not take one apart.
    let wants = |name: &str| {
        input
            .object_attributes
            .iter()
            .any(|wanted| wanted.as_str().split(',').any(|wanted| wanted.trim() == name))
    };
    let mut output = GetObjectAttributesOutput {
        last_modified: Some(stamp(object.last_modified_unix_ms)),
        version_id: told_version(object.version_id.clone()),
        ..Default::default()
    };
    if wants(ObjectAttributes::ETAG) {
        output.e_tag = Some(strong(&object.etag));
    }
    if wants(ObjectAttributes::OBJECT_SIZE) {
        output.object_size = Some(signed(object.size));
    }
    if wants(ObjectAttributes::STORAGE_CLASS) {
        output.storage_class = Some(StorageClass::from_static(StorageClass::STANDARD));
    }
    if wants(ObjectAttributes::CHECKSUM) && !object.checksums.is_empty() {
        let mut checksum = Checksum { checksum_type: kind_of(&object.checksums), ..Default::default() };
        set_checksums!(checksum, &object.checksums);
        output.checksum = Some(checksum);
    }
    if wants(ObjectAttributes::OBJECT_PARTS) && !object.part_sizes.is_empty() {
        output.object_parts =
            Some(parts(&object.part_sizes, page(input.max_parts)?, input.part_number_marker)?);
    }
    Ok(S3Response::new(output))
}

/// One page of an object's parts: their sizes. Their checksums went into the object's and are not
/// kept.
fn parts(sizes: &[u64], parts_max: u32, after: Option<i32>) -> S3Result<GetObjectAttributesParts> {
    let after = after.unwrap_or(0);
    let skipped =
        usize::try_from(after).map_err(|_| s3_error!(InvalidArgument, "a part number is at least 1"))?;
    let numbered = (1..).zip(sizes).skip(skipped).take(parts_max as usize);
    let part = |(number, size): (i32, &u64)| ObjectPart {
        part_number: Some(number),
        size: Some(signed(*size)),
        ..Default::default()
    };
    let parts: Vec<_> = numbered.map(part).collect();
    let truncated = parts_max > 0 && skipped + parts.len() < sizes.len();
    Ok(GetObjectAttributesParts {
        is_truncated: Some(truncated),
        max_parts: i32::try_from(parts_max).ok(),
        next_part_number_marker: parts.last().and_then(|part| part.part_number).filter(|_| truncated),
        part_number_marker: Some(after),
        total_parts_count: i32::try_from(sizes.len()).ok(),
        parts: Some(parts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_paged_to_their_end() {
        let (sizes, mut after, mut seen) = ([5, 6, 7], None, Vec::new());
        loop {
            let page = parts(&sizes, 2, after).unwrap();
            assert_eq!(page.total_parts_count, Some(3));
            seen.extend(page.parts.unwrap().into_iter().map(|part| (part.part_number, part.size)));
            after = page.next_part_number_marker;
            assert_eq!(page.is_truncated, Some(after.is_some()));
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, [(Some(1), Some(5)), (Some(2), Some(6)), (Some(3), Some(7))]);
        assert_eq!(parts(&sizes, 0, None).unwrap().is_truncated, Some(false));
        assert!(parts(&sizes, 2, Some(-1)).is_err());
    }
}
