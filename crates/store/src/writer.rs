//! The one thread that writes: it gathers concurrent commits into one batch and one flush.
//!
//! While a flush runs, commits queue up; the next batch takes them all. Nothing is delayed to make
//! a batch larger. Every answer, refusals too, waits for the flush, because it may rest on a write
//! of the same batch. An error of the engine is final: the catalogue is poisoned, everybody is told,
//! and the process is expected to exit and start again from disk (a failed flush may have dropped
//! the pages it failed to write, so a second try that succeeds proves nothing).
//!
//! In a simulation there is no thread: each commit is a batch of its own, made where it is asked for
//! after the time that the simulated disk takes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use switchback_model::{ContentId, Hlc, SiteId};
use switchback_world::time::pass;
use tokio::sync::{mpsc, oneshot, watch};

use crate::batch::{Batch, Start};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// Commits that wait for the writer. More than this and callers wait to be queued: memory stays
/// bounded, and a commit waits for at most a few flushes.
const QUEUE_MAX: usize = 1024;

/// Commits in one batch.
const BATCH_JOBS_MAX: usize = 1024;

/// Bytes in one batch after which no further commit is taken into it.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Tells a caller what came of its commit.
type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// A commit: changes the batch, and gives back how to answer, and whether the engine failed.
type Job = Box<dyn FnOnce(&mut Batch<'_>) -> (Answer, Result<()>) + Send>;

/// Contents on a link whose access was set since the start.
pub(crate) type Confirmed = Arc<RwLock<BTreeSet<ContentId>>>;

/// What the writer needs.
pub(crate) struct Setup {
    pub(crate) engine: Arc<Engine>,
    pub(crate) site: SiteId,
    /// Names this run, at random, and the highest time that was known when it began.
    pub(crate) run: (u64, Hlc),
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hlc: Hlc,
    pub(crate) confirmed: Confirmed,
    /// Where the database is, and the bytes that must stay free there.
    pub(crate) path: PathBuf,
    pub(crate) reserve_bytes: u64,
}

/// The writer's end for callers. Dropping it ends the thread and waits for it.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    poisoned: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
    /// In a simulation, instead of the queue and the thread.
    inline: Option<Mutex<Inline>>,
}

struct Inline {
    setup: Setup,
    poison: watch::Sender<bool>,
}

impl Writer {
    pub(crate) fn start(setup: Setup) -> Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let (poison, poisoned) = watch::channel(false);
        if setup.engine.pauses().is_some() {
            let inline = Some(Mutex::new(Inline { setup, poison }));
            return Ok(Self { queue: None, poisoned, thread: None, inline });
        }
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(&setup, jobs, Poison(poison)))
            .map_err(|error| Error::engine("start its writer", error))?;
        Ok(Self { queue: Some(queue), poisoned, thread: Some(thread), inline: None })
    }

    /// Runs `write` in the next batch; returns its result once that is durable.
    pub(crate) async fn commit<T, F>(&self, write: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Batch<'_>) -> Result<T> + Send + 'static,
    {
        if let Some(inline) = &self.inline {
            return Inline::commit(inline, write).await;
        }
        let (job, answer) = job(write);
        let queue = self.queue.as_ref().ok_or(Error::Poisoned)?;
        queue.send(job).await.map_err(|_| Error::Poisoned)?;
        answer.await.map_err(|_| Error::Poisoned)?
    }

    /// Resolves when nothing more will be written.
    pub(crate) async fn poisoned(&self) {
        let mut poisoned = self.poisoned.clone();
        let _ = poisoned.wait_for(|poisoned| *poisoned).await;
    }
}

impl Inline {
    async fn commit<T, F>(inline: &Mutex<Self>, write: F) -> Result<T>
    where
        F: FnOnce(&mut Batch<'_>) -> Result<T>,
    {
        let lock = || inline.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, after) = lock().setup.engine.pauses().unwrap_or_default();
        pass(before).await;
        let result = lock().write(write);
        pass(after).await;
        result
    }

