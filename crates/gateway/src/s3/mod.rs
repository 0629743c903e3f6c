//! S3: each operation translated to calls of the store. What is not here is `NotImplemented`.

mod absent;
mod acl;
mod ahead;
mod attributes;
mod body;
mod bucket;
mod checksum;
mod complete;
mod condition;
mod copy;
mod cors;
mod delete;
mod form;
mod hashing;
mod lifecycle;
mod list;
mod lock;
mod metadata;
mod multipart;
mod object;
mod policy;
mod receive;
pub(crate) mod setting;
mod tagging;
mod time;
mod uploads;
mod versioning;
mod withheld;

use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use switchback_store::{Blobs, VersionId};
use tonic::Status;

pub(crate) use ahead::Ahead;
pub(crate) use receive::Receiver;
pub(crate) use time::http_date;

use crate::access;
use crate::auth::{Caller, Keys, Place};
use crate::buckets::Buckets;
use crate::status;
use crate::store::Store;

/// Keys of the system's own; clients read them and do not write them.
const RESERVED_PREFIX: &str = switchback_store::LOST_AND_FOUND;

/// What the operations work with.
pub(crate) struct Gateway {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) buckets: Buckets,
    pub(crate) blobs: Blobs,
    pub(crate) receiver: Receiver,
    pub(crate) ahead: Ahead,
    pub(crate) region: String,
}

/// On whose behalf the request is made.
fn caller<T>(request: &S3Request<T>) -> S3Result<&Caller> {
    let caller = request.extensions.get::<Caller>();
    caller.ok_or_else(|| s3_error!(InternalError, "the request was not judged"))
}

/// Where the bucket of the request is.
fn place<T>(request: &S3Request<T>, bucket: &str) -> S3Result<Place> {
    Ok(caller(request)?.place(bucket))
}

/// Refuses to write a key of the system's own before its body is taken in.
fn writable(key: &str) -> S3Result<()> {
    if key.starts_with(RESERVED_PREFIX) {
        return Err(s3_error!(
            AccessDenied,
            "keys under {RESERVED_PREFIX} hold what recoveries set aside: read them, and write under another key"
        ));
    }
    Ok(())
}

/// The version that a request names; empty if it means the current one.
fn asked_version(version_id: Option<&str>) -> S3Result<String> {
    let asked = version_id.unwrap_or_default();
    if !asked.is_empty() && asked.parse::<VersionId>().is_err() {
        return Err(s3_error!(InvalidArgument, "the version id is not one that this system gave"));
    }
    Ok(asked.to_owned())
}

/// A version id in an answer: absent where the bucket never was versioned.
fn told_version(version_id: String) -> Option<String> {
    (!version_id.is_empty()).then_some(version_id)
}

/// Refuses what would silently not be done.
fn offered<'a>(headers: impl IntoIterator<Item = (&'a str, bool)>) -> S3Result<()> {
    match headers.into_iter().find(|(_, asked)| *asked) {
        Some((what, _)) => {
            Err(s3_error!(NotImplemented, "{what} is not offered here: send the request without it"))
        }
        None => Ok(()),
    }
}

fn refused(status: Status) -> S3Error {
    status::refused(&status)
}

fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// S3 counts in signed numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How many of something a page may have: what was asked for, at most a thousand.
fn page(asked: Option<i32>) -> S3Result<u32> {
    let asked = u32::try_from(asked.unwrap_or(1000));
    asked
        .map(|asked| asked.min(1000))
        .map_err(|_| s3_error!(InvalidArgument, "a page cannot have a negative size"))
}

/// Writes the trait's methods, each of which is a function of the same shape.
macro_rules! operations {
    ($($name:ident => $function:path: $input:ty => $output:ty;)*) => {
        #[async_trait::async_trait]
        impl S3 for Gateway {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                let may_know = access::may_know(&request);
                let answer = $function(self, request).await;
                if may_know { answer } else { answer.map_err(access::unlisted) }
            })*
        }

        /// What is offered.
        #[cfg(test)]
        const OFFERED: &[&str] = &[$(stringify!($name)),*];
    };
}

