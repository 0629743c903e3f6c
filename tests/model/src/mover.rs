//! A data mover, as far as the link protocol sees it: an access record whose epoch only grows, the
//! barrier of an access mode, the flows that were asked for, and what the other mover told last.
//!
//! It is a model; the rules are those of `data-mover` and `store`: a mode is in force only once it
//! was set in this run, a lower epoch is refused, a higher one that is heard of makes read-only and
//! never read-write, and two sides are equal when both say that nothing is left and their digests
//! agree.

use switchback_link_core::{
    Access, ContentView, DigestView, FlowSpec, FlowView, LinkFlowsView, MoverView, Position,
};
use switchback_model::{AccessMode, Content, ContentId, ContentKind, Epoch, FeedId, LinkId, SiteId};

use crate::store::{Batch, Store};

/// The link that everything is about.
pub const LINK: LinkId = LinkId([7; 16]);

/// Its content.
#[must_use]
pub fn content() -> Content {
    Content { kind: ContentKind::Tenant, name: "acme".into(), id: ContentId([1; 16]) }
}

/// One content as a mover tells the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    feed: FeedId,
    head: u64,
    digest: DigestView,
    applied_feed: Option<FeedId>,
    applied: u64,
    pending: u64,
    pending_after: u64,
}

/// A mover's heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// The highest epoch that it knows.
    pub epoch: Epoch,
    /// The content, if it is there.
    pub head: Option<Head>,
}

/// See the module.
#[derive(Clone, Debug, Hash)]
pub struct Mover {
    /// What is durable of the content.
    pub store: Store,
    /// Names the store.
    pub store_id: u64,
    /// The content exists here.
    pub exists: bool,
    /// The access record, durable; none while the content is on no link.
    pub access: Option<(AccessMode, Epoch)>,
    /// Its link is gone: read-only until it is released.
    pub orphaned: bool,
    /// The record's mode was set in this run.
    confirmed: bool,
    /// This run.
    pub boot: u64,
    /// What the link manager wants; durable.
    pub flows: Option<FlowSpec>,
    known: Epoch,
    peer: Option<Head>,
    peer_epoch: Epoch,
    contact: bool,
}

impl Mover {
    /// A mover over an empty store.
    #[must_use]
    pub fn new(store_id: u64, feed: FeedId, exists: bool) -> Self {
        Self {
            store: Store::new(feed),
            store_id,
            exists,
            access: None,
            orphaned: false,
            confirmed: false,
            boot: 1,
            flows: None,
            known: Epoch(0),
            peer: None,
            peer_epoch: Epoch(0),
            contact: false,
        }
    }

    /// The mode in force. Linked content is read-only from a start until its mode is set.
    #[must_use]
    pub fn mode(&self) -> AccessMode {
        match self.access {
            Some((mode, _)) if self.confirmed && !self.orphaned => mode,
            Some(_) => AccessMode::ReadOnly,
            None if self.exists => AccessMode::ReadWrite,
            None => AccessMode::ReadOnly,
        }
    }

    /// Linked content accepts writes, in this epoch.
    #[must_use]
    pub fn writable_in(&self) -> Option<Epoch> {
        let (_, epoch) = self.access?;
        (self.exists && self.mode() == AccessMode::ReadWrite).then_some(epoch)
    }

