//! The sending end of a flow, written after `data-mover`'s `flow::sender` and `flow::session`, with the
//! mover's own window, reader and comparison.

use std::collections::VecDeque;

use switchback_model::{ContentId, Epoch, FeedId};
use switchback_mover::flow::compare::{Comparison, Next};
use switchback_mover::flow::feed::{Draft, Reader, by_key};
use switchback_mover::flow::window::Window;
use switchback_proto::replication::v1::{Ack, Batch};
use switchback_store::{Digest, Lineage, Parting, RecordKey};

use crate::cores::Trouble;
use crate::cores::mover::{Flowing, Header, Mover, Refused};
use crate::cores::site::Retry;

/// Between two repairs, in milliseconds.
const REPAIR_MS: u64 = 30_000;
/// The peer's acknowledgement is noted in the store at most this often, in milliseconds.
const NOTE_MS: u64 = 1_000;
/// A sender whose batch is not acknowledged for this long, in milliseconds, begins again.
const STALL_MS: u64 = 30_000;
/// First and longest pause before a failed object is tried again, in milliseconds.
const RETRY_MS: u64 = 1_000;
const RETRY_MAX_MS: u64 = 60_000;

/// One stream.
pub struct Sending {
    feed: FeedId,
    compare: bool,
    opened_ms: u64,
    /// When the receiver said something last.
    answered_ms: u64,
    /// Once the receiver has welcomed it.
    session: Option<Session>,
}

struct Session {
    peer_feed: FeedId,
    window: Window,
    reader: Reader,
    comparison: Option<Comparison>,
    /// Batches of which the sender keeps what was refused.
    notes: VecDeque<u64>,
    /// The receiver was not given the notes of conflicts before; it has them with this batch.
    gives_notes: bool,
    notes_with: Option<u64>,
    cursor: u64,
    noted: (u64, u64),
}

impl Mover {
    /// Everything that a stream needs is there.
    #[must_use]
    pub fn is_ready_to_send(&self, now: u64) -> bool {
        self.link.as_ref().is_some_and(|link| {
            link.wished().sends
                && link.in_contact(now)
                && !link.is_rolled_back()
                && link.peer.as_ref().is_some_and(|peer| peer.receiving)
        })
    }

    /// Opens a stream: its first word, if there is content to send.
    ///
    /// # Errors
    /// The store failed.
    pub fn open(&mut self, now: u64) -> Result<Option<Flowing>, Trouble> {
        let status = self.status()?;
        let Some(link) = &mut self.link else { return Ok(None) };
        let Some(status) = status else {
            link.sending_trouble = "the content is not here yet".into();
            return Ok(None);
        };
        let rested = link.repaired.is_none_or(|at| now - at > REPAIR_MS);
        let differs = link.is_differing(now) && rested;
        if differs {
            link.repaired = Some(now);
        }
        let compare = differs || status.went_back;
        let (feed, head) = (status.head.feed, status.head.sequence);
        link.sending = Some(Sending { feed, compare, opened_ms: now, answered_ms: now, session: None });
        let (header, clock) = (link.header(), self.catalogue.clock()?);
        let (lineage, read) = (status.lineage, (status.cursors.last().copied(), status.peer_lineage));
        Ok(Some(Flowing::Hello { header, feed, head, compare, lineage, read, clock }))
    }

    /// What time alone brings; false when the stream is to be given up.
    ///
    /// # Errors
    /// The store failed.
    pub async fn look(&mut self, now: u64) -> Result<bool, Trouble> {
        if !self.is_ready_to_send(now) {
            return Ok(false);
        }
        let has_retries = self.keeper.read(|kept| !kept.retries.is_empty());
        let Some(link) = &mut self.link else { return Ok(false) };
        let differs = link.is_differing(now);
        let rested = link.repaired.is_none_or(|at| now - at > REPAIR_MS);
        let Some(content) = link.content().map(|content| content.id) else { return Ok(false) };
        let Some(sending) = &mut link.sending else { return Ok(false) };
        let Some(session) = &mut sending.session else {
            return Ok(now - sending.opened_ms < 2 * super::mover::CONTACT_MS);
        };
        if !session.window.is_empty() && now - sending.answered_ms > STALL_MS {
            return Ok(false);
        }
        let through = if has_retries { 0 } else { session.cursor };
        if session.noted.0 < through && now - session.noted.1 > NOTE_MS {
            session.noted = (through, now);
            self.catalogue.acknowledge(content, session.peer_feed, through).await?;
        }
        let idle = session.window.is_empty() && session.comparison.is_none();
        Ok(!(idle && rested && differs))
    }

