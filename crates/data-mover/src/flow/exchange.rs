//! Epochs and heads between the movers of two systems.
//!
//! A higher epoch is obeyed before anything else of a heartbeat is looked at: the link's content is
//! read-only, durably, when [`hear`] goes on. That holds while the link is suspended too, and hides
//! no failover behind a link manager that is down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use switchback_kit::tls::{Peer, Trouble};
use switchback_kit::world::random;
use switchback_model::{ContentId, Epoch, FeedId};
use switchback_proto::replication::v1::exchange_message::Body;
use switchback_proto::replication::v1::refusal::Reason;
use switchback_proto::replication::v1::replication_service_client::ReplicationServiceClient;
use switchback_proto::replication::v1::{ContentHead, ExchangeMessage, Heartbeat, LinkHeader, Refusal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::agree::{Agreement, OwnHead, PeerHead, compare};
use super::limit::{
    CONTACT_TIME, HEARTBEAT_INTERVAL, MESSAGE_BYTES_MAX, QUEUE, RECONNECT_PAUSE, RECONNECT_PAUSE_MAX,
};
use super::pace;
use crate::convert::{digest_to_wire, link_id};
use crate::desired::Desired;
use crate::link::{Flow, Link};
use crate::mover::{Mover, now_unix_ms};
use crate::told;
use tokio::time::Instant;

/// Changes are told at once, but no more often than this.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(25);

/// Dials the peer for as long as the link runs.
pub(crate) async fn run(mover: Arc<Mover>, link: Arc<Link>) {
    let mut pause = Pause::new();
    let mut desired = link.watch_desired();
    loop {
        let ended = tokio::select! {
            biased;
            () = link.stop.cancelled() => {
                remember(&mover, &link).await;
                return;
            }
            ended = dial(&mover, &link) => ended,
        };
        remember(&mover, &link).await;
        if let Err(trouble) = ended {
            link.set_trouble(trouble);
        } else {
            pause.reset();
        }
        tokio::select! {
            biased;
            () = link.stop.cancelled() => return,
            // A new address or incarnation is tried at once.
            _ = desired.changed() => pause.reset(),
            () = tokio::time::sleep(pause.next()) => {}
        }
    }
}

/// Contact may be over: what was told last is made durable.
async fn remember(mover: &Arc<Mover>, link: &Link) {
    if let Err(error) = told::remember(mover, link).await {
        tracing::warn!(%error, "what the other system last told is not remembered");
    }
}

/// One stream that we dialled, until it ends or the route changes. Ok: it was of use.
async fn dial(mover: &Arc<Mover>, link: &Arc<Link>) -> Result<(), String> {
    let desired = link.desired();
    if desired.peer_address.is_empty() {
        return Err("the other system's address is not known yet".into());
    }
    let dial = link.dial(&mover.identity);
    let mut client = ReplicationServiceClient::new(dial.channel())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (messages, stream) = mpsc::channel(QUEUE);
    let mut told = Told::default();
    let first = heartbeat(mover, link, &mut told).map_err(|error| error.to_string())?;
    messages.send(first).await.map_err(|_| "stream closed".to_owned())?;
    let opened = tokio::time::timeout(CONTACT_TIME, client.exchange(ReceiverStream::new(stream))).await;
    let explain = |status: &tonic::Status| {
        Trouble::of(status)
            .or_else(|| dial.trouble())
            .map_or_else(|| status.message().into(), |trouble| trouble.to_string())
    };
    let mut inbound = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(explain(&status)),
        Err(_) => {
            return Err(dial
                .trouble()
                .map_or_else(|| "the other system does not answer".into(), |trouble| trouble.to_string()));
        }
    };
    let mut wishes = link.watch_desired();
    let mut changed = link.listen();
    let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL);
    let mut up = None;
    let mut last_heard = Instant::now();
    loop {
        tokio::select! {
            biased;
            message = inbound.message() => match message {
                Ok(Some(message)) => {
                    receive(mover, link, message).await?;
                    last_heard = Instant::now();
                    up.get_or_insert_with(|| link.stream_up());
                    continue;
                }
                Ok(None) => return Err("the other system's mover ended the stream".into()),
                Err(status) => return Err(explain(&status)),
            },
            _ = wishes.changed() => if link.desired().route() != desired.route() { return Ok(()) },
            _ = beat.tick() => {}
            _ = changed.changed() => tokio::time::sleep(HEARTBEAT_INTERVAL_MIN).await,
        }
        changed.mark_unchanged();
        if last_heard.elapsed() > CONTACT_TIME {
            return Err("the other system does not answer".into());
        }
        let message = heartbeat(mover, link, &mut told).map_err(|error| error.to_string())?;
        // A peer that does not read is out of contact, and must not hold us.
        let _ = messages.try_send(message).inspect_err(|_| told.forget());
    }
}

