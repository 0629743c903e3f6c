//! Access control lists: everything is its tenant's alone. Clients ask who may what, and set what is so already.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::GetObjectRequest;

use super::bucket::{exists, owner};
use super::object::is_public;
use super::{Gateway, asked_version, caller, place, refused};
use crate::auth::Caller;
use crate::store::answer;

/// The only one there is.
fn grants(caller: &Caller) -> Grants {
    let Owner { display_name, id } = owner(caller);
    let type_ = Type::from_static(Type::CANONICAL_USER);
    let grantee = Grantee { display_name, email_address: None, id, type_, uri: None };
    vec![Grant {
        grantee: Some(grantee),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }]
}

/// `GetBucketAcl`.
pub(super) async fn bucket(
    gateway: &Gateway,
    request: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    exists(gateway, &request, &request.input.bucket).await?;
    let caller = caller(&request)?;
    Ok(S3Response::new(GetBucketAclOutput { grants: Some(grants(caller)), owner: Some(owner(caller)) }))
}

/// `GetObjectAcl`.
pub(super) async fn object(
    gateway: &Gateway,
    request: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let version_id = asked_version(request.input.version_id.as_deref())?;
    object_exists(gateway, &request, &request.input.bucket, &request.input.key, version_id).await?;
    let caller = caller(&request)?;
    let (grants, owner) = (Some(grants(caller)), Some(owner(caller)));
    Ok(S3Response::new(GetObjectAclOutput { grants, owner, request_charged: None }))
}

async fn object_exists<T>(
    gateway: &Gateway,
    request: &S3Request<T>,
    bucket: &str,
    key: &str,
    version_id: String,
) -> S3Result<()> {
    let place = place(request, bucket)?;
    let call = GetObjectRequest {
        content: Some(place.content),
        namespace: place.namespace,
        key: key.into(),
        with_body: false,
        version_id,
    };
    answer(gateway.store.client().get_object(call)).await.map_err(refused)?;
    Ok(())
}

/// `PutBucketAcl`, of what is so already.
pub(super) async fn set_bucket(
    gateway: &Gateway,
    request: S3Request<PutBucketAclInput>,
) -> S3Result<S3Response<PutBucketAclOutput>> {
    let input = &request.input;
    let is_public = input.acl.as_ref().is_some_and(|acl| acl.as_str() != BucketCannedACL::PRIVATE);
    let grants = [&input.grant_full_control, &input.grant_read, &input.grant_read_acp];
    let granted = grants.into_iter().chain([&input.grant_write, &input.grant_write_acp]);
    private(
        caller(&request)?,
        is_public || granted.flatten().next().is_some(),
        &input.access_control_policy,
    )?;
    exists(gateway, &request, &input.bucket).await?;
    Ok(S3Response::new(PutBucketAclOutput::default()))
}

/// `PutObjectAcl`, of what is so already.
pub(super) async fn set_object(
    gateway: &Gateway,
    request: S3Request<PutObjectAclInput>,
) -> S3Result<S3Response<PutObjectAclOutput>> {
    let input = &request.input;
    let grants = [&input.grant_full_control, &input.grant_read, &input.grant_read_acp];
    let granted = grants.into_iter().chain([&input.grant_write, &input.grant_write_acp]);
    let is_public = is_public(input.acl.as_ref()) || granted.flatten().next().is_some();
    private(caller(&request)?, is_public, &input.access_control_policy)?;
    let version_id = asked_version(input.version_id.as_deref())?;
    object_exists(gateway, &request, &input.bucket, &input.key, version_id).await?;
    Ok(S3Response::new(PutObjectAclOutput::default()))
}

/// Refuses what would give anybody else anything.
fn private(caller: &Caller, is_public: bool, policy: &Option<AccessControlPolicy>) -> S3Result<()> {
    let own = owner(caller).id;
    let is_own = |grant: &Grant| grant.grantee.as_ref().is_some_and(|grantee| grantee.id == own);
    let mut given = policy.iter().flat_map(|policy| policy.grants.iter().flatten());
    if is_public || !given.all(is_own) {
        return Err(s3_error!(
            NotImplemented,
            "an ACL that gives others access is not offered here: everything is its tenant's alone (private)"
        ));
    }
    Ok(())
}
