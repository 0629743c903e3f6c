//! What a domain core is: a deterministic state machine, its outbox and its clock values.
//!
//! A core decides and remembers; it never acts. It is driven by a shell that obeys one law:
//! *commit and flush the [`Machine::Change`]s of a step, then release its
//! [`Machine::Output`]s*. Whoever breaks that order breaks every promise built on it.
//!
//! Why so: a core without clock, randomness, threads or I/O can be replayed from a seed, explored
//! by a model checker and read without running it. Those things arrive as arguments.
//!
//! What it is not: an actor framework. There are no channels, handles or locks here.
#![no_std]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// Milliseconds of a clock that never goes backwards while a process lives, anchored to Unix time
/// when the process started. Use it for order and for time-outs; never to decide who may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A deterministic domain core.
///
/// `step` and `tick` are total: a refusal is an output, never a panic. Durable state changes only
/// through the changes they leave in the outbox, which the core has already applied to itself by
/// the same code that a recovery uses.
pub trait Machine {
    /// Everything that can happen, already parsed and typed.
    type Input;
    /// An upsert or removal of one durable record.
    type Change: fmt::Debug;
    /// One request to the outside world, replies included.
    type Output: fmt::Debug;

    /// Takes one input at the time `now`.
    fn step(&mut self, now: Timestamp, input: Self::Input, outbox: &mut Outbox<Self>);

    /// Takes the passing of time: called when [`Machine::deadline`] has been reached.
    fn tick(&mut self, now: Timestamp, outbox: &mut Outbox<Self>);

    /// The next instant at which `tick` has something to do, if any. After a `tick` it lies in the
    /// future: what waits for an input has no deadline.
    fn deadline(&self) -> Option<Timestamp>;
}

/// What a step wants: changes to make durable first, outputs to release afterwards.
pub struct Outbox<M: Machine + ?Sized> {
    /// In order; must be committed and flushed as one unit before any output is released.
    pub changes: Vec<M::Change>,
    /// In order; must not leave before the changes are durable.
    pub outputs: Vec<M::Output>,
}

impl<M: Machine + ?Sized> Outbox<M> {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self { changes: Vec::new(), outputs: Vec::new() }
    }

    /// Asks the world for `output`, once the step's changes are durable.
    pub fn send(&mut self, output: M::Output) {
        self.outputs.push(output);
    }

    /// True when nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.outputs.is_empty()
    }
}

impl<M: Machine + ?Sized> Default for Outbox<M> {
    fn default() -> Self {
        Self::new()
    }
}
