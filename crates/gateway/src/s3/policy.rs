//! Policies of buckets, and what they may not do: settings of their namespaces. [`crate::access`] applies them.

use std::collections::BTreeSet;

use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::{Gateway, caller, place, refused, setting};
use crate::auth::{Caller, Keys};
use crate::guard::{POLICY, PUBLIC_ACCESS_BLOCK};
use crate::policy::Policy;
use crate::status;

/// Access keys that one policy names: each is looked up when it is set.
const KEYS_MAX: usize = 100;

fn malformed(reason: String) -> S3Error {
    S3Error::with_message(s3s::S3ErrorCode::MalformedPolicy, reason)
}

async fn text<T>(gateway: &Gateway, request: &S3Request<T>, bucket: &str) -> S3Result<String> {
    let text = setting::get(&gateway.store, place(request, bucket)?, POLICY).await.map_err(refused)?;
    text.ok_or_else(|| s3_error!(NoSuchBucketPolicy, "the bucket has no policy"))
}

/// `PutBucketPolicy`.
pub(super) async fn put(
    gateway: &Gateway,
    request: S3Request<PutBucketPolicyInput>,
) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let (place, caller) = (place(&request, &request.input.bucket)?, caller(&request)?);
    let text = request.input.policy.clone();
    let policy = Policy::read(&text, &request.input.bucket).map_err(malformed)?;
    known(&gateway.keys, caller, &policy).await?;
    if policy.is_public() {
        let block =
            setting::get(&gateway.store, place.clone(), PUBLIC_ACCESS_BLOCK).await.map_err(refused)?;
        let block: Option<PublicAccessBlockConfiguration> =
            block.as_deref().map(setting::read).transpose()?;
        if block.is_some_and(|block| block.block_public_policy == Some(true)) {
            return Err(s3_error!(
                AccessDenied,
                "the policy is public, which the bucket's public access block (BlockPublicPolicy) refuses"
            ));
        }
    }
    setting::set(gateway, place, POLICY, Some(text)).await?;
    Ok(S3Response::with_status(PutBucketPolicyOutput::default(), http::StatusCode::NO_CONTENT))
}

/// Refuses a policy about keys that are nobody's, or another tenant's: a denial of a misspelt one would be
/// believed in.
async fn known(keys: &Keys, caller: &Caller, policy: &Policy) -> S3Result<()> {
    let named: BTreeSet<&str> = policy.access_keys().collect();
    if named.len() > KEYS_MAX {
        return Err(malformed(format!("Principal: a policy names at most {KEYS_MAX} access keys")));
    }
    for key in named {
        let is_ours = match keys.find(key).await {
            Ok(owner) => owner.name() == caller.name(),
            Err(error) if *error.code() == s3s::S3ErrorCode::InvalidAccessKeyId => false,
            Err(error) => return Err(error),
        };
        if !is_ours {
            return Err(malformed(format!("Principal: the tenant has no access key {key:?}")));
        }
    }
    Ok(())
}

/// `GetBucketPolicy`.
pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetBucketPolicyInput>,
) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    let policy = text(gateway, &request, &request.input.bucket).await?;
    Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy) }))
}

/// `DeleteBucketPolicy`.
pub(super) async fn delete(
    gateway: &Gateway,
    request: S3Request<DeleteBucketPolicyInput>,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    let place = place(&request, &request.input.bucket)?;
    setting::set(gateway, place, POLICY, None).await?;
    Ok(S3Response::with_status(DeleteBucketPolicyOutput::default(), http::StatusCode::NO_CONTENT))
}

/// `GetBucketPolicyStatus`.
pub(super) async fn status(
    gateway: &Gateway,
    request: S3Request<GetBucketPolicyStatusInput>,
) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
    let bucket = &request.input.bucket;
    let policy = Policy::read(&text(gateway, &request, bucket).await?, bucket)
        .map_err(|_| s3_error!(InternalError, "the bucket's policy cannot be read; set it again"))?;
    let policy_status = Some(PolicyStatus { is_public: Some(policy.is_public()) });
    Ok(S3Response::new(GetBucketPolicyStatusOutput { policy_status }))
}

/// `PutPublicAccessBlock`. There are no public ACLs here: what it says of those is so already.
pub(super) async fn put_block(
    gateway: &Gateway,
    request: S3Request<PutPublicAccessBlockInput>,
) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let text = setting::written(&request.input.public_access_block_configuration)?;
    setting::set(gateway, place, PUBLIC_ACCESS_BLOCK, Some(text)).await?;
    Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
}

/// `GetPublicAccessBlock`.
pub(super) async fn get_block(
    gateway: &Gateway,
    request: S3Request<GetPublicAccessBlockInput>,
) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
    let place = place(&request, &request.input.bucket)?;
    let text = setting::get(&gateway.store, place, PUBLIC_ACCESS_BLOCK).await.map_err(refused)?;
    let Some(block) = text.as_deref().map(setting::read).transpose()? else {
        return Err(status::custom(
            "NoSuchPublicAccessBlockConfiguration",
            http::StatusCode::NOT_FOUND,
            "the bucket has no public access block",
        ));
    };
    Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration: Some(block) }))
}

/// `DeletePublicAccessBlock`.
pub(super) async fn delete_block(
    gateway: &Gateway,
    request: S3Request<DeletePublicAccessBlockInput>,
) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
    let place = place(&request, &request.input.bucket)?;
    setting::set(gateway, place, PUBLIC_ACCESS_BLOCK, None).await?;
    Ok(S3Response::with_status(DeletePublicAccessBlockOutput::default(), http::StatusCode::NO_CONTENT))
}
