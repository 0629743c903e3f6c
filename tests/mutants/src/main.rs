//! Takes out one rule at a time, and says which check notices.
//!
//! A mutant is a named change of one place in the product that breaks one rule of it
//! (`mutants.toml`). Each is applied to a copy of the tree and its checkers are run until one of
//! them fails: that one kills it. A mutant that nothing kills is a finding: a check is missing, or
//! the rule is needless.
//!
//! The production code knows nothing of this: a rejected alternative is a switch in the code for
//! each mutant, which would put a broken branch beside every rule. A mutant whose place is not
//! found any more is an error, so the list cannot rot.
//!
//! Verdicts are kept beside the copy and count for as long as neither the mutant nor anything that
//! its checks rest on changes, so a run that was interrupted goes on where it was.

mod list;
mod packages;
mod tree;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt as _;

use list::{Checker, List, Mutant};
use packages::Packages;
use tree::Tree;
use verdict::{Verdict, Verdicts};

/// A check that takes longer than this hangs, which is a way to notice, too. The slowest takes less
/// than a tenth of it.
const CHECK_TIME_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Parser)]
#[command(about = "Takes out one rule at a time, and says which check notices")]
struct Arguments {
    /// Only mutants whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Only this many of them, chosen by the seed.
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Chooses the sample; printed, so that it can be had again.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Forget earlier verdicts.
    #[arg(long)]
    fresh: bool,
    /// Show the list and earlier verdicts, and run nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("find the workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let list = List::read(&root.join("tests/mutants/mutants.toml"))?;
    let tree = Tree::new(root, &target.join("mutants"))?;
    let packages = Packages::read(root)?;
    let mut verdicts = Verdicts::open(&target.join("mutants/verdicts.toml"), arguments.fresh)?;
    let chosen = choose(&list, &arguments);
    if !arguments.list {
        for mutant in &chosen {
            let print = tree.fingerprint(mutant, &list, &packages)?;
            if verdicts.get(mutant, &print).is_none() {
                let verdict = judge(&tree, &list, &packages, mutant, &mut verdicts)?;
                println(&format!("{:<44} {}", mutant.name, verdict.words()));
                verdicts.put(mutant, print, verdict)?;
            }
        }
    }
    let mut judged = Vec::with_capacity(chosen.len());
    for mutant in &chosen {
        judged.push((*mutant, verdicts.get(mutant, &tree.fingerprint(mutant, &list, &packages)?)));
    }
    println(&verdict::table(&judged));
    let killed = judged.iter().all(|(_, verdict)| verdict.is_some_and(Verdict::is_killed));
    Ok(if killed || arguments.list { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn println(text: &str) {
    println!("{text}");
}

/// The mutants to judge, in the order of the list.
fn choose<'a>(list: &'a List, arguments: &Arguments) -> Vec<&'a Mutant> {
    let only = arguments.only.as_deref().unwrap_or_default();
    let mut chosen: Vec<_> = list.mutants.iter().filter(|mutant| mutant.name.contains(only)).collect();
    if let Some(sample) = arguments.sample {
        let seed = arguments.seed.unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.unwrap_or_default().as_secs()
        });
        println(&format!("a sample of {sample} with --seed {seed}"));
        let place = |mutant: &Mutant| {
            *blake3::Hasher::new()
                .update(&seed.to_le_bytes())
                .update(mutant.name.as_bytes())
                .finalize()
                .as_bytes()
        };
        chosen.sort_by_key(|mutant| place(mutant));
        chosen.truncate(sample);
    }
    chosen
}

/// Runs a mutant's checkers until one fails.
fn judge(
    tree: &Tree,
    list: &List,
    packages: &Packages,
    mutant: &Mutant,
    verdicts: &mut Verdicts,
) -> anyhow::Result<Verdict> {
    for name in &mutant.checkers {
        let checker = list.checker(name)?;
        // A check that fails anyway kills nothing.
        let print = tree.fingerprint_of(checker, packages)?;
        if !verdicts.is_sound(name, &print) {
            tree.restore()?;
            if let Err(how) = run(tree, checker)? {
                bail!("checker {name} fails without any mutant: {how}");
            }
            verdicts.put_sound(name, print)?;
        }
    }
    tree.restore()?;
    tree.apply(mutant)?;
    let started = Instant::now();
    for name in &mutant.checkers {
        let checker = list.checker(name)?;
        if let Err(how) = run(tree, checker).with_context(|| format!("mutant {}", mutant.name))? {
            return Ok(Verdict::killed(name, &how, started.elapsed()));
        }
    }
    Ok(Verdict::survived(started.elapsed()))
}

/// Builds and runs one check; the inner result is how it failed. A tree that does not build proves
/// nothing about the check.
fn run(tree: &Tree, checker: &Checker) -> anyhow::Result<Result<(), String>> {
    let mut build = tree.cargo();
    build.args(["test", "--locked", "--quiet", "--no-run", "--package", &checker.package]);
    let built = build.output().context("run cargo")?;
    ensure!(built.status.success(), "does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    let mut check = tree.cargo();
    check.args(["test", "--locked", "--quiet", "--package", &checker.package]);
    run_bounded(check)
}

fn run_bounded(mut check: Command) -> anyhow::Result<Result<(), String>> {
    let log = log_of(&check)?;
    let file = std::fs::File::create(&log).context("open the check's log")?;
    check.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let mut child = check.spawn().context("run cargo")?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("wait for the check")? {
            break Some(status);
        }
        if started.elapsed() > CHECK_TIME_MAX {
            let group = Pid::from_raw(i32::try_from(child.id()).context("a process id")?);
            killpg(group, Signal::SIGKILL).context("end the check")?;
            child.wait().context("wait for the check")?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    Ok(match status {
        None => Err("did not end".into()),
        Some(status) if status.success() => Ok(()),
        Some(_) => Err(verdict::failed_test(&said)),
    })
}

/// Where a check's output goes: beside the copy of the tree.
fn log_of(check: &Command) -> anyhow::Result<PathBuf> {
    let Some(folder) = check.get_current_dir().and_then(Path::parent) else { bail!("a check has a folder") };
    Ok(folder.join("check.log"))
}
