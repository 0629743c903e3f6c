//! The one door: whether a request may do what it asks for. Every operation of S3 comes through here before it
//! is carried out, by URL, by presigned URL or by form; none checks anything of it again.
//!
//! First the bucket's policy is asked. What it denies is denied, what it allows is allowed; of the rest a
//! signed request may do what its credential has the right to, and an anonymous one nothing. A credential
//! with the right to administer a bucket can always read and delete its policy, so that nobody is locked out.
//!
//! Rights and policies are believed for a moment ([`crate::believed`]): one that is taken away counts for no
//! longer than that.

use std::sync::Arc;

use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::{
    self, CopyObjectInput, CopySource, CreateMultipartUploadInput, DeleteObjectInput, DeleteObjectsInput,
    PutObjectInput, PutObjectRetentionInput, Timestamp, UploadPartCopyInput,
};
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};
use switchback_kit::world::time::wall;
use switchback_model::Right;

use crate::auth::{Caller, Keys};
use crate::buckets::{Buckets, Set};
use crate::guard::{Guard, Verdict};
use crate::host::Domains;
use crate::operation::{BYPASS, Kind, Operation};
use crate::origin::Origin;
use crate::policy::{Asked, Facts, resource};

/// Judges requests.
pub(crate) struct Door {
    keys: Keys,
    domains: Domains,
    buckets: Buckets,
}

/// Objects that a request may not delete, although it may delete others.
#[derive(Clone, Debug)]
pub(crate) struct Withheld(pub(crate) Vec<dto::Error>);

/// Whoever asks may not list the bucket that he reads from, and is not told which keys there are in it.
#[derive(Clone, Copy, Debug)]
struct Unlisted;

/// Whether whoever asks is told that there is no object where there is none.
pub(crate) fn may_know<T>(request: &S3Request<T>) -> bool {
    request.extensions.get::<Unlisted>().is_none()
}

/// What whoever reads an object may not read of what is kept beside it, and is not told in the answer either.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hidden {
    /// How many tags it has.
    pub(crate) tags: bool,
    pub(crate) retention: bool,
    pub(crate) hold: bool,
}

/// Of what is kept beside the object that is asked for, what stays untold.
pub(crate) fn hidden<T>(request: &S3Request<T>) -> Hidden {
    request.extensions.get().copied().unwrap_or_default()
}

/// What `error` is to somebody who is not to know which keys there are: as S3 has it, of one that is not there
/// and one that he may not read he hears the same.
pub(crate) fn unlisted(error: S3Error) -> S3Error {
    match error.code() {
        S3ErrorCode::NoSuchKey | S3ErrorCode::NoSuchVersion => denied(
            "there is no such object, or it may not be read: who may not list a bucket is not told".into(),
        ),
        _ => error,
    }
}

/// A request that has come so far. Put into it for what is known only when its body has been read.
#[derive(Clone)]
struct Asking {
    caller: Caller,
    operation: &'static Operation,
    names_version: bool,
    facts: Facts,
}

/// One thing that is done by a request.
struct Deed<'a> {
    action: &'a str,
    right: Right,
    bucket: &'a str,
    key: Option<&'a str>,
}

/// What a request may do beside what it is for: an action of its own.
#[derive(Clone, Copy)]
struct Beside {
    action: &'static str,
    right: Right,
    is_asked: bool,
}

impl Beside {
    /// Puts tags on what is written.
    fn tagging(is_asked: bool) -> Self {
        Self { action: "s3:PutObjectTagging", right: Right::Write, is_asked }
    }

    /// Says how long what is written may not be deleted.
    fn retention(is_asked: bool) -> Self {
        Self { action: "s3:PutObjectRetention", right: Right::Administer, is_asked }
    }

    /// Says that what is written may not be deleted.
    fn hold(is_asked: bool) -> Self {
        Self { action: "s3:PutObjectLegalHold", right: Right::Administer, is_asked }
    }

    /// Sets a retention in governance mode aside.
    fn bypass(asked: Option<bool>) -> Self {
        Self { action: BYPASS, right: Right::Administer, is_asked: asked == Some(true) }
    }

