//! One link as the mover runs it: what is desired, what was observed, and the flows of its
//! contents. Snapshots behind short locks; nothing here waits for disk or network.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchback_kit::tls::{Dial, Expect, IdentityWatch};
use switchback_model::{Content, ContentId, Epoch, FeedId, Gauge, LinkId, Rate, Side};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::desired::Desired;
use crate::flow::agree::{Directions, PeerHead};
use crate::flow::limit::{CONTACT_TIME, LANES_MAX, LINK_BATCHES_MAX, limits};
use crate::flow::pack::Gain;
use crate::flow::rate::Turns;
use crate::flow::room::Room;
use crate::mover::now_unix_ms;
use crate::progress::{Horizon, Meter};
use crate::retry::Retries;
use crate::rpc::pending::Listed;
use crate::share::Purpose;
use crate::told::Told;
use tokio::time::Instant;

/// One link.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Ends the link's tasks.
    pub(crate) stop: CancellationToken,
    desired: watch::Sender<Arc<Desired>>,
    changed: watch::Sender<u64>,
    observed: Mutex<Observed>,
    flows: Mutex<BTreeMap<ContentId, Arc<Flow>>>,
    /// The connection of batches, then those of lanes.
    bulk: Mutex<[Option<Dial>; 1 + LANES_MAX]>,
    /// Batches that may be on their way besides one of each content.
    pub(crate) batches: Arc<Semaphore>,
    /// For bodies that come.
    pub(crate) room: Room,
    /// Whose message leaves next, and when.
    pub(crate) turns: Turns,
}

#[derive(Default)]
struct Observed {
    heard: Option<Instant>,
    /// What the peer's wall clock showed then, in Unix milliseconds.
    peer_unix_ms: u64,
    /// Streams on which the two movers exchange heartbeats, whoever dialled.
    streams: usize,
    peer_epoch: Epoch,
    known_epoch: Epoch,
    trouble: String,
    listed: Option<Listed>,
}

/// One content of one link, both directions.
pub(crate) struct Flow {
    pub(crate) content: Content,
    /// What compression comes to.
    pub(crate) gain: Arc<Gain>,
    state: Mutex<FlowState>,
}

/// What of our feed was made durable, and by whom: a peer that went back in time or was rebuilt has
/// another feed, and what it had before counts no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Our feed; 0 for none.
    pub(crate) feed: FeedId,
    /// The peer's.
    pub(crate) by: FeedId,
    /// How far.
    pub(crate) through: u64,
}

/// See [`FlowState`].
pub(crate) struct Gauges {
    pub(crate) began: Instant,
    /// What was in force when they were last looked at.
    pub(crate) rate: Rate,
    pub(crate) sending: Gauge,
    pub(crate) receiving: Gauge,
}

/// What is known of it.
pub(crate) struct FlowState {
    /// As the peer last told it.
    pub(crate) peer: Option<PeerHead>,
    /// The same for people, over a restart.
    pub(crate) told: Told,
    /// How far a flow of this run has been made durable.
    pub(crate) acknowledged: Acknowledged,
    pub(crate) sent: Meter,
    /// Bytes of bodies sent, as [`Meter::bytes`] counts them, of which no more is on its way.
    pub(crate) landed_bytes: u64,
    /// Keys listed to find what differs.
    pub(crate) compared: u64,
    pub(crate) received: Meter,
    /// How what is pending moves, out of this side and into it.
    pub(crate) gauges: Gauges,
    pub(crate) horizon: Horizon,
    pub(crate) retries: Retries,
    pub(crate) sending_trouble: String,
    pub(crate) receiving_trouble: String,
    pub(crate) peer_rolled_back: bool,
    pub(crate) local_rolled_back: bool,
    /// Ends the receiving stream that is running; a new one takes its place.
    pub(crate) receiver: CancellationToken,
    /// Since when both sides say that nothing is left and yet differ.
    pub(crate) differing_since: Option<Instant>,
}

