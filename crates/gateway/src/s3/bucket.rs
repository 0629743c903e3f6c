//! Buckets: a tenant's namespaces; of the reserved tenant, the directories.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_kit::world::random;
use switchback_model::Right;
use switchback_proto::model::v1::{Content, ContentKind};
use switchback_proto::store::v1::{
    CreateContentRequest, CreateNamespaceRequest, DeleteContentRequest, DeleteNamespaceRequest,
    GetNamespaceRequest, ListContentsRequest, ListNamespacesRequest, Namespace,
};
use switchback_store::ObjectLock;

use super::time::stamp;
use super::{Gateway, caller, lock, offered, place, refused};
use crate::auth::{Caller, directory};
use crate::store::answer;

/// Directories asked for their namespace at once when buckets are listed.
const LOOKUPS_MAX: usize = 16;

/// `ListBuckets`, in one page: those that the credential has the right to read.
pub(super) async fn list(
    gateway: &Gateway,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let caller = caller(&request)?;
    let prefix = request.input.prefix.clone().unwrap_or_default();
    let namespaces = match caller.tenant() {
        Some(tenant) => namespaces(gateway, tenant.clone()).await?,
        None => directories(gateway).await?,
    };
    let bucket = |namespace: Namespace| Bucket {
        name: Some(namespace.name),
        creation_date: Some(stamp(namespace.created_unix_ms)),
        bucket_region: Some(gateway.region.clone()),
    };
    let is_shown = |namespace: &Namespace| {
        namespace.name.starts_with(&prefix) && caller.may(Right::Read, &namespace.name)
    };
    let buckets = namespaces.into_iter().filter(is_shown).map(bucket);
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets.collect()),
        owner: Some(owner(caller)),
        prefix: request.input.prefix,
        ..Default::default()
    }))
}

async fn namespaces(gateway: &Gateway, content: Content) -> S3Result<Vec<Namespace>> {
    let request = ListNamespacesRequest { content: Some(content) };
    Ok(answer(gateway.store.client().list_namespaces(request)).await.map_err(refused)?.namespaces)
}

async fn directories(gateway: &Gateway) -> S3Result<Vec<Namespace>> {
    let answer = answer(gateway.store.client().list_contents(ListContentsRequest {})).await;
    let contents = answer.map_err(refused)?.contents.into_iter().filter_map(|summary| summary.content);
    let found = contents.filter(|content| content.kind() == ContentKind::Directory);
    let found: Vec<Vec<Namespace>> = stream::iter(found.map(|content| namespaces(gateway, content)))
        .buffered(LOOKUPS_MAX)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// The owner that S3 clients are shown: the tenant.
pub(super) fn owner(caller: &Caller) -> Owner {
    Owner { display_name: Some(caller.name().into()), id: Some(caller.name().into()) }
}

/// `CreateBucket`.
pub(super) async fn create(
    gateway: &Gateway,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let input = &request.input;
    offered([("an ACL", input.acl.as_ref().is_some_and(|acl| acl.as_str() != BucketCannedACL::PRIVATE))])?;
    let constraint =
        input.create_bucket_configuration.as_ref().and_then(|given| given.location_constraint.as_ref());
    if let Some(region) = constraint.map(BucketLocationConstraint::as_str)
        && !region.is_empty()
        && region != gateway.region
    {
        return Err(s3_error!(InvalidLocationConstraint, "the region of this system is {}", gateway.region));
    }
    let is_locked = input.object_lock_enabled_for_bucket == Some(true);
    let settings = if is_locked { lock::settings(ObjectLock::default()) } else { BTreeMap::new() };
    match caller(&request)?.tenant() {
        Some(tenant) => {
            let (content, name) = (Some(tenant.clone()), input.bucket.clone());
            let call = CreateNamespaceRequest { content, name, settings };
            answer(gateway.store.client().create_namespace(call)).await.map_err(refused)?;
        }
        None => {
            let call = CreateContentRequest {
                request_id: request_id()?,
                kind: ContentKind::Directory.into(),
                name: input.bucket.clone(),
                description: String::new(),
                settings,
            };
            answer(gateway.store.client().create_content(call)).await.map_err(refused)?;
        }
    }
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) }))
}

/// Each S3 request is a command of its own: S3 knows no repeats.
fn request_id() -> S3Result<String> {
    let mut random = [0; 16];
    random::fill(&mut random).map_err(|_| s3_error!(InternalError, "the system gives no random bytes"))?;
    Ok(hex::encode(random))
}

/// `HeadBucket`.
pub(super) async fn head(
    gateway: &Gateway,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    exists(gateway, &request, &request.input.bucket).await?;
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region: Some(gateway.region.clone()),
        ..Default::default()
    }))
}

pub(super) async fn exists<T>(gateway: &Gateway, request: &S3Request<T>, bucket: &str) -> S3Result<()> {
    let place = place(request, bucket)?;
    let call = GetNamespaceRequest { content: Some(place.content), name: place.namespace };
    answer(gateway.store.client().get_namespace(call)).await.map_err(refused)?;
    Ok(())
}

/// `DeleteBucket`.
pub(super) async fn delete(
    gateway: &Gateway,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let bucket = &request.input.bucket;
    match caller(&request)?.tenant() {
        Some(tenant) => {
            let call = DeleteNamespaceRequest { content: Some(tenant.clone()), name: bucket.clone() };
            answer(gateway.store.client().delete_namespace(call)).await.map_err(refused)?;
        }
        None => {
            let call = DeleteContentRequest { request_id: request_id()?, content: Some(directory(bucket)) };
            answer(gateway.store.client().delete_content(call)).await.map_err(refused)?;
        }
    }
    Ok(S3Response::new(DeleteBucketOutput {}))
}

/// `GetBucketLocation`. The region us-east-1 is told by its absence.
pub(super) async fn location(
    gateway: &Gateway,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    exists(gateway, &request, &request.input.bucket).await?;
    let region =
        (gateway.region != "us-east-1").then(|| BucketLocationConstraint::from(gateway.region.clone()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint: region }))
}
