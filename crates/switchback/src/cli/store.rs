//! `switchback store`: the data on this machine.

use std::path::Path;

use anyhow::bail;
use clap::Subcommand;
use switchback_kit::config::Source;
use switchback_proto::mover::v1::{GetScrubRequest, StartScrubRequest};
use switchback_store::CheckRequest;

use super::Context;
use crate::output::Format;
use crate::view::scrub::ScrubView;
use crate::view::store::{CheckedView, FindingView};

/// Damaged bodies that are shown; their counts are exact.
const DAMAGES_MAX: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at everything in the store, and change nothing: every record with its place in the feed, every
    /// count, digest and index, every blob. Stop the data mover first.
    Check(Check),
    /// Show how far the running system has read its objects again, and which were found damaged: what is wrong with
    /// them, and whether they are repaired from the other system.
    Scrub(Scrub),
}

#[derive(Debug, clap::Args)]
pub struct Check {
    /// Read all bytes too, and compare them with their hashes.
    #[arg(long)]
    read: bool,
}

#[derive(Debug, clap::Args)]
pub struct Scrub {
    /// Begin a round now, from the first object, and try all repairs that wait.
    #[arg(long)]
    now: bool,
}

pub(crate) fn check(arguments: &Check, config: &Path, format: Format) -> anyhow::Result<()> {
    let config = switchback_mover::Config::read(&Source::load(config)?)?;
    let request = CheckRequest {
        catalogue: config.catalogue_dir(),
        blobs: config.blobs,
        system: config.system_id,
        read: arguments.read,
        cache_bytes: config.cache_bytes,
    };
    let mut found = |finding| format.print_one_of_many(&FindingView::from(finding));
    let checked = switchback_store::check(&request, &mut found)?;
    format.print_one_of_many(&CheckedView::from(checked));
    if checked.findings > 0 {
        bail!(
            "the store has {} problems: start the system, and `switchback store scrub --now` repairs bytes from the other system; where rows are wrong, keep a copy of the folder, and rebuild this system from the other one",
            checked.findings
        );
    }
    Ok(())
}

pub(crate) async fn scrub(arguments: Scrub, context: &Context) -> anyhow::Result<()> {
    let operator = &context.operator;
    if arguments.now {
        operator.ask(operator.mover().start_scrub(StartScrubRequest {})).await?;
    }
    let request = GetScrubRequest { damages_max: DAMAGES_MAX };
    let shown = operator.ask(operator.mover().get_scrub(request)).await?;
    context.format.print(&ScrubView::from(shown));
    Ok(())
}
