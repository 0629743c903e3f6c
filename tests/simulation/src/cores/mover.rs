//! The mover as far as it decides: access modes and flows as the link manager asks for them, epochs and
//! heads as the other mover tells them, and what the link manager is shown. Written after
//! `data-mover`'s `rpc::mover`, `flow::exchange` and `report`, whose tasks cannot be called here; what two
//! sides agree on is decided by the mover's own [`compare`].

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use switchback_link_core::{
    Access, ContentFlow, ContentView, DamageView, DigestView, FlowSpec, FlowView, LinkFlowsView, MoverView,
    Position,
};
use switchback_model::{Content, ContentId, Epoch, FeedId, Hlc, Incarnation, LinkId, Side, SystemId};
use switchback_mover::flow::agree::{Agreement, Directions, OwnHead, PeerHead, compare};
use switchback_proto::replication::v1 as wire;
use switchback_store::{
    AccessRecord, Catalogue, ConflictPolicy, ContentStatus, Cursor, Error, FeedPosition, Lineage, Options,
    Parting, Sender, Systems,
};

use crate::cores::Trouble;
use crate::cores::receiver::Receiving;
use crate::cores::sender::Sending;
use crate::cores::site::Keeper;

/// A peer that was not heard of for this long, in milliseconds, is out of contact.
pub const CONTACT_MS: u64 = 2_000;
/// Both sides say that nothing is left and differ: this long before it is believed.
pub const DIFFERENCE_MS: u64 = 2_000;

/// A heartbeat between movers.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Sender, receiver and the sender's epoch.
    pub header: Header,
    /// The content, if it is there.
    pub head: Option<PeerHead>,
}

/// Sender and receiver of a message between movers, as the sender knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The link.
    pub link: LinkId,
    /// The sender's incarnation.
    pub sender: Incarnation,
    /// The incarnation that is meant.
    pub receiver: Incarnation,
    /// The highest epoch that the sender knows.
    pub epoch: Epoch,
}

/// What the two ends of a flow say. Batches and comparisons are the wire's own.
#[derive(Clone, Debug)]
pub enum Flowing {
    /// The sender's first word.
    Hello {
        /// See [`Header`].
        header: Header,
        /// The sender's feed.
        feed: FeedId,
        /// The end of it.
        head: u64,
        /// The digests differ although nothing is left.
        compare: bool,
        /// Which run of the sender's store wrote which part of the feed.
        lineage: Lineage,
        /// The receiver's feed as far as the sender has read it, and the runs that wrote that.
        read: (Option<Cursor>, Lineage),
        /// The highest time that the sender has seen.
        clock: Hlc,
    },
    /// The receiver's.
    Welcome {
        /// The receiver's feed.
        feed: FeedId,
        /// How far it has the sender's.
        cursor: u64,
        /// Its digest by ranges, to be compared; else none.
        ranges: Vec<switchback_store::Digest>,
        /// The highest time that the receiver has seen.
        clock: Hlc,
        /// Where the sender's store parted from what the receiver had read.
        parting: Option<Parting>,
    },
    /// The receiver takes nothing.
    Refused(Refused),
    /// Changes.
    Batch(wire::Batch),
    /// They are durable.
    Ack(wire::Ack),
    /// What was refused of them is on the sender's list.
    Noted(u64),
    /// Keys of a comparison.
    Manifest(wire::Manifest),
    /// Which of them are wanted.
    Missing(wire::Missing),
}

impl fmt::Display for Flowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { head, .. } => write!(f, "hello at {head}"),
            Self::Welcome { cursor, .. } => write!(f, "welcome at {cursor}"),
            Self::Refused(refused) => write!(f, "{refused:?}"),
            Self::Batch(batch) => write!(f, "batch {} of {}", batch.number, batch.changes.len()),
            Self::Ack(ack) => write!(f, "ack {}, {} refused", ack.batch, ack.refused.len()),
            Self::Noted(batch) => write!(f, "noted {batch}"),
            Self::Manifest(manifest) => write!(f, "manifest of {}", manifest.entries.len()),
            Self::Missing(missing) => write!(f, "missing {}", missing.wanted.len()),
        }
    }
}

