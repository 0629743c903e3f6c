//! The join: which of two versions of one key is current. Pure.
//!
//! The order of two versions follows from what each replaced when it was written, which never
//! changes. So the current version of a key is a function of the set of versions that have met,
//! whatever the order in which they met and however often, and both sides of a link come to the
//! same one. What a version wins against later is kept apart from that (`Record::absorbed`): if it
//! grew the vector that is compared, whether two versions conflict would depend on who had met whom.
//!
//! That function is a maximum. Newest wins: a version's time is later than that of all it replaced,
//! so the order of versions extends "replaced", and the maximum is current. Replica wins: each
//! side's versions of a key are a chain, and of the two ends the one that knew of the other is
//! current, else the replica's. (Three sites in one conflict would take a rebuilt side that wrote
//! before it was in sync, which no link permits.)

use std::cmp::Ordering;

use switchback_model::{Order, SiteId, Version};

use crate::feed::ConflictPolicy;
use crate::record::Record;

/// What to do with an incoming record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It replaced what is here.
    Take,
    /// It is here, or what is here replaced it.
    Ignore,
    /// Neither knew of the other.
    Conflict {
        /// Who is current.
        incoming_wins: bool,
        /// Why, for the report.
        rule: &'static str,
    },
}

/// Of two records of one key, which the other one's writer may know nothing of although it replaced a
/// later one of the same site. A site that goes back to a backup writes on after it, unknowing: what it
/// replaces then may be later than what it had written in between, and what it writes may be earlier, if
/// its clock was set back as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The one that is here.
    pub(crate) current: bool,
    /// The one that comes.
    pub(crate) incoming: bool,
}

/// Compares an incoming record with the one that is here. An unread one counts as replaced only by one
/// that names it.
pub(crate) fn judge(
    current: &Record,
    incoming: &Record,
    unread: Unread,
    primary: SiteId,
    policy: ConflictPolicy,
) -> Verdict {
    let knew = |newer: &Record, older: &Record, unread: bool| {
        !unread || newer.replaced.entries().contains(&older.version)
    };
    match incoming.version.order(&incoming.replaced, current.version, &current.replaced) {
        Order::Same => Verdict::Ignore,
        Order::Older if knew(current, incoming, unread.incoming) => Verdict::Ignore,
        Order::Newer if knew(incoming, current, unread.current) => Verdict::Take,
        Order::Older | Order::Newer | Order::Concurrent => conflict(current, incoming, primary, policy),
    }
}

fn conflict(current: &Record, incoming: &Record, primary: SiteId, policy: ConflictPolicy) -> Verdict {
    let (order, rule) = decide(incoming.version, current.version, primary, policy);
    Verdict::Conflict { incoming_wins: order == Ordering::Greater, rule }
}

fn decide(
    incoming: Version,
    current: Version,
    primary: SiteId,
    policy: ConflictPolicy,
) -> (Ordering, &'static str) {
    let of_primary = |version: Version| version.site == primary;
    if policy == ConflictPolicy::ReplicaWins && of_primary(incoming) != of_primary(current) {
        return (of_primary(current).cmp(&of_primary(incoming)), "replica wins");
    }
    let rule = if incoming.hlc == current.hlc { "primary wins the tie" } else { "newer hybrid logical time" };
    (incoming.rank(current, primary), rule)
}
