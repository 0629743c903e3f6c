//! How much of a link leaves, and whose turn it is: one for all contents of a link.
//!
//! Batches, manifests and the chunks of bodies ask for a turn before they leave; heartbeats, epochs,
//! fences and what a receiver waits for do not come here. The rate is asked for again at each turn,
//! so that another schedule, another hour and a failover hold at once and no stream is begun anew.
//!
//! The limit is a token bucket that may be overdrawn by a message: who asks does not know yet how long
//! the message is, and a batch is never cut. On the average the rate is kept whatever the messages are.
//!
//! A flow's stream and its lanes ask each for themselves, and count as one. Turns are only taken where they
//! are waited for. With a limit, contents are *fair* by start-time fair
//! queueing (Goyal, Vin and Cheng 1996): who has sent least since it last had nothing to send is next.
//! With *oldest first* the content that is furthest behind goes first also where there is no limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switchback_model::{Priority, Rate};
use tokio::sync::Notify;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{Permit, Sender};
use tokio::time::Instant;

use super::limit::CHUNK_BYTES;
use crate::link::Link;

/// A link that was silent may send what it could have sent in this time at once: long enough for the
/// timers of a busy machine, and too short for a line's queue to notice.
const BURST_TIME: Duration = Duration::from_millis(100);

/// A message is charged as so long until it is known.
const MESSAGE_BYTES: u64 = CHUNK_BYTES;

/// Who waits looks at the clock on the wall this often, because it may be set.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// An older content that has sent nothing for this long, although nothing here held it back, keeps
/// nobody waiting: its receiver may be slow, or stand still.
const STANDS_ASIDE_TIME: Duration = Duration::from_secs(1);

/// The turns of one link.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Notify,
}

/// One sender's place among them, for as long as its session lives.
pub(crate) struct Turn {
    link: Arc<Link>,
    number: u64,
    has_work: bool,
    is_charged: bool,
}

impl Turns {
    /// What rests on the link's desires is to be looked at again.
    pub(crate) fn look_again(&self) {
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        let number = link.turns.state().enter(Instant::now());
        Self { link, number, has_work: false, is_charged: false }
    }

    /// Another sender in the same place: together they have what one of them would have.
    pub(crate) fn beside(&self) -> Self {
        self.link.turns.state().join(self.number);
        Self { link: Arc::clone(&self.link), number: self.number, has_work: false, is_charged: false }
    }

    /// There is something to send, and everything from before `as_of` (Unix ms) is on the other side;
    /// `None`: there is nothing.
    pub(crate) fn wants(&mut self, as_of: Option<i64>) {
        let had_work = std::mem::replace(&mut self.has_work, as_of.is_some());
        let turns = &self.link.turns;
        if turns.state().wants(Instant::now(), self.number, had_work, as_of) {
            turns.look_again();
        }
    }

    /// Waits until a message may leave; `is_free`: one that nothing holds back.
    pub(crate) async fn take<'a, M>(
        &mut self,
        outbound: &'a Sender<M>,
        is_free: bool,
    ) -> Result<Permit<'a, M>, SendError<()>> {
        // The line first: who cannot send anyhow is not waited for.
        let permit = outbound.reserve().await?;
        if !is_free {
            Waiting::new(&self.link, self.number).until_next().await;
            self.is_charged = true;
        }
        Ok(permit)
    }

    /// What came of the turn: so many bytes leave.
    pub(crate) fn sent(&mut self, bytes: usize) {
        if std::mem::take(&mut self.is_charged) {
            self.link.turns.state().settle(Instant::now(), self.number, bytes as u64);
            self.link.turns.look_again();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.sent(0);
        self.wants(None);
        self.link.turns.state().leave(self.number);
        self.link.turns.look_again();
    }
}

/// Somebody waits; also when that is given up.
struct Waiting<'a> {
    link: &'a Link,
    number: u64,
}

impl<'a> Waiting<'a> {
    fn new(link: &'a Link, number: u64) -> Self {
        link.turns.state().wait(number, true);
        Self { link, number }
    }

    async fn until_next(&self) {
        let turns = &self.link.turns;
        loop {
            let changed = turns.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let (rate, priority) = (self.link.rate(), self.link.desired().priority);
            let judged = turns.state().judge(Instant::now(), rate, priority, self.number);
            let wait = match judged {
                Verdict::Next => return,
                Verdict::Wait(time) => time.map_or(LOOK_INTERVAL, |time| time.min(LOOK_INTERVAL)),
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.link.turns.state().wait(self.number, false);
        self.link.turns.look_again();
    }
}

/// Whether a message may leave.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// Now, and it is charged.
    Next,
    /// Not before so long, or before something changes.
    Wait(Option<Duration>),
}

/// The bucket and who asks. Pure.
#[derive(Debug, Default)]
struct State {
    last: u64,
    senders: BTreeMap<u64, Asking>,
    /// Bytes that may leave now; less than nothing when overdrawn.
    level: f64,
    /// When it was so.
    at: Option<Instant>,
    /// Bytes that the sender whose turn was last had then sent, in its own count.
    round: f64,
}

/// One sender, or several in one place.
#[derive(Debug)]
struct Asking {
    senders: usize,
    /// Of them, those that have something to send, and those that wait.
    with_work: usize,
    waiting: usize,
    /// Unix ms; `None` while they have nothing to send.
    as_of: Option<i64>,
    /// Bytes that it has sent, not less than the others when it had nothing to send.
    sent: f64,
    /// When it last sent, or began to want to.
    moved: Instant,
}

impl State {
    fn enter(&mut self, now: Instant) -> u64 {
        self.last += 1;
        let asking =
            Asking { senders: 1, with_work: 0, waiting: 0, as_of: None, sent: self.round, moved: now };
        self.senders.insert(self.last, asking);
        self.last
    }