/// Handles what came on a stream that we dialled; an error ends the stream.
async fn receive(mover: &Arc<Mover>, link: &Arc<Link>, message: ExchangeMessage) -> Result<(), String> {
    match message.body {
        Some(Body::Heartbeat(beat)) => hear(mover, link, &beat).await.map_err(|refusal| refusal.text),
        Some(Body::Refusal(refusal)) => Err(refusal.text),
        None => Ok(()),
    }
}

/// The other end: a stream that the peer dialled. Each heartbeat is answered with one of ours.
pub(crate) async fn answer(
    mover: Arc<Mover>,
    peer: Peer,
    inbound: Streaming<ExchangeMessage>,
    messages: mpsc::Sender<ExchangeMessage>,
) {
    let mut spoken_of = None;
    answer_until_end(&mover, &peer, inbound, messages, &mut spoken_of).await;
    if let Some(link) = spoken_of {
        remember(&mover, &link).await;
    }
}

async fn answer_until_end(
    mover: &Arc<Mover>,
    peer: &Peer,
    mut inbound: Streaming<ExchangeMessage>,
    messages: mpsc::Sender<ExchangeMessage>,
    spoken_of: &mut Option<Arc<Link>>,
) {
    let mut up = None;
    let mut told = Told::default();
    loop {
        let message = tokio::select! {
            biased;
            () = mover.shutdown.cancelled() => return,
            message = tokio::time::timeout(CONTACT_TIME * 2, inbound.message()) => message,
        };
        let Ok(Ok(Some(message))) = message else { return };
        let Some(Body::Heartbeat(beat)) = message.body else { continue };
        let answer = match accept(mover, peer, &beat).await {
            Ok(link) => {
                up.get_or_insert_with(|| link.stream_up());
                *spoken_of = Some(Arc::clone(&link));
                heartbeat(mover, &link, &mut told).unwrap_or_else(|error| trouble(&beat, &error))
            }
            Err(refusal) => {
                up = None;
                ExchangeMessage { body: Some(Body::Refusal(refusal)) }
            }
        };
        if messages.send(answer).await.is_err() {
            return;
        }
    }
}

fn trouble(beat: &Heartbeat, error: &switchback_store::Error) -> ExchangeMessage {
    let link_id = beat.header.as_ref().map(|header| header.link_id.clone()).unwrap_or_default();
    let refusal = Refusal { link_id, reason: Reason::Trouble.into(), text: error.to_string(), epoch: 0 };
    ExchangeMessage { body: Some(Body::Refusal(refusal)) }
}

async fn accept(mover: &Arc<Mover>, peer: &Peer, beat: &Heartbeat) -> Result<Arc<Link>, Refusal> {
    let header = beat.header.clone().unwrap_or_default();
    let link = find_link(mover, peer, &header)?;
    hear(mover, &link, beat).await?;
    Ok(link)
}

/// The link that a peer speaks of, if it is that link's peer in the incarnation agreed on.
pub(crate) fn find_link(mover: &Mover, peer: &Peer, header: &LinkHeader) -> Result<Arc<Link>, Refusal> {
    let id = link_id(&header.link_id).ok();
    let Some(link) = id.and_then(|id| mover.link(id)) else {
        let text = "the other system does not know this link: it was deleted there, or that system was rebuilt; restore the link";
        return Err(refusal(header, Reason::UnknownLink, text));
    };
    let desired = link.desired();
    if (peer.system_id, peer.incarnation) != (desired.peer_system, desired.peer_incarnation) {
        let text = "the certificate names another system or incarnation than the link agreed on; exchange certificates and restore the link";
        return Err(refusal(header, Reason::WrongIncarnation, text));
    }
    Ok(link)
}

pub(crate) fn refusal(header: &LinkHeader, reason: Reason, text: &str) -> Refusal {
    Refusal { link_id: header.link_id.clone(), reason: reason.into(), text: text.into(), epoch: 0 }
}

