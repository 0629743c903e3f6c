//! Whether the two sides of one content agree, and whether one of them went back in time. Pure.
//!
//! Heads and digests that a peer told are a moment old. So a side is judged to be equal only when
//! both say that nothing is left *and* the digests agree; and only the owner of a feed says that it
//! was rolled back, because it compares with its own head of now.

use std::collections::BTreeSet;

use switchback_model::FeedId;
use switchback_proto::replication::v1::ContentHead;
use switchback_store::{Digest, Pending};

use crate::convert::digest_from_wire;

/// One content as the peer last told it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerHead {
    /// Its feed; 0 for none.
    pub feed: FeedId,
    /// The end of it.
    pub head: u64,
    /// What is visible there.
    pub digest: Option<Digest>,
    /// The feed of ours that it has applied; 0 for none.
    pub applied_feed: FeedId,
    /// How far.
    pub applied: u64,
    /// What we lack of it.
    pub pending: Pending,
    /// From where it counted that.
    pub pending_after: u64,
    /// It takes our changes.
    pub receiving: bool,
    /// With objects set aside: the digests of the ranges, and the ranges those objects are in.
    pub ranges: Vec<Digest>,
    /// See `ranges`.
    pub ranges_aside: BTreeSet<u8>,
    /// Its own store went back in time.
    pub rolled_back: bool,
}

impl PeerHead {
    /// Parses what a heartbeat says.
    #[must_use]
    pub fn from_wire(head: &ContentHead) -> Self {
        Self {
            feed: FeedId(head.feed_id),
            head: head.head,
            digest: head.digest.as_ref().and_then(digest_from_wire),
            applied_feed: FeedId(head.applied_feed_id),
            applied: head.applied,
            pending: Pending { objects: head.pending_objects, bytes: head.pending_bytes },
            pending_after: head.pending_after,
            receiving: head.receiving,
            ranges: head.ranges.iter().filter_map(digest_from_wire).collect(),
            ranges_aside: head.ranges_aside.iter().filter_map(|range| u8::try_from(*range).ok()).collect(),
            rolled_back: head.rolled_back,
        }
    }

    /// How far the peer has applied our feed `feed`.
    #[must_use]
    pub fn applied_of(&self, feed: FeedId) -> u64 {
        if self.applied_feed == feed { self.applied } else { 0 }
    }

    /// How far we are known to be current with the peer's feed: what it has beyond our cursor may
    /// all have come from us.
    #[must_use]
    pub fn effective_cursor(&self, cursor: u64) -> u64 {
        if self.pending.objects == 0 && self.pending_after <= cursor { self.head.max(cursor) } else { cursor }
    }
}

/// One content as it is here, read at one instant.
#[derive(Clone, Debug)]
pub struct OwnHead {
    /// Our feed.
    pub feed: FeedId,
    /// The end of it.
    pub head: u64,
    /// What is visible here.
    pub digest: Digest,
    /// The peer's feed, as far as one is known.
    pub peer_feed: Option<FeedId>,
    /// How far that very feed has been applied here: told under another feed's id it would accuse
    /// the peer of having gone back in time.
    pub cursor: u64,
    /// How far the peer has our feed, as far as is known.
    pub acknowledged: u64,
    /// What the peer lacks of ours.
    pub pending: Pending,
    /// With objects set aside: the digests of the ranges, and the ranges those objects are in.
    pub ranges: Vec<Digest>,
    /// See `ranges`.
    pub ranges_aside: BTreeSet<u8>,
}

/// What comparing them says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Something is still on its way, or would be if it were wished.
    Behind,
    /// Nothing is on its way, and the contents differ.
    Differs,
    /// Nothing is on its way, and the contents are equal, but for what was set aside by name.
    Equal,
}

/// The directions in which changes are wished to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directions {
    /// Out of this side.
    pub sends: bool,
    /// Into it.
    pub receives: bool,
}

/// A direction that is not wished holds nothing back: what one side has beyond a cursor that nobody
/// moves may all be on the other side already, and the digests tell.
#[must_use]
pub fn compare(own: &OwnHead, peer: &PeerHead, wished: Directions) -> Agreement {
    let all_sent = own.pending.objects == 0;
    // The peer counted from `pending_after`; from further on we have not looked.
    let all_received = peer.pending.objects == 0 && peer.pending_after <= own.cursor;
    let is_equal = peer.digest == Some(own.digest) || equal_but_for_set_aside(own, peer);
    if is_equal && (all_sent || !wished.sends) && (all_received || !wished.receives) {
        Agreement::Equal
    } else if all_sent && all_received && !is_equal {
        Agreement::Differs
    } else {
        Agreement::Behind
    }
}

