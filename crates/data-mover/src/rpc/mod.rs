//! What others may ask of this service.

pub(crate) mod divergence;
pub(crate) mod mover;
pub(crate) mod pending;
pub(crate) mod replication;
pub(crate) mod scrub;
pub(crate) mod store;

use tonic::{Response, Status};

use crate::status::Answer;

/// A handler's answer as tonic wants it.
pub(crate) fn reply<T>(answer: Answer<T>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(|status| *status)
}
