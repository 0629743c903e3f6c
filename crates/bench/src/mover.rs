//! `bench mover`: how fast a link moves objects.

mod compressed;
mod endpoints;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use switchback::output::{emit, table};
use tempfile::TempDir;

use crate::figure::{count, median, megabytes, rate, say, short};
use crate::folder::Folder;
use crate::limit::{self, Limits};
use crate::load::{self, Work, number};
use crate::peer::{self, Rclone};
use crate::processor::Halves;
use crate::shared::{self, Side};
use crate::site::{Sites, Through};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rounds; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Parts to measure; default: all.
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Part>,
    /// First copies of these; default: all.
    #[arg(long, value_enum, num_args = 1..)]
    sizes: Vec<Size>,
    /// Without other tools beside.
    #[arg(long)]
    alone: bool,
    /// With each system on one half of the processors, and its clients with it: as on machines of their own. For
    /// copies, the steady flow, and what is shared.
    #[arg(long)]
    apart: bool,
    /// Divides the numbers of objects, for a quick look.
    #[arg(long, default_value_t = 1)]
    divide: u64,
    /// The lab's addresses are 127.N.10.1 and 127.N.20.1.
    #[arg(long, default_value_t = 143)]
    subnet: u8,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// First copies, beside other tools.
    Copies,
    /// A link that objects are written to all the time.
    Steady,
    /// Clients beside a copy, which do not starve each other.
    Shared,
    /// What changed of much.
    Changes,
    /// A first copy over a line with a round trip of 100 ms.
    Far,
    /// A first copy of text over a line of 20 MB/s, with and without compression.
    Compressed,
    /// rclone between buckets of other S3 servers, and a link.
    Endpoints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Size {
    /// 4 KiB.
    Small,
    /// 1 MiB.
    Medium,
    /// 512 MiB.
    Large,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn small(&self) -> Work {
        Work { name: "small", count: 20_000 / self.divide, size: 4 << 10, shrinks: false, clients: 32 }
    }

    fn medium(&self) -> Work {
        Work { name: "medium", count: 500 / self.divide, size: 1 << 20, shrinks: false, clients: 8 }
    }

    fn large(&self) -> Work {
        Work { name: "large", count: 3.min(24 / self.divide), size: 512 << 20, shrinks: false, clients: 2 }
    }

    /// What first copies are made of.
    fn works(&self) -> Vec<Work> {
        let works = [(Size::Small, self.small()), (Size::Medium, self.medium()), (Size::Large, self.large())];
        let wanted = |size| self.sizes.is_empty() || self.sizes.contains(&size);
        works.into_iter().filter(|(size, _)| wanted(*size)).map(|(_, work)| work).collect()
    }
}

/// Measures, and prints the tables.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let since = Instant::now();
    let (mut copies, mut flows, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let (mut changes, mut far) = (Vec::new(), Vec::new());
    let halves = arguments.apart.then(Halves::of_all).transpose()?;
    let (mut compressed, mut endpoints) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds.max(1) {
        if arguments.wants(Part::Copies) || arguments.wants(Part::Steady) {
            let folder = arguments.folder.make()?;
            let sites = start(&folder, &arguments, halves.as_ref(), Through::Direct).await?;
            if let Some(halves) = &halves {
                halves.part(&sites.lab, "east")?;
            }
            if arguments.wants(Part::Copies) {
                for work in arguments.works() {
                    let copy = copy(&sites, folder.path(), work, arguments.alone).await?;
                    say(since, format!("round {round}: {copy:?}"));
                    copies.push(copy);
                }
            }
            if arguments.wants(Part::Steady) {
                let flow = steady(&sites, arguments.small()).await?;
                say(since, format!("round {round}: {flow:?}"));
                flows.push(flow);
            }
            sites.stop().await?;
        }
        if arguments.wants(Part::Shared) {
            for work in [arguments.small(), arguments.large()] {
                let folder = arguments.folder.make()?;
                let sites = start(&folder, &arguments, halves.as_ref(), Through::Direct).await?;
                for side in Side::ALL {
                    let shared = shared::measure(&sites, side, work, halves.as_ref()).await?;
                    say(since, format!("round {round}: {shared:?}"));
                    beside.push(shared);
                }
                sites.stop().await?;
            }
        }
        if arguments.wants(Part::Far) {
            let folder = arguments.folder.make()?;
            let sites = start(&folder, &arguments, halves.as_ref(), Through::Relay).await?;
            for work in [arguments.small(), arguments.medium()] {
                let measured = distant(&sites, work).await?;
                say(since, format!("round {round}: {measured:?}"));
                far.push(measured);
            }
            sites.stop().await?;
        }
        if arguments.wants(Part::Endpoints) && !arguments.alone {
            endpoints.extend(endpoints::measure(&arguments, halves.as_ref(), since).await?);
        }
        if arguments.wants(Part::Compressed) {
            compressed.extend(compressed::measure(&arguments, halves.as_ref(), round, since).await?);
        }
    }
    if arguments.wants(Part::Changes) {
        let folder = arguments.folder.make()?;
        let sites = start(&folder, &arguments, halves.as_ref(), Through::Relay).await?;
        changes = changed(&sites, folder.path(), &arguments, since).await?;
        sites.stop().await?;
    }
    print_copies(&arguments, &copies);
    print_flows(&arguments, &flows);
    shared::print(&beside);
    print_changes(&changes);
    print_far(&arguments, &far);
    compressed::print(&arguments, &compressed);
    endpoints::print(&endpoints);
    Ok(())
}