/// Why a receiver takes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It knows this higher epoch.
    StaleEpoch(Epoch),
    /// The sender has gone back in time.
    RolledBack,
    /// Something else, in words.
    Other(String),
}

/// The link as a mover runs it.
pub struct Link {
    /// What is desired.
    pub spec: FlowSpec,
    /// The highest epoch that is known.
    pub known: Epoch,
    /// Heartbeats can be exchanged.
    pub stream: bool,
    /// The peer as it was last told of.
    pub peer: Option<PeerHead>,
    /// How far the peer has which feed of ours.
    pub acknowledged: (FeedId, u64),
    /// The peer's store went back in time, or was replaced.
    pub peer_rolled_back: bool,
    /// Ours did.
    pub local_rolled_back: bool,
    /// Since when nothing is left and the sides differ, in simulated milliseconds.
    pub differing_since: Option<u64>,
    /// When that was last mended.
    pub repaired: Option<u64>,
    /// Why sending does not go on.
    pub sending_trouble: String,
    /// The sending end.
    pub sending: Option<Sending>,
    /// The receiving end.
    pub receiving: Option<Receiving>,
    heard_ms: Option<u64>,
    peer_epoch: Epoch,
    trouble: String,
}

impl Link {
    fn new(spec: FlowSpec, on_record: Epoch) -> Self {
        Self {
            known: spec.epoch.max(on_record),
            spec,
            stream: false,
            peer: None,
            acknowledged: (FeedId(0), 0),
            peer_rolled_back: false,
            local_rolled_back: false,
            differing_since: None,
            repaired: None,
            sending_trouble: String::new(),
            sending: None,
            receiving: None,
            heard_ms: None,
            peer_epoch: Epoch(0),
            trouble: String::new(),
        }
    }

    /// The one content that the simulation's link has.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        self.spec.contents.first().map(|flow| &flow.content)
    }

    /// The movers talk.
    #[must_use]
    pub fn in_contact(&self, now: u64) -> bool {
        self.stream && self.heard_ms.is_some_and(|heard| now - heard < CONTACT_MS)
    }

    /// The directions in which changes are wished to move.
    #[must_use]
    pub fn wished(&self) -> Directions {
        let moves = !self.spec.suspended && !self.spec.silent;
        let any = |way: fn(&ContentFlow) -> bool| {
            moves && self.spec.contents.iter().any(|flow| way(flow) && !flow.paused)
        };
        Directions { sends: any(|flow| flow.send), receives: any(|flow| flow.receive) }
    }

    /// One of the sides went back in time: nothing flows until the link is restored.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        self.peer_rolled_back || self.local_rolled_back
    }

    /// Both say that nothing is left, and have differed for a while.
    #[must_use]
    pub fn is_differing(&self, now: u64) -> bool {
        self.differing_since.is_some_and(|since| now - since > DIFFERENCE_MS)
    }

    /// Our messages' header.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            link: self.spec.link,
            sender: self.spec.local_incarnation,
            receiver: self.spec.peer_incarnation,
            epoch: self.known,
        }
    }

    /// The life of the peer that was agreed on.
    #[must_use]
    pub fn agreed(&self) -> (SystemId, Incarnation) {
        (self.spec.peer_system, self.spec.peer_incarnation)
    }

    /// How the peer's changes are applied, which come by `feed`; with where we parted from what it has read.
    #[must_use]
    pub fn sender_of(&self, feed: FeedId, lineage: Lineage, local_parting: Option<Parting>) -> Sender {
        let spec = &self.spec;
        let primary = match spec.side {
            Side::Primary => spec.local_system,
            Side::Replica => spec.peer_system,
        };
        let policy = match spec.conflict_policy {
            switchback_link_core::ConflictPolicy::NewestWins => ConflictPolicy::NewestWins,
            switchback_link_core::ConflictPolicy::ReplicaWins => ConflictPolicy::ReplicaWins,
            switchback_link_core::ConflictPolicy::KeepBoth => ConflictPolicy::KeepBoth,
        };
        let systems = Systems(vec![
            (spec.local_system.into(), spec.local_name.clone()),
            (spec.peer_system.into(), spec.peer_name.clone()),
        ]);
        Sender {
            feed,
            lineage,
            local_parting,
            link: spec.link,
            primary_site: primary.into(),
            policy,
            systems,
        }
    }

    fn acknowledged_of(&self, feed: FeedId) -> u64 {
        let by_flow = if self.acknowledged.0 == feed { self.acknowledged.1 } else { 0 };
        self.peer.as_ref().map_or(0, |peer| peer.applied_of(feed)).max(by_flow)
    }

    /// The peer's feed, and how far the peer has ours: as told in this run, else as the store noted.
    fn known_of_peer(&self, status: &ContentStatus) -> (Option<FeedId>, u64) {
        let told = self.peer.as_ref().map(|peer| peer.feed).filter(|feed| *feed != FeedId(0));
        let acknowledged = self.acknowledged_of(status.head.feed);
        match (told, status.acknowledged) {
            (Some(feed), Some((noted_feed, noted))) if feed == noted_feed => (told, acknowledged.max(noted)),
            (Some(_), _) | (None, None) => (told, acknowledged),
            (None, Some((feed, noted))) => (Some(feed), acknowledged.max(noted)),
        }
    }
}

