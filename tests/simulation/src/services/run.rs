//! One run: a seed, and the steps of its plan that are left out.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use mad_turmoil::time::SimClocksGuard;
use tempfile::TempDir;

use crate::chance::Chance;
use crate::disk::Disks;
use crate::plan::{self, Scale, Step};
use crate::record::{Ending, Record};
use crate::services::stage::Stage as Hosts;
use crate::services::story::{Stage, Story};
use crate::services::world::Simulated;
use crate::services::{check, client, heal, people};
use crate::site::System;
use crate::watch::Watch;

/// A story's.
pub const SCALE: Scale = Scale { label: "plan", story_ms: 40_000, last_max_ms: 9_000 };

/// Clients at once.
const CLIENTS: u64 = 4;
/// No run lasts longer; one that does hangs.
const RUN_MAX: Duration = Duration::from_secs(3_600);
/// The set-up takes a few seconds.
const SET_UP_MAX: Duration = Duration::from_secs(60);

/// Runs the plan of `seed` without the steps `left_out`, and says how it ended. Once in a process:
/// libraries keep randomness of their own in statics.
///
/// # Errors
/// There is no folder for the systems' configurations.
pub fn run(seed: u64, left_out: &BTreeSet<usize>, prints: bool) -> anyhow::Result<Ending> {
    mad_turmoil::rand::set_rng(Chance::new(seed, "process").generator());
    let _clocks = SimClocksGuard::init();
    let folder = folder().context("make a folder")?;
    let record = Arc::new(Record::new(prints));
    let watch = Arc::new(Watch::new(Arc::clone(&record)));
    let disks = Rc::new(Disks::new(folder.path(), seed, true, Arc::clone(&record), Arc::clone(&watch)));
    let world = Rc::new(Simulated::new(Rc::clone(&disks), Arc::clone(&record)));
    let _entered = switchback_world::enter(Rc::clone(&world) as Rc<dyn switchback_world::World>);
    tell_of_panics(&record);

    let plan = plan::of(seed, &SCALE);
    let story = Rc::new(Story::new(seed, folder.path(), Arc::clone(&record), watch, disks, world));
    for system in System::ALL {
        story.rebuild(system)?;
    }
    let steps: VecDeque<Step> = plan
        .iter()
        .enumerate()
        .filter(|(place, _)| !left_out.contains(place))
        .map(|(_, step)| *step)
        .collect();
    play(&story, steps);
    Ok(record.ending(plan.len()))
}

/// For configurations and the folders of blobs, which are real: in memory where there is such a place.
/// Its name is the process's, and not random: two runs of one seed would draw the same name, and the
/// one that came late would draw once more.
fn folder() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let name = format!("simulation-{}", std::process::id());
    // What a process of this number left when it was killed.
    let _ = std::fs::remove_dir_all(parent.join(&name));
    tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in(parent)
}

fn play(story: &Rc<Story>, mut steps: VecDeque<Step>) {
    let sim = turmoil::Builder::new()
        .rng_seed(Chance::new(story.seed, "network").below(u64::MAX))
        .epoch(UNIX_EPOCH)
        .simulation_duration(RUN_MAX)
        .tick_duration(Duration::from_millis(5))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(Duration::from_millis(2))
        .tcp_capacity(1 << 16)
        .build();
    let mut hosts = Hosts::new(sim, story);
    let told = Rc::clone(story);
    hosts.sim.client("operator", async move {
        operate(told).await;
        Ok(())
    });
    for number in 0..CLIENTS {
        let told = Rc::clone(story);
        hosts.sim.client(format!("client-{number}"), async move {
            client::run(told, number).await;
            Ok(())
        });
    }
    let mut live_since = None;
    loop {
        let now = hosts.sim.elapsed();
        story.record.set_now(now);
        match story.stage() {
            Stage::Setup if now > SET_UP_MAX => story.record.violation("the set-up does not end"),
            Stage::Live => {
                hosts.back_up();
                let since = *live_since.get_or_insert(now);
                let passed = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
                while steps.front().is_some_and(|step| step.at_ms <= passed) {
                    steps.pop_front().into_iter().for_each(|step| hosts.perform(step));
                }
                if passed >= SCALE.story_ms {
                    hosts.mend_all();
                    story.enter(Stage::Heal);
                }
            }
            Stage::Setup | Stage::Heal | Stage::Done => {}
        }
        hosts.mend();
        if story.record.is_violated() {
            return;
        }
        match hosts.sim.step() {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => return story.record.violation(&format!("the simulation ended: {error}")),
        }
    }
}

/// The operator, from the first certificate to the last look.
async fn operate(story: Rc<Story>) {
    if let Err(error) = people::set_up(&story).await {
        return story.record.violation(&format!("the set-up failed: {error:#}"));
    }
    story.enter(Stage::Live);
    while story.stage() == Stage::Live {
        while let Some((system, command)) = { story.commands.borrow_mut().pop_front() } {
            let story = Rc::clone(&story);
            // Operators do not wait for each other.
            tokio::task::spawn_local(async move {
                let given = async { people::Operator::at(&story, system)?.give(&story, command).await }.await;
                let answer = given.as_ref().err().map_or("done".into(), |error| format!("{error:#}"));
                story.record.event(&format!("{command:?} at {system}: {answer}"));
                let how = if given.is_ok() { "done" } else { "refused" };
                story.record.count(&format!("command: {command:?} {how}"));
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Err(text) = heal::heal(&story).await {
        return story.record.violation(&format!("L2: {text}"));
    }
    check::check(&story).await;
    story.enter(Stage::Done);
}

/// A panic of a service ends that service; the run goes on, and tells of it.
fn tell_of_panics(record: &Arc<Record>) {
    let record = Arc::clone(record);
    std::panic::set_hook(Box::new(move |info| record.violation(&format!("panic: {info}"))));
}
