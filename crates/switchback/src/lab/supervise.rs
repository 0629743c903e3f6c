//! Starts and ends the lab's processes, and keeps `lab.json` true.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use switchback_kit::grpc::health;
use switchback_kit::service::cancel_on_signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::control::{LINE_BYTES_MAX, Reply, Request};
use super::layout::Lab;
use super::process::{Name, Started, start, tail};
use super::relay;
use crate::system::service::Service;
use crate::system::up::Attachment;

/// A service recovers its state before it answers; on a busy machine that takes a while.
const READY_TIME: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Lines of a log that explain why a service did not start.
const TAIL_LINES: usize = 5;

/// Handles of processes that are to end with this one. Dropping it ends them.
pub type Leash = Vec<Started>;

/// Whether processes outlive the one that starts them.
#[derive(Debug)]
pub enum Tie<'a> {
    /// They do.
    Detached,
    /// They end with the leash.
    Leashed(&'a mut Leash),
}

impl Tie<'_> {
    fn keep(&mut self, started: Started) {
        if let Self::Leashed(leash) = self {
            leash.push(started);
        }
    }

    fn leashed(&self) -> bool {
        matches!(self, Self::Leashed(_))
    }
}

/// One change to a lab at a time: reads `lab.json` under a lock, and writes it when dropped well.
#[derive(Debug)]
pub struct Change {
    /// The lab.
    pub lab: Lab,
    _lock: Flock<fs::File>,
}

impl Change {
    /// Waits for its turn at the lab in `dir`.
    ///
    /// # Errors
    /// There is no lab.
    pub fn begin(dir: &Path) -> anyhow::Result<Self> {
        let lab = Lab::load(dir)?;
        let lock = fs::File::create(dir.join("lab.lock")).context("open the lab's lock")?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| anyhow::Error::new(error).context("lock the lab"))?;
        // Another may have changed it while we waited.
        Ok(Self { lab: Lab::load(dir).unwrap_or(lab), _lock: lock })
    }
}

/// Starts the services of `system` that do not run, and waits until they are well.
///
/// # Errors
/// One does not become ready; the end of its log is in the error.
pub async fn start_services(
    lab: &mut Lab,
    system: &str,
    services: &[Service],
    tie: &mut Tie<'_>,
) -> anyhow::Result<()> {
    let mut waiting = Vec::new();
    for &service in services {
        let known = lab.system(system)?;
        let process = known.process(service)?;
        if (Name { pid: process.pid, started: process.started }).runs() {
            continue;
        }
        if !known.config.exists() {
            bail!("{system} has no configuration at {}", known.config.display());
        }
        let log = known.log_dir.join(format!("{service}.log"));
        let config = known.config.clone();
        let grpc = process.grpc.clone();
        let arguments: [&OsStr; 4] =
            ["service".as_ref(), service.name().as_ref(), "--config".as_ref(), config.as_os_str()];
        let started =
            start(&arguments, &log, tie.leashed()).with_context(|| format!("start {service} of {system}"))?;
        let name = started.name;
        tie.keep(started);
        if let Some(process) = lab.system_mut(system)?.services.get_mut(service.name()) {
            (process.pid, process.started) = (name.pid, name.started);
        }
        lab.save()?;
        waiting.push((service, name, grpc, log));
    }
    for (service, name, grpc, log) in waiting {
        ready(name, &grpc, &log).await.with_context(|| format!("{service} of {system} did not start"))?;
    }
    Ok(())
}

async fn ready(name: Name, grpc: &str, log: &Path) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let said = health(grpc).await;
        if !name.runs() {
            bail!("it ended; its log {} says:\n{}", log.display(), tail(log, TAIL_LINES));
        }
        match said {
            Ok(()) => return Ok(()),
            Err(trouble) if since.elapsed() > READY_TIME => {
                bail!("not ready after {} s ({trouble}); see {}", READY_TIME.as_secs(), log.display())
            }
            Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}