    fn join(&mut self, number: u64) {
        if let Some(asking) = self.senders.get_mut(&number) {
            asking.senders += 1;
        }
    }

    fn leave(&mut self, number: u64) {
        let Some(asking) = self.senders.get_mut(&number) else { return };
        asking.senders -= 1;
        if asking.senders == 0 {
            self.senders.remove(&number);
        }
    }

    /// True when somebody may have waited for this.
    fn wants(&mut self, now: Instant, number: u64, had_work: bool, as_of: Option<i64>) -> bool {
        let Some(asking) = self.senders.get_mut(&number) else { return false };
        if as_of.is_some() && asking.as_of.is_none() {
            asking.moved = now;
        }
        asking.with_work += usize::from(as_of.is_some());
        asking.with_work -= usize::from(had_work);
        // What the others of this place have is as old as they said.
        let as_of = if asking.with_work == 0 { None } else { as_of.or(asking.as_of) };
        std::mem::replace(&mut asking.as_of, as_of) != as_of
    }

    fn wait(&mut self, number: u64, is_waiting: bool) {
        if let Some(asking) = self.senders.get_mut(&number) {
            asking.waiting = if is_waiting { asking.waiting + 1 } else { asking.waiting - 1 };
            asking.sent = asking.sent.max(self.round);
        }
    }

    fn judge(&mut self, now: Instant, rate: Rate, priority: Priority, number: u64) -> Verdict {
        self.refill(now, rate);
        if rate == Rate::BytesPerSecond(0) {
            return Verdict::Wait(None);
        }
        if let Some(wait) = match priority {
            Priority::OldestFirst => self.older(now, number),
            Priority::Fair if rate == Rate::Unlimited => None,
            Priority::Fair => self.fairer(number),
        } {
            return wait;
        }
        if let Rate::BytesPerSecond(rate) = rate
            && self.level <= 0.0
        {
            return Verdict::Wait(Some(time_for(-self.level, rate)));
        }
        self.charge(number, float(MESSAGE_BYTES));
        Verdict::Next
    }

    /// Somebody is further behind, and will use its turn.
    fn older(&self, now: Instant, number: u64) -> Option<Verdict> {
        let place = |number: u64, asking: &Asking| asking.as_of.map(|as_of| (as_of, number));
        let own = self.senders.get(&number).and_then(|asking| place(number, asking));
        let before = self.senders.iter().filter(|(other, asking)| {
            place(**other, asking).zip(own).is_some_and(|(theirs, own)| theirs < own)
        });
        let waits = before.filter_map(|(_, asking)| {
            if asking.waiting > 0 {
                return Some(None);
            }
            let idle = now.saturating_duration_since(asking.moved);
            STANDS_ASIDE_TIME.checked_sub(idle).filter(|left| !left.is_zero()).map(Some)
        });
        waits.max_by_key(|wait| wait.unwrap_or(Duration::MAX)).map(Verdict::Wait)
    }

    /// Somebody who waits has sent less.
    fn fairer(&self, number: u64) -> Option<Verdict> {
        let own = self.senders.get(&number)?.sent;
        let waiting = self.senders.iter().filter(|(_, asking)| asking.waiting > 0);
        let mut before =
            waiting.filter(|(other, asking)| asking.sent.total_cmp(&own).then((*other).cmp(&number)).is_lt());
        before.next().map(|_| Verdict::Wait(None))
    }

    fn charge(&mut self, number: u64, bytes: f64) {
        self.level -= bytes;
        if let Some(asking) = self.senders.get_mut(&number) {
            self.round = self.round.max(asking.sent);
            asking.sent += bytes;
        }
    }

    /// A message that was charged is so long in truth.
    fn settle(&mut self, now: Instant, number: u64, bytes: u64) {
        let more = float(bytes) - float(MESSAGE_BYTES);
        self.level -= more;
        if let Some(asking) = self.senders.get_mut(&number) {
            asking.sent += more;
            asking.moved = now;
        }
    }

    fn refill(&mut self, now: Instant, rate: Rate) {
        let passed = self.at.replace(now).map(|at| now.saturating_duration_since(at));
        match rate {
            // What left without a limit is no debt to a limit that comes.
            Rate::Unlimited => self.level = 0.0,
            Rate::BytesPerSecond(0) => {}
            Rate::BytesPerSecond(rate) => {
                let rate = float(rate);
                let burst = rate * BURST_TIME.as_secs_f64();
                let gained = passed.map_or(burst, |passed| rate * passed.as_secs_f64());
                self.level = (self.level + gained).min(burst);
            }
        }
    }
}

/// Until so many bytes are made up for.
fn time_for(bytes: f64, rate: u64) -> Duration {
    // Rounded up to where timers can tell; a debt of years is looked at again anyhow.
    let seconds = (bytes / float(rate)).min(86_400.0);
    Duration::from_secs_f64(seconds.max(0.0)) + Duration::from_millis(1)
}

#[expect(clippy::cast_precision_loss, reason = "52 bits of bytes are four petabytes")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