    fn deed<'a>(self, bucket: &'a str, key: &'a str) -> Deed<'a> {
        Deed { action: self.action, right: self.right, bucket, key: Some(key) }
    }
}

/// What a write of this input does beside: it may tag, retain and hold.
macro_rules! besides {
    ($input:expr) => {
        &[
            Beside::tagging($input.tagging.is_some()),
            Beside::retention(
                $input.object_lock_mode.is_some() || $input.object_lock_retain_until_date.is_some(),
            ),
            Beside::hold($input.object_lock_legal_hold_status.is_some()),
        ]
    };
}

impl Door {
    pub(crate) fn new(keys: Keys, domains: Domains, buckets: Buckets) -> Self {
        Self { keys, domains, buckets }
    }

    /// On whose behalf the request is made: of the tenant that signed it, or, unsigned, of nobody at the tenant
    /// that it names.
    async fn caller(&self, cx: &S3AccessContext<'_>) -> S3Result<Caller> {
        let host = cx.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
        let tenant = self.domains.named(host.unwrap_or_default()).tenant;
        let Some(credentials) = cx.credentials() else {
            return tenant.map(|tenant| Caller::of(&tenant)).ok_or_else(|| {
                s3_error!(
                    AccessDenied,
                    "the request is anonymous, and its host names no tenant: sign the request, or use a tenant's name"
                )
            });
        };
        let caller = self.keys.find(&credentials.access_key).await?;
        if tenant.is_some_and(|tenant| tenant != caller.name()) {
            return Err(s3_error!(
                AccessDenied,
                "the host name is another tenant's: use this access key at its own tenant's name"
            ));
        }
        Ok(caller)
    }

    async fn asking(&self, cx: &mut S3AccessContext<'_>) -> S3Result<Asking> {
        let name = cx.s3_op().name();
        let Some(operation) = Operation::find(name) else {
            return Err(s3_error!(AccessDenied, "nobody has the right to {name} here"));
        };
        let caller = self.caller(cx).await?;
        let origin = cx.extensions_mut().get::<Origin>().copied();
        let origin =
            origin.ok_or_else(|| s3_error!(InternalError, "it is not known where the request comes from"))?;
        let query = Query::of(cx.uri().query().unwrap_or_default())?;
        // As S3 has it: nobody makes others see an object under a type of his choice.
        if caller.access_key().is_none() && query.0.iter().any(|(name, _)| name.starts_with("response-")) {
            return Err(s3_error!(
                InvalidRequest,
                "an anonymous request cannot choose headers of its answer (response-...): sign it"
            ));
        }
        let listed = |name| if operation.is_listing() { query.value(name) } else { None };
        let facts = Facts {
            source: origin.address,
            is_secure: origin.is_secure,
            now: Timestamp::from(wall()),
            prefix: listed("prefix"),
            delimiter: listed("delimiter"),
        };
        Ok(Asking {
            caller,
            operation,
            names_version: is_version(query.value("versionId").as_deref()),
            facts,
        })
    }

    /// What is set of the bucket.
    async fn set(&self, asking: &Asking, bucket: &str) -> S3Result<Arc<Set>> {
        self.buckets.of(&asking.caller.place(bucket)).await
    }

    /// Refuses what of `deeds`, all in `bucket`, is not allowed.
    async fn pass(&self, asking: &Asking, bucket: &str, deeds: &[Deed<'_>]) -> S3Result<()> {
        let set = self.set(asking, bucket).await?;
        deeds.iter().try_for_each(|deed| asking.judge(&set.guard, deed))
    }

    /// What a request does beside what it is for, to one object.
    async fn pass_besides<T>(
        &self,
        request: &S3Request<T>,
        bucket: &str,
        key: &str,
        besides: &[Beside],
    ) -> S3Result<()> {
        let besides = besides.iter().filter(|beside| beside.is_asked);
        let deeds: Vec<_> = besides.map(|beside| beside.deed(bucket, key)).collect();
        if deeds.is_empty() {
            return Ok(());
        }
        self.pass(asking(request)?, bucket, &deeds).await
    }

    /// A copy reads its source.
    async fn pass_source<T>(&self, request: &mut S3Request<T>, source: &CopySource) -> S3Result<()> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            // What else there is names no bucket here; the operation says so.
            return Ok(());
        };
        let action = if is_version(version_id.as_deref()) { "s3:GetObjectVersion" } else { "s3:GetObject" };
        let deed = Deed { action, right: Right::Read, bucket, key: Some(key) };
        let asking = asking(request)?;
        let set = self.set(asking, bucket).await?;
        asking.judge(&set.guard, &deed)?;
        if !asking.may_list(&set.guard, bucket) {
            request.extensions.insert(Unlisted);
        }
        Ok(())
    }
}

