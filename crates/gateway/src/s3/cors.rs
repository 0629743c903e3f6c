//! What pages of other sites may do with a bucket: a setting of its namespace. [`crate::cors`] applies it.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Gateway, place, refused, setting};
use crate::cors::{Rules, SETTING};

/// `PutBucketCors`.
pub(super) async fn put(
    gateway: &Gateway,
    request: S3Request<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let rules = Rules::of(request.input.cors_configuration)?;
    setting::set(gateway, place, SETTING, Some(rules.write()?)).await?;
    Ok(S3Response::new(PutBucketCorsOutput::default()))
}

/// `DeleteBucketCors`.
pub(super) async fn delete(
    gateway: &Gateway,
    request: S3Request<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let place = place(&request, &request.input.bucket)?;
    setting::set(gateway, place, SETTING, None).await?;
    Ok(S3Response::with_status(DeleteBucketCorsOutput::default(), http::StatusCode::NO_CONTENT))
}

/// `GetBucketCors`.
pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let text = setting::get(&gateway.store, place, SETTING).await.map_err(refused)?;
    let rules = text.map(|text| Rules::read(&text)).transpose()?;
    let Some(cors_rules) = rules.and_then(Rules::listed) else {
        return Err(s3_error!(NoSuchCORSConfiguration, "the bucket has no CORS rules"));
    };
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(cors_rules) }))
}
