//! `bench store`: what the store does in one process, at growing numbers of objects.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use switchback::output::{emit, table};
use switchback_model::{ContentId, ContentKind, SiteId};
use switchback_store::{
    Body, Catalogue, ChangesRequest, Conditions, ListRequest, Object, Options, VersionsRequest,
};
use tokio::task::JoinSet;

use crate::figure::{count, median, megabytes, rate, say, short};
use crate::folder::Folder;

/// Writers at once.
const WRITERS: usize = 64;
/// Bytes of each object.
const OBJECT_BYTES: usize = 1024;
/// Pages and objects that are read for a median.
const READS: u64 = 200;
/// Common prefixes of a page, and changes or keys of a page, as a flow takes them.
const FOLDERS: usize = 100;
const CHANGES: usize = 1000;
const NAMESPACE: &str = "photos";

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Numbers of objects, growing.
    #[arg(long, num_args = 1.., default_values_t = [10_000, 100_000, 1_000_000])]
    objects: Vec<u64>,
    #[command(flatten)]
    folder: Folder,
}

/// Measures, and prints the table.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = arguments.folder.make()?;
    let (path, since) = (folder.path().join("catalogue"), Instant::now());
    let open = || Catalogue::open(&path, Options::new(SiteId(1))).context("open the store");
    let mut catalogue = open()?;
    let content = catalogue.create_content(ContentKind::Tenant, "acme", "").await?.id;
    catalogue.create_namespace(content, NAMESPACE).await?;
    let (mut rows, mut written) = (Vec::new(), 0);
    for &objects in &arguments.objects {
        let commits = fill(&catalogue, (content, NAMESPACE), written..objects, make).await?;
        written = objects;
        let page = read(objects, |place| list(&catalogue, content, place))?;
        let folders = read(objects, |place| folders(&catalogue, content, place))?;
        let get = read(objects, |place| {
            catalogue.object(content, NAMESPACE, &key(place), true).map(drop).map_err(Into::into)
        })?;
        let caught_up = timed(|| catch_up(&catalogue, content, objects / 100))?;
        let digest = timed(|| catalogue.digest(content).map(drop).map_err(Into::into))?;
        let range = timed(|| compare(&catalogue, content))?;
        drop(catalogue);
        let opening = Instant::now();
        catalogue = open()?;
        let opened = opening.elapsed().as_secs_f64() * 1e3;
        let row = [
            count(objects),
            commits,
            page,
            folders,
            get,
            caught_up,
            digest,
            range,
            opened,
            memory("VmRSS:")?,
            memory("VmHWM:")?,
            megabytes(on_disk(&path)?),
        ]
        .map(short);
        say(since, row.join("  "));
        rows.push(row.to_vec());
    }
    let head = [
        "objects",
        "commits/s",
        "page ms",
        "folders ms",
        "get ms",
        "feed 1% ms",
        "digest ms",
        "range ms",
        "start ms",
        "started MB",
        "at most MB",
        "disk MB",
    ];
    emit(&format!("\n{}", table(&head, rows, "")));
    Ok(())
}

fn key(number: u64) -> String {
    format!("{:03}/{number:09}", number % 997)
}

fn make(number: u64) -> (String, Bytes) {
    let mut body = vec![0; OBJECT_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).finalize_xof().fill(&mut body);
    (key(number), Bytes::from(body))
}

/// Writes the objects of these numbers, which `make` makes, each its own commit; answers commits a second.
pub(crate) async fn fill(
    catalogue: &Catalogue,
    (content, namespace): (ContentId, &str),
    numbers: Range<u64>,
    make: fn(u64) -> (String, Bytes),
) -> anyhow::Result<f64> {
    let (since, next) = (Instant::now(), Arc::new(AtomicU64::new(numbers.start)));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (catalogue, next, namespace) = (catalogue.clone(), Arc::clone(&next), namespace.to_owned());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return anyhow::Ok(());
                }
                let (key, body) = make(number);
                let content_hash = *blake3::hash(&body).as_bytes();
                let etag = hex::encode(Md5::digest(&body));
                let (size, body) = (body.len() as u64, Body::Inline(body));
                let object = Object { size, etag, content_hash, body, ..Object::default() };
                catalogue.put_object(content, &namespace, &key, object, Conditions::default()).await?;
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.context("a writer")??;
    }
    Ok(rate(count(numbers.end - numbers.start), since.elapsed()))
}

/// Milliseconds of one read, the median of many at places all over.
fn read(objects: u64, read: impl Fn(u64) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for number in 0..READS {
        let since = Instant::now();
        read(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % objects)?;
        took.push(since.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(took))
}

/// A page of what stands before the first slash: a seek for each.
fn folders(catalogue: &Catalogue, content: ContentId, place: u64) -> anyhow::Result<()> {
    let request = ListRequest {
        delimiter: "/".into(),
        start_after: key(place)[..3].into(),
        keys_max: FOLDERS,
        ..ListRequest::default()
    };
    catalogue.list(content, NAMESPACE, &request)?;
    Ok(())
}

/// Reads the last `changes` of the feed, as a flow does that was cut for so long.
fn catch_up(catalogue: &Catalogue, content: ContentId, changes: u64) -> anyhow::Result<()> {
    let head = catalogue.content(content)?.head.sequence;
    let mut after = head.saturating_sub(changes);
    while after < head {
        let request = ChangesRequest {
            after,
            exclude: None,
            changes_max: CHANGES,
            bytes_max: usize::MAX,
            configuration_only: false,
        };
        after = catalogue.changes(content, &request)?.through;
    }
    Ok(())
}

/// Lists what is in one digest range of the 256, as a comparison does that found it to differ.
fn compare(catalogue: &Catalogue, content: ContentId) -> anyhow::Result<()> {
    let mut ranges = [false; 256];
    ranges[7] = true;
    let mut after = None;
    loop {
        let request =
            VersionsRequest { ranges: &ranges, after: after.as_ref(), through: None, keys_max: CHANGES };
        after = catalogue.versions(content, &request)?.through;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Milliseconds of one piece of work.
fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let since = Instant::now();
    work()?;
    Ok(since.elapsed().as_secs_f64() * 1e3)
}

/// Bytes of the files in a folder and beneath.
fn on_disk(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        bytes += if kind.is_dir() { on_disk(&entry.path())? } else { kind.len() };
    }
    Ok(bytes)
}

fn list(catalogue: &Catalogue, content: ContentId, place: u64) -> anyhow::Result<()> {
    let request = ListRequest { start_after: key(place), keys_max: 1000, ..ListRequest::default() };
    catalogue.list(content, NAMESPACE, &request)?;
    Ok(())
}

/// MB of this process, as `/proc/self/status` names them.
fn memory(what: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("read memory")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
