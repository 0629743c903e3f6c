//! Real file systems on devices.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// What is made on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FileSystem {
    /// With its defaults.
    #[default]
    Ext4,
    /// With its defaults; needs `mkfs.xfs`.
    Xfs,
}

impl FileSystem {
    /// Makes one on the file `disk`.
    ///
    /// # Errors
    /// The tool is missing or failed.
    pub fn make(self, disk: &Path) -> anyhow::Result<()> {
        match self {
            Self::Ext4 => run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(disk)),
            Self::Xfs => run(Command::new("mkfs.xfs").args(["-q", "-f", "-K"]).arg(disk)),
        }
    }
}

/// A file system that is mounted, until it is dropped.
pub struct Mounted {
    folder: PathBuf,
}

impl Mounted {
    /// Mounts the file system in the file `disk` on `folder`.
    ///
    /// # Errors
    /// There is none, or it is damaged beyond what a mount mends.
    pub fn new(disk: &Path, folder: &Path) -> anyhow::Result<Self> {
        run(Command::new("mount").args(["-o", "loop"]).arg(disk).arg(folder))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Whoever closed the last file may not be quite gone.
        for _ in 0..50 {
            if run(Command::new("umount").arg(&self.folder)).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let _ = run(Command::new("umount").arg("-l").arg(&self.folder));
    }
}

/// Why power cuts cannot be made here, if they cannot.
#[must_use]
pub fn lacking() -> Option<&'static str> {
    let there = |path: &str| Path::new(path).exists();
    if !nix::unistd::geteuid().is_root() {
        return Some("they need root, to mount");
    }
    if !there("/dev/fuse") || !there("/dev/loop-control") {
        return Some("they need /dev/fuse and loop devices");
    }
    if Command::new("mkfs.ext4").arg("-V").output().is_err() {
        return Some("they need mkfs.ext4 (Debian: e2fsprogs)");
    }
    None
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("run {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
