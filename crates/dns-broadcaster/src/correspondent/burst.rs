//! Many exchanges at once with one name server, by one socket.
//!
//! What is to be said at once leaves in one system call, and each exchange ends by itself. A burst has a
//! socket of its own, that is a port that the kernel draws: somebody who forges answers has to guess that,
//! an id and the question that goes with it, as if each exchange had a socket, and no port is there for
//! long enough to be found by asking (RFC 5452 section 9.2).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use hickory_proto::op::Message;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::{ANSWER_BYTES_MAX, Correspondent, EXCHANGE_TIME, Failure, Pending};
use crate::core::plain::UDP_BYTES_MAX;
use crate::tsig::Mismatch;

/// Exchanges of one burst. Beyond some tens a system call costs no less for each; what is longer is two
/// bursts.
pub(crate) const BURST_MAX: usize = 64;

/// An exchange that waits for its end.
struct Open<K> {
    key: K,
    pending: Pending<Message>,
    /// What came, and was not taken.
    doubt: Option<Mismatch>,
}

/// Messages that have left, or could not.
pub(crate) struct Burst<K> {
    from: SocketAddr,
    socket: io::Result<UdpSocket>,
    sent: Instant,
    /// By id: none has that of another.
    open: BTreeMap<u16, Open<K>>,
}

impl Correspondent {
    /// Sends `messages`, each once, and each under an id that is made here. Whoever is to know how they end
    /// asks the burst.
    pub(crate) async fn burst<K>(&self, messages: impl IntoIterator<Item = (K, Message)>) -> Burst<K> {
        let mut open = BTreeMap::new();
        let mut fault = None;
        for (key, mut message) in messages {
            let id = free_id(&open, &mut message);
            match self.pending(message) {
                Ok(pending) => _ = open.insert(id, Open { key, pending, doubt: None }),
                // It is small and ours.
                Err(error) => fault = Some(error),
            }
        }
        let socket = match fault {
            Some(error) => Err(error),
            None => self.leave(&open).await,
        };
        Burst { from: self.address, socket, sent: Instant::now(), open }
    }