    fn write<T>(&mut self, write: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<T> {
        if *self.poison.borrow() {
            return Err(Error::Poisoned);
        }
        let mut result = None;
        let done = run_once(&mut self.setup, |batch| {
            let written = write(batch);
            let failure = match &written {
                Err(error) if error.is_fatal() => Err(error.clone()),
                Ok(_) | Err(_) => Ok(()),
            };
            result = Some(written);
            failure
        });
        if let Err(error) = done {
            tracing::error!(error = &error as &dyn std::error::Error, "store failed and stops");
            self.poison.send_replace(true);
            return Err(error);
        }
        result.unwrap_or(Err(Error::Poisoned))
    }
}

/// One write on the caller's thread: before the writer starts, and in a simulation.
pub(crate) fn run_once(setup: &mut Setup, write: impl FnOnce(&mut Batch<'_>) -> Result<()>) -> Result<()> {
    let confirmed = setup.confirmed.read().unwrap_or_else(PoisonError::into_inner).clone();
    let mut hlc = setup.hlc;
    let mut batch = begin(setup, hlc, &confirmed);
    write(&mut batch)?;
    flush(setup, &mut hlc, batch)?;
    setup.hlc = hlc;
    Ok(())
}

/// Wraps `write` so that its result waits for the flush.
fn job<T, F>(write: F) -> (Job, oneshot::Receiver<Result<T>>)
where
    T: Send + 'static,
    F: FnOnce(&mut Batch<'_>) -> Result<T> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move |batch| {
        let result = write(batch);
        let failure = match &result {
            Err(error) if error.is_fatal() => Err(error.clone()),
            Ok(_) | Err(_) => Ok(()),
        };
        let answer: Answer = Box::new(move |flushed| {
            // A caller that has gone away does not mind.
            let _ = sender.send(flushed.and(result));
        });
        (answer, failure)
    });
    (job, receiver)
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Poisons the catalogue when the thread ends in a panic.
struct Poison(watch::Sender<bool>);

impl Drop for Poison {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(true);
        }
    }
}

fn run(setup: &Setup, mut jobs: mpsc::Receiver<Job>, poison: Poison) {
    let mut hlc = setup.hlc;
    while let Some(first) = jobs.blocking_recv() {
        let (answers, outcome) = run_batch(setup, &mut hlc, first, &mut jobs);
        let failed = outcome.is_err();
        if let Err(error) = &outcome {
            tracing::error!(error = error as &dyn std::error::Error, "store failed and stops");
            // Refuse what is still queued before anyone is told, so that nothing slips in between.
            jobs.close();
            poison.0.send_replace(true);
        }
        for answer in answers {
            answer(outcome.clone());
        }
        if failed {
            return;
        }
    }
}

fn run_batch(
    setup: &Setup,
    hlc: &mut Hlc,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
) -> (Vec<Answer>, Result<()>) {
    let confirmed = setup.confirmed.read().unwrap_or_else(PoisonError::into_inner).clone();
    let mut batch = begin(setup, *hlc, &confirmed);
    let mut answers = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next {
        let (answer, failure) = job(&mut batch);
        answers.push(answer);
        if failure.is_err() {
            return (answers, failure);
        }
        let room = answers.len() < BATCH_JOBS_MAX && batch.bytes() < BATCH_BYTES_MAX;
        next = if room { jobs.try_recv().ok() } else { None };
    }
    let outcome = flush(setup, hlc, batch);
    (answers, outcome)
}

fn begin<'a>(setup: &'a Setup, hlc: Hlc, confirmed: &'a BTreeSet<ContentId>) -> Batch<'a> {
    Batch::new(Start {
        engine: &setup.engine,
        site: setup.site,
        run: setup.run,
        now_unix_ms: setup.clock.now_unix_ms(),
        hlc,
        confirmed,
        full: is_full(setup),
    })
}

fn flush(setup: &Setup, hlc: &mut Hlc, mut batch: Batch<'_>) -> Result<()> {
    let (confirm, seen) = (std::mem::take(&mut batch.confirm), batch.hlc);
    let rows = batch.into_rows()?;
    if !rows.is_empty() {
        setup.engine.commit(rows)?;
    }
    *hlc = seen;
    let mut confirmed = setup.confirmed.write().unwrap_or_else(PoisonError::into_inner);
    for (content, held) in confirm {
        if held {
            confirmed.insert(content);
        } else {
            confirmed.remove(&content);
        }
    }
    Ok(())
}

/// Asked before each batch, because an engine that runs out of room in a write is poisoned for good.
/// Unknown is not full.
fn is_full(setup: &Setup) -> bool {
    nix::sys::statvfs::statvfs(&setup.path)
        .is_ok_and(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()) < setup.reserve_bytes)
}
