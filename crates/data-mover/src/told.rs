//! What the other side last told of its changes that are not here. Apart from the heads on which
//! decisions rest: this is for people, and it is remembered over a restart, because once contact is
//! lost nobody tells it again.

use std::sync::Arc;

use switchback_kit::durable::Error;
use switchback_model::FeedId;
use switchback_proto::mover::record::v1::Told as Record;
use switchback_store::Pending;

use crate::flow::agree::PeerHead;
use crate::link::{FlowState, Link};
use crate::mover::Mover;
use crate::progress::Horizon;

/// Of one content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) feed: FeedId,
    /// The last change that it told of.
    pub(crate) head: u64,
    pending: Pending,
    /// By our clock; 0: it never told anything.
    pub(crate) at_unix_ms: i64,
    /// By the peer's clock: what it had made durable before is here.
    horizon: Horizon,
    /// As it was made durable last.
    remembered_at: i64,
}

impl Told {
    /// A heartbeat was heard that the peer made at `sent_unix_ms`, when its content was `peer`; its
    /// feed is applied here through `cursor`.
    pub(crate) fn hear(&mut self, now_unix_ms: i64, sent_unix_ms: i64, peer: &PeerHead, cursor: u64) {
        if self.feed != peer.feed {
            *self = Self { feed: peer.feed, ..Self::default() };
        }
        self.head = peer.head;
        self.pending = peer.pending;
        self.at_unix_ms = now_unix_ms;
        if sent_unix_ms == 0 {
            return;
        }
        if peer.effective_cursor(cursor) >= peer.head {
            self.horizon.complete(sent_unix_ms);
        } else {
            self.horizon.sample(sent_unix_ms, peer.head);
            self.horizon.acknowledged(cursor);
        }
    }

    /// What is at most missing here, when the feed is applied through `cursor`.
    pub(crate) fn missing(&self, cursor: u64) -> Pending {
        if cursor >= self.head { Pending::default() } else { self.pending }
    }

    /// Unix milliseconds by the peer's clock; 0 when nothing is known.
    pub(crate) fn complete_as_of(&self) -> i64 {
        self.horizon.as_of()
    }

    pub(crate) fn recall(record: &Record) -> Self {
        let mut horizon = Horizon::default();
        horizon.complete(record.complete_as_of_unix_ms);
        Self {
            feed: FeedId(record.feed_id),
            head: record.head,
            pending: Pending { objects: record.pending_objects, bytes: record.pending_bytes },
            at_unix_ms: record.told_unix_ms,
            horizon,
            remembered_at: record.told_unix_ms,
        }
    }

    fn record(&self) -> Record {
        Record {
            feed_id: self.feed.0,
            head: self.head,
            pending_objects: self.pending.objects,
            pending_bytes: self.pending.bytes,
            told_unix_ms: self.at_unix_ms,
            complete_as_of_unix_ms: self.horizon.as_of(),
        }
    }
}

/// Takes in a heartbeat for one content whose feed of the peer is applied through `cursor`.
pub(crate) fn hear(state: &mut FlowState, now_unix_ms: i64, sent_unix_ms: i64, cursor: u64) {
    if let Some(peer) = &state.peer {
        state.told.hear(now_unix_ms, sent_unix_ms, peer, cursor);
    }
}

/// Makes what a link's peer told durable: contact is lost, or may be soon. What a kill in the middle
/// of contact takes away is then missing, and is said to be unknown.
pub(crate) async fn remember(mover: &Arc<Mover>, link: &Link) -> Result<(), Error> {
    let mut records = Vec::new();
    for flow in link.flows() {
        let mut state = flow.state();
        if state.told.at_unix_ms > state.told.remembered_at {
            state.told.remembered_at = state.told.at_unix_ms;
            records.push((flow.content.id, state.told.record()));
        }
    }
    mover.memory.put_told(link.id, &records).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(head: u64, pending: u64) -> PeerHead {
        PeerHead {
            feed: FeedId(7),
            head,
            pending: Pending { objects: pending, bytes: pending * 10 },
            ..PeerHead::default()
        }
    }

    #[test]
    fn what_is_here_is_complete_as_of_the_heartbeat_whose_head_was_reached() {
        let mut told = Told::default();
        told.hear(1_000, 900, &peer(5, 0), 5);
        assert_eq!((told.missing(5), told.complete_as_of()), (Pending::default(), 900));
        told.hear(2_000, 1_900, &peer(8, 3), 5);
        assert_eq!((told.missing(5).objects, told.complete_as_of()), (3, 900));
        told.hear(3_000, 2_900, &peer(9, 1), 8);
        assert_eq!((told.missing(8).objects, told.complete_as_of()), (1, 1_900));
        assert_eq!(told.missing(9), Pending::default());
        let again = Told::recall(&told.record());
        assert_eq!((again.missing(8), again.complete_as_of()), (told.missing(8), 1_900));
    }

    #[test]
    fn another_life_of_the_feed_begins_with_nothing_told() {
        let mut told = Told::default();
        told.hear(1_000, 900, &peer(5, 0), 5);
        told.hear(2_000, 0, &PeerHead { feed: FeedId(8), ..peer(1, 1) }, 0);
        assert_eq!((told.complete_as_of(), told.missing(0).objects), (0, 1));
    }
}
