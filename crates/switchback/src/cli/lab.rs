//! `switchback lab`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use crate::lab::control::{self, Request, Way};
use crate::lab::layout::{self, Lab, Place};
use crate::lab::supervise::{self, Change, Leash, Tie};
use crate::lab::{exec, setup};
use crate::output::Format;
use crate::system::init::Ports;
use crate::system::service::Service;
use crate::system::up::Attachment;
use crate::view::content::DoneView;
use crate::view::lab::{LabView, ReadyView};

/// Which lab.
#[derive(Clone, Debug, clap::Args)]
pub struct At {
    /// The lab's folder.
    #[arg(long, env = "SWITCHBACK_LAB", default_value = "lab")]
    dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start two systems, east and west, that trust each other; with a tenant and a link.
    Up(Up),
    /// End everything; services drain first. The data stays.
    Down {
        #[command(flatten)]
        at: At,
        /// Remove the lab's folder too.
        #[arg(long)]
        wipe: bool,
    },
    /// What runs, and what the relay does.
    Status(At),
    /// SIGKILL to one service of a system, or to all five at once.
    Kill(Which),
    /// Start what does not run of a system.
    Start(Which),
    /// Kill a system and make it a rebuilt, empty one: no data, a new identity. It stays stopped.
    Wipe {
        /// east or west.
        system: String,
        #[command(flatten)]
        at: At,
    },
    /// Let no byte pass between the systems. As in a real partition, nobody is told.
    Cut {
        /// Only this way.
        #[arg(long, value_enum, value_name = "WAY")]
        one_way: Option<Way>,
        /// Tell everybody: reset connections, and refuse new ones.
        #[arg(long)]
        reset: bool,
        #[command(flatten)]
        at: At,
    },
    /// End all cuts and slowness.
    Heal(At),
    /// Delay and throttle what passes between the systems.
    Slow {
        /// Added to each byte's travel, one way: `50ms`, `1s`.
        #[arg(long, value_parser = latency, default_value = "0ms")]
        latency: u64,
        /// For all connections of a way together: `10MB/s`, `512KiB/s`; 0 for no limit.
        #[arg(long, value_parser = rate, default_value = "0")]
        rate: u64,
        /// Only this way.
        #[arg(long, value_enum, value_name = "WAY")]
        one_way: Option<Way>,
        #[command(flatten)]
        at: At,
    },
    /// Run a command that resolves names through the lab: `lab exec -- rclone lsd lab:`.
    Exec(Exec),
    #[command(hide = true)]
    Relay(Relay),
}

#[derive(Debug, clap::Args)]
pub struct Up {
    #[command(flatten)]
    at: At,
    /// Return when everything is ready, and leave it running; `lab down` ends it.
    #[arg(long, short)]
    detach: bool,
    /// Only the two systems: no trust between them, no tenant, no link.
    #[arg(long)]
    bare: bool,
    /// Use 127.N.10.1 and 127.N.20.1, so that several labs fit on one machine.
    #[arg(long, value_name = "N", default_value_t = 0)]
    subnet: u8,
    /// S3, on both systems.
    #[arg(long, default_value_t = 9000)]
    s3_port: u16,
    /// DNS, on both systems; default 53 where that is permitted, else 5353.
    #[arg(long)]
    dns_port: Option<u16>,
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// east or west.
    system: String,
    /// One service; default: all five.
    service: Option<Service>,
    #[command(flatten)]
    at: At,
}

impl Which {
    fn services(&self) -> Vec<Service> {
        self.service.map_or(Service::ALL.to_vec(), |service| vec![service])
    }
}

