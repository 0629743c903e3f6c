//! How long the workflow's moments take, against what is promised of them.
//!
//! `cargo bench -p switchback --bench workflow [-- --rounds N] [--objects N]`
//!
//! Two systems in a lab of their own, every service a process. Each figure stands beside its limit
//! and their ratio, so that a slower machine changes both sides of a comparison; the first copy to
//! a rebuilt primary is measured against the time that clients took to write the same objects.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Parser as _;
use switchback::client::{Operator, request_id};
use switchback::demo::client::{Client, Replaces};
use switchback::lab::layout::{Lab, TENANT};
use switchback::output::{emit, table};
use switchback_proto::link::v1 as link;
use switchback_proto::model::v1::AccessMode;

/// The program whose lab it is.
const SWITCHBACK: &str = env!("CARGO_BIN_EXE_switchback");

/// The fence time that a link has unless told otherwise.
const FENCE_TIME: Duration = Duration::from_secs(2);
/// Clients that write at once.
const CLIENTS: usize = 32;
/// Between two looks: below what is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Rounds of each failover; the median is shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Small objects for the first copy.
    #[arg(long, default_value_t = 20_000)]
    objects: usize,
    /// The lab's addresses are 127.N.10.1 and 127.N.20.1.
    #[arg(long, default_value_t = 91)]
    subnet: u8,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir().context("make the lab's folder")?;
    let dir = folder.path().join("lab");
    let lab = |words: &[&str]| switchback_lab(&dir, words);
    lab(&["up", "--detach", "--subnet", &arguments.subnet.to_string()])?;
    let measured = measure(&dir, &arguments).await;
    lab(&["down"])?;
    emit(&measured?);
    Ok(())
}

