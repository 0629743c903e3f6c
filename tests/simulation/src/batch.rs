//! Many seeds, each in a process of its own, and what they came to.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use crate::plan;
use crate::record::Ending;

/// A run that takes longer, in real time, hangs. Most take a second.
const HANG: Duration = Duration::from_secs(300);
/// Between two looks whether a run has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Tries to make one failing plan shorter.
const TRIES_MAX: usize = 80;

/// What to run.
pub struct Batch {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// At once; 0: as many as there are cores.
    pub jobs: usize,
    /// Each in two processes.
    pub twice: bool,
    /// Shorten the plans of those that fail.
    pub shrinks: bool,
}

#[derive(Default)]
struct Sum {
    runs: u64,
    bad: Vec<u64>,
    events: u64,
    simulated_ms: u64,
    counts: BTreeMap<String, u64>,
}

/// Runs `batch` and prints what came of it; true when nothing was broken.
///
/// # Errors
/// A process cannot be started.
pub fn run(batch: &Batch) -> anyhow::Result<bool> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = if batch.jobs == 0 { cores } else { batch.jobs };
    let began = uptime()?;
    let next = AtomicU64::new(batch.first);
    let sum = Mutex::new(Sum::default());
    let work = || -> anyhow::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= batch.first + batch.seeds {
                return Ok(());
            }
            let ending = of_seed(seed, batch)?;
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            add(&mut sum, seed, ending);
            if sum.runs.is_multiple_of(500) {
                println!("{} seeds, {} broken; go on with --first {}", sum.runs, sum.bad.len(), seed + 1);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| unreachable!("no panics")))
    })?;
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(batch, &sum, uptime()? - began);
    Ok(sum.bad.is_empty())
}

/// Runs `seed`, a second time if that is wished, and tells what is broken.
fn of_seed(seed: u64, batch: &Batch) -> anyhow::Result<Ending> {
    let nothing = BTreeSet::new();
    let mut ending = child(seed, &nothing)?;
    if batch.twice {
        let again = child(seed, &nothing)?;
        if again.trace != ending.trace {
            let text = format!("{} and then {}: one seed, two runs", ending.trace, again.trace);
            ending.violations.push(text);
        }
    }
    if !ending.violations.is_empty() {
        let mut text = format!("seed {seed} is BROKEN\n");
        ending.violations.iter().for_each(|violation| text += &format!("    {violation}\n"));
        if batch.shrinks {
            text += &shrunk(seed, &ending)?;
        } else {
            text += &format!("    again: --seed {seed}\n");
        }
        print!("{text}");
    }
    Ok(ending)
}

/// The shortest plan found with which the seed still fails.
fn shrunk(seed: u64, ending: &Ending) -> anyhow::Result<String> {
    let mut left_out = BTreeSet::new();
    for place in (0..ending.steps).rev().take(TRIES_MAX) {
        left_out.insert(place);
        if child(seed, &left_out)?.violations.is_empty() {
            left_out.remove(&place);
        }
    }
    let last = child(seed, &left_out)?;
    let mut text = String::from("    with no more than\n");
    for (place, step) in plan::of(seed).iter().enumerate().filter(|(place, _)| !left_out.contains(place)) {
        text += &format!("      {place}. {step}\n");
    }
    last.violations.iter().take(1).for_each(|violation| text += &format!("    {violation}\n"));
    let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    text += &format!("    again: --seed {seed} --leave-out {}\n", left_out.join(","));
    Ok(text)
}

fn child(seed: u64, left_out: &BTreeSet<usize>) -> anyhow::Result<Ending> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["--seed", &seed.to_string(), "--json"]);
    if !left_out.is_empty() {
        let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        command.args(["--leave-out", &left_out.join(",")]);
    }
    // What it prints is one short line, which a pipe holds.
    let mut child = command.stdout(Stdio::piped()).spawn().context("start a run")?;
    let mut waited = Duration::ZERO;
    while child.try_wait()?.is_none() {
        std::thread::sleep(LOOK);
        waited += LOOK;
        if waited > HANG {
            child.kill()?;
            child.wait()?;
            let violations = vec![format!("no end after {} s", HANG.as_secs())];
            return Ok(Ending { violations, ..Ending::default() });
        }
    }
    let output = child.wait_with_output()?;
    serde_json::from_slice(&output.stdout).or_else(|_| {
        let violations = vec![format!("the run ended with {} and said nothing", output.status)];
        Ok(Ending { violations, ..Ending::default() })
    })
}

fn add(sum: &mut Sum, seed: u64, ending: Ending) {
    sum.runs += 1;
    sum.events += ending.events;
    sum.simulated_ms += ending.simulated_ms;
    for (kind, count) in ending.counts {
        *sum.counts.entry(kind).or_default() += count;
    }
    if !ending.violations.is_empty() {
        sum.bad.push(seed);
    }
}

fn report(batch: &Batch, sum: &Sum, seconds: f64) {
    for (kind, count) in &sum.counts {
        println!("{count:>9} {kind}");
    }
    let hours = sum.simulated_ms as f64 / 3_600_000.0;
    let twice = if batch.twice { ", each in two processes with one trace" } else { "" };
    println!(
        "{} seeds{twice}: {} broken {:?}; {} events, {hours:.2} simulated hours in {seconds:.0} s: {:.0} seeds and {:.2} simulated hours a minute; go on with --first {}",
        sum.runs,
        sum.bad.len(),
        sum.bad,
        sum.events,
        sum.runs as f64 / seconds * 60.0,
        hours / seconds * 60.0,
        batch.first + batch.seeds
    );
}

/// Seconds since the machine started. This process's own clocks are the simulation's, and stand.
fn uptime() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime").context("read /proc/uptime")?;
    text.split_whitespace().next().unwrap_or_default().parse().context("parse /proc/uptime")
}
