//! `bench mover --only shared`: what clients and a copy take from each other on one system, which sends it or
//! receives it. The clients are those of a tenant that is on no link.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use switchback::output::{emit, table};
use tokio::task::JoinSet;

use crate::client::{Client, Place};
use crate::figure::{Many, median, megabytes, rate, short};
use crate::load::{self, Work, body};
use crate::processor::Halves;
use crate::site::Sites;

/// How long clients write with nothing beside them.
const ALONE_TIME: Duration = Duration::from_secs(4);
/// Clients that write at once.
const CLIENTS: usize = 32;

/// Which system's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Sends,
    Receives,
}

impl Side {
    pub(crate) const ALL: [Self; 2] = [Self::Sends, Self::Receives];

    fn name(self) -> &'static str {
        match self {
            Self::Sends => "sends",
            Self::Receives => "receives",
        }
    }

    fn system(self) -> &'static str {
        match self {
            Self::Sends => "east",
            Self::Receives => "west",
        }
    }
}

/// One system in one round.
#[derive(Debug)]
pub(crate) struct Shared {
    side: Side,
    /// What is copied.
    work: &'static str,
    alone: Many,
    beside: Many,
    /// MB/s of the copy, without clients and with them.
    copy_alone: f64,
    copy_beside: f64,
}

/// Measures one system's clients beside a copy of `work`.
pub(crate) async fn measure(
    sites: &Sites,
    side: Side,
    work: Work,
    halves: Option<&Halves>,
) -> anyhow::Result<Shared> {
    if let Some(halves) = halves {
        halves.part(&sites.lab, side.system())?;
    }
    let (place, names) = match side {
        Side::Sends => (&sites.beside, ["sent-alone", "sent-beside"]),
        Side::Receives => (&sites.other, ["received-alone", "received-beside"]),
    };
    let [alone, beside] = names.map(|name| Work { name, ..work });
    sites.suspend().await?;
    load::write(&sites.primary, alone, 0, 0).await?;
    let copy_alone = rate(megabytes(work.bytes()), sites.resume().await?);
    sites.suspend().await?;
    load::write(&sites.primary, beside, 0, 0).await?;
    let ((), clients_alone) = press(place, "alone", tokio::time::sleep(ALONE_TIME)).await?;
    let (took, clients_beside) = press(place, "beside", sites.resume()).await?;
    load::verify(&sites.replica, beside, |_| 0).await.context("on the replica")?;
    let copy_beside = rate(megabytes(work.bytes()), took?);
    Ok(Shared {
        side,
        work: work.name,
        alone: clients_alone,
        beside: clients_beside,
        copy_alone,
        copy_beside,
    })
}

/// Lets clients write objects of 4 KiB until `until` is there.
async fn press<T>(
    place: &Place,
    name: &'static str,
    until: impl Future<Output = T>,
) -> anyhow::Result<(T, Many)> {
    let work = Work { name, count: u64::MAX, size: 4 << 10, shrinks: false, clients: CLIENTS };
    let (next, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (mut clients, since) = (JoinSet::new(), Instant::now());
    for _ in 0..work.clients {
        let mut client = Client::connect(place).await?;
        let (next, ended) = (Arc::clone(&next), Arc::clone(&ended));
        clients.spawn(async move {
            let mut took = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let key = load::key(name, next.fetch_add(1, Ordering::Relaxed));
                let since = Instant::now();
                client.put(&key, work.size, body(&key, 0, work)).await?;
                took.push(since.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    let came = until.await;
    ended.store(true, Ordering::Relaxed);
    let time = since.elapsed();
    let mut took = Vec::new();
    while let Some(ended) = clients.join_next().await {
        took.extend(ended.context("a client")??);
    }
    Ok((came, Many::of(took, time)))
}

/// A row for each system.
pub(crate) fn print(rounds: &[Shared]) {
    let mut rows = Vec::new();
    let kinds: BTreeSet<_> = rounds.iter().map(|round| (round.side.name(), round.work)).collect();
    for (side, work) in kinds.into_iter().rev() {
        let of = |number: &dyn Fn(&Shared) -> f64| {
            let same = rounds.iter().filter(|round| (round.side.name(), round.work) == (side, work));
            short(median(same.map(number).collect()))
        };
        rows.push(vec![
            side.to_owned(),
            work.to_owned(),
            of(&|round| round.alone.rate),
            of(&|round| round.alone.half),
            of(&|round| round.alone.most),
            of(&|round| round.beside.rate),
            of(&|round| round.beside.half),
            of(&|round| round.beside.most),
            of(&|round| round.copy_alone),
            of(&|round| round.copy_beside),
        ]);
    }
    let head = [
        "system",
        "copied",
        "writes/s",
        "p50 ms",
        "p99 ms",
        "with a copy",
        "p50 ms",
        "p99 ms",
        "copy MB/s",
        "with clients",
    ];
    if !rounds.is_empty() {
        emit(&format!("\n{}", table(&head, rows, "")));
    }
}
