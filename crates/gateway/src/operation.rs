//! What each S3 operation needs: a right to the bucket, and the actions that policies know it by.
//!
//! One table of all operations, also of those that are not offered: what is not in it is refused, so that an
//! operation which is offered one day is not open by mistake. Policies speak of actions, which are not the
//! operations: several operations are one action, and the action of one is another where it names a
//! version (Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3").

use switchback_model::Right;

/// What an action is done to: one of these, as policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No bucket: to all of them.
    Account,
    /// `arn:aws:s3:::BUCKET`.
    Bucket,
    /// `arn:aws:s3:::BUCKET/KEY`.
    Object,
}

/// An operation of S3.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    name: &'static str,
    /// What a credential must be allowed in the bucket.
    pub(crate) right: Right,
    /// What its action is done to.
    pub(crate) kind: Kind,
    action: &'static str,
    action_of_version: &'static str,
}

impl Operation {
    /// The operation of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }

    /// Whether it lists what is in a bucket, by prefix and delimiter.
    pub(crate) fn is_listing(&self) -> bool {
        self.kind == Kind::Bucket && self.name.starts_with("List")
    }

    /// As policies know it, where it `names_version`, and where it does not.
    pub(crate) fn action(&self, names_version: bool) -> &'static str {
        if names_version { self.action_of_version } else { self.action }
    }
}

/// To set a retention in governance mode aside: an action that no operation is, but some do beside.
pub(crate) const BYPASS: &str = "s3:BypassGovernanceRetention";

/// All actions that a policy can speak of, with what each is done to.
pub(crate) fn actions() -> impl Iterator<Item = (&'static str, Kind)> {
    let of = |operation: &'static Operation| {
        [(operation.action, operation.kind), (operation.action_of_version, operation.kind)]
    };
    let named = OPERATIONS.iter().filter(|operation| operation.kind != Kind::Account).flat_map(of);
    named.chain([(BYPASS, Kind::Object)])
}

/// An operation whose own name is no action, by the action that it is.
macro_rules! operations {
    ($($right:ident, $kind:ident: { $($name:ident => $action:literal $(/ $of_version:literal)?,)* })*) => {
        &[$($(Operation {
            name: stringify!($name),
            right: Right::$right,
            kind: Kind::$kind,
            action: $action,
            action_of_version: operations!(@ $action $($of_version)?),
        },)*)*]
    };
    (@ $action:literal) => { $action };
    (@ $action:literal $of_version:literal) => { $of_version };
}

