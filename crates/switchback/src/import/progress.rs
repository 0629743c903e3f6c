//! How far an import is, and when it may end.
//!
//! What is due is counted by a listing of its own, which runs ahead of the one that moves: it costs one
//! request for a thousand objects, and until it has ended there is no estimate.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Format;
use crate::time::{bytes, duration};
use crate::view::import::noun;

/// Between two lines where nobody sits at a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Between two looks of a person.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// What one object takes beside its bytes, as bytes: small objects take their time by number.
const OBJECT_WEIGHT: u64 = 64 * 1024;

/// Counters of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    /// What is counted.
    noun: &'static str,
    started: Instant,
    objects: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    looked: AtomicU64,
    due_objects: AtomicU64,
    due_bytes: AtomicU64,
    counted: AtomicBool,
}

impl Progress {
    pub(crate) fn new(versions: bool) -> Arc<Self> {
        Arc::new(Self {
            noun: noun(versions),
            started: Instant::now(),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            due_objects: AtomicU64::new(0),
            due_bytes: AtomicU64::new(0),
            counted: AtomicBool::new(false),
        })
    }

    /// Some bytes have arrived.
    pub(crate) fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An object has ended, well or not.
    pub(crate) fn ended(&self, well: bool) {
        let counter = if well { &self.objects } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The lock of something that arrived before was looked at.
    pub(crate) fn looked(&self) {
        self.looked.fetch_add(1, Ordering::Relaxed);
    }

    /// An object is due.
    pub(crate) fn due(&self, bytes: u64) {
        self.due_objects.fetch_add(1, Ordering::Relaxed);
        self.due_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All that is due is known.
    pub(crate) fn counted(&self) {
        self.counted.store(true, Ordering::Relaxed);
    }

    /// Objects and bytes that are due.
    pub(crate) fn all_due(&self) -> (u64, u64) {
        (self.due_objects.load(Ordering::Relaxed), self.due_bytes.load(Ordering::Relaxed))
    }

    /// Bytes that arrived.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Since the begin.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// `120 of 4,000 objects, 3.1 MiB of 2.0 GiB, 1.1 MiB/s, 30 min 2 s left`.
    fn line(&self) -> String {
        let (objects, moved) = (self.objects.load(Ordering::Relaxed), self.bytes());
        let (failed, (due, due_bytes)) = (self.failed.load(Ordering::Relaxed), self.all_due());
        let elapsed = self.elapsed();
        let rate = bytes((moved as f64 / elapsed.as_secs_f64().max(0.001)) as u64);
        let more = if self.counted.load(Ordering::Relaxed) { "" } else { " or more" };
        let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
        let looked = match self.looked.load(Ordering::Relaxed) {
            0 => String::new(),
            looked => format!(", {looked} locks looked at"),
        };
        let left = if more.is_empty() { left(elapsed, (objects, moved), (due, due_bytes)) } else { None };
        let left = left.map(|left| format!(", {} left", duration(left))).unwrap_or_default();
        format!(
            "{objects} of {due}{more} {}{failed}, {} of {}{more}, {rate}/s{looked}{left}",
            self.noun,
            bytes(moved),
            bytes(due_bytes)
        )
    }

    /// Tells people on standard error, for as long as it is not dropped: a line that changes at a terminal,
    /// and a line now and then elsewhere.
    pub(crate) fn show(self: &Arc<Self>, format: Format) -> Shown {
        let progress = Arc::clone(self);
        if format == Format::Table && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is fixed"));
            bar.enable_steady_tick(BAR_INTERVAL);
            let shown = bar.clone();
            let task = tokio::spawn(async move {
                loop {
                    shown.set_message(progress.line());
                    tokio::time::sleep(BAR_INTERVAL).await;
                }
            });
            return Shown { bar: Some(bar), task };
        }
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LINE_INTERVAL).await;
                say(&progress.line());
            }
        });
        Shown { bar: None, task }
    }
}

/// What is left, at the pace so far.
fn left(elapsed: Duration, done: (u64, u64), due: (u64, u64)) -> Option<Duration> {
    let weight = |(objects, bytes): (u64, u64)| (objects * OBJECT_WEIGHT + bytes) as f64;
    let (done, due) = (weight(done), weight(due));
    (done > 0.0 && due > done).then(|| elapsed.mul_f64((due - done) / done))
}

/// Progress while people see it.
pub(crate) struct Shown {
    bar: Option<ProgressBar>,
    task: tokio::task::JoinHandle<()>,
}

impl Shown {
    /// A line of its own, above the progress.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => say(line),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn say(line: &str) {
    use std::io::Write;
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_made_once_all_is_counted_and_goes_by_objects_and_bytes() {
        let progress = Progress::new(false);
        progress.due(1 << 20);
        progress.due(1 << 20);
        progress.moved(1 << 20);
        progress.ended(true);
        let line = progress.line();
        assert!(line.starts_with("1 of 2 or more objects, 1.00 MiB of 2.00 MiB or more"), "{line}");
        assert!(!line.contains("left"), "{line}");
        progress.counted();
        assert!(progress.line().ends_with("left"), "{}", progress.line());
        progress.ended(false);
        assert!(progress.line().contains("1 failed"), "{}", progress.line());
        assert!(!progress.line().contains("locks"), "{}", progress.line());
        progress.looked();
        assert!(progress.line().contains(", 1 locks looked at, "), "{}", progress.line());
        let minute = Duration::from_secs(60);
        assert_eq!(left(minute, (1, 0), (3, 0)), Some(minute * 2));
        assert_eq!(left(minute, (0, 1 << 30), (0, 3 << 30)), Some(minute * 2));
        assert_eq!((left(minute, (0, 0), (1, 1)), left(minute, (2, 2), (2, 2))), (None, None));
    }
}
