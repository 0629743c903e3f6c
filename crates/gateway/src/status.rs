//! What a refusal of the data mover, or a failure to reach it, is to an S3 client.
//!
//! One map for all operations, by the reason that the refusal carries. What may pass by itself is
//! 503 with `Retry-After`, which the SDKs ride through; what a retry cannot change is not.

use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, LAST_MODIFIED, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode};
use switchback_kit::grpc;
use switchback_proto::store::v1::ErrorDetail;
use tonic::{Code, Status};

use crate::s3::http_date;

/// Which version of an object an answer is about.
pub(crate) const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// The version is a delete marker.
const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
const IN_LINK: HeaderName = HeaderName::from_static("x-switchback-link");
const IN_EPOCH: HeaderName = HeaderName::from_static("x-switchback-epoch");

/// What the mover's refusal is to the client.
pub(crate) fn refused(status: &Status) -> S3Error {
    match grpc::reason(status) {
        Some(detail) => refused_for(&detail, status.message()),
        None => failed(status),
    }
}

/// As [`refused`], of a refusal that is one of many in an answer.
pub(crate) fn refused_for(detail: &ErrorDetail, message: &str) -> S3Error {
    let code = match detail.reason.as_str() {
        "READ_ONLY" => return read_only(detail, message),
        "NO_SUCH_CONTENT" | "NO_SUCH_NAMESPACE" => S3ErrorCode::NoSuchBucket,
        "NO_SUCH_KEY" | "DELETE_MARKER" if !detail.delete_marker.is_empty() => {
            return marked(detail, message);
        }
        "NO_SUCH_KEY" => S3ErrorCode::NoSuchKey,
        "NO_SUCH_VERSION" => S3ErrorCode::NoSuchVersion,
        "LOCKED" => S3ErrorCode::AccessDenied,
        "NO_OBJECT_LOCK" => S3ErrorCode::InvalidRequest,
        "LOCK_STAYS" => S3ErrorCode::InvalidBucketState,
        "NO_SUCH_UPLOAD" => S3ErrorCode::NoSuchUpload,
        "INVALID_PART" => S3ErrorCode::InvalidPart,
        "NAMESPACE_NOT_EMPTY" | "CONTENT_NOT_EMPTY" => S3ErrorCode::BucketNotEmpty,
        "NAME_TAKEN" => S3ErrorCode::BucketAlreadyExists,
        "INVALID" => S3ErrorCode::InvalidArgument,
        "NAMESPACE_EXISTS" | "CONTENT_EXISTS" => S3ErrorCode::BucketAlreadyOwnedByYou,
        "CONTENT_ON_LINK" => S3ErrorCode::InvalidBucketState,
        "PRECONDITION_FAILED" => S3ErrorCode::PreconditionFailed,
        "RESERVED_KEY" => S3ErrorCode::AccessDenied,
        "STORAGE_FULL" => return storage_full(),
        // The bytes are gone with the lease: only the whole request, again, helps.
        "LEASE_EXPIRED" | "STALE_EPOCH" | "UNAVAILABLE" => return unavailable(message),
        _ => S3ErrorCode::InternalError,
    };
    S3Error::with_message(code, message.to_owned())
}

/// The client is told of the delete marker that it met: as the current version, or as the one it named.
fn marked(detail: &ErrorDetail, message: &str) -> S3Error {
    let is_named = detail.reason == "DELETE_MARKER";
    let code = if is_named { S3ErrorCode::MethodNotAllowed } else { S3ErrorCode::NoSuchKey };
    let mut error = S3Error::with_message(code, message.to_owned());
    let mut headers = xml();
    headers.insert(DELETE_MARKER, HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::from_str(&detail.delete_marker) {
        headers.insert(VERSION_ID, id);
    }
    if is_named {
        headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
        if let Ok(time) = HeaderValue::from_str(&http_date(detail.last_modified_unix_ms)) {
            headers.insert(LAST_MODIFIED, time);
        }
    }
    error.set_headers(headers);
    error
}

/// No reason was given: the call did not reach the mover, or its answer did not reach us.
fn failed(status: &Status) -> S3Error {
    let code = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => S3ErrorCode::InvalidArgument,
        Code::Unimplemented => S3ErrorCode::NotImplemented,
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Aborted
        | Code::ResourceExhausted => return unavailable("the store does not answer; try again"),
        Code::Ok
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => {
            tracing::error!(code = ?status.code(), message = status.message(), "store failed");
            S3ErrorCode::InternalError
        }
    };
    S3Error::with_message(code, status.message().to_owned())
}