/// Obeys a message's epoch, between agreed incarnations: a higher one than ours makes the link's
/// content read-only, durably, before this returns.
pub(crate) async fn obey(mover: &Mover, link: &Link, header: &LinkHeader) -> Result<(), Refusal> {
    let desired = link.desired();
    let named = (header.sender_incarnation, header.receiver_incarnation);
    if named != (desired.peer_incarnation.0, desired.local_incarnation.0) {
        let text = "the two systems do not mean the same incarnations of each other; exchange certificates and restore the link";
        return Err(refusal(header, Reason::WrongIncarnation, text));
    }
    let epoch = Epoch(header.epoch);
    if epoch > link.known_epoch() {
        demote(mover, link, &desired, epoch)
            .await
            .map_err(|error| refusal(header, Reason::Trouble, &error.to_string()))?;
    }
    Ok(())
}

/// Makes the link's content read-only at a higher epoch than ours, durably.
pub(crate) async fn demote(
    mover: &Mover,
    link: &Link,
    desired: &Desired,
    epoch: Epoch,
) -> switchback_store::Result<()> {
    let mut contents = Vec::new();
    for flow in &desired.contents {
        if mover.status(link.id, flow.content.id)?.is_some() {
            contents.push(flow.content.id);
        }
    }
    // An epoch of our own side that we do not know of: we went back in time. Nobody writes here.
    let writer = (epoch.holder() != desired.side).then(|| desired.peer_domain.clone());
    mover.catalogue.demote(contents, epoch, writer).await?;
    link.learn_epoch(epoch);
    tracing::info!(link = desired.name, %epoch, "read-only: a higher epoch was named");
    mover.bells.ring_status();
    link.ring();
    Ok(())
}

/// Takes in a heartbeat.
pub(crate) async fn hear(mover: &Arc<Mover>, link: &Arc<Link>, beat: &Heartbeat) -> Result<(), Refusal> {
    let header = beat.header.clone().unwrap_or_default();
    obey(mover, link, &header).await?;
    let was_in_contact = link.in_contact();
    for head in &beat.heads {
        let content = ContentId::from_slice(&head.content_id);
        if let Some(flow) = content.and_then(|content| link.flow(content)) {
            hear_head(mover, link, &flow, head)
                .await
                .map_err(|error| refusal(&header, Reason::Trouble, &error))?;
        }
    }
    let now = now_unix_ms();
    for flow in link.flows() {
        let own = mover.status(link.id, flow.content.id);
        let own = own.map_err(|error| refusal(&header, Reason::Trouble, &error.to_string()))?;
        let mut state = flow.state();
        let feed = state.peer.as_ref().map_or(FeedId(0), |peer| peer.feed);
        told::hear(&mut state, now, beat.sent_unix_ms, own.map_or(0, |own| own.cursor(feed)));
    }
    // Last, so that nobody takes heads from before a cut for heads of now.
    link.heard(Epoch(header.epoch), u64::try_from(beat.sent_unix_ms).unwrap_or(0));
    if !was_in_contact || !beat.heads.is_empty() {
        link.ring();
        mover.bells.ring_status();
    }
    Ok(())
}

async fn hear_head(mover: &Mover, link: &Link, flow: &Flow, head: &ContentHead) -> Result<(), String> {
    let desired = link.desired();
    let peer = PeerHead::from_wire(head);
    let content = flow.content.id;
    let own = mover.status(link.id, content).map_err(|error| error.to_string())?;
    let heard_before = flow.state().peer.as_ref().map(|peer| peer.feed);
    let mut replaced = false;
    if peer.feed != FeedId(0) && heard_before != Some(peer.feed) {
        replaced = is_replaced(mover, link, &desired, content, peer.feed).await?;
    }
    let mut state = flow.state();
    if heard_before.is_some() && heard_before != Some(peer.feed) {
        state.horizon.reset();
    }
    state.peer_rolled_back |= replaced || peer.rolled_back;
    if let Some(own) = own {
        state.local_rolled_back |= peer.applied_of(own.head.feed) > own.head.sequence;
    }
    state.peer = Some(peer);
    Ok(())
}

