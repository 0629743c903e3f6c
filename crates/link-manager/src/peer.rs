//! Streams to the link managers of other systems. Both sides dial; while two streams to one system
//! stand, both use the one that the lower system id dialled, unless nothing comes by it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use switchback_kit::tls::{self, Expect, IdentityWatch, Limits, Peer, Trouble};
use switchback_link_core::{Gateway, Hello, Input, Message};
use switchback_model::{Incarnation, SystemId};
use switchback_proto::peer::v1 as wire;
use switchback_proto::peer::v1::peer_message::Body;
use switchback_proto::peer::v1::peer_service_client::PeerServiceClient;
use switchback_proto::peer::v1::peer_service_server::PeerService;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::convert::{gateway, https_out, peer as convert};

/// Messages that may wait on a stream. A peer that does not take them in time is cut and dialled
/// again: it then hears the present, not the past.
const QUEUE: usize = 256;

/// A message of some kind at least this often, so that silence means something.
const PING: Duration = Duration::from_secs(1);

/// Silence after which a stream is given up and dialled again.
const SILENCE: Duration = Duration::from_secs(4);

/// Silence after which another stream that does speak is used instead: two pings and their way. After
/// a cut, the stream from before it still stands until [`SILENCE`], and swallows what is sent by it.
const HESITATION: Duration = Duration::from_millis(2_500);

/// Between two dials to one address.
const REDIAL: Duration = Duration::from_millis(500);

/// Keys that a peer may name: one signs, one will, one did.
const DNSKEYS_MAX: usize = 8;

/// The protocol spoken here.
const PROTOCOL: u32 = 1;

/// What this system tells of itself first.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) replication_port: u16,
    pub(crate) link_address: String,
    pub(crate) gateway: Gateway,
    pub(crate) name_server_addresses: Vec<String>,
    /// As the DNS broadcaster says once it is asked.
    pub(crate) dnskeys: watch::Receiver<Option<Vec<Bytes>>>,
}

/// All streams of this system.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    card: Card,
    identity: IdentityWatch,
    inbox: mpsc::Sender<Input>,
    shutdown: CancellationToken,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    last_id: u64,
    by_domain: BTreeMap<String, Vec<Stream>>,
    dialers: BTreeMap<String, CancellationToken>,
}

struct Stream {
    id: u64,
    incarnation: Incarnation,
    /// Dialled by the system with the lower id.
    preferred: bool,
    queue: mpsc::Sender<wire::PeerMessage>,
    cut: CancellationToken,
    /// When the peer last said anything by it.
    heard: Instant,
}

impl Peers {
    pub(crate) fn new(
        card: Card,
        identity: IdentityWatch,
        inbox: mpsc::Sender<Input>,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner { card, identity, inbox, shutdown, streams: Mutex::default() }))
    }

    /// Dials these addresses, and no others, for as long as they are wanted.
    pub(crate) fn dial(&self, addresses: &BTreeSet<String>) {
        let mut streams = self.0.streams();
        streams.dialers.retain(|address, cut| {
            let wanted = addresses.contains(address);
            if !wanted {
                cut.cancel();
            }
            wanted
        });
        for address in addresses {
            if !streams.dialers.contains_key(address) {
                let cut = self.0.shutdown.child_token();
                streams.dialers.insert(address.clone(), cut.clone());
                tokio::spawn(Arc::clone(&self.0).keep_dialling(address.clone(), cut));
            }
        }
    }

    /// Greets every peer again whenever this system's keys are others.
    pub(crate) async fn greet(self) {
        let mut keys = self.0.card.dnskeys.clone();
        while keys.changed().await.is_ok() {
            let Some(hello) = self.0.hello() else { continue };
            for stream in self.0.streams().by_domain.values().flatten() {
                // A full queue means that the stream is given up; the next one begins with a hello.
                if stream.queue.try_send(hello.clone()).is_err() {
                    stream.cut.cancel();
                }
            }
        }
    }

    /// Tells the system of `domain`, if a stream to it stands.
    pub(crate) fn send(&self, domain: &str, message: &Message) {
        let message = wire::PeerMessage { body: Some(convert::message_out(message)) };
        let streams = self.0.streams();
        let Some(standing) = streams.by_domain.get(domain) else { return };
        if let Some(stream) = chosen(standing)
            && stream.queue.try_send(message).is_err()
        {
            tracing::warn!(domain, "peer does not take messages; its stream is cut");
            stream.cut.cancel();
        }
    }
}

