//! Objects: put, get, head. How they are deleted is in `delete`.

use http::{HeaderMap, HeaderName, Method};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use switchback_proto::store::v1::{
    self as store, GetObjectRequest, GetObjectResponse, PutObjectRequest, ReportDamageRequest,
};

use super::checksum::{Claims, kind_of, set_checksums};
use super::condition::{ReadConditions, of_write, part_of};
use super::lock::{given_lock, set_lock};
use super::metadata::{given_metadata, set_metadata};
use super::time::stamp;
use super::{
    Gateway, asked_version, body, form, lifecycle, offered, place, refused, signed, strong, tagging,
    told_version, writable,
};
use crate::access::{self, Hidden};
use crate::auth::Place;
use crate::status;
use crate::store::answer;

/// An object that is replaced while it is being opened is looked up this many times.
const LOOKUPS_MAX: usize = 3;

/// How many tags an object has; s3s has no place for it in the answer to HEAD.
const TAGGING_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");

/// `PutObject`, and `PostObject`, which s3s makes one of.
pub(super) async fn put(
    gateway: &Gateway,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let is_form = request.method == Method::POST;
    if is_form {
        form::as_put(&mut request)?;
    }
    let place = place(&request, &request.input.bucket)?;
    let given = request.input.body.take();
    let input = &request.input;
    writable(&input.key)?;
    offered([
        ("an ACL", is_public(input.acl.as_ref())),
        (
            "server-side encryption",
            input.server_side_encryption.is_some() || input.sse_customer_algorithm.is_some(),
        ),
        ("appending", input.write_offset_bytes.is_some()),
        ("a redirect", input.website_redirect_location.is_some()),
    ])?;
    let metadata = given_metadata!(input);
    let tags = tagging::of_header(input.tagging.as_deref())?;
    let lock = given_lock!(input);
    let claims = Claims::of(&request.headers, request.trailing_headers.clone())?;
    let given = given.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
    let received =
        gateway.receiver.object(&place, given, declared_length(&request.headers)?, &claims).await?;
    let object = store::Object {
        key: input.key.clone(),
        size: received.size,
        etag: hex::encode(received.digests.md5),
        content_hash: received.digests.content.to_vec().into(),
        checksums: received.digests.checksums.clone(),
        metadata: Some(metadata),
        tags,
        lock,
        ..Default::default()
    };
    let mut output = PutObjectOutput {
        e_tag: Some(strong(&object.etag)),
        checksum_type: kind_of(&object.checksums),
        ..Default::default()
    };
    set_checksums!(output, &object.checksums);
    let made = store::Object { size: object.size, tags: object.tags.clone(), ..Default::default() };
    let call = PutObjectRequest {
        content: Some(place.content.clone()),
        namespace: place.namespace.clone(),
        object: Some(object),
        body: Some(received.body.clone()),
        conditions: of_write(input.if_match.as_ref(), input.if_none_match.as_ref()),
    };
    let written = received.commit(gateway.store.client().put_object(call)).await.map_err(refused)?;
    let made = store::Object { last_modified_unix_ms: written.last_modified_unix_ms, ..made };
    output.expiration = lifecycle::expiration(gateway, &place, &input.key, &made).await;
    output.version_id = told_version(written.version_id);
    if is_form { form::answer(output) } else { Ok(S3Response::new(output)) }
}

/// Everything is private here; another canned ACL would promise more.
pub(super) fn is_public(acl: Option<&ObjectCannedACL>) -> bool {
    let private = [ObjectCannedACL::PRIVATE, ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL];
    acl.is_some_and(|acl| !private.contains(&acl.as_str()))
}

/// How many bytes the body has by the client's word, inside any transfer framing.
pub(super) fn declared_length(headers: &HeaderMap) -> S3Result<Option<u64>> {
    let names = ["x-amz-decoded-content-length", "content-length"];
    let Some(value) = names.into_iter().find_map(|name| headers.get(name)) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| s3_error!(InvalidRequest, "the body's length is not a number"))
}

/// Looks an object up: the version that is named, or the current one.
pub(super) async fn lookup(
    gateway: &Gateway,
    place: &Place,
    key: &str,
    version_id: &str,
    with_body: bool,
) -> S3Result<(store::Object, store::Body)> {
    let call = GetObjectRequest {
        content: Some(place.content.clone()),
        namespace: place.namespace.clone(),
        key: key.to_owned(),
        with_body,
        version_id: version_id.to_owned(),
    };
    let GetObjectResponse { object, body } =
        answer(gateway.store.client().get_object(call)).await.map_err(refused)?;
    let object = object.ok_or_else(|| s3_error!(InternalError, "the store answered without the object"))?;
    Ok((object, body.unwrap_or_default()))
}

/// An object whose bytes are open.
pub(super) struct Opened {
    pub(super) object: store::Object,
    /// The part that was asked for, if not all of it.
    pub(super) part: Option<std::ops::Range<u64>>,
    pub(super) pieces: body::Pieces,
}

