//! Repairs: first what readers suspect is looked at, then what is on the list is fetched, one body at a time.

use std::sync::Arc;
use std::time::Duration;

use switchback_model::ContentId;
use switchback_store::{Error as StoreError, RecordKey, examine};

use super::Trouble;
use super::damage::{Entry, Id, Outcome, PartOf};
use super::fetch::{Failed, fetch, partial_key};
use crate::flow::key::KeyHash;
use crate::link::Link;
use crate::mover::{Mover, now_unix_ms};

/// The list is looked at this often, if nothing else wakes the repairs.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Before what failed is tried again.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// What an operator can do about a body of which there is no whole copy.
const REMEDY: &str = "write the object again, or delete it, where the content is read-write";

/// Repairs until the service stops.
pub(crate) async fn run(mover: Arc<Mover>) {
    let repairing = async {
        loop {
            match step(&mover).await {
                Ok(true) => {}
                Ok(false) => wait(&mover).await,
                Err(trouble) => {
                    tracing::warn!(trouble = crate::status::chain(&trouble), "repairs stand still");
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = mover.shutdown.cancelled() => {}
        () = repairing => {}
    }
}

async fn wait(mover: &Mover) {
    let next = mover.scrub.state().damages.next_unix_ms();
    let pause = next.map_or(LOOK_INTERVAL, |next| {
        let left = u64::try_from(next.saturating_sub(now_unix_ms())).unwrap_or(0);
        // A moment more than nothing, so that a clock that stands still is no busy loop.
        Duration::from_millis(left.max(10)).min(LOOK_INTERVAL)
    });
    tokio::select! {
        () = mover.scrub.wake.notified() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

/// Does one thing. False: there is nothing to do.
async fn step(mover: &Arc<Mover>) -> Result<bool, Trouble> {
    if let Some((content, key)) = mover.scrub.next_suspect() {
        look(mover, content, &key).await?;
        return Ok(true);
    }
    let Some((id, entry)) = mover.scrub.due() else { return Ok(false) };
    attempt(mover, id, &entry).await?;
    mover.bells.ring_status();
    Ok(true)
}

/// Looks at a body that a reader found wanting.
async fn look(mover: &Mover, content: ContentId, key: &RecordKey) -> Result<(), Trouble> {
    let Some(body) = mover.catalogue.body(content, key)? else { return Ok(()) };
    let id = (content, KeyHash::of(key));
    let is_listed = mover.scrub.state().damages.open(&id, &body.fingerprint());
    if is_listed {
        return Ok(());
    }
    let examined =
        examine(&mover.catalogue, &mover.blobs, &mover.presence, &body, |_| std::future::ready(()));
    match examined.await {
        Ok(Some(fault)) => {
            mover.scrub.found(&mover.memory, &body, None, &fault).await?;
            mover.bells.ring_status();
        }
        Ok(None) => {}
        // Whoever reads it next will say so again.
        Err(error) => {
            tracing::warn!(
                error = crate::status::chain(&error),
                key = key.label(),
                "a body could not be read"
            );
        }
    }
    Ok(())
}

async fn attempt(mover: &Arc<Mover>, id: Id, entry: &Entry) -> Result<(), Trouble> {
    if let Some(part) = entry.part {
        return attempt_part(mover, id, entry, part).await;
    }
    let body = mover.catalogue.body(entry.content, &entry.key)?;
    let Some(body) = body.filter(|body| body.fingerprint() == entry.fingerprint) else {
        // It was overwritten or deleted, or a later change found another way.
        return Ok(mover.scrub.forget(&mover.memory, id).await?);
    };
    let outcome = match source(mover, entry.content)? {
        Err(outcome) => outcome,
        Ok(link) => match fetch(mover, &link, &body).await {
            Ok(fresh) => {
                let partial = partial_key(&body);
                let repaired = mover.catalogue.repair_body(body, fresh).await;
                // What is named now or was swept is nothing to go on with; all else is not fetched again.
                if matches!(repaired, Ok(_) | Err(StoreError::LeaseExpired { .. })) {
                    mover.memory.remove_partial(partial).await?;
                }
                match repaired {
                    Ok(true) => Outcome::Repaired,
                    Ok(false) => return Ok(mover.scrub.forget(&mover.memory, id).await?),
                    Err(error) => Outcome::Waits(crate::status::chain(&error)),
                }
            }
            Err(Failed::Waits(reason)) => Outcome::Waits(reason),
            Err(Failed::NoCopy(reason)) => Outcome::Unrepairable(format!("{reason}: {REMEDY}")),
        },
    };
    settle(mover, id, entry, outcome).await
}

/// Nobody has another copy of a part: it stays listed until it is uploaded again, or its upload ends.
async fn attempt_part(mover: &Mover, id: Id, entry: &Entry, part: PartOf) -> Result<(), Trouble> {
    let PartOf { upload, number } = part;
    let (namespace, key) = (entry.key.namespace(), entry.key.label());
    let now = mover.catalogue.stored_part(entry.content, namespace, &key, upload, number)?;
    if now.is_none_or(|now| now.body().fingerprint() != entry.fingerprint) {
        return Ok(mover.scrub.forget(&mover.memory, id).await?);
    }
    let reason = format!(
        "it is a part of an open upload, which is on this system only: upload part {number} of {upload} again, or abort the upload"
    );
    settle(mover, id, entry, Outcome::Unrepairable(reason)).await
}

/// Notes what came of an attempt, durably.
async fn settle(mover: &Mover, id: Id, entry: &Entry, outcome: Outcome) -> Result<(), Trouble> {
    let (namespace, key) = (entry.key.namespace(), entry.key.label());
    match &outcome {
        Outcome::Repaired => {
            tracing::info!(namespace, key, "a damaged body was repaired from the other system")
        }
        Outcome::Waits(reason) => tracing::debug!(namespace, key, reason, "a repair waits"),
        Outcome::Unrepairable(reason) => tracing::error!(namespace, key, reason, "a body cannot be repaired"),
    }
    let (changed, dropped) = {
        let mut state = mover.scrub.state();
        state.rounds.repaired += u64::from(outcome == Outcome::Repaired);
        state.damages.tried(id, now_unix_ms(), outcome)
    };
    if let Some(record) = changed {
        mover.memory.put_damage(id, &record).await?;
        mover.scrub.save(&mover.memory).await?;
    }
    mover.memory.remove_damages(&dropped).await?;
    Ok(())
}

/// The link over which the content's bodies can be fetched now, or why there is none.
fn source(mover: &Mover, content: ContentId) -> Result<Result<Arc<Link>, Outcome>, StoreError> {
    let access = mover.catalogue.content(content)?.access;
    let Some(id) = access.link.filter(|_| !access.orphaned) else {
        let reason = format!("the content is on no link, so there is no other copy: {REMEDY}");
        return Ok(Err(Outcome::Unrepairable(reason)));
    };
    let waits = |reason: String| Ok(Err(Outcome::Waits(reason)));
    let Some(link) = mover.link(id) else {
        return waits(format!("the link manager has not told of link {} yet", access.link_name));
    };
    let desired = link.desired();
    let name = &desired.name;
    if desired.suspended {
        return waits(format!("link {name} is suspended: `switchback link resume {name}`"));
    }
    if desired.flow(content).is_none_or(|flow| flow.paused) {
        return waits(format!("the content is paused on link {name}"));
    }
    if !link.in_contact() {
        return waits(format!("no contact with {}: {}", desired.peer_name, link.trouble()));
    }
    Ok(Ok(link))
}
