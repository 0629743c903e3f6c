//! What the system log says of storage that goes bad: that bytes are damaged, that there is no other copy of some,
//! that all are whole again, and that the folder of the blobs is not there.
//!
//! The mover keeps the list (`switchback store scrub`). Here only the beginning and the end of a time with damage are
//! told, and a beginning not more often than [`QUIET_TIME`]: a failing disk must not drive everything else out of the
//! log. After a start what is still damaged is told again.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use switchback_machine::Timestamp;

use crate::input::DamageView;
use crate::machine::{LinkMachine, Out};
use crate::state::Severity;

/// Damage that begins anew so soon after it was told is not told again.
const QUIET_TIME: Duration = Duration::from_secs(10 * 60);

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    /// When damage was told last.
    damaged_at: Option<Timestamp>,
    /// It was told, and its end was not.
    open: bool,
    /// That some cannot be repaired was told.
    unrepairable: bool,
    /// The storage was told to be gone.
    gone: bool,
}

impl LinkMachine {
    /// The mover tells of damage `now_seen`; before, in this run, of `before`.
    pub(crate) fn damage_seen(&mut self, now: Timestamp, before: Option<DamageView>, out: &mut Out) {
        let Some(seen) = self.mover.as_ref().map(|mover| mover.damage.clone()) else { return };
        let mut told = self.damage.clone();
        let is_gone = !seen.storage.is_empty();
        if is_gone != told.gone {
            told.gone = is_gone;
            let (severity, id, text) = match told.gone {
                true => (Severity::Error, "storage-gone", seen.storage.clone()),
                false => {
                    (Severity::Notice, "storage-back", "the folder of the blobs is there again".to_string())
                }
            };
            self.event(now, severity, id, "", text, out);
        }
        let (damaged, is_new) =
            (seen.waiting + seen.unrepairable, before.is_some_and(|before| before.found < seen.found));
        let is_time = told.damaged_at.is_none_or(|at| now.since(at) >= QUIET_TIME);
        if !told.open && is_time && (damaged > 0 || is_new) {
            (told.open, told.damaged_at) = (true, Some(now));
            let text = "bytes of objects are damaged on this system; they are fetched from the other one: `switchback store scrub`";
            self.event(now, Severity::Warning, "damage-found", "", text.to_string(), out);
        }
        if (seen.unrepairable > 0) != told.unrepairable {
            told.unrepairable = seen.unrepairable > 0;
            if told.unrepairable {
                self.event(
                    now,
                    Severity::Error,
                    "damage-unrepairable",
                    "",
                    unrepairable(seen.unrepairable),
                    out,
                );
            }
        }
        if told.open && damaged == 0 {
            told.open = false;
            let text = "no bytes are known to be damaged on this system any more".to_string();
            self.event(now, Severity::Notice, "damage-repaired", "", text, out);
        }
        self.damage = told;
    }
}

fn unrepairable(objects: u64) -> String {
    format!(
        "the bytes of {objects} objects are damaged on this system and no other copy is known: `switchback store scrub` names them; write them again or delete them"
    )
}