    /// By a socket that is connected, so that the kernel tells when nobody listens there.
    async fn leave<K>(&self, open: &BTreeMap<u16, Open<K>>) -> io::Result<UdpSocket> {
        let datagrams: Vec<_> = open.values().map(|open| [IoSlice::new(&open.pending.bytes)]).collect();
        let too_long = |datagram: &[IoSlice<'_>; 1]| datagram[0].len() > usize::from(UDP_BYTES_MAX);
        if datagrams.iter().any(too_long) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let socket = UdpSocket::bind((self.from, 0)).await?;
        socket.connect(self.address).await?;
        let mut start = 0;
        while start < datagrams.len() {
            start += socket.async_io(Interest::WRITABLE, || send(&socket, &datagrams[start..])).await?;
        }
        Ok(socket)
    }
}

/// An id that no other message of the burst has. The message comes with a random one.
fn free_id<K>(open: &BTreeMap<u16, Open<K>>, message: &mut Message) -> u16 {
    while open.contains_key(&message.metadata.id) {
        message.metadata.id = Message::query().metadata.id;
    }
    message.metadata.id
}

/// Sends what there is room for; how many that was.
fn send(socket: &UdpSocket, datagrams: &[[IoSlice<'_>; 1]]) -> io::Result<usize> {
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(datagrams.len(), None);
    let nobody = vec![None; datagrams.len()];
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, datagrams, &nobody, [], MsgFlags::MSG_DONTWAIT)?;
    Ok(sent.count().max(1))
}

impl<K> Burst<K> {
    /// Tells of each exchange how it ended, once it has.
    pub(crate) async fn end(mut self, mut ended: impl AsyncFnMut(K, Result<Message, Failure>)) {
        let Err(lost) = self.receive(&mut ended).await else { return };
        for Open { key, doubt, .. } in std::mem::take(&mut self.open).into_values() {
            let failure = doubt.map_or_else(|| lost.into(), Failure::Unproven);
            ended(key, Err(failure)).await;
        }
    }

    async fn receive(
        &mut self,
        ended: &mut impl AsyncFnMut(K, Result<Message, Failure>),
    ) -> Result<(), Lost> {
        let unreachable = |error: &io::Error| {
            tracing::debug!(to = %self.from, %error, "nothing exchanged");
            Lost::Unreachable
        };
        let socket = self.socket.as_ref().map_err(unreachable)?;
        let mut buffer = [0; ANSWER_BYTES_MAX];
        while !self.open.is_empty() {
            let received = timeout_at(self.sent + EXCHANGE_TIME, socket.recv(&mut buffer)).await;
            let length = received.map_err(|_| Lost::TimedOut)?.map_err(|error| unreachable(&error))?;
            let datagram = &buffer[..length];
            let Some(id) = datagram.first_chunk().map(|id| u16::from_be_bytes(*id)) else { continue };
            let Entry::Occupied(mut open) = self.open.entry(id) else { continue };
            let Open { pending, doubt, .. } = open.get_mut();
            pending.take(datagram, self.from, doubt);
            if let Some(answer) = pending.answer.take() {
                ended(open.remove().key, Ok(answer)).await;
            }
        }
        Ok(())
    }
}

/// Why the rest of a burst came to nothing.
#[derive(Clone, Copy)]
enum Lost {
    TimedOut,
    Unreachable,
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::TimedOut => Self::TimedOut,
            Lost::Unreachable => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, Query};
    use hickory_proto::rr::{Name, RecordType};
    use std::collections::BTreeSet;

    fn question(number: usize) -> Message {
        let mut message = Message::query();
        let name = Name::from_ascii(format!("z{number}.test.")).unwrap();
        message.add_query(Query::query(name, RecordType::SOA));
        message
    }

    fn questions() -> impl Iterator<Item = (usize, Message)> {
        (0..2 * BURST_MAX).map(|number| (number, question(number)))
    }

    #[tokio::test]
    async fn each_exchange_ends_by_the_answer_to_its_own_question() {
        let server = UdpSocket::bind("127.80.2.1:0").await.unwrap();
        let correspondent = Correspondent::new(server.local_addr().unwrap(), &[], None);
        let burst = correspondent.burst(questions()).await;
        let (mut asked, mut ids, mut from, mut buffer) = (Vec::new(), BTreeSet::new(), None, [0; 512]);
        while asked.len() < 2 * BURST_MAX {
            let (length, source) = server.recv_from(&mut buffer).await.unwrap();
            let message = Message::from_vec(&buffer[..length]).unwrap();
            assert_eq!(*from.get_or_insert(source), source, "by one socket");
            assert!(ids.insert(message.metadata.id), "an id stands for one of them");
            asked.push(message);
        }
        let source = from.unwrap();
        let answer = async |mut message: Message, id: u16| {
            (message.metadata.message_type, message.metadata.id) = (MessageType::Response, id);
            server.send_to(&message.to_vec().unwrap(), source).await.unwrap();
        };
        let answering = async {
            for (at, message) in asked.iter().enumerate().rev() {
                // By who knows what is asked and which ids there are, and not which goes with which.
                answer(message.clone(), asked[(at + 1) % asked.len()].metadata.id).await;
                answer(question(usize::MAX), message.metadata.id).await;
                answer(message.clone(), message.metadata.id).await;
                tokio::task::yield_now().await;
            }
        };
        let mut ended = Vec::new();
        let ending = burst.end(async |key: usize, answer: Result<Message, Failure>| {
            assert_eq!(answer.unwrap().queries, question(key).queries);
            ended.push(key);
        });
        tokio::join!(answering, ending);
        ended.sort_unstable();
        assert!(ended.into_iter().eq(0..2 * BURST_MAX));
    }

    #[tokio::test]
    async fn it_is_told_at_once_when_nobody_listens() {
        let nobody = UdpSocket::bind("127.80.2.2:0").await.unwrap().local_addr().unwrap();
        let burst = Correspondent::new(nobody, &[], None).burst(questions()).await;
        let mut ended = 0;
        burst
            .end(async |_, answer: Result<Message, Failure>| {
                assert!(matches!(answer, Err(Failure::Unreachable)));
                ended += 1;
            })
            .await;
        assert_eq!(ended, 2 * BURST_MAX);
    }
}
