//! What a link's other side held alone when this side went on without it: noted, durably, before the
//! first write of the new epoch, so that after a loss it can still be asked what is lost as far as
//! this side can know. Whether it has arrived since is seen when it is asked for.
//!
//! The notes are the survivor's own knowledge and stay with it: they do not travel to the other side.

use std::sync::Arc;

use prost::Message as _;
use switchback_model::{ContentId, Epoch, FeedId, LinkId};
use switchback_proto::model::v1::PeerKnowledge;
use switchback_proto::mover::v1::Absence;

use crate::convert::boxed;
use crate::flow::feed::blocking;
use crate::link::Link;
use crate::mover::{Mover, now_unix_ms};
use crate::rpc::pending::told;
use crate::status::{Answer, from_state};

/// Bytes of one note. Names beyond are not kept, and the note says so: a record of the database is
/// small.
const NOTE_BYTES_MAX: usize = 48 * 1024;

/// Notes of one link; the oldest goes. One is made for each time that a side goes on alone.
const NOTES_MAX: usize = 256;

/// This side is about to write in a higher epoch than before. With the other side in contact and
/// nothing missing there is nothing to note.
pub(crate) async fn note(mover: &Arc<Mover>, link: &Arc<Link>, epoch: Epoch) -> Answer<()> {
    let (reading, of) = (Arc::clone(mover), Arc::clone(link));
    let read = move || {
        let mut is_new = false;
        for flow in of.flows() {
            let status = reading.status(of.id, flow.content.id)?;
            is_new |= status.is_some_and(|status| status.access.epoch < epoch);
        }
        Ok(if is_new { Some(told(&reading, &of)?) } else { None })
    };
    let Some(missing) = blocking(read).await.map_err(boxed)? else { return Ok(()) };
    if link.in_contact() && missing.objects == 0 {
        return Ok(());
    }
    let known = mover.memory.absences(link.id).map_err(|error| from_state(&error))?;
    // A repeat after a crash: what was known first counts.
    if known.iter().any(|absence| absence.epoch == epoch.0) {
        return Ok(());
    }
    let desired = link.desired();
    let mut absence = Absence {
        epoch: epoch.0,
        system: desired.peer_name.clone(),
        incarnation: desired.peer_incarnation.0,
        noted_unix_ms: now_unix_ms(),
        missing: Some(missing),
        gone_unix_ms: 0,
        arrived: false,
    };
    cut(&mut absence);
    if known.len() >= NOTES_MAX
        && let Some(oldest) = known.first()
    {
        let removed = mover.memory.remove_absence(link.id, Epoch(oldest.epoch)).await;
        removed.map_err(|error| from_state(&error))?;
    }
    put(mover, link.id, &absence).await
}

/// The other side was rebuilt or replaced: what only its former life held has gone with it. What was
/// missing now is noted at the present epoch, if it is not noted already.
pub(crate) async fn note_gone(mover: &Arc<Mover>, link: &Arc<Link>) -> Answer<()> {
    let former = link.desired();
    let (reading, of) = (Arc::clone(mover), Arc::clone(link));
    let missing = blocking(move || told(&reading, &of)).await.map_err(boxed)?;
    let mut notes = mover.memory.absences(link.id).map_err(|error| from_state(&error))?;
    notes.retain(|absence| absence.incarnation == former.peer_incarnation.0 && absence.gone_unix_ms == 0);
    let now = now_unix_ms();
    if notes.is_empty() && missing.objects > 0 {
        let mut absence = Absence {
            epoch: link.known_epoch().0,
            system: former.peer_name.clone(),
            incarnation: former.peer_incarnation.0,
            noted_unix_ms: now,
            missing: Some(missing),
            gone_unix_ms: 0,
            arrived: false,
        };
        cut(&mut absence);
        notes.push(absence);
    }
    for mut absence in notes {
        // The feed's cursor may be dropped some day; whether it had arrived by now is settled now.
        absence.arrived = has_arrived(mover, link, &absence);
        absence.gone_unix_ms = now;
        put(mover, link.id, &absence).await?;
    }
    Ok(())
}

/// The notes of these epochs, by epoch.
pub(crate) fn list(mover: &Mover, link: LinkId, epoch_min: u64, epoch_max: u64) -> Answer<Vec<Absence>> {
    let mut notes = mover.memory.absences(link).map_err(|error| from_state(&error))?;
    notes.retain(|absence| (epoch_min..=epoch_max).contains(&absence.epoch));
    if let Some(link) = mover.link(link) {
        for absence in notes.iter_mut().filter(|absence| absence.gone_unix_ms == 0) {
            absence.arrived = has_arrived(mover, &link, absence);
        }
    }
    Ok(notes)
}

/// Everything that the other side had told of is here.
fn has_arrived(mover: &Mover, link: &Link, absence: &Absence) -> bool {
    let Some(missing) = &absence.missing else { return false };
    missing.knowledge() != PeerKnowledge::None
        && missing.positions.iter().all(|gap| {
            let head = gap.head.clone().unwrap_or_default();
            let content = head.content.and_then(|content| ContentId::from_slice(&content.id));
            let status = content.and_then(|content| mover.status(link.id, content).ok().flatten());
            status.is_some_and(|status| {
                gap.applied_sequence >= head.sequence || status.cursor(FeedId(head.feed_id)) >= head.sequence
            })
        })
}

/// Leaves out names until the note fits.
fn cut(absence: &mut Absence) {
    while absence.encoded_len() > NOTE_BYTES_MAX {
        let Some(missing) = &mut absence.missing else { return };
        missing.truncated = true;
        if missing.records.is_empty() {
            // A link of thousands of contents: the counts stay.
            missing.positions.clear();
            return;
        }
        let half = missing.records.len() / 2;
        missing.records.truncate(half);
    }
}

async fn put(mover: &Mover, link: LinkId, absence: &Absence) -> Answer<()> {
    mover.memory.put_absence(link, absence).await.map_err(|error| from_state(&error))
}
