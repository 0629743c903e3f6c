//! `cargo run --release -p simulation -- --help`
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Parser;
use simulation::batch::{self, Batch};
use simulation::{plan, run};

/// Runs two whole systems on simulated time, network and disks, from seeds, and looks whether what
/// is promised holds.
#[derive(Parser)]
struct Args {
    /// Seeds to run.
    #[arg(long, default_value_t = 50)]
    seeds: u64,
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
    /// Run this seed alone, and print what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: leave out these steps of its plan, counted from 0.
    #[arg(long, value_delimiter = ',', requires = "seed")]
    leave_out: Vec<usize>,
    /// With --seed: print what the services log too, as RUST_LOG would have it.
    #[arg(long, requires = "seed")]
    log: Option<String>,
    /// With --seed: print how it ended, as JSON, and nothing else.
    #[arg(long, requires = "seed")]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(filter) = &args.log {
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time().init();
    }
    let good = match args.seed {
        Some(seed) => one(seed, &args.leave_out.into_iter().collect(), args.json)?,
        None => {
            let batch = Batch {
                first: args.first,
                seeds: args.seeds,
                jobs: args.jobs,
                twice: args.twice,
                shrinks: !args.no_shrink,
            };
            batch::run(&batch)?
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, left_out: &BTreeSet<usize>, json: bool) -> anyhow::Result<bool> {
    if !json {
        for (place, step) in plan::of(seed).iter().enumerate() {
            let left_out = if left_out.contains(&place) { " (left out)" } else { "" };
            println!("{place:>4}. {step}{left_out}");
        }
    }
    let ending = run::run(seed, left_out, !json)?;
    if json {
        println!("{}", serde_json::to_string(&ending)?);
    } else {
        println!("trace {} of {} events", ending.trace, ending.events);
        ending.violations.iter().for_each(|violation| println!("BROKEN {violation}"));
    }
    Ok(ending.violations.is_empty())
}