/// What [`Door::check`] left in the request.
fn asking<T>(request: &S3Request<T>) -> S3Result<&Asking> {
    let asking = request.extensions.get::<Asking>();
    asking.ok_or_else(|| s3_error!(InternalError, "the request was not judged"))
}

impl Asking {
    fn deed<'a>(&self, bucket: &'a str, key: Option<&'a str>) -> Deed<'a> {
        let action = self.operation.action(self.names_version);
        Deed { action, right: self.operation.right, bucket, key }
    }

    fn may_list(&self, guard: &Guard, bucket: &str) -> bool {
        let deed = Deed { action: "s3:ListBucket", right: Right::Read, bucket, key: None };
        self.judge(guard, &deed).is_ok()
    }

    fn hidden(&self, guard: &Guard, bucket: &str, key: &str) -> Hidden {
        let is_denied = |action| {
            let deed = Deed { action, right: Right::Read, bucket, key: Some(key) };
            self.judge(guard, &deed).is_err()
        };
        let tagging = if self.names_version { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
        Hidden {
            tags: is_denied(tagging),
            retention: is_denied("s3:GetObjectRetention"),
            hold: is_denied("s3:GetObjectLegalHold"),
        }
    }

    fn judge(&self, guard: &Guard, deed: &Deed<'_>) -> S3Result<()> {
        let Deed { action, right, bucket, key } = *deed;
        let has_right = self.caller.may(right, bucket);
        if has_right && ["s3:GetBucketPolicy", "s3:DeleteBucketPolicy"].contains(&action) {
            return Ok(());
        }
        let access_key = self.caller.access_key();
        match (guard.judge(&Asked { access_key, action, key, facts: &self.facts }), access_key) {
            (Verdict::Allowed, _) => Ok(()),
            (Verdict::NotSaid, Some(_)) if has_right => Ok(()),
            (Verdict::Denied, _) => {
                let resource = resource(bucket, key);
                Err(denied(format!("the policy of the bucket denies {action} of {resource} to this request")))
            }
            (Verdict::NotSaid, Some(access_key)) => Err(denied(format!(
                "the credential {access_key} lacks the right to {right} in the bucket {bucket}"
            ))),
            (Verdict::NotSaid, None) => Err(denied(format!(
                "no policy of the bucket allows {action} to anonymous requests: sign the request"
            ))),
        }
    }
}

fn denied(message: String) -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, message)
}

/// The query as s3s reads it: what is judged here must be what is done afterwards.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(query: &str) -> S3Result<Self> {
        let read = serde_urlencoded::from_str(query).map(Self);
        read.map_err(|_| s3_error!(InvalidURI, "the query is not encoded as one"))
    }

    fn value(&self, name: &str) -> Option<String> {
        // Of what is given twice, s3s takes neither: it refuses the request.
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }
}

/// An empty one names none.
fn is_version(version_id: Option<&str>) -> bool {
    version_id.is_some_and(|version_id| !version_id.is_empty())
}

/// Which operations say only in their body what objects they are about.
fn is_named_in_body(operation: &Operation, path: &S3Path) -> bool {
    operation.kind == Kind::Object && matches!(path, S3Path::Bucket { .. })
}

