//! `cargo run --release -p simulation -- --help`
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Parser;
use simulation::batch::{self, Batch};
use simulation::layer::Layer;

/// Seeds of the cores for each of the services, when both are run.
const CORES_PER_SERVICES: u64 = 20;

/// Runs two systems on simulated time, network and disks, from seeds, and looks whether what is promised
/// holds: their services whole, and then, many times as often, their decisions alone.
#[derive(Parser)]
struct Args {
    /// Seeds of the services to run; of the cores, 20 times as many. With --layer: of that layer.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
    /// Run this layer alone.
    #[arg(long)]
    layer: Option<Layer>,
    /// The first seed. A run goes on where another stopped, with the seed that it printed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Runs at once; 0: as many as there are cores.
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Run each seed twice, in two processes, and compare what happened.
    #[arg(long)]
    twice: bool,
    /// Do not look for the shortest plan with which a seed fails.
    #[arg(long)]
    no_shrink: bool,
    /// Run this seed alone, of the services unless --layer says otherwise, and print what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: leave out these steps of its plan, counted from 0.
    #[arg(long, value_delimiter = ',', requires = "seed")]
    leave_out: Vec<usize>,
    /// With --seed: print what the services log too, as RUST_LOG would have it.
    #[arg(long, requires = "seed")]
    log: Option<String>,
    /// Print how each run ended, as a line of JSON, and nothing else. Without --seed: of the cores.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(filter) = &args.log {
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time().init();
    }
    let good = match args.seed {
        Some(seed) => {
            let layer = args.layer.unwrap_or(Layer::Services);
            one(layer, seed, &args.leave_out.into_iter().collect(), args.json)?
        }
        None if args.json => endings(args.first, args.seeds)?,
        None => many(&args)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn many(args: &Args) -> anyhow::Result<bool> {
    let batch = |layer, seeds| Batch {
        layer,
        first: args.first,
        seeds,
        jobs: args.jobs,
        twice: args.twice,
        shrinks: !args.no_shrink,
    };
    match args.layer {
        Some(layer) => batch::run(&batch(layer, args.seeds)),
        None => {
            let services = batch::run(&batch(Layer::Services, args.seeds))?;
            Ok(batch::run(&batch(Layer::Cores, args.seeds * CORES_PER_SERVICES))? && services)
        }
    }
}

fn endings(first: u64, seeds: u64) -> anyhow::Result<bool> {
    let mut good = true;
    for seed in first..first + seeds {
        let ending = Layer::Cores.run(seed, &BTreeSet::new(), false)?;
        good &= ending.violations.is_empty();
        println!("{}", serde_json::to_string(&ending)?);
    }
    Ok(good)
}

fn one(layer: Layer, seed: u64, left_out: &BTreeSet<usize>, json: bool) -> anyhow::Result<bool> {
    if !json {
        for (place, step) in layer.plan(seed).iter().enumerate() {
            let left_out = if left_out.contains(&place) { " (left out)" } else { "" };
            println!("{place:>4}. {step}{left_out}");
        }
    }
    let ending = layer.run(seed, left_out, !json)?;
    if json {
        println!("{}", serde_json::to_string(&ending)?);
    } else {
        println!("trace {} of {} events", ending.trace, ending.events);
        ending.violations.iter().for_each(|violation| println!("BROKEN {violation}"));
    }
    Ok(ending.violations.is_empty())
}
