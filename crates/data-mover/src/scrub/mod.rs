//! The scrub: every body of the store is read again, at a rate that is configured, and what a disk has damaged is
//! fetched from the other system while that still has it.
//!
//! `walk` reads, `repair` repairs, `fetch` and `serve` are the two ends of the way that a body takes; what was found
//! is a list ([`damage`]), how far the walk is a small record ([`round`]), and both are durable. A body that a
//! client or a flow finds damaged comes to the same list at once, and is repaired first.
//!
//! What it promises: a client is never kept waiting by more than the rate; nothing that was damaged is forgotten
//! before it is repaired, overwritten or deleted; and a repair changes nothing but the bytes (`switchback_store`,
//! `scrub`). A storage that is not there damages nothing: the scrub stands still and says so.
//!
//! Parts of open uploads are read after all bodies. They are on this system only, so a damaged one is listed and not
//! repaired, and its upload cannot be completed with it; the client uploads it again.
//!
//! What it is not: it does not look at the catalogue's own rows, which `switchback store check` does.

pub(crate) mod damage;
mod fetch;
pub(crate) mod repair;
pub(crate) mod round;
pub(crate) mod serve;
pub(crate) mod walk;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchback_kit::durable;
use switchback_model::ContentId;
use switchback_store::{Fault, RecordKey, StoredBody, UploadId};
use tokio::sync::{Notify, Semaphore, watch};

use crate::memory::Memory;
use crate::mover::now_unix_ms;
use damage::{Damages, Entry, Id, Noted, PartOf};
use round::Rounds;

/// Bodies that readers found damaged and that were not looked at yet. More are found by who reads them next, or by
/// the walk.
const SUSPECTS_MAX: usize = 1_000;

/// Bodies that are read for the other system at once: a repair is one at a time there, for each link.
const SERVING_MAX: usize = 4;

/// What all parts of the scrub share.
pub(crate) struct Scrub {
    /// Bytes a second; 0: off.
    pub(crate) rate: u64,
    state: Mutex<State>,
    /// The state is made durable by one at a time, so that the last one stays.
    saving: tokio::sync::Mutex<()>,
    /// Wakes the repairs.
    wake: Notify,
    /// Counts how often a round was asked for.
    asked: watch::Sender<u64>,
    serving: Arc<Semaphore>,
}

/// See [`Scrub`].
#[derive(Default)]
pub(crate) struct State {
    pub(crate) rounds: Rounds,
    pub(crate) damages: Damages,
    suspects: VecDeque<(ContentId, RecordKey)>,
    /// Why the walk stands still.
    pub(crate) trouble: String,
}

/// The list of damages is full.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "more than {} bodies are damaged, and no more are looked for: replace this disk, and rebuild the system from the other one",
    damage::DAMAGES_MAX
)]
pub(crate) struct Full;

impl Scrub {
    /// As it is remembered.
    pub(crate) fn load(memory: &Memory, rate: u64) -> Result<Self, durable::Error> {
        let mut state = State { rounds: Rounds::recall(memory.scrub()?), ..State::default() };
        for (id, record) in memory.damages()? {
            state.damages.recall(id, record);
        }
        Ok(Self {
            rate,
            state: Mutex::new(state),
            saving: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            asked: watch::Sender::new(0),
            serving: Arc::new(Semaphore::new(SERVING_MAX)),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a round from the first body, and tries all repairs.
    pub(crate) fn start(&self) {
        self.state().damages.hurry(now_unix_ms());
        self.asked.send_modify(|count| *count += 1);
        self.wake.notify_one();
    }

    /// Somebody who read this body found that its bytes are not what they should be.
    pub(crate) fn suspect(&self, content: ContentId, key: RecordKey) {
        let mut state = self.state();
        let suspect = (content, key);
        if state.suspects.len() < SUSPECTS_MAX && !state.suspects.contains(&suspect) {
            state.suspects.push_back(suspect);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The parts of an open upload that are known to be damaged, with the fingerprints of their bytes.
    pub(crate) fn damaged_parts(&self, upload: UploadId) -> Vec<(u32, [u8; 16])> {
        self.state().damages.parts_of(upload)
    }

    /// Parts of the upload were replaced, or it has ended: those on the list are looked at.
    pub(crate) fn upload_changed(&self, upload: UploadId) {
        let is_any = self.state().damages.hurry_parts(upload, now_unix_ms());
        if is_any {
            self.wake.notify_one();
        }
    }

    fn next_suspect(&self) -> Option<(ContentId, RecordKey)> {
        self.state().suspects.pop_front()
    }

    /// Puts a damaged body on the list, durably, and has it repaired. False: it was there already.
    async fn found(
        &self,
        memory: &Memory,
        body: &StoredBody,
        part: Option<PartOf>,
        fault: &Fault,
    ) -> Result<bool, Trouble> {
        let (id, record) = {
            let mut state = self.state();
            match state.damages.note(now_unix_ms(), body, part, fault) {
                Noted::New(id, record) => {
                    state.rounds.found += 1;
                    (id, record)
                }
                Noted::Known => {
                    drop(state);
                    self.wake.notify_one();
                    return Ok(false);
                }
                Noted::Full => return Err(Full.into()),
            }
        };
        memory.put_damage(id, &record).await?;
        self.save(memory).await?;
        tracing::warn!(
            content = %body.content,
            namespace = body.key.namespace(),
            key = body.key.label(),
            part = part.map(|part| part.number),
            fault = %fault,
            "a body is damaged"
        );
        self.wake.notify_one();
        Ok(true)
    }

    /// Makes durable how far the walk is, and what it counted.
    async fn save(&self, memory: &Memory) -> Result<(), durable::Error> {
        let _one_at_a_time = self.saving.lock().await;
        let record = self.state().rounds.to_record();
        memory.put_scrub(&record).await
    }

    /// Takes a body off the list: it is whole, overwritten or deleted.
    async fn forget(&self, memory: &Memory, id: Id) -> Result<(), durable::Error> {
        let was_there = self.state().damages.remove(&id);
        if was_there { memory.remove_damages(&[id]).await } else { Ok(()) }
    }

    /// The bodies of a content that wait for their repair, and those that cannot be repaired. Parts of open uploads are
    /// no content yet.
    pub(crate) fn counts_of(&self, content: ContentId) -> (u64, u64) {
        self.state().damages.counts(|entry| entry.content == content && entry.part.is_none())
    }

    /// The next repair whose time has come.
    fn due(&self) -> Option<(Id, Entry)> {
        self.state().damages.due(now_unix_ms())
    }
}

/// Why something could not be noted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    Memory(#[from] durable::Error),
    #[error(transparent)]
    Store(#[from] switchback_store::Error),
}
