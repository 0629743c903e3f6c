//! The versions of one key on their way, one after the other, the oldest first.
//!
//! What must hold: in the target they stand in the order of the source, each once, whenever this process ends. So
//! a version is begun when the one before it has arrived, a write is sent once, and whenever it is not
//! known whether one was done, the target is asked what it holds of the key: what is there and not in the journal is
//! either what was about to be written, or somebody else's. A version that cannot be brought holds those after it
//! back, since they could not make room for it later.
//!
//! One that the source has no more when it is to be read is passed over. One that the source still lists and does not
//! give is left out where that is asked for: the journal says so before anything takes its place.

use std::sync::atomic::{AtomicU32, Ordering};
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

/// Versions that are left out one after the other, with none read between them, before that is taken for an outage of
/// the source: what an outage leaves out stays out.
const LEFT_OUT_IN_A_ROW_MAX: u32 = 100;

/// Locks of one key that are looked at at once.
const LOOKS_AT_ONCE: usize = 8;

/// What brings the versions of a key.
pub(super) struct Versions {
    pub(super) transfer: Arc<Transfer>,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) progress: Arc<Progress>,
    pub(super) locks: Arc<Locks>,
    pub(super) overwrite: bool,
    /// Go on without what the source does not give.
    pub(super) skip_unreadable: bool,
    /// Versions that were left out since one was read.
    pub(super) left_out: AtomicU32,
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
        let begin = self.past(&history, &entries, &mut ended)?;
        let (past, due) = entries.split_at(begin);
        let mut place = Place::default();
        match self.bring_due(due, past.last(), &mut place, &mut ended).await {
            Ok(()) => {}
            Err(Halt::Import(error)) => return Err(error),
            Err(Halt::Version(reason)) => {
                ended.failures.extend(due.get(place.next).map(|entry| Failed::of(entry, &reason)));
                for entry in due.iter().skip(place.next + 1) {
                    match self.left_out_before(entry)? {
                        Some(failed) => ended.skips.push(failed),
                        None => ended.waiting += 1,
                    }
                }
            }
        }
        if self.transfer.locks {
            self.strengthen(&entries[..begin + place.first], &mut ended).await?;
        }
        Ok(ended)
    }

    /// How many of the versions are past, up to the newest that has arrived; says what of them has not, and counts
    /// what went since it was listed.
    fn past(&self, history: &History, entries: &[Entry], ended: &mut Ended) -> anyhow::Result<usize> {
        let journal = locked(&self.journal);
        let has_arrived = |entry: &Entry| journal.has_version(entry);
        let listed = history.found.iter().filter(|found| !has_arrived(&found.entry)).count();
        let told = entries.iter().filter(|entry| !has_arrived(entry)).count();
        ended.vanished += listed.saturating_sub(told) as u64;
        let begin = entries.iter().rposition(has_arrived).map_or(0, |last| last + 1);
        for entry in entries[..begin].iter().filter(|entry| !has_arrived(entry)) {
            match journal.skipped(entry)? {
                Some(reason) => ended.skips.push(Failed::left_out(entry, reason)),
                None => ended.failures.push(Failed::of(entry, &Reason::Late)),
            }
        }
        Ok(begin)
    }

    fn left_out_before(&self, entry: &Entry) -> anyhow::Result<Option<Failed>> {
        let reason = locked(&self.journal).skipped(entry)?;
        Ok(reason.map(|reason| Failed::left_out(entry, reason)))
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
            match self.write(&key, entry, &replaces).await {
                Ok((written, lock)) => {
                    self.note(entry, &written, lock)?;
                    ended.arrived(&lock, self.transfer.locks);
                    replaces = match entry.marker {
                        _ if self.overwrite => Replaces::Anything,
                        true => Replaces::Nothing,
                        false => Replaces::This(written.etag),
                    };
                }
                Err(Halt::Version(reason)) if reason.is_unreadable() => {
                    self.go_on_without(entry, reason, ended).await?;
                }
                Err(halt) => return Err(halt),
            }
            place.next += 1;
        }
        Ok(())
    }

    /// Goes on without a version that the source did not give, where it has that no more, or where it is left out.
    async fn go_on_without(&self, entry: &Entry, reason: Reason, ended: &mut Ended) -> Result<(), Halt> {
        match self.transfer.source.lists(entry).await {
            Ok(true) => {}
            Ok(false) => {
                ended.vanished += 1;
                return Ok(());
            }
            // That says nothing of this version: the source gives nothing now.
            Err(_) => return Err(reason.into()),
        }
        let mut journal = locked(&self.journal);
        if !journal.is_skipped(entry) {
            if !self.skip_unreadable {
                ended.unreadable += 1;
                return Err(reason.into());
            }
            let left_out = self.left_out.fetch_add(1, Ordering::Relaxed);
            if left_out >= LEFT_OUT_IN_A_ROW_MAX {
                return Err(Reason::Outage { reason: reason.to_string(), left_out }.into());
            }
            journal.skip(entry, &reason.to_string())?;
        }
        ended.skips.push(Failed::left_out(entry, reason.to_string()));
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
        for (number, written) in &landed {
            for entry in &due[place.next..*number] {
                ended.skips.extend(self.left_out_before(entry)?);
            }
            // With which lock it was written, a look at it tells.
            self.note(&due[*number], written, Lock::default())?;
            ended.moved += 1;
            place.next = number + 1;
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

    /// Of `due`, what is in the target and not in the journal, by number; and whether somebody else's stands above what
    /// is in it.
    fn compare(&self, held: &[Entry], due: &[Entry]) -> anyhow::Result<(Vec<(usize, Written)>, bool)> {
        let journal = locked(&self.journal);
        // What was left out was not written.
        let written = due.iter().enumerate().filter(|(_, entry)| !journal.is_skipped(entry));
        let known = written.map(|(number, entry)| {
            let Entry { marker, size, .. } = *entry;
            Ok((number, Due { marker, size, etag: journal.expected(entry)? }))
        });
        let (numbers, known): (Vec<_>, Vec<_>) =
            known.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
        let source_key = due.first().map(|entry| entry.key.as_str()).unwrap_or_default();
        let found = standing(held, |here| journal.is_ours(source_key, here), &known, self.overwrite);
        let landed = found.landed.into_iter().zip(known);
        let landed = landed.map(|(here, due)| Written { etag: due.etag, version: Some(here) });
        Ok((numbers.into_iter().zip(landed).collect(), found.foreign))
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
        if let Some(ready) = &ready {
            self.left_out.store(0, Ordering::Relaxed);
            let mut journal = locked(&self.journal);
            // One that was left out before is so no more.
            if ready.etag != entry.etag || journal.is_skipped(entry) {
                journal.begun(entry, &ready.etag)?;
            }
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
            if let Some((_, written)) = landed.into_iter().next() {
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
