//! Dynamic updates (RFC 2136), from whoever holds a key that was granted something: taken in where they
//! come, worked off by one task, answered when they are on the disk.
//!
//! What is not signed with such a key is refused where it comes, for the price of a query. The others wait,
//! so many of them; whoever comes by datagram when there is no room is not answered and sends again, and
//! whoever comes by a stream waits on it. So no query waits for an update, and what is published by links
//! waits for one at most.

mod message;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::core::name::Name;
use crate::core::receive::{Code, Grants, Stamp};
use crate::publisher::Publisher;
use crate::respond::unix_seconds;
use crate::tsig::Signing;

pub(crate) use self::message::{answer, read};

/// Updates that wait: each has at most 64 KiB.
const WAITING_MAX: usize = 64;

/// An update, proven to be from who holds the key.
pub(crate) struct Request {
    pub(crate) key: Name,
    pub(crate) stamp: Stamp,
    /// When its signature is not good any more, seconds since 1970.
    pub(crate) until: u64,
    /// Without its signature.
    pub(crate) message: Vec<u8>,
    pub(crate) source: SocketAddr,
    pub(crate) signing: Signing,
}

/// What is done with the answer.
type Reply = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Where updates are taken in.
#[derive(Clone)]
pub(crate) struct Door {
    grants: Arc<Grants>,
    queue: mpsc::Sender<(Box<Request>, Reply)>,
}

/// Works off what was taken in.
pub(crate) struct Worker(mpsc::Receiver<(Box<Request>, Reply)>);

/// A door for whom something is granted, and who works behind it.
pub(crate) fn open(grants: Grants) -> (Door, Worker) {
    let (queue, requests) = mpsc::channel(WAITING_MAX);
    (Door { grants: Arc::new(grants), queue }, Worker(requests))
}

impl Door {
    /// Whether anything is granted to anybody.
    pub(crate) fn is_open(&self) -> bool {
        !self.grants.0.is_empty()
    }

    /// Whether anything is granted to the holder of this key.
    pub(crate) fn knows(&self, key: &Name) -> bool {
        self.grants.know(key)
    }

    /// Takes an update in that came by datagram; `reply` is called from another thread, if at all.
    pub(crate) fn take_in(&self, request: Box<Request>, reply: impl FnOnce(Vec<u8>) + Send + 'static) {
        if let Err(error) = self.queue.try_send((request, Box::new(reply))) {
            let (request, _) = error.into_inner();
            tracing::debug!(source = %request.source, "update not taken in: too many wait");
        }
    }

    /// The answer to an update that came by a stream; `None` while the service ends.
    pub(crate) async fn answer(&self, request: Box<Request>) -> Option<Vec<u8>> {
        let (reply, answer) = oneshot::channel();
        // Who asked may have gone.
        let reply = Box::new(|bytes| drop(reply.send(bytes)));
        self.queue.send((request, reply)).await.ok()?;
        answer.await.ok().filter(|answer: &Vec<u8>| !answer.is_empty())
    }
}

impl Worker {
    /// Works until the shutdown. What is begun then is done.
    pub(crate) async fn run(mut self, publisher: Arc<Publisher>, shutdown: CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                next = self.0.recv() => next,
            };
            let Some((request, reply)) = next else { return shutdown.cancelled().await };
            let code = publisher.update(&request).await;
            reply(signed(*request, code));
        }
    }
}

fn signed(request: Request, code: Code) -> Vec<u8> {
    let Request { message, mut signing, .. } = request;
    let mut bytes = answer(&message, code, signing.bytes());
    if let Err(error) = signing.sign(&mut bytes, unix_seconds()) {
        tracing::error!(%error, "the answer to an update could not be signed");
        bytes.clear();
    }
    bytes
}
