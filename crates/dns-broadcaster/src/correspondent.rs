//! Exchanges of messages with another name server: by UDP, and by TCP what does not fit.

mod burst;

use std::borrow::Borrow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

pub(crate) use self::burst::BURST_MAX;
use crate::core::plain::UDP_BYTES_MAX;
use crate::framed;
use crate::respond::unix_seconds;
use crate::tsig::{Checking, Key, Mismatch};

/// One exchange: longer than any way there and back on this planet.
const EXCHANGE_TIME: Duration = Duration::from_secs(2);
/// A lost datagram is sent again after this time. In a burst it is not: whoever asked for it asks again.
const RESEND: Duration = Duration::from_millis(400);
/// More than any answer by UDP that we ask for.
const ANSWER_BYTES_MAX: usize = 4096;

/// Somebody to exchange messages with.
pub(crate) struct Correspondent {
    address: SocketAddr,
    from: IpAddr,
    key: Option<Key>,
}

/// Why nothing was exchanged.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing came.
    TimedOut,
    /// The network or the host says that nobody listens.
    Unreachable,
    /// This came, and nothing better after it.
    Unproven(Mismatch),
}

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// A datagram, until it is answered.
    Again,
    /// By TCP alone.
    Stream,
}

/// A message on its way, and what has come back.
struct Pending<M> {
    message: M,
    bytes: Vec<u8>,
    checking: Option<Checking>,
    answer: Option<Message>,
}

impl Correspondent {
    /// Somebody at `address`, who knows this server by one of its `own` addresses.
    pub(crate) fn new(address: SocketAddr, own: &[IpAddr], key: Option<Key>) -> Self {
        Self { address, from: source(own, address), key }
    }

    /// The answer to `message`, proven where there is a key.
    pub(crate) async fn exchange(&self, message: &Message, sending: Sending) -> Result<Message, Failure> {
        let messages = [message];
        let answers = self.exchange_all(&messages, sending).await?;
        answers.into_iter().next().ok_or(Failure::TimedOut)
    }

    /// The answers to `messages`, in their order. They leave together.
    pub(crate) async fn exchange_all(
        &self,
        messages: &[&Message],
        sending: Sending,
    ) -> Result<Vec<Message>, Failure> {
        let mut doubt = None;
        match timeout(EXCHANGE_TIME, self.send_and_receive(messages, sending, &mut doubt)).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => {
                tracing::debug!(to = %self.address, %error, "nothing exchanged");
                Err(doubt.map_or(Failure::Unreachable, Failure::Unproven))
            }
            Err(_) => Err(doubt.map_or(Failure::TimedOut, Failure::Unproven)),
        }
    }

    async fn send_and_receive(
        &self,
        messages: &[&Message],
        sending: Sending,
        doubt: &mut Option<Mismatch>,
    ) -> io::Result<Vec<Message>> {
        let pending = messages.iter().map(|message| self.pending(*message));
        let mut pending = pending.collect::<io::Result<Vec<_>>>()?;
        let fits = pending.iter().all(|pending| pending.bytes.len() <= usize::from(UDP_BYTES_MAX));
        if fits && sending != Sending::Stream {
            self.by_udp(&mut pending, doubt).await?;
        }
        let is_left =
            |pending: &Pending<&Message>| pending.answer.as_ref().is_none_or(|answer| answer.truncation);
        if pending.iter().any(is_left) {
            let mut stream = connect(self.from, self.address).await?;
            for left in pending.iter_mut().filter(|pending| is_left(pending)) {
                *left = self.pending(left.message)?;
                left.by_stream(&mut stream, self.address, doubt).await?;
            }
        }
        Ok(pending.into_iter().filter_map(|pending| pending.answer).collect())
    }

    fn pending<M: Borrow<Message>>(&self, message: M) -> io::Result<Pending<M>> {
        let mut bytes = message.borrow().to_vec().map_err(io::Error::other)?;
        let mut checking = None;
        if let Some(key) = &self.key {
            let (signed, check) = key.sign_request(bytes, unix_seconds()).map_err(io::Error::other)?;
            (bytes, checking) = (signed, Some(check));
        }
        Ok(Pending { message, bytes, checking, answer: None })
    }

    /// By a socket of its own, connected, so that the kernel tells when nobody listens there.
    async fn by_udp(
        &self,
        pending: &mut [Pending<&Message>],
        doubt: &mut Option<Mismatch>,
    ) -> io::Result<()> {
        let socket = UdpSocket::bind((self.from, 0)).await?;
        socket.connect(self.address).await?;
        let mut buffer = [0; ANSWER_BYTES_MAX];
        loop {
            // Whoever has answered something, if nothing that is taken, has heard it.
            if doubt.is_none() {
                for unanswered in pending.iter().filter(|pending| pending.answer.is_none()) {
                    socket.send(&unanswered.bytes).await?;
                }
            }
            let receiving = async {
                while pending.iter().any(|pending| pending.answer.is_none()) {
                    let length = socket.recv(&mut buffer).await?;
                    let unanswered = pending.iter_mut().filter(|pending| pending.answer.is_none());
                    for pending in unanswered {
                        pending.take(&buffer[..length], self.address, doubt);
                    }
                }
                Ok(())
            };
            if let Ok(received) = timeout(RESEND, receiving).await {
                return received;
            }
        }
    }
}

impl<M: Borrow<Message>> Pending<M> {
    async fn by_stream(
        &mut self,
        stream: &mut TcpStream,
        from: SocketAddr,
        doubt: &mut Option<Mismatch>,
    ) -> io::Result<()> {
        framed::write(stream, &self.bytes).await?;
        let mut answer = Vec::new();
        framed::read(stream, &mut answer).await?;
        self.take(&answer, from, doubt);
        if self.answer.is_some() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Takes what came for the answer, if it is. Anybody may have sent what is not proven, or is no answer
    /// to this: the one that counts may still come.
    fn take(&mut self, bytes: &[u8], from: SocketAddr, doubt: &mut Option<Mismatch>) {
        let proven = match &mut self.checking {
            None => Some(bytes.to_vec()),
            Some(checking) => match checking.verify(bytes, unix_seconds()) {
                Ok(proven) => proven.into_iter().next(),
                Err(Mismatch::AnotherId) => None,
                Err(mismatch) => {
                    tracing::debug!(%from, error = %mismatch, "an answer is not taken");
                    *doubt = Some(mismatch);
                    None
                }
            },
        };
        self.answer = proven.and_then(|bytes| answer_to(self.message.borrow(), &bytes));
    }
}

/// A connection from one of our addresses: it is what the other side knows this server by.
pub(crate) async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// The message, when it answers `asked`.
fn answer_to(asked: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let ours = answer.id == asked.id
        && answer.message_type == MessageType::Response
        && answer.op_code == asked.op_code
        // An error may come without the question.
        && (answer.queries == asked.queries || answer.queries.is_empty());
    ours.then_some(answer)
}

/// The address of this server that a message to `peer` comes from.
pub(crate) fn source(own: &[IpAddr], peer: SocketAddr) -> IpAddr {
    let any = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    own.iter().copied().find(|address| address.is_ipv4() == peer.is_ipv4()).unwrap_or(any)
}

#[cfg(test)]
impl Correspondent {
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// What is taken of what `answer` makes of the bytes of `message`, as if it had come from there.
    pub(crate) fn answered(
        &self,
        message: &Message,
        answer: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Option<Message> {
        let mut pending = self.pending(message).unwrap();
        let bytes = answer(&pending.bytes);
        pending.take(&bytes, self.address, &mut None);
        pending.answer
    }
}
