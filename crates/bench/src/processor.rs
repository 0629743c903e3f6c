//! Which processors work for whom. Two systems on one machine take processor time from each other that they would
//! not if each had its own machine: apart, each system has one half of the processors, and its clients with it.

use anyhow::{Context, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use switchback::lab::layout::{Lab, SYSTEMS};

/// The processors of this process, which it had when it began, and two halves of them.
pub(crate) struct Halves {
    all: CpuSet,
    halves: [CpuSet; 2],
}

impl Halves {
    /// Of those that this process may use.
    pub(crate) fn of_all() -> anyhow::Result<Self> {
        let all = sched_getaffinity(Pid::from_raw(0)).context("ask for processors")?;
        let mine: Vec<_> = (0..CpuSet::count()).filter(|place| all.is_set(*place) == Ok(true)).collect();
        ensure!(mine.len() >= 2, "two systems apart need two processors");
        let mut halves = [CpuSet::new(); 2];
        // With an odd number, one is left idle.
        let half = mine.len() / 2;
        for (set, places) in halves.iter_mut().zip(mine.chunks(half)) {
            for place in places {
                set.set(*place)?;
            }
        }
        Ok(Self { all, halves })
    }

    /// Lets this process use all of them again, so that what it starts sees as many.
    pub(crate) fn join(&self) -> anyhow::Result<()> {
        place(std::process::id(), &self.all)
    }

    /// Gives each system one half. The clients, which are this process, are with `served`.
    pub(crate) fn part(&self, lab: &Lab, served: &str) -> anyhow::Result<()> {
        for (system, processors) in SYSTEMS.into_iter().zip(&self.halves) {
            if system == served {
                place(std::process::id(), processors)?;
            }
            for process in lab.system(system)?.services.values() {
                place(process.pid, processors)?;
            }
        }
        Ok(())
    }
}

/// Lets every thread of a process, and those that they start, use these processors alone.
fn place(process: u32, processors: &CpuSet) -> anyhow::Result<()> {
    // Twice: a thread may have begun another one meanwhile.
    for _ in 0..2 {
        for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let id: i32 = task?.file_name().to_str().context("the number of a thread")?.parse()?;
            // A thread may have ended meanwhile.
            match sched_setaffinity(Pid::from_raw(id), processors) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error).context("choose the processors of a thread"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_share_no_processor_and_are_of_one_size() {
        let Ok(Halves { halves: [left, right], .. }) = Halves::of_all() else { return };
        let count =
            |set: &CpuSet| (0..CpuSet::count()).filter(|place| set.is_set(*place) == Ok(true)).count();
        let both = |place: &usize| left.is_set(*place) == Ok(true) && right.is_set(*place) == Ok(true);
        assert_eq!((0..CpuSet::count()).filter(both).count(), 0);
        assert!(count(&left) == count(&right) && count(&left) > 0);
    }
}
