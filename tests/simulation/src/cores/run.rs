//! One run: a seed, and the steps of its plan that are left out.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Once};

use crate::cores::stage::Stage;
use crate::cores::world::Simulated;
use crate::disk::Disks;
use crate::plan::{self, Scale};
use crate::record::{Ending, Record};
use crate::watch::Watch;

/// A story's.
pub const SCALE: Scale = Scale { label: "plan of the cores", story_ms: 20_000, last_max_ms: 6_000 };

/// No run has more events; one that has goes round in circles.
const EVENTS_MAX: u64 = 2_000_000;

/// Where the simulated disks are; no such folder is ever looked at.
const ROOT: &str = "/simulated";

thread_local! {
    /// What the last panic on this thread said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs the plan of `seed` without the steps `left_out`, and says how it ended. Any number of times in a
/// process, on any number of threads: everything that a run knows is its own.
#[must_use]
pub fn run(seed: u64, left_out: &BTreeSet<usize>, prints: bool) -> Ending {
    note_panics();
    let record = Arc::new(Record::new(prints));
    let watch = Arc::new(Watch::new(Arc::clone(&record)));
    let root = Path::new(ROOT);
    let disks = Rc::new(Disks::new(root, seed, false, Arc::clone(&record), Arc::clone(&watch)));
    let world = Rc::new(Simulated::new(seed, Rc::clone(&disks), Arc::clone(&record)));
    let _entered = switchback_world::enter(Rc::clone(&world) as Rc<dyn switchback_world::World>);
    let plan = plan::of(seed, &SCALE);
    let steps = plan.len();
    let kept = plan.into_iter().enumerate().filter(|(place, _)| !left_out.contains(place));
    let kept = kept.map(|(_, step)| step).collect();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = Stage::new(seed, kept, Arc::clone(&record), watch, disks, world, root);
        let mut events = 0;
        while !stage.finished && !record.is_violated() && stage.step() {
            events += 1;
            if events > EVENTS_MAX {
                return record.violation("the run does not end");
            }
        }
    }));
    if ran.is_err() {
        let said = PANIC.take().unwrap_or_default();
        record.violation(&format!("panic: {said}"));
    }
    record.ending(steps)
}

/// A panic is a violation of its run, and is told with it.
fn note_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| PANIC.set(Some(info.to_string()))));
    });
}