impl Inner {
    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_dialling(self: Arc<Self>, address: String, cut: CancellationToken) {
        let mut last_trouble = None;
        while !cut.is_cancelled() {
            let ended = Arc::clone(&self).dial(&address, &cut).await;
            if let Err(trouble) = ended {
                let trouble = trouble.to_string();
                if last_trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(address, trouble, "peer not reached");
                    last_trouble = Some(trouble.clone());
                }
                self.tell(Input::DialFailed { address: address.clone(), trouble }).await;
            } else {
                last_trouble = None;
            }
            tokio::select! { biased; () = cut.cancelled() => return, () = tokio::time::sleep(REDIAL) => {} }
        }
    }

    /// Dials once and follows the stream to its end. To be awaited to that end, also when it is cut:
    /// a stream that was followed no further would stay registered, and swallow what is sent.
    async fn dial(self: Arc<Self>, address: &str, cut: &CancellationToken) -> Result<(), Trouble> {
        let opened = tokio::select! {
            biased;
            () = cut.cancelled() => return Ok(()),
            opened = self.open(address) => opened?,
        };
        let (peer, queue, incoming) = opened;
        self.follow(peer, Some(address), queue, incoming, cut.child_token()).await.map_err(unreachable)
    }

    async fn open(
        &self,
        address: &str,
    ) -> Result<(Peer, mpsc::Sender<wire::PeerMessage>, Streaming<wire::PeerMessage>), Trouble> {
        let limits = Limits {
            connect_time: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(2),
            keepalive_time: Duration::from_secs(2),
            ..Limits::default()
        };
        let (channel, peer) = tls::connect(address, &self.identity, Expect::Any, &limits).await?;
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let greeting = self.hello().ok_or(Trouble::NoIdentity)?;
        queue.try_send(greeting).map_err(|_| Trouble::NoIdentity)?;
        let answer = PeerServiceClient::new(channel)
            .exchange(ReceiverStream::new(outgoing))
            .await
            .map_err(unreachable)?;
        Ok((peer, queue, answer.into_inner()))
    }

    fn hello(&self) -> Option<wire::PeerMessage> {
        let own = self.identity.current()?;
        let card = &self.card;
        let hello = wire::Hello {
            system_id: own.system_id().as_bytes().to_vec().into(),
            incarnation: own.incarnation().0,
            name: card.name.clone(),
            domain: own.own().domain.clone(),
            replication_port: u32::from(card.replication_port),
            gateway_addresses: card.gateway.addresses.clone(),
            gateway_host: card.gateway.host.clone(),
            gateway_https: https_out(card.gateway.https.as_ref()),
            name_server_addresses: card.name_server_addresses.clone(),
            dns_keys: card.dnskeys.borrow().clone().map(|dnskeys| wire::DnsKeys { dnskeys }),
            protocol: PROTOCOL,
            link_address: card.link_address.clone(),
        };
        Some(wire::PeerMessage { body: Some(Body::Hello(hello)) })
    }

    /// Follows one stream from the peer's hello to its end.
    async fn follow(
        self: Arc<Self>,
        peer: Peer,
        dialled: Option<&str>,
        queue: mpsc::Sender<wire::PeerMessage>,
        mut incoming: Streaming<wire::PeerMessage>,
        cut: CancellationToken,
    ) -> Result<(), Status> {
        let hello = match tokio::time::timeout(SILENCE, incoming.message()).await {
            Ok(Ok(Some(wire::PeerMessage { body: Some(Body::Hello(hello)) }))) => {
                parse_hello(&hello, &peer, dialled)?
            }
            Ok(Err(status)) => return Err(status),
            _ => return Err(Status::invalid_argument("a stream begins with a hello")),
        };
        let domain = peer.domain.clone();
        let id = self.register(&peer, dialled.is_some(), queue.clone(), cut.clone());
        tracing::info!(domain, dialled = dialled.is_some(), "peer connected");
        self.tell(Input::PeerUp { hello, dialled: dialled.map(String::from) }).await;
        let ended = self.relay(&peer, dialled, id, &queue, incoming, cut).await;
        if self.deregister(&domain, id) {
            tracing::info!(domain, "peer disconnected");
            self.tell(Input::PeerDown { domain }).await;
        }
        ended
    }

    async fn relay(
        &self,
        peer: &Peer,
        dialled: Option<&str>,
        id: u64,
        queue: &mpsc::Sender<wire::PeerMessage>,
        mut incoming: Streaming<wire::PeerMessage>,
        cut: CancellationToken,
    ) -> Result<(), Status> {
        let domain = &peer.domain;
        let mut ping = tokio::time::interval(PING);
        let mut heard = Instant::now();
        loop {
            let message = tokio::select! {
                biased;
                () = cut.cancelled() => return Ok(()),
                () = queue.closed() => return Ok(()),
                () = tokio::time::sleep_until(heard + SILENCE) => return Err(Status::unavailable("silence")),
                _ = ping.tick() => {
                    // A full queue is a ping in itself; the sender of messages deals with it.
                    queue.try_send(wire::PeerMessage { body: None }).ok();
                    continue;
                }
                message = incoming.message() => message?,
            };
            let Some(message) = message else { return Ok(()) };
            heard = Instant::now();
            self.hear(domain, id, heard);
            let Some(body) = message.body else { continue };
            if let Body::Hello(hello) = body {
                let hello = parse_hello(&hello, peer, dialled)?;
                self.tell(Input::PeerUp { hello, dialled: dialled.map(String::from) }).await;
                continue;
            }
            match convert::message(body) {
                Ok(message) => self.tell(Input::MessageReceived { domain: domain.into(), message }).await,
                Err(malformed) => tracing::warn!(domain, reason = malformed.to_string(), "message ignored"),
            }
        }
    }

    fn register(
        &self,
        peer: &Peer,
        dialled: bool,
        queue: mpsc::Sender<wire::PeerMessage>,
        cut: CancellationToken,
    ) -> u64 {
        let own = self.identity.current().map(|identity| identity.system_id()).unwrap_or_default();
        let lower = own < peer.system_id;
        let mut streams = self.streams();
        streams.last_id += 1;
        let id = streams.last_id;
        let standing = streams.by_domain.entry(peer.domain.clone()).or_default();
        // Streams of an earlier life of the peer say nothing about this one.
        standing
            .iter()
            .filter(|stream| stream.incarnation != peer.incarnation)
            .for_each(|stream| stream.cut.cancel());
        standing.retain(|stream| stream.incarnation == peer.incarnation);
        let preferred = lower == dialled;
        let heard = Instant::now();
        standing.push(Stream { id, incarnation: peer.incarnation, preferred, queue, cut, heard });
        id
    }

    fn hear(&self, domain: &str, id: u64, now: Instant) {
        let mut streams = self.streams();
        let standing = streams.by_domain.get_mut(domain).into_iter().flatten();
        standing.filter(|stream| stream.id == id).for_each(|stream| stream.heard = now);
    }

    /// True when it was the last stream to that system.
    fn deregister(&self, domain: &str, id: u64) -> bool {
        let mut streams = self.streams();
        let Some(standing) = streams.by_domain.get_mut(domain) else { return false };
        let before = standing.len();
        standing.retain(|stream| stream.id != id);
        let last = standing.is_empty() && before > 0;
        if last {
            streams.by_domain.remove(domain);
        }
        last
    }

    async fn tell(&self, input: Input) {
        if self.inbox.send(input).await.is_err() {
            tracing::debug!("the machine has ended");
        }
    }
}

