//! The link manager: its core under the law that its shell obeys. What a step changes is durable, then
//! what it asks for is done; if it cannot be made durable the process ends.

use std::path::Path;

use switchback_kit::durable::{Batch, Db};
use switchback_link::dns::{Desired, Offers, Zones};
use switchback_link::store;
use switchback_link_core::{Access, FlowSpec, Input, LinkMachine, Output, Policy, check};
use switchback_machine::{Machine as _, Outbox, Timestamp};
use switchback_proto::dns::v1::SystemZone;
use switchback_world::time::unix_ms;

use crate::cores::Trouble;

/// How long what names answer may be kept.
pub const ZONE_TTL_SECONDS: u32 = 5;
/// Changes in one batch, as the loop of the shell has it.
const CHANGES_PER_BATCH_MAX: usize = 32;

/// A request to the mover, of which only the latest waits while one is made.
#[derive(Debug)]
pub struct Slot<T> {
    waiting: Option<T>,
    busy: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { waiting: None, busy: false }
    }
}

impl<T> Slot<T> {
    /// Wants `request`; what is to be made now, if none is under way.
    pub fn want(&mut self, request: T) -> Option<T> {
        self.waiting = Some(request);
        if self.busy { None } else { self.next() }
    }

    /// The one under way was answered; what is to be made next.
    pub fn answered(&mut self) -> Option<T> {
        self.busy = false;
        self.next()
    }

    fn next(&mut self) -> Option<T> {
        let next = self.waiting.take();
        self.busy = next.is_some();
        next
    }
}

/// One run of it.
pub struct Manager {
    /// The core.
    pub machine: LinkMachine,
    /// Names this run.
    pub run: u64,
    /// Wanted of the mover.
    pub access: Slot<Access>,
    /// Wanted of the mover.
    pub flows: Slot<FlowSpec>,
    /// The run of the mover that was seen last; none when it cannot be reached.
    pub mover: Option<u64>,
    /// When it was seen, in simulated milliseconds.
    pub seen_ms: u64,
    /// What the broadcaster shall serve.
    pub zones: Zones,
    /// What it was last told of that.
    pub told: Option<Desired>,
    /// In which way.
    pub offers: Offers,
    /// When it is ticked next, in simulated milliseconds.
    pub tick_ms: Option<u64>,
    db: Db,
    /// Wall and simulated milliseconds at the start: its clock never goes back.
    anchor: (u64, u64),
}

impl Manager {
    /// Recovers from `folder` at the simulated millisecond `now`; `run` is random. The system's own zone is `zone`.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub fn start(folder: &Path, run: u64, now: u64, zone: SystemZone) -> Result<Self, Trouble> {
        let ended = |error: &dyn std::fmt::Display| Trouble::Ended(error.to_string());
        let db = Db::open(folder).map_err(|error| ended(&error))?;
        let state = store::load(&db).map_err(|error| ended(&error))?;
        let anchor = (unix_ms(), now);
        Ok(Self {
            machine: LinkMachine::recover(Policy::default(), state, run, Timestamp(anchor.0)),
            run,
            access: Slot::default(),
            flows: Slot::default(),
            mover: None,
            seen_ms: 0,
            zones: Zones::new(ZONE_TTL_SECONDS),
            told: None,
            offers: Offers::new(zone, format!("{run:016x}")),
            tick_ms: None,
            db,
            anchor,
        })
    }

    fn timestamp(&self, now: u64) -> Timestamp {
        Timestamp(self.anchor.0 + now - self.anchor.1)
    }

    /// When time alone moves it on, in simulated milliseconds, not before `now`.
    #[must_use]
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let at = self.machine.deadline()?;
        Some((at.0.saturating_sub(self.anchor.0) + self.anchor.1).max(now))
    }

    /// Takes `input`, or the passing of time, at the simulated millisecond `now`. What is to be done then.
    ///
    /// # Errors
    /// The changes could not be made durable; or they are what must never be, which
    /// is told apart by [`Trouble::Refused`].
    pub fn step(&mut self, now: u64, input: Option<Input>) -> Result<Vec<Output>, Trouble> {
        let now = self.timestamp(now);
        let mut outbox = Outbox::new();
        if let Some(input) = input {
            self.machine.step(now, input, &mut outbox);
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.machine.tick(now, &mut outbox);
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            return Err(Trouble::Refused("a deadline that has passed stays".into()));
        }
        check(self.machine.state()).map_err(|violation| Trouble::Refused(violation.to_string()))?;
        for changes in outbox.changes.chunks(CHANGES_PER_BATCH_MAX) {
            let mut batch = Batch::default();
            changes.iter().for_each(|change| {
                self.zones.note(change);
                store::persist(change, &mut batch);
            });
            self.db.commit(batch).map_err(|error| Trouble::Ended(error.to_string()))?;
        }
        Ok(outbox.outputs)
    }
}
