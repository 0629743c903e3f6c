//! Where the systems, servers and stores that are measured keep their data.

use std::path::PathBuf;

use anyhow::Context;
use tempfile::TempDir;

/// A folder that is removed afterwards.
#[derive(Debug, clap::Args)]
pub(crate) struct Folder {
    /// Where data is kept meanwhile; default: the folder for temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Folder {
    /// A new one.
    pub(crate) fn make(&self) -> anyhow::Result<TempDir> {
        let made = match &self.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        made.context("make a folder for the data")
    }
}
