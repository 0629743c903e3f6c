//! `cargo run --release -p bench -- --help`
//!
//! What the product moves and how fast, beside other tools doing the same work and beside what the
//! machine itself can do, all in one run: figures are ratios, because a machine that is busy with
//! something else is busy for all of them. Rounds take turns, and medians are shown.
//!
//! The systems are those of a lab, every service a process. They are this very program, which is
//! also `switchback` when it is called as the lab calls it, so that what is measured is what was
//! built.

mod client;
mod figure;
mod folder;
mod growth;
mod limit;
mod load;
mod mover;
mod peer;
mod processor;
mod s3;
mod servers;
mod shared;
mod site;
mod store;

use std::process::ExitCode;

use clap::Parser;

/// Measures how fast objects move.
#[derive(Debug, Parser)]
#[command(name = "bench")]
enum Command {
    /// Two whole systems: first copies, a steady flow, and what changed of much.
    Mover(mover::Arguments),
    /// Two whole systems with ever more objects.
    Growth(growth::Arguments),
    /// One system's S3 gateway beside other S3 servers: small and large objects.
    S3(s3::Arguments),
    /// The store by itself, with ever more objects.
    Store(store::Arguments),
}

fn main() -> ExitCode {
    // As the lab starts its processes.
    if std::env::args().nth(1).is_some_and(|word| word == "service" || word == "lab") {
        return switchback::cli::main();
    }
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async move {
            match command {
                Command::Mover(arguments) => Box::pin(mover::run(arguments)).await,
                Command::Growth(arguments) => Box::pin(growth::run(arguments)).await,
                Command::S3(arguments) => Box::pin(s3::run(arguments)).await,
                Command::Store(arguments) => store::run(arguments).await,
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
