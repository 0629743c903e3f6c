//! Faults stop, messages flow, and an operator does what the status says, until the link is healthy.
//!
//! This is what shows that health can be reached from a state. Backward reachability on the
//! explored graph would need the whole graph in memory and every bound left open; an operator who
//! follows the status is the stronger promise, and the one that is made to people.

use std::collections::VecDeque;
use std::sync::Arc;

use switchback_link_core::LinkState;
use switchback_model::AccessMode;

use crate::mover::LINK;
use crate::network::Envelope;
use crate::site::{EAST, Event, Order, Site, WEST};
use crate::world::World;

/// Rounds of talk and one command each. Rebuilt systems on both sides of a recovery take ten.
const ROUNDS_MAX: usize = 40;

/// Where the operator is.
struct Shift {
    sites: [Arc<Site>; 2],
    under_way: VecDeque<Arc<Envelope>>,
}

/// Makes the link of a new world and waits until both sides hold the same.
pub(crate) fn link(world: &mut World) {
    let mut shift = Shift::begin(world);
    shift.talk();
    shift.happen(EAST, &Event::Create);
    for _ in 0..4 {
        shift.talk();
    }
    world.sites = shift.sites;
    // What the two said last is under way for ever.
    let last = [EAST, WEST].map(|at| {
        let outcome = world.sites[at].after(&Event::Tick, true);
        outcome.sent
    });
    world.network = world.network.with(&last.concat());
}

/// Brings the link back to health.
///
/// # Errors
/// What the operator was left with.
pub fn bring_back(world: &World) -> Result<(), String> {
    let mut shift = Shift::begin(world);
    for round in 0..ROUNDS_MAX {
        shift.talk();
        if shift.is_healthy() || shift.is_unlinked() {
            return Ok(());
        }
        // What the status says, beginning at another side after a refusal by the peer; when nothing
        // is taken for some rounds, what the manual says.
        let mut said = shift.commands();
        said.sort_by_key(|(at, _)| (at + round) % 2);
        if !said.iter().any(|(at, order)| shift.order(*at, *order)) && round % 3 == 2 {
            let manual = [Order::DeclareLost, Order::FailOverAnyhow, Order::Restore];
            let sides = [EAST, WEST].into_iter();
            let _ = sides
                .flat_map(|at| manual.map(|order| (at, order)))
                .any(|(at, order)| shift.order(at, order));
        }
    }
    Err(crate::tell::sites(&shift.sites))
}

impl Shift {
    fn begin(world: &World) -> Self {
        Self { sites: world.sites.clone(), under_way: VecDeque::new() }
    }

    /// True when a command was accepted by it.
    fn happen(&mut self, at: usize, event: &Event) -> bool {
        let outcome = self.sites[at].after(event, true);
        self.sites[at] = outcome.site;
        self.under_way.extend(outcome.sent);
        outcome.accepted
    }

    /// Streams are up, time passes, and everything that is said arrives, in order.
    fn talk(&mut self) {
        self.deliver();
        for at in [EAST, WEST] {
            let other = self.sites[1 - at].identity.clone();
            self.happen(at, &Event::Trust(other.incarnation));
            if self.sites[at].stream != Some(other.incarnation) {
                self.happen(at, &Event::PeerUp(other.system, other.incarnation));
            }
            self.happen(at, &Event::Tick);
        }
        self.deliver();
        for _ in 0..3 {
            for at in [EAST, WEST] {
                self.exchange(at);
            }
            self.deliver();
        }
    }

    fn exchange(&mut self, at: usize) {
        let left = World::with_sites(self.sites.clone());
        if left.movers_talk(at) {
            let told = self.sites[1 - at].mover.told();
            self.happen(at, &Event::Hear(told));
        }
        if left.data_moves(at) {
            let batch = self.sites[1 - at].mover.batch_for(&self.sites[at].mover);
            self.happen(at, &Event::Apply(batch));
        }
    }

    fn deliver(&mut self) {
        while let Some(envelope) = self.under_way.pop_front() {
            if self.sites[envelope.to].stream.is_some() {
                self.happen(envelope.to, &Event::Deliver(Arc::clone(&envelope)));
            }
        }
    }

    /// Both records say that all is well, and the modes are those of a link that replicates.
    fn is_healthy(&self) -> bool {
        let well = |site: &Arc<Site>| {
            site.machine
                .view(LINK)
                .is_some_and(|view| view.health.healthy && view.link.shared.state == LinkState::Replicating)
        };
        self.sites.iter().all(well)
            && self.sites[EAST].mover.mode() == AccessMode::ReadWrite
            && self.sites[WEST].mover.mode() == AccessMode::ReadOnly
    }

    /// Nobody knows of the link any more: the operator makes a new one.
    fn is_unlinked(&self) -> bool {
        self.sites.iter().all(|site| site.link().is_none())
    }

    fn order(&mut self, at: usize, order: Order) -> bool {
        self.happen(at, &Event::Command(order, None))
    }

    /// The next step of each side's status, and what a note of suspension or pause asks for.
    fn commands(&self) -> Vec<(usize, Order)> {
        let mut commands = Vec::new();
        for at in [WEST, EAST] {
            let Some(view) = self.sites[at].machine.view(LINK) else { continue };
            if view.link.shared.suspended {
                commands.push((at, Order::Resume));
            }
            if !view.link.shared.paused.is_empty() {
                commands.push((at, Order::Unpause));
            }
            let step = &view.health.next_step;
            let there = if step.starts_with("on ") { 1 - at } else { at };
            let orders = [
                ("link restore", Order::Restore),
                ("link resume", Order::Resume),
                ("link fail-over", Order::FailOver),
                ("link recovery begin", Order::Begin),
                ("link recovery complete", Order::Complete),
            ];
            let said = orders.iter().find(|(words, _)| step.contains(words));
            commands.extend(said.map(|(_, order)| (there, *order)));
        }
        commands
    }
}
