//! `bench s3`: clients at a gateway, beside other S3 servers on the same disk, and beside what bounds them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt as _;
use switchback::output::{emit, table};
use tokio::task::JoinSet;

use crate::client::{Client, Place};
use crate::figure::{Many, median, megabytes, rate, say, short};
use crate::folder::Folder;
use crate::limit::{self, PlainLimits};
use crate::servers;
use crate::site::{Sites, Through};

/// Clients at once, for small objects.
const CLIENTS: usize = 64;
/// Bytes of a small and of a large object.
const SMALL: u64 = 4 << 10;
const LARGE: u64 = 256 << 20;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rounds; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Small objects of one round.
    #[arg(long, default_value_t = 10_000)]
    objects: u64,
    /// The systems' addresses are 127.N.10.1 and 127.N.20.1.
    #[arg(long, default_value_t = 143)]
    subnet: u8,
    #[command(flatten)]
    folder: Folder,
}

/// Measures, and prints the table.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (folder, since) = (arguments.folder.make()?, Instant::now());
    let sites = Sites::start(folder.path(), arguments.subnet, Through::Direct).await?;
    // West's tenant that is on no link: nothing is copied meanwhile.
    let mut servers = vec![("switchback", sites.other.clone())];
    let others = servers::start(folder.path()).await?;
    servers.extend(others.iter().map(|other| (other.name, other.place.clone())));
    let (mut rounds, mut limits) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds.max(1) {
        limits.push(limit::measure_plain(folder.path()).await?);
        for (name, place) in &servers {
            let measured =
                measure(place, round, arguments.objects).await.with_context(|| (*name).to_owned())?;
            say(since, format!("round {round}: {name} {measured:?}"));
            rounds.push((*name, measured));
        }
    }
    sites.stop().await?;
    let mut rows = Vec::new();
    for (name, _) in &servers {
        let of = |number: &dyn Fn(&Measured) -> f64| {
            short(median(
                rounds.iter().filter(|(of, _)| of == name).map(|(_, round)| number(round)).collect(),
            ))
        };
        rows.push(vec![
            (*name).to_owned(),
            of(&|round| round.put.rate),
            of(&|round| round.put.half),
            of(&|round| round.put.most),
            of(&|round| round.get.rate),
            of(&|round| round.get.half),
            of(&|round| round.get.most),
            of(&|round| round.large_put),
            of(&|round| round.large_get),
        ]);
    }
    let limit = |of: fn(&PlainLimits) -> f64| short(median(limits.iter().map(of).collect()));
    let (put, get) = (limit(|limits| limits.disk.min(limits.md5)), limit(|limits| limits.tcp));
    let none = String::new;
    rows.push(vec!["limit".to_owned(), none(), none(), none(), none(), none(), none(), put, get]);
    let head = [
        "server",
        "put/s",
        "p50 ms",
        "p99 ms",
        "get/s",
        "p50 ms",
        "p99 ms",
        "large put MB/s",
        "large get MB/s",
    ];
    emit(&format!("\n{}", table(&head, rows, "")));
    Ok(())
}

/// One server in one round.
#[derive(Debug)]
struct Measured {
    put: Many,
    get: Many,
    large_put: f64,
    large_get: f64,
}

async fn measure(place: &Place, round: usize, objects: u64) -> anyhow::Result<Measured> {
    let put = many(place, round, objects, |mut client, key| async move {
        client.put(&key, SMALL, body(SMALL)).await.map(|()| client)
    })
    .await?;
    let get = many(place, round, objects, |mut client, key| async move {
        client.get(&key, |_| ()).await.map(|()| client)
    })
    .await?;
    let (mut client, key) = (Client::connect(place).await?, format!("{round}/large"));
    let since = Instant::now();
    client.put(&key, LARGE, body(LARGE)).await?;
    let large_put = rate(megabytes(LARGE), since.elapsed());
    let since = Instant::now();
    client.get(&key, |_| ()).await?;
    Ok(Measured { put, get, large_put, large_get: rate(megabytes(LARGE), since.elapsed()) })
}

/// Bytes that cost the client nothing.
fn body(size: u64) -> futures::stream::BoxStream<'static, Bytes> {
    let piece = Bytes::from(vec![7; usize::try_from(size.min(1 << 20)).unwrap_or_default()]);
    let pieces = size.div_ceil(1 << 20);
    futures::stream::repeat(piece).take(usize::try_from(pieces).unwrap_or_default()).boxed()
}

async fn many<F, D>(place: &Place, round: usize, objects: u64, act: F) -> anyhow::Result<Many>
where
    F: Fn(Client, String) -> D + Clone + Send + 'static,
    D: Future<Output = anyhow::Result<Client>> + Send + 'static,
{
    let (since, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (mut client, next, act) = (Client::connect(place).await?, Arc::clone(&next), act.clone());
        clients.spawn(async move {
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= objects {
                    return anyhow::Ok(took);
                }
                let since = Instant::now();
                client = act(client, format!("{round}/{number:06}")).await?;
                took.push(since.elapsed());
            }
        });
    }
    let mut took: Vec<Duration> = Vec::new();
    while let Some(ended) = clients.join_next().await {
        took.extend(ended.context("a client")??);
    }
    Ok(Many::of(took, since.elapsed()))
}