impl Flow {
    fn new(content: Content) -> Self {
        let now = Instant::now();
        let state = FlowState {
            peer: None,
            told: Told::default(),
            acknowledged: Acknowledged::default(),
            sent: Meter::new(now),
            compared: 0,
            landed_bytes: 0,
            received: Meter::new(now),
            gauges: Gauges {
                began: now,
                rate: Rate::Unlimited,
                sending: Gauge::default(),
                receiving: Gauge::default(),
            },
            horizon: Horizon::default(),
            retries: Retries::default(),
            sending_trouble: String::new(),
            receiving_trouble: String::new(),
            peer_rolled_back: false,
            local_rolled_back: false,
            receiver: CancellationToken::new(),
            differing_since: None,
        };
        Self { content, gain: Arc::default(), state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, FlowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the sides went back in time: nothing flows until the link is restored.
    pub(crate) fn is_rolled_back(&self) -> bool {
        let state = self.state();
        state.peer_rolled_back || state.local_rolled_back
    }
}

impl FlowState {
    /// How far the peer with the feed `by` has made our feed `feed` durable, by its acknowledgements
    /// and by what it told.
    pub(crate) fn acknowledged_of(&self, feed: FeedId, by: FeedId) -> u64 {
        let noted = self.acknowledged;
        let by_flow = if (noted.feed, noted.by) == (feed, by) { noted.through } else { 0 };
        let told = self.peer.as_ref().filter(|peer| peer.feed == by);
        told.map_or(0, |peer| peer.applied_of(feed)).max(by_flow)
    }
}

/// Counts a heartbeat stream for as long as it lives.
pub(crate) struct StreamUp(Arc<Link>);

impl Drop for StreamUp {
    fn drop(&mut self) {
        self.0.observed().streams -= 1;
        self.0.ring();
    }
}

impl Link {
    pub(crate) fn new(desired: Desired, known_epoch: Epoch, stop: CancellationToken) -> Self {
        let link = Self {
            id: desired.link,
            stop,
            changed: watch::Sender::new(0),
            observed: Mutex::new(Observed { known_epoch, ..Observed::default() }),
            flows: Mutex::default(),
            bulk: Mutex::default(),
            batches: Arc::new(Semaphore::new(LINK_BATCHES_MAX)),
            room: Room::default(),
            turns: Turns::default(),
            desired: watch::Sender::new(Arc::new(desired)),
        };
        link.follow_desired();
        link
    }

    pub(crate) fn desired(&self) -> Arc<Desired> {
        self.desired.borrow().clone()
    }

    pub(crate) fn watch_desired(&self) -> watch::Receiver<Arc<Desired>> {
        self.desired.subscribe()
    }

    /// Replaces what is desired; answers the contents that are no longer on the link.
    pub(crate) fn desire(&self, desired: Desired) -> Vec<ContentId> {
        let rerouted = self.desired().route() != desired.route();
        self.desired.send_replace(Arc::new(desired));
        if rerouted {
            self.drop_bulk();
        }
        let gone = self.follow_desired();
        self.turns.look_again();
        self.ring();
        gone
    }

    fn follow_desired(&self) -> Vec<ContentId> {
        let desired = self.desired();
        self.learn_epoch(desired.epoch);
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        for flow in &desired.contents {
            flows.entry(flow.content.id).or_insert_with(|| Arc::new(Flow::new(flow.content.clone())));
        }
        let kept: std::collections::BTreeSet<_> =
            desired.contents.iter().map(|flow| flow.content.id).collect();
        let gone: Vec<_> = flows.keys().copied().filter(|content| !kept.contains(content)).collect();
        for content in &gone {
            if let Some(flow) = flows.remove(content) {
                flow.state().receiver.cancel();
            }
        }
        gone
    }

    pub(crate) fn flow(&self, content: ContentId) -> Option<Arc<Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner).get(&content).cloned()
    }

    pub(crate) fn flows(&self) -> Vec<Arc<Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The highest epoch that this system knows of the link.
    pub(crate) fn known_epoch(&self) -> Epoch {
        self.observed().known_epoch
    }

    pub(crate) fn learn_epoch(&self, epoch: Epoch) {
        let mut observed = self.observed();
        observed.known_epoch = observed.known_epoch.max(epoch);
    }

    pub(crate) fn peer_epoch(&self) -> Epoch {
        self.observed().peer_epoch
    }

    /// What may leave now. The drain of a failover that was heard of is not held, whether this system's
    /// link manager knows of it yet or not.
    pub(crate) fn rate(&self) -> Rate {
        let desired = self.desired();
        if self.known_epoch() > desired.epoch {
            return Rate::Unlimited;
        }
        desired.schedule.rate_at(now_unix_ms())
    }

    /// What its flows move changes for: while the replica has the authority, a failure is to be ended.
    pub(crate) fn purpose(&self) -> Purpose {
        match self.known_epoch().holder() {
            Side::Primary => Purpose::Replication,
            Side::Replica => Purpose::Recovery,
        }
    }

