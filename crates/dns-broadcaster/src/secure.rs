//! DNS over TLS (RFC 7858): hickory carries it, the same core answers.

use std::sync::Arc;

use hickory_proto::op::{Header, HeaderCounts, Message, ResponseCode};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::respond::{Responder, Transport};

/// ALPN of DNS over TLS.
pub(crate) const PROTOCOL: &[u8] = b"dot";

/// A server that answers queries, and gives no transfers: those are asked for by TCP, where they are
/// slowed down by whoever takes them.
pub(crate) fn server(responder: Arc<Responder>) -> Server<Handler> {
    Server::new(Handler(responder))
}

pub(crate) struct Handler(Arc<Responder>);

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let mut builder = MessageResponseBuilder::new(&request.queries, None);
        let answer = Message::from_vec(request.as_slice()).and_then(|query| {
            Message::from_vec(&self.0.reply(&query, request.src().ip(), Transport::Stream, 0))
        });
        let sent = match answer {
            Ok(answer) => {
                if let Some(edns) = &answer.edns {
                    builder.edns(edns);
                }
                let response = builder.build(
                    answer.metadata,
                    &answer.answers,
                    &answer.authorities,
                    [],
                    &answer.additionals,
                );
                handle.send_response(response).await
            }
            Err(_) => {
                let response = builder.error_msg(&request.metadata, ResponseCode::FormErr);
                handle.send_response(response).await
            }
        };
        sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "answer not sent");
            ResponseInfo::from(Header { metadata: request.metadata, counts: HeaderCounts::default() })
        })
    }
}