    /// The access record's epoch.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.access.map(|(_, epoch)| epoch)
    }

    /// Stopped and started: what was not durable is gone.
    pub fn restart(&mut self) {
        self.boot += 1;
        self.confirmed = false;
        self.peer = None;
        self.peer_epoch = Epoch(0);
        self.contact = false;
        let wished = self.flows.as_ref().map_or(Epoch(0), |flows| flows.epoch);
        self.known = self.epoch().unwrap_or_default().max(wished);
    }

    /// The heads at the barrier of this access mode, or why it is refused.
    ///
    /// # Errors
    /// A higher epoch is known, the epoch names the other side, or there is nothing to write to.
    pub fn set_access(&mut self, access: &Access) -> Result<Vec<Position>, &'static str> {
        let writes = access.mode == AccessMode::ReadWrite;
        if self.flows.is_some() && self.known > access.epoch {
            return Err("stale epoch");
        }
        if writes && access.epoch.holder() != access.side {
            return Err("not the holder");
        }
        if writes && !self.exists {
            return Err("no such content");
        }
        if self.epoch().is_some_and(|current| access.epoch < current) {
            return Err("stale epoch");
        }
        self.exists = true;
        self.access = Some((access.mode, access.epoch));
        self.orphaned = false;
        self.confirmed = true;
        if self.flows.is_some() {
            self.known = self.known.max(access.epoch);
        }
        Ok(vec![self.position()])
    }

    /// Takes the flows that the link manager wants.
    pub fn apply_flows(&mut self, spec: FlowSpec) {
        let peer = |flows: &FlowSpec| (flows.peer_system, flows.peer_incarnation);
        match self.flows.as_ref().map(peer) {
            Some(before) => {
                if spec.epoch > self.known {
                    self.demote(spec.epoch);
                }
                if before != peer(&spec) {
                    self.peer = None;
                }
            }
            None => self.known = self.epoch().unwrap_or_default(),
        }
        self.known = self.known.max(spec.epoch);
        self.flows = Some(spec);
    }

    /// The link is no more; `release`: this side may write from now on.
    pub fn forget(&mut self, release: bool) {
        self.flows = None;
        self.peer = None;
        self.contact = false;
        self.peer_epoch = Epoch(0);
        if release {
            self.access = None;
            self.orphaned = false;
        } else {
            self.orphaned = self.access.is_some();
        }
    }

    fn demote(&mut self, epoch: Epoch) {
        if let Some((mode, current)) = &mut self.access
            && epoch > *current
        {
            *mode = AccessMode::ReadOnly;
            *current = epoch;
        }
        self.known = self.known.max(epoch);
    }

    /// A heartbeat of the other mover, between agreed incarnations. A higher epoch is obeyed first.
    pub fn hear(&mut self, told: &Told) {
        if told.epoch > self.known {
            self.demote(told.epoch);
        }
        if told.head.is_some() {
            self.peer.clone_from(&told.head);
        }
        self.peer_epoch = self.peer_epoch.max(told.epoch);
        self.contact = true;
    }

    /// Nothing was heard of the other mover for a while.
    pub fn lose_contact(&mut self) {
        self.contact = false;
    }

    /// The movers talk.
    #[must_use]
    pub fn in_contact(&self) -> bool {
        self.contact
    }

    /// What this mover tells the other.
    #[must_use]
    pub fn told(&self) -> Told {
        let head = self.access.map(|_| {
            let (peer_feed, acknowledged) = self.known_of_peer();
            Head {
                feed: self.store.feed,
                head: self.store.head,
                digest: self.store.digest(),
                applied_feed: peer_feed,
                applied: self.cursor(),
                pending: self.store.pending(peer_feed, acknowledged),
                pending_after: acknowledged,
            }
        });
        Told { epoch: self.known, head }
    }

    fn known_of_peer(&self) -> (Option<FeedId>, u64) {
        let feed = self.peer.as_ref().map(|peer| peer.feed);
        let acknowledged = self.peer.as_ref().filter(|peer| peer.applied_feed == Some(self.store.feed));
        (feed, acknowledged.map_or(0, |peer| peer.applied))
    }

    fn cursor(&self) -> u64 {
        let feed = self.peer.as_ref().map(|peer| peer.feed);
        feed.and_then(|feed| self.store.cursors.get(&feed)).copied().unwrap_or(0)
    }

    /// Our changes are to be offered to the peer.
    #[must_use]
    pub fn sends(&self) -> bool {
        self.moves(|flow| flow.send)
    }

    /// The peer's changes are to be taken.
    #[must_use]
    pub fn receives(&self) -> bool {
        self.access.is_some() && self.moves(|flow| flow.receive)
    }

    fn moves(&self, way: impl Fn(&switchback_link_core::ContentFlow) -> bool) -> bool {
        let flows = self.flows.as_ref().filter(|flows| !flows.suspended && !flows.silent);
        flows.is_some_and(|flows| flows.contents.iter().any(|flow| way(flow) && !flow.paused))
    }

    /// What the other store lacks of this one.
    #[must_use]
    pub fn batch_for(&self, other: &Self) -> Batch {
        let after = other.store.cursors.get(&self.store.feed).copied().unwrap_or(0);
        self.store.batch(other.store.feed, after)
    }

    /// Applies it.
    pub fn apply(&mut self, batch: &Batch) {
        let primary = self.flows.as_ref().map(|flows| match flows.side {
            switchback_model::Side::Primary => flows.local_system,
            switchback_model::Side::Replica => flows.peer_system,
        });
        self.store.apply(batch, primary.map(SiteId::from).unwrap_or_default());
    }

    fn position(&self) -> Position {
        Position { content: content().id, feed: self.store.feed, sequence: self.store.head }
    }

    /// Both sides hold the same, as far as this one knows.
    fn in_sync(&self, peer: &Head) -> bool {
        let (peer_feed, acknowledged) = self.known_of_peer();
        let all_sent = self.store.pending(peer_feed, acknowledged) == 0;
        let all_received = peer.pending == 0 && peer.pending_after <= self.cursor();
        self.contact
            && peer.digest == self.store.digest()
            && (all_sent || !self.sends())
            && (all_received || !self.receives())
    }

    /// What the link manager is shown.
    #[must_use]
    pub fn view(&self) -> MoverView {
        let mut view = MoverView { boot: self.boot, store: self.store_id, ..MoverView::default() };
        if self.exists {
            view.contents.push(ContentView {
                content: content(),
                mode: self.mode(),
                epoch: self.epoch().unwrap_or_default(),
                link: self.access.map(|_| LINK),
                orphaned: self.orphaned,
                head: self.position(),
                digest: self.store.digest(),
            });
        }
        if let Some(flows) = &self.flows {
            view.links.push(LinkFlowsView {
                link: LINK,
                generation: flows.generation,
                contact: self.contact,
                peer_epoch: self.peer_epoch,
                flows: vec![self.flow_view()],
                trouble: String::new(),
            });
        }
        view
    }

    fn flow_view(&self) -> FlowView {
        let mut flow = FlowView { content: content().id, ..FlowView::default() };
        if let Some(peer) = self.peer.as_ref().filter(|_| self.access.is_some()) {
            let cursor = self.cursor();
            let covered = peer.pending == 0 && peer.pending_after <= cursor;
            let sequence = if covered { peer.head.max(cursor) } else { cursor };
            flow.applied = Some(Position { content: content().id, feed: peer.feed, sequence });
            flow.in_sync = self.in_sync(peer);
        }
        flow
    }
}
