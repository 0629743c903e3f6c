//! Walks the whole workflow in a lab of its own, with real files and clients that write all the
//! time, and accounts for every write that was acknowledged.
//!
//! Two variants: the primary comes back as it was, with writes on both sides; and the primary is
//! rebuilt, empty. Everything an operator would do goes through the same calls as the command line.
//! Each claim is checked; a demo in which one fails ends with an error.

pub mod client;
mod files;
pub mod ledger;
mod rebuilt;
mod report;
mod returned;
mod stage;
mod steps;
pub mod writer;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::lab::layout::{Lab, Place, SYSTEMS};
use crate::lab::setup;
use crate::lab::supervise::{self, Leash, Tie};
use crate::output::emit;
use crate::system::init::Ports;
use stage::Stage;

/// What the demo is to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Load the files of this folder; default: the files that git tracks here, or else the folder.
    #[arg(long, value_name = "FOLDER")]
    input: Option<PathBuf>,
    /// Keep the lab's folder, with its data and logs.
    #[arg(long)]
    keep: bool,
    /// Use 127.N.10.1 and 127.N.20.1; default: the first pair that is free.
    #[arg(long, value_name = "N")]
    subnet: Option<u8>,
}

/// Runs the demo.
///
/// # Errors
/// A step failed, a claim did not hold, or an acknowledged write is lost.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let files = files::find(arguments.input.as_deref())?;
    let started = Instant::now();
    let subnet = arguments.subnet.map_or_else(free_subnet, Ok)?;
    let dir = std::env::temp_dir().join(format!("switchback-demo-{}", crate::client::request_id()));
    let mut leash = Leash::new();
    let ended = Box::pin(play(&dir, subnet, files, &mut leash)).await;
    if let Ok(mut lab) = Lab::load(&dir) {
        supervise::stop_all(&mut lab).await?;
    }
    let took = crate::time::duration(started.elapsed());
    match ended {
        Ok(()) => {
            if arguments.keep {
                emit(&format!("\nthe lab's folder is kept: {}\n", dir.display()));
            } else {
                setup::remove(&dir)?;
            }
            emit(&format!("\nevery claim held; {took}\n"));
            Ok(())
        }
        Err(error) => {
            // Its logs say why.
            Err(error.context(format!("the demo failed after {took}; its lab is kept in {}", dir.display())))
        }
    }
}

async fn play(dir: &Path, subnet: u8, files: files::Files, leash: &mut Leash) -> anyhow::Result<()> {
    let ports = Ports { dns: setup::dns_port(subnet), ..Ports::default() };
    let mut lab = setup::create(&Place { dir: dir.into(), subnet, ports })?;
    let mut tie = Tie::Leashed(leash);
    setup::start(&mut lab, &mut tie).await?;
    setup::exchange_certificates(&lab).await?;
    setup::create_tenant(&mut lab).await?;
    setup::create_link(&lab).await?;
    setup::wait_for_sync(&lab).await?;
    let mut stage = Stage::new(lab)?;
    emit(&format!(
        "Two systems, {} and {}, each five processes; all traffic between them through a relay.\nTenant acme is on a link from east (primary) to west (replica), with DNS failover.\nThe lab: {}\n",
        SYSTEMS[0],
        SYSTEMS[1],
        dir.display()
    ));
    steps::load(&mut stage, &files).await?;
    let first = Box::pin(returned::play(&mut stage, &mut tie)).await?;
    let second = Box::pin(rebuilt::play(&mut stage, &mut tie)).await?;
    emit(&report::table(&first, &second));
    let broken = stage.broken();
    if !broken.is_empty() {
        bail!("these claims did not hold:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

/// A pair of loopback addresses on which nobody listens.
fn free_subnet() -> anyhow::Result<u8> {
    let free = |subnet: u8| {
        let ports = Ports::default();
        [10, 20].iter().all(|third| {
            let address = Ipv4Addr::new(127, subnet, *third, 1);
            [ports.s3, ports.link, ports.grpc_base]
                .iter()
                .all(|port| TcpListener::bind((address, *port)).is_ok())
        })
    };
    (100..250).find(|subnet| free(*subnet)).context("no free loopback addresses; name some with --subnet")
}
