//! One round: a workload on a logged disk, then many disks as cuts could have left it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;

use crate::account::Account;
use crate::cut::{Crashed, Mode};
use crate::device::{Device, Entry, Served};
use crate::mount::{FileSystem, Mounted};
use crate::random::Random;
use crate::{verify, workload};

/// Bytes of the disk: what the workload needs, twice.
const DISK_BYTES: usize = 256 << 20;

/// Things that each part of the workload does.
const STEPS: usize = 120;

/// What a round found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Disks looked at, by mode.
    pub images: BTreeMap<Mode, usize>,
    /// Entries of the log, and flushes among them.
    pub entries: usize,
    /// See [`Outcome::entries`].
    pub flushes: usize,
    /// Acknowledged steps.
    pub acknowledged: usize,
    /// Parts of the workload that were told of an error.
    pub failed: usize,
    /// Writes that chance decided on, over all disks.
    pub open: usize,
    /// What is wrong, with the cut that shows it.
    pub wrong: Vec<String>,
}

/// What happens to the disk while the workload runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: any error is wrong.
    None,
    /// One write of the product's own bytes fails and is gone; afterwards all is as if nothing had
    /// been. Not one of the file system's journal: when that write fails, ext4 gives it up for good,
    /// and what an fsync is then worth is not for this test to say.
    OneWriteFails,
}

/// In the pages of the catalogue's journal, and of the state's log.
const NEEDLES: [&[u8]; 2] = [b"etag", b"value "];

/// Runs the round of this seed and looks at `images` disks.
///
/// # Errors
/// The round could not be run; what it found wrong is in its outcome.
pub fn run(seed: u64, images: usize, file_system: FileSystem, fault: Fault) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let account = Arc::new(Account::default());
    let Recorded { start, log, failed } = record(seed, folder.path(), file_system, &account, fault)?;
    if failed > 0 && fault == Fault::None {
        bail!("{failed} parts of the workload failed on a disk that is well");
    }
    let mut outcome = Outcome {
        failed,
        entries: log.len(),
        flushes: log.iter().filter(|entry| matches!(entry, Entry::Flush)).count(),
        acknowledged: account.acknowledged(),
        ..Outcome::default()
    };
    let mut random = Random::new(seed ^ 0x5eed);
    let moments = account.moments();
    let first = moments.iter().copied().min().unwrap_or(start).max(start);
    let mut cuts: Vec<(usize, Mode)> = (0..images)
        .map(|number| {
            let moment = match number % 4 {
                // While everything is made for the first time.
                0 => start + random.below(first - start + 1),
                1 => start + random.below(log.len() - start + 1),
                _ => moments.get(random.below(moments.len())).copied().unwrap_or(start).max(start),
            };
            (moment, Mode::ALL[random.below(Mode::ALL.len())])
        })
        .collect();
    cuts.sort_unstable();
    examine(folder.path(), &log, &account, &cuts, &mut random, &mut outcome)?;
    Ok(outcome)
}

/// A workload's log, where in it the workload begins, and how many parts failed.
struct Recorded {
    start: usize,
    log: Vec<Entry>,
    failed: usize,
}

fn record(
    seed: u64,
    folder: &Path,
    file_system: FileSystem,
    account: &Arc<Account>,
    fault: Fault,
) -> anyhow::Result<Recorded> {
    let device = Device::logged(DISK_BYTES);
    let places = ["logged", "on-logged", "elsewhere"].map(|name| folder.join(name));
    places.iter().try_for_each(std::fs::create_dir)?;
    let [files, mounted, elsewhere] = &places;
    let served = Served::new(device.clone(), files)?;
    file_system.make(&served.file(0))?;
    let disk = Mounted::new(&served.file(1), mounted)?;
    let start = device.now();
    if fault == Fault::OneWriteFails {
        let moment = start + 200 + Random::new(seed).below(1_500);
        device.fail_once(moment, NEEDLES[usize::try_from(seed)? % NEEDLES.len()]);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let work = workload::run(disk.folder(), elsewhere, device.clone(), Arc::clone(account), seed, STEPS);
    let ended = runtime.block_on(work);
    drop(runtime);
    let log = device.take_log();
    drop(disk);
    let failed = match (ended, fault) {
        (Err(error), Fault::None) => return Err(error.context("the workload did not begin")),
        // The write that failed was one of the first.
        (Err(_), Fault::OneWriteFails) => 1,
        (Ok(failed), _) => failed,
    };
    Ok(Recorded { start, log, failed })
}

fn examine(
    folder: &Path,
    log: &[Entry],
    account: &Account,
    cuts: &[(usize, Mode)],
    random: &mut Random,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let device = Device::plain(DISK_BYTES);
    let places = ["crashed", "on-crashed"].map(|name| folder.join(name));
    places.iter().try_for_each(std::fs::create_dir)?;
    let [files, mounted] = &places;
    let served = Served::new(device.clone(), files)?;
    let mut crashed = Crashed::new(log, device.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for (number, (moment, mode)) in cuts.iter().enumerate() {
        let open = crashed.cut(*moment, *mode, random);
        outcome.open += open;
        *outcome.images.entry(*mode).or_default() += 1;
        let wrong = match Mounted::new(&served.file(number as u64), mounted) {
            Ok(disk) => runtime
                .block_on(verify::verify(disk.folder(), account, *moment))
                .unwrap_or_else(|error| vec![format!("it cannot be read: {error:#}")]),
            Err(error) => vec![format!("it cannot be mounted: {error:#}")],
        };
        device.revert();
        let at =
            format!("cut {number} after entry {moment} of {}, {mode:?} of {open} open writes", log.len());
        outcome.wrong.extend(wrong.into_iter().map(|what| format!("{at}: {what}")));
    }
    Ok(())
}
