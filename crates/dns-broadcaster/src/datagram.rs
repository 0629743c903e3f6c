//! DNS over UDP: a thread for each socket, and as many sockets for an address as there are cores.
//!
//! A thread takes what has arrived in one system call and gives the answers back in another, so that
//! the more there is to do the less each query costs. It keeps its buffers, shares the snapshot alone
//! with anybody else, and so neither allocates nor waits for a common query.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike,
    recvmmsg, sendmmsg, sendmsg, setsockopt, sockopt,
};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::core::plain::UDP_BYTES_MAX;
use crate::respond::{Limiter, Responder};

/// A query with every option there is stays below this; what is longer is cut, and so malformed.
const QUERY_BYTES_MAX: usize = 4096;
/// From one query's place to the next: places that are a power of two apart would share the sets of
/// the processor's caches.
const QUERY_STRIDE: usize = QUERY_BYTES_MAX + 64;
/// Datagrams taken at once. Beyond some tens a system call costs no less for each.
const BATCH: usize = 64;

/// The threads that answer. They end when this is dropped.
pub(crate) struct Threads {
    sockets: Vec<Arc<UdpSocket>>,
    end: CancellationToken,
}

impl Threads {
    /// Answers what comes to `sockets`. The tasks end with this, or when their sockets fail.
    pub(crate) fn start(
        sockets: Vec<UdpSocket>,
        responder: &Arc<Responder>,
        tasks: &mut JoinSet<io::Result<()>>,
    ) -> Self {
        let threads =
            Self { sockets: sockets.into_iter().map(Arc::new).collect(), end: CancellationToken::new() };
        for socket in &threads.sockets {
            let (socket, responder, end) = (Arc::clone(socket), Arc::clone(responder), threads.end.clone());
            tasks.spawn_blocking(move || serve(&socket, &responder, &end));
        }
        threads
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end.cancel();
        for socket in &self.sockets {
            // Whoever waits for a datagram is woken, though a socket that is not connected says that it
            // cannot be shut down (`inet_shutdown` in Linux).
            let _ = socket2::SockRef::from(socket.as_ref()).shutdown(Shutdown::Both);
        }
    }
}

fn serve(socket: &Arc<UdpSocket>, responder: &Responder, end: &CancellationToken) -> io::Result<()> {
    if socket.local_addr()?.is_ipv6() {
        return serve_by::<SockaddrIn6>(socket, responder, end);
    }
    // No answer is fragmented on its way, nor made smaller by who forges that it would be (RFC 9715
    // section 3.1). And the kernel needs no identification to tell fragments by.
    set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
    serve_by::<SockaddrIn>(socket, responder, end)
}

/// An address of one family, as the kernel has it.
trait Peer: SockaddrLike + Copy + Send + 'static {
    fn address(self) -> SocketAddr;
}

impl Peer for SockaddrIn {
    fn address(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }
}

impl Peer for SockaddrIn6 {
    fn address(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }
}

fn serve_by<P: Peer>(
    socket: &Arc<UdpSocket>,
    responder: &Responder,
    end: &CancellationToken,
) -> io::Result<()> {
    let mut batch = Batch::<P>::new(socket)?;
    let (mut limiter, begun) = (responder.limiter(), Instant::now());
    while batch.receive(socket, end)? {
        let now_ms = begun.elapsed().as_millis() as u64;
        batch.answer(socket, responder, &mut limiter, now_ms);
        batch.send(socket);
    }
    Ok(())
}

/// The queries that came together, and their answers.
struct Batch<P> {
    queries: Box<[u8]>,
    answers: Vec<Vec<u8>>,
    /// Where each query came from, and to.
    paths: Vec<Path<P>>,
    received: MultiHeaders<P>,
    sent: MultiHeaders<P>,
}

#[derive(Clone, Copy)]
struct Path<P> {
    bytes: usize,
    source: Option<P>,
    /// The address that was asked, when the socket does not say it: the answer comes from there, or
    /// the client takes it for somebody else's.
    local: Option<Local>,
}

impl<P: Peer> Path<P> {
    /// Sends one answer back, by itself.
    fn send(self, socket: &UdpSocket, answer: &[u8]) {
        if answer.is_empty() {
            return;
        }
        let control = self.local.as_ref().map(Local::control);
        let (answer, flags) = ([IoSlice::new(answer)], MsgFlags::MSG_DONTWAIT);
        let sent = sendmsg(socket.as_raw_fd(), &answer, control.as_slice(), flags, self.source.as_ref());
        if let Err(error) = sent {
            tracing::debug!(%error, "answer not sent");
        }
    }
}

