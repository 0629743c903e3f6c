//! Other tools that do the same work. One that is not installed leaves its column empty.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::Place;

/// rclone between two buckets, as tuned for many small objects as it lets itself be: many at once, one
/// listing, no request before or after a copy that is not the copy.
const TUNED: [&str; 11] = [
    "--transfers=32",
    "--checkers=64",
    "--fast-list",
    "--checksum",
    "--s3-no-check-bucket",
    "--s3-no-head",
    "--s3-upload-concurrency=8",
    "--s3-chunk-size=16Mi",
    "--multi-thread-streams=8",
    "--no-update-modtime",
    "--retries=1",
];

/// True if the command is there. Not all of them know `--version`.
pub(crate) fn has(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

/// rclone with two buckets.
pub(crate) struct Rclone {
    config: PathBuf,
    from: String,
    to: String,
}

impl Rclone {
    /// Writes its configuration to `folder`.
    pub(crate) fn new(folder: &Path, from: &Place, to: &Place) -> anyhow::Result<Self> {
        let remote = |name: &str, place: &Place| {
            format!(
                "[{name}]\ntype = s3\nprovider = Other\nforce_path_style = true\nendpoint = {}\nregion = {}\n\
                 access_key_id = {}\nsecret_access_key = {}\n\n",
                place.url, place.region, place.access_key, place.secret_key
            )
        };
        let config = folder.join("rclone.conf");
        std::fs::write(&config, remote("from", from) + &remote("to", to))?;
        Ok(Self { config, from: format!("from:{}", from.bucket), to: format!("to:{}", to.bucket) })
    }

    /// Copies what differs beneath `prefix`.
    pub(crate) async fn sync(&self, prefix: &str) -> anyhow::Result<Duration> {
        let mut command = tokio::process::Command::new("rclone");
        // A bundle for other places than these is refused by it.
        command.env_remove("AWS_CA_BUNDLE");
        command.arg("sync").arg("--config").arg(&self.config).args(TUNED);
        command.arg(format!("{}/{prefix}", self.from)).arg(format!("{}/{prefix}", self.to));
        timed(&mut command).await.context("rclone sync")
    }
}

/// rsync from one folder to another of the same disk, and a flush of what it wrote.
pub(crate) async fn rsync(from: &Path, to: &Path) -> anyhow::Result<Duration> {
    let mut copy = tokio::process::Command::new("rsync");
    copy.arg("-a").arg(from).arg(to);
    let copied = timed(&mut copy).await.context("rsync")?;
    let mut flush = tokio::process::Command::new("sync");
    flush.arg("--file-system").arg(to);
    Ok(copied + timed(&mut flush).await.context("sync")?)
}

async fn timed(command: &mut tokio::process::Command) -> anyhow::Result<Duration> {
    let since = Instant::now();
    let done = command.kill_on_drop(true).stdin(Stdio::null()).output().await?;
    let took = since.elapsed();
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(took)
}
