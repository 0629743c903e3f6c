//! How clients and flows share the store.
//!
//! While clients use it, flows have a share of its time: what took a flow so long is followed by a rest in which only
//! clients are served, unless they are silent. A flow never waits longer than that rest, and a client never longer than
//! for one piece of a flow's work.
//!
//! It is time, and not a number of commits or of bytes, because that is what one takes from the other, whatever the
//! disk and the processors are; and a flow whose work takes longer because the processors are busy rests longer. A share
//! of the queue before the store's writer would not hold where clients lack a processor to get there.
//!
//! Two things a flow does count: reading the feed, and making durable what came. Large bodies pass beside the
//! store, and take processors and not its time: they are moved by threads that are behind those of clients
//! (`switchback_kit::background`). Changes are not: what is not on the other side yet is lost with this one. What of
//! bodies is on its way is bounded (`flow::limit`, and the gateway's own limits).

mod calls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

pub(crate) use calls::Counted;

/// A client that has called nothing for so long is not waited for: a few times as long as one that writes one object
/// after the other takes between two calls.
const SILENT_TIME: Duration = Duration::from_millis(5);

/// No rest is longer, however long something took: a disk that hung has nothing to do with clients.
const REST_MAX: Duration = Duration::from_secs(1);

/// Timers wake so much later than they were asked to, which is not to be the flows' loss.
const LATE_TIME: Duration = Duration::from_millis(2);

/// Everything of it.
const WHOLE: u32 = 100;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Share(Arc<Inner>);

struct Inner {
    percent: u32,
    /// While clients are served, one flow after the other.
    order: Semaphore,
    state: Mutex<State>,
}

/// A flow may make something durable.
pub(crate) struct Turn<'a> {
    share: &'a Share,
    place: Option<SemaphorePermit<'a>>,
}

/// What a flow does it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To keep a replica up to date.
    Replication,
    /// To end a failure: a drain, or a recovery.
    Recovery,
}

impl Share {
    /// Of the store's time while clients use it, flows have `percent`, from 1 to 100.
    pub(crate) fn new(percent: u32) -> Self {
        let percent = percent.clamp(1, WHOLE);
        Self(Arc::new(Inner { percent, order: Semaphore::new(1), state: Mutex::default() }))
    }

    /// Until when flows leave the store to its clients; none: now.
    pub(crate) fn rests(&self, now: Instant) -> Option<Instant> {
        self.state().rests(now)
    }

    /// Waits until a flow may go on.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let place =
            if self.state().is_used(Instant::now()) { self.0.order.acquire().await.ok() } else { None };
        while let Some(until) = self.rests(Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
        Turn { share: self, place }
    }

    /// A flow took so much of the store's time, until now.
    pub(crate) fn took(&self, time: Duration, purpose: Purpose) {
        let percent = match purpose {
            Purpose::Replication => self.0.percent,
            // The larger part: clients of this content wait for it.
            Purpose::Recovery => self.0.percent.max(WHOLE - self.0.percent),
        };
        self.state().took(Instant::now(), time, percent);
    }

    /// A client's call begins. It has ended when what is answered is dropped.
    fn call(&self) -> Call {
        self.state().calls += 1;
        Call(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Clients wait meanwhile: what is done at once should be short.
    pub(crate) fn is_shared(&self) -> bool {
        self.place.is_some()
    }

    /// It took so long.
    pub(crate) fn took(self, time: Duration, purpose: Purpose) {
        self.share.took(time, purpose);
    }
}

/// A call of a client.
struct Call(Share);

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.calls -= 1;
        state.last_call = Some(Instant::now());
    }
}

/// Pure.
#[derive(Debug, Default)]
struct State {
    /// Of clients, that are not answered yet.
    calls: usize,
    /// When the last one was answered.
    last_call: Option<Instant>,
    rest_until: Option<Instant>,
}

impl State {
    /// When clients are silent, if no more of them comes; none: they are.
    fn silent_at(&self, now: Instant) -> Option<Instant> {
        let last_call = if self.calls > 0 { Some(now) } else { self.last_call };
        last_call.map(|at| at + SILENT_TIME).filter(|silent| now < *silent)
    }

    fn is_used(&self, now: Instant) -> bool {
        self.silent_at(now).is_some()
    }

    fn rests(&self, now: Instant) -> Option<Instant> {
        let until = self.rest_until.filter(|until| now < *until)?;
        self.silent_at(now).map(|silent| silent.min(until))
    }

    /// Flows that work at the same time count as if one had worked after the other.
    fn took(&mut self, now: Instant, time: Duration, percent: u32) {
        let began = now.checked_sub(time).unwrap_or(now);
        let from = match self.rest_until.filter(|_| self.is_used(now)) {
            Some(rested) => rested.max(began.checked_sub(LATE_TIME).unwrap_or(began)),
            // What nobody waited for is owed to nobody.
            None => began,
        };
        self.rest_until = Some((from + time * WHOLE / percent).min(now + REST_MAX));
    }
}

#[cfg(test)]
mod tests;