/// The stream to send by, of those to one system.
fn chosen(standing: &[Stream]) -> Option<&Stream> {
    let speaks = |stream: &&Stream| stream.heard.elapsed() < HESITATION;
    let preferred = standing.iter().find(|stream| stream.preferred);
    preferred.filter(speaks).or(standing.iter().max_by_key(|stream| stream.heard))
}

fn unreachable(status: Status) -> Trouble {
    Trouble::of(&status).unwrap_or_else(|| Trouble::Unreachable(status.message().to_string()))
}

fn parse_hello(hello: &wire::Hello, peer: &Peer, dialled: Option<&str>) -> Result<Hello, Status> {
    if hello.protocol != PROTOCOL {
        return Err(Status::failed_precondition(format!(
            "protocol {} is not spoken here; upgrade both systems to the same version",
            hello.protocol
        )));
    }
    let claimed = (SystemId::from_slice(&hello.system_id), Incarnation(hello.incarnation));
    if claimed != (Some(peer.system_id), peer.incarnation) {
        return Err(Status::permission_denied("the hello names another system than the certificate"));
    }
    let reached = dialled.unwrap_or(&hello.link_address);
    let replication_address = reached
        .rsplit_once(':')
        .map(|(host, _)| format!("{host}:{}", hello.replication_port))
        .unwrap_or_default();
    Ok(Hello {
        system: peer.system_id,
        incarnation: peer.incarnation,
        domain: peer.domain.clone(),
        name: hello.name.clone(),
        link_address: hello.link_address.clone(),
        replication_address,
        gateway: gateway(&hello.gateway_addresses, &hello.gateway_host, hello.gateway_https.as_ref()),
        name_server_addresses: hello.name_server_addresses.clone(),
        dnskeys: hello
            .dns_keys
            .as_ref()
            .map(|keys| keys.dnskeys.iter().take(DNSKEYS_MAX).map(|key| key.to_vec()).collect()),
    })
}

