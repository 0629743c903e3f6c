//! DNS over TCP (RFC 7766): messages behind their length, answered in order, transfers in many.
//!
//! A client has nothing here that it does not pay for: connections are few, each must ask and take
//! its answers within the idle time, and nothing is read while an answer waits to be taken.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connections::{self, Limits, Place};
use crate::framed;
use crate::respond::{Responder, Response, Transfer};

/// Accepts until the shutdown; then the queries that were read are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    responder: Arc<Responder>,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    connections::accept(listener, &limits, &shutdown, |stream, source, place| {
        Connection { stream, source, responder: Arc::clone(&responder), place }.run(shutdown.clone())
    })
    .await;
}

struct Connection {
    stream: TcpStream,
    source: SocketAddr,
    responder: Arc<Responder>,
    place: Place,
}

impl Connection {
    async fn run(mut self, shutdown: CancellationToken) {
        if let Err(error) = self.answer_all(shutdown).await {
            tracing::debug!(source = %self.source, %error, "connection ended");
        }
    }

    async fn answer_all(&mut self, shutdown: CancellationToken) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let idle = self.place.idle();
        let mut query = Vec::new();
        loop {
            let read = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                read = timeout(idle, framed::read_next(&mut self.stream, &mut query)) => read,
            };
            // A whole query within the idle time: one that trickles is none.
            let Ok(read) = read else { return Ok(()) };
            if !read? {
                return Ok(());
            }
            match self.responder.respond(&query, self.source) {
                Response::Nothing => return Ok(()),
                Response::Answer(answer) => self.write(&answer).await?,
                // What is begun is done, whether it is still waited for or not.
                Response::Update(request) => match self.responder.updates.answer(request).await {
                    Some(answer) => self.write(&answer).await?,
                    None => return Ok(()),
                },
                // Whoever takes a zone slowly does not hold up the end; it asks another server.
                Response::Transfer(transfer) => tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(()),
                    taken = self.transfer(*transfer) => taken?,
                },
            }
        }
    }

    async fn transfer(&mut self, mut transfer: Transfer) -> io::Result<()> {
        let limits = Arc::clone(self.place.limits());
        // Turns never end.
        let Ok(_turn) = limits.transfer().await else { return Ok(()) };
        let (mut messages, mut bytes) = (0_u32, 0_usize);
        for message in transfer.messages() {
            self.write(&message).await?;
            messages += 1;
            bytes += message.len();
        }
        let (zone, serial, since) = transfer.describe();
        let since = since.map(|serial| serial.0);
        tracing::info!(%zone, serial = serial.0, since, to = %self.source, messages, bytes, "zone transferred");
        Ok(())
    }

    /// One message, taken by the client within the idle time.
    async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        timeout(self.place.idle(), framed::write(&mut self.stream, message)).await?
    }
}
