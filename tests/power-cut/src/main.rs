//! `cargo run --release -p power-cut -- --help`
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use power_cut::mount::{FileSystem, lacking};
use power_cut::round::{self, Fault};

/// Cuts the power under the store and the services' state at many moments, and opens what is left.
#[derive(Parser)]
struct Args {
    /// Disks to look at.
    #[arg(long, default_value_t = 200)]
    images: usize,
    /// Disks made of one workload; then the next seed begins.
    #[arg(long, default_value_t = 100)]
    images_per_round: usize,
    /// The first seed. A run goes on where another stopped, with the seed that it printed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One write of each workload fails, once: it must not be acknowledged, nor anything that rests
    /// on it.
    #[arg(long)]
    errors: bool,
    /// The file system on the disk.
    #[arg(long, value_enum, default_value_t)]
    file_system: FileSystem,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(why) = lacking() {
        eprintln!("power cuts cannot be made here: {why}");
        return ExitCode::FAILURE;
    }
    let began = Instant::now();
    let fault = if args.errors { Fault::OneWriteFails } else { Fault::None };
    let (mut left, mut seed, mut wrong) = (args.images, args.seed, 0);
    let (mut images, mut acknowledged, mut open) = (BTreeMap::new(), 0, 0);
    while left > 0 {
        let some = left.min(args.images_per_round.max(1));
        let outcome = match round::run(seed, some, args.file_system, fault) {
            Ok(outcome) => outcome,
            Err(error) => {
                eprintln!("seed {seed}: {error:#}");
                return ExitCode::FAILURE;
            }
        };
        outcome.wrong.iter().for_each(|what| println!("seed {seed}, {what}"));
        println!(
            "seed {seed}: {some} disks of {} entries with {} flushes, {} acknowledged, {} parts told of an error, {} wrong, {:.1} s",
            outcome.entries,
            outcome.flushes,
            outcome.acknowledged,
            outcome.failed,
            outcome.wrong.len(),
            began.elapsed().as_secs_f64()
        );
        outcome.images.iter().for_each(|(mode, count)| *images.entry(*mode).or_insert(0) += count);
        (acknowledged, open, wrong) =
            (acknowledged + outcome.acknowledged, open + outcome.open, wrong + outcome.wrong.len());
        (left, seed) = (left - some, seed + 1);
    }
    println!(
        "{} disks {images:?}, {acknowledged} acknowledged, {open} writes left to chance: {wrong} wrong; go on with --seed {seed}",
        images.values().sum::<usize>()
    );
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
