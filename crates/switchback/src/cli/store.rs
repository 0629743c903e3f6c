//! `switchback store`: the data on this machine, while its data mover is stopped.

use std::path::Path;

use anyhow::bail;
use clap::Subcommand;
use switchback_kit::config::Source;
use switchback_store::CheckRequest;

use crate::output::Format;
use crate::view::store::{CheckedView, FindingView};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at everything in the store, and change nothing: every record with its place in the feed, every
    /// count, digest and index, every blob. Stop the data mover first.
    Check(Check),
}

#[derive(Debug, clap::Args)]
pub struct Check {
    /// Read all bytes too, and compare them with their hashes.
    #[arg(long)]
    read: bool,
}

pub(crate) fn run(command: Command, config: &Path, format: Format) -> anyhow::Result<()> {
    let Command::Check(Check { read }) = command;
    let config = switchback_mover::Config::read(&Source::load(config)?)?;
    let request = CheckRequest {
        catalogue: config.catalogue_dir(),
        blobs: config.blob_dir,
        read,
        cache_bytes: config.cache_bytes,
    };
    let mut found = |finding| format.print_one_of_many(&FindingView::from(finding));
    let checked = switchback_store::check(&request, &mut found)?;
    format.print_one_of_many(&CheckedView::from(checked));
    if checked.findings > 0 {
        bail!(
            "the store has {} problems: keep a copy of its folder, and rebuild this system from the other one",
            checked.findings
        );
    }
    Ok(())
}