    /// Takes what the receiver says; false when the stream has ended.
    ///
    /// # Errors
    /// The store failed, or something could not be made durable.
    pub async fn answered(&mut self, flowing: Flowing, now: u64) -> Result<bool, Trouble> {
        if let Some(sending) = self.link.as_mut().and_then(|link| link.sending.as_mut()) {
            sending.answered_ms = now;
        }
        match flowing {
            Flowing::Welcome { feed, cursor, ranges, clock, parting } => {
                self.catalogue.see(clock).await?;
                self.welcomed((feed, cursor), &ranges, parting, now).await
            }
            Flowing::Ack(ack) => self.acknowledged(ack, now).await,
            Flowing::Missing(missing) => {
                let session = self.link.as_mut().and_then(|link| link.sending.as_mut()?.session.as_mut());
                if let Some(comparison) = session.and_then(|session| session.comparison.as_mut()) {
                    comparison.answer(missing);
                }
                Ok(true)
            }
            Flowing::Refused(refused) => self.refused(refused).await.map(|()| false),
            Flowing::Hello { .. } | Flowing::Batch(_) | Flowing::Noted(_) | Flowing::Manifest(_) => Ok(true),
        }
    }

    async fn refused(&mut self, refused: Refused) -> Result<(), Trouble> {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.sending_trouble = match &refused {
            Refused::StaleEpoch(_) => "the other system knows a higher epoch".into(),
            Refused::RolledBack => "this system's store was rolled back".into(),
            Refused::Other(text) => text.clone(),
        };
        match refused {
            Refused::StaleEpoch(epoch) => {
                let Header { sender, receiver, .. } = link.header();
                let epoch: Epoch = epoch.max(link.known);
                let header = Header { sender: receiver, receiver: sender, epoch, ..link.header() };
                self.obey(header).await?;
            }
            Refused::RolledBack => {
                link.local_rolled_back = true;
                (self.changed, self.rings) = (true, true);
            }
            Refused::Other(_) => {}
        }
        Ok(())
    }

    async fn welcomed(
        &mut self,
        (peer_feed, cursor): (FeedId, u64),
        theirs: &[Digest],
        parting: Option<Parting>,
        now: u64,
    ) -> Result<bool, Trouble> {
        let status = self.status()?;
        let has_retries = self.keeper.read(|kept| !kept.retries.is_empty());
        let Some((link, status)) = self.link.as_mut().zip(status) else { return Ok(false) };
        let sender = link.sender_of(peer_feed, Lineage::default(), parting);
        let Some(sending) = link.sending.as_mut().filter(|sending| sending.session.is_none()) else {
            return Ok(true);
        };
        if cursor > status.head.sequence {
            link.local_rolled_back = true;
            (self.changed, self.rings) = (true, true);
            return Ok(false);
        }
        let content = status.content.id;
        let through = if has_retries { 0 } else { cursor };
        self.catalogue.acknowledge(content, peer_feed, through).await?;
        let ours = self.catalogue.digest(content)?;
        let pending = self.catalogue.pending(content, Some(peer_feed), cursor)?;
        // Where most of what is here came from this very peer, its feed is the shorter list.
        let is_worthwhile = sending.compare || pending.objects > ours.total.records / 4;
        let compares = theirs.len() == 256 && is_worthwhile;
        let link_id = link.spec.link;
        let retires = status.went_back.then_some(sender);
        let notes = (status.notes_given != peer_feed).then_some(link_id);
        let comparison = if compares {
            Some(Comparison::new(&ours, theirs, cursor == 0, retires, notes))
        } else {
            notes.map(Comparison::of_notes)
        };
        sending.session = Some(Session {
            peer_feed,
            window: Window::default(),
            reader: Reader::new(content, peer_feed, cursor),
            comparison,
            notes_with: None,
            gives_notes: notes.is_some(),
            notes: VecDeque::new(),
            cursor,
            noted: (cursor, now),
        });
        link.acknowledged = (sending.feed, cursor);
        link.sending_trouble.clear();
        self.changed = true;
        Ok(true)
    }

