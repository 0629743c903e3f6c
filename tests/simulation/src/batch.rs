//! Many seeds, and what they came to. Seeds of the services run in a process each, those of the cores
//! many in one; whoever wishes to see that a seed repeats gets it from two processes in either layer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use crate::layer::Layer;
use crate::record::Ending;

/// A process that takes longer, in real time, hangs. Most runs of the services take a second.
const HANG: Duration = Duration::from_secs(300);
/// Between two looks whether a run has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Tries to make one failing plan shorter.
const TRIES_MAX: usize = 80;

/// Seeds of the cores that a process runs.
const TOGETHER: u64 = 200;

/// What to run.
pub struct Batch {
    /// Of what.
    pub layer: Layer,
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
    /// The first seed that nobody has begun.
    next: u64,
    /// Where the parts begin that are not done yet.
    open: BTreeSet<u64>,
    runs: u64,
    bad: Vec<u64>,
    events: u64,
    simulated_ms: u64,
    counts: BTreeMap<String, u64>,
}

impl Sum {
    /// A part of `length` seeds for somebody to do: its first.
    fn begin(&mut self, length: u64) -> u64 {
        let first = self.next;
        self.next += length;
        self.open.insert(first);
        first
    }
}

/// Runs `batch` and prints what came of it; true when nothing was broken.
///
/// # Errors
/// A process cannot be started.
pub fn run(batch: &Batch) -> anyhow::Result<bool> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = if batch.jobs == 0 { cores } else { batch.jobs };
    let began = uptime()?;
    let sum = Mutex::new(Sum { next: batch.first, ..Sum::default() });
    let lock = || sum.lock().unwrap_or_else(PoisonError::into_inner);
    let end = batch.first + batch.seeds;
    let (together, report_each) = match batch.layer {
        Layer::Services => (1, 500),
        Layer::Cores => (TOGETHER.min(batch.seeds.div_ceil(jobs as u64)).max(1), 100 * TOGETHER),
    };
    let work = || -> anyhow::Result<()> {
        loop {
            let first = lock().begin(together);
            if first >= end {
                return Ok(());
            }
            let endings = of_seeds(first..end.min(first + together), batch)?;
            let mut sum = lock();
            sum.open.remove(&first);
            let before = sum.runs / report_each;
            endings.into_iter().for_each(|(seed, ending)| add(&mut sum, seed, ending));
            if sum.runs / report_each > before {
                // Another worker may still be at a part before this one.
                let left = sum.open.first().copied().unwrap_or(sum.next);
                println!("{} seeds, {} broken; go on with --first {left}", sum.runs, sum.bad.len());
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

/// Runs `seeds`, a second time if that is wished, and tells what is broken.
fn of_seeds(seeds: Range<u64>, batch: &Batch) -> anyhow::Result<Vec<(u64, Ending)>> {
    let mut endings = run_once(seeds.clone(), batch)?;
    if batch.twice {
        for (ending, again) in endings.iter_mut().zip(run_once(seeds.clone(), batch)?) {
            if again.trace != ending.trace {
                let text = format!("{} and then {}: one seed, two runs", ending.trace, again.trace);
                ending.violations.push(text);
            }
        }
    }
    let endings: Vec<_> = seeds.zip(endings).collect();
    for (seed, ending) in &endings {
        tell(*seed, ending, batch)?;
    }
    Ok(endings)
}

/// Runs each of `seeds` once, in order.
fn run_once(seeds: Range<u64>, batch: &Batch) -> anyhow::Result<Vec<Ending>> {
    match batch.layer {
        Layer::Services => seeds.map(|seed| one(batch.layer, seed, &BTreeSet::new())).collect(),
        Layer::Cores if batch.twice => {
            let first = seeds.start.to_string();
            let count = (seeds.end - seeds.start).to_string();
            let args = ["--first", &first, "--seeds", &count, "--jobs", "1"];
            let said = child(batch.layer, &args)?;
            let mut endings: Vec<_> =
                said.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
            // What broke off is broken.
            endings.resize_with((seeds.end - seeds.start) as usize, || silent("nothing more"));
            Ok(endings)
        }
        Layer::Cores => seeds.map(|seed| batch.layer.run(seed, &BTreeSet::new(), false)).collect(),
    }
}

fn silent(why: &str) -> Ending {
    Ending { violations: vec![format!("the run ended and said {why}")], ..Ending::default() }
}

/// Tells what is broken of `seed`.
fn tell(seed: u64, ending: &Ending, batch: &Batch) -> anyhow::Result<()> {
    if !ending.violations.is_empty() {
        let mut text = format!("seed {seed} of the {} is BROKEN\n", batch.layer);
        ending.violations.iter().for_each(|violation| text += &format!("    {violation}\n"));
        if batch.shrinks {
            text += &shrunk(batch.layer, seed, ending)?;
        } else {
            text += &format!("    again: --layer {} --seed {seed}\n", batch.layer);
        }
        print!("{text}");
    }
    Ok(())
}

/// The shortest plan found with which the seed still fails.
fn shrunk(layer: Layer, seed: u64, ending: &Ending) -> anyhow::Result<String> {
    let mut left_out = BTreeSet::new();
    for place in (0..ending.steps).rev().take(TRIES_MAX) {
        left_out.insert(place);
        if one(layer, seed, &left_out)?.violations.is_empty() {
            left_out.remove(&place);
        }
    }
    let last = one(layer, seed, &left_out)?;
    let mut text = String::from("    with no more than\n");
    for (place, step) in layer.plan(seed).iter().enumerate().filter(|(place, _)| !left_out.contains(place)) {
        text += &format!("      {place}. {step}\n");
    }
    last.violations.iter().take(1).for_each(|violation| text += &format!("    {violation}\n"));
    let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    text += &format!("    again: --layer {layer} --seed {seed} --leave-out {}\n", left_out.join(","));
    Ok(text)
}

/// One run without the steps `left_out`, where the layer wants it.
fn one(layer: Layer, seed: u64, left_out: &BTreeSet<usize>) -> anyhow::Result<Ending> {
    if layer == Layer::Cores {
        return layer.run(seed, left_out, false);
    }
    let (seed, left_out) = (seed.to_string(), left_out.iter().map(ToString::to_string).collect::<Vec<_>>());
    let left_out = left_out.join(",");
    let mut args = vec!["--seed", &seed];
    if !left_out.is_empty() {
        args.extend(["--leave-out", &left_out]);
    }
    let said = child(layer, &args)?;
    Ok(serde_json::from_str(&said).unwrap_or_else(|_| silent(&format!("{said:?}"))))
}

/// What this program says when it is run with `args`.
fn child(layer: Layer, args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["--layer", &layer.to_string(), "--json"]).args(args);
    // Into a file: a pipe that nobody reads meanwhile would fill.
    let mut said = tempfile::tempfile().context("make a file")?;
    let mut child = command.stdout(Stdio::from(said.try_clone()?)).spawn().context("start a run")?;
    let mut waited = Duration::ZERO;
    while child.try_wait()?.is_none() {
        std::thread::sleep(LOOK);
        waited += LOOK;
        if waited > HANG {
            child.kill()?;
            child.wait()?;
            return Ok(format!("no end after {} s", HANG.as_secs()));
        }
    }
    let mut text = String::new();
    said.rewind()?;
    said.read_to_string(&mut text)?;
    Ok(text)
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
        "{} seeds of the {}{twice}: {} broken {:?}; {} events, {hours:.2} simulated hours in {seconds:.0} s: {:.0} seeds and {:.2} simulated hours a minute; go on with --first {}",
        sum.runs,
        batch.layer,
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
