//! The packages of the workspace, and which of them each rests on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Absent: not of the workspace.
    path: Option<PathBuf>,
}

struct Package {
    /// From the top of the tree.
    folder: PathBuf,
    rests_on: Vec<String>,
}

/// By name.
pub(crate) struct Packages(BTreeMap<String, Package>);

impl Packages {
    /// Of the workspace at `root`, as cargo describes it.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let described = Command::new("cargo")
            .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
            .current_dir(root)
            .output()
            .context("run cargo")?;
        ensure!(described.status.success(), "cargo: {}", String::from_utf8_lossy(&described.stderr));
        Self::parse(root, &described.stdout)
    }

    fn parse(root: &Path, described: &[u8]) -> anyhow::Result<Self> {
        let metadata: Metadata = serde_json::from_slice(described).context("parse what cargo describes")?;
        let packages = metadata.packages.into_iter().map(|package| {
            let folder = package.manifest_path.parent().and_then(|folder| folder.strip_prefix(root).ok());
            let folder = folder.with_context(|| format!("{} is not in the tree", package.name))?.into();
            let ours = package.dependencies.into_iter().filter(|dependency| dependency.path.is_some());
            let rests_on = ours.map(|dependency| dependency.name).collect();
            Ok((package.name, Package { folder, rests_on }))
        });
        packages.collect::<anyhow::Result<_>>().map(Self)
    }

    /// The folders of a package and of all that it rests on.
    pub(crate) fn folders(&self, name: &str) -> anyhow::Result<BTreeSet<&Path>> {
        let (mut waiting, mut names) = (vec![name], BTreeSet::new());
        while let Some(name) = waiting.pop() {
            let package = self.0.get(name).with_context(|| format!("no package is called {name}"))?;
            if names.insert(name) {
                waiting.extend(package.rests_on.iter().map(String::as_str));
            }
        }
        Ok(names.into_iter().filter_map(|name| self.0.get(name)).map(|one| one.folder.as_path()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_rests_on_what_those_it_names_rest_on_and_on_nothing_else() {
        let package = |name: &str, on: &str| {
            let on =
                if on.is_empty() { String::new() } else { format!(r#"{{"name":"{on}","path":"/w/{on}"}},"#) };
            format!(
                r#"{{"name":"{name}","manifest_path":"/w/{name}/Cargo.toml","dependencies":[{on}{{"name":"serde","path":null}}]}}"#
            )
        };
        let described = [
            package("mover", "store"),
            package("store", "model"),
            package("model", ""),
            package("dns", "model"),
        ];
        let text = format!(r#"{{"packages":[{}]}}"#, described.join(","));
        let packages = Packages::parse(Path::new("/w"), text.as_bytes()).unwrap();
        let expected: BTreeSet<_> = ["mover", "store", "model"].map(Path::new).into();
        assert_eq!(packages.folders("mover").unwrap(), expected);
        assert!(packages.folders("gone").is_err());
    }
}
