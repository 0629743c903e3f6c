//! The whole of a service's `main`: arguments, telemetry, configuration, signals, exit code.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Source;
use crate::grpc;
use crate::telemetry;

/// A drain that takes longer than this is cut: the operator asked for an end.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs the service `name` with the configuration that `--config FILE` or `SWITCHBACK_CONFIG`
/// names, until SIGTERM or SIGINT, then drains it.
///
/// With `--health` it asks the running service instead whether it is well, and says so by its exit
/// code: the health check of an image that holds nothing but this binary.
pub fn main<F, R>(name: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Source, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    telemetry::init();
    let ended = match command(name, std::env::args_os().skip(1)) {
        Ok(Command::Run(path)) => start(&path, run),
        Ok(Command::Health(path)) => return ask(name, &path),
        Ok(Command::Explain(text)) => print(&text),
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(service = name, error = format!("{error:#}"), "service ended");
            ExitCode::FAILURE
        }
    }
}

/// What a service's arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Run(PathBuf),
    Health(PathBuf),
    Explain(String),
}

fn command(name: &str, mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Command> {
    let usage = format!("usage: switchback-{name} [--health] --config FILE (or set SWITCHBACK_CONFIG)");
    let (mut path, mut health) = (std::env::var_os("SWITCHBACK_CONFIG").map(PathBuf::from), false);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--config") => path = arguments.next().map(PathBuf::from),
            Some("--health") => health = true,
            Some("--help" | "--version") => {
                return Ok(Command::Explain(format!("{usage}\nversion {}\n", env!("CARGO_PKG_VERSION"))));
            }
            _ => anyhow::bail!("{usage}"),
        }
    }
    match path {
        Some(path) if health => Ok(Command::Health(path)),
        Some(path) => Ok(Command::Run(path)),
        None => anyhow::bail!("{usage}"),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).context("write to standard output")
}

/// Asks the service `name` of the system that `path` describes. Standard output is what container
/// engines keep of a health check.
fn ask(name: &str, path: &Path) -> ExitCode {
    let asked = || -> anyhow::Result<()> {
        let services = Source::load(path)?.services()?;
        let address = match name {
            "data-mover" => &services.data_mover,
            "link-manager" => &services.link_manager,
            "dns-broadcaster" => &services.dns_broadcaster,
            "certificate-service" => &services.certificate_service,
            "gateway" => &services.gateway,
            _ => anyhow::bail!("[services] has no {name}"),
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
        runtime
            .block_on(grpc::health(address))
            .map_err(|trouble| anyhow::anyhow!("{name} at {address} is not well: {trouble}"))
    };
    match asked() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If nobody reads the reason, the exit code still tells.
            let _ = print(&format!("{error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn start<F, R>(path: &Path, run: F) -> anyhow::Result<()>
where
    F: FnOnce(Source, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let source = Source::load(path)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(cancel_on_signal(shutdown.clone()));
        run(source, shutdown).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT; ends the process at the second, or when the
/// drain takes longer than [`DRAIN_TIME_MAX`].
pub async fn cancel_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("cannot listen for signals");
        return;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::info!("draining");
    shutdown.cancel();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = tokio::time::sleep(DRAIN_TIME_MAX) => {}
    }
    tracing::warn!("drain was cut");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> anyhow::Result<Command> {
        command("gateway", arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_service_runs_is_asked_for_its_health_or_explains_itself() {
        assert_eq!(parsed(&["--config", "a.toml"]).unwrap(), Command::Run("a.toml".into()));
        assert_eq!(parsed(&["--health", "--config", "a.toml"]).unwrap(), Command::Health("a.toml".into()));
        assert!(
            matches!(parsed(&["--help"]), Ok(Command::Explain(text)) if text.contains("switchback-gateway"))
        );
    }

    #[test]
    fn a_wrong_argument_is_answered_with_the_usage() {
        for wrong in [&["--confg", "a.toml"][..], &["--config"], &["a.toml"]] {
            assert!(parsed(wrong).unwrap_err().to_string().contains("--config FILE"), "{wrong:?}");
        }
    }
}
