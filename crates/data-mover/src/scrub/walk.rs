//! The walk: reads one body after the other, for ever.

use std::sync::Arc;
use std::time::Duration;

use switchback_store::{Error as StoreError, Fault, StoredBody, StoredPart, examine, examine_part};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Trouble;
use super::damage::{PartOf, id_of};
use super::round::{BODY_COST, Pace};
use crate::flow::feed::blocking;
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
        self.mover.presence.check()?;
        let is_in_parts = self.mover.scrub.state().rounds.in_parts;
        if is_in_parts { self.page_of_parts().await } else { self.page_of_bodies().await }
    }

    async fn page_of_bodies(&mut self) -> Result<(), Trouble> {
        let mover = Arc::clone(&self.mover);
        let (catalogue, after) = (mover.catalogue.clone(), mover.scrub.state().rounds.after.clone());
        let page = blocking(move || catalogue.bodies_after(&after)).await?;
        self.pace.take(PAGE_COST).await;
        for body in &page.bodies {
            if !self.body(body).await? {
                return Ok(());
            }
        }
        self.unreadable(&page.unreadable);
        let mut state = mover.scrub.state();
        match page.next {
            Some(next) => state.rounds.after = next,
            None => state.rounds.begin_parts(),
        }
        Ok(())
    }

    async fn page_of_parts(&mut self) -> Result<(), Trouble> {
        let mover = Arc::clone(&self.mover);
        let (catalogue, after) = (mover.catalogue.clone(), mover.scrub.state().rounds.after.clone());
        let page = blocking(move || catalogue.parts_after(&after)).await?;
        self.pace.take(PAGE_COST).await;
        for part in &page.parts {
            if !self.part(part).await? {
                return Ok(());
            }
        }
        self.unreadable(&page.unreadable);
        {
            let mut state = mover.scrub.state();
            match page.next {
                Some(next) => {
                    state.rounds.after = next;
                    return Ok(());
                }
                None => state.rounds.end(now_unix_ms()),
            }
        }
        mover.scrub.save(&mover.memory).await?;
        Ok(())
    }

    fn unreadable(&self, rows: &[String]) {
        for row in rows {
            tracing::error!(row, "a record cannot be decoded; `switchback store check` says more");
        }
        if let Some(round) = &mut self.mover.scrub.state().rounds.round {
            round.unreadable += rows.len() as u64;
        }
    }

    /// Reads one body. False: another round was asked for.
    async fn body(&mut self, body: &StoredBody) -> Result<bool, Trouble> {
        let mover = Arc::clone(&self.mover);
        let pace = &self.pace;
        let examining =
            examine(&mover.catalogue, &mover.blobs, &mover.presence, body, |bytes| pace.take(bytes));
        let Some(examined) = unless_asked(&mut self.asked, examining).await else { return Ok(false) };
        self.pace.take(BODY_COST).await;
        let judged = judge(&mover, body, None, examined).await?;
        mover.scrub.state().rounds.passed(body, judged.is_damaged, judged.skipped);
        self.save_now_and_then().await
    }

    /// The same of one part.
    async fn part(&mut self, part: &StoredPart) -> Result<bool, Trouble> {
        let mover = Arc::clone(&self.mover);
        let pace = &self.pace;
        let examining =
            examine_part(&mover.catalogue, &mover.blobs, &mover.presence, part, |bytes| pace.take(bytes));
        let Some(examined) = unless_asked(&mut self.asked, examining).await else { return Ok(false) };
        self.pace.take(BODY_COST).await;
        let of = PartOf { upload: part.upload, number: part.part.number };
        let judged = judge(&mover, &part.body(), Some(of), examined).await?;
        mover.scrub.state().rounds.passed_part(part, judged.is_damaged, judged.skipped);
        self.save_now_and_then().await
    }

    async fn save_now_and_then(&mut self) -> Result<bool, Trouble> {
        if self.saved.elapsed() > SAVE_INTERVAL {
            self.mover.scrub.save(&self.mover.memory).await?;
            self.saved = Instant::now();
        }
        Ok(true)
    }
}

/// What `examining` comes to; none if another round is asked for meanwhile.
async fn unless_asked<T>(asked: &mut watch::Receiver<u64>, examining: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = asked.changed() => {
            asked.mark_changed();
            None
        }
        examined = examining => Some(examined),
    }
}

/// What became of one body.
struct Judged {
    is_damaged: bool,
    /// 1 if it could not be judged.
    skipped: u64,
}

/// Notes what is damaged; and lets go of what was, and is whole.
async fn judge(
    mover: &Mover,
    body: &StoredBody,
    part: Option<PartOf>,
    examined: Result<Option<Fault>, StoreError>,
) -> Result<Judged, Trouble> {
    let (scrub, memory) = (&mover.scrub, &mover.memory);
    match examined {
        Ok(Some(fault)) => {
            scrub.found(memory, body, part, &fault).await?;
            mover.bells.ring_status();
            Ok(Judged { is_damaged: true, skipped: 0 })
        }
        Ok(None) => {
            let id = id_of(body, part);
            let is_listed = scrub.state().damages.open(&id, &body.fingerprint());
            if is_listed {
                scrub.forget(memory, id).await?;
                mover.bells.ring_status();
            }
            Ok(Judged { is_damaged: false, skipped: 0 })
        }
        Err(gone @ (StoreError::BlobsGone { .. } | StoreError::OtherBlobs { .. })) => Err(gone.into()),
        Err(error) => {
            let (error, key) = (crate::status::chain(&error), body.key.label());
            tracing::warn!(error, key, "a body could not be read; the next round tries again");
            Ok(Judged { is_damaged: false, skipped: 1 })
        }
    }
}
