//! The walk: reads one body after the other, for ever.

use std::sync::Arc;
use std::time::Duration;

use switchback_store::{Error as StoreError, Fault, StoredBody, examine};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Trouble;
use super::round::{BODY_COST, Pace};
use crate::flow::feed::blocking;
use crate::flow::key::KeyHash;
use crate::mover::{Mover, now_unix_ms};

/// How far the walk is is made durable this often: so much is read again after a restart.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// Before what failed is tried again.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// A clock that was set is noticed after so long.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// What a page costs besides its bodies: a thousand rows that are none would otherwise be read at once, and the
/// next thousand after them.
const PAGE_COST: u64 = 8 * BODY_COST;

/// Walks until the service stops.
pub(crate) async fn run(mover: Arc<Mover>) {
    if mover.scrub.rate == 0 {
        return;
    }
    let mut walk = Walk {
        pace: Pace::new(mover.scrub.rate),
        asked: mover.scrub.asked.subscribe(),
        saved: Instant::now(),
        mover: Arc::clone(&mover),
    };
    tokio::select! {
        biased;
        () = mover.shutdown.cancelled() => {}
        () = walk.forever() => {}
    }
    // Nothing is read again for a restart that was planned.
    if let Err(error) = mover.scrub.save(&mover.memory).await {
        tracing::warn!(%error, "how far the scrub is could not be remembered");
    }
}

struct Walk {
    mover: Arc<Mover>,
    pace: Pace,
    asked: watch::Receiver<u64>,
    saved: Instant,
}

impl Walk {
    async fn forever(&mut self) {
        loop {
            if let Some(wait) = self.wait() {
                tokio::select! {
                    _ = self.asked.changed() => self.asked.mark_changed(),
                    () = tokio::time::sleep(wait.min(WAIT_MAX)) => {}
                }
                continue;
            }
            let trouble = match self.page().await {
                Ok(()) => String::new(),
                Err(trouble) => crate::status::chain(&trouble),
            };
            let stands_still = !trouble.is_empty();
            if stands_still {
                tracing::warn!(trouble, "the scrub stands still");
            }
            self.mover.scrub.state().trouble = trouble;
            if stands_still {
                tokio::time::sleep(TROUBLE_PAUSE).await;
            }
        }
    }

    /// How long until a round is due; none while one is under way. Begins one that is due, or was asked for.
    fn wait(&mut self) -> Option<Duration> {
        let now = now_unix_ms();
        let is_asked = self.asked.has_changed().unwrap_or(false);
        self.asked.mark_unchanged();
        let mut state = self.mover.scrub.state();
        let due = state.rounds.due_unix_ms(now);
        match due {
            Some(due) if due > now && !is_asked => {
                return Some(Duration::from_millis(u64::try_from(due - now).unwrap_or(0)));
            }
            None if !is_asked => {}
            Some(_) | None => state.rounds.begin(now),
        }
        None
    }

    async fn page(&mut self) -> Result<(), Trouble> {
        let mover = Arc::clone(&self.mover);
        mover.presence.check()?;
        let (catalogue, after) = (mover.catalogue.clone(), mover.scrub.state().rounds.after.clone());
        let page = blocking(move || catalogue.bodies_after(&after)).await?;
        self.pace.take(PAGE_COST).await;
        for body in &page.bodies {
            if !self.body(body).await? {
                return Ok(());
            }
        }
        for row in &page.unreadable {
            tracing::error!(row, "a record cannot be decoded; `switchback store check` says more");
        }
        {
            let mut state = mover.scrub.state();
            if let Some(round) = &mut state.rounds.round {
                round.unreadable += page.unreadable.len() as u64;
            }
            match page.next {
                Some(next) => state.rounds.after = next,
                None => state.rounds.end(now_unix_ms()),
            }
            if state.rounds.round.is_some() {
                return Ok(());
            }
        }
        mover.scrub.save(&mover.memory).await?;
        Ok(())
    }

    /// Reads one body. False: another round was asked for.
    async fn body(&mut self, body: &StoredBody) -> Result<bool, Trouble> {
        let mover = Arc::clone(&self.mover);
        let pace = &self.pace;
        let examining =
            examine(&mover.catalogue, &mover.blobs, &mover.presence, body, |bytes| pace.take(bytes));
        let examined = tokio::select! {
            biased;
            _ = self.asked.changed() => {
                self.asked.mark_changed();
                return Ok(false);
            }
            examined = examining => examined,
        };
        self.pace.take(BODY_COST).await;
        let mut skipped = 0;
        let fault = match examined {
            Ok(fault) => fault,
            Err(gone @ (StoreError::BlobsGone { .. } | StoreError::OtherBlobs { .. })) => {
                return Err(gone.into());
            }
            Err(error) => {
                let error = crate::status::chain(&error);
                tracing::warn!(
                    error,
                    key = body.key.label(),
                    "a body could not be read; the next round tries again"
                );
                skipped = 1;
                None
            }
        };
        self.judge(body, fault.as_ref(), skipped == 0).await?;
        mover.scrub.state().rounds.passed(body, fault.is_some(), skipped);
        if self.saved.elapsed() > SAVE_INTERVAL {
            mover.scrub.save(&mover.memory).await?;
            self.saved = Instant::now();
        }
        Ok(true)
    }

    /// Notes what is damaged; and lets go of what was, and is whole.
    async fn judge(&self, body: &StoredBody, fault: Option<&Fault>, is_judged: bool) -> Result<(), Trouble> {
        let (scrub, memory) = (&self.mover.scrub, &self.mover.memory);
        if let Some(fault) = fault {
            scrub.found(memory, body, fault).await?;
            self.mover.bells.ring_status();
        } else if is_judged {
            let id = (body.content, KeyHash::of(&body.key));
            let is_listed = scrub.state().damages.open(&id, &body.fingerprint());
            if is_listed {
                scrub.forget(memory, id).await?;
                self.mover.bells.ring_status();
            }
        }
        Ok(())
    }
}