operations! {
    list_buckets => bucket::list: ListBucketsInput => ListBucketsOutput;
    create_bucket => bucket::create: CreateBucketInput => CreateBucketOutput;
    head_bucket => bucket::head: HeadBucketInput => HeadBucketOutput;
    delete_bucket => bucket::delete: DeleteBucketInput => DeleteBucketOutput;
    get_bucket_location => bucket::location: GetBucketLocationInput => GetBucketLocationOutput;
    get_bucket_acl => acl::bucket: GetBucketAclInput => GetBucketAclOutput;
    put_bucket_acl => acl::set_bucket: PutBucketAclInput => PutBucketAclOutput;
    get_object_acl => acl::object: GetObjectAclInput => GetObjectAclOutput;
    put_object_acl => acl::set_object: PutObjectAclInput => PutObjectAclOutput;
    put_bucket_policy => policy::put: PutBucketPolicyInput => PutBucketPolicyOutput;
    get_bucket_policy => policy::get: GetBucketPolicyInput => GetBucketPolicyOutput;
    delete_bucket_policy => policy::delete: DeleteBucketPolicyInput => DeleteBucketPolicyOutput;
    get_bucket_policy_status => policy::status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput;
    put_public_access_block => policy::put_block: PutPublicAccessBlockInput => PutPublicAccessBlockOutput;
    get_public_access_block => policy::get_block: GetPublicAccessBlockInput => GetPublicAccessBlockOutput;
    delete_public_access_block => policy::delete_block: DeletePublicAccessBlockInput => DeletePublicAccessBlockOutput;
    put_bucket_lifecycle_configuration => lifecycle::put: PutBucketLifecycleConfigurationInput => PutBucketLifecycleConfigurationOutput;
    get_bucket_lifecycle_configuration => lifecycle::get: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput;
    delete_bucket_lifecycle => lifecycle::delete: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput;
    get_bucket_website => absent::website: GetBucketWebsiteInput => GetBucketWebsiteOutput;
    get_bucket_replication => absent::replication: GetBucketReplicationInput => GetBucketReplicationOutput;
    get_bucket_ownership_controls => absent::ownership: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput;
    get_object_lock_configuration => lock::get_bucket: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput;
    put_object_lock_configuration => lock::put_bucket: PutObjectLockConfigurationInput => PutObjectLockConfigurationOutput;
    get_object_retention => lock::get_retention: GetObjectRetentionInput => GetObjectRetentionOutput;
    put_object_retention => lock::put_retention: PutObjectRetentionInput => PutObjectRetentionOutput;
    get_object_legal_hold => lock::get_hold: GetObjectLegalHoldInput => GetObjectLegalHoldOutput;
    put_object_legal_hold => lock::put_hold: PutObjectLegalHoldInput => PutObjectLegalHoldOutput;
    put_bucket_tagging => tagging::put_bucket: PutBucketTaggingInput => PutBucketTaggingOutput;
    get_bucket_tagging => tagging::get_bucket: GetBucketTaggingInput => GetBucketTaggingOutput;
    delete_bucket_tagging => tagging::delete_bucket: DeleteBucketTaggingInput => DeleteBucketTaggingOutput;
    put_bucket_cors => cors::put: PutBucketCorsInput => PutBucketCorsOutput;
    get_bucket_cors => cors::get: GetBucketCorsInput => GetBucketCorsOutput;
    delete_bucket_cors => cors::delete: DeleteBucketCorsInput => DeleteBucketCorsOutput;
    get_bucket_versioning => versioning::get: GetBucketVersioningInput => GetBucketVersioningOutput;
    put_bucket_versioning => versioning::put: PutBucketVersioningInput => PutBucketVersioningOutput;
    list_object_versions => versioning::list: ListObjectVersionsInput => ListObjectVersionsOutput;
    put_object => object::put: PutObjectInput => PutObjectOutput;
    get_object => object::get: GetObjectInput => GetObjectOutput;
    head_object => object::head: HeadObjectInput => HeadObjectOutput;
    delete_object => delete::one: DeleteObjectInput => DeleteObjectOutput;
    delete_objects => withheld::delete_many: DeleteObjectsInput => DeleteObjectsOutput;
    get_object_attributes => attributes::get: GetObjectAttributesInput => GetObjectAttributesOutput;
    copy_object => copy::object: CopyObjectInput => CopyObjectOutput;
    list_objects => list::v1: ListObjectsInput => ListObjectsOutput;
    list_objects_v2 => list::v2: ListObjectsV2Input => ListObjectsV2Output;
    create_multipart_upload => multipart::create: CreateMultipartUploadInput => CreateMultipartUploadOutput;
    upload_part => multipart::put_part: UploadPartInput => UploadPartOutput;
    upload_part_copy => copy::part: UploadPartCopyInput => UploadPartCopyOutput;
    list_parts => multipart::list_parts: ListPartsInput => ListPartsOutput;
    list_multipart_uploads => uploads::list: ListMultipartUploadsInput => ListMultipartUploadsOutput;
    complete_multipart_upload => complete::complete: CompleteMultipartUploadInput => CompleteMultipartUploadOutput;
    abort_multipart_upload => multipart::abort: AbortMultipartUploadInput => AbortMultipartUploadOutput;
    put_object_tagging => tagging::put: PutObjectTaggingInput => PutObjectTaggingOutput;
    get_object_tagging => tagging::get: GetObjectTaggingInput => GetObjectTaggingOutput;
    delete_object_tagging => tagging::delete: DeleteObjectTaggingInput => DeleteObjectTaggingOutput;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::OFFERED;

    /// As S3 names it.
    fn name_of(function: &str) -> String {
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        function.split('_').map(capital).collect()
    }

    #[test]
    fn the_readme_tells_of_what_is_offered_and_of_nothing_else() {
        let text = include_str!("../../../../README.md");
        let table = text.split_once("\n## S3\n").unwrap().1.split_once("\n## ").unwrap().0;
        let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
        let told: BTreeSet<_> =
            rows.flat_map(|row| row.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
        // A form is put as an object is.
        let forms = std::iter::once("PostObject".to_owned());
        assert_eq!(told, OFFERED.iter().map(|name| name_of(name)).chain(forms).collect());
    }
}
