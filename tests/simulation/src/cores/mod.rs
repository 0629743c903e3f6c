//! The fast layer: the decisions of both systems in one loop on one thread, without gRPC, TLS or a
//! runtime, so that a second sees many seeds.
//!
//! What is the shipped code, called directly:
//!
//! - the link manager's core under its law (commit, then release), what it remembers
//!   ([`switchback_link::store`]) and what it tells the broadcaster ([`switchback_link::dns`]);
//! - the store: [`switchback_store::Catalogue`] with its access checks, feeds, merges, digests, notes and
//!   tombstones, on the simulated disk. S3 writers call it as the gateway does;
//! - the mover's decisions and what its batches are made of ([`switchback_mover::flow`]): whether two
//!   sides agree, the window, the feed's reader, the comparison;
//! - the broadcaster's publisher with its record, and its answers;
//! - the certificate service's commands and state, with certificates as plain values.
//!
//! What is this layer's own, written after the shells it stands for: who calls whom and when ([`stage`]),
//! connections ([`network`]), who trusts whom ([`trust`]), the mover's obedience to epochs and its talk
//! ([`mover`], [`sender`], [`receiver`]), clients ([`writer`]) and the operator ([`operator`]). Whatever
//! only the shells decide is for the slower layer, [`crate::services`].
//!
//! A run is the loop of [`stage`]: events by time, each handled whole. A crash can come between any two, and
//! at a commit, which a failing disk makes or does not make before its process ends.

mod faults;
pub mod manager;
pub mod mover;
pub mod names;
pub mod network;
pub mod operator;
pub mod receiver;
pub mod run;
pub mod sender;
pub mod site;
pub mod stage;
pub mod trust;
pub mod world;
pub mod writer;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The process ended: it could not make something durable, and starts again from disk.
    Ended(String),
    /// A refusal, in words.
    Refused(String),
}

impl From<switchback_store::Error> for Trouble {
    fn from(error: switchback_store::Error) -> Self {
        use switchback_store::Error;
        match &error {
            Error::Poisoned | Error::Engine { .. } | Error::Corrupt { .. } => Self::Ended(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// The outcome of work that never has to wait here: disks take no time.
///
/// # Panics
/// It waits all the same.
pub fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("nothing waits where disks take no time"),
    }
}
