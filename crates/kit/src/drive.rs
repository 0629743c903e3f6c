//! The one loop that runs a core: *commit and flush the changes, then release the outputs*.
//!
//! If the changes cannot be made durable the loop ends with the error, and so must the process:
//! a machine that remembers more than its disk does would make promises that a restart breaks.

use std::time::Duration;

use switchback_machine::{Machine, Outbox, Timestamp};
use switchback_world::time::unix_ms;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::durable::{self, Batch, Db};

/// Inputs stepped before one commit: enough to share a sync, few enough to stay within a batch.
const INPUTS_PER_COMMIT_MAX: usize = 16;

/// Changes in one batch; a change may be a few operations, and a batch holds a hundred.
const CHANGES_PER_BATCH_MAX: usize = 32;

/// Inputs that may wait. A fuller inbox makes its senders wait; nothing is dropped.
pub const INBOX_MAX: usize = 1024;

/// What a service adds to its core: how changes are stored and how outputs are performed.
pub trait Shell<M: Machine>: Send {
    /// Adds one change to the batch that will be committed.
    fn persist(&mut self, change: &M::Change, batch: &mut Batch);
    /// Does, or starts, what the core asked for. Must not block: results return as inputs.
    fn perform(&mut self, output: M::Output);
    /// Called after each commit with the machine as it now is, to publish snapshots from.
    fn publish(&mut self, now: Timestamp, machine: &M);
}

/// Milliseconds that never go backwards while the process lives, anchored to Unix time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    unix_ms: u64,
}

impl Clock {
    /// A clock anchored now.
    #[must_use]
    pub fn start() -> Self {
        Self { anchor: Instant::now(), unix_ms: unix_ms() }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.unix_ms) + self.anchor.elapsed()
    }
}

/// Runs `machine` until `shutdown`, or until nobody can send inputs any more.
///
/// # Errors
/// The changes of a step could not be made durable.
pub async fn drive<M, S>(
    mut machine: M,
    mut shell: S,
    db: Db,
    clock: Clock,
    mut inbox: mpsc::Receiver<M::Input>,
    shutdown: CancellationToken,
) -> Result<(), durable::Error>
where
    M: Machine,
    S: Shell<M>,
{
    shell.publish(clock.now(), &machine);
    let mut inputs = Vec::with_capacity(INPUTS_PER_COMMIT_MAX);
    loop {
        let pause = machine.deadline().map_or(Duration::from_secs(3600), |at| at.since(clock.now()));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            count = inbox.recv_many(&mut inputs, INPUTS_PER_COMMIT_MAX) => if count == 0 { return Ok(()) },
            () = tokio::time::sleep(pause) => {}
        }
        let mut outbox = Outbox::new();
        for input in inputs.drain(..) {
            machine.step(clock.now(), input, &mut outbox);
        }
        let now = clock.now();
        if machine.deadline().is_some_and(|at| at <= now) {
            machine.tick(now, &mut outbox);
            debug_assert!(
                machine.deadline().is_none_or(|at| at > now),
                "a deadline that has passed would be waited for without a pause"
            );
        }
        if !outbox.changes.is_empty() {
            // In order and each a whole record: a crash between two batches is a crash a step ago.
            for changes in outbox.changes.chunks(CHANGES_PER_BATCH_MAX) {
                let mut batch = Batch::default();
                changes.iter().for_each(|change| shell.persist(change, &mut batch));
                db.commit_async(batch).await?;
            }
        }
        // Who is answered by an output finds the snapshot that the answer is about.
        shell.publish(now, &machine);
        for output in outbox.outputs {
            shell.perform(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::UnboundedSender;

    /// Remembers each number that it is given, and tells of it.
    struct Counter(u64);

    impl Machine for Counter {
        type Input = u64;
        type Change = u64;
        type Output = u64;

        fn step(&mut self, _: Timestamp, input: u64, outbox: &mut Outbox<Self>) {
            self.0 = input;
            outbox.changes.push(input);
            outbox.send(input);
        }

        fn tick(&mut self, _: Timestamp, _: &mut Outbox<Self>) {}

        fn deadline(&self) -> Option<Timestamp> {
            None
        }
    }

    /// Tells what was on record, and what was shown, when each number was told.
    struct Told {
        db: Db,
        shown: u64,
        told: UnboundedSender<(u64, bool, u64)>,
    }

    impl Shell<Counter> for Told {
        fn persist(&mut self, change: &u64, batch: &mut Batch) {
            batch.put("number", &change.to_be_bytes(), b"");
        }

        fn perform(&mut self, output: u64) {
            let is_on_record = self.db.get("number", &output.to_be_bytes()).unwrap().is_some();
            self.told.send((output, is_on_record, self.shown)).unwrap();
        }

        fn publish(&mut self, _: Timestamp, machine: &Counter) {
            self.shown = machine.0;
        }
    }

    #[tokio::test]
    async fn what_is_told_is_on_record_and_shown() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let (told, mut heard) = mpsc::unbounded_channel();
        let shell = Told { db: db.clone(), shown: 0, told };
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let driving =
            tokio::spawn(drive(Counter(0), shell, db, Clock::start(), inputs, CancellationToken::new()));
        for number in 1..=100 {
            inbox.send(number).await.unwrap();
        }
        drop(inbox);
        for number in 1..=100 {
            let (output, is_on_record, shown) = heard.recv().await.unwrap();
            assert_eq!((output, is_on_record), (number, true), "told before it was durable");
            assert!(shown >= number, "told of {number} while {shown} was shown");
        }
        driving.await.unwrap().unwrap();
    }
}
