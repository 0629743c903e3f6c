//! The list of mutants and of checks.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// `mutants.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// By name.
    checker: BTreeMap<String, Checker>,
    /// In the order in which the table shows them.
    #[serde(rename = "mutant")]
    pub(crate) mutants: Vec<Mutant>,
}

/// A check: the tests of one package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checker {
    /// Its name.
    pub(crate) package: String,
}

/// One broken rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    /// What is broken, in a few words.
    pub(crate) name: String,
    /// The rule that it breaks: of the workflow, or a property.
    pub(crate) rule: String,
    /// From the top of the tree.
    pub(crate) file: String,
    /// A piece of the file that occurs once.
    pub(crate) find: String,
    /// What stands there instead.
    pub(crate) replace: String,
    /// The checks that may kill it, the cheapest first.
    pub(crate) checkers: Vec<String>,
}

impl List {
    /// Reads and checks the list.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let list: Self = toml::from_str(text).context("parse the list")?;
        let mut names = std::collections::BTreeSet::new();
        for mutant in &list.mutants {
            ensure!(names.insert(&mutant.name), "two mutants are called {}", mutant.name);
            ensure!(!mutant.checkers.is_empty(), "nothing checks {}", mutant.name);
            for name in &mutant.checkers {
                list.checker(name)?;
            }
        }
        Ok(list)
    }

    /// The check of this name.
    pub(crate) fn checker(&self, name: &str) -> anyhow::Result<&Checker> {
        self.checker.get(name).with_context(|| format!("no checker is called {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_still_finds_its_place_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let list = List::read(&root.join("tests/mutants/mutants.toml")).unwrap();
        for mutant in &list.mutants {
            let file = std::fs::read_to_string(root.join(&mutant.file)).unwrap();
            assert_eq!(file.matches(&mutant.find).count(), 1, "{}: its place", mutant.name);
            assert_ne!(mutant.find, mutant.replace, "{}", mutant.name);
        }
    }

    #[test]
    fn a_list_that_names_no_checker_is_refused() {
        let mutant = |checkers: &str| {
            format!(
                "[checker.a]\npackage = 'p'\n[[mutant]]\nname = 'n'\nrule = 'r'\nfile = 'f'\nfind = 'x'\nreplace = 'y'\ncheckers = {checkers}"
            )
        };
        assert!(List::parse(&mutant("['a']")).is_ok());
        assert!(List::parse(&mutant("[]")).is_err());
        assert!(List::parse(&mutant("['b']")).is_err());
    }
}