#[derive(Debug, clap::Args)]
pub struct Exec {
    #[command(flatten)]
    at: At,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub struct Relay {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    attachment: Attachment,
}

pub(crate) fn exec(arguments: Exec) -> anyhow::Result<()> {
    exec::exec(&Lab::load(&arguments.at.dir)?, &arguments.command)
}

pub(crate) async fn run(command: Command, format: Format) -> anyhow::Result<()> {
    match command {
        Command::Up(arguments) => up(arguments, format).await,
        Command::Down { at, wipe } => {
            let mut change = Change::begin(&at.dir)?;
            supervise::stop_all(&mut change.lab).await?;
            if wipe {
                setup::remove(&at.dir)?;
            }
            let data = if wipe { "its folder is removed" } else { "its data stays" };
            format.print(&DoneView { done: format!("the lab is down; {data}") });
            Ok(())
        }
        Command::Status(at) => {
            format.print(&LabView::look(&Lab::load(&at.dir)?).await);
            Ok(())
        }
        Command::Kill(which) => {
            let mut change = Change::begin(&which.at.dir)?;
            let killed = supervise::kill_services(&mut change.lab, &which.system, &which.services()).await?;
            format.print(&DoneView { done: format!("killed {killed} processes of {}", which.system) });
            Ok(())
        }
        Command::Start(which) => {
            let mut change = Change::begin(&which.at.dir)?;
            let services = which.services();
            supervise::start_services(&mut change.lab, &which.system, &services, &mut Tie::Detached).await?;
            format.print(&DoneView { done: format!("{} runs", which.system) });
            Ok(())
        }
        Command::Wipe { system, at } => {
            let mut change = Change::begin(&at.dir)?;
            supervise::kill_services(&mut change.lab, &system, &Service::ALL).await?;
            setup::wipe(&mut change.lab, &system)?;
            let done = format!(
                "{system} is empty and has a new identity\nnext: switchback lab start {system}, then exchange certificates both ways"
            );
            format.print(&DoneView { done });
            Ok(())
        }
        Command::Cut { one_way, reset, at } => {
            relay(&at, &Request::Cut { way: one_way, reset }, format).await
        }
        Command::Heal(at) => relay(&at, &Request::Heal, format).await,
        Command::Slow { latency, rate, one_way, at } => {
            let request = Request::Slow { way: one_way, latency_ms: latency, bytes_per_second: rate };
            relay(&at, &request, format).await
        }
        Command::Relay(arguments) => supervise::run_relay(&arguments.at.dir, arguments.attachment).await,
        // Done before there was a runtime.
        Command::Exec(arguments) => exec(arguments),
    }
}

async fn relay(at: &At, request: &Request, format: Format) -> anyhow::Result<()> {
    let lab = Lab::load(&at.dir)?;
    control::ask(&lab.relay.control, request).await?;
    format.print(&LabView::look(&lab).await.relay);
    Ok(())
}

async fn up(arguments: Up, format: Format) -> anyhow::Result<()> {
    let dir = &arguments.at.dir;
    let dns = arguments.dns_port.unwrap_or_else(|| setup::dns_port(arguments.subnet));
    let new = !dir.join(layout::FILE).exists();
    if new {
        let ports = Ports { s3: arguments.s3_port, dns, ..Ports::default() };
        setup::create(&Place { dir: dir.clone(), subnet: arguments.subnet, ports })?;
    }
    let mut leash = Leash::new();
    let mut tie = if arguments.detach { Tie::Detached } else { Tie::Leashed(&mut leash) };
    let mut change = Change::begin(dir)?;
    if let Err(error) = bring_up(&mut change.lab, new, arguments.bare, &mut tie).await {
        supervise::stop_all(&mut change.lab).await?;
        let hint = if new {
            format!("; the lab is half made, `switchback lab down --wipe --dir {}` removes it", dir.display())
        } else {
            String::new()
        };
        return Err(error.context(format!("the lab did not come up and was stopped{hint}")));
    }
    format.print(&ReadyView::new(&change.lab));
    // Others may change the lab while it runs.
    drop(change);
    if !arguments.detach {
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.context("wait for the end")?,
            _ = terminate.recv() => {}
        }
        supervise::stop_all(&mut Change::begin(dir)?.lab).await?;
    }
    Ok(())
}

async fn bring_up(lab: &mut Lab, new: bool, bare: bool, tie: &mut Tie<'_>) -> anyhow::Result<()> {
    setup::start(lab, tie).await?;
    if new && !bare {
        setup::exchange_certificates(lab).await?;
        setup::create_tenant(lab).await?;
        setup::create_link(lab).await?;
        setup::wait_for_sync(lab).await?;
    }
    Ok(())
}

/// `50ms`, `1s`.
fn latency(text: &str) -> Result<u64, String> {
    let number = |digits: &str| digits.trim().parse::<u64>().ok();
    let ms = text.strip_suffix("ms").and_then(number);
    ms.or_else(|| text.strip_suffix('s').and_then(number).map(|seconds| seconds * 1000))
        .ok_or_else(|| "expected a time such as 50ms or 1s".into())
}

/// `10MB/s`, `512KiB/s`, `1000`: bytes a second.
fn rate(text: &str) -> Result<u64, String> {
    let text = text.trim_end_matches("/s");
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("B", 1),
        ("", 1),
    ];
    let parsed = units
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*factor));
    parsed.ok_or_else(|| "expected a rate such as 10MB/s or 512KiB/s".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_latencies_have_units() {
        assert_eq!(rate("10MB/s"), Ok(10_000_000));
        assert_eq!(rate("512KiB/s"), Ok(524_288));
        assert_eq!(rate("0"), Ok(0));
        assert!(rate("fast").is_err());
        assert_eq!((latency("50ms"), latency("2s")), (Ok(50), Ok(2_000)));
        assert!(latency("50").is_err());
    }
}