/// True when the mover has certainly not carried out what was asked. Anything else may have been
/// committed, its answer lost: what the commit names must then stay.
pub(crate) fn is_certain(status: &Status) -> bool {
    if let Some(detail) = grpc::reason(status) {
        return !matches!(detail.reason.as_str(), "UNAVAILABLE" | "STORAGE_FULL");
    }
    matches!(status.code(), Code::InvalidArgument | Code::Unimplemented | Code::Unauthenticated)
}

/// True when the refusal has the reason `reason`.
pub(crate) fn is_reason(status: &Status, reason: &str) -> bool {
    grpc::reason(status).is_some_and(|detail| detail.reason == reason)
}

/// Where the other side writes, the client is sent there, and off a connection that keeps it
/// here. Where neither side writes for now, it is told to try again.
fn read_only(detail: &ErrorDetail, message: &str) -> S3Error {
    let link = &detail.link;
    match &detail.writer {
        Some(writer) if writer.both_read_only && !link.is_empty() => {
            let text = format!(
                "this content is read-only for the moment, here and on the other side of link \"{link}\"; try again"
            );
            unavailable(&text).closing()
        }
        Some(writer) if !writer.both_read_only && !writer.domain.is_empty() => {
            let text = format!(
                "this content is read-only here: link \"{link}\" is writable on the other side; write to {}",
                writer.domain
            );
            S3Error::with_message(S3ErrorCode::AccessDenied, text).closing().in_epoch(link, detail.epoch)
        }
        // Nobody is known to write; the store's own words say what is missing.
        _ => unavailable(message).closing(),
    }
}

/// What a refusal becomes, since the other side writes, when `has_moved` says of its link and epoch that authority
/// has moved under the client.
///
/// It reads, and takes away, what [`in_epoch`](Epoch::in_epoch) noted: where a refusal is made, nobody knows of
/// the connection.
pub(crate) fn moved(headers: &mut HeaderMap, has_moved: impl Fn(&str, u64) -> bool) -> Option<S3Error> {
    let (link, epoch) = (headers.remove(IN_LINK)?, headers.remove(IN_EPOCH)?);
    let (link, epoch) = (std::str::from_utf8(link.as_bytes()).ok()?, epoch.to_str().ok()?.parse().ok()?);
    has_moved(link, epoch).then(|| {
        let text = format!(
            "writing moved to the other side of link \"{link}\" just now; connect again, by the tenant's name"
        );
        unavailable(&text).closing()
    })
}

/// Notes of which epoch of which link a refusal is, for [`moved`].
trait Epoch {
    fn in_epoch(self, link: &str, epoch: u64) -> Self;
}

impl Epoch for S3Error {
    fn in_epoch(mut self, link: &str, epoch: u64) -> Self {
        let mut headers = self.headers().cloned().unwrap_or_else(xml);
        // A name that fits into no header: the client is told of the writer whenever it came.
        if let Ok(link) = HeaderValue::from_bytes(link.as_bytes()) {
            headers.insert(IN_LINK, link);
            headers.insert(IN_EPOCH, epoch.into());
        }
        self.set_headers(headers);
        self
    }
}

/// 503: the client should try again soon.
pub(crate) fn unavailable(message: &str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::ServiceUnavailable, message.to_owned());
    let mut headers = xml();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    error.set_headers(headers);
    error
}

/// 503 of our own limits: too much at once.
pub(crate) fn slow_down(message: &'static str) -> S3Error {
    let mut error = unavailable(message);
    error.set_code(S3ErrorCode::SlowDown);
    error
}

/// 507: nothing was acknowledged, and a retry does not help until somebody makes room.
pub(crate) fn storage_full() -> S3Error {
    let message =
        "the system's storage is full: nothing was written; free space or add to it, then try again";
    custom("InsufficientStorage", StatusCode::INSUFFICIENT_STORAGE, message)
}

/// An error whose code s3s does not know.
pub(crate) fn custom(code: &'static str, status: StatusCode, message: impl Into<String>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.into());
    error.set_status_code(status);
    error
}

/// 400 with a code that s3s does not know.
pub(crate) fn bad_request(code: &'static str, message: &'static str) -> S3Error {
    custom(code, StatusCode::BAD_REQUEST, message)
}