/// The peer's feed is another one than its incarnation had: its store was replaced behind its back.
async fn is_replaced(
    mover: &Mover,
    link: &Link,
    desired: &Desired,
    content: ContentId,
    feed: FeedId,
) -> Result<bool, String> {
    let peer = desired.peer_incarnation;
    match mover.memory.peer_feed(link.id, content, peer).map_err(|error| error.to_string())? {
        Some(remembered) => Ok(remembered != feed),
        None => {
            let noted = mover.memory.put_peer_feed(link.id, content, peer, feed).await;
            noted.map(|()| false).map_err(|error| error.to_string())
        }
    }
}

/// What was told on one stream, so that only what changed is told again.
#[derive(Default)]
struct Told(BTreeMap<ContentId, ContentHead>);

impl Told {
    /// The last message was not sent.
    fn forget(&mut self) {
        self.0.clear();
    }
}

fn heartbeat(mover: &Mover, link: &Link, told: &mut Told) -> switchback_store::Result<ExchangeMessage> {
    let desired = link.desired();
    let sent_unix_ms = now_unix_ms();
    let mut heads = Vec::new();
    for flow in link.flows() {
        let Some(head) = content_head(mover, link, &desired, &flow)? else { continue };
        if told.0.get(&flow.content.id) != Some(&head) {
            told.0.insert(flow.content.id, head.clone());
            heads.push(head);
        }
    }
    let header = Some(header(link, &desired));
    let beat = Heartbeat { header, heads, suspended: desired.suspended, sent_unix_ms };
    Ok(ExchangeMessage { body: Some(Body::Heartbeat(beat)) })
}

/// Sender and receiver of our messages about a link.
pub(crate) fn header(link: &Link, desired: &Desired) -> LinkHeader {
    LinkHeader {
        link_id: link.id.as_bytes().to_vec().into(),
        sender_incarnation: desired.local_incarnation.0,
        receiver_incarnation: desired.peer_incarnation.0,
        epoch: link.known_epoch().0,
    }
}

fn content_head(
    mover: &Mover,
    link: &Link,
    desired: &Desired,
    flow: &Flow,
) -> switchback_store::Result<Option<ContentHead>> {
    let Some(status) = mover.status(link.id, flow.content.id)? else { return Ok(None) };
    let own = mover.own_head(flow, &status)?;
    note_agreement(link, flow, &own);
    let state = flow.state();
    let rolled_back = state.peer_rolled_back || state.local_rolled_back;
    Ok(Some(ContentHead {
        content_id: status.content.id.as_bytes().to_vec().into(),
        feed_id: own.feed.0,
        head: own.head,
        digest: Some(digest_to_wire(own.digest)),
        applied_feed_id: own.peer_feed.map_or(0, |feed| feed.0),
        applied: own.cursor,
        pending_objects: own.pending.objects,
        pending_bytes: own.pending.bytes,
        pending_after: own.acknowledged,
        receiving: desired.receives(status.content.id) && !rolled_back,
        ranges: own.ranges.iter().copied().map(digest_to_wire).collect(),
        ranges_aside: own.ranges_aside.iter().map(|range| u32::from(*range)).collect(),
        rolled_back: state.local_rolled_back,
    }))
}

/// Keeps what time alone moves on: as of when the peer is up to date, and since when the two sides
/// say that nothing is left and yet differ.
fn note_agreement(link: &Link, flow: &Flow, own: &OwnHead) {
    let (in_contact, wished) = (link.in_contact(), link.wished(flow.content.id));
    let mut state = flow.state();
    let now = now_unix_ms();
    let failing = state.retries.counts().0 > 0;
    if in_contact && !failing && own.pending.objects == 0 && state.peer.is_some() {
        state.horizon.complete(now);
    } else {
        state.horizon.sample(now, own.head);
    }
    pace::look(link, &mut state, own, wished);
    let differs = state.peer.as_ref().is_some_and(|peer| compare(own, peer, wished) == Agreement::Differs);
    state.differing_since = differs.then(|| state.differing_since.unwrap_or_else(Instant::now));
}

/// Doubling pauses with jitter, so that a peer that comes back is not met by all flows at once.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(RECONNECT_PAUSE)
    }

    pub(crate) fn reset(&mut self) {
        self.0 = RECONNECT_PAUSE;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (self.0 * 2).min(RECONNECT_PAUSE_MAX);
        let mut random = [0];
        // Without random numbers there is no jitter, which harms nobody.
        let _ = random::fill(&mut random);
        pause.mul_f64(0.5 + f64::from(random[0]) / 512.0)
    }
}
