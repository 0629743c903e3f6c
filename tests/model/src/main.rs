//! `cargo run --release -p switchback-model-check -- --help`
#![forbid(unsafe_code)]

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use stateright::{Checker, HasDiscoveries, Model};
use switchback_model_check::bounds::Bounds;
use switchback_model_check::memo::Memo;
use switchback_model_check::model::LinkModel;
use switchback_model_check::{tell, walk};

/// Explores the link protocol as it is implemented.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    bounds: Bounds,
    /// Steps from the start that are explored; all when not given.
    #[arg(long)]
    depth: Option<usize>,
    /// Threads; with more than one, traces and a bounded depth are not exactly the shortest.
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
    /// Go deep first: takes a tenth of the memory, but a trace is then any, not the shortest.
    #[arg(long)]
    depth_first: bool,
    /// Stop after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Walk at random instead, from this seed on; each walk prints its own when it breaks something.
    #[arg(long)]
    random: Option<u64>,
    /// Random walks.
    #[arg(long, default_value_t = 1_000)]
    walks: u64,
    /// Steps of each.
    #[arg(long, default_value_t = 150)]
    steps: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    println!("{:?}", args.bounds);
    let holds = match args.random {
        Some(seed) => stroll(&args, seed),
        None => explore(&args),
    };
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explore(args: &Args) -> bool {
    let began = Instant::now();
    let mut builder = LinkModel::new(args.bounds.clone())
        .checker()
        .threads(args.threads.get())
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = args.depth {
        builder = builder.target_max_depth(depth + 1);
    }
    if let Some(seconds) = args.seconds {
        builder = builder.timeout(Duration::from_secs(seconds));
    }
    match args.depth_first {
        true => watch(args, builder.spawn_dfs(), began),
        false => watch(args, builder.spawn_bfs(), began),
    }
}

fn watch(args: &Args, checker: impl Checker<LinkModel>, began: Instant) -> bool {
    let mut shown = Instant::now();
    while !checker.is_done() {
        std::thread::sleep(Duration::from_millis(50));
        if shown.elapsed() > Duration::from_secs(30) {
            shown = Instant::now();
            progress(&checker, began);
        }
    }
    let checker = checker.join();
    progress(&checker, began);
    let cut_off = args.seconds.is_some_and(|seconds| began.elapsed().as_secs() >= seconds);
    println!("{}", if cut_off { "stopped by time: not all was explored" } else { "explored whole" });
    let model = checker.model();
    let mut holds = true;
    let discoveries = checker.discoveries();
    for property in model.properties() {
        let found = discoveries.get(property.name);
        let failed = property.expectation.discovery_is_failure();
        let word = match (failed, found.is_some()) {
            (true, true) => "BROKEN",
            (true, false) => "holds",
            (false, true) => "reached",
            (false, false) => "not reached",
        };
        println!("{word:>12}  {}", property.name);
        if let Some(path) = found.filter(|_| failed) {
            holds = false;
            let steps = path.clone().into_vec();
            let actions: Vec<_> = steps.iter().filter_map(|(_, action)| *action).collect();
            println!("{}", tell::trace(&steps[0].0, &actions, &model.memo));
        }
    }
    holds
}

fn progress(checker: &impl Checker<LinkModel>, began: Instant) {
    println!(
        "unique states {}, transitions {}, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth().saturating_sub(1),
        began.elapsed().as_secs_f64()
    );
}

fn stroll(args: &Args, seed: u64) -> bool {
    let began = Instant::now();
    let memo = Memo::new(!args.bounds.slow);
    let mut steps = 0;
    for number in 0..args.walks {
        let seed = seed.wrapping_add(number);
        match walk::walk(&args.bounds, seed, args.steps, &memo) {
            Ok(length) => steps += length,
            Err(fall) => {
                println!("seed {seed} breaks: {}", fall.broken);
                println!("{}", tell::trace(&fall.start, &fall.actions, &memo));
                return false;
            }
        }
        if args.seconds.is_some_and(|seconds| began.elapsed().as_secs() >= seconds) {
            println!("stopped by time; go on with --random {}", seed.wrapping_add(1));
            break;
        }
    }
    println!("walks from seed {seed}: {steps} steps, {:.1} s, nothing broken", began.elapsed().as_secs_f64());
    true
}