/// Looks an object up and opens the part of it that `part` picks. A blob that is gone was
/// replaced between the two: the object is looked up again.
pub(super) async fn open(
    gateway: &Gateway,
    place: &Place,
    key: &str,
    version_id: &str,
    part: impl Fn(&store::Object) -> S3Result<Option<std::ops::Range<u64>>>,
) -> S3Result<Opened> {
    let damaged = || damage(gateway, place, key, version_id);
    for _ in 0..LOOKUPS_MAX {
        let (object, body) = lookup(gateway, place, key, version_id, true).await?;
        let part = part(&object)?.filter(|part| !part.is_empty());
        let range = part.clone().unwrap_or(0..object.size);
        let size = range.end - range.start;
        match body::open(&gateway.blobs, &object, body, range).await {
            Ok(pieces) => {
                let pieces = gateway.ahead.read(body::watched(pieces, damaged()), size);
                return Ok(Opened { object, part, pieces });
            }
            Err(switchback_store::Error::NoSuchBlob(blob)) => {
                tracing::debug!(%blob, "blob is gone; looking again")
            }
            Err(error) => {
                damaged().report();
                return Err(status::blob_failed(error));
            }
        }
    }
    tracing::error!(namespace = place.namespace, "an object's bytes are missing");
    damaged().report();
    Err(status::unavailable("the object's bytes are not here now; try again"))
}

/// Tells the data mover, which looks at the bytes and repairs them, of a read that failed.
fn damage(gateway: &Gateway, place: &Place, key: &str, version_id: &str) -> body::Damage {
    let mut store = gateway.store.client();
    let call = ReportDamageRequest {
        content: Some(place.content.clone()),
        namespace: place.namespace.clone(),
        key: key.to_owned(),
        version_id: version_id.to_owned(),
    };
    body::Damage::new(async move {
        // A reader that fails is told of the next time too.
        if let Err(status) = answer(store.report_damage(call)).await {
            tracing::debug!(reason = status.message(), "a damaged body could not be reported");
        }
    })
}

/// Fills in what the answers to GET and HEAD have in common.
macro_rules! describe {
    ($output:expr, $object:expr, $part:expr, $with_checksums:expr, $hidden:expr) => {{
        let (object, part): (&store::Object, &Option<std::ops::Range<u64>>) = ($object, $part);
        $output.accept_ranges = Some("bytes".into());
        $output.e_tag = Some(strong(&object.etag));
        $output.version_id = told_version(object.version_id.clone());
        set_lock!($output, object.lock.as_ref(), $hidden);
        $output.last_modified = Some(stamp(object.last_modified_unix_ms));
        $output.content_length =
            Some(signed(part.as_ref().map_or(object.size, |part| part.end - part.start)));
        $output.content_range =
            part.as_ref().map(|part| format!("bytes {}-{}/{}", part.start, part.end - 1, object.size));
        if let Some(metadata) = &object.metadata {
            set_metadata!($output, metadata);
        }
        if $with_checksums && part.is_none() {
            set_checksums!($output, &object.checksums);
            $output.checksum_type = kind_of(&object.checksums);
        }
    }};
}

fn wants_checksums(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str().eq_ignore_ascii_case(ChecksumMode::ENABLED))
}

fn parts_count(object: &store::Object, part_number: Option<i32>) -> Option<i32> {
    part_number?;
    i32::try_from(object.part_sizes.len()).ok().filter(|count| *count > 0)
}

/// How many tags an object has, for who may read them; absent where it has none, as S3 has it.
fn tag_count(hidden: Hidden, object: &store::Object) -> Option<i32> {
    let count = i32::try_from(object.tags.len()).ok();
    count.filter(|count| *count > 0 && !hidden.tags)
}

/// `GetObject`.
pub(super) async fn get(
    gateway: &Gateway,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let (place, hidden) = (place(&request, &request.input.bucket)?, access::hidden(&request));
    let input = &request.input;
    let version_id = asked_version(input.version_id.as_deref())?;
    let conditions = ReadConditions {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    };
    let picked = |object: &store::Object| {
        conditions.check(object)?;
        part_of(object, input.range, input.part_number)
    };
    let opened = open(gateway, &place, &input.key, &version_id, picked).await?;
    let mut output = GetObjectOutput {
        parts_count: parts_count(&opened.object, input.part_number),
        tag_count: tag_count(hidden, &opened.object),
        ..Default::default()
    };
    let with_checksums = wants_checksums(input.checksum_mode.as_ref());
    describe!(output, &opened.object, &opened.part, with_checksums, hidden);
    if version_id.is_empty() {
        output.expiration = lifecycle::expiration(gateway, &place, &input.key, &opened.object).await;
    }
    output.body = Some(body::answer(opened.pieces));
    Ok(S3Response::new(output))
}

/// `HeadObject`.
pub(super) async fn head(
    gateway: &Gateway,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let (place, hidden) = (place(&request, &request.input.bucket)?, access::hidden(&request));
    let input = &request.input;
    let version_id = asked_version(input.version_id.as_deref())?;
    let (object, _) = lookup(gateway, &place, &input.key, &version_id, false).await?;
    let conditions = ReadConditions {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    };
    conditions.check(&object)?;
    let part = part_of(&object, input.range, input.part_number)?.filter(|part| !part.is_empty());
    let mut output =
        HeadObjectOutput { parts_count: parts_count(&object, input.part_number), ..Default::default() };
    describe!(output, &object, &part, wants_checksums(input.checksum_mode.as_ref()), hidden);
    if version_id.is_empty() {
        output.expiration = lifecycle::expiration(gateway, &place, &input.key, &object).await;
    }
    let mut answer = S3Response::new(output);
    answer.headers.extend(tag_count(hidden, &object).map(|count| (TAGGING_COUNT, count.into())));
    Ok(answer)
}
