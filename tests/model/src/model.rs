//! The world as the model checker sees it.

use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::{Model, Property};

use crate::bounds::Bounds;
use crate::memo::Memo;
use crate::operator::bring_back;
use crate::site::{EAST, WEST};
use crate::verdict::Flaws;
use crate::world::{Action, World};

/// See [`World`].
pub struct LinkModel {
    /// What may happen.
    pub bounds: Bounds,
    /// What came of it before.
    pub memo: Memo,
}

impl LinkModel {
    /// The model within these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let memo = Memo::new(!bounds.slow);
        Self { bounds, memo }
    }

    /// The state is one of the sample in which the way back to health is tried.
    fn is_sampled(&self, world: &World) -> bool {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        self.bounds.health_sample > 0 && hasher.finish().is_multiple_of(self.bounds.health_sample)
    }
}

macro_rules! holds {
    ($($number:literal),*) => {
        vec![$(Property::always(Flaws::NAMES[$number].1, |_, world: &World| {
            !world.flaws.contains(Flaws::NAMES[$number].0)
        })),*]
    };
}

impl Model for LinkModel {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::linked(&self.bounds)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // What follows a broken state proves nothing.
        if world.flaws.is_empty() {
            world.actions(&self.bounds, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        world.after(action, &self.memo)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = holds!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
        properties.push(Property::always(Flaws::NAMES[12].1, |model: &Self, world: &World| {
            !model.is_sampled(world) || bring_back(world).is_ok()
        }));
        // That the bounds reach anywhere at all.
        properties.push(Property::sometimes("a failover opens the replica", |_, world: &World| {
            world.sites[WEST].mover.writable_in().is_some()
        }));
        properties.push(Property::sometimes("both sides write while apart", |_, world: &World| {
            world.sites.iter().all(|site| site.mover.writable_in().is_some())
        }));
        properties.push(Property::sometimes("a recovery ends", |_, world: &World| {
            world.sites[EAST].mover.writable_in().is_some_and(|epoch| world.history.is_granted(epoch))
        }));
        properties
    }
}