/// One run of it.
pub struct Mover {
    /// The store.
    pub catalogue: Catalogue,
    /// Names this run.
    pub boot: u64,
    /// What else is durable.
    pub keeper: Keeper,
    /// The link, once flows are desired.
    pub link: Option<Link>,
    /// An access mode was set in this run: before that linked content is read-only.
    pub is_set: bool,
    /// The link manager is to be shown something.
    pub changed: bool,
    /// The peer is to be told something.
    pub rings: bool,
}

impl Mover {
    /// Recovers from `folder`; versions written here name `id`.
    ///
    /// # Errors
    /// The store cannot be read, or made.
    pub fn start(folder: &Path, id: SystemId, keeper: Keeper, boot: u64) -> Result<Self, Trouble> {
        let catalogue = Catalogue::open(folder, Options::new(id.into()))?;
        let mut mover =
            Self { catalogue, boot, keeper, link: None, is_set: false, changed: true, rings: true };
        if let Some(spec) = mover.keeper.read(|kept| kept.flows.clone()) {
            mover.run_link(spec)?;
        }
        Ok(mover)
    }

    fn run_link(&mut self, spec: FlowSpec) -> Result<(), Trouble> {
        let contents = self.catalogue.contents()?;
        let ours = contents.iter().filter(|status| status.access.link == Some(spec.link));
        let on_record = ours.map(|status| status.access.epoch).max().unwrap_or_default();
        self.link = Some(Link::new(spec, on_record));
        Ok(())
    }

