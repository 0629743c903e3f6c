//! Threads for work that can wait for clients.
//!
//! They have a lower priority than all others of the process: what the others leave of the processors is theirs, and
//! of a processor that another thread wants as well they have a share. That holds within a process, or the control
//! group of a container; between those the machine's own shares hold.
//!
//! Why threads and not turns, as the store's time has them: such work is mostly ciphers, hashes and the kernel's
//! copies, on as many processors as there are, and whether it takes them from somebody only the kernel knows. A
//! machine with processors to spare slows nothing down.

use std::future::Future;
use std::io;

use rustix::process::{getpriority_process, setpriority_process};
use switchback_world::is_simulated;
use tokio::runtime::{Builder, Handle, Runtime};

/// What one step of the nice value multiplies a thread's part by (sched(7), `sched_prio_to_weight` of Linux).
const STEP: f64 = 1.25;
/// No nice value is higher.
const STEPS_MAX: i32 = 19;

/// Threads of low priority, as many as there are processors, and more for what blocks. What runs on them is dropped
/// when this is.
pub struct Background {
    /// None in a simulation, which has one thread.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Background {
    /// Starts them. Of a processor that one other thread wants, one of them has `percent`, from 1 to 100; they are
    /// never above the others.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn start(percent: u32) -> io::Result<Self> {
        if is_simulated() {
            return Ok(Self { runtime: None, handle: Handle::current() });
        }
        // A thread has that of the one that made it, which may be one of them.
        let priority = (getpriority_process(None)? + steps(percent)).min(STEPS_MAX);
        let lower = move || {
            if let Err(error) = setpriority_process(None, priority) {
                tracing::debug!(%error, "a thread keeps its priority");
            }
        };
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("background")
            .on_thread_start(lower)
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// To spawn tasks with. What those spawn stays there, and what blocks in them too.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `work` there to its end, or until this is dropped.
    ///
    /// # Errors
    /// It panicked, or the threads are gone.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.handle.spawn(work).await?
    }
}

impl Drop for Background {
    /// Waits for nothing: what must have ended has been waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How much lower the priority is, in steps of nice values.
#[expect(clippy::cast_possible_truncation, reason = "it is no more than a few")]
fn steps(percent: u32) -> i32 {
    let part = f64::from(percent.clamp(1, 100)) / 100.0;
    (((1.0 - part) / part).max(1.0).log(STEP).round() as i32).min(STEPS_MAX)
}

#[cfg(test)]
mod tests {
    use tokio::task::spawn_blocking;

    use super::*;

    #[test]
    fn a_share_is_that_of_a_processor_which_another_thread_wants() {
        assert_eq!([1, 10, 25, 50, 100].map(steps), [19, 10, 5, 0, 0]);
        let part = STEP.powi(-steps(25));
        assert!((part / (part + 1.0) - 0.25).abs() < 0.01);
    }

    #[tokio::test]
    async fn tasks_and_what_blocks_in_them_are_behind_everything_else() {
        let here = getpriority_process(None).unwrap();
        let there = Background::start(25).unwrap();
        let priorities = there
            .run(async {
                let task = getpriority_process(None)?;
                let spawned = tokio::spawn(async { getpriority_process(None) }).await??;
                let blocking = spawn_blocking(|| getpriority_process(None)).await??;
                Ok([task, spawned, blocking])
            })
            .await
            .unwrap();
        assert_eq!(priorities, [(here + 5).min(STEPS_MAX); 3]);
        assert_eq!(getpriority_process(None).unwrap(), here);
    }

    #[tokio::test]
    async fn what_runs_there_ends_with_it() {
        let there = Background::start(25).unwrap();
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        there.handle().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(there);
        assert!(ended.await.is_err());
    }
}
