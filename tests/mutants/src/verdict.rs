//! What came of each mutant, kept from run to run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::list::Mutant;

/// What came of one mutant.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Verdict {
    /// The checker that failed; absent: none did.
    killed_by: Option<String>,
    /// The test that failed, as the checker said it.
    how: String,
    seconds: f64,
}

impl Verdict {
    pub(crate) fn killed(checker: &str, how: &str, took: Duration) -> Self {
        Self { killed_by: Some(checker.into()), how: how.into(), seconds: took.as_secs_f64() }
    }

    pub(crate) fn survived(took: Duration) -> Self {
        Self { killed_by: None, how: String::new(), seconds: took.as_secs_f64() }
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed_by.is_some()
    }

    pub(crate) fn words(&self) -> String {
        match &self.killed_by {
            Some(checker) => format!("killed by {checker} ({}) in {:.0} s", self.how, self.seconds),
            None => format!("SURVIVED all its checkers, {:.0} s", self.seconds),
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Kept {
    /// Checkers that pass without a mutant, with the tree's fingerprint.
    #[serde(default)]
    sound: BTreeMap<String, String>,
    /// By the mutant's name: the fingerprint it was judged with, and the verdict.
    #[serde(default)]
    verdicts: BTreeMap<String, (String, Verdict)>,
}

/// All verdicts, on disk.
pub(crate) struct Verdicts {
    path: PathBuf,
    kept: Kept,
}

impl Verdicts {
    /// Those of earlier runs, unless they are to be forgotten.
    pub(crate) fn open(path: &Path, fresh: bool) -> anyhow::Result<Self> {
        let kept = match std::fs::read_to_string(path) {
            Ok(text) if !fresh => {
                toml::from_str(&text).context("read earlier verdicts; --fresh forgets them")?
            }
            Ok(_) | Err(_) => Kept::default(),
        };
        Ok(Self { path: path.into(), kept })
    }

    /// The verdict of a mutant, if nothing that it rests on has changed.
    pub(crate) fn get(&self, mutant: &Mutant, fingerprint: &str) -> Option<&Verdict> {
        let (of, verdict) = self.kept.verdicts.get(&mutant.name)?;
        (of == fingerprint).then_some(verdict)
    }

    pub(crate) fn put(
        &mut self,
        mutant: &Mutant,
        fingerprint: String,
        verdict: Verdict,
    ) -> anyhow::Result<()> {
        self.kept.verdicts.insert(mutant.name.clone(), (fingerprint, verdict));
        self.save()
    }

    pub(crate) fn is_sound(&self, checker: &str, fingerprint: &str) -> bool {
        self.kept.sound.get(checker).is_some_and(|of| of == fingerprint)
    }

    pub(crate) fn put_sound(&mut self, checker: &str, fingerprint: String) -> anyhow::Result<()> {
        self.kept.sound.insert(checker.into(), fingerprint);
        self.save()
    }

    fn save(&self) -> anyhow::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).context("create the folder of the verdicts")?;
        }
        let text = toml::to_string(&self.kept).context("encode the verdicts")?;
        std::fs::write(&self.path, text).context("keep the verdicts")
    }
}

/// The first test that failed, by cargo's output.
pub(crate) fn failed_test(said: &str) -> String {
    let of = |line: &str| {
        line.strip_prefix("thread '").and_then(|rest| rest.split('\'').next()).map(str::to_owned)
    };
    let listed = || {
        let mut lines = said.lines().skip_while(|line| *line != "failures:").skip(1);
        lines.find(|line| line.starts_with("    ")).map(|line| line.trim().to_owned())
    };
    said.lines()
        .find_map(of)
        .filter(|name| name != "main" && !name.contains("tokio"))
        .or_else(listed)
        .unwrap_or_else(|| "it failed".into())
}

/// Everything, for people.
pub(crate) fn table(judged: &[(&Mutant, Option<&Verdict>)]) -> String {
    let mut table = String::from("\n| mutant | rule | killed by |\n|---|---|---|\n");
    for (mutant, verdict) in judged {
        let by = match verdict {
            Some(Verdict { killed_by: Some(checker), how, .. }) => format!("{checker}: {how}"),
            Some(Verdict { killed_by: None, .. }) => "**nothing**".into(),
            None => "not judged".into(),
        };
        let _ = writeln!(table, "| {} | {} | {by} |", mutant.name, mutant.rule);
    }
    let killed = judged.iter().filter(|(_, verdict)| verdict.is_some_and(Verdict::is_killed)).count();
    let _ = write!(table, "\n{killed} of {} killed", judged.len());
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_that_failed_is_named() {
        let said =
            "running 1 test\nthread 'one_writer' (12) panicked at x.rs:1:1:\nfailures:\n    one_writer\n";
        assert_eq!(failed_test(said), "one_writer");
        assert_eq!(failed_test("failures:\n\n    listed_only\n\ntest result"), "listed_only");
        assert_eq!(failed_test(""), "it failed");
    }
}
