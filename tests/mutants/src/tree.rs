//! The copy of the tree that mutants are applied to. Only what git tracks is copied, and a file
//! that is the same is left alone, so that little is built again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::list::{Checker, List, Mutant};
use crate::packages::Packages;

/// The copy, and where it comes from.
pub(crate) struct Tree {
    root: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    files: BTreeMap<PathBuf, blake3::Hash>,
}

impl Tree {
    /// The files of `root` that git tracks, to be copied beneath `folder`.
    pub(crate) fn new(root: &Path, folder: &Path) -> anyhow::Result<Self> {
        let listed =
            Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().context("run git")?;
        ensure!(listed.status.success(), "git: {}", String::from_utf8_lossy(&listed.stderr));
        let names = String::from_utf8(listed.stdout).context("names of files")?;
        let mut files = BTreeMap::new();
        for name in names.split_terminator('\0').map(PathBuf::from) {
            if root.join(&name).is_file() {
                let bytes =
                    std::fs::read(root.join(&name)).with_context(|| format!("read {}", name.display()))?;
                files.insert(name, blake3::hash(&bytes));
            }
        }
        Ok(Self { root: root.into(), copy: folder.join("tree"), target: folder.join("target"), files })
    }

    /// Changes with anything that the check's result rests on: its package, what that rests on, and
    /// what all packages share.
    pub(crate) fn fingerprint_of(&self, checker: &Checker, packages: &Packages) -> anyhow::Result<String> {
        let mut folders: BTreeSet<&Path> = packages.folders(&checker.package)?;
        folders.extend(["Cargo.toml", "Cargo.lock", "proto"].map(Path::new));
        let mut hasher = blake3::Hasher::new();
        for (name, hash) in &self.files {
            if folders.iter().any(|folder| name.starts_with(folder)) {
                hasher.update(name.as_os_str().as_encoded_bytes()).update(hash.as_bytes());
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The same of all checks of a mutant, and of the mutant.
    pub(crate) fn fingerprint(
        &self,
        mutant: &Mutant,
        list: &List,
        packages: &Packages,
    ) -> anyhow::Result<String> {
        let mut hasher = blake3::Hasher::new();
        for part in [&mutant.file, &mutant.find, &mutant.replace] {
            hasher.update(blake3::hash(part.as_bytes()).as_bytes());
        }
        for checker in &mutant.checkers {
            hasher.update(self.fingerprint_of(list.checker(checker)?, packages)?.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Makes the copy what the tree is.
    pub(crate) fn restore(&self) -> anyhow::Result<()> {
        for name in self.files.keys() {
            let (from, to) = (self.root.join(name), self.copy.join(name));
            let bytes = std::fs::read(&from).with_context(|| format!("read {}", from.display()))?;
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
            }
            // Copied, not written, because some are programs.
            std::fs::copy(&from, &to).with_context(|| format!("write {}", to.display()))?;
            // Newer than what was built of the mutant before, whatever the original's time.
            let file = std::fs::File::options().append(true).open(&to).context("touch a file")?;
            file.set_modified(std::time::SystemTime::now()).context("touch a file")?;
        }
        self.remove_others(&self.copy)
    }

    /// What a failing check left behind: the next one must not find it.
    fn remove_others(&self, folder: &Path) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(folder).context("list the copy")? {
            let path = entry.context("list the copy")?.path();
            let name = path.strip_prefix(&self.copy).context("a path in the copy")?;
            if path.is_dir() {
                self.remove_others(&path)?;
            } else if !self.files.contains_key(name) {
                std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Applies a mutant to the copy.
    pub(crate) fn apply(&self, mutant: &Mutant) -> anyhow::Result<()> {
        let path = self.copy.join(&mutant.file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let found = text.matches(&mutant.find).count();
        ensure!(found == 1, "mutant {}: its place is found {found} times in {}", mutant.name, mutant.file);
        let mutated = text.replacen(&mutant.find, &mutant.replace, 1);
        std::fs::write(&path, mutated).with_context(|| format!("write {}", path.display()))
    }

    /// Cargo in the copy, with a target folder of its own.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target);
        // One place changes at a time: what is built again is a fifth of it.
        cargo.env("CARGO_INCREMENTAL", "1");
        cargo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("crates")).unwrap();
        std::fs::write(root.join("crates/a.rs"), "if ready { go() }").unwrap();
        for words in [&["init", "-q"][..], &["add", "-A"]] {
            assert!(Command::new("git").args(words).current_dir(&root).status().unwrap().success());
        }
        let tree = Tree::new(&root, &folder.path().join("mutants")).unwrap();
        tree.restore().unwrap();
        (folder, tree)
    }

    fn mutant(find: &str) -> Mutant {
        Mutant {
            name: "goes".into(),
            rule: "r".into(),
            file: "crates/a.rs".into(),
            find: find.into(),
            replace: "if true".into(),
            checkers: vec!["c".into()],
        }
    }

    #[test]
    fn a_mutant_lives_in_the_copy_until_it_is_restored() {
        let (folder, tree) = tree();
        let copy = folder.path().join("mutants/tree");
        tree.apply(&mutant("if ready")).unwrap();
        std::fs::write(copy.join("crates/left.txt"), "behind").unwrap();
        assert_eq!(std::fs::read_to_string(copy.join("crates/a.rs")).unwrap(), "if true { go() }");
        let original = std::fs::read_to_string(folder.path().join("root/crates/a.rs")).unwrap();
        assert_eq!(original, "if ready { go() }");
        tree.restore().unwrap();
        assert_eq!(std::fs::read_to_string(copy.join("crates/a.rs")).unwrap(), original);
        assert!(!copy.join("crates/left.txt").exists());
    }

    #[test]
    fn a_place_that_is_not_there_once_is_an_error() {
        let (_folder, tree) = tree();
        assert!(tree.apply(&mutant("gone")).is_err());
        assert!(tree.apply(&mutant(" ")).is_err());
    }
}
