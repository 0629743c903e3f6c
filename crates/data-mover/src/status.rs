//! What a refusal looks like on the wire: one exhaustive map, here and nowhere else.

use switchback_kit::grpc::refusal;
use switchback_proto::model::v1::Writer;
use switchback_proto::store::v1::ErrorDetail;
use switchback_store::Error;
use tonic::{Code, Status};

use crate::convert::signed;

/// What a fallible handler returns. Boxed: a status is large, and refusals are rare.
pub(crate) type Answer<T> = Result<T, Box<Status>>;

/// The status of a refusal by the store.
pub(crate) fn from_store(error: &Error) -> Status {
    let (code, reason) = code_and_reason(error);
    if matches!(code, Code::Internal) {
        tracing::error!(error = chain(error), "store failed");
    }
    refusal(code, reason, chain(error), Some(detail(error)))
}

/// The words of an error and of what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The store's refusal as it is reported for one key of several.
pub(crate) fn detail_of(error: &Error) -> ErrorDetail {
    ErrorDetail { reason: code_and_reason(error).1.into(), ..detail(error) }
}

/// A request that cannot be parsed.
pub(crate) fn invalid(message: impl Into<String>) -> Box<Status> {
    Box::new(refusal(Code::InvalidArgument, "INVALID", message, None))
}

/// State that could not be remembered; the service is about to stop.
pub(crate) fn from_state(error: &switchback_kit::durable::Error) -> Box<Status> {
    Box::new(refusal(Code::Unavailable, "UNAVAILABLE", chain(error), None))
}

/// A refusal that more than one caller words.
pub(crate) fn refuse(code: Code, reason: &str, message: impl Into<String>) -> Box<Status> {
    Box::new(refusal(code, reason, message, None))
}

fn code_and_reason(error: &Error) -> (Code, &'static str) {
    match error {
        Error::ReadOnly(_) => (Code::FailedPrecondition, "READ_ONLY"),
        Error::NoSuchContent => (Code::NotFound, "NO_SUCH_CONTENT"),
        Error::NoSuchNamespace { .. } => (Code::NotFound, "NO_SUCH_NAMESPACE"),
        Error::NoSuchKey | Error::Hidden { .. } => (Code::NotFound, "NO_SUCH_KEY"),
        Error::NoSuchVersion => (Code::NotFound, "NO_SUCH_VERSION"),
        Error::DeleteMarker { .. } => (Code::FailedPrecondition, "DELETE_MARKER"),
        Error::Locked { .. } => (Code::FailedPrecondition, "LOCKED"),
        Error::NoObjectLock => (Code::FailedPrecondition, "NO_OBJECT_LOCK"),
        Error::LockStays => (Code::FailedPrecondition, "LOCK_STAYS"),
        Error::NoSuchCredential => (Code::NotFound, "NO_SUCH_CREDENTIAL"),
        Error::NoSuchUpload => (Code::NotFound, "NO_SUCH_UPLOAD"),
        Error::NoSuchBlob(_) => (Code::NotFound, "NO_SUCH_BLOB"),
        Error::InvalidPart { .. } => (Code::InvalidArgument, "INVALID_PART"),
        Error::Invalid { .. } => (Code::InvalidArgument, "INVALID"),
        Error::NamespaceNotEmpty => (Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY"),
        Error::NamespaceExists => (Code::AlreadyExists, "NAMESPACE_EXISTS"),
        Error::CredentialExists => (Code::AlreadyExists, "CREDENTIAL_EXISTS"),
        Error::ContentExists { .. } => (Code::AlreadyExists, "CONTENT_EXISTS"),
        Error::NameTaken { .. } => (Code::AlreadyExists, "NAME_TAKEN"),
        Error::ContentNotEmpty { .. } => (Code::FailedPrecondition, "CONTENT_NOT_EMPTY"),
        Error::ContentOnLink { .. } => (Code::FailedPrecondition, "CONTENT_ON_LINK"),
        Error::NotOnLink => (Code::FailedPrecondition, "NOT_ON_LINK"),
        Error::PreconditionFailed => (Code::FailedPrecondition, "PRECONDITION_FAILED"),
        Error::Reserved { .. } => (Code::InvalidArgument, "RESERVED_KEY"),
        Error::LeaseExpired { .. } => (Code::Aborted, "LEASE_EXPIRED"),
        Error::StaleEpoch { .. } => (Code::Aborted, "STALE_EPOCH"),
        Error::NotTheHolder { .. } => (Code::FailedPrecondition, "NOT_THE_HOLDER"),
        Error::StorageFull => (Code::ResourceExhausted, "STORAGE_FULL"),
        Error::BlobsGone { .. } | Error::OtherBlobs { .. } => (Code::Unavailable, "UNAVAILABLE"),
        Error::Poisoned => (Code::Unavailable, "UNAVAILABLE"),
        Error::Engine { .. }
        | Error::Corrupt { .. }
        | Error::Damaged
        | Error::Blob { .. }
        | Error::BlobPlace { .. }
        // Before a service runs.
        | Error::Format { .. }
        | Error::NoStore { .. }
        | Error::InUse { .. } => (Code::Internal, "UNAVAILABLE"),
    }
}

fn detail(error: &Error) -> ErrorDetail {
    let why = match error {
        Error::ReadOnly(why) => why,
        Error::Hidden { marker } => {
            return ErrorDetail { delete_marker: marker.to_string(), ..ErrorDetail::default() };
        }
        Error::DeleteMarker { marker, last_modified_unix_ms } => {
            return ErrorDetail {
                delete_marker: marker.to_string(),
                last_modified_unix_ms: signed(*last_modified_unix_ms),
                ..ErrorDetail::default()
            };
        }
        _ => return ErrorDetail::default(),
    };
    // After a start nobody is known to write until the link manager has spoken: retry, unless the
    // other side is on record as the writer.
    let both_read_only = why.both_read_only || (why.held && why.writer.is_none());
    let writer = Writer { domain: why.writer.clone().unwrap_or_default(), both_read_only };
    ErrorDetail {
        link: why.link_name.clone(),
        writer: Some(writer),
        epoch: why.epoch.0,
        ..ErrorDetail::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_model::Epoch;
    use switchback_store::ReadOnly;

    #[test]
    fn a_read_only_refusal_names_the_link_and_who_writes() {
        let why = ReadOnly {
            link: None,
            link_name: "payments".into(),
            writer: Some("west.example.com".into()),
            both_read_only: false,
            epoch: Epoch(1),
            held: false,
            orphaned: false,
        };
        let status = from_store(&Error::ReadOnly(Box::new(why)));
        let detail = switchback_kit::grpc::reason(&status).unwrap();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!((detail.reason.as_str(), detail.link.as_str()), ("READ_ONLY", "payments"));
        assert_eq!(detail.epoch, 1);
        assert_eq!(detail.writer.unwrap().domain, "west.example.com");
    }

    #[test]
    fn content_that_waits_after_a_start_asks_clients_to_retry() {
        let why = ReadOnly {
            link: None,
            link_name: "payments".into(),
            writer: None,
            both_read_only: false,
            epoch: Epoch(0),
            held: true,
            orphaned: false,
        };
        assert!(detail(&Error::ReadOnly(Box::new(why))).writer.unwrap().both_read_only);
    }
}
