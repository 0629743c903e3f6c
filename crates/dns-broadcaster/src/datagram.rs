//! DNS over UDP.

use std::io;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::respond::{Responder, Response, Transport};

/// A query with every option there is stays below this; what is longer is cut, and so malformed.
const QUERY_BYTES_MAX: usize = 4096;

/// Answers what comes to `socket` until the shutdown.
///
/// # Errors
/// The socket failed.
pub(crate) async fn serve(
    socket: UdpSocket,
    responder: Arc<Responder>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut query = [0; QUERY_BYTES_MAX];
    loop {
        let (length, source) = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            received = socket.recv_from(&mut query) => received?,
        };
        if let Response::Answer(answer) = responder.respond(&query[..length], source, Transport::Udp) {
            // Whoever cannot be sent to asks again; the others must not wait for it.
            if let Err(error) = socket.send_to(&answer, source).await {
                tracing::debug!(%source, %error, "answer not sent");
            }
        }
    }
}
