//! `DeleteObjects` of which some may not be deleted: they are refused one by one, beside the answer to the others.

use s3s::dto::{DeleteObjectsInput, DeleteObjectsOutput};
use s3s::{S3Request, S3Response, S3Result};

use super::{Gateway, delete};
use crate::access::Withheld;

/// `DeleteObjects`, of what may be deleted. [`crate::access`] has taken the others out of the request.
pub(super) async fn delete_many(
    gateway: &Gateway,
    mut request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let withheld = request.extensions.remove::<Withheld>().map(|Withheld(errors)| errors).unwrap_or_default();
    if withheld.is_empty() {
        return delete::many(gateway, request).await;
    }
    let mut response = if request.input.delete.objects.is_empty() {
        S3Response::new(DeleteObjectsOutput::default())
    } else {
        delete::many(gateway, request).await?
    };
    response.output.errors.get_or_insert_default().extend(withheld);
    Ok(response)
}
