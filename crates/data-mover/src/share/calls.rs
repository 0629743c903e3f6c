//! Sees the calls of clients begin and end, whatever they ask for.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::codegen::Service;
use tonic::codegen::http::Request;
use tonic::server::NamedService;

use super::Share;

/// A service whose callers are the store's clients.
#[derive(Clone)]
pub(crate) struct Counted<S> {
    service: S,
    share: Share,
}

impl<S> Counted<S> {
    pub(crate) fn new(service: S, share: Share) -> Self {
        Self { service, share }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<S::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.share.call();
        let answering = self.service.call(request);
        Box::pin(async move {
            let answer = answering.await;
            drop(call);
            answer
        })
    }
}