    /// The directions in which changes of this content are wished to move.
    pub(crate) fn wished(&self, content: ContentId) -> Directions {
        let desired = self.desired();
        Directions { sends: desired.sends(content), receives: desired.receives(content) }
    }

    /// A heartbeat of the peer was obeyed, which it made when its clock showed `peer_unix_ms`.
    pub(crate) fn heard(&self, epoch: Epoch, peer_unix_ms: u64) {
        let mut observed = self.observed();
        observed.heard = Some(Instant::now());
        observed.peer_unix_ms = peer_unix_ms;
        observed.peer_epoch = observed.peer_epoch.max(epoch);
        observed.trouble.clear();
    }

    /// The movers of the two systems talk.
    pub(crate) fn in_contact(&self) -> bool {
        let observed = self.observed();
        observed.streams > 0 && observed.heard.is_some_and(|heard| heard.elapsed() < CONTACT_TIME)
    }

    /// What the peer's wall clock shows now, in Unix milliseconds, but for the time on the way; `None` out of
    /// contact.
    pub(crate) fn peer_unix_ms(&self) -> Option<u64> {
        if !self.in_contact() {
            return None;
        }
        let observed = self.observed();
        let since = u64::try_from(observed.heard?.elapsed().as_millis()).ok()?;
        (observed.peer_unix_ms > 0).then(|| observed.peer_unix_ms + since)
    }

    pub(crate) fn stream_up(self: &Arc<Self>) -> StreamUp {
        self.observed().streams += 1;
        StreamUp(Arc::clone(self))
    }

    /// Why the movers do not talk; empty in contact.
    pub(crate) fn trouble(&self) -> String {
        if self.in_contact() {
            return String::new();
        }
        let trouble = self.observed().trouble.clone();
        if trouble.is_empty() { "the other system's mover was not heard of yet".into() } else { trouble }
    }

    /// What the peer named when it was last asked what is missing here.
    pub(crate) fn listed(&self) -> Option<Listed> {
        self.observed().listed.clone()
    }

    pub(crate) fn set_listed(&self, listed: Option<Listed>) {
        self.observed().listed = listed;
    }

    pub(crate) fn set_trouble(&self, trouble: String) {
        let changed = {
            let mut observed = self.observed();
            let changed = observed.trouble != trouble;
            observed.trouble = trouble;
            changed
        };
        if changed {
            self.ring();
        }
    }

    /// Wakes who waits for anything about this link, and has the peer told.
    pub(crate) fn ring(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The connection that batches travel on: apart from the heartbeats', so that a full line delays no
    /// epoch.
    pub(crate) fn bulk(&self, identity: &IdentityWatch) -> Dial {
        self.connection(identity, 0)
    }

    /// One of the connections that large bodies travel on: apart from the batches', so that a content's
    /// large bodies do not delay what others have.
    pub(crate) fn lane(&self, identity: &IdentityWatch, lane: usize) -> Dial {
        self.connection(identity, 1 + lane % LANES_MAX)
    }

    fn connection(&self, identity: &IdentityWatch, place: usize) -> Dial {
        let mut bulk = self.bulk.lock().unwrap_or_else(PoisonError::into_inner);
        bulk[place].get_or_insert_with(|| self.dial(identity)).clone()
    }

    /// A connection failed: the next flow makes new ones, which may take another way.
    pub(crate) fn drop_bulk(&self) {
        *self.bulk.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }

    /// A connection of its own to the peer that was agreed on, and to nobody else.
    pub(crate) fn dial(&self, identity: &IdentityWatch) -> Dial {
        let desired = self.desired();
        let expect = Expect::Incarnation(desired.peer_system, desired.peer_incarnation);
        switchback_kit::tls::channel(&desired.peer_address, identity, expect, &limits())
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchback_model::ContentKind;

    #[test]
    fn what_a_peer_had_in_a_life_before_counts_no_more() {
        let (ours, before, now) = (FeedId(1), FeedId(2), FeedId(3));
        let flow =
            Flow::new(Content { kind: ContentKind::Tenant, id: ContentId([7; 16]), name: "acme".into() });
        let mut state = flow.state();
        state.acknowledged = Acknowledged { feed: ours, by: before, through: 136 };
        assert_eq!(state.acknowledged_of(ours, before), 136);
        // It comes back from a backup that has three changes, under a new feed.
        state.peer = Some(PeerHead { feed: now, applied_feed: ours, applied: 3, ..PeerHead::default() });
        assert_eq!(state.acknowledged_of(ours, now), 3);
        assert_eq!(state.acknowledged_of(FeedId(9), now), 0, "another feed of ours");
    }
}
