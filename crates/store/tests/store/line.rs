//! The line between two systems in a history: what is sent, sent again, and arrives late.

use std::collections::BTreeMap;

use proptest::prelude::*;
use switchback_model::Content;
use switchback_store::{Change, ConflictPolicy};

use crate::support::{System, sender};

/// Something happens on the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carry {
    from_east: bool,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// What the other has not got yet.
    Send,
    /// See [`resend`].
    Resend,
    /// What one side has now is on the way to the other, in place of what was before.
    Depart,
    /// What was on the way arrives, late.
    Arrive,
}

pub(crate) fn carry() -> impl Strategy<Value = Carry> {
    let how = prop_oneof![2 => Just(How::Send), 1 => Just(How::Resend), 2 => Just(How::Depart), 2 => Just(How::Arrive)];
    (any::<bool>(), how).prop_map(|(from_east, how)| Carry { from_east, how })
}

/// Any policy.
pub(crate) fn policy() -> impl Strategy<Value = ConflictPolicy> {
    prop_oneof![
        Just(ConflictPolicy::NewestWins),
        Just(ConflictPolicy::ReplicaWins),
        Just(ConflictPolicy::KeepBoth),
    ]
}

/// What is on the way, by where it comes from.
#[derive(Default)]
pub(crate) struct Line(BTreeMap<bool, Vec<Change>>);

impl Line {
    pub(crate) async fn carry(
        &mut self,
        Carry { from_east, how }: Carry,
        [east, west]: [&System; 2],
        content: &Content,
        policy: ConflictPolicy,
    ) {
        let (from, to) = if from_east { (east, west) } else { (west, east) };
        match how {
            How::Send => drop(from.send(content, to, policy).await),
            How::Resend => resend(from, to, content, policy).await,
            How::Depart => drop(self.0.insert(from_east, everything(from, to, content))),
            How::Arrive => {
                if let Some(changes) = self.0.remove(&from_east) {
                    arrive(from, to, content, policy, changes).await;
                }
            }
        }
    }
}

/// Sends everything from the start again, in reverse order.
pub(crate) async fn resend(from: &System, to: &System, content: &Content, policy: ConflictPolicy) {
    let mut changes = everything(from, to, content);
    changes.reverse();
    arrive(from, to, content, policy, changes).await;
}

fn everything(from: &System, to: &System, content: &Content) -> Vec<Change> {
    from.changes(content, Some(to.feed(content)), 0)
}

/// Applies what was on the way.
async fn arrive(from: &System, to: &System, content: &Content, policy: ConflictPolicy, changes: Vec<Change>) {
    let sender = switchback_store::Sender { policy, ..sender(from, content) };
    to.catalogue.apply(content.id, sender, changes, None).await.unwrap();
}
