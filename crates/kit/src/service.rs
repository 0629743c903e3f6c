//! The whole of a service's `main`: arguments, telemetry, configuration, signals, exit code.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Source;
use crate::telemetry;

/// A drain that takes longer than this is cut: the operator asked for an end.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Runs the service `name` with the configuration that `--config FILE` or `SWITCHBACK_CONFIG`
/// names, until SIGTERM or SIGINT, then drains it.
pub fn main<F, R>(name: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Source, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    telemetry::init();
    match config_path(name) {
        Ok(Some(path)) => finish(name, start(&path, run)),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => finish(name, Err(error)),
    }
}

fn finish(name: &str, ended: anyhow::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(service = name, error = format!("{error:#}"), "service ended");
            ExitCode::FAILURE
        }
    }
}

fn config_path(name: &str) -> anyhow::Result<Option<PathBuf>> {
    let usage = format!("usage: switchback-{name} --config FILE (or set SWITCHBACK_CONFIG)");
    let mut arguments = std::env::args_os().skip(1);
    let path = match arguments.next() {
        None => std::env::var_os("SWITCHBACK_CONFIG").map(PathBuf::from),
        Some(flag) if flag == "--config" => arguments.next().map(PathBuf::from),
        Some(flag) if flag == "--help" || flag == "--version" => {
            let mut out = std::io::stdout();
            std::io::Write::write_all(
                &mut out,
                format!("{usage}\nversion {}\n", env!("CARGO_PKG_VERSION")).as_bytes(),
            )?;
            return Ok(None);
        }
        Some(_) => None,
    };
    match (path, arguments.next()) {
        (Some(path), None) => Ok(Some(path)),
        _ => anyhow::bail!("{usage}"),
    }
}

fn start<F, R>(path: &std::path::Path, run: F) -> anyhow::Result<()>
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