    /// The link's content as it is here now; none when it is not here, or not on the link.
    ///
    /// # Errors
    /// The store failed.
    pub fn status(&self) -> Result<Option<ContentStatus>, Trouble> {
        let Some((link, content)) =
            self.link.as_ref().and_then(|link| Some((link.spec.link, link.content()?)))
        else {
            return Ok(None);
        };
        match self.catalogue.content(content.id) {
            Ok(status) => Ok((status.access.link == Some(link)).then_some(status)),
            Err(Error::NoSuchContent) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn ring(&mut self) {
        (self.changed, self.rings) = (true, true);
    }

    /// Makes an access mode durable: the heads at its barrier.
    ///
    /// # Errors
    /// Refused, or the store failed.
    pub async fn set_access(&mut self, access: &Access) -> Result<Vec<Position>, Trouble> {
        let spec = self.link.as_ref().map(|link| &link.spec);
        let record = AccessRecord {
            mode: access.mode,
            epoch: access.epoch,
            link: Some(access.link),
            link_name: access.name.clone(),
            side: access.side,
            local_incarnation: spec.map(|spec| spec.local_incarnation).unwrap_or_default(),
            peer_incarnation: spec.map(|spec| spec.peer_incarnation).unwrap_or_default(),
            primary_site: access.primary.into(),
            replica_site: access.replica.into(),
            writer: Some(access.writer.domain.clone()).filter(|domain| !domain.is_empty()),
            both_read_only: access.writer.both_read_only,
            orphaned: false,
        };
        // What the peer said may be on its way to the store: no lower epoch passes it.
        if let Some(known) = self.link.as_ref().map(|link| link.known).filter(|known| *known > access.epoch) {
            return Err(Error::StaleEpoch { current: known, offered: access.epoch }.into());
        }
        let positions = self.catalogue.set_access(access.contents.clone(), record).await?;
        if let Some(link) = &mut self.link {
            link.known = link.known.max(access.epoch);
        }
        self.is_set = true;
        self.ring();
        Ok(positions.iter().map(position).collect())
    }

    /// Takes the flows that the link manager wants; the generation that is desired then.
    ///
    /// # Errors
    /// They could not be made durable, or the store failed.
    pub async fn apply_flows(&mut self, spec: FlowSpec) -> Result<u64, Trouble> {
        let present = self.link.as_ref().map(|link| link.spec.clone());
        if let Some(current) = present.as_ref().map(|spec| spec.generation)
            && current >= spec.generation
        {
            return Ok(current);
        }
        if present.as_ref().is_some_and(|present| present.local_incarnation != spec.local_incarnation) {
            // Our store was lost or went back: nobody takes what we wrote before for what we write now.
            if let Some(status) = self.status()? {
                self.catalogue.renew_feed(status.content.id).await?;
            }
            if let Some(link) = &mut self.link {
                link.local_rolled_back = false;
            }
        }
        let kept = spec.clone();
        self.keeper.keep("flows", |all| all.flows = Some(kept))?;
        let generation = spec.generation;
        if self.link.as_ref().is_some_and(|link| spec.epoch > link.known) {
            self.demote(spec.epoch).await?;
        }
        match &mut self.link {
            Some(link) => {
                if (link.spec.peer_system, link.spec.peer_incarnation)
                    != (spec.peer_system, spec.peer_incarnation)
                {
                    // Another life of the peer: what its former one told counts no more.
                    link.peer = None;
                    link.peer_rolled_back = false;
                    link.receiving = None;
                }
                link.known = link.known.max(spec.epoch);
                link.spec = spec;
            }
            None => self.run_link(spec)?,
        }
        self.ring();
        Ok(generation)
    }

    /// The link is no more; `release`: this side may write from now on.
    ///
    /// # Errors
    /// That could not be made durable.
    pub async fn forget(&mut self, link: LinkId, release: bool) -> Result<(), Trouble> {
        self.link = None;
        self.keeper.keep("no flows", |kept| kept.flows = None)?;
        let contents = self.catalogue.contents()?;
        let mine = contents.iter().filter(|status| status.access.link == Some(link));
        let mine: Vec<ContentId> = mine.map(|status| status.content.id).collect();
        if release {
            self.catalogue.release(mine).await?
        } else {
            self.catalogue.orphan(mine).await?
        }
        self.ring();
        Ok(())
    }

    /// Makes the content read-only at a higher epoch than ours, durably.
    async fn demote(&mut self, epoch: Epoch) -> Result<(), Trouble> {
        let here = self.status()?.map(|status| status.content.id);
        let Some(link) = &mut self.link else { return Ok(()) };
        let writer = (epoch.holder() != link.spec.side).then(|| link.spec.peer_domain.clone());
        self.catalogue.demote(here.into_iter().collect(), epoch, writer).await?;
        link.known = link.known.max(epoch);
        self.ring();
        Ok(())
    }

    /// Obeys a message's epoch, between agreed incarnations; true when they are.
    ///
    /// # Errors
    /// The store failed.
    pub async fn obey(&mut self, header: Header) -> Result<bool, Trouble> {
        let Some(link) = self.link.as_ref().filter(|link| link.spec.link == header.link) else {
            return Ok(false);
        };
        let ours = (link.spec.peer_incarnation, link.spec.local_incarnation);
        if (header.sender, header.receiver) != ours {
            return Ok(false);
        }
        if header.epoch > link.known {
            self.demote(header.epoch).await?;
        }
        Ok(true)
    }

    /// Takes in a heartbeat; false when it is refused.
    ///
    /// # Errors
    /// The store failed, or something could not be made durable.
    pub async fn hear(&mut self, beat: Beat, now: u64) -> Result<bool, Trouble> {
        if !self.obey(beat.header).await? {
            return Ok(false);
        }
        let own = self.status()?;
        if let Some(head) = beat.head {
            self.hear_head(head, own)?;
        }
        let Some(link) = &mut self.link else { return Ok(false) };
        let was_in_contact = link.in_contact(now);
        // Last, so that nobody takes heads from before a cut for heads of now.
        (link.heard_ms, link.stream) = (Some(now), true);
        link.peer_epoch = link.peer_epoch.max(beat.header.epoch);
        link.trouble.clear();
        self.changed = true;
        self.rings |= !was_in_contact;
        Ok(true)
    }

    fn hear_head(&mut self, head: PeerHead, own: Option<ContentStatus>) -> Result<(), Trouble> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let Some(content) = link.content().map(|content| content.id) else { return Ok(()) };
        let before = link.peer.as_ref().map(|peer| peer.feed);
        if head.feed != FeedId(0) && before != Some(head.feed) {
            let place = (content, link.spec.peer_incarnation);
            match self.keeper.read(|kept| kept.peer_feeds.get(&place).copied()) {
                // Another feed than its incarnation had: its store was replaced behind its back.
                Some(remembered) => link.peer_rolled_back |= remembered != head.feed,
                None => {
                    let feed = head.feed;
                    self.keeper.keep("the peer's feed", |kept| {
                        kept.peer_feeds.insert(place, feed);
                    })?;
                }
            }
        }
        link.peer_rolled_back |= head.rolled_back;
        if let Some(own) = own {
            link.local_rolled_back |= head.applied_of(own.head.feed) > own.head.sequence;
        }
        link.peer = Some(head);
        Ok(())
    }

    /// There is no stream of heartbeats; one is up once something was heard on it.
    pub fn stream_gone(&mut self, trouble: &str) {
        if let Some(link) = &mut self.link {
            link.stream = false;
            link.trouble = trouble.into();
        }
        self.ring();
    }

    fn own_head(&self, link: &Link, status: &ContentStatus) -> Result<OwnHead, Trouble> {
        let (peer_feed, acknowledged) = link.known_of_peer(status);
        Ok(OwnHead {
            feed: status.head.feed,
            head: status.head.sequence,
            digest: status.digest,
            peer_feed,
            cursor: peer_feed.map_or(0, |feed| status.cursor(feed)),
            acknowledged,
            pending: self.catalogue.pending(status.content.id, peer_feed, acknowledged)?,
            ranges: Vec::new(),
            ranges_aside: BTreeSet::new(),
        })
    }

    /// The next heartbeat; none without flows.
    ///
    /// # Errors
    /// The store failed.
    pub fn beat(&mut self, now: u64) -> Result<Option<Beat>, Trouble> {
        let status = self.status()?;
        let Some(link) = &self.link else { return Ok(None) };
        let own = status.as_ref().map(|status| self.own_head(link, status)).transpose()?;
        let Some(link) = &mut self.link else { return Ok(None) };
        let wished = link.wished();
        let head = own.map(|own| {
            let differs =
                link.peer.as_ref().is_some_and(|peer| compare(&own, peer, wished) == Agreement::Differs);
            link.differing_since = differs.then(|| link.differing_since.unwrap_or(now));
            PeerHead {
                feed: own.feed,
                head: own.head,
                digest: Some(own.digest),
                applied_feed: own.peer_feed.unwrap_or_default(),
                applied: own.cursor,
                pending: own.pending,
                pending_after: own.acknowledged,
                receiving: wished.receives && !link.is_rolled_back(),
                ranges: Vec::new(),
                ranges_aside: BTreeSet::new(),
                rolled_back: link.local_rolled_back,
            }
        });
        Ok(Some(Beat { header: link.header(), head }))
    }

    /// What the link manager is shown.
    ///
    /// # Errors
    /// The store failed.
    pub fn view(&self, now: u64) -> Result<MoverView, Trouble> {
        let contents = self.catalogue.contents()?;
        let contents = contents.iter().map(|status| ContentView {
            content: status.content.clone(),
            mode: status.mode(),
            epoch: status.access.epoch,
            link: status.access.link,
            orphaned: status.access.orphaned,
            head: position(&status.head),
            digest: DigestView { total: status.digest.total.to_vec(), records: status.digest.records },
        });
        let mut view = MoverView {
            boot: self.boot,
            store: self.catalogue.store_id(),
            contents: contents.collect(),
            links: Vec::new(),
            damage: DamageView::default(),
        };
        if let Some(link) = &self.link {
            view.links.push(LinkFlowsView {
                link: link.spec.link,
                generation: link.spec.generation,
                contact: link.in_contact(now),
                peer_epoch: link.peer_epoch,
                flows: self.flow_view(link, now)?.into_iter().collect(),
                trouble: if link.in_contact(now) { String::new() } else { link.trouble.clone() },
            });
        }
        Ok(view)
    }

    fn flow_view(&self, link: &Link, now: u64) -> Result<Option<FlowView>, Trouble> {
        let Some(content) = link.content().map(|content| content.id) else { return Ok(None) };
        let retries = self.keeper.read(|kept| kept.retries.len()) as u64;
        let mut flow = FlowView {
            content,
            retries,
            peer_rolled_back: link.peer_rolled_back,
            local_rolled_back: link.local_rolled_back,
            trouble: trouble(link, now),
            ..FlowView::default()
        };
        // Without the content here nothing is applied, but the peer's feed is shown.
        let own = self.status()?.map(|status| self.own_head(link, &status)).transpose()?;
        if let Some(peer) = &link.peer {
            flow.peer_pending_objects = peer.pending.objects;
            flow.peer_pending_bytes = peer.pending.bytes;
            let sequence = own.as_ref().map_or(0, |own| peer.effective_cursor(own.cursor));
            flow.applied = Some(Position { content, feed: peer.feed, sequence });
        }
        if let Some(own) = own {
            flow.pending_objects = own.pending.objects;
            flow.pending_bytes = own.pending.bytes;
            let equal = |peer: &PeerHead| compare(&own, peer, link.wished()) == Agreement::Equal;
            flow.in_sync = link.in_contact(now)
                && retries == 0
                && !link.is_rolled_back()
                && link.peer.as_ref().is_some_and(equal);
        }
        Ok(Some(flow))
    }
}

/// The first thing that the operator should look at.
fn trouble(link: &Link, now: u64) -> String {
    if link.local_rolled_back {
        "this system's store went back in time: exchange certificates and restore the link".into()
    } else if link.peer_rolled_back {
        "the other system's store went back in time or was replaced: exchange certificates and restore the link".into()
    } else if link.is_differing(now) {
        "the two systems differ though nothing is left to move; what differs is being sent again".into()
    } else if link.wished().sends {
        link.sending_trouble.clone()
    } else {
        String::new()
    }
}

fn position(at: &FeedPosition) -> Position {
    Position { content: at.content.id, feed: at.feed, sequence: at.sequence }
}
