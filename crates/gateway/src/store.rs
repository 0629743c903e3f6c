//! The store, over gRPC.

use std::future::Future;
use std::time::Duration;

use switchback_kit::grpc::Channel;
use switchback_proto::store::v1::store_service_client::StoreServiceClient;
use tonic::{Response, Status};

/// A call that takes longer is given up. Its outcome is then unknown, and the client is told to
/// try again.
const CALL_TIME: Duration = Duration::from_secs(30);

/// The largest answer: a thousand open uploads with all their metadata.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The data mover's store service.
#[derive(Clone, Debug)]
pub(crate) struct Store(StoreServiceClient<Channel>);

impl Store {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(StoreServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }

    /// A client for one call.
    pub(crate) fn client(&self) -> StoreServiceClient<Channel> {
        self.0.clone()
    }
}

/// The answer to `call`, in time.
pub(crate) async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL_TIME, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("the store did not answer in time")),
    }
}
