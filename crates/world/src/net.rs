//! TCP. In production these are tokio's types behind an enum of which one variant is ever made, so
//! that a read or a write pays one predictable branch.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::Pending;

/// Both directions of a simulated connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A simulated listener.
pub trait Accept: Send + Sync {
    /// The next connection, and who made it.
    fn accept(&self) -> Pending<io::Result<(Box<dyn Duplex>, SocketAddr)>>;
    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;
}

/// A listener.
pub enum Listener {
    /// The machine's.
    Tcp(TcpListener),
    /// A simulation's.
    Simulated(Box<dyn Accept>),
}

impl Listener {
    /// Listens on `address` (`host:port`).
    ///
    /// # Errors
    /// It is taken, privileged or not ours.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let simulated = crate::simulated().map(|world| world.listen(address));
        match simulated {
            None => TcpListener::bind(address).await.map(Self::Tcp),
            Some(listener) => listener.await.map(Self::Simulated),
        }
    }

    /// The next connection, and who made it.
    ///
    /// # Errors
    /// The machine has no room for it now, or it ended before it was taken.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok((Stream::Tcp(stream), from))
            }
            Self::Simulated(listener) => {
                let (stream, from) = listener.accept().await?;
                Ok((Stream::Simulated(Simulated { stream, peeked: None }), from))
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The machine cannot say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Simulated(listener) => Ok(listener.local_addr()),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({:?})", self.local_addr())
    }
}

/// A connection.
pub enum Stream {
    /// The machine's.
    Tcp(TcpStream),
    /// A simulation's.
    Simulated(Simulated),
}

/// A simulated connection, and the byte of it that was looked at before it was read.
pub struct Simulated {
    stream: Box<dyn Duplex>,
    peeked: Option<u8>,
}

impl Stream {
    /// Connects to `address` (`host:port`).
    ///
    /// # Errors
    /// Nobody answers there, or refuses.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let simulated = crate::simulated().map(|world| world.dial(address));
        match simulated {
            None => TcpStream::connect(address).await.map(Self::Tcp),
            Some(stream) => stream.await.map(|stream| Self::Simulated(Simulated { stream, peeked: None })),
        }
    }

    /// The machine's socket, for its options; none in a simulation, which has no options.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Simulated(_) => None,
        }
    }

    /// Sends small messages at once.
    ///
    /// # Errors
    /// The socket has ended.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.socket().map_or(Ok(()), |stream| stream.set_nodelay(true))
    }

    /// Waits until the other end has said something, which stays there to be read; false when it
    /// has ended instead.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn spoke(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => stream.peek(&mut [0]).await.map(|count| count > 0),
            Self::Simulated(simulated) => {
                let mut first = [0];
                let count = simulated.stream.read(&mut first).await?;
                simulated.peeked = (count > 0).then_some(first[0]);
                Ok(count > 0)
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Simulated(simulated) => {
                if buffer.remaining() > 0
                    && let Some(byte) = simulated.peeked.take()
                {
                    buffer.put_slice(&[byte]);
                    return Poll::Ready(Ok(()));
                }
                ready!(Pin::new(&mut simulated.stream).poll_read(context, buffer))?;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Simulated(simulated) => Pin::new(&mut simulated.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Simulated(simulated) => {
                Pin::new(&mut simulated.stream).poll_write_vectored(context, pieces)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Simulated(simulated) => simulated.stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Simulated(simulated) => Pin::new(&mut simulated.stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Simulated(simulated) => Pin::new(&mut simulated.stream).poll_shutdown(context),
        }
    }
}