/// `switchback lab`, as a script would say it.
fn switchback_lab(dir: &Path, words: &[&str]) -> anyhow::Result<()> {
    let (verb, rest) = words.split_first().context("a verb")?;
    let done = Command::new(SWITCHBACK).args(["lab", verb, "--dir"]).arg(dir).args(rest).output();
    let done = done.context("run switchback")?;
    ensure!(done.status.success(), "lab {verb}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

async fn measure(dir: &Path, arguments: &Arguments) -> anyhow::Result<String> {
    let mut bench = Bench::open(dir)?;
    let mut rows = Vec::new();
    let second = Duration::from_secs(1);
    for (what, line, limit) in [
        ("with contact", Line::Up, second),
        ("contact lost just now", Line::JustCut, FENCE_TIME + second),
        ("contact known to be lost", Line::KnownCut, second),
    ] {
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds.max(1) {
            rounds.push(bench.round(line).await?);
        }
        let of = |time: fn(&Round) -> Duration| median(rounds.iter().map(time).collect());
        rows.push(row(&format!("fail over, {what}: command to read-write"), of(|round| round.to_rw), limit));
        let dns_limit = limit + 2 * second;
        rows.push(row(
            &format!("fail over, {what}: command to new DNS answer"),
            of(|round| round.to_dns),
            dns_limit,
        ));
        let failback = of(|round| round.failback);
        rows.push(row(&format!("failback of an unchanged link, {what}"), failback, 10 * second));
    }
    let shown = table(&["", "median", "limit", "ratio"], rows, "");
    let copy = bench.first_copy(arguments.objects).await?;
    Ok(format!("\n{shown}\n{copy}\n"))
}

fn row(what: &str, took: Duration, limit: Duration) -> Vec<String> {
    let ratio = took.as_secs_f64() / limit.as_secs_f64();
    vec![
        what.into(),
        format!("{:.3} s", took.as_secs_f64()),
        format!("{:.0} s", limit.as_secs_f64()),
        format!("{ratio:.2}"),
    ]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How the systems stand to each other when the failover is commanded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Up,
    JustCut,
    KnownCut,
}

struct Round {
    to_rw: Duration,
    to_dns: Duration,
    failback: Duration,
}

struct Bench {
    lab: Lab,
    east: Operator,
    west: Operator,
}

impl Bench {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        let lab = Lab::load(dir)?;
        let east = Operator::open(&lab.system("east")?.config)?;
        let west = Operator::open(&lab.system("west")?.config)?;
        Ok(Self { lab, east, west })
    }

    /// There and back once, from healthy to healthy.
    async fn round(&mut self, line: Line) -> anyhow::Result<Round> {
        self.healthy().await?;
        if line != Line::Up {
            switchback_lab(&self.lab.dir, &["cut"])?;
        }
        if line == Line::KnownCut {
            wait(&self.west, "without contact", |link| !link.contact).await?;
        }
        let (to_rw, to_dns) = self.fail_over().await?;
        if line != Line::Up {
            switchback_lab(&self.lab.dir, &["heal"])?;
        }
        self.begin_recovery().await?;
        let failback = self.complete().await?;
        Ok(Round { to_rw, to_dns, failback })
    }

    async fn healthy(&self) -> anyhow::Result<()> {
        for operator in [&self.east, &self.west] {
            wait(operator, "healthy", |link| {
                link.healthy && link.in_sync && link.state() == link::LinkState::Replicating
            })
            .await?;
        }
        Ok(())
    }

    /// From the command to read-write, and to the new answer of the replica's name server.
    async fn fail_over(&self) -> anyhow::Result<(Duration, Duration)> {
        let since = Instant::now();
        let id = request_id();
        let request =
            link::FailOverRequest { request_id: id.clone(), link: TENANT.into(), ..Default::default() };
        let mut links = self.west.links();
        let command = self.west.command(&id, links.fail_over(request));
        let names = self.names_lead_to("west", since);
        let (answer, to_dns) = tokio::join!(async { (command.await, since.elapsed()) }, names);
        let (answer, to_rw) = answer;
        let mode = answer.context("fail over")?.link.map(|link| link.mode());
        ensure!(mode == Some(AccessMode::ReadWrite), "the replica is not read-write");
        Ok((to_rw, to_dns?))
    }

    /// How long from `since` until the name server of `system` leads the tenant's name to it.
    async fn names_lead_to(&self, system: &str, since: Instant) -> anyhow::Result<Duration> {
        let server: SocketAddr = self.lab.system(system)?.dns.parse().context("parse dns in lab.json")?;
        let wanted = IpAddr::V4(self.lab.system(system)?.address);
        let name = format!("{TENANT}.{}", self.lab.system("east")?.domain);
        while since.elapsed() < PATIENCE {
            let answer = switchback_dns::client::lookup(&[server], &name, Duration::from_millis(500)).await;
            if answer.is_ok_and(|answer| answer.addresses == [wanted]) {
                return Ok(since.elapsed());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        bail!("{name} never led to {system}")
    }

    async fn begin_recovery(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let id = request_id();
            let command = link::LinkCommand { request_id: id.clone(), plan: false, link: TENANT.into() };
            match self.west.command(&id, self.west.links().begin_recovery(command)).await {
                Ok(_) => return Ok(()),
                Err(refusal) if since.elapsed() > PATIENCE => return Err(refusal).context("begin recovery"),
                Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
    }

    /// From the command to a primary that is read-write, with its names.
    async fn complete(&self) -> anyhow::Result<Duration> {
        wait(&self.west, "recovered but for the end", |link| link.in_sync).await?;
        let since = Instant::now();
        let id = request_id();
        let request = link::CompleteRecoveryRequest {
            request_id: id.clone(),
            link: TENANT.into(),
            ..Default::default()
        };
        self.west
            .command(&id, self.west.links().complete_recovery(request))
            .await
            .context("complete recovery")?;
        wait(&self.east, "read-write", |link| link.mode() == AccessMode::ReadWrite).await?;
        self.names_lead_to("east", since).await?;
        Ok(since.elapsed())
    }

    /// The primary is destroyed and rebuilt empty: how long its first copy takes, and what its
    /// source reads for it.
    async fn first_copy(&mut self, objects: usize) -> anyhow::Result<String> {
        self.healthy().await?;
        let written = self.write(objects).await?;
        self.healthy().await?;
        self.fail_over().await?;
        switchback_lab(&self.lab.dir, &["wipe", "east"])?;
        switchback_lab(&self.lab.dir, &["start", "east"])?;
        let dir = self.lab.dir.clone();
        *self = Self::open(&dir)?;
        switchback::lab::setup::exchange_certificates(&self.lab).await?;
        wait(&self.west, "broken", |link| link.broken).await?;
        let id = request_id();
        let command = link::LinkCommand { request_id: id.clone(), plan: false, link: TENANT.into() };
        self.west.command(&id, self.west.links().restore_link(command)).await.context("restore the link")?;
        let before = self.sending().await?;
        let since = Instant::now();
        self.begin_recovery().await?;
        wait(&self.east, "equal", |link| link.in_sync).await?;
        let copied = since.elapsed();
        let after = self.sending().await?;
        self.complete().await?;
        self.healthy().await?;
        let sent = after.moved_objects - before.moved_objects;
        let listed = after.compared_objects - before.compared_objects;
        let ratio = copied.as_secs_f64() / written.as_secs_f64();
        Ok(format!(
            "first copy to a rebuilt primary: {objects} objects of 4 KiB were written by {CLIENTS} clients in {:.1} s,\n\
             copied in {:.1} s (ratio {ratio:.2}): {sent} records sent, {listed} listed (ratio {:.2})",
            written.as_secs_f64(),
            copied.as_secs_f64(),
            ratio_of(listed, sent),
        ))
    }

    async fn sending(&self) -> anyhow::Result<link::Progress> {
        let link = wait(&self.west, "known", |_| true).await?;
        link.sending.context("no progress is told")
    }

    /// Writes `objects` objects of 4 KiB to the primary.
    async fn write(&self, objects: usize) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            let (mut client, next) = (Client::pinned(self.lab.system("east")?)?, Arc::clone(&next));
            clients.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= objects {
                        return Ok(());
                    }
                    // Bytes that no compression makes small.
                    let mut body = vec![0; 4096];
                    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut body);
                    let put = async {
                        client.connect().await?;
                        client.put(&format!("small/{number:06}"), Bytes::from(body), Replaces::Anything).await
                    };
                    if let Err(failure) = put.await {
                        bail!("object {number} was not written: {failure:?}");
                    }
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.context("a client")??;
        }
        Ok(since.elapsed())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio_of(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Waits until the lab's link is as wanted, as `operator`'s system sees it.
async fn wait(
    operator: &Operator,
    wanted: &str,
    is: impl Fn(&link::Link) -> bool,
) -> anyhow::Result<link::Link> {
    let since = Instant::now();
    loop {
        let request = link::GetLinkRequest { link: TENANT.into() };
        let said = operator.ask(operator.links().get_link(request)).await;
        if let Some(link) = said.ok().and_then(|answer| answer.link).filter(|link| is(link)) {
            return Ok(link);
        }
        ensure!(since.elapsed() < PATIENCE, "the link is not {wanted} after {} s", PATIENCE.as_secs());
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
