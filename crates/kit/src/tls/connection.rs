//! A connection that ends when the trust it rests on does.
//!
//! Nothing in TLS looks at a certificate again after the handshake. So each connection has a guard
//! that watches the pins, the clock and the own identity, and cuts it. The guard is a task of its
//! own and not a shared table: it is born with the connection and dies with it, and nothing can be
//! left behind.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use socket2::{SockRef, TcpKeepalive};
use switchback_world::net::Stream;
use switchback_world::time::wall;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::certificate::Peer;
use super::identity::{Identity, IdentityWatch};

/// The clock is read again at least this often, because it can be set while a timer runs.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// A dead host is noticed by the kernel as well, should HTTP/2 keepalive be off.
const TCP_KEEPALIVE_TIME: Duration = Duration::from_secs(15);

/// Small messages must not wait for acknowledgements (a factor of 200 was measured), and gRPC's
/// own socket settings do not reach sockets that we open ourselves.
pub(super) fn set_options(stream: &Stream) -> io::Result<()> {
    let Some(socket) = stream.socket() else { return Ok(()) };
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE_TIME).with_interval(Duration::from_secs(5));
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Bytes taken from a socket at once. rustls asks for 4 KiB at a time (`DeframerVecBuffer::prepare_read` in
/// 0.23): four calls to the kernel for a record, which cost more than its cipher.
const READ_BYTES: usize = 256 << 10;

/// A socket as TLS reads it.
pub(super) type Buffered = BufReader<Stream>;

/// Reads `stream` in large pieces; what is written passes through. The buffer's pages are the machine's
/// only once bytes have come into them.
pub(super) fn buffered(stream: Stream) -> Buffered {
    BufReader::with_capacity(READ_BYTES, stream)
}

/// A verified connection.
pub(super) struct Connection<T> {
    stream: T,
    peer: Peer,
    cut: CancellationToken,
    when_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Ends the guard when the connection ends by itself.
    _ended: DropGuard,
    /// Among all the connections of a listener.
    place: Option<OwnedSemaphorePermit>,
}

impl<T> Connection<T> {
    /// Guards `stream`, whose handshake was made under `identity`. Cancelling `cut` ends it.
    pub(super) fn guard(
        stream: T,
        peer: Peer,
        identity: &Identity,
        watch: IdentityWatch,
        cut: CancellationToken,
    ) -> Self {
        let basis = Basis { peer: peer.clone(), own: identity.own().clone() };
        tokio::spawn(watch_over(basis, watch, cut.clone()));
        Self {
            stream,
            peer,
            when_cut: Box::pin(cut.clone().cancelled_owned()),
            _ended: cut.clone().drop_guard(),
            cut,
            place: None,
        }
    }

    /// Gives `place` back when the connection ends.
    pub(super) fn holding(mut self, place: OwnedSemaphorePermit) -> Self {
        self.place = Some(place);
        self
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.is_cancelled() { Err(was_cut()) } else { Ok(()) }
    }
}

fn was_cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the trust this connection rested on has ended")
}

/// What a connection rests on.
struct Basis {
    peer: Peer,
    own: Peer,
}

impl Basis {
    /// Why the connection must end now, if it must.
    fn lost(&self, identity: Option<&Identity>, now: SystemTime) -> Option<&'static str> {
        let own = |identity: &Identity| (identity.system_id(), identity.incarnation());
        let identity = identity?;
        if !identity.trusts(self.peer.fingerprint) {
            Some("certificate withdrawn")
        } else if own(identity) != (self.own.system_id, self.own.incarnation) {
            Some("own identity replaced")
        } else if self.end() <= now {
            Some("certificate expired")
        } else {
            None
        }
    }

    fn end(&self) -> SystemTime {
        self.peer.not_after.min(self.own.not_after)
    }
}

async fn watch_over(basis: Basis, mut watch: IdentityWatch, cut: CancellationToken) {
    // The first look also finds what changed while the handshake ran.
    let mut identity = watch.seen();
    loop {
        let now = wall();
        if let Some(reason) = basis.lost(identity.as_deref(), now) {
            tracing::info!(peer = ?basis.peer, reason, "connection cut");
            return cut.cancel();
        }
        let left = basis.end().duration_since(now).unwrap_or_default();
        tokio::select! {
            biased;
            () = cut.cancelled() => return,
            changed = watch.changed() => identity = changed,
            () = tokio::time::sleep(left.min(CLOCK_CHECK_INTERVAL)) => {}
        }
    }
}

impl<T> Connected for Connection<T> {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // HTTP/2 always has a read pending, so this poll is what wakes a cut connection.
        if self.when_cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(was_cut()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Fingerprint;
    use crate::tls::tests::{east, west};
    use switchback_model::Incarnation;

    #[test]
    fn a_connection_rests_on_the_pin_the_own_identity_and_both_ends_of_validity() {
        let (east, west) = (east(), west());
        let trusting = east.trusting(&[&west]);
        let peer = trusting.trusted().next().unwrap().clone();
        let basis = Basis { peer: peer.clone(), own: trusting.own().clone() };
        let now = SystemTime::now();
        assert_eq!(basis.lost(Some(&trusting), now), None);
        assert_eq!(basis.lost(Some(&trusting), peer.not_after), Some("certificate expired"));
        assert_eq!(basis.lost(Some(&east.trusting(&[])), now), Some("certificate withdrawn"));
        let reborn = east.renewed(Incarnation(9)).trusting(&[&west]);
        assert_eq!(basis.lost(Some(&reborn), now), Some("own identity replaced"));
        let renewed = east.renewed(east.incarnation).trusting(&[&west]);
        assert_eq!(basis.lost(Some(&renewed), now), None);
        let ours_ends = Peer { not_after: now, fingerprint: Fingerprint([0; 32]), ..trusting.own().clone() };
        let basis = Basis { peer, own: ours_ends };
        assert_eq!(basis.lost(Some(&trusting), now), Some("certificate expired"));
    }
}