#[derive(Clone, Copy)]
enum Local {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl<P: Peer> Batch<P> {
    fn new(socket: &UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let control = match address.ip() {
            ip if !ip.is_unspecified() => None,
            IpAddr::V4(_) => {
                setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
                Some(nix::cmsg_space!(in_pktinfo))
            }
            IpAddr::V6(_) => {
                setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
                Some(nix::cmsg_space!(in6_pktinfo))
            }
        };
        Ok(Self {
            queries: vec![0; QUERY_STRIDE * BATCH].into(),
            answers: (0..BATCH).map(|_| Vec::with_capacity(UDP_BYTES_MAX.into())).collect(),
            paths: Vec::with_capacity(BATCH),
            received: MultiHeaders::preallocate(BATCH, control.clone()),
            sent: MultiHeaders::preallocate(BATCH, control),
        })
    }

    /// Waits for queries, and takes those that are there. False at the end.
    fn receive(&mut self, socket: &UdpSocket, end: &CancellationToken) -> io::Result<bool> {
        let mut places = self.queries.chunks_exact_mut(QUERY_STRIDE);
        let mut slices: [_; BATCH] = array::from_fn(|_| {
            let place = places.next().unwrap_or_default();
            [IoSliceMut::new(&mut place[..QUERY_BYTES_MAX])]
        });
        self.paths.clear();
        let taken =
            recvmmsg(socket.as_raw_fd(), &mut self.received, &mut slices, MsgFlags::MSG_WAITFORONE, None);
        if end.is_cancelled() {
            return Ok(false);
        }
        match taken {
            Ok(taken) => {
                let paths = taken.map(|datagram| Path {
                    bytes: datagram.bytes,
                    source: datagram.address,
                    local: datagram.cmsgs().into_iter().flatten().find_map(|message| Local::of(&message)),
                });
                self.paths.extend(paths);
                Ok(true)
            }
            Err(Errno::EINTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn answer(&mut self, socket: &Arc<UdpSocket>, responder: &Responder, limiter: &mut Limiter, now_ms: u64) {
        let queries = self.queries.chunks_exact(QUERY_STRIDE);
        let snapshot = responder.snapshot.load();
        for ((path, query), answer) in self.paths.iter().zip(queries).zip(&mut self.answers) {
            match path.source.map(P::address) {
                Some(source) => {
                    let query = &query[..path.bytes];
                    let update = responder.respond_udp(&snapshot, query, source, limiter, now_ms, answer);
                    if let Some(update) = update {
                        let (socket, path) = (Arc::clone(socket), *path);
                        responder.updates.take_in(update, move |answer| path.send(&socket, &answer));
                    }
                }
                None => answer.clear(),
            }
        }
    }

    /// Sends what there is room for. Whoever cannot be sent to asks again; the others must not wait.
    fn send(&mut self, socket: &UdpSocket) {
        let mut slices = [[IoSlice::new(&[])]; BATCH];
        let mut peers = [None; BATCH];
        let mut locals = [None; BATCH];
        let mut count = 0;
        for (path, answer) in self.paths.iter().zip(&self.answers).filter(|(_, answer)| !answer.is_empty()) {
            (slices[count], peers[count], locals[count]) = ([IoSlice::new(answer)], path.source, path.local);
            count += 1;
        }
        let mut start = 0;
        while start < count {
            // One call, one address to send from; nearly always they all have the same.
            let local = locals[start];
            let same = |other: &&Option<Local>| other.map(Local::bytes) == local.map(Local::bytes);
            let end = start + locals[start..count].iter().take_while(same).count();
            let control = local.as_ref().map(Local::control);
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut self.sent,
                &slices[start..end],
                &peers[start..end],
                control.as_slice(),
                MsgFlags::MSG_DONTWAIT,
            );
            start += match sent {
                Ok(sent) => sent.count().max(1),
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    tracing::debug!(%error, "answer not sent");
                    1
                }
            };
        }
    }
}

impl Local {
    fn of(message: &ControlMessageOwned) -> Option<Self> {
        match *message {
            // The answer's way back is the routing table's to choose.
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(Self::V4(in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: info.ipi_addr,
                ipi_addr: in_addr { s_addr: 0 },
            })),
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(Self::V6(info)),
            _ => None,
        }
    }

    fn control(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }

    /// What two of them are compared by.
    fn bytes(self) -> ([u8; 16], u32) {
        match self {
            Self::V4(info) => (u128::from(info.ipi_spec_dst.s_addr).to_ne_bytes(), 0),
            // Beside a link-local address its interface.
            Self::V6(info) => (info.ipi6_addr.s6_addr, info.ipi6_ifindex),
        }
    }
}