#[async_trait::async_trait]
impl S3Access for Door {
    /// The signature was checked before this is called.
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let asking = self.asking(cx).await?;
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root if asking.caller.access_key().is_some() => (None, None),
            S3Path::Root => {
                return Err(denied("sign the request: anonymous requests are about a bucket".into()));
            }
            S3Path::Bucket { bucket } => (Some(&**bucket), None),
            S3Path::Object { bucket, key } => (Some(&**bucket), Some(&**key)),
        };
        if let Some(bucket) = bucket {
            let set = self.set(&asking, bucket).await?;
            // Where a policy has its say the body must be read first; else it is not taken in for nothing.
            if !is_named_in_body(asking.operation, cx.s3_path()) || set.guard.is_silent() {
                asking.judge(&set.guard, &asking.deed(bucket, key))?;
                if asking.operation.action(false) == "s3:GetObjectAttributes" {
                    let action = if asking.names_version { "s3:GetObjectVersion" } else { "s3:GetObject" };
                    asking.judge(&set.guard, &Deed { action, ..asking.deed(bucket, key) })?;
                }
            }
            let reads = (asking.operation.kind, asking.operation.right) == (Kind::Object, Right::Read);
            let gets = asking.operation.action(false) == "s3:GetObject";
            // Where no policy says otherwise, who may read an object may read all of it.
            let hidden = key
                .filter(|_| gets && !set.guard.is_silent())
                .map(|key| asking.hidden(&set.guard, bucket, key));
            if reads && !asking.may_list(&set.guard, bucket) {
                cx.extensions_mut().insert(Unlisted);
            }
            if let Some(hidden) = hidden {
                cx.extensions_mut().insert(hidden);
            }
        }
        cx.extensions_mut().insert(asking.caller.clone());
        cx.extensions_mut().insert(asking);
        Ok(())
    }

    /// Of forms, too, which name their key in a field.
    async fn put_object(&self, request: &mut S3Request<PutObjectInput>) -> S3Result<()> {
        let (input, asking) = (&request.input, asking(request)?);
        self.pass(asking, &input.bucket, &[asking.deed(&input.bucket, Some(&input.key))]).await?;
        self.pass_besides(request, &input.bucket, &input.key, besides!(input)).await
    }

    async fn create_multipart_upload(
        &self,
        request: &mut S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<()> {
        let input = &request.input;
        self.pass_besides(request, &input.bucket, &input.key, besides!(input)).await
    }

    async fn copy_object(&self, request: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        let source = request.input.copy_source.clone();
        self.pass_source(request, &source).await?;
        let input = &request.input;
        self.pass_besides(request, &input.bucket, &input.key, besides!(input)).await
    }

    async fn put_object_retention(&self, request: &mut S3Request<PutObjectRetentionInput>) -> S3Result<()> {
        let input = &request.input;
        let bypass = Beside::bypass(input.bypass_governance_retention);
        self.pass_besides(request, &input.bucket, &input.key, &[bypass]).await
    }

    async fn delete_object(&self, request: &mut S3Request<DeleteObjectInput>) -> S3Result<()> {
        let input = &request.input;
        let bypass = Beside::bypass(input.bypass_governance_retention);
        self.pass_besides(request, &input.bucket, &input.key, &[bypass]).await
    }

    async fn upload_part_copy(&self, request: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        let source = request.input.copy_source.clone();
        self.pass_source(request, &source).await
    }

    /// Each object is judged by itself. Those that may not be deleted are taken out of the request.
    async fn delete_objects(&self, request: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        let asking = asking(request)?.clone();
        let bucket = request.input.bucket.clone();
        let bypass = Beside::bypass(request.input.bypass_governance_retention);
        let set = self.set(&asking, &bucket).await?;
        let mut withheld = Vec::new();
        request.input.delete.objects.retain(|object| {
            let action = asking.operation.action(is_version(object.version_id.as_deref()));
            let delete = Deed { action, ..asking.deed(&bucket, Some(&object.key)) };
            let deeds = [Some(delete), bypass.is_asked.then(|| bypass.deed(&bucket, &object.key))];
            let judged = deeds.iter().flatten().try_for_each(|deed| asking.judge(&set.guard, deed));
            withheld.extend(judged.as_ref().err().map(|error| dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(object.key.clone()),
                message: error.message().map(str::to_owned),
                version_id: object.version_id.clone(),
            }));
            judged.is_ok()
        });
        request.extensions.insert(Withheld(withheld));
        Ok(())
    }
}