fn equal_but_for_set_aside(own: &OwnHead, peer: &PeerHead) -> bool {
    let aside = |range: &u8| own.ranges_aside.contains(range) || peer.ranges_aside.contains(range);
    let any_aside = !own.ranges_aside.is_empty() || !peer.ranges_aside.is_empty();
    any_aside
        && own.ranges.len() == 256
        && peer.ranges.len() == 256
        && (0..=u8::MAX)
            .all(|range| aside(&range) || own.ranges[usize::from(range)] == peer.ranges[usize::from(range)])
}

/// The ranges in which two digests differ.
#[must_use]
pub fn differing(own: &[Digest], peer: &[Digest]) -> [bool; 256] {
    std::array::from_fn(|range| own.get(range) != peer.get(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest { total: [byte; 32], records: 1 }
    }

    fn own() -> OwnHead {
        OwnHead {
            feed: FeedId(1),
            head: 10,
            digest: digest(1),
            peer_feed: Some(FeedId(2)),
            cursor: 4,
            acknowledged: 10,
            pending: Pending::default(),
            ranges: Vec::new(),
            ranges_aside: BTreeSet::new(),
        }
    }

    fn peer() -> PeerHead {
        PeerHead {
            feed: FeedId(2),
            head: 9,
            digest: Some(digest(1)),
            pending_after: 4,
            ..PeerHead::default()
        }
    }

    const BOTH: Directions = Directions { sends: true, receives: true };

    #[test]
    fn a_direction_that_is_not_wished_holds_nothing_back() {
        let some = Pending { objects: 1, bytes: 0 };
        let (own, peer) = (own(), PeerHead { pending: some, ..peer() });
        assert_eq!(compare(&own, &peer, BOTH), Agreement::Behind);
        let only_sends = Directions { sends: true, receives: false };
        assert_eq!(compare(&own, &peer, only_sends), Agreement::Equal);
        let other = PeerHead { digest: Some(digest(2)), ..peer };
        assert_eq!(compare(&own, &other, only_sends), Agreement::Behind);
    }

    #[test]
    fn equal_digests_prove_nothing_while_something_is_on_its_way() {
        let some = Pending { objects: 1, bytes: 0 };
        assert_eq!(compare(&own(), &peer(), BOTH), Agreement::Equal);
        assert_eq!(compare(&OwnHead { pending: some, ..own() }, &peer(), BOTH), Agreement::Behind);
        assert_eq!(compare(&own(), &PeerHead { pending: some, ..peer() }, BOTH), Agreement::Behind);
        // The peer counted from a place that we have not reached: its count does not cover us.
        assert_eq!(compare(&OwnHead { cursor: 3, ..own() }, &peer(), BOTH), Agreement::Behind);
    }

    #[test]
    fn nothing_left_and_another_digest_is_a_difference() {
        let other = PeerHead { digest: Some(digest(2)), ..peer() };
        assert_eq!(compare(&own(), &other, BOTH), Agreement::Differs);
        assert_eq!(compare(&own(), &PeerHead { digest: None, ..peer() }, BOTH), Agreement::Differs);
    }

    #[test]
    fn only_the_ranges_of_what_was_set_aside_may_differ() {
        let mut ours = vec![digest(1); 256];
        let theirs = vec![digest(1); 256];
        ours[7] = digest(9);
        let own = OwnHead { digest: digest(3), ranges: ours, ranges_aside: BTreeSet::from([7]), ..own() };
        let peer = PeerHead { ranges: theirs, ..peer() };
        assert_eq!(compare(&own, &peer, BOTH), Agreement::Equal);
        let elsewhere = OwnHead { ranges_aside: BTreeSet::from([8]), ..own.clone() };
        assert_eq!(compare(&elsewhere, &peer, BOTH), Agreement::Differs);
        assert!(differing(&own.ranges, &peer.ranges)[7]);
    }

    #[test]
    fn changes_that_came_from_us_do_not_hold_the_cursor_back() {
        assert_eq!(peer().effective_cursor(4), 9);
        let pending = Pending { objects: 1, bytes: 1 };
        assert_eq!(PeerHead { pending, ..peer() }.effective_cursor(4), 4);
    }
}
