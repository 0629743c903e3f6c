//! `GetObjectAttributes`.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::checksum::{kind_of, set_checksums};
use super::object::lookup;
use super::time::stamp;
use super::{Gateway, current_version, place, signed, strong};

pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let input = &request.input;
    current_version(input.version_id.as_deref())?;
    let (object, _) = lookup(gateway, &place, &input.key, false).await?;
    // Clients send the names in one header or in several; s3s does not take one apart.
    let wants = |name: &str| {
        input
            .object_attributes
            .iter()
            .any(|wanted| wanted.as_str().split(',').any(|wanted| wanted.trim() == name))
    };
    let mut output = GetObjectAttributesOutput {
        last_modified: Some(stamp(object.last_modified_unix_ms)),
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
        let count = i32::try_from(object.part_sizes.len()).unwrap_or(i32::MAX);
        output.object_parts =
            Some(GetObjectAttributesParts { total_parts_count: Some(count), ..Default::default() });
    }
    Ok(S3Response::new(output))
}