#[tonic::async_trait]
impl PeerService for Peers {
    type ExchangeStream = BoxStream<'static, Result<wire::PeerMessage, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<wire::PeerMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("only other systems call here"))?;
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let greeting =
            self.0.hello().ok_or_else(|| Status::unavailable("this system's identity is not known yet"))?;
        queue.try_send(greeting).map_err(|_| Status::internal("the queue of a new stream is full"))?;
        let cut = self.0.shutdown.child_token();
        let ending = cut.clone();
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let ended = inner.follow(peer, None, queue, request.into_inner(), cut.clone()).await;
            if let Err(status) = ended {
                tracing::debug!(reason = status.message(), "peer's stream ended");
            }
            cut.cancel();
        });
        let outgoing = ReceiverStream::new(outgoing).map(Ok).take_until(ending.cancelled_owned());
        Ok(Response::new(outgoing.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: u64, preferred: bool) -> Stream {
        let (queue, _) = mpsc::channel(1);
        let cut = CancellationToken::new();
        Stream { id, incarnation: Incarnation(1), preferred, queue, cut, heard: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_from_before_a_cut_is_not_spoken_into_while_another_answers() {
        let before = stream(1, true);
        tokio::time::advance(HESITATION - PING).await;
        let mut standing = vec![before, stream(2, false)];
        assert_eq!(chosen(&standing).map(|stream| stream.id), Some(1), "a pause is no cut");
        tokio::time::advance(PING).await;
        assert_eq!(chosen(&standing).map(|stream| stream.id), Some(2));
        standing[0].heard = Instant::now();
        assert_eq!(chosen(&standing).map(|stream| stream.id), Some(1), "it speaks again");
        standing.pop();
        tokio::time::advance(SILENCE).await;
        assert_eq!(chosen(&standing).map(|stream| stream.id), Some(1), "there is no other");
        assert!(chosen(&[]).is_none());
    }
}
