//! Refusals as gRPC has them: one exhaustive map.

use switchback_kit::grpc::refusal;
use switchback_link_core::Error;
use tonic::{Code, Status};

use crate::convert::Malformed;

pub(crate) fn of(error: &Error) -> Status {
    let (code, reason) = match error {
        Error::UnknownLink { .. } => (Code::NotFound, "UNKNOWN_LINK"),
        Error::UnknownContent { .. } => (Code::NotFound, "UNKNOWN_CONTENT"),
        Error::LinkExists { .. } => (Code::AlreadyExists, "LINK_EXISTS"),
        Error::Invalid { .. } => (Code::InvalidArgument, "INVALID"),
        Error::WrongSide { .. } => (Code::FailedPrecondition, "WRONG_SIDE"),
        Error::WrongState { .. } => (Code::FailedPrecondition, "WRONG_STATE"),
        Error::NotNow { .. } => (Code::FailedPrecondition, "NOT_NOW"),
        Error::RefusedByPeer { .. } => (Code::FailedPrecondition, "REFUSED_BY_PEER"),
        Error::Unavailable { .. } => (Code::Unavailable, "UNAVAILABLE"),
        Error::RequestReused => (Code::InvalidArgument, "REQUEST_REUSED"),
    };
    refusal(code, reason, error.to_string(), None)
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        refusal(Code::InvalidArgument, "MALFORMED", malformed.to_string(), None)
    }
}
