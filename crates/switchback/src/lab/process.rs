//! Processes that the lab started: how they are named so that a stranger is never killed, how they
//! are started, and how they end.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// Between two looks at a process that is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A process that was asked to drain is given this long; the services give themselves ten seconds.
const DRAIN_TIME: Duration = Duration::from_secs(12);

/// One process, for ever: pids are used again, a pid with its start time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The number.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
}

impl Name {
    /// The name of the running process `pid`; `None` when there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let Stat { started, .. } = stat(pid).filter(|stat| !stat.has_ended())?;
        Some(Self { pid, started })
    }

    /// True while this very process runs.
    #[must_use]
    pub fn runs(self) -> bool {
        self.pid != 0 && Self::of(self.pid) == Some(self)
    }

    /// Sends `signal`, unless the process has ended.
    fn signal(self, signal: Signal) {
        if let (true, Ok(pid)) = (self.runs(), i32::try_from(self.pid)) {
            // It may end between the look and the signal; then there is nothing left to do.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(self) {
        self.signal(Signal::SIGKILL);
        self.gone(Duration::MAX).await;
    }

    /// Asks all of `processes` to drain; kills those that do not.
    pub async fn end_all(processes: &[Self]) {
        for process in processes {
            process.signal(Signal::SIGTERM);
        }
        let patience = Instant::now();
        for process in processes {
            process.gone(DRAIN_TIME.saturating_sub(patience.elapsed())).await;
            if process.runs() {
                process.kill().await;
            }
        }
    }

    async fn gone(self, patience: Duration) {
        let since = Instant::now();
        while self.runs() && since.elapsed() < patience {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// What is known of a process, from `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    threads: u64,
    started: u64,
}

impl Stat {
    /// The second field, the name, may hold anything; the last `)` ends it. The state is field 3.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: field(3)?.chars().next()?,
            threads: field(20)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
        })
    }

    /// A zombie has ended; only its parent has not yet taken note. But while other threads than the first
    /// are still ending, in a call to the disk perhaps, its sockets and files stay open.
    fn has_ended(self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A process that was just started.
#[derive(Debug)]
pub struct Started {
    /// Its name.
    pub name: Name,
    /// Its handle; dropping it leaves the process running, and closes its leash.
    pub child: Child,
}

/// Starts this very program with `arguments`, its log appended to `log`. With `leashed` it ends
/// when the returned handle is dropped, or this process ends, however that happens.
///
/// # Errors
/// It cannot be started.
pub fn start(arguments: &[&std::ffi::OsStr], log: &Path, leashed: bool) -> anyhow::Result<Started> {
    let program = std::env::current_exe().context("find this program")?;
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg("--new-session")
        .env_remove("SWITCHBACK_CONFIG")
        .stdin(if leashed { Stdio::piped() } else { Stdio::null() })
        .stderr(out.try_clone().context("share the log")?)
        .stdout(out);
    if leashed {
        command.arg("--until-eof");
    }
    let child = command.spawn().context("start this program again")?;
    let pid = child.id().context("the process ended at once")?;
    // Even a process that has ended is a zombie until we look, so its start time can be read.
    let started = stat(pid).map_or(0, |stat| stat.started);
    Ok(Started { name: Name { pid, started }, child })
}

/// The last lines of a log, for an error that it explains.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the end-to-end tests: a service was started again while the one before still held its port.
    #[test]
    fn a_killed_process_has_ended_when_all_its_threads_have() {
        let line = |state: char, threads: u64| {
            let text = format!("7 (a) b) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 1234 0 0");
            Stat::parse(&text).unwrap()
        };
        assert_eq!(line('S', 3), Stat { state: 'S', threads: 3, started: 1234 });
        assert!(!line('S', 3).has_ended() && !line('Z', 2).has_ended() && line('Z', 1).has_ended());
    }

    #[tokio::test]
    async fn a_process_with_the_same_number_and_another_start_time_is_left_alone() {
        let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let name = Name::of(child.id().unwrap()).unwrap();
        let stranger = Name { started: name.started + 1, ..name };
        stranger.kill().await;
        assert!(!stranger.runs() && name.runs());
        name.kill().await;
        assert!(!name.runs());
        child.wait().await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_does_not_drain_is_killed_and_one_that_does_is_not() {
        let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let name = Name::of(child.id().unwrap()).unwrap();
        Name::end_all(&[name]).await;
        let status = child.wait().await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }
}