/// Two systems that see all processors as they start.
async fn start(
    folder: &TempDir,
    arguments: &Arguments,
    halves: Option<&Halves>,
    way: Through,
) -> anyhow::Result<Sites> {
    halves.map_or(Ok(()), Halves::join)?;
    Sites::start(folder.path(), arguments.subnet, way).await
}

/// One first copy and what stood beside it.
#[derive(Debug)]
struct FirstCopy {
    work: &'static str,
    ours: Duration,
    rclone: Option<Duration>,
    rsync: Option<Duration>,
    limits: Limits,
    /// Seconds of processors that the mover took that sends, and the one that receives.
    processors: (f64, f64),
    /// The most that the two movers have had so far, in MB.
    memory: f64,
}

async fn copy(sites: &Sites, folder: &Path, work: Work, alone: bool) -> anyhow::Result<FirstCopy> {
    let limits = limit::measure(folder).await?;
    sites.suspend().await?;
    load::write(&sites.primary, work, 0, 0).await?;
    let before = (sites.mover_seconds("east")?, sites.mover_seconds("west")?);
    let ours = sites.resume().await?;
    let processors = (sites.mover_seconds("east")? - before.0, sites.mover_seconds("west")? - before.1);
    let memory = sites.mover_memory("east")?.max(sites.mover_memory("west")?);
    load::verify(&sites.replica, work, |_| 0).await.context("on the replica")?;
    let rclone = if !alone && peer::has("rclone") {
        let rclone = Rclone::new(folder, &sites.primary, &sites.other)?;
        Some(rclone.sync(work.name).await?)
    } else {
        None
    };
    let rsync = if !alone && peer::has("rsync") {
        let (from, to) = (folder.join("files"), folder.join("copied"));
        load::files(&from, work)?;
        let took = peer::rsync(&from.join(work.name), &to).await?;
        std::fs::remove_dir_all(&from)?;
        std::fs::remove_dir_all(&to)?;
        Some(took)
    } else {
        None
    };
    Ok(FirstCopy { work: work.name, ours, rclone, rsync, limits, processors, memory })
}

/// A link that is written to.
#[derive(Debug)]
struct Flow {
    /// With nothing flowing, before and afterwards: a store that grows is written to more slowly.
    alone: [Duration; 2],
    written: Duration,
    lag: Duration,
    /// Seconds of processors for each write that the mover which sends and the one which receives work more
    /// than with nothing flowing.
    processors: [f64; 2],
}

impl Flow {
    /// How much longer writers take with the link on.
    fn cost(&self) -> f64 {
        let alone = self.alone.iter().sum::<Duration>() / 2;
        self.written.as_secs_f64() / alone.as_secs_f64()
    }
}

