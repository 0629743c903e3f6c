//! What must hold of a step of the whole, each property by itself.

use switchback_link_core::{Link, LinkState, Message};
use switchback_model::AccessMode;

use crate::memo::Memo;
use crate::network::Envelope;
use crate::site::{EAST, Event, Site, WEST};
use crate::verdict::Flaws;
use crate::world::{Action, World};

/// The properties that the step from `before` to `after` breaks.
#[must_use]
pub fn transition(before: &World, action: Action, after: &World, memo: &Memo) -> Flaws {
    let mut flaws = Flaws::default();
    let mut expect = |holds: bool, flaw: Flaws| {
        if !holds {
            flaws |= flaw;
        }
    };
    for at in [EAST, WEST] {
        if before.sites[at].rebuilt == after.sites[at].rebuilt {
            expect(epochs_grow(&before.sites[at], &after.sites[at]), Flaws::EPOCHS);
            expect(nothing_shrinks(before, after, at), Flaws::SHRINK);
        }
    }
    expect(nothing_is_lost(after), Flaws::LOSS);
    expect(same_versions_same_content(after), Flaws::MERGE);
    expect(replica_is_contained(after), Flaws::NORMAL);
    if takes_a_grant(before, action, after) || opens(before, after) {
        expect(is_complete(after), Flaws::COMPLETION);
    }
    match action {
        Action::Deliver(hash) => {
            if let Some(envelope) = before.network.find(hash)
                && !is_between_agreed(before, envelope)
            {
                let at = envelope.to;
                expect(same_link(&before.sites[at], &after.sites[at]), Flaws::INCARNATION);
            }
        }
        Action::Repeat(number) => {
            if let Some((at, ..)) = before.history.accepted.get(number) {
                expect(same_link(&before.sites[*at], &after.sites[*at]), Flaws::COMMANDS);
            }
        }
        Action::Command(at, order) if after.left.commands < before.left.commands => {
            if let Some(number) = before.next_request() {
                let again = memo.after(&after.sites[at], &Event::Command(order, Some(number)));
                expect(same_link(&after.sites[at], &again.site), Flaws::COMMANDS);
            }
        }
        Action::Command(at, _) => {
            expect(same_link(&before.sites[at], &after.sites[at]), Flaws::COMMANDS);
        }
        _ => {}
    }
    flaws
}

fn epochs_grow(before: &Site, after: &Site) -> bool {
    let link = match (before.link(), after.link()) {
        (Some(before), Some(after)) => {
            before.shared.epoch <= after.shared.epoch && before.heard <= after.heard
        }
        _ => true,
    };
    let mover = match (before.mover.epoch(), after.mover.epoch()) {
        (Some(before), Some(after)) => before <= after,
        _ => true,
    };
    link && mover
}

fn nothing_shrinks(before: &World, after: &World, at: usize) -> bool {
    let (old, new) = (&before.sites[at].mover.store, &after.sites[at].mover.store);
    before.history.acknowledged.iter().all(|version| !old.covers(*version) || new.covers(*version))
}

fn nothing_is_lost(world: &World) -> bool {
    let history = &world.history;
    history
        .acknowledged
        .difference(&history.destroyed)
        .all(|version| world.sites.iter().any(|site| site.mover.store.covers(*version)))
}

/// Both sides cover the same acknowledged versions.
fn is_equal(world: &World) -> bool {
    let [east, west] = &world.sites;
    world
        .history
        .acknowledged
        .iter()
        .all(|version| east.mover.store.covers(*version) == west.mover.store.covers(*version))
}

fn same_versions_same_content(world: &World) -> bool {
    let [east, west] = world.sites.each_ref().map(|site| &site.mover.store);
    !is_equal(world) || (east.current() == west.current() && east.digest() == west.digest())
}

fn replica_is_contained(world: &World) -> bool {
    let [east, west] = &world.sites;
    let (Some(primary), Some(replica)) = (east.link(), west.link()) else { return true };
    let normal = [primary, replica].iter().all(|link| link.shared.state == LinkState::Replicating)
        && primary.shared.epoch == replica.shared.epoch
        && agree(east, west)
        && !world.history.is_awaited(primary.shared.epoch);
    let contained = |version| !west.mover.store.covers(version) || east.mover.store.covers(version);
    !normal || world.history.acknowledged.iter().all(|version| contained(*version))
}

/// The two records are about these two lives of the systems.
fn agree(east: &Site, west: &Site) -> bool {
    let knows = |own: &Site, other: &Site| {
        own.link().is_some_and(|link| {
            link.local_incarnation == own.identity.incarnation
                && link.peer.incarnation == other.identity.incarnation
        })
    };
    knows(east, west) && knows(west, east)
}

/// The primary's record takes the epoch that ends a recovery.
fn takes_a_grant(before: &World, action: Action, after: &World) -> bool {
    let epoch = |world: &World| world.sites[EAST].link().map(|link| link.shared.epoch);
    let (Some(old), Some(new)) = (epoch(before), epoch(after)) else { return false };
    matches!(action, Action::Deliver(_))
        && new > old
        && after.history.is_granted(new)
        && before.sites[EAST].rebuilt == after.sites[EAST].rebuilt
}

/// The primary becomes writable in an epoch that was granted to it.
fn opens(before: &World, after: &World) -> bool {
    let writable = |world: &World| world.sites[EAST].mover.writable_in();
    let Some(epoch) = writable(after) else { return false };
    let earlier = writable(before) == Some(epoch) || after.history.writers.contains_key(&epoch);
    after.history.is_granted(epoch) && !earlier
}

/// See [`Flaws::COMPLETION`].
fn is_complete(world: &World) -> bool {
    let [east, west] = &world.sites;
    let (Some(primary), Some(replica)) = (east.link(), west.link()) else { return true };
    if !agree(east, west) || replica.shared.epoch > primary.shared.epoch {
        return true;
    }
    replica.shared.epoch == primary.shared.epoch
        && west.mover.mode() == AccessMode::ReadOnly
        && is_equal(world)
}

/// The message names the incarnations that its receiver agreed to; or, of a proposal, those of the
/// certificates under which the stream stands.
fn is_between_agreed(world: &World, envelope: &Envelope) -> bool {
    let site = &world.sites[envelope.to];
    let Some(header) = envelope.header() else { return true };
    if matches!(envelope.message, Message::Proposal(..)) {
        return header.receiver == site.identity.incarnation && Some(header.sender) == site.stream;
    }
    site.link().is_some_and(|link| {
        (header.sender, header.receiver) == (link.peer.incarnation, link.local_incarnation)
    })
}

/// Nothing of the record changed that decides anything.
fn same_link(before: &Site, after: &Site) -> bool {
    let part = |link: &Link| {
        let shared = &link.shared;
        (shared.clone(), link.heard, link.granted, link.peer.incarnation, link.local_incarnation)
    };
    before.link().map(part) == after.link().map(part)
}
