//! What all parts of the mover share, and the links it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use switchback_kit::tls::IdentityWatch;
use switchback_kit::world::random;
use switchback_kit::world::time::unix_ms;
use switchback_model::{ContentId, Epoch, FeedId, LinkId};
use switchback_store::{Blobs, Catalogue, ContentStatus, Error as StoreError, Presence};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bell::Bells;
use crate::desired::Desired;
use crate::flow::agree::OwnHead;
use crate::flow::inlet::Landings;
use crate::flow::limit::FLUSHES_MAX;
use crate::flow::supervisor;
use crate::link::{Flow, Link};
use crate::memory::Memory;
use crate::scrub::Scrub;
use crate::share::Share;
use crate::told::Told;

/// The mover. Shared by its tasks.
pub(crate) struct Mover {
    pub(crate) catalogue: Catalogue,
    pub(crate) blobs: Blobs,
    pub(crate) presence: Presence,
    pub(crate) scrub: Arc<Scrub>,
    /// Of the store's time.
    pub(crate) share: Share,
    pub(crate) memory: Memory,
    /// Blobs that may be flushed at once.
    pub(crate) flushes: Arc<Semaphore>,
    /// Streams that are being received, for their lanes.
    pub(crate) landings: Landings,
    pub(crate) bells: Bells,
    pub(crate) identity: IdentityWatch,
    /// Random per start: another one means that access modes must be set again.
    pub(crate) boot_id: u64,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Where changes are received: as long as they are on their way, a failover without contact loses them.
    pub(crate) changes: Handle,
    /// Where what can wait for clients runs: bodies, and what looks after the store.
    pub(crate) background: Handle,
    links: Mutex<BTreeMap<LinkId, Arc<Link>>>,
    /// Changes of what is desired, one at a time.
    pub(crate) desiring: tokio::sync::Mutex<()>,
}

/// The store, open.
pub(crate) struct Store {
    pub(crate) catalogue: Catalogue,
    pub(crate) blobs: Blobs,
    pub(crate) presence: Presence,
    pub(crate) scrub: Arc<Scrub>,
    pub(crate) share: Share,
}

impl Mover {
    /// The mover with the links it remembers. Nothing runs yet.
    pub(crate) fn new(
        store: Store,
        memory: Memory,
        bells: Bells,
        identity: IdentityWatch,
        background: Handle,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let mut boot_id = [0; 8];
        random::fill(&mut boot_id)?;
        let Store { catalogue, blobs, presence, scrub, share } = store;
        Ok(Arc::new(Self {
            catalogue,
            blobs,
            presence,
            scrub,
            share,
            memory,
            flushes: Arc::new(Semaphore::new(FLUSHES_MAX)),
            landings: Landings::default(),
            bells,
            identity,
            boot_id: u64::from_be_bytes(boot_id),
            shutdown,
            tasks: TaskTracker::new(),
            changes: Handle::current(),
            background,
            links: Mutex::default(),
            desiring: tokio::sync::Mutex::default(),
        }))
    }

    /// Begins what can wait for clients.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(work, &self.background);
    }

    /// Starts the flows that were desired when the service last ran.
    pub(crate) fn resume(self: &Arc<Self>) -> anyhow::Result<()> {
        for flows in self.memory.links()? {
            match Desired::parse(&flows) {
                Ok(desired) => drop(self.run_link(desired)?),
                Err(status) => {
                    tracing::error!(error = status.message(), "flows of a link cannot be understood");
                }
            }
        }
        for (link, content, hash, retry) in self.memory.retries()? {
            if let Some(flow) = self.link(link).and_then(|link| link.flow(content)) {
                flow.state().retries.recall(hash, retry);
            }
        }
        for (link, content, told) in self.memory.told()? {
            if let Some(flow) = self.link(link).and_then(|link| link.flow(content)) {
                let mut state = flow.state();
                // The peer may have been heard already: what it says now counts.
                if state.told.at_unix_ms == 0 {
                    state.told = Told::recall(&told);
                }
            }
        }
        Ok(())
    }

    /// Takes a link in and starts its tasks.
    pub(crate) fn run_link(self: &Arc<Self>, desired: Desired) -> Result<Arc<Link>, StoreError> {
        let id = desired.link;
        let on_record = self.catalogue.contents()?;
        let known_epoch = on_record
            .iter()
            .filter(|status| status.access.link == Some(id))
            .map(|status| status.access.epoch)
            .max()
            .unwrap_or(Epoch(0));
        let link = Arc::new(Link::new(desired, known_epoch, self.shutdown.child_token()));
        self.links_lock().insert(id, Arc::clone(&link));
        supervisor::start(self, &link);
        Ok(link)
    }

    pub(crate) fn link(&self, id: LinkId) -> Option<Arc<Link>> {
        self.links_lock().get(&id).cloned()
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.links_lock().values().cloned().collect()
    }

    pub(crate) fn drop_link(&self, id: LinkId) {
        if let Some(link) = self.links_lock().remove(&id) {
            link.stop.cancel();
            link.flows().iter().for_each(|flow| flow.state().receiver.cancel());
        }
    }

    /// One content as it is here now; none when it is not here, or not on this link.
    pub(crate) fn status(
        &self,
        link: LinkId,
        content: ContentId,
    ) -> Result<Option<ContentStatus>, StoreError> {
        match self.catalogue.content(content) {
            Ok(status) => Ok((status.access.link == Some(link)).then_some(status)),
            Err(StoreError::NoSuchContent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One content as it is told to the peer and compared with what the peer tells.
    pub(crate) fn own_head(&self, flow: &Flow, status: &ContentStatus) -> Result<OwnHead, StoreError> {
        let feed = status.head.feed;
        let (peer_feed, acknowledged) = known_of_peer(flow, status);
        let (ranges_aside, peer_wants_ranges) = {
            let state = flow.state();
            let aside = state.retries.entries().filter(|entry| entry.set_aside);
            let ranges: BTreeSet<u8> = aside.map(|entry| entry.key.digest_range()).collect();
            (ranges, state.peer.as_ref().is_some_and(|peer| !peer.ranges_aside.is_empty()))
        };
        let pending = self.catalogue.pending(status.content.id, peer_feed, acknowledged)?;
        let ranges = if ranges_aside.is_empty() && !peer_wants_ranges {
            Vec::new()
        } else {
            self.catalogue.digest(status.content.id)?.ranges
        };
        Ok(OwnHead {
            feed,
            head: status.head.sequence,
            digest: status.digest,
            peer_feed,
            cursor: peer_feed.map_or(0, |feed| status.cursor(feed)),
            acknowledged,
            pending,
            ranges,
            ranges_aside,
        })
    }

    fn links_lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<LinkId, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The peer's feed, and how far the peer has ours: as told in this run, else as the store noted.
pub(crate) fn known_of_peer(flow: &Flow, status: &ContentStatus) -> (Option<FeedId>, u64) {
    let state = flow.state();
    let told = state.peer.as_ref().map(|peer| peer.feed).filter(|feed| *feed != FeedId(0));
    let noted = status.acknowledged;
    let Some(feed) = told.or(noted.map(|(feed, _)| feed)) else { return (None, 0) };
    let noted = noted.filter(|(noted, _)| *noted == feed).map_or(0, |(_, through)| through);
    (Some(feed), state.acknowledged_of(status.head.feed, feed).max(noted))
}

/// Milliseconds since 1970, for what people read; never for a decision about who writes.
pub(crate) fn now_unix_ms() -> i64 {
    i64::try_from(unix_ms()).unwrap_or(i64::MAX)
}
