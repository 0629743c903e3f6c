//! `bench growth`: a link between two whole systems, with ever more objects in one bucket.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use switchback::output::{emit, table};

use crate::client::{Client, Place};
use crate::figure::{count, median, rate, say, short};
use crate::folder::Folder;
use crate::load::{self, Work, number};
use crate::site::{Sites, Through};
use crate::store;

/// Of the objects.
const NAME: &str = "many";
/// Bytes of each object.
const OBJECT_BYTES: u64 = 1024;
/// Clients that write at once.
const CLIENTS: usize = 64;
/// Pages that are read for a median.
const PAGES: u64 = 50;
/// Keys of a page: what S3 gives at most.
const PAGE_KEYS: usize = 1000;
/// One object in so many changes while the replica is away.
const CHANGED_OF: u64 = 100;
/// Objects that are read back, beside what the digests say of all.
const VERIFIED: u64 = 100_000;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Numbers of objects, each in two new systems; at least 100.
    #[arg(long, num_args = 1.., default_values_t = [10_000, 100_000, 1_000_000])]
    objects: Vec<u64>,
    /// The lab's addresses are 127.N.10.1 and 127.N.20.1.
    #[arg(long, default_value_t = 143)]
    subnet: u8,
    #[command(flatten)]
    folder: Folder,
}

/// Measures, and prints the table.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!(
        arguments.objects.iter().all(|&objects| objects >= CHANGED_OF),
        "--objects wants numbers of {CHANGED_OF} at least"
    );
    let since = Instant::now();
    let mut rows = Vec::new();
    for objects in arguments.objects {
        let folder = arguments.folder.make()?;
        let row = measure(folder.path(), arguments.subnet, objects, since).await?.map(short);
        say(since, row.join("  "));
        rows.push(row.to_vec());
    }
    let head = ["objects", "filled/s", "copied/s", "page ms", "start ms", "1% after ms", "out MB", "in MB"];
    emit(&format!("\n{}", table(&head, rows, "")));
    Ok(())
}

/// So many of the objects.
fn work(count: u64) -> Work {
    Work { name: NAME, count, size: OBJECT_BYTES, shrinks: false, clients: CLIENTS }
}

/// One row of the table.
async fn measure(folder: &Path, subnet: u8, objects: u64, since: Instant) -> anyhow::Result<[f64; 8]> {
    let changed = objects / CHANGED_OF;
    let mut sites = Sites::apart(folder, subnet, Through::Direct).await?;
    sites.kill_mover("east").await?;
    let filled = fill(&sites, objects).await?;
    sites.start_mover("east").await?;
    say(since, format!("{objects}: filled, {} a second", short(filled)));
    let linking = Instant::now();
    sites.link().await?;
    sites.in_sync().await?;
    let copied = rate(count(objects), linking.elapsed());
    say(since, format!("{objects}: copied, {} a second", short(copied)));
    let page = page(&sites.replica, objects).await?;
    sites.kill_mover("west").await?;
    load::write(&sites.primary, work(changed), 0, 1).await?;
    sites.behind().await?;
    let started = sites.start_mover("west").await?;
    let back = Instant::now();
    sites.in_sync().await?;
    let caught_up = back.elapsed();
    let edition_of = move |key: &str| u64::from(number(key) < changed);
    load::verify(&sites.replica, work(objects.min(VERIFIED)), edition_of).await.context("on the replica")?;
    let row = [
        count(objects),
        filled,
        copied,
        page,
        started.as_secs_f64() * 1e3,
        caught_up.as_secs_f64() * 1e3,
        sites.mover_memory("east")?,
        sites.mover_memory("west")?,
    ];
    sites.stop().await?;
    Ok(row)
}

/// Commits so many objects to the primary's store, whose mover does not run: what a client costs on top
/// is measured elsewhere, and would be most of the hours that the largest numbers take. Answers commits a second.
async fn fill(sites: &Sites, objects: u64) -> anyhow::Result<f64> {
    let (catalogue, content) = sites.catalogue("east")?;
    store::fill(&catalogue, (content, &sites.primary.bucket), 0..objects, |number| {
        let key = load::key(NAME, number);
        let body = load::bytes(&key, work(1));
        (key, body)
    })
    .await
}

/// Milliseconds of a page of keys, the median of many all over the bucket.
async fn page(place: &Place, objects: u64) -> anyhow::Result<f64> {
    let (mut client, mut took) = (Client::connect(place).await?, Vec::new());
    for page in 0..PAGES {
        let after = load::key(NAME, page.wrapping_mul(0x9e37_79b9_7f4a_7c15) % objects);
        let since = Instant::now();
        client.list(&after, PAGE_KEYS).await?;
        took.push(since.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(took))
}
