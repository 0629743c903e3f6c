//! rclone between two buckets of each other S3 server that is installed, and a link that moves the same objects:
//! between two of our gateways, as in the table of first copies, rclone is as fast as they are.

use std::time::{Duration, Instant};

use anyhow::Context;
use switchback::output::{emit, table};

use super::{Arguments, start};
use crate::client::{Client, Place};
use crate::figure::{count, median, rate, say, short};
use crate::load;
use crate::peer::{self, Rclone};
use crate::processor::Halves;
use crate::servers;
use crate::site::Through;

/// rclone that takes longer has not come to an end with this server, as was seen with s3s-fs: minutes without a
/// request.
const PATIENCE: Duration = Duration::from_secs(300);

/// One server in one round: small objects a second.
#[derive(Debug)]
pub(super) struct Endpoint {
    server: &'static str,
    rclone: f64,
    ours: f64,
}

/// One round of it. The other servers run only after the systems have stopped.
pub(super) async fn measure(
    arguments: &Arguments,
    halves: Option<&Halves>,
    since: Instant,
) -> anyhow::Result<Vec<Endpoint>> {
    if !peer::has("rclone") {
        return Ok(Vec::new());
    }
    let (folder, work) = (arguments.folder.make()?, arguments.small());
    let sites = start(&folder, arguments, halves, Through::Direct).await?;
    sites.suspend().await?;
    load::write(&sites.primary, work, 0, 0).await?;
    let ours = rate(count(work.count), sites.resume().await?);
    load::verify(&sites.replica, work, |_| 0).await.context("on the replica")?;
    sites.stop().await?;
    let mut measured = Vec::new();
    for server in servers::start(folder.path()).await? {
        let to = Place { bucket: "copied".into(), ..server.place.clone() };
        if let Err(error) = Client::connect(&to).await?.create_bucket().await {
            eprintln!("{} is not compared: {error:#}", server.name);
            continue;
        }
        load::write(&server.place, work, 0, 0).await.with_context(|| server.name)?;
        let rclone = Rclone::new(folder.path(), &server.place, &to)?;
        let Ok(took) = tokio::time::timeout(PATIENCE, rclone.sync(work.name)).await else {
            eprintln!("{} is not compared: rclone was not done after {PATIENCE:?}", server.name);
            continue;
        };
        let took = took.with_context(|| server.name)?;
        load::verify(&to, work, |_| 0).await.with_context(|| server.name)?;
        let one = Endpoint { server: server.name, rclone: rate(count(work.count), took), ours };
        say(since, format!("{one:?}"));
        measured.push(one);
    }
    Ok(measured)
}

pub(super) fn print(measured: &[Endpoint]) {
    let mut names: Vec<_> = measured.iter().map(|one| one.server).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names.into_iter().map(|name| {
        let of = |number: fn(&Endpoint) -> f64| {
            median(measured.iter().filter(|one| one.server == name).map(number).collect())
        };
        let (rclone, ours) = (of(|one| one.rclone), of(|one| one.ours));
        vec![name.to_owned(), short(rclone), short(ours), short(ours / rclone)]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        let head = ["rclone between two of", "objects/s", "a link", "x rclone"];
        emit(&format!("\n{}", table(&head, rows, "")));
    }
}
