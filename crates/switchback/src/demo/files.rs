//! The files that the demo loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Larger files are left out: the demo keeps what it writes in memory while it writes it.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Files of a folder.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Where from.
    pub(crate) folder: PathBuf,
    /// Relative to it, in order, with `/` between their parts.
    pub(crate) names: Vec<String>,
    /// How many were left out because they are larger than 64 MiB.
    pub(crate) left_out: usize,
}

/// The files of `folder`, or those that git tracks in the current folder, or those of it.
///
/// # Errors
/// It cannot be read, or is empty.
pub(crate) fn find(folder: Option<&Path>) -> anyhow::Result<Files> {
    let here = folder.unwrap_or(Path::new("."));
    let folder = here.canonicalize().with_context(|| format!("find folder {}", here.display()))?;
    let mut names = tracked(&folder).map_or_else(|| walk(&folder), Ok)?;
    names.sort();
    let all = names.len();
    names.retain(|name| {
        fs::metadata(folder.join(name)).is_ok_and(|file| file.is_file() && file.len() <= FILE_BYTES_MAX)
    });
    if names.is_empty() {
        bail!("{} holds no files; name another folder with --input", folder.display());
    }
    Ok(Files { left_out: all - names.len(), folder, names })
}

/// What git tracks in `folder`; `None` when it is no repository, or tracks nothing.
fn tracked(folder: &Path) -> Option<Vec<String>> {
    let listed = Command::new("git").arg("-C").arg(folder).args(["ls-files", "-z"]).output().ok()?;
    let text = String::from_utf8(listed.stdout).ok().filter(|_| listed.status.success())?;
    let names: Vec<String> =
        text.split('\0').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect();
    (!names.is_empty()).then_some(names)
}

fn walk(root: &Path) -> anyhow::Result<Vec<String>> {
    let (mut names, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let entry = entry.with_context(|| format!("read {}", folder.display()))?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
            {
                names.push(name.to_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_folder_without_git_are_found_beneath_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/c"), "c").unwrap();
        fs::write(folder.path().join("d"), "d").unwrap();
        assert_eq!(find(Some(folder.path())).unwrap().names, ["a/b/c", "d"]);
        assert!(find(Some(&folder.path().join("none"))).is_err());
    }
}
