//! What pages of other sites may do with a bucket: a setting of its namespace. [`crate::cors`] applies it.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{GetNamespaceRequest, SetNamespaceSettingRequest};

use super::{Gateway, place, refused};
use crate::auth::Place;
use crate::cors::{Rules, SETTING};
use crate::store::answer;

/// `PutBucketCors`.
pub(super) async fn put(
    gateway: &Gateway,
    request: S3Request<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let rules = Rules::of(request.input.cors_configuration)?;
    set(gateway, place, Some(rules.write()?)).await?;
    Ok(S3Response::new(PutBucketCorsOutput::default()))
}

/// `DeleteBucketCors`.
pub(super) async fn delete(
    gateway: &Gateway,
    request: S3Request<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let place = place(&request, &request.input.bucket)?;
    set(gateway, place, None).await?;
    Ok(S3Response::with_status(DeleteBucketCorsOutput::default(), http::StatusCode::NO_CONTENT))
}

async fn set(gateway: &Gateway, Place { content, namespace }: Place, value: Option<String>) -> S3Result<()> {
    let (content, setting) = (Some(content), SETTING.into());
    let call = SetNamespaceSettingRequest { content, name: namespace, setting, value };
    answer(gateway.store.client().set_namespace_setting(call)).await.map_err(refused)?;
    Ok(())
}

/// `GetBucketCors`.
pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let Place { content, namespace } = place(&request, &request.input.bucket)?;
    let call = GetNamespaceRequest { content: Some(content), name: namespace };
    let found = answer(gateway.store.client().get_namespace(call)).await.map_err(refused)?;
    let settings = found.namespace.unwrap_or_default().settings;
    let rules = settings.get(SETTING).map(|text| Rules::read(text)).transpose()?;
    let Some(cors_rules) = rules.and_then(Rules::listed) else {
        return Err(s3_error!(NoSuchCORSConfiguration, "the bucket has no CORS rules"));
    };
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(cors_rules) }))
}
