//! `switchback.replication.v1`: what the movers of other systems ask of us. Who calls is what the
//! verified certificate says.

use std::sync::Arc;

use switchback_kit::tls::Peer;
use switchback_proto::replication::v1::replication_service_server::ReplicationService;
use switchback_proto::replication::v1::{
    CarryAnswer, CarryMessage, ExchangeMessage, FetchBodyRequest, FetchBodyResponse, ListMissingRequest,
    ListMissingResponse, ReceiverMessage, SenderMessage,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::pending;
use crate::flow::limit::{QUEUE, WINDOW_BATCHES};
use crate::flow::{exchange, inlet, receiver};
use crate::mover::Mover;
use crate::scrub::serve;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ReplicationRpc(pub(crate) Arc<Mover>);

type Messages<T> = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

fn stream<T: Send + 'static>(messages: mpsc::Receiver<T>) -> Messages<T> {
    Box::pin(ReceiverStream::new(messages).map(Ok))
}

fn peer_of<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Status::unauthenticated("the connection carries no verified certificate"))
}

#[tonic::async_trait]
impl ReplicationService for ReplicationRpc {
    type ExchangeStream = Messages<ExchangeMessage>;
    type SendStream = Messages<ReceiverMessage>;
    type FetchBodyStream = Messages<FetchBodyResponse>;
    type CarryStream = Messages<CarryAnswer>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let peer = peer_of(&request)?;
        let (messages, outbound) = mpsc::channel(QUEUE);
        let answer = exchange::answer(Arc::clone(&self.0), peer, request.into_inner(), messages);
        self.0.tasks.spawn_on(answer, &self.0.changes);
        Ok(Response::new(stream(outbound)))
    }

    async fn send(
        &self,
        request: Request<Streaming<SenderMessage>>,
    ) -> Result<Response<Self::SendStream>, Status> {
        let peer = peer_of(&request)?;
        // One answer for each batch of a window, and one more.
        let (messages, outbound) = mpsc::channel(WINDOW_BATCHES + 1);
        let serve = receiver::serve(Arc::clone(&self.0), peer, request.into_inner(), messages);
        self.0.tasks.spawn_on(serve, &self.0.changes);
        Ok(Response::new(stream(outbound)))
    }

    async fn carry(
        &self,
        request: Request<Streaming<CarryMessage>>,
    ) -> Result<Response<Self::CarryStream>, Status> {
        let peer = peer_of(&request)?;
        let (answers, outbound) = mpsc::channel(QUEUE);
        let carry = inlet::carry(Arc::clone(&self.0), peer, request.into_inner(), answers);
        self.0.spawn(carry);
        Ok(Response::new(stream(outbound)))
    }

    async fn list_missing(
        &self,
        request: Request<ListMissingRequest>,
    ) -> Result<Response<ListMissingResponse>, Status> {
        let peer = peer_of(&request)?;
        pending::answer(&self.0, &peer, request.into_inner()).await.map(Response::new)
    }

    async fn fetch_body(
        &self,
        request: Request<FetchBodyRequest>,
    ) -> Result<Response<Self::FetchBodyStream>, Status> {
        let peer = peer_of(&request)?;
        let pieces = serve::answer(&self.0, &peer, request.into_inner()).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }
}
