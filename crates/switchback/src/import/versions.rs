//! The versions of one key on their way, one after the other, the oldest first.
//!
//! What must hold: in the target they stand in the order of the source, each once, whenever this process ends. So
//! a version is begun when the one before it has arrived, a write is sent once, and whenever it is not
//! known whether one was done, the target is asked what it holds of the key: what is there and not in the journal is
//! either what was about to be written, or somebody else's. A version that cannot be brought holds those after it
//! back, since they could not make room for it later.

use std::sync::{Arc, Mutex};

use anyhow::bail;
use futures::stream::{self, StreamExt};
use http::StatusCode;
use switchback_store::Lock;
use tokio::time::sleep;

use super::entry::Entry;
use super::history::{Due, standing};
use super::journal::Journal;
use super::lock::Locks;
use super::progress::Progress;
use super::s3::{ATTEMPTS_MAX, FIRST_PAUSE, Repeats, Replaces, Written, etag};
use super::source::History;
use super::transfer::{Ready, Reason, Transfer};
use super::{Ended, Failed, Halt, locked};

/// Answers to a write that may have been done before.
const MAY_BE_DONE: [StatusCode; 3] =
    [StatusCode::PRECONDITION_FAILED, StatusCode::CONFLICT, StatusCode::NOT_FOUND];

/// Locks of one key that are looked at at once.
const LOOKS_AT_ONCE: usize = 8;

/// What brings the versions of a key.
pub(super) struct Versions {
    pub(super) transfer: Arc<Transfer>,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) progress: Arc<Progress>,
    pub(super) locks: Arc<Locks>,
    pub(super) overwrite: bool,
}

/// How far the versions have come that are due.
#[derive(Default)]
struct Place {
    /// The first that had not arrived before.
    first: usize,
    /// The one whose turn it is.
    next: usize,
}

impl Versions {
    /// Brings what is due of a key.
    pub(super) async fn bring(&self, history: History) -> anyhow::Result<Ended> {
        let mut ended = Ended::default();
        let mut entries = match self.transfer.source.ordered(&history.found).await {
            Ok(entries) => entries,
            Err(failure) => {
                let key = history.found.into_iter().next().map(|found| found.entry.key).unwrap_or_default();
                let reason = Reason::Source(failure).to_string();
                ended.failures.push(Failed { key, version: None, reason });
                return Ok(ended);
            }
        };
        entries.reverse();
        let arrived: Vec<bool> = {
            let journal = locked(&self.journal);
            entries.iter().map(|entry| journal.has_version(entry)).collect()
        };
        let begin = arrived.iter().rposition(|arrived| *arrived).map_or(0, |last| last + 1);
        let (past, due) = entries.split_at(begin);
        let late = past.iter().zip(&arrived).filter(|(_, arrived)| !**arrived);
        ended.failures.extend(late.map(|(entry, _)| Failed::of(entry, &Reason::Late)));
        let mut place = Place::default();
        match self.bring_due(due, past.last(), &mut place, &mut ended).await {
            Ok(()) => {}
            Err(Halt::Import(error)) => return Err(error),
            Err(Halt::Version(reason)) => {
                ended.failures.extend(due.get(place.next).map(|entry| Failed::of(entry, &reason)));
                ended.waiting = due.len().saturating_sub(place.next + 1) as u64;
            }
        }
        if self.transfer.locks {
            self.strengthen(&entries[..begin + place.first], &mut ended).await?;
        }
        Ok(ended)
    }

    /// Brings `due`, the oldest first, behind `last`.
    async fn bring_due(
        &self,
        due: &[Entry],
        last: Option<&Entry>,
        place: &mut Place,
        ended: &mut Ended,
    ) -> Result<(), Halt> {
        let Some(first) = due.first() else { return Ok(()) };
        let key = self.transfer.key(&first.key);
        let mut replaces = self.begin(&key, due, last, place, ended).await?;
        while let Some(entry) = due.get(place.next) {
            let (written, lock) = self.write(&key, entry, &replaces).await?;
            self.note(entry, &written, lock)?;
            ended.arrived(&lock, self.transfer.locks);
            place.next += 1;
            replaces = match entry.marker {
                _ if self.overwrite => Replaces::Anything,
                true => Replaces::Nothing,
                false => Replaces::This(written.etag),
            };
        }
        Ok(())
    }

    /// Makes the locks of those of `entries` that have arrived as strong as they are in the source.
    async fn strengthen(&self, entries: &[Entry], ended: &mut Ended) -> anyhow::Result<()> {
        let arrived: Vec<usize> = {
            let journal = locked(&self.journal);
            let is_lockable = |entry: &Entry| !entry.marker && journal.has_version(entry);
            (0..entries.len()).filter(|number| is_lockable(&entries[*number])).collect()
        };
        let looks = stream::iter(arrived)
            .map(|number| async move { (number, self.locks.strengthen(&entries[number]).await) });
        let mut looking = looks.buffer_unordered(LOOKS_AT_ONCE);
        while let Some((number, looked)) = looking.next().await {
            ended.looked(&entries[number], looked)?;
        }
        Ok(())
    }