async fn steady(sites: &Sites, work: Work) -> anyhow::Result<Flow> {
    sites.suspend().await?;
    let (before, seconds_before, _) = written(sites, Work { name: "before", ..work }).await?;
    sites.resume().await?;
    let work = Work { name: "steady", ..work };
    let (written_in, seconds, since) = written(sites, work).await?;
    sites.in_sync().await?;
    let lag = since.elapsed();
    load::verify(&sites.replica, work, |_| 0).await.context("on the replica")?;
    sites.suspend().await?;
    let (after, seconds_after, _) = written(sites, Work { name: "after", ..work }).await?;
    let alone = [before, after];
    let processors =
        std::array::from_fn(|side| seconds[side] - f64::midpoint(seconds_before[side], seconds_after[side]));
    Ok(Flow { alone, written: written_in, lag, processors })
}

/// How long it took to write the objects, what the movers of both sides worked meanwhile for each, in seconds
/// of processors, and when it ended.
async fn written(sites: &Sites, work: Work) -> anyhow::Result<(Duration, [f64; 2], Instant)> {
    let seconds = || anyhow::Ok([sites.mover_seconds("east")?, sites.mover_seconds("west")?]);
    let before = seconds()?;
    let took = load::write(&sites.primary, work, 0, 0).await?;
    let (since, after) = (Instant::now(), seconds()?);
    Ok((took, std::array::from_fn(|side| (after[side] - before[side]) / count(work.count)), since))
}

/// A first copy with and without a delay.
#[derive(Debug)]
struct Distant {
    work: &'static str,
    near: Duration,
    far: Duration,
}

async fn distant(sites: &Sites, work: Work) -> anyhow::Result<Distant> {
    let mut took = Vec::new();
    for (edition, latency_ms) in [(0, 0), (1, 50)] {
        sites.suspend().await?;
        load::write(&sites.primary, work, 0, edition).await?;
        sites.delay(latency_ms).await?;
        took.push(sites.resume().await?);
        sites.delay(0).await?;
    }
    Ok(Distant { work: work.name, near: took[0], far: took[1] })
}

/// Some of many objects changed.
#[derive(Debug)]
struct Changed {
    of: u64,
    changed: u64,
    ours: Vec<f64>,
    /// Sent for each byte that changed.
    sent: Vec<f64>,
    rclone: Vec<f64>,
}

async fn changed(
    sites: &Sites,
    folder: &Path,
    arguments: &Arguments,
    since: Instant,
) -> anyhow::Result<Vec<Changed>> {
    let many = 100_000 / arguments.divide;
    let work = |count| Work { name: "many", count, size: 4 << 10, shrinks: false, clients: 32 };
    let (mut rows, mut written, mut edition) = (Vec::new(), 0, 0);
    for (of, changed) in [(many / 10, many / 1_000), (many / 10, many / 100), (many, many / 100)] {
        load::write(&sites.primary, work(of), written, 0).await?;
        written = of;
        sites.in_sync().await?;
        let rclone = if peer::has("rclone") {
            let rclone = Rclone::new(folder, &sites.primary, &sites.other)?;
            rclone.sync("many").await?;
            Some(rclone)
        } else {
            None
        };
        let mut row = Changed { of, changed, ours: Vec::new(), sent: Vec::new(), rclone: Vec::new() };
        for _ in 0..arguments.rounds.max(1) {
            edition += 1;
            sites.suspend().await?;
            load::write(&sites.primary, work(changed), 0, edition).await?;
            let before = sites.relayed().await?;
            row.ours.push(sites.resume().await?.as_secs_f64());
            let sent = sites.relayed().await? - before;
            row.sent.push(count(sent) / count(work(changed).bytes()));
            if let Some(rclone) = &rclone {
                row.rclone.push(rclone.sync("many").await?.as_secs_f64());
            }
        }
        say(since, format!("{row:?}"));
        rows.push(row);
    }
    // The last rewrites were the same ones of more than those before.
    let edition_of = move |key: &str| if number(key) < many / 100 { edition } else { 0 };
    load::verify(&sites.replica, work(many), edition_of).await.context("on the replica")?;
    Ok(rows)
}

fn gibibytes(work: Work) -> f64 {
    count(work.bytes()) / f64::from(1 << 30)
}