/// SIGKILL to the services of `system` that run, all before the first is awaited: a power cut.
///
/// # Errors
/// `lab.json` cannot be written.
pub async fn kill_services(lab: &mut Lab, system: &str, services: &[Service]) -> anyhow::Result<usize> {
    let mut killed = Vec::new();
    for service in services {
        let process = lab.system(system)?.process(*service)?;
        let name = Name { pid: process.pid, started: process.started };
        if name.runs() {
            killed.push(name);
        }
        if let Some(process) = lab.system_mut(system)?.services.get_mut(service.name()) {
            (process.pid, process.started) = (0, 0);
        }
    }
    futures::future::join_all(killed.iter().map(|name| name.kill())).await;
    lab.save()?;
    Ok(killed.len())
}

/// Starts the relay and waits for its control socket.
///
/// # Errors
/// It does not become ready; the end of its log is in the error.
pub async fn start_relay(lab: &mut Lab, tie: &mut Tie<'_>) -> anyhow::Result<()> {
    if (Name { pid: lab.relay.pid, started: lab.relay.started }).runs() {
        return Ok(());
    }
    let log = lab.dir.join("log").join("relay.log");
    let arguments: [&OsStr; 4] = ["lab".as_ref(), "relay".as_ref(), "--dir".as_ref(), lab.dir.as_os_str()];
    // The relay reads what it forwards from there.
    lab.save()?;
    let started = start(&arguments, &log, tie.leashed()).context("start the relay")?;
    let name = started.name;
    tie.keep(started);
    (lab.relay.pid, lab.relay.started) = (name.pid, name.started);
    lab.save()?;
    let since = Instant::now();
    while super::control::ask(&lab.relay.control, &Request::Status).await.is_err() {
        if !name.runs() {
            bail!("the relay ended; its log {} says:\n{}", log.display(), tail(&log, TAIL_LINES));
        }
        if since.elapsed() > READY_TIME {
            bail!("the relay is not ready after {} s; see {}", READY_TIME.as_secs(), log.display());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Ends everything of the lab: services drain, the relay goes last.
///
/// # Errors
/// `lab.json` cannot be written.
pub async fn stop_all(lab: &mut Lab) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for process in lab.systems.values_mut().flat_map(|system| system.services.values_mut()) {
        names.push(Name { pid: process.pid, started: process.started });
        (process.pid, process.started) = (0, 0);
    }
    Name::end_all(&names).await;
    Name::end_all(&[Name { pid: lab.relay.pid, started: lab.relay.started }]).await;
    (lab.relay.pid, lab.relay.started) = (0, 0);
    lab.save()
}

/// Runs the relay of the lab in `dir` in this process, until a signal.
///
/// # Errors
/// An address cannot be bound.
pub async fn run_relay(dir: &Path, attachment: Attachment) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    attachment.apply(&shutdown);
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    let lab = Lab::load(dir)?;
    let relay = Arc::new(relay::Relay::default());
    let mut tasks = JoinSet::new();
    for route in lab.relay.routes {
        let listener =
            TcpListener::bind(&route.listen).await.with_context(|| format!("listen on {}", route.listen))?;
        tasks.spawn(relay.clone().forward(listener, route));
    }
    // What an earlier relay left behind; we would not be here if it ran.
    let _ = fs::remove_file(&lab.relay.control);
    let control = UnixListener::bind(&lab.relay.control).with_context(|| {
        format!("listen on {} (a socket's path has at most 107 bytes)", lab.relay.control.display())
    })?;
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        Some(ended) = tasks.join_next() => ended.context("a route panicked")?,
        ended = serve_control(&control, &relay) => ended,
    }
}

async fn serve_control(control: &UnixListener, relay: &relay::Relay) -> anyhow::Result<()> {
    loop {
        let (stream, _) = control.accept().await.context("accept on the control socket")?;
        // One after another: an answer takes microseconds, and who is silent is not waited for.
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), answer(stream, relay)).await {
            tracing::debug!(error = format!("{error:#}"), "control connection ended");
        }
    }
}

async fn answer(mut stream: UnixStream, relay: &relay::Relay) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            tracing::info!(?request, "obeying");
            Reply::Done(relay.obey(&request))
        }
        Err(error) => Reply::Refused { error: error.to_string() },
    };
    writer.write_all((serde_json::to_string(&reply)? + "\n").as_bytes()).await?;
    Ok(())
}
