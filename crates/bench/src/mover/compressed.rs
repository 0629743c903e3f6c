//! A first copy over a slow line, with and without compression.

use std::time::{Duration, Instant};

use anyhow::Context;
use switchback::output::{emit, table};
use switchback_proto::model::v1::Compression;

use super::{Arguments, start};
use crate::figure::{count, median, megabytes, rate, say, short};
use crate::load::{self, Work};
use crate::processor::Halves;
use crate::site::{Sites, Through};

/// What the line takes: less than anything else here, and no more than many sites have.
const LINE_BYTES_PER_SECOND: u64 = 20_000_000;

/// One work, with and without.
#[derive(Debug)]
pub(super) struct Compressed {
    work: &'static str,
    plain: Crossing,
    packed: Crossing,
}

#[derive(Debug)]
struct Crossing {
    took: Duration,
    /// Bytes on the line.
    carried: u64,
}

/// What crosses: text, and what does not shrink.
fn works(arguments: &Arguments) -> [Work; 3] {
    let some = |count: u64| (count / arguments.divide).max(1);
    [
        Work { name: "text-small", shrinks: true, ..arguments.small() },
        Work { name: "text", count: some(200), shrinks: true, ..arguments.medium() },
        Work { name: "noise", count: some(200), ..arguments.medium() },
    ]
}

/// One round of it, on systems of its own.
pub(super) async fn measure(
    arguments: &Arguments,
    halves: Option<&Halves>,
    round: usize,
    since: Instant,
) -> anyhow::Result<Vec<Compressed>> {
    let folder = arguments.folder.make()?;
    let sites = start(&folder, arguments, halves, Through::Relay).await?;
    let mut measured = Vec::new();
    for work in works(arguments) {
        let plain = cross(&sites, work, 0, Compression::None).await?;
        let packed = cross(&sites, work, 1, Compression::Zstd).await?;
        let one = Compressed { work: work.name, plain, packed };
        say(since, format!("round {round}: {one:?}"));
        measured.push(one);
    }
    sites.stop().await?;
    Ok(measured)
}

async fn cross(
    sites: &Sites,
    work: Work,
    edition: u64,
    compression: Compression,
) -> anyhow::Result<Crossing> {
    sites.compress(compression).await?;
    sites.suspend().await?;
    load::write(&sites.primary, work, 0, edition).await?;
    sites.throttle(LINE_BYTES_PER_SECOND).await?;
    let before = sites.relayed().await?;
    let took = sites.resume().await?;
    let carried = sites.relayed().await? - before;
    sites.throttle(0).await?;
    load::verify(&sites.replica, work, move |_| edition).await.context("on the replica")?;
    Ok(Crossing { took, carried })
}

pub(super) fn print(arguments: &Arguments, measured: &[Compressed]) {
    let mut rows = Vec::new();
    for work in works(arguments) {
        let mine: Vec<_> = measured.iter().filter(|one| one.work == work.name).collect();
        if mine.is_empty() {
            continue;
        }
        let of = |number: &dyn Fn(&Compressed) -> f64| median(mine.iter().map(|one| number(one)).collect());
        let speed = |crossing: &Crossing| rate(megabytes(work.bytes()), crossing.took);
        let (plain, packed) = (of(&|one| speed(&one.plain)), of(&|one| speed(&one.packed)));
        let share = |crossing: &Crossing| count(crossing.carried) / count(work.bytes());
        rows.push(vec![
            format!("{} {} x {}", work.count, work.name, switchback::time::bytes(work.size)),
            short(plain),
            short(packed),
            short(packed / plain),
            short(of(&|one| share(&one.plain))),
            short(of(&|one| share(&one.packed))),
        ]);
    }
    if !rows.is_empty() {
        let head = ["over 20 MB/s", "MB/s", "with zstd", "ratio", "bytes sent / bytes", "with zstd"];
        emit(&format!("\n{}", table(&head, rows, "")));
    }
}