fn print_copies(arguments: &Arguments, copies: &[FirstCopy]) {
    let mut rows = Vec::new();
    for work in arguments.works() {
        let mine: Vec<_> = copies.iter().filter(|copy| copy.work == work.name).collect();
        if mine.is_empty() {
            continue;
        }
        let of = |number: &dyn Fn(&FirstCopy) -> f64| median(mine.iter().map(|copy| number(copy)).collect());
        let ours = of(&|copy| rate(megabytes(work.bytes()), copy.ours));
        let ratio = |peer: fn(&FirstCopy) -> Option<Duration>| {
            short(of(&|copy| {
                peer(copy).map_or(f64::NAN, |took| took.as_secs_f64() / copy.ours.as_secs_f64())
            }))
        };
        let limit = |copy: &FirstCopy| copy.limits.disk.min(copy.limits.tls);
        rows.push(vec![
            format!("{} x {}", work.count, switchback::time::bytes(work.size)),
            short(of(&|copy| rate(count(work.count), copy.ours))),
            short(ours),
            ratio(|copy| copy.rclone),
            ratio(|copy| copy.rsync),
            short(of(&|copy| rate(megabytes(work.bytes()), copy.ours) / limit(copy))),
            short(of(&|copy| copy.limits.disk)),
            short(of(&|copy| copy.limits.tls)),
            short(of(&|copy| copy.limits.copy)),
            short(of(&|copy| copy.limits.flushes)),
            short(of(&|copy| copy.processors.0 / gibibytes(work))),
            short(of(&|copy| copy.processors.1 / gibibytes(work))),
            short(of(&|copy| copy.memory)),
        ]);
    }
    let head = [
        "first copy",
        "objects/s",
        "MB/s",
        "x rclone",
        "x rsync",
        "of limit",
        "disk MB/s",
        "TLS MB/s",
        "both MB/s",
        "flushes/s",
        "CPU s/GiB out",
        "in",
        "memory MB",
    ];
    emit(&format!("\n{}", table(&head, rows, "")));
}

fn print_flows(arguments: &Arguments, flows: &[Flow]) {
    if flows.is_empty() {
        return;
    }
    let of = |number: &dyn Fn(&Flow) -> f64| short(median(flows.iter().map(number).collect()));
    let row = vec![
        (if arguments.apart { "half each" } else { "shared" }).to_owned(),
        of(&|flow| rate(count(arguments.small().count), flow.written)),
        of(&Flow::cost),
        of(&|flow| flow.lag.as_secs_f64() * 1e3),
        of(&|flow| flow.processors[0] * 1e6),
        of(&|flow| flow.processors[1] * 1e6),
    ];
    let head = ["processors", "writes/s", "time, link on / off", "equal after ms", "CPU us/write out", "in"];
    emit(&format!("\n{}", table(&head, vec![row], "")));
}

fn print_changes(changes: &[Changed]) {
    let row = |row: &Changed| {
        let ours = median(row.ours.clone());
        vec![
            format!("{} of {}", row.changed, row.of),
            short(ours * 1e3),
            short(median(row.sent.clone())),
            short(median(row.rclone.clone()) / ours),
        ]
    };
    if !changes.is_empty() {
        let head = ["changed", "equal after ms", "bytes sent / changed", "x rclone"];
        emit(&format!("\n{}", table(&head, changes.iter().map(row).collect(), "")));
    }
}

fn print_far(arguments: &Arguments, far: &[Distant]) {
    let mut rows = Vec::new();
    for work in [arguments.small(), arguments.medium()] {
        let mine: Vec<_> = far.iter().filter(|one| one.work == work.name).collect();
        if mine.is_empty() {
            continue;
        }
        let of = |took: fn(&Distant) -> Duration| {
            median(mine.iter().map(|one| rate(megabytes(work.bytes()), took(one))).collect())
        };
        let (near, far) = (of(|one| one.near), of(|one| one.far));
        let name = format!("{} x {}", work.count, switchback::time::bytes(work.size));
        rows.push(vec![name, short(near), short(far), short(far / near)]);
    }
    if !rows.is_empty() {
        let head = ["through the relay", "MB/s", "MB/s at 100 ms", "ratio"];
        emit(&format!("\n{}", table(&head, rows, "")));
    }
}
