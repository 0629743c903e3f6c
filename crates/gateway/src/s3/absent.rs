//! What no bucket has here. Clients that look for it are told so as S3 tells them of a bucket without it; to
//! set it is not offered.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Gateway;
use super::bucket::exists;

macro_rules! absent {
    ($($(#[$doc:meta])* $name:ident: $input:ty => $output:ty, $code:ident, $what:literal;)*) => {
        $($(#[$doc])*
        pub(super) async fn $name(
            gateway: &Gateway,
            request: S3Request<$input>,
        ) -> S3Result<S3Response<$output>> {
            exists(gateway, &request, &request.input.bucket).await?;
            Err(s3_error!($code, $what))
        })*
    };
}

absent! {
    /// `GetBucketWebsite`.
    website: GetBucketWebsiteInput => GetBucketWebsiteOutput,
        NoSuchWebsiteConfiguration, "the bucket is no website";
    /// `GetBucketReplication`.
    replication: GetBucketReplicationInput => GetBucketReplicationOutput,
        ReplicationConfigurationNotFoundError, "the bucket has no rules of its own; links replicate tenants whole";
    /// `GetBucketOwnershipControls`.
    ownership: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput,
        OwnershipControlsNotFoundError, "everything in the bucket is its tenant's";
}