/// What a failure of the blobs is to the client.
pub(crate) fn blob_failed(error: switchback_store::Error) -> S3Error {
    if matches!(error, switchback_store::Error::StorageFull) {
        return storage_full();
    }
    tracing::error!(error = chain(&error), "blob storage failed");
    if error.is_damage() {
        return unavailable(
            "the object's bytes are damaged on this system, which looks for another copy; try again",
        );
    }
    match error {
        // A bucket may be out of reach for a while.
        switchback_store::Error::Blob { .. } | switchback_store::Error::BlobPlace { .. } => {
            unavailable("the system cannot reach the storage of its larger objects: try again soon")
        }
        error => S3Error::internal_error(error),
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// An error's own headers replace those of its body, the type included.
pub(crate) fn xml() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/xml"))])
}

trait Closing {
    /// With `Connection: close`: a client on a kept-alive connection looks the name up again.
    fn closing(self) -> Self;
}

impl Closing for S3Error {
    fn closing(mut self) -> Self {
        let mut headers = self.headers().cloned().unwrap_or_else(xml);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        self.set_headers(headers);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_proto::model::v1::Writer;

    fn read_only(domain: &str, both: bool) -> S3Error {
        let detail = ErrorDetail {
            link: "east-west".into(),
            writer: Some(Writer { domain: domain.into(), both_read_only: both }),
            ..Default::default()
        };
        refused(&grpc::refusal(Code::FailedPrecondition, "READ_ONLY", "read-only", Some(detail)))
    }

    fn header(error: &S3Error, name: HeaderName) -> Option<String> {
        Some(error.headers()?.get(name)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_write_to_read_only_content_names_the_link_and_the_writable_system() {
        let error = read_only("west.example.com", false);
        assert_eq!(error.status_code(), Some(StatusCode::FORBIDDEN));
        assert_eq!(error.code(), &S3ErrorCode::AccessDenied);
        let text = error.message().unwrap();
        assert!(text.contains("\"east-west\"") && text.contains("write to west.example.com"), "{text}");
        assert_eq!(header(&error, CONNECTION).as_deref(), Some("close"));
    }

    #[test]
    fn who_authority_moved_under_is_told_to_connect_again_and_nobody_else_is() {
        let (mut stays, mut goes) = (refused_in(2), refused_in(2));
        assert!(moved(&mut stays, |_, _| false).is_none());
        let told = moved(&mut goes, |link, epoch| (link, epoch) == ("east-west", 2)).unwrap();
        assert_eq!(told.status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(told.message().unwrap().contains("\"east-west\""));
        assert_eq!(header(&told, CONNECTION).as_deref(), Some("close"));
        for headers in [stays, goes] {
            assert!(!headers.keys().any(|name| name.as_str().starts_with("x-switchback")), "{headers:?}");
        }
    }

    fn refused_in(epoch: u64) -> HeaderMap {
        let writer = Some(Writer { domain: "west.example.com".into(), both_read_only: false });
        let detail = ErrorDetail { link: "east-west".into(), writer, epoch, ..Default::default() };
        let refused = grpc::refusal(Code::FailedPrecondition, "READ_ONLY", "read-only", Some(detail));
        super::refused(&refused).headers().unwrap().clone()
    }

    #[test]
    fn while_both_sides_are_read_only_the_client_is_told_to_try_again() {
        for error in [read_only("west.example.com", true), read_only("", false)] {
            assert_eq!(error.status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
            assert_eq!(header(&error, RETRY_AFTER).as_deref(), Some("1"));
            assert_eq!(header(&error, CONTENT_TYPE).as_deref(), Some("application/xml"));
        }
    }

    #[test]
    fn an_answer_that_never_came_is_no_refusal() {
        for code in [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::DeadlineExceeded] {
            let status = Status::new(code, "transport error");
            assert!(!is_certain(&status));
            assert_eq!(refused(&status).status_code(), Some(StatusCode::SERVICE_UNAVAILABLE));
        }
        assert!(is_certain(&grpc::refusal(Code::FailedPrecondition, "READ_ONLY", "", None)));
        assert!(!is_certain(&grpc::refusal(Code::ResourceExhausted, "STORAGE_FULL", "", None)));
    }

    #[test]
    fn a_delete_marker_shows_in_what_is_refused_for_it() {
        let id = "000000000000001f-0000000000000002";
        let answer = |reason: &str| {
            let detail =
                ErrorDetail { delete_marker: id.into(), last_modified_unix_ms: 1_000, ..Default::default() };
            refused(&grpc::refusal(Code::NotFound, reason, "", Some(detail)))
        };
        let (current, named) = (answer("NO_SUCH_KEY"), answer("DELETE_MARKER"));
        for error in [&current, &named] {
            assert_eq!(header(error, VERSION_ID).as_deref(), Some(id));
            assert_eq!(header(error, DELETE_MARKER).as_deref(), Some("true"));
        }
        assert_eq!(current.status_code(), Some(StatusCode::NOT_FOUND));
        assert_eq!(named.status_code(), Some(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(header(&named, LAST_MODIFIED).as_deref(), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
        assert_eq!(
            header(&refused(&grpc::refusal(Code::NotFound, "NO_SUCH_KEY", "", None)), VERSION_ID),
            None
        );
    }

    #[test]
    fn a_full_disk_is_not_something_to_retry() {
        let error = refused(&grpc::refusal(Code::ResourceExhausted, "STORAGE_FULL", "full", None));
        assert_eq!(error.status_code(), Some(StatusCode::INSUFFICIENT_STORAGE));
    }
}