    async fn acknowledged(&mut self, ack: Ack, now: u64) -> Result<bool, Trouble> {
        let Some(link) = &mut self.link else { return Ok(false) };
        let Some(sending) = &mut link.sending else { return Ok(false) };
        let Some(session) = &mut sending.session else { return Ok(false) };
        let Ok(flying) = session.window.land(ack.batch) else { return Ok(false) };
        let refused: Vec<usize> = ack.refused.iter().map(|refused| refused.index as usize).collect();
        let (mut failed, mut settled): (Vec<RecordKey>, Vec<RecordKey>) = (Vec::new(), Vec::new());
        for (index, change) in flying.changes.into_iter().enumerate() {
            if refused.contains(&index) { failed.push(change.key) } else { settled.push(change.key) }
        }
        if !failed.is_empty() {
            self.keeper.keep("what failed", |kept| {
                for key in &failed {
                    let before = kept.retries.get(key).map_or(0, |retry| retry.attempts);
                    let pause = (RETRY_MS << before.min(6)).min(RETRY_MAX_MS);
                    kept.retries.insert(key.clone(), Retry { attempts: before + 1, next_ms: now + pause });
                }
            })?;
            session.notes.push_back(ack.batch);
        }
        session.cursor = session.cursor.max(ack.cursor);
        link.acknowledged = (sending.feed, session.cursor);
        let given = (session.notes_with == Some(ack.batch)).then_some(session.peer_feed);
        (self.changed, self.rings) = (true, true);
        self.settle(&settled)?;
        if let (Some(feed), Some(status)) = (given, self.status()?) {
            self.catalogue.notes_given(status.content.id, feed).await?;
        }
        Ok(true)
    }

    /// Takes off the list what the peer has made durable, or what is not there any more.
    fn settle(&mut self, keys: &[RecordKey]) -> Result<(), Trouble> {
        if self.keeper.read(|kept| keys.iter().any(|key| kept.retries.contains_key(key))) {
            self.keeper.keep("what was settled", |kept| kept.retries.retain(|key, _| !keys.contains(key)))?;
        }
        Ok(())
    }

    /// What leaves now, in order.
    ///
    /// # Errors
    /// The store failed.
    pub async fn advance(&mut self, now: u64) -> Result<Vec<Flowing>, Trouble> {
        let mut out = Vec::new();
        while let Some(next) = self.next(now).await? {
            out.push(next);
        }
        Ok(out)
    }

    async fn next(&mut self, now: u64) -> Result<Option<Flowing>, Trouble> {
        let due = self.keeper.read(|kept| {
            let due = kept.retries.iter().filter(|(_, retry)| retry.next_ms <= now);
            due.map(|(key, _)| key.clone()).collect::<Vec<_>>()
        });
        let Some(link) = &mut self.link else { return Ok(None) };
        let Some(content) = link.content().map(|content| content.id) else { return Ok(None) };
        let Some(session) = link.sending.as_mut().and_then(|sending| sending.session.as_mut()) else {
            return Ok(None);
        };
        if let Some(batch) = session.notes.pop_front() {
            return Ok(Some(Flowing::Noted(batch)));
        }
        if !session.window.is_open() {
            return Ok(None);
        }
        let due: Vec<_> = due.into_iter().filter(|key| !session.window.carries(key)).collect();
        if !due.is_empty() {
            let draft = by_key(&self.catalogue, content, due, |_| true).await?;
            let absent = draft.absent.clone();
            let batch = (!draft.is_empty()).then(|| session.launch(draft));
            self.settle(&absent)?;
            if batch.is_some() {
                return Ok(batch);
            }
        }
        self.next_of_feed(content).await
    }

    async fn next_of_feed(&mut self, content: ContentId) -> Result<Option<Flowing>, Trouble> {
        let session = self.link.as_mut().and_then(|link| link.sending.as_mut()?.session.as_mut());
        let Some(session) = session else { return Ok(None) };
        if let Some(comparison) = &mut session.comparison {
            if !comparison.has_work() {
                return Ok(None);
            }
            return Ok(match comparison.next(&self.catalogue, content).await? {
                Next::Manifest(manifest) => Some(Flowing::Manifest(manifest)),
                Next::Batch(draft) => Some(session.launch(draft)),
                Next::Wait => None,
                Next::Done(through) => {
                    session.comparison = None;
                    session.reader.skip_to(through);
                    let last = session.launch(Draft::progress(through));
                    if let (true, Flowing::Batch(batch)) = (session.gives_notes, &last) {
                        session.notes_with = Some(batch.number);
                    }
                    Some(last)
                }
            });
        }
        Ok(session.reader.next(&self.catalogue).await?.map(|draft| session.launch(draft)))
    }
}

impl Session {
    fn launch(&mut self, draft: Draft) -> Flowing {
        let (changes, flown, through) = draft.into_parts();
        let number = self.window.launch(flown);
        Flowing::Batch(Batch { number, changes, through, ..Batch::default() })
    }
}