    /// Finds out how the key stands in the target, notes what arrived unnoted, and says what the next version
    /// may replace.
    async fn begin(
        &self,
        key: &str,
        due: &[Entry],
        last: Option<&Entry>,
        place: &mut Place,
        ended: &mut Ended,
    ) -> Result<Replaces, Halt> {
        let held = self.transfer.target.history(key).await.map_err(Reason::Target)?;
        let (landed, is_changed) = self.compare(&held, due)?;
        for (entry, written) in due.iter().zip(&landed) {
            // With which lock it was written, a look at it tells.
            self.note(entry, written, Lock::default())?;
            ended.moved += 1;
            place.next += 1;
        }
        place.first = place.next;
        if self.overwrite {
            return Ok(Replaces::Anything);
        }
        // A delete marker that stands alone may be tidied away: the key is deleted all the same.
        let here = last.map(|last| locked(&self.journal).here(last)).transpose()?.flatten();
        let is_gone = here.is_some() && !held.iter().any(|entry| entry.version == here);
        let is_tidied = held.is_empty() && last.is_some_and(|last| last.marker);
        if is_changed || (is_gone && !is_tidied) {
            let is_new = last.is_none() && landed.is_empty();
            return Err(if is_new { Reason::HeldVersions } else { Reason::HeldLater }.into());
        }
        Ok(match held.into_iter().next() {
            Some(Entry { marker: false, etag, .. }) => Replaces::This(etag),
            _ => Replaces::Nothing,
        })
    }

    /// Of `due`, what is in the target and not in the journal; and whether somebody else's stands above what is in it.
    fn compare(&self, held: &[Entry], due: &[Entry]) -> anyhow::Result<(Vec<Written>, bool)> {
        let journal = locked(&self.journal);
        let known = due
            .iter()
            .map(|entry| Ok(Due { marker: entry.marker, size: entry.size, etag: journal.expected(entry)? }));
        let known = known.collect::<anyhow::Result<Vec<_>>>()?;
        let source_key = due.first().map(|entry| entry.key.as_str()).unwrap_or_default();
        let found = standing(held, |here| journal.is_ours(source_key, here), &known, self.overwrite);
        let landed = found.landed.into_iter().zip(known);
        let landed = landed.map(|(here, due)| Written { etag: due.etag, version: Some(here) });
        Ok((landed.collect(), found.foreign))
    }

    fn note(&self, entry: &Entry, written: &Written, lock: Lock) -> anyhow::Result<()> {
        match written.version.as_deref() {
            Some(here) if here != "null" => {
                let lock = if self.transfer.locks { lock } else { Lock::default() };
                locked(&self.journal).version_arrived(entry, &written.etag, here, lock)?;
                self.progress.ended(true);
                Ok(())
            }
            _ => bail!(
                "the bucket does not keep versions any more: {:?} was written there without an id of its own; switch its versioning on and repeat the command",
                entry.key
            ),
        }
    }

    /// Writes one version or delete marker, and says which lock it has in the source.
    async fn write(&self, key: &str, entry: &Entry, replaces: &Replaces) -> Result<(Written, Lock), Halt> {
        let ready = if entry.marker { None } else { Some(self.transfer.ready(entry).await?) };
        let lock = ready.as_ref().map(|ready| ready.lock).unwrap_or_default();
        if let Some(ready) = &ready
            && ready.etag != entry.etag
        {
            locked(&self.journal).begun(entry, &ready.etag)?;
        }
        // An upload that was completed is not completed again; so that is repeated where it is sent.
        let attempts = if ready.as_ref().is_some_and(Ready::is_upload) { 1 } else { ATTEMPTS_MAX };
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let failure = match self.commit(key, ready.as_ref(), replaces).await {
                Ok(written) => return Ok((written, lock)),
                Err(Reason::Target(failure)) => failure,
                Err(reason) => return Err(reason.into()),
            };
            let is_refused = failure.status().is_some_and(|status| MAY_BE_DONE.contains(&status));
            if !is_refused && !failure.may_pass() {
                return Err(Reason::Target(failure).into());
            }
            if failure.may_pass() {
                sleep(pause).await;
                pause *= 2;
            }
            let held = self.transfer.target.history(key).await.map_err(Reason::Target)?;
            let (landed, is_changed) = self.compare(&held, std::slice::from_ref(entry))?;
            if let Some(written) = landed.into_iter().next() {
                return Ok((written, lock));
            }
            if is_changed && !self.overwrite {
                return Err(Reason::HeldLater.into());
            }
            if is_refused || attempt >= attempts {
                return Err(Reason::Target(failure).into());
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn commit(&self, key: &str, ready: Option<&Ready>, replaces: &Replaces) -> Result<Written, Reason> {
        if let Some(ready) = ready {
            return self.transfer.commit(ready, replaces, Repeats::Twofold).await;
        }
        let target = &self.transfer.target;
        // A delete has no condition that every store keeps; a look before it leaves little time for others.
        if *replaces != Replaces::Anything {
            let held = target.head(key, None).await.map_err(Reason::Target)?;
            let held = held.map(|headers| etag(&headers)).transpose().map_err(Reason::Target)?;
            if held.map_or(Replaces::Nothing, Replaces::This) != *replaces {
                return Err(Reason::HeldLater);
            }
        }
        let version = target.mark_deleted(key).await.map_err(Reason::Target)?;
        Ok(Written { etag: String::new(), version })
    }
}