const OPERATIONS: &[Operation] = operations! {
    Read, Account: {
        ListBuckets => "s3:ListAllMyBuckets",
        ListDirectoryBuckets => "s3:ListAllMyBuckets",
    }
    Read, Bucket: {
        CreateSession => "s3:CreateSession",
        GetBucketAccelerateConfiguration => "s3:GetAccelerateConfiguration",
        GetBucketAcl => "s3:GetBucketAcl",
        GetBucketAnalyticsConfiguration => "s3:GetAnalyticsConfiguration",
        GetBucketCors => "s3:GetBucketCORS",
        GetBucketEncryption => "s3:GetEncryptionConfiguration",
        GetBucketIntelligentTieringConfiguration => "s3:GetIntelligentTieringConfiguration",
        GetBucketInventoryConfiguration => "s3:GetInventoryConfiguration",
        GetBucketLifecycleConfiguration => "s3:GetLifecycleConfiguration",
        GetBucketLocation => "s3:GetBucketLocation",
        GetBucketLogging => "s3:GetBucketLogging",
        GetBucketMetadataTableConfiguration => "s3:GetBucketMetadataTableConfiguration",
        GetBucketMetricsConfiguration => "s3:GetMetricsConfiguration",
        GetBucketNotificationConfiguration => "s3:GetBucketNotification",
        GetBucketOwnershipControls => "s3:GetBucketOwnershipControls",
        GetBucketPolicyStatus => "s3:GetBucketPolicyStatus",
        GetBucketReplication => "s3:GetReplicationConfiguration",
        GetBucketRequestPayment => "s3:GetBucketRequestPayment",
        GetBucketTagging => "s3:GetBucketTagging",
        GetBucketVersioning => "s3:GetBucketVersioning",
        GetBucketWebsite => "s3:GetBucketWebsite",
        GetObjectLockConfiguration => "s3:GetBucketObjectLockConfiguration",
        GetPublicAccessBlock => "s3:GetBucketPublicAccessBlock",
        HeadBucket => "s3:ListBucket",
        ListBucketAnalyticsConfigurations => "s3:GetAnalyticsConfiguration",
        ListBucketIntelligentTieringConfigurations => "s3:GetIntelligentTieringConfiguration",
        ListBucketInventoryConfigurations => "s3:GetInventoryConfiguration",
        ListBucketMetricsConfigurations => "s3:GetMetricsConfiguration",
        ListMultipartUploads => "s3:ListBucketMultipartUploads",
        ListObjectVersions => "s3:ListBucketVersions",
        ListObjects => "s3:ListBucket",
        ListObjectsV2 => "s3:ListBucket",
    }
    Read, Object: {
        GetObject => "s3:GetObject" / "s3:GetObjectVersion",
        GetObjectAcl => "s3:GetObjectAcl" / "s3:GetObjectVersionAcl",
        GetObjectAttributes => "s3:GetObjectAttributes" / "s3:GetObjectVersionAttributes",
        GetObjectLegalHold => "s3:GetObjectLegalHold",
        GetObjectRetention => "s3:GetObjectRetention",
        GetObjectTagging => "s3:GetObjectTagging" / "s3:GetObjectVersionTagging",
        GetObjectTorrent => "s3:GetObjectTorrent" / "s3:GetObjectVersionTorrent",
        HeadObject => "s3:GetObject" / "s3:GetObjectVersion",
        ListParts => "s3:ListMultipartUploadParts",
        SelectObjectContent => "s3:GetObject" / "s3:GetObjectVersion",
    }
    Write, Object: {
        AbortMultipartUpload => "s3:AbortMultipartUpload",
        CompleteMultipartUpload => "s3:PutObject",
        CopyObject => "s3:PutObject",
        CreateMultipartUpload => "s3:PutObject",
        DeleteObjectTagging => "s3:DeleteObjectTagging" / "s3:DeleteObjectVersionTagging",
        PostObject => "s3:PutObject",
        PutObject => "s3:PutObject",
        PutObjectTagging => "s3:PutObjectTagging" / "s3:PutObjectVersionTagging",
        RestoreObject => "s3:RestoreObject",
        UploadPart => "s3:PutObject",
        UploadPartCopy => "s3:PutObject",
        WriteGetObjectResponse => "s3:WriteGetObjectResponse",
    }
    Delete, Object: {
        DeleteObject => "s3:DeleteObject" / "s3:DeleteObjectVersion",
        DeleteObjects => "s3:DeleteObject" / "s3:DeleteObjectVersion",
    }
    // Who may have an object, and for how long it may not be deleted, is not for everybody who writes.
    Administer, Object: {
        PutObjectAcl => "s3:PutObjectAcl" / "s3:PutObjectVersionAcl",
        PutObjectLegalHold => "s3:PutObjectLegalHold",
        PutObjectRetention => "s3:PutObjectRetention",
    }
    Administer, Bucket: {
        CreateBucket => "s3:CreateBucket",
        CreateBucketMetadataTableConfiguration => "s3:CreateBucketMetadataTableConfiguration",
        DeleteBucket => "s3:DeleteBucket",
        DeleteBucketAnalyticsConfiguration => "s3:PutAnalyticsConfiguration",
        DeleteBucketCors => "s3:PutBucketCORS",
        DeleteBucketEncryption => "s3:PutEncryptionConfiguration",
        DeleteBucketIntelligentTieringConfiguration => "s3:PutIntelligentTieringConfiguration",
        DeleteBucketInventoryConfiguration => "s3:PutInventoryConfiguration",
        DeleteBucketLifecycle => "s3:PutLifecycleConfiguration",
        DeleteBucketMetadataTableConfiguration => "s3:DeleteBucketMetadataTableConfiguration",
        DeleteBucketMetricsConfiguration => "s3:PutMetricsConfiguration",
        DeleteBucketOwnershipControls => "s3:PutBucketOwnershipControls",
        DeleteBucketPolicy => "s3:DeleteBucketPolicy",
        DeleteBucketReplication => "s3:PutReplicationConfiguration",
        DeleteBucketTagging => "s3:PutBucketTagging",
        DeleteBucketWebsite => "s3:DeleteBucketWebsite",
        DeletePublicAccessBlock => "s3:PutBucketPublicAccessBlock",
        // It names who may do what, and from where.
        GetBucketPolicy => "s3:GetBucketPolicy",
        PutBucketAccelerateConfiguration => "s3:PutAccelerateConfiguration",
        PutBucketAcl => "s3:PutBucketAcl",
        PutBucketAnalyticsConfiguration => "s3:PutAnalyticsConfiguration",
        PutBucketCors => "s3:PutBucketCORS",
        PutBucketEncryption => "s3:PutEncryptionConfiguration",
        PutBucketIntelligentTieringConfiguration => "s3:PutIntelligentTieringConfiguration",
        PutBucketInventoryConfiguration => "s3:PutInventoryConfiguration",
        PutBucketLifecycleConfiguration => "s3:PutLifecycleConfiguration",
        PutBucketLogging => "s3:PutBucketLogging",
        PutBucketMetricsConfiguration => "s3:PutMetricsConfiguration",
        PutBucketNotificationConfiguration => "s3:PutBucketNotification",
        PutBucketOwnershipControls => "s3:PutBucketOwnershipControls",
        PutBucketPolicy => "s3:PutBucketPolicy",
        PutBucketReplication => "s3:PutReplicationConfiguration",
        PutBucketRequestPayment => "s3:PutBucketRequestPayment",
        PutBucketTagging => "s3:PutBucketTagging",
        PutBucketVersioning => "s3:PutBucketVersioning",
        PutBucketWebsite => "s3:PutBucketWebsite",
        PutObjectLockConfiguration => "s3:PutBucketObjectLockConfiguration",
        PutPublicAccessBlock => "s3:PutBucketPublicAccessBlock",
    }
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    fn cargo(arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The operations of the s3s that this crate is built with, from its source: it tells them in no other way.
    fn operations_of_s3s() -> BTreeSet<String> {
        let version = cargo(&["-vV"]);
        // Packages of other platforms need not be here.
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let metadata = cargo(&[
            "metadata",
            "--format-version=1",
            "--offline",
            "--filter-platform",
            host,
            "--manifest-path",
            manifest,
        ]);
        let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let s3s = packages.iter().find(|package| package["name"] == "s3s").unwrap();
        let folder = std::path::Path::new(s3s["manifest_path"].as_str().unwrap()).parent().unwrap();
        let source = std::fs::read_to_string(folder.join("src/ops/generated.rs")).unwrap();
        let named = source.split("impl super::Operation for ").skip(1);
        named.map(|text| text.split(' ').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_operation_that_s3s_knows_has_a_right_and_there_is_none_twice() {
        let known = operations_of_s3s();
        assert!(known.len() > 90 && known.contains("GetObject"), "{known:?}");
        let listed: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.name.to_owned()).collect();
        assert_eq!(listed, known);
        assert_eq!(OPERATIONS.len(), listed.len());
    }

    #[test]
    fn names_say_what_is_needed() {
        for Operation { name, right, kind, action, action_of_version } in OPERATIONS {
            let is_exception = ["GetBucketPolicy", "CreateSession", "SelectObjectContent"].contains(name);
            let reads = ["Get", "Head", "List"].iter().any(|start| name.starts_with(start));
            assert!(is_exception || reads == (*right == Right::Read), "{name}: {right}");
            assert_eq!(
                name.starts_with("DeleteObject") && !name.ends_with("Tagging"),
                *right == Right::Delete
            );
            if name.contains("Bucket") && *kind != Kind::Account {
                assert_eq!(*kind, Kind::Bucket, "{name}");
            }
            assert!(action.starts_with("s3:") && action_of_version.starts_with("s3:"), "{name}");
        }
    }

    #[test]
    fn an_operation_that_names_a_version_is_another_action() {
        let action = |name, names_version| Operation::find(name).unwrap().action(names_version);
        assert_eq!(
            (action("HeadObject", false), action("HeadObject", true)),
            ("s3:GetObject", "s3:GetObjectVersion")
        );
        assert_eq!(action("PutObject", true), "s3:PutObject");
        assert_eq!(Operation::find("GetObjekt"), None);
    }
}
