//! Random walks: far beyond what can be explored whole, and repeatable from a seed.

use crate::bounds::Bounds;
use crate::memo::Memo;
use crate::operator::bring_back;
use crate::world::{Action, World};

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }
}

/// Steps before which a rebuild is not even considered, on average.
const REBUILD_ONCE_IN: usize = 24;

/// A walk that broke something.
pub struct Fall {
    /// Where it began.
    pub start: World,
    /// The shortest part of it that still breaks the same.
    pub actions: Vec<Action>,
    /// What is broken.
    pub broken: String,
}

/// One walk of at most `length` steps, then the way back to health.
///
/// # Errors
/// What it broke, made short.
pub fn walk(bounds: &Bounds, seed: u64, length: usize, memo: &Memo) -> Result<usize, Box<Fall>> {
    let start = World::linked(bounds);
    let mut random = Random(seed);
    let mut world = start.clone();
    let mut actions = Vec::new();
    let mut offered = Vec::new();
    while actions.len() < length {
        offered.clear();
        world.actions(bounds, &mut offered);
        let mut late = offered.clone();
        // Messages are many: without this, hardly anything else would happen.
        if random.below(3) > 0 {
            offered.retain(|action| !matches!(action, Action::Deliver(_)));
        }
        // Always offered: at even odds both systems would be gone before anything was at stake.
        if random.below(REBUILD_ONCE_IN) > 0 {
            offered.retain(|action| !matches!(action, Action::Rebuild(_)));
            late.retain(|action| !matches!(action, Action::Rebuild(_)));
        }
        let next = some(&world, &mut offered, &mut random, memo);
        let next = next.or_else(|| some(&world, &mut late, &mut random, memo));
        let Some((action, next)) = next else { break };
        actions.push(action);
        world = next;
        if !world.flaws.is_empty() {
            break;
        }
    }
    let Some(broken) = broken(&world) else { return Ok(actions.len()) };
    Err(Box::new(shorten(start, actions, broken, memo)))
}

/// One of `offered` that changes something.
fn some(
    world: &World,
    offered: &mut Vec<Action>,
    random: &mut Random,
    memo: &Memo,
) -> Option<(Action, World)> {
    while !offered.is_empty() {
        let action = offered.swap_remove(random.below(offered.len()));
        if let Some(next) = world.after(action, memo) {
            return Some((action, next));
        }
    }
    None
}

fn broken(world: &World) -> Option<String> {
    if world.flaws.is_empty() {
        let stuck = bring_back(world).err()?;
        return Some(format!("L2 health can be reached by following the status; stuck at {stuck}"));
    }
    world.flaws.names().next().map(str::to_string)
}

/// Leaves out whatever can be left out. An action that cannot be done then is skipped.
fn shorten(start: World, mut actions: Vec<Action>, mut what: String, memo: &Memo) -> Fall {
    let kind = |broken: &str| broken.split(' ').next().map(str::to_string);
    let mut size = actions.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < actions.len() {
            let mut fewer = actions.clone();
            fewer.drain(at..(at + size).min(actions.len()));
            let mut world = start.clone();
            for action in &fewer {
                world = world.after(*action, memo).unwrap_or(world);
            }
            match broken(&world) {
                Some(still) if kind(&still) == kind(&what) => {
                    actions = fewer;
                    what = still;
                }
                _ => at += size,
            }
        }
        size /= 2;
    }
    Fall { start, actions, broken: what }
}
