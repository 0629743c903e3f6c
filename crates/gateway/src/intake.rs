//! The body of a request on its way in, and what becomes of one that nobody wants.
//!
//! An answer may be given before the body was read: the write is refused for its place, or for its
//! signature. A client that asked first (`Expect: 100-continue`) then never sends it. Another is in
//! the middle of sending: its connection can carry no further request, and if it were closed at
//! once, the bytes that meet the closed socket would make the client's system throw away the answer
//! (RFC 9112, section 9.6). So the answer says `Connection: close`, and the socket lingers: it ends
//! its own direction and takes what still comes, for a while.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use switchback_kit::world::net::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client may go on sending what nobody wants, before it is cut off.
const LINGER_TIME: Duration = Duration::from_secs(10);

/// Taken and thrown away at once.
const LINGER_PIECE: usize = 16 * 1024;

/// Set by what happens to a body, read when its answer is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, unread: bool) {
        self.0.store(unread, Ordering::Relaxed);
    }
}

/// A body that notes whether it was read to its end.
pub(crate) struct Intake {
    body: Incoming,
    unread: Unread,
}

impl Intake {
    pub(crate) fn new(body: Incoming, unread: Unread) -> Self {
        unread.set(!body.is_end_stream());
        Self { body, unread }
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // What broke off has ended too: there is nothing left to wait for.
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.unread.set(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection's socket, which lingers at its end while a body is unread.
pub(crate) struct Socket {
    stream: Stream,
    unread: Unread,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(stream: Stream, unread: Unread) -> Self {
        Self { stream, unread, lingering: None }
    }

    /// Ready when the client has ended, or has had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; LINGER_PIECE];
        let until = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME)));
        while until.as_mut().poll(cx).is_pending() {
            let mut taken = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut taken));
            if read.is_err() || taken.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.unread.get() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
